"""Bundles hold every footprint once, and neighbours together."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from eaves.footprints import bundles


@given(seed=st.integers(0, 999), count=st.integers(0, 60), reach=st.floats(0.1, 9), least=st.integers(1, 20))
def test_all_are_there_once_and_neighbours_together(seed, count, reach, least):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 100, (count, 2))
    bounds = np.hstack([low, low + rng.uniform(0, 9, (count, 2))])
    bounds[rng.random(count) < 0.1] = np.nan
    made = bundles(bounds, reach, least)
    assert sorted(np.concatenate(made).tolist() if made else []) == list(range(count))
    number = np.empty(count, int)
    for k, rows in enumerate(made):
        assert (np.diff(rows) > 0).all()
        number[rows] = k
    gaps = np.maximum(bounds[:, None, :2] - bounds[None, :, 2:], 0)
    near = np.hypot(*np.moveaxis(np.maximum(gaps, gaps.transpose(1, 0, 2)), 2, 0)) < reach
    i, j = np.nonzero(near)
    assert (number[i] == number[j]).all()


def test_what_stands_apart_is_taken_in_turn():
    rows = np.arange(1000.0)[:, None] * [10, 0, 10, 0] + [0, 0, 5, 5]
    made = bundles(rows, 1.0, 100)
    assert [len(each) for each in made] == [100] * 10
    assert (np.concatenate(made) == np.arange(1000)).all()
