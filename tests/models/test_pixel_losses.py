from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from eaves.labels import UNKNOWN
from eaves.models.pixel_losses import cross_entropy, focal


def case(classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, 1 if classes == 2 else classes, 5, 7, generator=generator)
    target = torch.randint(0, classes, (2, 5, 7), generator=generator, dtype=torch.uint8)
    target[torch.rand(2, 5, 7, generator=generator) < 0.3] = UNKNOWN
    return logits, target


@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 4.0])])
def test_binary_cross_entropy_is_torchs(weights):
    logits, target = case(2)
    known = target != UNKNOWN
    truth = target[known].float()
    each = F.binary_cross_entropy_with_logits(logits[:, 0][known], truth, reduction="none")
    w = torch.ones_like(truth) if weights is None else weights[truth.long()]
    torch.testing.assert_close(cross_entropy(logits, target, weights), (each * w).sum() / w.sum())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 4.0, 1.0, 2.0])])
def test_softmax_cross_entropy_is_torchs(weights, smoothing):
    logits, target = case(4)
    expected = F.cross_entropy(logits, target.long(), weight=weights, ignore_index=UNKNOWN, label_smoothing=smoothing)
    torch.testing.assert_close(cross_entropy(logits, target, weights, label_smoothing=smoothing), expected)


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
    smoothed = -(0.9 * math.log(0.75) + 0.1 * math.log(0.25) + math.log(0.5)) / 2
    assert cross_entropy(logits, target, label_smoothing=0.2).item() == pytest.approx(smoothed)


def test_smoothed_labels_ask_for_a_score_short_of_certain():
    """The best score of a building is 1 - smoothing / 2."""
    label = torch.ones(1, 1, 1, dtype=torch.uint8)
    logit = torch.tensor(0.9 / 0.1).log().view(1, 1, 1, 1).requires_grad_()
    cross_entropy(logit, label, label_smoothing=0.2).backward()
    assert logit.grad is not None
    assert logit.grad.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, math.nan])
def test_smoothing_that_leaves_no_label_is_refused(smoothing):
    with pytest.raises(ValueError, match="label_smoothing in"):
        cross_entropy(*case(2), label_smoothing=smoothing)


def test_many_classes_keep_one_map_of_the_logits_size_for_the_gradient():
    """The logits themselves: torch's own keeps their log-softmax as well."""
    logits = torch.randn(1, 64, 8, 8, requires_grad=True)
    target = torch.randint(0, 64, (1, 8, 8))
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        cross_entropy(logits, target)
    large = [pointer for pointer, count in kept.items() if count >= logits.numel()]
    assert large == [logits.untyped_storage().data_ptr()]
