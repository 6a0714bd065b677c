"""Corners: how many an outline has, how many of them are right angles, and what that makes of the IoU."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely

from eaves.metrics.nearest import pack
from eaves.metrics.polygons import valid_polygons

RIGHT_WITHIN_DEG = 1.0
"""So far may a right angle be from 90 or 270 degrees, and a vertex on a straight wall from 180."""


def vertices(polygons: Any) -> np.ndarray:
    """Count the vertices of outer rings; a coordinate that repeats the one before it is none, nor the last of a ring.

    Courtyards do not count, as in the sources of C-IoU and of the vertex ratio; the parts of a multipolygon do.

    Args:
        polygons: Polygons and multipolygons, ``(n,)``.

    Returns:
        int64 ``(n,)``, at least 3.

    Raises:
        LabelError: A geometry is missing, empty, invalid or no polygon.

    Example:
        >>> vertices([shapely.box(0, 0, 1, 1)]).tolist()
        [4]
    """
    shapes = shapely.remove_repeated_points(valid_polygons(polygons, "polygons"))
    parts, owner = shapely.get_parts(shapes, return_index=True)
    each = shapely.get_num_coordinates(shapely.get_exterior_ring(parts)) - 1
    return np.bincount(owner, each, len(shapes)).astype(np.int64)


def c_iou(iou: float | None, predicted_vertices: int, reference_vertices: int) -> float | None:
    """Return the complexity-aware IoU of an image: the IoU, less for outlines with too many or too few vertices.

    ``IoU * (1 - |N - M| / (N + M))``, where N and M are the vertices that the two sides have in the whole image. Means
    over images are of their C-IoU.

    Source: S. Zorzi, S. Bazrafkan, S. Habenschuss, F. Fraundorfer, "PolyWorld", CVPR 2022, arXiv:2111.15491, section 4.

    Args:
        iou: Of the image's pixels, in [0, 1]; None where neither side has any.
        predicted_vertices: See :func:`vertices`.
        reference_vertices: The same of the reference.

    Returns:
        In [0, 1]; 1 where both sides are empty: nothing was there, and nothing was drawn. None where there are vertices
        but the IoU is not known.

    Example:
        >>> c_iou(0.8, 12, 4)
        0.4
    """
    total = predicted_vertices + reference_vertices
    if iou is None:
        return None if total else 1.0
    return iou * (1 - abs(predicted_vertices - reference_vertices) / total) if total else iou


def right_angles(polygons: Any) -> tuple[np.ndarray, np.ndarray]:
    """Count right angles, and corners, of all rings.

    A right angle is 90 or 270 degrees on the inside, give or take 1. A vertex within 1 degree of 180 lies on a straight
    wall: it is no corner. Neither is a coordinate that repeats the one before it.

    Args:
        polygons: Polygons and multipolygons, in a plane where angles are true, ``(n,)``.

    Returns:
        Right angles and corners of each polygon, int64 ``(n,)`` each; the former are among the latter.

    Raises:
        LabelError: A geometry is missing, empty, invalid or no polygon.

    Example:
        >>> right, corners = right_angles([shapely.Polygon([(0, 0), (2, 0), (4, 0), (4, 3), (0, 2)])])
        >>> right.tolist(), corners.tolist()  # (2, 0) lies on a wall
        ([2], [4])
    """
    shapes = shapely.remove_repeated_points(valid_polygons(polygons, "polygons"))
    packed = pack(shapes)
    edges = np.diff(packed.corners, axis=0)
    ends = packed.rings[1:] - 1  # the closing coordinate of each ring
    ring = np.repeat(np.arange(len(ends)), np.diff(packed.rings))
    at = np.delete(np.arange(len(packed.corners)), ends)
    before = np.where(at == packed.rings[ring[at]], ends[ring[at]] - 1, at - 1)  # the edge that comes in
    came, goes = edges[before], edges[at]
    cross = came[:, 0] * goes[:, 1] - came[:, 1] * goes[:, 0]
    turn = np.degrees(np.abs(np.arctan2(cross, (came * goes).sum(axis=1))))
    corner, right = turn > RIGHT_WITHIN_DEG, np.abs(turn - 90) <= RIGHT_WITHIN_DEG
    owner = np.repeat(np.arange(len(shapes)), np.diff(packed.shapes))[ring[at]]
    return tuple(np.bincount(owner[kind], minlength=len(shapes)) for kind in (right, corner))  # pyright: ignore
