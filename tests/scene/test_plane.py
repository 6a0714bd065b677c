"""Metric planes: true metres, right angles of the map, and back again."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from eaves.scene import areas_m2, project
from eaves.scene.plane import MetricPlane, regions

HOUSE = shapely.box(500_000, 5_200_000, 500_030, 5_200_020)


def houses(crs):
    return project([HOUSE], "EPSG:32633", crs)


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:3857", "EPSG:4326", "EPSG:3035"])
def test_metres_are_true_and_the_way_back_is_exact(crs):
    there = MetricPlane(houses(crs), crs)
    flat = there.there(houses(crs))
    assert shapely.area(flat) == pytest.approx(areas_m2(houses(crs), crs), rel=2e-3)
    assert shapely.length(flat) == pytest.approx(100 / 0.9996, rel=4e-3)
    back = there.back(flat)
    size = 1e-8 if crs == "EPSG:4326" else 2e-3
    assert shapely.hausdorff_distance(back, houses(crs))[0] < size


@pytest.mark.parametrize(("crs", "kept"), [("EPSG:32633", True), ("EPSG:3857", True), ("EPSG:4326", False)])
def test_right_angles_of_the_plane_are_right_on_maps_that_keep_angles(crs, kept):
    plane = MetricPlane(houses(crs), crs)
    [back] = plane.back(np.array([shapely.box(-10, -5, 10, 5)]))
    (ax, ay), (bx, by) = np.diff(shapely.get_coordinates(back), axis=0)[:2]
    sine = abs(ax * bx + ay * by) / (np.hypot(ax, ay) * np.hypot(bx, by))
    assert (sine < 1e-9) == kept


def test_feet_are_not_metres():
    feet = shapely.box(980_000, 200_000, 980_100, 200_100)  # New York
    [flat] = MetricPlane(np.array([feet]), "EPSG:2263").there(np.array([feet]))
    assert flat.length == pytest.approx(400 * 0.3048, rel=1e-3)


def test_without_a_system_a_unit_is_what_it_is_said_to_be():
    pixels = np.array([shapely.box(100, 100, 120, 110)])
    assert MetricPlane(pixels, None).there(pixels)[0].area == pytest.approx(200)
    plane = MetricPlane(pixels, None, 0.5)
    assert plane.there(pixels)[0].area == pytest.approx(50)
    assert plane.back(plane.there(pixels))[0].equals_exact(pixels[0], 1e-9)


def test_nothing_and_empty_geometries_have_a_plane():
    nothing = np.empty(0, object)
    assert MetricPlane(nothing, "EPSG:4326").there(nothing).shape == (0,)
    assert MetricPlane(np.array([shapely.Polygon()]), "EPSG:3857").there(np.array([shapely.Polygon()]))[0].is_empty


def test_regions_are_small_and_neighbours_mostly_share_one():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 1e6, 500), rng.uniform(4e6, 6e6, 500)
    bounds = np.column_stack([x, y, x + 20, y + 20])
    bounds[7] = np.nan
    for crs, scale in (("EPSG:32633", 1.0), ("EPSG:2249", 3.2808), ("EPSG:4326", 1e-5)):
        number = regions(bounds * scale, crs)
        assert number.min() == 0
        for each in np.unique(number):
            mine = bounds[number == each] * scale
            side = 0.25 if crs == "EPSG:4326" else 25_000 * (1 if scale == 1.0 else 3.2809)
            assert np.nan_to_num(np.ptp(mine[:, 0])) <= side * 1.01
            assert np.nan_to_num(np.ptp(mine[:, 1])) <= side * 1.01
    assert (regions(bounds, None) == 0).all()
    assert len(regions(np.empty((0, 4)), "EPSG:32633")) == 0
