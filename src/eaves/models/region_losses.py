"""Losses that judge regions: how far what is predicted and what is labelled cover each other.

All take their sums over the known pixels of the whole batch, and average over the classes but the background.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from eaves.labels import UNKNOWN
from eaves.models.loss_parts import checked, class_scores, divisor, precise

DICE_SMOOTH = 1.0
RIM_PX = 3


def dice(logits: Tensor, target: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Return 1 - soft Dice, over the batch's known pixels, averaged over the classes but the background.

    For a class of scores ``p`` and truth ``t`` that is ``1 - (2 sum(p t) + 1) / (sum(p) + sum(t) + 1)``; the ones keep
    a class that is not there from dividing by zero.

    Source: Milletari et al. 2016, https://arxiv.org/abs/1606.04797, section 3, without squares.
    Arguments and result are as in :func:`eaves.models.pixel_losses.cross_entropy`; the weights of the classes but the
    first weigh the average.

    Example:
        >>> dice(torch.full((1, 1, 2, 2), -100.0), torch.ones(1, 2, 2, dtype=torch.uint8)).item()
        0.800000011920929
    """
    return tversky(logits, target, class_weights, tversky_alpha=0.5, tversky_beta=0.5)


def tversky(
    logits: Tensor,
    target: Tensor,
    class_weights: Tensor | None = None,
    *,
    tversky_alpha: float = 0.3,
    tversky_beta: float = 0.7,
) -> Tensor:
    """Return 1 - soft Tversky index: :func:`dice` with prices of its own for false alarms and for misses.

    For a class of scores ``p`` and truth ``t`` that is ``1 - (sum(p t) + 1/2) / (sum(p t) + alpha sum(p (1 - t)) +
    beta sum((1 - p) t) + 1/2)``. Both at 1/2 is Dice, both at 1 is the soft IoU. ``beta`` above ``alpha`` finds more
    buildings, with more false ones among them.

    Source: Salehi et al. 2017, https://arxiv.org/abs/1706.05721, whose best prices are the defaults.
    Arguments and result are as in :func:`dice`.

    Args:
        logits: ``(n, k, h, w)``.
        target: ``(n, h, w)``.
        class_weights: Of the average.
        tversky_alpha: Price of a false alarm; above 0.
        tversky_beta: Price of a miss; above 0.

    Raises:
        ValueError: A price is not above 0, or the weights are not one a class.

    Example:
        >>> tversky(torch.full((1, 1, 2, 2), -100.0), torch.ones(1, 2, 2, dtype=torch.uint8)).item()
        0.8484848737716675
    """
    if not (tversky_alpha > 0 and tversky_beta > 0):
        raise ValueError(f"expected tversky_alpha and tversky_beta above 0, got {tversky_alpha} and {tversky_beta}")
    p, t, known = _maps(logits, target)
    p = p * known
    overlap, predicted, labelled = (p * t).sum((0, 2, 3)), p.sum((0, 2, 3)), t.sum((0, 2, 3))
    smooth = DICE_SMOOTH / 2
    false_alarms, misses = predicted - overlap, labelled - overlap
    union = overlap + tversky_alpha * false_alarms + tversky_beta * misses
    weights = checked(class_weights, logits)
    return _average(1 - (overlap + smooth) / (union + smooth), None if weights is None else weights[1:])


def lovasz(logits: Tensor, target: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Return the Lovász extension of 1 - IoU: the IoU's own slope, where soft Dice has that of an approximation.

    The errors of the pixels are sorted; each weighs what the IoU loses when it is added to the worse ones. Two classes
    have the hinge error ``1 - logit`` of a building and ``1 + logit`` of background where that is above 0: the loss
    has no upper bound, and where no building is known it is the worst false alarm's error. More have the error
    ``|t - p|`` of their softmax, in [0, 1], averaged over the classes that are there; each takes a sort of all
    pixels, which makes this no loss for bins of distance.

    Source: Berman et al. 2018, https://arxiv.org/abs/1705.08790, algorithm 1; the hinge is their binary form.
    Arguments and result are as in :func:`dice`.

    Example:
        >>> lovasz(torch.zeros(1, 1, 2, 2), torch.ones(1, 2, 2, dtype=torch.uint8)).item()
        1.0
    """
    weights = checked(class_weights, logits)
    logits, known = precise(logits), target != UNKNOWN
    if logits.shape[1] <= 2:
        logit = logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
        there, errors = [1], [F.relu(1 - logit * ((target == 1) * 2.0 - 1.0))]
    else:
        p = torch.softmax(logits, dim=1)
        there = [c for c in range(1, p.shape[1]) if (target == c).any()]
        errors = [(p[:, c] - (target == c).to(p.dtype)).abs() for c in there]
    if not there:
        return logits.sum() * 0
    loss = torch.stack([(e * _iou_slope(e, target == c, known)).sum() for c, e in zip(there, errors, strict=True)])
    return _average(loss, None if weights is None else weights[there])


@torch.no_grad()
def _iou_slope(errors: Tensor, t: Tensor, known: Tensor) -> Tensor:
    """What each pixel's error weighs ``(n, h, w)``: pixels without an error, and unknown ones, weigh nothing.

    Returned in the pixels' own order, so that only one map is kept for the gradient. With ``I`` the intersection and
    ``U`` the union before a pixel joins the wrong ones, a missed pixel takes ``1 / U`` from the IoU and a false one
    ``I / (U (U + 1))``: exact where the difference of two almost equal IoUs would not be.
    """
    wrong = (known & (errors > 0)).flatten().nonzero()[:, 0]  # the others add nothing, and need no sorting
    order = wrong[errors.flatten()[wrong].argsort(descending=True, stable=True)]
    missed, labelled = t.flatten()[order], (t & known).sum()
    misses = missed.cumsum(0)
    false_alarms = torch.arange(1, len(order) + 1, device=errors.device) - misses
    union = (labelled + false_alarms - (~missed).long()).to(errors.dtype)
    weight = torch.where(missed, 1 / union, (labelled - misses) / (union * (union + 1)))
    # Where there is nothing to find, the first false alarm takes all of the IoU.
    weight = torch.where(union == 0, 1.0, weight)
    slope = errors.new_zeros(errors.numel())
    slope[order] = weight
    return slope.view(errors.shape)


def boundary(logits: Tensor, target: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Return 1 - soft Dice of the rims: of the ``RIM_PX`` pixels inside of the predicted and the labelled outlines.

    The rim of a score map ``p`` is ``p - min(p)`` over the pixels up to ``RIM_PX`` away, in rows and columns. An
    outline that lies off by ``RIM_PX`` or more counts as missed, half of that as half right. The edges of the chip
    and of what is known are no outlines. It says nothing of a building's inside: use it beside cross-entropy or dice.

    Source: Bokhovkin & Burnaev 2019, https://arxiv.org/abs/1905.07852, whose maps these are. They match rims of one
    pixel with a tolerance instead of wider rims (those are of Cheng et al. 2021, Boundary IoU,
    https://arxiv.org/abs/2103.16562): that prices a building at nothing whose inside and outside are confused, since
    both have the same outline. The distance-weighted loss of Kervadec et al. 2019, https://arxiv.org/abs/1812.07032,
    needs a distance map of each label from the CPU, and where buildings are sparse it is ruled by the far background:
    missing one 20 px wide, alone in a chip of 256 px, costs 0.03 % of what being wrong everywhere does. This one
    stays on the device, lies in [0, 1] and does not depend on how much background there is.
    Arguments and result are as in :func:`dice`.

    Example:
        >>> label = F.pad(torch.ones(1, 6, 6, dtype=torch.uint8), (5, 5, 5, 5))
        >>> logits = 20.0 * label[:, None] - 10.0
        >>> [round(boundary(torch.roll(logits, by, 3), label).item(), 2) for by in (0, 1, 3)]
        [0.0, 0.16, 0.49]
    """
    p, t, known = _maps(logits, target)
    predicted, labelled = _rim(p, known), _rim(t.to(p.dtype), known)
    overlap, total = (predicted * labelled).sum((0, 2, 3)), (predicted + labelled).sum((0, 2, 3))
    weights = checked(class_weights, logits)
    loss = 1 - (2 * overlap + DICE_SMOOTH) / (total + DICE_SMOOTH)
    return _average(loss, None if weights is None else weights[1:])


def _rim(p: Tensor, known: Tensor) -> Tensor:
    side = 2 * RIM_PX + 1
    outside = torch.where(known, -p, -1.0)  # unknown pixels count as inside: no outline is seen there
    outside = F.max_pool2d(outside, (side, 1), 1, (RIM_PX, 0))
    return (p + F.max_pool2d(outside, (1, side), 1, (0, RIM_PX))) * known


def _maps(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scores and truth of the classes but the background, ``(n, classes - 1, h, w)``, and what is known of them."""
    p = class_scores(logits)
    classes = torch.arange(1, p.shape[1] + 1, device=target.device, dtype=target.dtype)
    return p, target[:, None] == classes[:, None, None], (target != UNKNOWN)[:, None]


def _average(loss: Tensor, weights: Tensor | None) -> Tensor:
    return loss.mean() if weights is None else (loss * weights).sum() / divisor(weights)
