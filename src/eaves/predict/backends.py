"""What runs a network: arrays in, scores out."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, Literal, Protocol, get_args

import numpy as np
import torch
from torch import Tensor

from eaves.errors import SettingsError
from eaves.models import Readout, SegmentationNetwork

Tta = Literal["none", "flip", "d4"]
"""Views whose scores are averaged: the image alone; with its mirror images; with its quarter turns too."""

_VIEWS: dict[Tta, tuple[tuple[bool, int], ...]] = {  # mirrored left-right first, then so many quarter turns
    "none": ((False, 0),),
    "flip": ((False, 0), (True, 0), (True, 2), (False, 2)),
    "d4": tuple((mirrored, turns) for mirrored in (False, True) for turns in range(4)),
}


class Backend(Protocol):
    """A network somewhere.

    Attributes:
        name: For the log.
        stride: Tiles start at multiples of it.
        halo_px: How far a pixel's score depends on its surroundings.
        bands: Number of score maps it gives.
    """

    name: str
    stride: int
    halo_px: int
    bands: int

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Turn normalised images ``(n, c, h, w)`` float32 into scores ``(n, k, h, w)`` float32 in [0, 1]."""
        ...


class TorchBackend:
    """A network run by torch, channels last, in fp32.

    With test-time augmentation the network sees each tile in several views, and the scores, turned back, are averaged.
    The views form a group, so that turning the image turns the averaged scores, whatever the network; tiles may have
    any shape. The time grows with the number of views: 4 for ``flip`` and 8 for ``d4``.

    Args:
        network: Moved to the device and switched to evaluation.
        readout: How its logits become score maps.
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        tta: ``none``; ``flip``: the image, its two mirror images and both at once; ``d4``: these and the four that are
            turned by 90 degrees. All score maps are averaged alike, border and distance too.

    Raises:
        SettingsError: The device is not there, or ``tta`` is none of the three.

    Example:
        >>> from eaves.models import Readout, build
        >>> from eaves.settings import ModelSettings, TargetSettings
        >>> network = build(ModelSettings(arch="unet28"), 3, 2)
        >>> readout = Readout(TargetSettings(), ("background", "building"))
        >>> TorchBackend(network, readout, "cpu", tta="d4")(np.zeros((1, 3, 32, 48), np.float32)).shape
        (1, 1, 32, 48)
    """

    def __init__(self, network: SegmentationNetwork, readout: Readout, device: str = "auto", tta: Tta = "none") -> None:
        if tta not in _VIEWS:
            raise SettingsError(f"tta as one of {', '.join(get_args(Tta))}", repr(tta), "choose one of them")
        self.device = choose_device(device)
        self.network = network.to(self.device, memory_format=torch.channels_last).eval()
        self.views = _VIEWS[tta]
        self.name = f"torch fp32 on {self.device}" + (f", {len(self.views)} views" if len(self.views) > 1 else "")
        self.stride, self.halo_px = network.stride, network.halo_px
        self.readout, self.bands = readout, len(readout.bands)

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Run the network."""
        images = torch.from_numpy(batch).to(self.device)
        with torch.inference_mode():
            total = self._scores(images, *self.views[0])
            for view in self.views[1:]:
                total += self._scores(images, *view)
            return (total / len(self.views)).cpu().numpy()

    def _scores(self, images: Tensor, mirrored: bool, turns: int) -> Tensor:
        """Scores of one view, turned back, ``(n, k, h, w)``."""
        view = torch.rot90(images.flip(-1) if mirrored else images, turns, (-2, -1))
        scores = self.readout.scores(self.network(view.contiguous(memory_format=torch.channels_last)))
        back = torch.rot90(scores, -turns, (-2, -1))
        return back.flip(-1) if mirrored else back


def choose_device(device: str) -> torch.device:
    """Return the device of a name; ``auto`` is a GPU where there is one.

    Raises:
        SettingsError: It is not there.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SettingsError(f"a device {device!r}", reason, "use --device cpu") from None
    return torch.device(device)


def measure_speed(
    backend: Callable[[np.ndarray], Any],
    channels: int,
    *,
    tile_px: int = 1024,
    repeats: int = 3,
    least_s: float = 0.5,
) -> float:
    """Measure how fast a network turns a tile into scores or objects, in megapixels a second.

    The median of some measurements, each of one tile or as many as its least time holds, after one tile that does not
    count. Reading, tracing and halos are not in it: on a whole scene a tile with its halo is larger than its core.

    Args:
        backend: The network.
        channels: Bands of its input.
        tile_px: Side of the tile, which is noise.
        repeats: Measurements.
        least_s: Least time of each, in seconds.

    Example:
        >>> class Copy:
        ...     def __call__(self, batch):
        ...         return batch
        >>> measure_speed(Copy(), 3, tile_px=64, least_s=0.01) > 0
        True
    """
    tile = np.random.default_rng(0).standard_normal((1, channels, tile_px, tile_px), np.float32)
    backend(tile)
    found = []
    for _ in range(repeats):
        began, times = time.perf_counter(), 0
        while not times or time.perf_counter() - began < least_s:
            backend(tile)
            times += 1
        found.append(times * tile_px**2 / 1e6 / (time.perf_counter() - began))
    return statistics.median(found)
