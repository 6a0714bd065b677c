"""DeepLabV3+: atrous spatial pyramid pooling, and a decoder that refines it with low-level features."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from eaves.models.encoders import make_encoder
from eaves.models.network import SegmentationNetwork

# Rates at output stride 16; at 8 the features are twice as fine, so that the same reach needs twice the rate.
ATROUS_RATES = {16: (6, 12, 18), 8: (12, 24, 36)}
LOW_LEVEL_CHANNELS = 48


class DeepLabV3Plus(SegmentationNetwork):
    """Encoder, atrous spatial pyramid pooling (ASPP), and a decoder of two 3 x 3 separable convolutions.

    Source: Chen et al. 2018, https://arxiv.org/abs/1802.02611, section 3 and table 2 (48 low-level channels, two 3 x 3
    convolutions of 256 channels after the concatenation). Two things differ. Upsampling does not align corners, which
    on tiles of even size would shift features by an amount that depends on the place in the tile. With MobileNetV2 the
    deepest features are its last layer's 1 280 channels.

    One branch of the ASPP averages over the whole input, so that no halo makes tiled output exactly equal to untiled:
    ``halo_px`` is a practical one, past which what remains is that branch.

    Args:
        in_channels: Bands of the input.
        classes: Classes, the background included.
        encoder: Name of the encoder; see :func:`eaves.models.encoders.make_encoder`. The source's Xception, modified
            and aligned, is ``tu-xception65`` (and the lighter ``tu-xception41``), whose low-level features are the
            source's, too: 256 channels, before the second block's stride.
        output_stride: Of the encoder; 8 is finer, and on a CPU about five times slower.
        channels: Width of the pyramid and of the decoder.
        dropout: Share of the pyramid's output that is dropped in training.
        stride_in_1x1: See :func:`eaves.models.encoders.make_encoder`.

    Raises:
        SettingsError: The encoder does not exist, or cannot be dilated.
    """

    halo_px = 128

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        encoder: str = "mobilenet_v2",
        output_stride: Literal[8, 16] = 16,
        channels: Annotated[int, Field(ge=8)] = 256,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5,
        stride_in_1x1: bool = False,
    ) -> None:
        super().__init__(in_channels, classes)
        from segmentation_models_pytorch.base.initialization import initialize_decoder, initialize_head
        from segmentation_models_pytorch.decoders.deeplabv3.decoder import ASPP

        self.stride = output_stride
        self.encoder_name = encoder
        self.encoder, widths = make_encoder(
            encoder, in_channels, output_stride=output_stride, stride_in_1x1=stride_in_1x1
        )
        self.aspp = ASPP(widths[-1], channels, ATROUS_RATES[output_stride], separable=True, dropout=dropout)
        self.low_level = convolution(widths[2], LOW_LEVEL_CHANNELS, 1)
        self.decoder = nn.Sequential(
            _separable_convolution(LOW_LEVEL_CHANNELS + channels, channels),
            _separable_convolution(channels, channels),
        )
        self.head = nn.Conv2d(channels, self.out_channels, 1)
        for part in (self.aspp, self.low_level, self.decoder):
            initialize_decoder(part)
        initialize_head(self.head)

    def logits(self, image: Tensor) -> Tensor:
        """See :meth:`SegmentationNetwork.logits`."""
        features = self.encoder(image)
        low = self.low_level(features[2])  # a quarter of the image's sides
        deep = _resize(self.aspp(features[-1]), low)
        return _resize(self.head(self.decoder(torch.cat((deep, low), dim=1))), image)


def convolution(fan_in: int, width: int, side: int) -> nn.Sequential:
    """Return a convolution that keeps sizes, with batch normalisation and ReLU."""
    layer = nn.Conv2d(fan_in, width, side, padding=side // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(width), nn.ReLU(inplace=True))


def _separable_convolution(fan_in: int, width: int) -> nn.Sequential:
    depthwise = nn.Conv2d(fan_in, fan_in, 3, padding=1, groups=fan_in, bias=False)
    return nn.Sequential(depthwise, *convolution(fan_in, width, 1))


def _resize(features: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(features, size=like.shape[-2:], mode="bilinear", align_corners=False)
