"""Traced polygons → rows of a vector layer: world coordinates, true areas, scores."""

from __future__ import annotations

from typing import NamedTuple

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from odc.geo.geobox import GeoBox

from eaves.footprints.attributes import shape_columns
from eaves.footprints.simplify import simplify
from eaves.footprints.trace import Traced
from eaves.scene.grid import areas_m2
from eaves.scene.grid import ground_gsd_m as measure_gsd_m


class FootprintTable(NamedTuple):
    """Footprints, how many were too small to be among them, and how many holes of others were."""

    table: gpd.GeoDataFrame
    dropped: int
    filled: int


def footprint_table(
    traced: Traced,
    grid: GeoBox,
    *,
    min_area_m2: float = 0.0,
    min_hole_m2: float = 0.0,
    simplify_px: float = 1.0,
    ground_gsd_m: float | None = None,
    class_name: str | None = None,
    source: str | None = None,
    date: str | None = None,
) -> FootprintTable:
    """Put traced polygons on the map.

    Columns: ``class`` (where a name is given), ``score`` (mean over the pixels at or above the threshold, 0 … 1,
    0.0001), those of :func:`eaves.footprints.shape_columns`, ``source`` and ``date`` (where given), ``geometry``
    (Polygons, exteriors anticlockwise). An empty table has the same columns and CRS. A grid with neither a CRS nor
    ``ground_gsd_m`` has no metres: the columns are ``area_px`` and ``perimeter_px`` then, and ``min_area_m2`` and
    ``min_hole_m2`` mean square pixels.

    Args:
        traced: Polygons in pixels of ``grid``.
        grid: Grid of the score map.
        min_area_m2: Smaller footprints are left out and counted.
        min_hole_m2: Smaller holes are filled and counted.
        simplify_px: Tolerance of :func:`eaves.footprints.simplify`, in pixels; 0 keeps every crossing.
        ground_gsd_m: Side of a pixel on the ground, for a grid without a CRS.
        class_name: Value of the column ``class``.
        source: Value of the column ``source``.
        date: Value of the column ``date``.

    Returns:
        The table in the CRS of the grid, and the numbers of footprints left out and of holes filled.

    Example:
        >>> from affine import Affine
        >>> from eaves.footprints import trace
        >>> levels = np.zeros((20, 20), np.uint8)
        >>> levels[5:15, 5:15] = 254
        >>> levels[0, 0] = 254
        >>> grid = GeoBox((20, 20), Affine(0.5, 0, 500_000, 0, -0.5, 4_000_000), "EPSG:32645")
        >>> table, dropped, _ = footprint_table(trace(levels, 0.5), grid, min_area_m2=4)
        >>> len(table), dropped
        (1, 1)
    """
    pixel_m2 = (ground_gsd_m or 1.0) ** 2 if grid.crs is None else (measure_gsd_m(grid) or 1.0) ** 2
    outlines, filled = _fill_holes(traced.polygons, min_hole_m2 / pixel_m2)
    shapes = simplify(outlines, simplify_px)
    world = _to_world(shapes, grid)
    # corners may lie so near each other that rounding to the map's coordinates makes them touch; traced ones never do
    moved = np.flatnonzero(shapely.get_num_coordinates(shapes) != shapely.get_num_coordinates(outlines))
    touching = moved[~shapely.is_valid(world[moved])]
    world[touching] = _to_world(outlines[touching], grid)

    area = shapely.area(shapes) * pixel_m2 if grid.crs is None else areas_m2(world, grid.crs)
    keep = area >= min_area_m2
    world = world[keep]

    def constant(value: str | None) -> pd.Series | None:
        return None if value is None else pd.Series(value, index=range(len(world)), dtype="str")

    columns = {
        "class": constant(class_name),
        "score": traced.mean_score[keep].round(4),
        **shape_columns(world, grid.crs, ground_gsd_m),
        "source": constant(source),
        "date": constant(date),
    }
    columns = {name: column for name, column in columns.items() if column is not None}
    crs = None if grid.crs is None else grid.crs.proj
    table = gpd.GeoDataFrame(columns, geometry=world, crs=crs)
    return FootprintTable(table, int(len(keep) - keep.sum()), filled)


def _fill_holes(polygons: np.ndarray, least_px: float) -> tuple[np.ndarray, int]:
    """Fill holes with less area; return the polygons and how many were filled."""
    result, filled = polygons, 0
    for k in np.flatnonzero(shapely.get_num_interior_rings(polygons)) if least_px > 0 else ():
        holes = [hole for hole in polygons[k].interiors if shapely.Polygon(hole).area >= least_px]
        if gone := len(polygons[k].interiors) - len(holes):
            result = result.copy() if filled == 0 else result
            result[k] = shapely.Polygon(polygons[k].exterior, holes)
            filled += gone
    return result, filled


def _to_world(polygons: np.ndarray, grid: GeoBox) -> np.ndarray:
    a, b, c, d, e, f, *_ = grid.affine

    def move(xy: np.ndarray) -> np.ndarray:
        x, y = xy[:, 0], xy[:, 1]
        # written out, because a matrix product rounds otherwise for other numbers of rows
        return np.column_stack([a * x + b * y + c, d * x + e * y + f])

    return shapely.orient_polygons(shapely.transform(polygons, move))
