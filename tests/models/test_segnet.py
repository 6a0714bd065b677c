from __future__ import annotations

import copy
from functools import cache

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from eaves.models import build, load_encoder
from eaves.models.segnet import SegNet
from eaves.settings import ModelSettings


def convolutions(module: nn.Module) -> list[nn.Conv2d]:
    return [m for m in module.modules() if isinstance(m, nn.Conv2d)]


@cache
def trained(unpool: str) -> SegNet:
    """One whose batch-norm statistics are those of what it sees. Not to be changed."""
    torch.manual_seed(0)
    network = SegNet(3, 2, unpool=unpool)  # pyright: ignore[reportArgumentType]
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain mean of all batches
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(1, 3, 64, 64))
    return network.eval()


@pytest.mark.parametrize(("classes", "count"), [(2, 29_443_585), (3, 29_444_739), (12, 29_449_932)])
def test_parameters_add_up_to_the_published_29_4_million(classes, count):
    """VGG16's 14 714 688 and its mirror image's, 577 a class in the last layer, and 4 a normalised channel."""
    with torch.device("meta"):
        network = SegNet(3, classes)
    assert sum(p.numel() for p in network.parameters()) == count
    vgg = sum(p.numel() for c in convolutions(network.encoder) for p in c.parameters())
    mirror = sum(p.numel() for c in convolutions(network.decoder) for p in c.parameters())
    assert (vgg, mirror) == (14_714_688, 14_712_448 + 577 * network.out_channels)


def test_the_decoder_is_the_encoders_mirror_image():
    network = SegNet(4, 3)
    down = [(c.in_channels, c.out_channels) for c in convolutions(network.encoder)]
    up = [(c.in_channels, c.out_channels) for c in convolutions(network.decoder)]
    assert len(down) == len(up) == 13
    assert down[0] == (4, 64)
    assert up[-1] == (64, 3)
    assert up[:-1] == [(out, fan_in) for fan_in, out in reversed(down[1:])]
    assert all(c.kernel_size == (3, 3) for c in convolutions(network))
    assert sum(isinstance(m, nn.BatchNorm2d) for m in network.modules()) == 25  # all but the logits'


def test_it_starts_as_he_et_al():
    torch.manual_seed(0)
    weight = SegNet(3, 2).decoder[0].get_submodule("0").weight  # 512 → 512 channels
    assert weight.std().item() == pytest.approx((2 / (9 * 512)) ** 0.5, rel=0.01)


def test_indices_put_values_back_where_they_came_from():
    """With convolutions that pass the image on, five levels leave one value a cell of 32, where it was greatest."""
    network = SegNet(3, 2)
    for level in (*network.encoder.children(), *network.decoder):
        assert isinstance(level, nn.Sequential)
        for i, layer in enumerate(level):
            if not isinstance(layer, nn.MaxPool2d):
                level[i] = nn.Identity()
    image = torch.rand(2, 3, 64, 96) + 1
    greatest = F.max_pool2d(image, 32)
    expected = torch.where(image == F.interpolate(greatest, scale_factor=32.0), image, 0.0)
    assert torch.equal(network(image), expected)
    assert int((expected > 0).sum()) == 2 * 3 * 2 * 3
    network.unpool = "nearest"
    assert torch.equal(network(image), F.interpolate(greatest, scale_factor=32.0))


@pytest.mark.parametrize("unpool", ["indices", "nearest"])
@pytest.mark.parametrize("size", [(1, 1), (31, 33), (45, 70)])
def test_any_size_is_exact(unpool, size):
    """What a padded image gives, cut: unpooling never needs to guess a size."""
    network = trained(unpool)
    image = torch.randn(1, 3, *size)
    padded = F.pad(image, (0, -size[1] % 32, 0, -size[0] % 32))
    with torch.inference_mode():
        assert torch.equal(network(image), network(padded)[..., : size[0], : size[1]])


def test_channels_last_gives_the_same():
    network, image = copy.deepcopy(trained("indices")), torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = network(image)
        last = network.to(memory_format=torch.channels_last)(image.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(last, expected, rtol=1e-3, atol=1e-3)


def test_no_smaller_halo_is_exact():
    """A pixel sees past the next smaller multiple of the stride, and not past the halo."""
    network = SegNet(1, 2, unpool="nearest").eval()
    features = network.encoder.get_submodule("features")
    assert isinstance(features, nn.Sequential)
    for i, layer in enumerate(features):
        if isinstance(layer, nn.MaxPool2d):
            features[i] = nn.AvgPool2d(2)  # the same cells, and every pixel of them counts
    with torch.no_grad():
        for parameter in network.parameters():  # equal positive weights: nothing cancels, no rectifier closes
            parameter.fill_(1 / parameter[0].numel())
    image = torch.rand(1, 1, 32, 480, requires_grad=True)
    network(image)[..., 249].sum().backward()  # the column of a cell of 32 that sees farthest
    assert image.grad is not None
    reach = 249 - int(image.grad.any(dim=(0, 1, 2)).nonzero().min())
    assert reach == 211
    assert network.halo_px - network.stride < reach <= network.halo_px == 224


@pytest.mark.parametrize("unpool", ["indices", "nearest"])
def test_a_window_with_halo_equals_the_untiled_output(unpool):
    network = trained(unpool)
    image = torch.randn(1, 3, 32, 544)
    core = slice(256, 288)
    with torch.inference_mode():
        whole = network(image)[..., core]
        window = network(image[..., core.start - network.halo_px : core.stop + network.halo_px])
        narrow = network(image[..., core.start - 64 : core.stop + 64])[..., 64 : 64 + 32]
    inside = window[..., network.halo_px : network.halo_px + 32]
    same = ((inside - whole).abs() < 1e-3).float().mean()
    assert same > 0.99  # of two pixels that are equal but for rounding, either can be the greater
    assert ((narrow - whole).abs() < 1e-3).float().mean() < 0.9


def test_its_encoder_takes_real_weights(eaves_weights):
    network = build(ModelSettings(arch="segnet"), in_channels=3, classes=3)
    loaded = load_encoder(network, str(eaves_weights / "vgg16_bn.safetensors"))
    assert (loaded.taken, loaded.skipped, loaded.missing) == (78, (), ())
    assert len(network.encoder_parameters()) == 13 * 4
    reference = torchvision.models.vgg16_bn().features.eval()
    state = {key.removeprefix("encoder.features."): value for key, value in network.state_dict().items()}
    reference.load_state_dict({key: value for key, value in state.items() if key in reference.state_dict()})
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(network.eval().get_submodule("encoder")(image), reference(image))
