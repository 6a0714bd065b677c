"""How far two outlines lie from each other: the greatest distance of any point of either from the other, compiled.

It is the Hausdorff distance of the two lines (Hausdorff 1914), over all their points and not their vertices alone,
by halving stretches whose distance might be greater than the greatest yet (branch and bound).
"""

from __future__ import annotations

import numpy as np
import shapely
from numba import njit

_BLOCK = 16  # edges whose box is looked at first, and boxes whose common one is
_COARSE = 0.75  # of the greatest distance yet: half a stretch that is worth a look
_CLOSE = 5e-3  # what the halving stops at, as a share of ``scale``


def deviations(one: np.ndarray, other: np.ndarray, scale: float) -> np.ndarray:
    """Measure how far outlines lie from each other, both ways, holes among them.

    Args:
        one: shapely Polygons or MultiPolygons, object ``(n,)``.
        other: As many.
        scale: What counts, such as a tolerance: results lie between the true value and a hundredth of it above.

    Returns:
        Distances in units of the plane, float64 ``(n,)``; infinite where either is empty.

    Example:
        >>> square = shapely.box(0, 0, 4, 4)
        >>> around = square.buffer(1, join_style="mitre")  # its corners are 2 ** 0.5 away
        >>> deviations(np.array([square]), np.array([around]), 1.0).round(2).tolist()
        [1.42]
    """
    if not len(one):
        return np.zeros(0)
    (a, a_rings, a_ends), (b, b_rings, b_ends) = _ragged(one), _ragged(other)
    return _all(a, a_rings, a_ends, b, b_rings, b_ends, float(scale))


def _ragged(polygons: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates, ends of rings, and ends of polygons in rings."""
    if (shapely.get_type_id(polygons) == 3).all():  # the usual case, in which nothing is copied
        _, coords, (rings, ends) = shapely.to_ragged_array(shapely.force_2d(polygons))
        return coords, rings.astype(np.int64), ends.astype(np.int64)
    parts, owner = shapely.get_parts(polygons, return_index=True)
    lines, part = shapely.get_rings(parts, return_index=True)
    coords, index = shapely.get_coordinates(lines, return_index=True)
    rings = np.concatenate([[0], np.cumsum(np.bincount(index, minlength=len(lines)))])
    ends = np.concatenate([[0], np.cumsum(np.bincount(owner[part], minlength=len(polygons)))])
    return coords, rings.astype(np.int64), ends.astype(np.int64)


@njit(cache=True, nogil=True)
def _all(a, a_rings, a_ends, b, b_rings, b_ends, scale):
    found = np.empty(len(a_ends) - 1)
    for k in range(len(found)):
        p, q = a_rings[a_ends[k] : a_ends[k + 1] + 1], b_rings[b_ends[k] : b_ends[k + 1] + 1]
        if len(p) < 2 or len(q) < 2:
            found[k] = np.inf
            continue
        close = _CLOSE * scale
        least = _one_way(a, p, b, q, close, close)  # less is not told apart: where lines lie on one another
        found[k] = _one_way(b, q, a, p, least, close) + close
    return found


@njit(cache=True, nogil=True)
def _blocks(coords, rings):
    """Edges in runs of some: the first, the one after the last, and the box of each run; and boxes of runs of runs."""
    count = 0
    for ring in range(len(rings) - 1):
        count += (rings[ring + 1] - rings[ring] + _BLOCK - 2) // _BLOCK
    spans, boxes = np.empty((count, 2), np.int64), np.empty((count, 4))
    n = 0
    for ring in range(len(rings) - 1):
        for first in range(rings[ring], rings[ring + 1] - 1, _BLOCK):
            last = min(first + _BLOCK, rings[ring + 1] - 1)
            spans[n, 0], spans[n, 1] = first, last
            boxes[n, 0], boxes[n, 1] = coords[first : last + 1, 0].min(), coords[first : last + 1, 1].min()
            boxes[n, 2], boxes[n, 3] = coords[first : last + 1, 0].max(), coords[first : last + 1, 1].max()
            n += 1
    groups = np.empty(((n + _BLOCK - 1) // _BLOCK, 4))
    for group in range(len(groups)):
        inside = boxes[group * _BLOCK : min((group + 1) * _BLOCK, n)]
        groups[group, 0], groups[group, 1] = inside[:, 0].min(), inside[:, 1].min()
        groups[group, 2], groups[group, 3] = inside[:, 2].max(), inside[:, 3].max()
    return spans[:n], boxes[:n], groups


@njit(cache=True, nogil=True)
def _one_way(a, a_rings, b, b_rings, most, close):
    """The greatest distance of a point of ``a`` from ``b``, or ``most`` where that is greater."""
    spans, boxes, groups = _blocks(b, b_rings)
    worth = max(8 * close, _longest(b, b_rings) / 2)
    stack = np.empty((64, 4))
    near = 0
    for ring in range(len(a_rings) - 1):
        for i in range(a_rings[ring], a_rings[ring + 1] - 1):
            stack[0, 0], stack[0, 1], stack[0, 2], stack[0, 3] = a[i, 0], a[i, 1], a[i + 1, 0], a[i + 1, 1]
            deep = 1
            while deep > 0:
                deep -= 1
                x0, y0, x1, y1 = stack[deep, 0], stack[deep, 1], stack[deep, 2], stack[deep, 3]
                x, y, half = (x0 + x1) / 2, (y0 + y1) / 2, np.hypot(x1 - x0, y1 - y0) / 2
                enough = most + close - half
                if half <= _COARSE * most or half <= worth:  # else it would be halved in any case
                    distance, near, edge = _distance(x, y, b, spans, boxes, groups, near, max(enough, close))
                    if distance <= enough:
                        continue
                    # What is near an edge is convex: between two points of it all are.
                    if max(_from_edge(x0, y0, b, edge), _from_edge(x1, y1, b, edge)) <= (most + close) ** 2:
                        continue
                    most = max(most, distance)
                    if distance + half <= most + close:
                        continue
                if deep + 2 > len(stack):
                    most = max(most, _distance(x, y, b, spans, boxes, groups, near, 0.0)[0] + half)
                    continue
                # the nearer half on top: the other outline runs along, and what is nearest is found at once
                stack[deep, 0], stack[deep, 1], stack[deep, 2], stack[deep, 3] = x, y, x1, y1
                stack[deep + 1, 0], stack[deep + 1, 1], stack[deep + 1, 2], stack[deep + 1, 3] = x0, y0, x, y
                deep += 2
    return most


@njit(cache=True, nogil=True)
def _longest(coords, rings):
    """The length of the longest edge: a stretch that is longer is near no single one."""
    longest = 0.0
    for ring in range(len(rings) - 1):
        for i in range(rings[ring], rings[ring + 1] - 1):
            longest = max(longest, np.hypot(coords[i + 1, 0] - coords[i, 0], coords[i + 1, 1] - coords[i, 1]))
    return longest


@njit(cache=True, nogil=True)
def _from_edge(x, y, b, i):
    """The squared distance of a point from an edge."""
    ax, ay = b[i, 0], b[i, 1]
    ex, ey = b[i + 1, 0] - ax, b[i + 1, 1] - ay
    square = ex * ex + ey * ey
    along = 0.0
    if square > 0:
        along = min(max(((x - ax) * ex + (y - ay) * ey) / square, 0.0), 1.0)
    return (x - ax - along * ex) ** 2 + (y - ay - along * ey) ** 2


@njit(cache=True, nogil=True)
def _off(x, y, box):
    """The squared distance of a point from a box."""
    dx, dy = max(box[0] - x, 0.0, x - box[2]), max(box[1] - y, 0.0, y - box[3])
    return dx * dx + dy * dy


@njit(cache=True, nogil=True)
def _distance(x, y, b, spans, boxes, groups, near, enough):
    """Distance of a point from edges, or any that is small enough; in which run, to begin there; and which edge."""
    limit, best, at, edge = enough * enough, np.inf, near, spans[near, 0]
    for i in range(spans[near, 0], spans[near, 1]):
        far = _from_edge(x, y, b, i)
        if far < best:
            best, edge = far, i
    count = len(groups)
    for k in range(count):
        group = near // _BLOCK + k
        group -= count if group >= count else 0
        if best <= limit:
            break
        if _off(x, y, groups[group]) >= best:
            continue
        for block in range(group * _BLOCK, min((group + 1) * _BLOCK, len(spans))):
            if _off(x, y, boxes[block]) >= best:
                continue
            for i in range(spans[block, 0], spans[block, 1]):
                far = _from_edge(x, y, b, i)
                if far < best:
                    best, at, edge = far, block, i
    return np.sqrt(best), at, edge
