"""The sweep behind the tracer: marching squares over rows, compiled, in one pass and with memory for open outlines only.

Pixel centres are the grid. Where two neighbouring centres lie on different sides of the threshold, the grid edge
between them holds one vertex of an outline. Every 2 x 2 cell of centres links its vertices with the inside on the left
(x to the right, y down, taken as they are); so every vertex has one vertex before and one after it, and the outlines
are the cycles of that permutation. Two books are kept while linking:

- the other end of every open chain, which tells at once when a chain closes to a ring (a closed ring is never
  searched for), and
- a union-find over the chains (Rosenfeld & Pfaltz 1966), united along a chain and across every horizontal run of inside
  pixels. Rings of one component are one polygon, whatever courtyards and islands lie in it; no point-in-polygon test.

Rows are numbered from the top of the scene. A cell row needs the row above it, so the state holds one row of pixels.
Columns count a virtual pixel without imagery on either side: index ``c`` of a padded row is pixel ``c - 1``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

NODATA = 255
VERTICES, COMPONENTS, RINGS = range(3)

# Segments of a cell by its inside corners (top left 1, top right 2, bottom left 4, bottom right 8), each from one side to
# another (0 top, 1 left, 2 right, 3 bottom) with the inside on the left. 16 and 17 are the saddles 6 and 9 when joined.
_SEGMENTS = np.full((18, 4), -1, np.int8)
for _code, _sides in {
    1: (0, 1), 2: (2, 0), 3: (2, 1), 4: (1, 3), 5: (0, 3), 6: (2, 0, 1, 3), 7: (2, 3), 8: (3, 2),
    9: (0, 1, 3, 2), 10: (3, 0), 11: (3, 1), 12: (1, 2), 13: (0, 2), 14: (1, 0), 16: (1, 0, 2, 3), 17: (0, 2, 3, 1),
}.items():  # fmt: skip
    _SEGMENTS[_code, : len(_sides)] = _sides

# A crossing keeps this distance (in pixels) from the centres, so that no two crossings coincide where a level equals the
# threshold; without it outlines could touch themselves there.
_CLEARANCE = 1e-3


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
def sweep_rows(sweep, levels, row0, first_inside, threshold):
    """Sweep rows until all are done or the room may not do for another; change ``sweep`` in place.

    Args:
        sweep: The state.
        levels: uint8 ``(rows, width)``; 255 is no imagery and never inside.
        row0: Scene row of ``levels[0]``.
        first_inside: Least level that is inside, 1 … 254.
        threshold: The same in level units before rounding up.

    Returns:
        Number of rows done.
    """
    rows, width = levels.shape
    first, span = np.uint8(first_inside), np.uint8(254 - first_inside)
    need = 2 * (width + 1)
    words = sweep.mixed.view(np.uint64)
    for i in range(rows):
        if (
            len(sweep.xy) - sweep.used[VERTICES] < need
            or len(sweep.parent) - sweep.used[COMPONENTS] < need
            or len(sweep.ring_start) - sweep.used[RINGS] < need
        ):
            return i
        now = (row0 + i) & 1
        _read_row(levels[i], first, span, sweep.values[now], sweep.inside[now])
        _mark_mixed(sweep.inside[1 - now], sweep.inside[now], sweep.mixed)
        _link_cells(sweep, words, row0 + i, now, threshold)
    return rows


@njit(cache=True, nogil=True)
def _read_row(source, first, span, values, inside):
    inner_values, inner_inside = values[1:-1], inside[1:-1]
    for c in range(len(source)):
        inner_values[c] = source[c]
        inner_inside[c] = np.uint8(source[c] - first) <= span  # wraps: below the first is far above the span


@njit(cache=True, nogil=True)
def _mark_mixed(above, below, mixed):
    a, b, c, d = above[:-1], above[1:], below[:-1], below[1:]
    for i in range(len(a)):
        mixed[i] = (a[i] ^ b[i]) | (c[i] ^ d[i]) | (a[i] ^ c[i])


@njit(cache=True, nogil=True)
def _link_cells(sweep, words, row, now, threshold):
    above, below = sweep.values[1 - now], sweep.values[now]
    over, under = sweep.inside[1 - now], sweep.inside[now]
    tops, bottoms = sweep.crossing[1 - now], sweep.crossing[now]
    sides = np.zeros(4, np.int32)
    run_start, run_vertex = 0, 0
    for word in range(len(words)):
        if words[word] == 0:
            continue
        for c in range(8 * word, 8 * word + 8):
            if sweep.mixed[c] == 0:
                continue
            code = np.int64(over[c]) + 2 * over[c + 1] + 4 * under[c] + 8 * under[c + 1]
            sides[0] = tops[c]
            sides[1] = sides[2]  # the left side is the right side of the cell before, which is mixed where it matters
            if over[c + 1] != under[c + 1]:
                sides[2] = _new_vertex(sweep, c + 0.5, row - 0.5 + _fraction(above[c + 1], below[c + 1], threshold))
            if under[c] != under[c + 1]:
                sides[3] = _new_vertex(sweep, c - 0.5 + _fraction(below[c], below[c + 1], threshold), row + 0.5)
                bottoms[c] = sides[3]
            if code == 6 or code == 9:
                total = _level(above[c]) + _level(above[c + 1]) + _level(below[c]) + _level(below[c + 1])
                if total >= 4 * threshold:
                    code = 16 if code == 6 else 17
            _link(sweep, sides[_SEGMENTS[code, 0]], sides[_SEGMENTS[code, 1]])
            if _SEGMENTS[code, 2] >= 0:
                _link(sweep, sides[_SEGMENTS[code, 2]], sides[_SEGMENTS[code, 3]])
            if under[c] < under[c + 1]:
                run_start, run_vertex = c + 1, sides[3]
            elif under[c] > under[c + 1]:
                total_levels = 0
                for k in range(run_start, c + 1):
                    total_levels += below[k]
                root = _unite(sweep, sweep.component[run_vertex], sweep.component[sides[3]])
                sweep.sums[root, 0] += total_levels
                sweep.sums[root, 1] += c + 1 - run_start


@njit(cache=True, nogil=True)
def _level(value):
    return 0 if value == NODATA else np.int64(value)


@njit(cache=True, nogil=True)
def _fraction(a, b, threshold):
    # towards a pixel without imagery the outline runs along the pixel's edge: there is no score to interpolate with
    if a == NODATA or b == NODATA:
        return 0.5
    at = (threshold - a) / (np.float64(b) - np.float64(a))
    return min(max(at, _CLEARANCE), 1 - _CLEARANCE)


@njit(cache=True, nogil=True)
def _new_vertex(sweep, x, y):
    vertex = sweep.used[VERTICES]
    sweep.used[VERTICES] += 1
    sweep.xy[vertex, 0] = x
    sweep.xy[vertex, 1] = y
    sweep.other_end[vertex] = vertex
    sweep.component[vertex] = -1
    return vertex


@njit(cache=True, nogil=True)
def _link(sweep, tail, head):
    """Link the last vertex of one chain to the first of another, or of itself."""
    a, b = sweep.component[tail], sweep.component[head]
    if a >= 0 and b >= 0:
        a = _unite(sweep, a, b)
    else:
        a = max(a, b)
        if a < 0:
            a = sweep.used[COMPONENTS]
            sweep.used[COMPONENTS] += 1
            sweep.parent[a] = a
            sweep.sums[a, 0] = sweep.sums[a, 1] = 0
        sweep.component[tail] = a
        sweep.component[head] = a
    sweep.after[tail] = head
    first, last = sweep.other_end[tail], sweep.other_end[head]
    if first == head:
        ring = sweep.used[RINGS]
        sweep.used[RINGS] += 1
        sweep.ring_start[ring] = head
        sweep.ring_component[ring] = a
    else:
        sweep.other_end[first] = last
        sweep.other_end[last] = first


@njit(cache=True, nogil=True)
def _find(parent, at):
    while parent[at] != at:
        parent[at] = parent[parent[at]]
        at = parent[at]
    return at


@njit(cache=True, nogil=True)
def _unite(sweep, a, b):
    a, b = _find(sweep.parent, a), _find(sweep.parent, b)
    if a != b:
        if a > b:
            a, b = b, a
        sweep.parent[b] = a
        sweep.sums[a, 0] += sweep.sums[b, 0]
        sweep.sums[a, 1] += sweep.sums[b, 1]
    return a


@njit(cache=True, nogil=True)
def measure_rings(sweep, start, component, size, area):
    """Measure the closed rings, and turn each to start at its topmost (then leftmost) vertex.

    Args:
        sweep: The state; only read, but for shortcuts in the union-find.
        start: A vertex of each ring, int32 ``(n,)``; replaced by the topmost.
        component: Replaced by its root, int32 ``(n,)``.
        size: Filled with the number of vertices, int64 ``(n,)``.
        area: Filled with twice the signed area, float64 ``(n,)``; negative for a hole.
    """
    xy, after = sweep.xy, sweep.after
    for ring in range(len(start)):
        first = top = start[ring]
        count, twice = 0, 0.0
        x0, y0 = xy[first, 0], xy[first, 1]
        at = first
        while True:
            to = after[at]
            twice += (xy[at, 0] - x0) * (xy[to, 1] - y0) - (xy[to, 0] - x0) * (xy[at, 1] - y0)
            count += 1
            at = to
            if xy[at, 1] < xy[top, 1] or (xy[at, 1] == xy[top, 1] and xy[at, 0] < xy[top, 0]):
                top = at
            if at == first:
                break
        start[ring], size[ring], area[ring] = top, count, twice
        component[ring] = _find(sweep.parent, component[ring])


@njit(cache=True, nogil=True)
def find_roots(sweep, component):
    """Replace components by their roots, int32 ``(n,)``."""
    for i in range(len(component)):
        component[i] = _find(sweep.parent, component[i])


@njit(cache=True, nogil=True)
def gather_rings(sweep, start, size, coords):
    """Copy rings one after the other into ``coords``, float64 ``(sum(size + 1), 2)``, each closed by its first vertex."""
    n = 0
    for ring in range(len(start)):
        at = start[ring]
        for _ in range(size[ring] + 1):
            coords[n, 0], coords[n, 1] = sweep.xy[at, 0], sweep.xy[at, 1]
            at = sweep.after[at]
            n += 1


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
    root = _find(old.parent, component)
    if renamed[root] < 0:
        name = new.used[COMPONENTS]
        new.used[COMPONENTS] += 1
        new.parent[name] = name
        new.sums[name, 0], new.sums[name, 1] = old.sums[root, 0], old.sums[root, 1]
        renamed[root] = name
    return renamed[root]
