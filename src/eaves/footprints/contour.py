"""Marching squares over rows, compiled, in one pass.

Pixel centres are the grid. Where two neighbouring centres lie on different sides of the threshold, the grid edge
between them holds one vertex of an outline. Every 2 x 2 cell of centres links its vertices with the inside on the left
(x to the right, y down, taken as they are); so every vertex has one vertex before and one after it, and the outlines
are the cycles of that permutation. Two books are kept while linking:

- the other end of every open chain, which tells at once when a chain closes to a ring (a closed ring is never
  searched for), and
- a union-find over the chains (Rosenfeld & Pfaltz 1966), united along a chain and across every horizontal run of inside
  pixels. Rings of one component are one polygon, whatever courtyards and islands lie in it; no point-in-polygon test.

Columns count a virtual pixel without imagery on either side: index ``c`` of a padded row is pixel ``c - 1``.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from eaves.footprints.sweep import COMPONENTS, NODATA, RINGS, VERTICES, find

# Segments of a cell by its inside corners (top left 1, top right 2, bottom left 4, bottom right 8), each from one side
# to another (0 top, 1 left, 2 right, 3 bottom), the inside on the left. 16 and 17 are the saddles 6 and 9 when joined.
_SEGMENTS = np.full((18, 4), -1, np.int8)
for _code, _sides in {
    1: (0, 1), 2: (2, 0), 3: (2, 1), 4: (1, 3), 5: (0, 3), 6: (2, 0, 1, 3), 7: (2, 3), 8: (3, 2),
    9: (0, 1, 3, 2), 10: (3, 0), 11: (3, 1), 12: (1, 2), 13: (0, 2), 14: (1, 0), 16: (1, 0, 2, 3), 17: (0, 2, 3, 1),
}.items():  # fmt: skip
    _SEGMENTS[_code, : len(_sides)] = _sides

# A crossing keeps this distance (in pixels) from the centres, so that no two crossings coincide where a level equals
# the threshold; without it outlines could touch themselves there.
_CLEARANCE = 1e-3


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
def _unite(sweep, a, b):
    a, b = find(sweep.parent, a), find(sweep.parent, b)
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
        component[ring] = find(sweep.parent, component[ring])


@njit(cache=True, nogil=True)
def find_roots(sweep, component):
    """Replace components by their roots, int32 ``(n,)``."""
    for i in range(len(component)):
        component[i] = find(sweep.parent, component[i])


@njit(cache=True, nogil=True)
def gather_rings(sweep, start, size, coords):
    """Copy rings, each closed by its first vertex, into ``coords``, float64 ``(sum(size + 1), 2)``."""
    n = 0
    for ring in range(len(start)):
        at = start[ring]
        for _ in range(size[ring] + 1):
            coords[n, 0], coords[n, 1] = sweep.xy[at, 0], sweep.xy[at, 1]
            at = sweep.after[at]
            n += 1
