from __future__ import annotations

import numpy as np
import pytest
import shapely
from matplotlib.image import imread

from eaves.errors import OutputError
from eaves.show import sides_figure

GREY = np.full((3, 60, 90), 128, np.uint8)
ROW = np.array([shapely.box(5, 5, 25, 40), shapely.box(25, 5, 45, 40)], object)
COURT = np.array([shapely.box(50, 5, 85, 40).difference(shapely.box(60, 15, 75, 30))], object)


def panels(path, count):
    picture = imread(path)[..., :3]
    return [part[30:] for part in np.array_split(picture, count, axis=1)]


def colored(panel) -> np.ndarray:
    return np.ptp(panel, axis=-1) > 0.1


def test_every_building_has_its_colour_and_the_input_none(tmp_path):
    sides_figure(GREY, ROW, tmp_path / "s.png", reference=COURT, width_px=900)
    image, found, reference = panels(tmp_path / "s.png", 3)
    assert not colored(image)[5:-5, 5:-15].any()
    assert colored(found).mean() == pytest.approx(1400 / 5400, abs=0.04)
    left, right = found[60, 50], found[60, 110]
    assert np.abs(left - right).max() > 0.1  # neighbours differ
    assert colored(reference).mean() == pytest.approx((35 * 35 - 15 * 15) / 5400, abs=0.04)  # the courtyard stays


def test_without_a_reference_there_are_two(tmp_path):
    sides_figure(GREY, ROW, tmp_path / "s.png", width_px=600)
    image, found = panels(tmp_path / "s.png", 2)
    assert not colored(image)[5:-5, 5:-15].any()
    assert colored(found).any()


def test_nothing_found_is_a_picture_too(tmp_path):
    sides_figure(GREY, np.array([shapely.Polygon()], object), tmp_path / "s.png", reference=np.array([], object))
    assert (tmp_path / "s.png").stat().st_size > 1000


def test_tall_scenes_make_pictures_of_a_bounded_height(tmp_path):
    sides_figure(np.zeros((3, 2000, 100), np.uint8), ROW, tmp_path / "s.png", width_px=800)
    assert imread(tmp_path / "s.png").shape[0] <= 840


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        sides_figure(GREY, ROW, tmp_path / "file" / "s.png")
