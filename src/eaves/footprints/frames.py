"""Which way a building's walls run: an angle in [0, 90) degrees, along one of two perpendicular directions."""

from __future__ import annotations

import numpy as np
from numba import njit

from eaves.footprints.edges import ACROSS, ALONG, moments
from eaves.footprints.simplify import cut_ring

QUARTER = np.pi / 2
_BINS = 90
_NEAR_BINS = 4  # what lies so near the commonest direction is averaged to the direction
_FINE = 0.4  # of the tolerance: stretches that vote
_SHORT = 1.5  # of the tolerance: shorter ones have hardly a direction


@njit(cache=True, nogil=True)
def main_direction(ring, tolerance):
    """The direction of most walls.

    Stretches of the outline vote with the square of their length, in bins of one degree modulo 90; near the fullest
    ones the angle is their mean on the circle.

    Args:
        ring: Without the closing vertex, float64 ``(n, 2)``.
        tolerance: In units of the plane.

    Returns:
        Angle in radians, 0 up to a quarter turn.
    """
    n = len(ring)
    corners, stack = np.empty(n + 1, np.int64), np.empty((n + 1, 2), np.int64)
    m = cut_ring(ring, _FINE * tolerance, corners, stack)
    sums = moments(ring)
    votes = np.zeros((_BINS, 3))  # weight, and its part of the mean on the circle
    total = 0.0
    for pass_ in range(2):
        for c in range(m):
            a, b = corners[c] % n, corners[c + 1] % n
            b = b if b > a else b + n
            w = sums[b, 0] - sums[a, 0]
            if w <= 0 or (pass_ == 0 and w < _SHORT * tolerance):
                continue
            x, y = (sums[b, 1] - sums[a, 1]) / w, (sums[b, 2] - sums[a, 2]) / w
            xx = sums[b, 3] - sums[a, 3] - w * x * x
            xy = sums[b, 4] - sums[a, 4] - w * x * y
            yy = sums[b, 5] - sums[a, 5] - w * y * y
            angle = 4 * (0.5 * np.arctan2(2 * xy, xx - yy))
            at = int(np.floor((angle / (2 * np.pi)) % 1.0 * _BINS)) % _BINS
            votes[at, 0] += w * w
            votes[at, 1] += w * w * np.cos(angle)
            votes[at, 2] += w * w * np.sin(angle)
            total += w * w
        if total > 0:
            break
    if total <= 0:
        return 0.0
    best, at = -1.0, 0
    for middle in range(_BINS):
        near = 0.0
        for k in range(-_NEAR_BINS, _NEAR_BINS + 1):
            near += votes[(middle + k) % _BINS, 0] * (_NEAR_BINS + 1 - abs(k))
        if near > best:
            best, at = near, middle
    cos = sin = 0.0
    for k in range(-_NEAR_BINS, _NEAR_BINS + 1):
        cos += votes[(at + k) % _BINS, 1]
        sin += votes[(at + k) % _BINS, 2]
    return (np.arctan2(sin, cos) / 4) % QUARTER


@njit(cache=True, nogil=True)
def refined_turn(ring, kinds, starts, count):
    """By how much to turn a frame so that the edges along it and across it leave out least, in radians.

    The scatter of all stretches along and, turned by a quarter, across is one matrix; its main axis is the direction of
    total least squares.
    """
    sums = moments(ring)
    n = len(ring)
    sxx = sxy = syy = 0.0
    for k in range(count):
        if kinds[k] != ALONG and kinds[k] != ACROSS:
            continue
        a, b = starts[k] % n, starts[(k + 1) % count] % n
        b = b if b > a else b + n
        quarter = 0.15 * (sums[b, 0] - sums[a, 0])
        start, end = sums[a, 0] + quarter, sums[b, 0] - quarter  # corners are round, and turn what is between them
        while sums[a, 0] < start:
            a += 1
        while sums[b, 0] > end:
            b -= 1
        w = sums[b, 0] - sums[a, 0] if b > a else 0.0
        if w <= 0:
            continue
        x, y = (sums[b, 1] - sums[a, 1]) / w, (sums[b, 2] - sums[a, 2]) / w
        xx = sums[b, 3] - sums[a, 3] - w * x * x
        xy = sums[b, 4] - sums[a, 4] - w * x * y
        yy = sums[b, 5] - sums[a, 5] - w * y * y
        if kinds[k] == ALONG:
            sxx, sxy, syy = sxx + xx, sxy + xy, syy + yy
        else:
            sxx, sxy, syy = sxx + yy, sxy - xy, syy + xx
    if sxx + syy <= 0:
        return 0.0
    return 0.5 * np.arctan2(2 * sxy, sxx - syy)


@njit(cache=True, nogil=True)
def turn(ring, angle, x0, y0, out):
    """Write a ring as a frame sees it whose x axis lies at an angle, with its origin at (x0, y0)."""
    c, s = np.cos(angle), np.sin(angle)
    for i in range(len(ring)):
        x, y = ring[i, 0] - x0, ring[i, 1] - y0
        out[i, 0], out[i, 1] = c * x + s * y, c * y - s * x


@njit(cache=True, nogil=True)
def turn_back(ring, angle, x0, y0, out):
    """Undo :func:`turn`."""
    c, s = np.cos(angle), np.sin(angle)
    for i in range(len(ring)):
        x, y = ring[i, 0], ring[i, 1]
        out[i, 0], out[i, 1] = x0 + c * x - s * y, y0 + s * x + c * y
