"""Outlines with the angles that buildings have, never farther from the traced ones than a tolerance."""

from __future__ import annotations

import dataclasses
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import shapely

from eaves.errors import SettingsError
from eaves.footprints.circles import circle, compactness, fit_circles
from eaves.footprints.clip import common_areas
from eaves.footprints.deviation import deviations
from eaves.footprints.drafts import (
    Drafts,
    Rings,
    as_rings,
    corners,
    draw,
    exterior_sides,
    lines_on_map,
    main_directions,
    prices,
    round_offsets,
)
from eaves.footprints.edges import ACROSS, ALONG, FALLING, FREE, KINDS, RISING
from eaves.footprints.simplify import simplify
from eaves.footprints.walls import (
    agree_directions,
    agree_lines,
    join_sides,
    part_ground,
    rings_of,
    teams,
    touching,
)

Shape = Literal["right-angles", "right-angles-and-diagonals", "any-angle", "circle", "auto"]
REGULARIZERS: dict[Shape, tuple[int, ...]] = {
    "right-angles": (ALONG, ACROSS),
    "right-angles-and-diagonals": (ALONG, ACROSS, RISING, FALLING),
    "any-angle": (ALONG, ACROSS, FREE),
    "circle": (),
    "auto": (),
}
"""Methods, and what edges each has; ``auto`` chooses among the others."""

_ROUND = 0.88  # compactness from which ``auto`` tries a circle: an octagon has 0.948, a square 0.785
_PLAINLY_ROUND = 2.5  # of the tolerance: the least radius at which blur leaves a square its corners
_CHUNK = 4000
_STEPS = (0.5, 0.25, 0.1, 0.03)  # of the tolerance: for what cannot be made regular
_COMMON = 1e-7  # of a squared tolerance: less ground in common is none
_PLAIN = 4.5  # edges' worth: what costs less is a plain rectangle, to which nothing else is preferred
_WORTH = 0.95  # of the price: what a freer method has to stay below to be preferred
_BOX = 6.0  # edges' worth of a rectangle that stands for a ring too small to have edges
_REGULAR, _SIMPLIFIED, _TRACED, _CROWDED, _NOTHING = range(5)
_UNIT = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0]])
_ROUNDS = 3
_WORDS = np.array(
    [
        "regular",
        "no such shape within the tolerance: simplified",
        "no such shape within the tolerance: as traced",
        "no such shape beside its neighbours: as traced",
        "no polygon",
    ],
    object,
)


class Regularized(NamedTuple):
    """Polygons made regular, and how that went.

    Attributes:
        polygons: shapely Polygons or MultiPolygons, as many and in the order as given, valid, object ``(n,)``.
        status: 0 for a regular one, 1 for one that could not be made so within the tolerance; int8 ``(n,)``.
        reason: What the status means, in words, object ``(n,)``.
        method: What shape each has: ``right-angles``, …, ``circle``; empty where status is 1; object ``(n,)``.
        deviation: Greatest distance between its outline and the one given, both ways, in units of the plane;
            float64 ``(n,)``.
        iou: Intersection over union with what was given, float64 ``(n,)``.
    """

    polygons: np.ndarray
    status: np.ndarray
    reason: np.ndarray
    method: np.ndarray
    deviation: np.ndarray
    iou: np.ndarray


@dataclass
class _Work:
    """Single polygons on their way: as given, as they are by now, and what has become of each."""

    traced: np.ndarray
    shapes: np.ndarray
    why: np.ndarray
    method: np.ndarray
    price: np.ndarray
    angles: np.ndarray
    origins: np.ndarray
    deviation: np.ndarray


@dataclass(frozen=True)
class _Rules:
    method: Shape
    tolerance: float
    price: np.ndarray
    precision: float
    spacing: float
    radii: tuple[float, float]


def regularize(
    polygons: np.ndarray,
    method: Shape = "right-angles",
    tolerance: float = 1.0,
    *,
    diagonal_penalty: float = 1.5,
    densification: float = math.inf,
    precision: float = 0.0,
    min_radius: float = 0.0,
    max_radius: float = math.inf,
    workers: int = 1,
) -> Regularized:
    """Give outlines the angles that buildings have.

    The contract is that of ArcGIS's *Regularize Building Footprint*: no point of a result is farther than the tolerance
    from the outline given, nor any point of that from the result; what has no such shape is kept, simplified within the
    tolerance, with status 1. Right angles are exact by construction: edges lie along two directions (four with
    diagonals, any with ``any-angle``, where those that are neither along nor across cost more), their number and where
    they meet are the cheapest that the outline allows (:mod:`eaves.footprints.edges`), and each lies in the mean of its
    stretch of the outline. Holes have the building's directions. Buildings that touch are made regular together and
    share their walls afterwards; none overlaps another that it did not overlap before (:mod:`eaves.footprints.walls`).

    Args:
        polygons: Valid shapely Polygons or MultiPolygons in a metric plane, as densely traced as they are to be had,
            object ``(n,)``. Parts of a MultiPolygon are treated one by one.
        method: ``right-angles``; ``right-angles-and-diagonals`` (45 and 135 degrees too); ``any-angle``; ``circle``; or
            ``auto``: a circle where the outline is compact and it fits better, else the cheapest of the others.
        tolerance: In units of the plane, above 0. Three pixels of the image are a good choice.
        diagonal_penalty: How many times more an edge of another direction than along or across costs, at least 0.
        densification: Edges also meet between bends of the outline, at vertices so far apart, in units of the plane;
            finds corners of long slow curves, and takes time. None by default.
        precision: Distances between parallel walls are multiples of it, in units of the plane; 0 leaves them.
        min_radius: Least radius of a circle; ``auto`` asks for 2.5 tolerances at least, below which a blurred square is
            as round as a circle.
        max_radius: Greatest radius of a circle.
        workers: Threads; they change nothing but the time.

    Returns:
        Polygons, and what became of each.

    Raises:
        SettingsError: A setting is outside its range.

    Example:
        >>> traced = shapely.segmentize(np.array([shapely.box(0, 0, 20, 10).buffer(-1).buffer(1)]), 0.3)
        >>> made = regularize(traced, "right-angles", tolerance=1.0)
        >>> shapely.bounds(made.polygons[0]).round(1).tolist(), int(made.status[0])
        ([0.0, 0.0, 20.0, 10.0], 0)
    """
    _check(method, tolerance, diagonal_penalty, densification, precision, min_radius, max_radius)
    if workers < 1:
        raise SettingsError("one worker or more", f"{workers}", "leave it at 1")
    rules = _Rules(method, tolerance, prices(diagonal_penalty), precision, densification, (min_radius, max_radius))
    given = np.asarray(polygons, object)
    parts, owner = shapely.get_parts(given, return_index=True)
    solid = (shapely.get_type_id(parts) == 3) & ~shapely.is_empty(parts)
    parts, owner = shapely.force_2d(parts[solid]), owner[solid]
    pairs = touching(parts, tolerance) if len(parts) else np.zeros((0, 2), np.intp)
    work = _in_chunks(parts, pairs, rules, workers)
    _settle(work, pairs, rules)
    return _gather(given, work, owner, tolerance)


def _check(method: Shape, tolerance: float, penalty: float, densification: float, precision: float, *radii: float):
    if method not in REGULARIZERS:
        raise SettingsError(f"a method among {', '.join(REGULARIZERS)}", f"{method!r}", "choose one of them")
    if not 0 < tolerance < math.inf:
        raise SettingsError("a tolerance above 0", f"{tolerance}", "choose three pixels, such as 1 metre at 0.3 m")
    if not 0 <= penalty < math.inf:
        raise SettingsError("a diagonal penalty of 0 or more", f"{penalty}", "try 1.5")
    if not densification > 0:
        raise SettingsError("a densification above 0", f"{densification}", "choose the tolerance, or leave it out")
    if not 0 <= precision <= tolerance / 2:
        raise SettingsError("a precision of 0 up to half the tolerance", f"{precision}", "try 0.05")
    if not 0 <= radii[0] <= radii[1]:
        raise SettingsError("a least radius of 0 up to the greatest", f"{radii[0]} and {radii[1]}", "swap them")


# --- each alone -------------------------------------------------------------------------------------------------------


def _alone(parts: np.ndarray, rules: _Rules) -> _Work:
    count = len(parts)
    work = _Work(
        parts,
        parts.copy(),
        np.full(count, _TRACED),
        np.full(count, "", object),
        np.full(count, np.inf),
        np.zeros(count),
        shapely.get_coordinates(shapely.centroid(parts)),
        np.zeros(count),
    )
    if not count:
        return work
    work.angles = main_directions(as_rings(parts), rules.tolerance)
    everyone = np.arange(count)
    methods: tuple[Shape, ...] = (rules.method,)
    if rules.method == "auto":
        methods = ("right-angles", "right-angles-and-diagonals", "any-angle")
    for method in methods:
        if REGULARIZERS[method]:
            _draw(work, everyone[work.price > _PLAIN * rules.price[ALONG]], method, rules)
    if rules.method in ("circle", "auto"):
        _round_off(work, rules)
    return work


def _draw(work: _Work, chosen: np.ndarray, method: Shape, rules: _Rules) -> None:
    """Draw some polygons with a method's edges, and take what is cheaper than what they have."""
    if not len(chosen):
        return
    rings, angles, origins = as_rings(work.traced[chosen]), work.angles[chosen], work.origins[chosen]
    drafts = _drafts(rings, angles, origins, method, rules)
    owners = rings.owners
    xy, ends = corners(drafts, angles, origins, owners)
    drawn = np.diff(drafts.ends) > 0
    price = np.bincount(owners, np.where(drawn, drafts.prices, _BOX * rules.price[ALONG]))
    for ring in np.flatnonzero(~drawn)[::-1]:
        xy = np.insert(xy, ends[ring], _box(rings.ring(ring), float(angles[owners[ring]])), axis=0)
        ends[ring + 1 :] += len(_UNIT)
    shapes = shapely.from_ragged_array(shapely.GeometryType.POLYGON, xy, (ends, rings.polygon_ends))
    taken = _take(work, chosen, shapes, rules, shapely.is_valid(shapes) & (price < _WORTH * work.price[chosen]))
    work.price[chosen[taken]], work.angles[chosen[taken]] = price[taken], angles[taken]
    work.why[chosen[taken]], work.method[chosen[taken]] = _REGULAR, method


def _drafts(
    rings: Rings, angles: np.ndarray, origins: np.ndarray, method: Shape, rules: _Rules, fixed: bool = False
) -> Drafts:
    allowed = np.zeros(KINDS, bool)
    allowed[list(REGULARIZERS[method])] = True
    hold = np.full(len(angles), fixed)
    drafts = draw(rings, angles, origins, hold, allowed, rules.price, rules.tolerance, rules.spacing)
    if rules.precision:
        round_offsets(drafts, rules.precision)
    return drafts


def _take(work: _Work, chosen: np.ndarray, shapes: np.ndarray, rules: _Rules, good: np.ndarray) -> np.ndarray:
    """Take of some shapes what is good, and within the tolerance; return which."""
    good = good.copy()
    far = deviations(work.traced[chosen[good]], shapes[good], rules.tolerance)
    good[good] = near = far <= rules.tolerance
    work.shapes[chosen[good]], work.deviation[chosen[good]] = shapes[good], far[near]
    return good


def _box(ring: np.ndarray, angle: float) -> np.ndarray:
    """The rectangle in a direction with a ring's area and proportions: for one that is too small to have edges."""
    turned = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    local = ring @ turned
    low, high = local.min(axis=0), local.max(axis=0)
    half = (high - low) / 2
    half *= math.sqrt(shapely.Polygon(ring).area / max(4 * float(half.prod()), 1e-300))
    return ((low + high) / 2 + half * _UNIT) @ turned.T


def _round_off(work: _Work, rules: _Rules) -> None:
    """Make circles of what is one: all that can be, or with ``auto`` where it fits better than what there is."""
    middles, radii = fit_circles(work.traced)
    wanted = (radii >= rules.radii[0]) & (radii <= rules.radii[1])
    if rules.method == "auto":
        wanted &= (compactness(work.traced) >= _ROUND) & (radii >= _PLAINLY_ROUND * rules.tolerance)
    chosen = np.flatnonzero(wanted)
    shapes = np.empty(len(chosen), object)
    for k, at in enumerate(chosen):
        holes = list(work.shapes[at].interiors)
        shapes[k] = shapely.Polygon(circle(*middles[at], radii[at], rules.tolerance).exterior, holes)
    good = shapely.is_valid(shapes)
    if rules.method == "auto":
        better = _iou(shapes, work.traced[chosen]) > _iou(work.shapes[chosen], work.traced[chosen])
        good &= better | (work.why[chosen] != _REGULAR)
    taken = chosen[_take(work, chosen, shapes, rules, good)]
    work.why[taken], work.method[taken] = _REGULAR, "circle"


# --- together ---------------------------------------------------------------------------------------------------------


def _in_chunks(parts: np.ndarray, pairs: np.ndarray, rules: _Rules, workers: int) -> _Work:
    """All but what concerns buildings that do not touch, some thousands at a time; who touches stays together."""
    if not len(parts):
        return _alone(parts, rules)
    team = teams(len(parts), pairs)
    chunk = np.cumsum(np.bincount(team))[team] // _CHUNK
    local = np.empty(len(parts), np.intp)
    jobs = []
    for number in np.unique(chunk):
        members = np.flatnonzero(chunk == number)
        local[members] = np.arange(len(members))
        jobs.append((members, pairs[chunk[pairs[:, 0]] == number]))

    def run(job: tuple[np.ndarray, np.ndarray]) -> _Work:
        work = _alone(parts[job[0]], rules)
        _together(work, local[job[1]], rules)
        return work

    with ThreadPoolExecutor(workers) as pool:  # shapely and the compiled parts let go of the interpreter
        made = list(pool.map(run, jobs))
    order = np.argsort(np.concatenate([members for members, _ in jobs]), kind="stable")
    names = [each.name for each in dataclasses.fields(_Work)]
    return _Work(*(np.concatenate([getattr(work, name) for work in made])[order] for name in names))


def _together(work: _Work, pairs: np.ndarray, rules: _Rules) -> None:
    """Make neighbours that touch agree, and keep what could not be made regular as near as it can be."""
    if len(pairs):
        leader = agree_directions(work.angles, work.traced, pairs, rules.tolerance)
        work.origins[:] = work.origins[leader]
        _share_walls(work, pairs, rules)
    _simplify(work, np.flatnonzero(work.why != _REGULAR), rules)
    _part(work, pairs, np.unique(pairs), rules)


def _settle(work: _Work, pairs: np.ndarray, rules: _Rules) -> None:
    """Part what did not touch and does now."""
    for _ in range(_ROUNDS):
        crossing = _overlapping(work, rules.tolerance)
        if not len(crossing):
            return
        pairs = np.concatenate([pairs, crossing])
        team = teams(len(work.traced), pairs)
        _part(work, pairs, np.flatnonzero(np.isin(team, team[crossing])), rules)


def _part(work: _Work, pairs: np.ndarray, chosen: np.ndarray, rules: _Rules) -> None:
    """Part the ground of those chosen; and again around those that had to be left as traced, until none has to be."""
    links = np.concatenate([pairs, pairs[:, ::-1]])

    def beside(these: np.ndarray) -> np.ndarray:
        return np.unique(links[np.isin(links[:, 0], these), 1])

    while len(chosen):  # ends, since in each round some more are left
        before = work.why == _CROWDED
        left = _share_ground(work, chosen, rules)
        if len(left) and before[left].all():  # not even as traced, beside what their neighbours are
            near = beside(left)
            near = near[~before[near]]
            if not len(near):
                return
            _leave(work, near)
            left = np.union1d(left, near)
        chosen = np.union1d(left, beside(left))


def _simplify(work: _Work, left: np.ndarray, rules: _Rules) -> None:
    """Simplify polygons as much as the tolerance lets."""
    for step in _STEPS:
        shapes = simplify(work.traced[left], step * rules.tolerance)
        taken = _take(work, left, shapes, rules, shapely.is_valid(shapes))
        work.why[left[taken]] = _SIMPLIFIED
        left = left[~taken]


def _leave(work: _Work, chosen: np.ndarray) -> None:
    """Leave polygons as they were traced."""
    work.shapes[chosen], work.deviation[chosen], work.why[chosen] = work.traced[chosen], 0.0, _CROWDED


def _share_walls(work: _Work, pairs: np.ndarray, rules: _Rules) -> None:
    """Let edges along shared walls, and fronts in line, agree; take what that gives within the tolerance."""
    beside = np.zeros(len(work.traced), bool)
    beside[pairs] = True
    chosen, made = [], []
    for method, edges in REGULARIZERS.items():
        mine = np.flatnonzero(beside & (work.method == method))
        if edges and len(mine):
            rings, angles, origins = as_rings(work.traced[mine]), work.angles[mine], work.origins[mine]
            drafts = _drafts(rings, angles, origins, method, rules, fixed=True)
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
    _take(work, at, shapes, rules, np.asarray(shapely.is_valid(shapes)))


def _share_ground(work: _Work, chosen: np.ndarray, rules: _Rules) -> np.ndarray:
    """Leave no ground to two of those chosen, nor to none between them; return who cannot be regular beside others."""
    parted = part_ground(work.shapes[chosen], work.traced[chosen], rules.tolerance)
    good = _take(work, chosen, parted, rules, shapely.is_valid(parted) & ~shapely.is_empty(parted))
    _leave(work, chosen[~good])
    return chosen[~good]


def _overlapping(work: _Work, tolerance: float) -> np.ndarray:
    """Pairs that have ground in common and had none, int64 ``(pairs, 2)``."""
    i, j = shapely.STRtree(work.shapes).query(work.shapes)
    i, j = i[i < j], j[i < j]
    now = common_areas(work.shapes[i], work.shapes[j])
    i, j, now = (column[now > _COMMON * tolerance**2] for column in (i, j, now))
    before = shapely.area(shapely.intersection(work.traced[i], work.traced[j]))
    fresh = before <= _COMMON * tolerance**2
    return np.column_stack([i[fresh], j[fresh]])


# --- the result -------------------------------------------------------------------------------------------------------


def _gather(given: np.ndarray, work: _Work, owner: np.ndarray, tolerance: float) -> Regularized:
    """Put parts together again, and measure."""
    why = np.full(len(given), _NOTHING)
    np.minimum.at(why, owner, _REGULAR)
    np.maximum.at(why, owner, work.why)
    method = np.full(len(given), "", object)
    shapes = given.copy()
    single = np.bincount(owner, minlength=len(given)) == 1
    mine = single[owner]
    shapes[owner[mine]], method[owner[mine]] = work.shapes[mine], work.method[mine]
    for k in np.unique(owner[~mine]).tolist():
        parts = owner == k
        method[k] = work.method[parts][0] if len(set(work.method[parts])) == 1 else "mixed"
        shapes[k] = shapely.MultiPolygon(work.shapes[parts].tolist())
        if not shapes[k].is_valid:  # parts have met along a wall, which parts of one polygon must not
            shapes[k] = shapely.union_all(work.shapes[parts])
            far = deviations(given[[k]], shapes[[k]], tolerance)[0]
            if far > tolerance:
                shapes[k], why[k], far = given[k], _CROWDED, 0.0
            work.deviation[parts] = far
    multi = shapely.get_type_id(given) == 6
    bare = multi & single
    shapes[bare] = shapely.multipolygons([[shape] for shape in shapes[bare]]) if bare.any() else shapes[bare]
    method[why != _REGULAR] = ""
    measured = why != _NOTHING
    deviation, iou = np.full(len(given), np.nan), np.full(len(given), np.nan)
    deviation[measured] = 0.0
    np.maximum.at(deviation, owner, work.deviation)
    iou[measured] = _iou(shapes[measured], given[measured])
    return Regularized(shapes, (why != _REGULAR).astype(np.int8), _WORDS[why], method, deviation, iou)


def _iou(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    common = common_areas(other, one)
    return common / np.maximum(shapely.area(one) + shapely.area(other) - common, 1e-300)
