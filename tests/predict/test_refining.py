"""Refining whole scenes: tiles do not show, other bands ride along."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from eaves.exchange.rasters import RasterWriter
from eaves.exchange.scores import LEVELS, NODATA, decode_all, encode
from eaves.exchange.scoreview import ScoreView
from eaves.models.corrector import Corrector
from eaves.predict import ScoredScene, stream_refined
from eaves.refine import Correction
from eaves.scene import Scaling, Scene

SIDE = 150
ALL = Window(0, 0, SIDE, SIDE)


class Doubt:
    """Moves every score half-way to one half, and knows how far it looks."""

    name, halo_px = "doubt", 1

    def steps(self, image, scores, valid):
        yield scores
        yield self(image, scores, valid)

    def __call__(self, image, scores, valid):
        return (0.5 * scores + 0.5 / len(scores)) * valid


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Scene:
    path = tmp_path_factory.mktemp("refining") / "a.tif"
    rng = np.random.default_rng(0)
    grid = GeoBox((SIDE, SIDE), Affine(0.5, 0, 500_000, 0, -0.5, 5_200_000), "EPSG:32633")
    image = rng.integers(1, 255, (3, SIDE, SIDE), dtype=np.uint8)
    image[:, :20, :30] = 0
    with RasterWriter(path, grid, 3, "uint8", nodata=0) as writer:
        writer.write(0, image)
    return Scene(path)


def scored(scene: Scene, bands: int, classes) -> ScoredScene:
    rng = np.random.default_rng(1)
    levels = rng.integers(0, LEVELS // bands, (bands, SIDE, SIDE)).astype(np.uint8)
    levels[:, 60:70, 100:] = NODATA
    view = ScoreView(
        lambda w: levels[:, w.row_off : w.row_off + w.height, w.col_off : w.col_off + w.width],
        scene.grid,
        scene.grid,
        bands,
        "scores",
    )
    return ScoredScene(scene, Scaling.for_bytes(3), view, classes)


def whole(strips) -> np.ndarray:
    return np.concatenate([levels for _, levels in strips], axis=1)


@pytest.mark.parametrize("tile_px", [32, 64, 1000])
def test_tiles_do_not_show(scene, tile_px):
    torch.manual_seed(0)
    network = Corrector(3, 3, iterations=3)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.3 if "out" in name else 0.1))
    correct = Correction(network, Scaling.for_bytes(3))
    both = scored(scene, 2, [0, 1])
    image, valid = scene.read()
    scores, known = decode_all(both.view.read(ALL))
    valid &= known
    expected = encode(correct(Scaling.for_bytes(3).scale(image) * valid, scores * valid, valid)[1:], valid)
    found = whole(stream_refined(both, correct, tile_px=tile_px))
    assert np.array_equal(found == NODATA, expected == NODATA)
    assert np.abs(found.astype(int) - expected).max() <= 1  # blending rounds


def test_bands_that_are_no_class_ride_along(scene):
    given = scored(scene, 3, [2])
    found, before = whole(stream_refined(given, Doubt(), tile_px=64)), given.view.read(ALL)
    seen = scene.read()[1] & (before[0] != NODATA)
    assert np.array_equal(found[:2, seen], before[:2, seen])
    assert np.abs(found[2, seen] - (0.5 * before[2, seen] + LEVELS / 4)).max() <= 0.51
    assert (found[:, ~seen] == NODATA).all()


def test_every_step_can_be_had(scene):
    given = scored(scene, 2, [0, 1])
    found = whole(stream_refined(given, Doubt(), steps=1, tile_px=64))
    before = given.view.read(ALL)
    seen = found[0] != NODATA
    assert found.shape[0] == 4
    assert np.abs(found[:2, seen].astype(int) - before[:, seen]).max() <= 1
    assert np.abs(found[2:, seen] - (0.5 * before[:, seen] + LEVELS / 6)).max() <= 1
