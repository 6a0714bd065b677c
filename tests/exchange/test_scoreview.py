"""Score maps on another grid: the same for every window, from a file or while they are made."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from eaves.errors import SceneError
from eaves.exchange.scores import NODATA
from eaves.exchange.scoreview import RollingLevels, ScoreView

HERE = Affine(2.0, 0, 500_000, 0, -2.0, 5_200_000)


def grid(shape=(30, 40), factor=1.0, crs="EPSG:32633", transform=HERE) -> GeoBox:
    return GeoBox(shape, transform * Affine.scale(factor), crs)


def levels_of(shape=(2, 30, 40), seed=0) -> np.ndarray:
    levels = np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)
    levels[:, 4:9, 10:14] = NODATA
    return levels


def reader(levels):
    return lambda w: levels[:, w.row_off : w.row_off + w.height, w.col_off : w.col_off + w.width]


def view_of(levels, wanted: GeoBox) -> ScoreView:
    return ScoreView(reader(levels), grid(), wanted, len(levels), "scores.tif")


@given(
    factor=st.sampled_from([0.5, 0.3, 1.0, 1.7, 3.0]),
    row=st.integers(-5, 40),
    col=st.integers(-5, 60),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
)
def test_a_window_is_a_part_of_the_whole(factor, row, col, height, width):
    wanted = grid((int(np.ceil(30 / factor)), int(np.ceil(40 / factor))), factor)
    view = view_of(levels_of(), wanted)
    rows, cols = view.shape
    whole = view.read(Window(-50, -50, cols + 200, rows + 200))
    part = view.read(Window(col, row, width, height))
    assert np.array_equal(part, whole[:, row + 50 : row + 50 + height, col + 50 : col + 50 + width])


def test_the_same_grid_gives_the_same_levels():
    levels = levels_of()
    assert np.array_equal(view_of(levels, grid()).read(Window(0, 0, 40, 30)), levels)


def test_finer_pixels_are_interpolated_and_nothing_is_known_where_nothing_was():
    levels = np.zeros((1, 30, 40), np.uint8)
    levels[:, :, 20:] = 200
    levels[:, :10] = NODATA
    fine = view_of(levels, grid((60, 80), 0.5)).read(Window(0, 0, 80, 60))
    assert fine[0, 40, 37:43].tolist() == [0, 0, 50, 150, 200, 200]
    assert (fine[0, :19] == NODATA).all()
    assert (fine[0, 21:] != NODATA).all()


@pytest.mark.parametrize(
    "wanted",
    [
        grid(crs="EPSG:32634"),
        grid(transform=HERE * Affine.translation(1, 0)),
        grid((30, 20)),
        grid(transform=HERE * Affine.rotation(10)),
        grid(transform=HERE * Affine.scale(1, 2)),
    ],
)
def test_a_map_of_another_place_is_refused(wanted):
    with pytest.raises(SceneError, match="gdalwarp"):
        view_of(levels_of(), wanted)


@given(data=st.data(), factor=st.sampled_from([0.5, 1.0, 0.3]))
def test_a_map_that_is_still_being_made_reads_the_same(data, factor):
    levels = levels_of()
    cuts = sorted({0, 30, *data.draw(st.lists(st.integers(1, 29), max_size=5))})
    strips = iter([(top, levels[:, top:bottom]) for top, bottom in itertools.pairwise(cuts)])
    wanted = grid((int(np.ceil(30 / factor)), int(np.ceil(40 / factor))), factor)
    view = view_of(levels, wanted)
    rolling = ScoreView(RollingLevels(strips), grid(), wanted, 2, "being made")
    rows, cols = view.shape
    top = -7
    while top < rows:
        height = data.draw(st.integers(1, 25))
        window = Window(-3, top, cols + 6, height)
        assert np.array_equal(rolling.read(window), view.read(window))
        top += data.draw(st.integers(1, height))


def test_rows_that_are_gone_are_not_read_again():
    rolling = RollingLevels(iter([(0, levels_of())]))
    rolling(Window(0, 5, 40, 10))
    with pytest.raises(ValueError, match="from 5 on"):
        rolling(Window(0, 4, 40, 10))
