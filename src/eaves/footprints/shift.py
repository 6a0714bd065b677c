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
from scipy.ndimage import gaussian_filter, maximum_filter
from scipy.spatial import KDTree

SURE = 2.0  # in rows of equal houses, two fifths of them changed, wrong shifts stay below 1.5
_LEAST_SHARE = 0.1  # of the buildings that have to agree
_LIKE = 0.1  # sides of the same building differ by less, or by less than the tolerance
_NEAR = 1.5  # tolerances between the centres of the same building in its two drawings
_CANDIDATES = 8
_ROUNDS = 4


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

    Example:
        >>> old = [shapely.box(x, y, x + 6 + y / 20, y + 9) for x in range(0, 200, 11) for y in range(0, 90, 17)]
        >>> found = estimate_shift(old, [shapely.affinity.translate(each, 8, -3) for each in old])
        >>> round(found.dx, 3), round(found.dy, 3), found.agree, found.sure
        (8.0, -3.0, 114, True)
    """
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
    pairs = KDTree(centers[0]).sparse_distance_matrix(KDTree(centers[1]), reach, output_type="ndarray")
    i, j = pairs["i"], pairs["j"]
    like = np.ones(len(i), bool)
    for one, other in zip(*(_sides(each).T for each in shapes), strict=True):
        apart = np.abs(one[i] - other[j])
        like &= apart <= np.maximum(tolerance, _LIKE * np.maximum(one[i], other[j]))
    i, j = i[like], j[like]
    return centers[1][j] - centers[0][i], i


def _sides(shapes: np.ndarray) -> np.ndarray:
    """What a shift leaves as it is, in metres: sides of the box around, and of a square of the same area."""
    bounds = shapely.bounds(shapes)
    return np.column_stack([bounds[:, 2:] - bounds[:, :2], np.sqrt(shapely.area(shapes))])


def _peaks(offsets: np.ndarray, max_shift: float, tolerance: float) -> np.ndarray:
    """Offsets with the most votes around them, and none at all, ``(k, 2)``."""
    cell = tolerance / 2
    half = int(np.ceil(max_shift / cell)) + 2
    place = np.rint(offsets / cell).astype(int) + half
    inside = ((place >= 0) & (place <= 2 * half)).all(axis=1)
    votes = np.zeros((2 * half + 1, 2 * half + 1))
    np.add.at(votes, tuple(place[inside].T), 1)
    votes = gaussian_filter(votes, 1.0, mode="constant")
    tops = np.argwhere((votes == maximum_filter(votes, size=5)) & (votes > 0))
    tops = tops[np.argsort(-votes[tuple(tops.T)], kind="stable")][:_CANDIDATES]
    return np.concatenate([(tops - half) * cell, np.zeros((1, 2))])
