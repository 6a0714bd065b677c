"""Losses that judge each pixel alone: means over the known pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from eaves.labels import UNKNOWN
from eaves.models.loss_parts import checked, divisor, label_log_scores, pixel_weights

FOCAL_GAMMA = 2.0


def cross_entropy(
    logits: Tensor, target: Tensor, class_weights: Tensor | None = None, *, label_smoothing: float = 0.0
) -> Tensor:
    """Return the mean cross-entropy of the known pixels, as torch weighs it: by the sum of the weights.

    Args:
        logits: ``(n, k, h, w)`` float; ``k`` is 1 for two classes (binary cross-entropy), else the number of classes.
        target: ``(n, h, w)`` uint8 or int64, a class or ``UNKNOWN`` (255).
        class_weights: ``(classes,)``, the background's first; None weighs all alike.
        label_smoothing: Share of each label that is spread evenly over all classes, its own too, in [0, 1): a network
            is no longer asked to be certain (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567, section 7).

    Returns:
        A scalar >= 0; 0 with zero gradient where no pixel is known. With smoothing even a perfect network pays.

    Raises:
        ValueError: The weights are not one a class, or the smoothing is out of range.

    Example:
        >>> cross_entropy(torch.zeros(1, 1, 2, 2), torch.ones(1, 2, 2, dtype=torch.uint8)).item()
        0.6931471824645996
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"expected label_smoothing in [0, 1), got {label_smoothing}")
    weight, spread = pixel_weights(target, class_weights, logits), None
    if label_smoothing:
        weights = checked(class_weights, logits)
        weights = weight.new_ones(max(2, logits.shape[1])) if weights is None else weights
        spread = label_smoothing / len(weights) * weights
    own, everything = label_log_scores(logits, target, spread)
    total = (own * weight).sum()
    if everything is not None:
        total = (1 - label_smoothing) * total + (everything * (target != UNKNOWN)).sum()
    return -total / divisor(weight)


def focal(logits: Tensor, target: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Return the mean focal loss: cross-entropy times ``(1 - p) ** 2``, which lets easy pixels fade.

    Source: Lin et al. 2017, https://arxiv.org/abs/1708.02002, equation 5, gamma 2; ``class_weights`` are its alpha.
    Arguments and result are as in :func:`cross_entropy`.

    Example:
        >>> focal(torch.zeros(1, 1, 2, 2), torch.ones(1, 2, 2, dtype=torch.uint8)).item()
        0.1732867956161499
    """
    weight = pixel_weights(target, class_weights, logits)
    log_p, _ = label_log_scores(logits, target)
    return -((-torch.expm1(log_p)) ** FOCAL_GAMMA * log_p * weight).sum() / divisor(weight)
