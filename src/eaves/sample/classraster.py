"""A class raster beside a scene, read at the scene's pixel centres."""

from __future__ import annotations

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.windows import Window

from eaves.errors import LabelError
from eaves.labels import UNKNOWN, ClassTable
from eaves.scene import Scene


class ClassRaster:
    """Classes from a raster of values or colours; the nearest pixel counts. It can be pickled.

    A raster without a CRS must have the scene's own pixels, one for one. A raster with one may lie on any grid.

    Args:
        path: The raster.
        table: What its values or colours mean.
        scene: The scene that it labels.

    Raises:
        SceneError: The raster cannot be opened.
        LabelError: It cannot be laid on the scene.
    """

    def __init__(self, path: str, table: ClassTable, scene: Scene) -> None:
        self._raster = _Codes(path, indices=table.bands == 1)
        self._table = table
        self.grid = self._raster.native_grid
        if tuple(self.grid.shape) == tuple(scene.native_grid.shape) and (self.grid.crs is None or scene.crs is None):
            self.grid = scene.native_grid
        elif self.grid.crs is None or scene.crs is None:
            rows, cols = self.grid.shape
            raise LabelError(
                f"a class raster of {scene.native_grid.shape[1]} x {scene.native_grid.shape[0]} px like {scene.path}",
                f"{cols} x {rows} px in {path}",
                "give both the same pixels, or both a CRS",
                because="without a CRS only equal pixels say where a label belongs",
            )

    def read(self, grid: GeoBox) -> tuple[np.ndarray, np.ndarray]:
        """Return classes at the pixel centres of a window's grid.

        Returns:
            uint8 ``(h, w)``, and bool ``(h, w)``: the raster has something to say here, be it UNKNOWN.

        Raises:
            SceneError: A block cannot be decoded.
        """
        codes, there = self._nearest(grid)
        classes, named = self._table.look_up(codes)
        named &= there
        silent = ~there
        if self._raster.stated_nodata is not None:
            silent |= ~named & (codes == self._raster.stated_nodata).all(axis=0)
        classes[silent] = UNKNOWN
        return classes, named | silent

    def unnamed(self, grid: GeoBox, where: np.ndarray) -> dict[str, int]:
        """Count the codes without a class under ``where``, bool ``(h, w)``."""
        codes, there = self._nearest(grid)
        return self._table.unnamed(codes, where & there & ~self._table.look_up(codes)[1])

    def _nearest(self, grid: GeoBox) -> tuple[np.ndarray, np.ndarray]:
        """Codes ``(b, h, w)`` and where the raster has pixels."""
        rows, cols = (int(size) for size in grid.shape)
        col, row = np.meshgrid(np.arange(cols) + 0.5, np.arange(rows) + 0.5)
        x, y = _apply(grid.affine, col, row)
        if self.grid.crs is not None and grid.crs is not None and self.grid.crs != grid.crs:
            move = Transformer.from_crs(grid.crs.proj, self.grid.crs.proj, always_xy=True)
            x, y = move.transform(x, y)
        at_col, at_row = (np.floor(axis).astype(np.int64) for axis in _apply(~self.grid.affine, x, y))
        height, width = self.grid.shape
        inside = (at_row >= 0) & (at_row < height) & (at_col >= 0) & (at_col < width)
        if not inside.any():
            return np.zeros((self._table.bands, rows, cols), np.uint8), inside
        top, left = at_row[inside].min(), at_col[inside].min()
        block = Window(left, top, at_col[inside].max() - left + 1, at_row[inside].max() - top + 1)
        values, valid = self._raster.read(block)
        at_row, at_col = np.where(inside, at_row - top, 0), np.where(inside, at_col - left, 0)
        codes = values[:, at_row, at_col]
        return codes, inside & valid[at_row, at_col]


def _apply(affine: Affine, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return affine.a * x + affine.b * y + affine.c, affine.d * x + affine.e * y + affine.f


class _Codes(Scene):
    """A scene that shows numbers as the file has them: a colour table is ignored, nodata is a number like others."""

    def __init__(self, path: str, *, indices: bool) -> None:
        super().__init__(path, nodata=float("nan"))
        self.stated_nodata: float | None = self._handle().nodata
        if indices:
            self._palette = None
