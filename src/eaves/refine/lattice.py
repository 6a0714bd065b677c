"""Gaussian filtering of scattered points in a few dimensions, in a time that grows with their number alone.

Every point is split among the corners of the simplex of a permutohedral lattice that holds it, the corners are blurred
with [1 2 1] / 4 along the lattice's ``d + 1`` directions, and every point reads its corners again with the weights
with which it was split.

Source: Adams, Baek & Davis 2010, "Fast High-Dimensional Filtering Using the Permutohedral Lattice"
(Eurographics).

All coordinates of a lattice point leave the same remainder modulo ``d + 1``, and they sum to zero. A point is
therefore one integer: its remainder, then the quotients of all coordinates but the first as digits of mixed radix. A
step along a direction adds a number that depends on the remainder alone, so that the neighbours of *sorted* points
come sorted: they are found by merging instead of by hashing, and the blur runs through memory from end to end. A hash
table only serves to meet each point once.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from eaves.errors import SettingsError

_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: multiplying by it mixes all bits into the upper


class Lattice:
    """A Gaussian filter among points; built once, applied to any number of values.

    Not normalised, it approximates ``sum_j exp(-|f_i - f_j|^2 / 2) v_j``, where the points are dense; corners that no
    point touches carry nothing on, so that between sparse points less arrives. Normalised, the matrix ``K`` of that
    sum becomes ``N K N`` with ``N = diag(K 1)^-1/2`` (Kraehenbuehl's symmetric normalisation), which mends most of it.
    As the corners are blurred along one direction after the other, and some are missing, ``K`` is not quite
    symmetric: on 32 x 32 noisy pixels in five dimensions, ``|K - K'|`` summed to 3 to 13 % of ``K`` (normalised).

    Memory: ``8 (d + 1)`` bytes a point and ``4 (d + 1)`` a corner stay (48 and 24 for ``d = 5``); while it is built
    some 40 a corner more, and while it filters 8 a corner more. Corners are at most ``d + 1`` a point.

    Args:
        features: float32 ``(n, d)``, places of the points in standard deviations of the filter. Put image coordinates
            last: the corners are sorted by the last feature first, and neighbouring pixels then find theirs together.
        normalise: Whether to normalise.

    Attributes:
        corners: How many lattice points are in use.

    Raises:
        SettingsError: The features are not a table of finite numbers, or too far apart for corners of 62 bits.

    Example:
        Two points far from each other do not hear of one another; two in the same place share.

        >>> lattice = Lattice(np.array([[0.0], [0.0], [50.0]], np.float32))
        >>> lattice.filter(np.array([[1.0], [0.0], [3.0]], np.float32)).round(3).tolist()
        [[0.5], [0.5], [3.0]]
    """

    def __init__(self, features: np.ndarray, *, normalise: bool = True) -> None:
        features = np.ascontiguousarray(features, np.float32)
        if features.ndim != 2 or not features.shape[1]:
            raise SettingsError("features of shape (n, d)", f"shape {features.shape}", "give one row a point")
        n, d = features.shape
        # The blurs and the splitting together are as wide as a Gaussian of this many lattice units (Adams et al.).
        scales = math.sqrt(2 / 3) * (d + 1) / np.sqrt(np.arange(1.0, d + 1) * np.arange(2.0, d + 2))
        least, strides, span = _digits(features, scales)
        self._corners, self._weights, codes = _embed(features, scales, least, strides, span)
        order = np.argsort(codes)
        place = np.empty(len(codes), np.int32)
        place[order] = np.arange(len(codes), dtype=np.int32)
        _renumber(self._corners, place)
        codes = codes[order]
        begin = np.searchsorted(codes, span * np.arange(d + 2))
        begin[-1] = len(codes)
        self._next = _neighbours(codes, strides, span, begin)
        self.corners = len(codes)
        # (2 pi)^(d/2) over the volume of a lattice cell: a unit impulse then comes to about one where it stands.
        self._weights *= np.float32(math.sqrt(math.sqrt(d + 1) * (4 * math.pi / 3) ** (d / 2)))
        if normalise and n:
            mass = self.filter(np.ones((n, 1), np.float32))
            self._weights /= np.sqrt(np.maximum(mass, np.finfo(np.float32).tiny))

    def filter(self, values: np.ndarray) -> np.ndarray:
        """Filter values at the points.

        Args:
            values: float32 ``(n, k)``.

        Returns:
            float32 ``(n, k)``, new.

        Raises:
            SettingsError: There is not one row a point.
        """
        if values.ndim != 2 or len(values) != len(self._corners):
            raise SettingsError(
                f"values of shape ({len(self._corners)}, k)", f"shape {values.shape}", "give one row a point"
            )
        out = np.empty(values.shape, np.float32)
        for column in range(values.shape[1]):  # one at a time: corners of one column stay in the cache
            at_corners = np.zeros(self.corners + 1, np.float32)  # the last stands for all that are missing
            _splat(self._corners, self._weights, np.ascontiguousarray(values[:, column], np.float32), at_corners)
            at_corners = _blur(at_corners, self._next)
            out[:, column] = _slice(self._corners, self._weights, at_corners)
        return out


def _digits(features: np.ndarray, scales: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Return each digit's least value and place value, and the number of codes of a remainder.

    The first coordinate has no digit: place value 0.
    """
    d = features.shape[1]
    least, strides = np.zeros(d + 1, np.int64), np.zeros(d + 1, np.int64)
    low, high = np.zeros(d), np.zeros(d)
    if len(features):
        low, high = features.min(0) * scales, features.max(0) * scales
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise SettingsError("finite features", "NaN or infinity among them", "leave out what is not valid")
    span = 1
    for j in range(1, d + 1):
        bottom = math.floor((low[j:].sum() - j * high[j - 1]) / (d + 1)) - 3  # rounding, corner and neighbour: 1 each
        top = math.ceil((high[j:].sum() - j * low[j - 1]) / (d + 1)) + 3
        if span * (top - bottom + 1) * (d + 1) >= 2**62:
            raise SettingsError(
                "features whose lattice has less than 2^62 points",
                f"features from {features.min(0).tolist()} to {features.max(0).tolist()} standard deviations",
                "filter with larger standard deviations, or a smaller window",
            )
        least[j], strides[j] = bottom, span
        span *= top - bottom + 1
    return least, strides, span


@njit(cache=True, nogil=True)
def _embed(features, scales, least, strides, span):
    """Return the points' corners ``(n, d + 1)``, numbered as they are met, their weights and the corners' codes."""
    n, d = features.shape
    corners, weights = np.empty((n, d + 1), np.int32), np.empty((n, d + 1), np.float32)
    elevated, base, rank = np.empty(d + 1), np.empty(d + 1, np.int64), np.empty(d + 1, np.int64)
    share, at_rank = np.empty(d + 2), np.empty(d + 1, np.int64)
    bits = 12
    slots, codes, count = np.full(1 << bits, -1, np.int32), np.empty(1 << (bits - 1), np.int64), 0
    for point in range(n):
        sums = 0.0
        for j in range(d, 0, -1):
            scaled = features[point, j - 1] * scales[j - 1]
            elevated[j] = sums - j * scaled
            sums += scaled
        elevated[0] = sums
        _simplex(elevated, base, rank, share)
        code = 0
        for i in range(d + 1):
            code += (base[i] - least[i]) * strides[i]
            at_rank[rank[i]] = i
        for k in range(d + 1):
            slot = _slot(code, slots, codes, bits)
            if slots[slot] < 0:
                if count == len(codes):  # half of the slots are taken
                    bits += 1
                    slots = np.full(1 << bits, -1, np.int32)
                    for old in range(count):
                        slots[_slot(codes[old], slots, codes, bits)] = old
                    codes = np.concatenate((codes, np.empty_like(codes)))
                    slot = _slot(code, slots, codes, bits)
                slots[slot], codes[count] = count, code
                count += 1
            corners[point, k], weights[point, k] = slots[slot], share[k]
            code += span - strides[at_rank[d - k]]
    return corners, weights, codes[:count].copy()


@njit(cache=True, nogil=True)
def _simplex(elevated, base, rank, share):
    """Find the simplex that holds a place (Adams et al.); fills all but the first.

    Args:
        elevated: The place in the lattice's hyperplane, ``(d + 1,)``.
        base: The simplex's corner of remainder 0, in units of ``d + 1``.
        rank: Order of the coordinates' differences to it, from the largest.
        share: The place's barycentric weights, ``(d + 2,)``; the last is scratch.
    """
    d = len(elevated) - 1
    total = 0
    for i in range(d + 1):
        base[i] = np.int64(np.floor(elevated[i] / (d + 1) + 0.5))
        total += base[i]
        rank[i] = 0
    for i in range(d):
        for j in range(i + 1, d + 1):
            if elevated[i] - base[i] * (d + 1) < elevated[j] - base[j] * (d + 1):
                rank[i] += 1
            else:
                rank[j] += 1
    for i in range(d + 1):  # rounding may have left the plane of sum zero
        rank[i] += total
        if rank[i] > d:
            rank[i] -= d + 1
            base[i] -= 1
        elif rank[i] < 0:
            rank[i] += d + 1
            base[i] += 1
    share[:] = 0
    for i in range(d + 1):
        part = (elevated[i] - base[i] * (d + 1)) / (d + 1)
        share[d - rank[i]] += part
        share[d + 1 - rank[i]] -= part
    share[0] += 1 + share[d + 1]


@njit(cache=True, nogil=True)
def _slot(code, slots, codes, bits):
    """Where a code is in the table, or would be."""
    slot = np.int64((np.uint64(code) * _SPREAD) >> np.uint64(64 - bits))
    while slots[slot] >= 0 and codes[slots[slot]] != code:
        slot = (slot + 1) & (len(slots) - 1)
    return slot


@njit(cache=True, nogil=True)
def _renumber(corners, place):
    for point in range(len(corners)):
        for k in range(corners.shape[1]):
            corners[point, k] = place[corners[point, k]]


@njit(cache=True, nogil=True)
def _neighbours(codes, strides, span, begin):
    """Return each corner's next along each direction, int32 ``(d + 1, corners)``; the number of corners if missing."""
    d, m = len(strides) - 1, len(codes)
    out = np.empty((d + 1, m), np.int32)
    for j in range(d + 1):
        for r in range(d + 1):
            if r < d:
                step, to, end = span - strides[j], begin[r + 1], begin[r + 2]
            else:
                step, to, end = strides.sum() - strides[j] - d * span, begin[0], begin[1]
            for i in range(begin[r], begin[r + 1]):
                wanted = codes[i] + step
                while to < end and codes[to] < wanted:
                    to += 1
                out[j, i] = to if to < end and codes[to] == wanted else m
    return out


@njit(cache=True, nogil=True)
def _splat(corners, weights, values, out):
    for point in range(len(corners)):
        for k in range(corners.shape[1]):
            out[corners[point, k]] += weights[point, k] * values[point]


@njit(cache=True, nogil=True)
def _blur(values, following):
    m = len(values) - 1
    half, quarter = np.float32(0.5), np.float32(0.25)
    out = np.empty_like(values)
    for j in range(len(following)):
        values[m] = 0
        for i in range(m):
            out[i] = half * values[i]
        for i in range(m):
            to = following[j, i]
            out[i] += quarter * values[to]
            out[to] += quarter * values[i]
        values, out = out, values
    return values


@njit(cache=True, nogil=True)
def _slice(corners, weights, values):
    out = np.empty(len(corners), np.float32)
    for point in range(len(corners)):
        total = np.float32(0)
        for k in range(corners.shape[1]):
            total += weights[point, k] * values[corners[point, k]]
        out[point] = total
    return out
