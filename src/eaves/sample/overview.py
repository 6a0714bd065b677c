"""Where a scene is known and what is there, coarsely: enough to draw windows without reading them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from rasterio.windows import Window

_FINEST_PX = 16
_MOST_CELLS = 1024


class Bounds(NamedTuple):
    """Least and most pixels of each class that windows can hold, both ``(n, classes)`` int64."""

    least: np.ndarray
    most: np.ndarray


class Overview:
    """Pixels of each class in square cells. Pixels that are not known count nowhere.

    Attributes:
        shape: Rows and columns of the scene in pixels.
        cell_px: Side of a cell.
        counts: int32 ``(classes, rows, cols)`` of cells.
    """

    def __init__(self, shape: tuple[int, int], cell_px: int, counts: np.ndarray) -> None:
        self.shape, self.cell_px, self.counts = shape, cell_px, counts
        self._sums: np.ndarray | None = None

    @classmethod
    def empty(cls, shape: tuple[int, int], classes: int) -> Overview:
        """Return an overview in which nothing is known. Cells are 16 px, larger in scenes above 16384 px."""
        cell_px = _FINEST_PX
        while max(shape) > cell_px * _MOST_CELLS:
            cell_px *= 2
        cells = (classes, -(-shape[0] // cell_px), -(-shape[1] // cell_px))
        return cls(shape, cell_px, np.zeros(cells, np.int32))

    @property
    def known(self) -> np.ndarray:
        """Known pixels of each cell, int64 ``(rows, cols)``."""
        return self.counts.sum(axis=0, dtype=np.int64)

    def add(self, window: Window, mask: np.ndarray) -> None:
        """Count a mask, uint8 ``(h, w)``; the window begins at the corner of a cell."""
        cell_px = self.cell_px
        top, left = int(window.row_off) // cell_px, int(window.col_off) // cell_px
        rows, cols = -(-mask.shape[0] // cell_px), -(-mask.shape[1] // cell_px)
        edge_rows, edge_cols = np.arange(rows) * cell_px, np.arange(cols) * cell_px
        for index in range(len(self.counts)):
            of_class = np.add.reduceat((mask == index).astype(np.int32), edge_rows, axis=0)
            self.counts[index, top : top + rows, left : left + cols] += np.add.reduceat(of_class, edge_cols, axis=1)
        self._sums = None

    def only(self, keep: np.ndarray) -> Overview:
        """Return the overview with nothing known outside ``keep``, bool ``(rows, cols)`` of cells."""
        return Overview(self.shape, self.cell_px, self.counts * keep)

    def bounds(self, rows: np.ndarray, cols: np.ndarray, chip_px: int) -> Bounds:
        """Bound what windows hold: whole cells inside, and all cells touched.

        Args:
            rows: First row of each window, ``(n,)``.
            cols: First column of each, ``(n,)``.
            chip_px: Side of the windows.
        """
        cell_px = self.cell_px
        least = self._sum(
            -(-rows // cell_px),
            -(-cols // cell_px),
            self._whole_cells_end(rows + chip_px, 0),
            self._whole_cells_end(cols + chip_px, 1),
        )
        most = self._sum(
            rows // cell_px, cols // cell_px, -(-(rows + chip_px) // cell_px), -(-(cols + chip_px) // cell_px)
        )
        return Bounds(least, np.minimum(most, chip_px * chip_px))

    def most_by_cell(self, chip_px: int) -> np.ndarray:
        """Most pixels of each class in a window that begins anywhere in a cell, int64 ``(classes, rows, cols)``."""
        reach = -(-(self.cell_px - 1 + chip_px) // self.cell_px)
        sums = self._corner_sums()
        rows, cols = (np.arange(size) for size in self.counts.shape[1:])
        below, right = np.minimum(rows + reach, len(rows)), np.minimum(cols + reach, len(cols))
        tall = sums[:, below] - sums[:, :-1]  # of strips that begin in each row
        return np.minimum(tall[:, :, right] - tall[:, :, :-1], chip_px * chip_px)

    def _whole_cells_end(self, end: np.ndarray, axis: int) -> np.ndarray:
        """The scene's last cells are cut by its edge: a window that reaches the edge holds them whole."""
        return np.where(end >= self.shape[axis], self.counts.shape[1 + axis], end // self.cell_px)

    def _sum(self, top: np.ndarray, left: np.ndarray, bottom: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Pixels of each class in boxes of cells, ``(n, classes)``."""
        sums = self._corner_sums()
        rows, cols = self.counts.shape[1:]
        top, bottom = np.clip(top, 0, rows), np.clip(bottom, 0, rows)
        left, right = np.clip(left, 0, cols), np.clip(right, 0, cols)
        bottom, right = np.maximum(bottom, top), np.maximum(right, left)
        return (sums[:, bottom, right] - sums[:, top, right] - sums[:, bottom, left] + sums[:, top, left]).T

    def _corner_sums(self) -> np.ndarray:
        """Pixels of each class above and left of every corner, ``(classes, rows + 1, cols + 1)``."""
        if self._sums is None:
            self._sums = np.pad(self.counts.astype(np.int64).cumsum(axis=1).cumsum(axis=2), ((0, 0), (1, 0), (1, 0)))
        return self._sums

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_sums": None}
