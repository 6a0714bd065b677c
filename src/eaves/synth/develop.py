"""Light and camera: sun, sky and cast shadows on the painted samples, then lens, sensor and 8 bits."""

from __future__ import annotations

import numpy as np

from eaves.synth.texture import jit, lattice, noise

FACTOR = 2  # samples along a pixel's side
_PENUMBRA_M = 0.35


@jit
def light(colour, height, slope, rim, offsets, rises, sun, highest):
    """Light the samples in place, but for the outer ``rim`` from which shadows may fall.

    Args:
        colour: float32, ``(h, w, 3)``.
        height: float32, ``(h, w)`` metres.
        slope: float32, ``(h, w, 2)``.
        rim: Samples along each side to leave.
        offsets: Steps towards the sun, int64 ``(k, 2)`` rows and columns.
        rises: Height of the ray after each step, metres, ``(k,)``.
        sun: Towards the sun, a unit vector (x, y, up).
        highest: For cells of 64 x 64 samples, the greatest height that a ray from them can meet.
    """
    h, w = height.shape
    for i in range(rim, h - rim):
        for j in range(rim, w - rim):
            z, ceiling = height[i, j], highest[i >> 6, j >> 6]
            dark = 0.0
            for k in range(len(rises)):
                ray = z + rises[k]
                if ray > ceiling:
                    break
                over = height[i + offsets[k, 0], j + offsets[k, 1]] - ray
                if over > dark:
                    dark = over
                    if dark > _PENUMBRA_M:
                        break
            seen = 1 - min(1.0, dark / _PENUMBRA_M)
            sx, sy = slope[i, j, 0], slope[i, j, 1]
            steep = 1 / np.sqrt(1 + sx * sx + sy * sy)
            direct = max(0.0, (sun[2] - sx * sun[0] - sy * sun[1]) * steep / sun[2])
            direct = min(1.5, direct) * seen * 0.62
            colour[i, j, 0] *= direct + 0.355 * steep
            colour[i, j, 1] *= direct + 0.38 * steep
            colour[i, j, 2] *= direct + 0.41 * steep


@jit
def expose(image, colour, margin, row0, col0, gain, haze, pixel_m, seed):
    """Gather samples into pixels through a soft lens, and add what the sensor adds.

    Each pixel weighs 4 x 4 samples by (1, 3, 3, 1)/8 along both sides: a slight blur, as of a resampled orthophoto.

    Args:
        image: uint8, ``(3, h, w)``, written.
        colour: float32 samples with ``margin`` samples around the image, a margin of 1 or more.
        margin: Samples before the first pixel.
        row0: The scene's row of the first pixel.
        col0: The scene's column of the first pixel.
        gain: Brightness.
        haze: Share of veiling light.
        pixel_m: Side of a pixel in metres.
        seed: The city's seed.
    """
    weight = (0.125, 0.375, 0.375, 0.125)
    for i in range(image.shape[1]):
        for j in range(image.shape[2]):
            x, y = (col0 + j) * pixel_m, (row0 + i) * pixel_m
            f = gain * (1 + 0.035 * noise(x / 140, y / 140, seed + 50) + 0.02 * noise(x / 37, y / 37, seed + 51))
            r, c = row0 + i, col0 + j
            common = lattice(r, c, seed + 52) + lattice(r, c, seed + 53) + lattice(r, c, seed + 54) - 1.5
            for band in range(3):
                total = 0.0
                for a in range(4):
                    line = 0.0
                    for b in range(4):
                        line += weight[b] * colour[margin + 2 * i - 1 + a, margin + 2 * j - 1 + b, band]
                    total += weight[a] * line
                own = lattice(r, c, seed + 55 + band) - 0.5
                value = total * f * (1 - haze) + 200 * haze + 3.2 * common + 3.2 * own
                image[band, i, j] = np.uint8(min(255.0, max(0.0, value + 0.5)))
