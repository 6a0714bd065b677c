"""Objects of a whole scene, and their scores as strips: tiles with a halo, each building by one of them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
import torch

from eaves.errors import EavesWarning, SettingsError
from eaves.exchange.scores import LEVELS, NODATA, encode
from eaves.models import Detections, InstanceNetwork
from eaves.models.paste import paste
from eaves.predict.backends import choose_device
from eaves.predict.engine import Layout, Picture, Rule, Strip, bands_of_rows, choose_side, columns, round_up
from eaves.predict.seams import INSIDE, Found, merge, place, settle
from eaves.progress import OnProgress, Progress, ignore
from eaves.scene import Tile, plan_tiles

_TILE_PX = 1024
LEAST_SCORE = 0.05
"""Detections below are noise by any measure; average precision hardly sees them."""


class Detector(Protocol):
    """A network of objects somewhere.

    Attributes:
        name: For the log.
        stride: Tiles start at multiples of it.
        halo_px: How far the network has to see around an object.
        classes: Number of classes, the background included.
    """

    name: str
    stride: int
    halo_px: int
    classes: int

    def __call__(self, batch: np.ndarray) -> list[Detections]:
        """Find the objects of normalised images ``(n, c, h, w)`` float32."""
        ...


class TorchDetector:
    """A network run by torch, channels last, in fp32.

    Args:
        network: Moved to the device and switched to evaluation.
        device: As :class:`eaves.predict.TorchBackend`.
        min_score: Leave out what is less sure.

    Raises:
        SettingsError: The device is not there, or ``min_score`` is no score.
    """

    def __init__(self, network: InstanceNetwork, device: str = "auto", min_score: float = LEAST_SCORE) -> None:
        if not 0 < min_score < 1:
            raise SettingsError("a threshold between 0 and 1", f"{min_score}", "choose a score such as 0.5")
        self.device = choose_device(device)
        self.network = network.to(self.device, memory_format=torch.channels_last).eval()
        self.min_score = min_score
        self.name = f"torch fp32 on {self.device}"
        self.stride, self.halo_px, self.classes = network.stride, network.halo_px, network.classes

    def __call__(self, batch: np.ndarray) -> list[Detections]:
        """Run the network."""
        images = torch.from_numpy(batch).to(self.device).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            return self.network.detect(images, self.min_score)


def find_layout(
    detector: Detector, shape: tuple[int, int], tile_px: int | None = None, batch: int | None = None
) -> Layout:
    """Choose tiles for a network of objects, as :func:`eaves.predict.choose_layout` does; by default of 1024 px.

    Raises:
        SettingsError: A number is not positive.
    """
    halo = round_up(detector.halo_px, detector.stride)
    side = choose_side(_TILE_PX if tile_px is None else tile_px, batch, shape, detector.stride)
    # A tile smaller than its halo would meet tiles that are no neighbours of it.
    return Layout(max(side, halo), halo, 0, batch or 1)


def stream_objects(
    scene: Picture,
    scaling: Rule,
    detector: Detector,
    layout: Layout,
    objects: list[Found],
    on_progress: OnProgress = ignore,
    stage: str = "predict",
) -> Iterator[Strip]:
    """Run a network of objects over a scene.

    Objects are handed over as soon as no tile that is still to come can change them. A pixel's score is that of the
    surest object on it, or the chance that the object's mask gives the pixel where that is less: scores of 0.5 and more
    are exactly the masks of objects with such a score (of a building larger than a tile, each part has its own score).
    Memory is some rows of tiles and the objects in them.

    Args:
        scene: On the grid of the model's resolution.
        scaling: The model's rule; the caller has checked that the scene fits it.
        detector: Runs the network.
        layout: From :func:`find_layout`.
        objects: Gets the objects, from top to bottom.
        on_progress: Is told after every batch.
        stage: What to call the work.

    Yields:
        Strips from top to bottom that cover the scene exactly once, with a band a class but the background.

    Raises:
        SceneError: The scene cannot be read.

    Warns:
        EavesWarning: The network's caps have cut off detections.
    """
    rows = plan_tiles(scene.shape, layout.tile_px, layout.halo_px)
    width, halo, bands = scene.shape[1], layout.halo_px, detector.classes - 1
    total, done, capped = sum(map(len, rows)), 0, 0
    seam = min(halo, layout.tile_px) // 2  # farther, a third tile could claim an object
    seen: dict[int, _Row] = {}  # what strips that are still to be written are made of
    open_: list[Found] = []  # objects that may go on below
    for index, (tiles, (image, valid)) in enumerate(zip(rows, bands_of_rows(scene, rows, layout), strict=True)):
        found: list[Found] = []
        wanted = [tile for tile in tiles if columns(valid, tile).any()]
        done += len(tiles) - len(wanted)
        for start in range(0, len(wanted), layout.batch):
            batch = wanted[start : start + layout.batch]
            inputs = np.stack([scaling.apply(columns(image, tile), columns(valid, tile)) for tile in batch])
            for tile, detections in zip(batch, detector(inputs), strict=True):
                capped += detections.capped
                found += _place_all(detections, tile, columns(valid, tile), scene.shape, seam)
            done += len(batch)
            on_progress(Progress(stage, done, total, "tiles"))
        core = tiles[0].core
        known = valid[halo : halo + core.height, halo : halo + width]
        seen[index] = _Row(int(core.row_off), known, found)
        settle(found, found, seam)
        if index:
            settle(seen[index - 1].found, found, seam)
            open_ = _hand_over(open_ + seen[index - 1].found, found, objects)
        if index > 1:  # all that reaches into that row is settled: its own, and those of the rows above and below it
            yield _strip(seen, index - 2, bands)
            seen.pop(index - 3, None)
    last = len(rows) - 1
    _hand_over(open_ + seen[last].found, [], objects)
    for index in range(max(0, last - 1), last + 1):
        yield _strip(seen, index, bands)
    on_progress(Progress(stage, total, total, "tiles"))
    if capped:
        warnings.warn(
            f"{capped} of {total} tiles hold more objects than the model's caps let through, and lose the least sure. "
            "Do: give a larger --detections-per-mpx.",
            EavesWarning,
            stacklevel=2,
        )


class _Row(NamedTuple):
    """A row of tiles: its first row of pixels, where there is imagery in the tiles' cores, and what they found."""

    top: int
    known: np.ndarray
    found: list[Found]


def _place_all(
    detections: Detections, tile: Tile, valid: np.ndarray, shape: tuple[int, int], seam_px: int
) -> list[Found]:
    """A tile's detections on the scene's pixels, without those of other tiles and those that cover no pixel."""
    top, left = int(tile.read.row_off), int(tile.read.col_off)
    seen_top, seen_left = max(0, top), max(0, left)
    bottom, right = min(top + valid.shape[0], shape[0]), min(left + valid.shape[1], shape[1])
    boxes = detections.boxes.cpu().numpy() + np.array([left, top, left, top], np.float32)
    placed = []
    for box, score, value, mask in zip(
        boxes,
        detections.scores.tolist(),
        detections.classes.tolist(),
        detections.masks.cpu().numpy(),
        strict=True,
    ):
        row, col, values = paste(mask, box, (bottom - seen_top, right - seen_left), (seen_top, seen_left))
        rows, cols = values.shape
        seen = valid[row - top : row - top + rows, col - left : col - left + cols]
        levels = encode(values, np.ones_like(seen)) * seen
        found = place(box, score, value, row, col, levels, tile, shape, seam_px)
        if found is not None and (levels >= INSIDE).any():
            placed.append(found)
    return placed


def _hand_over(settled: list[Found], newest: list[Found], objects: list[Found]) -> list[Found]:
    """Hand over what has no part in the newest row of tiles, and return the rest."""
    coming = set(map(id, newest))
    done: set[int] = set()
    rest = []
    for found in settled:
        if any(id(part) in coming for part in found.joined):
            rest.append(found)
        elif id(found.joined) not in done:
            done.add(id(found.joined))
            parts = [part for part in found.joined if not part.dropped]
            objects += [merge(parts)] if parts else []
    return rest


def _strip(seen: dict[int, _Row], index: int, bands: int) -> Strip:
    """The scores of a row of tiles."""
    top, known, _ = seen[index]
    height, width = known.shape
    levels = np.zeros((bands, height, width), np.uint8)
    for near in (index - 1, index, index + 1):
        for found in seen[near].found if near in seen else ():
            first, last = max(found.row, top), min(found.row + found.levels.shape[0], top + height)
            if found.dropped or first >= last:
                continue
            # From 0.5 on, rounding must not carry a score below it over the line.
            least = np.minimum(found.levels[first - found.row : last - found.row], int(found.score * LEVELS))
            view = levels[found.value - 1, first - top : last - top, found.col : found.col + least.shape[1]]
            np.maximum(view, least, out=view)
    levels[:, ~known] = NODATA
    return Strip(top, levels)
