from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from eaves.errors import EavesError
from eaves.exchange.scores import LEVELS, NODATA, decode, encode

probabilities = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=6), elements=st.floats(0, 1, width=32)
)


@given(probabilities)
def test_stored_scores_come_back_within_half_a_level(scores):
    back, valid = decode(encode(scores, np.array(True)))
    assert valid.all()
    assert back.dtype == np.float32
    assert np.abs(back - scores).max(initial=0) <= 0.5 / LEVELS + 1e-6 < 1 / 255


@given(hnp.arrays(np.uint8, (2, 3, 4)))
def test_levels_come_back_exactly(levels):
    scores, valid = decode(levels)
    np.testing.assert_array_equal(encode(scores, valid), levels)


def test_certainty_survives():
    levels = encode(np.array([0, 1], np.float32), np.array(True))
    assert levels.tolist() == [0, LEVELS]
    assert decode(levels)[0].tolist() == [0.0, 1.0]


def test_valid_broadcasts_over_classes():
    scores = np.full((3, 2, 2), 0.5, np.float32)
    valid = np.array([[True, False], [True, True]])
    assert ((encode(scores, valid) == NODATA) == ~valid).all()


@pytest.mark.parametrize("wrong", [np.nan, 1.01, -0.01, np.inf])
def test_wrong_scores_are_refused_where_valid_only(wrong):
    scores = np.array([0.5, wrong], np.float32)
    assert encode(scores, np.array([True, False])).tolist() == [127, NODATA]
    with pytest.raises(EavesError, match="scores between 0 and 1"):
        encode(scores, np.array([True, True]))


def test_rounding_of_blending_is_taken_as_certainty():
    assert encode(np.array([1.000001, -0.000001], np.float32), np.array(True)).tolist() == [LEVELS, 0]
