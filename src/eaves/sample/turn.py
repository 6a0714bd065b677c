"""Chips at an angle: the same place, seen turned about its middle."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from eaves.errors import SettingsError
from eaves.labels import UNKNOWN
from eaves.labels.objects import number_objects
from eaves.sample.source import Chip

_WARPED = ("uint8", "uint16", "int16", "float32", "float64")


def angles(step_deg: float) -> list[float]:
    """The angles at which a chip is cut, beginning with 0, until it has turned once.

    Args:
        step_deg: Below 360; 0 turns nothing.

    Raises:
        SettingsError: It is out of range.

    Example:
        >>> angles(90), angles(0)
        ([0.0, 90.0, 180.0, 270.0], [0.0])
    """
    if not 0 <= step_deg < 360:
        raise SettingsError("an angle from 0 up to 360 degrees", f"{step_deg}", "use 90, or 0 for no rotation")
    count = math.ceil(360 / step_deg - 1e-9) if step_deg else 1
    return [float(step_deg * number) for number in range(count)]


def turn_chip(read: Callable[[Window], Chip], window: Window, angle_deg: float) -> Chip:
    """Read a chip turned about its middle. Right angles move pixels exactly; others interpolate the image bilinearly.

    What shows in the corners is read from the scene, so that nothing is made up.

    Args:
        read: Gives the chip of any window.
        window: A square one.
        angle_deg: Of the chip's axes against the scene's, clockwise on the screen.
    """
    side = int(window.width)
    if angle_deg % 90 == 0:
        turns = int(angle_deg // 90) % 4
        arrays = (
            None if array is None else np.ascontiguousarray(np.rot90(array, turns, axes=(-2, -1)))
            for array in read(window)
        )
        return Chip(*arrays)  # pyright: ignore[reportArgumentType]
    margin = math.ceil(side * (math.sqrt(2) - 1) / 2) + 1
    wide = read(Window(window.col_off - margin, window.row_off - margin, side + 2 * margin, side + 2 * margin))
    # OpenCV counts from pixel centres, everything here from corners.
    centers = (
        Affine.translation(margin - 0.5, margin - 0.5) * _about_middle(side, angle_deg) * Affine.translation(0.5, 0.5)
    )
    matrix = np.array([[centers.a, centers.b, centers.c], [centers.d, centers.e, centers.f]])

    def warp(plane: np.ndarray, flags: int) -> np.ndarray:
        return cv2.warpAffine(plane, matrix, (side, side), flags=flags | cv2.WARP_INVERSE_MAP)

    valid = warp(wide.valid.astype(np.float32), cv2.INTER_LINEAR) > 0.999
    image = np.stack([warp(plane, cv2.INTER_LINEAR) for plane in _warpable(wide.image)])
    if wide.image.dtype.kind in "iu":
        image = np.rint(image)
    mask = np.where(valid, warp(wide.mask, cv2.INTER_NEAREST), np.uint8(UNKNOWN))
    numbers = None
    if wide.instances is not None:
        numbers = number_objects(mask, warp(wide.instances, cv2.INTER_NEAREST))
    return Chip((image * valid).astype(wide.image.dtype), mask, valid, numbers)


def turned_grid(grid: GeoBox, angle_deg: float) -> GeoBox:
    """The grid of a turned chip: each of its pixels lies where it is from.

    Example:
        >>> grid = GeoBox((4, 4), Affine(1, 0, 10, 0, -1, 20), "EPSG:32633")
        >>> turned_grid(grid, 90).affine * (0, 0)
        (14.0, 20.0)
    """
    return GeoBox(grid.shape, grid.affine * _about_middle(int(grid.shape[1]), angle_deg), grid.crs)


def _about_middle(side: int, angle_deg: float) -> Affine:
    middle = side / 2
    return Affine.translation(middle, middle) * Affine.rotation(angle_deg) * Affine.translation(-middle, -middle)


def _warpable(image: np.ndarray) -> np.ndarray:
    return image if image.dtype.name in _WARPED else image.astype(np.float64)
