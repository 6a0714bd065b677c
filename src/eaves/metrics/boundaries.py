"""Boundaries: how well two masks agree near their outlines, where the area alone says little.

Source: B. Cheng, R. Girshick, P. Dollár, A. C. Berg, A. Kirillov, "Boundary IoU: Improving Object-Centric Image
Segmentation Evaluation", CVPR 2021, arXiv:2103.16562.
"""

from __future__ import annotations

import cv2
import numpy as np

from eaves.errors import LabelError, SettingsError
from eaves.labels import UNKNOWN


def boundary_counts(
    reference: np.ndarray,
    prediction: np.ndarray,
    d_px: int,
    *,
    valid: np.ndarray | None = None,
    rows: slice = slice(None),
) -> np.ndarray:
    """Count the pixels that two masks' boundaries share, and those that either has.

    The boundary of a mask is the mask without itself eroded ``d_px`` times by 3 × 3: its pixels from which a pixel
    that is not of the mask, or the image's border, is at most ``d_px`` king's steps away. What is not known is neither
    of the mask nor outside of it: unknown pixels are in no boundary, and make none around them; where they lie along
    the image's border, that border makes none either.

    Counts add up: a strip that has ``d_px`` rows of its surroundings above and below (fewer where the image ends)
    and is counted without them, by ``rows``, gives what the whole image gives for these rows.

    Args:
        reference: bool ``(h, w)``.
        prediction: bool ``(h, w)``.
        d_px: How far a boundary reaches inside, in pixels, >= 1.
        valid: Pixels that are known on both sides, bool ``(h, w)``. None: all.
        rows: Rows to count; the others are surroundings.

    Returns:
        int64 ``(2,)``: pixels in both boundaries, and in at least one.

    Raises:
        LabelError: Shapes differ, or a mask is not bool.
        SettingsError: ``d_px`` is no whole number from 1.

    Example:
        >>> house = np.zeros((9, 9), bool)
        >>> house[2:7, 2:7] = True
        >>> boundary_counts(house, house, 1).tolist()  # the rim of 5 x 5 pixels
        [16, 16]
    """
    known = np.ones(reference.shape, bool) if valid is None else valid
    for name, mask in (("reference", reference), ("prediction", prediction), ("valid", known)):
        if mask.dtype != bool or mask.ndim != 2 or mask.shape != reference.shape:
            raise LabelError(
                f"{name} as bool of shape (h, w) on one grid", f"{mask.dtype} {mask.shape}", "pass mask == class"
            )
    check_reach(d_px)
    one, other = (_boundary(mask, known, d_px)[rows] for mask in (reference, prediction))
    return np.array([np.count_nonzero(one & other), np.count_nonzero(one | other)], np.int64)


def boundary_iou(
    reference: np.ndarray, prediction: np.ndarray, d_px: int, *, valid: np.ndarray | None = None
) -> float | None:
    """Intersection over union of two masks' boundaries; see :func:`boundary_counts` for what a boundary is.

    Args:
        reference: bool ``(h, w)``.
        prediction: bool ``(h, w)``.
        d_px: How far a boundary reaches inside, in pixels, >= 1. The paper takes 2 % of the image's diagonal.
        valid: Pixels that are known on both sides, bool ``(h, w)``. None: all.

    Returns:
        In [0, 1]; None where neither mask has a boundary.

    Raises:
        LabelError: Shapes differ, or a mask is not bool.
        SettingsError: ``d_px`` is no whole number from 1.

    Example:
        >>> house, shifted = np.zeros((2, 9, 9), bool)
        >>> house[2:7, 2:7] = shifted[2:7, 3:8] = True
        >>> boundary_iou(house, shifted, 1)  # IoU is 20 / 30; of 16 + 16 pixels of rim 8 are shared
        0.3333333333333333
    """
    both, either = boundary_counts(reference, prediction, d_px, valid=valid).tolist()
    return both / either if either else None


class BoundaryTally:
    """Boundary counts of a raster of classes that comes as strips; equal to those of the whole, whatever the strips.

    Memory is one strip and ``2 * d_px`` rows.

    Args:
        classes: Number of classes; indices are 0 … ``classes - 1``.
        d_px: How far a boundary reaches inside, in pixels, >= 1.
        ignore: Index that means "not known": left out where either side has it.

    Raises:
        SettingsError: ``d_px`` is no whole number from 1.

    Example:
        >>> tally = BoundaryTally(2, 1)
        >>> for row in np.eye(3, dtype=np.uint8):
        ...     tally.push(row[None], row[None])
        >>> tally.finish().tolist()  # a row a class: shared pixels, pixels of either
        [[6, 6], [3, 3]]
    """

    def __init__(self, classes: int, d_px: int, *, ignore: int = UNKNOWN) -> None:
        check_reach(d_px)
        self.classes, self.d_px, self._ignore = classes, d_px, ignore
        self._counts = np.zeros((classes, 2), np.int64)
        self._held: tuple[np.ndarray, np.ndarray] | None = None
        self._done = 0  # rows of what is held that are counted, and there as surroundings

    def push(self, reference: np.ndarray, prediction: np.ndarray) -> None:
        """Take the next strip.

        Args:
            reference: Class indices, uint8 ``(rows, width)``.
            prediction: Class indices of the same rows.

        Raises:
            LabelError: The two differ in shape, or the strip in width from those before.
        """
        if reference.shape != prediction.shape or (self._held and self._held[0].shape[1:] != reference.shape[1:]):
            raise LabelError(
                "strips of one width, on one grid",
                f"{reference.shape} and {prediction.shape}",
                "push whole rows of both sides",
            )
        if self._held is not None:
            reference, prediction = (
                np.concatenate(pair) for pair in zip(self._held, (reference, prediction), strict=True)
            )
        self._held = reference, prediction
        if len(reference) - self.d_px > self._done:  # the last rows wait for those below them
            self._count(len(reference) - self.d_px)

    def finish(self) -> np.ndarray:
        """Count the last rows, which have the image's border below them.

        Returns:
            int64 ``(classes, 2)``: pixels in both boundaries, and in at least one.
        """
        if self._held is not None:
            self._count(len(self._held[0]))
            self._held = None
        return self._counts

    def _count(self, end: int) -> None:
        assert self._held is not None
        reference, prediction = self._held
        known = (reference != self._ignore) & (prediction != self._ignore)
        rows = slice(self._done, end)
        for index in range(self.classes):
            self._counts[index] += boundary_counts(
                reference == index, prediction == index, self.d_px, valid=known, rows=rows
            )
        first = max(0, end - self.d_px)
        # Copies: a view would keep the whole strip.
        self._held = reference[first:].copy(), prediction[first:].copy()
        self._done = end - first


def check_reach(d_px: int) -> None:
    """Refuse what is no whole number of pixels from 1 on.

    Raises:
        SettingsError: It is none.
    """
    if not isinstance(d_px, int | np.integer) or d_px < 1:
        raise SettingsError("a boundary of whole pixels, at least 1", repr(d_px), "change d_px")


def _boundary(mask: np.ndarray, known: np.ndarray, d_px: int) -> np.ndarray:
    """The mask's known pixels that erosion takes away, bool ``(h, w)``."""
    mask = mask & known
    if not mask.any():
        return mask
    # Erosion by 3 x 3, d times, is one by a square. Around the image lies a ring of what is not of the mask; it is
    # unknown beside unknown pixels. Beyond the ring OpenCV sees nothing.
    framed = np.pad(~known, 1, mode="edge")
    framed[1:-1, 1:-1] |= mask
    square = cv2.getStructuringElement(cv2.MORPH_RECT, (2 * int(d_px) + 1,) * 2)
    eroded = cv2.erode(framed.view(np.uint8), square)[1:-1, 1:-1]
    return mask & (eroded == 0)
