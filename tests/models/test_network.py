"""The contract of every segmentation network, for whatever stands in MODELS."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eaves.models import MODELS, SegmentationNetwork, build, scores
from eaves.settings import ModelSettings

SEGMENTATION = [name for name, kind in MODELS.items() if issubclass(kind, SegmentationNetwork)]


@pytest.fixture(scope="module", params=SEGMENTATION)
def arch(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def network(arch: str) -> SegmentationNetwork:
    torch.manual_seed(0)
    return build(ModelSettings(arch=arch), in_channels=3, classes=2).eval()


def picture(network: SegmentationNetwork, n: int, height: int, width: int) -> torch.Tensor:
    """An image, with scores below it where the network takes them."""
    image = torch.randn(n, network.in_channels, height, width)
    if not network.takes_scores:
        return image
    return torch.cat((image, torch.softmax(torch.randn(n, network.classes, height, width), dim=1)), dim=1)


def test_any_size_comes_back_in_its_own_size(network):
    @settings(deadline=None, max_examples=8)
    @given(n=st.integers(1, 2), height=st.integers(1, 70), width=st.integers(1, 70))
    def holds(n: int, height: int, width: int) -> None:
        with torch.inference_mode():
            logits = network(picture(network, n, height, width))
        assert logits.shape == (n, 1, height, width)
        assert logits.dtype == torch.float32
        assert torch.isfinite(logits).all()

    holds()


@pytest.mark.parametrize("size", [(1, 1), (33, 47), (64, 64)])
@pytest.mark.parametrize(("classes", "channels"), [(2, 1), (3, 3), (20, 20)])
def test_one_logit_for_two_classes_else_one_a_class(arch, size, classes, channels):
    network = build(ModelSettings(arch=arch), in_channels=4, classes=classes).eval()
    with torch.inference_mode():
        logits = network(picture(network, 1, *size))
    assert logits.shape == (1, channels, *size)
    assert scores(logits).shape == (1, classes - 1, *size)


def test_padding_is_the_mean_colour_below_and_to_the_right(network):
    image = picture(network, 1, 50, 49)
    padded = torch.zeros(1, network.input_channels, *(-(-side // network.stride) * network.stride for side in (50, 49)))
    padded[..., :50, :49] = image
    with torch.inference_mode():
        assert torch.equal(network(image), network(padded)[..., :50, :49])


@pytest.mark.parametrize("value", [0.0, 3.0, -1e3])
def test_a_constant_image_gives_finite_logits(network, value):
    with torch.inference_mode():
        assert torch.isfinite(network(torch.full((1, network.input_channels, 64, 64), value))).all()


def test_the_gradient_reaches_every_parameter(arch):
    torch.manual_seed(1)
    network = build(ModelSettings(arch=arch), in_channels=3, classes=3).train()
    network(picture(network, 2, 64, 64)).square().mean().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_evaluation_is_deterministic_and_batch_free(network):
    image = picture(network, 2, 64, 64)
    with torch.inference_mode():
        assert torch.equal(network(image), network(image))
        torch.testing.assert_close(network(image)[1:], network(image[1:]), rtol=1e-4, atol=1e-4)


def test_a_copy_and_a_pickle_are_the_same_network(network):
    image = picture(network, 1, 32, 32)
    with torch.inference_mode():
        for twin in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
            assert torch.equal(twin(image), network(image))


def test_windows_align_with_the_halo(network):
    assert network.stride >= 1
    assert network.halo_px > 0
    assert network.halo_px % network.stride == 0


def test_a_fresh_network_has_nothing_pretrained(network):
    assert network.encoder_parameters() == []
    assert len(network.mean) in (1, 3)
    assert len(network.std) in (1, 3)
    assert min(network.std) > 0


def test_an_image_that_does_not_fit_is_refused(network):
    bands = network.input_channels
    for shape in ((bands, 8, 8), (1, bands + 1, 8, 8), (1, bands, 0, 8), (0, bands, 8, 8)):
        with pytest.raises(ValueError, match=rf"expected \(n, {bands}, h, w\)"):
            network(torch.zeros(shape))


def test_bands_and_classes_must_be_possible(arch):
    for bands, classes in ((0, 2), (3, 1)):
        with pytest.raises(ValueError, match="at least 1 band and 2 classes"):
            MODELS[arch](bands, classes)


def test_scores_are_probabilities_of_what_is_not_background():
    logits = torch.tensor([0.0, 1.0, 3.0]).view(1, 3, 1, 1)
    total = 1 + torch.e + torch.e**3
    torch.testing.assert_close(scores(logits).flatten(), torch.tensor([torch.e / total, torch.e**3 / total]))
    binary = scores(torch.tensor([-200.0, 0.0, 200.0]).view(3, 1, 1, 1))
    assert binary.flatten().tolist() == [0.0, 0.5, 1.0]
    assert scores(torch.zeros(1, 1, 1, 1, dtype=torch.float16)).dtype == torch.float32


def test_one_logit_is_two_of_which_the_first_is_zero():
    z = torch.randn(1, 1, 4, 4)
    torch.testing.assert_close(scores(z), scores(torch.cat((torch.zeros_like(z), z), dim=1)))
