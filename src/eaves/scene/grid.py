"""Grids on the ground: what a pixel measures in metres, and areas that are true wherever the scene lies."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import CRSError, ProjError
from rasterio.windows import Window

from eaves.errors import EavesError, LabelError, SceneError

_ELLIPSOID = Geod(ellps="WGS84")
_MOST_LON = 360.0  # some count them from 0


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

    Raises:
        SceneError: The CRS is not of the Earth.
    """
    if grid.crs is None:
        return None
    to_degrees = _transformer(grid.crs.proj, 4326, SceneError)
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

    Raises:
        LabelError: The system is not of the Earth, or the point does not lie in it.
    """
    lon, lat = _transformer(crs, 4326).transform(x, y)
    _check_degrees(lon, lat, x, y, crs)
    return CRS.from_proj4(f"+proj=laea +lat_0={lat:.6f} +lon_0={lon:.6f} +datum=WGS84 +units=m +no_defs")


def project(geometries: Any, source: Any, target: Any, *, strict: bool = True) -> np.ndarray:
    """Return geometries moved from one system to another, ``(x, y)`` order always.

    Args:
        geometries: shapely geometries, ``(n,)``.
        source: Their system; anything pyproj understands.
        target: The other.
        strict: Refuse what has no place in the other system; else its coordinates are infinite.

    Raises:
        LabelError: A system is not of the Earth, or a geometry does not lie in both.
    """
    geometries = np.asarray(geometries, dtype=object)
    move = _transformer(source, target)
    moved = shapely.transform(geometries, lambda xy: np.column_stack(move.transform(xy[:, 0], xy[:, 1])))
    lost = np.isinf(shapely.bounds(moved)).any(axis=1) if strict else np.zeros(0, bool)
    if lost.any():
        left, bottom, right, top = shapely.total_bounds(geometries[lost])
        raise LabelError(
            f"coordinates that lie in {_name(source)}",
            f"{int(lost.sum())} of {len(moved)} features elsewhere, "
            f"x {left:.7g} … {right:.7g}, y {bottom:.7g} … {top:.7g}",
            "set the right CRS, or take them out of the layer",
        )
    return moved


def areas_m2(geometries: Any, crs: Any) -> np.ndarray:
    """Return true areas in square metres; without a CRS, areas in square units of the coordinates.

    Args:
        geometries: Array of shapely geometries, ``(n,)``.
        crs: Their system, or none.

    Returns:
        float64, ``(n,)``.

    Raises:
        LabelError: The system is not of the Earth, or a geometry does not lie in it.
    """
    geometries = np.asarray(geometries, dtype=object)
    if crs is None or not len(geometries):
        return shapely.area(geometries).astype(float)
    left, bottom, right, top = shapely.total_bounds(geometries)
    if not np.isfinite([left, bottom, right, top]).all():  # only empty geometries
        return np.zeros(len(geometries))
    local = metric_crs(crs, (left + right) / 2, (bottom + top) / 2)
    return shapely.area(project(geometries, crs, local))


def _transformer(source: Any, target: Any, trouble: type[EavesError] = LabelError) -> Transformer:
    systems = _as_pyproj(source), _as_pyproj(target)
    for crs in systems:
        if crs.is_geocentric:
            raise trouble("a CRS of places on a map", f"{crs.name}, from the middle of the Earth", "set the right CRS")
    try:
        return Transformer.from_crs(*systems, always_xy=True)
    except (CRSError, ProjError):
        names = " to ".join(map(_name, systems))
        raise trouble("a CRS that lies on the Earth", f"one without a way from {names}", "set the right CRS") from None


def _check_degrees(lon: float, lat: float, x: float, y: float, crs: Any) -> None:
    """PROJ takes any numbers for degrees."""
    if not (abs(lon) <= _MOST_LON and abs(lat) <= 90):
        raise LabelError(
            f"coordinates that lie in {_name(crs)}", f"some around x {x:.7g}, y {y:.7g}", "set the right CRS"
        )


def _name(crs: Any) -> str:
    crs = _as_pyproj(crs)
    return ":".join(crs.to_authority() or (crs.name,))


def _as_pyproj(crs: Any) -> CRS:
    return CRS.from_user_input(getattr(crs, "proj", crs))
