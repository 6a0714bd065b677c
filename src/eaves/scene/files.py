"""Open raster files: which kinds, how, and what their numbers mean."""

from __future__ import annotations

import contextlib
import os
import re
import warnings
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio._path import _parse_path
from rasterio.enums import ColorInterp
from rasterio.env import set_gdal_config
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader

from eaves.errors import SceneError

_DRIVERS = ("GTiff", "COG", "PNG", "JPEG", "WEBP", "JP2OpenJPEG", "JP2ECW", "HFA", "ENVI", "MRF", "BMP", "AAIGrid")
_REMOTE = ("http://", "https://", "s3://", "gs://", "/vsicurl/", "/vsis3/", "/vsigs/", "/vsiaz/")

_DATE_TAGS = ("ACQUISITION_DATE", "acquisition_date", "TIFFTAG_DATETIME")

# GDAL's block cache would grow to 5 % of the machine's memory; a stream needs no more than a row of blocks.
if "GDAL_CACHEMAX" not in os.environ:
    set_gdal_config("GDAL_CACHEMAX", 128 * 1024**2)
_GDAL_OPTIONS: dict[str, Any] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".tif,.tiff,.vrt,.jp2,.png,.jpg",
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_TIMEOUT": "60",
}


def open_raster(path: str, allow_vrt: bool = False) -> DatasetReader:
    """Open a file or URL of a kind that Eaves reads.

    Args:
        path: File, URL or GDAL's ``/vsi…`` name.
        allow_vrt: Open virtual rasters too.

    Raises:
        SceneError: It is missing, broken, or of another kind.

    Example:
        >>> open_raster("none.tif")
        Traceback (most recent call last):
        eaves.errors.SceneError: Expected a raster file. Received none.tif, which does not exist. Do: check the path.
    """
    drivers = (*_DRIVERS, "VRT") if allow_vrt else _DRIVERS
    remote = path.startswith(_REMOTE)
    if not remote and "://" not in path and not path.startswith("/vsi") and not Path(path).is_file():
        raise SceneError("a raster file", f"{path}, which does not exist", "check the path")
    try:
        with warnings.catch_warnings(), rasterio.Env(**(_GDAL_OPTIONS if remote else {})):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # pixel space is a normal case here
            return DatasetReader(_parse_path(path), driver=list(drivers))  # rasterio.open takes one driver only
    except RasterioError as error:
        raise SceneError(
            "a raster of a kind that Eaves opens (GeoTIFF, COG, PNG, JPEG, JPEG 2000, WebP, ERDAS, ENVI)",
            f"{path}: {error}",
            "check that the file is complete" + ("" if allow_vrt else "; a VRT needs --allow-vrt"),
        ) from None


def read_palette(source: DatasetReader) -> np.ndarray | None:
    """The colour table as ``(256, 4)`` uint8, where the single band is an index into one."""
    if source.colorinterp[0] != ColorInterp.palette or source.dtypes[0] != "uint8":
        return None
    table = source.colormap(1)
    return np.array([table.get(index, (0, 0, 0, 0)) for index in range(256)], np.uint8)


def read_date(source: DatasetReader) -> str | None:
    """The day on which a file says that its imagery was taken, as ``2026-05-31``.

    GDAL's ``IMAGERY`` metadata (``ACQUISITIONDATETIME``) come first, then the tags ``ACQUISITION_DATE`` and
    ``TIFFTAG_DATETIME``; the last one may be the day on which the file was made.
    """
    tags = source.tags()
    for text in (source.tags(ns="IMAGERY").get("ACQUISITIONDATETIME"), *map(tags.get, _DATE_TAGS)):
        found = re.match(r"\s*(\d{4})[-:/](\d{2})[-:/](\d{2})", text or "")
        if found:
            with contextlib.suppress(ValueError):  # 0000:00:00, as some cameras write
                return date(*map(int, found.groups())).isoformat()
    return None


def as_pixel(value: float | None, dtype: np.dtype) -> np.generic | None:
    """The value as a pixel has it, or none where no pixel can: comparing within one type is ten times faster.

    Example:
        >>> as_pixel(255.0, np.dtype("uint8")), as_pixel(-9999, np.dtype("uint8"))
        (np.uint8(255), None)
    """
    if value is None or (dtype.kind in "iu" and not float(value).is_integer()):
        return None
    if dtype.kind in "iu" and not np.iinfo(dtype).min <= value <= np.iinfo(dtype).max:
        return None
    with np.errstate(over="ignore"):
        pixel = dtype.type(value)
    return None if np.isinf(pixel) and not np.isinf(value) else pixel


def is_blank(pixels: np.ndarray, blank: np.generic) -> np.ndarray:
    """Where every band has a value (NaN too): bool ``(h, w)`` of ``(band, h, w)``."""
    there = _equal(pixels[0], blank)
    for band in pixels[1:]:
        if not there.any():
            break
        there &= _equal(band, blank)
    return there


def _equal(band: np.ndarray, value: np.generic) -> np.ndarray:
    return np.isnan(band) if np.isnan(value) else band == value
