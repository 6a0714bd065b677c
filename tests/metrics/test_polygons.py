from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely import box

from eaves.errors import LabelError
from eaves.metrics import inside_aoi


def test_half_of_the_area_decides():
    aoi = box(0, 0, 10, 10).difference(box(4, 4, 6, 6))
    objects = [box(1, 1, 2, 2), box(9, 0, 11, 1), box(9, 0, 11.1, 1), box(20, 0, 21, 1), box(4, 4, 6, 6)]
    assert inside_aoi(objects, aoi).tolist() == [True, True, False, False, False]
    assert inside_aoi([], aoi).tolist() == []


def test_aoi_of_several_parts():
    aoi = shapely.MultiPolygon([box(0, 0, 1, 4), box(3, 0, 4, 4)])
    assert inside_aoi([box(0, 0, 4, 4), box(0, 0, 5, 4)], aoi).tolist() == [True, False]


@pytest.mark.parametrize("aoi", [None, shapely.Polygon(), shapely.Point(0, 0)])
def test_aoi_that_has_no_area(aoi):
    with pytest.raises(LabelError, match="valid polygons as AOI"):
        inside_aoi([box(0, 0, 1, 1)], aoi)


def test_geometry_that_has_no_area():
    with pytest.raises(LabelError, match=r"valid polygons as geometries.*position 1: LineString"):
        inside_aoi([box(0, 0, 1, 1), shapely.LineString([(0, 0), (1, 1)])], box(0, 0, 1, 1))


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=8), st.integers(1, 79))
def test_neighbouring_aois_leave_nothing_out(spans, cut):
    houses = np.array([box(left, 0, left + width, 5) for left, width in spans], dtype=object)
    west, east = inside_aoi(houses, box(0, 0, cut, 10)), inside_aoi(houses, box(cut, 0, 80, 10))
    assert (west | east).all()
