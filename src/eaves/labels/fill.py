"""Fill polygons on a grid of pixels, many times over: their corners are packed once, in pixels of the whole grid."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import shapely
from affine import Affine
from numba import njit


class Outlines(NamedTuple):
    """Polygons as arrays.

    Attributes:
        corners: ``(n, 2)`` float64, x and y in pixels, ring after ring; the last corner of a ring repeats the first.
        rings: First corner of each ring, and the end, ``(rings + 1,)``.
        shapes: First ring of each polygon, and the end, ``(polygons + 1,)``.
    """

    corners: np.ndarray
    rings: np.ndarray
    shapes: np.ndarray

    @classmethod
    def of(cls, polygons: Any, to_pixels: Affine) -> Outlines:
        """Pack polygons.

        Args:
            polygons: Polygons, or multipolygons of parts that do not overlap, ``(n,)``.
            to_pixels: From their coordinates to pixels of the grid.

        Example:
            >>> [len(part) for part in Outlines.of([shapely.box(0, 0, 1, 1)] * 2, Affine.identity())]
            [10, 3, 3]
        """
        parts, of_part = shapely.get_parts(np.asarray(polygons, dtype=object), return_index=True)
        rings, of_ring = shapely.get_rings(parts, return_index=True)
        world, of_corner = shapely.get_coordinates(rings, return_index=True)
        return cls(
            _apply(to_pixels, world),
            np.searchsorted(of_corner, np.arange(len(rings) + 1)),
            np.searchsorted(of_part[of_ring], np.arange(len(polygons) + 1)),
        )

    def bounds(self) -> np.ndarray:
        """Boxes around the polygons, ``(n, 4)`` as left, upper, right, lower in pixels; NaN around an empty one."""
        boxes = np.full((len(self.shapes) - 1, 4), np.nan)
        there = self.shapes[1:] > self.shapes[:-1]
        first = self.rings[self.shapes[:-1][there]]
        if len(first):
            boxes[there, :2] = np.minimum.reduceat(self.corners, first)
            boxes[there, 2:] = np.maximum.reduceat(self.corners, first)
        return boxes

    def moved(self, affine: Affine) -> Outlines:
        """The same on another grid; ``affine`` goes from pixels of this one to pixels of that."""
        return self._replace(corners=_apply(affine, self.corners))


def fill(out: np.ndarray, outlines: Outlines, which: np.ndarray, values: np.ndarray, row: int, col: int) -> None:
    """Paint polygons where they hold the centre of a pixel, later ones over earlier.

    The answer at a pixel is the same in every window that shows it, and polygons that share a wall neither overlap
    nor leave a gap: a centre on a left wall is outside and one on a right wall inside; on an upper wall inside, on a
    lower one outside.

    Args:
        out: ``(h, w)`` of any integer type, painted in place.
        outlines: Of the whole grid.
        which: Indices of the polygons to paint, in order.
        values: What to paint, one a polygon.
        row: Row of the whole grid at which the window begins.
        col: Column.

    Example:
        >>> window = np.zeros((2, 3), np.uint8)
        >>> square = Outlines.of([shapely.box(11, 20, 13, 30)], Affine.identity())
        >>> fill(window, square, np.array([0]), np.array([7]), 20, 10)
        >>> window.tolist()
        [[0, 7, 7], [0, 7, 7]]
    """
    _fill(out, *outlines, np.asarray(which, np.int64), np.asarray(values, np.int64), int(row), int(col))


def _apply(affine: Affine, xy: np.ndarray) -> np.ndarray:
    return xy @ np.array([[affine.a, affine.d], [affine.b, affine.e]]) + (affine.c, affine.f)


@njit(cache=True, nogil=True)
def _fill(out, corners, rings, shapes, which, values, row_off, col_off):
    height, width = out.shape
    for place in range(len(which)):
        first_ring, end_ring = shapes[which[place]], shapes[which[place] + 1]
        low, high = np.inf, -np.inf
        for i in range(rings[first_ring], rings[end_ring]):
            low, high = min(low, corners[i, 1]), max(high, corners[i, 1])
        top, bottom = _rows(low, high, row_off, 0, height)
        if bottom <= top:
            continue
        starts = np.zeros(bottom - top + 1, np.int64)  # of each row's crossings
        for ring in range(first_ring, end_ring):
            for i in range(rings[ring], rings[ring + 1] - 1):
                first, end = _rows(corners[i, 1], corners[i + 1, 1], row_off, top, bottom)
                for row in range(first, end):
                    starts[row - top + 1] += 1
        starts = starts.cumsum()
        crossings = np.empty(starts[-1])
        ends = starts[:-1].copy()
        for ring in range(first_ring, end_ring):
            for i in range(rings[ring], rings[ring + 1] - 1):
                # From the upper end down, whichever way the ring runs: neighbours then agree on their common wall.
                upper, lower = (i, i + 1) if corners[i, 1] < corners[i + 1, 1] else (i + 1, i)
                x, y = corners[upper]
                first, end = _rows(y, corners[lower, 1], row_off, top, bottom)
                for row in range(first, end):
                    slope = (corners[lower, 0] - x) / (corners[lower, 1] - y)
                    crossings[ends[row - top]] = x + (row_off + row + 0.5 - y) * slope
                    ends[row - top] += 1
        for row in range(top, bottom):
            across = crossings[starts[row - top] : ends[row - top]]
            if len(across) > 2:
                across.sort()
            elif len(across) and across[0] > across[1]:
                across[0], across[1] = across[1], across[0]
            for i in range(0, len(across), 2):
                left = int(min(max(np.floor(across[i] + 0.5) - col_off, 0), width))
                right = int(min(max(np.floor(across[i + 1] + 0.5) - col_off, 0), width))
                out[row, left:right] = values[place]


@njit(cache=True, nogil=True)
def _rows(y, other_y, row_off, least, most):
    """The window's rows whose centres an edge crosses, from its upper end on and up to its lower, clipped."""
    first = np.ceil(min(y, other_y) - 0.5) - row_off
    end = np.ceil(max(y, other_y) - 0.5) - row_off
    return int(min(max(first, least), most)), int(min(max(end, least), most))
