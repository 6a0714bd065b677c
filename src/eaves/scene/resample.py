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
    """
    share = _separable(known[None].astype(np.float32), rows, cols, origin)
    values = _separable(np.where(known, pixels, 0).astype(np.float32), rows, cols, origin)
    image = values / np.maximum(share, 1e-6)
    if pixels.dtype.kind in "iu":
        limits = np.iinfo(pixels.dtype)
        if pixels.dtype.itemsize > 2:
            image = image.astype(np.float64)  # in single precision the limits themselves would overflow
        image = np.clip(np.rint(image), limits.min, limits.max)
    return image.astype(pixels.dtype), share[0] >= 0.5


def _separable(values: np.ndarray, rows: Taps, cols: Taps, origin: tuple[int, int]) -> np.ndarray:
    tall = _along_rows(values, rows.first - origin[0], rows.weights)
    return _along_cols(tall, cols.first - origin[1], cols.weights)


@njit(cache=True, nogil=True)
def _along_rows(values, first, weights):  # (b, h, w) -> (b, n, w)
    bands, height, width = values.shape
    out = np.zeros((bands, len(first), width), np.float32)
    for band in range(bands):
        for n in range(len(first)):
            for tap in range(weights.shape[1]):
                weight = weights[n, tap]
                row = first[n] + tap
                if weight > 0 and row < height:
                    for col in range(width):
                        out[band, n, col] += weight * values[band, row, col]
    return out


@njit(cache=True, nogil=True)
def _along_cols(values, first, weights):  # (b, h, w) -> (b, h, n)
    bands, height, width = values.shape
    out = np.zeros((bands, height, len(first)), np.float32)
    for band in range(bands):
        for row in range(height):
            for n in range(len(first)):
                total = np.float32(0)
                for tap in range(weights.shape[1]):
                    col = first[n] + tap
                    if col < width:
                        total += weights[n, tap] * values[band, row, col]
                out[band, row, n] = total
    return out
