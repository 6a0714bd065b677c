"""Whole-scene laws: tiles do not show."""

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from eaves.errors import SettingsError
from eaves.exchange.scores import NODATA, decode
from eaves.models import Readout, build
from eaves.predict import Layout, TorchBackend, choose_layout, stream_scores
from eaves.scene import Scaling, Scene
from eaves.settings import ModelSettings, TargetSettings

SCALING = Scaling.for_bytes(3)


class Constant:
    """A network that always says the same."""

    name, stride, halo_px, bands = "constant", 8, 16, 2

    def __init__(self, value):
        self.value, self.calls = value, 0

    def __call__(self, batch):
        self.calls += len(batch)
        return np.full((len(batch), self.bands, *batch.shape[2:]), self.value, np.float32)


class Box:
    """A network with an exactly known receptive field: the mean over 17 x 17 px, squashed."""

    name, stride, halo_px, bands = "box", 8, 8, 1

    def __call__(self, batch):
        images = torch.from_numpy(batch).mean(1, keepdim=True)
        return torch.sigmoid(3 * torch.nn.functional.avg_pool2d(images, 17, 1, 8)).numpy()


def scene(folder, height, width, seed=0, nodata=None):
    image = np.random.default_rng(seed).integers(1, 255, (3, height, width)).astype(np.uint8)
    if nodata:
        image[(slice(None), *nodata)] = 0
    path = folder / f"{height}x{width}-{seed}.tif"
    with rasterio.open(path, "w", driver="GTiff", count=3, height=height, width=width, dtype="uint8",
                       crs="EPSG:32633", transform=Affine(0.3, 0, 5e5, 0, -0.3, 5e6), nodata=0) as file:  # fmt: skip
        file.write(image)
    return Scene(path)


def whole(opened, backend, layout):
    strips = list(stream_scores(opened, SCALING, backend, layout))
    rows = 0
    for strip in strips:
        assert strip.row == rows
        rows += strip.levels.shape[1]
    assert rows == opened.shape[0]
    return np.concatenate([strip.levels for strip in strips], axis=1)


@settings(max_examples=40)
@given(st.integers(1, 150), st.integers(1, 150), st.integers(1, 80), st.integers(1, 4), st.floats(0, 1))
def test_a_constant_network_gives_a_constant_raster(tmp_path_factory, height, width, tile_px, batch, value):
    opened = scene(tmp_path_factory.mktemp("c"), height, width)
    layout = choose_layout(Constant(value), opened.shape, tile_px, batch)
    levels = whole(opened, Constant(value), layout)
    assert levels.shape == (2, height, width)
    assert np.unique(levels).tolist() == [round(np.float32(value) * 254)]


@settings(max_examples=25)
@given(st.integers(1, 200), st.integers(1, 200), st.integers(32, 120), st.integers(1, 3))
def test_tiled_equals_untiled(tmp_path_factory, height, width, tile_px, batch):
    opened = scene(tmp_path_factory.mktemp("t"), height, width, nodata=(slice(0, 40), slice(0, 30)))
    tiled = whole(opened, Box(), choose_layout(Box(), opened.shape, tile_px, batch))
    untiled = whole(opened, Box(), Layout(208, 24, 16, 1))
    assert np.abs(tiled.astype(int) - untiled).max() <= 1  # rounding to 1/254


def test_tiled_equals_untiled_for_the_unet(tmp_path):
    torch.manual_seed(0)
    network = build(ModelSettings(arch="unet28", options={"widths": "narrow", "batch_norm": True}), 3, 2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.5)
    backend = TorchBackend(network, Readout(TargetSettings(), ("background", "building")), "cpu")
    opened = scene(tmp_path, 200, 300)
    tiled = whole(opened, backend, choose_layout(backend, opened.shape, 96))
    untiled = whole(opened, backend, Layout(304, *choose_layout(backend, opened.shape)[1:]))
    assert np.ptp(untiled) > 3
    assert np.abs(tiled.astype(int) - untiled).max() <= 1


def test_nodata_stays_and_empty_tiles_are_not_run(tmp_path):
    opened = scene(tmp_path, 128, 256, nodata=(slice(None), slice(0, 150)))
    backend = Constant(0.7)
    levels = whole(opened, backend, Layout(32, 24, 8, 1))
    assert (levels[:, :, :150] == NODATA).all()
    scores, valid = decode(levels[:, :, 150:])
    assert valid.all()
    assert scores == pytest.approx(0.7, abs=1 / 254)
    assert backend.calls < 4 * 8


def test_a_scene_without_imagery_gives_only_nodata(tmp_path):
    opened = scene(tmp_path, 70, 70, nodata=(slice(None), slice(None)))
    assert (whole(opened, Constant(1.0), Layout(32, 24, 8, 1)) == NODATA).all()


def test_layouts_fit_the_stride():
    layout = choose_layout(Constant(0), (5000, 5000), 100, 3)
    assert layout == Layout(104, 32, 16, 3)
    with pytest.raises(SettingsError):
        choose_layout(Constant(0), (50, 50), 0)
