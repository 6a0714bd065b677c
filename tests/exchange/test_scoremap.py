from __future__ import annotations

import pickle

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from eaves.errors import SceneError
from eaves.exchange.rasters import ScoreWriter, write_raster
from eaves.exchange.scoremap import open_scores
from eaves.exchange.scores import NODATA, decode

GRID = GeoBox((90, 70), Affine(0.5, 0, 500000, 0, -0.5, 4100000), "EPSG:32633")
RNG = np.random.default_rng(3)
LEVELS = RNG.integers(0, 256, (2, 90, 70), dtype=np.uint8)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    path = tmp_path_factory.mktemp("scores") / "own.tif"
    with ScoreWriter(path, GRID, ["building", "road"], {"version": "1", "settings": {"tile_px": 512}}) as writer:
        writer.write(0, LEVELS)
    return path


def foreign(path, array, **options):
    write_raster(path, GeoBox(array.shape[1:], GRID.affine, GRID.crs), array, **options)
    return path


def test_own_map_tells_what_it_is(own):
    scores = open_scores(own)
    assert scores.classes == ("building", "road")
    assert scores.metadata == {"version": "1", "settings": {"tile_px": 512}}
    assert scores.shape == (90, 70)
    assert scores.grid == GRID
    assert scores.gsd_m == pytest.approx(0.5, rel=1e-3)
    assert "building, road" in repr(scores)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(scores)).read(), LEVELS)


@given(rows=st.integers(1, 100))
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_strips_cover_all_once(own, rows):
    strips = list(open_scores(own).strips(rows))
    assert [row for row, _ in strips] == list(range(0, 90, rows))
    np.testing.assert_array_equal(np.concatenate([levels for _, levels in strips], axis=1), LEVELS)


def test_outside_is_unknown(own):
    levels = open_scores(own).read(Window(-2, 85, 10, 10))
    assert (levels[:, :, :2] == NODATA).all()
    assert (levels[:, 5:] == NODATA).all()
    np.testing.assert_array_equal(levels[:, :5, 2:], LEVELS[:, 85:, :8])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_foreign_floats_are_encoded(tmp_path, dtype):
    scores = RNG.random((1, 90, 70)).astype(dtype)
    scores[0, 0, 0] = np.nan
    scores[0, 0, 1] = -9999
    scores[0, 0, 2] = 1
    opened = open_scores(foreign(tmp_path / "f.tif", scores, nodata=-9999))
    assert opened.classes == ("building",)
    assert opened.metadata == {}
    back, valid = decode(opened.read())
    assert not valid[0, 0, :2].any()
    assert valid.sum() == valid.size - 2
    assert back[0, 0, 2] == 1
    assert np.abs(back - scores)[valid].max() <= 1 / 255


def test_logits_are_refused(tmp_path):
    scores = open_scores(foreign(tmp_path / "f.tif", np.full((1, 9, 9), 3.5, np.float32)))
    with pytest.raises(SceneError, match=r"Received 3\.5.*convert logits"):
        scores.read()


def test_bytes_need_a_scale(tmp_path):
    path = foreign(tmp_path / "b.tif", np.array([[[0, 51, 255]]], np.uint8))
    with pytest.raises(SceneError, match="1/255 if 255 means certain"):
        open_scores(path)
    scores, valid = decode(open_scores(path, scale=1 / 255).read())
    assert valid.all()
    np.testing.assert_allclose(scores, [[[0, 0.2, 1]]], atol=0.5 / 254)
    with pytest.raises(SceneError, match="above 0"):
        open_scores(path, scale=0)


def test_bytes_that_say_255_is_nodata(tmp_path):
    path = foreign(tmp_path / "b.tif", np.array([[[0, 51, 255]]], np.uint8), nodata=255)
    assert decode(open_scores(path, scale=1 / 255).read())[1].tolist() == [[[True, True, False]]]


def test_masks_are_scores_too(tmp_path):
    path = foreign(tmp_path / "m.tif", np.array([[[0, 1, 1]]], np.uint8))
    assert open_scores(path, scale=1).read().tolist() == [[[0, 254, 254]]]
    with pytest.raises(SceneError, match="scale"):
        open_scores(foreign(tmp_path / "n.tif", np.array([[[0, 255]]], np.uint8)), scale=1).read()


def test_scale_of_the_file_is_used(tmp_path):
    path = foreign(tmp_path / "u.tif", np.array([[[0, 5000, 10000]]], np.uint16))
    with rasterio.open(path, "r+") as file:
        file.scales = (1e-4,)
    assert open_scores(path).read().tolist() == [[[0, 127, 254]]]


def test_bands_without_names_are_numbered(tmp_path):
    assert open_scores(foreign(tmp_path / "f.tif", np.zeros((2, 3, 3), np.float32))).classes == ("band_1", "band_2")


def test_not_a_raster(tmp_path):
    (tmp_path / "x.tif").write_text("<html>")
    with pytest.raises(SceneError):
        open_scores(tmp_path / "x.tif")
