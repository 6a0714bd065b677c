"""What every loss of LOSSES keeps to, and how recipes put them together."""

from __future__ import annotations

import math
from inspect import signature

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from eaves.errors import EavesWarning, SettingsError
from eaves.labels import UNKNOWN
from eaves.models.losses import LOSSES, combined, losses_of, median_frequency_weights
from eaves.settings import LossSettings

NOISE = {"omission": 0.2, "commission": 0.05}
SHIFTS = {"registration_px": 2, "registration_block_px": 4}
CASES = {
    **{name: (name, {}) for name in LOSSES},
    "smoothed": ("cross_entropy", {"label_smoothing": 0.1}),
    "recall": ("tversky", {"tversky_alpha": 0.1, "tversky_beta": 0.9}),
    "omission": ("noisy_cross_entropy", NOISE),
    "registration": ("noisy_cross_entropy", SHIFTS),
    "both": ("noisy_cross_entropy", {**NOISE, **SHIFTS}),
}
ALONE = sorted(set(CASES) - {"boundary", "registration", "both"})  # of each pixel by itself, or of all alike
EXACT = sorted(set(CASES) - {"smoothed", "omission", "registration", "both"})  # zero where the network is right
every = pytest.mark.parametrize("name", CASES)
seeds = st.integers(0, 1000)


def value(name: str, logits: torch.Tensor, target: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    loss, parameters = CASES[name]
    return LOSSES[loss](logits, target, weights, **parameters)


def case(classes: int, seed: int = 0, unknown: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, 1 if classes == 2 else classes, 6, 8, generator=generator)
    target = torch.randint(0, classes, (2, 6, 8), generator=generator, dtype=torch.uint8)
    target[torch.rand(2, 6, 8, generator=generator) < unknown] = UNKNOWN
    return logits, target


def gradient(name: str, logits: torch.Tensor, target: torch.Tensor, weights: torch.Tensor | None = None):
    logits = logits.clone().requires_grad_()
    value(name, logits, target, weights).backward()
    assert logits.grad is not None
    return logits.grad


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("classes", [2, 4])
def test_right_is_better_than_wrong(name, classes):
    _, target = case(classes, unknown=0.0)
    right = 20 * (F.one_hot(target.long(), classes).permute(0, 3, 1, 2).float() - 0.5)
    right = right[:, 1:] if classes == 2 else right
    assert value(name, right, target).item() == pytest.approx(0, abs=1e-3)
    assert value(name, -right, target) > 0.5


@every
@pytest.mark.parametrize("classes", [2, 4])
@settings(max_examples=15)
@given(seed=seeds, shift=st.floats(-1e4, 1e4), weighted=st.booleans())
def test_unknown_pixels_say_nothing(name, classes, seed, shift, weighted):
    logits, target = case(classes, seed)
    weights = torch.arange(1.0, classes + 1) if weighted else None
    unknown = (target == UNKNOWN)[:, None]
    moved = torch.where(unknown, logits + shift, logits)
    assert value(name, moved, target, weights) == value(name, logits, target, weights)
    assert value(name, moved, target, weights) == value(name, logits, target.long(), weights)
    slope = gradient(name, moved, target, weights)
    assert not slope[unknown.expand_as(slope)].any()
    torch.testing.assert_close(slope, gradient(name, logits, target, weights), rtol=0, atol=0)
    assert torch.isfinite(slope).all()


@every
@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_of_which_nothing_is_known_costs_nothing(name, channels):
    logits, target = torch.randn(2, channels, 4, 4), torch.full((2, 4, 4), UNKNOWN, dtype=torch.uint8)
    assert value(name, logits, target).item() == 0
    assert not gradient(name, logits, target).any()


@every
@settings(max_examples=15)
@given(seed=seeds, weighted=st.booleans())
def test_one_logit_is_the_difference_of_two(name, seed, weighted):
    logits, target = case(2, seed)
    weights = torch.tensor([0.5, 4.0]) if weighted else None
    other = torch.randn(logits.shape, generator=torch.Generator().manual_seed(seed))
    two = torch.cat((other, logits + other), dim=1)
    torch.testing.assert_close(value(name, two, target, weights), value(name, logits, target, weights))
    slope = gradient(name, two, target, weights)
    torch.testing.assert_close(slope[:, 1:], gradient(name, logits, target, weights), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(slope[:, :1], -slope[:, 1:], rtol=1e-4, atol=1e-6)


@every
@pytest.mark.parametrize("classes", [2, 4])
@settings(max_examples=15)
@given(seed=seeds, scale=st.floats(0.1, 10))
def test_class_weights_that_are_all_alike_change_nothing(name, classes, seed, scale):
    logits, target = case(classes, seed)
    expected = value(name, logits, target)
    torch.testing.assert_close(value(name, logits, target, torch.full((classes,), scale)), expected)


@pytest.mark.parametrize("name", ALONE)
@pytest.mark.parametrize("classes", [2, 4])
@settings(max_examples=15)
@given(seed=seeds)
def test_the_order_of_pixels_changes_nothing(name, classes, seed):
    logits, target = case(classes, seed)
    order = torch.randperm(2 * 6 * 8, generator=torch.Generator().manual_seed(seed))
    shuffled = logits.transpose(0, 1).flatten(1)[:, order].view(-1, 1, 12, 8).transpose(0, 1)
    expected = value(name, logits, target)
    torch.testing.assert_close(value(name, shuffled, target.flatten()[order].view(1, 12, 8)), expected)


@pytest.mark.parametrize("name", sorted(set(CASES) - set(ALONE)))
@pytest.mark.parametrize("classes", [2, 4])
@settings(max_examples=15)
@given(seed=seeds, turns=st.integers(0, 3), mirror=st.booleans())
def test_turning_a_chip_changes_nothing(name, classes, seed, turns, mirror):
    logits, target = (torch.rot90(x, turns, (-2, -1)) for x in case(classes, seed))
    if mirror:
        logits, target = logits.flip(-1), target.flip(-1)
    torch.testing.assert_close(value(name, logits, target), value(name, *case(classes, seed)))


@every
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_gradient_is_right(name, channels, weighted):
    _, target = case(max(2, channels), seed=3)
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(2, channels, 6, 8, generator=generator, dtype=torch.float64).requires_grad_()
    weights = torch.arange(1.0, max(2, channels) + 1) if weighted else None
    assert torch.autograd.gradcheck(lambda x: value(name, x, target, weights), logits)


@every
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("labels", [[0, 1], [0, 0], [1, 1], [UNKNOWN, 1]])
def test_extreme_and_half_precision_logits_stay_finite(name, channels, labels):
    target = torch.tensor([[labels]], dtype=torch.uint8)
    for values in ([1e4, -1e4], [-1e4, 1e4], [0.0, 0.0]):
        logits = torch.tensor(values, dtype=torch.float16).expand(1, channels, 1, 2) * torch.ones(1, channels, 1, 1)
        logits = logits.half() * torch.linspace(1, -1, channels)[:, None, None].half()
        loss = value(name, logits, target)
        assert loss.dtype == torch.float32
        assert torch.isfinite(loss)
        assert loss >= 0
        assert torch.isfinite(gradient(name, logits, target)).all()


@every
def test_mixed_precision_around_it_changes_nothing(name):
    logits, target = case(3)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = value(name, logits, target)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, value(name, logits, target))


@every
def test_the_layout_in_memory_changes_nothing(name):
    logits, target = case(3)
    across = logits.transpose(-1, -2).contiguous().transpose(-1, -2).contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(value(name, across, target), value(name, logits, target))
    torch.testing.assert_close(value(name, logits.mT, target.mT), value(name, logits.mT.contiguous(), target.mT))


@every
def test_class_weights_of_another_count_are_refused(name):
    with pytest.raises(ValueError, match="expected 2 class weights"):
        value(name, *case(2), torch.ones(3))


def test_combined_gives_each_term_times_its_weight():
    logits, target = case(3)
    parts = combined({"cross_entropy": 1.0, "dice": 0.5})(logits, target, None)
    assert list(parts) == ["cross_entropy", "dice"]
    assert parts["cross_entropy"] == LOSSES["cross_entropy"](logits, target)
    assert parts["dice"] == 0.5 * LOSSES["dice"](logits, target)


@pytest.mark.parametrize("terms", [{}, {"dice": 0.0}, {"dice": -1.0}, {"dice": math.nan}, {"jaccard": 1.0}])
def test_terms_that_cannot_be_meant_are_refused(terms):
    with pytest.raises(SettingsError, match="loss"):
        combined(terms)


def test_parameters_reach_every_term_that_reads_them():
    logits, target = case(2)
    for name, (term, parameters) in CASES.items():
        if term != "noisy_cross_entropy" or parameters:
            made = combined({term: 2.0}, **parameters)(logits, target, None)
            assert made[term] == 2 * value(name, logits, target)
    assert value("cross_entropy", logits, target) != value("smoothed", logits, target)
    assert value("tversky", logits, target) != value("recall", logits, target)


def test_a_recipe_makes_its_losses():
    logits, target = case(2)
    recipe = LossSettings(
        terms={"noisy_cross_entropy": 1.0, "tversky": 0.5}, tversky_beta=0.9, registration_px=1, registration_block_px=8
    )
    made = losses_of(recipe)(logits, target, None)
    noisy = LOSSES["noisy_cross_entropy"](logits, target, None, registration_px=1, registration_block_px=8)
    assert made == {"noisy_cross_entropy": noisy, "tversky": 0.5 * LOSSES["tversky"](logits, target, tversky_beta=0.9)}


def test_the_defaults_of_a_recipe_are_those_of_the_losses():
    recipe, seen = LossSettings(), {"terms", "class_weights"}
    for loss in LOSSES.values():
        for each in signature(loss).parameters.values():
            if each.kind is each.KEYWORD_ONLY:
                assert getattr(recipe, each.name) == each.default
                seen.add(each.name)
    assert seen == set(LossSettings.model_fields)


@pytest.mark.parametrize(
    ("terms", "parameters", "message"),
    [
        ("dice", {"label_smoothing": 0.1}, "one of cross_entropy among loss.terms, because no other loss reads label_"),
        ("cross_entropy", {"tversky_beta": 0.5}, "one of tversky among"),
        ("cross_entropy", {"registration_px": 4}, "one of noisy_cross_entropy among"),
        ("tversky", {"omission": 0.1}, "one of noisy_cross_entropy among"),
        ("noisy_cross_entropy", {}, "without any of them"),
        ("noisy_cross_entropy", {"omission": 0.1, "registration_block_px": 32}, "registration_px above 0"),
        ("noisy_cross_entropy", {"omission": 0.6, "commission": 0.4}, "sum below 1"),
        ("dice", {"gamma": 3.0}, "parameters of commission, label_smoothing"),
    ],
)
def test_parameters_that_change_nothing_are_refused(terms, parameters, message):
    with pytest.raises(SettingsError, match=message):
        combined({terms: 1.0}, **parameters)


def test_parameters_at_their_default_need_no_term():
    logits, target = case(2)
    made = combined({"dice": 1.0}, tversky_alpha=0.3, label_smoothing=0.0, registration_block_px=64)
    assert made(logits, target, None)["dice"] == LOSSES["dice"](logits, target)


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
