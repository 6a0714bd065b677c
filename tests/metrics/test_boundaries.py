"""Boundary IoU: by its definition, by hand, by strips."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import binary_erosion

from eaves.errors import LabelError, SettingsError
from eaves.labels import UNKNOWN
from eaves.metrics import BoundaryTally, boundary_counts, boundary_iou, confusion, pixel_report

SHAPES = st.tuples(st.integers(1, 14), st.integers(1, 14))
REACH = st.integers(1, 5)


@st.composite
def pairs(draw, elements=None):
    shape = draw(SHAPES)
    dtype = bool if elements is None else np.uint8
    return tuple(draw(arrays(dtype, shape, elements=elements)) for _ in range(2))


def published(mask, d):
    """As the paper's code has it: erosion by 3 x 3, d times, of the mask with zeros around it."""
    return mask & ~binary_erosion(np.pad(mask, 1), np.ones((3, 3)), iterations=d)[1:-1, 1:-1]


def slowly(mask, known, d):
    """Pixel by pixel: is there anything within d that is known not to be of the mask?"""
    height, width = mask.shape
    rim = np.zeros_like(mask)
    for row, col in np.argwhere(mask & known):
        for other in np.ndindex(height + 2, width + 2):
            y, x = other[0] - 1, other[1] - 1
            if max(abs(y - row), abs(x - col)) <= d:
                outside = not (0 <= y < height and 0 <= x < width)
                y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)  # the border's own pixel
                rim[row, col] |= known[y, x] and (outside or not mask[y, x])
    return rim


# --- laws -------------------------------------------------------------------------------------------------------------


@given(pairs(), REACH)
def test_with_all_known_it_is_the_published_definition(masks, d):
    one, other = (published(mask, d) for mask in masks)
    assert boundary_counts(*masks, d).tolist() == [(one & other).sum(), (one | other).sum()]


@given(pairs(), REACH, st.data())
def test_unknown_pixels_are_in_no_boundary_and_make_none(masks, d, data):
    known = data.draw(arrays(bool, masks[0].shape))
    one, other = (slowly(mask, known, d) for mask in masks)
    assert boundary_counts(*masks, d, valid=known).tolist() == [(one & other).sum(), (one | other).sum()]


@given(pairs(), REACH, st.data())
def test_what_lies_under_unknown_pixels_does_not_matter(masks, d, data):
    known = data.draw(arrays(bool, masks[0].shape))
    noise = data.draw(arrays(bool, masks[0].shape))
    changed = [np.where(known, mask, noise) for mask in masks]
    assert (boundary_counts(*masks, d, valid=known) == boundary_counts(*changed, d, valid=known)).all()


@given(pairs(), REACH)
def test_equal_1_disjoint_0_and_symmetric(masks, d):
    one, other = masks
    assert boundary_iou(one, one, d) == (1 if one.any() else None)
    assert boundary_iou(one, ~one, d) == 0
    assert boundary_iou(one, other, d) == boundary_iou(other, one, d)
    assert boundary_iou(one.T, other[::-1].T[:, ::-1], d) == boundary_iou(one, other, d)


@given(pairs())
def test_a_boundary_as_wide_as_the_image_is_the_mask(masks):
    one, other = masks
    either = (one | other).sum()
    assert boundary_iou(one, other, 14) == ((one & other).sum() / either if either else None)


@given(pairs(st.sampled_from([0, 1, 2, UNKNOWN])), REACH, st.data())
def test_strips_equal_the_whole(masks, d, data):
    reference, prediction = masks
    rows = len(reference)
    cuts = sorted(data.draw(st.sets(st.integers(0, rows))) | {0, rows})
    tally = BoundaryTally(3, d)
    for top, bottom in pairwise(cuts):
        tally.push(reference[top:bottom], prediction[top:bottom])
    known = (reference != UNKNOWN) & (prediction != UNKNOWN)
    whole = [boundary_counts(reference == index, prediction == index, d, valid=known).tolist() for index in range(3)]
    assert tally.finish().tolist() == whole


@given(pairs(), REACH, st.data())
def test_rows_with_their_surroundings_add_up(masks, d, data):
    rows = len(masks[0])
    cut = data.draw(st.integers(0, rows))
    above, below = slice(0, min(rows, cut + d)), slice(max(0, cut - d), rows)
    counts = boundary_counts(*(mask[above] for mask in masks), d, rows=slice(0, cut))
    counts += boundary_counts(*(mask[below] for mask in masks), d, rows=slice(cut - below.start, None))
    assert (counts == boundary_counts(*masks, d)).all()


# --- by hand ----------------------------------------------------------------------------------------------------------


def square(top, left, side, shape=(20, 20)):
    mask = np.zeros(shape, bool)
    mask[top : top + side, left : left + side] = True
    return mask


@pytest.mark.parametrize(("d", "shared", "either"), [(1, 2, 70), (5, 81, 119)])
def test_a_shift_by_one_along_the_diagonal(d, shared, either):
    # Rims of 36 pixels cross each other twice. With d = 5 a boundary is all of the square: IoU itself.
    one, other = square(4, 4, 10), square(5, 5, 10)
    assert boundary_counts(one, other, d).tolist() == [shared, either]
    assert boundary_iou(one, other, d) == shared / either


def test_a_rim_of_two():
    assert boundary_counts(square(4, 4, 10), square(4, 4, 10), 2).tolist() == [64, 64]  # 100 less 6 x 6


def test_the_images_border_is_a_boundary():
    full = np.ones((6, 6), bool)
    assert boundary_counts(full, full, 1).tolist() == [20, 20]


def test_the_rim_of_the_unknown_is_none():
    mask = np.ones((9, 9), bool)
    known = np.ones((9, 9), bool)
    known[:, 5:] = False  # columns 0 to 4 are known: the border is at the left, and above and below them
    assert boundary_counts(mask, mask, 1, valid=known).tolist() == [2 * 5 + 7, 2 * 5 + 7]
    known = np.zeros((9, 9), bool)
    known[3:6, 3:6] = True  # amid the unknown, nothing says where the mask ends
    assert boundary_iou(mask, mask, 2, valid=known) is None
    hole = mask.copy()
    hole[4, 4] = False
    assert boundary_counts(hole, hole, 2, valid=known).tolist() == [8, 8]


def test_in_the_report():
    reference = np.zeros((12, 12), np.uint8)
    reference[2:8, 2:8] = 1
    prediction = np.zeros((12, 12), np.uint8)
    prediction[2:8, 3:9] = 1
    tally = BoundaryTally(3, 1)
    tally.push(reference, prediction)
    matrix = confusion(reference, prediction, 3)
    names = ("background", "building", "road")
    report = pixel_report(matrix, names, tally.finish(), 1)
    # Rims of 20 pixels; 5 of the top row, 5 of the bottom row are shared, none of the sides.
    assert report.per_class["building"].boundary_iou == 10 / 30
    assert report.per_class["road"].boundary_iou is None
    assert (report.boundary_iou, report.boundary_px) == (10 / 30, 1)
    assert report.per_class["background"].boundary_iou == pytest.approx(
        boundary_iou(reference == 0, prediction == 0, 1)
    )
    bare = pixel_report(matrix, names)
    assert (bare.boundary_iou, bare.boundary_px, bare.per_class["building"].boundary_iou) == (None, None, None)


# --- refused ----------------------------------------------------------------------------------------------------------


def test_wrong_masks():
    mask = np.ones((3, 3), bool)
    for wrong in ((mask.astype(np.uint8), mask), (mask, mask[:2]), (mask[None], mask[None])):
        with pytest.raises(LabelError):
            boundary_iou(*wrong, 1)
    with pytest.raises(LabelError, match="valid"):
        boundary_iou(mask, mask, 1, valid=mask.astype(np.uint8))
    for d in (0, -1, 1.5):
        with pytest.raises(SettingsError, match="at least 1"):
            boundary_iou(mask, mask, d)
        with pytest.raises(SettingsError):
            BoundaryTally(2, d)


def test_strips_that_do_not_fit():
    tally = BoundaryTally(2, 1)
    tally.push(np.zeros((2, 3), np.uint8), np.zeros((2, 3), np.uint8))
    for shapes in (((2, 4), (2, 4)), ((2, 3), (1, 3))):
        with pytest.raises(LabelError, match="whole rows"):
            tally.push(*(np.zeros(shape, np.uint8) for shape in shapes))
    with pytest.raises(LabelError, match="reach"):
        pixel_report(np.eye(2, dtype=int), ("a", "b"), [[1, 1], [1, 1]])
