"""The nearest place on the rings of polygons: what PoLiS and the tangent error are made of."""

from __future__ import annotations

import numpy as np
from affine import Affine
from numba import njit

from eaves.labels.fill import Outlines


def pack(polygons: np.ndarray) -> Outlines:
    """Return the rings of polygons as arrays, in their own coordinates; a ring's last corner repeats its first."""
    return Outlines.of(polygons, Affine.identity())


@njit(cache=True, nogil=True)
def nearest_on_rings(x, y, corners, rings, first, end):
    """Squared distance from a point to the rings ``first`` … ``end - 1``, and the nearest place on them."""
    best, best_x, best_y = np.inf, np.nan, np.nan
    for ring in range(first, end):
        for i in range(rings[ring], rings[ring + 1] - 1):
            from_x, from_y = corners[i]
            along_x, along_y = corners[i + 1, 0] - from_x, corners[i + 1, 1] - from_y
            length2 = along_x * along_x + along_y * along_y
            share = 0.0
            if length2 > 0:
                share = min(max(((x - from_x) * along_x + (y - from_y) * along_y) / length2, 0.0), 1.0)
            at_x, at_y = from_x + share * along_x, from_y + share * along_y
            distance2 = (x - at_x) ** 2 + (y - at_y) ** 2
            if distance2 < best:
                best, best_x, best_y = distance2, at_x, at_y
    return best, best_x, best_y
