"""Round buildings: the circle of an outline."""

from __future__ import annotations

import math

import numpy as np
import shapely

_SAGITTA = 0.05  # of the tolerance: how far the polygon's edges cut into the circle
_FEWEST, _MOST = 16, 128  # corners


def fit_circles(polygons: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The circle of each exterior: about the middle of its area, and as large.

    Args:
        polygons: shapely Polygons, object ``(n,)``.

    Returns:
        Middles, float64 ``(n, 2)``, and radii, float64 ``(n,)``.

    Example:
        >>> middle, radius = fit_circles(np.array([shapely.Point(3, 4).buffer(2, 64)]))
        >>> middle.round(2).tolist(), radius.round(2).tolist()
        ([[3.0, 4.0]], [2.0])
    """
    filled = shapely.polygons(shapely.get_exterior_ring(polygons))
    return shapely.get_coordinates(shapely.centroid(filled)), np.sqrt(shapely.area(filled) / math.pi)


def circle(x: float, y: float, radius: float, tolerance: float) -> shapely.Polygon:
    """A regular polygon in the place of a circle, of the same area.

    Example:
        >>> round(circle(0, 0, 10, 0.5).area, 3) == round(100 * math.pi, 3)
        True
    """
    share = min(_SAGITTA * tolerance / max(radius, 1e-9), 1.0)
    count = min(max(4 * math.ceil(math.pi / math.acos(1 - share) / 4), _FEWEST), _MOST)
    reach = radius * math.sqrt(2 * math.pi / (count * math.sin(2 * math.pi / count)))
    angle = 2 * math.pi * np.arange(count) / count
    return shapely.Polygon(np.column_stack([x + reach * np.cos(angle), y + reach * np.sin(angle)]))


def compactness(polygons: np.ndarray) -> np.ndarray:
    """``4 pi area / perimeter²`` of exteriors: 1 for a circle, 0.785 for a square; float64 ``(n,)``."""
    filled = shapely.polygons(shapely.get_exterior_ring(polygons))
    return 4 * math.pi * shapely.area(filled) / np.maximum(shapely.length(filled), 1e-12) ** 2
