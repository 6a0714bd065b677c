"""Relaxed precision and recall: a pixel counts as right when the other side has one within rho pixels.

Source: V. Mnih, "Machine Learning for Aerial Image Labeling", PhD thesis, University of Toronto 2013.
The published Massachusetts numbers use rho = 3 with chessboard distance (a square of 7 x 7 pixels).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import ArrayLike

from eaves.errors import LabelError, SettingsError

Distance = Literal["euclidean", "chessboard"]
THRESHOLDS = 256


@dataclass(frozen=True, eq=False)
class PrecisionRecall:
    """Counts at the thresholds t = 0 … 255 of one or more score maps; a pixel is predicted where score >= t.

    Counts of scenes add up with ``+``; ratios are taken of the sums.

    Attributes:
        predicted: Predicted pixels, int64 ``(256,)``.
        correct: Those within ``rho_px`` of a reference pixel, int64 ``(256,)``.
        found: Reference pixels within ``rho_px`` of a predicted pixel, int64 ``(256,)``.
        rho_px: The tolerance.
        distance: How it is measured.
    """

    predicted: np.ndarray
    correct: np.ndarray
    found: np.ndarray
    rho_px: float
    distance: Distance

    @property
    def precision(self) -> np.ndarray:
        """float64 ``(256,)``; NaN where nothing is predicted."""
        return _ratios(self.correct, self.predicted)

    @property
    def recall(self) -> np.ndarray:
        """float64 ``(256,)``; NaN where there is no reference pixel."""
        return _ratios(self.found, np.broadcast_to(self.found[0], THRESHOLDS))  # at t = 0 all is predicted

    def __add__(self, other: PrecisionRecall) -> PrecisionRecall:
        if (self.rho_px, self.distance) != (other.rho_px, other.distance):
            raise SettingsError(
                "curves of one tolerance",
                f"{self.rho_px} px {self.distance} and {other.rho_px} px {other.distance}",
                "add only curves with the same rho_px and distance",
            )
        return PrecisionRecall(
            self.predicted + other.predicted,
            self.correct + other.correct,
            self.found + other.found,
            self.rho_px,
            self.distance,
        )


def precision_recall_curve(
    labels: np.ndarray,
    scores: np.ndarray,
    rho_px: float,
    *,
    distance: Distance = "euclidean",
    valid: np.ndarray | None = None,
) -> PrecisionRecall:
    """Count right and wrong pixels at all 256 thresholds of a score map.

    Two dilations and three histograms, whatever the number of thresholds: a predicted pixel is right if it lies in the
    dilated reference, and a reference pixel is found at t if the greatest score within ``rho_px`` reaches t.

    Args:
        labels: The reference, bool ``(h, w)``.
        scores: uint8 ``(h, w)``; every value is a score (mask stored nodata with ``valid``).
        rho_px: Tolerance in pixels, >= 0; 0 gives exact precision and recall.
        distance: ``euclidean`` (a disc) or ``chessboard`` (a square of side 2 rho + 1).
        valid: Pixels that are known, bool ``(h, w)``; others hold neither reference nor prediction. None: all.

    Raises:
        LabelError: Shapes or dtypes are not as above.
        SettingsError: ``rho_px`` or ``distance`` cannot be meant.

    Example:
        >>> labels = np.array([[True, False, False, False]])
        >>> scores = np.array([[0, 200, 0, 0]], dtype=np.uint8)
        >>> curve = precision_recall_curve(labels, scores, 1)
        >>> curve.precision[200], curve.recall[200]
        (np.float64(1.0), np.float64(1.0))
    """
    known = np.ones(labels.shape, dtype=bool) if valid is None else valid
    for name, array, dtype, hint in (
        ("labels", labels, bool, "pass mask == 1, and valid=mask != UNKNOWN"),
        ("scores", scores, np.uint8, "encode them with eaves.exchange.scores.encode"),
        ("valid", known, bool, "pass a bool mask"),
    ):
        if array.dtype != dtype or array.ndim != 2 or array.shape != labels.shape:
            raise LabelError(
                f"{name} as {np.dtype(dtype)} of shape (h, w) on one grid", f"{array.dtype} {array.shape}", hint
            )
    footprint = _footprint(rho_px, distance)
    labels = labels & known
    scores = np.where(known, scores, 0).astype(np.uint8)
    near_reference = cv2.dilate(labels.view(np.uint8), footprint).view(bool)
    best_nearby = cv2.dilate(scores, footprint)
    return PrecisionRecall(
        predicted=_at_least(scores[known]),
        correct=_at_least(scores[known & near_reference]),
        found=_at_least(best_nearby[labels]),
        rho_px=float(rho_px),
        distance=distance,
    )


def relaxed_precision_recall(
    reference: np.ndarray, prediction: np.ndarray, rho_px: float, *, distance: Distance = "euclidean"
) -> tuple[float | None, float | None]:
    """Return relaxed precision and recall of one mask.

    Args:
        reference: bool ``(h, w)``.
        prediction: bool ``(h, w)``.
        rho_px: Tolerance in pixels.
        distance: See ``precision_recall_curve``.

    Returns:
        Precision (None if nothing is predicted) and recall (None if there is no reference).

    Raises:
        LabelError: Shapes differ or a mask is not bool.

    Example:
        >>> relaxed_precision_recall(np.array([[True, False, False]]), np.array([[False, True, True]]), 1)
        (0.5, 1.0)
    """
    if prediction.dtype != bool:
        raise LabelError("a bool prediction", f"dtype {prediction.dtype}", "pass mask == 1")
    curve = precision_recall_curve(reference, prediction.astype(np.uint8), rho_px, distance=distance)
    p, r = float(curve.precision[1]), float(curve.recall[1])
    return None if np.isnan(p) else p, None if np.isnan(r) else r


def break_even(precision: ArrayLike, recall: ArrayLike) -> float | None:
    """Return the value at which precision equals recall, by linear interpolation between thresholds.

    Args:
        precision: At ascending thresholds, ``(n,)``; NaN points are left out.
        recall: At the same thresholds, ``(n,)``.

    Returns:
        The value at the lowest threshold where the curves meet, in [0, 1], or None if they never do.

    Raises:
        LabelError: The curves are not one-dimensional or differ in length.

    Example:
        >>> break_even([0.25, 0.75], [1.0, 0.5])
        0.625
    """
    p, r = np.asarray(precision, dtype=float), np.asarray(recall, dtype=float)
    if p.ndim != 1 or p.shape != r.shape:
        raise LabelError("two curves of one length", f"{p.shape} and {r.shape}", "pass one curve's two columns")
    defined = ~(np.isnan(p) | np.isnan(r))
    p, r = p[defined], r[defined]
    gap = p - r
    if len(gap) and gap[0] == 0:
        return float(p[0])
    crossings = np.flatnonzero(np.sign(gap[:-1]) * np.sign(gap[1:]) <= 0)
    if not len(crossings):
        return None
    i = int(crossings[0])
    weight = gap[i] / (gap[i] - gap[i + 1])
    return float(p[i] + weight * (p[i + 1] - p[i]))


def _footprint(rho_px: float, distance: Distance) -> np.ndarray:
    if distance not in ("euclidean", "chessboard"):
        raise SettingsError("distance euclidean or chessboard", repr(distance), "choose one of the two")
    if not 0 <= rho_px < np.inf:
        raise SettingsError("rho_px >= 0", repr(rho_px), "give a tolerance in pixels")
    reach = int(rho_px)
    offset = np.arange(-reach, reach + 1)
    if distance == "chessboard":
        return np.ones((offset.size, offset.size), dtype=np.uint8)
    return (offset[:, None] ** 2 + offset**2 <= rho_px**2).astype(np.uint8)


def _at_least(scores: np.ndarray) -> np.ndarray:
    """How many scores are >= t, for t = 0 … 255."""
    return np.bincount(scores, minlength=THRESHOLDS)[::-1].cumsum()[::-1]


def _ratios(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(THRESHOLDS, np.nan), where=whole != 0)
