from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from eaves.errors import EavesWarning, SettingsError
from eaves.labels import UNKNOWN
from eaves.models import LOSSES, combined, median_frequency_weights
from eaves.models.losses import cross_entropy, dice, focal


def case(classes: int, seed: int = 0, unknown: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, 1 if classes == 2 else classes, 5, 7, generator=generator)
    target = torch.randint(0, classes, (2, 5, 7), generator=generator, dtype=torch.uint8)
    target[torch.rand(2, 5, 7, generator=generator) < unknown] = UNKNOWN
    return logits, target


@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 4.0])])
def test_binary_cross_entropy_is_torchs(weights):
    logits, target = case(2)
    known = target != UNKNOWN
    truth = target[known].float()
    each = F.binary_cross_entropy_with_logits(logits[:, 0][known], truth, reduction="none")
    w = torch.ones_like(truth) if weights is None else weights[truth.long()]
    torch.testing.assert_close(cross_entropy(logits, target, weights), (each * w).sum() / w.sum())


@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 4.0, 1.0, 2.0])])
def test_softmax_cross_entropy_is_torchs(weights):
    logits, target = case(4)
    expected = F.cross_entropy(logits, target.long(), weight=weights, ignore_index=UNKNOWN)
    torch.testing.assert_close(cross_entropy(logits, target, weights), expected)


def test_focal_is_torchvisions():
    logits, target = case(2)
    known = target != UNKNOWN
    expected = sigmoid_focal_loss(
        logits[:, 0][known], target[known].float(), alpha=-1, gamma=2, reduction="mean"
    )  # alpha -1 is none
    torch.testing.assert_close(focal(logits, target), expected)


def test_values_worked_by_hand():
    # Scores 0.75 on building, 0.5 on background; one pixel unknown.
    logits = torch.tensor([math.log(3), 0.0, 9.0]).view(1, 1, 1, 3)
    target = torch.tensor([1, 0, UNKNOWN], dtype=torch.uint8).view(1, 1, 3)
    assert cross_entropy(logits, target).item() == pytest.approx(-(math.log(0.75) + math.log(0.5)) / 2)
    weights = torch.tensor([1.0, 3.0])
    assert cross_entropy(logits, target, weights).item() == pytest.approx(-(3 * math.log(0.75) + math.log(0.5)) / 4)
    assert focal(logits, target).item() == pytest.approx(-(0.25**2 * math.log(0.75) + 0.5**2 * math.log(0.5)) / 2)
    assert dice(logits, target).item() == pytest.approx(1 - (2 * 0.75 + 1) / (0.75 + 0.5 + 1 + 1))


def test_dice_averages_the_classes_but_the_background():
    target = torch.tensor([0, 1, 1, 2], dtype=torch.uint8).view(1, 1, 4)
    logits = torch.full((1, 3, 1, 4), -100.0)
    logits[0, [0, 1, 1, 1], 0, [0, 1, 2, 3]] = 100.0  # the pixel of class 2 is taken for class 1
    first, second = 1 - (2 * 2 + 1) / (3 + 2 + 1), 1 - 1 / (0 + 1 + 1)
    assert dice(logits, target).item() == pytest.approx((first + second) / 2)
    assert dice(logits, target, torch.tensor([9.0, 3.0, 1.0])).item() == pytest.approx((3 * first + second) / 4)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("classes", [2, 4])
def test_right_is_better_than_wrong(name, classes):
    _, target = case(classes, unknown=0.0)
    right = 20 * (F.one_hot(target.long(), classes).permute(0, 3, 1, 2).float() - 0.5)
    right = right[:, 1:] if classes == 2 else right
    assert LOSSES[name](right, target, None).item() == pytest.approx(0, abs=1e-3)
    assert LOSSES[name](-right, target, None) > 0.5


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("classes", [2, 4])
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 1000), shift=st.floats(-1e4, 1e4), weighted=st.booleans())
def test_unknown_pixels_say_nothing(name, classes, seed, shift, weighted):
    logits, target = case(classes, seed)
    weights = torch.arange(1.0, classes + 1) if weighted else None
    unknown = (target == UNKNOWN)[:, None]
    moved = torch.where(unknown, logits + shift, logits).requires_grad_()
    loss = LOSSES[name](moved, target, weights)
    assert loss == LOSSES[name](logits, target, weights)
    assert loss == LOSSES[name](logits, target.long(), weights)
    loss.backward()
    assert moved.grad is not None
    assert not moved.grad[unknown.expand_as(moved)].any()
    assert torch.isfinite(moved.grad).all()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_of_which_nothing_is_known_costs_nothing(name, channels):
    logits = torch.randn(2, channels, 4, 4, requires_grad=True)
    loss = LOSSES[name](logits, torch.full((2, 4, 4), UNKNOWN, dtype=torch.uint8), None)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("classes", [2, 3])
def test_the_gradient_is_right(name, classes):
    logits, target = case(classes)
    logits = logits[:1, :, :2, :3].double().requires_grad_()
    # The losses compute in single precision, so that the check steps far and asks little.
    assert torch.autograd.gradcheck(
        lambda x: LOSSES[name](x, target[:1, :2, :3], None), logits, eps=1e-2, atol=1e-3, rtol=1e-2, fast_mode=False
    )


@pytest.mark.parametrize("name", LOSSES)
def test_extreme_and_half_precision_logits_stay_finite(name):
    target = torch.tensor([[[0, 1]]], dtype=torch.uint8)
    for values in ([1e4, -1e4], [-1e4, 1e4], [0.0, 0.0]):
        logits = torch.tensor(values, dtype=torch.float16).view(1, 1, 1, 2).requires_grad_()
        loss = LOSSES[name](logits, target, None)
        loss.backward()
        assert loss.dtype == torch.float32
        assert torch.isfinite(loss)
        assert logits.grad is not None
        assert torch.isfinite(logits.grad).all()


def test_class_weights_of_another_count_are_refused():
    logits, target = case(2)
    for loss in LOSSES.values():
        with pytest.raises(ValueError, match="expected 2 class weights"):
            loss(logits, target, torch.ones(3))


def test_combined_gives_each_term_times_its_weight():
    logits, target = case(3)
    parts = combined({"cross_entropy": 1.0, "dice": 0.5})(logits, target, None)
    assert list(parts) == ["cross_entropy", "dice"]
    assert parts["cross_entropy"] == cross_entropy(logits, target)
    assert parts["dice"] == 0.5 * dice(logits, target)


@pytest.mark.parametrize("terms", [{}, {"dice": 0.0}, {"dice": -1.0}, {"dice": math.nan}, {"jaccard": 1.0}])
def test_terms_that_cannot_be_meant_are_refused(terms):
    with pytest.raises(SettingsError, match="loss"):
        combined(terms)


def test_median_frequency_by_hand():
    """Frequencies .9, .2 and .1; their median is .2."""
    weights = median_frequency_weights([900, 100, 100], np.array([1000, 500, 1000]))
    assert weights == pytest.approx((2 / 9, 1.0, 2.0))


def test_a_class_without_pixels_is_told_and_weighs_nothing():
    with pytest.warns(EavesWarning, match=r"1 of 3 classes have no pixels.*\[1\]"):
        weights = median_frequency_weights([900, 0, 100], [1000, 0, 1000])
    assert weights == pytest.approx((5 / 9, 0.0, 5.0))


@pytest.mark.parametrize(("pixels", "images"), [([0, 0], [0, 0]), ([5, 5], [4, 9]), ([-1, 1], [1, 1]), ([1], [1, 1])])
def test_impossible_counts_are_refused(pixels, images):
    with pytest.raises(ValueError, match="expected counts"):
        median_frequency_weights(pixels, images)
