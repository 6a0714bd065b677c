from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rasterio.windows import Window

from eaves.sample import Overview, balanced_windows, grid_windows, random_windows

SHAPES = st.tuples(st.integers(1, 300), st.integers(1, 300))


def overview_of(mask: np.ndarray, classes: int = 2) -> Overview:
    overview = Overview.empty(mask.shape, classes)
    overview.add(Window(0, 0, *mask.shape[::-1]), mask)
    return overview


def cut(mask: np.ndarray, window: Window, outside: int = 255) -> np.ndarray:
    """The part of a mask under a window that may reach outside."""
    pad = int(window.width)
    row, col = int(window.row_off) + pad, int(window.col_off) + pad
    return np.pad(mask, pad, constant_values=outside)[row : row + pad, col : col + pad]


@given(SHAPES, st.integers(16, 128), st.integers(8, 128))
def test_grid_windows_leave_no_pixel_out(shape, chip_px, stride_px):
    covered = np.zeros(shape, int)
    for window in grid_windows(shape, chip_px, min(stride_px, chip_px)):
        row, col = int(window.row_off), int(window.col_off)
        covered[max(0, row) : row + chip_px, max(0, col) : col + chip_px] += 1
        for start, size in ((row, shape[0]), (col, shape[1])):
            assert (0 <= start <= size - chip_px) if size > chip_px else start == -((chip_px - size) // 2)
    assert covered.all()


def test_a_grid_that_fits_covers_each_pixel_once():
    windows = grid_windows((128, 192), 64)
    assert len(windows) == len(set(windows)) == 6


@given(SHAPES, st.integers(16, 128), st.integers(0, 9))
def test_random_windows_lie_inside(shape, chip_px, seed):
    windows = random_windows(shape, chip_px, 20, np.random.default_rng(seed))
    assert len(windows) == 20
    for window in windows:
        for start, size in ((window.row_off, shape[0]), (window.col_off, shape[1])):
            assert (0 <= start <= size - chip_px) if size > chip_px else start == -((chip_px - size) // 2)
    assert windows == random_windows(shape, chip_px, 20, np.random.default_rng(seed))


def test_random_windows_reach_every_corner():
    windows = random_windows((66, 67), 64, 300, np.random.default_rng(0))
    assert {(w.row_off, w.col_off) for w in windows} == {(r, c) for r in range(3) for c in range(4)}


@given(st.integers(1, 200), st.integers(1, 200), st.integers(8, 90), st.integers(0, 99))
def test_the_overview_bounds_what_a_window_holds(rows, cols, chip_px, seed):
    rng = np.random.default_rng(seed)
    mask = rng.choice(np.array([0, 0, 1, 255], np.uint8), (rows, cols))
    overview = overview_of(mask)
    windows = random_windows((rows, cols), chip_px, 8, rng)
    at = np.array([[w.row_off, w.col_off] for w in windows], np.int64)
    least, most = overview.bounds(at[:, 0], at[:, 1], chip_px)
    for window, low, high in zip(windows, least, most, strict=True):
        inside = cut(mask, window)
        for index in (0, 1):
            assert low[index] <= (inside == index).sum() <= high[index]


def test_the_overview_of_a_huge_scene_stays_small():
    assert Overview.empty((100_000, 60_000), 2).counts.shape == (2, 782, 469)


@given(st.integers(0, 50))
def test_balanced_windows_go_where_the_class_is(seed):
    mask = np.zeros((400, 600), np.uint8)
    mask[300:340, 500:540] = 1
    windows = balanced_windows(overview_of(mask), 64, 50, np.random.default_rng(seed), wanted=1, min_px=400)
    assert len(windows) == 50
    for window in windows:
        assert 0 <= window.row_off <= 400 - 64
        assert 0 <= window.col_off <= 600 - 64
    enough = [(cut(mask, window) == 1).sum() >= 400 for window in windows]
    assert np.mean(enough) > 0.3  # by chance it would be 0.03


def test_no_window_that_holds_enough_is_favoured_or_left_out():
    """Every place where a 32 px chip holds the whole class is drawn, about equally often."""
    mask = np.full((100, 100), 255, np.uint8)
    mask[40:64, 45:71] = 1
    windows = balanced_windows(overview_of(mask), 32, 12_000, np.random.default_rng(0), wanted=1, min_px=24 * 26)
    places = np.array([(w.row_off, w.col_off) for w in windows])
    inside = (places >= (32, 39)).all(axis=1) & (places <= (40, 45)).all(axis=1)
    where, counts = np.unique(places[inside], axis=0, return_counts=True)
    assert len(where) == 9 * 7
    assert counts.max() < 4 * counts.min()


@pytest.mark.parametrize("shape", [(20, 300), (20, 30)])
def test_scenes_smaller_than_a_chip(shape):
    mask = np.ones(shape, np.uint8)
    windows = balanced_windows(overview_of(mask), 64, 9, np.random.default_rng(0), wanted=1, min_px=20 * 30)
    assert len(windows) == 9
    assert {w.row_off for w in windows} == {-22}


def test_nothing_to_draw():
    mask = np.zeros((90, 90), np.uint8)
    assert balanced_windows(overview_of(mask), 64, 5, np.random.default_rng(0), wanted=1) == []
    assert balanced_windows(overview_of(mask + 255), 64, 5, np.random.default_rng(0)) == []
