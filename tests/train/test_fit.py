"""Training learns, keeps what it should, and resumes exactly."""

import lightning as L
import numpy as np
import pytest
import torch

from eaves.errors import EavesWarning, SettingsError, TrainingError
from eaves.labels import UNKNOWN
from eaves.models import build, load_model
from eaves.sample import Chip
from eaves.settings import ModelSettings, Recipe, override, parse
from eaves.train import CollapseAlarm, choose_precision, class_counts, fit, read_curves

BASE = {
    "name": "toy",
    "model": {"arch": "unet", "options": {"encoder": "mobilenet_v2"}},
    "augment": {"gamma": 0.2},
    "fit": {"epochs": 2, "batch": 4, "learning_rate": 3e-3, "schedule": "constant", "warmup_steps": 0},
}


class Squares:
    """Bright squares on noise; some pixels are unknown."""

    classes, credits, gsd_m = ("background", "building"), ("made here",), 0.5

    def __init__(self, train=32, val=4, dtype=np.uint8, side=32):
        self.sizes, self.dtype, self.side = (train, val), dtype, side

    def train(self, epoch):
        return [(epoch, index) for index in range(self.sizes[0])]

    def val(self):
        return [(-1, index) for index in range(self.sizes[1])]

    def load(self, item):
        rng = np.random.default_rng((item[0] + 5, item[1]))
        image = rng.integers(20, 90, (3, self.side, self.side))
        mask = np.zeros((self.side, self.side), np.uint8)
        row, col = rng.integers(0, self.side // 2, 2)
        mask[row : row + self.side // 2, col : col + self.side // 2] = 1
        image[:, mask == 1] += 120
        mask[:4] = UNKNOWN
        return Chip(image.astype(self.dtype), mask, np.ones_like(mask, bool))


def recipe(*changes):
    return parse(Recipe, override(BASE, changes), source="test")


class StopAfter(L.Callback):
    """Ctrl-C when an epoch's work is done."""

    def __init__(self, epochs):
        self.epochs = epochs

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epochs:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    seen = []
    return fit(recipe("fit.epochs=4"), Squares(), folder, on_progress=seen.append), seen


def test_it_learns(finished):
    run, _ = finished
    assert run.best["val_iou"] > 0.7
    assert run.curves[-1]["train_loss"] < run.curves[0]["train_loss"]


def test_it_keeps_every_epoch_the_best_and_the_curves(finished):
    run, _ = finished
    assert len(list((run.folder / "epochs").glob("*.safetensors"))) == 4
    assert [row["epoch"] for row in read_curves(run.folder / "curves.csv")] == [1, 2, 3, 4]
    assert list((run.folder / "tensorboard").glob("events*"))
    best, card = load_model(run.model)
    same, _ = load_model(run.folder / "epochs" / f"epoch_{run.best['epoch']:03d}.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(best.state_dict().values(), same.state_dict().values(), strict=True))
    assert card.classes == Squares.classes
    assert card.credits == ("made here",)
    assert card.gsd_m == 0.5
    assert card.metrics["val_iou"] == pytest.approx(run.best["val_iou"])
    assert not list(run.folder.glob("*.partial*"))


def test_progress_counts_every_chip(finished):
    _, seen = finished
    assert [(at.done, at.total) for at in seen][-1] == (128, 128)
    assert "loss" in seen[-1].note
    assert "val loss" in seen[-1].note


def test_four_epochs_are_two_and_a_stop_and_two(finished, tmp_path):
    run, _ = finished
    with pytest.raises(KeyboardInterrupt):
        fit(recipe("fit.epochs=4"), Squares(), tmp_path, callbacks=[StopAfter(2)])
    assert len(read_curves(tmp_path / "curves.csv")) == 2
    again = fit(recipe("fit.epochs=4"), Squares(), tmp_path, resume=True)
    whole, parts = (load_model(r.folder / "epochs/epoch_004.safetensors")[0].state_dict() for r in (run, again))
    for name in whole:
        assert torch.equal(whole[name], parts[name]), name
    for a, b in zip(run.curves, again.curves, strict=True):
        assert {k: v for k, v in a.items() if k != "seconds"} == pytest.approx(
            {k: v for k, v in b.items() if k != "seconds"}
        )


def test_a_finished_run_is_not_resumed(finished):
    run, _ = finished
    with pytest.raises(SettingsError, match=r"raise fit\.epochs"):
        fit(recipe("fit.epochs=4"), Squares(), run.folder, resume=True)


def test_another_recipe_does_not_resume(finished, tmp_path):
    run, _ = finished
    (tmp_path / "last.ckpt").write_bytes((run.folder / "last.ckpt").read_bytes())
    with pytest.raises(TrainingError, match="resume point of this recipe"):
        fit(recipe("model.arch='unet28'", "model.options={widths='small'}"), Squares(), tmp_path, resume=True)


def test_several_classes_and_wide_pixels(tmp_path):
    class Three(Squares):
        classes = ("background", "building", "road")

        def load(self, item):
            chip = super().load(item)
            chip.mask[-10:] = 2
            return chip._replace(image=chip.image.astype(np.uint16) * 20)

    changed = recipe(
        "fit.epochs=1", "loss.terms={cross_entropy=1.0, dice=1.0}", "loss.class_weights='median-frequency'"
    )
    run = fit(changed, Three(), tmp_path)
    card = load_model(run.model)[1]
    assert card.scaling.dtype == "uint16"
    assert card.classes == Three.classes


def test_without_validation_the_last_epoch_is_the_best(tmp_path):
    with pytest.warns(EavesWarning, match="No chip validates"):
        run = fit(recipe(), Squares(val=0), tmp_path)
    assert run.best["epoch"] == 2


def test_an_infinite_loss_stops_with_advice(tmp_path):
    with pytest.raises(TrainingError, match="learning_rate"):
        fit(recipe("fit.learning_rate=1e30", "fit.clip_norm=0", "fit.optimizer='sgd'"), Squares(), tmp_path)


def test_nothing_to_train_on(tmp_path):
    with pytest.raises(SettingsError, match="chips to train on"):
        fit(recipe(), Squares(train=0), tmp_path)


def test_class_counts_ignore_unknown():
    pixels, beside = class_counts(Squares(train=2))
    assert pixels.sum() == 2 * 32 * 28
    assert beside.tolist() == [2 * 32 * 28] * 2


def test_the_alarm_rings_for_background_alone_and_only_then():
    alarm = CollapseAlarm(every=2, patience=2)
    target = torch.ones(1, 8, 8, dtype=torch.long)

    class At:
        global_step = 0

    def steps(count, prediction):
        for _ in range(count):
            alarm.on_train_batch_end(At, None, {"prediction": prediction}, (None, target), 0)
            At.global_step += 1

    steps(6, torch.ones_like(target))
    assert not alarm.rung
    with pytest.warns(EavesWarning, match="everything background"):
        steps(4, torch.zeros_like(target))
    assert alarm.rung


def test_emulated_bf16_is_refused_and_never_chosen():
    network = build(ModelSettings(arch="unet28", options={"widths": "small"}), 3, 2)
    able = torch.cpu.get_capabilities()
    if torch.cuda.is_available() or able.get("amx_bf16") or able.get("avx512_bf16") or able.get("bf16"):
        assert choose_precision("auto", network) == "bf16-mixed"
    else:
        assert choose_precision("auto", network) == "32-true"
        with pytest.raises(SettingsError, match="bf16"):
            choose_precision("bf16", network)
    assert choose_precision("fp32", network) == "32-true"
