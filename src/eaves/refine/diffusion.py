"""Hand-made refiners: score maps that flow, held up by the edges of the image.

The partial differential equations that Maggiori et al. 2017, https://arxiv.org/abs/1608.03440, set out from before
they learn one (section II-A, equations 1 to 4), in explicit steps that are stable by construction: no step makes a
score higher or lower than the highest and lowest around it. What is not valid lets nothing through.

The image is in [0, 1], and so are gradients and ``kappa``; of several bands, the mean of the squared gradients counts.
Everything is local: nothing is measured over the image, so that tiles with ``halo_px`` around them give to the last
bit what the whole gives.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from typing import Annotated, ClassVar, Literal, get_args

import numpy as np
from pydantic import Field

from eaves.refine.checks import check_arrays, check_choice, check_range
from eaves.refine.stencils import (
    contour_flow,
    flow,
    pairs,
    reach,
    rim,
    smooth,
    squares,
    stopping,
    structure,
    tensor_weights,
)

Count = Annotated[int, Field(ge=1)]
Width = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Edge = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Stopping = Literal["exponential", "rational"]
_Move = Callable[[np.ndarray, np.ndarray], None]

_ROUNDING = 1e-6  # sums of scores that differ from one by less are left alone: what is constant stays as it is
_LEAST_G = np.float32(1e-6)  # of contours, which divide by it


class Diffusion(ABC):
    """What all have in common: a number of steps, then scores that sum to one.

    Attributes:
        name: As in :class:`eaves.refine.refiner.Refiner`.
        halo_px: Exact reach.
    """

    name: ClassVar[str]
    most_step: ClassVar[float]

    def __init__(self, iterations: int, time_step: float, halo_px: int) -> None:
        check_range("iterations", iterations, least=1)
        check_range("time_step", time_step, above=0, most=self.most_step)
        self.iterations, self.time_step, self.halo_px = iterations, time_step, halo_px

    def __call__(self, image: np.ndarray, scores: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """See :class:`eaves.refine.refiner.Refiner`.

        Raises:
            SettingsError: The arrays do not fit each other.
        """
        return deque(self.steps(image, scores, valid), maxlen=1).pop()

    def steps(self, image: np.ndarray, scores: np.ndarray, valid: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the scores after 0, 1, 2 … iterations; for the arguments see :meth:`__call__`."""
        check_arrays(image, scores, valid)
        u = rim(np.where(valid, scores, np.float32(0)).astype(np.float32))
        yield u[:, 1:-1, 1:-1].copy()
        move = self._move(np.where(valid, image, np.float32(0)).astype(np.float32), valid)
        other = np.zeros_like(u)
        for _ in range(self.iterations):
            move(u, other)
            u, other = other, u
            yield _close(u[:, 1:-1, 1:-1])

    @abstractmethod
    def _move(self, image: np.ndarray, valid: np.ndarray) -> _Move:
        """Return what makes a step: it reads the scores, with a rim, and writes them into its second argument."""


def _close(u: np.ndarray) -> np.ndarray:
    scores = np.clip(u, 0, 1)
    total = scores.sum(0)
    off = (total > 0) & (np.abs(total - 1) > _ROUNDING)
    scores[:, off] /= total[off]
    return scores


class Heat(Diffusion):
    """Heat flow, equation 1: ``du/dt = div(grad u)``. It knows nothing of the image and blurs.

    After a time ``t = iterations * time_step`` it has blurred like a Gaussian of ``sqrt(2 t)`` pixels.

    Args:
        iterations: Steps, at least 1. ``halo_px`` is as much.
        time_step: Above 0, and at most 0.25, where the five-point scheme is still stable.

    Raises:
        SettingsError: An option is out of its range.

    Example:
        >>> scores = np.float32([[[1, 1, 0, 0]], [[0, 0, 1, 1]]])
        >>> heat = Heat(iterations=1, time_step=0.25)
        >>> heat(np.zeros((3, 1, 4), np.float32), scores, np.ones((1, 4), bool))[1].tolist()
        [[0.0, 0.25, 0.75, 1.0]]
    """

    name = "heat"
    most_step = 0.25

    def __init__(self, *, iterations: Count = 10, time_step: Annotated[float, Field(gt=0, le=0.25)] = 0.2) -> None:
        super().__init__(iterations, time_step, iterations)

    def _move(self, image: np.ndarray, valid: np.ndarray) -> _Move:
        inside = rim(valid)
        joined = (pairs(np.zeros((1, *inside.shape), np.float32), inside) == 0).astype(np.float32)
        step = np.float32(self.time_step)
        return lambda u, out: flow(u, joined, step, out)


class PeronaMalik(Diffusion):
    """Edge-stopping flow, equation 2: ``du/dt = div(g(|grad I|) grad u)``.

    ``g`` is taken between two neighbours, of the difference between them in the image, as in Perona & Malik 1990,
    section V; unlike there it is the image's, and does not change. An optional blur of the image keeps noise from
    looking like edges (the source's reference 26, Weickert 1998).

    Args:
        iterations: Steps, at least 1. ``halo_px`` is as much, and 3 ``sigma_px`` more.
        time_step: Above 0 and at most 0.25: ``g`` is at most 1, so the scheme is stable.
        kappa: Gradient that counts as an edge, in units of the image, [0, 1] a pixel, above 0.
        stopping: ``exponential``, ``exp(-(s / kappa)^2)``, or ``rational``, ``1 / (1 + (s / kappa)^2)``.
        sigma_px: Blur of the image beforehand, a standard deviation in pixels; 0 for none.

    Raises:
        SettingsError: An option is out of its range.

    Example:
        What lies across an edge of the image stays there.

        >>> image, scores = np.float32([[[0, 0, 1, 1]]]), np.float32([[[1, 1, 0, 0]], [[0, 0, 1, 1]]])
        >>> PeronaMalik(sigma_px=0)(image, scores, np.ones((1, 4), bool))[1].round(3).tolist()
        [[0.0, 0.0, 1.0, 1.0]]
    """

    name = "perona-malik"
    most_step = 0.25

    def __init__(
        self,
        *,
        iterations: Count = 20,
        time_step: Annotated[float, Field(gt=0, le=0.25)] = 0.2,
        kappa: Edge = 0.05,
        stopping: Stopping = "exponential",
        sigma_px: Width = 0.5,
    ) -> None:
        _check_edges(kappa, stopping, sigma_px)
        super().__init__(iterations, time_step, iterations + reach(sigma_px))
        self.kappa, self.stopping, self.sigma_px = kappa, stopping, sigma_px

    def _move(self, image: np.ndarray, valid: np.ndarray) -> _Move:
        # Infinite at the border of what is valid: nothing flows.
        differences = pairs(rim(smooth(image, valid, self.sigma_px)), rim(valid))
        weights = stopping(differences, np.float32(self.kappa), self.stopping == "exponential")
        step = np.float32(self.time_step)
        return lambda u, out: flow(u, weights, step, out)


class Anisotropic(Diffusion):
    """Anisotropic flow, equation 3: ``du/dt = div(D(I) grad u)``; scores flow along the image's edges, not across.

    ``D`` has the axes of the image's structure tensor, and ``g`` of the square roots of its eigenvalues: nothing but 1
    where the image is smooth, small across an edge and 1 along it, small both ways at a corner (after Weickert 1998).
    In eight-neighbour differences that never turn negative; what that costs is told at
    :func:`eaves.refine.stencils.tensor_weights`.

    Args:
        iterations: Steps, at least 1. ``halo_px`` is as much, 3 ``sigma_px``, 3 ``rho_px`` and 1 more.
        time_step: Above 0 and at most 0.2: the weights of a pixel's neighbours add up to at most 5.
        kappa: As for :class:`PeronaMalik`, of central differences.
        stopping: As for :class:`PeronaMalik`.
        sigma_px: Blur of the image before its gradient is taken; 0 for none.
        rho_px: Blur of the structure tensor, over which a direction is averaged; 0 for none.

    Raises:
        SettingsError: An option is out of its range.

    Example:
        >>> image, scores = np.zeros((1, 8, 8), np.float32), np.zeros((2, 8, 8), np.float32)
        >>> image[:, :, 4:] = scores[1, :, 4:] = scores[0, :, :4] = 1
        >>> refined = Anisotropic(sigma_px=0, rho_px=0)(image, scores, np.ones((8, 8), bool))
        >>> bool(np.abs(refined - scores).max() < 1e-6)
        True
    """

    name = "anisotropic"
    most_step = 0.2

    def __init__(
        self,
        *,
        iterations: Count = 20,
        time_step: Annotated[float, Field(gt=0, le=0.2)] = 0.2,
        kappa: Edge = 0.05,
        stopping: Stopping = "exponential",
        sigma_px: Width = 0.5,
        rho_px: Width = 1.0,
    ) -> None:
        _check_edges(kappa, stopping, sigma_px)
        check_range("rho_px", rho_px, least=0)
        super().__init__(iterations, time_step, iterations + 1 + reach(sigma_px) + reach(rho_px))
        self.kappa, self.stopping, self.sigma_px, self.rho_px = kappa, stopping, sigma_px, rho_px

    def _move(self, image: np.ndarray, valid: np.ndarray) -> _Move:
        tensor = structure(rim(smooth(image, valid, self.sigma_px)), rim(valid))
        tensor = rim(smooth(tensor[:, 1:-1, 1:-1], valid, self.rho_px))
        weights = tensor_weights(tensor, rim(valid), np.float32(self.kappa), self.stopping == "exponential")
        step = np.float32(self.time_step)
        return lambda u, out: flow(u, weights, step, out)


class GeodesicActiveContour(Diffusion):
    """Geodesic active contours, equation 4: ``du/dt = |grad u| div(g(|grad I|) grad u / |grad u|)``.

    Every contour line of the scores shortens, measured in ``g``, until edges of the image hold it: lines move, and
    heights stay. The equation does not change when a constant is added to ``u`` or ``u`` is scaled; the zero level of
    the source may therefore be the level 0.5 of scores. Two classes move in mirror image and keep the sum one; more are
    brought back to it.

    Args:
        iterations: Steps, at least 1. ``halo_px`` is twice as much, and 3 ``sigma_px`` more.
        time_step: Above 0 and at most 0.125: no neighbour weighs more than 2 g, and there are four. Where ``g`` is 1 a
            circle's area shrinks by 2 pi a unit of time.
        kappa: As for :class:`PeronaMalik`, of the root mean square of the differences on either side.
        stopping: As for :class:`PeronaMalik`.
        sigma_px: Blur of the image beforehand, a standard deviation in pixels; 0 for none.

    Raises:
        SettingsError: An option is out of its range.

    Example:
        Without an edge to hold it, a speck goes.

        >>> building = np.zeros((9, 9), np.float32)
        >>> building[4, 4] = 1
        >>> image, scores = np.zeros((3, 9, 9), np.float32), np.stack([1 - building, building])
        >>> bool(GeodesicActiveContour()(image, scores, np.ones((9, 9), bool))[1].max() < 0.1)
        True
    """

    name = "geodesic"
    most_step = 0.125

    def __init__(
        self,
        *,
        iterations: Count = 40,
        time_step: Annotated[float, Field(gt=0, le=0.125)] = 0.125,
        kappa: Edge = 0.05,
        stopping: Stopping = "rational",
        sigma_px: Width = 1.0,
    ) -> None:
        _check_edges(kappa, stopping, sigma_px)
        super().__init__(iterations, time_step, 2 * iterations + reach(sigma_px))
        self.kappa, self.stopping, self.sigma_px = kappa, stopping, sigma_px

    def _move(self, image: np.ndarray, valid: np.ndarray) -> _Move:
        inside, step = rim(valid), np.float32(self.time_step)
        steep = squares(rim(smooth(image, valid, self.sigma_px)), inside)
        g = np.maximum(stopping(steep, np.float32(self.kappa), self.stopping == "exponential"), _LEAST_G)
        return lambda u, out: contour_flow(u, g, inside, step, out)


def _check_edges(kappa: float, stopping: str, sigma_px: float) -> None:
    check_range("kappa", kappa, above=0)
    check_choice("stopping", stopping, get_args(Stopping))
    check_range("sigma_px", sigma_px, least=0)
