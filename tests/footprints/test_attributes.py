"""What a table says of shapes."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely import affinity

from eaves.footprints import shape_columns, with_shapes

UTM = "EPSG:32633"


@given(angle=st.floats(0, 179.9), long=st.floats(12, 40), short=st.floats(3, 10))
def test_a_house_says_which_way_it_stands(angle, long, short):
    """Clockwise from north, by its longer side."""
    house = affinity.rotate(shapely.box(-short / 2, -long / 2, short / 2, long / 2), -angle)
    columns = shape_columns(np.array([affinity.translate(house, 5e5, 5e6)]), UTM)
    turn = abs(columns["orientation_deg"][0] - angle)
    assert min(turn, 180 - turn) < 0.11
    assert 0 <= columns["orientation_deg"][0] < 180
    assert columns["area_m2"][0] == pytest.approx(long * short, rel=2e-3)
    assert columns["perimeter_m"][0] == pytest.approx(2 * (long + short), rel=1e-3)


def test_courtyards_count():
    court = shapely.box(0, 0, 20, 20).difference(shapely.box(5, 5, 15, 15))
    both = shapely.MultiPolygon([court, shapely.box(30, 0, 40, 10)])
    disc = shapely.Point(0, 0).buffer(10, 64)
    columns = shape_columns(np.array([court, both, disc, shapely.Polygon()]), None, 1.0)
    assert columns["vertices"].tolist() == [8, 12, 256, 0]
    assert columns["perimeter_m"].tolist()[:2] == [120, 160]
    assert columns["compactness"][[0, 2]].tolist() == pytest.approx([4 * np.pi * 300 / 120**2, 1], abs=1e-3)
    assert columns["area_m2"][3] == columns["orientation_deg"][3] == 0


def test_without_metres_columns_say_so():
    assert {"area_px", "perimeter_px"} <= set(shape_columns(np.array([shapely.box(0, 0, 2, 2)]), None))


def test_a_table_follows_its_geometry():
    table = gpd.GeoDataFrame(
        {"area_m2": [1.0], "name": ["x"]}, geometry=[shapely.box(5e5, 5e6, 5e5 + 20, 5e6 + 10)], crs=UTM
    )
    again = with_shapes(table)
    assert again["area_m2"][0] == pytest.approx(200, rel=2e-3)
    assert list(again.columns)[:2] == ["area_m2", "name"]
    assert again.crs == table.crs
    assert table["area_m2"][0] == 1.0


def test_a_wide_layer_has_each_places_own_metres():
    """Web Mercator's scale at 60 degrees is twice that at the equator."""
    houses = np.array([shapely.box(0, y, 30, y + 20) for y in (0.0, 557_305.0, 8_399_738.0)])
    together = shape_columns(houses, "EPSG:3857")
    alone = [shape_columns(houses[k : k + 1], "EPSG:3857") for k in range(3)]
    for name in ("perimeter_m", "orientation_deg", "compactness"):
        assert together[name].tolist() == pytest.approx([one[name][0] for one in alone], rel=1e-3)


def test_columns_of_another_unit_do_not_stay():
    table = gpd.GeoDataFrame({"id": [1], "area_m2": [9.0]}, geometry=[shapely.box(0, 0, 2, 3)])
    assert list(with_shapes(table).columns) == [
        "id", "area_px", "perimeter_px", "orientation_deg", "compactness", "vertices", "geometry"
    ]  # fmt: skip
