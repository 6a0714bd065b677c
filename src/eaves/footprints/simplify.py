"""Fewer corners, better placed: cut a traced outline into stretches, fit a line to each, let the lines meet."""

from __future__ import annotations

import numpy as np
import shapely
from numba import njit

# An outline of more vertices is cut here at the latest, which bounds the time on outlines that no building has.
_LONGEST_STRETCH = 4096
# GEOS' topology-preserving simplification takes time with the square of the vertices; past this the trace is kept.
_MOST_VERTICES = 10_000
# A ring whose area would change more than this (as a share) is too small for the tolerance.
_AREA_CHANGE = 0.2


def simplify(polygons: np.ndarray, tolerance_px: float = 1.0) -> np.ndarray:
    """Replace dense outlines by few corners.

    Every ring is cut by Douglas & Peucker (1973) into stretches that stay within ``tolerance_px`` of their chord.
    A line is fitted to each stretch by least squares (without the pixel next to either corner, which blur has rounded),
    and corners are where neighbouring lines meet, unless that is farther than ``2 * tolerance_px`` from the corner that
    Douglas & Peucker chose. Their polygon alone cuts every rounded corner; this gives corners back, and the area lost.
    A ring that is too small for the tolerance (its area would change by a fifth) gets a half, a quarter or none of it;
    a polygon whose fitted outlines would cross takes its corners from the traced vertices. Each polygon is treated
    alone: neighbours closer than the tolerance may come to overlap by a sliver.

    Args:
        polygons: Valid shapely Polygons with about one vertex a pixel, as ``trace`` gives them, object ``(n,)``.
        tolerance_px: In units of the coordinates, at least 0; 0 returns the polygons as they are.

    Returns:
        As many polygons in the same order, object ``(n,)``, valid.

    Example:
        >>> round_cornered = shapely.box(0, 0, 20, 10).buffer(-1).buffer(1)
        >>> dense = shapely.segmentize(np.array([round_cornered]), 1.0)
        >>> int(shapely.get_num_coordinates(simplify(dense)[0])) - 1
        4
    """
    if tolerance_px <= 0 or not len(polygons):
        return polygons
    _, coords, (ring_ends, polygon_ends) = shapely.to_ragged_array(polygons)
    fitted, fitted_ends = np.empty_like(coords), np.zeros_like(ring_ends)
    count = _fit_rings(coords, ring_ends, float(tolerance_px), fitted, fitted_ends)
    result = shapely.from_ragged_array(shapely.GeometryType.POLYGON, fitted[:count], (fitted_ends, polygon_ends))
    bad = ~shapely.is_valid(result)
    if bad.any():
        usual = bad & (shapely.get_num_coordinates(polygons) <= _MOST_VERTICES)
        chosen = shapely.simplify(polygons[usual], tolerance_px)
        result[bad] = polygons[bad]
        result[usual] = np.where(shapely.is_valid(chosen), chosen, polygons[usual])
    return result


@njit(cache=True, nogil=True)
def _fit_rings(coords, ring_ends, tolerance, out, out_ends):
    """Write the simplified rings to ``out`` and their ends to ``out_ends``; return the number of coordinates."""
    longest = 0
    for ring in range(len(ring_ends) - 1):
        longest = max(longest, ring_ends[ring + 1] - ring_ends[ring])
    corners, stack = np.empty(longest + 1, np.int64), np.empty((longest + 1, 2), np.int64)
    n = 0
    for ring in range(len(ring_ends) - 1):
        n += _fit_ring(coords[ring_ends[ring] : ring_ends[ring + 1]], tolerance, corners, stack, out[n:])
        out_ends[ring + 1] = n
    return n


@njit(cache=True, nogil=True)
def _fit_ring(ring, tolerance, corners, stack, out):
    xy, area = ring[:-1], _area(ring)
    for step in (tolerance, tolerance / 2, tolerance / 4):
        count = cut_ring(xy, step, corners, stack)
        if count >= 3:
            fitted = out[: count + 1]
            _meet_lines(xy, corners, count, step, fitted)
            if abs(_area(fitted) - area) <= _AREA_CHANGE * abs(area):
                return count + 1
    out[: len(ring)] = ring
    return len(ring)


@njit(cache=True, nogil=True)
def _area(ring):
    twice, x0, y0 = 0.0, ring[0, 0], ring[0, 1]
    for i in range(1, len(ring) - 1):
        twice += (ring[i, 0] - x0) * (ring[i + 1, 1] - y0) - (ring[i + 1, 0] - x0) * (ring[i, 1] - y0)
    return twice / 2


@njit(cache=True, nogil=True)
def _farthest(xy, x, y):
    best, at = -1.0, 0
    for i in range(len(xy)):
        distance = (xy[i, 0] - x) ** 2 + (xy[i, 1] - y) ** 2
        if distance > best:
            best, at = distance, i
    return at


@njit(cache=True, nogil=True)
def cut_ring(xy, tolerance, corners, stack):
    """Fill ``corners`` with ascending vertex numbers (the first again at the end, a round later); return how many."""
    n = len(xy)
    # two ends that are surely corners: the vertex farthest from the first, and the one farthest from that
    first = _farthest(xy, xy[0, 0], xy[0, 1])
    second = _farthest(xy, xy[first, 0], xy[first, 1])
    second = second if second > first else second + n
    corners[0] = first
    count, deep = 1, 2
    stack[0, 0], stack[0, 1] = second, first + n
    stack[1, 0], stack[1, 1] = first, second
    while deep > 0:  # the earlier stretch is always on top, so that corners come in order
        deep -= 1
        a, b = stack[deep, 0], stack[deep, 1]
        split = a + (b - a) // 2 if b - a > _LONGEST_STRETCH else _split(xy, a, b, tolerance)
        if split < 0:
            corners[count] = b
            count += 1
        else:
            stack[deep, 0], stack[deep, 1] = split, b
            stack[deep + 1, 0], stack[deep + 1, 1] = a, split
            deep += 2
    return count - 1


@njit(cache=True, nogil=True)
def _split(xy, a, b, tolerance):
    """Return the vertex between a and b that is farthest from the chord, or -1 where none is beyond the tolerance."""
    n = len(xy)
    x0, y0 = xy[a % n, 0], xy[a % n, 1]
    dx, dy = xy[b % n, 0] - x0, xy[b % n, 1] - y0
    square = dx * dx + dy * dy
    best, at = tolerance * tolerance, -1
    for i in range(a + 1, b):
        x, y = xy[i % n, 0] - x0, xy[i % n, 1] - y0
        along = min(max((x * dx + y * dy) / square, 0.0), 1.0) if square > 0 else 0.0
        distance = (x - along * dx) ** 2 + (y - along * dy) ** 2
        if distance > best:
            best, at = distance, i
    return at


@njit(cache=True, nogil=True)
def _fit_line(xy, a, b, margin, line):
    """Fit a line to the stretch from a to b, weighted by length, leaving out ``margin`` at both ends: x, y, dx, dy."""
    n = len(xy)
    x0, y0 = xy[a % n, 0], xy[a % n, 1]
    dx, dy = xy[b % n, 0] - x0, xy[b % n, 1] - y0
    length = np.hypot(dx, dy)
    line[0], line[1], line[2], line[3] = x0 + dx / 2, y0 + dy / 2, dx, dy
    if length < 3 * margin:
        return
    weight = sx = sy = sxx = sxy = syy = 0.0
    for i in range(a, b):
        ax, ay = xy[i % n, 0] - x0, xy[i % n, 1] - y0
        bx, by = xy[(i + 1) % n, 0] - x0, xy[(i + 1) % n, 1] - y0
        x, y, w = (ax + bx) / 2, (ay + by) / 2, np.hypot(bx - ax, by - ay)
        if margin <= (x * dx + y * dy) / length <= length - margin:
            weight += w
            sx += w * x
            sy += w * y
            sxx += w * x * x
            sxy += w * x * y
            syy += w * y * y
    if weight < margin:
        return
    x, y = sx / weight, sy / weight
    angle = 0.5 * np.arctan2(2 * (sxy / weight - x * y), (sxx - syy) / weight - x * x + y * y)
    line[0], line[1], line[2], line[3] = x0 + x, y0 + y, np.cos(angle), np.sin(angle)


@njit(cache=True, nogil=True)
def _meet_lines(xy, corners, count, tolerance, out):
    """Fill ``out`` with the corners of the fitted lines, the first again at the end."""
    line, before = np.empty(4), np.empty(4)
    _fit_line(xy, corners[count - 1], corners[count], tolerance, before)
    for i in range(count):
        _fit_line(xy, corners[i], corners[i + 1], tolerance, line)
        corner = xy[corners[i] % len(xy)]
        out[i, 0], out[i, 1] = _meet(before, line, corner[0], corner[1], 2 * tolerance)
        before[:] = line
    out[count, 0], out[count, 1] = out[0, 0], out[0, 1]


@njit(cache=True, nogil=True)
def _meet(p, q, x, y, reach):
    """Return where two lines meet if that is within ``reach`` of (x, y), else (x, y)."""
    cross = p[2] * q[3] - p[3] * q[2]
    if cross == 0:
        return x, y
    along = ((q[0] - p[0]) * q[3] - (q[1] - p[1]) * q[2]) / cross
    at_x, at_y = p[0] + along * p[2], p[1] + along * p[3]
    if np.hypot(at_x - x, at_y - y) <= reach:
        return at_x, at_y
    return x, y
