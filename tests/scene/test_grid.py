"""Ground sizes and true areas."""

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from eaves.errors import SettingsError
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
