"""The max tangent angle error: by how much the worst piece of an outline runs in another direction than the truth.

Source: N. Girard, D. Smirnov, J. Solomon, Y. Tarabalka, "Polygonal Building Extraction by Frame Field Learning", CVPR
2021, arXiv:2004.14875, section 5 ("max tangent angle error").
"""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numba import njit

from eaves.errors import SettingsError
from eaves.labels.fill import Outlines
from eaves.metrics.nearest import nearest_on_rings, pack
from eaves.metrics.polygons import valid_polygons

INSIDE = 0.5
"""A prediction is measured if more than this share of its area lies in references."""
_STRETCH = 2.0


def tangent_errors(predictions: Any, references: Any, step: float, *, inside: np.ndarray | None = None) -> np.ndarray:
    """Return the max tangent angle error of each prediction.

    Each edge of a prediction is cut into ``length / step`` equal pieces (rounded, at least one), and the ends of the
    pieces are moved to the nearest place on the outline of any reference, holes included. A piece that becomes twice as
    long or more, half as long or less, or a point, says nothing (its ends went to two places, or to one corner) and is
    left out. The error is the greatest angle between a piece and what became of it, whichever way either runs.

    Args:
        predictions: Polygons and multipolygons in a plane, ``(n,)``.
        references: In the same plane, ``(m,)``.
        step: Length of a piece, in units of the plane, > 0; the source takes 2 px.
        inside: Predictions that are known to lie in references with more than half of their area, bool ``(n,)``; of the
            others it is worked out, at the cost of cutting them. None: of all.

    Returns:
        Degrees, float64 ``(n,)`` in [0, 90]; NaN where no more than half of a prediction lies in references, or no
        piece of it is left.

    Raises:
        LabelError: A geometry is missing, empty, invalid or no polygon.
        SettingsError: ``step`` is not above 0.

    Example:
        >>> house, shifted = shapely.box(0, 0, 10, 10), shapely.box(1, 0, 11, 10)
        >>> tangent_errors([shifted], [house], 2.0).round(2).tolist()  # (1, 10) stays, (1, 8) goes to (0, 8): 1 in 2
        [26.57]
    """
    if not 0 < step < np.inf:
        raise SettingsError("pieces of a length above 0", f"{step}", "change step")
    pred, ref = valid_polygons(predictions, "predictions"), valid_polygons(references, "references")
    errors = np.full(len(pred), np.nan)
    tree = shapely.STRtree(ref)
    measured = np.zeros(len(pred), bool) if inside is None else inside.copy()
    asked = np.flatnonzero(~measured)
    measured[asked] = _mostly_inside(pred[asked], ref, tree)
    which = np.flatnonzero(measured)
    if len(which):
        errors[which] = _measure(pred[which], pack(ref), tree, float(step))
    return errors


def _mostly_inside(pred: np.ndarray, ref: np.ndarray, tree: shapely.STRtree) -> np.ndarray:
    """Whether more than half of each prediction's area lies in the references together."""
    p, r = tree.query(pred, predicate="intersects")
    shared = shapely.area(shapely.intersection(pred[p], ref[r]))
    least = INSIDE * shapely.area(pred)
    total, largest = np.bincount(p, shared, len(pred)), np.zeros(len(pred))
    np.maximum.at(largest, p, shared)
    result = total > least
    for index in np.flatnonzero(result & (largest <= least)):  # references may overlap, and count once
        together = shapely.union_all(ref[r[p == index]])
        result[index] = shapely.area(shapely.intersection(pred[index], together)) > least[index]
    return result


def _measure(pred: np.ndarray, ref: Outlines, tree: shapely.STRtree, step: float) -> np.ndarray:
    own = pack(pred)
    # First among what each prediction meets. That bounds how far off anything nearer can be; then among all of that.
    p, r = tree.query(pred, predicate="intersects")
    reach, _ = _project(*own, *ref, np.searchsorted(p, np.arange(len(pred) + 1)), r, step)
    left, bottom, right, top = shapely.bounds(pred).T
    p, r = tree.query(shapely.box(left - reach, bottom - reach, right + reach, top + reach))
    _, cosines = _project(*own, *ref, np.searchsorted(p, np.arange(len(pred) + 1)), r, step)
    return np.degrees(np.arccos(np.minimum(cosines, 1.0)))


@njit(cache=True, nogil=True)
def _project(corners, rings, shapes, ref_corners, ref_rings, ref_shapes, starts, near, step):
    """Of each polygon: the greatest distance that a sample is moved, and the least cosine of a piece; NaN without."""
    reach, cosines = np.zeros(len(shapes) - 1), np.full(len(shapes) - 1, np.nan)
    for shape in range(len(shapes) - 1):
        for ring in range(shapes[shape], shapes[shape + 1]):
            before = np.empty(4)  # the last sample, and where it went
            for i in range(rings[ring], rings[ring + 1] - 1):
                length = np.hypot(corners[i + 1, 0] - corners[i, 0], corners[i + 1, 1] - corners[i, 1])
                pieces = max(1, int(np.rint(length / step)))
                for piece in range(0 if i == rings[ring] else 1, pieces + 1):
                    share = piece / pieces
                    x = corners[i, 0] + share * (corners[i + 1, 0] - corners[i, 0])
                    y = corners[i, 1] + share * (corners[i + 1, 1] - corners[i, 1])
                    best, to_x, to_y = np.inf, np.nan, np.nan
                    for at in range(starts[shape], starts[shape + 1]):
                        first, end = ref_shapes[near[at]], ref_shapes[near[at] + 1]
                        distance2, on_x, on_y = nearest_on_rings(x, y, ref_corners, ref_rings, first, end)
                        if distance2 < best:
                            best, to_x, to_y = distance2, on_x, on_y
                    reach[shape] = max(reach[shape], np.sqrt(best))
                    if piece > 0:
                        along_x, along_y, new_x, new_y = (
                            x - before[0],
                            y - before[1],
                            to_x - before[2],
                            to_y - before[3],
                        )
                        was, now = np.hypot(along_x, along_y), np.hypot(new_x, new_y)
                        if was > 0 and now * _STRETCH > was and now < was * _STRETCH:
                            cosine = abs(along_x * new_x + along_y * new_y) / (was * now)
                            if not cosine >= cosines[shape]:  # the first is compared with NaN
                                cosines[shape] = cosine
                    before[0], before[1], before[2], before[3] = x, y, to_x, to_y
    return reach, cosines
