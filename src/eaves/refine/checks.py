"""What all hand-made refiners ask of their options and of what they are called with."""

from __future__ import annotations

import numpy as np

from eaves.errors import SettingsError


def check_range(
    name: str, value: float, *, above: float | None = None, least: float | None = None, most: float = np.inf
) -> None:
    """Refuse an option that is out of its range, or not a finite number.

    Args:
        name: Of the option.
        value: Its value.
        above: It has to be greater than this.
        least: It has to be at least this.
        most: And at most this.

    Raises:
        SettingsError: It is not.

    Example:
        >>> check_range("kappa", 0.1, above=0)
    """
    right = np.isfinite(value) and value <= most
    right = right and (above is None or value > above) and (least is None or value >= least)
    if not right:
        bounds = [
            *([] if above is None else [f"above {above:g}"]),
            *([] if least is None else [f"at least {least:g}"]),
            *([] if most == np.inf else [f"at most {most:g}"]),
        ]
        raise SettingsError(f"{name} as a finite number {' and '.join(bounds)}", repr(value), "change it")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a word that is not among the choices.

    Raises:
        SettingsError: It is not.
    """
    if value not in choices:
        raise SettingsError(f"{name} as one of {', '.join(choices)}", repr(value), "change it")


def check_arrays(image: np.ndarray, scores: np.ndarray, valid: np.ndarray) -> None:
    """Refuse arrays that are not what :class:`eaves.refine.refiner.Refiner` takes.

    Raises:
        SettingsError: The shapes do not fit, ``valid`` is not bool, or the scores are of fewer than two classes.
    """
    grids = {array.shape[-2:] for array in (image, scores, valid)}
    if image.ndim != 3 or scores.ndim != 3 or valid.ndim != 2 or len(grids) != 1 or valid.dtype != np.bool_:
        raise SettingsError(
            "an image (bands, h, w), scores (classes, h, w) and a bool mask (h, w) on one grid",
            f"{image.shape}, {scores.shape} and {valid.dtype} {valid.shape}",
            "give all three of the same window",
        )
    if len(scores) < 2:
        raise SettingsError(
            "scores of all classes, which sum to one",
            f"{len(scores)} class",
            "put the background's, 1 - score, before it",
        )
