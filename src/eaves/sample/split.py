"""Train and validation parts that lie apart on the ground."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from rasterio.windows import Window

from eaves.errors import SettingsError


def block_split(areas: Sequence[np.ndarray], val_share: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Choose square blocks of scenes for validation.

    Neighbouring pixels look alike, so pixels drawn from everywhere tell how well a network remembers; blocks tell how
    well it generalises. The split is of labels: a chip may show imagery of the other side as surroundings, but its
    labels there are unknown.

    Args:
        areas: For each scene, what is known in each block (in any unit), ``(rows, cols)``. Empty blocks stay with
            training.
        val_share: Share of the known area that validates, in (0, 1), as near as whole blocks come to it.
        rng: Source of chance.

    Returns:
        For each scene bool ``(rows, cols)``: the block validates. At least one does, at least one trains.

    Raises:
        SettingsError: Fewer than two blocks are known.

    Example:
        >>> block_split([np.ones((1, 2))], 0.2, np.random.default_rng(0))[0].sum()
        np.int64(1)
    """
    flat = np.concatenate([np.asarray(area, float).ravel() for area in areas])
    order = rng.permutation(np.flatnonzero(flat > 0))
    if len(order) < 2:
        raise SettingsError(
            "at least two blocks with labels to part training from validation",
            f"{len(order)}",
            "make block_m smaller, or name the split of each scene in the dataset",
        )
    reached = flat[order].cumsum()
    count = 1 + int(np.argmin(np.abs(reached[:-1] - val_share * reached[-1])))
    chosen = np.zeros(len(flat), bool)
    chosen[order[:count]] = True
    ends = np.cumsum([area.size for area in areas])[:-1]
    return [part.reshape(area.shape) for part, area in zip(np.split(chosen, ends), areas, strict=True)]


def sum_by_blocks(cells: np.ndarray, side: int) -> np.ndarray:
    """Sum cells, ``(rows, cols)``, over squares of ``side`` cells; the last ones may be smaller."""
    rows, cols = (np.arange(0, size, side) for size in cells.shape)
    return np.add.reduceat(np.add.reduceat(cells, rows, axis=0), cols, axis=1)


def blocks_to_cells(blocks: np.ndarray, side: int, shape: tuple[int, ...]) -> np.ndarray:
    """Give every cell of ``shape`` the value of its block."""
    return blocks.repeat(side, axis=0).repeat(side, axis=1)[: shape[0], : shape[1]]


def block_windows(blocks: np.ndarray, side_px: int, shape: tuple[int, int]) -> list[Window]:
    """Return the windows of the blocks that are true, cut at the scene's edge."""
    corners = np.argwhere(blocks) * side_px
    return [
        Window(int(left), int(top), min(side_px, shape[1] - int(left)), min(side_px, shape[0] - int(top)))
        for top, left in corners
    ]


def strip_split(boxes: np.ndarray, val_share: float) -> tuple[np.ndarray, np.ndarray]:
    """Part chips that lie somewhere: those at the far end of the longer side validate.

    Args:
        boxes: Left, bottom, right and top of each chip, ``(n, 4)``, in any unit. The same everywhere means that nobody
            knows where chips lie; then the last ones validate.
        val_share: Share of the chips that validates, in (0, 1), about: chips of one place stay together.

    Returns:
        bool ``(n,)``: the chip validates; and bool ``(n,)``: it overlaps one that does, so that it cannot train.

    Example:
        >>> boxes = np.array([[0, 0, 4, 4], [2, 0, 6, 4], [4, 0, 8, 4], [6, 0, 10, 4]])
        >>> strip_split(boxes, 0.25)
        (array([False, False, False,  True]), array([False, False,  True, False]))
    """
    count = max(1, round(val_share * len(boxes)))
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    along = middle[:, int(np.argmax(np.ptp(middle, axis=0)))] if len(boxes) else middle[:, 0]
    if not np.ptp(along):
        return np.arange(len(boxes)) >= len(boxes) - count, np.zeros(len(boxes), bool)
    val = along >= max(np.sort(along)[-count], np.unique(along)[1])  # some have to train
    inner = shapely.box(*(boxes.T + np.array([[1], [1], [-1], [-1]]) * 1e-3 * np.ptp(boxes[0, ::2])))
    touched = shapely.STRtree(inner[val]).query(inner, predicate="intersects")[0]
    out = np.zeros(len(boxes), bool)
    out[touched] = True
    return val, out & ~val
