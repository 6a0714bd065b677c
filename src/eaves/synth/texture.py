"""Textures as functions of the place: the same point of the ground has the same grain, whichever window shows it.

Only ``+ - * / sqrt floor`` are used, which IEEE 754 rounds the same in scalar and in vector code, so that windows
agree to the last bit. Value noise after Ken Perlin's lattice (Ebert et al., Texturing and Modeling, chapter 2).
"""

from __future__ import annotations

import numba
import numpy as np

from eaves.synth.draft import ASPHALT, CROP, LAWN, MIXED, PARKING, PAVING, SOIL, WATER

jit = numba.njit(cache=True, nogil=True, error_model="numpy")


@jit
def lattice(x, y, seed):
    """A number in [0, 1) for a lattice point."""
    h = (x * 374761393 + y * 668265263 + seed * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1103515245) & 0xFFFFFFFF
    h = ((h ^ (h >> 16)) * 2654435761) & 0xFFFFFFFF
    return ((h ^ (h >> 15)) & 0xFFFFFF) / 16777216.0


@jit
def noise(x, y, seed):
    """Value noise in [-1, 1] with cells of one unit."""
    fx, fy = np.floor(x), np.floor(y)
    i, j = int(fx), int(fy)
    u, v = x - fx, y - fy
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    top = lattice(i, j, seed) * (1 - u) + lattice(i + 1, j, seed) * u
    low = lattice(i, j + 1, seed) * (1 - u) + lattice(i + 1, j + 1, seed) * u
    return 2 * (top * (1 - v) + low * v) - 1


@jit
def wave(x):
    """A triangle wave in [-1, 1] with period one."""
    return 4 * abs(x - np.floor(x + 0.5)) - 1


@jit
def grass(x, y, tone, base, seed):
    """Colour of lawn."""
    big = noise(x / 9, y / 9, seed)
    fine = noise(x / 1.1, y / 1.1, seed + 1)
    grain = lattice(int(np.floor(x / 0.22)), int(np.floor(y / 0.22)), seed + 2) - 0.5
    f = 1 + 0.09 * big + 0.10 * fine + 0.16 * grain + 0.10 * tone
    dry = max(0.0, 0.5 * big + 0.5 * tone)
    return (base[0] + 34 * dry) * f, (base[1] + 12 * dry) * f, (base[2] + 8 * dry) * f


@jit
def earth(x, y, tone, base, seed):
    """Colour of bare ground."""
    f = 1 + 0.10 * noise(x / 6, y / 6, seed + 3) + 0.07 * noise(x / 0.9, y / 0.9, seed + 4) + 0.10 * tone
    f += 0.10 * (lattice(int(np.floor(x / 0.2)), int(np.floor(y / 0.2)), seed + 5) - 0.5)
    return base[0] * f, base[1] * f, base[2] * f


@jit
def ground(x, y, row, soil, turf, seed):
    """Colour of the ground at a point; ``row`` is a line of ``Scenery.covers``."""
    cover, amount, tone = int(row[0]), row[8], row[9]
    if cover == LAWN:
        return grass(x, y, tone, turf, seed)
    if cover == MIXED:
        patch = noise(x / 13, y / 13, seed + 6) + 0.7 * noise(x / 4.5, y / 4.5, seed + 7)
        patch += 0.5 * noise(x / 1.4, y / 1.4, seed + 8)
        share = min(1.0, max(0.0, 0.5 + 1.2 * (patch + 2.2 * (amount - 0.5))))
        if share == 1.0:
            return grass(x, y, tone, turf, seed)
        e, f, g = earth(x, y, tone, soil, seed)
        if share == 0.0:
            return e, f, g
        a, b, c = grass(x, y, tone, turf, seed)
        return a * share + e * (1 - share), b * share + f * (1 - share), c * share + g * (1 - share)
    if cover == SOIL:
        a, b, c = earth(x, y, tone, soil, seed)
        weeds = noise(x / 5, y / 5, seed + 9) + 0.6 * noise(x / 1.3, y / 1.3, seed + 10) - 0.75
        if weeds > 0:
            share = min(0.75, 3 * weeds)
            e, f, g = grass(x, y, tone, turf, seed)
            return a * (1 - share) + e * share, b * (1 - share) + f * share, c * (1 - share) + g * share
        return a, b, c
    grain = lattice(int(np.floor(x / 0.2)), int(np.floor(y / 0.2)), seed + 11) - 0.5
    if cover in (ASPHALT, PARKING):
        f = 1 + 0.07 * noise(x / 11, y / 11, seed + 12) + 0.05 * noise(x / 2.2, y / 2.2, seed + 13) + 0.07 * grain
        mended = noise(x / 4.3, y / 1.9, seed + 21) + 0.5 * noise(x / 17, y / 17, seed + 22) - 0.62
        value = (119 + 9 * tone) * (f - min(0.13, max(0.0, 0.9 * mended)))
        u = (x - row[4]) * row[6] + (y - row[5]) * row[7]
        v = -(x - row[4]) * row[7] + (y - row[5]) * row[6]
        if cover == PARKING:
            near = min(v, amount - v) if amount > 13 else v
            if near < 5.1 and abs(u / 2.5 - np.floor(u / 2.5 + 0.5)) * 2.5 < 0.06:
                value = 196.0
        return value + 1, value, value - 1
    if cover == CROP:
        u = (x - row[4]) * row[6] + (y - row[5]) * row[7]
        v = -(x - row[4]) * row[7] + (y - row[5]) * row[6]
        f = 1 + 0.10 * amount * wave(v / 1.7 + 0.12 * noise(u / 9, v / 9, seed)) + 0.12 * grain + 0.1 * tone
        f += 0.10 * noise(u / 22, v / 9, seed + 14) + 0.07 * noise(x / 1.6, y / 1.6, seed + 15)
        return row[1] * f, row[2] * f, row[3] * f
    if cover == WATER:
        f = 1 + 0.10 * noise(x / 26, y / 26, seed + 16) + 0.05 * noise(x / 1.2, y / 2.6, seed + 17)
        return 74 * f, 92 * f, 84 * f
    if cover == PAVING:
        f = 1 + 0.08 * noise(x / 7, y / 7, seed + 18) + 0.05 * noise(x / 1.7, y / 1.7, seed + 19) + 0.06 * grain
        f += 0.08 * tone
        return row[1] * f, row[2] * f, row[3] * f
    f = 1 + 0.04 * noise(x / 3, y / 3, seed + 20) + 0.05 * grain
    return row[1] * f, row[2] * f, row[3] * f


@jit
def tiles(along, across, x, y, number, seed):
    """Brightness of a tiled roof."""
    f = 1 + 0.045 * wave(along / 0.42)
    f += 0.10 * (lattice(int(np.floor(across / 0.3)), int(np.floor(along / 0.42)), seed + number) - 0.5)
    return f + 0.07 * noise(x / 3.1, y / 3.1, seed + 31) + 0.06 * noise(x / 0.8, y / 0.8, seed + 32)


@jit
def sheets(along, across, x, y, number, seed):
    """Brightness of a corrugated metal roof, and how far rust has come."""
    i, j = int(np.floor(across / 1.05)), int(np.floor(along / 5.5))
    f = 1 + 0.055 * wave(across / 0.7) + 0.12 * (lattice(i, j, seed + number) - 0.5)
    f += 0.05 * noise(x / 4, y / 4, seed + 33) + 0.03 * noise(x / 0.6, y / 0.6, seed + 34)
    stain = noise(across / 1.3, along / 5, seed + 35) + 0.8 * lattice(i, j, seed + number + 7) - 0.9
    return f, min(0.6, max(0.0, stain))


@jit
def level_roof(x, y, number, seed):
    """Brightness of a level roof: stains, puddles and seams."""
    f = 1 + 0.07 * noise(x / 5, y / 5, seed + 36) + 0.06 * noise(x / 1.3, y / 1.3, seed + 37 + number % 7)
    puddle = noise(x / 3.4, y / 3.4, seed + 38 + number % 11) - 0.45
    return f - min(0.10, max(0.0, 0.4 * puddle))
