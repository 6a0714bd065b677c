"""SegNet: VGG16's convolutions, and their mirror image, which unpools to where each maximum came from."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from eaves.models.network import SegmentationNetwork

LEVELS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class SegNet(SegmentationNetwork):
    """Encoder-decoder of 26 convolutions without skip connections: only the places of the maxima cross over.

    The encoder is VGG16's 13 convolutions of 3 x 3, each with batch normalisation and ReLU, and 5 poolings; the
    decoder is its mirror image, whose last convolution gives the logits. With two classes that is one logit, whose
    sigmoid is the score. Weights start as in He et al. 2015 (fan-in). The source normalises local contrast first; here
    the image is scaled as for every network.

    Source: Badrinarayanan et al. 2015, https://arxiv.org/abs/1511.00561, section 3. Its ports for Keras repeat pixels
    where the source unpools: that is ``unpool = "nearest"``.

    With ``indices`` two pixels of a pooling cell that are equal but for rounding can change places, so that tiled
    output equals untiled to rounding almost everywhere, not everywhere.

    Args:
        in_channels: Bands of the input.
        classes: Classes, the background included.
        unpool: ``indices`` puts each value where its maximum was, and zeros beside it; ``nearest`` repeats it.

    Example:
        >>> sum(p.numel() for p in SegNet(in_channels=3, classes=2).parameters())
        29443585
    """

    stride = 2 ** len(LEVELS)
    # A convolution reaches one pixel of its level, on the way down and on the way up; then pooling widens the reach to
    # whole cells of 32, less the pixel itself: 180 + 31 = 211 px.
    _REACH = sum(2 * len(widths) * 2**level for level, widths in enumerate(LEVELS)) + stride - 1
    halo_px = -(-_REACH // stride) * stride
    encoder_name = "vgg16_bn"

    def __init__(self, in_channels: int, classes: int, *, unpool: Literal["indices", "nearest"] = "indices") -> None:
        super().__init__(in_channels, classes)
        self.unpool = unpool
        self.encoder = _vgg16(in_channels)
        above = (self.out_channels, *(widths[-1] for widths in LEVELS))
        levels = [_convolutions(widths[-1], (*widths[:-1], out)) for widths, out in zip(LEVELS, above, strict=False)]
        levels[0] = levels[0][:-2]  # the logits are neither normalised nor rectified
        self.decoder = nn.ModuleList(nn.Sequential(*level) for level in reversed(levels))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def logits(self, image: Tensor) -> Tensor:
        """See :meth:`SegmentationNetwork.logits`."""
        x, places = image, []
        for layer in self.encoder.get_submodule("features").children():
            if isinstance(layer, nn.MaxPool2d) and self.unpool == "indices":
                x, place = F.max_pool2d(x, 2, return_indices=True)
                places.append(place)
            else:
                x = layer(x)
        for level in self.decoder:
            x = level(F.max_unpool2d(x, places.pop(), [2, 2]) if places else F.interpolate(x, scale_factor=2.0))
        return x


def _vgg16(in_channels: int) -> nn.Sequential:
    """VGG16's layers under torchvision's names: ``features.0`` … ``features.43``."""
    layers: list[nn.Module] = []
    for fan_in, widths in zip((in_channels, *(widths[-1] for widths in LEVELS)), LEVELS, strict=False):
        layers += [*_convolutions(fan_in, widths), nn.MaxPool2d(2)]
    return nn.Sequential(OrderedDict(features=nn.Sequential(*layers)))


def _convolutions(fan_in: int, widths: tuple[int, ...]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Conv2d(fan_in, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        fan_in = width
    return layers
