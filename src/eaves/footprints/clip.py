"""Ground that two polygons have in common, in square units: exact, and quick where one of them has few corners."""

from __future__ import annotations

import numpy as np
import shapely
from numba import njit

_FEW = 60  # corners, closing ones among them


def common_areas(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Area of the intersections of pairs of polygons.

    Where ``other`` has few corners, the rings of ``one`` are cut by its edges in turn (Sutherland & Hodgman 1974) if it
    is convex: of a ring that falls into pieces the cuts run along the convex polygon's edges, which adds no area. If it
    is not, it is a sum of triangles between its first corner and its edges, those that run backwards counted as less.
    Else GEOS intersects.

    Args:
        one: Valid shapely Polygons or MultiPolygons, object ``(n,)``.
        other: As many.

    Returns:
        float64 ``(n,)``.

    Example:
        >>> ring = shapely.box(0, 0, 4, 4).difference(shapely.box(1, 1, 3, 3))
        >>> common_areas(np.array([ring]), np.array([shapely.box(2, 2, 6, 6)])).tolist()
        [3.0]
    """
    simple = (shapely.get_type_id(one) == 3) & (shapely.get_type_id(other) == 3)
    simple &= ~shapely.is_empty(one) & ~shapely.is_empty(other) & (shapely.get_num_coordinates(other) <= _FEW)
    areas = np.full(len(one), np.nan)
    if simple.any():
        _, a, (a_rings, a_ends) = shapely.to_ragged_array(shapely.force_2d(one[simple]))
        _, b, (b_rings, b_ends) = shapely.to_ragged_array(shapely.force_2d(shapely.orient_polygons(other[simple])))
        areas[simple] = _clipped(a, a_rings, a_ends, b, b_rings, b_ends)
    left = np.isnan(areas)
    areas[left] = shapely.area(shapely.intersection(one[left], other[left]))
    return areas


@njit(cache=True, nogil=True)
def _clipped(a, a_rings, a_ends, b, b_rings, b_ends):
    areas = np.zeros(len(a_ends) - 1)
    triangle = np.empty((3, 2))
    for k in range(len(areas)):
        for ring in range(b_ends[k], b_ends[k + 1]):
            window = b[b_rings[ring] : b_rings[ring + 1] - 1]
            if ring == b_ends[k] and _convex(window):
                areas[k] += _inside(a, a_rings, a_ends[k], a_ends[k + 1], window)
                continue
            for i in range(1, len(window) - 1):  # holes run backwards, so that theirs are less
                p, q, r = window[0], window[i], window[i + 1]
                twice = (q[0] - p[0]) * (r[1] - p[1]) - (r[0] - p[0]) * (q[1] - p[1])
                if twice == 0:
                    continue
                triangle[0], triangle[1], triangle[2] = p, q if twice > 0 else r, r if twice > 0 else q
                common = _inside(a, a_rings, a_ends[k], a_ends[k + 1], triangle)
                areas[k] += common if twice > 0 else -common
    return np.maximum(areas, 0.0)


@njit(cache=True, nogil=True)
def _inside(a, a_rings, first, last, window):
    """Area of a polygon, an exterior and holes, inside a convex ring."""
    total = 0.0
    for ring in range(first, last):
        inside = _clip(a[a_rings[ring] : a_rings[ring + 1] - 1], window)
        total += inside if ring == first else -inside
    return total


@njit(cache=True, nogil=True)
def _convex(ring):
    """Whether a ring turns left only; straight on counts as left."""
    n = len(ring)
    turns = 0.0
    for i in range(n):
        p, q, r = ring[i - 1], ring[i], ring[(i + 1) % n]
        ux, uy, vx, vy = q[0] - p[0], q[1] - p[1], r[0] - q[0], r[1] - q[1]
        cross, along = ux * vy - uy * vx, ux * vx + uy * vy
        if cross < -1e-9 * (abs(along) + 1e-300):
            return False
        turns += np.arctan2(cross, along)
    return turns < 2 * np.pi + 1e-6


@njit(cache=True, nogil=True)
def _clip(ring, window):
    """Area of a ring inside a convex one."""
    most = 2 * (len(ring) + 2 * len(window)) + 8
    here, there = np.empty((most, 2)), np.empty((most, 2))
    x0, y0 = window[0]
    n = len(ring)
    for i in range(n):
        here[i, 0], here[i, 1] = ring[i, 0] - x0, ring[i, 1] - y0
    for k in range(len(window)):
        ax, ay = window[k, 0] - x0, window[k, 1] - y0
        following = window[(k + 1) % len(window)]
        dx, dy = following[0] - x0 - ax, following[1] - y0 - ay
        m = 0
        if n + n // 2 + 4 > len(there):
            there = np.empty((2 * n + 8, 2))
        for i in range(n):
            px, py = here[i - 1 if i else n - 1]
            qx, qy = here[i]
            p, q = dx * (py - ay) - dy * (px - ax), dx * (qy - ay) - dy * (qx - ax)
            if (p >= 0) != (q >= 0):
                t = p / (p - q)
                there[m, 0], there[m, 1] = px + t * (qx - px), py + t * (qy - py)
                m += 1
            if q >= 0:
                there[m, 0], there[m, 1] = qx, qy
                m += 1
        here, there = there, here
        n = m
        if n == 0:
            return 0.0
    twice = 0.0
    for i in range(n):
        p = i - 1 if i else n - 1
        twice += here[p, 0] * here[i, 1] - here[i, 0] * here[p, 1]
    return abs(twice) / 2
