"""What object measures need of polygons: that they are valid, and which of them an area of interest holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely

from eaves.errors import LabelError

COVERED = 0.5  # share of its own area from which an object belongs to what lies over it
_POLYGONAL = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)


def valid_polygons(geometries: Any, side: str) -> np.ndarray:
    """Return geometries as an array after checking that each is a polygon with an area that can be trusted.

    Args:
        geometries: Array, GeoSeries or list of shapely geometries, ``(n,)``.
        side: What to call them in the message.

    Returns:
        Object array, ``(n,)``.

    Raises:
        LabelError: One is missing, empty, invalid, or neither a polygon nor a multipolygon.

    Example:
        >>> len(valid_polygons([shapely.box(0, 0, 1, 1)], "references"))
        1
    """
    array = np.asarray(geometries, dtype=object)
    bad = ~np.isin(shapely.get_type_id(array), _POLYGONAL) | shapely.is_empty(array) | ~shapely.is_valid(array)
    if bad.any():
        first = int(np.argmax(bad))
        one = array[first]
        what = "nothing" if one is None else f"an empty {one.geom_type}" if one.is_empty else one.geom_type
        raise LabelError(
            f"valid polygons as {side}",
            f"{int(bad.sum())} others among {len(array)}, the first at position {first}: "
            f"{what}, {shapely.is_valid_reason(one)}",
            "mend them with shapely.make_valid, keep the polygons of the result, and drop what is empty",
            because="an invalid outline has no certain area",
        )
    return array


def inside_aoi(geometries: Any, aoi: shapely.Geometry) -> np.ndarray:
    """Tell which objects belong to an area of interest: those with at least half of their area inside.

    Objects are kept whole or left out, never cut, so that an outline at the border is still compared as drawn. Use it
    on predictions and references alike.

    Args:
        geometries: Array of shapely polygons, ``(n,)``.
        aoi: Polygon or multipolygon in the same plane.

    Returns:
        bool, ``(n,)``.

    Raises:
        LabelError: A geometry, or the AOI, is missing, empty, invalid or no polygon.

    Example:
        >>> aoi = shapely.box(0, 0, 10, 10)
        >>> inside_aoi([shapely.box(8, 0, 12, 1), shapely.box(9, 0, 12, 1)], aoi).tolist()
        [True, False]
    """
    objects = valid_polygons(geometries, "geometries")
    area = valid_polygons([aoi], "AOI")[0]
    shapely.prepare(area)
    inside = shapely.covers(area, objects)
    border = np.flatnonzero(~inside & shapely.intersects(area, objects))
    within = shapely.area(shapely.intersection(objects[border], area))
    inside[border] = within >= COVERED * shapely.area(objects[border])
    return inside
