"""Painting on a fine grid: which polygon owns a sample, and what colour, height and slope it has.

Samples lie at ``((j + 0.5) · step, (i + 0.5) · step)`` for whole-number ``i, j`` counted from the scene's corner, so
whatever is computed for a sample does not depend on the window that asks.
"""

from __future__ import annotations

import numpy as np

from eaves.synth.draft import CAR, HEDGE, IN_ROOF, ON_ROOF
from eaves.synth.shapes import GABLE, HALF_HIP, HIP, LEVEL, RING, SHED
from eaves.synth.style import METAL, TILE
from eaves.synth.texture import ground, jit, lattice, level_roof, noise, sheets, tiles


@jit
def fill(owner, i0, j0, step, points, rings, polygons, chosen):
    """Write the number of each chosen polygon on the samples inside it; a later one wins.

    Args:
        owner: int32, ``(h, w)``, painted in place; its first sample is row ``i0``, column ``j0``.
        i0: First row.
        j0: First column.
        step: Metres between samples.
        points: Corners, ``(p, 2)`` float64 metres.
        rings: Starts of rings.
        polygons: Starts of polygons in ``rings``.
        chosen: Numbers of polygons, in order.
    """
    h, w = owner.shape
    cross = np.empty(4096)
    for k in chosen:
        first, last = polygons[k], polygons[k + 1]
        low, high = np.inf, -np.inf
        for p in range(rings[first], rings[last]):
            low, high = min(low, points[p, 1]), max(high, points[p, 1])
        start = max(0, int(np.ceil(low / step - 0.5)) - i0)
        stop = min(h, int(np.ceil(high / step - 0.5)) - i0 + 1)
        for i in range(start, stop):
            y = (i + i0 + 0.5) * step
            n = 0
            for r in range(first, last):
                a, b = rings[r], rings[r + 1]
                q = b - 1
                for p in range(a, b):
                    y1, y2 = points[q, 1], points[p, 1]
                    if (y1 <= y) != (y2 <= y) and n < 4096:
                        x = points[q, 0] + (y - y1) * (points[p, 0] - points[q, 0]) / (y2 - y1)
                        m = n  # insertion keeps the crossings in order
                        while m > 0 and cross[m - 1] > x:
                            cross[m] = cross[m - 1]
                            m -= 1
                        cross[m] = x
                        n += 1
                    q = p
            for m in range(0, n - 1, 2):
                left = max(0, int(np.ceil(cross[m] / step - 0.5)) - j0)
                right = min(w, int(np.ceil(cross[m + 1] / step - 0.5)) - j0)
                for j in range(left, right):
                    owner[i, j] = k


@jit
def paint_ground(colour, cover, owner, rim, i0, j0, step, covers, soil, turf, seed):
    """Colour the samples that no roof hides, but for the outer ``rim``; ``colour`` is float32 ``(h, w, 3)``."""
    wild = np.zeros(10)
    wild[8] = 0.6
    for i in range(rim, owner.shape[0] - rim):
        y = (i + i0 + 0.5) * step
        for j in range(rim, owner.shape[1] - rim):
            if owner[i, j] >= 0:
                continue
            x = (j + j0 + 0.5) * step
            k = cover[i, j]
            r, g, b = ground(x, y, covers[k] if k >= 0 else wild, soil, turf, seed)
            colour[i, j, 0], colour[i, j, 1], colour[i, j, 2] = r, g, b


@jit
def roof_at(part, x, y):
    """Height, slope along ``u`` and ``v``, distance from the part's rim, and distance from its ridges."""
    du, dv = x - part[0], y - part[1]
    u, v = du * part[2] + dv * part[3], -du * part[3] + dv * part[2]
    side, end_low, end_high = part[5] - abs(v), part[4] + u, part[4] - u
    end = min(end_low, end_high)
    rim = min(side, end)
    if rim < 0:
        return -1.0, 0.0, 0.0, rim, 9.0
    kind, slope, eaves = int(part[8]), part[7], part[6]
    down = -1.0 if v > 0 else 1.0
    if kind == LEVEL:
        return eaves, 0.0, 0.0, rim, 9.0
    if kind == SHED:
        return eaves + slope * (part[5] + v), 0.0, slope, rim, 9.0
    if kind == RING:
        half = part[9] / 2
        sign = 1.0 if rim < half else -1.0
        if slope == 0.0:
            return eaves, 0.0, 0.0, half - abs(rim - half), 9.0
        rise = eaves + slope * (half - abs(rim - half))
        ridge = min(abs(rim - half), abs(side - end))
        if side < end:
            return rise, 0.0, slope * down * sign, rim, ridge
        return rise, slope * sign * (-1.0 if u > 0 else 1.0), 0.0, rim, ridge
    if kind == GABLE:
        return eaves + slope * side, 0.0, slope * down, rim, abs(v)
    hip = end if kind == HIP else end_low
    if side < hip:
        return eaves + slope * side, 0.0, slope * down, rim, min(abs(v), hip - side)
    return eaves + slope * hip, slope * (1.0 if kind == HALF_HIP or u < 0 else -1.0), 0.0, rim, side - hip


@jit
def paint_roofs(colour, height, slope, owner, i0, j0, step, parts, first_part, coats, seed):
    """Paint the roof of every sample that ``owner`` gives to a building.

    Args:
        colour: float32, ``(h, w, 3)``.
        height: float32, ``(h, w)`` metres above the ground.
        slope: float32, ``(h, w, 2)``, rise along x and y.
        owner: int32, number of the building or -1.
        i0: First row.
        j0: First column.
        step: Metres between samples.
        parts: See ``Scenery``.
        first_part: See ``Scenery``.
        coats: See ``Scenery``.
        seed: The city's seed.
    """
    for i in range(owner.shape[0]):
        y = (i + i0 + 0.5) * step
        for j in range(owner.shape[1]):
            k = owner[i, j]
            if k < 0:
                continue
            x = (j + j0 + 0.5) * step
            top, best, rim, ridge, su, sv = -1.0, first_part[k], -9.0, 9.0, 0.0, 0.0
            for p in range(first_part[k], first_part[k + 1]):
                z, zu, zv, near, line = roof_at(parts[p], x, y)
                rim = max(rim, near)
                if z > top:
                    top, best, ridge, su, sv = z, p, line, zu, zv
            part, coat = parts[best], coats[k]
            top = max(top, part[6])
            c, s = part[2], part[3]
            u, v = (x - part[0]) * c + (y - part[1]) * s, -(x - part[0]) * s + (y - part[1]) * c
            along, across = (u, v) if su != 0.0 else (v, u)
            texture, rust = int(coat[3]), 0.0
            if texture == TILE:
                f = tiles(along, across, x, y, k, seed)
                if ridge < 0.16:
                    f += 0.10
            elif texture == METAL:
                f, rust = sheets(along, across, x, y, k, seed)
                if ridge < 0.15:
                    f += 0.07
                rust *= 0.5 + 0.5 * coat[4]
            else:
                f = level_roof(x, y, k, seed)
                if rim < 0.32:  # the parapet
                    f += 0.13
                    top += 0.5
            f *= 1 + 0.11 * coat[4]
            if rim < 0.14:
                f *= 0.86
            r, g, b = coat[0] * f, coat[1] * f, coat[2] * f
            colour[i, j, 0] = r * (1 - rust) + 128 * rust
            colour[i, j, 1] = g * (1 - rust) + 92 * rust
            colour[i, j, 2] = b * (1 - rust) + 74 * rust
            height[i, j] = top
            slope[i, j, 0], slope[i, j, 1] = su * c - sv * s, su * s + sv * c


@jit
def paint_boxes(colour, height, slope, owner, i0, j0, step, boxes, chosen, roofs, seed):
    """Paint boxes: cars, walls and hedges on the ground (``roofs`` false), machines on roofs (``roofs`` true)."""
    h, w = height.shape
    for k in chosen:
        box = boxes[k]
        kind = int(box[10])
        if (kind in (ON_ROOF, IN_ROOF)) != roofs:
            continue
        reach = box[4] + box[5]
        for i in range(max(0, int((box[1] - reach) / step) - i0), min(h, int((box[1] + reach) / step) + 2 - i0)):
            y = (i + i0 + 0.5) * step
            for j in range(max(0, int((box[0] - reach) / step) - j0), min(w, int((box[0] + reach) / step) + 2 - j0)):
                x = (j + j0 + 0.5) * step
                u = (x - box[0]) * box[2] + (y - box[1]) * box[3]
                v = -(x - box[0]) * box[3] + (y - box[1]) * box[2]
                if abs(u) > box[4] or abs(v) > box[5]:
                    continue
                if roofs != (owner[i, j] >= 0):
                    continue
                f, z = 1.0, box[6]
                if kind == CAR:
                    a, b = u / box[4], abs(v) / box[5]
                    if abs(a) > 0.88 and b > 0.7:
                        continue
                    if (0.12 < a < 0.42 or -0.78 < a < -0.55) and b < 0.85:
                        f = 0.38
                    elif abs(a) > 0.85 or b > 0.86:
                        f = 0.82
                    z = 1.45 if -0.6 < a < 0.3 else 0.95
                elif kind == HEDGE:
                    f = 1 + 0.25 * noise(x / 0.7, y / 0.7, seed + 40)
                    z *= 1 + 0.3 * noise(x / 0.9, y / 0.9, seed + 41)
                else:
                    f = 1 + 0.05 * noise(x / 0.5, y / 0.5, seed + 42)
                colour[i, j, 0], colour[i, j, 1], colour[i, j, 2] = box[7] * f, box[8] * f, box[9] * f
                if roofs:
                    height[i, j] += z
                else:
                    height[i, j] = max(height[i, j], z)
                if kind != IN_ROOF:
                    slope[i, j, 0], slope[i, j, 1] = 0.0, 0.0


@jit
def paint_trees(colour, height, slope, owner, i0, j0, step, trees, chosen, seed):
    """Paint crowns where they are higher than what is there; ``owner`` becomes -2."""
    h, w = height.shape
    for k in chosen:
        tree = trees[k]
        radius, tall, tone, number = tree[2], tree[3], tree[4], int(tree[5])
        reach = 1.4 * radius
        dry = lattice(number, 3, seed)
        r0 = 62 + 15 * tone + (34 if dry > 0.93 else 14 * dry)
        g0 = 82 + 17 * tone + 6 * dry
        b0 = 44 + 9 * tone + 14 * lattice(number, 5, seed)
        for i in range(max(0, int((tree[1] - reach) / step) - i0), min(h, int((tree[1] + reach) / step) + 2 - i0)):
            y = (i + i0 + 0.5) * step
            for j in range(max(0, int((tree[0] - reach) / step) - j0), min(w, int((tree[0] + reach) / step) + 2 - j0)):
                x = (j + j0 + 0.5) * step
                dx, dy = (x - tree[0]) / radius, (y - tree[1]) / radius
                d2 = dx * dx + dy * dy
                if d2 > 1.96:
                    continue
                lumps = noise(x / (0.42 * radius), y / (0.42 * radius), number)
                leaves = noise(x / 0.55, y / 0.55, number + 1)
                edge = np.sqrt(d2) + 0.28 * lumps + 0.10 * leaves
                if edge > 1:
                    continue
                z = tall * (1 - 0.42 * d2) + 0.7 * leaves + 0.6 * lumps
                if z <= height[i, j] or z < 0.3:
                    continue
                grain = lattice(int(np.floor(x / 0.25)), int(np.floor(y / 0.25)), number + 2) - 0.5
                f = 1 + 0.16 * lumps + 0.24 * leaves + 0.26 * grain
                colour[i, j, 0], colour[i, j, 1], colour[i, j, 2] = r0 * f, g0 * f, b0 * f
                height[i, j] = z
                slope[i, j, 0], slope[i, j, 1] = -0.75 * dx, -0.75 * dy
                owner[i, j] = -2
