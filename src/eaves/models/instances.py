"""What a network that finds objects one by one keeps to."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from eaves.labels import UNKNOWN
from eaves.models.network import Network
from eaves.models.soft_nms import Suppression


class Objects(NamedTuple):
    """What is to be found in an image, or what nobody may ask for.

    Attributes:
        boxes: float32 ``(k, 4)`` xyxy in pixels, from the outer corner of the first pixel.
        classes: int64 ``(k,)``, from 1 on.
        masks: bool ``(k, h, w)``.
        unknown: bool ``(h, w)``: nothing is known, so that what is found there is neither right nor wrong.
    """

    boxes: Tensor
    classes: Tensor
    masks: Tensor
    unknown: Tensor


class Detections(NamedTuple):
    """What was found in an image, the surest first.

    Attributes:
        boxes: float32 ``(k, 4)`` xyxy in pixels, from the outer corner of the first pixel.
        scores: float32 ``(k,)`` in [0, 1].
        classes: int64 ``(k,)``, from 1 on.
        masks: float32 ``(k, m, m)`` in [0, 1]: the chance that a part of the box belongs to the object, on a grid that
            divides the box into ``m x m`` equal cells.
        capped: There was more, which the network's cap on detections has cut off.
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor
    masks: Tensor
    capped: bool = False


class InstanceNetwork(Network):
    """Normalised image → objects.

    A new architecture states ``stride`` and ``halo_px`` and implements :meth:`losses` and :meth:`detect`; its options
    are the keyword-only arguments of its constructor.

    Attributes:
        terms: Names of the losses.
        needs_pretrained: It cannot be trained from a random start.
    """

    terms: tuple[str, ...]

    @property
    def needs_pretrained(self) -> bool:
        """See above."""
        return False

    @abstractmethod
    def losses(self, image: Tensor, objects: list[Objects]) -> dict[str, Tensor]:
        """Return each term of the loss, a scalar, by its name.

        Args:
            image: ``(n, input_channels, h, w)`` float, normalised.
            objects: Of each image; there may be none in it.
        """

    @abstractmethod
    def detect(self, image: Tensor, min_score: float = 0.05) -> list[Detections]:
        """Find objects.

        Args:
            image: ``(n, input_channels, h, w)`` float, normalised, of any size.
            min_score: Leave out what is less sure.
        """

    @abstractmethod
    def choose(self, nms: Suppression | None = None, detections_per_mpx: float | None = None) -> None:
        """Change how detections are chosen, which no weight depends on; none leaves what the recipe says.

        Args:
            nms: How overlapping detections are treated.
            detections_per_mpx: Cap on detections in a million pixels.

        Raises:
            SettingsError: A value is none that can be.
        """

    def pin(self, objects_per_mpx: float) -> dict[str, float]:
        """Set the caps that the data decide, and return them as options of the architecture.

        Args:
            objects_per_mpx: Of the densest chip, in a million pixels.
        """
        return {}

    def forward(self, image: Tensor, objects: list[Objects] | None = None) -> dict[str, Tensor] | list[Detections]:
        """Return losses where objects are given, else detections."""
        return self.detect(image) if objects is None else self.losses(image, objects)


def objects_of(mask: Tensor, numbers: Tensor, least_px: float = 2.0) -> Objects:
    """Take the objects of a chip apart.

    Args:
        mask: uint8 ``(h, w)``: class, or UNKNOWN.
        numbers: Integers ``(h, w)``: object, 0 for none; each of one class.
        least_px: Objects with a side below this are too small to learn from, and unknown.

    Example:
        >>> mask = torch.zeros(8, 8, dtype=torch.uint8)
        >>> mask[2:5, 1:7] = 1
        >>> objects_of(mask, mask.int()).boxes.tolist()
        [[1.0, 2.0, 7.0, 5.0]]
    """
    unknown = mask == UNKNOWN
    numbers = torch.where(unknown | (mask == 0), 0, numbers.long())
    ids = torch.unique(numbers)
    masks = numbers[None] == ids[ids > 0][:, None, None]  # (k, h, w)
    sides = [_reach(masks.any(dim=axis)) for axis in (1, 2)]  # of columns, of rows
    boxes = torch.stack([sides[0][0], sides[1][0], sides[0][1], sides[1][1]], dim=1).float()
    large = (boxes[:, 2:] - boxes[:, :2] >= least_px).all(dim=1)
    unknown = unknown | masks[~large].any(dim=0)
    masks, boxes = masks[large], boxes[large]
    # Of an object, any pixel tells the class.
    first = masks.flatten(1).int().argmax(dim=1) if len(masks) else torch.zeros(0, dtype=torch.long, device=mask.device)
    return Objects(boxes, mask.flatten()[first].long(), masks, unknown)


def _reach(occupied: Tensor) -> tuple[Tensor, Tensor]:
    """First place and the one behind the last that is occupied, of each row of ``(k, length)``."""
    length = occupied.shape[1]
    places = torch.arange(length, device=occupied.device)
    first = torch.where(occupied, places, length).amin(dim=1)
    return first, torch.where(occupied, places + 1, 0).amax(dim=1)
