"""A run that was stopped goes on as if it had not been."""

from contextlib import nullcontext

import pytest
import torch
from safetensors.torch import save_file

from eaves.errors import SettingsError, TrainingError
from eaves.models import build, load_model
from eaves.settings import ModelSettings
from eaves.train import fit, read_curves

ENCODER = {"arch": "unet", "options": {"encoder": "mobilenet_v2"}}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A file of encoder weights, and the changes that start from it."""
    path = tmp_path_factory.mktemp("encoder") / "mobilenet_v2.safetensors"
    torch.manual_seed(5)
    save_file(build(ModelSettings(**ENCODER), 3, 2).encoder.state_dict(), path)
    return ["model.arch='unet'", "model.options={encoder='mobilenet_v2'}", f"model.encoder_weights='{path}'"]


CASES = {
    "plain": [],
    "mean of weights, two batches a step, stopping": [
        "fit.ema=0.9",
        "fit.accumulate=2",
        "fit.stop_after=3",
        "fit.schedule='cosine'",
        "fit.warmup_steps=3",
    ],
    "frozen, thawed after the stop": ["fit.freeze_epochs=3", "fit.encoder_learning_rate=1e-3", "fit.ema=0.8"],
    "rolled back": ["fit.ema=0.9", "fit.schedule='cosine'"],
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_four_epochs_are_two_and_a_stop_and_two(recipe, squares, stop_before, poison, encoder, tmp_path, case):
    changed = recipe(*CASES[case], "fit.epochs=4", *(encoder if "frozen" in case else []))
    bad = [poison((0, 2), (3, 1))] if case == "rolled back" else []
    with pytest.warns(UserWarning, match="roll-back") if bad else nullcontext():
        run = fit(changed, squares(), tmp_path / "a", callbacks=bad)
        (tmp_path / "b").mkdir()
        with pytest.raises(KeyboardInterrupt):
            fit(changed, squares(), tmp_path / "b", callbacks=[*bad, stop_before(2)])
        assert len(read_curves(tmp_path / "b" / "curves.csv")) == 2
        again = fit(changed, squares(), tmp_path / "b", resume=True, callbacks=bad)
    whole, parts = (load_model(r.folder / "epochs/epoch_004.safetensors")[0].state_dict() for r in (run, again))
    for name in whole:
        assert torch.equal(whole[name], parts[name]), name
    for a, b in zip(run.curves, again.curves, strict=True):
        assert {k: v for k, v in a.items() if k != "seconds"} == pytest.approx(
            {k: v for k, v in b.items() if k != "seconds"}
        )
    if bad:
        assert load_model(again.folder / "epochs/epoch_004.safetensors")[1].trained["rollbacks"] == 2
        assert again.curves[2]["rate"] < 0.5 * 3e-3  # the first one's halving outlived the stop


@pytest.fixture(scope="module")
def finished(recipe, squares, tmp_path_factory):
    return fit(recipe("fit.epochs=1"), squares(train=8), tmp_path_factory.mktemp("run"))


def test_a_finished_run_is_not_resumed(recipe, squares, finished):
    with pytest.raises(SettingsError, match=r"raise fit\.epochs"):
        fit(recipe("fit.epochs=1"), squares(train=8), finished.folder, resume=True)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["model.options={widths='small'}"], "model.options"),
        (["fit.learning_rate=0.1"], r"fit.learning_rate = 0.003, which is now 0.1"),
        (["loss.terms={dice=1.0}"], "loss.terms"),
    ],
)
def test_another_recipe_does_not_resume(recipe, squares, finished, tmp_path, changes, told):
    (tmp_path / "last.ckpt").write_bytes((finished.folder / "last.ckpt").read_bytes())
    with pytest.raises(TrainingError, match=told):
        fit(recipe("fit.epochs=2", *changes), squares(train=8), tmp_path, resume=True)


def test_a_resume_point_without_a_recipe_is_told_by_its_weights(recipe, squares, finished, tmp_path):
    checkpoint = torch.load(finished.folder / "last.ckpt", weights_only=True)
    del checkpoint["ChipData"]
    torch.save(checkpoint, tmp_path / "last.ckpt")
    with pytest.raises(TrainingError, match="resume point of this recipe"):
        fit(recipe("fit.epochs=2", "model.options={widths='small'}"), squares(train=8), tmp_path, resume=True)
