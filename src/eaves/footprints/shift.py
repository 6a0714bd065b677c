"""How far one layer of footprints lies off another of the same place: a vote of the buildings that look alike.

Buildings of like size vote for the offset that brings one onto the other; the houses that did not change vote for the
true one, all others for anything. In a row of equal houses an offset of one house gets nearly as many votes, but not
those of the row's end: whether the best offset truly beats the next is judged on the buildings that agree with one of
the two alone (Q. McNemar, "Note on the Sampling Error of the Difference between Correlated Proportions or
Percentages", Psychometrika 12, 1947).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import shapely
from scipy.spatial import KDTree

from eaves.errors import SettingsError

SURE = 2.0  # in rows of equal houses, two fifths of them changed, wrong shifts stay below 1.5
_LEAST_SHARE = 0.1  # of the buildings that have to agree
_LIKE = 0.1  # sides of the same building differ by less, or by less than the tolerance
_NEAR = 1.5  # tolerances between the centres of the same building in its two drawings
_CANDIDATES = 8
_ROUNDS = 4
_MOST = 1e6  # tolerances in the largest shift
_BLUR, _PEAK = 4, 2  # cells around one whose votes count for it, and among which a peak is the highest
_AT_ONCE = 10_000  # buildings whose neighbours are in memory


class Shift(NamedTuple):
    """How far a new layer lies off an old one.

    Attributes:
        dx: What brings the old layer onto the new, along x.
        dy: Along y.
        agree: Old buildings that find one of their size there.
        of: Those that could: buildings of the smaller layer.
        confidence: By how many standard deviations more buildings agree with it than with the next best; 0 where
            nothing can be told. Wrong ones stay below 1.5.
    """

    dx: float
    dy: float
    agree: int
    of: int
    confidence: float

    @property
    def sure(self) -> bool:
        """Whether it can be trusted: enough buildings agree, and with no other shift nearly as many."""
        return self.confidence >= SURE and self.agree >= _LEAST_SHARE * self.of

    @property
    def length(self) -> float:
        """How far, in the plane's unit."""
        return float(np.hypot(self.dx, self.dy))


def estimate_shift(old: Any, new: Any, *, max_shift: float = 15.0, tolerance: float = 1.0) -> Shift:
    """Estimate the shift between two layers of the same place, most of whose buildings have not changed.

    Args:
        old: Polygons of a metric plane, ``(n,)``; in pixels all lengths are pixels.
        new: The same of another year, ``(m,)``.
        max_shift: Largest shift looked for, in metres.
        tolerance: How far two drawings of the same building may differ, in metres.

    Returns:
        The shift that most buildings agree with. Look at ``sure`` before using it.

    Raises:
        SettingsError: ``max_shift`` is more than a million times ``tolerance``, or one of them is negative.

    Example:
        >>> old = [shapely.box(x, y, x + 6 + y / 20, y + 9) for x in range(0, 200, 11) for y in range(0, 90, 17)]
        >>> found = estimate_shift(old, [shapely.affinity.translate(each, 8, -3) for each in old])
        >>> round(found.dx, 3), round(found.dy, 3), found.agree, found.sure
        (8.0, -3.0, 114, True)
    """
    if not (0 < tolerance < np.inf and 0 <= max_shift <= _MOST * tolerance):
        raise SettingsError(
            "a largest shift of at most a million tolerances",
            f"{max_shift:g} with a tolerance of {tolerance:g}",
            "take a smaller shift, or a larger tolerance",
        )
    offsets, voter = _votes(old, new, max_shift, tolerance)
    few = min(len(old), len(new))
    near = _NEAR * tolerance
    found: list[tuple[int, np.ndarray, np.ndarray]] = []
    for start in _peaks(offsets, max_shift, tolerance):
        at = start
        for _ in range(_ROUNDS):
            close = np.hypot(*(offsets - at).T) < near
            if not close.any():
                break
            at = np.median(offsets[close], axis=0)
        agreeing = np.zeros(len(old), bool)
        agreeing[voter[np.hypot(*(offsets - at).T) < near]] = True
        if np.hypot(*at) <= max_shift:
            found.append((int(agreeing.sum()), at, agreeing))
    if not found:
        return Shift(0.0, 0.0, 0, few, 0.0)
    # Of equals the smaller shift: layers of the same place are nearly right to begin with.
    agree, best, with_best = max(found, key=lambda each: (each[0], -np.hypot(*each[1]), *each[1]))
    confidence = np.inf
    for _, at, with_other in found:
        if np.hypot(*(at - best)) > 2 * near:
            alone, against = int((with_best & ~with_other).sum()), int((with_other & ~with_best).sum())
            confidence = min(confidence, (alone - against) / np.sqrt(max(1, alone + against)))
    confidence = min(confidence, np.sqrt(agree))  # what a rival without a single vote would leave
    return Shift(float(best[0]), float(best[1]), agree, few, float(max(0.0, confidence)))


def _votes(old: Any, new: Any, max_shift: float, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Offsets of all pairs of like size, ``(p, 2)``, and which old building each is of, ``(p,)``."""
    shapes = [np.asarray(each, dtype=object) for each in (old, new)]
    if not all(map(len, shapes)):
        return np.empty((0, 2)), np.empty(0, np.intp)
    centers = [shapely.get_coordinates(shapely.centroid(each)) for each in shapes]
    reach = max_shift + _NEAR * tolerance
    sides, tree = [_sides(each).T for each in shapes], KDTree(centers[1])
    found = []
    for start in range(0, len(centers[0]), _AT_ONCE):
        some = KDTree(centers[0][start : start + _AT_ONCE])
        pairs = some.sparse_distance_matrix(tree, reach, output_type="ndarray")
        i, j = pairs["i"] + start, pairs["j"]
        like = np.ones(len(i), bool)
        for one, other in zip(*sides, strict=True):
            apart = np.abs(one[i] - other[j])
            like &= apart <= np.maximum(tolerance, _LIKE * np.maximum(one[i], other[j]))
        found.append((i[like], j[like]))
    i, j = (np.concatenate(part) for part in zip(*found, strict=True))
    return centers[1][j] - centers[0][i], i


def _sides(shapes: np.ndarray) -> np.ndarray:
    """What a shift leaves as it is, in metres: sides of the box around, and of a square of the same area."""
    bounds = shapely.bounds(shapes)
    return np.column_stack([bounds[:, 2:] - bounds[:, :2], np.sqrt(shapely.area(shapes))])


def _peaks(offsets: np.ndarray, max_shift: float, tolerance: float) -> np.ndarray:
    """Offsets with the most votes around them, and none at all, ``(k, 2)``.

    Only cells with votes are looked at, so that memory grows with the votes and not with the ground that they lie on.
    """
    cell = tolerance / 2
    half = int(np.ceil(max_shift / cell)) + 2
    place = np.rint(offsets / cell).astype(np.int64)
    place = place[(np.abs(place) <= half).all(axis=1)]
    wide = 2 * (half + _BLUR) + 1  # with a rim, so that no neighbour is taken for one in another row
    cells, count = np.unique((place[:, 0] + half + _BLUR) * wide + place[:, 1] + half + _BLUR, return_counts=True)
    near = np.arange(-_BLUR, _BLUR + 1)
    weights = np.exp(-(near**2) / 2)
    weights /= weights.sum()
    votes = np.zeros(len(cells))
    for dx, across in zip(near, weights, strict=True):
        for dy, along in zip(near, weights, strict=True):
            votes += across * along * _looked_up(cells, count, cells + dx * wide + dy)
    top = np.ones(len(cells), bool)
    for dx in range(-_PEAK, _PEAK + 1):
        for dy in range(-_PEAK, _PEAK + 1):
            top &= votes >= _looked_up(cells, votes, cells + dx * wide + dy)
    tops = np.flatnonzero(top)
    tops = tops[np.argsort(-votes[tops], kind="stable")][:_CANDIDATES]
    found = np.column_stack(np.divmod(cells[tops], wide)) - (half + _BLUR)
    return np.concatenate([found * cell, np.zeros((1, 2))])


def _looked_up(cells: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Values of cells, which are in rising order; zero of those that are not among them."""
    if not len(cells):
        return np.zeros(len(wanted))
    at = np.minimum(np.searchsorted(cells, wanted), len(cells) - 1)
    return np.where(cells[at] == wanted, values[at], 0)
