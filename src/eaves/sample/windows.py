"""Where chips are cut: at random, on a grid, or balanced. Pure functions; windows are in pixels of the scene."""

from __future__ import annotations

import numpy as np
from rasterio.windows import Window

from eaves.sample.overview import Overview


def random_windows(shape: tuple[int, int], chip_px: int, n: int, rng: np.random.Generator) -> list[Window]:
    """Draw windows whose corners fall evenly over all places where the chip lies inside the scene.

    Args:
        shape: Rows and columns of the scene.
        chip_px: Side of a chip. A scene that is smaller lies in the middle of its only window.
        n: How many.
        rng: Source of chance.

    Example:
        >>> random_windows((64, 64), 64, 1, np.random.default_rng(0))
        [Window(col_off=0, row_off=0, width=64, height=64)]
    """
    rows, cols = (_draw(size, chip_px, n, rng) for size in shape)
    return _windows(rows, cols, chip_px)


def grid_windows(shape: tuple[int, int], chip_px: int, stride_px: int | None = None) -> list[Window]:
    """Cover the scene with windows a stride apart; the last row and column end at the edge.

    Args:
        shape: Rows and columns of the scene.
        chip_px: Side of a chip. A scene that is smaller lies in the middle of its only window.
        stride_px: Step, at most ``chip_px`` to leave no gap; the chip's side where none is given.

    Example:
        >>> [window.col_off for window in grid_windows((64, 150), 64)]
        [0, 64, 86]
    """
    rows, cols = (_steps(size, chip_px, stride_px or chip_px) for size in shape)
    row, col = np.meshgrid(rows, cols, indexing="ij")
    return _windows(row.ravel(), col.ravel(), chip_px)


def balanced_windows(
    overview: Overview,
    chip_px: int,
    n: int,
    rng: np.random.Generator,
    *,
    wanted: int | None = None,
    min_px: int = 1,
    min_known_px: int = 1,
) -> list[Window]:
    """Draw windows that may hold enough of a class and enough that is known, as far as the overview tells.

    What it tells is never too little: every window that truly holds enough is equally likely to be drawn. Some that
    hold less are drawn too; :meth:`Overview.bounds` or the mask itself parts them.

    Args:
        overview: Of the scene.
        chip_px: Side of a chip.
        n: How many; none come back where no window can hold enough.
        rng: Source of chance.
        wanted: The class, or none for no demand on it.
        min_px: Least pixels of it.
        min_known_px: Least pixels of any class.
    """
    most = overview.most_by_cell(chip_px)  # (classes, rows, cols)
    good = most.sum(axis=0) >= min_known_px
    if wanted is not None:
        good &= most[wanted] >= min_px
    first, ways = zip(*(_starts(size, chip_px, overview.cell_px) for size in overview.shape), strict=True)
    weights = (good * np.outer(ways[0], ways[1]).astype(float)).ravel()
    if not weights.any():
        return []
    cell = rng.choice(len(weights), n, p=weights / weights.sum())
    at = np.unravel_index(cell, good.shape)
    row, col = (first[axis][at[axis]] + rng.integers(0, ways[axis][at[axis]]) for axis in (0, 1))
    return _windows(row, col, chip_px)


def _starts(size: int, chip_px: int, cell_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Along one axis: the first place in each cell where a chip may begin, and how many there are."""
    first = np.arange(-(-size // cell_px)) * cell_px
    if size <= chip_px:
        ways = np.zeros_like(first)
        first[0], ways[0] = _middle(size, chip_px), 1
        return first, ways
    return first, np.clip(size - chip_px + 1 - first, 0, cell_px)


def _draw(size: int, chip_px: int, n: int, rng: np.random.Generator) -> np.ndarray:
    if size <= chip_px:
        return np.full(n, _middle(size, chip_px))
    return rng.integers(0, size - chip_px + 1, n)


def _steps(size: int, chip_px: int, stride_px: int) -> np.ndarray:
    if size <= chip_px:
        return np.array([_middle(size, chip_px)])
    return np.append(np.arange(0, size - chip_px, stride_px), size - chip_px)


def _middle(size: int, chip_px: int) -> int:
    return -((chip_px - size) // 2)


def _windows(rows: np.ndarray, cols: np.ndarray, chip_px: int) -> list[Window]:
    return [Window(int(col), int(row), chip_px, chip_px) for row, col in zip(rows, cols, strict=True)]
