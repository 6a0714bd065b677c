"""Ground sizes and true areas."""

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from eaves.errors import LabelError, SceneError, SettingsError
from eaves.scene import areas_m2, ground_gsd_m, metric_crs, plan_tiles, project, window_grid


@given(st.floats(-80, 80), st.floats(-170, 170))
def test_a_square_of_100_m_has_its_area_in_any_system(lat, lon):
    local = metric_crs(4326, lon, lat)
    square = [shapely.box(-50, -50, 50, 50)]
    for system in (4326, 3857):
        assert areas_m2(project(square, local, system), system)[0] == pytest.approx(10_000, rel=1e-4)


def test_without_a_crs_areas_are_in_pixels():
    assert areas_m2([shapely.box(0, 0, 3, 4)], None).tolist() == [12]
    assert areas_m2([], 4326).tolist() == []


def test_gsd_of_nothing_is_nothing():
    assert ground_gsd_m(GeoBox((10, 10), Affine.scale(2), None)) is None


def test_window_grid_moves_the_origin():
    grid = window_grid(GeoBox((10, 10), Affine(2, 0, 100, 0, -2, 50), "EPSG:32633"), Window(-3, 2, 4, 5))
    assert grid.shape == (5, 4)
    assert grid.affine * (0, 0) == (94, 46)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 120), st.integers(0, 40))
def test_cores_cover_every_pixel_once(height, width, tile_px, halo_px):
    owners = np.zeros((height, width), int)
    for row in plan_tiles((height, width), tile_px, halo_px):
        for core, read in row:
            owners[core.row_off : core.row_off + core.height, core.col_off : core.col_off + core.width] += 1
            assert (read.col_off, read.row_off) == (core.col_off - halo_px, core.row_off - halo_px)
            assert read.width == read.height == tile_px + 2 * halo_px
    assert (owners == 1).all()


def test_a_tile_needs_a_size():
    with pytest.raises(SettingsError):
        plan_tiles((10, 10), 0, 0)


LOCAL = 'LOCAL_CS["site",UNIT["metre",1]]'


@pytest.mark.parametrize("crs", [4326, LOCAL, 4978])
def test_what_does_not_lie_in_its_crs_is_refused(crs):
    metres = [shapely.box(5e5, 5e6, 5e5 + 10, 5e6 + 10)]
    for act in (
        lambda: metric_crs(crs, 5e5, 5e6),
        lambda: areas_m2(metres, crs),
        lambda: project(metres, crs, 32633),
    ):
        with pytest.raises(LabelError, match="set the right CRS"):
            act()


@pytest.mark.parametrize("crs", [LOCAL, 4978])
def test_a_scene_lies_on_the_earth(crs):
    with pytest.raises(SceneError, match="set the right CRS"):
        ground_gsd_m(GeoBox((10, 10), Affine(1, 0, 5e5, 0, -1, 5e6), crs))


def test_the_features_elsewhere_are_counted():
    shapes = [shapely.box(-120, 40, -119, 41), shapely.box(500, 200, 501, 201), None, shapely.Polygon()]
    with pytest.raises(LabelError, match=r"lie in EPSG:4326. Received 1 of 4 features elsewhere, x 500 … 501, y 200 …"):
        project(shapes, 4326, 3857)
    moved = project(shapes, 4326, 3857, strict=False)
    assert np.isinf(shapely.bounds(moved[1])).all()
    assert np.isfinite(shapely.bounds(moved[0])).all()
