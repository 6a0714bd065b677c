"""What became of buildings between two years: laws, cases drawn by hand, and a city whose changes are known."""

from __future__ import annotations

import tracemalloc
from collections import Counter

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely import box

from eaves.errors import LabelError, SettingsError
from eaves.footprints import Changes, compare_footprints, estimate_shift
from eaves.synth import plan_city

SWAPPED = {
    "added": "removed",
    "removed": "added",
    "extended": "reduced",
    "reduced": "extended",
    "merged": "split",
    "split": "merged",
}


def moved(shapes, by) -> np.ndarray:
    by = np.broadcast_to(by, (len(shapes), 2))
    return np.array(
        [shapely.transform(one, lambda xy, b=b: xy + b) for one, b in zip(shapes, by, strict=True)], object
    ).reshape(-1)


def town(seed: int, number: int = 60) -> np.ndarray:
    """Houses of all sizes, none nearer to another than 3 m."""
    rng = np.random.default_rng(seed)
    cells = rng.permutation(144)[:number]
    at = np.column_stack([cells % 12, cells // 12]) * 16.0 + rng.uniform(0, 1, (number, 2))
    sides = rng.uniform(4, 12, (number, 2))
    return np.array([box(*low, *(low + side)) for low, side in zip(at, sides, strict=True)], object)


def another_year(old: np.ndarray, seed: int) -> np.ndarray:
    """Some houses are gone, some are larger or smaller, some cut in two, some are new."""
    rng = np.random.default_rng([seed, 1])
    new = []
    for one in old:
        left, low, right, top = one.bounds
        kind = rng.integers(0, 8)
        if kind == 1:
            new.append(box(left - rng.uniform(0.2, 2.5), low, right, top))
        elif kind == 2:
            new.append(box(left, low, right, top - rng.uniform(0.2, 0.9) * (top - low)))
        elif kind == 3:
            middle = (left + right) / 2
            new += [box(left, low, middle, top), box(middle, low, right, top)]
        elif kind != 0:
            new.append(one)
    return np.concatenate([new, moved(town(seed + 1, 10), (200, 0))])


def summary(found: Changes, old=None, new=None) -> Counter:
    """Rows by what they say and whom they concern, in any order; labels stand for the buildings of each year."""
    old = range(len(found.old_row)) if old is None else old
    new = range(len(found.new_row)) if new is None else new
    rows: list[list] = [[name, kind, (), ()] for name, kind in zip(found.change, found.kind, strict=True)]
    for place, labels, row in ((2, old, found.old_row), (3, new, found.new_row)):
        for label, at in zip(labels, row, strict=True):
            if at >= 0:
                rows[at][place] += (int(label),)
    return Counter((name, kind, tuple(sorted(before)), tuple(sorted(after))) for name, kind, before, after in rows)


seeds = st.integers(0, 10_000)


# --- laws -------------------------------------------------------------------------------------------------------------


@given(seeds, st.floats(0.1, 5), st.floats(0, 50))
def test_a_layer_has_not_changed_against_itself(seed, tolerance, least):
    shapes = town(seed)
    found = compare_footprints(shapes, shapes, tolerance=tolerance, min_change=least)
    assert found.counts == {"added": 0, "removed": 0, "altered": 0, "unchanged": len(shapes)}
    assert (found.old_row == found.new_row).all()
    assert (found.iou == 1).all()
    for none in (found.moved, found.gained, found.lost, found.kind != ""):
        assert not none.any()
    shift = estimate_shift(shapes, shapes)
    assert (shift.dx, shift.dy, shift.agree, shift.sure) == (0, 0, len(shapes), True)


@given(seeds, st.floats(0.3, 2))
def test_swapped_years_swap_what_became_of_them(seed, tolerance):
    old = town(seed)
    new = another_year(old, seed)
    there, back = (compare_footprints(*pair, tolerance=tolerance) for pair in ((old, new), (new, old)))
    turned = Counter()
    for (name, kind, before, after), count in summary(back).items():
        turned[SWAPPED.get(name, name), SWAPPED.get(kind, kind), after, before] += count
    assert summary(there) == turned
    assert sorted(there.gained.round(6)) == sorted(back.lost.round(6))
    assert sorted(there.iou.round(9)) == sorted(back.iou.round(9))
    assert there.small == back.small[::-1]


@given(seeds, st.floats(-9, 9), st.floats(-9, 9))
def test_a_shift_is_found_and_taken_back(seed, dx, dy):
    old = town(seed)
    new = moved(old, (dx, dy))
    shift = estimate_shift(old, new)
    assert shift.sure
    assert np.hypot(shift.dx - dx, shift.dy - dy) < 0.1
    assert shift.length == pytest.approx(np.hypot(dx, dy), abs=0.1)
    assert compare_footprints(moved(old, (shift.dx, shift.dy)), new).counts["unchanged"] == len(old)


@given(seeds)
def test_the_order_of_buildings_does_not_matter(seed):
    old = town(seed)
    new = another_year(old, seed)
    rng = np.random.default_rng(seed)
    one, other = rng.permutation(len(old)), rng.permutation(len(new))
    assert summary(compare_footprints(old[one], new[other]), one, other) == summary(compare_footprints(old, new))


@given(seeds)
def test_every_building_has_a_row_or_is_counted(seed):
    old = town(seed)
    new = another_year(old, seed)
    area = box(20, 20, 120, 250)
    found = compare_footprints(old, new, min_change=30, area=area)
    for side, rows in enumerate((found.old_row, found.new_row)):
        assert (rows < 0).sum() == found.outside[side] + found.small[side]
    assert set(found.old_row[found.old_row >= 0]) | set(found.new_row[found.new_row >= 0]) == set(range(len(found)))
    assert sum(found.counts.values()) == len(found)
    stands = np.isin(np.arange(len(found)), found.new_row)
    assert (np.diff(stands.astype(int)) <= 0).all()  # those that still stand come first
    assert (stands == (found.change != "removed")).all()


# --- cases ------------------------------------------------------------------------------------------------------------

HOUSE = box(0, 0, 10, 8)


@pytest.mark.parametrize(
    ("old", "new", "change", "kind"),
    [
        ([], [HOUSE], "added", ""),
        ([HOUSE], [], "removed", ""),
        ([HOUSE], [HOUSE], "unchanged", ""),
        ([HOUSE], [box(0.9, -0.9, 10.9, 7.1)], "unchanged", ""),
        ([HOUSE], [box(1.3, 0, 11.3, 8)], "unchanged", ""),  # the same house, drawn 1.3 m off
        ([HOUSE], [box(2.2, 0, 12.2, 8)], "altered", "rebuilt"),  # too far for drawing
        ([HOUSE], [box(0, 0, 10.9, 8)], "unchanged", ""),
        ([HOUSE], [box(0, 0, 11.4, 8)], "altered", "extended"),  # wider than the tolerance, and not drawn off
        ([HOUSE], [box(0, 0, 15, 8)], "altered", "extended"),
        ([HOUSE], [HOUSE.union(box(9, 3, 12, 4.2))], "unchanged", ""),  # a bay of 2.4 m2
        ([HOUSE], [HOUSE.union(box(9, 2, 13, 5))], "altered", "extended"),
        ([HOUSE], [box(0, 0, 6, 8)], "altered", "reduced"),
        ([HOUSE], [HOUSE.difference(box(3, 2, 7, 6))], "altered", "reduced"),  # a courtyard
        ([HOUSE], [HOUSE.difference(box(3, 2, 3.8, 7))], "unchanged", ""),  # a gap in the drawing
        ([HOUSE], [box(-3, 1, 6, 14)], "altered", "rebuilt"),
        ([box(4, 3, 6.5, 6)], [HOUSE], "altered", "rebuilt"),  # a hall where a shed stood
        ([HOUSE], [box(0, 0, 4.8, 8), box(5.2, 0, 10, 8)], "unchanged", "split"),
        ([box(0, 0, 5, 8), box(5, 0, 10, 8)], [HOUSE], "unchanged", "merged"),
        ([box(0, 0, 5, 8), box(5, 0, 10, 8)], [box(0, 0, 10, 4), box(0, 4, 10, 8)], "unchanged", "regrouped"),
        ([HOUSE], [box(0, 0, 5, 8), box(5, 0, 14, 8)], "altered", "extended"),
        ([HOUSE, HOUSE], [HOUSE], "unchanged", "merged"),  # drawn twice
        ([HOUSE, box(2, 2, 5, 5)], [HOUSE], "unchanged", "merged"),  # a part drawn over the whole
        ([shapely.MultiPolygon([HOUSE, box(12, 0, 20, 8)])], [HOUSE, box(12, 0, 20, 8)], "unchanged", "split"),
    ],
)
def test_one_building(old, new, change, kind):
    found = compare_footprints(old, new)
    assert found.change.tolist() == [change]
    assert found.kind.tolist() == [kind]
    assert (found.old_row == 0).all()
    assert (found.new_row == 0).all()
    assert found.area_old[0] == pytest.approx(shapely.union_all(old).area)
    assert found.area_new[0] == pytest.approx(shapely.union_all(new).area)


def test_the_numbers_of_an_extension():
    found = compare_footprints([HOUSE], [box(0, 0, 15, 8)])
    assert found.iou[0] == pytest.approx(80 / 120)
    assert (found.gained[0], found.lost[0]) == (pytest.approx(40), 0)
    assert found.moved[0] == pytest.approx(2.5)
    alone = compare_footprints([], [HOUSE])
    assert (alone.gained[0], alone.lost[0], alone.iou[0]) == (80, 0, 0)
    assert np.isnan(alone.moved[0])


def test_a_row_is_judged_house_by_house():
    """Neighbours drawn off overlap each other; one is pulled down, one extended, the others stay."""
    row = [box(6 * i, 0, 6 * i + 6, 10) for i in range(6)]
    new = moved(row, (0.8, 0.3)).tolist()
    new[4] = new[4].union(box(25, 10, 30, 14))
    del new[2]
    found = compare_footprints(row, new)
    stay = "unchanged"
    assert found.change[found.old_row].tolist() == [stay, stay, "removed", stay, "altered", stay]
    assert len(found) == 6


def test_a_house_in_place_of_another_is_one_more_and_one_less():
    found = compare_footprints([HOUSE], [box(8.5, 0, 18.5, 8)])
    assert found.counts == {"added": 1, "removed": 1, "altered": 0, "unchanged": 0}


def test_least_change_and_tolerance_are_kept():
    bay = HOUSE.union(box(9, 2, 13, 5))  # 9 m2 more, 3 m wide
    assert compare_footprints([HOUSE], [bay], min_change=8.9).change.tolist() == ["altered"]
    assert compare_footprints([HOUSE], [bay], min_change=9.1).change.tolist() == ["unchanged"]
    assert compare_footprints([HOUSE], [bay], tolerance=3.2).change.tolist() == ["unchanged"]
    shed = box(20, 0, 22, 1.5)
    found = compare_footprints([shed], [HOUSE])
    assert (found.counts["added"], found.counts["removed"], found.small) == (1, 0, (1, 0))
    assert compare_footprints([shed], [HOUSE], min_change=3).counts["removed"] == 1


def test_only_ground_that_both_show_counts():
    area = box(-50, -50, 6, 50)
    whole, cut, beyond = HOUSE, box(0, 0, 6, 8), box(30, 0, 40, 8)
    found = compare_footprints([whole, beyond], [cut], area=area)  # the later image ends at x = 6
    assert found.change.tolist() == ["unchanged"]
    assert (found.area_old[0], found.area_new[0]) == (48, 48)
    assert found.old_row.tolist() == [0, -1]
    assert found.outside == (1, 0)
    mostly = compare_footprints([whole], [box(0, 0, 4, 8)], area=box(-50, -50, 4, 50))
    assert (len(mostly), mostly.outside) == (0, (1, 1))


def test_a_building_that_also_touches_the_rim_is_cut():
    angle = shapely.Polygon([(0, 0), (10, 0), (10, 4), (6, 4), (6, 8), (0, 8)])
    area = shapely.union_all([box(-9, -9, 6, 9), box(6, 4, 9, 9)])  # along a wall of it
    assert shapely.intersection(angle, area).geom_type == "GeometryCollection"
    found = compare_footprints([angle], [angle], area=area)
    assert found.change.tolist() == ["unchanged"]
    assert found.area_new[0] == 48
    lines = box(6, 0, 10, 4)
    assert compare_footprints([lines], [lines], area=area).outside == (1, 1)


@pytest.mark.parametrize(("old", "new"), [([], []), ([HOUSE], []), ([], [HOUSE])])
def test_empty_layers(old, new):
    assert len(compare_footprints(old, new)) == len(old) + len(new)
    assert len(compare_footprints(old, new, area=box(0, 0, 99, 99))) == len(old) + len(new)
    shift = estimate_shift(old, new)
    assert shift[:3] == (0, 0, 0)
    assert not shift.sure


@pytest.mark.parametrize("settings", [{"tolerance": 0}, {"tolerance": np.inf}, {"min_change": -1}])
def test_settings_that_cannot_be_meant(settings):
    with pytest.raises(SettingsError, match="change them"):
        compare_footprints([HOUSE], [HOUSE], **settings)


def courtyards(number: int) -> np.ndarray:
    """Houses with courtyards that touch the walls: moved a bit, rounding makes some of them cross themselves."""
    rng = np.random.default_rng(0)
    plain = shapely.Polygon(box(0, 0, 12, 8).exterior, [[(0, 4), (3, 3), (3, 5)], [(12, 4), (9, 3), (9, 5)]])
    turned = [shapely.affinity.rotate(plain, angle, (0, 0)) for angle in rng.uniform(0, 90, number)]
    shapes = moved(turned, np.column_stack([20.0 * np.arange(number), rng.uniform(0, 10, number)]))
    return shapes[shapely.is_valid(shapes)]


def test_nothing_is_cut_with_what_crosses_itself(monkeypatch):
    old = courtyards(600)
    new = moved(old, (0.31, 0.17))
    new = np.where(shapely.is_valid(new), new, old)
    bad, cut = [], shapely.intersection

    def spy(one, other, **options):
        bad.append(int((~shapely.is_valid(one)).sum() + (~shapely.is_valid(other)).sum()))
        return cut(one, other, **options)

    monkeypatch.setattr(shapely, "intersection", spy)
    compare_footprints(old, new, tolerance=0.2, min_change=0.1)
    assert bad
    assert sum(bad) == 0


def test_lines_are_no_buildings():
    with pytest.raises(LabelError, match="polygons in the new layer"):
        compare_footprints([HOUSE], [HOUSE.exterior])


# --- shift ------------------------------------------------------------------------------------------------------------


def equal_rows(seed: int, both_ways: bool = True) -> np.ndarray:
    """Rows of equal houses, 6 m by 9 m, wall to wall."""
    rng = np.random.default_rng(seed)
    houses = []
    for row in range(60):
        x, y = 90.0 * (row % 8) + rng.uniform(0, 3), 90.0 * (row // 8) + rng.uniform(0, 3)
        for at in 6.0 * np.arange(rng.integers(4, 12)):
            turned = both_ways and row % 2
            houses.append(box(x, y + at, x + 9, y + at + 6) if turned else box(x + at, y, x + at + 6, y + 9))
    return np.array(houses, object)


@pytest.mark.parametrize("seed", range(6))
def test_a_shift_of_more_than_a_house_in_rows_of_equal_houses_that_changed(seed):
    rng = np.random.default_rng(seed)
    houses = equal_rows(seed)
    gone, late = (rng.random(len(houses)) < 0.2 for _ in range(2))
    turn = rng.uniform(0, 2 * np.pi)
    by = 10 * np.array([np.cos(turn), np.sin(turn)])
    new = moved(houses[~gone], by + rng.normal(0, 0.3, ((~gone).sum(), 2)))
    shift = estimate_shift(houses[~late], new)
    assert shift.sure
    assert np.hypot(shift.dx - by[0], shift.dy - by[1]) < 0.1


def test_rows_of_equal_houses_in_one_direction_give_the_right_shift_or_an_unsure_one():
    sure = 0
    for seed in range(40):
        rng = np.random.default_rng([seed, 2])
        long, rows = rng.integers(5, 30), rng.integers(4, 30)
        houses = [box(6 * i, 30 * row, 6 * i + 6, 30 * row + 9) for row in range(rows) for i in range(long)]
        houses = moved(houses, rng.uniform(0, 3, (rows, 2)).repeat(long, axis=0))
        gone, late = (rng.random(len(houses)) < 0.2 for _ in range(2))
        by = rng.uniform(-7, 7, 2)
        new = moved(houses[~gone], by + rng.normal(0, 0.3, ((~gone).sum(), 2)))
        shift = estimate_shift(houses[~late], new)
        right = np.hypot(shift.dx - by[0], shift.dy - by[1]) < 0.5
        assert right or shift.confidence < 1.5
        sure += shift.sure
    assert 0 < sure < 40


def test_equal_rows_that_tell_nothing_are_not_trusted():
    """One long row alone, two fifths of it changed: nothing but its ends speaks for one shift more than for another."""
    row = np.array([box(6 * i, 0, 6 * i + 6, 9) for i in range(80)], object)
    rng = np.random.default_rng(0)
    gone, late = (rng.random(80) < 0.2 for _ in range(2))
    assert not estimate_shift(row[~late], moved(row[~gone], (8, 1))).sure


def test_other_places_are_not_trusted():
    cities = [np.asarray(plan_city(1000, seed=seed).buildings.geometry.array, object) for seed in (1, 2, 3)]
    for one in range(3):
        assert not estimate_shift(cities[one], cities[(one + 1) % 3]).sure


def test_a_few_houses_are_not_trusted_and_a_shift_beyond_the_largest_is_not_found():
    assert not estimate_shift([HOUSE], moved([HOUSE], (3, 0))).sure
    shapes = town(0)
    assert not estimate_shift(shapes, moved(shapes, (9, 0)), max_shift=5).sure
    assert estimate_shift(shapes, moved(shapes, (4.5, 0)), max_shift=5).sure


def test_a_large_shift_and_a_small_tolerance_take_no_memory():
    shapes = town(0)
    tracemalloc.start()
    found = estimate_shift(shapes, moved(shapes, (150, -90)), max_shift=200, tolerance=0.05)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.sure
    assert (found.dx, found.dy) == pytest.approx((150, -90), abs=1e-6)
    assert peak < 50e6


def test_a_few_buildings_at_a_time_are_all_at_once(monkeypatch):
    old, new = town(3), moved(another_year(town(3), 3), (5.5, -2))
    whole = estimate_shift(old, new)
    monkeypatch.setattr("eaves.footprints.shift._AT_ONCE", 7)
    assert estimate_shift(old, new) == whole


@pytest.mark.parametrize("settings", [{"max_shift": 2e7}, {"max_shift": np.inf}, {"tolerance": 0.0}, {"max_shift": -1}])
def test_shifts_that_nobody_can_look_for(settings):
    with pytest.raises(SettingsError, match="a million tolerances"):
        estimate_shift([HOUSE], [HOUSE], **settings)


# --- a city -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("jitter_m", "wrong_share"), [(0.0, 0.0), (0.5, 0.01)])
def test_a_city_with_known_changes(jitter_m, wrong_share):
    """Every outline is drawn off by its own half metre; the later layer lies 7 m away."""
    city = np.asarray(plan_city(2048, seed=12).buildings.geometry.array, object)
    city = city[shapely.area(city) >= 8]
    rng = np.random.default_rng(4)
    fate = rng.choice(4, len(city), p=[0.5, 0.05, 0.05, 0.4])  # stays, removed, added, extended where there is room
    tree, grown = shapely.STRtree(city), city.copy()
    for at in np.flatnonzero(fate == 3):
        left, low, right, top = city[at].bounds
        wing = box((left + right) / 2, (low + top) / 2, right + 5, top + 4)
        if set(tree.query(wing, predicate="dwithin", distance=3)) <= {at}:  # else it would join another house
            grown[at] = shapely.union(city[at], wing)
        else:
            fate[at] = 0
    old, new = city[fate != 2], grown[fate != 1]
    new = moved(new, np.array([5.4, -4.5]) + rng.normal(0, jitter_m, (len(new), 2)))
    shift = estimate_shift(old, new)
    assert shift.sure
    assert np.hypot(shift.dx - 5.4, shift.dy + 4.5) < 0.1
    found = compare_footprints(moved(old, (shift.dx, shift.dy)), new)
    names = np.array(["unchanged", "removed", "added", "altered"])
    told = np.array([*found.change, "left out"])  # the last, where a row is -1
    wrong = (told[found.old_row] != names[fate[fate != 2]]).sum() + (
        told[found.new_row] != names[fate[fate != 1]]
    ).sum()
    assert min(np.bincount(fate)) > 10
    assert wrong <= wrong_share * (len(old) + len(new))
