"""Resampling: what each output pixel draws from, and that windows do not matter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.scene.resample import Taps, axis_taps, resample

factors = st.floats(0.05, 20)


def length(factor: float, source_px: int) -> int:
    """Output pixels of an axis, as a scene counts them."""
    return max(1, int(np.ceil(source_px / factor - 1e-6)))


def dense(taps: Taps, source_px: int) -> np.ndarray:
    """The weights as a matrix ``(output, source)``; what lies beyond the source is dropped."""
    matrix = np.zeros((len(taps.first), source_px))
    for row, (first, weights) in enumerate(zip(taps.first, taps.weights, strict=True)):
        there = weights[: source_px - first]
        matrix[row, first : first + len(there)] = there
    return matrix


@given(factors, st.integers(1, 60))
def test_every_pixel_is_a_mean_of_what_is_there(factor, source_px):
    taps = axis_taps(0, length(factor, source_px), factor, source_px)
    matrix = dense(taps, source_px)
    assert (matrix >= 0).all()
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-5)


@given(factors, st.integers(1, 60), st.data())
def test_a_window_draws_as_the_whole_does(factor, source_px, data):
    count = length(factor, source_px)
    start = data.draw(st.integers(0, count - 1))
    stop = data.draw(st.integers(start + 1, count))
    whole = dense(axis_taps(0, count, factor, source_px), source_px)
    part = dense(axis_taps(start, stop - start, factor, source_px), source_px)
    np.testing.assert_allclose(part, whole[start:stop], atol=1e-7)


def test_the_last_pixel_alone_draws_from_the_last():
    assert dense(axis_taps(7, 1, 0.5, 4), 4).tolist() == [[0, 0, 0, 1]]


@given(st.integers(1, 8), st.integers(1, 20))
def test_whole_factors_are_block_means(factor, count):
    matrix = dense(axis_taps(0, count, float(factor), factor * count), factor * count)
    np.testing.assert_allclose(matrix, np.kron(np.eye(count), np.full((1, factor), 1 / factor)), atol=1e-6)


@given(st.floats(1.01, 9), st.integers(2, 60))
def test_averaging_loses_nothing(factor, source_px):
    """Each source pixel gives its whole weight, but for the last output pixel, which covers less."""
    count = length(factor, source_px)
    matrix = dense(axis_taps(0, count, factor, source_px), source_px)
    covered = np.full(count, factor)
    covered[-1] = source_px - (count - 1) * factor
    np.testing.assert_allclose(covered @ matrix, 1, atol=1e-4)


@given(st.floats(0.05, 1), st.integers(3, 60))
def test_interpolation_keeps_a_slope(factor, source_px):
    count = length(factor, source_px)
    drawn = dense(axis_taps(0, count, factor, source_px), source_px) @ np.arange(source_px)
    wanted = np.clip((np.arange(count) + 0.5) * factor - 0.5, 0, source_px - 1)
    np.testing.assert_allclose(drawn, wanted, atol=1e-4)


def taps_of(shape: tuple[int, int], factor: float) -> tuple[Taps, Taps]:
    rows, cols = (axis_taps(0, length(factor, size), factor, size) for size in shape)
    return rows, cols


@given(st.floats(0.3, 4), st.integers(0, 2**31))
def test_unknown_pixels_do_not_bleed(factor, seed):
    rng = np.random.default_rng(seed)
    known = rng.random((9, 13)) < 0.6
    image, valid = resample(
        np.where(known, 50, 250)[None].astype(np.uint8), known, *taps_of(known.shape, factor), (0, 0)
    )
    assert valid.dtype == bool
    assert (image[:, valid] == 50).all()


@given(st.floats(0.3, 6), st.integers(0, 2**31), st.sampled_from(["uint8", "uint16", "float32"]))
def test_what_is_missing_elsewhere_changes_nothing(factor, seed, dtype):
    """A pixel drawn from known pixels alone is the same whether or not others in the window are missing."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 255, (2, 12, 15)).astype(dtype)
    known = np.ones((12, 15), bool)
    known[5:7, 4:9] = False
    if dtype == "float32":
        pixels[:, ~known] = np.nan
    taps = taps_of(known.shape, factor)
    whole, _ = resample(np.where(known, pixels, 7).astype(dtype), np.ones_like(known), *taps, (0, 0))
    image, _ = resample(pixels, known, *taps, (0, 0))
    drawn = [dense(axis, size) for axis, size in zip(taps, known.shape, strict=True)]
    untouched = (drawn[0] > 0) @ ~known @ (drawn[1] > 0).T == 0
    assert np.isfinite(image).all()
    np.testing.assert_array_equal(image[:, untouched], whole[:, untouched])


def test_a_pixel_is_known_where_half_of_it_is():
    known = np.array([[True, False, False, False], [True, False, True, False]])
    _, valid = resample(np.ones((1, 2, 4), np.uint8), known, *taps_of((2, 4), 2.0), (0, 0))
    assert valid.tolist() == [[True, False]]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint32"])
def test_the_ends_of_a_type_stay_what_they_are(dtype):
    limits = np.iinfo(dtype)
    for value in (limits.min, limits.max):
        image, _ = resample(np.full((2, 6, 6), value, dtype), np.ones((6, 6), bool), *taps_of((6, 6), 1.5), (0, 0))
        assert image.dtype == dtype
        assert (image == value).all()


def test_whole_numbers_are_rounded_and_floats_are_not():
    pixels = np.array([[[0, 1], [1, 1]]])
    known = np.ones((2, 2), bool)
    assert resample(pixels.astype(np.uint8), known, *taps_of((2, 2), 2.0), (0, 0))[0].tolist() == [[[1]]]
    assert resample(pixels.astype(np.float32), known, *taps_of((2, 2), 2.0), (0, 0))[0].tolist() == [[[0.75]]]


def test_a_block_is_told_where_it_lies():
    pixels = np.arange(80, dtype=np.float32).reshape(1, 8, 10)
    known = np.ones((8, 10), bool)
    rows, cols = axis_taps(1, 2, 2.0, 8), axis_taps(2, 3, 2.0, 10)
    whole, _ = resample(pixels, known, rows, cols, (0, 0))
    block, _ = resample(pixels[:, 2:6, 4:], known[2:6, 4:], rows, cols, (2, 4))
    np.testing.assert_array_equal(block, whole)
