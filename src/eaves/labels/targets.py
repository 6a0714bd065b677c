"""What a network learns to draw: classes, a border class, or the signed distance to the outline."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from eaves.errors import SettingsError
from eaves.labels.classes import UNKNOWN
from eaves.labels.objects import number_objects
from eaves.settings import TargetSettings

OUTSIDE, INSIDE, BORDER = range(3)


class Target(NamedTuple):
    """A way to draw labels, on a grid of one resolution.

    Attributes:
        kind: ``classes``, ``border``, ``distance`` or ``instances``.
        names: What the network tells apart: one name a channel of its softmax.
        border_px: Width of the rim inside a building.
        ignore_px: Width of the band on either side of the rim that is UNKNOWN.
        clip_px: Largest distance.
    """

    kind: str
    names: tuple[str, ...]
    border_px: float = 0.0
    ignore_px: float = 0.0
    clip_px: float = 0.0

    @classmethod
    def of(cls, settings: TargetSettings, classes: tuple[str, ...], gsd_m: float | None) -> Target:
        """Bring a recipe's target to a grid.

        Args:
            settings: The recipe's.
            classes: Of the dataset, the background first.
            gsd_m: Ground size of a pixel; none takes the settings' metres as pixels.

        Raises:
            SettingsError: The dataset has more classes than the target can draw.

        Example:
            >>> Target.of(TargetSettings(kind="border", border_m=0.6), ("background", "building"), 0.3).border_px
            2.0
        """
        if settings.kind in ("classes", "instances"):
            return cls(settings.kind, classes)
        if len(classes) != 2:
            raise SettingsError(
                f"a dataset of two classes for target.kind = {settings.kind!r}",
                f"{len(classes)}: {', '.join(classes)}",
                "leave all but one class out of [classes] and the labels, or set target.kind = 'classes'",
            )
        size = gsd_m or 1.0
        if settings.kind == "border":
            names = (classes[0], classes[1], "border")
            return cls("border", names, settings.border_m / size, settings.ignore_m / size)
        step = 2 * settings.clip_m / settings.n_bins
        names = tuple(f"{-settings.clip_m + step * index:g}" for index in range(settings.n_bins))
        return cls("distance", names, clip_px=settings.clip_m / size)

    def draw(self, mask: np.ndarray, instances: np.ndarray | None = None) -> np.ndarray:
        """Draw a chip's labels.

        Args:
            mask: uint8 ``(h, w)`` class index, or UNKNOWN.
            instances: ``(h, w)`` integers that tell buildings apart, 0 for none. Where none are given, buildings are
                the connected regions of the mask, so that touching ones count as one.

        Returns:
            uint8 ``(h, w)``: index into ``names``, or UNKNOWN. Near an edge of what is known, where an outline just
            beyond it could change the answer, that is UNKNOWN too. For ``instances``, int32 numbers of the objects.

        Example:
            >>> mask = np.zeros((5, 7), np.uint8)
            >>> mask[1:4, 1:6] = 1
            >>> Target("border", ("out", "in", "border"), border_px=1.0).draw(mask)[2].tolist()
            [0, 2, 1, 1, 1, 2, 0]
        """
        if self.kind == "classes":
            return mask
        if self.kind == "instances":
            return number_objects(mask, instances).astype(np.int32)
        distance, sure = signed_distance(mask, instances)
        unknown = mask == UNKNOWN
        # The nearest outline is ``distance`` away, or nearer, but no nearer than this.
        least = np.minimum(np.abs(distance), sure)
        if self.kind == "border":
            drawn = np.where(mask == 1, np.where(distance < self.border_px, BORDER, INSIDE), OUTSIDE).astype(np.uint8)
            # The rim begins at the outline and ends ``border_px`` inside; labels are off by ``ignore_px``.
            unknown |= (mask != 1) & (least < self.ignore_px)
            unknown |= (distance >= self.border_px) & (least < self.border_px + self.ignore_px)
        else:
            drawn = self._step(distance)
            unknown |= drawn != self._step(np.where(mask == 1, least, -least))
        drawn[unknown] = UNKNOWN
        return drawn

    def _step(self, distance: np.ndarray) -> np.ndarray:
        """Index of the step that holds a distance, uint8; rounding never carries it over the outline."""
        half = len(self.names) // 2
        level = np.floor(distance / self.clip_px * half).astype(np.int64)
        return (np.where(distance > 0, level.clip(0, half - 1), level.clip(-half, -1)) + half).astype(np.uint8)


def signed_distance(mask: np.ndarray, instances: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Measure how far each pixel's centre is from the nearest outline of a building.

    Between touching buildings runs an outline. Outlines run along pixel edges, so that the smallest distance is half a
    pixel; distances are exact. Where no outline is in sight, the distance is larger than the chip.

    Args:
        mask: uint8 ``(h, w)``: 1 is building, UNKNOWN hides outlines.
        instances: Tells buildings apart, as :meth:`Target.draw`.

    Returns:
        float32 ``(h, w)`` in pixels, positive inside buildings, negative elsewhere; and how far each pixel is from
        what is not known (or not in the chip), where an outline may hide.

    Example:
        >>> distance, _ = signed_distance(np.array([[0, 0, 1, 1]], np.uint8))
        >>> distance.tolist()
        [[-1.5, -0.5, 0.5, 1.5]]
    """
    ids = number_buildings(mask, instances)
    known = mask != UNKNOWN
    rows, cols = mask.shape
    below = (ids[1:] != ids[:-1]) & known[1:] & known[:-1]
    right = (ids[:, 1:] != ids[:, :-1]) & known[:, 1:] & known[:, :-1]
    # Of a pixel's edge, either an end or the middle is nearest to a pixel's centre: all three lie on half pixels.
    outline = np.zeros((2 * rows + 1, 2 * cols + 1), bool)
    for part in range(3):
        outline[2:-2:2, part : part + 2 * cols - 1 : 2] |= below
        outline[part : part + 2 * rows - 1 : 2, 2:-2:2] |= right
    distance = _distance_to(outline)
    row, col = np.arange(rows), np.arange(cols)
    sure = np.minimum.outer(np.minimum(row, row[::-1]), np.minimum(col, col[::-1])) + 0.5  # to the chip's edge
    if not known.all():
        hidden = np.zeros(outline.shape, np.uint8)
        hidden[1::2, 1::2] = ~known
        sure = np.minimum(sure, _distance_to(cv2.dilate(hidden, np.ones((3, 3), np.uint8)) > 0))
    return np.where(mask == 1, distance, -distance), sure.astype(np.float32)


def _distance_to(half_pixels: np.ndarray) -> np.ndarray:
    """Distance in pixels from each pixel's centre to what is true on the grid of half pixels, float32."""
    if not half_pixels.any():
        return np.full((half_pixels.shape[0] // 2, half_pixels.shape[1] // 2), sum(half_pixels.shape), np.float32)
    far = cv2.distanceTransform((~half_pixels).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return far[1::2, 1::2] / 2


def number_buildings(mask: np.ndarray, instances: np.ndarray | None = None) -> np.ndarray:
    """Number the buildings of a mask: int32 ``(h, w)``, 0 where there is none (nor known).

    Pixels of buildings that ``instances`` does not number are numbered by connected regions.
    """
    building = mask == 1
    if instances is None:
        return cv2.connectedComponents(building.astype(np.uint8), connectivity=8)[1]
    ids = np.where(building, instances, 0).astype(np.int32)
    rest = building & (ids == 0)
    if rest.any():
        more = cv2.connectedComponents(rest.astype(np.uint8), connectivity=8)[1]
        ids[rest] = more[rest] + ids.max()
    return ids
