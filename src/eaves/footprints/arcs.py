"""Fewer vertices for outlines that share walls, so that the walls stay shared."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import shapely


def simplify_together(
    polygons: np.ndarray, free: np.ndarray, tolerance: float, fixed: np.ndarray | None = None
) -> np.ndarray:
    """Simplify some of a set of polygons, and leave what they share with each other shared.

    Outlines fall into arcs between the places where others join or leave them. An arc of a free polygon is simplified
    once (Douglas & Peucker 1973) for all who have it, others stay as they are. That is what TopoJSON and GEOS'
    coverages do, but for a set of which some have walls that must not change.

    Args:
        polygons: Valid shapely Polygons; who shares a wall has the very same vertices along it, object ``(n,)``.
        free: Which of them may change; of the rest only what they share with those, bool ``(n,)``.
        tolerance: In units of the coordinates, above 0.
        fixed: Which may not change, nor what others share with them, bool ``(n,)``; none by default.

    Returns:
        As many, object ``(n,)``; the very same where nothing has changed; not all need be valid: an arc may have come
        to cross another. Empty where a ring has collapsed.

    Example:
        >>> wave = [(5, 0), (5.1, 1), (4.9, 2), (5, 3)]
        >>> left = shapely.Polygon([(0, 0), *wave, (0, 3)])
        >>> right = shapely.Polygon([*wave, (9, 3), (9, 0)])
        >>> simplify_together(np.array([left, right]), np.array([True, False]), 0.5)[1].wkt
        'POLYGON ((5 0, 5 3, 9 3, 9 0, 5 0))'
    """
    _, coords, (ring_ends, polygon_ends) = shapely.to_ragged_array(shapely.force_2d(polygons))
    ring = np.repeat(np.arange(len(ring_ends) - 1), np.diff(ring_ends))
    owner = np.repeat(np.arange(len(polygons)), np.diff(polygon_ends))[ring]
    places, at = np.unique(coords, axis=0, return_inverse=True)
    at = at.reshape(-1)
    begins = np.delete(np.arange(len(coords)), ring_ends[1:] - 1)  # where each edge begins
    ends = ring_ends - np.arange(len(ring_ends))  # of the rings, among the edges
    owner = owner[begins]
    # Whose an edge or a place is, as a sum of numbers drawn for each polygon: alike for the same set of them.
    mark = np.random.default_rng(0).integers(1, 2**62, len(polygons)).astype(np.uint64)
    _, edge = np.unique(np.sort(np.column_stack([at[begins], at[begins + 1]]), axis=1), axis=0, return_inverse=True)
    edge = edge.reshape(-1)
    whose, held, here = np.zeros(len(edge), np.uint64), np.zeros(len(edge), bool), np.zeros(len(places), np.uint64)
    np.add.at(whose, edge, mark[owner])
    held[:] = True
    held[edge[free[owner]]] = False
    if fixed is not None:
        held[edge[fixed[owner]]] = True
    visits = np.unique(np.column_stack([at[begins], owner]), axis=0)
    np.add.at(here, visits[:, 0], mark[visits[:, 1]])
    arcs, of_ring = [], []
    loose = np.bincount(owner, ~held[edge], minlength=len(polygons)) > 0
    for number in np.flatnonzero(loose[owner[ends[:-1]]]):
        mine = slice(ends[number], ends[number + 1])
        ids, code, fixed = at[begins[mine]], whose[edge[mine]], held[edge[mine]]
        node = fixed | np.roll(fixed, 1) | (here[ids] != code) | (here[ids] != np.roll(code, 1))
        first = np.argmax(node) if node.any() else np.argmin(ids)  # both who share a whole ring begin at one place
        cuts = np.flatnonzero(np.roll(node, -first)[1:]) + 1
        loop = np.append(np.roll(ids, -first), ids[first])
        of_ring.append(len(cuts) + 1)
        arcs += [loop[low : high + 1] for low, high in zip([0, *cuts], [*cuts, len(ids)], strict=True)]
    if not arcs:
        return polygons.copy()
    drawn = _draw(places, arcs, tolerance)
    made, past = [], 0
    for count in of_ring:
        made.append(np.concatenate([*(line[:-1] for line in drawn[past : past + count]), drawn[past][:1]]))
        past += count
    result = polygons.copy()
    result[loose] = _polygons(made, np.diff(polygon_ends)[loose])
    return result


def _draw(places: np.ndarray, arcs: list[np.ndarray], tolerance: float) -> list[np.ndarray]:
    """Coordinates of arcs, simplified in the same direction whoever runs along them."""
    backwards = [arc[0] > arc[-1] or (arc[0] == arc[-1] and arc[1] > arc[-2]) for arc in arcs]
    ahead = [arc[::-1] if back else arc for arc, back in zip(arcs, backwards, strict=True)]
    lines = shapely.linestrings(
        places[np.concatenate(ahead)], indices=np.repeat(np.arange(len(arcs)), [*map(len, arcs)])
    )
    xy, line = shapely.get_coordinates(shapely.simplify(lines, tolerance, preserve_topology=False), return_index=True)
    found = np.split(xy, np.flatnonzero(np.diff(line)) + 1)
    return [part[::-1] if back else part for part, back in zip(found, backwards, strict=True)]


def _polygons(rings: list[np.ndarray], counts: np.ndarray) -> np.ndarray:
    """Polygons of so many rings each; an empty one where a ring has collapsed."""
    ends = np.append(0, np.cumsum(counts))
    shapes = np.empty(len(counts), object)
    for k, (low, high) in enumerate(pairwise(ends)):
        whole = all(len(ring) >= 4 for ring in rings[low:high])
        shapes[k] = shapely.Polygon(rings[low], rings[low + 1 : high]) if whole else shapely.Polygon()
    return shapes
