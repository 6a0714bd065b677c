"""Which energies of a CRF suit a tile whose truth is known."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from eaves.errors import LabelError, SettingsError
from eaves.labels import UNKNOWN
from eaves.metrics import confusion, miou
from eaves.progress import OnProgress, Progress, ignore
from eaves.refine.checks import check_arrays
from eaves.refine.crf import DenseCrf, Spatial, bilateral, mean_field

_COARSE = 4  # values of an axis in the first grid


class CrfTrial(NamedTuple):
    """One line of the table of a search.

    Attributes:
        w_bilateral: As the option of :class:`DenseCrf`; so for the next four.
        miou: Mean IoU of all classes against the reference, in [0, 1].
        stage: ``coarse`` (on a window) or ``fine`` (on all of the tile). Compare within a stage only.
    """

    w_bilateral: float
    theta_alpha_px: float
    theta_beta: float
    w_spatial: float
    theta_gamma_px: float
    miou: float
    stage: str


class CrfSearch(NamedTuple):
    """What a search found.

    Attributes:
        options: Best options, for ``DenseCrf(**options)``.
        miou: Their mean IoU on the tile.
        before: Mean IoU of the scores as they came, on the tile.
        rows: All trials in the order in which they were made.
    """

    options: dict[str, float]
    miou: float
    before: float
    rows: list[CrfTrial]


def search_crf(
    image: np.ndarray,
    scores: np.ndarray,
    valid: np.ndarray,
    reference: np.ndarray,
    *,
    w_bilateral: Sequence[float] = tuple(range(3, 11)),
    theta_alpha_px: Sequence[float] = tuple(range(30, 101, 10)),
    theta_beta: Sequence[float] = tuple(range(3, 14)),
    w_spatial: Sequence[float] = (3,),
    theta_gamma_px: Sequence[float] = (3,),
    iterations: int = 5,
    window_px: int = 512,
    on_progress: OnProgress = ignore,
) -> CrfSearch:
    """Search the energies with the best mean IoU on a tile whose truth is known, from coarse to fine.

    Coarse: a grid of at most four values of each axis, evenly chosen with both ends, on the window that holds most
    pixels of the reference's rarest class. Fine: from the best of these, on the whole tile, one step along each axis
    either way for as long as that is better; so the result is a best among its neighbours, and perhaps not of all 704.
    Of equals, the first wins.

    Source: the search of Maggiori et al. 2017, https://arxiv.org/abs/1608.03440, section IV, who print no ranges; these
    are ours, around the presets that are handed down with DeepLab.

    Args:
        image: As a refiner takes it; so for the next two.
        scores: The same.
        valid: The same.
        reference: Class indices, ``(h, w)``; ``UNKNOWN`` is not judged.
        w_bilateral: Values of this option, in rising order; 3 to 10 in steps of 1. So for the next four.
        theta_alpha_px: 30 to 100 px in steps of 10.
        theta_beta: 3 to 13 grey levels in steps of 1.
        w_spatial: 3 alone.
        theta_gamma_px: 3 px alone.
        iterations: Of every trial.
        window_px: Side of the window of the coarse search.
        on_progress: Told after every trial.

    Raises:
        LabelError: Nothing of the reference is known where the scores are valid, or it is no mask of these classes.
        SettingsError: An axis has no values, or one that :class:`DenseCrf` refuses; or the arrays do not fit.

    Example:
        >>> building = np.zeros((16, 16), np.float32)
        >>> building[4:12, 4:12] = 0.8
        >>> found = search_crf(
        ...     building[None].repeat(3, 0), np.stack([1 - building, building]), np.ones((16, 16), bool),
        ...     (building > 0).astype(np.uint8), theta_alpha_px=(5,), theta_beta=(3, 13), w_bilateral=(3,),
        ... )
        >>> found.options["theta_beta"], found.miou, len(found.rows)
        (3.0, 1.0, 2)
    """
    check_arrays(image, scores, valid)
    axes = {
        "theta_alpha_px": theta_alpha_px,
        "theta_beta": theta_beta,
        "theta_gamma_px": theta_gamma_px,
        "w_bilateral": w_bilateral,
        "w_spatial": w_spatial,
    }
    for name, values in axes.items():
        if not len(values):
            raise SettingsError(f"values of {name} to try", "none", "give at least one")
        for value in values:
            DenseCrf(**{name: value}, iterations=iterations)
    tile = _Tile(image, scores, valid, np.where(valid, reference, np.uint8(UNKNOWN)))
    before = tile.miou_of(tile.scores[:, tile.valid].T)
    if before is None:
        raise LabelError("a reference with known pixels where the scores are valid", "none", "give another tile")
    window = tile.window(window_px)
    rows: list[CrfTrial] = []
    coarse = _Trials(window, axes, iterations, "coarse", rows, on_progress)
    best = coarse.best(list(product(*(_spread(len(values)) for values in axes.values()))))
    fine = _Trials(tile, axes, iterations, "fine", rows, on_progress)
    if window is tile:
        fine.known = coarse.known
    while True:
        around = [(*best[:axis], best[axis] + way, *best[axis + 1 :]) for axis in range(5) for way in (-1, 1)]
        inside = [at for at in around if all(0 <= i < len(values) for i, values in zip(at, axes.values(), strict=True))]
        better = fine.best([best, *inside])
        if better == best:
            break
        best = better
    options = {name: float(values[i]) for i, (name, values) in zip(best, axes.items(), strict=True)}
    return CrfSearch({**options, "iterations": iterations}, fine.known[best], before, rows)


class _Tile(NamedTuple):
    image: np.ndarray
    scores: np.ndarray
    valid: np.ndarray
    truth: np.ndarray

    def miou_of(self, scores: np.ndarray) -> float | None:
        """Mean IoU of scores ``(valid pixels, classes)``."""
        found = np.full(self.valid.shape, UNKNOWN, np.uint8)
        found[self.valid] = scores.argmax(1)
        return miou(confusion(self.truth, found, len(self.scores)))

    def window(self, side: int) -> _Tile:
        """The window, on a grid of half its side, that holds most of the truth's rarest class; all if no larger."""
        h, w = self.valid.shape
        if h <= side and w <= side:
            return self
        counts = np.bincount(self.truth[self.truth != UNKNOWN], minlength=1)
        rarest = int(np.flatnonzero(counts)[counts[counts > 0].argmin()])
        step = max(1, side // 2)
        places = list(product(_starts(h, side, step), _starts(w, side, step)))
        row, col = max(places, key=lambda at: np.sum(self.truth[at[0] : at[0] + side, at[1] : at[1] + side] == rarest))
        return _Tile(*(array[..., row : row + side, col : col + side] for array in self))


class _Trials:
    """Trials on one tile, none made twice."""

    def __init__(
        self,
        tile: _Tile,
        axes: dict[str, Sequence[float]],
        iterations: int,
        stage: str,
        rows: list[CrfTrial],
        on_progress: OnProgress,
    ) -> None:
        self._tile, self._axes, self._iterations = tile, axes, iterations
        self._stage, self._rows, self._on_progress = stage, rows, on_progress
        self.known: dict[tuple[int, ...], float] = {}

    def best(self, places: list[tuple[int, ...]]) -> tuple[int, ...]:
        """Try what has not been tried; return the first of the best. Places are indices along the axes."""
        missing = sorted(set(places) - set(self.known))  # those that share a lattice, the dear part, follow each other
        lattice, of_lattice = None, ()
        pixels = np.ascontiguousarray(self._tile.scores[:, self._tile.valid].T)
        for done, at in enumerate(missing, 1):
            options = {name: float(values[i]) for i, (name, values) in zip(at, self._axes.items(), strict=True)}
            crf = DenseCrf(**options, iterations=self._iterations)  # pyright: ignore[reportArgumentType]
            if lattice is None or of_lattice != at[:2]:
                lattice = None  # before the next: a lattice may be large
                lattice = bilateral(self._tile.image, self._tile.valid, crf.theta_alpha_px, crf.theta_beta)
                of_lattice = at[:2]
            spatial = Spatial(self._tile.valid, crf.theta_gamma_px)
            kernels = [(crf.w_bilateral, lattice), (crf.w_spatial, spatial)]
            last = deque(mean_field(pixels, kernels, crf.iterations, crf.least_score), maxlen=1).pop()
            # A window may lie where nothing is known; it then tells nothing.
            self.known[at] = self._tile.miou_of(last) or 0.0
            self._rows.append(CrfTrial(**options, miou=self.known[at], stage=self._stage))
            note = f"mIoU {self.known[at]:.4f}"
            self._on_progress(Progress(f"search CRF, {self._stage}", done, len(missing), "trials", note))
        return max(places, key=lambda at: self.known[at])


def _spread(count: int) -> list[int]:
    """Indices of a few of ``count`` values, evenly, with both ends."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, _COARSE))})


def _starts(length: int, side: int, step: int) -> list[int]:
    return [*range(0, max(length - side, 0), step), max(length - side, 0)]
