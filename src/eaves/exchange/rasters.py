"""Rasters written from strips: plain GeoTIFFs, and score maps as cloud-optimised GeoTIFFs."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import rasterio
import rasterio.shutil
from odc.geo.geobox import GeoBox
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from eaves.errors import OutputError
from eaves.exchange.atomic import whole_file
from eaves.exchange.provenance import ITEM, pack
from eaves.exchange.scores import LEVELS, NODATA

BLOCK_PX = 512
"""Side of the tiles inside the files."""


class _Writer(ABC):
    """A raster that is written from top to bottom inside a ``with`` block and appears when the block ends well."""

    def __enter__(self) -> Self:
        self._writing = self._files()
        self._strips = self._writing.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._writing.__exit__(*raised)

    @abstractmethod
    def _files(self) -> AbstractContextManager[_Strips]:
        """Open what takes the strips, and finish or remove it."""

    def write(self, row0: int, strip: np.ndarray) -> None:
        """Append a strip of full width.

        Args:
            row0: Its first row; strips follow each other without gap or overlap.
            strip: ``(band, rows, width)`` in the file's dtype, any number of rows.

        Raises:
            ValueError: The strip does not fit, or not here.
            OutputError: The disk is full.
        """
        self._strips.write(row0, strip)


class RasterWriter(_Writer):
    """A tiled, losslessly compressed GeoTIFF.

    Memory stays at one row of blocks, ``count * 512 * width`` values, beside GDAL's cache.

    Args:
        path: The file; it appears when the ``with`` block ends without an exception.
        grid: Shape, transform and CRS; without a CRS the file is in pixel space.
        count: Number of bands. Three of uint8 are red, green and blue; other counts have no colour, and none is alpha.
        dtype: Pixel type.
        nodata: Value that means "no imagery".
        descriptions: One a band.
        metadata: JSON-able, stored with the file.

    Raises:
        OutputError: The place cannot be written.

    Example:
        >>> with RasterWriter("city.tif", grid, 3, "uint8") as raster:  # doctest: +SKIP
        ...     raster.write(0, pixels)
    """

    def __init__(
        self,
        path: str | Path,
        grid: GeoBox,
        count: int,
        dtype: Any,
        *,
        nodata: float | None = None,
        descriptions: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.path, self.grid, self.metadata = Path(path), grid, metadata
        self._descriptions = descriptions
        dtype = np.dtype(dtype)
        self._profile: dict[str, Any] = {
            "count": count,
            "dtype": dtype.name,
            "nodata": nodata,
            "predictor": 3 if dtype.kind == "f" else 2,
            "photometric": "RGB" if count == 3 and dtype == np.uint8 else "MINISBLACK",
        }

    @contextmanager
    def _files(self) -> Iterator[_Strips]:
        with whole_file(self.path) as partial:
            with _Strips(partial, self.path, self.grid, self._profile) as strips:
                strips.describe(self._descriptions, self.metadata)
                yield strips
            _verify(partial, self.path, strips.shape)


class ScoreWriter(_Writer):
    """A score map: a cloud-optimised GeoTIFF with overviews, one band of levels a class.

    Nodata is 255 and every band has the scale 1/254, so GIS programs see scores in [0, 1].

    Args:
        path: The file; it appears when the ``with`` block ends without an exception.
        grid: Shape, transform and CRS; without a CRS the file is in pixel space.
        classes: Names of the bands, the background not among them.
        metadata: JSON-able, stored with the file.

    Raises:
        OutputError: The place cannot be written.

    Example:
        >>> with ScoreWriter("scores.tif", scene.grid, ["building"]) as scores:  # doctest: +SKIP
        ...     for row0, levels in strips:
        ...         scores.write(row0, levels)
    """

    def __init__(
        self, path: str | Path, grid: GeoBox, classes: Sequence[str], metadata: Mapping[str, Any] | None = None
    ) -> None:
        self.path, self.grid, self.classes, self.metadata = Path(path), grid, tuple(classes), metadata

    @contextmanager
    def _files(self) -> Iterator[_Strips]:
        profile = {
            "count": len(self.classes),
            "dtype": "uint8",
            "nodata": NODATA,
            "zlevel": 1,  # 4 % larger than the default and twice as fast
            "photometric": "MINISBLACK",  # otherwise the fourth class would be transparency
        }
        with whole_file(self.path) as partial:
            flat = partial.with_suffix(
                ".strips.tif"
            )  # the COG driver wants all pixels first, then puts overviews before
            with _Strips(flat, self.path, self.grid, profile) as strips:
                strips.describe(self.classes, self.metadata, scale=1 / LEVELS)
                yield strips
            with _quiet(), _reported(self.path):
                rasterio.shutil.copy(
                    flat,
                    partial,
                    driver="COG",
                    compress="DEFLATE",
                    level=1,
                    predictor="NO",
                    blocksize=BLOCK_PX,
                    overview_resampling="AVERAGE",
                    bigtiff="IF_SAFER",
                    num_threads="ALL_CPUS",
                )
            flat.unlink()
            _verify(partial, self.path, strips.shape)


def write_raster(
    path: str | Path,
    grid: GeoBox,
    array: np.ndarray,
    *,
    nodata: float | None = None,
    descriptions: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write an array at once; see :class:`RasterWriter`.

    Args:
        path: The file.
        grid: Shape, transform and CRS.
        array: ``(band, row, col)`` of any type that GeoTIFF has.
        nodata: Value that means "no imagery".
        descriptions: One a band.
        metadata: JSON-able, stored with the file.

    Raises:
        OutputError: The place cannot be written.

    Example:
        >>> write_raster("mask.tif", scene.grid, mask[None], nodata=255)  # doctest: +SKIP
    """
    writer = RasterWriter(
        path, grid, len(array), array.dtype, nodata=nodata, descriptions=descriptions, metadata=metadata
    )
    with writer:
        writer.write(0, array)


class _Strips:
    """A tiled GeoTIFF that takes strips of any height and gives GDAL whole rows of blocks.

    A block written in pieces would be compressed, evicted, read back and compressed again at another place.
    """

    def __init__(self, partial: Path, final: Path, grid: GeoBox, profile: dict[str, Any]) -> None:
        self._final = final
        height, width = (int(side) for side in grid.shape)
        self.shape = (profile["count"], height, width)
        with _quiet(), _reported(final):
            self._file = rasterio.open(
                partial,
                "w",
                driver="GTiff",
                height=height,
                width=width,
                crs=None if grid.crs is None else CRS.from_user_input(grid.crs.proj),
                transform=grid.affine,
                tiled=True,
                blockxsize=BLOCK_PX,
                blockysize=BLOCK_PX,
                compress="DEFLATE",
                bigtiff="IF_SAFER",
                **profile,
            )
        self._block = np.empty((self.shape[0], BLOCK_PX, width), profile["dtype"])
        self._row = 0  # rows taken so far

    def describe(
        self, names: Sequence[str] | None, metadata: Mapping[str, Any] | None, scale: float | None = None
    ) -> None:
        if names is not None:
            if len(names) != self.shape[0]:
                raise ValueError(f"{self.shape[0]} bands need as many names, not {list(names)}")
            self._file.descriptions = tuple(names)
        if scale is not None:
            self._file.scales = (scale,) * self.shape[0]
        if metadata:
            self._file.update_tags(**{ITEM: pack(metadata)})

    def write(self, row0: int, strip: np.ndarray) -> None:
        bands, height, width = self.shape
        if strip.ndim != 3 or strip.shape[::2] != (bands, width) or strip.dtype != self._block.dtype:
            wanted = f"({bands}, rows, {width}) {self._block.dtype}"
            raise ValueError(f"a strip of {self._final} is {wanted}, not {strip.shape} {strip.dtype}")
        if row0 != self._row or row0 + strip.shape[1] > height:
            rows = f"rows {row0} to {row0 + strip.shape[1]}"
            raise ValueError(f"{rows} of {self._final} came where row {self._row} of {height} was next")
        taken = 0
        while taken < strip.shape[1]:
            filled = self._row % BLOCK_PX
            rows = min(BLOCK_PX - filled, strip.shape[1] - taken)
            self._block[:, filled : filled + rows] = strip[:, taken : taken + rows]
            taken += rows
            self._row += rows
            if self._row % BLOCK_PX == 0 or self._row == height:
                self._write_block(filled + rows)

    def _write_block(self, rows: int) -> None:
        window = Window(0, self._row - rows, self.shape[2], rows)
        with _reported(self._final):
            self._file.write(self._block[:, :rows], window=window)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *raised: Any) -> None:
        try:
            with _reported(self._final):
                self._file.close()
        except OutputError:
            if kind is None:  # otherwise the first exception tells more
                raise
        if kind is None and self._row != self.shape[1]:
            raise ValueError(f"{self._final} has {self.shape[1]} rows, of which {self._row} were written")


def _verify(partial: Path, final: Path, shape: tuple[int, int, int]) -> None:
    """Open what was written and decode its last block, which a file that was cut short does not have."""
    try:
        with _quiet(), rasterio.open(partial) as file:
            if (file.count, file.height, file.width) != shape:
                raise OutputError(f"{final} with shape {shape}", f"{file.count, file.height, file.width}", "try again")
            file.read(window=Window(file.width - 1, file.height - 1, 1, 1))
    except RasterioError as error:
        raise OutputError(f"{final} to open after writing", f"{error.__cause__ or error}", "check the disk") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Pixel space is a normal case here, no reason for a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


@contextmanager
def _reported(final: Path) -> Iterator[None]:
    """Errors of GDAL while it writes, as ours."""
    try:
        yield
    except (RasterioError, CPLE_BaseError) as error:
        raise OutputError(
            f"{final} to be written whole", f"{error.__cause__ or error}", "check the room on the disk"
        ) from error
