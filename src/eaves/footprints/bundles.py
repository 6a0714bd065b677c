"""Which footprints have to be in memory together, and how to take them some thousands at a time."""

from __future__ import annotations

import numpy as np
import shapely

from eaves.footprints.walls import teams


def bundles(bounds: np.ndarray, reach: float, least: int, region: np.ndarray | None = None) -> list[np.ndarray]:
    """Put footprints into bundles such that those of different bundles lie farther than a distance from each other.

    Args:
        bounds: Left, bottom, right and top of each, float64 ``(n, 4)``; not numbers where it has no extent.
        reach: The distance, in units of the bounds.
        least: Footprints of a bundle, but for the last one of a region. A settlement without gaps makes a larger one.
        region: A number for each, int64 ``(n,)``; a bundle's footprints, or their neighbours, are of one region.

    Returns:
        Rows of each bundle in rising order, together all of them.

    Example:
        >>> rows = np.arange(4.0)[:, None] * [10, 0, 10, 0] + [0, 0, 5, 5]
        >>> [bundle.tolist() for bundle in bundles(rows, 4, 2)], len(bundles(rows, 6, 2))
        ([[0, 1], [2, 3]], 1)
    """
    boxes = np.where(np.isfinite(bounds).all(axis=1), shapely.box(*bounds.T), None)
    near, far = shapely.STRtree(boxes).query(boxes, predicate="dwithin", distance=reach)
    ahead = near < far
    team = teams(len(bounds), np.column_stack([near[ahead], far[ahead]]))
    _, first, team, sizes = np.unique(team, return_index=True, return_inverse=True, return_counts=True)
    where = (np.zeros(len(bounds), np.int64) if region is None else region)[first]
    order = np.lexsort((first, where))  # in the order of their first members, so that files are read nearly in sequence
    start = np.flatnonzero(np.diff(where[order], prepend=-1))
    past = np.cumsum(sizes[order]) - sizes[order]
    past -= np.repeat(past[start], np.diff(np.append(start, len(order))))  # in its region
    bundle = np.empty((len(order), 2), np.int64)
    bundle[order] = np.column_stack([where[order], past // max(least, 1)])
    _, bundle = np.unique(bundle, axis=0, return_inverse=True)
    bundle = bundle.reshape(-1)[team]
    rows = np.argsort(bundle, kind="stable")
    return np.split(rows, np.flatnonzero(np.diff(bundle[rows])) + 1) if len(rows) else []
