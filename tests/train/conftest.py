"""A toy problem, and recipes for it."""

import lightning as L
import numpy as np
import pytest

from eaves.labels import UNKNOWN
from eaves.sample import Chip
from eaves.settings import Recipe, override, parse

BASE = {
    "name": "toy",
    "model": {"arch": "unet28", "options": {"widths": "narrow", "batch_norm": True}},
    "augment": {"gamma": 0.2},
    "fit": {
        "epochs": 2,
        "batch": 4,
        "learning_rate": 3e-3,
        "schedule": "constant",
        "warmup_steps": 0,
        "precision": "fp32",  # the same numbers on every machine
    },
}


class Squares:
    """Bright squares on noise; some pixels are unknown."""

    classes, credits, gsd_m = ("background", "building"), ("made here",), 0.5

    def __init__(self, train=16, val=4, dtype=np.uint8, side=32):
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


class Poison(L.Callback):
    """NaN in the images of chosen batches, by epoch and number."""

    def __init__(self, *at):
        self.at = at

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) in self.at:
            batch.image.fill_(float("nan"))


class StopBefore(L.Callback):
    """Ctrl-C when an epoch begins."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            raise KeyboardInterrupt


@pytest.fixture(scope="session")
def squares():
    return Squares


@pytest.fixture(scope="session")
def stop_before():
    return StopBefore


@pytest.fixture(scope="session")
def poison():
    return Poison


@pytest.fixture(scope="session")
def recipe():
    """A recipe of the toy problem with ``key=value`` changes."""
    return lambda *changes: parse(Recipe, override(BASE, changes), source="test")
