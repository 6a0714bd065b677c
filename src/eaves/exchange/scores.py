"""Scores as bytes: the one pair that stores P(class) and reads it back."""

from __future__ import annotations

import numpy as np

from eaves.errors import EavesError

LEVELS = 254
"""The level of certainty: ``level = round(score * LEVELS)``."""
NODATA = 255
"""The level of a pixel without imagery."""

_ROUNDING = 1e-4  # how far blending in float32 may leave [0, 1]; a fortieth of a level
_SCORES = np.append(np.arange(NODATA, dtype=np.float32) / np.float32(LEVELS), np.float32(0))


def encode(scores: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Turn scores into levels.

    Args:
        scores: float32 of any shape, P(class) in [0, 1]. Where ``valid`` is false anything is accepted, NaN too.
        valid: bool, broadcastable to ``scores``; where it is false the level is ``NODATA``.

    Returns:
        uint8 in the shape of ``scores``. ``|decode(encode(p)) - p| <= 1 / 255``, and 1.0 stays 1.0.

    Raises:
        EavesError: A valid score is NaN or outside [0, 1].

    Example:
        >>> encode(np.array([0.0, 0.5, 1.0, 0.3], np.float32), np.array([True, True, True, False])).tolist()
        [0, 127, 254, 255]
    """
    scores = np.asarray(scores, dtype=np.float32)
    if not scores.size:
        return np.zeros(scores.shape, np.uint8)
    if not (scores.min() >= -_ROUNDING and scores.max() <= 1 + _ROUNDING):  # NaN is on neither side
        scores = np.where(valid, scores, np.float32(0))
        wrong = ~((scores >= -_ROUNDING) & (scores <= 1 + _ROUNDING))
        if wrong.any():
            raise EavesError(
                "scores between 0 and 1",
                f"{scores[wrong][0]} in one of {int(wrong.sum())} wrong pixels",
                "check the model's weights, and the scaling and nodata value of the scene",
            )
    steps = np.multiply(scores, np.float32(LEVELS))
    np.rint(steps, out=steps)
    levels = steps.astype(np.uint8)
    np.copyto(levels, NODATA, where=~np.asarray(valid, dtype=bool))
    return levels


def decode(levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn levels into scores.

    Args:
        levels: uint8 of any shape.

    Returns:
        ``scores`` float32 in [0, 1], 0 where there is no imagery, and ``valid`` bool, both in the shape of ``levels``.

    Example:
        >>> scores, valid = decode(np.array([0, 254, 255], np.uint8))
        >>> scores.tolist(), valid.tolist()
        ([0.0, 1.0, 0.0], [True, True, False])
    """
    return _SCORES[levels], levels != NODATA


def decode_all(levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn the levels of a map into the scores of every class, with the background's first.

    Args:
        levels: uint8 ``(classes - 1, h, w)``.

    Returns:
        ``scores`` float32 ``(classes, h, w)``, which sum to one where valid and are 0 elsewhere, and ``valid`` bool
        ``(h, w)``. Scores that sum to more than one are scaled down, and the background has none.

    Example:
        >>> scores, valid = decode_all(np.array([[[127, 254, 255]]], np.uint8))
        >>> scores[:, 0].tolist(), valid[0].tolist()
        ([[0.5, 0.0, 0.0], [0.5, 1.0, 0.0]], [True, True, False])
    """
    some, known = decode(levels)
    valid = np.all(known, axis=0)
    total = some.sum(axis=0)
    some /= np.maximum(total, 1)
    rest = np.clip(1 - total, 0, 1)
    return np.concatenate([rest[None], some]) * valid, np.asarray(valid)
