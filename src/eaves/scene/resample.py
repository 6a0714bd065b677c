"""Resampling whose result depends on the place alone: any window of it equals the same window of the whole.

GDAL's own resampled reads shift by a fraction of a pixel from window to window, which would show as seams.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit


class Taps(NamedTuple):
    """Where each output pixel of one axis draws from.

    Attributes:
        first: First source pixel, ``(n,)`` int64.
        weights: Of it and those that follow, summing to 1, ``(n, taps)`` float32.
    """

    first: np.ndarray
    weights: np.ndarray


def axis_taps(start: int, count: int, factor: float, source_px: int) -> Taps:
    """Weights of output pixels ``start … start + count`` along one axis.

    Args:
        start: First output pixel.
        count: Number of output pixels.
        factor: Source pixels in an output pixel. Above 1 the covered source pixels are averaged by the share that
            is covered; below 1 the two nearest are interpolated.
        source_px: Length of the source axis; nothing is drawn from beyond it.

    Example:
        >>> axis_taps(0, 2, 2.0, 4).first.tolist(), axis_taps(0, 2, 2.0, 4).weights.tolist()
        ([0, 2], [[0.5, 0.5], [0.5, 0.5]])
    """
    index = np.arange(start, start + count, dtype=np.float64)
    if factor > 1:
        low, high = index * factor, np.minimum((index + 1) * factor, source_px)
        first = np.minimum(np.floor(low + 1e-9), source_px - 1)
        taps = int(np.ceil(factor)) + 1
        at = first[:, None] + np.arange(taps)
        cover = np.minimum(high[:, None], at + 1) - np.maximum(low[:, None], at)
        weights = np.clip(cover, 0, None)
    else:
        center = np.clip((index + 0.5) * factor - 0.5, 0, source_px - 1)
        first = np.clip(np.floor(center), 0, max(0, source_px - 2))
        share = center - first
        weights = np.stack([1 - share, share], axis=1)
    weights /= weights.sum(axis=1, keepdims=True)
    taps = 1 + int(np.flatnonzero(weights.max(axis=0) > 1e-9)[-1])  # the last ones may all be idle
    return Taps(first.astype(np.int64), np.ascontiguousarray(weights[:, :taps], dtype=np.float32))


def resample(
    pixels: np.ndarray, known: np.ndarray, rows: Taps, cols: Taps, origin: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Resample a block; pixels that are not known do not bleed into their neighbours.

    Args:
        pixels: ``(band, row, col)`` of any real type.
        known: ``(row, col)`` bool.
        rows: Taps of the rows.
        cols: Taps of the columns.
        origin: Row and column of the block's first pixel in the source.

    Returns:
        The image in the type of ``pixels``, and where at least half of the weight was known.

    Example:
        >>> taps = axis_taps(0, 2, 2.0, 4)
        >>> known = np.array([[True, True, False, False]] * 2)
        >>> resample(np.full((1, 2, 4), 9), known, axis_taps(0, 1, 2.0, 2), taps, (0, 0))[1].tolist()
        [[True, False]]
    """
    small = pixels.dtype.kind in "iu" and pixels.dtype.itemsize <= 2  # exact in single precision
    image = np.empty((len(pixels), len(rows.first), len(cols.first)), pixels.dtype if small else np.float32)
    valid = np.empty(image.shape[1:], bool)
    across = np.ascontiguousarray(cols.weights.T)
    _draw(
        pixels, known, known.all(axis=1), rows.first - origin[0], rows.weights, cols.first - origin[1], across,
        image, valid,
    )  # fmt: skip
    if pixels.dtype.kind in "iu" and not small:
        limits = np.iinfo(pixels.dtype)  # in single precision the limits themselves would overflow
        image = np.clip(np.rint(image.astype(np.float64)), limits.min, limits.max)
    return image.astype(pixels.dtype, copy=False), valid


@njit(cache=True, nogil=True)
def _draw(pixels, known, whole, row_first, row_weights, col_first, col_weights, image, valid):
    """Rows first, one output row at a time; ``col_weights`` is ``(taps, n)``, so that all loops run along a row.

    ``whole`` says which rows are known from end to end: they take the short way, with the same result.
    """
    bands, height, width = pixels.shape
    tall = np.empty(width + len(col_weights), np.float32)  # idle taps may reach beyond the block
    line, share = np.empty(len(col_first), np.float32), np.ones(len(col_first), np.float32)
    to_integer = image.itemsize < 4
    for n in range(len(row_first)):
        taps = min(row_weights.shape[1], height - row_first[n])
        gaps = False
        for tap in range(taps):
            gaps |= row_weights[n, tap] > 0 and not whole[row_first[n] + tap]
        if gaps:
            tall[:] = 0
            for tap in range(taps):
                weight, there = row_weights[n, tap], known[row_first[n] + tap]
                for col in range(width):
                    tall[col] += weight if there[col] else np.float32(0)
            _along(tall, col_first, col_weights, share)
            for m in range(len(share)):
                valid[n, m] = share[m] >= 0.5
        else:
            valid[n] = True
        for band in range(bands):
            tall[:] = 0
            for tap in range(taps):
                weight, row = row_weights[n, tap], row_first[n] + tap
                source, there = pixels[band, row], known[row]
                if weight == 0:
                    continue
                if whole[row]:
                    for col in range(width):
                        tall[col] += weight * np.float32(source[col])
                else:
                    for col in range(width):
                        tall[col] += weight * np.float32(source[col]) if there[col] else np.float32(0)
            _along(tall, col_first, col_weights, line)
            if gaps:
                for m in range(len(line)):
                    # A pixel that is known whole must not depend on what else the window holds.
                    if share[m] < 0.99999:
                        line[m] /= max(share[m], np.float32(1e-6))
            if to_integer:
                for m in range(len(line)):
                    image[band, n, m] = np.rint(line[m])
            else:
                for m in range(len(line)):
                    image[band, n, m] = line[m]


@njit(cache=True, nogil=True)
def _along(tall, first, weights, line):
    line[:] = 0
    for tap in range(len(weights)):
        of_tap = weights[tap]
        for m in range(len(line)):
            line[m] += of_tap[m] * tall[first[m] + tap]
