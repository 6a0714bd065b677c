from __future__ import annotations

import pickle
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from eaves.errors import EavesWarning, LabelError
from eaves.labels import LabelLayer, burn, overlap
from eaves.labels.burn import extents_meet
from eaves.scene import window_grid

UTM = "EPSG:32645"
GRID = GeoBox((60, 80), Affine(0.5, 0, 350_000, 0, -0.5, 3_060_030), UTM)
PLAIN = GeoBox((60, 80), Affine.identity(), None)


def table(*shapes, crs: Any = UTM) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame(geometry=list(shapes), crs=crs)


def in_pixels(grid: GeoBox, shape):
    """A shape in pixel coordinates, moved to the world."""
    a = grid.affine
    return shapely.affinity.affine_transform(shape, [a.a, a.b, a.d, a.e, a.c, a.f])


def by_centers(shape, grid: GeoBox) -> np.ndarray:
    """The pixel-centre rule, spelled out."""
    rows, cols = grid.shape
    col, row = np.meshgrid(np.arange(cols) + 0.5, np.arange(rows) + 0.5)
    return shapely.contains_xy(shape, col, row)


SHAPE = shapely.Polygon(
    [(10.2, 5.1), (40.7, 9.3), (60.1, 50.2), (20.4, 44.9)], [[(20.2, 15.1), (35.3, 18.4), (30.6, 30.7)]]
)
ROTATED = Affine.translation(350_000, 3_060_000) * Affine.rotation(33) * Affine.scale(0.5, -0.5)


@pytest.mark.parametrize(
    "grid",
    [
        GRID,
        PLAIN,
        GeoBox((60, 80), Affine(0.5, 0, 350_000, 0, 0.5, 3_060_000), UTM),  # south-up
        GeoBox((60, 80), ROTATED, UTM),
    ],
    ids=["north-up", "pixels", "south-up", "rotated"],
)
def test_a_pixel_belongs_to_the_polygon_that_has_its_centre(grid):
    mask = burn(table(in_pixels(grid, SHAPE), crs=grid.crs and UTM), grid)
    assert (mask.astype(bool) == by_centers(SHAPE, grid)).all()


@given(
    st.lists(st.tuples(st.integers(0, 70), st.integers(0, 50)), min_size=1, max_size=12),
    st.integers(-20, 70),
    st.integers(-20, 50),
)
def test_a_window_burns_what_the_whole_shows_there(corners, col, row):
    shapes = [shapely.box(x + 0.3, y + 0.3, x + 9.4, y + 7.1) for x, y in corners]
    layer = LabelLayer(table(*shapes, crs=None), PLAIN)
    whole = np.pad(layer.burn(PLAIN, np.zeros((60, 80), np.uint8), 1), 30)
    part = layer.burn(window_grid(PLAIN, Window(col, row, 30, 20)), np.zeros((20, 30), np.uint8), 1)
    inside = np.pad(np.ones((60, 80), bool), 30)[row + 30 : row + 50, col + 30 : col + 60]
    assert (part[inside] == whole[row + 30 : row + 50, col + 30 : col + 60][inside]).all()


def test_later_paints_over_earlier():
    out = burn(table(shapely.box(0, 0, 40, 40), crs=None), PLAIN, value=1)
    same = burn(table(shapely.box(20, 20, 60, 60), crs=None), PLAIN, value=2, out=out)
    assert same is out
    assert (out[10, 10], out[30, 30], out[50, 50], out[5, 70]) == (1, 2, 2, 0)


def test_labels_in_another_crs_land_on_the_same_pixels():
    there = table(in_pixels(GRID, SHAPE))
    assert (burn(there.to_crs(4326), GRID) == burn(there, GRID)).mean() > 0.999


@pytest.mark.parametrize("crs", [UTM, "EPSG:3857", "EPSG:4326"])
def test_roads_are_as_wide_as_they_are_said_to_be(crs):
    area = gpd.GeoSeries([shapely.box(350_000, 3_060_000, 350_060, 3_060_060)], crs=UTM).to_crs(crs)
    left, bottom, right, top = area.total_bounds
    side = 240
    affine = Affine((right - left) / side, 0, left, 0, (bottom - top) / side, top)
    grid = GeoBox((side, side), affine, crs)
    road = gpd.GeoDataFrame(geometry=[shapely.LineString([(350_000, 3_060_030), (350_060, 3_060_030)])], crs=UTM)
    mask = burn(road, grid, width_m=7)
    share = 60 / side  # metres in a pixel, as near as the corners of the box allow
    assert mask[:, 100:140].sum(axis=0).mean() * share == pytest.approx(7, rel=0.06)


def test_a_road_on_a_picture_needs_the_size_of_a_pixel():
    road = table(shapely.LineString([(0, 30), (80, 30)]), crs=None)
    assert (burn(road, PLAIN, width_m=7, gsd_m=0.5)[:, 40] > 0).sum() == 14
    coarse = GeoBox((15, 20), Affine.scale(4.0), None)  # the same picture read at a quarter of the resolution
    assert (burn(road, coarse, width_m=8, gsd_m=2.0)[:, 10] > 0).sum() == 4
    with pytest.raises(LabelError, match="gsd_m"):
        burn(road, PLAIN, width_m=7)
    with pytest.raises(LabelError, match="width_m"):
        burn(road, PLAIN)


def test_round_ends_join_the_pieces_of_a_road():
    pieces = table(shapely.LineString([(0, 30), (40, 30)]), shapely.LineString([(40, 30), (40, 60)]), crs=None)
    assert burn(pieces, PLAIN, width_m=10, gsd_m=1.0)[26, 43] == 1  # the outer corner


def test_mixed_features_and_collections():
    both = shapely.GeometryCollection([shapely.box(0, 0, 10, 10), shapely.LineString([(0, 30), (80, 30)])])
    mask = burn(table(both, None, shapely.Polygon(), crs=None), PLAIN, width_m=4, gsd_m=1.0)
    assert mask[5, 5] == 1
    assert (mask[:, 60] > 0).sum() == 4


def test_points_are_left_out_with_a_count():
    with pytest.warns(EavesWarning, match="1 of 2 label parts are points"):
        mask = burn(table(shapely.Point(3, 3), shapely.box(9, 9, 12, 12), crs=None), PLAIN)
    assert mask.sum() == 9


def test_labels_without_a_crs_are_not_guessed():
    with pytest.raises(LabelError, match="ogr2ogr"):
        burn(table(in_pixels(GRID, SHAPE), crs=None), GRID)


def test_a_layer_keeps_only_what_the_scene_shows_and_can_be_pickled():
    far = [shapely.box(x, 0, x + 5, 5) for x in range(0, 10_000, 10)]
    layer = pickle.loads(pickle.dumps(LabelLayer(table(*far, crs=None), PLAIN)))
    assert len(layer) == 9  # one touches the edge
    assert layer.burn(PLAIN, np.zeros((60, 80), np.uint8), 1).sum() == 8 * 25


def test_overlap_is_a_share():
    assert overlap(table(in_pixels(GRID, SHAPE), shapely.box(0, 0, 1, 1)).to_crs(4326), GRID) == 0.5


def test_no_overlap_names_both_places():
    with pytest.raises(LabelError) as caught:
        overlap(table(shapely.box(85, 27, 85.1, 27.1), crs=4326), GRID)
    assert "EPSG:4326" in str(caught.value)
    assert "EPSG:32645" in str(caught.value)
    assert "350000" in str(caught.value)
    with pytest.raises(LabelError, match="empty table"):
        overlap(table(), GRID)
    with pytest.raises(LabelError, match="pixels"):
        overlap(table(shapely.box(5, -9, 9, -5), crs=None), PLAIN)


def test_features_around_but_not_on_the_grid():
    around = table(in_pixels(GRID, shapely.box(-9, -9, -5, -5)), in_pixels(GRID, shapely.box(99, 99, 105, 105)))
    assert extents_meet(around.to_crs(4326), GRID)
    assert not extents_meet(around.iloc[:1], GRID)


def test_features_get_numbers_of_their_own():
    layer = LabelLayer(table(*(in_pixels(GRID, shapely.box(5 * i, 4, 5 * i + 8, 12)) for i in range(4))), GRID)
    numbers = np.zeros((60, 80), np.int32)
    assert layer.number(GRID, numbers, first=7) == 11
    assert numbers[8, :30].tolist() == [7] * 5 + [8] * 5 + [9] * 5 + [10] * 8 + [0] * 7  # later over earlier
    assert (numbers[:4] == 0).all()
    window = Window(12, 0, 20, 20)
    part = np.zeros((20, 20), np.uint16)
    assert layer.number(window_grid(GRID, window), part) == 4  # the first feature does not reach there
    assert part[8, :8].tolist() == [2] * 3 + [3] * 5
