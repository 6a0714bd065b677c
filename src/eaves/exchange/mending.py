"""Geometry hygiene: what people draw, as plain valid polygons or lines, with a note of everything that was done."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import shapely
from shapely import MultiLineString, MultiPolygon
from shapely.geometry.base import BaseGeometry

_SHOWN = 5


class Mended(NamedTuple):
    """Result of :func:`mend`.

    Attributes:
        geometries: Valid 2D polygons, multipolygons, lines or multilines, ``(n,)``; none where nothing could be kept.
        notes: What was done, in words with counts and the first feature ids; empty where nothing had to be.
    """

    geometries: np.ndarray
    notes: list[str]


def mend(geometries: np.ndarray, ids: np.ndarray) -> Mended:
    """Make geometries fit for burning, measuring and matching.

    A polygon stays a polygon, a line a line: of collections, and of what mending makes, only the parts of the highest
    dimension stay. Invalid shapes are mended so that areas stay areas (``make_valid(method="structure")``); a hole
    outside its shell becomes an area of its own.

    Args:
        geometries: Array of shapely geometries or none, ``(n,)``.
        ids: How to name them in the notes, ``(n,)``.

    Example:
        >>> bow_tie = shapely.from_wkt("POLYGON ((0 0, 2 2, 2 0, 0 2, 0 0))")
        >>> mend(np.array([bow_tie, None]), np.array([7, 8])).notes
        ['1 without geometry dropped (feature 8)', '1 invalid mended (feature 7)']
    """
    shapes = np.array(geometries, dtype=object)
    notes: list[str] = []

    def note(which: np.ndarray, what: str) -> None:
        if count := int(which.sum()):
            shown = ", ".join(str(name) for name in ids[which][:_SHOWN]) + (", …" if count > _SHOWN else "")
            notes.append(f"{count} {what} (feature{'s' if count > 1 else ''} {shown})")

    empty = shapely.is_missing(shapes) | shapely.is_empty(shapes)
    note(empty, "without geometry dropped")
    tall = shapely.has_z(shapes) | shapely.has_m(shapes)
    note(tall, "with heights flattened")
    shapes[tall] = shapely.force_2d(shapes[tall])
    dimensions = shapely.get_dimensions(shapes)
    points = ~empty & (dimensions == 0)
    note(points, "made of points dropped")
    endless = ~_finite(shapes)
    note(endless, "with coordinates that are not numbers dropped")
    shapes[empty | points | endless] = None
    mixed = shapely.get_type_id(shapes) == shapely.GeometryType.GEOMETRYCOLLECTION
    note(mixed, "collections reduced to their polygons or lines")
    for index in np.flatnonzero(mixed):
        shapes[index] = _of_dimension(shapes[index], dimensions[index])
    broken = ~shapely.is_missing(shapes) & ~shapely.is_valid(shapes)
    for index in np.flatnonzero(broken):
        shapes[index] = _valid(shapes[index], dimensions[index])
    collapsed = broken & shapely.is_missing(shapes)
    note(broken & ~collapsed, "invalid mended")
    note(collapsed, "without extent or beyond mending dropped")
    return Mended(shapes, notes)


def _finite(shapes: np.ndarray) -> np.ndarray:
    """Whether all coordinates of each shape are finite; ``shapely.bounds`` would skip NaN."""
    coordinates, owner = shapely.get_coordinates(shapes, return_index=True)
    finite = np.ones(len(shapes), bool)
    finite[owner[~np.isfinite(coordinates).all(axis=1)]] = False
    return finite


def _valid(shape: BaseGeometry | None, dimension: int) -> BaseGeometry | None:
    for _ in range(2):  # GEOS may give two parts that share an edge, which the second pass joins
        if shape is not None and not shape.is_valid:
            mended = shapely.make_valid(shape, method="structure", keep_collapsed=False)
            shape = _of_dimension(mended, dimension)
    return shape if shape is not None and shape.is_valid else None


def _of_dimension(shape: BaseGeometry, dimension: int) -> BaseGeometry | None:
    """The parts of a shape that are polygons (2) or lines (1), as one geometry."""
    parts: list[Any] = [
        part for part in _leaves(shape) if not part.is_empty and shapely.get_dimensions(part) == dimension
    ]
    if len(parts) < 2:
        return parts[0] if parts else None
    return MultiPolygon(parts) if dimension == 2 else MultiLineString(parts)


def _leaves(shape: Any) -> Iterator[Any]:
    if hasattr(shape, "geoms"):
        for part in shape.geoms:
            yield from _leaves(part)
    else:
        yield shape
