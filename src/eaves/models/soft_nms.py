"""Soft-NMS: boxes that overlap a better one lose score instead of being dropped.

Source: N. Bodla, B. Singh, R. Chellappa, L. S. Davis, "Soft-NMS -- Improving Object Detection With One Line of Code",
ICCV 2017, arXiv:1704.04503, section 3 and figure 2.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torchvision.ops import batched_nms

from eaves.errors import SettingsError

Suppression = Literal["hard", "gaussian", "linear"]
"""How boxes that overlap a better one are treated: dropped, or their scores lowered in one of two ways."""


def suppress(
    boxes: Tensor,
    scores: Tensor,
    groups: Tensor,
    method: Suppression = "gaussian",
    *,
    iou: float = 0.5,
    sigma: float = 0.5,
    soft_iou: float = 0.3,
    min_score: float = 0.001,
) -> tuple[Tensor, Tensor]:
    """Choose among overlapping boxes, each group by itself.

    Args:
        boxes: xyxy float ``(n, 4)``.
        scores: ``(n,)``.
        groups: Integers ``(n,)``; boxes of different groups do not compete.
        method: ``hard`` drops a box whose IoU with a better one is above ``iou``. ``gaussian`` multiplies its score by
            ``exp(-IoU² / sigma)``, ``linear`` by ``1 - IoU`` where the IoU is at least ``soft_iou``; what falls below
            ``min_score`` is dropped.
        iou: See ``method``.
        sigma: See ``method``.
        soft_iou: See ``method``.
        min_score: See ``method``.

    Returns:
        Indices of what remains, int64, by descending score; and the scores they now have.

    Raises:
        SettingsError: The method is none of the three.

    Example:
        >>> boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]])
        >>> keep, scores = suppress(boxes, torch.tensor([0.9, 0.8, 0.7]), torch.zeros(3, dtype=torch.long))
        >>> keep.tolist(), [round(score, 3) for score in scores.tolist()]
        ([0, 2, 1], [0.9, 0.7, 0.21])
    """
    check_method(method)
    if method == "hard":
        keep = batched_nms(boxes, scores, groups, iou)
        return keep, scores[keep]
    kept, left = _soft(
        boxes.detach().cpu().double().numpy(),
        scores.detach().cpu().double().numpy(),
        groups.cpu().numpy(),
        method == "gaussian",
        sigma,
        soft_iou,
        min_score,
    )
    return torch.from_numpy(kept).to(boxes.device), torch.from_numpy(left).to(scores)


def check_method(method: str) -> None:
    """See that a way to treat overlaps is one.

    Raises:
        SettingsError: It is none.
    """
    known = get_args(Suppression)
    if method not in known:
        raise SettingsError(f"nms as one of {', '.join(known)}", repr(method), "choose one of them")


@njit(cache=True, nogil=True)
def _soft(boxes, scores, groups, gaussian, sigma, least_iou, min_score):
    count = len(scores)
    order, left = np.arange(count), scores.copy()
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    chosen, open_ = 0, count  # order[:chosen] is decided, order[chosen:open_] still competes
    while chosen < open_:
        best = chosen
        for k in range(chosen + 1, open_):
            a, b = order[k], order[best]
            if left[a] > left[b] or (left[a] == left[b] and a < b):
                best = k
        at = order[best]
        order[best], order[chosen] = order[chosen], at
        chosen += 1
        if left[at] < min_score:
            chosen -= 1
            break
        k = chosen
        while k < open_:
            other = order[k]
            width = min(boxes[at, 2], boxes[other, 2]) - max(boxes[at, 0], boxes[other, 0])
            height = min(boxes[at, 3], boxes[other, 3]) - max(boxes[at, 1], boxes[other, 1])
            if width > 0 and height > 0 and groups[at] == groups[other]:
                shared = width * height
                iou = shared / (areas[at] + areas[other] - shared)
                if gaussian:
                    left[other] *= np.exp(-iou * iou / sigma)
                elif iou >= least_iou:
                    left[other] *= 1 - iou
                if left[other] < min_score:
                    open_ -= 1
                    order[k] = order[open_]
                    continue
            k += 1
    return order[:chosen].copy(), left[order[:chosen]]
