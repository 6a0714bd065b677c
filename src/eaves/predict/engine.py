"""Scores of a whole scene as a stream of strips: read ahead, batch, run, blend. Memory is a few rows of tiles."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

import numpy as np
from rasterio.windows import Window

from eaves.errors import SettingsError
from eaves.exchange.scores import encode
from eaves.predict.backends import Backend
from eaves.progress import OnProgress, Progress, ignore
from eaves.scene import Tile, plan_tiles

_TILE_PX = 640


class Layout(NamedTuple):
    """How a scene is cut for a network; all sides are multiples of the network's stride.

    Attributes:
        tile_px: Side of a tile's core.
        halo_px: What the network sees around it: its receptive field and the blend.
        blend_px: How far two neighbours fade into each other on either side of their border.
        batch: Tiles in one run of the network.
    """

    tile_px: int
    halo_px: int
    blend_px: int
    batch: int


class Strip(NamedTuple):
    """Rows of a score map over the full width, in order and without gaps.

    Attributes:
        row: First row.
        levels: ``(class, row, col)`` uint8 as :func:`eaves.exchange.encode` gives it: 255 is nodata.
    """

    row: int
    levels: np.ndarray


class Picture(Protocol):
    """What is read by windows: a :class:`eaves.scene.Scene`, or more than its pixels."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        ...

    def read(self, window: Window | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Pixels ``(band, row, col)`` of a window and where they are valid; it may reach outside."""
        ...


class Rule(Protocol):
    """What turns pixels into a network's input: a :class:`eaves.scene.Scaling`."""

    def apply(self, image: np.ndarray, valid: np.ndarray, /) -> np.ndarray:
        """Return float32 ``(c, h, w)``."""
        ...


def choose_layout(
    backend: Backend, shape: tuple[int, int], tile_px: int | None = None, batch: int | None = None
) -> Layout:
    """Choose tiles for a network and a scene.

    Args:
        backend: Tells its stride and receptive field.
        shape: Rows and columns of the scene; a small scene gets small tiles.
        tile_px: Wanted side of a core; rounded up to the stride. By default 640, which keeps a light network
            on a CPU below 2 GB.
        batch: Wanted tiles at a time. By default 1: on a CPU a large tile fills it.

    Raises:
        SettingsError: A number is not positive.

    Example:
        >>> class Net: name, stride, halo_px, bands = "n", 16, 96, 1
        >>> choose_layout(Net, (3000, 4000))
        Layout(tile_px=640, halo_px=112, blend_px=16, batch=1)
    """
    blend = round_up(16, backend.stride)
    side = choose_side(_TILE_PX if tile_px is None else tile_px, batch, shape, backend.stride)
    return Layout(max(side, 2 * blend), round_up(backend.halo_px, backend.stride) + blend, blend, batch or 1)


def round_up(value: int, stride: int) -> int:
    """Return the least multiple of a stride that is not below a value."""
    return -(-value // stride) * stride


def choose_side(tile_px: int, batch: int | None, shape: tuple[int, int], stride: int) -> int:
    """Return the side of a core for a wanted one: a multiple of the stride, and small for a small scene.

    Raises:
        SettingsError: A number is not positive.
    """
    if tile_px < 1 or (batch is not None and batch < 1):
        raise SettingsError("tile_px and batch of at least 1", f"{tile_px} and {batch}", "raise them")
    return round_up(min(tile_px, max(shape)), stride)


def stream_scores(
    scene: Picture,
    scaling: Rule,
    backend: Backend,
    layout: Layout,
    on_progress: OnProgress = ignore,
    stage: str = "predict",
) -> Iterator[Strip]:
    """Run a network over a scene.

    Each pixel's score is the mean of the tiles that see it well, weighted by ramps that add up to one across every
    border; where the halo covers the receptive field the result does not depend on the tiles at all. Tiles without
    imagery are not run, and pixels without imagery are nodata.

    Args:
        scene: On the grid of the model's resolution.
        scaling: The model's rule; the caller has checked that the scene fits it.
        backend: Runs the network.
        layout: From :func:`choose_layout`.
        on_progress: Is told after every batch.
        stage: What to call the work.

    Yields:
        Strips from top to bottom that cover the scene exactly once.

    Raises:
        SceneError: The scene cannot be read.
    """
    height, width = scene.shape
    rows = plan_tiles(scene.shape, layout.tile_px, layout.halo_px)
    total, done = sum(map(len, rows)), 0
    blend = layout.blend_px
    across = _Ramps(width, layout.tile_px, blend)
    down = _Ramps(height, layout.tile_px, blend)
    carried: np.ndarray | None = None  # sums of the rows that the tiles below still add to
    for tiles, (image, valid) in zip(rows, bands_of_rows(scene, rows, layout), strict=True):
        core = tiles[0].core
        top, bottom = max(0, core.row_off - blend), min(height, core.row_off + core.height + blend)
        sums = np.zeros((backend.bands, bottom - top, width), np.float32)
        if carried is not None:
            sums[:, : carried.shape[1]] = carried
        wanted = [tile for tile in tiles if columns(valid, tile).any()]
        done += len(tiles) - len(wanted)
        for start in range(0, len(wanted), layout.batch):
            batch = wanted[start : start + layout.batch]
            inputs = np.stack([scaling.apply(columns(image, tile), columns(valid, tile)) for tile in batch])
            for tile, scores in zip(batch, backend(inputs), strict=True):  # (k, h, w)
                left = max(0, tile.core.col_off - blend)
                right = min(width, tile.core.col_off + tile.core.width + blend)
                inner = scores[
                    :,
                    top - tile.read.row_off : bottom - tile.read.row_off,
                    left - tile.read.col_off : right - tile.read.col_off,
                ]
                fade = across.weights(tile.core.col_off, left, right)
                sums[:, :, left:right] += inner * down.weights(core.row_off, top, bottom)[:, None] * fade
            done += len(batch)
            on_progress(Progress(stage, done, total, "tiles"))
        end = height if tiles is rows[-1] else core.row_off + core.height - blend
        ready = sums[:, : end - top]
        known = valid[layout.halo_px + top - core.row_off :][: end - top, layout.halo_px : layout.halo_px + width]
        yield Strip(top, encode(np.clip(ready, 0, 1), known))
        carried = sums[:, end - top :]
    on_progress(Progress(stage, total, total, "tiles"))


class _Ramps:
    """Weights along one axis: each core fades over ``blend`` pixels on either side of its inner borders."""

    def __init__(self, length: int, tile_px: int, blend: int) -> None:
        self.length, self.tile_px, self.blend = length, tile_px, blend

    def weights(self, core: int, start: int, stop: int) -> np.ndarray:
        """Weights of pixels ``start … stop`` in the tile whose core begins at ``core``, float32."""
        center = np.arange(start, stop, dtype=np.float32) + 0.5
        ramp = np.ones_like(center)
        if core > 0:
            ramp = np.minimum(ramp, (center - (core - self.blend)) / (2 * self.blend))
        if core + self.tile_px < self.length:
            ramp = np.minimum(ramp, (core + self.tile_px + self.blend - center) / (2 * self.blend))
        return ramp.astype(np.float32)


def columns(band: np.ndarray, tile: Tile) -> np.ndarray:
    """Return what a tile reads, out of its row's pixels, which begin a halo left of the scene."""
    return band[..., tile.core.col_off : tile.core.col_off + tile.read.width]


def bands_of_rows(scene: Picture, rows: list[list[Tile]], layout: Layout) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Read the pixels that each row of tiles sees, one row ahead; what two rows of tiles share is not read twice."""
    halo = layout.halo_px
    full = len(rows[0]) * layout.tile_px + 2 * halo

    def read(row: int, height: int) -> tuple[np.ndarray, np.ndarray]:
        return scene.read(Window(-halo, row, full, height))

    side = layout.tile_px + 2 * halo
    with ThreadPoolExecutor(1, thread_name_prefix="eaves-read") as reader:
        coming = reader.submit(read, -halo, side)
        image, valid = None, None
        for index in range(len(rows)):
            new_image, new_valid = coming.result()
            if index + 1 < len(rows):
                coming = reader.submit(read, (index + 1) * layout.tile_px + halo, layout.tile_px)
            if image is not None and valid is not None:
                new_image = np.concatenate([image[:, layout.tile_px :], new_image], axis=1)
                new_valid = np.concatenate([valid[layout.tile_px :], new_valid])
            image, valid = new_image, new_valid
            yield image, valid
