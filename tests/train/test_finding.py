"""The module that trains networks of objects: what it counts, and what it logs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.windows import Window

from eaves.errors import EavesWarning, SettingsError
from eaves.labels import UNKNOWN
from eaves.models import load_model, objects_of
from eaves.sample import Chip, ChipRecord, open_chips, write_chips
from eaves.settings import Recipe, override, parse
from eaves.train import StoredChips, fit
from eaves.train.finding import Counts, count_found

BASE = {
    "name": "toy",
    "model": {
        "arch": "maskrcnn",
        "options": {"encoder": "resnet18", "norm": "batch", "width": 16, "head_width": 32, "regions": 32},
    },
    "target": {"kind": "instances"},
    "fit": {"epochs": 1, "batch": 2, "precision": "fp32", "warmup_steps": 0},
}


def recipe(*changes) -> Recipe:
    return parse(Recipe, override(BASE, changes), source="toy")


class Squares:
    """Two bright squares that touch; a strip is unknown."""

    classes, credits, gsd_m = ("background", "building"), (), 0.5

    def __init__(self, train=4, val=2):
        self.sizes = train, val

    def train(self, epoch):
        return [(epoch, index) for index in range(self.sizes[0])]

    def val(self):
        return [(-1, index) for index in range(self.sizes[1])]

    def load(self, item):
        rng = np.random.default_rng((item[0] + 5, item[1]))
        image = rng.integers(20, 90, (3, 64, 64))
        mask, numbers = np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.uint16)
        row, col = rng.integers(4, 30, 2)
        for number, at in enumerate((col, col + 15), 1):
            mask[row : row + 15, at : at + 15], numbers[row : row + 15, at : at + 15] = 1, number
        image[:, mask == 1] += 120
        mask[:3] = UNKNOWN
        numbers[mask == UNKNOWN] = 0
        return Chip(image.astype(np.uint8), mask, np.ones_like(mask, bool), numbers)


def box_mask(x0, y0, x1, y1, side=32):
    mask = np.zeros((side, side), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def known(*boxes, classes=None, unknown=None):
    mask, numbers = np.zeros((32, 32), np.uint8), np.zeros((32, 32), np.int32)
    for number, (x0, y0, x1, y1) in enumerate(boxes, 1):
        mask[y0:y1, x0:x1] = 1 if classes is None else classes[number - 1]
        numbers[y0:y1, x0:x1] = number
    if unknown is not None:
        mask[unknown] = UNKNOWN
    return objects_of(torch.from_numpy(mask), torch.from_numpy(numbers))


# --- counting ---------------------------------------------------------------------------------------------------------


def test_each_object_is_found_once_by_the_surest():
    truth = known((0, 0, 10, 10), (20, 0, 30, 10))
    found = [box_mask(0, 0, 10, 9), box_mask(0, 0, 10, 10), box_mask(0, 20, 9, 30)]
    assert count_found(found, torch.ones(3), truth) == Counts(right=1, wrong=2, missed=1)
    assert count_found([], torch.ones(0), truth) == Counts(0, 0, 2)


def test_another_class_and_half_an_object_are_wrong():
    truth = known((0, 0, 10, 10), (20, 0, 30, 10), classes=[1, 2])
    found = [box_mask(20, 0, 30, 10), box_mask(0, 0, 10, 4)]
    assert count_found(found, torch.tensor([1, 1]), truth) == Counts(0, 2, 2)
    assert count_found(found[:1], torch.tensor([2]), truth) == Counts(1, 0, 1)
    assert count_found([box_mask(0, 0, 10, 5)], torch.tensor([1]), truth) == Counts(1, 0, 1)  # exactly one half


def test_what_lies_where_nothing_is_known_is_neither():
    truth = known((0, 0, 10, 10), unknown=np.s_[16:, :])
    found = [box_mask(0, 20, 10, 30), box_mask(20, 10, 30, 18), np.zeros((32, 32), bool)]
    assert count_found(found, torch.ones(3), truth) == Counts(0, 1, 1)


def test_a_house_cut_by_unknown_ground_is_found_by_what_is_known_of_it():
    truth = known((0, 4, 20, 14), unknown=np.s_[:, 12:])
    assert count_found([box_mask(0, 4, 20, 14)], torch.ones(1), truth) == Counts(1, 0, 0)


def test_the_cap_is_of_the_densest_chip_wherever_it_lies(tmp_path):
    class Late(Squares):
        def train(self, epoch):
            return [(epoch, index) for index in range(300)]

        def load(self, item):
            chip = super().load(item)
            if item[1] < 290:
                return chip._replace(mask=np.zeros_like(chip.mask), instances=np.zeros_like(chip.instances))
            return chip

    from eaves.train.fitting import prepare

    pinned = prepare(recipe(), Late()).recipe.model.options["detections_per_mpx"]
    assert pinned == np.ceil(2 * 2 / 64**2 * 1e6)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 999))
def test_the_truth_finds_itself_and_nothing_is_counted_twice(seed):
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 24, (6, 2))
    boxes = [(x, y, x + w, y + h) for (x, y), (w, h) in zip(corners, rng.integers(3, 8, (6, 2)), strict=True)]
    truth = known(*boxes)
    masks = [mask.numpy() for mask in truth.masks]
    order = rng.permutation(len(masks))
    assert count_found([masks[i] for i in order], torch.ones(len(masks)), truth) == Counts(len(masks), 0, 0)
    guess = [box_mask(*rng.integers(0, 16, 2), *rng.integers(16, 32, 2)) for _ in range(5)]
    right, wrong, missed = count_found(guess, torch.ones(5), truth)
    assert right + wrong == 5
    assert right + missed == len(masks)


# --- training ---------------------------------------------------------------------------------------------------------


def test_the_densest_chip_sets_the_cap_that_the_card_keeps(tmp_path):
    run = fit(recipe(), Squares(), tmp_path)
    network, card = load_model(run.model)
    assert card.recipe.model.options["detections_per_mpx"] == np.ceil(2 * 2 / 64**2 * 1e6)
    assert network.detections_per_mpx == card.recipe.model.options["detections_per_mpx"]
    (tmp_path / "own").mkdir()
    own = fit(recipe("model.options.detections_per_mpx=5000"), Squares(), tmp_path / "own")
    assert load_model(own.model)[1].recipe.model.options["detections_per_mpx"] == 5000


def test_validation_draws_the_same_regions_in_every_epoch(tmp_path):
    run = fit(recipe("fit.epochs=2", "fit.learning_rate=1e-12"), Squares(), tmp_path)
    # The weights stand still, and what is left of the difference are the statistics of batch normalisation.
    first, second = (row["val_proposal"] for row in run.curves)
    assert second == pytest.approx(first, rel=0.2)


def test_a_blind_network_is_told_of(tmp_path, monkeypatch):
    monkeypatch.setattr("eaves.train.finding._SURE", 0.999)
    with pytest.warns(EavesWarning, match="found nothing on the chips that judge"):
        fit(recipe("fit.epochs=4", "fit.learning_rate=1e-9"), Squares(), tmp_path)


def test_bad_losses_roll_back_as_in_any_training(tmp_path, monkeypatch):
    from eaves.models.maskrcnn import MaskRcnn

    losses, calls = MaskRcnn.losses, []

    def broken(self, image, objects):
        terms = losses(self, image, objects)
        calls.append(1)
        return {**terms, "mask": terms["mask"] * float("nan")} if len(calls) == 2 else terms

    monkeypatch.setattr(MaskRcnn, "losses", broken)
    with pytest.warns(EavesWarning, match="not finite"):
        run = fit(recipe(), Squares(train=6), tmp_path)
    assert np.isfinite(run.curves[-1]["train_loss"])


def test_epochs_are_chosen_by_f1(tmp_path):
    run = fit(recipe("fit.epochs=2", "fit.monitor=f1"), Squares(), tmp_path)
    assert run.best["val_f1"] == max(row["val_f1"] for row in run.curves)


def test_two_processes_train_and_judge_together(tmp_path):
    source, window = Squares(), Window(0, 0, 64, 64)
    items = [*((item, "train") for item in source.train(0)), *((item, "val") for item in source.val())]
    stored = tmp_path / "chips"
    write_chips(
        (ChipRecord(source.load(item), "s", window, split) for item, split in items), stored, classes=source.classes
    )
    # Kept in files: other processes can open those, and nothing of this module.
    run = fit(recipe("fit.processes=2"), StoredChips(open_chips(stored)), tmp_path / "run")
    assert 0 <= run.best["val_f1"] <= 1
    assert np.isfinite(run.best["train_mask"])


def test_a_network_that_cannot_start_at_random_says_so(tmp_path):
    with pytest.raises(SettingsError, match="pretrained weights for maskrcnn"):
        fit(recipe("model.options.norm=frozen"), Squares(), tmp_path)
