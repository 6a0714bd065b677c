from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.errors import SettingsError
from eaves.sample import block_split
from eaves.sample.split import strip_split


@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=4),
    st.floats(0.05, 0.95),
    st.integers(0, 99),
)
def test_both_sides_get_something_near_the_wanted_share(shapes, val_share, seed):
    rng = np.random.default_rng(seed)
    areas = [rng.integers(0, 5, shape) for shape in shapes]
    known = np.concatenate([area.ravel() for area in areas])
    if (known > 0).sum() < 2:
        with pytest.raises(SettingsError, match="block_m"):
            block_split(areas, val_share, rng)
        return
    chosen = block_split(areas, val_share, np.random.default_rng(seed))
    again = block_split(areas, val_share, np.random.default_rng(seed))
    assert all((one == other).all() for one, other in zip(chosen, again, strict=True))
    assert [part.shape for part in chosen] == shapes
    val = np.concatenate([part.ravel() for part in chosen])
    assert not val[known == 0].any()
    assert known[val].sum() > 0
    assert known[~val].sum() > 0
    assert abs(known[val].sum() / known.sum() - val_share) <= max(known.max() / known.sum(), val_share)


def test_the_share_is_of_all_scenes_together():
    chosen = block_split([np.ones((10, 10)), np.ones((10, 10))], 0.2, np.random.default_rng(1))
    assert sum(part.sum() for part in chosen) == 40
    assert min(part.sum() for part in chosen) > 0


@given(st.integers(2, 40), st.floats(0.01, 0.99), st.integers(0, 1000), st.booleans())
def test_strips_share_no_ground(count, val_share, seed, turned):
    corners = np.random.default_rng(seed).integers(0, 50, (count, 2)).astype(float)
    boxes = np.concatenate([corners, corners + 8], axis=1)
    boxes = np.repeat(boxes, 4, axis=0) if turned else boxes  # a place is cut at several angles
    val, out = strip_split(boxes, val_share)
    assert val.any()
    assert not (val & out).any()
    train = ~val & ~out
    for box in boxes[train]:
        apart = (
            (boxes[val, 0] >= box[2])
            | (boxes[val, 2] <= box[0])
            | (boxes[val, 1] >= box[3])
            | (boxes[val, 3] <= box[1])
        )
        assert apart.all()
    if turned:
        assert (val.reshape(-1, 4).all(axis=1) | ~val.reshape(-1, 4).any(axis=1)).all() or not np.ptp(corners)


def test_a_strip_is_as_large_as_wanted():
    boxes = np.array([[10.0 * i, 0, 10.0 * i + 10, 10] for i in range(100)])
    val, out = strip_split(boxes, 0.2)
    assert np.flatnonzero(val).tolist() == list(range(80, 100))
    assert not out.any()  # neighbours touch, but share nothing


def test_without_places_the_last_validate():
    val, out = strip_split(np.zeros((10, 4)), 0.25)
    assert np.flatnonzero(val).tolist() == [8, 9]
    assert not out.any()
