"""Feature pyramids: the usual one, and one of several paths, with jumps from the backbone's features.

Levels are named P2 to P5 here, by the power of two of their stride; the source calls them P1 to P4. Of its features
``C`` the backbone gives ``M`` by a 1 x 1 convolution, the way down ``N``, and the way up ``P``.

Source: the improved Mask R-CNN for blue-roofed houses, section 2.2 (S0 in ``docs/index.md``). The way up is
that of PANet (Liu et al. 2018, arXiv:1803.01534, section 3.1), the jump and the learned weights are as in BiFPN (Tan et
al. 2020, arXiv:1911.09070, section 3), without its repeats.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import Conv2dNormActivation, FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

Fusion = Literal["sum", "weighted", "concat"]
"""How the maps of one level become one: added; added with learned weights; or stacked and mixed by a 1 x 1."""

POOL = "pool"  # torchvision's name for the level above the last, which proposals alone are drawn from


def make_pyramid(kind: Literal["fpn", "multi-path"], channels: Sequence[int], width: int, fusion: Fusion) -> nn.Module:
    """Build a pyramid.

    Args:
        kind: ``fpn`` (Lin et al. 2017, arXiv:1612.03144) or ``multi-path``, see :class:`MultiPathPyramid`.
        channels: Of the backbone's features, the finest first.
        width: Channels of each level.
        fusion: Of ``multi-path``.

    Returns:
        A module that turns features, by the names ``0``, ``1`` …, into levels of the same names and sides, and
        ``pool``, half the last one's.
    """
    if kind == "fpn":
        return FeaturePyramidNetwork(list(channels), width, LastLevelMaxPool())
    return MultiPathPyramid(channels, width, fusion)


class MultiPathPyramid(nn.Module):
    """Lateral ``M``, top-down ``N``, bottom-up ``P`` with a jump from ``M``.

    ``N_i = M_i + up(N_{i+1})``, with ``N = M`` at the top; ``P_i = conv(down(P_{i-1}) + N_i + M_i)``, with ``P = N`` at
    the bottom. At the top, where ``N`` is ``M``, it is added once.

    The names of its lateral and output convolutions are those of torchvision's pyramid, whose weights fit.

    Args:
        channels: Of the backbone's features, the finest first.
        width: Channels of each level.
        fusion: How the maps of a level become one before the 3 x 3 convolution.

    Example:
        >>> pyramid = MultiPathPyramid([8, 16], 4)
        >>> features = {"0": torch.zeros(1, 8, 12, 12), "1": torch.zeros(1, 16, 6, 6)}
        >>> [(name, tuple(level.shape)) for name, level in pyramid(features).items()]
        [('0', (1, 4, 12, 12)), ('1', (1, 4, 6, 6)), ('pool', (1, 4, 3, 3))]
    """

    def __init__(self, channels: Sequence[int], width: int, fusion: Fusion = "sum") -> None:
        super().__init__()
        last, higher = len(channels) - 1, range(1, len(channels))
        self.fusion = fusion
        self.inner_blocks = nn.ModuleList(_convolution(count, width, 1) for count in channels)
        self.down = nn.ModuleDict({str(level): _convolution(width, width, 3, 2) for level in higher})
        self.layer_blocks = nn.ModuleDict({str(level): _convolution(width, width, 3) for level in higher})
        counts = {str(level): 2 if level == last else 3 for level in higher}
        if fusion == "weighted":
            self.shares = nn.ParameterDict({level: nn.Parameter(torch.ones(count)) for level, count in counts.items()})
        elif fusion == "concat":
            self.mix = nn.ModuleDict({level: _convolution(count * width, width, 1) for level, count in counts.items()})
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, features: dict[str, Tensor]) -> OrderedDict[str, Tensor]:
        """Return the levels of features, finest first."""
        lateral = [block(feature) for block, feature in zip(self.inner_blocks, features.values(), strict=True)]
        way_down = [lateral[-1]]
        for m in reversed(lateral[:-1]):
            way_down.insert(0, m + F.interpolate(way_down[0], size=m.shape[-2:], mode="nearest"))
        levels = [way_down[0]]
        for index in range(1, len(lateral)):
            name = str(index)
            lower = self.down[name](levels[-1])
            maps = [lower, way_down[index]] + ([lateral[index]] if index < len(lateral) - 1 else [])
            levels.append(self.layer_blocks[name](self._fuse(name, maps)))
        named = OrderedDict(zip(features, levels, strict=True))
        named[POOL] = F.max_pool2d(levels[-1], 1, 2)
        return named

    def _fuse(self, name: str, maps: list[Tensor]) -> Tensor:
        if self.fusion == "concat":
            return self.mix[name](torch.cat(maps, dim=1))
        if self.fusion == "sum":
            return torch.stack(maps).sum(dim=0)
        shares = self.shares[name].relu()
        shares = shares / (shares.sum() + 1e-4)
        return torch.stack([share * each for share, each in zip(shares, maps, strict=True)]).sum(dim=0)


def _convolution(count: int, width: int, side: int, stride: int = 1) -> nn.Module:
    return Conv2dNormActivation(count, width, side, stride, norm_layer=None, activation_layer=None)
