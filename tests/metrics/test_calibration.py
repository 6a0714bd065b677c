"""Confidences: shares of what is right, never falling, measured on what was not learned from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eaves.errors import LabelError
from eaves.metrics import Calibration, calibrate, reliability


def footprints(number, seed, true=lambda score: score**3):
    """Scores, and whether each is right, with a chance that is not the score."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0.4, 1, number)
    return scores, rng.random(number) < true(scores)


@settings(deadline=None, max_examples=40)
@given(number=st.integers(25, 400), seed=st.integers(0, 999))
def test_more_sure_is_never_less_right(number, seed):
    scores, right = footprints(number, seed)
    curve = calibrate(scores, right)
    said = curve.apply(np.linspace(0, 1, 101))
    assert (np.diff(said) >= -1e-12).all()
    assert said.min() > 0
    assert said.max() < 1
    assert curve.footprints == number
    assert curve.right == right.sum()


@settings(deadline=None, max_examples=40)
@given(number=st.integers(25, 400), seed=st.integers(0, 999), digits=st.integers(0, 6))
def test_the_order_of_footprints_does_not_matter(number, seed, digits):
    scores, right = footprints(number, seed)
    scores = scores.round(digits)
    curve = calibrate(scores, right)
    for order in (np.random.default_rng(seed).permutation(number), np.argsort(right), np.argsort(~right)):
        assert calibrate(scores[order], right[order]) == curve


@pytest.mark.parametrize("first", [True, False])
def test_equal_scores_are_one_step(first):
    curve = calibrate(np.full(1000, 0.9), (np.arange(1000) < 500) == first)
    assert (curve.scores, curve.confidences) == ((0.9,), (0.5,))
    assert curve.error[1] < 0.01


def test_steps_of_one_rounded_middle_are_weighed():
    scores = np.concatenate([np.full(300, 0.5), np.full(100, 0.50001)])
    right = np.concatenate([np.arange(300) < 75, np.arange(100) < 75])
    curve = calibrate(scores, right)
    assert curve.scores == (0.5,)
    assert curve.confidences == pytest.approx(((300 * 76 / 302 + 100 * 76 / 102) / 400,), abs=1e-4)


def test_confidences_are_what_comes_true():
    scores, right = footprints(4000, 1)
    curve = calibrate(scores, right)
    new, true = footprints(4000, 2)
    assert curve.apply(new) == pytest.approx(new**3, abs=0.12)
    assert reliability(curve.apply(new), true).error < 0.03 < reliability(new, true).error
    assert curve.error[1] < 0.03 < curve.error[0]
    assert curve.brier[1] < curve.brier[0]
    assert reliability(curve.apply(new), true).error == pytest.approx(curve.error[1], abs=0.02)


def test_by_hand():
    scores = np.repeat([0.5, 0.9], 20)
    right = np.concatenate([np.arange(20) < 5, np.arange(20) < 15])
    mixed = np.random.default_rng(0).permutation(40)
    scores, right = scores[mixed], right[mixed]
    curve = calibrate(scores, right)
    # the steps of isotonic regression, with one right and one wrong footprint more each
    assert curve.apply(np.array([0.5, 0.9])) == pytest.approx([6 / 22, 16 / 22], abs=1e-4)
    bins = reliability(scores, right)
    assert bins.claimed.tolist() == [0.5, 0.9]
    assert bins.right.tolist() == [0.25, 0.75]
    assert bins.footprints.tolist() == [20, 20]
    assert bins.error == pytest.approx((0.25 + 0.15) / 2)
    assert curve.brier[0] == pytest.approx(np.mean((scores - right) ** 2))


def test_too_little_is_refused():
    with pytest.raises(LabelError, match="20 footprints or more"):
        calibrate(np.linspace(0, 1, 10), np.arange(10) > 5)
    for same in (True, False):
        with pytest.raises(LabelError):
            calibrate(np.linspace(0, 1, 50), np.full(50, same))


@pytest.mark.parametrize("odd", [np.nan, np.inf, -0.1, 1.01, 73.0])
def test_scores_that_are_none_are_refused(odd):
    scores, right = footprints(50, 0)
    scores[7] = odd
    with pytest.raises(LabelError, match="scores from 0 to 1"):
        calibrate(scores, right)
    with pytest.raises(LabelError, match="numbers as scores"):
        calibrate(np.array(["sure", "not"] * 25), right)


def test_it_goes_into_a_file_and_back():
    curve = calibrate(*footprints(100, 3))
    assert Calibration.model_validate_json(curve.model_dump_json()) == curve
