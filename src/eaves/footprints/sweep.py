"""What the tracer remembers between two strips, and how that memory grows and shrinks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

NODATA = 255
VERTICES, COMPONENTS, RINGS = range(3)


class Sweep(NamedTuple):
    """All that is known between two strips; arrays have room to spare, ``used`` says how much is taken.

    Attributes:
        xy: Vertices in pixels, float64 ``(vertices, 2)``.
        after: Next vertex along the outline, int32 ``(vertices,)``; undefined at an open end.
        other_end: At either end of an open chain: its other end, int32 ``(vertices,)``.
        component: Component of a vertex, int32 ``(vertices,)``; find its root before use.
        parent: Union-find forest, int32 ``(components,)``.
        sums: Sum of levels and number of pixels at a root, int64 ``(components, 2)``.
        ring_start: A vertex of each closed ring that is not handed out, int32 ``(rings,)``.
        ring_component: Its component, int32 ``(rings,)``.
        used: Vertices, components and rings in use, int64 ``(3,)``.
        values: Levels of even and odd rows, padded, uint8 ``(2, width + 2)``.
        inside: 1 where at or above the threshold, else 0; likewise.
        crossing: Vertex on the edge between padded columns c and c + 1, int32 ``(2, width + 1)``.
        mixed: Scratch: whether a cell holds anything, uint8, length a multiple of 8.
    """

    xy: np.ndarray
    after: np.ndarray
    other_end: np.ndarray
    component: np.ndarray
    parent: np.ndarray
    sums: np.ndarray
    ring_start: np.ndarray
    ring_component: np.ndarray
    used: np.ndarray
    values: np.ndarray
    inside: np.ndarray
    crossing: np.ndarray
    mixed: np.ndarray


def new_sweep(width: int) -> Sweep:
    """Return the state above the first row of a scene that is ``width`` pixels wide."""
    return Sweep(
        **_empty(8 * (width + 2), 8 * (width + 2), 8 * (width + 2)),
        values=np.full((2, width + 2), NODATA, np.uint8),
        inside=np.zeros((2, width + 2), np.uint8),
        crossing=np.zeros((2, width + 1), np.int32),
        mixed=np.zeros(-(-(width + 1) // 8) * 8, np.uint8),
    )


def _empty(vertices: int, components: int, rings: int) -> dict[str, np.ndarray]:
    return {
        "xy": np.empty((vertices, 2)),
        "after": np.empty(vertices, np.int32),
        "other_end": np.empty(vertices, np.int32),
        "component": np.empty(vertices, np.int32),
        "parent": np.empty(components, np.int32),
        "sums": np.empty((components, 2), np.int64),
        "ring_start": np.empty(rings, np.int32),
        "ring_component": np.empty(rings, np.int32),
        "used": np.zeros(3, np.int64),
    }


def grow(sweep: Sweep) -> Sweep:
    """Return the state with twice the room wherever another row might not fit."""
    row = 2 * sweep.crossing.shape[1]

    def longer(array: np.ndarray, used: int) -> np.ndarray:
        if len(array) - used >= row:
            return array
        larger = np.empty((2 * len(array) + row, *array.shape[1:]), array.dtype)
        larger[:used] = array[:used]
        return larger

    vertices, components, rings = sweep.used.tolist()
    return sweep._replace(
        xy=longer(sweep.xy, vertices),
        after=longer(sweep.after, vertices),
        other_end=longer(sweep.other_end, vertices),
        component=longer(sweep.component, vertices),
        parent=longer(sweep.parent, components),
        sums=longer(sweep.sums, components),
        ring_start=longer(sweep.ring_start, rings),
        ring_component=longer(sweep.ring_component, rings),
    )


def compact(sweep: Sweep, live: int, now: int) -> Sweep:
    """Return the state without the vertices of rings that have been handed out.

    Args:
        sweep: The state; spoilt.
        live: Number of vertices in open chains and waiting rings.
        now: Parity of the last row swept.
    """
    row, rings = 2 * sweep.crossing.shape[1], int(sweep.used[RINGS])
    fresh = sweep._replace(**_empty(live + row, rings + row, rings + row))
    _move_live(sweep, fresh, now)
    return fresh


@njit(cache=True, nogil=True)
def find(parent, at):
    """Return the root of ``at`` in the union-find forest, and shorten the way to it."""
    while parent[at] != at:
        parent[at] = parent[parent[at]]
        at = parent[at]
    return at


@njit(cache=True, nogil=True)
def _move_live(old, new, now):
    """Copy open chains and rings that wait for their exterior into a fresh state, and forget the rest.

    Args:
        old: The state; spoilt.
        new: Receives vertices, components and rings; has room for them, and shares the row buffers.
        now: Parity of the last row swept.
    """
    inside, crossing = old.inside[now], old.crossing[now]
    renamed = np.full(old.used[COMPONENTS], -1, np.int32)
    n = 0
    for c in range(len(crossing)):
        if inside[c] < inside[c + 1]:  # an outline comes up here: the first vertex of an open chain
            at, first = crossing[c], n
            last = old.other_end[at]
            name = _rename(old, new, renamed, old.component[at])
            crossing[c] = n
            while True:
                new.xy[n, 0], new.xy[n, 1] = old.xy[at, 0], old.xy[at, 1]
                new.after[n] = n + 1
                new.component[n] = name
                n += 1
                if at == last:
                    break
                at = old.after[at]
            new.other_end[first] = n - 1
            new.other_end[n - 1] = first
            old.after[last] = n - 1  # a note for the loop below
    for c in range(len(crossing)):
        if inside[c] > inside[c + 1]:
            crossing[c] = old.after[crossing[c]]
    for ring in range(old.used[RINGS]):
        start = at = old.ring_start[ring]
        first = n
        while True:
            new.xy[n, 0], new.xy[n, 1] = old.xy[at, 0], old.xy[at, 1]
            new.after[n] = n + 1
            n += 1
            at = old.after[at]
            if at == start:
                break
        new.after[n - 1] = first
        new.ring_start[ring] = first
        new.ring_component[ring] = _rename(old, new, renamed, old.ring_component[ring])
    new.used[VERTICES] = n
    new.used[RINGS] = old.used[RINGS]


@njit(cache=True, nogil=True)
def _rename(old, new, renamed, component):
    root = find(old.parent, component)
    if renamed[root] < 0:
        name = new.used[COMPONENTS]
        new.used[COMPONENTS] += 1
        new.parent[name] = name
        new.sums[name, 0], new.sums[name, 1] = old.sums[root, 0], old.sums[root, 1]
        renamed[root] = name
    return renamed[root]
