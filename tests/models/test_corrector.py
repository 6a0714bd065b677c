"""The recurrent corrector: its equations, its start, its reach."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from eaves.models.corrector import Corrector

WAYS = [{}, {"heads": "one"}, {"shared": False}]


def strong(classes: int = 3, **options) -> Corrector:
    """A corrector whose updates are large, as after training."""
    torch.manual_seed(1)
    network = Corrector(3, classes, **{"iterations": 3, **options}).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.3 if "out" in name else 0.1))
    return network


def stack(classes: int = 3, height: int = 24, width: int = 20, n: int = 1, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(n, 3, height, width, generator=generator)
    return torch.cat((image, torch.softmax(2 * torch.randn(n, classes, height, width, generator=generator), 1)), 1)


def test_three_bands_and_three_classes_have_9603_parameters():
    assert sum(p.numel() for p in Corrector(3, 3).parameters()) == 9_603
    assert sum(p.numel() for p in Corrector(3, 3, iterations=9).parameters()) == 9_603
    assert sum(p.numel() for p in Corrector(3, 3, iterations=4, shared=False).parameters()) == 4 * 9_603
    assert sum(p.numel() for p in Corrector(3, 3, heads="one").parameters()) == 832 + 2_432 + 2_113


@pytest.mark.parametrize("options", WAYS)
def test_it_is_the_sources_equations_step_by_step(options):
    network, given_stack = strong(**options).double(), stack().double()
    image, u = given_stack[:, :3], torch.log(given_stack[:, 3:].clamp(1 / 508, 1))
    for number in range(3):
        step = network.steps[0 if network.shared else number]
        of_image = F.conv2d(image, step.image_filters.weight, step.image_filters.bias, padding=2)
        updates = []
        for k in range(3):
            head = min(k, len(step.mix_weight) - 1)
            of_map = F.conv2d(u[:, k : k + 1], step.score_filters.weight, step.score_filters.bias, padding=2)
            hidden = torch.einsum("hf,nfij->nhij", step.mix_weight[head], torch.cat((of_map, of_image), 1))
            hidden = torch.relu(hidden + step.mix_bias[head][:, None, None])
            updates.append(torch.einsum("h,nhij->nij", step.out_weight[head], hidden) + step.out_bias[head])
        u = u + torch.stack(updates, 1)
    torch.testing.assert_close(network(given_stack), u)


@pytest.mark.parametrize("options", WAYS)
def test_it_begins_near_the_identity(options):
    torch.manual_seed(0)
    network, given_stack = Corrector(3, 3, **options), stack(height=64, width=64)
    with torch.no_grad():
        change = (torch.softmax(network(given_stack), 1) - given_stack[:, 3:]).abs()
    assert 0 < float(change.max()) < 0.1


@given(iterations=st.integers(0, 4), classes=st.integers(2, 4))
def test_no_step_changes_nothing_and_each_is_told(iterations, classes):
    network, given_stack = strong(classes), stack(classes, 9, 7)
    network.iterations = iterations
    with torch.no_grad():
        told = list(network.evolve(given_stack))
        last = network(given_stack)
    assert len(told) == iterations + 1
    assert torch.equal(told[-1], last)
    scores = torch.sigmoid(told[0]) if classes == 2 else torch.softmax(told[0], 1)
    torch.testing.assert_close(
        scores, given_stack[:, 4:] if classes == 2 else given_stack[:, 3:], rtol=0, atol=8e-3
    )  # half a level a class


@pytest.mark.parametrize("options", WAYS)
def test_a_pixel_sees_no_further_than_two_pixels_a_step(options):
    network, given_stack = strong(**options), stack(height=40, width=40)
    assert network.halo_px == 6
    with torch.no_grad():
        whole, part = network(given_stack), network(given_stack[..., 4:34, 2:32])
    torch.testing.assert_close(part[..., 6:-6, 6:-6], whole[..., 10:28, 8:26])
    seen = given_stack.clone().requires_grad_()
    network(seen)[0, :, 20, 20].sum().backward()
    assert seen.grad is not None
    assert float(seen.grad[..., :14, :].abs().max()) == 0 < float(seen.grad[..., 14, :].abs().max())


def test_what_is_not_valid_lends_nothing():
    network, given_stack = strong(), stack()
    valid = torch.ones(24, 20, dtype=torch.bool)
    valid[5:11, 3:] = False
    one, other = given_stack.clone(), given_stack.clone()
    for each in (one, other):
        each[:, 3:, ~valid] = 0
    other[:, :3, ~valid] = 7.0
    with torch.no_grad():
        assert torch.equal(network(one), network(other))
        cut = network(one[..., 11:, :])  # beyond the end of the picture is not valid either
        torch.testing.assert_close(network(one)[..., 11 + 6 :, :], cut[..., 6:, :])


def test_one_network_for_all_classes_does_not_know_them_apart():
    given_stack = stack()
    for order in itertools.permutations(range(3)):
        moved = torch.cat((given_stack[:, :3], given_stack[:, [3 + k for k in order]]), 1)
        with torch.no_grad():
            torch.testing.assert_close(strong(heads="one")(moved), strong(heads="one")(given_stack)[:, list(order)])


def test_more_steps_than_were_trained_need_shared_weights():
    network = strong(shared=False)
    network.iterations = 2
    with pytest.raises(ValueError, match="at most 3"):
        network.iterations = 4
    free = strong()
    free.iterations = 50
    assert free.halo_px == 100


def test_computing_steps_again_gives_the_same_gradient():
    gradients = []
    for again in (False, True):
        network = strong(checkpoint_steps=again).train()
        network(stack()).square().mean().backward()
        gradients.append([p.grad for p in network.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_averaged_gradients_are_the_sum_over_the_steps_divided_by_their_number():
    gradients = []
    for average in (False, True):
        network = strong(average=average)
        network(stack()).square().mean().backward()
        gradients.append([p.grad for p in network.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one / 3, other)
