from __future__ import annotations

import matplotlib.cbook
import numpy as np
import pytest
import torch
from matplotlib.image import imread
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from eaves.models import load_encoder
from eaves.models.deeplab_lite import DeepLabV3Lite

FILE = "deeplabv3_mobilenet_v2_coco_voc.safetensors"
PERSON = 15  # of PASCAL VOC
# Expansion, output channels and stride of MobileNetV2's blocks, and the dilation that DeepLab gives them.
BLOCKS = (
    [(1, 16, 1, 1), (6, 24, 2, 1), (6, 24, 1, 1), (6, 32, 2, 1), (6, 32, 1, 1), (6, 32, 1, 1), (6, 64, 1, 1)]
    + [(6, 64, 1, 2)] * 3
    + [(6, 96, 1, 2)] * 3
    + [(6, 160, 1, 2), (6, 160, 1, 4), (6, 160, 1, 4), (6, 320, 1, 4)]
)


def depthwise(network: nn.Module) -> list[nn.Conv2d]:
    return [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]


def test_strides_after_the_third_are_dilations():
    network = DeepLabV3Lite(3, 2)
    assert [layer.stride[0] for layer in depthwise(network)] == [block[2] for block in BLOCKS]
    assert [layer.dilation[0] for layer in depthwise(network)] == [block[3] for block in BLOCKS]
    assert all(layer.padding == layer.dilation for layer in depthwise(network))
    with torch.inference_mode():
        assert network.eval().encoder(torch.zeros(1, 3, 65, 41)).shape == (1, 320, 9, 6)


def test_parameters_as_published():
    """2.11 million for 21 classes: Sandler et al. 2018, table 7."""
    with torch.device("meta"):
        network = DeepLabV3Lite(3, 21)
    count = sum(p.numel() for p in network.parameters())
    assert count == 2_113_557
    assert round(count / 1e6, 2) == 2.11


def test_there_is_neither_an_atrous_branch_nor_a_decoder():
    network = DeepLabV3Lite(3, 5)
    heads = [m for name, m in network.named_modules() if isinstance(m, nn.Conv2d) and not name.startswith("encoder")]
    assert [(m.in_channels, m.out_channels, m.kernel_size[0]) for m in heads] == [
        (320, 256, 1),
        (320, 256, 1),
        (512, 256, 1),
        (256, 5, 1),
    ]


def test_a_cell_comes_back_to_the_pixel_it_was_made_of():
    """A bump at the pixel (8 r, 8 c) is answered by a bump there, wherever that is and whatever the size."""
    network = DeepLabV3Lite(1, 2).eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):  # equal positive weights: each layer blurs symmetrically
                module.weight.fill_(1 / module.weight[0].numel())
        for row, col in ((256, 256), (240, 264)):
            bump = torch.zeros(1, 1, 512, 512)
            bump[..., row, col] = 1.0
            answer = network(bump)[0, 0]
            around = answer[row - 236 : row + 237, col - 236 : col + 237]
            torch.testing.assert_close(around, around.flip(0, 1), rtol=1e-4, atol=0)
            assert answer.max() > 1.5 * answer.min()  # the least is what the mean of the image adds everywhere


# --- the published weights --------------------------------------------------------------------------------------------


def by_hand(tensors: dict[str, Tensor], image: Tensor) -> Tensor:
    """The published network, layer by layer from its tensors alone; an image with sides of 8 k + 1."""

    def layer(x: Tensor, name: str, *how: int) -> Tensor:  # stride, padding, dilation, groups
        convolution, norm = (
            (f"{name}.0", f"{name}.1") if f"{name}.0.weight" in tensors else (name, f"{name[:-1]}{int(name[-1]) + 1}")
        )
        x = F.conv2d(x, tensors[f"{convolution}.weight"], None, *how)
        mean, var, scale, shift = (
            tensors[f"{norm}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, var, scale, shift)

    x = F.relu6(layer(image, "backbone.0", 2, 1))
    for number, (expansion, width, stride, rate) in enumerate(BLOCKS, start=1):
        y, inner = x, 0
        if expansion > 1:
            y, inner = F.relu6(layer(y, f"backbone.{number}.conv.0")), 1
        y = F.relu6(layer(y, f"backbone.{number}.conv.{inner}", stride, rate, rate, y.shape[1]))
        y = layer(y, f"backbone.{number}.conv.{inner + 1}")
        x = x + y if y.shape == x.shape and stride == 1 and width == x.shape[1] else y
    pooled = F.relu(layer(x.mean((2, 3), keepdim=True), "image_pooling")).expand(-1, -1, *x.shape[-2:])
    x = F.relu(layer(torch.cat((pooled, F.relu(layer(x, "aspp0"))), 1), "concat_projection"))
    x = F.conv2d(x, tensors["logits.weight"], tensors["logits.bias"])
    return F.interpolate(x, size=image.shape[-2:], mode="bilinear", align_corners=True)


@pytest.fixture(scope="module")
def tensors(eaves_weights) -> dict[str, Tensor]:
    return {key: value.float() for key, value in load_file(eaves_weights / FILE).items()}


@pytest.fixture(scope="module")
def network(tensors, eaves_weights) -> DeepLabV3Lite:
    """The published network, its 21 logits put back by hand."""
    network = DeepLabV3Lite(3, 21)
    load_encoder(network, str(eaves_weights / FILE))
    network.head.load_state_dict({"weight": tensors["logits.weight"], "bias": tensors["logits.bias"]})
    return network.eval()


@pytest.fixture(scope="module")
def photograph() -> Tensor:
    """Rear Admiral Grace Hopper, as matplotlib has her, scaled as the weights expect."""
    image = torch.from_numpy(
        np.array(imread(str(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))))
    )
    image = (image.float() / 127.5 - 1).permute(2, 0, 1)[None]  # (1, 3, 600, 512)
    return F.interpolate(image, size=(520, 440), mode="bilinear", antialias=True)


def test_the_loaded_network_is_the_published_one(network, tensors, photograph):
    with torch.inference_mode():
        expected = by_hand(tensors, F.pad(photograph, (0, 1, 0, 1)))[..., :-1, :-1]
        torch.testing.assert_close(network(photograph), expected, rtol=1e-4, atol=1e-3)


def test_it_finds_the_person(network, photograph):
    with torch.inference_mode():
        mask = network(photograph).argmax(1)[0]
    assert set(mask.unique().tolist()) <= {0, PERSON}
    assert 0.5 < (mask == PERSON).float().mean() < 0.7
    assert (mask[80:, 200:260] == PERSON).all()  # from the cap to the lower edge
    assert not mask[:180, :100].any()
    assert not mask[:180, 340:].any()


@pytest.mark.parametrize("weights", ["coco-voc", "path"])
def test_all_but_the_logits_is_taken(eaves_weights, monkeypatch, weights):
    monkeypatch.setenv("EAVES_WEIGHTS", str(eaves_weights))
    network = DeepLabV3Lite(3, 2)
    head = network.head.weight.clone()
    loaded = load_encoder(network, str(eaves_weights / FILE) if weights == "path" else weights)
    assert loaded.taken == 270
    assert loaded.skipped == ("logits.bias", "logits.weight")
    assert loaded.missing == ()
    assert loaded.credit is not None
    assert "VOC" in loaded.credit
    assert (network.mean, network.std) == ((0.5,) * 3, (0.5,) * 3)
    assert torch.equal(network.head.weight, head)
    slow = {id(p) for p in network.encoder_parameters()}
    assert [name for name, p in network.named_parameters() if id(p) not in slow] == ["head.weight", "head.bias"]


def test_imagenet_fills_its_encoder(eaves_weights):
    network = DeepLabV3Lite(4, 2)
    loaded = load_encoder(network, str(eaves_weights / "mobilenet_v2.safetensors"))
    assert loaded.missing == ()
    assert {key.split(".")[0] for key in loaded.skipped} == {"features", "classifier"}
    assert all(key.startswith(("features.18.", "classifier.")) for key in loaded.skipped)
    assert len(network.std) == 4
