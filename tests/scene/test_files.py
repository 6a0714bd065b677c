"""What a nodata value means in pixels of each type."""

import numpy as np
import pytest
import rasterio
from affine import Affine

from eaves.scene import Scene
from eaves.scene.files import as_pixel, is_blank


@pytest.mark.parametrize(
    ("value", "dtype", "pixel"),
    [
        (255.0, "uint8", np.uint8(255)),
        (256, "uint8", None),
        (-1, "uint16", None),
        (0.5, "int16", None),
        (float("nan"), "uint8", None),
        (float("inf"), "int32", None),
        (-32768, "int16", np.int16(-32768)),
        (-3.4028234663852886e38, "float32", np.finfo("float32").min),
        (1e300, "float32", None),
        (float("-inf"), "float32", np.float32("-inf")),
        (None, "uint8", None),
    ],
)
def test_a_value_is_what_a_pixel_can_hold(value, dtype, pixel):
    found = as_pixel(value, np.dtype(dtype))
    assert found == pixel
    assert pixel is None or found.dtype == dtype


def test_not_a_number_stays_one():
    assert np.isnan(as_pixel(float("nan"), np.dtype("float64")))


def test_blank_is_what_every_band_says():
    pixels = np.array([[[7, 7, 1]], [[7, 2, 7]]], np.uint8)
    assert is_blank(pixels, np.uint8(7)).tolist() == [[True, False, False]]
    assert is_blank(np.full((2, 1, 1), np.nan, np.float32), np.float32("nan")).all()
    assert not is_blank(pixels, np.uint8(9)).any()


@pytest.mark.parametrize(
    ("tags", "imagery", "day"),
    [
        ({"TIFFTAG_DATETIME": "2026:05:31 10:11:12"}, {}, "2026-05-31"),
        ({"TIFFTAG_DATETIME": "2026:06:01 00:00:00", "ACQUISITION_DATE": "2025-01-02"}, {}, "2025-01-02"),
        ({"ACQUISITION_DATE": "2025-01-02"}, {"ACQUISITIONDATETIME": "2024-12-31 23:59:59"}, "2024-12-31"),
        ({"TIFFTAG_DATETIME": "0000:00:00 00:00:00"}, {}, None),
        ({"TIFFTAG_DATETIME": "yesterday"}, {}, None),
        ({}, {}, None),
    ],
)
def test_the_day_is_what_the_file_says(tmp_path, tags, imagery, day):
    path = tmp_path / "scene.tif"
    grid = {"crs": "EPSG:32633", "transform": Affine(0.3, 0, 5e5, 0, -0.3, 5e6)}
    with rasterio.open(path, "w", driver="GTiff", width=4, height=4, count=1, dtype="uint8", **grid) as made:
        made.write(np.ones((1, 4, 4), np.uint8))
        made.update_tags(**tags)
        made.update_tags(ns="IMAGERY", **imagery)
    assert Scene(path).date == day
