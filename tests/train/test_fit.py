"""Training learns, keeps what it should, and says what it chose by."""

import numpy as np
import pytest
import torch

from eaves.errors import EavesWarning, SettingsError, TrainingError
from eaves.models import build, load_model
from eaves.settings import ModelSettings
from eaves.train import choose_precision, fit, read_curves
from eaves.train.curves import best_epoch, enough


@pytest.fixture(scope="module")
def finished(recipe, squares, tmp_path_factory):
    seen = []
    folder = tmp_path_factory.mktemp("run")
    return fit(recipe("fit.epochs=3"), squares(), folder, on_progress=seen.append), seen


def test_it_learns(finished):
    run, _ = finished
    assert run.best["val_iou"] > 0.7
    assert run.curves[-1]["train_loss"] < run.curves[0]["train_loss"]


def test_it_keeps_every_epoch_the_best_and_the_curves(finished):
    run, _ = finished
    assert len(list((run.folder / "epochs").glob("*.safetensors"))) == 3
    rows = read_curves(run.folder / "curves.csv")
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert [row["rate"] for row in rows] == [3e-3] * 3
    assert list((run.folder / "tensorboard").glob("events*"))
    best, card = load_model(run.model)
    same, _ = load_model(run.folder / "epochs" / f"epoch_{run.best['epoch']:03d}.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(best.state_dict().values(), same.state_dict().values(), strict=True))
    assert card.classes == ("background", "building")
    assert card.credits == ("made here",)
    assert card.gsd_m == 0.5
    assert card.metrics["val_iou"] == pytest.approx(run.best["val_iou"])
    assert card.trained["chosen_on"] == "val"
    assert card.trained["chips"] == 16 * run.best["epoch"]
    assert not list(run.folder.glob("*.partial*"))


def test_progress_counts_every_chip(finished):
    _, seen = finished
    assert [at.done for at in seen] == [4 * step for step in range(1, 13)]
    assert seen[-1].total == 48
    assert "loss" in seen[-1].note
    assert "val loss" in seen[-1].note


def test_several_classes_and_wide_pixels(recipe, squares, tmp_path):
    class Three(squares):
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


@pytest.mark.parametrize(("kind", "channels"), [("border", 3), ("distance", 6)])
def test_targets_beyond_classes_are_judged_as_buildings(recipe, squares, tmp_path, kind, channels):
    changed = recipe(f"target.kind='{kind}'", "target.n_bins=6", "fit.epochs=4", "fit.learning_rate=0.01")
    run = fit(changed, squares(train=32), tmp_path)
    assert run.best["val_iou"] > 0.5
    network, card = load_model(run.model)
    assert network.classes == channels
    assert card.bands == ("building", kind)


def test_the_loss_is_the_recipe_s(recipe, squares, tmp_path):
    base = ["fit.epochs=1", "loss.terms={tversky=1.0}"]
    even = fit(recipe(*base, "loss.tversky_alpha=0.5", "loss.tversky_beta=0.5"), squares(train=4), tmp_path / "a")
    tilted = fit(recipe(*base, "loss.tversky_alpha=0.1", "loss.tversky_beta=0.9"), squares(train=4), tmp_path / "b")
    # One step each, from the same weights: only what it is measured by differs.
    assert abs(even.curves[0]["train_loss"] - tilted.curves[0]["train_loss"]) > 0.01
    assert even.curves[0]["train_accuracy"] == tilted.curves[0]["train_accuracy"]


def test_without_validation_the_last_epoch_is_the_best(recipe, squares, tmp_path):
    with pytest.warns(EavesWarning, match="No chip validates"):
        run = fit(recipe(), squares(val=0), tmp_path)
    assert run.best["epoch"] == 2
    assert "last epoch" in load_model(run.model)[1].trained["chosen_on"]


def test_nothing_to_train_on(recipe, squares, tmp_path):
    with pytest.raises(SettingsError, match="chips to train on"):
        fit(recipe(), squares(train=0), tmp_path)


# --- what is chosen, and when it is enough ----------------------------------------------------------------------------


def test_chosen_on_test_is_said_everywhere(recipe, squares, tmp_path):
    changed = recipe("fit.choose_on='test'", "fit.epochs=1")
    with pytest.warns(EavesWarning, match="picked on the test scenes"):
        run = fit(changed, squares(), tmp_path)
    assert set(read_curves(tmp_path / "curves.csv")[0]) >= {"test_loss", "test_accuracy", "test_iou", "train_loss"}
    assert not any(name.startswith("val_") for name in run.best)
    card = load_model(run.model)[1]
    assert card.trained["chosen_on"] == "test"
    assert card.metrics["test_iou"] == pytest.approx(run.best["test_iou"])


def test_chosen_on_test_needs_test_chips(recipe, squares, tmp_path):
    changed = recipe("fit.choose_on='test'")
    with pytest.raises(SettingsError, match="test chips"):
        fit(changed, squares(val=0), tmp_path)
    source = squares()
    source.judge = "val"
    with pytest.raises(SettingsError, match="judge='test'"):
        fit(changed, source, tmp_path)


def test_the_best_epoch():
    rows = [{"epoch": 1, "val_iou": 0.4, "val_loss": 0.9}, {"epoch": 2, "val_iou": 0.5, "val_loss": float("nan")}]
    assert best_epoch(rows, "val_iou") == 2
    assert best_epoch(rows, "val_loss") == 1
    assert best_epoch([{"epoch": 1}, {"epoch": 2}], "val_iou") == 2


def test_enough_is_counted_from_the_best():
    rows = [{"epoch": i + 1, "val_iou": iou} for i, iou in enumerate([0.3, 0.6, 0.5, 0.6, 0.2])]
    assert [enough(rows[:n], "val_iou", 2) for n in range(6)] == [False, False, False, False, True, True]
    assert not enough(rows, "val_iou", 0)


def test_it_stops_when_nothing_gets_better_and_stays_stopped(recipe, squares, tmp_path):
    # At such a rate nothing ever changes, so that the first epoch stays the best.
    changes = ["fit.epochs=9", "fit.learning_rate=1e-12", "model.options={widths='narrow'}", "fit.monitor='iou'"]
    run = fit(recipe(*changes, "fit.stop_after=2"), squares(), tmp_path)
    assert [row["epoch"] for row in run.curves] == [1, 2, 3]
    with pytest.raises(SettingsError, match="has stopped"):
        fit(recipe(*changes, "fit.stop_after=2"), squares(), tmp_path, resume=True)
    again = fit(recipe(*changes, "fit.stop_after=3"), squares(), tmp_path, resume=True)
    assert [row["epoch"] for row in again.curves] == [1, 2, 3, 4]


def test_stopping_needs_something_that_judges(recipe, squares, tmp_path):
    with pytest.raises(SettingsError, match="validation chips"):
        fit(recipe("fit.stop_after=2"), squares(val=0), tmp_path)


# --- steps ------------------------------------------------------------------------------------------------------------


def test_two_batches_of_two_make_the_step_of_one_of_four(recipe, squares, tmp_path):
    class Known(squares):
        def load(self, item):
            chip = super().load(item)
            chip.mask[:4] = 0  # every chip knows as many pixels, so that a mean of means is the mean
            return chip

    # The square root in Adam would blow rounding up where a gradient is nearly zero.
    changes = ["model.options={widths='narrow'}", "fit.optimizer='sgd'", "fit.schedule='cosine'", "fit.warmup_steps=2"]
    whole = fit(recipe(*changes), Known(), tmp_path / "a")
    parts = fit(recipe(*changes, "fit.batch=2", "fit.accumulate=2"), Known(), tmp_path / "b")
    for name, value in load_model(whole.model)[0].state_dict().items():
        torch.testing.assert_close(load_model(parts.model)[0].state_dict()[name], value, rtol=1e-4, atol=1e-6)
    assert [row["rate"] for row in whole.curves] == [row["rate"] for row in parts.curves]


def test_an_infinite_loss_stops_with_advice(recipe, squares, tmp_path):
    changed = recipe("fit.learning_rate=1e30", "fit.clip_norm=0", "fit.optimizer='sgd'", "fit.rollbacks=0")
    with pytest.raises(TrainingError, match="learning_rate"):
        fit(changed, squares(), tmp_path)


def test_emulated_bf16_is_refused_and_never_chosen():
    network = build(ModelSettings(arch="unet28", options={"widths": "narrow"}), 3, 2)
    able = torch.cpu.get_capabilities()
    if torch.cuda.is_available() or able.get("amx_bf16") or able.get("avx512_bf16") or able.get("bf16"):
        assert choose_precision("auto", network) == "bf16-mixed"
    else:
        assert choose_precision("auto", network) == "32-true"
        with pytest.raises(SettingsError, match="bf16"):
            choose_precision("bf16", network)
    assert choose_precision("fp32", network) == "32-true"
