from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.errors import SettingsError
from eaves.sample import block_split


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
