"""Refine the score map of a whole scene as a stream, beside the image that it is of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from rasterio.windows import Window

from eaves.exchange.scores import NODATA, decode, decode_all
from eaves.exchange.scoreview import ScoreView
from eaves.predict.engine import Strip, choose_layout, stream_scores
from eaves.progress import OnProgress, ignore
from eaves.refine import Refiner
from eaves.scene import Scaling, Scene


class ScoredScene:
    """An image with the scores of its pixels below it, on one grid.

    Args:
        scene: The image.
        scaling: Brings its pixels to [0, 1].
        view: Its score maps on the scene's grid.
        classes: Which of these are scores of classes, from 0; the others (border, distance) ride along.

    Attributes:
        order: Bands of a stack, after the image's and the background's score, in the order of the map's.
    """

    def __init__(self, scene: Scene, scaling: Scaling, view: ScoreView, classes: Sequence[int]) -> None:
        self.scene, self.scaling, self.view = scene, scaling, view
        self.classes = list(classes)
        self.others = [band for band in range(view.bands) if band not in self.classes]
        self.order = np.argsort([*self.classes, *self.others]).tolist()

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.scene.shape

    def read(self, window: Window | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Read a window as the files have it, which takes the least memory.

        Returns:
            ``(bands + maps, h, w)`` in the image's type: its pixels, and below them the levels of the score maps. And
            ``valid`` bool ``(h, w)``: there is imagery, and a score.

        Raises:
            SceneError: As :meth:`eaves.scene.Scene.read`.
        """
        window = window or Window(0, 0, self.shape[1], self.shape[0])
        image, valid = self.scene.read(window)
        levels = self.view.read(window)
        valid = valid & (levels != NODATA).all(axis=0)
        return np.concatenate([image, levels.astype(image.dtype)]), valid

    def apply(self, pixels: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Bring what :meth:`read` gave to what refiners take.

        Returns:
            float32 ``(bands + classes + others, h, w)``: the image in [0, 1], the scores of every class, the
            background's first, and what rides along; 0 where not valid.
        """
        bands = self.scaling.band_count
        levels = pixels[bands:].astype(np.uint8)
        scores, _ = decode_all(levels[self.classes])
        return np.concatenate([self.scaling.scale(pixels[:bands]), scores, decode(levels[self.others])[0]]) * valid

    def stack(self, window: Window | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Read a window, and bring it to what refiners take."""
        pixels, valid = self.read(window)
        return self.apply(pixels, valid), valid


class RefinerBackend:
    """A refiner as the engine runs it: stacks of image and scores in, scores out.

    Args:
        refiner: Does the work.
        bands: Of the image.
        classes: The background included.
        order: See :class:`ScoredScene`.
        steps: Give the scores before the first and after each of so many steps, one after the other; none gives only
            the last.
    """

    stride = 1

    def __init__(
        self, refiner: Refiner, bands: int, classes: int, order: Sequence[int], steps: int | None = None
    ) -> None:
        self.refiner, self._bands, self._classes, self._order, self._steps = refiner, bands, classes, order, steps
        self.name, self.halo_px = refiner.name, refiner.halo_px
        self.bands = len(order) if steps is None else (classes - 1) * (steps + 1)

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Refine ``(n, channels, h, w)`` into scores ``(n, k, h, w)``."""
        return np.stack([self._refine(stack) for stack in batch])

    def _refine(self, stack: np.ndarray) -> np.ndarray:
        image, scores, others = np.split(stack, (self._bands, self._bands + self._classes))
        valid = scores.sum(axis=0) > 0.5
        if self._steps is not None:
            return np.concatenate([step[1:] for step in self.refiner.steps(image, scores, valid)])
        return np.concatenate([self.refiner(image, scores, valid)[1:], others])[self._order]


def stream_refined(
    scored: ScoredScene,
    refiner: Refiner,
    *,
    steps: int | None = None,
    tile_px: int | None = None,
    on_progress: OnProgress = ignore,
) -> Iterator[Strip]:
    """Refine a whole scene.

    Args:
        scored: The image with its scores.
        refiner: What refines them.
        steps: Give the maps of all so many steps and the first one, one below the other.
        tile_px: Side of a tile's core; chosen where none is given.
        on_progress: Is told after every tile.

    Yields:
        Strips as :func:`stream_scores` does, with the bands of the score map.

    Raises:
        SceneError: The scene or the map cannot be read.
    """
    bands = scored.scaling.band_count
    backend = RefinerBackend(refiner, bands, len(scored.classes) + 1, scored.order, steps)
    layout = choose_layout(backend, scored.shape, tile_px)
    yield from stream_scores(scored, scored, backend, layout, on_progress, stage="refine")
