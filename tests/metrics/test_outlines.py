"""PoLiS, tangent errors, corners, topology: by hand, against plain code of the definition, and as laws."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from shapely import MultiPolygon, Polygon, affinity, box

from eaves.errors import LabelError, SettingsError
from eaves.metrics import (
    OutlineReport,
    c_iou,
    holes_kept,
    match,
    measure_outlines,
    outline_report,
    overlap_area,
    polis,
    right_angles,
    self_touching,
    tangent_errors,
    vertices,
)
from eaves.metrics.topology import mean_widths, shortest_edges

NONE = np.array([], dtype=object)
BOW_TIE = Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
COURTYARD = Polygon(box(0, 0, 20, 20).exterior, [box(5, 5, 15, 15).exterior])


@st.composite
def houses(draw):
    """A valid outline of 3 to 9 vertices around the origin, with a courtyard now and then."""
    number = draw(st.integers(3, 9))
    radii = draw(st.lists(st.floats(8, 20), min_size=number, max_size=number))
    angle = np.arange(number) * 2 * np.pi / number + draw(st.floats(0, 1))
    shell = np.array(radii)[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    holes = [box(-1, -1, 1, 1).exterior] if draw(st.booleans()) else []
    house = Polygon(shell, holes)
    assume(house.is_valid)
    return house


def by_hand(a, b):
    """PoLiS as the paper writes it, with the vertices of all rings."""

    def half(one, other):
        xy = np.concatenate([np.array(ring.coords)[:-1] for ring in (one.exterior, *one.interiors)])
        return shapely.distance(shapely.points(xy), other.boundary).mean() / 2

    return half(a, b) + half(b, a)


def tangent_by_hand(prediction, references, step):
    """The tangent error as the paper describes it: every reference, sample by sample."""
    if shapely.union_all(references).intersection(prediction).area <= prediction.area / 2:
        return np.nan
    contours = shapely.union_all([shape.boundary for shape in references])
    worst = []
    for ring in (prediction.exterior, *prediction.interiors):
        xy = np.array(ring.coords)
        samples = [xy[0]]
        for start, end in pairwise(xy):
            pieces = max(1, round(np.hypot(*(end - start)) / step))
            samples += [start + (end - start) * i / pieces for i in range(1, pieces + 1)]
        moved = [np.array(shapely.shortest_line(contours, shapely.Point(at)).coords[0]) for at in samples]
        for a, b, c, d in zip(samples, samples[1:], moved, moved[1:], strict=False):
            was, now = np.hypot(*(b - a)), np.hypot(*(d - c))
            if was and now and 0.5 < was / now < 2:
                worst.append(np.degrees(np.arccos(min(1, abs((b - a) @ (d - c)) / was / now))))
    return max(worst, default=np.nan)


def report_of(found, there, *, step=0.6, iou=0.5, min_area=0.0, **more):
    return outline_report(measure_outlines(found, there, match(found, there, iou=iou, min_area=min_area), step), **more)


# --- PoLiS ------------------------------------------------------------------------------------------------------------


def test_polis_by_hand():
    house, bay = box(0, 0, 10, 10), Polygon([(0, 0), (10, 0), (10, 10), (5, 12), (0, 10)])
    # One vertex of five is 2 above the wall; the house's four lie on the other's outline.
    assert polis([bay], [house]).tolist() == pytest.approx([2 / 5 / 2])


def test_polis_does_not_count_the_closing_vertex():
    # (11, 0) and (11, 10) are 1 off, (1, 0) and (1, 10) lie on walls: 2 of 4. Counting the first vertex of the ring
    # again would make it 2 of 5 or 3 of 5.
    for start in ([(1, 0), (11, 0), (11, 10), (1, 10)], [(11, 0), (11, 10), (1, 10), (1, 0)]):
        assert polis([Polygon(start)], [box(0, 0, 10, 10)]).tolist() == [0.5]


def test_polis_and_vertices_do_not_count_repeated_coordinates():
    plain, twice = box(1, 0, 11, 10), Polygon([(1, 0), (11, 0), (11, 0), (11, 0), (11, 10), (1, 10), (1, 10)])
    house = box(0, 0, 10, 10)
    assert polis([twice, house], [house, twice]).tolist() == polis([plain, house], [house, plain]).tolist() == [0.5] * 2
    assert vertices([twice, plain]).tolist() == [4, 4]


def test_polis_measures_courtyards():
    plain = box(0, 0, 20, 20)
    assert polis([plain], [COURTYARD]).tolist() == [4 * 5 / 8 / 2]  # 4 of 8 vertices are 5 from the outer wall
    assert polis([COURTYARD], [COURTYARD]).tolist() == [0]


def test_polis_measures_the_outline_and_not_the_area():
    assert polis([box(4, 4, 6, 6)], [box(0, 0, 10, 10)])[0] == pytest.approx((4 + 4 * np.sqrt(2)) / 2)


def test_polis_of_parts():
    two = MultiPolygon([box(0, 0, 1, 1), box(5, 0, 6, 1)])
    assert polis([two], [two]).tolist() == [0]
    assert polis([box(0, 0, 1, 1)], [two]).tolist() == pytest.approx([(4 + 5 + 4 + 5) / 8 / 2])


@given(houses(), houses())
def test_polis_is_what_the_paper_says(a, b):
    assert polis([a, b], [b, a]).tolist() == pytest.approx([by_hand(a, b)] * 2, abs=1e-9)  # and the same both ways


@given(houses())
def test_polis_of_equals_is_zero_however_they_are_written(house):
    turned = Polygon(house.exterior.coords[1:], [ring.coords[::-1] for ring in house.interiors])
    assert polis([house, turned, house.reverse()], [house] * 3).tolist() == pytest.approx([0, 0, 0], abs=1e-12)


@given(st.floats(1, 50), st.floats(1, 50), st.floats(0, 1), st.floats(0, 360))
def test_polis_of_a_shifted_house(width, height, share, angle):
    """Along a wall by less than its length: half of the vertices slide on the walls, the others go that far off."""
    shift = share * width
    house, moved = (affinity.rotate(box(x, 0, width + x, height), angle, (0, 0)) for x in (0, shift))
    assert polis([moved], [house])[0] == pytest.approx(shift / 2, abs=1e-9)


@given(houses(), houses(), st.floats(0, 360), st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)))
def test_polis_knows_neither_north_nor_origin(a, b, angle, shift):
    moved = [affinity.translate(affinity.rotate(shape, angle, (0, 0)), *shift) for shape in (a, b)]
    assert polis([moved[0]], [moved[1]])[0] == pytest.approx(polis([a], [b])[0], abs=1e-7)


def test_polis_needs_pairs():
    with pytest.raises(LabelError, match="2 and 1"):
        polis([box(0, 0, 1, 1)] * 2, [box(0, 0, 1, 1)])
    with pytest.raises(LabelError, match="valid polygons"):
        polis([BOW_TIE], [box(0, 0, 1, 1)])
    assert polis(NONE, NONE).shape == (0,)


# --- tangent error ----------------------------------------------------------------------------------------------------


def test_a_wedge_on_a_wall():
    wedge = Polygon([(0, 0), (10, 0), (10, 1)])  # the end wall falls into a point, and says nothing
    assert tangent_errors([wedge], [box(-50, 0, 50, 50)], 2.0)[0] == pytest.approx(np.degrees(np.arctan(0.1)))


def test_what_lies_outside_is_not_measured():
    there = [box(0, 0, 10, 10)]
    found = [box(5, 0, 15, 10), box(4.9, 0, 14.9, 10), box(30, 0, 40, 10)]  # half, a little more, nothing
    assert np.isnan(tangent_errors(found, there, 2.0)).tolist() == [True, False, True]


def test_references_that_overlap_count_once():
    there = [box(0, 0, 10, 4), box(0, 0, 10, 4)]
    assert np.isnan(tangent_errors([box(0, 0, 10, 10)], there, 2.0)).all()  # 0.4 of it, twice
    assert not np.isnan(tangent_errors([box(0, 0, 10, 10)], [*there, box(0, 4, 10, 6)], 2.0)).any()


def test_the_nearest_contour_may_be_a_neighbours():
    """The upper wall sags towards a neighbour that the prediction does not meet."""
    house, neighbour = box(0, 0, 20, 10), Polygon([(0, 13.2), (20, 14), (20, 30), (0, 30)])
    found = Polygon([(0, 0), (20, 0), (20, 13), (0, 13)])
    alone, both = (tangent_errors([found], there, 2.0)[0] for there in ([house], [house, neighbour]))
    assert both == pytest.approx(tangent_by_hand(found, [house, neighbour], 2.0), abs=1e-6)
    assert alone < both


@settings(suppress_health_check=[HealthCheck.filter_too_much])
@given(
    houses(),
    st.floats(-30, 30),
    st.tuples(st.floats(-4, 4), st.floats(-4, 4)),
    st.sampled_from([0.6, 2.0, 7.0]),
    st.booleans(),
)
def test_tangent_errors_are_what_the_paper_says(house, angle, shift, step, neighbour):
    found = affinity.translate(affinity.rotate(house, angle, (0, 0)), *shift)
    there = [house, box(21, -30, 40, 30)] if neighbour else [house]
    expected = tangent_by_hand(found, there, step)
    # Where a sample has two nearest places, or a piece is stretched by exactly 2, a hair decides: not those.
    for hair in ((1e-7, 2e-7), (-1e-7, -2e-7), (2e-7, -1e-7), (-2e-7, 1e-7)):
        near = tangent_by_hand(affinity.translate(found, *hair), there, step)
        assume(np.isclose(expected, near, atol=1e-4, equal_nan=True))
    assert tangent_errors([found], there, step)[0] == pytest.approx(expected, abs=1e-4, nan_ok=True)


@given(houses(), st.floats(0.3, 5))
def test_equal_outlines_run_alike(house, step):
    assert tangent_errors([house], [house], step)[0] == pytest.approx(0, abs=1e-4)


@given(houses(), st.floats(-20, 20))
def test_what_is_known_to_lie_inside_is_not_asked(house, angle):
    found = affinity.rotate(house, angle, (0, 0))
    assume(house.intersection(found).area > 0.6 * found.area)
    asked, told = (tangent_errors([found], [house], 2.0, inside=known) for known in (None, np.array([True])))
    assert asked.tolist() == told.tolist()


def test_a_piece_has_a_length():
    for step in (0, -1, np.nan, np.inf):
        with pytest.raises(SettingsError, match="change step"):
            tangent_errors(NONE, NONE, step)
    assert tangent_errors(NONE, [box(0, 0, 1, 1)], 1).shape == (0,)
    assert np.isnan(tangent_errors([box(0, 0, 1, 1)], NONE, 1)).all()


# --- corners ----------------------------------------------------------------------------------------------------------


def test_right_angles_by_hand():
    bend = Polygon([(0, 0), (9, 0), (9, 4), (4, 4), (4, 9), (0, 9)])  # five of 90, one of 270
    triangle = Polygon([(0, 0), (4, 0), (0, 3)])
    equal = Polygon([(0, 0), (2, 0), (1, np.sqrt(3))])
    right, corners = right_angles([bend, triangle, equal, COURTYARD])
    assert right.tolist() == [6, 1, 0, 8]
    assert corners.tolist() == [6, 3, 3, 8]


@pytest.mark.parametrize(("degrees", "right"), [(0.9, 4), (1.1, 0), (45, 0)])
def test_right_within_a_degree(degrees, right):
    lean = 10 * np.tan(np.radians(degrees))
    found = right_angles([Polygon([(0, 0), (10, 0), (10 + lean, 10), (lean, 10)])])
    assert (found[0].tolist(), found[1].tolist()) == ([right], [4])


@pytest.mark.parametrize(("degrees", "corners"), [(0.0, 4), (0.9, 4), (1.1, 5)])
def test_a_vertex_on_a_wall_is_no_corner(degrees, corners):
    sag = 5 * np.tan(np.radians(degrees / 2))
    assert right_angles([Polygon([(0, 0), (5, -sag), (10, 0), (10, 10), (0, 10)])])[1].tolist() == [corners]


def test_repeated_coordinates_are_no_corner():
    found = right_angles([Polygon([(0, 0), (0, 0), (10, 0), (10, 10), (10, 10), (0, 10), (0, 0)])])
    assert (found[0].tolist(), found[1].tolist()) == ([4], [4])


@given(houses(), st.floats(0, 360))
def test_angles_do_not_depend_on_north(house, angle):
    turns = np.concatenate([_turns(ring) for ring in (house.exterior, *house.interiors)])
    assume((np.abs(turns - 1) > 1e-3).all() and (np.abs(np.abs(turns - 90) - 1) > 1e-3).all())
    plain, turned = (right_angles([shape]) for shape in (house, affinity.rotate(house, angle, (0, 0))))
    assert [part.tolist() for part in plain] == [part.tolist() for part in turned]
    assert plain[1][0] == (turns > 1).sum()
    assert plain[0][0] == (np.abs(turns - 90) <= 1).sum()


def _turns(ring):
    xy = np.array(ring.coords)[:-1]
    came, goes = xy - np.roll(xy, 1, axis=0), np.roll(xy, -1, axis=0) - xy
    cosine = (came * goes).sum(axis=1) / np.hypot(*came.T) / np.hypot(*goes.T)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def test_vertices_are_those_of_outer_rings():
    two = MultiPolygon([box(0, 0, 1, 1), Polygon([(5, 0), (6, 0), (5, 1)])])
    assert vertices([box(0, 0, 1, 1), COURTYARD, two]).tolist() == [4, 4, 7]
    assert vertices(NONE).tolist() == []


def test_c_iou_by_hand():
    assert c_iou(0.9, 40, 40) == 0.9
    assert c_iou(0.9, 60, 20) == pytest.approx(0.9 * 0.5)
    assert c_iou(0.9, 20, 60) == c_iou(0.9, 60, 20)
    assert c_iou(0.0, 4, 0) == 0
    assert c_iou(None, 0, 0) == 1  # both empty
    assert c_iou(None, 4, 0) is None  # too small for a pixel


# --- topology ---------------------------------------------------------------------------------------------------------


def test_overlap_counts_pairs():
    assert overlap_area([box(0, 0, 2, 2), box(1, 0, 3, 2), box(1, 1, 3, 3)]) == 2 + 1 + 2
    assert overlap_area([box(0, 0, 1, 1), box(1, 0, 2, 1)]) == 0  # neighbours that touch
    assert overlap_area(NONE) == 0


@pytest.mark.parametrize(("hole", "kept"), [(box(5, 5, 15, 15), 1), (box(5, 5, 10, 15), 1), (box(5, 5, 9.9, 15), 0)])
def test_half_a_hole_is_kept(hole, kept):
    plain, other = box(0, 0, 20, 20), Polygon(box(0, 0, 20, 20).exterior, [hole.exterior])
    assert holes_kept([other], [COURTYARD]) == (kept, 1)
    assert holes_kept([plain, other, COURTYARD], [COURTYARD, plain, COURTYARD]) == (1, 2)


def test_a_hole_in_two_parts_is_kept():
    cut = Polygon(box(0, 0, 20, 20).exterior, [box(5, 5, 9, 15).exterior, box(10, 5, 15, 15).exterior])
    assert holes_kept([cut], [COURTYARD]) == (1, 1)
    assert holes_kept([COURTYARD], [cut]) == (2, 2)
    assert holes_kept([box(5, 5, 6, 6)], [COURTYARD]) == (0, 1)  # beside it is not a hole


def test_what_touches_itself():
    at_wall = Polygon([(0, 0), (9, 0), (9, 9), (0, 9)], [[(0, 4), (3, 3), (3, 5)]])
    parts = MultiPolygon([box(0, 0, 1, 1), box(1, 1, 2, 2)])
    assert self_touching([box(0, 0, 1, 1), COURTYARD, at_wall, parts]).tolist() == [False, False, True, True]


def test_widths_and_edges():
    assert mean_widths([box(0, 0, 100, 0.5)])[0] == pytest.approx(0.4975, abs=1e-4)
    thin = Polygon([(0, 0), (0, 0), (10, 0), (10, 10), (9.8, 10), (0, 10)])
    assert shortest_edges([thin, COURTYARD, box(0, 0, 3, 2)]).tolist() == pytest.approx([0.2, 10, 2])
    assert shortest_edges(NONE).shape == (0,)


# --- the report -------------------------------------------------------------------------------------------------------


def test_a_report_by_hand():
    there = [box(0, 0, 10, 10), box(20, 0, 30, 10), box(40, 0, 50, 10)]
    bay = Polygon([(20, 0), (30, 0), (30, 10), (25, 12), (20, 10)])
    strip = box(60, 0, 60.5, 20)
    report = report_of([box(1, 0, 11, 10), bay, strip], there, step=2.0, iou=0.5, boundary_iou=0.7)
    assert report.matched == 2
    assert report.polis_m == pytest.approx((0.5 + 0.2) / 2)  # a mean of buildings
    assert report.vertex_ratio == 9 / 8
    assert report.vertex_ratio_all == 13 / 12
    assert report.c_iou is None  # no pixels were compared
    assert report.right_angle_share == (4 + 2 + 4) / 13
    assert report.reference_right_angle_share == 1
    assert (report.slivers, report.invalid, report.boundary_iou) == (1, 0, 0.7)
    assert (report.min_edge_m, report.mta_step_m, report.mta_predictions) == (np.hypot(5, 2), 2.0, 2)
    assert (report.holes_kept, report.reference_holes, report.overlap_m2, report.self_touching) == (None, 0, 0, 0)
    assert OutlineReport.model_validate_json(report.model_dump_json()) == report


def test_a_building_drawn_perfectly_stays_in_the_mean():
    there = [box(0, 0, 10, 10), box(20, 0, 30, 10)]
    assert report_of([there[0], box(21, 0, 31, 10)], there).polis_m == 0.25
    assert report_of(there, there).polis_m == 0


def test_equal_boxes_around_are_no_match():
    """Two halves of one square have the same box around them; what matches is the outline."""
    report = report_of([Polygon([(0, 0), (10, 0), (0, 10)])], [Polygon([(10, 10), (10, 0), (0, 10)])])
    assert (report.matched, report.polis_m, report.vertex_ratio) == (0, None, None)


def test_units_are_metres_or_nothing():
    found, there = [box(1, 0, 11, 10), box(10, 0, 13, 3)], [box(0, 0, 10, 10)]
    plain, scaled, unknown = (report_of(found, there, step=2.0, unit_m=unit) for unit in (1.0, 0.3, None))
    assert scaled.polis_m == pytest.approx(0.3 * plain.polis_m)
    assert scaled.overlap_m2 == pytest.approx(0.09 * 3)
    assert (scaled.mta_step_m, scaled.mta_deg) == (0.6, plain.mta_deg)
    assert (plain.slivers, scaled.slivers) == (0, 1)  # 3 px are 0.9 m, and 0.45 m on average
    assert (unknown.polis_m, unknown.overlap_m2, unknown.slivers, unknown.min_edge_m, unknown.mta_step_m) == (None,) * 5
    assert (unknown.vertex_ratio, unknown.mta_deg) == (plain.vertex_ratio, plain.mta_deg)
    with pytest.raises(SettingsError, match="longer than 0 m"):
        report_of(found, there, unit_m=0)


def test_small_ones_count_on_neither_side():
    there = [box(0, 0, 10, 10), box(20, 0, 21, 1)]
    report = report_of(there, there, min_area=4, iou=0.5)
    assert (report.matched, report.mta_predictions, report.min_edge_m) == (1, 1, 10)
    measures = measure_outlines(there, there, match(there, there, min_area=4), 0.6)
    assert np.isnan(measures.tangent_error_deg).tolist() == [False, True]  # positions as given


def test_a_small_reference_draws_nothing_to_it():
    """A shed beside the wall that the prediction follows badly: it is left out, and so is its contour."""
    found, house, shed = [box(0, 0, 11, 10)], box(0, 0, 10, 10), Polygon([(11.2, 4), (12.2, 4.5), (11.5, 5.5)])
    alone, both, large = (
        report_of(found, there, step=0.5, min_area=least).mta_deg
        for there, least in (([house], 4), ([house, shed], 4), ([house, shed], 0))
    )
    assert alone == both
    assert large > alone + 5


def test_empty_sides():
    house = [box(0, 0, 10, 10)]
    both = report_of(NONE, NONE)
    assert (both.c_iou, both.polis_m, both.mta_deg, both.right_angle_share, both.overlap_m2) == (1, None, None, None, 0)
    assert report_of(house, NONE, iou=0.5).vertex_ratio_all is None
    assert report_of(NONE, house).vertex_ratio_all == 0


def test_others_than_were_matched():
    house = [box(0, 0, 10, 10)]
    with pytest.raises(LabelError, match="the 1 predictions and 1 references"):
        measure_outlines(house * 2, house, match(house, house), 0.6)


@given(st.lists(houses(), min_size=1, max_size=4))
def test_equal_layers_are_perfect(shapes):
    street = [affinity.translate(shape, 100 * at, 0) for at, shape in enumerate(shapes)]
    report = report_of(street, street, boundary_iou=1.0)
    assert (report.vertex_ratio, report.vertex_ratio_all, report.matched) == (1, 1, len(shapes))
    assert report.polis_m == pytest.approx(0, abs=1e-9)
    assert report.mta_deg == pytest.approx(0, abs=1e-4)
    assert report.right_angle_share == report.reference_right_angle_share
    holes = sum(len(shape.interiors) for shape in shapes)
    assert (report.holes_kept, report.reference_holes) == (1 if holes else None, holes)


@given(st.lists(st.tuples(houses(), houses()), min_size=1, max_size=4))
def test_swapping_sides(pairs):
    one, other = ([affinity.translate(pair[side], 100 * at, 0) for at, pair in enumerate(pairs)] for side in (0, 1))
    there, back = report_of(one, other), report_of(other, one)
    assert there.polis_m == (None if back.polis_m is None else pytest.approx(back.polis_m, abs=1e-9))
    assert there.vertex_ratio_all == pytest.approx(1 / back.vertex_ratio_all)
    assert there.right_angle_share == back.reference_right_angle_share
