"""What training minimises: a weighted sum of losses, and the weights of the classes in them.

A loss is a function ``(logits, target, class_weights) -> scalar`` to which unknown pixels say nothing. Its keyword-only
arguments, where it has any, are the fields of :class:`eaves.settings.LossSettings` that it reads.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from eaves.errors import EavesWarning, SettingsError
from eaves.models.noisy_losses import noisy_cross_entropy
from eaves.models.pixel_losses import cross_entropy, focal
from eaves.models.region_losses import boundary, dice, lovasz, tversky
from eaves.settings import LossSettings

Loss = Callable[..., Tensor]
Losses = Callable[[Tensor, Tensor, Tensor | None], dict[str, Tensor]]

LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "focal": focal,
    "dice": dice,
    "tversky": tversky,
    "lovasz": lovasz,
    "boundary": boundary,
    "noisy_cross_entropy": noisy_cross_entropy,
}


def losses_of(settings: LossSettings) -> Losses:
    """Make the function that a recipe's ``[loss]`` describes, as :func:`combined` does.

    Raises:
        SettingsError: As :func:`combined`.

    Example:
        >>> losses = losses_of(LossSettings(terms={"cross_entropy": 1.0, "lovasz": 0.5}, label_smoothing=0.1))
        >>> sorted(losses(torch.zeros(1, 1, 2, 2), torch.ones(1, 2, 2, dtype=torch.uint8), None))
        ['cross_entropy', 'lovasz']
    """
    names = {name for loss in LOSSES.values() for name in _parameters(loss)}
    return combined(settings.terms, **{name: getattr(settings, name) for name in names})


def combined(terms: Mapping[str, float], **parameters: float) -> Losses:
    """Make one function of several losses.

    Args:
        terms: Name in ``LOSSES`` → weight > 0.
        **parameters: Keyword-only arguments of the losses, such as ``label_smoothing``; each goes to every term that
            has it. One that no term has must be at its default.

    Returns:
        A function of (logits, target, class_weights) that returns each term times its weight, by name: training
        minimises the sum of the values.

    Raises:
        SettingsError: A loss or parameter is unknown, a weight is not a number above 0, there is no term, a parameter
            is out of range, or one is set that changes nothing.

    Example:
        >>> losses = combined({"cross_entropy": 1.0, "dice": 0.5}, label_smoothing=0.1)
        >>> parts = losses(torch.zeros(1, 1, 2, 2), torch.ones(1, 2, 2, dtype=torch.uint8), None)
        >>> {name: round(part.item(), 4) for name, part in parts.items()}
        {'cross_entropy': 0.6931, 'dice': 0.1429}
    """
    if unknown := sorted(set(terms) - set(LOSSES)):
        raise SettingsError(f"losses of {', '.join(LOSSES)}", repr(unknown[0]), "use one of them")
    if not terms or not all(0 < weight < float("inf") for weight in terms.values()):
        raise SettingsError("at least one loss, each with a weight above 0", repr(dict(terms)), "mend loss.terms")
    _refuse_idle(terms, parameters)
    own = {name: {key: parameters[key] for key in _parameters(LOSSES[name]) if key in parameters} for name in terms}
    pixel = torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, dtype=torch.uint8), None
    for name in terms:
        try:
            LOSSES[name](*pixel, **own[name])  # rather now than at the first step
        except ValueError as error:
            raise SettingsError(f"parameters that {name} can use", str(error), "mend them in [loss]") from None

    def evaluate(logits: Tensor, target: Tensor, class_weights: Tensor | None = None) -> dict[str, Tensor]:
        return {
            name: weight * LOSSES[name](logits, target, class_weights, **own[name]) for name, weight in terms.items()
        }

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


def _parameters(loss: Loss) -> dict[str, float]:
    """Keyword-only arguments of a loss, and their defaults."""
    arguments = inspect.signature(loss).parameters.values()
    return {each.name: each.default for each in arguments if each.kind is each.KEYWORD_ONLY}


def _refuse_idle(terms: Mapping[str, float], parameters: Mapping[str, float]) -> None:
    """Refuse what would be read and change nothing."""
    for key, value in parameters.items():
        readers = {name: _parameters(loss)[key] for name, loss in LOSSES.items() if key in _parameters(loss)}
        if not readers:
            known = sorted({name for loss in LOSSES.values() for name in _parameters(loss)})
            raise SettingsError(f"parameters of {', '.join(known)}", repr(key), "use one of them")
        if value not in readers.values() and not readers.keys() & terms.keys():
            raise SettingsError(
                f"one of {', '.join(readers)} among loss.terms",
                f"{', '.join(terms)} with {key} = {value}",
                f"add the term, or leave {key} out",
                because=f"no other loss reads {key}",
            )
    if "noisy_cross_entropy" in terms:
        defaults = _parameters(noisy_cross_entropy)
        noise = {key for key in ("omission", "commission", "registration_px") if parameters.get(key)}
        block = "registration_block_px"
        if not noise:
            raise SettingsError(
                "omission, commission or registration_px above 0",
                "noisy_cross_entropy without any of them",
                "say in [loss] how noisy the labels are, or use cross_entropy",
            )
        if parameters.get(block, defaults[block]) != defaults[block] and "registration_px" not in noise:
            raise SettingsError(
                "registration_px above 0", f"{block} without it", "set registration_px, or leave it out"
            )
