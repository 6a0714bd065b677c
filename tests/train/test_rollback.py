"""A loss that is not finite costs some steps, not the run."""

import functools
import sys

import lightning as L
import pytest
import torch

from eaves.errors import EavesWarning, TrainingError
from eaves.models import load_model
from eaves.train import RollBack, fit


class Look(L.Callback):
    """What weights, statistics and the optimiser's state were after each batch."""

    def __init__(self):
        self.seen = {}

    def on_train_epoch_start(self, trainer, pl_module):
        self.seen[trainer.current_epoch, -1] = self.state(trainer, pl_module)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen[trainer.current_epoch, batch_idx] = self.state(trainer, pl_module)

    @staticmethod
    def state(trainer, pl_module):
        moments = trainer.optimizers[0].state_dict()["state"]
        tensors = {f"{i} {k}": v.clone() for i, state in moments.items() for k, v in state.items()}
        return tensors | {k: v.clone() for k, v in pl_module.network.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_weights_statistics_and_optimiser_go_back_and_the_rate_halves(recipe, squares, poison, tmp_path):
    look = Look()
    with pytest.warns(EavesWarning, match=r"not finite at step 6: .* step 4 at 0\.5 of its rates"):
        run = fit(recipe("fit.epochs=3"), squares(), tmp_path, callbacks=[poison((1, 2)), look])
    assert same(look.seen[1, 2], look.seen[1, -1])
    assert not same(look.seen[1, 1], look.seen[1, -1])
    assert not same(look.seen[1, 3], look.seen[1, 2])
    assert [row["rate"] for row in run.curves] == [3e-3, 1.5e-3, 1.5e-3]
    assert run.curves[-1]["val_iou"] > 0.7
    assert all(value == value for row in run.curves for value in row.values())
    assert load_model(run.folder / "epochs/epoch_003.safetensors")[1].trained["rollbacks"] == 1


def test_a_gradient_that_overflows_goes_back_too(recipe, squares, tmp_path):
    class Overflow(L.Callback):
        def on_after_backward(self, trainer, pl_module):
            if trainer.global_step == 1:
                next(pl_module.network.parameters()).grad[0] = float("inf")

    with pytest.warns(EavesWarning, match="gradient not finite at step 1"):
        run = fit(recipe("fit.epochs=1"), squares(), tmp_path, callbacks=[Overflow()])
    load_model(run.model)  # refuses weights that are not finite


class Spoil(L.Callback):
    """Change the weights in one step, after its gradient has been found good."""

    def __init__(self, step, value):
        self.step, self.value = step, value

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if trainer.global_step == self.step:
            for parameter in pl_module.parameters():
                parameter.data.fill_(self.value)


def test_weights_that_overflow_are_found_before_they_are_judged(recipe, squares, tmp_path):
    with pytest.warns(EavesWarning, match="Weights not finite at step 4: .* step 0"):
        run = fit(recipe("fit.epochs=1"), squares(), tmp_path, callbacks=[Spoil(3, float("inf"))])
    assert 0 < run.best["val_loss"] < 10
    load_model(run.model)


def test_the_running_mean_goes_back_with_the_weights(recipe, squares, tmp_path):
    with pytest.warns(EavesWarning, match="not finite at step 6"):
        run = fit(recipe("fit.epochs=2", "fit.ema=0.9"), squares(), tmp_path, callbacks=[Spoil(5, 1e25)])
    weights = load_model(run.folder / "epochs/epoch_002.safetensors")[0].state_dict().values()
    assert max(float(value.abs().max()) for value in weights) < 1e3


def test_of_two_copies_the_older_one_counts(recipe, squares, poison, tmp_path, monkeypatch):
    look = Look()
    often = functools.partial(RollBack, every=2)
    monkeypatch.setattr(sys.modules["eaves.train.fitting"], "RollBack", often)
    with pytest.warns(EavesWarning, match="not finite at step 7: .* of step 4 "):
        fit(recipe("fit.epochs=1"), squares(train=32), tmp_path, callbacks=[poison((0, 7)), look])
    assert same(look.seen[0, 7], look.seen[0, 3])


def test_roll_backs_come_to_an_end(recipe, squares, poison, tmp_path):
    bad = poison((0, 1), (1, 1))
    with (
        pytest.warns(EavesWarning, match="roll-back 1 of 1"),
        pytest.raises(TrainingError, match=r"at step 5 after 1 roll-back\. Do: lower fit\.learning_rate"),
    ):
        fit(recipe("fit.rollbacks=1"), squares(), tmp_path, callbacks=[bad])
    assert (tmp_path / "last.ckpt").exists()


class Nan(L.Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        batch.image.fill_(float("nan"))
        (rollback,) = (callback for callback in trainer.callbacks if isinstance(callback, RollBack))
        assert not rollback._kept


def test_without_roll_backs_nothing_is_kept_in_memory(recipe, squares, tmp_path):
    with pytest.raises(TrainingError, match=r"at step 0\. Do"):
        fit(recipe("fit.rollbacks=0"), squares(), tmp_path, callbacks=[Nan()])
