"""One component of a score map into the buildings it holds: watershed by immersion, compiled.

Vincent & Soille (1991, section III) turned upside down. The seed score sinks from level to level; what already sticks
out grows by the pixels of that level, nearest first, and what sticks out anew is a new part. Where two parts meet, the
lower one becomes a part of the other unless both can stand alone. So no seeds are chosen beforehand, and one rule fits
large and small buildings: it measures how far the score falls between two tops, not how high they are.

Pixels are joined as the tracer joins them: over their sides always, over a corner only at a saddle whose mean is at or
above the threshold. So a component is what the tracer makes one polygon of, and so is each of its parts.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from eaves.footprints.sweep import NODATA, find

_OUTSIDE, _DRY = 0, -1  # labels; a pixel that waits to become one of part p has the label -1 - p


class Rule(NamedTuple):
    """When a part of a component can stand alone.

    Attributes:
        first: Least level that is inside, 1 … 254.
        saddle: Four times the threshold, in levels.
        ground: Level that heights are measured from.
        peak: Level that a part has to reach.
        fall: Share of its height that lies above the place where it meets another part.
        pixels: Pixels of it that lie above that place.
    """

    first: int
    saddle: float
    ground: float
    peak: float
    fall: float
    pixels: int


@njit(cache=True, nogil=True)
def part(building, seeds, row, col, rule):
    """Part a component into buildings.

    Args:
        building: uint8 ``(h, w)``: levels of a window that is a pixel larger than the component on every side.
        seeds: uint8 ``(h, w)``: levels of the seed score, high in the middle of a building and low between two.
        row: Of one of the component's pixels.
        col: Of the same.
        rule: What can stand alone.

    Returns:
        int32 ``(h, w)``: 1 … n in the component, numbered from the top left, 0 elsewhere; and int64 ``(n, 4)``: first
        row, first column, last row and last column of every part.
    """
    w = building.shape[1]
    labels = np.zeros(building.shape, np.int32)
    level, score, flat = building.ravel(), seeds.ravel(), labels.ravel()  # neighbours lie at fixed steps
    steps = np.array([-w, -1, 1, w, -w - 1, -w + 1, w - 1, w + 1])
    pixels = _fill(level, steps, row * w + col, flat, rule)
    order, begin = _sort(score, flat, pixels)
    parent = _sink(level, score, steps, flat, order, begin, rule)
    return labels, _number(labels, parent)


@njit(cache=True, nogil=True)
def _inside(level, rule):
    return level >= rule.first and level != NODATA


@njit(cache=True, nogil=True)
def _worth(level):
    return 0 if level == NODATA else np.int64(level)


@njit(cache=True, nogil=True)
def _joined(level, steps, at, k, rule):
    """Say whether a pixel and its k-th neighbour, both inside, are joined."""
    if k < 4:
        return True
    one = level[at + steps[0 if k < 6 else 3]]
    other = level[at + steps[1 if k % 2 == 0 else 2]]
    if _inside(one, rule) or _inside(other, rule):
        return False  # no saddle: the sides join them, or do not
    return _worth(level[at]) + _worth(level[at + steps[k]]) + _worth(one) + _worth(other) >= rule.saddle


@njit(cache=True, nogil=True)
def _fill(level, steps, start, labels, rule):
    """Label the component that holds ``start`` as dry; return its number of pixels."""
    stack = np.empty(64, np.int32)
    stack[0] = start
    labels[start] = _DRY
    deep, pixels = 1, 0
    while deep > 0:
        deep -= 1
        at = stack[deep]
        pixels += 1
        if deep + 8 > len(stack):
            stack = np.concatenate((stack, np.empty_like(stack)))
        for k in range(8):
            to = at + steps[k]
            if labels[to] == _OUTSIDE and _inside(level[to], rule) and _joined(level, steps, at, k, rule):
                labels[to] = _DRY
                stack[deep] = to
                deep += 1
    return pixels


@njit(cache=True, nogil=True)
def _sort(score, labels, pixels):
    """Return the dry pixels from the highest score to the lowest, and where the pixels of level 255 - i begin."""
    begin = np.zeros(257, np.int64)
    for at in range(len(labels)):
        if labels[at] == _DRY:
            begin[256 - score[at]] += 1
    begin = np.cumsum(begin)
    place, order = begin.copy(), np.empty(pixels, np.int32)
    for at in range(len(labels)):
        if labels[at] == _DRY:
            order[place[255 - score[at]]] = at
            place[255 - score[at]] += 1
    return order, begin


@njit(cache=True, nogil=True)
def _sink(level, score, steps, labels, order, begin, rule):
    """Label all dry pixels with parts; return the union-find forest of the parts."""
    parent, peak, area = np.zeros(64, np.int32), np.zeros(64, np.int32), np.zeros(64, np.int32)
    queue, parts = np.empty(len(order), np.int32), 1
    for i in range(256):
        now, same = 255 - i, order[begin[i] : begin[i + 1]]
        shore = 0
        for at in same:
            for k in range(8):
                if labels[at + steps[k]] > 0 and _joined(level, steps, at, k, rule):
                    labels[at] = -1 - labels[at + steps[k]]
                    queue[shore] = at
                    shore += 1
                    break
        _grow(level, score, steps, labels, queue, shore, now, parent, peak, area, rule)
        for at in same:
            if labels[at] == _DRY:
                if parts == len(parent):
                    parent = np.concatenate((parent, np.zeros_like(parent)))
                    peak = np.concatenate((peak, np.zeros_like(peak)))
                    area = np.concatenate((area, np.zeros_like(area)))
                parent[parts], peak[parts] = parts, now
                labels[at] = -1 - parts
                queue[0] = at
                _grow(level, score, steps, labels, queue, 1, now, parent, peak, area, rule)
                parts += 1
        for at in same:
            area[find(parent, labels[at])] += 1
    return parent


@njit(cache=True, nogil=True)
def _grow(level, score, steps, labels, queue, tail, now, parent, peak, area, rule):
    """Label the pixels in the queue and those of their level that are joined to them, nearest first.

    Args:
        level: Levels of the building.
        score: Levels of the seed score.
        steps: To the eight neighbours.
        labels: Changed.
        queue: Holds the pixels to begin with; has room for all of the level.
        tail: How many.
        now: The level.
        parent: Union-find forest of the parts, int32 ``(parts,)``; changed where parts become one.
        peak: Highest level of each; changed.
        area: Pixels of each above the level; changed.
        rule: What can stand alone.
    """
    head = 0
    while head < tail:
        at = queue[head]
        head += 1
        mine = find(parent, -1 - labels[at])
        for k in range(8):
            to = at + steps[k]
            if labels[to] == _OUTSIDE or not _joined(level, steps, at, k, rule):
                continue
            if labels[to] > 0:
                other = find(parent, labels[to])
                if mine != other:
                    mine = _meet(parent, peak, area, mine, other, now, rule)
            elif labels[to] == _DRY and score[to] == now:
                labels[to] = -1 - mine
                queue[tail] = to
                tail += 1
        labels[at] = mine


@njit(cache=True, nogil=True)
def _meet(parent, peak, area, one, other, now, rule):
    """Let two parts meet; return the first, or what it has become a part of."""
    if _stands(peak[one], area[one], now, rule) and _stands(peak[other], area[other], now, rule):
        return one
    if peak[one] < peak[other] or (peak[one] == peak[other] and one > other):
        one, other = other, one
    parent[other] = one
    area[one] += area[other]
    return one


@njit(cache=True, nogil=True)
def _stands(peak, area, now, rule):
    return area >= rule.pixels and peak >= rule.peak and peak - now >= rule.fall * (peak - rule.ground)


@njit(cache=True, nogil=True)
def _number(labels, parent):
    """Replace parts by numbers from 1 in the order of their first pixels; return what boxes they fill."""
    number, boxes = np.zeros(len(parent), np.int32), np.empty((len(parent), 4), np.int64)
    count = 0
    for row in range(labels.shape[0]):
        for col in range(labels.shape[1]):
            if labels[row, col] > 0:
                root = find(parent, labels[row, col])
                if number[root] == 0:
                    count += 1
                    number[root] = count
                    boxes[count - 1] = row, col, row, col
                labels[row, col] = number[root]
                box = boxes[number[root] - 1]
                box[1], box[2], box[3] = min(box[1], col), row, max(box[3], col)
    return boxes[:count]
