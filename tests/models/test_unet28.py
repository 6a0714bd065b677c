from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from eaves.models.unet28 import UNet28


@pytest.mark.parametrize(("widths", "count"), [("small", 7_846_657), ("large", 31_378_945)])
def test_parameters_as_published(widths, count):
    with torch.device("meta"):
        network = UNet28(3, 2, widths=widths)
    assert sum(p.numel() for p in network.parameters()) == count


def test_28_layers():
    """19 convolutions are counted here; 4 poolings, 4 upsamplings and the input make 28."""
    network = UNet28(3, 2)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 19
    assert [c.kernel_size for c in convolutions] == [(3, 3)] * 18 + [(1, 1)]
    assert len(network.down) - 1 == len(network.up) == 4
    assert not any(isinstance(m, nn.ConvTranspose2d | nn.BatchNorm2d | nn.Dropout) for m in network.modules())


def test_it_starts_as_keras_starts():
    torch.manual_seed(0)
    network = UNet28(3, 2)
    weight = network.down[1].get_submodule("0").weight  # 32 → 64 channels
    assert isinstance(weight, torch.Tensor)
    limit = (6 / (9 * (32 + 64))) ** 0.5
    assert 0.99 * limit < weight.abs().max() <= limit
    assert not any(p.any() for name, p in network.named_parameters() if name.endswith("bias"))


def test_batch_norm_follows_each_3x3_convolution():
    network = UNet28(3, 2, batch_norm=True)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in network.modules()) == 18
    assert [m.bias is None for m in network.modules() if isinstance(m, nn.Conv2d)] == [True] * 18 + [False]


@pytest.mark.parametrize(("row", "col"), [(0, 0), (112, 0), (112, 112), (128, 128)])
def test_a_window_with_halo_equals_the_untiled_output(row, col):
    """Windows that start at a multiple of the stride, cut at the image's edges, agree on their cores."""
    torch.manual_seed(0)
    network = UNet28(3, 2).eval()
    assert (network.stride, network.halo_px) == (16, 112)
    image = torch.randn(1, 3, 256, 256)
    core, halo = 16, network.halo_px
    top, left = max(0, row - halo), max(0, col - halo)
    with torch.inference_mode():
        whole = network(image)
        window = network(image[..., top : row + core + halo, left : col + core + halo])
    inside = window[..., row - top : row - top + core, col - left : col - left + core]
    torch.testing.assert_close(inside, whole[..., row : row + core, col : col + core], rtol=0, atol=1e-5)


def test_no_smaller_halo_is_exact(monkeypatch):
    """A pixel sees past the next smaller multiple of the stride, and not past the halo."""
    monkeypatch.setattr(F, "max_pool2d", F.avg_pool2d)  # the same cells, and every pixel of them counts
    network = UNet28(3, 2).eval()
    with torch.no_grad():
        for parameter in network.parameters():  # equal positive weights: nothing cancels, no rectifier closes
            parameter.fill_(1 / parameter[0].numel())
    image = torch.rand(1, 3, 16, 256, requires_grad=True)
    network(image)[..., 125].sum().backward()  # the column of a cell of 16 that sees farthest
    assert image.grad is not None
    reach = 125 - int(image.grad.any(dim=(0, 1, 2)).nonzero().min())
    assert reach == 107
    assert network.halo_px - network.stride < reach <= network.halo_px
