"""Average precision: worked by hand, against the definition spelled out, and its laws."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely import box

from eaves.errors import LabelError
from eaves.metrics import AP_THRESHOLDS, average_precision, match, object_report

NONE = np.array([], dtype=object)


@st.composite
def ranked_boxes(draw, cells: int = 8):
    """Boxes, one at most in each 10 x 10 cell of a row, and a score for each; scores may be equal."""
    boxes, scores = [], []
    for cell in range(cells):
        if draw(st.booleans()):
            left, bottom = draw(st.integers(0, 4)), draw(st.integers(0, 4))
            right, top = draw(st.integers(left + 1, 10)), draw(st.integers(bottom + 1, 10))
            boxes.append(box(10 * cell + left, bottom, 10 * cell + right, top))
            scores.append(draw(st.integers(0, 5)) / 5)
    return np.array(boxes, dtype=object), np.array(scores)


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_by_hand():
    """Three of four are right: precision 1 up to a recall of a half, then 3/4 (right, right, wrong, right)."""
    assert average_precision([0.9, 0.8, 0.7, 0.6], [True, True, False, True], 4) == pytest.approx(
        (51 * 1 + 25 * 0.75 + 25 * 0) / 101  # recalls 0 … 0.50, 0.51 … 0.75, 0.76 … 1
    )


def test_a_later_better_precision_counts_for_earlier_recalls():
    assert average_precision([0.9, 0.8], [False, True], 1) == 0.5
    assert average_precision([0.9, 0.8, 0.7], [True, False, True], 2) == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_the_order_given_decides_between_equals():
    assert average_precision([0.5, 0.5], [True, False], 1) == 1
    assert average_precision([0.5, 0.5], [False, True], 1) == 0.5


def test_each_threshold_has_its_own_ranking():
    hits = [[True, True], [False, True], [False, False]]
    assert average_precision([0.2, 0.1], hits, 2).tolist() == pytest.approx([1, 51 * 0.5 / 101, 0])


@pytest.mark.parametrize("right", [7, 14, 57])
def test_a_recall_that_floats_miss(right):
    """7 of 20 are 35 per cent, although 0.35 < numpy.linspace(0, 1, 101)[35]; so are 14 of 40. 57 of 100 are 57."""
    references = {7: 20, 14: 40, 57: 100}[right]
    reached = 100 * right // references
    assert right / references < np.linspace(0, 1, 101)[reached]
    assert average_precision(np.ones(right), np.ones(right, bool), references) == pytest.approx((reached + 1) / 101)


def test_buildings_by_hand():
    """One exact, one at IoU 0.8 and one at 0.6 of four references, and a false alarm between them."""
    references = [box(20 * i, 0, 20 * i + 10, 10) for i in range(4)]
    predictions = [box(0, 0, 10, 10), box(20, 0, 30, 8), box(90, 0, 99, 9), box(40, 0, 50, 6)]
    report = object_report(match(predictions, references, [0.9, 0.8, 0.7, 0.6]))
    assert report.ap50 == pytest.approx((51 + 25 * 0.75) / 101)
    assert report.ap75 == pytest.approx(51 / 101)
    three, two, one = report.ap50, report.ap75, 26 / 101
    assert report.ap == pytest.approx((3 * three + 4 * two + 3 * one) / 10)  # .50 … .60, … .80, … .95


def test_what_is_not_defined():
    house = [box(0, 0, 1, 1)]
    for found in (match(house, house), match(house, NONE, [0.5]), match(NONE, NONE), match(NONE, NONE, [])):
        report = object_report(found)
        assert (report.ap, report.ap50, report.ap75) == (None, None, None)
    for nothing in (match(NONE, house), match(NONE, house, [])):  # to find none of them is 0, ranked or not
        assert object_report(nothing).ap == object_report(nothing).ap50 == 0
    mixed = object_report(match(house, house, [0.5]), match(house, house))
    assert mixed.ap is None
    assert object_report(match(house, house, [0.5]), match(NONE, house)).ap50 == pytest.approx(51 / 101)


def test_scenes_are_ranked_together():
    house, shed = [box(0, 0, 1, 1)], [box(5, 5, 6, 6)]
    sure, unsure = match(house, house, [0.9]), match(shed, house, [0.2])
    assert object_report(sure, unsure).ap50 == object_report(unsure, sure).ap50 == pytest.approx(51 / 101)
    assert object_report(match(house, house, [0.2]), match(shed, house, [0.9])).ap50 == pytest.approx(51 * 0.5 / 101)


def test_there_is_no_cap_on_predictions():
    """COCO's code looks at the hundred most certain only."""
    houses = shapely.box(20.0 * np.arange(300), 0, 20.0 * np.arange(300) + 10, 10)
    assert object_report(match(houses, houses, np.linspace(1, 0, 300))).ap == 1


def test_small_ones_are_not_ranked():
    shed, house = box(0, 0, 1, 1), box(10, 0, 20, 10)
    assert object_report(match([shed, house], [house], [0.9, 0.1])).ap == 0.5
    assert object_report(match([shed, house], [shed, house], [0.9, 0.1], min_area=2)).ap == 1


def test_refused():
    for scores in ([0.5], [0.5, np.nan], [[0.5, 0.4]]):
        with pytest.raises(LabelError, match="a score for each of 2"):
            average_precision(scores, [True, False], 2)
    with pytest.raises(LabelError, match="at most 1"):
        average_precision([0.5, 0.4], [True, True], 1)


# --- laws -------------------------------------------------------------------------------------------------------------


@given(ranked_boxes(), ranked_boxes(), st.sampled_from([0.3, 0.5, 0.8]))
def test_equals_the_definition(predicted, wanted, iou):
    """All pairs measured, all cuts tried, exact fractions; the threshold of F1 has no part in it."""
    (predictions, scores), (references, _) = predicted, wanted
    report = object_report(match(predictions, references, scores, iou=iou))
    if not len(references):
        assert report.ap is None
        return
    values = [float(brute_force(predictions, scores, references, least)) for least in AP_THRESHOLDS]
    assert report.ap == pytest.approx(np.mean(values))
    assert (report.ap50, report.ap75) == pytest.approx((values[0], values[5]))


def brute_force(predictions, scores, references, least) -> Fraction:
    free, hits = set(range(len(references))), []
    for i in sorted(range(len(predictions)), key=lambda i: (-scores[i], i)):
        best = max(sorted(free), key=lambda j: overlap(predictions[i], references[j]), default=None)
        hits.append(best is not None and overlap(predictions[i], references[best]) >= least)
        if hits[-1]:
            free.remove(best)
    cuts = [(Fraction(sum(hits[:k]), len(references)), Fraction(sum(hits[:k]), k)) for k in range(1, len(hits) + 1)]
    wanted = [Fraction(i, 100) for i in range(101)]
    return sum(max((p for recall, p in cuts if recall >= least), default=Fraction(0)) for least in wanted) / 101


def overlap(a, b) -> float:
    shared = a.intersection(b).area
    return shared / (a.area + b.area - shared)


@given(ranked_boxes())
def test_equal_and_disjoint_sets(houses):
    boxes, scores = houses
    if not len(boxes):
        return
    assert object_report(match(boxes, boxes, scores)).ap == 1
    assert object_report(match(shapely.transform(boxes, lambda xy: xy + np.array([0, 10])), boxes, scores)).ap == 0


@given(ranked_boxes(), ranked_boxes())
def test_only_the_ranking_matters(predicted, wanted):
    (predictions, scores), (references, _) = predicted, wanted
    report = object_report(match(predictions, references, scores))
    assert object_report(match(predictions, references, np.exp(5 * scores) - 100)) == report


@given(ranked_boxes(), ranked_boxes())
def test_a_stricter_threshold_finds_no_more(predicted, wanted):
    (predictions, scores), (references, _) = predicted, wanted
    report = object_report(match(predictions, references, scores))
    if len(references):
        assert report.ap50 >= report.ap - 1e-12
        assert report.ap50 >= report.ap75


@given(ranked_boxes(), ranked_boxes())
def test_false_alarms_cost_only_where_they_are_sure(predicted, wanted):
    (predictions, scores), (references, _) = predicted, wanted
    if not len(references):
        return
    more = np.append(predictions, box(0, 50, 10, 60))
    before = object_report(match(predictions, references, scores))
    assert object_report(match(more, references, np.append(scores, -1))).ap == before.ap
    after = object_report(match(more, references, np.append(scores, 2)))
    assert after.ap < before.ap or before.ap == after.ap == 0
