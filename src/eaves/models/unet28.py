"""The U-Net of 28 layers: 1 input, 19 convolutions, 4 poolings and 4 upsamplings."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eaves.models.network import SegmentationNetwork

WIDTHS = {
    "narrow": (16, 32, 64, 128, 256),
    "small": (32, 64, 128, 256, 512),
    "large": (64, 128, 256, 512, 1024),
}


class UNet28(SegmentationNetwork):
    """U-Net without transposed convolutions, as published for large RGB scenes.

    ``(conv, conv, pool) x 4``, ``conv, conv``, ``(up, concatenate, conv, conv) x 4``, then a 1 x 1 convolution. Other
    convolutions are 3 x 3 with zero padding and ReLU; upsampling repeats pixels. Weights start as Keras starts them:
    Glorot uniform, biases zero.

    Source: Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597, in the variant of
    https://github.com/AstarLight/Satellite-Segmentation (``unet_train.py``), whose widths are ``small``.

    Args:
        in_channels: Bands of the input.
        classes: Classes, the background included.
        widths: ``small`` is 32-64-128-256-512 (7 846 657 parameters with 3 bands and 2 classes), ``large`` is
            64-128-256-512-1024 (31 378 945); ``narrow`` is 16-32-64-128-256, ours, for a CPU.
        batch_norm: Normalise after each 3 x 3 convolution. The source does not.

    Example:
        >>> sum(p.numel() for p in UNet28(in_channels=3, classes=2).parameters())
        7846657
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        widths: Literal["narrow", "small", "large"] = "small",
        batch_norm: bool = False,
    ) -> None:
        super().__init__(in_channels, classes)
        channels = WIDTHS[widths]
        steps = len(channels) - 1
        self.stride = 2**steps
        # Two 3 x 3 convolutions reach 2 pixels of their level, on the way down and on the way up; the lowest level is
        # passed once. Pooling then widens the reach to whole cells of the lowest level, less the pixel itself.
        reach = sum(2 * 2 * 2**level for level in range(steps)) + 2 * self.stride + self.stride - 1
        self.halo_px = -(-reach // self.stride) * self.stride
        self.down = nn.ModuleList(
            _two_convolutions(fan_in, width, batch_norm)
            for fan_in, width in zip((in_channels, *channels), channels, strict=False)
        )
        self.up = nn.ModuleList(
            _two_convolutions(below + width, width, batch_norm)
            for below, width in zip(channels[:0:-1], channels[-2::-1], strict=True)
        )
        self.head = nn.Conv2d(channels[0], self.out_channels, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def logits(self, image: Tensor) -> Tensor:
        """See :meth:`SegmentationNetwork.logits`."""
        x = self.down[0](image)
        skips = []
        for block in self.down[1:]:
            skips.append(x)
            x = block(F.max_pool2d(x, 2))
        for block in self.up:
            x = block(torch.cat((F.interpolate(x, scale_factor=2.0), skips.pop()), dim=1))
        return self.head(x)


def _two_convolutions(fan_in: int, width: int, batch_norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (fan_in, width):
        layers.append(nn.Conv2d(channels, width, 3, padding=1, bias=not batch_norm))
        if batch_norm:
            layers.append(nn.BatchNorm2d(width))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)
