"""PoLiS: how far two outlines lie apart, from the vertices of each to the line of the other.

Source: J. Avbelj, R. Müller, R. Bamler, "A Metric for Polygon Comparison and Building Extraction Evaluation", IEEE
Geoscience and Remote Sensing Letters 12(1), 2015, equation 2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numba import njit

from eaves.errors import LabelError
from eaves.metrics.nearest import nearest_on_rings, pack
from eaves.metrics.polygons import valid_polygons


def polis(predictions: Any, references: Any) -> np.ndarray:
    """Return the PoLiS distance of pairs of polygons: the first with the first, and so on.

    Half the mean distance from one's vertices to the other's outline, and half of the same the other way round. Each
    vertex counts once: a coordinate that repeats the one before it, as the last of a ring does the first, makes no
    further vertex. Outlines are all rings: a courtyard that one side lacks counts as far as its vertices lie from the
    other's nearest ring.

    Args:
        predictions: Polygons and multipolygons in a metric plane, ``(n,)``.
        references: In the same plane, ``(n,)``.

    Returns:
        float64 ``(n,)`` in units of the plane, >= 0; 0 for equal outlines.

    Raises:
        LabelError: A geometry is missing, empty, invalid or no polygon, or the two sides are not as many.

    Example:
        >>> polis([shapely.box(1, 0, 11, 10)], [shapely.box(0, 0, 10, 10)]).tolist()  # 2 of 4 vertices are 1 off
        [0.5]
    """
    one, other = valid_polygons(predictions, "predictions"), valid_polygons(references, "references")
    if len(one) != len(other):
        raise LabelError("a reference for each prediction", f"{len(one)} and {len(other)}", "pass matched pairs")
    a, b = (pack(shapely.remove_repeated_points(side)) for side in (one, other))
    return (_mean_distances(*a, *b) + _mean_distances(*b, *a)) / 2


@njit(cache=True, nogil=True)
def _mean_distances(corners, rings, shapes, other_corners, other_rings, other_shapes):
    """Of each pair: mean distance from the vertices of one to the rings of the other."""
    means = np.empty(len(shapes) - 1)
    for pair in range(len(means)):
        total, count = 0.0, 0
        for ring in range(shapes[pair], shapes[pair + 1]):
            for i in range(rings[ring], rings[ring + 1] - 1):  # without the closing vertex
                x, y = corners[i]
                distance2, _, _ = nearest_on_rings(
                    x, y, other_corners, other_rings, other_shapes[pair], other_shapes[pair + 1]
                )
                total += np.sqrt(distance2)
                count += 1
        means[pair] = total / count
    return means
