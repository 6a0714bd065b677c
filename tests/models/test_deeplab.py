from __future__ import annotations

import pytest
import torch
from torch import nn

from eaves.models.deeplab import DeepLabV3Plus


@pytest.mark.parametrize(("output_stride", "rates"), [(16, [6, 12, 18]), (8, [12, 24, 36])])
def test_output_stride_and_atrous_rates_as_published(output_stride, rates):
    network = DeepLabV3Plus(3, 2, output_stride=output_stride).eval()
    assert network.stride == output_stride
    with torch.inference_mode():
        deepest = network.encoder(torch.zeros(1, 3, 96, 96))[-1]
    assert deepest.shape[-2:] == (96 // output_stride, 96 // output_stride)
    dilations = [m.dilation[0] for m in network.aspp.modules() if isinstance(m, nn.Conv2d) and m.dilation[0] > 1]
    assert dilations == rates


def test_the_decoder_is_48_low_level_channels_and_two_3x3_of_256():
    network = DeepLabV3Plus(3, 2)
    assert network.low_level[0].weight.shape == (48, 24, 1, 1)  # MobileNetV2 has 24 channels at a quarter of the size
    layers = [m for m in network.decoder.modules() if isinstance(m, nn.Conv2d)]
    assert [(m.in_channels, m.out_channels, m.kernel_size[0]) for m in layers] == [
        (304, 304, 3),
        (304, 256, 1),
        (256, 256, 3),
        (256, 256, 1),
    ]


def test_upsampling_does_not_drift_across_the_window():
    """A ramp of low-level resolution stays a ramp: corner-aligned upsampling would stretch it towards the edges."""
    from eaves.models.deeplab import _resize

    ramp = torch.arange(16.0).view(1, 1, 1, 16).expand(1, 1, 16, 16)
    fine = _resize(ramp, torch.empty(1, 1, 64, 64))[0, 0, 8]
    expected = (torch.arange(64.0) + 0.5) / 4 - 0.5
    torch.testing.assert_close(fine[2:-2], expected[2:-2])


def test_other_encoders_fit():
    with torch.inference_mode():
        for encoder in ("resnet18", "tu-tf_efficientnet_lite0"):
            network = DeepLabV3Plus(3, 2, encoder=encoder, channels=32).eval()
            assert network(torch.zeros(1, 3, 40, 70)).shape == (1, 1, 40, 70)


def test_dropout_only_in_training():
    network = DeepLabV3Plus(3, 2, dropout=0.25)
    assert [m.p for m in network.modules() if isinstance(m, nn.Dropout) and m.p == 0.25] == [0.25]
