"""COCO's numbers: by hand, beside the library's own, beside exact polygons."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import shapely
from faster_coco_eval import COCO, COCOeval_faster
from hypothesis import given
from hypothesis import strategies as st
from shapely import box

from eaves.errors import LabelError, SettingsError
from eaves.exchange.coco_masks import encode_rle
from eaves.metrics import CocoReport, boundary_iou, coco_report, match, object_report
from eaves.metrics.coco import _runs

NONE = np.array([], dtype=object)
FRAME = 64


@st.composite
def layers(draw):
    """Boxes on whole pixels that may overlap in any way, of two layers, and scores that all differ."""
    side = st.integers(0, FRAME - 12)
    boxes = st.builds(lambda x, y, w, h: box(x, y, x + w, y + h), side, side, st.integers(3, 12), st.integers(3, 12))
    there = draw(st.lists(boxes, min_size=1, max_size=6))
    nudge = st.tuples(st.sampled_from(range(len(there))), *[st.integers(-2, 2)] * 2)
    found = [shapely.transform(there[i], lambda xy, by=by: xy + np.array(by)) for i, *by in draw(st.lists(nudge))]
    found = [shapely.box(*np.clip(shape.bounds, 0, FRAME)) for shape in [*found, *draw(st.lists(boxes, max_size=3))]]
    return found, there, draw(st.permutations(np.linspace(0.1, 0.9, len(found)).tolist()))


def library(found, there, scores, ratio, kind):
    """AP, AP50 and AP75 as faster-coco-eval gives them for one image of FRAME x FRAME px."""

    def runs(shape):
        left, upper, right, lower = map(int, shape.bounds)
        mask = np.zeros((FRAME, FRAME), bool)
        mask[upper:lower, left:right] = True
        return encode_rle(mask), int(mask.sum())

    def listed(shapes):
        return [
            {"id": at, "image_id": 1, "category_id": 1, "segmentation": rle, "area": area, "bbox": [0, 0, 1, 1]}
            | {"iscrowd": 0, "score": 1.0}
            for at, (rle, area) in enumerate(map(runs, shapes), 1)
        ]

    frame = {"images": [{"id": 1, "width": FRAME, "height": FRAME}], "categories": [{"id": 1, "name": "building"}]}
    given_ = [one | {"score": score} for one, score in zip(listed(found), scores, strict=True)]
    sides = [COCO(frame | {"annotations": side}) for side in (listed(there), given_)]
    evaluator = COCOeval_faster(*sides, iouType=kind, boundary_dilation_ratio=ratio)
    evaluator.params.maxDets = [1, 10, 1000]
    evaluator.evaluate()
    evaluator.accumulate()
    precision = evaluator.eval["precision"][:, :, 0, 0, 2]
    return [precision.mean(), precision[0].mean(), precision[5].mean()]


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_ap_by_hand():
    there = [box(0, 0, 10, 10), box(20, 0, 30, 10)]
    found = [box(0, 0, 10, 10), box(40, 0, 50, 10), box(20, 0, 30, 10)]
    report = coco_report(found, there, [0.9, 0.8, 0.7])  # right, wrong, right: 51 recalls at 1, 50 at 2 / 3
    assert (report.ap, report.ap50, report.ap75) == pytest.approx([(51 + 50 * 2 / 3) / 101] * 3)
    assert (report.boundary_ap, report.boundary_px, report.dilation_ratio) == (None, None, None)
    assert coco_report(found, there, [0.9, 0.1, 0.7]).ap == 1


def test_boundary_ap_by_hand():
    # Of 9 x 9 and 9 x 8 px the rims of 1 px have 32 and 30 in all, of which 23 are shared: 23 / 39. Masks: 8 / 9.
    one, other = box(0, 0, 9, 8), box(0, 0, 9, 9)
    masks = np.zeros((2, 9, 9), bool)
    masks[0, :8] = masks[1] = True
    assert boundary_iou(*masks, 1) == 23 / 39
    report = coco_report([one], [other], [1.0], boundary_px=1)
    assert (report.ap, report.ap50, report.ap75) == (pytest.approx(0.8), 1, 1)
    assert (report.boundary_ap, report.boundary_ap50, report.boundary_ap75) == (pytest.approx(0.2), 1, 0)
    # As the boundary grows the masks decide.
    assert coco_report([one], [other], [1.0], boundary_px=9).boundary_ap == pytest.approx(0.8)


def test_boundary_ap_takes_the_lesser_of_the_two():
    """Rings of one outline: their rims agree where their areas do not."""
    disc = box(0, 0, 30, 30)
    ring = shapely.Polygon(disc.exterior, [box(2, 2, 28, 28).exterior])
    report = coco_report([ring], [disc], [1.0], boundary_px=2)
    assert (report.ap, report.boundary_ap) == (0, 0)  # boundary IoU 1, mask IoU 0.25


def test_the_reach_is_stated_as_papers_do():
    house = [box(0, 0, 9, 9)]
    report = coco_report(house, house, [1.0], boundary_px=8, gsd_m=0.3)
    assert round(report.dilation_ratio, 3) == 0.019
    assert max(1, round(report.dilation_ratio * np.hypot(300, 300))) == 8
    assert (report.boundary_px, report.gsd_m) == (8, 0.3)
    assert CocoReport.model_validate_json(report.model_dump_json()) == report


def test_more_than_a_hundred_predictions_count():
    """COCO's usual cap of 100 an image would stop at a recall of a half. All of them meet one large roof."""
    street = [box(10 * i, 0, 10 * i + 9, 9) for i in range(200)]
    report = coco_report(street, [*street, box(0, 8, 2000, 12)], np.linspace(1, 0.5, 200), boundary_px=1)
    assert report.ap50 == pytest.approx(np.mean(np.arange(101) <= 100 * 200 / 201))
    assert report.max_detections == 200


def test_a_mask_is_the_pixels_whose_centres_it_holds():
    thin = box(0, 0, 10, 0.4)  # between centres: no pixel
    report = coco_report([thin], [thin], [1.0])
    assert report.ap == 0  # a reference without pixels cannot be found, and counts
    assert coco_report([box(0, 0.3, 10, 5.4)], [box(0, 0, 10, 5)], [1.0]).ap == 1


def test_empty_sides():
    house = [box(0, 0, 9, 9)]
    assert (coco_report(NONE, house, []).ap, coco_report(NONE, house, [], boundary_px=1).boundary_ap) == (0, 0)
    for found in (NONE, house):
        report = coco_report(found, NONE, [0.5] * len(found), boundary_px=1)
        assert (report.ap, report.boundary_ap, report.max_detections) == (None, None, len(found))


# --- refused ----------------------------------------------------------------------------------------------------------


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(SettingsError, match=r"eaves\[coco\]"):
        coco_report(NONE, NONE, [])


def test_wrong_input():
    house = [box(0, 0, 9, 9)]
    for scores in ([], [np.nan], [0.1, 0.2], None):
        with pytest.raises(LabelError, match="a score for each of 1"):
            coco_report(house, house, scores)
    for reach in (0, 1.5):
        with pytest.raises(SettingsError, match="whole pixels"):
            coco_report(house, house, [1.0], boundary_px=reach)
    with pytest.raises(LabelError, match="at most 268435456 px"):
        coco_report([box(0, 0, 20_000, 20_000)], house, [1.0])


# --- laws -------------------------------------------------------------------------------------------------------------


@given(layers(), st.integers(1, 6))
def test_equals_the_library_over_the_whole_image(layer, reach):
    found, there, scores = layer
    ratio = reach / np.hypot(FRAME, FRAME)
    report = coco_report(found, there, scores, boundary_px=reach)
    ours = [report.ap, report.ap50, report.ap75, report.boundary_ap, report.boundary_ap50, report.boundary_ap75]
    theirs = library(found, there, scores, ratio, "segm") + library(found, there, scores, ratio, "boundary")
    assert ours == pytest.approx(theirs if found else [0] * 6, abs=1e-12)


@given(layers(), st.tuples(st.integers(-5000, 5000), st.integers(-5000, 5000)))
def test_on_whole_pixels_equals_exact_polygons(layer, origin):
    """Where a prediction meets two references with one IoU, the two codes choose differently: those are left out."""
    found, there, scores = layer
    there = [shape for at, shape in enumerate(there) if not any(shape.intersects(other) for other in there[:at])]
    exact = object_report(match(found, there, scores))
    moved = ([shapely.transform(shape, lambda xy: xy + np.array(origin)) for shape in side] for side in (found, there))
    report = coco_report(*moved, scores)
    # The library's thresholds of recall and IoU are floats, and miss what is reached exactly.
    assert [report.ap50, report.ap75, report.ap] == pytest.approx([exact.ap50, exact.ap75, exact.ap], abs=0.02)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 3), st.integers(0, 3), st.data())
def test_runs_are_cocos(rows, cols, top, left, data):
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=rows * cols, max_size=rows * cols)), np.uint8)
    mask = mask.reshape(rows, cols)
    size = (rows + top + data.draw(st.integers(0, 2)), cols + left + data.draw(st.integers(0, 2)))
    expected = encode_rle(mask, compress=False, at=(top, left), size=size)["counts"]
    assert _runs(mask, top, left, *size).tolist() == expected
