"""What looks on speaks when it should, and only then."""

import functools
import sys
import threading
import time

import numpy as np
import pytest
import torch

from eaves.errors import EavesWarning
from eaves.models import load_model
from eaves.train import CollapseAlarm, Item, fit


def test_the_alarm_rings_for_background_alone_and_only_then():
    alarm = CollapseAlarm(every=2, patience=2)
    mask = torch.ones(1, 8, 8, dtype=torch.uint8)

    def steps(count, prediction):
        for _ in range(count):
            alarm.on_train_batch_end(None, None, {"prediction": prediction}, Item(mask, mask, mask), 0)

    steps(6, torch.ones(1, 8, 8, dtype=torch.long))
    assert not alarm.rung
    with pytest.warns(EavesWarning, match="everything background"):
        steps(4, torch.zeros(1, 8, 8, dtype=torch.long))
    assert alarm.rung


@pytest.fixture
def sparse(squares, monkeypatch):
    """A few small buildings; the alarm looks every 20 batches, for the test to be short."""
    monkeypatch.setattr(sys.modules["eaves.train.fitting"], "CollapseAlarm", functools.partial(CollapseAlarm, every=20))

    class Sparse(squares):
        def load(self, item):
            chip, rng = super().load(item), np.random.default_rng(item[1])
            chip.mask[:], chip.image[:] = 0, rng.integers(20, 90, chip.image.shape)
            row, col = rng.integers(0, 26, 2)
            chip.mask[row : row + 6, col : col + 6] = 1
            chip.image[:, chip.mask == 1] += 60
            return chip

    return Sparse(train=320, val=4)


def test_the_paper_s_settings_ring_the_alarm(recipe, sparse, tmp_path):
    paper = ["fit.optimizer='adam'", "fit.learning_rate=0.01", "fit.weight_decay=0", "fit.clip_norm=0"]
    with pytest.warns(EavesWarning, match="everything background"):
        run = fit(recipe(*paper, "model.options={widths='narrow'}", "fit.epochs=1"), sparse, tmp_path)
    assert run.best["val_iou"] < 0.1


def test_a_healthy_recipe_does_not_ring_it(recipe, sparse, tmp_path):
    run = fit(recipe("fit.epochs=1", "loss.terms={cross_entropy=1.0, dice=1.0}"), sparse, tmp_path)
    assert run.best["val_iou"] > 0.5  # and a warning would have been an error


def test_a_first_batch_that_does_not_come_is_told(recipe, squares, tmp_path):
    class Slow(squares):
        waited = 0

        def train(self, epoch):
            self.waited += epoch == 0
            return super().train(epoch)

        def load(self, item):
            if item == (0, 0) and self.waited > 1:  # in training, not while looking at the first chip
                time.sleep(0.8)
            return super().load(item)

    changed = recipe("fit.epochs=1", "fit.first_batch_s=0.2", "fit.batch=16")
    with pytest.warns(EavesWarning, match=r"No first batch for .* in load .*fit\.workers = 0") as told:
        run = fit(changed, Slow(), tmp_path)
    assert len(told) == 1
    load_model(run.model)


def test_a_run_that_moves_is_left_alone(recipe, squares, tmp_path):
    fit(recipe("fit.epochs=1", "fit.first_batch_s=20"), squares(), tmp_path)
    time.sleep(1.2)
    assert not [thread for thread in threading.enumerate() if "_wait" in thread.name]
