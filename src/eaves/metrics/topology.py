"""Whether outlines fit to be a map layer: beside each other, with their courtyards, without slivers."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely

from eaves.metrics.nearest import pack
from eaves.metrics.polygons import COVERED, valid_polygons


def overlap_area(polygons: Any) -> float:
    """Return the area that polygons share with each other, summed over pairs, in square units of the plane.

    Args:
        polygons: Of one layer, ``(n,)``.

    Raises:
        LabelError: A geometry is missing, empty, invalid or no polygon.

    Example:
        >>> overlap_area([shapely.box(0, 0, 2, 2), shapely.box(1, 0, 3, 2), shapely.box(3, 0, 4, 2)])
        2.0
    """
    shapes = valid_polygons(polygons, "polygons")
    one, other = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    once = one < other
    return float(shapely.area(shapely.intersection(shapes[one[once]], shapes[other[once]])).sum())


def holes_kept(predictions: Any, references: Any) -> tuple[int, int]:
    """Count the holes of references, and those that the prediction of each has too.

    A hole is kept if at least half of its area lies in holes of the prediction.

    Args:
        predictions: Polygons and multipolygons, ``(n,)``.
        references: The reference of each, ``(n,)``.

    Returns:
        Holes that are kept, and all of them.

    Raises:
        LabelError: A geometry is missing, empty, invalid or no polygon.

    Example:
        >>> ring = shapely.box(0, 0, 9, 9).difference(shapely.box(3, 3, 6, 6))
        >>> holes_kept([ring, shapely.box(0, 0, 9, 9)], [ring, ring])
        (1, 2)
    """
    pred, ref = valid_polygons(predictions, "predictions"), valid_polygons(references, "references")
    (hole, pair), (ours, of_pair) = _holes(ref), _holes(pred)
    kept = np.zeros(len(hole))
    by_pair = np.searchsorted(of_pair, np.arange(len(pred) + 1))
    for index, at in enumerate(pair):  # few buildings have any
        there = ours[by_pair[at] : by_pair[at + 1]]
        kept[index] = shapely.area(shapely.intersection(there, hole[index])).sum()
    return int((kept >= COVERED * shapely.area(hole)).sum()), len(hole)


def self_touching(polygons: Any) -> np.ndarray:
    """Tell which valid polygons touch themselves: a hole meets the outer ring or another hole, parts meet in a point.

    Args:
        polygons: ``(n,)``.

    Returns:
        bool ``(n,)``.

    Raises:
        LabelError: A geometry is missing, empty, invalid or no polygon.

    Example:
        >>> notched = shapely.Polygon([(0, 0), (4, 0), (4, 4), (0, 4)], [[(0, 2), (2, 1), (2, 3)]])
        >>> self_touching([shapely.box(0, 0, 1, 1), notched]).tolist()
        [False, True]
    """
    shapes = valid_polygons(polygons, "polygons")
    return ~shapely.is_simple(shapely.boundary(shapes))


def mean_widths(polygons: Any) -> np.ndarray:
    """Return how wide polygons are on average: area over half the perimeter, nearly the width of what is long.

    Args:
        polygons: ``(n,)``.

    Returns:
        float64 ``(n,)``, in units of the plane.

    Raises:
        LabelError: A geometry is missing, empty, invalid or no polygon.

    Example:
        >>> mean_widths([shapely.box(0, 0, 1, 99), shapely.box(0, 0, 4, 4)]).tolist()
        [0.99, 2.0]
    """
    shapes = valid_polygons(polygons, "polygons")
    return 2 * shapely.area(shapes) / shapely.length(shapes)


def shortest_edges(polygons: Any) -> np.ndarray:
    """Return the shortest edge of each polygon, holes included; repeated coordinates are no edge.

    Args:
        polygons: ``(n,)``.

    Returns:
        float64 ``(n,)``, in units of the plane.

    Raises:
        LabelError: A geometry is missing, empty, invalid or no polygon.

    Example:
        >>> shortest_edges([shapely.box(0, 0, 3, 2)]).tolist()
        [2.0]
    """
    packed = pack(shapely.remove_repeated_points(valid_polygons(polygons, "polygons")))
    lengths = np.hypot(*np.diff(packed.corners, axis=0, append=np.nan).T)
    lengths[packed.rings[1:] - 1] = np.inf  # from one ring to the next
    first = packed.rings[packed.shapes[:-1]]
    return np.minimum.reduceat(lengths, first) if len(first) else np.empty(0)


def _holes(polygons: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Holes as polygons, and the polygon that each is of."""
    parts, owner = shapely.get_parts(polygons, return_index=True)
    with_any = np.flatnonzero(shapely.get_num_interior_rings(parts))
    holes = [shapely.Polygon(ring) for part in parts[with_any] for ring in part.interiors]
    owners = np.repeat(owner[with_any], shapely.get_num_interior_rings(parts[with_any]))
    return np.array(holes, dtype=object), owners
