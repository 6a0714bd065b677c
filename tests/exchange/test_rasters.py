from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning

from eaves.errors import OutputError
from eaves.exchange.rasters import RasterWriter, ScoreWriter, write_raster
from eaves.exchange.scoremap import open_scores
from eaves.exchange.scores import NODATA
from eaves.scene import Scene

NORTH_UP = Affine(0.5, 0, 500000, 0, -0.5, 4100000)
ROTATED = Affine.translation(500000, 4100000) @ Affine.rotation(30) @ Affine.scale(0.3, -0.3)
SOUTH_UP = Affine(0.3, 0, 10, 0, 0.3, 20)


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def reopened(path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path, **options)


def some_levels(bands, height, width):
    return np.random.default_rng(0).integers(0, 256, (bands, height, width), dtype=np.uint8)


def write_in_strips(path, grid, classes, levels, rows, metadata=None):
    with ScoreWriter(path, grid, classes, metadata) as writer:
        for row in range(0, levels.shape[1], rows):
            writer.write(row, levels[:, row : row + rows])


def test_score_map_is_a_cog_that_gdal_reads_as_scores(tmp_path):
    path = tmp_path / "größe und so.tif"
    levels = some_levels(2, 1100, 1300)
    levels[:, 0, 0] = NODATA
    write_in_strips(
        path, GeoBox((1100, 1300), NORTH_UP, "EPSG:32633"), ["building", "road"], levels, 300, {"command": "é"}
    )
    with rasterio.open(path) as file:
        assert file.driver == "GTiff"
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.block_shapes == [(512, 512)] * 2
        assert file.overviews(1)
        assert file.nodata == NODATA
        assert file.descriptions == ("building", "road")
        assert np.allclose(file.scales, 1 / 254)
        assert file.offsets == (0, 0)
        assert file.crs == "EPSG:32633"
        np.testing.assert_array_equal(file.read(), levels)
    assert names(tmp_path) == [path.name]


def test_bytes_do_not_depend_on_the_strips(tmp_path):
    levels = some_levels(1, 1030, 40)
    grid = GeoBox((1030, 40), NORTH_UP, "EPSG:32633")
    contents = set()
    for rows in (1030, 512, 100, 7):
        write_in_strips(tmp_path / "scores.tif", grid, ["building"], levels, rows)
        contents.add((tmp_path / "scores.tif").read_bytes())
    assert len(contents) == 1


def test_overviews_do_not_mix_in_nodata(tmp_path):
    levels = np.full((1, 1200, 1200), 254, np.uint8)
    levels[:, :, 601:] = NODATA
    write_in_strips(tmp_path / "s.tif", GeoBox((1200, 1200), NORTH_UP, "EPSG:32633"), ["building"], levels, 512)
    with rasterio.open(tmp_path / "s.tif", overview_level=0) as file:
        assert set(np.unique(file.read())) == {254, 255}


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326", None])
@pytest.mark.parametrize(
    "affine", [NORTH_UP, ROTATED, SOUTH_UP, Affine.identity(), Affine(1, 0, 0, 0, -1, 0)], ids=lambda a: str(a[:6])
)
def test_every_grid_survives(tmp_path, crs, affine):
    grid = GeoBox((5, 7), affine, crs)
    levels = some_levels(1, 5, 7)
    write_in_strips(tmp_path / "s.tif", grid, ["building"], levels, 5)
    scores = open_scores(tmp_path / "s.tif")
    assert scores.grid.affine.almost_equals(affine)
    assert scores.grid.crs == grid.crs
    np.testing.assert_array_equal(scores.read(), levels)


@pytest.mark.parametrize("bands", [1, 3, 4, 6])
def test_no_class_becomes_colour_or_transparency(tmp_path, bands):
    levels = some_levels(bands, 20, 30)
    names = [f"class {band}" for band in range(bands)]
    write_in_strips(tmp_path / "s.tif", GeoBox((20, 30), NORTH_UP, "EPSG:32633"), names, levels, 20)
    with rasterio.open(tmp_path / "s.tif") as file:
        assert not {ColorInterp.alpha, ColorInterp.red} & set(file.colorinterp)
    scores = open_scores(tmp_path / "s.tif")
    assert scores.classes == tuple(names)
    np.testing.assert_array_equal(scores.read(), levels)


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_failure_leaves_nothing(tmp_path, kind):
    def write_half():
        with ScoreWriter(tmp_path / "s.tif", GeoBox((900, 9), NORTH_UP, None), ["b"]) as writer:
            writer.write(0, some_levels(1, 600, 9))
            raise kind

    with pytest.raises(kind):
        write_half()
    assert names(tmp_path) == []


STRIP = some_levels(1, 5, 9)


@pytest.mark.parametrize(
    ("strips", "message"),
    [
        ([(1, STRIP)], "where row 0 of 10"),
        ([(0, STRIP), (0, STRIP)], "where row 5 of 10"),
        ([(0, STRIP), (5, STRIP), (10, STRIP)], "where row 10 of 10"),
        ([(0, STRIP)], "of which 5 were written"),
        ([(0, STRIP[:, :, :8])], "a strip of"),
        ([(0, STRIP.astype(float))], "a strip of"),
        ([(0, STRIP[0])], "a strip of"),
    ],
)
def test_rows_must_come_once_in_order_and_fit(tmp_path, strips, message):
    def write():
        with ScoreWriter(tmp_path / "s.tif", GeoBox((10, 9), NORTH_UP, None), ["b"]) as writer:
            for row0, strip in strips:
                writer.write(row0, strip)

    with pytest.raises(ValueError, match=message):
        write()
    assert names(tmp_path) == []


def test_every_band_needs_a_name(tmp_path):
    grid = GeoBox((10, 9), NORTH_UP, None)
    with pytest.raises(ValueError, match="as many names"):
        write_raster(tmp_path / "s.tif", grid, STRIP, descriptions=["a", "b"])
    assert names(tmp_path) == []


def test_place_is_checked_on_entering(tmp_path):
    with pytest.raises(OutputError), ScoreWriter(tmp_path, GeoBox((10, 9), NORTH_UP, None), ["b"]):
        pytest.fail("entered")


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_full_disk_is_an_output_error_and_leaves_nothing(tmp_path):
    code = f"""
import resource
import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from eaves.errors import OutputError
from eaves.exchange.rasters import write_raster
noise = np.random.default_rng(0).integers(0, 255, (1, 1000, 1000), dtype=np.uint8)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    write_raster({str(tmp_path / "x.tif")!r}, GeoBox((1000, 1000), Affine.scale(2), None), noise)
except OutputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "check the room on the disk" in done.stdout
    assert names(tmp_path) == []


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
@pytest.mark.parametrize("bands", [1, 3, 4])
def test_plain_rasters_come_back(tmp_path, dtype, bands):
    array = np.random.default_rng(1).uniform(0, 200, (bands, 30, 40)).astype(dtype)
    names = [f"band {band}" for band in range(bands)]
    grid = GeoBox((30, 40), ROTATED, "EPSG:32633")
    write_raster(tmp_path / "x.tif", grid, array, nodata=3, descriptions=names, metadata={"seed": 1})
    with rasterio.open(tmp_path / "x.tif") as file:
        np.testing.assert_array_equal(file.read(), array)
        assert file.dtypes == (dtype,) * bands
        assert file.nodata == 3
        assert file.descriptions == tuple(names)
        assert file.tags()["EAVES"] == '{"seed": 1}'
        assert file.profile["tiled"]
        assert (file.colorinterp[0] == ColorInterp.red) == (bands == 3 and dtype == "uint8")
    assert Scene(tmp_path / "x.tif").bands == tuple(range(1, bands + 1))


def test_strips_of_a_plain_raster_in_pixel_space(tmp_path):
    array = some_levels(3, 700, 20)
    with RasterWriter(tmp_path / "x.tif", GeoBox((700, 20), Affine.identity(), None), 3, "uint8") as writer:
        for row in range(0, 700, 90):
            writer.write(row, array[:, row : row + 90])
    with reopened(tmp_path / "x.tif") as file:
        assert file.crs is None
        np.testing.assert_array_equal(file.read(), array)
