"""Buildings that touch, made regular together: one direction, one line for a wall, and no ground of two or of none.

Each building has been drawn alone. What remains is to agree: neighbours that stand nearly alike get the same
direction; edges of two of them along the wall that they share, and fronts that go on beyond it, get the same line; and
where they still disagree, the ground between their lines goes, piece by piece, to whom the traced outlines give it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import shapely
from numba import njit
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from eaves.footprints.clip import common_areas
from eaves.footprints.frames import QUARTER

_ALIKE = np.radians(8.0)  # directions of neighbours that may become one
_DRIFT = 0.35  # of the tolerance: how far the ends of a building may be turned by that
_PARALLEL = np.cos(np.radians(8.0))
_IN_LINE = 0.35  # of the tolerance: a front that goes on with so small a step has none
_TOUCH = 1e-3  # of the tolerance: outlines so near touch
_COMMON = 1e-3  # of a squared tolerance: ground in common that is an error of rounding
_GRID = 1e-6  # of the tolerance: where lines are noded
_MOSTLY = 0.5  # share of an edge that is along a neighbour


class Sides(NamedTuple):
    """Edges of the exteriors of several buildings, one building after the other.

    Attributes:
        ends: Where the edges of each building end, int64 ``(n + 1,)``; it may have none.
        lines: A point and a direction in the plane, as the outline runs, float64 ``(edges, 4)``.
        first: Where the stretch of each begins, a vertex of the traced exterior, int64 ``(edges,)``.
        last: Where it ends; may lie a round later.
        length: Of the stretch, float64 ``(edges,)``.
    """

    ends: np.ndarray
    lines: np.ndarray
    first: np.ndarray
    last: np.ndarray
    length: np.ndarray


def join_sides(parts: Sequence[Sides]) -> Sides:
    """Put the edges of several groups of buildings one after the other."""
    ends = np.concatenate([[0], np.cumsum(np.concatenate([np.diff(part.ends) for part in parts]))])
    return Sides(ends, *(np.concatenate(column) for column in list(zip(*parts, strict=True))[1:]))


def touching(polygons: np.ndarray, tolerance: float) -> np.ndarray:
    """Pairs of polygons that share a wall or a corner, int64 ``(pairs, 2)``, the lower index first, in order.

    What overlaps is no neighbour: it is twice the same, or one on top of the other.
    """
    i, j = shapely.STRtree(polygons).query(polygons, predicate="dwithin", distance=_TOUCH * tolerance)
    i, j = i[i < j], j[i < j]
    if not shapely.coverage_is_valid(polygons[np.union1d(i, j)]):  # else nothing can overlap
        beside = common_areas(polygons[i], polygons[j]) <= _COMMON * tolerance**2
        i, j = i[beside], j[beside]
    pairs = np.column_stack([i, j])
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def teams(count: int, pairs: np.ndarray) -> np.ndarray:
    """Number what hangs together by pairs, int64 ``(count,)``."""
    links = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return connected_components(links, directed=False)[1]


def agree_directions(angles: np.ndarray, polygons: np.ndarray, pairs: np.ndarray, tolerance: float) -> np.ndarray:
    """Give neighbours that stand nearly alike one direction.

    From the largest building on, each takes those that hang on it and could be turned to its direction without moving
    farther than a part of the tolerance; together they get the mean of their directions, by area.

    Args:
        angles: In radians, float64 ``(n,)``; changed in place.
        polygons: Traced, object ``(n,)``.
        pairs: Which of them touch.
        tolerance: In units of the plane.

    Returns:
        The leader of each, int64 ``(n,)``: itself where it stands alone.
    """
    leader = np.arange(len(angles))
    area, bounds = shapely.area(polygons), shapely.bounds(polygons)
    reach = np.hypot(bounds[:, 2] - bounds[:, 0], bounds[:, 3] - bounds[:, 1]) / 2
    beside: dict[int, list[int]] = {}
    for i, j in pairs.tolist():
        beside.setdefault(i, []).append(j)
        beside.setdefault(j, []).append(i)
    free = set(beside)
    for first in sorted(beside, key=lambda k: (-area[k], k)):
        if first not in free:
            continue
        free.discard(first)
        team, waiting = [first], [first]
        while waiting:
            for other in beside[waiting.pop()]:
                if other in free:
                    turn = abs(_between(angles[other], angles[first]))
                    if turn <= _ALIKE and turn * reach[other] <= _DRIFT * tolerance:
                        free.discard(other)
                        team.append(other)
                        waiting.append(other)
        offs = np.array([_between(angles[k], angles[first]) for k in team])
        angles[team] = angles[first] + np.average(offs, weights=area[team])
        leader[team] = first
    return leader


def _between(a: float, b: float) -> float:
    """The turn from b to a, where quarter turns make no difference."""
    return (a - b + QUARTER / 2) % QUARTER - QUARTER / 2


def agree_lines(sides: Sides, exteriors: np.ndarray, pairs: np.ndarray, tolerance: float) -> np.ndarray:
    """Give edges along a shared wall, and fronts that go on beyond its end, one line each.

    Args:
        sides: Edges of buildings.
        exteriors: Their traced exteriors, shapely LinearRings, object ``(n,)``.
        pairs: Which of them touch, by number in ``sides``.
        tolerance: In units of the plane.

    Returns:
        Lines of the edges, float64 ``(edges, 4)``.
    """
    coords, index = shapely.get_coordinates(exteriors, return_index=True)
    ring_ends = np.concatenate([[0], np.cumsum(np.bincount(index, minlength=len(exteriors)))])
    same = _same_lines(*sides, coords, ring_ends, pairs, float(tolerance))
    lines = sides.lines.copy()
    if not len(same):
        return lines
    label = teams(len(lines), same)
    chosen = np.unique(same)
    chosen = chosen[np.lexsort((-sides.length[chosen], label[chosen]))]  # the longest of each line first
    firsts = np.flatnonzero(np.diff(label[chosen], prepend=-1))
    line = np.repeat(lines[chosen[firsts]], np.diff(np.append(firsts, len(chosen))), axis=0)
    off = (lines[chosen, 0] - line[:, 0]) * -line[:, 3] + (lines[chosen, 1] - line[:, 1]) * line[:, 2]
    weight = sides.length[chosen]
    mean = np.add.reduceat(off * weight, firsts) / np.add.reduceat(weight, firsts)
    mean = np.repeat(mean, np.diff(np.append(firsts, len(chosen))))
    sign = np.where(lines[chosen, 2] * line[:, 2] + lines[chosen, 3] * line[:, 3] > 0, 1.0, -1.0)
    lines[chosen, 0] = line[:, 0] - mean * line[:, 3]
    lines[chosen, 1] = line[:, 1] + mean * line[:, 2]
    lines[chosen, 2:] = sign[:, None] * line[:, 2:]
    return lines


@njit(cache=True, nogil=True)
def _same_lines(ends, lines, first, last, length, coords, ring_ends, pairs, tolerance):
    """Pairs of edges that are one line, int64 ``(m, 2)``."""
    same = np.empty((4 * len(lines) + 16, 2), np.int64)
    count = 0
    for pair in range(len(pairs)):
        i, j = pairs[pair]
        p, q = coords[ring_ends[i] : ring_ends[i + 1]], coords[ring_ends[j] : ring_ends[j + 1]]
        on_j, on_i = _near(p, q, _TOUCH * tolerance), _near(q, p, _TOUCH * tolerance)
        walls_i = _walls(ends[i], ends[i + 1], first, last, p, on_j)
        walls_j = _walls(ends[j], ends[j + 1], first, last, q, on_i)
        for a in range(len(walls_i)):
            for b in range(len(walls_j)):
                e, f = ends[i] + a, ends[j] + b
                sense = reach = 0.0
                if walls_i[a] and walls_j[b]:
                    sense, reach = -1.0, tolerance
                elif _beside(walls_i, a) and _beside(walls_j, b):
                    sense, reach = 1.0, _IN_LINE * tolerance
                if sense == 0.0:
                    continue
                turn = sense * (lines[e, 2] * lines[f, 2] + lines[e, 3] * lines[f, 3])
                off = (lines[f, 1] - lines[e, 1]) * lines[e, 2] - (lines[f, 0] - lines[e, 0]) * lines[e, 3]
                if turn < _PARALLEL or abs(off) > reach:
                    continue
                if sense > 0 and _ends_apart(p, first[e], last[e], q, first[f], last[f]) > tolerance:
                    continue
                if count == len(same):
                    larger = np.empty((2 * count, 2), np.int64)
                    larger[:count] = same
                    same = larger
                same[count, 0], same[count, 1] = e, f
                count += 1
    return same[:count].copy()


@njit(cache=True, nogil=True)
def _near(p, q, reach):
    """Whether each vertex of a closed ring lies on another ring."""
    near = np.zeros(len(p), np.bool_)
    x0, y0, x1, y1 = q[:, 0].min(), q[:, 1].min(), q[:, 0].max(), q[:, 1].max()
    for i in range(len(p)):
        x, y = p[i, 0], p[i, 1]
        if x < x0 - reach or x > x1 + reach or y < y0 - reach or y > y1 + reach:
            continue
        for k in range(len(q) - 1):
            ax, ay, bx, by = q[k, 0], q[k, 1], q[k + 1, 0], q[k + 1, 1]
            if x < min(ax, bx) - reach or x > max(ax, bx) + reach or y < min(ay, by) - reach or y > max(ay, by) + reach:
                continue
            dx, dy = bx - ax, by - ay
            square = dx * dx + dy * dy
            along = min(max(((x - ax) * dx + (y - ay) * dy) / square, 0.0), 1.0) if square > 0 else 0.0
            if (x - ax - along * dx) ** 2 + (y - ay - along * dy) ** 2 <= reach * reach:
                near[i] = True
                break
    return near


@njit(cache=True, nogil=True)
def _walls(begin, end, first, last, ring, near):
    """Whether each edge of a building lies along the other for the most part."""
    walls = np.zeros(end - begin, np.bool_)
    n = len(ring) - 1
    for e in range(begin, end):
        total = shared = 0.0
        for k in range(first[e], last[e]):
            a, b = k % n, k % n + 1
            w = np.hypot(ring[b, 0] - ring[a, 0], ring[b, 1] - ring[a, 1])
            total += w
            if near[a] and near[b]:
                shared += w
        walls[e - begin] = shared > _MOSTLY * total
    return walls


@njit(cache=True, nogil=True)
def _beside(walls, k):
    """Whether an edge is next to a wall, and none itself."""
    n = len(walls)
    return not walls[k] and (walls[(k + 1) % n] or walls[(k - 1) % n])


@njit(cache=True, nogil=True)
def _ends_apart(p, p_first, p_last, q, q_first, q_last):
    """How far the nearer ends of two stretches are from each other."""
    best = np.inf
    for a in (p_first % (len(p) - 1), p_last % (len(p) - 1)):
        for b in (q_first % (len(q) - 1), q_last % (len(q) - 1)):
            best = min(best, np.hypot(p[a, 0] - q[b, 0], p[a, 1] - q[b, 1]))
    return best


def rings_of(ends: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """Let edges meet: shapely LinearRings, object ``(n,)``, none where edges give no ring."""
    coords, coord_ends = _rings(ends, lines)
    rings = np.full(len(ends) - 1, None, object)
    size = np.diff(coord_ends)
    made = size > 0
    if made.any():
        index = np.repeat(np.arange(int(made.sum())), size[made])
        rings[made] = shapely.linearrings(coords, indices=index)
    return rings


@njit(cache=True, nogil=True)
def _rings(ends, lines):
    coords, coord_ends = np.empty((len(lines) + len(ends), 2)), np.zeros(len(ends), np.int64)
    done = 0
    for k in range(len(ends) - 1):
        kept = np.empty(ends[k + 1] - ends[k], np.int64)
        m = 0
        for e in range(ends[k], ends[k + 1]):
            before = lines[e - 1 if e > ends[k] else ends[k + 1] - 1]
            if before[2] * lines[e, 2] + before[3] * lines[e, 3] < 0.9994:  # else the two have become one
                kept[m] = e
                m += 1
        begin, fine = done, m >= 3
        for c in range(m if fine else 0):
            p, q = lines[kept[c - 1 if c else m - 1]], lines[kept[c]]
            sine = p[2] * q[3] - p[3] * q[2]
            if abs(sine) < 0.17:
                fine = False
                break
            along = ((q[0] - p[0]) * q[3] - (q[1] - p[1]) * q[2]) / sine
            coords[done, 0], coords[done, 1] = p[0] + along * p[2], p[1] + along * p[3]
            done += 1
        if fine:
            coords[done] = coords[begin]
            done += 1
        else:
            done = begin
        coord_ends[k + 1] = done
    return coords[:done], coord_ends


def part_ground(outlines: np.ndarray, traced: np.ndarray, tolerance: float) -> np.ndarray:
    """Cut what outlines enclose along all their lines, and give each piece to whom the traced polygons give most of it.

    Args:
        outlines: Of each, valid shapely Polygons that may overlap or leave gaps, object ``(n,)``.
        traced: The polygons that were there first, object ``(n,)``.
        tolerance: In units of the plane.

    Returns:
        Polygons that share no ground and meet in the same vertices, object ``(n,)``; empty where none was left.
    """
    grid = _GRID * tolerance
    lines = shapely.union_all(shapely.boundary(outlines), grid_size=grid)
    faces = shapely.normalize(shapely.get_parts(shapely.polygonize([lines])))
    x, y = shapely.get_coordinates(shapely.point_on_surface(faces)).T if len(faces) else np.zeros((2, 0))
    faces = faces[np.lexsort((y, x))]
    owner = _owners(faces, traced)
    parted = np.full(len(traced), shapely.Polygon(), object)
    faces, owner = faces[owner >= 0], owner[owner >= 0]
    order = np.argsort(owner, kind="stable")
    faces, owner = faces[order], owner[order]
    for group in np.split(np.arange(len(owner)), np.flatnonzero(np.diff(owner)) + 1):
        if len(group) == 1:
            parted[owner[group[0]]] = faces[group[0]]
        elif len(group):
            parts = shapely.get_parts(shapely.coverage_union_all(faces[group]))
            parted[owner[group[0]]] = parts[np.argmax(shapely.area(parts))]
    return _straighten(parted, 4 * grid)


def _owners(faces: np.ndarray, traced: np.ndarray) -> np.ndarray:
    """The polygon that has most of each face, int64 ``(faces,)``; -1 where more than half of it is nobody's."""
    owner, area = np.full(len(faces), -1), shapely.area(faces)
    tree = shapely.STRtree(traced)
    i, j = tree.query(shapely.point_on_surface(faces), predicate="intersects")
    most = common_areas(traced[j], faces[i]) > _MOSTLY * area[i]
    owner[i[most]] = j[most]  # nobody can have more
    left = np.flatnonzero(owner < 0)
    i, j = tree.query(faces[left], predicate="intersects")
    common = shapely.area(shapely.intersection(faces[left[i]], traced[j]))
    order = np.lexsort((common, i))  # the last of each face has most of it
    owner[left[i[order]]] = j[order]
    nobody = np.bincount(i, common, minlength=len(left)) < _MOSTLY * area[left]
    owner[left[nobody]] = -1
    return owner


def _straighten(polygons: np.ndarray, reach: float) -> np.ndarray:
    """Leave out vertices that are no corner of any of the polygons, and not where others end."""
    full = np.flatnonzero(~shapely.is_empty(polygons))
    if not len(full):
        return polygons
    # In GEOS' normal form rings begin at a corner; and the order in which it finds faces is not always the same.
    _, coords, (ends, polygon_ends) = shapely.to_ragged_array(shapely.normalize(polygons[full]))
    corner = _corners(coords, ends, reach)
    _, place = np.unique(coords, axis=0, return_inverse=True)
    wanted = np.bincount(place.ravel(), corner) > 0
    keep = wanted[place.ravel()]
    kept_ends = np.concatenate([[0], np.cumsum(keep)])[ends]
    result = polygons.copy()
    shape = shapely.GeometryType.POLYGON
    result[full] = shapely.from_ragged_array(shape, coords[keep], (kept_ends, polygon_ends))
    return result


@njit(cache=True, nogil=True)
def _corners(coords, ends, reach):
    corner = np.zeros(len(coords))
    for ring in range(len(ends) - 1):
        a, n = ends[ring], ends[ring + 1] - ends[ring] - 1
        for k in range(n):
            p, at, q = coords[a + (k - 1) % n], coords[a + k], coords[a + (k + 1) % n]
            dx, dy = q[0] - p[0], q[1] - p[1]
            off = abs(dx * (at[1] - p[1]) - dy * (at[0] - p[0]))
            corner[a + k] = 1.0 if off > reach * np.hypot(dx, dy) else 0.0
        if corner[a : a + n].sum() < 3:  # so thin that none of its vertices is off the line of two others
            corner[a : a + n] = 1.0
        corner[a + n] = corner[a]
    return corner
