from __future__ import annotations

import numpy as np
import pytest
import shapely
from affine import Affine
from rasterio.windows import Window

from eaves.errors import SettingsError
from eaves.labels import UNKNOWN
from eaves.sample import LabelledScene
from eaves.sample.turn import angles, turn_chip, turned_grid
from eaves.scene import window_grid

WINDOW = Window(70, 60, 64, 64)


def open_one(place, **image) -> LabelledScene:
    here = place()
    shapes = [
        shapely.box(80, 70, 110, 90),
        shapely.box(110, 70, 125, 90),
        shapely.Polygon([(90.3, 100), (140, 95), (120, 130)]),
    ]
    dataset = here.town()
    entry = dataset.scene[0].model_copy(
        update={
            "image": here.image(**image),
            "labels": (dataset.scene[0].labels[0].model_copy(update={"path": here.vectors("a.gpkg", shapes)}),),
        }
    )
    return LabelledScene(entry, dataset)


def turned(scene: LabelledScene, angle: float):
    return turn_chip(lambda window: scene.chip(window, True), WINDOW, angle)


@pytest.mark.parametrize("angle", [0, 90, 180, 270, 30, 45, 200.5])
def test_a_turned_grid_tells_where_pixels_are_from(place, angle):
    """Labels burnt on the turned grid are the turned labels."""
    scene = open_one(place)
    chip = turned(scene, angle)
    grid = turned_grid(window_grid(scene.grid, WINDOW), angle)
    expected = np.zeros((64, 64), np.uint8)
    for painter in scene._painters:
        painter.layer.burn(grid, expected, painter.value)
    assert chip.image.shape == (3, 64, 64)
    differ = chip.mask != expected
    assert differ.mean() <= (0 if angle % 90 == 0 else 0.02)  # nearest pixels against exact outlines
    assert chip.valid.all()
    assert chip.instances is not None
    assert np.unique(chip.instances).tolist() == [0, 1, 2, 3]
    assert ((chip.instances > 0) == (chip.mask == 1)).all()


def test_four_quarters_are_a_whole(place):
    scene = open_one(place)
    chip = scene.chip(WINDOW, True)
    for turns, angle in enumerate((0, 90, 180, 270)):
        for ours, theirs in zip(turned(scene, angle)[:4], chip[:4], strict=True):
            assert (np.asarray(ours) == np.rot90(np.asarray(theirs), turns, axes=(-2, -1))).all()


def test_the_corners_come_from_the_scene_and_nodata_stays(place):
    scene = open_one(place, nodata=0)  # nothing in the lower right quarter, from (100, 120) on
    chip = turned(scene, 30)
    assert 0 < (~chip.valid).sum() < chip.valid.size / 2
    assert (chip.image[:, ~chip.valid] == 0).all()
    assert (chip.mask[~chip.valid] == UNKNOWN).all()
    assert (chip.image[:, chip.valid] >= 10).all()  # no mixture with what is missing
    assert chip.valid[:20].all()


def test_a_picture_is_turned_like_its_labels(place):
    here = place()
    pixels = np.zeros((1, 200, 240), np.uint16)
    pixels[:, 70:90, 80:110] = 4000
    scene = open_one(place)
    entry = scene.entry.model_copy(update={"image": here.raster("squares.tif", pixels)})
    squares = LabelledScene(entry, here.town())
    chip = turned(squares, 30)
    assert chip.image.dtype == np.uint16
    first = chip.instances == chip.instances[np.unravel_index(chip.image[0].argmax(), (64, 64))]  # type: ignore[index]
    assert ((chip.image[0] > 2000) != first).mean() < 0.01


def test_angles():
    assert angles(120) == [0, 120, 240]
    assert angles(100) == [0, 100, 200, 300]
    assert len(angles(0.1 + 0.2)) == 1200
    for wrong in (-90, 360, float("nan")):
        with pytest.raises(SettingsError, match="an angle"):
            angles(wrong)


def test_a_turned_grid_keeps_the_middle():
    from odc.geo.geobox import GeoBox

    grid = GeoBox((10, 10), Affine(0.5, 0, 100, 0, -0.5, 200), "EPSG:32633")
    for angle in (0, 33, 90):
        assert turned_grid(grid, angle).affine * (5, 5) == pytest.approx((102.5, 197.5))
