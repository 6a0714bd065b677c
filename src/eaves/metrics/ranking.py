"""Pairs of predictions and references, greedily by confidence; average precision of the ranking.

Source: the COCO benchmark, T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", arXiv:1405.0312, and its
evaluation code: precision made monotone, read at 101 recalls, mean over the IoU thresholds 0.50, 0.55 … 0.95.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from eaves.errors import LabelError

AP_THRESHOLDS: tuple[float, ...] = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""Least IoU of a match, as COCO has them."""

_RECALLS = np.arange(101)  # per cent


def average_precision(scores: Any, hits: Any, references: int) -> np.ndarray | None:
    """Return the area under precision over recall of ranked predictions, as COCO interpolates it.

    Predictions are cut off after the 1st, 2nd … by descending score (equal scores: in the order given). The precision
    at a recall is the best that any cut with at least that recall has, 0 where no cut has it; the result is its mean
    over the recalls 0, 0.01 … 1.

    Args:
        scores: Confidence of each prediction, ``(n,)``.
        hits: Whether each is a match, bool ``(..., n)``; leading axes (IoU thresholds) are worked out apart.
        references: Number of references, in all scenes together.

    Returns:
        float64 ``(...)`` in [0, 1]; None without references, where no recall is defined.

    Raises:
        LabelError: A score is missing or NaN, or there are more matches than references.

    Example:
        >>> average_precision([0.9, 0.8, 0.7], [True, False, True], 2).round(4)
        np.float64(0.835)
    """
    matched = np.asarray(hits, dtype=bool)
    order = np.argsort(rank(scores, matched.shape[-1]))
    if not references:
        return None
    right = matched[..., order].cumsum(axis=-1)  # (..., cuts)
    if right.size and right.max() > references:
        raise LabelError(f"at most {references} matches", f"{right.max()}", "count each reference once")
    precision = right / np.arange(1, len(order) + 1)
    best = np.maximum.accumulate(precision[..., ::-1], axis=-1)[..., ::-1]  # at this cut, or at any after it
    best = np.concatenate([best, np.zeros((*best.shape[:-1], 1))], axis=-1)
    result = np.empty(right.shape[:-1])
    for index in np.ndindex(result.shape):
        # In whole numbers: 7 of 20 reaches a recall of 35 %, which it does not in floats (0.35 < 35 * 0.01).
        result[index] = best[index][np.searchsorted(100 * right[index], _RECALLS * references)].mean()
    return result[()]


def rank(scores: Any, count: int) -> np.ndarray:
    """Return the place of each prediction by descending score, int64 ``(count,)``; without scores, the order given.

    Raises:
        LabelError: The scores are not ``count`` numbers.

    Example:
        >>> rank([0.1, 0.9, 0.1], 3).tolist()
        [1, 0, 2]
    """
    if scores is None:
        return np.arange(count)
    try:
        values = np.asarray(scores, dtype=float)
    except (TypeError, ValueError):
        raise LabelError(f"a score for each of {count} predictions", "no numbers", "pass numbers, or none") from None
    if values.shape != (count,) or np.isnan(values).any():
        raise LabelError(
            f"a score for each of {count} predictions",
            f"shape {values.shape} with {int(np.isnan(values).sum())} NaN",
            "fill the missing scores, or pass none",
        )
    place = np.empty(count, dtype=np.intp)
    place[np.argsort(-values, kind="stable")] = np.arange(count)
    return place


def pair_up(p: np.ndarray, r: np.ndarray, overlap: np.ndarray, place: np.ndarray, iou: float) -> np.ndarray:
    """Choose pairs by the prediction's place, then by descending IoU; a pair holds if both of its sides are free.

    Args:
        p: Prediction of each pair, int64 ``(pairs,)``.
        r: Reference of each pair, int64 ``(pairs,)``.
        overlap: Its IoU, float64 ``(pairs,)``.
        place: Of each prediction, as :func:`rank` gives it.
        iou: Least IoU of a match.

    Returns:
        Positions of the chosen pairs, by the place of their predictions.

    Example:
        >>> pair_up(np.array([0, 1]), np.array([0, 0]), np.array([0.6, 0.9]), np.array([1, 0]), 0.5).tolist()
        [1]
    """
    enough = np.flatnonzero(overlap >= iou)
    # Most have no rival on either side and need no turn-taking.
    lonely = _only_one(p[enough]) & _only_one(r[enough])
    chosen = enough[lonely].tolist()
    rivals = enough[~lonely]
    rivals = rivals[np.lexsort((r[rivals], -overlap[rivals], place[p[rivals]]))]
    taken_p, taken_r = set(), set()
    for at, i, j in zip(rivals.tolist(), p[rivals].tolist(), r[rivals].tolist(), strict=True):
        if i not in taken_p and j not in taken_r:
            taken_p.add(i)
            taken_r.add(j)
            chosen.append(at)
    pairs = np.array(chosen, dtype=np.intp)
    return pairs[np.argsort(place[p[pairs]])]


def _only_one(values: np.ndarray) -> np.ndarray:
    return np.bincount(values)[values] == 1 if len(values) else np.zeros(0, dtype=bool)
