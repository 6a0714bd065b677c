"""Score map → polygons: the sub-pixel outline at a threshold, strip by strip, the same polygons whatever the strips."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import shapely

from eaves.errors import EavesError, SettingsError
from eaves.footprints import contour, sweep

_LEVELS = 254
_WORTH_COMPACTING = 1 << 16  # dead vertices below which moving the live ones gains nothing


class Traced(NamedTuple):
    """Polygons in pixel coordinates (x to the right, y down, a pixel is 1 x 1) with what the scores say about them.

    Attributes:
        polygons: shapely Polygons, object ``(n,)``: valid, exteriors anticlockwise in (x, y), starting at the top.
        mean_score: Mean over the pixels at or above the threshold, float64 ``(n,)`` in 0 … 1.
        pixels: Number of those pixels, int64 ``(n,)``.
    """

    polygons: np.ndarray
    mean_score: np.ndarray
    pixels: np.ndarray


class Tracer:
    """Traces one class of a score map that arrives from top to bottom in strips of full rows.

    Marching squares on pixel centres, linear between them (Lorensen & Cline 1987, section 4, in two dimensions);
    at a saddle the mean of the four corners decides. A pixel is inside where its level is at or above the threshold;
    towards pixels without imagery and beyond the scene the outline runs along the pixel's edge. Polygons, their order
    and every bit of their coordinates do not depend on how the rows are cut into strips. Memory holds outlines that are
    not finished, never the scene.

    Args:
        width: Columns of the scene.
        threshold: Least score that is inside, in 0 … 1 (both excluded).

    Raises:
        SettingsError: ``threshold`` is outside its range.

    Example:
        >>> levels = np.zeros((6, 8), np.uint8)
        >>> levels[2:4, 2:6] = 254
        >>> tracer = Tracer(8, threshold=0.5)
        >>> first, rest, last = tracer.push(levels[:3]), tracer.push(levels[3:]), tracer.finish()
        >>> len(first.polygons), rest.polygons[0].bounds
        (0, (2.0, 2.0, 6.0, 4.0))
    """

    def __init__(self, width: int, *, threshold: float) -> None:
        if not 0 < threshold < 1:
            raise SettingsError("a threshold between 0 and 1", f"{threshold}", "choose a score such as 0.5")
        self.width, self.threshold = width, threshold
        self._level = threshold * _LEVELS
        self._first = max(1, math.ceil(self._level - 1e-9))  # 100 / 254 * 254 is a hair above 100
        self._row = 0
        self._state = sweep.new_sweep(width)
        self._waiting = np.empty(0, np.int64)  # sizes of the holes whose exterior is open
        self._dead = 0

    def push(self, levels: np.ndarray) -> Traced:
        """Take the next rows.

        Args:
            levels: uint8 ``(rows, width)``: score x 254, rounded; 255 is no imagery.

        Returns:
            The polygons that end in these rows, in the order in which they end.

        Raises:
            EavesError: ``levels`` has another dtype or width, or came after ``finish``.
        """
        if levels.dtype != np.uint8 or levels.ndim != 2 or levels.shape[1] != self.width:
            raise EavesError(
                f"strips of uint8 levels, (rows, {self.width})",
                f"{levels.dtype} {levels.shape}",
                "encode scores with eaves.exchange.scores.encode and push full rows of one class",
            )
        if self._row < 0:
            raise EavesError("rows before finish()", "rows after it", "make a new Tracer for another scene")
        self._rows(np.require(levels, requirements=["C", "W"]))  # one compiled version, also for read-only arrays
        return self._hand_out()

    def finish(self) -> Traced:
        """Close the scene below its last row.

        Returns:
            The polygons that reach the last row.

        Raises:
            EavesError: It was finished before.
        """
        if self._row < 0:
            raise EavesError("one finish()", "a second one", "make a new Tracer for another scene")
        self._rows(np.full((1, self.width), sweep.NODATA, np.uint8))
        self._row = -1
        return self._hand_out()

    def _rows(self, levels: np.ndarray) -> None:
        done = 0
        while done < len(levels):
            self._state = sweep.grow(self._state)
            did = contour.sweep_rows(self._state, levels[done:], self._row, self._first, self._level)
            done, self._row = done + did, self._row + did

    def _hand_out(self) -> Traced:
        state, waited = self._state, len(self._waiting)
        rings = int(state.used[sweep.RINGS])
        start, component = state.ring_start[:rings], state.ring_component[:rings]
        size, area = np.concatenate([self._waiting, np.zeros(rings - waited, np.int64)]), np.full(rings, -1.0)
        contour.measure_rings(state, start[waited:], component[waited:], size[waited:], area[waited:])
        contour.find_roots(state, component[:waited])

        exterior = np.flatnonzero(area > 0)
        root = component[exterior]
        owner = np.full(int(state.used[sweep.COMPONENTS]), -1)
        owner[root] = np.arange(len(exterior))
        owner = owner[component]
        # an exterior ends below its holes, so that a polygon's rings are all here when its exterior is
        ready = np.flatnonzero(owner >= 0)
        order = ready[np.lexsort((ready, area[ready] < 0, owner[ready]))]

        coords = np.empty((int(size[order].sum()) + len(order), 2))
        contour.gather_rings(state, start[order], size[order], coords)
        ring_ends = np.concatenate([[0], np.cumsum(size[order] + 1)])
        polygon_ends = np.concatenate([[0], np.cumsum(np.bincount(owner[order], minlength=len(exterior)))])
        polygons = shapely.from_ragged_array(shapely.GeometryType.POLYGON, coords, (ring_ends, polygon_ends))
        levels, pixels = state.sums[root, 0], state.sums[root, 1]

        kept = owner < 0
        count = int(kept.sum())
        start[:count], component[:count] = start[kept], component[kept]
        state.used[sweep.RINGS] = count
        self._waiting = size[kept]
        self._dead += int(size[order].sum())
        live = int(state.used[sweep.VERTICES]) - self._dead
        if self._row >= 0 and self._dead > max(live, _WORTH_COMPACTING):
            self._state, self._dead = sweep.compact(state, live, (self._row - 1) & 1), 0
        return Traced(polygons, levels / (pixels * float(_LEVELS)), pixels)


def trace(levels: np.ndarray, threshold: float) -> Traced:
    """Trace a whole map at once.

    Args:
        levels: uint8 ``(rows, width)``: score x 254, rounded; 255 is no imagery.
        threshold: Least score that is inside, in 0 … 1 (both excluded).

    Returns:
        All polygons, in the order in which they end from top to bottom.

    Raises:
        SettingsError: ``threshold`` is outside its range.
        EavesError: ``levels`` is not a uint8 matrix.

    Example:
        >>> levels = np.zeros((4, 4), np.uint8)
        >>> levels[1, 1:3] = 254
        >>> traced = trace(levels, 0.5)
        >>> traced.pixels.tolist(), traced.mean_score.tolist()
        ([2], [1.0])
    """
    tracer = Tracer(levels.shape[-1], threshold=threshold)
    return concatenate([tracer.push(levels), tracer.finish()])


def concatenate(parts: Sequence[Traced]) -> Traced:
    """Return the polygons of several parts as one.

    Example:
        >>> levels = np.eye(3, dtype=np.uint8) * 254
        >>> len(concatenate([trace(levels, 0.5), trace(levels, 0.5)]).polygons)
        2
    """
    polygons, scores, pixels = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Traced(polygons, scores, pixels)
