"""Finite differences on a grid of which some pixels do not count, compiled.

Planes have a rim of one pixel that does not count, so that no neighbour needs to be asked whether it exists. All sums
run in the same order at every pixel: what a tile gives is to the last bit what the whole image gives.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

_SIGMAS = 3.0  # at which a Gaussian ends


def reach(sigma_px: float) -> int:
    """Pixels that :func:`smooth` looks to every side.

    Example:
        >>> reach(0), reach(0.7)
        (0, 3)
    """
    return math.ceil(_SIGMAS * sigma_px)


def rim(planes: np.ndarray) -> np.ndarray:
    """Put a rim of zeros around ``(..., h, w)``."""
    out = np.zeros((*planes.shape[:-2], planes.shape[-2] + 2, planes.shape[-1] + 2), planes.dtype)
    out[..., 1:-1, 1:-1] = planes
    return out


def smooth(planes: np.ndarray, valid: np.ndarray, sigma_px: float) -> np.ndarray:
    """Blur by a Gaussian that ends at three sigmas, normalised by what counts; 0 where not valid.

    Args:
        planes: float32 ``(n, h, w)``, 0 where not valid.
        valid: bool ``(h, w)``.
        sigma_px: Standard deviation in pixels; 0 leaves all as it is.

    Returns:
        float32 ``(n, h, w)``, new.

    Example:
        >>> smooth(np.float32([[[8, 8, 8, 5]]]), np.array([[True, True, True, False]]), 0.7).tolist()
        [[[8.0, 8.0, 8.0, 0.0]]]
    """
    far = reach(sigma_px)
    if not far:
        return np.where(valid, planes, np.float32(0))
    taps = np.exp(-0.5 * (np.arange(-far, far + 1) / sigma_px) ** 2).astype(np.float32)
    return _smooth(np.ascontiguousarray(planes), valid, taps)


@njit(cache=True, nogil=True)
def _smooth(planes, valid, taps):
    n, h, w = planes.shape
    far = len(taps) // 2
    out = np.empty((n, h, w), np.float32)
    weight, wide, total = np.empty((h, w), np.float32), np.zeros((h, w + 2 * far), np.float32), np.empty(w, np.float32)
    across = np.zeros((h + 2 * far, w), np.float32)
    for plane in range(-1, n):  # the first time, what counts itself
        for row in range(h):
            for col in range(w):
                if plane < 0:
                    wide[row, far + col] = np.float32(valid[row, col])
                else:
                    wide[row, far + col] = planes[plane, row, col] if valid[row, col] else np.float32(0)
        across[far : far + h] = 0
        for row in range(h):
            for tap in range(2 * far + 1):
                for col in range(w):
                    across[far + row, col] += taps[tap] * wide[row, col + tap]
        for row in range(h):
            total[:] = 0
            for tap in range(2 * far + 1):
                for col in range(w):
                    total[col] += taps[tap] * across[row + tap, col]
            for col in range(w):
                if plane < 0:
                    weight[row, col] = total[col]
                else:
                    out[plane, row, col] = total[col] / weight[row, col] if valid[row, col] else np.float32(0)
    return out


@njit(cache=True, nogil=True)
def squares(planes, valid):
    """Mean over planes of the squared gradient, each component the mean of the squares of its two differences.

    A difference to a pixel that does not count is 0. Unlike central differences it sees a single pixel that sticks out.

    Args:
        planes: float32 ``(n, h, w)`` with a rim.
        valid: bool ``(h, w)`` with a rim.

    Returns:
        float32 ``(h, w)`` with a rim of zeros.
    """
    n, h, w = planes.shape
    out = np.zeros((h, w), np.float32)
    half = np.float32(0.5) / np.float32(n)
    for plane in range(n):
        u = planes[plane]
        for row in range(1, h - 1):
            for col in range(1, w - 1):
                if valid[row, col]:
                    here = u[row, col]
                    west = u[row, col - 1] - here if valid[row, col - 1] else np.float32(0)
                    east = u[row, col + 1] - here if valid[row, col + 1] else np.float32(0)
                    north = u[row - 1, col] - here if valid[row - 1, col] else np.float32(0)
                    south = u[row + 1, col] - here if valid[row + 1, col] else np.float32(0)
                    out[row, col] += half * ((west * west + east * east) + (north * north + south * south))
    return out


@njit(cache=True, nogil=True)
def structure(planes, valid):
    """Structure tensor: mean over planes of the products of central differences.

    Where a neighbour does not count, the pixel stands in for it.

    Args:
        planes: float32 ``(n, h, w)`` with a rim.
        valid: bool ``(h, w)`` with a rim.

    Returns:
        float32 ``(3, h, w)`` with a rim of zeros: xx, xy and yy; x runs along a row, y down.
    """
    n, h, w = planes.shape
    out = np.zeros((3, h, w), np.float32)
    half, share = np.float32(0.5), np.float32(1) / np.float32(n)
    for plane in range(n):
        u = planes[plane]
        for row in range(1, h - 1):
            for col in range(1, w - 1):
                if valid[row, col]:
                    here = u[row, col]
                    west = u[row, col - 1] if valid[row, col - 1] else here
                    east = u[row, col + 1] if valid[row, col + 1] else here
                    north = u[row - 1, col] if valid[row - 1, col] else here
                    south = u[row + 1, col] if valid[row + 1, col] else here
                    x, y = half * (east - west), half * (south - north)
                    out[0, row, col] += share * (x * x)
                    out[1, row, col] += share * (x * y)
                    out[2, row, col] += share * (y * y)
    return out


@njit(cache=True, nogil=True)
def pairs(planes, valid):
    """Mean over planes of the squared difference of each pixel to its right and to its lower neighbour.

    Args:
        planes: float32 ``(n, h, w)`` with a rim.
        valid: bool ``(h, w)`` with a rim.

    Returns:
        float32 ``(2, h, w)``: right, lower; infinite where one of the two does not count.
    """
    n, h, w = planes.shape
    out = np.full((2, h, w), np.float32(np.inf))
    share = np.float32(1) / np.float32(n)
    for row in range(h - 1):
        for col in range(w - 1):
            if valid[row, col]:
                for way in range(2):
                    to_row, to_col = row + way, col + 1 - way
                    if valid[to_row, to_col]:
                        total = np.float32(0)
                        for plane in range(n):
                            step = planes[plane, to_row, to_col] - planes[plane, row, col]
                            total += share * (step * step)
                        out[way, row, col] = total
    return out


@njit(cache=True, nogil=True)
def flow(u, weights, step, out):
    """One explicit step of ``du/dt = div(D grad u)``.

    Args:
        u: float32 ``(n, h, w)`` with a rim.
        weights: float32 ``(2 or 4, h, w)`` of each pixel and its neighbour to the right, below, and, where D has more
            than a diagonal, below right and below left; 0 where one of the two does not count.
        step: float32, of time.
        out: As ``u``; filled but for its rim.
    """
    n, h, w = u.shape
    for plane in range(n):
        for row in range(1, h - 1):
            old, above, below, new = u[plane, row], u[plane, row - 1], u[plane, row + 1], out[plane, row]
            east, south, north = weights[0, row], weights[1, row], weights[1, row - 1]
            for col in range(1, w - 1):
                here = old[col]
                # Opposite neighbours are summed first: the order then survives mirrors and turns.
                gain = (east[col] * (old[col + 1] - here) + east[col - 1] * (old[col - 1] - here)) + (
                    south[col] * (below[col] - here) + north[col] * (above[col] - here)
                )
                new[col] = here + step * gain
            if len(weights) == 4:
                falls, rises = weights[2], weights[3]
                for col in range(1, w - 1):
                    here = old[col]
                    gain = (
                        falls[row, col] * (below[col + 1] - here) + falls[row - 1, col - 1] * (above[col - 1] - here)
                    ) + (rises[row, col] * (below[col - 1] - here) + rises[row - 1, col + 1] * (above[col + 1] - here))
                    new[col] += step * gain


@njit(cache=True, nogil=True)
def contour_flow(u, g, valid, step, out):
    """One explicit step of ``du/dt = |grad u| div(g grad u / |grad u|)``.

    Between two pixels, ``g / |grad u|`` is the harmonic mean of theirs (Weickert & Kuehne 2003, "Fast methods for
    implicit active contour models"): no neighbour weighs more than ``2 g``.

    Args:
        u: float32 ``(n, h, w)`` with a rim.
        g: float32 ``(h, w)`` with a rim, above 0 where valid.
        valid: bool ``(h, w)`` with a rim.
        step: float32, of time.
        out: As ``u``; filled but for its rim.
    """
    n, h, w = u.shape
    for plane in range(n):
        steep = np.sqrt(squares(u[plane : plane + 1], valid))
        slow = np.zeros((h, w), np.float32)
        for row in range(1, h - 1):
            for col in range(1, w - 1):
                if valid[row, col]:
                    slow[row, col] = steep[row, col] / g[row, col]
        old = u[plane]
        for row in range(1, h - 1):
            for col in range(1, w - 1):
                here = old[row, col]
                if steep[row, col] == 0:  # nothing around differs
                    out[plane, row, col] = here
                    continue
                mine = slow[row, col]
                gain = np.float32(0)
                for way in range(2):  # along a row, then down: opposite neighbours together
                    one_row, one_col, two_row, two_col = row - way, col - 1 + way, row + way, col + 1 - way
                    part = np.float32(0)
                    if valid[one_row, one_col]:
                        part += (old[one_row, one_col] - here) / (mine + slow[one_row, one_col])
                    if valid[two_row, two_col]:
                        part += (old[two_row, two_col] - here) / (mine + slow[two_row, two_col])
                    gain += part
                out[plane, row, col] = here + step * (np.float32(2) * steep[row, col] * gain)


@njit(cache=True, nogil=True)
def stopping(squared, kappa, exponential):
    """Edge-stopping function of squared gradients, of any shape: 1 where there is no edge, near 0 on a strong one.

    Source: Perona & Malik 1990, "Scale-space and edge detection using anisotropic diffusion", section V.

    Args:
        squared: float32 array, infinity allowed.
        kappa: float32, gradient at which the rational function is a half and the exponential one 1/e.
        exponential: ``exp(-(s / kappa)^2)``; else ``1 / (1 + (s / kappa)^2)``.

    Returns:
        float32, as ``squared``.
    """
    out = np.empty_like(squared)
    given, to = squared.ravel(), out.ravel()
    for i in range(len(given)):
        ratio = given[i] / (kappa * kappa)
        to[i] = np.exp(-ratio) if exponential else np.float32(1) / (np.float32(1) + ratio)
    return out


@njit(cache=True, nogil=True)
def tensor_weights(tensor, valid, kappa, exponential):
    """Weights for ``flow`` of the diffusion tensor that has a structure tensor's axes and the stopping function of
    its eigenvalues.

    A tensor ``(a b; b c)`` becomes ``a - |b|`` along a row, ``c - |b|`` along a column and ``|b|`` along one diagonal,
    which is exact and, as long as no weight is negative, free of new extremes (Weickert 1998, "Anisotropic diffusion in
    image processing"). Where ``|b|`` is larger than that allows it is cut to the smaller of a and c: at
    worst, at 22.5 degrees to the grid, an edge that should stop everything then lets 0.15 of the flow through.

    Args:
        tensor: float32 ``(3, h, w)`` with a rim: xx, xy, yy of the structure.
        valid: bool ``(h, w)`` with a rim.
        kappa: See ``stopping``.
        exponential: See ``stopping``.

    Returns:
        float32 ``(4, h, w)``. Those of a pixel add up to at most 5.
    """
    _, h, w = tensor.shape
    half = np.float32(0.5)
    middle, swing = half * (tensor[0] + tensor[2]), half * (tensor[0] - tensor[2])
    length = np.sqrt(swing * swing + tensor[1] * tensor[1])
    across = stopping(middle + length, kappa, exponential)
    along = stopping(np.maximum(middle - length, np.float32(0)), kappa, exponential)
    share = np.zeros((4, h, w), np.float32)
    for row in range(1, h - 1):
        for col in range(1, w - 1):
            if valid[row, col]:
                mean, off = half * (across[row, col] + along[row, col]), half * (across[row, col] - along[row, col])
                a, b, c = mean, np.float32(0), mean
                if length[row, col] > 0:
                    a += off * (swing[row, col] / length[row, col])
                    b = off * (tensor[1, row, col] / length[row, col])
                    c -= off * (swing[row, col] / length[row, col])
                a, c = max(a, np.float32(0)), max(c, np.float32(0))
                least = min(a, c)
                b = min(max(b, -least), least)
                share[0, row, col], share[1, row, col] = a - abs(b), c - abs(b)
                share[2, row, col], share[3, row, col] = max(b, np.float32(0)), max(-b, np.float32(0))
    out = np.zeros((4, h, w), np.float32)
    for row in range(1, h - 1):
        for col in range(1, w - 1):
            if valid[row, col]:
                for way in range(4):
                    to_row, to_col = row + (way > 0), col + (1, 0, 1, -1)[way]
                    if valid[to_row, to_col]:
                        out[way, row, col] = half * (share[way, row, col] + share[way, to_row, to_col])
    return out
