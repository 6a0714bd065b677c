"""A dense ring into few straight edges, compiled: a shortest path over where edges may meet.

Source: the outline with the shortest description (Jörissen 1978) is the cheapest path through the candidates for
corners, where an edge costs a constant and the square of what it leaves out; found by dynamic programming as in
J.-C. Perez, E. Vidal, "Optimum polygonal approximation of digitized curves", 1994, section 2. Here edges have a
direction from a short list, so that their corners are right by construction, and lie where the mean of their stretch
lies, so that noise averages out.

Rings are in a frame: the plane turned so that the building's walls run along x and y.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from eaves.footprints.simplify import cut_ring

ALONG, ACROSS, RISING, FALLING, FREE = range(5)
"""Kinds of edges: along x, along y, at 45 degrees, at 135 degrees, of any angle."""
KINDS = 5

_DIAGONAL = np.sqrt(0.5)
_DIRECTIONS = np.array([[1.0, 0.0], [0.0, 1.0], [_DIAGONAL, _DIAGONAL], [-_DIAGONAL, _DIAGONAL]])
_FINE = 0.2  # of the tolerance: candidates for corners leave no more than this
_MARGIN = 0.35  # of the tolerance: blur rounds corners by about so much, where edges are not to be measured
_LEAST_TURN = 0.25  # sine of the least angle between edges that meet
_STARTS = 4
_FAR = 48  # candidates that an edge of any angle may pass over


@njit(cache=True, nogil=True)
def moments(ring):
    """Integrals along a ring from its first vertex on: length, x, y, x², xy, y²; float64 ``(2 n + 1, 6)``, two rounds.

    Args:
        ring: Vertices without the closing one, float64 ``(n, 2)``.
    """
    n = len(ring)
    sums = np.zeros((2 * n + 1, 6))
    for i in range(2 * n):
        ax, ay = ring[i % n, 0], ring[i % n, 1]
        bx, by = ring[(i + 1) % n, 0], ring[(i + 1) % n, 1]
        w = np.hypot(bx - ax, by - ay)
        sums[i + 1, 0] = sums[i, 0] + w
        sums[i + 1, 1] = sums[i, 1] + w * (ax + bx) / 2
        sums[i + 1, 2] = sums[i, 2] + w * (ay + by) / 2
        sums[i + 1, 3] = sums[i, 3] + w * (ax * ax + ax * bx + bx * bx) / 3
        sums[i + 1, 4] = sums[i, 4] + w * (2 * ax * ay + 2 * bx * by + ax * by + bx * ay) / 6
        sums[i + 1, 5] = sums[i, 5] + w * (ay * ay + ay * by + by * by) / 3
    return sums


@njit(cache=True, nogil=True)
def fit_edges(ring, allowed, price, tolerance, spacing, kinds, lines, starts):
    """Replace a ring by edges.

    Args:
        ring: In its frame, without the closing vertex, float64 ``(n, 2)``, at least 3 of them.
        allowed: Which kinds an edge may have, bool ``(5,)``.
        price: What an edge of each kind costs, in cubed units of the plane, float64 ``(5,)``.
        tolerance: How far an edge may lie from its stretch, in units of the plane.
        spacing: Least distance of two vertices between bends at which edges may meet too; infinite for none.
        kinds: Filled with the kinds of edges, int64 ``(n,)``.
        lines: Filled with a point and the direction of each, as the ring runs, float64 ``(n, 4)``.
        starts: Filled with the vertex where the stretch of each begins, int64 ``(n,)``; below ``2 n``.

    Returns:
        Number of edges, 0 where there is no such polygon; and their price, with what they leave out.
    """
    n = len(ring)
    corners, stack = np.empty(n + 1, np.int64), np.empty((n + 1, 2), np.int64)
    m = cut_ring(ring, _FINE * tolerance, corners, stack)
    if m < 3:
        return 0, np.inf
    sums = moments(ring)
    if spacing < np.inf:
        corners, m = _with_more(sums, corners, m, spacing)
    first, best, count = 0, np.inf, 0
    for attempt in range(min(m, _STARTS)):  # from a candidate that may be no corner there may be no way
        first = attempt * m // min(m, _STARTS)
        count, best = _walk(ring, sums, corners, m, first, allowed, price, tolerance, kinds, lines, starts)
        if count:
            break
    if count:  # once more from a corner that it found
        first = _surest(sums, starts, count, corners, m)
        found, cost = _walk(ring, sums, corners, m, first, allowed, price, tolerance, kinds, lines, starts)
        if found:
            count, best = found, cost
    if count and kinds[0] == kinds[count - 1] and kinds[0] != FREE:
        return 0, np.inf
    return count, best


@njit(cache=True, nogil=True)
def _with_more(sums, corners, m, spacing):
    """Candidates, and vertices between them that are so far apart along the outline."""
    n = (len(sums) - 1) // 2
    more, count = np.empty(n + 1, np.int64), 0
    for c in range(m):
        a, b = corners[c], corners[c + 1]
        more[count] = a
        count += 1
        at = sums[a, 0] if a <= 2 * n else sums[a - n, 0] + sums[n, 0]
        last = at
        for i in range(a + 1, b):
            here = sums[i, 0] if i <= 2 * n else sums[i - n, 0] + sums[n, 0]
            end = sums[b, 0] if b <= 2 * n else sums[b - n, 0] + sums[n, 0]
            if here - last >= spacing and end - here >= spacing:
                more[count] = i
                count += 1
                last = here
    more[count] = corners[m]
    return more, count


@njit(cache=True, nogil=True)
def _surest(sums, starts, count, corners, m):
    """The candidate between the two neighbouring edges of which the shorter one is longest."""
    best, at = -1.0, 0
    n = (len(sums) - 1) // 2
    for k in range(count):
        before, here = starts[(k - 1) % count] % n, starts[k] % n
        after = starts[(k + 1) % count] % n
        left = sums[here if here > before else here + n, 0] - sums[before, 0]
        right = sums[after if after > here else after + n, 0] - sums[here, 0]
        if min(left, right) > best:
            best, at = min(left, right), here
    for c in range(m):
        if corners[c] % n == at:
            return c
    return 0


@njit(cache=True, nogil=True)
def _walk(ring, sums, corners, m, first, allowed, price, tolerance, kinds, lines, starts):
    """The cheapest way round from a candidate; fills the edges as :func:`fit_edges` does."""
    n = len(ring)
    at = np.empty(m + 1, np.int64)  # candidates in order from the first, ascending, the first again at the end
    for c in range(m + 1):
        at[c] = corners[(first + c) % m] % n
    for c in range(1, m + 1):
        while at[c] <= at[c - 1]:
            at[c] += n
    cost = np.full((m + 1, KINDS), np.inf)
    back = np.full((m + 1, KINDS, 2), -1, np.int64)  # candidate and kind before
    line = np.zeros((m + 1, KINDS, 4))
    begin = np.zeros((m + 1, KINDS, 2))  # where that edge begins
    low, high, edge = np.empty(4), np.empty(4), np.empty(4)
    for a in range(m):
        if a > 0:
            reached = False
            for kind in range(KINDS):
                reached |= cost[a, kind] < np.inf
            if not reached:
                continue
        low[:], high[:] = np.inf, -np.inf
        _stretch(ring, at[a], low, high)
        for b in range(a + 1, m + 1):
            if a == 0 and b == m:
                break
            _stretch(ring, at[b], low, high)
            any_left = allowed[FREE] and b - a <= _FAR
            for kind in range(KINDS):
                if not allowed[kind]:
                    continue
                if kind != FREE:
                    if high[kind] - low[kind] > 2 * tolerance:
                        continue
                    any_left = True
                elif b - a > _FAR:
                    continue
                left = _fit(ring, sums, at[a], at[b], kind, tolerance, edge)
                if kind != FREE:
                    offset = edge[1] * _DIRECTIONS[kind, 0] - edge[0] * _DIRECTIONS[kind, 1]
                    if max(high[kind] - offset, offset - low[kind]) > tolerance:
                        continue
                elif _leaves(ring, at, a, b, edge, tolerance):
                    continue
                own = price[kind] + left
                if a == 0:
                    if own < cost[b, kind]:
                        cost[b, kind] = own
                        back[b, kind, 0], back[b, kind, 1] = 0, -1
                        line[b, kind] = edge
                        begin[b, kind] = ring[at[0] % n]
                    continue
                for before in range(KINDS):
                    total = cost[a, before] + own
                    if total >= cost[b, kind] or (before == kind and kind != FREE):
                        continue
                    x, y, meets = _meet(line[a, before], edge)
                    if not meets or np.hypot(x - ring[at[a] % n, 0], y - ring[at[a] % n, 1]) > tolerance:
                        continue
                    previous = line[a, before]
                    forward = (x - begin[a, before, 0]) * previous[2] + (y - begin[a, before, 1]) * previous[3]
                    if forward <= 0:
                        continue
                    if b == m and not _closes(ring, at, m, line, back, edge, a, before, x, y, tolerance):
                        continue
                    cost[b, kind] = total
                    back[b, kind, 0], back[b, kind, 1] = a, before
                    line[b, kind] = edge
                    begin[b, kind, 0], begin[b, kind, 1] = x, y
            if not any_left:
                break
    kind = 0
    for other in range(KINDS):
        if cost[m, other] < cost[m, kind]:
            kind = other
    total = cost[m, kind]
    if total == np.inf:
        return 0, np.inf
    count, b = 0, m
    while b > 0:
        a, before = back[b, kind, 0], back[b, kind, 1]
        kinds[count], lines[count], starts[count] = kind, line[b, kind], at[a]
        count += 1
        b, kind = a, before
    kinds[:count], starts[:count] = kinds[:count][::-1].copy(), starts[:count][::-1].copy()
    lines[:count] = lines[:count][::-1].copy()
    return count, total


@njit(cache=True, nogil=True)
def _closes(ring, at, m, line, back, edge, a, before, x, y, tolerance):
    """Whether the last edge meets the first one near where the way began, and neither is turned round by that."""
    first, end = edge, m
    while a > 0:
        here, kind = a, before
        a, before = back[here, kind, 0], back[here, kind, 1]
        first, end = line[here, kind], here
    n = len(ring)
    x0, y0, meets = _meet(edge, first)
    if not meets or np.hypot(x0 - ring[at[0] % n, 0], y0 - ring[at[0] % n, 1]) > tolerance:
        return False
    if (x0 - x) * edge[2] + (y0 - y) * edge[3] <= 0:
        return False
    tip = ring[at[end] % n]
    return (tip[0] - x0) * first[2] + (tip[1] - y0) * first[3] > 0


@njit(cache=True, nogil=True)
def _stretch(ring, index, low, high):
    """Take one more vertex into the ranges across each fixed direction."""
    n = len(ring)
    x, y = ring[index % n, 0], ring[index % n, 1]
    for kind in range(4):
        across = y * _DIRECTIONS[kind, 0] - x * _DIRECTIONS[kind, 1]
        low[kind], high[kind] = min(low[kind], across), max(high[kind], across)


@njit(cache=True, nogil=True)
def _trim(sums, a, b, margin):
    """A stretch without its rounded ends, where it is long enough to have a middle."""
    if sums[b, 0] - sums[a, 0] < 4 * margin:
        return a, b
    start, end = sums[a, 0] + margin, sums[b, 0] - margin
    while sums[a, 0] < start:
        a += 1
    while sums[b, 0] > end:
        b -= 1
    return a, b


@njit(cache=True, nogil=True)
def _fit(ring, sums, a, b, kind, tolerance, edge):
    """Fill a line for a stretch; return the integral of the squared distance to it, of the stretch without its ends."""
    n = len(ring)
    i, j = _trim(sums, a, b, _MARGIN * tolerance)
    if i >= j or sums[j, 0] <= sums[i, 0]:
        i, j = a, b
    w = max(sums[j, 0] - sums[i, 0], 1e-300)  # vertices may lie on one another
    x, y = (sums[j, 1] - sums[i, 1]) / w, (sums[j, 2] - sums[i, 2]) / w
    xx = max(sums[j, 3] - sums[i, 3] - w * x * x, 0.0)
    xy = sums[j, 4] - sums[i, 4] - w * x * y
    yy = max(sums[j, 5] - sums[i, 5] - w * y * y, 0.0)
    if kind == FREE:
        angle = 0.5 * np.arctan2(2 * xy, xx - yy)
        dx, dy = np.cos(angle), np.sin(angle)
    else:
        dx, dy = _DIRECTIONS[kind, 0], _DIRECTIONS[kind, 1]
    if (ring[b % n, 0] - ring[a % n, 0]) * dx + (ring[b % n, 1] - ring[a % n, 1]) * dy < 0:
        dx, dy = -dx, -dy
    edge[0], edge[1], edge[2], edge[3] = x, y, dx, dy
    return max(xx * dy * dy - 2 * xy * dx * dy + yy * dx * dx, 0.0)


@njit(cache=True, nogil=True)
def _leaves(ring, at, a, b, edge, tolerance):
    """Whether a candidate of a stretch is farther from a line than the tolerance."""
    n = len(ring)
    for c in range(a, b + 1):
        x, y = ring[at[c] % n, 0] - edge[0], ring[at[c] % n, 1] - edge[1]
        if abs(y * edge[2] - x * edge[3]) > tolerance:
            return True
    return False


@njit(cache=True, nogil=True)
def _meet(p, q):
    """Where two lines meet, and whether they do at an angle worth a corner."""
    sine = p[2] * q[3] - p[3] * q[2]
    if abs(sine) < _LEAST_TURN:
        return 0.0, 0.0, False
    along = ((q[0] - p[0]) * q[3] - (q[1] - p[1]) * q[2]) / sine
    return p[0] + along * p[2], p[1] + along * p[3], True


@njit(cache=True, nogil=True)
def meet_edges(lines, count, out):
    """Fill ``out``, float64 ``(count + 1, 2)``, with the corners of edges, the first again at the end."""
    for k in range(count):
        before, here = lines[k - 1 if k else count - 1], lines[k]
        out[k, 0], out[k, 1], _ = _meet(before, here)
    out[count] = out[0]
