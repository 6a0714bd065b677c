"""What training minimises. Pixels that are unknown weigh nothing, whatever the loss."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from eaves.errors import EavesWarning, SettingsError
from eaves.labels import UNKNOWN
from eaves.models.network import scores

Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]

FOCAL_GAMMA = 2.0
DICE_SMOOTH = 1.0


def cross_entropy(logits: Tensor, target: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Return the mean cross-entropy of the known pixels, as torch weighs it: by the sum of the weights.

    Args:
        logits: ``(n, k, h, w)`` float; ``k`` is 1 for two classes (binary cross-entropy), else the number of classes.
        target: ``(n, h, w)`` uint8 or int64, a class or ``UNKNOWN`` (255).
        class_weights: ``(classes,)``, the background's first; None weighs all alike.

    Returns:
        A scalar >= 0; 0 with zero gradient where no pixel is known.

    Example:
        >>> cross_entropy(torch.zeros(1, 1, 2, 2), torch.ones(1, 2, 2, dtype=torch.uint8)).item()
        0.6931471824645996
    """
    log_p, weight = _known_pixels(logits, target, class_weights)
    return -(log_p * weight).sum() / _divisor(weight)


def focal(logits: Tensor, target: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Return the mean focal loss: cross-entropy times ``(1 - p) ** 2``, which lets easy pixels fade.

    Source: Lin et al. 2017, https://arxiv.org/abs/1708.02002, equation 5, gamma 2; ``class_weights`` are its alpha.
    Arguments and result are as in :func:`cross_entropy`.
    """
    log_p, weight = _known_pixels(logits, target, class_weights)
    return -((-torch.expm1(log_p)) ** FOCAL_GAMMA * log_p * weight).sum() / _divisor(weight)


def dice(logits: Tensor, target: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Return 1 - soft Dice, over the batch's known pixels, averaged over the classes but the background.

    For a class of scores ``p`` and truth ``t`` that is ``1 - (2 sum(p t) + 1) / (sum(p) + sum(t) + 1)``; the ones keep
    a class that is not there from dividing by zero.

    Source: Milletari et al. 2016, https://arxiv.org/abs/1606.04797, section 3, without squares.
    Arguments and result are as in :func:`cross_entropy`; the weights of the classes but the first weigh the average.
    """
    weights = _checked(class_weights, logits)
    known = (target != UNKNOWN)[:, None]
    p = scores(logits) * known  # (n, classes - 1, h, w)
    classes = torch.arange(1, p.shape[1] + 1, device=target.device, dtype=target.dtype)
    t = (target[:, None] == classes[:, None, None]).float()
    overlap, total = (p * t).sum((0, 2, 3)), (p + t).sum((0, 2, 3))
    loss = 1 - (2 * overlap + DICE_SMOOTH) / (total + DICE_SMOOTH)
    return loss.mean() if weights is None else (loss * weights[1:]).sum() / _divisor(weights[1:])


LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "dice": dice, "focal": focal}


def combined(terms: Mapping[str, float]) -> Callable[[Tensor, Tensor, Tensor | None], dict[str, Tensor]]:
    """Make one function of several losses.

    Args:
        terms: Name in ``LOSSES`` → weight > 0.

    Returns:
        A function of (logits, target, class_weights) that returns each term times its weight, by name: training
        minimises the sum of the values.

    Raises:
        SettingsError: A loss is unknown, a weight is not a number above 0, or there is no term.

    Example:
        >>> losses = combined({"cross_entropy": 1.0, "dice": 0.5})(logits, target, None)  # doctest: +SKIP
        >>> sum(losses.values()).backward()  # doctest: +SKIP
    """
    if unknown := sorted(set(terms) - set(LOSSES)):
        raise SettingsError(f"losses of {', '.join(LOSSES)}", repr(unknown[0]), "use one of them")
    if not terms or not all(0 < weight < float("inf") for weight in terms.values()):
        raise SettingsError("at least one loss, each with a weight above 0", repr(dict(terms)), "mend loss.terms")

    def evaluate(logits: Tensor, target: Tensor, class_weights: Tensor | None = None) -> dict[str, Tensor]:
        return {name: weight * LOSSES[name](logits, target, class_weights) for name, weight in terms.items()}

    return evaluate


def median_frequency_weights(
    pixels: Sequence[float] | np.ndarray, pixels_of_images: Sequence[float] | np.ndarray
) -> tuple[float, ...]:
    """Return weights that let rare classes count as much as common ones.

    ``freq(c) = pixels of c / pixels of the images that contain c``; ``weight(c) = median(freq) / freq(c)``.

    Source: Eigen & Fergus 2015, https://arxiv.org/abs/1411.4734, section 6.3.2.

    Args:
        pixels: Known pixels of each class, over all images.
        pixels_of_images: Known pixels of the images that contain the class, for each class.

    Returns:
        One weight a class. A class without pixels gets 0, with a warning, and does not enter the median.

    Raises:
        ValueError: Counts are negative, or a class has more pixels than its images, or no class has any.

    Example:
        >>> median_frequency_weights([900, 100], [1000, 500])
        (0.6111111111111112, 2.75)
    """
    count, total = np.asarray(pixels, np.float64), np.asarray(pixels_of_images, np.float64)
    if count.shape != total.shape or (count < 0).any() or (count > total).any() or not count.any():
        raise ValueError(f"expected counts with pixels <= pixels_of_images, got {pixels} and {pixels_of_images}")
    present = count > 0
    if not present.all():
        warnings.warn(
            f"{int((~present).sum())} of {len(present)} classes have no pixels and get weight 0: "
            f"{np.flatnonzero(~present).tolist()}",
            EavesWarning,
            stacklevel=2,
        )
    frequency = np.divide(count, total, where=present, out=np.zeros_like(count))
    weights = np.divide(np.median(frequency[present]), frequency, where=present, out=np.zeros_like(count))
    return tuple(weights.tolist())


def _known_pixels(logits: Tensor, target: Tensor, class_weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Log-probability of each pixel's own class ``(n, h, w)``, and the pixel's weight, 0 where it is unknown."""
    weights = _checked(class_weights, logits)
    logits = logits.float()
    known = target != UNKNOWN
    index = torch.where(known, target, 0).long()
    if logits.shape[1] == 1:
        log_p = F.logsigmoid(torch.where(index == 1, logits[:, 0], -logits[:, 0]))
    else:
        log_p = F.log_softmax(logits, dim=1).gather(1, index[:, None])[:, 0]
    return log_p, known.float() if weights is None else known * weights[index]


def _checked(class_weights: Tensor | None, logits: Tensor) -> Tensor | None:
    classes = max(2, logits.shape[1])
    if class_weights is not None and class_weights.shape != (classes,):
        raise ValueError(f"expected {classes} class weights, got shape {tuple(class_weights.shape)}")
    return None if class_weights is None else class_weights.to(logits.device, torch.float32)


def _divisor(weight: Tensor) -> Tensor:
    return weight.sum().clamp_min(torch.finfo(torch.float32).tiny)
