from __future__ import annotations

from unittest.mock import patch

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

from eaves.errors import EavesError, SettingsError
from eaves.footprints import Traced, Tracer, concatenate, trace

SHAPES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14)
NASTY = st.sampled_from([0, 1, 126, 127, 128, 253, 254, 255])
FIELDS = st.one_of(
    arrays(np.uint8, SHAPES, elements=NASTY),
    arrays(np.uint8, SHAPES, elements=st.integers(0, 255)),
    arrays(np.uint8, SHAPES, elements=st.sampled_from([0, 254])),
)
THRESHOLDS = st.sampled_from([0.5, 0.3, 1 / 254, 0.0001, 0.7, 0.9999, 253.5 / 254])
law = settings(max_examples=80)


def trace_strips(levels: np.ndarray, threshold: float, cuts: list[int]) -> Traced:
    tracer = Tracer(levels.shape[1], threshold=threshold)
    return concatenate([tracer.push(strip) for strip in np.split(levels, sorted(cuts))] + [tracer.finish()])


def assert_identical(one: Traced, other: Traced) -> None:
    assert shapely.to_wkb(one.polygons).tolist() == shapely.to_wkb(other.polygons).tolist()
    np.testing.assert_array_equal(one.mean_score, other.mean_score)
    np.testing.assert_array_equal(one.pixels, other.pixels)


def coverage(polygon: shapely.Polygon, size: int, finer: int = 16) -> np.ndarray:
    """Share of each pixel that a polygon covers."""
    fine = rasterize([polygon], (size * finer, size * finer), transform=Affine.scale(1 / finer))
    return fine.reshape(size, finer, size, finer).mean((1, 3))


def boundary_distance(one: shapely.Polygon, other: shapely.Polygon) -> float:
    """Mean distance of the boundaries from each other, the worse way round."""

    def way(a: shapely.Polygon, b: shapely.Polygon) -> float:
        at = np.linspace(0, a.length, 500, endpoint=False)
        return shapely.distance(shapely.line_interpolate_point(a.boundary, at), b.boundary).mean()

    return max(way(one, other), way(other, one))


@law
@given(FIELDS, THRESHOLDS, st.data())
def test_polygons_do_not_depend_on_the_strips(levels, threshold, data):
    cuts = data.draw(st.lists(st.integers(0, len(levels)), max_size=6))
    whole = trace(levels, threshold)
    assert_identical(trace_strips(levels, threshold, cuts), whole)
    with patch("eaves.footprints.trace._WORTH_COMPACTING", 0):
        assert_identical(trace_strips(levels, threshold, list(range(1, len(levels)))), whole)


@law
@given(FIELDS, THRESHOLDS)
def test_polygons_are_valid_and_hold_the_centres_that_are_inside(levels, threshold):
    traced = trace(levels, threshold)
    assert shapely.is_valid(traced.polygons).all()
    assert shapely.is_ccw(shapely.get_exterior_ring(traced.polygons)).all()
    rows, cols = levels.shape
    assert shapely.within(traced.polygons, shapely.box(0, 0, cols, rows)).all()

    row, col = np.mgrid[:rows, :cols].reshape(2, -1)
    inside = ((levels >= threshold * 254 - 1e-9) & (levels != 255)).ravel()
    holds = shapely.contains_xy(traced.polygons[:, None], col + 0.5, row + 0.5)
    np.testing.assert_array_equal(holds.sum(0), inside)  # one owner each; nobody owns the others
    np.testing.assert_array_equal(holds.sum(1), traced.pixels)
    np.testing.assert_allclose(traced.mean_score, (holds @ levels.ravel().astype(int)) / holds.sum(1) / 254)


@law
@given(FIELDS, THRESHOLDS)
def test_polygons_do_not_meet(levels, threshold):
    polygons = trace(levels, threshold).polygons
    left, right = shapely.STRtree(polygons).query(polygons, predicate="intersects")
    np.testing.assert_array_equal(left, right)


@law
@given(arrays(bool, SHAPES), st.sampled_from([(0.5, 2), (0.6, 1)]))
def test_components_are_those_of_labelling(mask, rule):
    threshold, connectivity = rule  # the mean of a saddle's corners is 0.5: joined at 0.5, parted above
    traced = trace(np.where(mask, np.uint8(254), np.uint8(0)), threshold)
    labels, count = ndimage.label(mask, ndimage.generate_binary_structure(2, connectivity))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    assert sorted(traced.pixels) == sorted(sizes)
    holes = ndimage.label(~np.pad(mask, 1), ndimage.generate_binary_structure(2, 3 - connectivity))[1] - 1
    assert shapely.get_num_interior_rings(traced.polygons).sum() == holes


def test_island_in_a_courtyard_in_a_courtyard():
    levels = np.zeros((22, 22), np.uint8)
    for ring in range(0, 11, 2):
        levels[ring : 22 - ring, ring : 22 - ring] = 254
        levels[ring + 1 : 21 - ring, ring + 1 : 21 - ring] = 0
    traced = trace(levels, 0.5)
    assert shapely.get_num_interior_rings(traced.polygons).tolist() == [0, 1, 1, 1, 1, 1]
    assert traced.pixels.tolist() == [4, 20, 36, 52, 68, 84]
    assert not shapely.contains(traced.polygons[1:], traced.polygons[:-1]).any()


def test_line_of_a_ramp_is_where_the_ramp_is_at_the_threshold():
    levels = np.repeat(np.arange(0, 250, 10, dtype=np.uint8)[:, None], 7, axis=1)  # level 10 r at y = r + 0.5
    (polygon,) = trace(levels, 0.5).polygons
    assert polygon.bounds == pytest.approx((0, 12.7 + 0.5, 7, 25))


def test_rectangle_is_exact_up_to_its_corners():
    levels = np.zeros((20, 30), np.uint8)
    levels[4:11, 6:19] = 254
    traced = trace(levels, 0.5)
    assert traced.polygons[0].bounds == (6, 4, 19, 11)
    assert traced.polygons[0].area == 7 * 13 - 4 * 0.125
    assert (traced.pixels[0], traced.mean_score[0]) == (91, 1.0)


def test_outline_runs_along_the_edge_of_imagery():
    levels = np.full((6, 9), 200, np.uint8)
    levels[:, 5:] = 255
    (polygon,) = trace(levels, 0.5).polygons
    assert polygon.bounds == (0, 0, 5, 6)
    assert polygon.area == 30 - 4 * 0.125


@pytest.mark.parametrize("angle", [0, 10, 30, 45, 77])
@pytest.mark.parametrize("shift", [(0, 0), (0.3, 0.85)])
def test_polygon_to_scores_to_polygon_moves_less_than_a_tenth_of_a_pixel(angle, shift):
    shape = shapely.box(-14, -9, 14, 9).difference(shapely.box(2, -2, 14, 9))
    polygon = affinity.translate(affinity.rotate(shape, angle, origin=(0, 0)), 24 + shift[0], 24 + shift[1])
    traced = trace(np.round(coverage(polygon, 48) * 254).astype(np.uint8), 0.5).polygons[0]
    assert boundary_distance(polygon, traced) < 0.1
    # between an edge pixel's cover and the next pixel's, linear interpolation is off by up to 0.086 px
    assert traced.centroid.x == pytest.approx(polygon.centroid.x, abs=0.09)
    assert traced.centroid.y == pytest.approx(polygon.centroid.y, abs=0.09)
    assert traced.area == pytest.approx(polygon.area, rel=0.015)  # six corners are cut


def test_polygon_to_mask_to_polygon_does_not_shift_or_shrink():
    random = np.random.default_rng(3)
    from_polygon, from_mask, areas = [], [], []
    for _ in range(40):
        box = affinity.rotate(shapely.box(12, 14, 36, 34), random.uniform(0, 90))
        polygon = affinity.translate(box, *random.uniform(-1, 1, 2))
        mask = rasterize([polygon], (48, 48), dtype=np.uint8)
        traced = trace(mask * np.uint8(254), 0.5).polygons[0]
        at = shapely.get_coordinates(traced.centroid)[0]
        from_polygon.append(at - shapely.get_coordinates(polygon.centroid)[0])
        from_mask.append(at - (np.argwhere(mask)[:, ::-1].mean(0) + 0.5))
        areas.append(traced.area / polygon.area)
    assert np.abs(from_mask).max() < 0.02
    assert np.abs(np.mean(from_polygon, axis=0)).max() < 0.02
    assert np.quantile(np.hypot(*np.transpose(from_polygon)), 0.95) < 0.1  # the rest is the mask's own rounding
    assert np.mean(areas) == pytest.approx(1, abs=0.003)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (64, 64)])
def test_full_frame_is_the_frame_less_its_corners(shape):
    traced = trace(np.full(shape, 254, np.uint8), 0.5)
    assert traced.polygons[0].area == shape[0] * shape[1] - 0.5
    assert len(traced.polygons) == 1


@pytest.mark.parametrize(("threshold", "count"), [(0.5, 1), (0.6, 20_000)])
def test_checkerboard(threshold, count):
    levels = (np.add.outer(np.arange(200), np.arange(200)) % 2 * 254).astype(np.uint8)
    traced = trace(levels, threshold)
    assert len(traced.polygons) == count
    assert traced.pixels.sum() == 20_000
    assert shapely.is_valid(traced.polygons).all()


def test_memory_holds_open_outlines_only():
    specks = np.zeros((8, 256), np.uint8)
    specks[1::4, 1::4] = 254
    tracer = Tracer(256, threshold=0.5)
    sizes = []
    for _ in range(600):
        assert len(tracer.push(specks).polygons) in (64, 128)
        sizes.append(len(tracer._state.xy))
    assert len(tracer.finish().polygons) == 0
    assert sizes[-1] == sizes[200] < 4 * 100_000  # 300 000 vertices went through; 65 536 dead ones may wait


def test_nothing_inside_gives_nothing():
    for levels in (np.zeros((5, 5), np.uint8), np.full((5, 5), 255, np.uint8), np.zeros((0, 5), np.uint8)):
        traced = trace(levels, 0.5)
        assert [len(column) for column in traced] == [0, 0, 0]
        assert traced.polygons.dtype == object


def test_read_only_and_strided_levels_are_fine():
    levels = np.zeros((10, 10), np.uint8)
    levels[2:8, 2:8] = 254
    expected = trace(levels, 0.5)
    levels.setflags(write=False)
    assert_identical(trace(levels, 0.5), expected)
    assert_identical(trace(levels.T, 0.5), expected)


def test_misuse_is_refused():
    for threshold in (0, 1, -0.1, 127, float("nan")):
        with pytest.raises(SettingsError, match="threshold"):
            Tracer(4, threshold=threshold)
    tracer = Tracer(4, threshold=0.5)
    for wrong in (np.zeros((2, 5), np.uint8), np.zeros((2, 4), np.float32), np.zeros((1, 2, 4), np.uint8)):
        with pytest.raises(EavesError, match="uint8 levels"):
            tracer.push(wrong)
    tracer.finish()
    with pytest.raises(EavesError, match="new Tracer"):
        tracer.push(np.zeros((2, 4), np.uint8))
    with pytest.raises(EavesError, match="new Tracer"):
        tracer.finish()
