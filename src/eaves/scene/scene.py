"""Open a raster: its grid, its bands, its valid pixels, read at any window and any ground resolution."""

from __future__ import annotations

import math
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from eaves.errors import SceneError
from eaves.scene.files import as_pixel, is_blank, open_raster, read_date, read_palette
from eaves.scene.grid import ground_gsd_m as measure_gsd_m
from eaves.scene.kept import Kept
from eaves.scene.resample import axis_taps, resample

_CHUNK_PX = 512


class Scene:
    """A raster seen on a working grid.

    Opening reads the header only. A scene can be pickled and sent to other processes; every process and thread
    opens its own file handle. Resampling averages when the working pixel is larger than the file's, and
    interpolates bilinearly when it is smaller; it depends on the place alone, never on the window read.

    Args:
        path: File or URL that GDAL reads.
        gsd_m: Wanted ground size of a pixel in metres; none keeps the file's grid.
        nodata: Value that means "no imagery" where the file does not say so: a pixel with this value in every band.
        bands: Bands to read, 1-based; by default all but alpha.
        ground_gsd_m: Ground size of a pixel for a file without a CRS.
        allow_vrt: Open virtual rasters, which can point at any other file.
        keep: Keep what was resampled for the windows that follow, while 128 MB a process have room for the whole grid.

    Attributes:
        path: As given.
        native_grid: The file's own grid (``odc.geo`` GeoBox).
        grid: The working grid; everything read is on it.
        native_gsd_m: Ground size of the file's pixel in metres, none where unknown.
        gsd_m: The same of the working grid.
        bands: Bands read, 1-based.
        dtype: Pixel type as read.
        nodata: The nodata value in force, or none.

    Raises:
        SceneError: Not a raster, not an allowed kind, or a resolution is asked for where none is known.

    Example:
        >>> scene = Scene("ortho.tif").at(0.3)  # doctest: +SKIP
        >>> image, valid = scene.read(Window(0, 0, 512, 512))  # doctest: +SKIP
    """

    def __init__(
        self,
        path: str | Path,
        *,
        gsd_m: float | None = None,
        nodata: float | None = None,
        bands: tuple[int, ...] | None = None,
        ground_gsd_m: float | None = None,
        allow_vrt: bool = False,
        keep: bool = False,
    ) -> None:
        self.path = str(path)
        self._keep = keep
        self._kept: Kept | None = None
        self._allow_vrt = allow_vrt
        self._stated_gsd_m = ground_gsd_m
        self._stated_nodata = nodata
        self._handles = threading.local()
        source = self._open()
        self._palette = read_palette(source)
        self._alpha = next((i for i in source.indexes if source.colorinterp[i - 1] == ColorInterp.alpha), None)
        self.color_names = tuple(c.name for c in source.colorinterp)
        self.file_dtypes = tuple(source.dtypes)
        self.bands = self._choose_bands(source, bands)
        self.dtype = np.dtype("uint8" if self._palette is not None else source.dtypes[self.bands[0] - 1])
        self.nodata = nodata if nodata is not None else source.nodata
        self._blank = as_pixel(self.nodata, np.dtype(source.dtypes[self.bands[0] - 1]))
        self._flags = source.mask_flag_enums[self.bands[0] - 1]
        self.native_grid = GeoBox(source.shape, source.transform, source.crs)
        self.block_px: tuple[int, int] = source.block_shapes[0]
        if self.native_grid.crs is None and (source.gcps[0] or source.rpcs):
            raise SceneError(
                f"a georeferenced grid in {path}",
                "ground control points or RPCs without a grid",
                "warp it first: gdalwarp -t_srs EPSG:… in.tif out.tif",
            )
        self.native_gsd_m = measure_gsd_m(self.native_grid) or ground_gsd_m
        self._set_grid(gsd_m)

    # --- what it is ---------------------------------------------------------------------------------------------------

    @property
    def crs(self) -> Any:
        """The coordinate reference system, or none in pixel space."""
        return self.grid.crs

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the working grid."""
        return int(self.grid.shape[0]), int(self.grid.shape[1])

    @property
    def name(self) -> str:
        """The file's name without folder and suffix."""
        return Path(self.path).stem

    @property
    def date(self) -> str | None:
        """The day on which the file says that it was taken, such as ``2026-05-31``; none where it says nothing."""
        return read_date(self._handle())

    def at(self, gsd_m: float | None) -> Scene:
        """Return the same scene on a grid of another ground resolution; none is the file's own.

        Raises:
            SceneError: The scene has neither a CRS nor a stated resolution.
        """
        other = self._copy()
        other._set_grid(gsd_m)
        return other

    def with_bands(self, count: int) -> Scene:
        """Return the same scene with so many bands, where its file itself says which: red, green and blue out of more.

        Where it does not, the scene as it is; the caller finds that its bands are too many.
        """
        named = [self.color_names.index(name) + 1 for name in ("red", "green", "blue") if name in self.color_names]
        if not len(named) == count < len(self.bands):
            return self
        other = self._copy()
        other.bands = tuple(named)
        return other

    def fit(self, longest_px: int) -> Scene:
        """Return the same scene, made smaller where needed so that neither side has more pixels than this."""
        other = self._copy()
        other._set_factor(max(1.0, max(self.native_grid.shape) / longest_px))
        return other

    def _copy(self) -> Scene:
        other = Scene.__new__(Scene)
        other.__setstate__(self.__getstate__())
        return other

    def __repr__(self) -> str:
        rows, cols = self.shape
        gsd = f"{self.gsd_m:.3f} m" if self.gsd_m else "pixel space"
        return f"Scene({self.path!r}, {cols} x {rows} px, {gsd}, bands {self.bands} {self.dtype})"

    # --- reading ------------------------------------------------------------------------------------------------------

    def read(self, window: Window | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Read a window of the working grid.

        Args:
            window: In working pixels; may reach outside the scene. None reads all.

        Returns:
            The image ``(band, row, col)`` in :attr:`dtype`, 0 where there is no imagery, and ``valid`` ``(row, col)``
            bool: inside the scene, not nodata, not transparent, finite.

        Raises:
            SceneError: A block of the file cannot be decoded.
        """
        rows, cols = self.shape
        window = window or Window(0, 0, cols, rows)
        height, width = int(window.height), int(window.width)
        above, before = int(window.row_off), int(window.col_off)
        top, left = max(0, above), max(0, before)
        bottom, right = min(rows, above + height), min(cols, before + width)
        if bottom <= top or right <= left:
            return np.zeros((self._image_bands, height, width), self.dtype), np.zeros((height, width), bool)
        try:
            pixels, known = self._read_inside(Window(left, top, right - left, bottom - top))
        except RasterioError as error:
            cause = error.__cause__ or error
            raise SceneError(
                f"readable pixels in {self.path}",
                f"{cause} at rows {top}-{bottom}, columns {left}-{right}",
                "fetch the file again, or repair it with gdal_translate",
                because="every block must decode",
            ) from None
        if not known.all():
            np.copyto(pixels, 0, where=~known)
        if known.shape == (height, width):
            return pixels, known
        image, valid = np.zeros((self._image_bands, height, width), self.dtype), np.zeros((height, width), bool)
        inside = (slice(top - above, bottom - above), slice(left - before, right - before))
        image[:, *inside], valid[inside] = pixels, known
        return image, valid

    @property
    def _image_bands(self) -> int:
        return len(self.bands) if self._palette is None else 3

    def _read_inside(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        if self._factor == 1:
            return self._read_native(window)
        if self._keep and self._kept is None:
            self._kept = Kept.where_there_is_room(self.shape, self._image_bands, self.dtype)
        return self._kept.read(window, self._read_wide) if self._kept else self._read_wide(window)

    def _read_wide(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        height, width = int(window.height), int(window.width)
        if max(height, width) <= _CHUNK_PX:
            return self._read_resampled(window)
        # The file's own pixels of a wide window may be many: it is made of chunks.
        image, known = np.empty((self._image_bands, height, width), self.dtype), np.empty((height, width), bool)
        for top in range(0, height, _CHUNK_PX):
            for left in range(0, width, _CHUNK_PX):
                size = (min(_CHUNK_PX, width - left), min(_CHUNK_PX, height - top))
                part = (slice(top, top + size[1]), slice(left, left + size[0]))
                chunk = Window(window.col_off + left, window.row_off + top, *size)
                image[:, *part], known[part] = self._read_resampled(chunk)
        return image, known

    def _read_resampled(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        native_rows, native_cols = self.native_grid.shape
        rows = axis_taps(int(window.row_off), int(window.height), self._factor, native_rows)
        cols = axis_taps(int(window.col_off), int(window.width), self._factor, native_cols)
        top, left = int(rows.first[0]), int(cols.first[0])
        bottom = min(native_rows, int(rows.first[-1]) + rows.weights.shape[1])
        right = min(native_cols, int(cols.first[-1]) + cols.weights.shape[1])
        pixels, known = self._read_native(Window(left, top, right - left, bottom - top))
        return resample(pixels, known, rows, cols, (top, left))

    def _read_native(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Pixels and valid mask of a window of the file's own grid that lies inside it."""
        source = self._handle()
        pixels = source.read(self.bands, window=window)
        if self._alpha is not None:
            known = source.read(self._alpha, window=window) > 0
        elif MaskFlags.per_dataset in self._flags and MaskFlags.nodata not in self._flags:
            known = source.read_masks(self.bands[0], window=window) > 0
        else:
            known = np.ones(pixels.shape[1:], bool)
        if self._blank is not None:
            known &= ~is_blank(pixels, self._blank)
        if self._palette is not None:
            colors = self._palette[pixels[0]]  # (h, w, 4)
            return np.ascontiguousarray(np.moveaxis(colors[..., :3], -1, 0)), known & (colors[..., 3] > 0)
        if pixels.dtype.kind == "f":
            known &= np.isfinite(pixels).all(axis=0)
        return pixels, known

    # --- handles ------------------------------------------------------------------------------------------------------

    def _handle(self) -> DatasetReader:
        """The file handle of this process and thread."""
        held = getattr(self._handles, "held", None)
        if held is None or held[0] != os.getpid():
            self._handles.held = held = (os.getpid(), self._open())
        return held[1]

    def _open(self) -> DatasetReader:
        return open_raster(self.path, self._allow_vrt)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_handles"} | {"_kept": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._handles = threading.local()

    # --- set-up -------------------------------------------------------------------------------------------------------

    def _set_grid(self, gsd_m: float | None) -> None:
        if gsd_m is None:
            self._set_factor(1.0)
            return
        if self.native_gsd_m is None:
            raise SceneError(
                f"a known ground resolution of {self.path}",
                "no CRS and no stated resolution",
                "state it with --ground-gsd-m, or in the dataset as gsd_m",
                because=f"it is to be read at {gsd_m} m a pixel",
            )
        self._set_factor(gsd_m / self.native_gsd_m)

    def _set_factor(self, factor: float) -> None:
        if abs(factor - 1) < 1e-3:  # the same resolution but for rounding: keep the file's own pixels
            self._factor, self.grid, self.gsd_m = 1.0, self.native_grid, self.native_gsd_m
            return
        rows, cols = self.native_grid.shape
        shape = (max(1, math.ceil(rows / factor - 1e-6)), max(1, math.ceil(cols / factor - 1e-6)))
        self.grid = GeoBox(shape, self.native_grid.affine * Affine.scale(factor), self.native_grid.crs)
        self.gsd_m = None if self.native_gsd_m is None else self.native_gsd_m * factor
        self._factor = factor

    def _choose_bands(self, source: DatasetReader, wanted: tuple[int, ...] | None) -> tuple[int, ...]:
        if wanted is None:
            wanted = tuple(index for index in source.indexes if index != self._alpha)
        if not wanted or any(not 1 <= index <= source.count for index in wanted):
            raise SceneError(f"bands between 1 and {source.count} of {self.path}", f"{wanted}", "change the bands")
        kinds = {source.dtypes[index - 1] for index in wanted}
        if len(kinds) > 1:
            raise SceneError(f"bands of one type in {self.path}", f"{sorted(kinds)}", "choose bands of one type")
        if "complex" in next(iter(kinds)):
            raise SceneError(f"real numbers in {self.path}", f"{kinds.pop()}", "convert to amplitude first")
        return wanted
