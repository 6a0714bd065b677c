"""Score map with a second band → polygons, one a building, also where buildings touch; strip by strip as the tracer."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import cv2
import numpy as np
import shapely
from numba import njit

from eaves.errors import EavesError, SettingsError
from eaves.footprints.flood import Rule, part
from eaves.footprints.sweep import NODATA
from eaves.footprints.trace import Traced, Tracer, concatenate

_LEVELS = 254
# Nobody's buildings are larger; a component that never ends must not fill the memory.
_LARGEST_PX = 1 << 25
_KEPT_PX = 1 << 27
_KEPT_ROWS = 4096
_FEW_ROWS = 64  # too few to look for some that can go
_TO_PIXELS = np.array([0.5, 0.5, -0.5, -0.5])

Method = Literal["border", "distance", "score"]
METHODS: tuple[Method, ...] = ("border", "distance")
"""Names of the bands that tell where one building ends and the next begins; ``score`` does without one."""


class _Usual(NamedTuple):
    """A method's seed score on the ground, and its defaults."""

    ground: float
    seed_score: float
    min_fall: float


_USUAL: dict[Method, _Usual] = {
    "border": _Usual(0.0, 0.5, 0.4),
    "distance": _Usual(0.5, 0.55, 0.3),
    "score": _Usual(0.0, 0.06, 0.3),
}
_DEPTH_LEVELS = 8  # of a pixel's depth, where the score is 1


class Separator:
    """Traces one class of a score map, and parts buildings that touch with the help of a second band.

    A *seed score* is high in the middle of a building and falls towards its walls, also towards a wall that it shares
    with a neighbour. ``border``: the score of the building less that of its border. ``distance``: the signed distance
    to the outline, 0.5 on it (Yuan 2016, https://arxiv.org/abs/1602.06564, section 3.2). ``score``, for a map without
    such a band: the pixel's distance from the outline, 1 at 32 pixels, times its score, so that a neck or a dip in the
    score parts what it joins. Within a component of the thresholded map, every top of the seed score is a building if
    the score falls far enough on every way to the next one, by ``min_fall`` of the lower top's height (over 0.5 for
    ``distance``, else over 0; so the rule is the same for large and small buildings). Pixels belong to the top from
    which the flood of :func:`eaves.footprints.flood.part` reaches them.

    A component with fewer than two such tops keeps the outline that :class:`Tracer` gives it, bit for bit. Parted
    buildings share a wall along pixel edges, the same from both sides; the rest of their outline is sub-pixel as ever.
    They never overlap, and every pixel of the component belongs to one of them. Polygons, order and bits do not depend
    on the strips; a component's buildings stand in its place, from the top left on. Memory holds the rows of components
    that are not finished. A component is not parted if its box has more than 2^25 pixels, or if it spans more rows than
    are kept: 4096, or those of 2^27 pixels where they are more.

    Args:
        width: Columns of the scene.
        threshold: Least score of the building band that is inside, in 0 … 1 (both excluded).
        method: What the second band tells; ``score`` where there is none.
        seed_score: Seed score that a building reaches somewhere; by default 0.5 for ``border``, 0.55 for ``distance``,
            0.06 (2 pixels) for ``score``.
        min_fall: In 0 … 1 (0 excluded), a smaller one parts more; by default 0.4 for ``border``, 0.3 for the others.
        min_seed_px: Pixels that a building has above the place where it meets its neighbour.

    Raises:
        SettingsError: A setting is outside its range.

    Example:
        >>> levels = np.zeros((2, 6, 11), np.uint8)
        >>> levels[0, 1:5, 1:10] = 254
        >>> levels[1, 1:5, 4:6] = 254  # the border between two houses, the left one four pixels wide
        >>> separator = Separator(11, threshold=0.5, method="border")
        >>> one, two = concatenate([separator.push(levels), separator.finish()]).polygons
        >>> one.bounds, two.bounds
        ((1.0, 1.0, 5.0, 5.0), (5.0, 1.0, 10.0, 5.0))
    """

    def __init__(
        self,
        width: int,
        *,
        threshold: float,
        method: Method,
        seed_score: float | None = None,
        min_fall: float | None = None,
        min_seed_px: int = 4,
    ) -> None:
        if method not in _USUAL:
            raise SettingsError(f"a method among {', '.join(_USUAL)}", f"{method!r}", "choose one of them")
        usual = _USUAL[method]
        least = usual.seed_score if seed_score is None else seed_score
        fall = usual.min_fall if min_fall is None else min_fall
        if not usual.ground < least <= 1:
            raise SettingsError(
                f"a seed score above {usual.ground:g}, at most 1", f"{seed_score}", f"try {usual.seed_score:g}"
            )
        if not 0 < fall <= 1:
            raise SettingsError("a least fall above 0, at most 1", f"{min_fall}", f"try {usual.min_fall:g}")
        if min_seed_px < 1:
            raise SettingsError("a seed of at least 1 pixel", f"{min_seed_px}", "try 4")
        self.width, self.threshold, self.method = width, threshold, method
        self._tracer = tracer = Tracer(width, threshold=threshold)
        self._rule = Rule(
            first=tracer._first,
            saddle=4.0 * tracer._level,
            ground=usual.ground * _LEVELS,
            peak=float(least * _LEVELS),
            fall=float(fall),
            pixels=min_seed_px,
        )
        self._kept = _Rows(width)
        self._most_rows = max(_KEPT_ROWS, _KEPT_PX // max(width, 1))

    def push(self, levels: np.ndarray) -> Traced:
        """Take the next rows.

        Args:
            levels: uint8 ``(2, rows, width)``: score x 254, rounded, of the building and of the second band (for
                ``score`` the building once more); 255 is no imagery. Where only the second band has none, its seed
                score is the lowest.

        Returns:
            The polygons whose components end in these rows, in the order in which those end.

        Raises:
            EavesError: ``levels`` has another dtype or shape, or came after ``finish``.
        """
        if levels.dtype != np.uint8 or levels.ndim != 3 or levels.shape[::2] != (2, self.width):
            raise EavesError(
                f"strips of uint8 levels, (2, rows, {self.width})",
                f"{levels.dtype} {levels.shape}",
                f"push full rows of the building band and of the band {self.method!r}",
            )
        traced = self._tracer.push(levels[0])
        self._kept.add(levels[0], self._seeds(levels))
        return self._part(traced)

    def finish(self) -> Traced:
        """Close the scene below its last row.

        Returns:
            The polygons of components that reach the last row.

        Raises:
            EavesError: It was finished before.
        """
        traced = self._tracer.finish()
        below = np.full((1, self.width), NODATA, np.uint8)
        self._kept.add(below, below)
        return self._part(traced)

    def _seeds(self, levels: np.ndarray) -> np.ndarray:
        building, second = levels
        if self.method == "border":
            return np.where(building > second, building - second, np.uint8(0))
        return np.where(second == NODATA, np.uint8(0), second)

    def _deep(self, building: np.ndarray) -> np.ndarray:
        """The seed score of a window without a second band."""
        inside = (building >= self._rule.first) & (building != NODATA)
        depth = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        seeds = np.where(inside, depth * building * (_DEPTH_LEVELS / _LEVELS), 0)
        return np.minimum(np.rint(seeds), _LEVELS).astype(np.uint8)

    def _part(self, traced: Traced) -> Traced:
        """Replace polygons by the buildings that they hold, and drop rows that nobody needs any more."""
        place, pieces = [], []
        for index in np.flatnonzero(traced.pixels >= 2 * self._rule.pixels):
            parts = self._parts(traced.polygons[index])
            pieces += parts
            place += [index] * len(parts)
        self._forget()
        if not pieces:
            return traced
        whole = np.delete(np.arange(len(traced.polygons)), place)
        order = np.argsort(np.concatenate([whole, place]), kind="stable")
        together = concatenate([Traced(*(column[whole] for column in traced)), *pieces])
        return Traced(*(column[order] for column in together))

    def _parts(self, polygon: shapely.Polygon) -> list[Traced]:
        """Trace the buildings of a component, if they are more than one."""
        # an outline reaches less than half a pixel beyond the pixels whose centres it holds, and begins above one
        left, top, right, bottom = np.floor(np.add(polygon.bounds, _TO_PIXELS)).astype(int).tolist()
        height, width = bottom - top + 1, right - left + 1
        if height > self._most_rows or height * width > _LARGEST_PX:
            return []
        x, y = polygon.exterior.coords[0]
        window = self._kept.window(top - 1, left - 1, height + 2, width + 2)
        seeds = self._deep(window[0]) if self.method == "score" else window[1]
        labels, boxes = part(window[0], seeds, math.floor(y + 0.5) - top + 1, math.floor(x) - left + 1, self._rule)
        if len(boxes) < 2:
            return []
        parts = []
        for number, (row0, col0, row1, col1) in enumerate(boxes.tolist(), 1):
            view = np.s_[row0 - 1 : row1 + 2, col0 - 1 : col1 + 2]
            building, own = window[0][view], labels[view] == number
            # others are without imagery, so that the outline runs along their pixels; the last row is outside, so that
            # nothing is left open
            shown = np.where(own | (building < self._rule.first), building, np.uint8(NODATA))
            piece = Tracer(shown.shape[1], threshold=self.threshold).push(shown)
            origin = np.array([left + col0 - 2, top + row0 - 2], float)
            parts.append(
                piece._replace(polygons=shapely.transform(piece.polygons, lambda xy, origin=origin: xy + origin))
            )
        return parts

    def _forget(self) -> None:
        """Drop rows that no open component is on, once they may be half of all."""
        tracer = self._tracer
        if tracer._row >= 0 and self._kept.crowded:
            top = _open_top(tracer._state, (tracer._row - 1) & 1, tracer._row)
            self._kept.forget(max(top, tracer._row - self._most_rows) - 1)


def separate(
    levels: np.ndarray,
    threshold: float,
    method: Method,
    *,
    seed_score: float | None = None,
    min_fall: float | None = None,
    min_seed_px: int = 4,
) -> Traced:
    """Trace a whole map at once, and part buildings that touch; see :class:`Separator`.

    Args:
        levels: uint8 ``(2, rows, width)``: score x 254, rounded, of the building and of the second band; 255 is no
            imagery.
        threshold: Least score of the building band that is inside, in 0 … 1 (both excluded).
        method: What the second band tells.
        seed_score: Seed score that a building reaches somewhere.
        min_fall: Share of the lower top's height by which the seed score falls between two buildings.
        min_seed_px: Pixels that a building has above the place where it meets its neighbour.

    Returns:
        All polygons, in the order in which their components end from top to bottom.

    Raises:
        SettingsError: A setting is outside its range.
        EavesError: ``levels`` is not a pair of uint8 matrices.

    Example:
        >>> row = np.array([0, 200, 250, 130, 250, 200, 0], np.uint8)  # two tops, 250, and nearly the ground between
        >>> levels = np.stack([np.minimum(row, 1) * np.uint8(254), row])[:, None].repeat(5, axis=1)
        >>> separate(levels, 0.5, "distance").pixels.tolist()
        [15, 10]
    """
    separator = Separator(
        levels.shape[-1],
        threshold=threshold,
        method=method,
        seed_score=seed_score,
        min_fall=min_fall,
        min_seed_px=min_seed_px,
    )
    return concatenate([separator.push(levels), separator.finish()])


class _Rows:
    """The last rows of the building band and of the seed score, within a frame without imagery."""

    def __init__(self, width: int) -> None:
        self._levels = np.full((2, 64, width + 2), NODATA, np.uint8)
        self._first, self._used, self._enough = -1, 1, _FEW_ROWS

    @property
    def crowded(self) -> bool:
        """Whether there are twice as many as were needed when it was looked at last."""
        return self._used > 2 * self._enough

    def add(self, building: np.ndarray, seeds: np.ndarray) -> None:
        used = self._used + len(building)
        if used > self._levels.shape[1]:
            larger = np.full((2, 2 * used, self._levels.shape[2]), NODATA, np.uint8)
            larger[:, : self._used] = self._levels[:, : self._used]
            self._levels = larger
        self._levels[0, self._used : used, 1:-1] = building
        self._levels[1, self._used : used, 1:-1] = seeds
        self._used = used

    def window(self, row: int, col: int, height: int, width: int) -> np.ndarray:
        """Return a part of the scene, uint8 ``(2, height, width)``, in one piece."""
        top, left = row - self._first, col + 1
        return np.ascontiguousarray(self._levels[:, top : top + height, left : left + width])

    def forget(self, row: int) -> None:
        """Forget the rows before a row of the scene."""
        dead = max(0, row - self._first)
        self._levels = self._levels[:, dead : self._used].copy()
        self._first, self._used = self._first + dead, self._used - dead
        self._enough = max(_FEW_ROWS, self._used)


@njit(cache=True, nogil=True)
def _open_top(sweep, now, row):
    """Return the first row that an open component is on, or ``row`` where there is none."""
    inside, crossing = sweep.inside[now], sweep.crossing[now]
    top = float(row)
    for c in range(len(crossing)):
        if inside[c] < inside[c + 1]:  # the first vertex of an open chain; the top of an open component is on one
            at, last = crossing[c], sweep.other_end[crossing[c]]
            top = min(top, sweep.xy[at, 1])
            while at != last:
                at = sweep.after[at]
                top = min(top, sweep.xy[at, 1])
    return int(np.floor(top + 0.5))
