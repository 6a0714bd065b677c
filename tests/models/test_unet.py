from __future__ import annotations

import pytest
import torch
from torch import nn

from eaves.errors import SettingsError
from eaves.models import build
from eaves.models.unet import UNet
from eaves.settings import ModelSettings


@pytest.mark.parametrize("encoder", ["resnet18", "tu-tf_efficientnet_lite0", "mit_b0"])
def test_encoders_of_every_kind_fit(encoder):
    network = UNet(3, 2, encoder=encoder).eval()
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, 40, 70)).shape == (1, 1, 40, 70)


def test_its_parts_are_the_librarys_unet():
    """Same modules in the same order, so that the library's checkpoints can be compared part by part."""
    import segmentation_models_pytorch as smp

    theirs = smp.Unet("mobilenet_v2", encoder_weights=None).eval()
    ours = UNet(3, 2).eval()
    ours.load_state_dict({k.replace("segmentation_head", "head"): v for k, v in theirs.state_dict().items()})
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(ours(image), theirs(image))


def test_decoder_channels_are_the_decoders_widths():
    light = build(ModelSettings(arch="unet", options={"decoder_channels": [128, 64, 32, 16, 16]}), 3, 2)
    assert isinstance(light, UNet)
    widths = [m.out_channels for m in light.decoder.modules() if isinstance(m, nn.Conv2d)]
    assert widths == [width for width in (128, 64, 32, 16, 16) for _ in range(2)]
    count = {
        arch: sum(p.numel() for p in network.parameters()) for arch, network in (("light", light), ("", UNet(3, 2)))
    }
    assert count == {"light": 4_135_057, "": 6_628_945}


@pytest.mark.parametrize("widths", [[64, 32, 16], [256, 128, 64, 32, 0], [256, 128, 64, 32, 16, 8]])
def test_decoder_channels_are_five_widths(widths):
    with pytest.raises(SettingsError, match="decoder_channels"):
        build(ModelSettings(arch="unet", options={"decoder_channels": widths}), 3, 2)
