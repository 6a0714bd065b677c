"""Pixels: the confusion matrix, and every measure that follows from it alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from eaves.errors import LabelError
from eaves.labels import UNKNOWN
from eaves.settings import Settings

_BLOCK_PX = 1 << 18  # a block and its codes stay in the processor's cache
_VALUES = 256  # of a uint8


def confusion(
    reference: np.ndarray, prediction: np.ndarray, classes: int, *, ignore: int | None = UNKNOWN
) -> np.ndarray:
    """Count which class was taken for which.

    Matrices of blocks, tiles or scenes add up to the matrix of the whole, so a large raster streams through.

    Args:
        reference: Class indices, bool or integer, ``(h, w)``; a memory map is read by blocks.
        prediction: Class indices on the same grid, ``(h, w)``.
        classes: Number of classes; indices are 0 … ``classes - 1``.
        ignore: Index that means "not known": pixels that have it on either side are not counted. None counts all.

    Returns:
        int64, ``(classes, classes)``; rows are reference, columns prediction. Its sum is the number of counted pixels.

    Raises:
        LabelError: The shapes differ, a mask has a channel axis (counting a grey RGB mask three times looks like
            three times the area), a mask is not of whole numbers, or an index is neither a class nor ``ignore``.

    Example:
        >>> confusion(np.array([[0, 1, 1]]), np.array([[0, 0, 1]]), 2).tolist()
        [[1, 0], [1, 1]]
    """
    for side, mask in (("reference", reference), ("prediction", prediction)):
        if mask.ndim != 2:
            raise LabelError(
                f"a {side} mask of shape (h, w)",
                f"shape {mask.shape}",
                "take one band of class indices (an RGB class raster goes through eaves.labels.remap_colors)",
                because="every channel would be counted as pixels of its own",
            )
        if mask.dtype.kind not in "bui":
            raise LabelError(f"a {side} mask of class indices", f"dtype {mask.dtype}", "apply a threshold to scores")
    if reference.shape != prediction.shape:
        raise LabelError(
            "reference and prediction on one grid", f"{reference.shape} and {prediction.shape}", "resample one of them"
        )
    height, width = reference.shape
    rows = max(1, _BLOCK_PX // max(width, 1))
    # Counted over all uint8 pairs, so that nothing can fall out: what is no class shows up beside the classes.
    pairs = np.zeros((_VALUES, _VALUES), dtype=np.int64)
    for row in range(0, height, rows):
        codes = _bytes(reference[row : row + rows]) * _VALUES + _bytes(prediction[row : row + rows])
        pairs += np.bincount(codes.ravel(), minlength=_VALUES * _VALUES).reshape(_VALUES, _VALUES)
    known = np.ones(_VALUES, dtype=bool)
    if ignore is not None:
        known[ignore] = False
    pairs[~known] = pairs[:, ~known] = 0
    matrix = pairs[:classes, :classes].copy()
    if lost := int(pairs.sum() - matrix.sum()):
        seen = np.flatnonzero(pairs.any(axis=0) | pairs.any(axis=1))
        strange = seen[seen >= classes].tolist()
        raise LabelError(
            f"class indices below {classes}" + ("" if ignore is None else f", or {ignore}"),
            f"{lost} pixels with indices {strange}",
            "map the raster's values to classes first, or give the right number of classes",
        )
    return matrix


def _bytes(block: np.ndarray) -> np.ndarray:
    codes = np.asarray(block).astype(np.intp)
    if codes.size and not 0 <= codes.min() <= codes.max() < _VALUES:
        raise LabelError(
            "class indices from 0 to 255", f"values from {codes.min()} to {codes.max()}", "map them to classes first"
        )
    return codes


# --- measures of one matrix; each is None where its denominator is zero ----------------------------------------------


def accuracy(matrix: np.ndarray) -> float | None:
    """Share of the pixels that are right. High wherever background abounds: read it beside ``iou``."""
    return _ratio(matrix.trace(), matrix.sum())


def precision(matrix: np.ndarray) -> float | None:
    """Of what was predicted, the share that is right; mean over the classes but the first."""
    return _mean(_class_precision(matrix)[1:])


def recall(matrix: np.ndarray) -> float | None:
    """Of what is there, the share that was found; mean over the classes but the first."""
    return _mean(_class_recall(matrix)[1:])


def f1(matrix: np.ndarray) -> float | None:
    """Harmonic mean of precision and recall, ``2 TP / (2 TP + FP + FN)``; mean over the classes but the first."""
    return _mean(_class_f1(matrix)[1:])


def iou(matrix: np.ndarray) -> float | None:
    """Intersection over union, ``TP / (TP + FP + FN)``; mean over the classes but the first."""
    return _mean(_class_iou(matrix)[1:])


def miou(matrix: np.ndarray) -> float | None:
    """Intersection over union, mean over all classes with the background."""
    return _mean(_class_iou(matrix))


def kappa(matrix: np.ndarray) -> float | None:
    """Cohen's kappa: agreement beyond what the two sides' class shares would give by chance (Cohen 1960)."""
    total = float(matrix.sum())
    if not total:
        return None
    shares = matrix / total
    chance = float(shares.sum(axis=0) @ shares.sum(axis=1))
    return _ratio(float(shares.trace()) - chance, 1 - chance)


METRICS: dict[str, Callable[[np.ndarray], float | None]] = {
    "accuracy": accuracy,
    "precision": precision,
    "recall": recall,
    "f1": f1,
    "iou": iou,
    "miou": miou,
    "kappa": kappa,
}
"""Name → function of a confusion matrix; a name is also a field of ``PixelReport``."""


# --- report -----------------------------------------------------------------------------------------------------------


class ClassScores(Settings):
    """One class against all others. A ratio is None (``null`` in JSON) where nothing defines it.

    Attributes:
        precision: None where nothing was predicted as this class.
        recall: None where the reference has none of it.
        f1: None where neither side has it.
        iou: None where neither side has it.
        reference_px: Pixels of it in the reference.
        predicted_px: Pixels of it in the prediction.
        boundary_iou: Of its boundaries, see ``eaves.metrics.boundary_iou``; None where neither side has any, or where
            it was not measured.
    """

    precision: float | None
    recall: float | None
    f1: float | None
    iou: float | None
    reference_px: int
    predicted_px: int
    boundary_iou: float | None = None


class PixelReport(Settings):
    """What a confusion matrix says; goes into ``metrics.json`` as it is.

    ``precision``, ``recall``, ``f1`` and ``iou`` are means over the classes but the first, which with two classes
    are the foreground's own. A class for which a measure is undefined is left out of its mean; where no class is
    left the measure is None.

    Attributes:
        accuracy: See ``eaves.metrics.accuracy``; so for the following.
        pixels: Number of counted pixels, one per pixel of the grid that is known on both sides.
        classes: Names; the first is the background.
        confusion: Pixels; rows are reference, columns prediction.
        per_class: One entry a class.
        boundary_iou: Mean over the classes but the first; None where nothing defines it, or where it was not measured.
        boundary_px: How far a boundary reaches inside, in pixels; None where boundaries were not measured.
    """

    accuracy: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    iou: float | None
    miou: float | None
    kappa: float | None
    pixels: int
    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    per_class: dict[str, ClassScores]
    boundary_iou: float | None = None
    boundary_px: int | None = None


def pixel_report(
    matrix: ArrayLike, classes: Sequence[str], boundaries: ArrayLike | None = None, boundary_px: int | None = None
) -> PixelReport:
    """Work out every pixel measure.

    Args:
        matrix: From ``confusion``, or a sum of such, ``(k, k)``; rows are reference, columns prediction.
        classes: The ``k`` names; the first is the background.
        boundaries: From ``BoundaryTally``, or a sum of such, ``(k, 2)``; none where boundaries were not measured.
        boundary_px: How far these reach inside, in pixels.

    Raises:
        LabelError: The matrix is not square, not of counts, or does not fit the names; or boundaries do not.

    Example:
        >>> report = pixel_report([[6, 1], [1, 2]], ("background", "building"))
        >>> report.iou, report.per_class["background"].iou, report.accuracy
        (0.5, 0.75, 0.8)
    """
    counts = np.asarray(matrix)
    k = len(classes)
    if counts.shape != (k, k) or counts.dtype.kind not in "ui" or (counts < 0).any() or len(set(classes)) < k:
        raise LabelError(
            f"a ({k}, {k}) matrix of counts for classes {list(classes)}, each named once",
            f"{counts.dtype} {counts.shape}",
            "give one name per class, in the order of the indices",
        )
    rims = np.zeros((k, 2), np.int64) if boundaries is None else np.asarray(boundaries)
    if rims.shape != (k, 2) or (boundaries is None) != (boundary_px is None):
        raise LabelError(
            f"({k}, 2) boundary counts with their reach in pixels, or neither",
            f"{rims.shape} with {boundary_px}",
            "pass what BoundaryTally gives, and its d_px",
        )
    columns = (_class_precision(counts), _class_recall(counts), _class_f1(counts), _class_iou(counts))
    rim_ious = _ratios(rims[:, 0], rims[:, 1])
    per_class = {
        name: ClassScores(
            precision=_number(columns[0][i]),
            recall=_number(columns[1][i]),
            f1=_number(columns[2][i]),
            iou=_number(columns[3][i]),
            reference_px=int(counts[i].sum()),
            predicted_px=int(counts[:, i].sum()),
            boundary_iou=_number(rim_ious[i]),
        )
        for i, name in enumerate(classes)
    }
    return PixelReport(
        **{name: measure(counts) for name, measure in METRICS.items()},
        pixels=int(counts.sum()),
        classes=tuple(classes),
        confusion=tuple(tuple(row) for row in counts.tolist()),
        per_class=per_class,
        boundary_iou=_mean(rim_ious[1:]),
        boundary_px=boundary_px,
    )


def _class_precision(matrix: np.ndarray) -> np.ndarray:
    return _ratios(matrix.diagonal(), matrix.sum(axis=0))


def _class_recall(matrix: np.ndarray) -> np.ndarray:
    return _ratios(matrix.diagonal(), matrix.sum(axis=1))


def _class_f1(matrix: np.ndarray) -> np.ndarray:
    return _ratios(2 * matrix.diagonal(), matrix.sum(axis=0) + matrix.sum(axis=1))


def _class_iou(matrix: np.ndarray) -> np.ndarray:
    hits = matrix.diagonal()
    return _ratios(hits, matrix.sum(axis=0) + matrix.sum(axis=1) - hits)


def _ratios(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """NaN where the whole is zero."""
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole != 0)


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _mean(values: np.ndarray) -> float | None:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else None
