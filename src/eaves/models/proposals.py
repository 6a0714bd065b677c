"""torchvision's region proposals and heads, with caps that grow with the image, unknown areas, and Soft-NMS.

Boxes here are in torchvision's pixels, whose centres lie at whole numbers: half a pixel less than elsewhere in Eaves.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import clip_boxes_to_image, remove_small_boxes

from eaves.models.soft_nms import Suppression, suppress

CELL_PX = 128  # tiles begin at multiples of it, so that cells are the same in all of them
_MOSTLY = 0.5  # share of a box that is unknown, from which nobody can call it background


class Suppressor(NamedTuple):
    """How boxes that overlap are treated; see :func:`eaves.models.soft_nms.suppress`."""

    method: Suppression
    iou: float
    sigma: float
    soft_iou: float
    min_score: float

    def __call__(self, boxes: Tensor, scores: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
        """Return what remains, and its scores."""
        return suppress(boxes, scores, groups, **self._asdict())


class Proposals(RegionProposalNetwork):
    """Where objects may be.

    Args:
        suppressor: Chooses among overlapping proposals of one level.
        **settings: As torchvision's.

    Attributes:
        cap: Proposals of an image, of all levels together, and of each before overlaps are settled; outside training,
            so many of its area as a cell has.
    """

    def __init__(self, *args: Any, suppressor: Suppressor, **settings: Any) -> None:
        super().__init__(*args, pre_nms_top_n={}, post_nms_top_n={}, **settings)
        self.suppressor = suppressor
        self.cap = 1000

    def filter_proposals(
        self,
        proposals: Tensor,
        objectness: Tensor,
        image_shapes: list[tuple[int, int]],
        num_anchors_per_level: list[int],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Choose among overlapping proposals; as torchvision's, but for the places that it chooses from.

        In training the best of the whole image go on, else the best of each cell: what is proposed somewhere then
        depends on what lies there, not on how dense the rest of the image is, or where the image ends.
        """
        objectness = objectness.detach().reshape(len(proposals), -1)
        numbers = torch.tensor(num_anchors_per_level, device=objectness.device)
        levels = torch.repeat_interleave(torch.arange(len(numbers), device=objectness.device), numbers)
        chosen: list[tuple[Tensor, Tensor]] = []
        for image, shape in enumerate(image_shapes):
            boxes, scores, level = proposals[image], objectness[image].float().sigmoid(), levels
            cells = self._cells(boxes, shape)
            first = _best(scores, level * (cells.max() + 1) + cells, self._share(shape))
            boxes, scores, level, cells = boxes[first], scores[first], level[first], cells[first]
            boxes = clip_boxes_to_image(boxes, shape)
            large = remove_small_boxes(boxes, self.min_size)
            boxes, scores, level, cells = boxes[large], scores[large], level[large], cells[large]
            keep, scores = self.suppressor(boxes, scores, level)
            last = _best(scores, cells[keep], self._share(shape))
            chosen.append((boxes[keep[last]], scores[last]))
        return [boxes for boxes, _ in chosen], [scores for _, scores in chosen]

    def _share(self, shape: tuple[int, int]) -> int:
        """Proposals that a cell may have; in training that of the image, which is one cell."""
        return self.cap if self.training else max(1, math.ceil(self.cap * CELL_PX**2 / (shape[0] * shape[1])))

    def _cells(self, boxes: Tensor, shape: tuple[int, int]) -> Tensor:
        """The cell that the middle of each box lies in, int64 ``(k,)``."""
        if self.training:
            return torch.zeros(len(boxes), dtype=torch.long, device=boxes.device)
        x, y = ((boxes[:, side] + boxes[:, side + 2]) / 2 for side in (0, 1))
        col, row = (x.clamp(0, shape[1] - 1) // CELL_PX).long(), (y.clamp(0, shape[0] - 1) // CELL_PX).long()
        return row * (shape[1] // CELL_PX + 1) + col

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: list[dict[str, Tensor]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Leave anchors out that lie where nothing is known."""
        labels, boxes = super().assign_targets_to_anchors(anchors, targets)
        for label, anchor, target in zip(labels, anchors, targets, strict=True):
            label[(label == 0) & _hidden(anchor, target["unknown"])] = -1.0
        return labels, boxes

    def compute_loss(
        self, objectness: Tensor, pred_bbox_deltas: Tensor, labels: list[Tensor], regression_targets: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return the losses; 0 where nothing at all is known."""
        losses = super().compute_loss(objectness, pred_bbox_deltas, labels, regression_targets)
        return losses if any((label >= 0).any() for label in labels) else (nothing(losses[0]), nothing(losses[1]))


class Heads(RoIHeads):
    """Class, box and mask of each proposal.

    Args:
        suppressor: Chooses among overlapping detections of one class.
        **settings: As torchvision's.

    Attributes:
        cap: Detections of an image.
        capped: Of each of the last images: the cap has cut off detections.
        sampled: Regions that the last losses are of.
    """

    def __init__(self, *args: Any, suppressor: Suppressor, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.suppressor = suppressor
        self.cap = 100
        self.capped: list[bool] = []
        self.sampled = 0
        self._unknown: list[Tensor] = []

    def select_training_samples(self, proposals: Any, targets: Any) -> Any:
        """Remember what is unknown while proposals get their labels."""
        self._unknown = [target["unknown"] for target in targets]
        try:
            return super().select_training_samples(proposals, targets)
        finally:
            self._unknown = []

    def assign_targets_to_proposals(self, proposals: Any, gt_boxes: Any, gt_labels: Any) -> Any:
        """Leave proposals out that lie where nothing is known."""
        matched, labels = super().assign_targets_to_proposals(proposals, gt_boxes, gt_labels)
        for label, boxes, unknown in zip(labels, proposals, self._unknown, strict=True):
            label[(label == 0) & _hidden(boxes, unknown)] = -1
        return matched, labels

    def subsample(self, labels: list[Tensor]) -> list[Tensor]:
        """Draw regions to learn from, and count them."""
        drawn = super().subsample(labels)
        self.sampled = sum(map(len, drawn))
        return drawn

    def postprocess_detections(
        self, class_logits: Tensor, box_regression: Tensor, proposals: Any, image_shapes: Any
    ) -> Any:
        """Choose among overlapping detections; as torchvision's, but for the way in which it chooses."""
        sizes = [len(boxes) for boxes in proposals]
        every = self.box_coder.decode(box_regression.float(), proposals).split(sizes)  # (k, classes, 4) of each image
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        self.capped = []
        for boxes, scores, shape in zip(
            every, class_logits.float().softmax(-1).split(sizes), image_shapes, strict=True
        ):
            labels = torch.arange(scores.shape[1], device=scores.device).expand_as(scores)[:, 1:].reshape(-1)
            # The image ends half a pixel beyond the centres of its outermost pixels, which count from 0 here.
            boxes = (clip_boxes_to_image(boxes + 0.5, shape) - 0.5)[:, 1:].reshape(-1, 4)
            scores = scores[:, 1:].reshape(-1)
            wanted = scores > self.score_thresh
            wanted &= (boxes[:, 2:] - boxes[:, :2] >= 0.01).all(dim=1)
            boxes, scores, labels = boxes[wanted], scores[wanted], labels[wanted]
            keep, scores = self.suppressor(boxes, scores, labels)
            left = scores >= self.score_thresh  # soft suppression lowers scores
            keep, scores = keep[left], scores[left]
            self.capped.append(len(keep) > self.cap)
            keep = keep[: self.cap]
            found.append((boxes[keep], scores[: self.cap], labels[keep]))
        return tuple([each[part] for each in found] for part in range(3))


def _best(scores: Tensor, groups: Tensor, count: int) -> Tensor:
    """Indices of the best ``count`` of each group, the best first, int64."""
    order = scores.argsort(descending=True, stable=True)
    by_group = order[groups[order].argsort(stable=True)]
    _, sizes = groups[by_group].unique_consecutive(return_counts=True)
    starts = torch.repeat_interleave(sizes.cumsum(0) - sizes, sizes)
    place = torch.arange(len(scores), device=scores.device) - starts
    best = by_group[place < count]
    return best[scores[best].argsort(descending=True, stable=True)]


def nothing(loss: Tensor) -> Tensor:
    """Make 0 of a mean over nothing, which is not a number; it stays part of the graph."""
    return loss.nan_to_num(nan=0.0)


def _hidden(boxes: Tensor, unknown: Tensor) -> Tensor:
    """Whether most of each box's part in the image is unknown, bool ``(k,)``."""
    if not unknown.any():
        return torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    height, width = unknown.shape
    sums = torch.zeros(height + 1, width + 1, device=boxes.device)
    sums[1:, 1:] = unknown.float().cumsum(0).cumsum(1)
    edges = (boxes + 0.5).round().long()
    left, right = (edges[:, side].clamp(0, width) for side in (0, 2))
    top, bottom = (edges[:, side].clamp(0, height) for side in (1, 3))
    inside = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return inside > _MOSTLY * ((right - left) * (bottom - top)).clamp(min=1)
