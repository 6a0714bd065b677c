"""Outlines with the angles that buildings have, never farther from the traced ones than a tolerance."""

from __future__ import annotations

import dataclasses
import math
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import shapely

from eaves.errors import SettingsError
from eaves.footprints.deviation import deviations
from eaves.footprints.drafts import prices
from eaves.footprints.settling import leave, settle_all, settle_touching
from eaves.footprints.shaping import (
    NOTHING,
    REGULAR,
    REGULARIZERS,
    SHARED,
    Rules,
    Shape,
    Work,
    iou_of,
    shape_alone,
)
from eaves.footprints.walls import teams, touching

_CHUNK = 4000
_WORDS = np.array(
    [
        "regular",
        "regular but for a wall shared with a neighbour of another direction",
        "no such shape within the tolerance: simplified",
        "no such shape within the tolerance: as traced",
        "no such shape beside its neighbours: simplified",
        "no such shape beside its neighbours: as traced",
        "no polygon",
    ],
    object,
)


class Regularized(NamedTuple):
    """Polygons made regular, and how that went.

    Attributes:
        polygons: shapely Polygons or MultiPolygons, as many and in the order as given, valid, object ``(n,)``.
        status: 0 for a regular one (but for walls shared with neighbours of another direction), 1 for one that could
            not be made so within the tolerance; int8 ``(n,)``.
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
    rules = Rules(method, tolerance, prices(diagonal_penalty), precision, densification, (min_radius, max_radius))
    given = np.asarray(polygons, object)
    parts, owner = shapely.get_parts(given, return_index=True)
    solid = (shapely.get_type_id(parts) == 3) & ~shapely.is_empty(parts)
    parts, owner = shapely.force_2d(parts[solid]), owner[solid]
    parts = shapely.remove_repeated_points(parts)
    first, copy = _once(parts)
    parts = parts[first]
    pairs = touching(parts, tolerance) if len(parts) else np.zeros((0, 2), np.intp)
    work = _in_chunks(parts, pairs, rules, workers)
    settle_all(work, pairs, rules)
    _keep_whole(given, work, owner, copy, rules)
    return _gather(given, work.of(copy), owner, tolerance)


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


def _once(parts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each polygon is first, and which of these each one is: the same building may be there twice."""
    if not len(parts):
        return np.empty(0, np.intp), np.empty(0, np.intp)
    number = np.unique(shapely.bounds(parts), axis=0, return_inverse=True)[1].reshape(-1)
    doubtful = np.flatnonzero(np.bincount(number)[number] > 1)
    known: dict[bytes, int] = {}
    for at, key in zip(doubtful, shapely.to_wkb(shapely.normalize(parts[doubtful])), strict=True):
        number[at] = len(parts) + known.setdefault(key, len(known))
    _, first, copy = np.unique(number, return_index=True, return_inverse=True)
    return np.sort(first), np.argsort(np.argsort(first))[copy.reshape(-1)]


def _keep_whole(given: np.ndarray, work: Work, owner: np.ndarray, copy: np.ndarray, rules: Rules) -> None:
    """Leave the parts of a polygon as traced that have met, and are too far from what was given when joined."""
    count = np.bincount(owner, minlength=len(given))
    several = np.flatnonzero(count > 1)
    while len(several):
        far = []
        for k in several.tolist():
            parts = copy[owner == k]
            whole = shapely.MultiPolygon(work.shapes[parts].tolist())
            if not whole.is_valid:
                joined = np.array([shapely.union_all(work.shapes[parts])], object)
                if deviations(given[[k]], joined, rules.tolerance)[0] > rules.tolerance:
                    far.append(parts)
        if not far:
            return
        leave(work, np.unique(np.concatenate(far)), rules)


def _in_chunks(parts: np.ndarray, pairs: np.ndarray, rules: Rules, workers: int) -> Work:
    """All but what concerns buildings that do not touch, some thousands at a time; who touches stays together."""
    if not len(parts):
        return shape_alone(parts, rules)
    team = teams(len(parts), pairs)
    chunk = np.cumsum(np.bincount(team))[team] // _CHUNK
    local = np.empty(len(parts), np.intp)
    jobs = []
    for number in np.unique(chunk):
        members = np.flatnonzero(chunk == number)
        local[members] = np.arange(len(members))
        jobs.append((members, pairs[chunk[pairs[:, 0]] == number]))

    def run(job: tuple[np.ndarray, np.ndarray]) -> Work:
        work = shape_alone(parts[job[0]], rules)
        settle_touching(work, local[job[1]], rules)
        return work

    with ThreadPoolExecutor(workers) as pool:  # shapely and the compiled parts let go of the interpreter
        made = list(pool.map(run, jobs))
    order = np.argsort(np.concatenate([members for members, _ in jobs]), kind="stable")
    names = [each.name for each in dataclasses.fields(Work)]
    return Work(*(np.concatenate([getattr(work, name) for work in made])[order] for name in names))


def _gather(given: np.ndarray, work: Work, owner: np.ndarray, tolerance: float) -> Regularized:
    """Put parts together again, and measure."""
    why = np.full(len(given), NOTHING)
    np.minimum.at(why, owner, REGULAR)
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
            work.deviation[parts] = deviations(given[[k]], shapes[[k]], tolerance)[0]
    multi = shapely.get_type_id(given) == 6
    bare = multi & single
    shapes[bare] = shapely.multipolygons([[shape] for shape in shapes[bare]]) if bare.any() else shapes[bare]
    method[why > SHARED] = ""
    measured = why != NOTHING
    deviation, iou = np.full(len(given), np.nan), np.full(len(given), np.nan)
    deviation[measured] = 0.0
    np.maximum.at(deviation, owner, work.deviation)
    iou[measured] = iou_of(shapes[measured], given[measured])
    return Regularized(shapes, (why > SHARED).astype(np.int8), _WORDS[why], method, deviation, iou)
