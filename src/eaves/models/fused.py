"""One step of the corrector in one pass over memory, for processors: convolution, ReLU and sum, forward and backward.

A library's convolution of one channel into 32 is bound by what it writes and reads again; here the hidden units of a
row never leave the cache. The result equals the library's but for rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

_SIDE = 5  # of the kernel
_PAD = _SIDE // 2


class FusedUpdate(torch.autograd.Function):
    """``sum over hidden units of out_weight * relu(kernel * u + drive)``, zeros around ``u``.

    Inputs, all float32 on the CPU: ``u (n, h, w)``, ``drive (n, hidden, h, w)``, ``kernel (hidden, 5, 5)``,
    ``out_weight (hidden,)``; result ``(n, h, w)``.
    """

    @staticmethod
    def forward(ctx: Any, u: Tensor, drive: Tensor, kernel: Tensor, out_weight: Tensor) -> Tensor:
        """Compute the update."""
        ctx.save_for_backward(u, drive, kernel, out_weight)
        return run_update(u, drive, kernel, out_weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        """Compute the hidden units again, and the gradients of all inputs."""
        u, drive, kernel, out_weight = ctx.saved_tensors
        padded, drives, kernels, weights = _arrays(u, drive, kernel, out_weight)
        of_result = np.ascontiguousarray(gradients[0].numpy())
        of_u, of_drive = np.zeros_like(padded), np.empty_like(drives)
        count = len(padded)
        of_kernel, of_weight = (
            np.zeros((count, *kernels.shape), np.float32),
            np.zeros((count, len(weights)), np.float32),
        )
        _run_all(
            partial(
                _backward, padded[i], drives[i], kernels, weights, of_result[i],
                of_u[i], of_drive[i], of_kernel[i], of_weight[i],
            )
            for i in range(count)
        )  # fmt: skip
        inner = np.ascontiguousarray(of_u[:, _PAD:-_PAD, _PAD:-_PAD])
        return tuple(map(torch.from_numpy, (inner, of_drive, of_kernel.sum(axis=0), of_weight.sum(axis=0))))


def run_update(u: Tensor, drive: Tensor, kernel: Tensor, out_weight: Tensor) -> Tensor:
    """Compute the update without a gradient; see :class:`FusedUpdate`."""
    padded, drives, kernels, weights = _arrays(u, drive, kernel, out_weight)
    result = np.empty(tuple(u.shape), np.float32)
    height = result.shape[1]
    rows = max(1, -(-height // torch.get_num_threads()))
    _run_all(
        partial(
            _forward, padded[i, top : top + rows + 2 * _PAD], drives[i, :, top : top + rows], kernels, weights,
            result[i, top : top + rows],
        )
        for i in range(len(padded))
        for top in range(0, height, rows)
    )  # fmt: skip
    return torch.from_numpy(result)


def _run_all(tasks: Iterable[Callable[[], None]]) -> None:
    """Run tasks on as many threads as torch has."""
    threads = torch.get_num_threads()
    if threads == 1:
        for task in tasks:
            task()
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(task) for task in tasks]:
            done.result()


def _arrays(u: Tensor, drive: Tensor, kernel: Tensor, out_weight: Tensor) -> tuple[np.ndarray, ...]:
    padded = np.pad(u.detach().numpy(), ((0, 0), (_PAD, _PAD), (_PAD, _PAD)))
    rest = (part.detach().numpy() for part in (drive, kernel, out_weight))
    return (padded, *(np.ascontiguousarray(part) for part in rest))


@njit(cache=True, nogil=True, fastmath=True)
def _hidden_row(padded, drive, kernel, unit, row, line):
    """Fill ``line`` with a hidden unit's inputs along a row."""
    width = len(line)
    for col in range(width):
        line[col] = drive[unit, row, col]
    for down in range(_SIDE):
        source = padded[row + down]
        a, b, c, d, e = kernel[unit, down]
        for col in range(width):
            line[col] += (
                a * source[col] + b * source[col + 1] + c * source[col + 2] + d * source[col + 3] + e * source[col + 4]
            )


@njit(cache=True, nogil=True, fastmath=True)
def _forward(padded, drive, kernel, weight, result):
    height, width = result.shape
    line = np.empty(width, np.float32)
    for row in range(height):
        out = result[row]
        out[:] = 0
        for unit in range(len(weight)):
            _hidden_row(padded, drive, kernel, unit, row, line)
            share = weight[unit]
            for col in range(width):
                out[col] += share * max(line[col], np.float32(0))


@njit(cache=True, nogil=True, fastmath=True)
def _backward(padded, drive, kernel, weight, of_result, of_padded, of_drive, of_kernel, of_weight):
    height, width = of_result.shape
    line = np.empty(width, np.float32)
    wide = np.zeros(width + 2 * (_SIDE - 1), np.float32)  # a row's gradients with zeros around
    for row in range(height):
        given = of_result[row]
        for unit in range(len(weight)):
            _hidden_row(padded, drive, kernel, unit, row, line)
            share, total = weight[unit], np.float32(0)
            for col in range(width):
                total += given[col] * max(line[col], np.float32(0))
            for col in range(width):
                wide[col + _SIDE - 1] = share * given[col] if line[col] > 0 else np.float32(0)
            of_weight[unit] += total
            middle = wide[_SIDE - 1 : _SIDE - 1 + width]
            of_drive[unit, row] = middle
            for down in range(_SIDE):
                source, target = padded[row + down], of_padded[row + down]
                a, b, c, d, e = kernel[unit, down]
                for col in range(width + _SIDE - 1):
                    target[col] += (
                        a * wide[col + 4] + b * wide[col + 3] + c * wide[col + 2] + d * wide[col + 1] + e * wide[col]
                    )
                for right in range(_SIDE):
                    dot = np.float32(0)
                    for col in range(width):
                        dot += middle[col] * source[col + right]
                    of_kernel[unit, down, right] += dot
