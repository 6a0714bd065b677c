"""Masks of boxes put back onto the pixels of the image, at sub-pixel accuracy."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit


class Pasted(NamedTuple):
    """A mask on pixels.

    Attributes:
        row: First row in the image.
        col: First column.
        values: float32 ``(h, w)`` in [0, 1]; 0 outside.
    """

    row: int
    col: int
    values: np.ndarray


def paste(mask: np.ndarray, box: np.ndarray, shape: tuple[int, int], origin: tuple[int, int] = (0, 0)) -> Pasted:
    """Draw a mask that divides its box into equal cells.

    Bilinear between the cells' centres, falling to 0 over one more cell, so that a mask of ones crosses 0.5 exactly on
    the box, wherever that lies between pixels. Where cells are smaller than pixels, a pixel has the mean over its area:
    its centre alone would tell nothing of where in it the mask ends.

    Args:
        mask: float32 ``(m, m)``.
        box: xyxy ``(4,)`` in pixels from the outer corner of the first.
        shape: Rows and columns of the image; what lies outside is cut off.
        origin: Row and column of the image's first pixel, in the coordinates of the box and of the result.

    Returns:
        The smallest window that holds all of it; empty where the box lies outside.

    Example:
        >>> paste(np.ones((2, 2), np.float32), np.array([1.0, 0, 5, 4]), (4, 6)).values[1].tolist()
        [0.25, 0.75, 1.0, 1.0, 0.75, 0.25]
    """
    x0, y0, x1, y1 = (float(side) for side in box)
    cell_x, cell_y = (x1 - x0) / mask.shape[1], (y1 - y0) / mask.shape[0]
    left, right = _window(x0 - cell_x / 2, x1 + cell_x / 2, origin[1], shape[1])
    top, bottom = _window(y0 - cell_y / 2, y1 + cell_y / 2, origin[0], shape[0])
    values = np.zeros((bottom - top, right - left), np.float32)
    if values.size and cell_x > 0 and cell_y > 0:
        _draw(np.ascontiguousarray(mask, np.float32), x0, y0, cell_x, cell_y, left, top, values)
    return Pasted(top, left, values)


def _window(low: float, high: float, start: int, length: int) -> tuple[int, int]:
    """First pixel from ``start`` on that lies, in part at least, between two coordinates; the one behind the last."""
    first = min(max(start, math.floor(low)), start + length)
    return first, max(first, min(start + length, math.ceil(high)))


@njit(cache=True, nogil=True)
def _draw(mask, x0, y0, cell_x, cell_y, left, top, values):
    across, down = int(np.ceil(1 / cell_x)), int(np.ceil(1 / cell_y))  # samples of a pixel
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            total = np.float32(0)
            for k in range(down):
                v = (top + i + (k + 0.5) / down - y0) / cell_y - 0.5  # in cells, from the first one's centre
                for m in range(across):
                    total += _sample(mask, v, (left + j + (m + 0.5) / across - x0) / cell_x - 0.5)
            values[i, j] = total / (across * down)


@njit(cache=True, nogil=True)
def _sample(mask, v, u):
    rows, cols = mask.shape
    r, c = int(np.floor(v)), int(np.floor(u))
    low_v, low_u = np.float32(v - r), np.float32(u - c)
    total = np.float32(0)
    for dr in range(2):
        if not 0 <= r + dr < rows:
            continue
        share = low_v if dr else np.float32(1) - low_v
        if 0 <= c < cols:
            total += share * (np.float32(1) - low_u) * mask[r + dr, c]
        if 0 <= c + 1 < cols:
            total += share * low_u * mask[r + dr, c + 1]
    return total
