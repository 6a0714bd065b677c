"""Regular outlines keep their promises: the tolerance both ways, right angles, no ground of two, shared walls."""

from __future__ import annotations

from importlib import import_module
from itertools import pairwise

import cv2
import numpy as np
import pytest
import rasterio.features
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import affinity

from eaves.errors import SettingsError
from eaves.footprints import REGULARIZERS, regularize, separate, trace
from eaves.footprints.circles import circle, fit_circles
from eaves.footprints.clip import common_areas
from eaves.footprints.deviation import deviations

GSD = 0.3


def house(kind, width, depth, angle, x=0.0, y=0.0):
    shape = shapely.box(0, 0, width, depth)
    if kind == "L":
        shape = shape.difference(shapely.box(0.55 * width, 0.5 * depth, width, depth))
    elif kind == "court":
        shape = shape.difference(shapely.box(0.3 * width, 0.3 * depth, 0.7 * width, 0.7 * depth))
    elif kind == "round":
        shape = shapely.Point(width / 2, width / 2).buffer(width / 2, 64)
    elif kind == "bevelled":
        shape = shape.difference(shapely.Polygon([(width, depth), (width - 5, depth), (width, depth - 5)]))
    return affinity.translate(affinity.rotate(shape, angle, origin=(0, 0)), x, y)


def score_map(shapes, seed=0, noise=0.1):
    """What a network might say of houses in metres: their cover, blurred and with noise; and where its corner is."""
    left, bottom, right, top = shapely.total_bounds(np.array(shapes, object))
    margin, fine = 3.0, 4
    width, height = (int((hi - lo + 2 * margin) / GSD) + 1 for lo, hi in ((left, right), (bottom, top)))
    at = Affine.translation(left - margin, bottom - margin) * Affine.scale(GSD / fine)
    cover = rasterio.features.rasterize(shapes, (height * fine, width * fine), transform=at).astype(np.float32)
    cover = cover.reshape(height, fine, width, fine).mean((1, 3))
    rng = np.random.default_rng(seed)
    wave = cv2.GaussianBlur(rng.normal(size=cover.shape).astype(np.float32), (0, 0), 2)
    scores = np.clip(cv2.GaussianBlur(cover, (0, 0), 1.2) + noise * wave / wave.std(), 0, 1)
    return np.round(scores * 254).astype(np.uint8), (left - margin, bottom - margin)


def traced(shapes, seed=0, noise=0.1):
    levels, origin = score_map(shapes, seed, noise)
    polygons = trace(levels, 0.5).polygons
    found = shapely.transform(polygons, lambda xy: xy * GSD + origin)
    return found[shapely.area(found) > 4]


def corners_deg(polygons):
    """How much each outline turns at each vertex, in degrees."""
    turns = []
    for ring in shapely.get_rings(polygons):
        xy = shapely.get_coordinates(ring)[:-1]
        before, after = xy - np.roll(xy, 1, axis=0), np.roll(xy, -1, axis=0) - xy
        cross = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
        turns.append(np.degrees(np.arctan2(cross, (before * after).sum(axis=1))))
    return np.concatenate(turns)


houses = st.builds(
    house,
    st.sampled_from(["I", "L", "court", "bevelled", "round"]),
    st.floats(9, 25),
    st.floats(9, 25),
    st.floats(0, 90),
)


@settings(deadline=None, max_examples=60)
@given(shape=houses, method=st.sampled_from(list(REGULARIZERS)), tolerance=st.floats(0.5, 2), seed=st.integers(0, 99))
def test_promises_hold_whatever_the_outline(shape, method, tolerance, seed):
    given_ = traced([shape], seed)
    made = regularize(given_, method, tolerance)
    assert len(made.polygons) == len(given_)
    assert shapely.is_valid(made.polygons).all()
    for one, other, told in zip(given_, made.polygons, made.deviation, strict=True):
        true = shapely.hausdorff_distance(one.boundary, other.boundary, densify=0.05)
        assert true <= tolerance * (1 + 1e-9)
        assert true <= told + 1e-9
        assert told <= true + 0.02 * tolerance + 0.05 * 0.5  # GEOS looks at points of a twentieth of each edge alone
    assert (shapely.get_num_interior_rings(made.polygons) == shapely.get_num_interior_rings(given_)).all()
    regular = made.polygons[made.status == 0]
    if method == "right-angles" and len(regular):
        assert np.allclose(np.abs(corners_deg(regular)), 90, atol=1e-6)
    if method == "right-angles-and-diagonals" and len(regular):
        assert np.allclose(np.abs(corners_deg(regular)) % 45, 0, atol=1e-6) or np.allclose(
            (np.abs(corners_deg(regular)) + 1e-6) % 45, 0, atol=2e-6
        )


@pytest.mark.parametrize("angle", [0, 17, 45, 83])
@pytest.mark.parametrize(("kind", "corners"), [("I", 4), ("L", 6), ("court", 8)])
def test_a_noisy_house_comes_back_as_it_was(kind, corners, angle):
    true = house(kind, 18, 13, angle)
    made = regularize(traced([true], seed=angle), "right-angles", 1.0)
    assert made.status.tolist() == [0]
    assert shapely.get_num_coordinates(made.polygons[0]) - (2 if kind == "court" else 1) == corners
    assert made.polygons[0].intersection(true).area / made.polygons[0].union(true).area > 0.95


def test_a_bevelled_corner_is_a_diagonal_and_a_silo_is_round():
    shapes = [house("bevelled", 20, 16, 30), house("round", 16, 16, 0, x=40), house("I", 18, 12, 10, x=80)]
    given_ = traced(shapes)
    given_ = given_[np.argsort(shapely.get_x(shapely.centroid(given_)))]
    auto = regularize(given_, "auto", 1.0)
    assert auto.method.tolist() == ["right-angles-and-diagonals", "circle", "right-angles"]
    assert regularize(given_, "circle", 1.0).status.tolist() == [1, 0, 1]
    assert regularize(given_, "circle", 1.0, max_radius=5).status.tolist() == [1, 1, 1]
    assert regularize(given_[1:2], "auto", 1.0, min_radius=9).method.tolist() != ["circle"]
    small = shapely.box(0, 0, 20, 14).difference(shapely.Polygon([(20, 14), (17.5, 14), (20, 11.5)]))
    cheap, dear = (
        regularize(traced([small]), "right-angles-and-diagonals", 2.0, diagonal_penalty=penalty) for penalty in (0, 50)
    )
    assert np.isclose(np.abs(corners_deg(cheap.polygons)), 45, atol=1e-6).sum() == 2
    assert np.allclose(np.abs(corners_deg(dear.polygons)), 90, atol=1e-6)


def test_what_has_no_such_shape_is_kept_within_the_tolerance_and_says_so():
    triangle = traced([shapely.Polygon([(0, 0), (30, 0), (15, 26)])])
    made = regularize(triangle, "right-angles", 0.7)
    assert made.status.tolist() == [1]
    assert made.method.tolist() == [""]
    assert "simplified" in made.reason[0]
    assert shapely.get_num_coordinates(made.polygons[0]) < 12
    free = regularize(triangle, "any-angle", 0.7)
    assert free.status.tolist() == [0]
    assert shapely.get_num_coordinates(free.polygons[0]) == 4


def test_walls_stay_shared_along_a_row():
    """Three houses in a row, parted by the border between them, as a network with a border class gives them."""
    row = [
        house("I", 8, 12, 20, *affinity.rotate(shapely.Point(8 * k, 0), 20, origin=(0, 0)).coords[0]) for k in range(3)
    ]
    levels, origin = score_map(row, seed=4)
    walls = [one.intersection(other).buffer(0.4, cap_style="flat") for one, other in pairwise(row)]
    rim, _ = score_map([*row, *walls], seed=5, noise=0.0)
    at = Affine.translation(*origin) * Affine.scale(GSD)
    rim = rasterio.features.rasterize(walls, levels.shape, transform=at).astype(np.uint8) * 254
    given_ = shapely.transform(
        separate(np.stack([levels, rim]), 0.5, "border", min_seed_px=40).polygons, lambda xy: xy * GSD + origin
    )
    assert len(given_) == 3
    made = regularize(given_, "right-angles", 1.0)
    assert made.status.tolist() == [0, 0, 0]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert made.polygons[a].intersection(made.polygons[b]).area == 0
    union = shapely.union_all(made.polygons)
    assert union.geom_type == "Polygon"
    assert not union.interiors
    shared = sum(
        shapely.length(shapely.intersection(made.polygons[a].boundary, made.polygons[b].boundary))
        for a, b in ((0, 1), (1, 2), (0, 2))
    )
    assert shared > 22  # two walls of 12 m, less what the corners take
    straight = corners_deg(made.polygons)
    bends = straight[np.abs(straight) > 0.01]
    assert np.allclose(np.abs(bends), 90, atol=0.01)
    assert len(bends) == 12


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 999), method=st.sampled_from(["right-angles", "any-angle", "auto"]))
def test_buildings_that_touch_never_overlap_nor_part(seed, method):
    """A wall of cells, as a noisy separation leaves them: neighbours have the very same vertices."""
    rng = np.random.default_rng(seed)
    x = np.cumsum(rng.uniform(6, 14, 4))
    wave = [np.column_stack([np.full(25, 0.0), np.linspace(0, 12, 25)])]
    for at in x:
        wobble = rng.normal(0, 0.25, 25)
        wave.append(np.column_stack([at + wobble, np.linspace(0, 12, 25) + 0.03 * at]))
    cells = []
    for left, right in pairwise(wave):
        cells.append(shapely.Polygon(np.vstack([left, right[::-1]])))
    given_ = affinity.rotate(shapely.MultiPolygon(cells), rng.uniform(0, 90))
    given_ = np.array([given_.geoms[k] for k in rng.permutation(4)], object)
    assert shapely.is_valid(given_).all()
    made = regularize(given_, method, 1.0)
    assert shapely.is_valid(made.polygons).all()
    assert (deviations(given_, made.polygons, 1.0) <= 1.011).all()
    touched = sum(one.touches(other) or one.intersects(other) for k, one in enumerate(given_) for other in given_[:k])
    together = 0
    for k, one in enumerate(made.polygons):
        for other in made.polygons[:k]:
            assert one.intersection(other).area < 1e-6
            together += one.distance(other) < 1e-6
    assert together >= touched
    assert shapely.union_all(made.polygons).area == pytest.approx(shapely.area(made.polygons).sum(), abs=1e-5)


def test_neighbours_with_a_lane_between_do_not_grow_into_it():
    lane = [house("I", 14, 10, 12), house("I", 14, 10, 12, x=-2.35, y=10.8)]
    given_ = traced(lane, seed=2, noise=0.05)
    if len(given_) == 1:
        pytest.fail("the lane closed; widen it")
    made = regularize(given_, "right-angles", 2.0)
    assert made.polygons[0].intersection(made.polygons[1]).area < 1e-6


def test_parts_holes_and_nothing_come_back_in_their_places():
    one, two = traced([house("I", 15, 10, 0)])[0], traced([house("court", 24, 20, 30, x=60)])[0]
    far = [affinity.translate(one, 0, 100), affinity.translate(two, 0, 100), shapely.force_3d(one, 7.0)]
    far[2] = affinity.translate(far[2], 0, 200)
    given_ = np.array(
        [shapely.MultiPolygon([one, two]), shapely.Polygon(), far[1], shapely.MultiPolygon([far[0]]), far[2], None],
        object,
    )
    made = regularize(given_, "right-angles", 1.0)
    assert [None if each is None else each.geom_type for each in made.polygons] == [
        "MultiPolygon", "Polygon", "Polygon", "MultiPolygon", "Polygon", None,
    ]  # fmt: skip
    assert made.status.tolist() == [0, 1, 0, 0, 0, 1]
    assert made.reason[1] == made.reason[5] == "no polygon"
    assert np.isnan(made.deviation[[1, 5]]).all()
    assert len(made.polygons[0].geoms) == 2
    assert regularize(np.empty(0, object)).polygons.shape == (0,)


def test_parts_of_one_polygon_that_meet_become_one():
    """Side by side they share a wall, which a valid MultiPolygon may not."""
    one = shapely.segmentize(shapely.box(0, 0, 12, 10), 0.3)
    other = shapely.Polygon([(12, 5), (12.3, 0), (24, 0), (24, 10), (12.3, 10)])  # they meet in a point
    given_ = np.array([shapely.MultiPolygon([one, shapely.segmentize(other, 0.3)])], object)
    assert given_[0].is_valid
    made = regularize(given_, "right-angles", 1.0)
    assert made.polygons[0].is_valid
    assert deviations(given_, made.polygons, 1.0)[0] <= (5.1 if made.status[0] else 1.011)


def test_a_speck_of_a_hole_and_a_shed_are_rectangles():
    wall = shapely.segmentize(shapely.box(0, 0, 15, 10), 0.3)
    speck = shapely.Point(7, 5).buffer(0.4, 8)
    shed = shapely.Point(30, 5).buffer(0.8, 8)
    made = regularize(np.array([wall.difference(speck), shed], object), "right-angles", 1.0)
    assert made.status.tolist() == [0, 0]
    assert len(made.polygons[0].interiors) == 1
    assert np.allclose(np.abs(corners_deg(made.polygons)), 90, atol=1e-6)
    assert made.polygons[1].area == pytest.approx(shed.area, rel=1e-6)


def test_walls_lie_multiples_of_the_precision_apart():
    given_ = traced([house("L", 18, 13, 33)], seed=8)
    made = regularize(given_, "right-angles", 1.0, precision=0.25)
    xy = shapely.get_coordinates(made.polygons[0].exterior)
    length = np.hypot(*np.diff(xy, axis=0).T)
    assert made.status.tolist() == [0]
    assert np.allclose(length / 0.25, np.round(length / 0.25), atol=1e-6)
    assert (regularize(given_, "right-angles", 1.0).deviation <= 1).all()


def test_densification_finds_corners_of_slow_curves():
    bow = shapely.LineString([(30 * np.cos(t), 30 * np.sin(t)) for t in np.linspace(0.2, 1.4, 200)])
    given_ = np.array([bow.buffer(4, cap_style="flat", quad_segs=64)])
    plain = regularize(given_, "any-angle", 0.5)
    more = regularize(given_, "any-angle", 0.5, densification=1.0)
    assert more.status.tolist() == plain.status.tolist() == [0]
    assert more.iou[0] > plain.iou[0]


def test_order_chunks_and_threads_change_nothing(monkeypatch):
    rng = np.random.default_rng(3)
    shapes = [house("L" if k % 3 else "I", *rng.uniform(9, 16, 2), rng.uniform(0, 90), x=25 * k) for k in range(12)]
    given_ = traced(shapes, seed=1)
    whole = regularize(given_, "auto", 1.0)
    back = regularize(given_[::-1], "auto", 1.0)
    monkeypatch.setattr(import_module("eaves.footprints.regularize"), "_CHUNK", 3)
    parts = regularize(given_, "auto", 1.0, workers=3)
    assert shapely.equals_exact(whole.polygons, parts.polygons, 0).all()
    assert shapely.equals_exact(whole.polygons, back.polygons[::-1], 1e-9).all()
    assert whole.method.tolist() == parts.method.tolist() == back.method[::-1].tolist()


def test_a_huge_complex_and_a_saw_end_in_time():
    """An outline of 40 000 vertices, and one that never stops turning."""
    teeth = 5000
    x = np.arange(2 * teeth + 1) * 0.15
    saw = shapely.Polygon([*zip(x, 20 + 0.3 * (np.arange(len(x)) % 2), strict=True), (x[-1], 0), (0, 0)])
    rng = np.random.default_rng(0)
    halls = [shapely.box(60 * k, 0, 60 * k + 61, rng.uniform(20, 60)) for k in range(150)]
    huge = shapely.segmentize(shapely.union_all(halls), 0.3)
    made = regularize(np.array([saw, huge]), "right-angles", 1.0)
    assert shapely.is_valid(made.polygons).all()
    assert made.status.tolist() == [0, 0]
    assert shapely.get_num_coordinates(made.polygons[0]) == 5
    assert shapely.get_num_coordinates(made.polygons[1]) < 400


def test_what_lies_on_something_else_is_regular_all_the_same():
    below, above = traced([house("I", 20, 16, 10)])[0], traced([house("I", 9, 7, 10, x=5, y=5)])[0]
    made = regularize(np.array([below, above, below]), "right-angles", 1.0)
    assert made.status.tolist() == [0, 0, 0]
    assert made.polygons[0].equals(made.polygons[2])


def test_slivers_and_spikes_survive():
    sliver = shapely.Polygon([(0, 0), (30, 0.02), (30, 0.03), (0, 0.05)])
    spike = shapely.union_all([shapely.box(0, 10, 12, 20), shapely.Polygon([(12, 15), (25, 15.1), (12, 15.2)])])
    made = regularize(np.array([sliver, spike]), "right-angles", 1.0)
    assert shapely.is_valid(made.polygons).all()
    assert (deviations(np.array([sliver, spike]), made.polygons, 1.0) <= 1.011).all()


def test_a_regular_outline_stays_as_it_is():
    shapes = np.array([house("I", 14, 9, 25), house("L", 20, 12, 70, x=50), house("court", 22, 20, 5, x=100)])
    once = regularize(shapely.segmentize(shapes, 0.3), "right-angles", 1.0)
    assert once.status.tolist() == [0, 0, 0]
    assert (once.iou > 0.9999).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "round"},
        {"tolerance": 0},
        {"tolerance": np.inf},
        {"diagonal_penalty": -1},
        {"densification": 0},
        {"precision": 0.6},
        {"min_radius": 3, "max_radius": 2},
        {"workers": 0},
    ],
)
def test_settings_outside_their_range_are_refused(wrong):
    with pytest.raises(SettingsError):
        regularize(np.array([shapely.box(0, 0, 9, 9)]), **wrong)


# --- the parts --------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(a=houses, b=houses, dx=st.floats(-8, 8), dy=st.floats(-8, 8))
def test_deviations_are_the_hausdorff_distance(a, b, dx, dy):
    b = affinity.translate(b, dx, dy)
    [found] = deviations(np.array([a]), np.array([b]), 1.0)
    true = shapely.hausdorff_distance(a.boundary, b.boundary, densify=0.01)
    assert true <= found + 1e-9
    assert found <= true + 0.02 + 0.005 * 25
    [swapped] = deviations(np.array([b]), np.array([a]), 1.0)
    assert swapped == pytest.approx(found, abs=0.02)


def test_deviation_of_what_is_the_same_and_of_nothing():
    square = shapely.box(0, 0, 9, 9)
    assert deviations(np.array([square]), np.array([square]), 1.0)[0] <= 0.011
    assert deviations(np.array([square]), np.array([shapely.Polygon()]), 1.0)[0] == np.inf
    assert deviations(np.empty(0, object), np.empty(0, object), 1.0).shape == (0,)


@settings(deadline=None, max_examples=80)
@given(a=houses, b=houses, dx=st.floats(-20, 20), dy=st.floats(-20, 20))
def test_common_areas_are_those_of_geos(a, b, dx, dy):
    b = affinity.translate(b, dx, dy)
    box = shapely.box(*b.bounds)
    found = common_areas(np.array([a, a, b]), np.array([b, box, a]))
    true = [a.intersection(b).area, a.intersection(box).area, a.intersection(b).area]
    assert found == pytest.approx(true, rel=1e-9, abs=1e-9)


def test_circles_have_the_area():
    [shape] = [circle(1, 2, 5, 0.5)]
    assert shape.area == pytest.approx(25 * np.pi)
    middle, radius = fit_circles(np.array([shape.difference(shapely.Point(1, 2).buffer(1))]))
    assert middle[0] == pytest.approx([1, 2])
    assert radius[0] == pytest.approx(5)


@pytest.mark.parametrize("thin", [1e-3, 3e-6, 1e-6, 1e-9, 1e-12])
def test_slivers_beside_a_building_survive(thin):
    house = shapely.box(0, 0, 10, 10)
    for beside in (
        [shapely.Polygon([(10, 5), (20, 5), (20, 5 + thin)])],
        [shapely.box(10, 2, 10 + thin, 8)],
        [shapely.box(10, 0, 10 + thin, 10), shapely.box(10 + thin, 0, 20, 10)],
    ):
        made = regularize(np.array([house, *beside], object), "right-angles", 1.0)
        assert shapely.is_valid(made.polygons).all()
        assert not shapely.is_empty(made.polygons).any()
        assert made.polygons[0].area == pytest.approx(100, abs=25)


def test_an_odd_corner_at_a_shared_wall_is_owned_up_to():
    """A house that is cut off by its neighbour, which stands at 30 degrees: one of them has no right angle there."""
    other = affinity.rotate(shapely.box(15, -8, 35, 20), 30, origin=(15, 0))
    given_ = shapely.segmentize(np.array([shapely.box(0, 0, 22, 12).difference(other), other], object), 0.3)
    alone = regularize(given_[1:], "right-angles", 1.0)
    assert alone.reason.tolist() == ["regular"]
    made = regularize(given_, "right-angles", 3.0)
    assert made.status.tolist() == [0, 0]
    odd = [bool((np.abs(np.abs(corners_deg([one])) % 90 - 45) < 44.9).any()) for one in made.polygons]
    assert any(odd)
    assert ["wall shared" in reason for reason in made.reason] == odd
    assert (made.method == "right-angles").all()


@pytest.mark.parametrize("method", list(REGULARIZERS))
def test_vertices_on_one_another_survive(method):
    twice = shapely.Polygon([(0, 0), (5, 0), (5, 0), (10, 0), (10, 5), (0, 5)])
    nearly = shapely.Polygon([(0, 0), (5, 0), (5 + 1e-15, 0), (10, 0), (10, 5), (0, 5)])
    made = regularize(np.array([twice, nearly], object), method, 1.0)
    if method != "circle":
        assert made.status.tolist() == [0, 0]
    assert shapely.area(made.polygons) == pytest.approx([50, 50], abs=1e-6)


def test_a_building_that_is_there_twice_does_not_spoil_its_neighbours():
    row = traced([house("I", 8, 12, 0, 9.0 * k) for k in range(4)])
    once, twice = regularize(row, "right-angles", 1.0), regularize(np.concatenate([row, row[1:3]]), "right-angles", 1.0)
    assert twice.status.tolist() == [0] * 6
    for k, one in enumerate([*once.polygons, *once.polygons[1:3]]):
        assert shapely.equals_identical(one, twice.polygons[k])


def test_parts_that_meet_too_far_from_what_was_given_stay_and_no_neighbour_comes_to_overlap():
    """Two halves of one polygon, nearly touching along a crooked cut, and a house against both of them."""
    rng = np.random.default_rng(3)
    for seed in range(8):
        y = np.linspace(0, 20, 60)
        x = 10 + np.cumsum(rng.normal(0, 0.25, 60)).clip(-1.2, 1.2)
        left = shapely.Polygon([(0, 0), *zip(x - 0.2, y, strict=True), (0, 20)])
        right = shapely.Polygon([*zip(x + 0.2, y, strict=True), (20, 20), (20, 0)])
        beside = shapely.Polygon([(20, 0), (20, 20), (31, 20), (30, 0)])
        given_ = np.array([shapely.MultiPolygon([left, right]), beside], object)
        assert shapely.is_valid(given_).all(), seed
        for tolerance in (0.3, 0.6, 1.5):
            made = regularize(given_, "right-angles", tolerance)
            assert shapely.is_valid(made.polygons).all()
            assert (deviations(given_, made.polygons, tolerance) <= tolerance * 1.011).all()
            assert made.polygons[0].intersection(made.polygons[1]).area < 1e-6


def test_far_edges_are_measured_in_no_time():
    """Long teeth that lie on one another, and many courtyards: neither is looked at piece by piece."""
    teeth = [corner for k in range(4000) for corner in ((2 * k, 0), (2 * k, 50), (2 * k + 1, 50), (2 * k + 1, 0))]
    comb = shapely.Polygon([*teeth, (8000, -5), (0, -5)])
    moved = affinity.translate(comb, 0.1, 0.1)
    holes = [shapely.box(8 * i, 8 * j, 8 * i + 3, 8 * j + 3).exterior for i in range(60) for j in range(60)]
    courts = shapely.Polygon(shapely.box(-5, -5, 490, 490).exterior, holes)
    one, other = np.array([comb, comb, courts]), np.array([comb, moved, shapely.segmentize(courts, 0.3)])
    assert deviations(one, other, 1.0) == pytest.approx([0, 0.1414, 0], abs=0.0101)
