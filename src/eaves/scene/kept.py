"""What was resampled of a scene, kept for the windows that follow."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable

import numpy as np
from rasterio.windows import Window

_BLOCK_PX = 128
_ROOM_BYTES = 128 * 1024**2  # of a process, for all its scenes together: as much as GDAL's cache
_LOCK = threading.Lock()
_spent_bytes = 0


class Kept:
    """A scene's working grid in memory, filled block by block as windows ask for it. Threads may share it.

    Random windows overlap, and a resampled pixel is smaller than the file's pixels that it was drawn from (five of
    them at 0.13 → 0.3 m): the same memory spares more work here than in GDAL's block cache.
    """

    def __init__(self, shape: tuple[int, int], bands: int, dtype: np.dtype) -> None:
        self._image = np.zeros((bands, *shape), dtype)  # the system gives the memory where it is first written
        self._valid = np.zeros(shape, bool)
        self._ready = np.zeros([-(-size // _BLOCK_PX) for size in shape], bool)

    @classmethod
    def where_there_is_room(cls, shape: tuple[int, int], bands: int, dtype: np.dtype) -> Kept | None:
        """Return an empty one, or none where the process has spent what it may; the room is given back with it."""
        global _spent_bytes
        size = shape[0] * shape[1] * (bands * dtype.itemsize + 1)
        with _LOCK:
            if _spent_bytes + size > _ROOM_BYTES:
                return None
            _spent_bytes += size
        kept = cls(shape, bands, dtype)
        weakref.finalize(kept, _give_back, size)
        return kept

    def read(
        self, window: Window, draw: Callable[[Window], tuple[np.ndarray, np.ndarray]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read a window inside the grid.

        Args:
            window: Rows and columns.
            draw: Gives image and known pixels of any window inside the grid; asked for blocks that are not here yet.

        Returns:
            Copies of the image ``(band, row, col)`` and of where it is known, ``(row, col)``.
        """
        (top, bottom), (left, right) = window.toranges()
        blocks = (_around(top, bottom), _around(left, right))
        missing = ~self._ready[blocks]
        if missing.any():
            at_rows, at_cols = (np.flatnonzero(missing.any(axis=axis)) for axis in (1, 0))
            first, last = at_rows[0] + blocks[0].start, at_rows[-1] + blocks[0].start
            start, end = at_cols[0] + blocks[1].start, at_cols[-1] + blocks[1].start
            height, width = self._valid.shape
            rows = slice(int(first) * _BLOCK_PX, min(height, int(last + 1) * _BLOCK_PX))
            cols = slice(int(start) * _BLOCK_PX, min(width, int(end + 1) * _BLOCK_PX))
            self._image[:, rows, cols], self._valid[rows, cols] = draw(Window.from_slices(rows, cols))
            self._ready[first : last + 1, start : end + 1] = True  # last, for other threads
        return self._image[:, top:bottom, left:right].copy(), self._valid[top:bottom, left:right].copy()


def _around(start: int, stop: int) -> slice:
    return slice(start // _BLOCK_PX, -(-stop // _BLOCK_PX))


def _give_back(size: int) -> None:
    global _spent_bytes
    with _LOCK:
        _spent_bytes -= size
