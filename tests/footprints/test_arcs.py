"""Outlines simplified together share what they shared, and leave alone what must not change."""

from __future__ import annotations

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from eaves.footprints.arcs import simplify_together


def grid_of_cells(seed, rows=3, columns=3):
    """Cells that fill a rectangle, their walls wavy and the same vertices on both sides."""
    rng = np.random.default_rng(seed)
    corner = {(i, j): np.array([10.0 * j, 10.0 * i]) for i in range(rows + 1) for j in range(columns + 1)}
    walls = {}
    for (i, j), here in corner.items():
        for other in ((i + 1, j), (i, j + 1)):
            if other in corner:
                path = np.linspace(here, corner[other], 21)
                path[1:-1] += rng.normal(0, 0.1, (19, 2))
                walls[(i, j), other] = path
    cells = []
    for i in range(rows):
        for j in range(columns):
            below, right = walls[(i, j), (i, j + 1)], walls[(i, j + 1), (i + 1, j + 1)]
            above, left = walls[(i + 1, j), (i + 1, j + 1)], walls[(i, j), (i + 1, j)]
            cells.append(shapely.Polygon(np.concatenate([below[:-1], right[:-1], above[:0:-1], left[:0:-1]])))
    return np.array(cells, object)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), fixed=st.sets(st.integers(0, 8), max_size=8))
def test_walls_stay_shared_and_what_is_fixed_keeps_its_other_walls(seed, fixed):
    cells = grid_of_cells(seed)
    free = ~np.isin(np.arange(9), list(fixed))
    made = simplify_together(cells, free, 0.6)
    assert shapely.is_valid(made).all()
    assert np.isclose(shapely.union_all(made).area, shapely.area(made).sum(), atol=1e-9)  # no ground of two
    assert shapely.get_num_interior_rings(shapely.union_all(made)) == 0  # nor of none between them
    assert (shapely.get_num_coordinates(made[free]) < 12).all()
    for k in range(9):
        assert shapely.hausdorff_distance(cells[k].exterior, made[k].exterior) <= 0.6 + 1e-9
    kept = shapely.union_all(cells[~free]).boundary.difference(shapely.union_all(cells[free])) if fixed else None
    if kept is not None:  # walls that no free one has
        assert shapely.union_all(made[~free]).boundary.intersection(kept).length >= kept.length - 1e-6


def test_a_building_inside_anothers_court_is_simplified_with_it():
    t = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    ring = np.column_stack([np.cos(t), np.sin(t)]) * 10
    inner, outer = shapely.Polygon(np.roll(ring, 30, axis=0)), shapely.Polygon(ring * 3, [ring[::-1]])
    made = simplify_together(np.array([outer, inner], object), np.array([True, True]), 0.2)
    assert made[0].interiors[0].equals(made[1].exterior)
    assert len(made[1].exterior.coords) < 40


def test_a_ring_that_collapses_is_empty_rather_than_wrong():
    sliver = shapely.Polygon([(0, 0), (10, 0), (10, 0.1), (0, 0.1)])
    made = simplify_together(np.array([sliver, shapely.box(20, 0, 30, 9)], object), np.array([True, True]), 1.0)
    assert made[0].is_empty
    assert made[1].area == 90
    fixed = simplify_together(np.array([sliver, sliver], object), np.array([False, False]), 1.0)
    assert all(one is sliver for one in fixed)
