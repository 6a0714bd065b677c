"""What a table says of each footprint's shape."""

from __future__ import annotations

from typing import Any

import geopandas as gpd
import numpy as np
import shapely

from eaves.scene.grid import areas_m2
from eaves.scene.plane import MetricPlane, regions


def shape_columns(polygons: np.ndarray, crs: Any, unit_m: float | None = None) -> dict[str, np.ndarray]:
    """Measure shapes.

    Args:
        polygons: shapely Polygons or MultiPolygons, object ``(n,)``.
        crs: Their system, or none.
        unit_m: Metres of a unit where there is no system; none where nobody knows.

    Returns:
        ``area_m2`` (true square metres, 0.01) and ``perimeter_m`` (0.01), named ``area_px`` and ``perimeter_px`` where
        there are no metres; ``orientation_deg`` (of the longer side of the smallest rectangle around it, clockwise from
        the y axis, 0 up to 180, 0.1; a square has either of its two); ``compactness`` (4 pi area / perimeter² with the
        courtyards' walls: 1 is a circle, 0.785 a square; 0.001); ``vertices`` (corners of all rings).

    Example:
        >>> columns = shape_columns(np.array([shapely.box(0, 0, 20, 10)]), "EPSG:32633")
        >>> columns["orientation_deg"].tolist(), columns["compactness"].tolist(), columns["vertices"].tolist()
        ([90.0], [0.698], [4])
    """
    unit = "px" if crs is None and unit_m is None else "m"
    flat = np.empty(len(polygons), object)
    region = regions(shapely.bounds(polygons), crs)
    for number in range(int(region.max(initial=-1)) + 1):
        mine = region == number
        flat[mine] = MetricPlane(polygons[mine], crs, unit_m or 1.0).there(polygons[mine])
    area = shapely.area(flat) if crs is None else areas_m2(polygons, crs)
    perimeter = shapely.length(flat)
    parts, owner = shapely.get_parts(polygons, return_index=True)
    closing = np.bincount(
        owner, (shapely.get_num_interior_rings(parts) + 1) * ~shapely.is_empty(parts), minlength=len(polygons)
    )
    return {
        f"area_{'m2' if unit == 'm' else 'px'}": area.round(2),
        f"perimeter_{unit}": perimeter.round(2),
        "orientation_deg": _orientation(flat).round(1) % 180.0,
        "compactness": (4 * np.pi * area / np.maximum(perimeter, 1e-12) ** 2).round(3),
        "vertices": shapely.get_num_coordinates(polygons) - closing.astype(np.int64),
    }


def _orientation(polygons: np.ndarray) -> np.ndarray:
    """Azimuth of the longer side of the smallest rectangle, in degrees; 0 where there is none."""
    angle = np.zeros(len(polygons))
    around = shapely.oriented_envelope(polygons)
    boxed = np.flatnonzero((shapely.get_type_id(around) == 3) & ~shapely.is_empty(around))
    if len(boxed):
        corners = shapely.get_coordinates(around[boxed]).reshape(len(boxed), 5, 2)
        sides = corners[:, 1:3] - corners[:, 0:2]  # (n, two sides, xy)
        lengths = np.hypot(sides[..., 0], sides[..., 1])
        longer = sides[np.arange(len(boxed)), lengths.argmax(axis=1)]
        angle[boxed] = np.degrees(np.arctan2(longer[:, 0], longer[:, 1])) % 180
    return angle


def with_shapes(table: gpd.GeoDataFrame, unit_m: float | None = None) -> gpd.GeoDataFrame:
    """Return a table whose columns of shapes (:func:`shape_columns`) are those of its geometry; new ones come last.

    Args:
        table: Footprints.
        unit_m: Metres of a unit where there is no CRS.
    """
    columns = shape_columns(table.geometry.to_numpy(), table.crs, unit_m)
    geometry = table.geometry
    # A layer that lost its CRS, or got one, has the other unit's columns of an earlier outline.
    stale = [name for name in ("area_m2", "perimeter_m", "area_px", "perimeter_px") if name not in columns]
    rest = table.drop(columns=[geometry.name, *stale], errors="ignore").assign(**columns)
    return gpd.GeoDataFrame(rest, geometry=geometry.to_numpy(), crs=table.crs)
