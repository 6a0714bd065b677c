from __future__ import annotations

import pytest
import torch
from torchvision.models.resnet import Bottleneck

from eaves.errors import SettingsError
from eaves.models.encoders import make_encoder


@pytest.mark.parametrize("name", ["mobilnet_v2", "tu-nothing_like_this", ""])
def test_an_unknown_encoder_is_refused_with_known_ones(name):
    with pytest.raises(SettingsError, match="mobilenet_v2"):
        make_encoder(name, 3)


@pytest.mark.parametrize(
    ("name", "right"), [("resnt50", "resnet50"), ("tu-xception_65", "tu-xception65"), ("mobilenet-v2", "mobilenet_v2")]
)
def test_a_misspelt_encoder_is_answered_with_the_right_one(name, right):
    with pytest.raises(SettingsError, match=f"use '{right}' or"):
        make_encoder(name, 3)


def test_an_encoder_that_cannot_be_dilated_says_so():
    with pytest.raises(SettingsError, match=r"output stride 16.*'densenet121', which cannot"):
        make_encoder("densenet121", 3, output_stride=16)


@pytest.mark.parametrize("output_stride", [16, 32])
def test_stride_in_1x1_is_resnet_v1(output_stride):
    encoder, _ = make_encoder("resnet50", 3, output_stride=output_stride, stride_in_1x1=True)
    first = [block for block in encoder.modules() if isinstance(block, Bottleneck) and block.downsample is not None]
    expected = [1, 2, 2, 2 if output_stride == 32 else 1]
    assert [block.conv1.stride[0] for block in first] == expected
    assert all(block.conv2.stride == (1, 1) for block in first)
    with torch.inference_mode():
        assert encoder.eval()(torch.zeros(1, 3, 64, 64))[-1].shape[-1] == 64 // output_stride


def test_stride_in_1x1_needs_bottlenecks():
    with pytest.raises(SettingsError, match=r"resnet50.*Received 'resnet18'"):
        make_encoder("resnet18", 3, stride_in_1x1=True)
