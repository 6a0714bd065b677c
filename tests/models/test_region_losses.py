from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from eaves.labels import UNKNOWN
from eaves.models.region_losses import RIM_PX, boundary, dice, lovasz, tversky


def sure(mask: torch.Tensor) -> torch.Tensor:
    """Logits ``(1, 1, h, w)`` of a network that is certain of a mask ``(h, w)``."""
    return 200.0 * mask[None, None].float() - 100.0


def building(side: int = 20, height: int = 10, width: int = 12, row: int = 5, col: int = 4) -> torch.Tensor:
    mask = torch.zeros(side, side, dtype=torch.uint8)
    mask[row : row + height, col : col + width] = 1
    return mask


def test_dice_worked_by_hand():
    # Scores 0.75 on building, 0.5 on background; one pixel unknown.
    logits = torch.tensor([0.75, 0.5, 0.9]).logit().view(1, 1, 1, 3)
    target = torch.tensor([1, 0, UNKNOWN], dtype=torch.uint8).view(1, 1, 3)
    assert dice(logits, target).item() == pytest.approx(1 - (2 * 0.75 + 1) / (0.75 + 0.5 + 1 + 1))


def test_dice_averages_the_classes_but_the_background():
    target = torch.tensor([0, 1, 1, 2], dtype=torch.uint8).view(1, 1, 4)
    logits = torch.full((1, 3, 1, 4), -100.0)
    logits[0, [0, 1, 1, 1], 0, [0, 1, 2, 3]] = 100.0  # the pixel of class 2 is taken for class 1
    first, second = 1 - (2 * 2 + 1) / (3 + 2 + 1), 1 - 1 / (0 + 1 + 1)
    assert dice(logits, target).item() == pytest.approx((first + second) / 2)
    assert dice(logits, target, torch.tensor([9.0, 3.0, 1.0])).item() == pytest.approx((3 * first + second) / 4)


def test_tversky_prices_misses_and_false_alarms_apart():
    label = building()[None]
    missed, invented = building(height=5), torch.maximum(building(), building(row=0, height=5))
    assert missed.sum() == 60  # of 120, and as many are invented
    assert invented.sum() == 180
    assert tversky(sure(missed), label).item() == pytest.approx(1 - 60.5 / (60 + 0.7 * 60 + 0.5))
    assert tversky(sure(invented), label).item() == pytest.approx(1 - 120.5 / (120 + 0.3 * 60 + 0.5))


@pytest.mark.parametrize("prices", [(0.0, 0.5), (0.5, -1.0), (float("nan"), 1.0)])
def test_prices_that_pay_for_errors_are_refused(prices):
    with pytest.raises(ValueError, match="above 0"):
        tversky(sure(building()), building()[None], tversky_alpha=prices[0], tversky_beta=prices[1])


def jaccard_loss(wrong: frozenset[int], labelled: frozenset[int]) -> float:
    union = labelled | wrong
    return 1 - len(labelled - wrong) / len(union) if union else 0.0


def extension(errors: list[float], labelled: frozenset[int]) -> float:
    """The Lovász extension as it is defined: by the loss of ever larger sets of the worst pixels."""
    order = sorted(range(len(errors)), key=lambda pixel: -errors[pixel])
    losses = [jaccard_loss(frozenset(order[:n]), labelled) for n in range(len(errors) + 1)]
    return sum(
        errors[pixel] * (after - before)
        for pixel, (before, after) in zip(order, itertools.pairwise(losses), strict=True)
    )


@given(st.lists(st.tuples(st.sampled_from([0, 1, UNKNOWN]), st.floats(-3, 3, width=32)), min_size=1, max_size=12))
def test_lovasz_hinge_is_the_extension_of_the_iou(pixels):
    logits = torch.tensor([logit for _, logit in pixels]).view(1, 1, 1, -1)
    target = torch.tensor([label for label, _ in pixels], dtype=torch.uint8).view(1, 1, -1)
    known = [(label, logit) for label, logit in pixels if label != UNKNOWN]
    errors = [max(0.0, 1 - logit if label else 1 + logit) for label, logit in known]
    labelled = frozenset(pixel for pixel, (label, _) in enumerate(known) if label)
    assert lovasz(logits, target).item() == pytest.approx(extension(errors, labelled), abs=1e-5)


@given(st.integers(0, 1000))
def test_lovasz_softmax_is_the_extension_of_the_iou_of_each_class_that_is_there(seed):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(1, 4, 1, 9, generator=generator)
    target = torch.randint(0, 3, (1, 1, 9), generator=generator)  # class 3 is never there
    p = logits.softmax(1)[0, :, 0]
    losses, weights = [], torch.tensor([7.0, 1.0, 3.0, 5.0])
    for c in (1, 2):
        labelled = frozenset((target[0, 0] == c).nonzero()[:, 0].tolist())
        errors = [float(1 - p[c, i]) if i in labelled else float(p[c, i]) for i in range(9)]
        losses.append((extension(errors, labelled), weights[c].item()) if labelled else (0.0, 0.0))
    share = sum(weight for _, weight in losses) or 1.0
    count = sum(weight > 0 for _, weight in losses) or 1
    assert lovasz(logits, target).item() == pytest.approx(sum(loss for loss, _ in losses) / count, abs=1e-5)
    expected = sum(loss * weight for loss, weight in losses) / share
    assert lovasz(logits, target, weights).item() == pytest.approx(expected, abs=1e-5)


def test_lovasz_of_masks_is_one_minus_the_iou():
    """A hinge error of 1 is a logit of 0: a pixel that is neither, where the other side is right by far."""
    label, found = building(), building(row=7)
    wrong = label != found
    logits = torch.where(wrong, 0.0, sure(label)[0, 0])[None, None]
    iou = float((label & found).sum() / (label | found).sum())
    assert lovasz(logits, label[None]).item() == pytest.approx(1 - iou, abs=1e-5)


def test_lovasz_where_nothing_is_built_is_the_worst_false_alarm():
    logits = torch.tensor([-3.0, 0.5, 2.0, -0.5]).view(1, 1, 1, 4).requires_grad_()
    loss = lovasz(logits, torch.zeros(1, 1, 4, dtype=torch.uint8))
    loss.backward()
    assert loss.item() == 3.0
    assert logits.grad is not None
    assert logits.grad.flatten().tolist() == [0.0, 0.0, 1.0, 0.0]


def test_lovasz_of_millions_of_pixels_is_exact():
    """Differences of two IoUs in single precision would be lost here: each pixel changes it by 5e-7."""
    count = 1 << 21
    target = (torch.arange(count) % 2).to(torch.uint8).view(1, 1, count)
    logits = torch.zeros(1, 1, 1, count, requires_grad=True)
    loss = lovasz(logits, target)
    loss.backward()
    assert loss.item() == pytest.approx(1, rel=1e-4)
    assert logits.grad is not None
    assert logits.grad.abs().sum().item() == pytest.approx(1, rel=1e-4)
    assert (logits.grad.flatten()[1::2] < 0).all()
    assert (logits.grad.flatten()[::2] >= 0).all()


def test_boundary_grows_with_how_far_the_outline_is_off():
    label = F.pad(building(), (8, 8, 8, 8))
    off = [boundary(sure(torch.roll(label, by, 1)), label[None]).item() for by in range(2 * RIM_PX)]
    assert off[0] == pytest.approx(0, abs=1e-6)
    assert off == sorted(off)
    assert off[RIM_PX] > 0.4  # the outlines along the shift still agree


def test_boundary_tells_inside_from_outside():
    label = building()
    assert boundary(sure(1 - label), label[None]).item() > 0.95


def test_boundary_does_not_count_background_or_depth():
    """The same error costs the same in a wide chip, and around a deep building."""
    label, found = building(), building(row=6)
    near = boundary(sure(found), label[None]).item()
    wide = boundary(sure(F.pad(found, (50, 50, 50, 50))), F.pad(label, (50, 50, 50, 50))[None]).item()
    assert wide == pytest.approx(near)
    hollow = sure(building())
    hollow[0, 0, 5 + RIM_PX + 1 : 15 - RIM_PX - 1, 4 + RIM_PX + 1 : 16 - RIM_PX - 1] = 0.0
    assert boundary(hollow, label[None]).item() < 0.12  # four pixels deep inside are no longer sure


def test_the_edges_of_the_chip_and_of_what_is_known_are_no_outlines():
    full = torch.ones(12, 12, dtype=torch.uint8)
    assert boundary(sure(full), full[None]).item() == 0
    assert boundary(torch.zeros(1, 1, 12, 12), full[None]).item() == 0
    half = full.clone()
    half[:, 6:] = UNKNOWN
    assert boundary(sure(building(12, 12, 6, 0, 0)), half[None]).item() == 0


@pytest.mark.parametrize("loss", [dice, tversky, lovasz, boundary])
def test_descending_a_region_loss_finds_the_building(loss):
    label = building()
    logits = (0.5 * torch.randn(1, 1, 20, 20, generator=torch.Generator().manual_seed(0))).requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.3)
    first = loss(logits, label[None]).item()
    for _ in range(60):
        optimizer.zero_grad()
        loss(logits, label[None]).backward()
        optimizer.step()
    assert loss(logits, label[None]).item() < 0.1 * first
