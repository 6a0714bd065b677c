from __future__ import annotations

import runpy
from functools import reduce
from itertools import pairwise
from operator import add
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import distance_transform_cdt, distance_transform_edt

from eaves.errors import LabelError, SettingsError
from eaves.metrics import break_even, confusion, precision_recall_curve, relaxed_precision_recall
from eaves.metrics import precision as exact_precision
from eaves.metrics import recall as exact_recall

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "massachusetts_breakeven.py"


@st.composite
def labelled_scores(draw) -> tuple[np.ndarray, np.ndarray]:
    shape = draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    return draw(arrays(bool, shape)), draw(arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 90, 200, 255])))


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_tolerance_by_hand():
    reference = np.zeros((5, 7), dtype=bool)
    prediction = np.zeros((5, 7), dtype=bool)
    reference[1, 1] = True
    prediction[2, 2] = True  # diagonal: 1.41 px away, one king's step
    prediction[1, 5] = True  # 4 px away
    assert relaxed_precision_recall(reference, prediction, 0) == (0, 0)
    assert relaxed_precision_recall(reference, prediction, 1) == (0, 0)
    assert relaxed_precision_recall(reference, prediction, 1, distance="chessboard") == (0.5, 1)
    assert relaxed_precision_recall(reference, prediction, 1.5) == (0.5, 1)
    assert relaxed_precision_recall(reference, prediction, 4) == (1, 1)


def test_undefined_ratios():
    some, none = np.ones((2, 2), dtype=bool), np.zeros((2, 2), dtype=bool)
    assert relaxed_precision_recall(some, none, 3) == (None, 0)
    assert relaxed_precision_recall(none, some, 3) == (0, None)


def test_curve_by_hand():
    labels = np.array([[True, False, False, True]])
    scores = np.array([[255, 10, 0, 0]], dtype=np.uint8)
    curve = precision_recall_curve(labels, scores, 1)
    assert curve.predicted[[0, 1, 10, 11, 255]].tolist() == [4, 2, 2, 1, 1]
    assert curve.correct[[0, 1, 10, 11, 255]].tolist() == [4, 2, 2, 1, 1]
    assert curve.found[[0, 1, 10, 11, 255]].tolist() == [2, 1, 1, 1, 1]
    assert curve.recall[10] == 0.5


@pytest.mark.parametrize(
    ("precision", "recall", "value"),
    [
        ([0.25, 0.75], [1.0, 0.5], 0.625),
        ([0.2, 0.7, 0.9], [1.0, 0.7, 0.1], 0.7),
        ([0.2, 0.6, np.nan], [1.0, 0.4, 0.0], 0.52),
        ([0.2, 0.3], [1.0, 0.9], None),
        ([1.0], [1.0], 1.0),
        ([np.nan], [0.0], None),
        ([], [], None),
    ],
)
def test_break_even(precision, recall, value):
    assert break_even(precision, recall) == (None if value is None else pytest.approx(value))


# --- refused ----------------------------------------------------------------------------------------------------------


def test_wrong_arrays():
    labels, scores = np.zeros((4, 4), dtype=bool), np.zeros((4, 4), dtype=np.uint8)
    with pytest.raises(LabelError, match="mask == 1"):
        precision_recall_curve(scores, scores, 3)
    with pytest.raises(LabelError, match="encode"):
        precision_recall_curve(labels, scores.astype(np.float32), 3)
    with pytest.raises(LabelError, match="one grid"):
        precision_recall_curve(labels, scores[:3], 3)
    with pytest.raises(LabelError, match="valid"):
        precision_recall_curve(labels, scores, 3, valid=scores)
    with pytest.raises(LabelError, match="bool prediction"):
        relaxed_precision_recall(labels, scores, 3)
    with pytest.raises(LabelError, match="one length"):
        break_even([1.0], [1.0, 0.0])


def test_wrong_settings():
    labels, scores = np.zeros((4, 4), dtype=bool), np.zeros((4, 4), dtype=np.uint8)
    for rho_px in (-1, np.nan, np.inf):
        with pytest.raises(SettingsError, match="rho_px"):
            precision_recall_curve(labels, scores, rho_px)
    with pytest.raises(SettingsError, match="chessboard"):
        precision_recall_curve(labels, scores, 1, distance="manhattan")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="one tolerance"):
        reduce(add, (precision_recall_curve(labels, scores, rho_px) for rho_px in (1, 2)))


# --- laws -------------------------------------------------------------------------------------------------------------


@given(labelled_scores(), st.sampled_from([0, 1, 1.5, 2, 3]), st.sampled_from(["euclidean", "chessboard"]))
def test_equals_the_distance_transform(case, rho_px, distance):
    """The definition, threshold by threshold, with SciPy's distances."""
    labels, scores = case
    curve = precision_recall_curve(labels, scores, rho_px, distance=distance)

    def near(mask):
        if not mask.any():
            return np.zeros_like(mask)
        away = distance_transform_edt(~mask) if distance == "euclidean" else distance_transform_cdt(~mask)
        return np.asarray(away) <= rho_px

    for threshold in (0, 1, 90, 91, 255):
        predicted = scores >= threshold
        assert curve.predicted[threshold] == predicted.sum()
        assert curve.correct[threshold] == (predicted & near(labels)).sum()
        assert curve.found[threshold] == (labels & near(predicted)).sum()


@given(labelled_scores(), st.sampled_from([1, 90, 255]))
def test_without_tolerance_it_is_exact(case, threshold):
    labels, scores = case
    curve = precision_recall_curve(labels, scores, 0)
    matrix = confusion(labels, scores >= threshold, 2)
    for relaxed, exact in (
        (curve.precision[threshold], exact_precision(matrix)),
        (curve.recall[threshold], exact_recall(matrix)),
    ):
        assert np.isnan(relaxed) if exact is None else relaxed == exact


@given(labelled_scores())
def test_more_tolerance_never_hurts(case: tuple[np.ndarray, np.ndarray]):
    curves = [precision_recall_curve(*case, rho_px) for rho_px in (0, 1, 2, 3)]
    for strict, lax in pairwise(curves):
        assert (lax.correct >= strict.correct).all()
        assert (lax.found >= strict.found).all()


@given(labelled_scores(), labelled_scores())
def test_scenes_add_up(one: tuple[np.ndarray, np.ndarray], two: tuple[np.ndarray, np.ndarray]):
    """Two scenes beside each other, too far apart to touch, with an unknown strip between them."""
    height, gap = max(one[0].shape[0], two[0].shape[0]), 3
    width = one[0].shape[1] + gap + two[0].shape[1]
    labels, scores = np.zeros((height, width), dtype=bool), np.zeros((height, width), dtype=np.uint8)
    valid = np.zeros((height, width), dtype=bool)
    for part, col in ((one, 0), (two, one[0].shape[1] + gap)):
        where = np.s_[: part[0].shape[0], col : col + part[0].shape[1]]
        labels[where], scores[where], valid[where] = *part, True
    labels[~valid], scores[~valid] = True, 255  # must not count
    whole = precision_recall_curve(labels, scores, 2, valid=valid)
    parts = precision_recall_curve(*one, 2) + precision_recall_curve(*two, 2)
    for name in ("predicted", "correct", "found"):
        assert (getattr(whole, name) == getattr(parts, name)).all()


@given(labelled_scores(), st.sampled_from([0, 2]))
def test_swapping_masks_swaps_precision_and_recall(case, rho_px):
    reference, prediction = case[0], case[1] > 0
    there = relaxed_precision_recall(reference, prediction, rho_px)
    assert there == relaxed_precision_recall(prediction, reference, rho_px)[::-1]


@given(arrays(bool, (6, 6)).filter(lambda mask: mask.any() and not mask.all()))
def test_equal_and_disjoint_maps(labels):
    for rho_px, scores, value in ((0, labels, 1), (2, labels, 1), (0, ~labels, 0)):
        curve = precision_recall_curve(labels, scores * np.uint8(255), rho_px)
        # a relaxed curve may meet 1 at threshold 0 already; the exact one only where the masks are told apart
        assert break_even(curve.precision[1:], curve.recall[1:]) == value


# --- published numbers ------------------------------------------------------------------------------------------------


def test_published_break_even_points(eaves_data):
    results = runpy.run_path(str(BENCHMARK))["measure"](eaves_data / "published_scores")
    assert len(results) == 4
    for result in results:
        assert result.break_even == pytest.approx(result.published, abs=0.003)
        assert np.median(result.curve_gap) < 1e-4
        assert result.curve_gap.max() < 0.004
