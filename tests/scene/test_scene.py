"""Opening and reading rasters of many kinds."""

import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

from eaves.errors import SceneError
from eaves.scene import Scene

UTM = Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000)


def write(path, image, *, crs="EPSG:32633", transform=UTM, driver="GTiff", colors=None, mask=None, **profile):
    bands, height, width = image.shape
    profile |= {"driver": driver, "count": bands, "height": height, "width": width, "dtype": image.dtype}
    if crs:
        profile |= {"crs": crs, "transform": transform}
    with warnings.catch_warnings(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", **profile) as file:
            file.write(image)
            if colors:
                file.colorinterp = colors
            if mask is not None:
                file.write_mask(mask)
    return path


def noise(bands=3, height=60, width=80, dtype="uint8", seed=0):
    return np.random.default_rng(seed).integers(1, 200, (bands, height, width)).astype(dtype)


@pytest.fixture(scope="module")
def ortho(tmp_path_factory):
    return write(tmp_path_factory.mktemp("scene") / "a.tif", noise())


def test_opens_and_reads_what_is_there(ortho):
    scene = Scene(ortho)
    image, valid = scene.read()
    assert scene.shape == (60, 80)
    assert scene.bands == (1, 2, 3)
    assert scene.gsd_m == pytest.approx(0.5, rel=1e-3)
    assert valid.all()
    np.testing.assert_array_equal(image, noise())


def test_windows_outside_are_padded_and_not_valid(ortho):
    image, valid = Scene(ortho).read(Window(-5, -7, 20, 20))
    assert not valid[:7].any()
    assert not valid[:, :5].any()
    assert valid[7:, 5:].all()
    np.testing.assert_array_equal(image[:, 7:, 5:], noise()[:, :13, :15])
    image, valid = Scene(ortho).read(Window(500, 500, 4, 4))
    assert not valid.any()
    assert not image.any()


@settings(max_examples=30)
@given(st.floats(0.15, 3.0), st.integers(0, 30), st.integers(0, 20), st.integers(1, 30), st.integers(1, 30))
def test_a_window_equals_the_same_window_of_the_whole_at_any_resolution(ortho, gsd, col, row, width, height):
    scene = Scene(ortho).at(gsd)
    whole, _ = scene.read()
    rows, cols = scene.shape
    part, valid = scene.read(Window(col, row, width, height))
    expected = whole[:, row : row + height, col : col + width]
    assert valid.sum() == max(0, min(height, rows - row)) * max(0, min(width, cols - col))
    np.testing.assert_array_equal(part[:, : expected.shape[1], : expected.shape[2]], expected)


@settings(max_examples=20)
@given(st.floats(0.1, 4.0))
def test_resampling_keeps_a_constant_and_the_extent(tmp_path_factory, gsd):
    path = tmp_path_factory.mktemp("constant") / "c.tif"
    scene = Scene(write(path, np.full((1, 37, 53), 77, np.uint8))).at(gsd)
    image, valid = scene.read()
    assert valid.all()
    assert (image == 77).all()
    right, bottom = scene.grid.affine * (scene.shape[1], scene.shape[0])
    assert 0 <= right - (500_000 + 53 * 0.5) < gsd * 1.01
    assert 0 <= (5_000_000 - 37 * 0.5) - bottom < gsd * 1.01


def test_averaging_is_the_mean_of_what_is_covered(ortho):
    scene = Scene(ortho)
    image, _ = scene.at(2 * scene.native_gsd_m).read()
    expected = noise().reshape(3, 30, 2, 40, 2).mean(axis=(2, 4))
    assert np.abs(image - expected).max() <= 0.5 + 1e-3


def test_gsd_of_web_mercator_is_on_the_ground(tmp_path):
    transform = Affine(1, 0, 9_520_000, 0, -1, 3_200_000)  # 27.6 degrees north
    scene = Scene(write(tmp_path / "m.tif", noise(), crs="EPSG:3857", transform=transform))
    assert scene.gsd_m == pytest.approx(np.cos(np.radians(27.6)), rel=5e-3)


def test_gsd_of_degrees_is_on_the_ground(tmp_path):
    transform = Affine(1e-5, 0, 10, 0, -1e-5, 60)
    scene = Scene(write(tmp_path / "d.tif", noise(), crs="EPSG:4326", transform=transform))
    assert scene.gsd_m == pytest.approx(np.sqrt(1.114 * 0.5575), rel=5e-3)


@pytest.mark.parametrize(
    "transform",
    [Affine(0.5, 0, 500_000, 0, 0.5, 5_000_000), UTM * Affine.rotation(30)],
    ids=["south-up", "rotated"],
)
def test_odd_transforms_keep_their_size_and_pixels(tmp_path, transform):
    scene = Scene(write(tmp_path / "t.tif", noise(), transform=transform))
    assert scene.gsd_m == pytest.approx(0.5, rel=2e-3)
    np.testing.assert_array_equal(scene.read()[0], noise())
    assert scene.at(1.0).grid.affine * (10, 10) == pytest.approx(transform * (20, 20), abs=0.02)


def test_pixel_space_has_no_resolution_until_one_is_stated(tmp_path):
    path = write(tmp_path / "p.png", noise(), crs=None, driver="PNG")
    scene = Scene(path)
    assert scene.crs is None
    assert scene.gsd_m is None
    with pytest.raises(SceneError, match="ground resolution"):
        scene.at(0.3)
    assert Scene(path, ground_gsd_m=0.5).at(1.0).shape == (30, 40)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_nodata_tag_masks_and_does_not_bleed(tmp_path, dtype):
    image = np.full((2, 20, 20), 100, dtype)
    image[:, :, :10] = 7
    scene = Scene(write(tmp_path / "n.tif", image, nodata=7))
    pixels, valid = scene.read()
    assert valid.sum() == 200
    assert not pixels[:, ~valid].any()
    pixels, valid = scene.at(0.75).read()
    assert set(np.unique(pixels[:, valid])) == {100} if dtype != "float32" else np.allclose(pixels[:, valid], 100)


def test_nodata_needs_every_band_to_say_so(tmp_path):
    image = np.full((3, 8, 8), 255, np.uint8)
    image[0, 4:] = 10
    assert Scene(write(tmp_path / "w.tif", image), nodata=255).read()[1].sum() == 32


def test_nan_is_not_valid(tmp_path):
    image = np.ones((1, 10, 10), np.float32)
    image[0, 2, 3], image[0, 5, 5] = np.nan, np.inf
    pixels, valid = Scene(write(tmp_path / "f.tif", image)).read()
    assert (~valid).sum() == 2
    assert np.isfinite(pixels).all()


def test_alpha_is_a_mask_not_a_band(tmp_path):
    image = noise(4)
    image[3], image[3, :, :40] = 255, 0
    colors = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    scene = Scene(write(tmp_path / "alpha.tif", image, colors=colors))
    assert scene.bands == (1, 2, 3)
    assert scene.read()[1].sum() == 60 * 40


def test_mask_band(tmp_path):
    mask = np.zeros((60, 80), np.uint8)
    mask[:30] = 255
    assert Scene(write(tmp_path / "m.tif", noise(), mask=mask)).read()[1].sum() == 30 * 80


def test_palette_becomes_colours(tmp_path):
    path = tmp_path / "palette.tif"
    with rasterio.open(path, "w", driver="GTiff", count=1, height=4, width=4, dtype="uint8", crs="EPSG:32633",
                       transform=UTM, photometric="palette") as file:  # fmt: skip
        file.write(np.full((1, 4, 4), 3, np.uint8))
        file.write_colormap(1, {3: (10, 20, 30, 255)})
    image, valid = Scene(path).read()
    assert image[:, 0, 0].tolist() == [10, 20, 30]
    assert valid.all()


def test_pickles_and_reads_in_threads(ortho):
    scene = Scene(ortho).at(0.7)
    copy = pickle.loads(pickle.dumps(scene))
    expected = scene.read()[0]
    with ThreadPoolExecutor(4) as pool:
        for image, _ in pool.map(lambda _: copy.read(), range(8)):
            np.testing.assert_array_equal(image, expected)


def test_refuses_what_is_not_a_raster(tmp_path):
    html = tmp_path / "page.tif"
    html.write_text("<html>not found</html>")
    (tmp_path / "empty.tif").touch()
    for path in (html, tmp_path / "empty.tif"):
        with pytest.raises(SceneError, match="Expected a raster"):
            Scene(path)
    with pytest.raises(SceneError, match="does not exist"):
        Scene(tmp_path / "none.tif")


def test_a_vrt_in_disguise_is_refused(tmp_path, ortho):
    vrt = tmp_path / "innocent.tif"
    vrt.write_text(
        f'<VRTDataset rasterXSize="80" rasterYSize="60"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f"<SourceFilename>{ortho}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(SceneError, match="allow-vrt"):
        Scene(vrt)
    assert Scene(vrt, allow_vrt=True).read()[1].all()


def test_a_truncated_file_is_an_error_with_the_place(tmp_path, ortho):
    whole = write(tmp_path / "whole.tif", noise(3, 400, 400), compress="deflate", tiled=True, blockxsize=128,
                  blockysize=128)  # fmt: skip
    cut = tmp_path / "cut.tif"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    with pytest.raises(SceneError, match=r"readable pixels|Expected a raster"):
        Scene(cut).read()


def test_bands_must_exist(ortho):
    with pytest.raises(SceneError, match="bands between 1 and 3"):
        Scene(ortho, bands=(1, 4))
    assert Scene(ortho, bands=(3, 1)).read()[0].shape == (2, 60, 80)


def test_ground_control_points_without_a_grid_are_refused(tmp_path):
    path = tmp_path / "gcp.tif"
    gcps = [rasterio.control.GroundControlPoint(r, c, c, -r) for r, c in ((0, 0), (0, 10), (10, 0))]
    with rasterio.open(path, "w", driver="GTiff", count=1, height=10, width=10, dtype="uint8", gcps=gcps,
                       crs="EPSG:32633") as file:  # fmt: skip
        file.write(np.ones((1, 10, 10), np.uint8))
    with pytest.raises(SceneError, match="gdalwarp"):
        Scene(path)


def test_real_scenes_open(eaves_data):
    scene = Scene(eaves_data / "banepa/banepa.tif")
    assert scene.shape == (8704, 11264)
    assert scene.gsd_m == pytest.approx(0.132, abs=0.001)
    assert Scene(eaves_data / "samples/vegas/vegas_rgb_uint16.tif").gsd_m == pytest.approx(0.27, abs=0.01)
    assert Scene(eaves_data / "samples/zurich/14.tif").bands == (1, 2, 3, 4)
    assert Scene(eaves_data / "dubai/tile_1/images/image_part_001.jpg").crs is None
