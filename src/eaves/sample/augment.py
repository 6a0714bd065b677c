"""Vary a chip: image, mask, valid pixels and boxes move together; colours change in the image alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from eaves.labels import UNKNOWN
from eaves.settings import AugmentSettings


class Augmented(NamedTuple):
    """A varied chip.

    Attributes:
        image: float32 ``(c, h, w)`` in [0, 1], 0 where not valid.
        mask: uint8 ``(h, w)``, UNKNOWN where not valid.
        valid: bool ``(h, w)``.
        instances: uint16 ``(h, w)``, 0 where not valid; or none.
        boxes: float32 ``(n, 4)`` xyxy, or none.
        kept: bool ``(n,)``: the box still shows in the chip; or none.
    """

    image: np.ndarray
    mask: np.ndarray
    valid: np.ndarray
    instances: np.ndarray | None
    boxes: np.ndarray | None
    kept: np.ndarray | None


def augment(
    image: np.ndarray,
    mask: np.ndarray,
    valid: np.ndarray,
    settings: AugmentSettings,
    rng: np.random.Generator,
    boxes: np.ndarray | None = None,
    instances: np.ndarray | None = None,
    colors: int | None = None,
) -> Augmented:
    """Vary a chip at random; the arguments stay as they are.

    Mirroring and right angles move pixels exactly. Any other rotation and the zoom are one interpolation, about the
    middle of the chip: image bilinear, mask and valid nearest; what comes from outside is not valid.

    Args:
        image: float32 ``(c, h, w)`` in [0, 1].
        mask: uint8 ``(h, w)``.
        valid: bool ``(h, w)``.
        settings: What to do, and how much.
        rng: Source of chance.
        boxes: xyxy in pixels, ``(n, 4)``; become the boxes around their moved corners, clipped to the chip.
        instances: uint16 ``(h, w)``; moved as the mask.
        colors: How many of the bands are colours; the others move with them and keep their values. By default all.

    Example:
        >>> chip = np.zeros((3, 8, 8), np.float32), np.zeros((8, 8), np.uint8), np.ones((8, 8), bool)
        >>> augment(*chip, AugmentSettings(rotate_deg=30), np.random.default_rng(0)).image.shape
        (3, 8, 8)
    """
    move = np.eye(3)
    image, planes, move = _turn(image, [mask, valid, instances], move, settings, rng)
    image, (mask, valid, instances), move = _warp(image, planes, move, settings, rng)
    _recolor(image[:colors], valid, settings, rng)
    image *= valid
    mask = np.where(valid, mask, np.uint8(UNKNOWN))
    if instances is not None:
        instances = np.where(valid, instances, np.uint16(0))
    moved = (None, None) if boxes is None else _move_boxes(boxes, move, mask.shape)
    return Augmented(image, mask, np.ascontiguousarray(valid), instances, *moved)


# --- geometry ---------------------------------------------------------------------------------------------------------

_Planes = Sequence[Any]  # mask, valid, instances; each (h, w), or none
_Moved = tuple[np.ndarray, _Planes, np.ndarray]


def _turn(
    image: np.ndarray, planes: _Planes, move: np.ndarray, settings: AugmentSettings, rng: np.random.Generator
) -> _Moved:
    """Mirror and turn by right angles; ``move`` takes pixel coordinates (x, y, 1) along."""
    height, width = image.shape[1:]
    arrays: list[Any] = [image, *planes]
    if settings.flip and rng.random() < 0.5:
        arrays = [None if array is None else array[..., ::-1] for array in arrays]
        move = np.array([[-1, 0, width], [0, 1, 0], [0, 0, 1]]) @ move
    if settings.flip and rng.random() < 0.5:
        arrays = [None if array is None else array[..., ::-1, :] for array in arrays]
        move = np.array([[1, 0, 0], [0, -1, height], [0, 0, 1]]) @ move
    # A chip that is not square keeps its shape, so it turns by half circles only.
    turns = int(rng.integers(4)) if settings.rotate90 else 0
    turns = turns if height == width else turns // 2 * 2
    for _ in range(turns):
        arrays = [None if array is None else np.rot90(array, axes=(-2, -1)) for array in arrays]
        move = np.array([[0, 1, 0], [-1, 0, width], [0, 0, 1]]) @ move
        height, width = width, height
    return arrays[0], arrays[1:], move


def _warp(
    image: np.ndarray, planes: _Planes, move: np.ndarray, settings: AugmentSettings, rng: np.random.Generator
) -> _Moved:
    """Rotate by any angle and zoom about the middle."""
    if not (settings.rotate_deg or settings.scale):
        return np.array(image, np.float32, order="C"), planes, move
    angle = math.radians(rng.uniform(-settings.rotate_deg, settings.rotate_deg))
    zoom = rng.uniform(1 - settings.scale, 1 + settings.scale)
    height, width = image.shape[1:]
    cos, sin = zoom * math.cos(angle), zoom * math.sin(angle)
    middle = np.array([width / 2, height / 2])
    turn = np.array([[cos, -sin], [sin, cos]])
    corner = np.vstack([np.column_stack([turn, middle - turn @ middle]), [0, 0, 1]])
    # cv2 counts from pixel centres, everything here from corners.
    center = np.column_stack([turn, (middle - 0.5) - turn @ (middle - 0.5)])
    size = (width, height)
    warped = np.empty(image.shape, np.float32)
    for band, plane in enumerate(image):
        warped[band] = cv2.warpAffine(
            np.ascontiguousarray(plane), center, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
    mask, valid, instances = planes
    mask = _warp_nearest(np.ascontiguousarray(mask), center, size, UNKNOWN)
    valid = _warp_nearest(np.ascontiguousarray(valid).view(np.uint8), center, size, 0) > 0
    if instances is not None:
        instances = _warp_nearest(np.ascontiguousarray(instances), center, size, 0)
    return warped, (mask, valid, instances), corner @ move


def _warp_nearest(plane: np.ndarray, matrix: np.ndarray, size: tuple[int, int], outside: int) -> np.ndarray:
    return cv2.warpAffine(
        plane, matrix, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=(outside,)
    )


def _move_boxes(boxes: np.ndarray, move: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    corners = np.asarray(boxes, np.float64).reshape(-1, 4)[:, [[0, 1], [2, 1], [2, 3], [0, 3]]]  # (n, 4, xy)
    corners = corners @ move[:2, :2].T + move[:2, 2]
    limits = np.array([shape[1], shape[0]], np.float64)
    low, high = np.clip(corners.min(axis=1), 0, limits), np.clip(corners.max(axis=1), 0, limits)
    return np.concatenate([low, high], axis=1).astype(np.float32), (high > low).all(axis=1)


# --- colour -----------------------------------------------------------------------------------------------------------


def _recolor(image: np.ndarray, valid: np.ndarray, settings: AugmentSettings, rng: np.random.Generator) -> None:
    """Change colours in place; each change happens with its own chance."""

    def happens(amount: float) -> bool:
        return amount > 0 and rng.random() < settings.probability

    changed = False
    if happens(settings.gamma):
        changed, power = True, (1 + settings.gamma) ** rng.uniform(-1, 1)
        for plane in image:
            cv2.pow(plane, power, dst=plane)
    if happens(settings.contrast):
        changed, factor = True, rng.uniform(1 - settings.contrast, 1 + settings.contrast)
        mean = float((image * valid).sum() / max(1, valid.sum() * len(image)))
        image *= np.float32(factor)
        image += np.float32(mean * (1 - factor))
    if happens(settings.brightness):
        changed = True
        image += np.float32(rng.uniform(-settings.brightness, settings.brightness))
    if happens(settings.saturation) and len(image) > 1:
        changed, factor = True, rng.uniform(1 - settings.saturation, 1 + settings.saturation)
        gray = image.mean(axis=0)
        image *= np.float32(factor)
        image += np.float32(1 - factor) * gray
    if happens(settings.hue):
        changed = True
        image *= rng.uniform(1 - settings.hue, 1 + settings.hue, len(image)).astype(np.float32)[:, None, None]
    if happens(settings.smooth) and (sigma := rng.uniform(0, settings.smooth)) > 0.05:
        for plane in image:
            cv2.GaussianBlur(plane, (0, 0), sigma, dst=plane, borderType=cv2.BORDER_REPLICATE)
    if happens(settings.noise):
        changed, sigma = True, rng.uniform(0, settings.noise)
        cv2.setRNGSeed(int(rng.integers(2**31)))  # OpenCV's generator is four times faster than NumPy's
        noise = np.empty(image.shape[1:], np.float32)
        for plane in image:
            plane += cv2.randn(noise, np.zeros(1), np.full(1, sigma))
    if changed:
        np.clip(image, 0, 1, out=image)
