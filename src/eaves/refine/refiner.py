"""What every refiner keeps to: an image and scores in, better scores out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np


class Refiner(Protocol):
    """Sharpens score maps to an image.

    Attributes:
        name: For the log and the provenance.
        halo_px: How far a pixel's result depends on its surroundings; a practical reach where it is all the image.
        iterations: Steps that a call takes.
    """

    name: str
    halo_px: int
    iterations: int

    def __call__(self, image: np.ndarray, scores: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Return better scores; the arguments stay as they are.

        Args:
            image: float32 ``(bands, h, w)`` in [0, 1], 0 where not valid.
            scores: float32 ``(classes, h, w)``: P(class) of all classes, the background first, which sum to one; 0
                where not valid.
            valid: bool ``(h, w)``: there is imagery, and a score. What is not valid lends nothing to its neighbours.

        Returns:
            As ``scores``.
        """
        ...

    def steps(self, image: np.ndarray, scores: np.ndarray, valid: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the scores before the first and after each step; the last are what a call returns."""
        ...
