"""Objects of tiles that overlap: each building once, and whole.

A tile owns the objects whose middle lies in its core. Where a middle lies near a seam, both tiles may claim the object,
or neither; there both bring it forward, and overlaps of their masks tell which are one and the same. What reaches the
edge of all that its tile has seen is cut off: another tile sees it whole, or another cut part of it, and cut parts
that cover each other where both tiles see are joined.

Of two tiles, each object of one is the same as one object of the other at most, the one most like it: two tiles that
have found the same objects leave just these, duplicates with a lower score and all, as one tile would.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely
from rasterio.windows import Window

from eaves.exchange.scores import LEVELS
from eaves.scene import Tile

INSIDE = (LEVELS + 1) // 2  # least level of a mask that belongs to the object
_SAME = 0.5  # IoU of two masks, where both tiles see, from which they may be one object
_EDGE_PX = 16  # an object that ends so near the edge of its tile's view may go on there
_DRIFT_PX = 16  # the middles that two tiles see of one object are no farther apart


@dataclass(eq=False)
class Found:
    """An object that a tile has found.

    Attributes:
        box: xyxy in pixels of the scene.
        score: In [0, 1].
        value: Class index, from 1 on.
        row: First row of ``levels`` in the scene.
        col: First column.
        levels: Mask, uint8 ``(h, w)`` in 0 … 254; from ``INSIDE`` on it is the object.
        tile: Whose it is.
        cut: It may go on where its tile does not see.
        depth: How far from that edge it lies, in pixels; more is better seen.
        dropped: Another tile has the same object.
        joined: Objects that are one with it, itself first.
    """

    box: tuple[float, float, float, float]
    score: float
    value: int
    row: int
    col: int
    levels: np.ndarray
    tile: Tile
    cut: bool
    depth: float
    dropped: bool = False
    joined: list[Found] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.joined = self.joined or [self]

    @property
    def rank(self) -> tuple[bool, float, float, int, int]:
        """Of two views of one object, the greater is the better one."""
        return (not self.cut, self.score, self.depth, -int(self.tile.core.row_off), -int(self.tile.core.col_off))


def place(
    box: Sequence[float],
    score: float,
    value: int,
    row: int,
    col: int,
    levels: np.ndarray,
    tile: Tile,
    shape: tuple[int, int],
    seam_px: int,
) -> Found | None:
    """Say whether an object is a tile's to bring forward, and how well it is seen.

    Args:
        box: xyxy in pixels of the scene, as the next three.
        score: In [0, 1].
        value: Class index.
        row: First row of ``levels``.
        col: First column.
        levels: Mask, uint8 ``(h, w)``.
        tile: Which has found it.
        shape: Rows and columns of the scene.
        seam_px: How far from the core's edge the middle of an object may lie for the tile to bring it forward.

    Returns:
        The object; none where it is another tile's.
    """
    x0, y0, x1, y1 = (float(side) for side in box)
    left, top, right, bottom = edges(tile.read)
    rows, cols = shape
    beyond = [(left > 0, x0 - left), (top > 0, y0 - top), (right < cols, right - x1), (bottom < rows, bottom - y1)]
    depth = min((distance for inside, distance in beyond if inside), default=float("inf"))
    cut = depth < _EDGE_PX
    a, b, c, d = edges(tile.core)
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    touches = x1 > a and x0 < c and y1 > b and y0 < d
    near = a - seam_px <= x < c + seam_px and b - seam_px <= y < d + seam_px
    found = Found((x0, y0, x1, y1), score, value, row, col, levels, tile, cut, depth)
    return found if (touches if cut else near) else None


def settle(first: Sequence[Found], second: Sequence[Found], seam_px: int) -> None:
    """Mark, in two groups or in one, which objects are the same as others (``dropped``), or parts of one (``joined``).

    Only objects of different tiles and the same class are compared, and only where one is cut or both are near a seam.

    Args:
        first: Objects; the same list as ``second`` compares those of one group.
        second: Others, none of which is in ``first`` unless all are.
        seam_px: As :func:`place`.
    """
    if not first or not second:
        return
    tree = shapely.STRtree(shapely.box(*np.array([each.box for each in second]).T))
    alike: list[tuple[float, Found, Found]] = []
    for i, j in tree.query(shapely.box(*np.array([each.box for each in first]).T)).T.tolist():
        a, b = first[i], second[j]
        if a.tile.core == b.tile.core or a.value != b.value or (first is second and i >= j):
            continue
        if a.cut or b.cut or (near_seam(a, seam_px) and near_seam(b, seam_px)):
            iou = _common_iou(a, b)
            if iou >= _SAME:
                alike.append((iou, a, b) if a.rank > b.rank else (iou, b, a))
    taken: set[tuple[int, Any]] = set()  # objects, each with the tile in which its counterpart is known
    for _, better, worse in sorted(alike, key=lambda pair: (pair[0], pair[1].rank), reverse=True):
        sides = (id(better), edges(worse.tile.core)), (id(worse), edges(better.tile.core))
        if taken.isdisjoint(sides):
            taken.update(sides)
            if better.cut:
                _join(better, worse)
            else:
                worse.dropped = True


def near_seam(found: Found, seam_px: int) -> bool:
    """Whether an object is one that another tile may have brought forward too: its middle lies near its core's edge."""
    a, b, c, d = edges(found.tile.core)
    x, y = (found.box[0] + found.box[2]) / 2, (found.box[1] + found.box[3]) / 2
    return min(x - a, y - b, c - x, d - y) <= seam_px + _DRIFT_PX


def merge(parts: Iterable[Found]) -> Found:
    """Make one object of parts: their masks together, and the mean of their scores by area."""
    parts = list(parts)
    best = max(parts, key=lambda part: part.rank)
    if len(parts) == 1:
        return best
    areas = [int((part.levels >= INSIDE).sum()) for part in parts]
    score = float(np.average([part.score for part in parts], weights=areas))
    top, left = min(part.row for part in parts), min(part.col for part in parts)
    bottom = max(part.row + part.levels.shape[0] for part in parts)
    right = max(part.col + part.levels.shape[1] for part in parts)
    levels = np.zeros((bottom - top, right - left), np.uint8)
    for part in parts:
        rows, cols = part.levels.shape
        view = levels[part.row - top : part.row - top + rows, part.col - left : part.col - left + cols]
        np.maximum(view, part.levels, out=view)
    sides = np.array([part.box for part in parts])
    box = (*sides[:, :2].min(axis=0).tolist(), *sides[:, 2:].max(axis=0).tolist())
    return Found(box, score, best.value, top, left, levels, best.tile, any(p.cut for p in parts), best.depth)


def edges(window: Window) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a window."""
    left, top = int(window.col_off), int(window.row_off)
    return left, top, left + int(window.width), top + int(window.height)


def _join(a: Found, b: Found) -> None:
    if a.joined is b.joined:
        return
    a.joined.extend(b.joined)
    for part in b.joined:
        part.joined = a.joined


def _common_iou(a: Found, b: Found) -> float:
    """IoU of two masks where both tiles see; 0 where neither mask is there."""
    sides = list(zip(edges(a.tile.read), edges(b.tile.read), strict=True))
    left, top = (max(side) for side in sides[:2])
    right, bottom = (min(side) for side in sides[2:])
    # Where neither mask is, nothing is counted.
    left, top = max(left, min(a.col, b.col)), max(top, min(a.row, b.row))
    right = min(right, max(a.col + a.levels.shape[1], b.col + b.levels.shape[1]))
    bottom = min(bottom, max(a.row + a.levels.shape[0], b.row + b.levels.shape[0]))
    if right <= left or bottom <= top:
        return 0.0
    one, other = (_inside(each, left, top, right, bottom) for each in (a, b))
    return int((one & other).sum()) / max(1, int((one | other).sum()))


def _inside(found: Found, left: int, top: int, right: int, bottom: int) -> np.ndarray:
    """Where an object is, in a window, bool ``(h, w)``."""
    inside = np.zeros((bottom - top, right - left), bool)
    rows, cols = found.levels.shape
    r0, r1 = max(top, found.row), min(bottom, found.row + rows)
    c0, c1 = max(left, found.col), min(right, found.col + cols)
    if r1 > r0 and c1 > c0:
        part = found.levels[r0 - found.row : r1 - found.row, c0 - found.col : c1 - found.col]
        inside[r0 - top : r1 - top, c0 - left : c1 - left] = part >= INSIDE
    return inside
