"""Objects of overlapping tiles, by a detector that knows the truth: each once and whole, whatever the tiles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rasterio.windows import Window

from eaves.errors import EavesWarning, SettingsError
from eaves.models import Detections
from eaves.predict import Layout, TorchDetector, find_layout, stream_objects
from eaves.scene import Scaling

RULE = Scaling.for_bytes(1, (0.0,), (1.0,))


class Picture:
    """Buildings as rectangles: the pixel says which one, for the detector to read."""

    def __init__(self, boxes, shape, hole=None):
        self.shape, self.boxes = shape, boxes
        self.image = np.zeros(shape, np.uint8)
        for number, (x0, y0, x1, y1) in enumerate(boxes, 1):
            self.image[y0:y1, x0:x1] = number
        self.valid = np.ones(shape, bool)
        if hole is not None:
            self.valid[hole] = False
        self.image[~self.valid] = 0

    def read(self, window=None):
        assert window is not None
        rows, cols = int(window.height), int(window.width)
        row, col = int(window.row_off), int(window.col_off)
        image, valid = np.zeros((1, rows, cols), np.uint8), np.zeros((rows, cols), bool)
        r0, r1 = max(0, row), min(self.shape[0], row + rows)
        c0, c1 = max(0, col), min(self.shape[1], col + cols)
        if r1 > r0 and c1 > c0:
            inside = np.s_[r0 - row : r1 - row, c0 - col : c1 - col]
            image[0][inside], valid[inside] = self.image[r0:r1, c0:c1], self.valid[r0:r1, c0:c1]
        return image, valid


class Knowing:
    """Finds every building in a tile, with the box of what the tile shows of it."""

    name, stride, halo_px, classes = "knowing", 8, 32, 2

    def __init__(self, jitter=0.0, score=lambda number: 0.5 + 0.4 / number, capped=False):
        self.jitter, self.score, self.capped, self.runs = jitter, score, capped, 0

    def __call__(self, batch):
        found = []
        for image in batch:
            self.runs += 1
            rng = np.random.default_rng(self.runs)
            numbers = np.rint(image[0] * 255).astype(int)
            boxes, scores = [], []
            for number in np.unique(numbers[numbers > 0]):
                rows, cols = np.nonzero(numbers == number)
                box = np.array([cols.min(), rows.min(), cols.max() + 1, rows.max() + 1], float)
                boxes.append(box + rng.uniform(-self.jitter, self.jitter, 4))
                scores.append(self.score(number))
            masks = torch.ones(len(boxes), 28, 28)
            found.append(
                Detections(
                    torch.tensor(np.array(boxes).reshape(-1, 4), dtype=torch.float32),
                    torch.tensor(scores, dtype=torch.float32),
                    torch.ones(len(boxes), dtype=torch.long),
                    masks,
                    self.capped,
                )
            )
        return found


def run(picture, layout, detector=None):
    objects = []
    strips = list(stream_objects(picture, RULE, detector or Knowing(), layout, objects))
    assert [strip.row for strip in strips] == list(np.cumsum([0, *(s.levels.shape[1] for s in strips)])[:-1])
    return objects, np.concatenate([strip.levels for strip in strips], axis=1)[0]


@st.composite
def towns(draw):
    """Rectangles that do not touch, some of them much larger than a tile."""
    shape = draw(st.sampled_from([(96, 160), (200, 150), (257, 131)]))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    taken, boxes = np.zeros(shape, bool), []
    for _ in range(draw(st.integers(1, 25))):
        height, width = rng.integers(4, [shape[0] // 2, shape[1] // 2] if rng.random() < 0.2 else [30, 30])
        y, x = rng.integers(0, shape[0] - 4), rng.integers(0, shape[1] - 4)
        y1, x1 = min(y + height, shape[0]), min(x + width, shape[1])
        if not taken[max(0, y - 3) : y1 + 3, max(0, x - 3) : x1 + 3].any() and min(y1 - y, x1 - x) >= 4:
            taken[y:y1, x:x1] = True
            boxes.append((int(x), int(y), int(x1), int(y1)))
    return boxes, shape


@settings(deadline=None, max_examples=80)
@given(town=towns(), tile=st.sampled_from([32, 40, 64, 512]), batch=st.integers(1, 3))
def test_every_building_comes_once_and_whole_whatever_the_tiles(town, tile, batch):
    boxes, shape = town
    objects, levels = run(Picture(boxes, shape), Layout(tile, 32, 0, batch))
    assert sorted(tuple(round(side) for side in found.box) for found in objects) == sorted(boxes)
    inside = np.zeros(shape, bool)
    for x0, y0, x1, y1 in boxes:
        inside[y0:y1, x0:x1] = True
    assert (levels[~inside] < 127).all()
    for found, (x0, y0, x1, y1) in zip(
        sorted(objects, key=lambda each: [round(side) for side in each.box]), sorted(boxes), strict=True
    ):
        mask = found.levels >= 127
        rows, cols = np.nonzero(mask)
        assert (rows.min() + found.row, rows.max() + 1 + found.row) == (y0, y1)
        assert (cols.min() + found.col, cols.max() + 1 + found.col) == (x0, x1)


class Wavering(Knowing):
    """Each tile gives each building another score, and a duplicate some pixels off with a much lower one."""

    def __call__(self, batch):
        found = []
        for one in super().__call__(batch):
            rng = np.random.default_rng(1000 + self.runs + len(found))
            scores = torch.tensor(rng.uniform(0.5, 0.99, len(one.scores)), dtype=torch.float32)
            shift = (one.boxes[:, 2:] - one.boxes[:, :2]).repeat(1, 2) * 0.12
            boxes = torch.cat([one.boxes, one.boxes + shift])
            found.append(
                Detections(boxes, torch.cat([scores, scores * 0.2]), one.classes.repeat(2), one.masks.repeat(2, 1, 1))
            )
        return found


@settings(deadline=None, max_examples=60)
@example(town=([(101, 33, 118, 47)], (96, 160)), tile=72)  # exactly as far from the seam as counts
@example(town=([(101, 29, 118, 41)], (96, 160)), tile=72)
@given(town=towns(), tile=st.sampled_from([64, 72, 512]))
def test_near_a_seam_the_surest_view_stays_whatever_the_others_are(town, tile):
    boxes, shape = town
    boxes = [box for box in boxes if min(box[2] - box[0], box[3] - box[1]) >= 10]
    boxes = [box for box in boxes if max(box[2] - box[0], box[3] - box[1]) <= 28]  # seen whole by every tile near it
    objects, levels = run(Picture(boxes, shape), Layout(tile, 64, 0, 1), Wavering())
    sure = [found for found in objects if found.score >= 0.5]
    assert sorted(tuple(round(side) for side in found.box) for found in sure) == sorted(boxes)
    for x0, y0, x1, y1 in boxes:
        assert (levels[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2] >= 127).all()


def test_a_blob_takes_the_house_that_it_is_and_no_other():
    left, right = (20, 10, 32, 22), (33, 10, 45, 22)

    class Disagreeing(Knowing):
        def __call__(self, batch):
            self.runs += 1
            boxes = [[20, 10, 36, 22]] if self.runs == 1 else [left, right]
            at = torch.tensor(boxes, dtype=torch.float32) + 32  # the tile's view begins 32 px before it
            at -= torch.tensor([32.0, 0, 32, 0]) * (self.runs - 1)
            one = torch.ones(len(boxes))
            return [Detections(at, one * (0.9 if self.runs == 1 else 0.8), one.long(), torch.ones(len(boxes), 28, 28))]

    objects, _ = run(Picture([left, right], (32, 64)), Layout(32, 32, 0, 1), Disagreeing())
    assert sorted(round(found.score, 1) for found in objects) == [0.8, 0.9]


def test_a_hall_of_parts_has_the_mean_of_their_scores():
    scores = iter([0.9, 0.5, 0.7, 0.6, 0.8])
    hall = (4, 4, 156, 24)
    objects, levels = run(
        Picture([hall], (32, 160)), Layout(32, 32, 0, 1), Knowing(score=lambda _, each=scores: next(each))
    )
    assert [tuple(round(side) for side in found.box) for found in objects] == [hall]
    assert 0.5 < objects[0].score < 0.9
    assert levels[14, 8] == int(np.float32(0.9) * 254)


@settings(deadline=None, max_examples=40)
@given(town=towns(), tile=st.sampled_from([32, 40, 64]))
def test_views_that_disagree_by_some_pixels_are_still_one_building(town, tile):
    boxes, shape = town
    boxes = [box for box in boxes if min(box[2] - box[0], box[3] - box[1]) > 9]
    objects, _ = run(Picture(boxes, shape), Layout(tile, 32, 0, 1), Knowing(jitter=1.4))
    assert len(objects) == len(boxes)


def test_scores_of_pixels_are_those_of_the_surest_object():
    picture = Picture([(4, 4, 24, 24), (40, 4, 60, 24)], (64, 96))
    _, levels = run(picture, Layout(64, 32, 0, 1), Knowing(score=lambda number: 0.3 if number == 1 else 0.9))
    assert levels[14, 14] == int(0.3 * 254)
    assert levels[14, 50] == int(np.float32(0.9) * 254)
    assert levels[40, 80] == 0


def test_where_there_is_no_imagery_there_is_nothing():
    picture = Picture([(4, 4, 40, 40)], (80, 80), hole=np.s_[20:30, :])
    objects, levels = run(picture, Layout(40, 32, 0, 1))
    assert (levels[20:30] == 255).all()
    assert (np.delete(levels, np.s_[20:30], axis=0) != 255).all()
    for found in objects:
        rows = np.arange(found.levels.shape[0]) + found.row
        assert not found.levels[(rows >= 20) & (rows < 30)].any()


def test_tiles_without_imagery_are_not_run():
    detector = Knowing()
    picture = Picture([(4, 4, 20, 20)], (64, 400), hole=np.s_[:, 100:])
    run(picture, Layout(64, 32, 0, 4), detector)
    assert detector.runs == 3  # the halo of the third sees the last columns


def test_a_cap_is_told_once():
    with pytest.warns(EavesWarning, match="4 of 4 tiles hold more objects"):
        run(Picture([(4, 4, 20, 20)], (64, 64)), Layout(32, 32, 0, 1), Knowing(capped=True))


def test_layouts_cover_the_halo():
    assert find_layout(Knowing(), (5000, 5000)) == Layout(1024, 32, 0, 1)
    assert find_layout(Knowing(), (5000, 5000), tile_px=3, batch=2) == Layout(32, 32, 0, 2)
    assert find_layout(Knowing(), (50, 70)).tile_px == 72
    for wrong in ({"tile_px": 0}, {"batch": 0}):
        with pytest.raises(SettingsError):
            find_layout(Knowing(), (50, 50), **wrong)


def test_a_threshold_must_be_a_score():
    from eaves.models import build
    from eaves.settings import ModelSettings

    options = {"encoder": "resnet18", "width": 16, "head_width": 32, "norm": "batch"}
    network = build(ModelSettings(arch="maskrcnn", options=options), 3, 2)
    for wrong in (0.0, 1.0):
        with pytest.raises(SettingsError, match="between 0 and 1"):
            TorchDetector(network, "cpu", wrong)  # pyright: ignore[reportArgumentType]
    detector = TorchDetector(network, "cpu", 0.4)  # pyright: ignore[reportArgumentType]
    [found] = detector(np.zeros((1, 3, 64, 64), np.float32))
    assert (found.scores >= 0.4).all()


def test_windows_read_what_they_say():
    picture = Picture([(0, 0, 8, 8)], (16, 16))
    image, valid = picture.read(Window(-4, -4, 8, 8))
    assert image[0, 4:, 4:].all()
    assert not valid[:4].any()
