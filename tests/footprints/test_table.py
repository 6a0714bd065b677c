from __future__ import annotations

import geopandas as gpd
import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from scipy import ndimage

from eaves.footprints import Traced, footprint_table, simplify, trace

UTM = "EPSG:32645"
NORTH_UP = Affine(0.5, 0, 500_000, 0, -0.5, 3_000_000)
SOUTH_UP = Affine(0.5, 0, 500_000, 0, 0.5, 3_000_000)
ROTATED = Affine.translation(500_000, 3_000_000) * Affine.rotation(30) * Affine.scale(0.5, -0.5)


def house() -> Traced:
    levels = np.zeros((40, 60), np.uint8)
    levels[10:22, 20:50] = 200  # 12 x 30 px
    return trace(levels, 100 / 254)


def grid(affine: Affine = NORTH_UP, crs: str | None = UTM) -> GeoBox:
    return GeoBox((40, 60), affine, crs)


@pytest.mark.parametrize("affine", [NORTH_UP, SOUTH_UP, ROTATED])
def test_corners_are_where_the_transform_puts_them(affine):
    table, dropped, _ = footprint_table(house(), grid(affine))
    expected = shapely.Polygon([affine * corner for corner in [(20, 10), (50, 10), (50, 22), (20, 22)]])
    assert table.geometry[0].normalize().equals_exact(expected.normalize(), 1e-6)
    assert table.geometry[0].exterior.is_ccw
    assert dropped == 0


def test_columns():
    table, _, _ = footprint_table(house(), grid(), class_name="building", source="east")
    shape = ["area_m2", "perimeter_m", "orientation_deg", "compactness", "vertices"]
    assert list(table.columns) == ["class", "score", *shape, "source", "geometry"]
    dated, _, _ = footprint_table(house(), grid(), source="east", date="2026-05-31")
    assert dated["date"].tolist() == ["2026-05-31"]
    assert table.crs == pyproj.CRS(UTM)
    row = table.iloc[0]
    assert (row["class"], row["source"], row["vertices"]) == ("building", "east", 4)
    assert row["score"] == round(200 / 254, 4)
    assert row["area_m2"] == pytest.approx(90, rel=2e-3)  # UTM's scale at its meridian is 0.9996


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", UTM])
def test_area_is_true_whatever_the_system(crs):
    at = pyproj.Transformer.from_crs(4326, crs, always_xy=True)
    (x, x1), (y, y1) = at.transform([87, 87.0003], [60, 60.0003])
    affine = Affine((x1 - x) / 60, 0, x, 0, (y - y1) / 40, y1)
    ring = [affine * corner for corner in [(20, 10), (50, 10), (50, 22), (20, 22)]]
    back = pyproj.Transformer.from_crs(crs, 4326, always_xy=True)
    true = abs(pyproj.Geod(ellps="WGS84").polygon_area_perimeter(*back.transform(*np.transpose(ring)))[0])
    table, _, _ = footprint_table(house(), grid(affine, crs))
    assert table["area_m2"][0] == pytest.approx(true, rel=1e-4)


def test_grid_without_crs_counts_pixels_or_takes_the_stated_size():
    table, _, _ = footprint_table(house(), grid(Affine.identity(), None))
    assert "area_m2" not in table
    assert table["area_px"][0] == 360
    assert table.crs is None
    table, _, _ = footprint_table(house(), grid(Affine.identity(), None), ground_gsd_m=0.5)
    assert "area_px" not in table
    assert table["area_m2"][0] == 90


def test_small_ones_are_dropped_and_counted():
    levels = np.zeros((40, 60), np.uint8)
    levels[10:22, 20:50] = 254
    levels[30, ::4] = 254
    table, dropped, _ = footprint_table(trace(levels, 0.5), grid(), min_area_m2=10)
    assert (len(table), dropped) == (1, 15)
    assert table.index.tolist() == [0]
    table, dropped, _ = footprint_table(trace(levels, 0.5), grid(Affine.identity(), None), min_area_m2=361)
    assert (len(table), dropped) == (0, 16)


@pytest.mark.parametrize("crs", [UTM, None])
def test_empty_table_has_the_schema(crs):
    nothing = trace(np.full((40, 60), 255, np.uint8), 0.5)
    affine = NORTH_UP if crs else Affine.identity()
    empty, dropped, _ = footprint_table(nothing, grid(affine, crs), class_name="building", source="east")
    full, _, _ = footprint_table(house(), grid(affine, crs), class_name="building", source="east")
    assert isinstance(empty, gpd.GeoDataFrame)
    assert (len(empty), dropped) == (0, 0)
    assert empty.dtypes.to_dict() == full.dtypes.to_dict()
    assert empty.crs == full.crs


def test_polygons_are_valid_even_where_coordinates_are_coarse():
    random = np.random.default_rng(1)
    field = ndimage.gaussian_filter(random.normal(size=(300, 300)), 1.5)
    traced = trace(np.where(field > 0, np.uint8(254), np.uint8(0)), 0.5)
    far = 2.0**51  # where half a pixel is the finest step
    table, _, _ = footprint_table(traced, GeoBox((300, 300), Affine(1, 0, far, 0, -1, far), None))
    assert table.is_valid.all()
    rounded = shapely.transform(simplify(traced.polygons), lambda xy: xy + far)
    assert not shapely.is_valid(rounded).all()


def test_small_holes_are_filled_and_counted():
    levels = np.zeros((40, 40), np.uint8)
    levels[5:35, 5:35] = 254
    levels[10:12, 10:12] = levels[20:30, 20:30] = 0
    table, _, filled = footprint_table(trace(levels, 0.5), grid(), min_hole_m2=20)
    assert filled == 1
    assert len(table.geometry[0].interiors) == 1
    _, _, filled = footprint_table(trace(levels, 0.5), grid(Affine.identity(), None), min_hole_m2=3)
    assert filled == 0
