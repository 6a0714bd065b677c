from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from eaves.labels import UNKNOWN
from eaves.models.noisy_losses import noisy_cross_entropy
from eaves.models.pixel_losses import cross_entropy
from eaves.models.shifted_labels import EVIDENCE, PRIOR_SIGMAS, shifted_cross_entropy


def case(classes: int, seed: int, side: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, 1 if classes == 2 else classes, side, side, generator=generator)
    target = torch.randint(0, classes, (2, side, side), generator=generator, dtype=torch.uint8)
    target[torch.rand(2, side, side, generator=generator) < 0.3] = UNKNOWN
    return logits, target


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("weighted", [False, True])
@settings(max_examples=15)
@given(seed=st.integers(0, 1000))
def test_labels_without_noise_are_plain_cross_entropy(classes, weighted, seed):
    logits, target = case(classes, seed)
    weights = torch.arange(1.0, classes + 1) if weighted else None
    torch.testing.assert_close(noisy_cross_entropy(logits, target, weights), cross_entropy(logits, target, weights))


def test_two_classes_worked_by_hand():
    # Score 0.75: the label is building with 0.75 * 0.8 + 0.25 * 0.1, background with 0.75 * 0.2 + 0.25 * 0.9.
    logits = torch.full((1, 1, 1, 2), math.log(3))
    target = torch.tensor([[[1, 0]]])
    expected = -(math.log(0.625) + math.log(0.375)) / 2
    assert noisy_cross_entropy(logits, target, omission=0.2, commission=0.1).item() == pytest.approx(expected)


@given(st.floats(0, 0.5), st.floats(0, 0.4), st.integers(0, 1000))
def test_more_classes_go_through_the_confusion_with_the_background(omission, commission, seed):
    logits, target = case(3, seed)
    confusion = torch.tensor(
        [
            [1 - commission, commission / 2, commission / 2],
            [omission, 1 - omission, 0],
            [omission, 0, 1 - omission],
        ]
    )  # of the truth, in rows, to the label
    of_labels = torch.einsum("nthw,tl->nlhw", logits.softmax(1), confusion)
    expected = nn.functional.nll_loss(of_labels.log(), target.long(), ignore_index=UNKNOWN)
    got = noisy_cross_entropy(logits, target, omission=omission, commission=commission)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_a_roof_without_a_label_pulls_less_the_surer_the_network_is():
    logits = torch.tensor([0.0, 2.0, 4.0, 8.0]).view(1, 1, 1, 4).requires_grad_()
    noisy_cross_entropy(logits, torch.zeros(1, 1, 4, dtype=torch.uint8), omission=0.3).backward()
    assert logits.grad is not None
    pull = logits.grad.flatten().tolist()
    assert pull == sorted(pull, reverse=True)
    assert pull[-1] < 0.01 * pull[0]


@pytest.mark.parametrize(
    "noise",
    [
        {"omission": -0.1},
        {"omission": 0.5, "commission": 0.5},
        {"commission": 1.0},
        {"omission": math.nan},
        {"registration_px": -1},
        {"registration_px": 2, "registration_block_px": 0},
    ],
)
def test_noise_that_cannot_be_is_refused(noise):
    with pytest.raises(ValueError, match="expected"):
        noisy_cross_entropy(*case(2, 0), **noise)


def by_loops(log_p: np.ndarray, target: np.ndarray, weight: np.ndarray, radius: int, block: int) -> float:
    """What :func:`shifted_cross_entropy` says it computes, pixel by pixel."""
    total, whole = 0.0, 0.0
    count, _, height, width = log_p.shape
    high, wide = (-(-side // max(1, round(side / block))) for side in (height, width))
    steps = range(-radius, radius + 1)
    inside = {(v, u) for v in range(height) for u in range(width)}
    for n, top, left in itertools.product(range(count), range(0, height, high), range(0, width, wide)):
        known = {at for at in inside if target[n][at] != UNKNOWN}
        pixels = [(y, x) for y, x in known if top <= y < top + high and left <= x < left + wide]
        if not pixels:
            continue
        sides = [((y, x), beyond) for y, x in pixels for beyond in ((y, x + 1), (y + 1, x)) if beyond in pixels]
        temperature = max(1.0, sum(target[n][here] != target[n][beyond] for here, beyond in sides) / EVIDENCE)
        labels = sum(weight[n][at] for at in pixels)
        terms, shares = [], []
        for dy, dx in itertools.product(steps, steps):
            pairs = [((y, x), (y + dy, x + dx)) for y, x in pixels if (y + dy, x + dx) in known]
            if pairs:
                there = sum(weight[n][here] for here, _ in pairs)
                mean = sum(weight[n][here] * log_p[n, target[n][here]][beyond] for here, beyond in pairs) / there
                shares.append(there / labels * math.exp(-0.5 * (PRIOR_SIGMAS / radius) ** 2 * (dy**2 + dx**2)))
                terms.append(shares[-1] * math.exp(mean * len(pixels) / temperature))
        total -= temperature / len(pixels) * math.log(sum(terms) / sum(shares)) * labels
        whole += labels
    return total / whole


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(("radius", "block"), [(1, 12), (2, 5), (3, 4), (5, 6)])
@settings(max_examples=4)
@given(seed=st.integers(0, 1000), weighted=st.booleans(), gap=st.booleans())
def test_registration_is_what_it_says(classes, radius, block, seed, weighted, gap):
    logits, target = case(classes, seed, side=12)
    logits, target = logits[..., :11].double(), target[..., :11]
    if gap:
        target[:, :6] = UNKNOWN  # whole blocks of which nothing is known
    weight = (target != UNKNOWN).double()
    if weighted:
        weight *= torch.arange(1.0, classes + 1)[torch.where(target == UNKNOWN, 0, target).long()]
    two = torch.cat((torch.zeros_like(logits), logits), dim=1) if classes == 2 else logits
    log_p = two.log_softmax(1)
    got = shifted_cross_entropy(log_p, target, weight, radius, block)
    assert got.item() == pytest.approx(by_loops(log_p.numpy(), target.numpy(), weight.numpy(), radius, block), rel=1e-6)


@pytest.mark.parametrize("by", [(1, 0), (3, -2), (-4, 4)])
def test_labels_within_reach_cost_little_and_those_beyond_much(by):
    truth = rectangles(1, 40, torch.Generator().manual_seed(0))
    logits, target = 20.0 * truth[:, None] - 10.0, torch.roll(truth, by, (1, 2))
    far = max(map(abs, by))
    near, beyond = (noisy_cross_entropy(logits, target, registration_px=reach).item() for reach in (far, far - 1 or 0))
    assert cross_entropy(logits, target).item() > 5 * near
    assert beyond > 2 * near


def rectangles(count: int, side: int, generator: torch.Generator) -> Tensor:
    masks = torch.zeros(count, side, side, dtype=torch.uint8)
    for mask in masks:
        for _ in range(side * side // 150):
            height, width = torch.randint(4, 8, (2,), generator=generator).tolist()
            top = int(torch.randint(0, side - height, (), generator=generator))
            left = int(torch.randint(0, side - width, (), generator=generator))
            mask[top : top + height, left : left + width] = 1
    return masks


def trained(loss: Callable[[Tensor, Tensor], Tensor], spoil: Callable[[Tensor, torch.Generator], Tensor]) -> float:
    """IoU with the truth of a small network that has seen spoilt labels only."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 1, 1)
    )
    optimizer = torch.optim.Adam(network.parameters(), 0.01)

    def seen(truth: Tensor) -> Tensor:
        return truth[:, None] + 0.3 * torch.randn(truth[:, None].shape, generator=generator)

    for _ in range(200):
        truth = rectangles(8, 32, generator)
        optimizer.zero_grad()
        loss(network(seen(truth)), spoil(truth, generator)).backward()
        optimizer.step()
    truth = rectangles(32, 32, generator)
    with torch.no_grad():
        found = network(seen(truth))[:, 0] > 0
    return float((found & (truth == 1)).sum() / (found | (truth == 1)).sum())


def shifted(truth: Tensor, generator: torch.Generator) -> Tensor:
    offsets = torch.randint(-3, 4, (len(truth), 2), generator=generator).tolist()
    return torch.stack([torch.roll(mask, by, (0, 1)) for mask, by in zip(truth, offsets, strict=True)])


def forgotten(truth: Tensor, generator: torch.Generator) -> Tensor:
    """Labels of which whole patches are missing, six of ten: a map that nobody has finished."""
    patches = (torch.rand(len(truth), 1, 4, 4, generator=generator) < 0.4).float()
    return truth * nn.functional.interpolate(patches, scale_factor=8.0)[:, 0].to(torch.uint8)


def test_a_network_that_knows_of_shifts_learns_the_truth_from_shifted_labels():
    plain = trained(cross_entropy, shifted)
    robust = trained(lambda x, y: noisy_cross_entropy(x, y, registration_px=3), shifted)
    assert plain < 0.8
    assert robust > 0.9


def test_a_network_that_knows_of_omissions_learns_the_truth_from_unfinished_labels():
    plain = trained(cross_entropy, forgotten)
    robust = trained(lambda x, y: noisy_cross_entropy(x, y, omission=0.6), forgotten)
    assert plain < 0.5
    assert robust > 0.9


def test_both_noises_at_once():
    def spoil(truth: Tensor, generator: torch.Generator) -> Tensor:
        return forgotten(shifted(truth, generator), generator)

    robust = trained(lambda x, y: noisy_cross_entropy(x, y, omission=0.6, registration_px=3), spoil)
    only_shifts = trained(lambda x, y: noisy_cross_entropy(x, y, registration_px=3), spoil)
    assert robust > only_shifts + 0.2
