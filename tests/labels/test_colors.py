from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from eaves.errors import SceneError, SettingsError
from eaves.exchange.rasters import write_raster
from eaves.labels.colors import COLORS, check_color, color_index, of_color, roof_colors
from eaves.scene import Scene
from eaves.synth.style import ROOF_COLOURS

PAINT = {
    "white": (230, 228, 225),
    "grey": (130, 130, 132),
    "black": (25, 25, 28),
    "red": (170, 60, 55),
    "brown": (120, 90, 65),
    "yellow": (215, 190, 90),
    "green": (80, 140, 90),
    "blue": (60, 110, 170),
    "purple": (150, 70, 160),
}


def name(color) -> str:
    return COLORS[color_index(np.array(color, np.uint8).reshape(3, 1, 1))[0, 0]]


@pytest.mark.parametrize("color", COLORS)
def test_colours_have_the_names_that_people_give_them(color):
    assert name(PAINT[color]) == color


def test_blue_roofs_of_the_city_are_blue_and_others_not():
    told = {key: name(color) for key, (color, _) in ROOF_COLOURS.items()}
    assert [key for key, color in told.items() if color == "blue"] == ["blue-metal"]


@given(level=st.integers(0, 255))
def test_grey_has_no_hue(level):
    assert name((level,) * 3) in ("white", "grey", "black")


@given(red=st.integers(40, 100), shade=st.floats(0.45, 1.0))
def test_a_blue_roof_in_the_shade_is_blue(red, shade):
    assert name(np.array([red, red + 45, red + 105]) * shade) == "blue"


def test_other_images_are_refused():
    for image in (np.zeros((3, 4, 4), np.uint16), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4), np.uint8)):
        with pytest.raises(SceneError, match="8-bit red, green and blue"):
            color_index(image)


def test_a_colour_must_be_one():
    assert check_color("blue") == "blue"
    with pytest.raises(SettingsError, match="a colour of white, grey"):
        check_color("azure")


@pytest.fixture
def scene(tmp_path):
    """A blue, a red, and a half blue roof on grey ground, across a border of blocks; no imagery in a corner."""
    image = np.full((3, 120, 2200), 120, np.uint8)
    image[:, 10:40, 2030:2070] = np.array(PAINT["blue"])[:, None, None]
    image[:, 50:80, 10:40] = np.array(PAINT["red"])[:, None, None]
    image[:, 50:80, 60:75] = np.array(PAINT["blue"])[:, None, None]
    image[:, 50:80, 75:90] = np.array(PAINT["white"])[:, None, None]
    image[:, 100:, :50] = 0
    grid = GeoBox((120, 2200), Affine(0.5, 0, 300_000, 0, -0.5, 4_000_000), "EPSG:32645")
    write_raster(tmp_path / "s.tif", grid, image, nodata=0)
    return Scene(tmp_path / "s.tif")


def roofs(scene):
    boxes = [(2030, 10, 2070, 40), (10, 50, 40, 80), (60, 50, 90, 80), (0, 102, 30, 118), (-90, 0, -50, 30)]
    shapes = [shapely.box(*box) for box in boxes]
    a = scene.grid.affine
    return gpd.GeoDataFrame(geometry=shapes, crs=None).affine_transform([a.a, a.b, a.d, a.e, a.c, a.f])


def test_polygons_have_the_colour_of_most_of_their_pixels(scene):
    table = gpd.GeoDataFrame(geometry=roofs(scene), crs="EPSG:32645").to_crs("EPSG:4326")
    table.index = list("abcde")
    told = roof_colors(table, scene)
    assert told.index.tolist() == list("abcde")
    assert told["roof_color"].tolist()[:2] == ["blue", "red"]
    assert told["roof_color"].isna().tolist() == [False, False, False, True, True]
    assert told["blue_share"].to_numpy()[:3] == pytest.approx([1, 0, 0.5], abs=0.03)
    assert np.isnan(told["blue_share"].to_numpy()[3:]).all()
    assert of_color(table, scene, "blue").tolist()[:2] == [True, False]


def test_polygons_that_overlap_are_each_measured_whole(scene):
    shapes = roofs(scene).iloc[[0]]
    part = gpd.GeoSeries([shapes.iloc[0].buffer(-3)])
    table = gpd.GeoDataFrame(geometry=[shapes.iloc[0], shapes.iloc[0].buffer(40), part.iloc[0]], crs="EPSG:32645")
    told = roof_colors(table, scene)
    assert told["roof_color"].tolist() == ["blue", "grey", "blue"]
    assert told["blue_share"].iloc[0] == pytest.approx(1)


def test_no_polygons_have_no_colours(scene):
    told = roof_colors(gpd.GeoDataFrame(geometry=[], crs="EPSG:32645"), scene)
    assert list(told.columns) == ["roof_color", "blue_share"]
    assert not len(told)
