"""The coarse network that learns from plentiful, noisy labels: fast, wide-eyed and blurred."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eaves.models.network import SegmentationNetwork

_VIEW_PX = 60  # what a feature sees: 12, and 4 times the 2, 2 and 8 that the later kernels add
_STRIDE = 4


class CoarseFcn(SegmentationNetwork):
    """Four convolutions that look at 60 px, and a bilinear deconvolution back to full size.

    64 filters of 12 x 12 with stride 4, 128 of 3 x 3, 128 of 3 x 3, one of 9 x 9 a class; ReLU between. With three
    bands and three classes, 280 259 weights before the deconvolution.

    Source: Maggiori, Charpiat, Tarabalka, Alliez, "Recurrent Neural Networks to Correct Satellite Image
    Classification Maps", https://arxiv.org/abs/1608.03440, section IV; filler, scaling and deconvolution as in the
    authors' https://github.com/emaggiori/CaffeRemoteSensing.

    Args:
        in_channels: Bands of the input.
        classes: Classes, the background included.
        padding: ``same`` gives a logit for every pixel, with zeros around the image. ``valid`` trains as the source
            did, only on pixels whose whole view lies in the chip (64 x 64 of 124 x 124 px, 60 px less than the chip
            has); where it does not train it is ``same``.

    Example:
        >>> import torch
        >>> CoarseFcn(3, 3)(torch.zeros(1, 3, 124, 124)).shape
        torch.Size([1, 3, 124, 124])
        >>> CoarseFcn(3, 3, padding="valid")(torch.zeros(1, 3, 124, 124)).shape
        torch.Size([1, 3, 64, 64])
    """

    stride = _STRIDE
    halo_px = 36  # 33: the view of the two features that a pixel lies between
    mean = (127 / 255,)
    std = (256 / 255,)

    def __init__(self, in_channels: int, classes: int, *, padding: Literal["same", "valid"] = "same") -> None:
        super().__init__(in_channels, classes)
        self.padding = padding
        outputs = self.out_channels
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 64, 12, stride=_STRIDE),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, 128, 3),
            nn.ReLU(inplace=True),
            nn.Conv2d(128, 128, 3),
            nn.ReLU(inplace=True),
            nn.Conv2d(128, outputs, 9),
        )
        self.up = nn.ConvTranspose2d(outputs, outputs, 8, stride=_STRIDE, padding=4, groups=outputs, bias=False)
        for layer in self.features:
            if isinstance(layer, nn.Conv2d):  # what Caffe calls xavier: uniform, by fan-in alone
                limit = math.sqrt(3 / layer.weight[0].numel())
                nn.init.uniform_(layer.weight, -limit, limit)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        self._interpolate()

    def logits(self, image: Tensor) -> Tensor:
        """Return the logits; with ``valid`` padding in training, of the inner pixels alone."""
        if not (self.training and self.padding == "valid"):
            # Half the view is 30 px; two more keep the features where they lie in training, at multiples of the stride.
            return self.up(self.features(F.pad(image, (_VIEW_PX // 2 + 2,) * 4)))[..., 2:-2, 2:-2]
        return self.up(self.features(image))

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits of an image of any size; in training without padding, of a chip's inner pixels.

        Raises:
            ValueError: As :meth:`SegmentationNetwork.forward`; or a chip to train on without padding is not larger than
                what a pixel sees, or its sides are no multiples of the stride.
        """
        height, width = image.shape[-2:]
        if self.training and self.padding == "valid" and (min(height, width) <= _VIEW_PX or height % 4 or width % 4):
            raise ValueError(f"expected chips of more than {_VIEW_PX} px, a multiple of 4, got {height} x {width}")
        return super().forward(image)

    def _interpolate(self) -> None:
        """Let the deconvolution begin as bilinear interpolation."""
        near = 1 - (torch.arange(8) - 3.5).abs() / _STRIDE
        with torch.no_grad():
            self.up.weight.copy_(near[:, None] * near)
