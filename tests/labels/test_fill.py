"""Filling polygons: the centre of a pixel decides, in every window alike."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize

from eaves.labels.fill import Outlines, fill

SHAPE = (40, 50)


def painted(polygons, window=(0, 0, *SHAPE), to_pixels: Affine | None = None) -> np.ndarray:
    """Polygons with the values 1, 2 …, in a window of row, column, height and width."""
    row, col, height, width = window
    out = np.zeros((height, width), np.uint16)
    outlines = Outlines.of(np.array(polygons, dtype=object), to_pixels or Affine.identity())
    fill(out, outlines, np.arange(len(polygons)), np.arange(1, len(polygons) + 1), row, col)
    return out


@st.composite
def shapes(draw) -> list[shapely.Geometry]:
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    found = []
    for x, y, size, hole in rng.uniform((-15, -15, 1, 0.5), (65, 55, 25, 9), (draw(st.integers(1, 6)), 4)):
        disc = shapely.Point(x, y).buffer(size, quad_segs=int(rng.integers(1, 5)))
        found.append(disc.difference(shapely.Point(*rng.normal((x, y), 4)).buffer(hole)))
    return [shape for shape in found if not shape.is_empty]


@given(shapes())
def test_it_is_gdals_rule(polygons):
    """But where a corner or an edge meets a centre exactly, which happens to none of these."""
    expected = np.zeros(SHAPE, np.uint16)
    if polygons:
        pairs = [(polygon, index + 1) for index, polygon in enumerate(polygons)]
        rasterize(pairs, out=expected, transform=Affine.identity())
    np.testing.assert_array_equal(painted(polygons), expected)


@settings(max_examples=50)
@given(shapes(), st.integers(-20, 45), st.integers(-20, 55), st.integers(1, 30), st.integers(1, 30))
def test_a_window_shows_what_the_whole_shows(polygons, row, col, height, width):
    whole = painted(polygons, (-20, -20, 100, 120))
    part = painted(polygons, (row, col, height, width))
    np.testing.assert_array_equal(part, whole[row + 20 : row + 20 + height, col + 20 : col + 20 + width])


@given(st.lists(st.integers(0, 80), min_size=3, max_size=8, unique=True), st.integers(0, 2**31))
def test_neighbours_share_every_pixel_of_a_wall(cuts, seed):
    """Strips whose common walls run through centres: each pixel between the first and the last has one owner."""
    rng = np.random.default_rng(seed)
    lean = rng.integers(-8, 9)
    tops, feet = np.sort(cuts) / 2, np.sort(cuts) / 2 + lean / 2
    walls = list(zip(tops, feet, strict=True))
    strips = [
        shapely.Polygon([(a, 3.5), (b, 3.5), (d, 30.5), (c, 30.5)][:: rng.choice([1, -1])])
        for (a, c), (b, d) in pairwise(walls)
    ]
    owners = sum((painted([strip]) > 0).astype(int) for strip in strips)
    assert owners.max() <= 1
    whole = shapely.Polygon([(tops[0], 3.5), (tops[-1], 3.5), (feet[-1], 30.5), (feet[0], 30.5)])
    np.testing.assert_array_equal(owners > 0, painted([whole]) > 0)
    assert not owners[:3].any()
    assert not owners[30:].any()


def test_later_ones_paint_over_earlier_and_multipolygons_are_one():
    first, second = shapely.box(1, 1, 5, 5), shapely.box(4, 4, 8, 8)
    both = painted([first, second], (0, 0, 9, 9))
    assert (both[4, 4], both[1, 1], both[7, 7]) == (2, 1, 2)
    parts = shapely.MultiPolygon([shapely.box(0, 0, 2, 2), shapely.box(6, 6, 9, 9)])
    assert np.bincount(painted([parts, first], (0, 0, 9, 9)).ravel()).tolist() == [81 - 4 - 9 - 16 + 1, 12, 16]


def test_world_coordinates_become_pixels():
    grid = Affine(0.5, 0, 500_000, 0, -0.5, 5_200_000)
    house = shapely.box(500_001, 5_199_990, 500_003, 5_199_996)
    mask = painted([house], to_pixels=~grid)
    assert mask[8:20, 2:6].all()
    assert mask.sum() == 12 * 4


def test_the_same_outlines_on_another_grid():
    polygons = np.array([shapely.box(2, 4, 10, 20)], dtype=object)
    half = Outlines.of(polygons, Affine.identity()).moved(Affine.scale(0.5))
    out = np.zeros((15, 15), np.uint8)
    fill(out, half, [0], [9], 0, 0)
    assert (out[2:10, 1:5] == 9).all()
    assert (out > 0).sum() == 8 * 4


def test_bounds():
    polygons = np.array([shapely.box(2, 4, 10, 20), shapely.Polygon(), shapely.Point(0, 0).buffer(3)], dtype=object)
    bounds = Outlines.of(polygons, Affine.identity()).bounds()
    assert bounds[0].tolist() == [2, 4, 10, 20]
    assert np.isnan(bounds[1]).all()
    assert bounds[2] == pytest.approx([-3, -3, 3, 3])
    assert Outlines.of(polygons[:0], Affine.identity()).bounds().shape == (0, 4)


def test_huge_and_empty_polygons():
    world = shapely.box(-1e18, -1e18, 1e18, 1e18)
    assert painted([world]).all()
    assert not painted([shapely.Polygon(), shapely.box(900, 900, 990, 990)]).any()
