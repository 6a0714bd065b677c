"""What the losses share: which pixels count and how much, and what the network says of them.

All in single precision, or in double where the logits are double.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from eaves.labels import UNKNOWN


def precise(logits: Tensor) -> Tensor:
    """Return half-precision logits in single precision; others as they are."""
    return logits if logits.dtype == torch.float64 else logits.float()


def checked(class_weights: Tensor | None, logits: Tensor) -> Tensor | None:
    """Return the class weights in the logits' place and precision.

    Raises:
        ValueError: They are not one a class.
    """
    classes = max(2, logits.shape[1])
    if class_weights is not None and class_weights.shape != (classes,):
        raise ValueError(f"expected {classes} class weights, got shape {tuple(class_weights.shape)}")
    return None if class_weights is None else class_weights.to(logits.device, precise(logits[:0]).dtype)


def pixel_weights(target: Tensor, class_weights: Tensor | None, logits: Tensor) -> Tensor:
    """Return each pixel's weight ``(n, h, w)``: that of its class, 0 where it is unknown."""
    weights, known = checked(class_weights, logits), target != UNKNOWN
    if weights is None:
        return known.to(precise(logits[:0]).dtype)
    return known * weights[torch.where(known, target, 0).long()]


def divisor(weight: Tensor) -> Tensor:
    """Return the sum, but never zero, so that nothing known divides nothing."""
    return weight.sum().clamp_min(torch.finfo(torch.float32).tiny)


def class_scores(logits: Tensor) -> Tensor:
    """Return ``(n, classes - 1, h, w)`` probabilities of the classes but the background."""
    logits = precise(logits)
    return torch.sigmoid(logits) if logits.shape[1] == 1 else torch.softmax(logits, dim=1)[:, 1:]


def label_log_scores(logits: Tensor, target: Tensor, spread: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Return what cross-entropy is made of.

    Args:
        logits: ``(n, k, h, w)``.
        target: ``(n, h, w)``; unknown pixels count as background here.
        spread: ``(classes,)``, how much of every class each pixel is asked for besides its own; None asks for none.

    Returns:
        The log-score of each pixel's own class, and ``sum over c of spread[c] * log-score of c``, each ``(n, h, w)``.
    """
    logits = precise(logits)
    if logits.shape[1] == 1:
        logit = logits[:, 0]
        own = F.logsigmoid(logit * ((target == 1) * 2.0 - 1.0))  # the sign is many times faster than torch.where
        return own, None if spread is None else spread[0] * F.logsigmoid(-logit) + spread[1] * F.logsigmoid(logit)
    index = torch.where(target != UNKNOWN, target, 0).long()
    own, spread_sum = _LogSoftmaxAt.apply(logits, index, spread)
    return own, spread_sum


class _LogSoftmaxAt(torch.autograd.Function):
    """Log-softmax, gathered: only the logits are kept for the gradient, which is made in place.

    Distance labels have up to 128 classes, where torch's own keeps the log-softmax and makes two gradients of that
    size: of 4 x 128 x 256 x 256 logits it takes 400 MB where this takes 150, at the same speed.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, index: Tensor, spread: Tensor | None) -> tuple[Tensor, Tensor | None]:
        log_sum = torch.logsumexp(logits, 1)
        ctx.save_for_backward(logits, index, log_sum, spread)
        own = logits.gather(1, index[:, None])[:, 0] - log_sum
        if spread is None:
            return own, None
        return own, (logits * spread[:, None, None]).sum(1) - log_sum * spread.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_own: Tensor, grad_spread: Tensor | None) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        logits, index, log_sum, spread = ctx.saved_tensors
        total = grad_own if spread is None else grad_own + grad_spread * spread.sum()
        grad = torch.sub(logits, log_sum[:, None]).exp_().mul_(-total[:, None])
        if spread is not None and grad_spread is not None:
            grad.addcmul_(grad_spread[:, None], spread[:, None, None])
        return grad.scatter_add_(1, index[:, None], grad_own[:, None]), None, None
