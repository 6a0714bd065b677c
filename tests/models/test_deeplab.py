from __future__ import annotations

import pytest
import torch
from torch import nn

from eaves.errors import SettingsError
from eaves.models.deeplab import DeepLabV3Plus


@pytest.mark.parametrize("encoder", ["mobilenet_v2", "tu-xception41", "tu-xception65"])
@pytest.mark.parametrize(("output_stride", "rates"), [(16, [6, 12, 18]), (8, [12, 24, 36])])
def test_output_stride_and_atrous_rates_as_published(encoder, output_stride, rates):
    network = DeepLabV3Plus(3, 2, encoder=encoder, output_stride=output_stride).eval()
    assert network.stride == output_stride
    with torch.inference_mode():
        low, deepest = (network.encoder(torch.zeros(1, 3, 96, 64))[i] for i in (2, -1))
        logits = network(torch.zeros(1, 3, 45, 70))
    assert low.shape[-2:] == (24, 16)
    assert deepest.shape[-2:] == (96 // output_stride, 64 // output_stride)
    assert logits.shape == (1, 1, 45, 70)
    dilations = [m.dilation[0] for m in network.aspp.modules() if isinstance(m, nn.Conv2d) and m.dilation[0] > 1]
    assert dilations == rates


@pytest.mark.parametrize(
    ("output_stride", "dilations"),
    [(16, {"block1": 1, "middle": 1, "exit": 2}), (8, {"block1": 1, "middle": 2, "exit": 4})],
)
def test_xception_is_dilated_as_published(output_stride, dilations):
    """Entry flow of 3 blocks, middle flow of 16, exit flow of 2: the last one dilated after both lost strides."""
    with torch.device("meta"):
        blocks = dict(DeepLabV3Plus(3, 2, encoder="tu-xception65", output_stride=output_stride).encoder.named_modules())

    def rate(number: int) -> int:
        layer = blocks[f"model.blocks_{number}.stack.conv1.conv_dw"]
        assert isinstance(layer, nn.Conv2d)
        return layer.dilation[0]

    assert {"block1": rate(0), "middle": rate(10), "exit": rate(20)} == dilations


@pytest.mark.parametrize(
    ("encoder", "count"), [("mobilenet_v2", 4_378_513), ("tu-xception41", 28_090_113), ("tu-xception65", 41_036_865)]
)
def test_parameters(encoder, count):
    with torch.device("meta"):
        network = DeepLabV3Plus(3, 2, encoder=encoder)
    assert sum(p.numel() for p in network.parameters()) == count


def test_the_first_xception_is_refused_with_the_aligned_one():
    """It pools, so that it cannot be dilated; and it is not the one of the paper."""
    with pytest.raises(SettingsError, match=r"'xception', which cannot.*use 'tu-xception65'"):
        DeepLabV3Plus(3, 2, encoder="xception")


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
