"""Soft-NMS against a plain transcription of the paper's pseudo-code (figure 2 of arXiv:1704.04503)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou, nms

from eaves.errors import SettingsError
from eaves.models import suppress


def pseudo_code(boxes, scores, method, sigma, least_iou, min_score):
    """B, S → D, S, as the paper writes it, with its pruning by a small threshold of score."""
    iou = box_iou(boxes.double(), boxes.double())
    left = {index: float(score) for index, score in enumerate(scores.double())}
    chosen = []
    while left:
        m = min(left, key=lambda index: (-left[index], index))
        score = left.pop(m)
        if score < min_score:
            break
        chosen.append((m, score))
        for other in list(left):
            overlap = float(iou[m, other])
            if method == "gaussian":
                left[other] *= math.exp(-(overlap**2) / sigma)
            elif overlap >= least_iou:
                left[other] *= 1 - overlap
            if left[other] < min_score:
                del left[other]
    return chosen


@st.composite
def crowds(draw):
    count, seed = draw(st.integers(0, 40)), draw(st.integers(0, 10_000))
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 60, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(2, 30, (count, 2))], axis=1)
    return torch.tensor(boxes, dtype=torch.float32), torch.tensor(rng.uniform(0, 1, count), dtype=torch.float32)


@settings(deadline=None, max_examples=150)
@given(
    crowd=crowds(), method=st.sampled_from(["gaussian", "linear"]), sigma=st.floats(0.1, 2), least=st.floats(0.1, 0.9)
)
def test_it_is_the_papers_pseudo_code(crowd, method, sigma, least):
    boxes, scores = crowd
    keep, left = suppress(boxes, scores, torch.zeros(len(boxes)), method, sigma=sigma, soft_iou=least, min_score=0.01)
    expected = pseudo_code(boxes, scores, method, sigma, least, 0.01)
    assert keep.tolist() == [index for index, _ in expected]
    torch.testing.assert_close(left.double(), torch.tensor([score for _, score in expected], dtype=torch.float64))


@settings(deadline=None, max_examples=50)
@given(crowd=crowds(), method=st.sampled_from(["gaussian", "linear"]))
def test_scores_only_fall_and_come_in_descending_order(crowd, method):
    boxes, scores = crowd
    keep, left = suppress(boxes, scores, torch.zeros(len(boxes)), method)
    assert (left <= scores[keep] + 1e-7).all()
    assert (left[1:] <= left[:-1]).all()
    assert len(set(keep.tolist())) == len(keep)
    if len(boxes):
        assert keep[0] == scores.argmax()  # nothing lowers the best


@settings(deadline=None, max_examples=50)
@given(crowd=crowds(), method=st.sampled_from(["hard", "gaussian", "linear"]), split=st.integers(0, 40))
def test_groups_do_not_compete(crowd, method, split):
    boxes, scores = crowd
    groups = (torch.arange(len(boxes)) >= split).long()
    keep, left = suppress(boxes, scores, groups, method)
    for group in (0, 1):
        mine = torch.where(groups == group)[0]
        alone, score = suppress(boxes[mine], scores[mine], torch.zeros(len(mine)), method)
        of_group = groups[keep] == group
        assert sorted(keep[of_group].tolist()) == sorted(mine[alone].tolist())
        torch.testing.assert_close(left[of_group].sort().values, score.sort().values)


def test_hard_is_torchvisions():
    rng = np.random.default_rng(3)
    corner = rng.uniform(0, 200, (300, 2))
    boxes = torch.tensor(np.concatenate([corner, corner + rng.uniform(5, 60, (300, 2))], axis=1), dtype=torch.float32)
    scores = torch.tensor(rng.uniform(0, 1, 300), dtype=torch.float32)
    keep, left = suppress(boxes, scores, torch.zeros(300), "hard", iou=0.4)
    assert keep.tolist() == nms(boxes, scores, 0.4).tolist()
    assert torch.equal(left, scores[keep])


def test_boxes_apart_keep_their_scores():
    boxes = torch.tensor([[0.0, 0, 5, 5], [10, 0, 15, 5], [5, 0, 10, 5]])  # the last one touches both
    keep, left = suppress(boxes, torch.tensor([0.3, 0.9, 0.6]), torch.zeros(3))
    assert keep.tolist() == [1, 2, 0]
    assert left.tolist() == pytest.approx([0.9, 0.6, 0.3])


def test_no_boxes_are_no_boxes():
    for method in ("hard", "gaussian", "linear"):
        keep, left = suppress(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long), method)
        assert keep.shape == left.shape == (0,)
        assert keep.dtype == torch.int64


def test_another_method_is_refused():
    with pytest.raises(SettingsError, match="nms as one of hard, gaussian, linear"):
        suppress(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0), "soft")  # pyright: ignore[reportArgumentType]
