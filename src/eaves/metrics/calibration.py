"""How sure a score is: scores into the share of footprints that turn out right, and how well that holds.

Sources: B. Zadrozny, C. Elkan, "Transforming classifier scores into accurate multiclass probability estimates", 2002,
section 2 (isotonic regression); C. Guo et al., "On calibration of modern neural networks", arXiv:1706.04599, section 2
(reliability, expected calibration error); G. Brier, 1950.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import isotonic_regression

from eaves.errors import LabelError
from eaves.settings import Settings

_FEWEST = 20  # footprints, below which a curve would be noise
_PRIOR = 2.0  # footprints, half of them right, that each step of the curve is mixed with
_FOLDS = 5
_BINS = 10


class Calibration(Settings):
    """A curve from scores to confidences.

    Attributes:
        scores: Where the curve bends, ascending, in [0, 1].
        confidences: What it says there, ascending, in [0, 1]; straight lines between.
        footprints: It was learned from so many.
        right: So many of them were right.
        brier: Mean squared error of the score as a probability, and of the confidence; both of footprints that the
            curve had not seen.
        error: Expected calibration error of both, likewise.
    """

    scores: tuple[float, ...]
    confidences: tuple[float, ...]
    footprints: int
    right: int
    brier: tuple[float, float]
    error: tuple[float, float]

    def apply(self, scores: np.ndarray) -> np.ndarray:
        """Return confidences, float64 in [0, 1].

        Example:
            >>> curve = Calibration(
            ...     scores=(0.5, 1.0), confidences=(0.2, 0.8), footprints=99, right=50, brier=(0.2, 0.1), error=(0.1, 0)
            ... )
            >>> curve.apply(np.array([0.4, 0.75])).round(2).tolist()
            [0.2, 0.5]
        """
        return np.interp(np.asarray(scores, float), self.scores, self.confidences)


class Reliability(NamedTuple):
    """Footprints in bins of what is claimed of them.

    Attributes:
        claimed: Mean claim of each bin that is not empty, float64 ``(bins,)``.
        right: Share of its footprints that are right.
        footprints: Number of its footprints, int64.
    """

    claimed: np.ndarray
    right: np.ndarray
    footprints: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error: how far claims are from what is right, by count."""
        return float(np.average(np.abs(self.claimed - self.right), weights=self.footprints))


def reliability(claims: np.ndarray, right: np.ndarray) -> Reliability:
    """Compare claims with what came true, in ten bins of equal width.

    Args:
        claims: Scores or confidences in [0, 1], float ``(n,)``, at least one.
        right: Whether each footprint was right, bool ``(n,)``.

    Example:
        >>> round(reliability(np.array([0.9, 0.95]), np.array([True, False])).error, 3)
        0.425
    """
    claims, right = np.asarray(claims, float), np.asarray(right, bool)
    bin_ = np.minimum((claims * _BINS).astype(int), _BINS - 1)
    count = np.bincount(bin_, minlength=_BINS)
    full = count > 0
    means = (np.bincount(bin_, values, minlength=_BINS)[full] / count[full] for values in (claims, right))
    return Reliability(*means, count[full])


def calibrate(scores: np.ndarray, right: np.ndarray) -> Calibration:
    """Learn what scores are worth.

    The curve is the best one that never falls (isotonic regression); each of its steps is mixed with two footprints,
    one of them right, so that few never make sure. How good it is is measured on every fifth footprint in turn, with a
    curve learned from the others. The order of the footprints does not matter.

    Args:
        scores: float ``(n,)`` in [0, 1].
        right: Whether each footprint was right, bool ``(n,)``.

    Raises:
        LabelError: There are fewer than 20 footprints, or all are right or wrong; or a score is none.

    Example:
        >>> scores = np.linspace(0, 1, 200)
        >>> curve = calibrate(scores, scores > np.tile([0.3, 0.5, 0.7, 0.9], 50))
        >>> curve.error[1] < curve.error[0]
        True
    """
    scores, right = _checked(scores), np.asarray(right, bool)
    if len(scores) < _FEWEST or right.all() or not right.any():
        raise LabelError(
            f"{_FEWEST} footprints or more, some right and some wrong",
            f"{len(scores)}, {int(right.sum())} of them right",
            "compare a larger area",
        )
    order = np.lexsort((right, scores))  # files are often sorted, and every fifth of them would then be another
    scores, right = scores[order], right[order]
    unseen = np.empty(len(scores))
    fold = np.arange(len(scores)) % _FOLDS
    for number in range(_FOLDS):
        rest = fold != number
        unseen[~rest] = np.interp(scores[~rest], *_curve(scores[rest], right[rest]))
    at, confidences = _curve(scores, right)
    return Calibration(
        scores=tuple(at.round(4).tolist()),
        confidences=tuple(confidences.round(4).tolist()),
        footprints=len(scores),
        right=int(right.sum()),
        brier=(_brier(scores, right), _brier(unseen, right)),
        error=(reliability(scores, right).error, reliability(unseen, right).error),
    )


def _checked(scores: np.ndarray) -> np.ndarray:
    """Scores as numbers."""
    try:
        values = np.asarray(scores, float)
    except (TypeError, ValueError):
        raise LabelError("numbers as scores", "something else", "take the scores that eaves extract gives") from None
    bad = ~((values >= 0) & (values <= 1))
    if bad.any():
        missing = int(np.isnan(values).sum())
        known = values[~np.isnan(values)]
        extent = f", the others from {known.min():g} to {known.max():g}" if len(known) else ""
        raise LabelError(
            "scores from 0 to 1",
            f"{int(bad.sum())} others among {len(values)}, {missing} of them missing{extent}",
            "divide percentages by 100, and leave out footprints without a score",
        )
    return values


def _brier(claims: np.ndarray, right: np.ndarray) -> float:
    return float(np.mean((claims - right) ** 2))


def _curve(scores: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Middles of the steps of isotonic regression, and how high each is."""
    # Equal scores are one place: taken one by one, the regression would climb among them.
    scores, place = np.unique(scores, return_inverse=True)
    counts, sums = np.bincount(place).astype(float), np.bincount(place, right)
    starts = isotonic_regression(sums / counts, weights=counts).blocks[:-1]
    middles = np.add.reduceat(scores * counts, starts)
    counts, sums = np.add.reduceat(counts, starts), np.add.reduceat(sums, starts)
    heights = isotonic_regression((sums + _PRIOR / 2) / (counts + _PRIOR), weights=counts).x
    middles, place = np.unique((middles / counts).round(4), return_inverse=True)
    return middles, np.bincount(place, heights * counts) / np.bincount(place, counts)
