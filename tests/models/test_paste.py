from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eaves.models.paste import paste

side = st.floats(-5, 45).map(lambda value: round(value, 3))


@settings(deadline=None, max_examples=100)
@given(x=side, y=side, width=st.floats(3, 30), height=st.floats(3, 30), cells=st.integers(1, 28))
def test_a_full_mask_covers_the_pixels_whose_centres_the_box_holds(x, y, width, height, cells):
    box = np.array([x, y, x + width, y + height])
    row, col, values = paste(np.ones((cells, cells), np.float32), box, (40, 40))
    whole = np.zeros((40, 40), np.float32)
    whole[row : row + values.shape[0], col : col + values.shape[1]] = values
    centre = np.arange(40) + 0.5
    inside = np.outer((centre > box[1]) & (centre < box[3]), (centre > box[0]) & (centre < box[2]))
    edges = [
        np.abs(centre[:, None] - np.array(pair)).min(axis=1) > 0.2 for pair in ((box[1], box[3]), (box[0], box[2]))
    ]
    sure = np.outer(*edges)  # not on the box itself, where a pixel has as many samples as cells
    assert (whole[~inside & sure] < 0.5).all()
    # In a corner both sides fall off at once, which rounds it; away from corners the line of one half is the box.
    half_x, half_y = width / cells / 2 + 0.5, height / cells / 2 + 0.5
    deep = np.outer((centre > box[1] + half_y) & (centre < box[3] - half_y), (centre > box[0]) & (centre < box[2]))
    deep |= np.outer((centre > box[1]) & (centre < box[3]), (centre > box[0] + half_x) & (centre < box[2] - half_x))
    assert (whole[deep & sure] > 0.5).all()
    assert whole.max(initial=0) <= 1 + 1e-6


@settings(deadline=None, max_examples=60)
@given(dx=st.integers(0, 12), dy=st.integers(0, 12), seed=st.integers(0, 99))
def test_moving_the_box_by_whole_pixels_moves_the_mask(dx, dy, seed):
    rng = np.random.default_rng(seed)
    mask, box = rng.random((14, 14), np.float32), np.array([3.3, 4.7, 20.1, 17.2])
    still, moved = paste(mask, box, (60, 60)), paste(mask, box + np.array([dx, dy, dx, dy]), (60, 60))
    assert (moved.row - still.row, moved.col - still.col) == (dy, dx)
    np.testing.assert_allclose(moved.values, still.values, atol=1e-5)


def test_values_are_bilinear_between_cells():
    mask = np.array([[0.0, 1.0]], np.float32).repeat(2, 0)
    values = paste(mask, np.array([0.0, 0, 8, 2]), (2, 8)).values
    np.testing.assert_allclose(values[0], [0, 0, 0.125, 0.375, 0.625, 0.875, 0.875, 0.625], atol=1e-6)


def test_an_origin_cuts_the_window_and_keeps_the_coordinates():
    mask, box = np.ones((4, 4), np.float32), np.array([0.0, 0, 10, 10])
    whole, part = paste(mask, box, (20, 20)), paste(mask, box, (6, 20), (4, 0))
    assert (part.row, part.col, part.values.shape) == (4, 0, (6, whole.values.shape[1]))
    np.testing.assert_array_equal(part.values, whole.values[4:10])


@pytest.mark.parametrize("box", [[50.0, 0, 60, 10], [-20.0, 0, -10, 10], [5.0, 5, 5, 9]])
def test_what_lies_outside_or_has_no_size_covers_nothing(box):
    values = paste(np.ones((4, 4), np.float32), np.array(box), (40, 40)).values
    assert not (values >= 0.5).any()
