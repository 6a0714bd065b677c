"""What runs a network: arrays in, scores out."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch

from eaves.errors import SettingsError
from eaves.models import SegmentationNetwork, scores


class Backend(Protocol):
    """A network somewhere.

    Attributes:
        name: For the log.
        stride: Tiles start at multiples of it.
        halo_px: How far a pixel's score depends on its surroundings.
        classes: Score maps it gives: the classes without the background.
    """

    name: str
    stride: int
    halo_px: int
    classes: int

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Turn normalised images ``(n, c, h, w)`` float32 into scores ``(n, k, h, w)`` float32 in [0, 1]."""
        ...


class TorchBackend:
    """A network run by torch, channels last, in fp32.

    Args:
        network: Moved to the device and switched to evaluation.
        classes: Classes without the background.
        device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    Raises:
        SettingsError: The device is not there.
    """

    def __init__(self, network: SegmentationNetwork, classes: int = 1, device: str = "auto") -> None:
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            network = network.to(device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise SettingsError(f"a device {device!r}", reason, "use --device cpu") from None
        self.network = network.to(memory_format=torch.channels_last).eval()
        self.device = torch.device(device)
        self.name = f"torch fp32 on {device}"
        self.stride, self.halo_px, self.classes = network.stride, network.halo_px, classes

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Run the network."""
        images = torch.from_numpy(batch).to(self.device).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            return scores(self.network(images)).float().cpu().numpy()
