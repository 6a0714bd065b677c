from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import affinity

from eaves.footprints import part_overlaps


@st.composite
def crowds(draw):
    count, seed = draw(st.integers(0, 15)), draw(st.integers(0, 10_000))
    rng = np.random.default_rng(seed)
    boxes = [affinity.rotate(shapely.box(0, 0, *rng.uniform(4, 25, 2)), rng.uniform(0, 90)) for _ in range(count)]
    moved = [affinity.translate(box, *rng.uniform(0, 50, 2)) for box in boxes]
    return np.array(moved, object), np.round(rng.uniform(0, 1, count), 1)


@settings(deadline=None, max_examples=100)
@given(crowd=crowds())
def test_what_is_kept_shares_no_ground_and_lies_in_what_was_given(crowd):
    polygons, scores = crowd
    parted, kept = part_overlaps(polygons, scores)
    assert len(parted) == len(kept) == len(polygons)
    shown = parted[kept]
    assert shapely.is_valid(shown).all()
    assert (shapely.get_type_id(shown) == 3).all()
    for index, shape in enumerate(shown):
        for other in shown[index + 1 :]:
            assert shapely.intersection(shape, other).area < 1e-3 * (shape.length + other.length)
    for before, after in zip(polygons[kept], shown, strict=True):
        assert after.area >= 0.5 * before.area - 0.1
        assert shapely.difference(after, before).area < 1e-3 * before.length


@settings(deadline=None, max_examples=60)
@given(crowd=crowds())
def test_the_surest_keeps_all_of_its_ground(crowd):
    polygons, scores = crowd
    if not len(polygons):
        return
    parted, kept = part_overlaps(polygons, scores)
    best = int(np.argmax(scores))
    assert kept[best]
    assert parted[best].area == pytest.approx(polygons[best].area, abs=1e-3 * polygons[best].length)


def test_the_input_stays_as_it_is():
    polygons = np.array([shapely.box(0, 0, 4, 4), shapely.box(2, 0, 6, 4)], object)
    before = polygons.copy()
    part_overlaps(polygons, np.array([0.5, 0.9]))
    assert all(a is b for a, b in zip(polygons, before, strict=True))


def test_what_surer_ones_mostly_cover_is_dropped_and_cuts_nothing():
    polygons = np.array([shapely.box(0, 0, 10, 10), shapely.box(1, 0, 13, 10), shapely.box(12, 0, 20, 10)], object)
    parted, kept = part_overlaps(polygons, np.array([0.9, 0.8, 0.7]))
    assert kept.tolist() == [True, False, True]
    assert parted[2].area == pytest.approx(80)


def test_of_pieces_the_largest_stays():
    bar, post = shapely.box(0, 0, 30, 4), shapely.box(20, -5, 24, 9)
    parted, kept = part_overlaps(np.array([bar, post], object), np.array([0.5, 0.9]))
    assert kept.all()
    assert parted[0].bounds == (0, 0, 20, 4)


def test_a_hole_stays_a_hole():
    ring = shapely.box(0, 0, 20, 20).difference(shapely.box(5, 5, 15, 15))
    parted, kept = part_overlaps(np.array([ring, shapely.box(6, 6, 14, 14)], object), np.array([0.5, 0.9]))
    assert kept.all()
    assert len(parted[0].interiors) == 1
