from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely import box

from eaves.errors import LabelError, SettingsError
from eaves.metrics import ObjectReport, match, object_report

NONE = np.array([], dtype=object)


@st.composite
def rows_of_boxes(draw, cells: int = 8):
    """Disjoint boxes, one at most in each 10 x 10 cell of a row; neighbours may touch."""
    boxes = []
    for cell in range(cells):
        if draw(st.booleans()):
            left, bottom = draw(st.integers(0, 8)), draw(st.integers(0, 8))
            right, top = draw(st.integers(left + 1, 10)), draw(st.integers(bottom + 1, 10))
            boxes.append(box(10 * cell + left, bottom, 10 * cell + right, top))
    return np.array(boxes, dtype=object)


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_counts_by_hand():
    references = [box(0, 0, 10, 10), box(20, 0, 30, 10), box(40, 0, 50, 10)]
    predictions = [box(1, 0, 11, 10), box(20, 0, 30, 4), box(60, 0, 70, 10), box(40, 0, 50, 10)]
    found = match(predictions, references)
    assert found.pred_index.tolist() == [0, 3]
    assert found.ref_index.tolist() == [0, 2]
    assert found.iou.tolist() == [90 / 110, 1.0]
    assert (found.tp, found.fp, found.fn) == (2, 2, 1)
    assert (found.precision, found.recall, found.f1) == (2 / 4, 2 / 3, 4 / 7)


def test_half_is_a_match():
    assert match([box(0, 0, 2, 1)], [box(0, 0, 1, 1)]).tp == 1
    assert match([box(0, 0, 2.001, 1)], [box(0, 0, 1, 1)]).tp == 0
    assert match([box(0, 0, 4, 1)], [box(0, 0, 1, 1)], iou=0.25).tp == 1


def test_the_most_certain_chooses_first():
    references = [box(0, 0, 10, 10)]
    predictions = [box(0, 0, 10, 6), box(0, 0, 10, 9)]
    assert match(predictions, references).pred_index.tolist() == [0]  # in the order given
    assert match(predictions, references, [0.2, 0.9]).pred_index.tolist() == [1]
    assert match(predictions, references, [0.5, 0.5]).pred_index.tolist() == [0]  # equal: in the order given


def test_each_takes_the_best_that_is_left():
    references = [box(0, 0, 10, 6), box(0, 0, 10, 8)]
    found = match([box(0, 0, 10, 8), box(0, 0, 10, 9)], references, iou=0.3)
    assert found.pred_index.tolist() == [0, 1]
    assert found.ref_index.tolist() == [1, 0]


def test_holes_count_by_area():
    courtyard = shapely.Polygon(box(0, 0, 10, 10).exterior, [box(1, 1, 9, 9).exterior])
    assert match([box(0, 0, 10, 10)], [courtyard]).tp == 0  # 36 of 100
    assert match([shapely.MultiPolygon([courtyard])], [courtyard]).iou.tolist() == [1.0]


def test_merged():
    houses = [box(10 * i, 0, 10 * i + 10, 10) for i in range(4)]
    found = match([box(0, 0, 25, 10)], houses)  # two whole, and exactly half of the third
    assert (found.merged, found.swallowed) == (1, 3)
    assert (found.split, found.fragments) == (0, 0)
    found = match([box(0, 0, 24, 10), box(30, 0, 40, 10)], houses)
    assert (found.merged, found.swallowed, found.tp) == (1, 2, 1)


def test_split():
    house = [box(0, 0, 30, 10)]
    found = match([box(0, 0, 10, 10), box(10, 0, 20, 10), box(25, 0, 45, 10)], house)  # the third: a quarter inside
    assert (found.split, found.fragments) == (1, 2)
    assert (found.merged, found.swallowed) == (0, 0)


def test_small_ones_count_on_neither_side():
    small, exact, large = box(0, 0, 4, 4.9), box(10, 0, 14, 5), box(20, 0, 30, 10)
    found = match([small, exact], [small, exact, large], min_area=20)
    assert (found.tp, found.fp, found.fn) == (1, 0, 1)
    assert (found.pred_index.tolist(), found.ref_index.tolist()) == ([1], [1])  # positions as given
    assert found.pred_counted.tolist() == [False, True]
    report = object_report(found)
    assert (report.small_predictions, report.small_references) == (1, 1)


def test_empty_sides():
    one = [box(0, 0, 1, 1)]
    both, no_prediction, no_reference = match(NONE, NONE), match(NONE, one), match(one, NONE)
    assert (both.f1, both.precision, both.recall) == (1.0, None, None)
    assert (no_prediction.f1, no_prediction.precision, no_prediction.recall, no_prediction.fn) == (0, None, 0, 1)
    assert (no_reference.f1, no_reference.precision, no_reference.recall, no_reference.fp) == (0, 0, None, 1)


def test_report_sums_scenes():
    house = [box(0, 0, 1, 1)]
    report = object_report(match(house, house), match(NONE, house * 3))
    assert (report.tp, report.fp, report.fn) == (1, 0, 3)
    assert (report.f1, report.precision, report.recall) == (2 / 5, 1, 1 / 4)
    assert ObjectReport.model_validate_json(report.model_dump_json()) == report


def test_spacenet_reference_example(eaves_data):
    """Counts that the SpaceNet library solaris states in its own tests for this pair of files."""
    folder = eaves_data / "samples" / "atlanta"
    references, predictions = (gpd.read_file(folder / name) for name in ("gt.geojson", "pred.geojson"))
    found = match(predictions.geometry, references.geometry, predictions["conf"])
    assert (found.tp, found.fp, found.fn) == (8, 20, 20)
    assert found.f1 == pytest.approx(0.2857142857142857)


# --- refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("geometry", "message"),
    [
        (shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)]), "Self-intersection.*make_valid"),
        (None, "nothing"),
        (shapely.Polygon(), "an empty Polygon"),
        (shapely.LineString([(0, 0), (1, 1)]), "LineString"),
    ],
)
def test_geometry_that_cannot_be_measured(geometry, message):
    good = box(0, 0, 1, 1)
    for predictions, references in (([good, geometry], [good]), ([good], [good, geometry])):
        with pytest.raises(LabelError, match=f"1 others among 2, the first at position 1: .*{message}"):
            match(predictions, references)


def test_wrong_settings_and_scores():
    house = [box(0, 0, 1, 1)]
    for wrong in ({"iou": 0}, {"iou": 1.1}, {"min_area": -1}, {"iou": np.nan}):
        with pytest.raises(SettingsError):
            match(house, house, **wrong)
    for scores in ([0.1, 0.2], [np.nan], 0.5):
        with pytest.raises(LabelError, match="a score for each"):
            match(house, house, scores)
    with pytest.raises(SettingsError, match="one rule"):
        object_report(match(house, house), match(house, house, iou=0.4))
    with pytest.raises(SettingsError, match="one rule"):
        object_report()


# --- laws -------------------------------------------------------------------------------------------------------------


@given(rows_of_boxes())
def test_equal_sets(houses):
    found = match(houses, houses)
    assert (found.f1, found.fp, found.fn, found.merged, found.split) == (1, 0, 0, 0, 0)
    assert (found.pred_index == found.ref_index).all()
    assert (found.iou == 1).all()


@given(rows_of_boxes(), rows_of_boxes())
def test_disjoint_sets(houses, others):
    found = match(houses, shapely.transform(others, lambda xy: xy + np.array([0, 10])))  # touching at most
    assert found.tp == found.merged == found.split == 0
    assert found.f1 == (0 if len(houses) + len(others) else 1)


@given(rows_of_boxes(), rows_of_boxes())
def test_swapping_sides(houses, others):
    there, back = match(houses, others), match(others, houses)
    assert (there.precision, there.recall, there.f1) == (back.recall, back.precision, back.f1)
    assert (there.merged, there.swallowed) == (back.split, back.fragments)
    assert (there.split, there.fragments) == (back.merged, back.swallowed)


@given(rows_of_boxes(), rows_of_boxes(), st.integers(0, 2**32 - 1), st.sampled_from([0.1, 0.5]))
def test_order_does_not_matter(predictions, references, seed, iou):
    rng = np.random.default_rng(seed)
    scores = rng.permutation(len(predictions))
    p, r = rng.permutation(len(predictions)), rng.permutation(len(references))
    plain = match(predictions, references, scores, iou=iou)
    shuffled = match(predictions[p], references[r], scores[p], iou=iou)
    assert object_report(plain) == object_report(shuffled)
    pairs = set(zip(plain.pred_index.tolist(), plain.ref_index.tolist(), strict=True))
    assert {(int(p[i]), int(r[j])) for i, j in zip(shuffled.pred_index, shuffled.ref_index, strict=True)} == pairs


@given(rows_of_boxes(), rows_of_boxes(), st.sampled_from([0.05, 0.3, 0.5, 0.9]))
def test_equals_all_pairs(predictions, references, iou):
    """The definition, with every pair measured and nothing left out beforehand."""
    free, pairs = set(range(len(references))), []
    for i, one in enumerate(predictions):
        best = max(sorted(free), key=lambda j: _iou(one, references[j]), default=None)
        if best is not None and _iou(one, references[best]) >= iou:
            free.remove(best)
            pairs.append((i, best))
    found = match(predictions, references, iou=iou)
    assert list(zip(found.pred_index.tolist(), found.ref_index.tolist(), strict=True)) == pairs
    covered = [sum(one.intersection(ref).area >= ref.area / 2 for ref in references) for one in predictions]
    assert found.merged == sum(count >= 2 for count in covered)
    assert found.swallowed == sum(count for count in covered if count >= 2)  # disjoint: none is covered twice


def _iou(a, b):
    shared = a.intersection(b).area
    return shared / (a.area + b.area - shared)


@given(rows_of_boxes(), rows_of_boxes())
def test_large_coordinates_change_nothing(predictions, references):
    def far(houses):
        return shapely.transform(houses, lambda xy: xy + np.array([500_000, 4_000_000]))

    assert object_report(match(far(predictions), far(references))) == object_report(match(predictions, references))
