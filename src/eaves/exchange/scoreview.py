"""A score map seen on another grid of the same place: what a network gave at 1 m, under an image of 0.5 m."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from eaves.errors import SceneError
from eaves.exchange.scores import NODATA
from eaves.scene.resample import axis_taps, resample

ReadLevels = Callable[[Window], np.ndarray]
"""Window of a map's own grid, inside it → levels uint8 ``(band, row, col)``."""


class ScoreView:
    """Levels of a score map on a grid that begins at the same corner.

    Finer pixels are interpolated bilinearly, coarser ones averaged, as :class:`eaves.scene.Scene` does, so that a
    window of the view does not depend on what else was read. Can be pickled where its reader can.

    Args:
        read: Reads the map's own grid.
        native: That grid.
        grid: The wanted one.
        bands: Number of score maps.
        name: For messages.

    Raises:
        SceneError: The grids differ in their CRS, corner, axes or extent.
    """

    def __init__(self, read: ReadLevels, native: GeoBox, grid: GeoBox, bands: int, name: str) -> None:
        self._read, self._native_shape = read, (int(native.shape[0]), int(native.shape[1]))
        self.grid, self.bands = grid, bands
        self.factor = _factor(native, grid, name)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.grid.shape[0]), int(self.grid.shape[1])

    def read(self, window: Window) -> np.ndarray:
        """Read a window; it may reach outside, where nothing is known.

        Returns:
            Levels uint8 ``(band, row, col)``, 255 where there is none.

        Raises:
            SceneError: A block cannot be decoded, or a value is no score.
        """
        rows, cols = self.shape
        height, width = int(window.height), int(window.width)
        above, before = int(window.row_off), int(window.col_off)
        top, left = max(0, above), max(0, before)
        bottom, right = min(rows, above + height), min(cols, before + width)
        levels = np.full((self.bands, height, width), NODATA, np.uint8)
        if bottom > top and right > left:
            inside = np.s_[:, top - above : bottom - above, left - before : right - before]
            levels[inside] = self._inside(top, left, bottom - top, right - left)
        return levels

    def _inside(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        if self.factor == 1:
            return self._read(Window(left, top, width, height))
        rows = axis_taps(top, height, self.factor, self._native_shape[0])
        cols = axis_taps(left, width, self.factor, self._native_shape[1])
        first = int(rows.first[0]), int(cols.first[0])
        last = (
            min(taps_of, int(taps.first[-1]) + taps.weights.shape[1])
            for taps, taps_of in zip((rows, cols), self._native_shape, strict=True)
        )
        bottom, right = last
        native = self._read(Window(first[1], first[0], right - first[1], bottom - first[0]))
        levels, known = resample(native, (native != NODATA).all(axis=0), rows, cols, first)
        np.copyto(levels, NODATA, where=~known)
        return levels


class RollingLevels:
    """The strips of a map that is still being made, read from top to bottom by a view: old rows are forgotten.

    Args:
        strips: First row and levels ``(band, rows, width)``, in order and without gaps.
    """

    def __init__(self, strips: Iterator[tuple[int, np.ndarray]]) -> None:
        self._strips, self._row, self._held = strips, 0, None

    def __call__(self, window: Window) -> np.ndarray:
        """Read a window; its first row is never above that of the window before."""
        top, bottom = int(window.row_off), int(window.row_off + window.height)
        parts: list[np.ndarray] = [] if self._held is None else [self._held]
        end = self._row + sum(part.shape[1] for part in parts)
        while end < bottom:
            _, levels = next(self._strips)
            parts.append(levels)
            end += levels.shape[1]
        held = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        if top < self._row:
            raise ValueError(f"expected rows from {self._row} on, got {top}")
        self._held, self._row = held[:, top - self._row :], top
        return self._held[:, : bottom - top, window.col_off : window.col_off + window.width]


def one_system(one: GeoBox, other: GeoBox) -> bool:
    """Tell whether two grids are in one CRS, or both in none; the order of its axes does not matter."""
    if one.crs is None or other.crs is None:
        return one.crs is None and other.crs is None
    return one.crs == other.crs or one.crs.proj.equals(other.crs.proj, ignore_axis_order=True)


def _factor(native: GeoBox, grid: GeoBox, name: str) -> float:
    """Pixels of the map in one of the wanted grid, along either axis."""
    shift = ~native.affine * grid.affine
    reach = max(native.shape) * max(abs(shift.a), 1)
    square = abs(shift.a - shift.e) * max(native.shape) < 0.5 and abs(shift.b) + abs(shift.d) < 1e-6
    corner = max(abs(shift.c), abs(shift.f)) < 0.01 * max(1.0, shift.a)
    # Either extent may reach beyond the other by the last pixel alone.
    extent = all(
        abs(own - other * shift.a) <= max(1.0, shift.a) + 1e-3 * reach / max(native.shape)
        for own, other in zip(native.shape, grid.shape, strict=True)
    )
    if not one_system(native, grid) or not (square and corner and extent):
        raise SceneError(
            f"a score map of the scene: {name} with the scene's corner, extent and axes",
            f"{tuple(native.shape)} px from {native.affine.c:.3f} {native.affine.f:.3f} with pixels of "
            f"{native.affine.a:.4g}, for {tuple(grid.shape)} px from {grid.affine.c:.3f} {grid.affine.f:.3f} "
            f"with pixels of {grid.affine.a:.4g}",
            "make it with eaves predict on this scene, or bring it there with gdalwarp -te … -t_srs …",
        )
    return 1.0 if abs(shift.a - 1) < 1e-3 and tuple(native.shape) == tuple(grid.shape) else float(shift.a)
