from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize
from rasterio.windows import Window

from eaves.synth import City, plan_city, render, render_strips
from eaves.synth.develop import FACTOR
from eaves.synth.render import draw

SIDE = 512


@pytest.fixture(scope="module")
def city() -> City:
    return plan_city(SIDE, seed=1, nodata_corner="upper-left")


@pytest.fixture(scope="module")
def picture(city: City) -> tuple[np.ndarray, np.ndarray]:
    return render(city)


def test_it_is_a_picture(picture: tuple[np.ndarray, np.ndarray]):
    image, valid = picture
    assert image.shape == (3, SIDE, SIDE)
    assert image.dtype == np.uint8
    assert valid.dtype == bool
    means, spread = image[:, valid].mean(1), image[:, valid].std(1)
    assert (means > 70).all()
    assert (means < 150).all()
    assert (spread > 20).all()


def test_same_seed_same_pixels(picture: tuple[np.ndarray, np.ndarray]):
    again, _ = render(plan_city(SIDE, seed=1, nodata_corner="upper-left"))
    assert (again == picture[0]).all()


@settings(max_examples=12, deadline=None)
@given(st.integers(0, SIDE - 40), st.integers(0, SIDE - 40), st.integers(1, 200), st.integers(1, 200))
def test_any_window_is_a_crop_of_the_whole(city: City, picture, row: int, col: int, height: int, width: int):
    height, width = min(height, SIDE - row), min(width, SIDE - col)
    image, valid = render(city, Window(col, row, width, height))
    assert (image == picture[0][:, row : row + height, col : col + width]).all()
    assert (valid == picture[1][row : row + height, col : col + width]).all()


def test_strips_make_the_whole(city: City, picture: tuple[np.ndarray, np.ndarray]):
    strips = list(render_strips(city, rows=200))
    assert [row0 for row0, _, _ in strips] == [0, 200, 400]
    assert (np.concatenate([image for _, image, _ in strips], axis=1) == picture[0]).all()


def test_corner_without_imagery(city: City, picture: tuple[np.ndarray, np.ndarray]):
    image, valid = picture
    assert not valid[0, 0]
    assert valid[-1, -1]
    assert 0.02 < 1 - valid.mean() < 0.2
    assert (image[:, ~valid] == 0).all()
    burnt = rasterize([(city.nodata, 1)], valid.shape, transform=city.grid.affine)
    assert ((burnt == 0) == valid).all()


def test_roofs_are_where_the_truth_says(city: City):
    side = SIDE * FACTOR
    owner = draw(city, 0, 0, (side, side)).owner
    numbers = [(shape, i + 1) for i, shape in enumerate(city.all_buildings.geometry)]
    truth = rasterize(numbers, (side, side), transform=city.grid.affine * Affine.scale(1 / FACTOR), dtype="int32") - 1
    seen = owner != -2  # trees hide what is below
    assert seen.mean() > 0.6
    assert (owner[seen] == truth[seen]).all()


def test_roofs_are_not_told_by_brightness_alone(city: City, picture: tuple[np.ndarray, np.ndarray]):
    image, valid = picture
    roof = rasterize(city.buildings.geometry, valid.shape, transform=city.grid.affine).astype(bool)
    for band in image:
        inside, outside = (np.histogram(band[m & valid], 32, (0, 256), density=True)[0] for m in (roof, ~roof))
        assert np.minimum(inside, outside).sum() * 8 > 0.35
