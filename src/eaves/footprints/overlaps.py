"""Outlines that share ground: each piece goes to the surest."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely

_MOSTLY = 0.5
_GRID_PX = 1e-3


def part_overlaps(
    polygons: np.ndarray, scores: np.ndarray, least_share: float = _MOSTLY
) -> tuple[np.ndarray, np.ndarray]:
    """Cut polygons so that none overlaps another: where two do, the one with the lower score gives way.

    Args:
        polygons: Valid shapely Polygons, object ``(n,)``.
        scores: float ``(n,)``; of equal ones the earlier counts as surer.
        least_share: What has less of its area left is dropped: it was the same thing once more.

    Returns:
        The polygons in their order, object ``(n,)``, with corners on a grid of 0.001; of those cut into pieces the
        largest piece. And whether each is kept, bool ``(n,)``.

    Example:
        >>> pair = np.array([shapely.box(0, 0, 4, 2), shapely.box(3, 0, 7, 2)])
        >>> parted, kept = part_overlaps(pair, np.array([0.9, 0.8]))
        >>> parted[1].bounds, kept.tolist()
        ((4.0, 0.0, 7.0, 2.0), [True, True])
    """
    # Corners on one fine grid: what is cut along another's wall has that wall, and stays valid on the map.
    polygons = np.array([_largest(each) for each in shapely.set_precision(polygons, _GRID_PX)], object)
    kept = ~shapely.is_empty(polygons)
    i, j = shapely.STRtree(polygons).query(polygons, predicate="intersects")
    rank = np.empty(len(polygons), np.intp)
    rank[np.argsort(-np.asarray(scores, float), kind="stable")] = np.arange(len(polygons))
    below = rank[j] < rank[i]
    i, j = i[below], j[below]
    order = np.argsort(rank[i], kind="stable")
    i, j = i[order], j[order]
    for group in np.split(np.arange(len(i)), np.flatnonzero(np.diff(i)) + 1):
        if not len(group):
            continue
        at, surer = int(i[group[0]]), j[group]
        surer = surer[kept[surer]]
        if not len(surer):
            continue
        whole = float(polygons[at].area)
        surer_ground = shapely.union_all(polygons[surer], grid_size=_GRID_PX)
        polygons[at] = _largest(shapely.difference(polygons[at], surer_ground, grid_size=_GRID_PX))
        kept[at] = polygons[at].area >= least_share * whole and not polygons[at].is_empty
    return polygons, kept


def _largest(shape: Any) -> shapely.Polygon:
    """The largest polygon of a geometry; an empty one where there is none."""
    pieces = [piece for piece in shapely.get_parts(shape) if piece.geom_type == "Polygon"]
    return max(pieces, key=lambda piece: piece.area, default=shapely.Polygon())
