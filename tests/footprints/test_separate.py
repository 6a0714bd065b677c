from __future__ import annotations

from itertools import pairwise
from unittest.mock import patch

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from eaves.errors import EavesError, SettingsError
from eaves.footprints import METHODS, Separator, Traced, concatenate, separate, trace

NASTY = st.sampled_from([0, 100, 126, 127, 128, 160, 200, 254, 255])
SIDES = st.tuples(st.just(2), st.integers(1, 13), st.integers(1, 13))
FIELDS = st.one_of(
    arrays(np.uint8, SIDES, elements=NASTY),
    arrays(np.uint8, SIDES, elements=st.integers(0, 255)),
    # mostly building, so that much is to be parted; saddles of two certain pixels lie just at 0.5
    st.tuples(
        arrays(np.uint8, (12, 12), elements=st.sampled_from([254, 254, 254, 127, 0, 0, 255])),
        arrays(np.uint8, (12, 12), elements=st.integers(0, 255)),
    ).map(np.stack),
)
WAYS = st.fixed_dictionaries(
    {
        "threshold": st.sampled_from([0.5, 0.3, 1 / 254, 0.7]),
        "method": st.sampled_from([*METHODS, "score"]),
        "min_fall": st.sampled_from([0.05, 0.2, 0.5]),
        "min_seed_px": st.sampled_from([1, 3]),
    }
)
law = settings(max_examples=80, deadline=None)


def separate_strips(levels: np.ndarray, cuts: list[int], **way) -> Traced:
    separator = Separator(levels.shape[2], **way)
    strips = np.split(levels, sorted(cuts), axis=1)
    return concatenate([separator.push(strip) for strip in strips] + [separator.finish()])


def assert_identical(one: Traced, other: Traced) -> None:
    assert shapely.to_wkb(one.polygons).tolist() == shapely.to_wkb(other.polygons).tolist()
    np.testing.assert_array_equal(one.mean_score, other.mean_score)
    np.testing.assert_array_equal(one.pixels, other.pixels)


def owners(polygons: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Which polygon, counted from 1, holds each pixel's centre; each centre may lie in one only."""
    row, col = np.mgrid[: shape[0], : shape[1]]
    holds = shapely.contains_xy(polygons[:, None, None], col + 0.5, row + 0.5)
    assert holds.sum(0).max(initial=0) <= 1
    return (holds * np.arange(1, len(polygons) + 1)[:, None, None]).sum(0)


def ideal(ids: np.ndarray, method: str, border_px: float = 2.0, clip_px: float = 10.0) -> np.ndarray:
    """The two bands that a faultless network gives for numbered buildings."""
    depth = np.zeros(ids.shape)
    for number in range(1, ids.max() + 1):
        inside = np.pad(ids == number, 1)
        depth += (ndimage.distance_transform_edt(inside) - 0.5 * inside)[1:-1, 1:-1]
    outside = ndimage.distance_transform_edt(ids == 0) - 0.5
    second = (
        (depth < border_px) * (ids > 0) if method == "border" else 0.5 + np.where(ids, depth, -outside) / clip_px / 2
    )
    return np.rint(np.stack([ids > 0, second.clip(0, 1)]) * 254).astype(np.uint8)


def street(widths: list[int], depth: int = 24, shift: int = 0) -> np.ndarray:
    """Houses side by side; every other one stands ``shift`` pixels back."""
    ids = np.zeros((depth + 8 + abs(shift), sum(widths) + 8), int)
    at = np.cumsum([4, *widths])
    for number, (left, right) in enumerate(pairwise(at.tolist()), 1):
        top = 4 + shift * (number % 2)
        ids[top : top + depth, left:right] = number
    return ids


def same_partition(one: np.ndarray, other: np.ndarray) -> bool:
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    return len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


@law
@given(FIELDS, WAYS, st.data())
def test_polygons_do_not_depend_on_the_strips(levels, way, data):
    rows = levels.shape[1]
    cuts = data.draw(st.lists(st.integers(0, rows), max_size=6))
    whole = separate(levels, **way)
    assert_identical(separate_strips(levels, cuts, **way), whole)
    with patch("eaves.footprints.separate._FEW_ROWS", 1):
        assert_identical(separate_strips(levels, list(range(1, rows)), **way), whole)


@law
@given(FIELDS, WAYS, st.integers(0, 5), st.integers(0, 5), st.integers(0, 3))
def test_polygons_do_not_depend_on_where_the_window_begins(levels, way, rows, cols, more):
    here = separate(levels, **way)
    wider = np.pad(levels, ((0, 0), (rows, more), (cols, more)), constant_values=255)
    there = separate(wider, **way)
    moved = shapely.transform(there.polygons, lambda xy: xy - (cols, rows))
    assert len(here.polygons) == len(moved)
    assert shapely.equals_exact(here.polygons, moved, 1e-9).all()
    np.testing.assert_array_equal(here.mean_score, there.mean_score)


@law
@given(FIELDS, WAYS)
def test_every_pixel_of_a_component_belongs_to_one_building(levels, way):
    traced, whole = separate(levels, **way), trace(levels[0], way["threshold"])
    shape = levels.shape[1:]
    owner, component = owners(traced.polygons, shape), owners(whole.polygons, shape)
    np.testing.assert_array_equal(owner > 0, component > 0)
    inside = [owner == number for number in range(1, len(traced.polygons) + 1)]
    assert [len(np.unique(component[mine])) for mine in inside] == [1] * len(inside)
    assert [int(mine.sum()) for mine in inside] == traced.pixels.tolist()
    np.testing.assert_allclose(traced.mean_score, [levels[0][mine].mean() / 254 for mine in inside])


@law
@given(FIELDS, WAYS)
def test_buildings_are_valid_and_do_not_overlap_and_fill_their_component(levels, way):
    traced, whole = separate(levels, **way), trace(levels[0], way["threshold"])
    polygons = traced.polygons
    assert shapely.is_valid(polygons).all()
    assert shapely.is_ccw(shapely.get_exterior_ring(polygons)).all()
    one, other = shapely.STRtree(polygons).query(polygons, predicate="intersects")
    common = shapely.area(shapely.intersection(polygons[one[one < other]], polygons[other[one < other]]))
    assert common.max(initial=0) < 1e-12

    # where a wall ends, or three meet, each of them rounds its corner
    owner = np.pad(owners(polygons, levels.shape[1:]), 1)
    cells = np.stack([owner[:-1, :-1], owner[1:, :-1], owner[:-1, 1:], owner[1:, 1:]])
    several = [len(np.unique(cell[cell > 0])) > 1 and len(np.unique(cell)) > 2 for cell in cells.reshape(4, -1).T]
    lost = shapely.area(whole.polygons).sum() - shapely.area(polygons).sum()
    assert -1e-9 < lost <= sum(several) + 1e-9


@law
@given(FIELDS, WAYS)
def test_what_is_not_parted_is_as_the_tracer_gives_it(levels, way):
    levels[1] = 77  # the same everywhere: the distance has no two tops
    assert_identical(separate(levels, **way | {"method": "distance"}), trace(levels[0], way["threshold"]))


def tops(seeds: np.ndarray, least: float, fall: float) -> int:
    """Count the tops by the definition: level by level, from the connected regions at or above it."""
    parts = []  # of each region: its parts' highest levels
    before = np.zeros(seeds.shape, int)
    for level in range(int(seeds.max()), -1, -1):
        regions, count = ndimage.label(seeds >= level)
        merged = [[] for _ in range(count)]
        for old, peaks in enumerate(parts, 1):
            merged[regions[before == old][0] - 1] += peaks
        for peaks in merged:
            stand = [peak for peak in peaks if peak >= least and peak - level >= fall * peak]
            if not peaks:
                peaks.append(level)
            elif len(peaks) > 1:
                peaks[:] = stand or [max(peaks)]
        parts, before = merged, regions
    return sum(len(peaks) for peaks in parts)


@law
@given(
    arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 9)),
    st.sampled_from([0.05, 0.2, 0.5, 0.9, 1.0]),
    st.integers(1, 9),
)
def test_there_are_as_many_buildings_as_tops(seeds, fall, least):
    levels = np.stack([np.full_like(seeds, 254), 254 - 28 * seeds])
    found = separate(levels, 0.5, "border", seed_score=28 * least / 254, min_fall=fall, min_seed_px=1)
    assert len(found.polygons) == tops(seeds, least, fall)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shift", [0, 9, 14])
@pytest.mark.parametrize("turns", range(4))
def test_touching_houses_come_apart_at_the_wall(method, shift, turns):
    ids = np.rot90(street([16, 13, 30, 18], shift=shift), turns)
    traced = separate(ideal(ids, method), 0.5, method)
    assert len(trace(ideal(ids, method)[0], 0.5).polygons) == 1
    if shift:  # the corner pixel beside a neighbour's wall is as near to the one as to the other
        sizes = np.bincount(ids.ravel())[1:]
        assert np.abs(np.sort(traced.pixels) - np.sort(sizes)).max() <= 2
    else:
        assert same_partition(owners(traced.polygons, ids.shape), ids)
    walls = np.triu(shapely.length(shapely.intersection(traced.polygons[:, None], traced.polygons[None])), 1)
    assert (walls > 0).sum() == 3
    assert walls[walls > 0] == pytest.approx(24 - shift, abs=3)


@pytest.mark.parametrize("method", METHODS)
def test_house_that_touches_others_at_a_corner_comes_apart_too(method):
    ids = np.zeros((40, 60), int)
    ids[4:20, 4:20], ids[4:20, 20:36], ids[20:36, 36:52] = 1, 2, 3
    levels = ideal(ids, method)
    assert [len(trace(levels[0], threshold).polygons) for threshold in (0.5, 0.6)] == [1, 2]
    for threshold in (0.5, 0.6):
        traced = separate(levels, threshold, method)
        assert same_partition(owners(traced.polygons, ids.shape), ids)
        assert len(traced.polygons) == 3


@pytest.mark.parametrize("method", METHODS)
def test_blurred_houses_of_all_sizes_come_apart_near_the_wall(method):
    random = np.random.default_rng(5)
    ids = street(random.integers(9, 60, 40).tolist(), depth=40, shift=3)
    bands = [ndimage.gaussian_filter(band.astype(float), 1.5) for band in ideal(ids, method)]
    bands += ndimage.gaussian_filter(random.normal(size=(2, *ids.shape)), (0, 2, 2)) * 40
    levels = np.clip(np.rint(bands), 0, 254).astype(np.uint8)
    polygons = separate(levels, 0.5, method).polygons
    large = polygons[shapely.area(polygons) > 40]
    assert len(large) == ids.max()
    owner = owners(large, ids.shape)
    for number in range(1, ids.max() + 1):
        mine = owner == np.bincount(owner[ids == number]).argmax()
        assert (mine & (ids == number)).sum() / (mine | (ids == number)).sum() > 0.8


@pytest.mark.parametrize("method", METHODS)
def test_building_around_a_courtyard_stays_one_with_its_hole(method):
    ids = np.zeros((60, 70), int)
    ids[5:55, 5:65] = 1
    ids[20:38, 25:50] = 0
    levels = ideal(ids, method)
    traced = separate(levels, 0.5, method)
    assert_identical(traced, trace(levels[0], 0.5))
    assert shapely.get_num_interior_rings(traced.polygons).tolist() == [1]


def test_wing_of_a_building_is_not_a_building():
    ids = np.zeros((70, 70), int)
    ids[10:60, 10:34] = 1
    ids[40:60, 34:64] = 1  # an L with arms of 24 and 20 pixels
    assert len(separate(ideal(ids, "distance", clip_px=20), 0.5, "distance").polygons) == 1


def test_a_neck_or_a_dip_parts_where_there_is_no_band():
    levels = np.zeros((30, 70), np.uint8)
    levels[5:25, 5:30] = levels[5:25, 34:60] = 254
    levels[12:16, 30:34] = 254  # a neck
    pair = np.stack([levels, levels])
    assert len(separate(pair, 0.5, "score").polygons) == 2
    assert len(separate(pair, 0.5, "score", min_fall=0.9).polygons) == 1
    levels[12:16, 30:34] = 0
    levels[5:25, 5:60] = 254
    assert len(separate(np.stack([levels, levels]), 0.5, "score").polygons) == 1
    levels[5:25, 31:33] = 140  # a dip all the way
    assert len(separate(np.stack([levels, levels]), 0.5, "score").polygons) == 2
    levels[5:25, 31:33] = 220  # one too shallow
    assert len(separate(np.stack([levels, levels]), 0.5, "score").polygons) == 1


def test_a_smaller_fall_parts_more():
    row = np.array([0, 254, 254, 200, 254, 254, 120, 254, 254, 0], np.uint8)
    levels = np.stack([np.minimum(row, 1) * np.uint8(254), row])[:, None].repeat(6, axis=1)
    counts = [len(separate(levels, 0.5, "distance", min_fall=fall).polygons) for fall in (0.3, 0.5, 1.0)]
    assert counts == [3, 2, 2]
    counts = [len(separate(levels, 0.5, "distance", min_seed_px=pixels).polygons) for pixels in (12, 13)]
    assert counts == [3, 1]
    row = np.array([[254, 254, 240, 254, 254, 130] + [254] * 6], np.uint8)  # five pixels that are one top, and six
    levels = np.stack([np.full_like(row, 254), row])
    counts = [len(separate(levels, 0.5, "distance", min_seed_px=pixels).polygons) for pixels in (5, 6)]
    assert counts == [2, 1]


def test_tops_that_are_small_or_low_are_not_buildings():
    levels = ideal(street([20, 20]), "border")
    levels[1, 10:12, 10] = 254  # splits nothing
    levels[1, 4:28, 4:24] = 254
    levels[1, 15, 14:17] = 0  # three pixels of inside in the left house
    assert len(separate(levels, 0.5, "border").polygons) == 1
    assert len(separate(levels, 0.5, "border", min_seed_px=3).polygons) == 2
    levels[1, 15:18, 14:17] = 254 - 100
    assert len(separate(levels, 0.5, "border").polygons) == 1
    assert len(separate(levels, 0.5, "border", seed_score=0.39).polygons) == 2


@pytest.mark.parametrize("method", METHODS)
def test_pixels_without_imagery_part_and_are_nobodys(method):
    ids = street([20, 20])
    levels = ideal(ids, method)
    levels[:, :, 10:13] = 255
    traced = separate(levels, 0.5, method)
    owner = owners(traced.polygons, ids.shape)
    assert (owner[levels[0] == 255] == 0).all()
    assert sorted(traced.pixels.tolist()) == [6 * 24, 11 * 24, 20 * 24]
    levels[0] = ideal(ids, method)[0]  # what is not known is the second band alone
    assert sum(separate(levels, 0.5, method).pixels) == (ids > 0).sum()
    assert len(separate(levels, 0.5, method).pixels) == 3
    levels[1] = 255
    whole = separate(levels, 0.5, method)
    assert_identical(whole, trace(levels[0], 0.5))


def test_nothing_inside_gives_nothing():
    for levels in (np.zeros((2, 5, 5), np.uint8), np.full((2, 5, 5), 255, np.uint8), np.zeros((2, 0, 5), np.uint8)):
        for method in METHODS:
            traced = separate(levels, 0.5, method)
            assert [len(column) for column in traced] == [0, 0, 0]
            assert traced.polygons.dtype == object


def test_scene_that_is_all_building_is_parted_too():
    ids = np.repeat([[1, 2, 3]], 200, axis=0).repeat(30, axis=1)
    levels = ideal(ids, "border")
    cuts = list(range(7, 200, 7))
    traced = separate_strips(levels, cuts, threshold=0.5, method="border")
    assert same_partition(owners(traced.polygons, ids.shape), ids)
    assert shapely.bounds(traced.polygons).tolist() == [[left, 0, left + 30, 200] for left in (0, 30, 60)]


def test_components_too_large_to_be_buildings_are_not_parted():
    levels = ideal(np.rot90(street([16, 16])), "border")
    whole, height = trace(levels[0], 0.5), 32
    every = list(range(1, levels.shape[1]))
    for name, least in (("_KEPT_ROWS", height), ("_LARGEST_PX", height * 24)):
        with (
            patch("eaves.footprints.separate._KEPT_PX", 0),
            patch("eaves.footprints.separate._FEW_ROWS", 1),
            patch(f"eaves.footprints.separate.{name}", least),
        ):
            assert len(separate_strips(levels, every, threshold=0.5, method="border").polygons) == 2
            assert len(separate(levels, 0.5, "border").polygons) == 2
        with patch("eaves.footprints.separate._KEPT_PX", 0), patch(f"eaves.footprints.separate.{name}", least - 1):
            assert_identical(separate_strips(levels, every, threshold=0.5, method="border"), whole)
            assert_identical(separate(levels, 0.5, "border"), whole)


def test_rows_are_kept_only_while_something_on_them_is_open():
    specks = np.zeros((2, 8, 64), np.uint8)
    specks[0, 1:6, 1:6] = 254
    separator = Separator(64, threshold=0.5, method="border")
    kept = []
    for index in range(400):
        strip = specks.copy()
        strip[0, :, 20:24] = 254 * (100 <= index < 300)  # a wall across 1600 rows
        separator.push(strip)
        kept.append(separator._kept._used)
    assert max(kept[:100]) <= 2 * 64 + 8
    assert 1600 <= max(kept) <= 2 * 1600
    assert kept[-1] <= 2 * 64 + 8
    assert len(separator.finish().polygons) == 0


def test_long_component_is_not_searched_at_every_push():
    strip = np.full((2, 1, 16), 254, np.uint8)
    separator = Separator(16, threshold=0.5, method="distance")
    with patch("eaves.footprints.separate._open_top", return_value=0) as search:
        for _ in range(4000):
            separator.push(strip)
    assert search.call_count < 10


def test_read_only_and_strided_levels_are_fine():
    levels = ideal(street([14, 20]), "distance")
    expected = separate(levels, 0.5, "distance")
    strided = np.repeat(levels, 2, axis=2)[:, :, ::2]
    strided.setflags(write=False)
    assert_identical(separate(strided, 0.5, "distance"), expected)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"method": "erosion"}, "border, distance"),
        ({"threshold": 1.0}, "threshold"),
        ({"seed_score": 0.0}, "above 0"),
        ({"method": "distance", "seed_score": 0.5}, "above 0.5"),
        ({"seed_score": 1.1}, "at most 1"),
        ({"min_fall": 0.0}, "fall"),
        ({"min_fall": float("nan")}, "fall"),
        ({"min_seed_px": 0}, "1 pixel"),
    ],
)
def test_wrong_settings_are_refused(wrong, words):
    with pytest.raises(SettingsError, match=words):
        Separator(4, **{"threshold": 0.5, "method": "border"} | wrong)


def test_misuse_is_refused():
    separator = Separator(4, threshold=0.5, method="border")
    for levels in (np.zeros((2, 2, 5)), np.zeros((2, 2, 4), np.float32), np.zeros((1, 2, 4)), np.zeros((2, 4))):
        with pytest.raises(EavesError, match="uint8 levels"):
            separator.push(levels if levels.dtype == np.float32 else levels.astype(np.uint8))
    separator.finish()
    with pytest.raises(EavesError, match="before finish"):
        separator.push(np.zeros((2, 2, 4), np.uint8))
    with pytest.raises(EavesError, match="one finish"):
        separator.finish()
