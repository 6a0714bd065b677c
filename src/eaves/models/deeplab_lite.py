"""DeepLabV3 at its lightest: MobileNetV2 and the image's mean, without atrous branches and without a decoder."""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from eaves.models.deeplab import convolution
from eaves.models.encoders import make_encoder
from eaves.models.network import SegmentationNetwork

LAYERS = 18  # MobileNetV2 without its last 1 x 1 convolution
KEPT_STRIDES = 7  # before this layer the sides have been halved three times
CHANNELS = 256


class DeepLabV3Lite(SegmentationNetwork):
    """MobileNetV2 at output stride 8, image pooling beside one 1 x 1 convolution, a projection, and the logits.

    This is what the public Keras code of DeepLabV3+ builds with MobileNetV2: strides after the third become dilations
    (2, then 4), the pyramid has no atrous branch, and nothing refines what is upsampled. ``encoder_weights`` may be
    ``imagenet``, which fills the encoder, or ``coco-voc``, which fills everything but the logits.

    Source: Sandler et al. 2018, https://arxiv.org/abs/1801.04381, section 6.3; ``deeplab/model.py`` of
    https://github.com/tensorflow/models and ``model.py`` of https://github.com/bonlime/keras-deeplab-v3-plus. The
    latter pads even sides unevenly, so that features lie up to 7 px off, by an amount that depends on the place. Here
    an image gets one more row and column: with sides of ``8 k + 1``, as those of the published weights' training
    (513), the cell ``i`` lies at the pixel ``8 i``, and upsampling with aligned corners puts it back there.

    One branch averages over the whole input, so that no halo makes tiled output exactly equal to untiled:
    ``halo_px`` is a practical one, past which what remains is mostly that branch.

    Args:
        in_channels: Bands of the input.
        classes: Classes, the background included.
        dropout: Share of the projection that is dropped in training.

    Example:
        >>> DeepLabV3Lite(in_channels=3, classes=2)(torch.zeros(2, 3, 40, 33)).shape
        torch.Size([2, 1, 40, 33])
    """

    stride = 8
    halo_px = 128
    encoder_name = "mobilenet_v2"

    def __init__(self, in_channels: int, classes: int, *, dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1) -> None:
        super().__init__(in_channels, classes)
        whole, _ = make_encoder("mobilenet_v2", in_channels)
        layers = list(whole.get_submodule("features").children())[:LAYERS]
        _dilate(layers)
        self.encoder = nn.Sequential(OrderedDict(features=nn.Sequential(*layers)))
        self.image_pooling = convolution(320, CHANNELS, 1)
        self.aspp0 = convolution(320, CHANNELS, 1)
        self.concat_projection = convolution(2 * CHANNELS, CHANNELS, 1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Conv2d(CHANNELS, self.out_channels, 1)
        for module in (self.image_pooling, self.aspp0, self.concat_projection, self.head):
            for layer in module.modules():
                if isinstance(layer, nn.Conv2d):
                    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def logits(self, image: Tensor) -> Tensor:
        """See :meth:`SegmentationNetwork.logits`."""
        image = F.pad(image, (0, 1, 0, 1))
        deep = self.encoder(image)  # (n, 320, h / 8 + 1, w / 8 + 1)
        pooled = self.image_pooling(deep.mean((2, 3), keepdim=True)).expand(-1, -1, *deep.shape[-2:])
        coarse = self.head(self.dropout(self.concat_projection(torch.cat((pooled, self.aspp0(deep)), dim=1))))
        return F.interpolate(coarse, size=image.shape[-2:], mode="bilinear", align_corners=True)[..., :-1, :-1]


def _dilate(layers: list[nn.Module]) -> None:
    """Turn the strides after the third into dilations, as TensorFlow's slim does: from the next layer on."""
    rate = 1
    for block in layers[KEPT_STRIDES:]:
        for module in block.modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
                stride, module.stride = module.stride[0], (1, 1)
                module.dilation = module.padding = (rate, rate)
                rate *= stride
