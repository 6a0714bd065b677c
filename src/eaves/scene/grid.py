"""Grids on the ground: what a pixel measures in metres, and areas that are true wherever the scene lies."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS, Geod, Transformer
from rasterio.windows import Window

_ELLIPSOID = Geod(ellps="WGS84")


def window_grid(grid: GeoBox, window: Window) -> GeoBox:
    """Return the grid of a window; the window may reach outside.

    Args:
        grid: The whole grid.
        window: In pixels of ``grid``.

    Example:
        >>> whole = GeoBox((10, 10), Affine.scale(2.0), None)
        >>> window_grid(whole, Window(1, 2, 3, 4)).shape
        Shape2d(x=3, y=4)
    """
    affine = grid.affine * Affine.translation(window.col_off, window.row_off)
    return GeoBox((int(window.height), int(window.width)), affine, grid.crs)


def ground_gsd_m(grid: GeoBox) -> float | None:
    """Measure the pixel at the grid's centre on the ellipsoid.

    EPSG:3857 metres and degrees are not metres on the ground; this measures the two pixel steps as geodesics.

    Returns:
        The side in metres of a square with the pixel's area, or none where the grid has no CRS.
    """
    if grid.crs is None:
        return None
    to_degrees = Transformer.from_crs(grid.crs.proj, 4326, always_xy=True)
    rows, cols = grid.shape
    col, row = cols / 2, rows / 2
    x, y = zip(*(grid.affine * at for at in ((col, row), (col + 1, row), (col, row + 1))), strict=True)
    lon, lat = to_degrees.transform(x, y)
    azimuth, _, length = _ELLIPSOID.inv([lon[0]] * 2, [lat[0]] * 2, lon[1:], lat[1:])
    turn = np.radians(azimuth[1] - azimuth[0])
    return float(np.sqrt(length[0] * length[1] * abs(np.sin(turn))))


def metric_crs(crs: Any, x: float, y: float) -> CRS:
    """Return a Lambert azimuthal equal-area system around a point: true areas everywhere, true lengths nearby.

    Args:
        crs: System of ``x`` and ``y``; anything pyproj understands.
        x: Easting or longitude.
        y: Northing or latitude.
    """
    lon, lat = Transformer.from_crs(_as_pyproj(crs), 4326, always_xy=True).transform(x, y)
    return CRS.from_proj4(f"+proj=laea +lat_0={lat:.6f} +lon_0={lon:.6f} +datum=WGS84 +units=m +no_defs")


def project(geometries: Any, source: Any, target: Any) -> np.ndarray:
    """Return geometries moved from one system to another, ``(x, y)`` order always."""
    geometries = np.asarray(geometries, dtype=object)
    move = Transformer.from_crs(_as_pyproj(source), _as_pyproj(target), always_xy=True)
    return shapely.transform(geometries, lambda xy: np.column_stack(move.transform(xy[:, 0], xy[:, 1])))


def areas_m2(geometries: Any, crs: Any) -> np.ndarray:
    """Return true areas in square metres; without a CRS, areas in square units of the coordinates.

    Args:
        geometries: Array of shapely geometries, ``(n,)``.
        crs: Their system, or none.

    Returns:
        float64, ``(n,)``.
    """
    geometries = np.asarray(geometries, dtype=object)
    if crs is None or not len(geometries):
        return shapely.area(geometries).astype(float)
    left, bottom, right, top = shapely.total_bounds(geometries)
    if not np.isfinite([left, bottom, right, top]).all():  # only empty geometries
        return np.zeros(len(geometries))
    local = metric_crs(crs, (left + right) / 2, (bottom + top) / 2)
    return shapely.area(project(geometries, crs, local))


def _as_pyproj(crs: Any) -> CRS:
    return CRS.from_user_input(getattr(crs, "proj", crs))
