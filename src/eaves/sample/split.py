"""Train and validation parts that lie apart on the ground."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
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
