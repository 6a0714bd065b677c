"""Which weights learn, and which are kept."""

import lightning as L
import pytest
import torch
from safetensors.torch import save_file

from eaves.errors import SettingsError
from eaves.models import build, load_model
from eaves.settings import ModelSettings
from eaves.train import fit


class Record(L.Callback):
    """The network's state after every step, and while it is judged."""

    def __init__(self):
        self.steps, self.judged = [], []

    @staticmethod
    def state(pl_module):
        return {name: value.clone() for name, value in pl_module.network.state_dict().items()}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.steps.append(self.state(pl_module))

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.judged.append(self.state(pl_module))


def test_the_running_mean_is_what_validates_and_is_saved(recipe, squares, tmp_path):
    record = Record()
    run = fit(recipe("fit.ema=0.5"), squares(), tmp_path, callbacks=[record])
    mean = dict(record.steps[0])
    for count, state in enumerate(record.steps[1:], start=1):
        stays = min(0.5, (1 + count) / (10 + count))
        for name, value in state.items():
            whole = not value.is_floating_point()
            mean[name] = value if whole else stays * mean[name] + (1 - stays) * value
    saved = load_model(run.folder / "epochs/epoch_002.safetensors")[0].state_dict()
    for name, value in saved.items():
        torch.testing.assert_close(value, mean[name], rtol=1e-4, atol=1e-6, msg=name)
        assert torch.equal(value, record.judged[-1][name]), name
    assert any((saved[name] - record.steps[-1][name]).abs().max() > 1e-4 for name in saved)
    assert any("running_mean" in name for name in saved)


@pytest.fixture
def pretrained(tmp_path):
    """Changes of a recipe whose encoder starts from a file."""
    model = ModelSettings(arch="unet", options={"encoder": "mobilenet_v2"})
    save_file(build(model, 3, 2).encoder.state_dict(), tmp_path / "encoder.safetensors")
    return [
        "model.arch='unet'",
        "model.options={encoder='mobilenet_v2'}",
        f"model.encoder_weights='{tmp_path / 'encoder.safetensors'}'",
    ]


def test_a_frozen_encoder_stays_with_its_statistics_and_thaws(recipe, squares, pretrained, tmp_path):
    record = Record()
    fit(recipe(*pretrained, "fit.freeze_epochs=1"), squares(), tmp_path / "run", callbacks=[record])
    first, frozen, thawed = record.steps[0], record.steps[3], record.steps[4]
    encoder = [name for name in first if name.startswith("encoder.")]
    assert any("running_mean" in name for name in encoder)
    assert all(torch.equal(first[name], frozen[name]) for name in encoder)
    assert any(not torch.equal(first[name], frozen[name]) for name in first if not name.startswith("encoder."))
    weights = [name for name in encoder if "num_batches" not in name]
    assert sum(not torch.equal(frozen[name], thawed[name]) for name in weights) > 0.9 * len(weights)


def test_freezing_nothing_is_refused(recipe, squares, tmp_path):
    with pytest.raises(SettingsError, match="pretrained weights to freeze"):
        fit(recipe("fit.freeze_epochs=1"), squares(), tmp_path)
