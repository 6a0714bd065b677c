"""Outlines beside each other: walls shared, no ground of two, and what could not be made regular kept near."""

from __future__ import annotations

import itertools

import numpy as np
import shapely

from eaves.footprints.arcs import simplify_together
from eaves.footprints.clip import common_areas
from eaves.footprints.drafts import as_rings, exterior_sides, lines_on_map
from eaves.footprints.shaping import (
    CROWDED,
    REGULAR,
    REGULARIZERS,
    SHARED,
    SIMPLIFIED,
    THINNED,
    Rules,
    Shape,
    Work,
    draft_edges,
    take,
)
from eaves.footprints.simplify import simplify
from eaves.footprints.walls import agree_directions, agree_lines, join_sides, part_ground, rings_of, teams

_STEPS = (0.5, 0.25, 0.1, 0.03)  # of the tolerance: for what cannot be made regular
_COMMON = 1e-7  # of a squared tolerance: less ground in common is none
_ROUNDS = 4
_TURNS: dict[Shape, float] = {"right-angles": np.pi / 2, "right-angles-and-diagonals": np.pi / 4}
_ODD = np.radians(0.1)  # a corner that is off by more is none of a method's


def settle_touching(work: Work, pairs: np.ndarray, rules: Rules) -> None:
    """Make neighbours that touch agree, and keep what could not be made regular as near as it can be."""
    if len(pairs):
        leader = agree_directions(work.angles, work.traced, pairs, rules.tolerance)
        work.origins[:] = work.origins[leader]
        _share_walls(work, pairs, rules)
    _simplify(work, np.flatnonzero(work.why != REGULAR), rules)
    _part(work, pairs, np.unique(pairs), rules)


def settle_all(work: Work, pairs: np.ndarray, rules: Rules) -> None:
    """Part what did not touch and does now; what cannot be parted stays as traced, with fewer vertices if it can."""
    for attempt in itertools.count():
        crossing = _overlapping(work, np.arange(len(work.traced)), rules.tolerance)
        if not len(crossing):
            break
        if attempt >= _ROUNDS:  # ends, since what was traced does not overlap
            _leave(work, np.unique(crossing))
            continue
        pairs = np.concatenate([pairs, crossing])
        team = teams(len(work.traced), pairs)
        _part(work, pairs, np.flatnonzero(np.isin(team, team[crossing])), rules)
    _thin_out(work, rules)
    _own_up(work)


def leave(work: Work, chosen: np.ndarray, rules: Rules) -> None:
    """Leave polygons as they were traced, and those that cross them then."""
    while len(chosen):  # ends, since what was traced does not overlap
        _leave(work, chosen)
        crossing = np.unique(_overlapping(work, chosen, rules.tolerance))
        chosen = crossing[work.shapes[crossing] != work.traced[crossing]] if len(crossing) else crossing


def _part(work: Work, pairs: np.ndarray, chosen: np.ndarray, rules: Rules) -> None:
    """Part the ground of those chosen; and again around those that had to be left as traced, until none has to be."""
    links = np.concatenate([pairs, pairs[:, ::-1]])

    def beside(these: np.ndarray) -> np.ndarray:
        return np.unique(links[np.isin(links[:, 0], these), 1])

    while len(chosen):  # ends, since in each round some more are left
        before = work.why == CROWDED
        left = _share_ground(work, chosen, rules)
        if len(left) and before[left].all():  # not even as traced, beside what their neighbours are
            near = beside(left)
            near = near[~before[near]]
            if not len(near):
                return
            _leave(work, near)
            left = np.union1d(left, near)
        chosen = np.union1d(left, beside(left))


def _simplify(work: Work, left: np.ndarray, rules: Rules) -> None:
    """Simplify polygons as much as the tolerance lets."""
    for step in _STEPS:
        shapes = simplify(work.traced[left], step * rules.tolerance)
        taken = take(work, left, shapes, rules, shapely.is_valid(shapes))
        work.why[left[taken]] = SIMPLIFIED
        left = left[~taken]


def _leave(work: Work, chosen: np.ndarray) -> None:
    """Leave polygons as they were traced."""
    work.shapes[chosen], work.deviation[chosen], work.why[chosen] = work.traced[chosen], 0.0, CROWDED


def _thin_out(work: Work, rules: Rules) -> None:
    """Simplify what could not be made regular where it is as traced or touches others, so that walls stay shared.

    The ground between two lines of one wall has gone to and fro between the neighbours, and left steps.
    """
    left = np.flatnonzero(work.why > SHARED)
    for step in _STEPS:
        if not len(left):
            return
        everyone = np.unique(shapely.STRtree(work.shapes).query(work.shapes[left])[1])
        free, fixed = np.isin(everyone, left), np.zeros(len(everyone), bool)
        before, was = work.shapes[everyone], work.deviation[everyone]
        for _ in range(_ROUNDS):
            made = simplify_together(before, free, step * rules.tolerance, fixed)
            new = np.array([one is not other for one, other in zip(made, before, strict=True)], bool)
            good = take(work, everyone, made, rules, new & shapely.is_valid(made) & ~shapely.is_empty(made)) | ~new
            good &= ~np.isin(everyone, _overlapping(work, everyone[new], rules.tolerance))
            if good.all():
                break
            work.shapes[everyone], work.deviation[everyone] = before, was
            fixed |= ~good
        else:
            fixed[:] = True
        done = everyone[free & ~fixed]
        work.why[done[work.why[done] == CROWDED]] = THINNED
        left = everyone[free & fixed]


def _own_up(work: Work) -> None:
    """Say of which outlines the wall that they share with a neighbour of another direction has left an odd corner."""
    for method, step in _TURNS.items():
        mine = np.flatnonzero((work.why == REGULAR) & (work.method == method))
        if len(mine):
            _, xy, (ends, polygon_ends) = shapely.to_ragged_array(work.shapes[mine])
            turn, ring = _turn(xy, ends)
            odd = ring[np.abs(turn - step * np.round(turn / step)) > _ODD]
            work.why[mine[np.searchsorted(polygon_ends, odd, side="right") - 1]] = SHARED


def _turn(xy: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far rings turn at each of their vertices, in radians, and of which ring it is."""
    last, count = ends[1:] - 1, np.diff(ends) - 1  # the last vertex repeats the first
    ahead = np.delete(np.diff(xy, axis=0, append=xy[:1]), last, axis=0)  # from each vertex to the next
    before = np.roll(ahead, 1, axis=0)
    start = np.cumsum(count) - count
    before[start] = ahead[start + count - 1]
    cross = before[:, 0] * ahead[:, 1] - before[:, 1] * ahead[:, 0]
    return np.arctan2(cross, (before * ahead).sum(axis=1)), np.repeat(np.arange(len(count)), count)


def _share_walls(work: Work, pairs: np.ndarray, rules: Rules) -> None:
    """Let edges along shared walls, and fronts in line, agree; take what that gives within the tolerance."""
    beside = np.zeros(len(work.traced), bool)
    beside[pairs] = True
    chosen, made = [], []
    for method, edges in REGULARIZERS.items():
        mine = np.flatnonzero(beside & (work.method == method))
        if edges and len(mine):
            rings, angles, origins = as_rings(work.traced[mine]), work.angles[mine], work.origins[mine]
            drafts = draft_edges(rings, angles, origins, method, rules, fixed=True)
            chosen.append(mine)
            made.append(exterior_sides(rings, drafts, lines_on_map(drafts, angles, origins, rings.owners)))
    if not made:
        return
    chosen, sides = np.concatenate(chosen), join_sides(made)
    number = np.full(len(work.traced), -1)
    number[chosen] = np.arange(len(chosen))
    own = number[pairs]
    exteriors = shapely.get_exterior_ring(work.traced[chosen])
    lines = agree_lines(sides, exteriors, own[(own >= 0).all(axis=1)], rules.tolerance)
    drawn = rings_of(sides.ends, lines)
    there = np.flatnonzero(~shapely.is_missing(drawn))
    at = chosen[there]
    shapes = np.asarray(shapely.polygons(drawn[there]), object)
    for k in np.flatnonzero(shapely.get_num_interior_rings(work.shapes[at])):
        shapes[k] = shapely.Polygon(shapes[k].exterior, work.shapes[at[k]].interiors)
    take(work, at, shapes, rules, np.asarray(shapely.is_valid(shapes)))


def _share_ground(work: Work, chosen: np.ndarray, rules: Rules) -> np.ndarray:
    """Leave no ground to two of those chosen, nor to none between them; return who cannot be regular beside others."""
    parted = part_ground(work.shapes[chosen], work.traced[chosen], rules.tolerance)
    good = take(work, chosen, parted, rules, shapely.is_valid(parted) & ~shapely.is_empty(parted))
    _leave(work, chosen[~good])
    return chosen[~good]


def _overlapping(work: Work, chosen: np.ndarray, tolerance: float) -> np.ndarray:
    """Pairs, one of them chosen, that have ground in common and had none, int64 ``(pairs, 2)``."""
    i, j = shapely.STRtree(work.shapes).query(work.shapes[chosen])
    i, j = np.unique(np.sort(np.column_stack([chosen[i], j]), axis=1), axis=0).T
    i, j = i[i < j], j[i < j]
    now = common_areas(work.shapes[i], work.shapes[j])
    i, j, now = (column[now > _COMMON * tolerance**2] for column in (i, j, now))
    before = common_areas(work.traced[i], work.traced[j])
    fresh = before <= _COMMON * tolerance**2
    return np.column_stack([i[fresh], j[fresh]])
