"""How far labels lie off the image: the shift that brings label edges onto image edges.

Edges are compared by direction, not only by strength: a gradient as a complex number, squared, is the same for a
light roof on dark ground and a dark roof on light ground, and differs for edges that cross (the double-angle
representation; G. Granlund, H. Knutsson, "Signal Processing for Computer Vision", 1995, section 6.2). The correlation
over all shifts is one product of Fourier transforms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np

_SURROUND_PX = 8.0
_STRONGEST = 3.0  # an edge counts up to three times the average around it
_MARGIN_PX = 5  # the gradient's reach: edges of the valid area are not edges of things
_LEAST_EDGE = 60.0  # pixels of label edge below which nothing can be told
CONFIDENT = 5.0  # labels mirrored on purpose reach 2.8 in the middle and 5 at most; good ones about 10


class Offset(NamedTuple):
    """A shift that labels need.

    Attributes:
        dx_px: To the right.
        dy_px: Down.
        confidence: Height of the correlation's peak in robust standard deviations above its median. By chance up to
            5; 0 where nothing could be told.
    """

    dx_px: float
    dy_px: float
    confidence: float


@dataclass(frozen=True)
class Evidence:
    """How well label edges lie on image edges after every shift. The evidence of several areas adds up.

    Attributes:
        match: float32 ``(2 m + 1, 2 m + 1)``: sum over label edges of their likeness to what they lie on, by shift;
            the middle is no shift, rows are shifts down.
        length: The same shape: pixels of label edge that lie on valid imagery.
        moment: Sums of row and column over label edges; with ``edge`` it tells where they are in the middle.
        edge: Pixels of label edge.

    Example:
        >>> image = np.zeros((1, 96, 96)); image[:, 30:60, 30:70] = 1
        >>> labels = np.zeros((96, 96), bool); labels[34:64, 27:67] = True
        >>> some = Evidence.gather(image, np.ones((96, 96), bool), labels, 20)
        >>> both = some + some
        >>> both.offset().dx_px == some.offset().dx_px, both.edge == 2 * some.edge
        (True, True)
    """

    match: np.ndarray
    length: np.ndarray
    moment: np.ndarray
    edge: float

    @classmethod
    def gather(
        cls,
        image: np.ndarray,
        valid: np.ndarray,
        labels: np.ndarray,
        max_px: int,
        *,
        core: tuple[slice, slice] = (slice(None), slice(None)),
        origin: tuple[int, int] = (0, 0),
    ) -> Evidence:
        """Correlate the edges of labels and image.

        Args:
            image: ``(c, h, w)`` of any real type.
            valid: bool ``(h, w)``: there is imagery.
            labels: ``(h, w)``; what is not 0 is labelled.
            max_px: Largest shift, along either axis.
            core: Rows and columns whose label edges count. With ``max_px`` of image around it nothing is lost.
            origin: Row and column of the first pixel, for ``moment``.
        """
        seen, inside = _image_edges(image, valid)
        drawn = np.zeros(labels.shape, np.complex64)
        drawn[core] = _label_edges(labels)[core]
        edge = np.abs(drawn)
        middle = [
            float((edge.sum(axis=1 - axis) * (origin[axis] + np.arange(edge.shape[axis]))).sum()) for axis in (0, 1)
        ]
        return cls(
            _correlate(seen, drawn, max_px),
            _correlate(inside.astype(np.complex64), edge.astype(np.complex64), max_px),
            np.array(middle),
            float(edge.sum()),
        )

    def __add__(self, other: Evidence) -> Evidence:
        return Evidence(
            self.match + other.match, self.length + other.length, self.moment + other.moment, self.edge + other.edge
        )

    @property
    def middle(self) -> np.ndarray:
        """Mean row and column of the label edges."""
        return self.moment / max(self.edge, 1e-6)

    def offset(self) -> Offset:
        """Return the shift that matches best."""
        max_px = len(self.match) // 2
        if self.length[max_px, max_px] < _LEAST_EDGE:
            return Offset(0.0, 0.0, 0.0)
        # Shifts that move most labels out of the valid area are judged on too little.
        enough = self.length > 0.5 * self.length.max()
        match = np.where(enough, self.match / np.maximum(self.length, 1e-6), 0.0)
        row, col = np.unravel_index(int(match.argmax()), match.shape)
        if not (0 < row < 2 * max_px and 0 < col < 2 * max_px):
            return Offset(0.0, 0.0, 0.0)  # the best shift lies beyond the largest
        middle = np.median(match)
        spread = 1.4826 * np.median(np.abs(match - middle))
        return Offset(
            float(col - max_px + _summit(match[row, col - 1 : col + 2])),
            float(row - max_px + _summit(match[row - 1 : row + 2, col])),
            float((match[row, col] - middle) / max(spread, 1e-9)),
        )


def estimate_offset(image: np.ndarray, valid: np.ndarray, labels: np.ndarray, max_px: int = 20) -> Offset:
    """Estimate the shift of labels that brings their edges onto edges of the image.

    Works best at 0.2 … 0.5 m a pixel on areas of 200 px and more, where roofs have many edges.

    Args:
        image: ``(c, h, w)`` of any real type.
        valid: bool ``(h, w)``: there is imagery, and labels are complete.
        labels: ``(h, w)``; what is not 0 is labelled.
        max_px: Largest shift looked for, along either axis.

    Returns:
        The shift that the labels need, in pixels with fractions.

    Example:
        >>> image = np.zeros((1, 96, 96)); image[:, 30:60, 30:70] = 1
        >>> labels = np.zeros((96, 96), bool); labels[34:64, 27:67] = True
        >>> [round(shift) for shift in estimate_offset(image, np.ones((96, 96), bool), labels)[:2]]
        [3, -4]
    """
    return Evidence.gather(image, valid, labels, max_px).offset()


def block_offsets(
    image: np.ndarray, valid: np.ndarray, labels: np.ndarray, max_px: int = 20, block_px: int = 256
) -> list[Offset]:
    """Estimate the shift block by block, leaving out blocks where nothing can be told.

    Args:
        image: As :func:`estimate_offset`.
        valid: As there.
        labels: As there.
        max_px: As there.
        block_px: Side of a block, about: blocks are made to fit.
    """
    found = []
    for rows in fitting_blocks(labels.shape[0], block_px):
        for cols in fitting_blocks(labels.shape[1], block_px):
            offset = estimate_offset(image[:, rows, cols], valid[rows, cols], labels[rows, cols], max_px)
            if offset.confidence:
                found.append(offset)
    return found


def summarize_offsets(offsets: Sequence[Offset]) -> Offset | None:
    """Return the median of the confident offsets, or none where no one is confident (above 5).

    Example:
        >>> summarize_offsets([Offset(1.0, 2.0, 9.0), Offset(-9.0, 4.0, 2.0)])
        Offset(dx_px=1.0, dy_px=2.0, confidence=9.0)
    """
    confident = np.array([offset for offset in offsets if offset.confidence > CONFIDENT])
    if not len(confident):
        return None
    return Offset(*(float(value) for value in np.median(confident, axis=0)))


def _image_edges(image: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared complex gradients, evened out against their surroundings; and where they can be trusted."""
    squared = np.zeros(valid.shape, np.complex64)
    for band in image:
        squared += _gradient(band.astype(np.float32)) ** 2
    size = 2 * _MARGIN_PX + 1
    # Beyond the array is no imagery either.
    inside = cv2.erode(valid.astype(np.uint8), np.ones((size, size), np.uint8), borderValue=(0,)).astype(np.float32)
    strength = np.sqrt(np.abs(squared)) * inside
    around = _smooth(strength, _SURROUND_PX) / np.maximum(_smooth(inside, _SURROUND_PX), 1e-3)
    around = np.maximum(around, 1e-3 * strength.max() + 1e-9)  # rounding in a flat area is no edge
    weight = np.minimum(strength / around, _STRONGEST)
    return (weight * squared / np.maximum(np.abs(squared), 1e-12)).astype(np.complex64), inside


def _label_edges(labels: np.ndarray) -> np.ndarray:
    gradient = _gradient((labels != 0).astype(np.float32)) / 4  # a straight edge then sums to 1 across
    return gradient**2 / np.maximum(np.abs(gradient), 1e-6)


def _gradient(plane: np.ndarray) -> np.ndarray:
    smooth = _smooth(plane, 1.0)
    return cv2.Sobel(smooth, cv2.CV_32F, 1, 0) + 1j * cv2.Sobel(smooth, cv2.CV_32F, 0, 1)


def _smooth(plane: np.ndarray, sigma_px: float) -> np.ndarray:
    return cv2.GaussianBlur(plane, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE)


def _correlate(fixed: np.ndarray, moving: np.ndarray, max_px: int) -> np.ndarray:
    """Real part of ``sum fixed(x + s) * conj(moving(x))`` for every shift ``s``, ``(2 max + 1, 2 max + 1)``."""
    shape = [cv2.getOptimalDFTSize(size + max_px) for size in fixed.shape]
    product = np.fft.fft2(fixed, shape, (0, 1)) * np.conj(np.fft.fft2(moving, shape, (0, 1)))
    surface = np.roll(np.fft.ifft2(product).real, (max_px, max_px), (0, 1))
    return surface[: 2 * max_px + 1, : 2 * max_px + 1]


def _summit(three: np.ndarray) -> float:
    """Where a parabola through three values has its top, in (-0.5, 0.5) about the middle one."""
    left, middle, right = (float(value) for value in three)
    bend = left - 2 * middle + right
    return 0.0 if bend >= 0 else float(np.clip((left - right) / (2 * bend), -0.5, 0.5))


def fitting_blocks(size: int, block_px: int) -> list[slice]:
    """Cut an axis into equal blocks of about this size.

    Example:
        >>> fitting_blocks(100, 30)
        [slice(0, 33, None), slice(33, 66, None), slice(66, 100, None)]
    """
    count = max(1, round(size / block_px))
    edges = np.linspace(0, size, count + 1).astype(int)
    return [slice(int(start), int(stop)) for start, stop in pairwise(edges)]
