from __future__ import annotations

import pytest
import torch

from eaves.models.unet import UNet


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
