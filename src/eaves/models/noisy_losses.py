"""Cross-entropy for labels that omit, invent and shift objects, as those of OpenStreetMap do."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from eaves.labels import UNKNOWN
from eaves.models.loss_parts import divisor, pixel_weights, precise
from eaves.models.shifted_labels import shifted_cross_entropy


def noisy_cross_entropy(
    logits: Tensor,
    target: Tensor,
    class_weights: Tensor | None = None,
    *,
    omission: float = 0.0,
    commission: float = 0.0,
    registration_px: int = 0,
    registration_block_px: int = 64,
) -> Tensor:
    """Return the mean cross-entropy of labels that are themselves noisy observations of the truth.

    The network's scores are those of the truth; the loss asks how likely the labels are, given the truth:

    * A building is labelled background with probability ``omission``, background is labelled building with
      probability ``commission``: ``P(label) = sum over truths of P(label | truth) P(truth | image)``. A label of
      background over a sure roof then costs ``-log(omission)`` instead of anything. With more than two classes, an
      object's label is lost to the background or kept, and the background's commission is shared among the objects:
      right for buildings with borders, wrong for bins of distance, whose lost labels are no single class.
    * The labels of a block are the truth's, shifted by one unknown offset of up to ``registration_px``, small ones
      being likelier: see :func:`eaves.models.shifted_labels.shifted_cross_entropy`. That does not find out by how
      much all labels lie off alike; :func:`eaves.labels.estimate_offset` does.

    With both, an unknown shift of labels of which some are missing. With neither, plain cross-entropy.

    Source: Mnih & Hinton 2012, "Learning to Label Aerial Images from Noisy Data" (ICML), its asymmetric and its
    translational noise. The first is what is now called forward correction: Patrini et al. 2017,
    https://arxiv.org/abs/1609.03683, theorem 2.

    Args:
        logits: As in :func:`eaves.models.pixel_losses.cross_entropy`, and so are target, weights and result.
        target: ``(n, h, w)``.
        class_weights: Of the labels' classes.
        omission: Share of the objects' pixels that labels miss, in [0, 1).
        commission: Share of the background's pixels that labels call an object, in [0, 1); the two sum to less than 1.
        registration_px: How far labels may lie off in either direction, in pixels; 0 trusts their places.
        registration_block_px: Side of the blocks of which each has a shift of its own, in pixels.

    Raises:
        ValueError: A noise is out of range, or the weights are not one a class.

    Example:
        >>> sure = torch.full((1, 1, 2, 2), 100.0)
        >>> noisy_cross_entropy(sure, torch.zeros(1, 2, 2, dtype=torch.uint8), omission=0.25).item()
        1.3862943649291992
    """
    if not (omission >= 0 and commission >= 0 and omission + commission < 1):
        raise ValueError(f"expected omission and commission >= 0 with a sum below 1, got {omission} and {commission}")
    if registration_px < 0 or registration_block_px < 1:
        raise ValueError(f"expected pixels, got a shift of {registration_px} and blocks of {registration_block_px}")
    weight = pixel_weights(target, class_weights, logits)
    log_p = _label_log_scores(logits, omission, commission)
    if registration_px:
        return shifted_cross_entropy(log_p, target, weight, registration_px, registration_block_px)
    label = torch.where(target != UNKNOWN, target, 0).long()
    return -(log_p.gather(1, label[:, None])[:, 0] * weight).sum() / divisor(weight)


def _label_log_scores(logits: Tensor, omission: float, commission: float) -> Tensor:
    """Log-probability ``(n, classes, h, w)`` of each label that a pixel can carry."""
    logits = precise(logits)
    binary = logits.shape[1] == 1
    log_p = F.logsigmoid(torch.cat((-logits, logits), dim=1)) if binary else F.log_softmax(logits, dim=1)
    if not omission and not commission:
        return log_p
    nothing, objects = log_p[:, :1], log_p[:, 1:]
    anything = torch.logsumexp(objects, dim=1, keepdim=True)
    label_nothing = _log_mean(nothing, 1 - commission, anything, omission)
    label_object = _log_mean(objects, 1 - omission, nothing, commission / objects.shape[1])
    return torch.cat((label_nothing, label_object), dim=1)


def _log_mean(log_a: Tensor, share_a: float, log_b: Tensor, share_b: float) -> Tensor:
    """``log(share_a exp(log_a) + share_b exp(log_b))``."""
    first = log_a + math.log(share_a)
    return torch.logaddexp(first, log_b + math.log(share_b)) if share_b else first
