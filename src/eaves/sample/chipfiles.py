"""One chip, one file: images and label planes as rasters that other programs open."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from eaves.errors import OutputError, SceneError
from eaves.scene import Scene

IMAGE_SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".jp2", ".bmp")


def suffix_of(image: np.ndarray) -> str:
    """The format that holds an image ``(c, h, w)``: PNG for RGB of 8 bits, else TIFF."""
    return ".png" if image.dtype == np.uint8 and len(image) == 3 else ".tif"


def write_image(path: Path, image: np.ndarray, valid: np.ndarray, grid: GeoBox | None = None) -> None:
    """Write a chip's image; where it is not valid, a PNG is transparent and a TIFF masked.

    Args:
        path: Ends in ``.png`` (RGB of 8 bits) or ``.tif``.
        image: ``(c, h, w)``.
        valid: bool ``(h, w)``.
        grid: Where on earth; a TIFF keeps it.

    Raises:
        OutputError: It cannot be written.
    """
    if path.suffix == ".png":
        colors = [image[2], image[1], image[0]]  # OpenCV counts from blue
        if not valid.all():
            colors.append(valid.astype(np.uint8) * 255)
        path.write_bytes(cv2.imencode(".png", np.stack(colors, axis=-1))[1].tobytes())
    else:
        _write_tiff(path, image, grid, None if valid.all() else valid)


def write_plane(path: Path, plane: np.ndarray, grid: GeoBox | None = None) -> None:
    """Write a label plane, uint8 or uint16 ``(h, w)``, as a TIFF.

    Raises:
        OutputError: It cannot be written.
    """
    _write_tiff(path, plane[None], grid, None)


def read_image(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read an image ``(c, h, w)``, 0 where there is no imagery, and its valid pixels, bool ``(h, w)``.

    Raises:
        SceneError: It is missing or damaged.
    """
    return Scene(path).read()


def read_planes(path: Path) -> np.ndarray:
    """Read label planes ``(b, h, w)``; a colour table is ignored.

    Raises:
        SceneError: They are missing or damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as file:
                return file.read()
    except RasterioError as error:
        raise SceneError(f"labels in {path}", str(error.__cause__ or error), "export the folder again") from None


def _write_tiff(path: Path, planes: np.ndarray, grid: GeoBox | None, valid: np.ndarray | None) -> None:
    count, height, width = planes.shape
    profile: dict[str, Any] = {
        "transform": Affine.identity() if grid is None else grid.affine,
        "crs": None if grid is None or grid.crs is None else grid.crs.to_wkt(),
        "photometric": "RGB" if count == 3 and planes.dtype == np.uint8 else "MINISBLACK",
        "predictor": 1 if planes.dtype.kind == "f" else 2,
    }
    try:
        with warnings.catch_warnings(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(
                path,
                "w",
                driver="GTiff",
                count=count,
                height=height,
                width=width,
                dtype=planes.dtype.name,
                compress="deflate",
                interleave="pixel",
                **({"alpha": "no"} if count > 1 else {}),
                **profile,
            ) as file:
                file.write(np.ascontiguousarray(planes))
                if valid is not None:
                    file.write_mask(valid)
    except RasterioError as error:
        raise OutputError(f"{path} to be written", str(error.__cause__ or error), "choose another place") from None
