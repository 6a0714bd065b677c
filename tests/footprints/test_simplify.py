from __future__ import annotations

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from rasterio.features import rasterize
from scipy import ndimage
from shapely import affinity

from eaves.footprints import simplify, trace

FIELDS = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24), elements=st.integers(0, 254))


def roof(angle: float, blur: float) -> tuple[shapely.Polygon, shapely.Polygon]:
    """An L-shaped roof, and the outline traced from its blurred picture."""
    shape = shapely.box(-20, -13, 20, 13).difference(shapely.box(4, -2, 20, 13))
    shape = affinity.translate(affinity.rotate(shape, angle, origin=(0, 0)), 30.4, 29.7)
    fine = rasterize([shape], (480, 480), transform=Affine.scale(1 / 8), dtype=np.float32)
    cover = ndimage.gaussian_filter(fine.reshape(60, 8, 60, 8).mean((1, 3)), blur)
    return shape, trace(np.round(cover * 254).astype(np.uint8), 0.5).polygons[0]


def iou(one: shapely.Polygon, other: shapely.Polygon) -> float:
    return one.intersection(other).area / one.union(other).area


@pytest.mark.parametrize("angle", [0, 17, 45, 63])
@pytest.mark.parametrize("blur", [0, 0.7, 1.2])
def test_roof_gets_its_corners_back(angle, blur):
    shape, traced = roof(angle, blur)
    (fitted,) = simplify(np.array([traced]))
    assert shapely.get_num_coordinates(fitted) - 1 <= 12 < shapely.get_num_coordinates(traced) / 8
    assert iou(fitted, shape) > iou(traced, shape) - 0.001
    assert fitted.area == pytest.approx(shape.area, rel=0.015)
    assert shapely.simplify(traced, 1.0).area < fitted.area  # Douglas & Peucker alone cut the corners


def test_rectangle_is_four_corners():
    levels = np.zeros((40, 40), np.uint8)
    levels[10:25, 5:34] = 254
    (fitted,) = simplify(trace(levels, 0.5).polygons)
    assert fitted.normalize().equals_exact(shapely.box(5, 10, 34, 25).normalize(), 1e-9)


def test_courtyard_stays():
    levels = np.zeros((60, 60), np.uint8)
    levels[5:55, 5:55] = 254
    levels[20:40, 15:45] = 0
    (fitted,) = simplify(trace(levels, 0.5).polygons)
    assert fitted.area == pytest.approx(50 * 50 - 20 * 30)
    assert shapely.get_num_coordinates(fitted) == 10


@settings(max_examples=80)
@given(FIELDS, st.floats(0, 5), st.sampled_from([0.2, 0.5, 0.8]))
def test_polygons_stay_valid_and_where_they_were(levels, tolerance_px, threshold):
    smooth = ndimage.uniform_filter(levels, 3)
    for field in (levels, smooth):
        polygons = trace(field, threshold).polygons
        simplified = simplify(polygons, tolerance_px)
        assert len(simplified) == len(polygons)
        assert set(shapely.get_type_id(simplified)) <= {3}
        assert shapely.is_valid(simplified).all()
        assert (shapely.get_num_interior_rings(simplified) <= shapely.get_num_interior_rings(polygons)).all()
        assert (shapely.get_num_coordinates(simplified) <= shapely.get_num_coordinates(polygons)).all()
        assert (shapely.hausdorff_distance(simplified, polygons) <= 4 * tolerance_px + 1e-9).all()


def test_zero_tolerance_and_no_polygons_change_nothing():
    polygons = trace(np.eye(4, dtype=np.uint8) * 254, 0.5).polygons
    assert simplify(polygons, 0) is polygons
    assert len(simplify(polygons[:0])) == 0


def test_each_polygon_is_treated_alone():
    random = np.random.default_rng(0)
    field = ndimage.gaussian_filter(random.normal(size=(200, 200)), 3)
    polygons = trace(np.where(field > 0.05, np.uint8(254), np.uint8(0)), 0.5).polygons
    together = simplify(polygons)
    alone = [simplify(polygons[i : i + 1])[0] for i in range(len(polygons))]
    assert shapely.to_wkb(together).tolist() == shapely.to_wkb(np.array(alone)).tolist()


def test_outline_that_no_building_has_takes_no_time():
    comb = np.zeros((400, 500), np.uint8)
    comb[0] = comb[:, ::2] = 254  # 200 000 vertices, all near each other
    polygons = trace(comb, 0.5).polygons
    assert shapely.is_valid(simplify(polygons)).all()
