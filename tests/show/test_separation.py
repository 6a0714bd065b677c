"""The figure of parted buildings: maps as they are, and every building in a colour of its own."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from matplotlib.axes import Axes
from matplotlib.image import imread

from eaves.exchange.scores import encode
from eaves.show import separation_figure
from eaves.show.separation import _colors

IMAGE = np.full((3, 60, 90), 90, np.uint8)
HOUSES = [shapely.box(10 + 20 * i, 10, 30 + 20 * i, 50) for i in range(3)]


def numbers() -> np.ndarray:
    at = np.zeros((60, 90), np.uint16)
    for index in range(3):
        at[10:50, 10 + 20 * index : 30 + 20 * index] = index + 1
    return at


def maps(nodata=False) -> np.ndarray:
    building = (numbers() > 0).astype(np.float32)
    scores = np.stack([building, np.linspace(0, 1, 90, dtype=np.float32) * np.ones((60, 1), np.float32)])
    return encode(scores, np.arange(60)[:, None] >= (20 if nodata else 0) * np.ones((1, 90), int))


@pytest.fixture
def shown(monkeypatch):
    """What goes into each panel: ``(title, image)``."""
    panels: dict[int, list] = {}
    show, title = Axes.imshow, Axes.set_title
    monkeypatch.setattr(
        Axes, "imshow", lambda axes, X, **how: panels.setdefault(id(axes), [X]) and show(axes, X, **how)
    )
    monkeypatch.setattr(
        Axes, "set_title", lambda axes, text, **how: panels[id(axes)].insert(0, text) or title(axes, text, **how)
    )
    return panels


@pytest.mark.parametrize(
    "objects", [numbers(), HOUSES, np.array(HOUSES, dtype=object)], ids=["raster", "list", "array"]
)
def test_buildings_have_colours_of_their_own(tmp_path, objects):
    separation_figure(IMAGE, maps(), objects, tmp_path / "s.png", title="a row")
    picture = imread(tmp_path / "s.png")[..., :3]
    last = picture[:, 3 * picture.shape[1] // 4 :]
    values, counts = np.unique(last.reshape(-1, 3).round(2), axis=0, return_counts=True)
    coloured = values[(counts > 0.03 * last[..., 0].size) & (np.ptp(values, axis=1) > 0.1)]
    assert len(coloured) == 3


@pytest.mark.parametrize("bands", [("building", "border"), ("building", "distance"), ("building",)])
def test_every_map_is_shown_as_it_is(tmp_path, shown, bands):
    separation_figure(IMAGE, maps()[: len(bands)], numbers(), tmp_path / "s.png", bands=bands)
    (_, first), *middle, (title, last) = shown.values()
    assert (first == 90).all()
    assert title == "3 buildings"
    assert last.shape == (60, 90, 3)
    assert [name for name, _ in middle] == list(bands)
    for (_, drawn), level in zip(middle, maps(), strict=False):
        np.testing.assert_allclose(drawn, level / 254)


def test_no_imagery_is_not_a_score(tmp_path, shown):
    separation_figure(IMAGE, maps(nodata=True), numbers(), tmp_path / "s.png")
    for _, drawn in list(shown.values())[1:3]:
        assert np.isnan(drawn[:20]).all()
        assert not np.isnan(drawn[20:]).any()


def test_floats_are_taken_as_they_are(tmp_path, shown):
    scores = np.random.default_rng(0).random((2, 60, 90)).astype(np.float32)
    separation_figure(IMAGE, scores, numbers(), tmp_path / "s.png")
    np.testing.assert_array_equal([drawn for _, drawn in list(shown.values())[1:3]], scores)


@pytest.mark.parametrize("objects", [[], np.zeros((60, 90), np.uint16), numbers() * 7, numbers() + 1, [HOUSES[0]]])
def test_any_number_of_buildings(tmp_path, shown, objects):
    separation_figure(IMAGE, maps(), objects, tmp_path / "s.png")
    array = np.asarray(objects)
    expected = len(objects) if isinstance(objects, list) else len(np.unique(array[array > 0]))
    assert list(shown.values())[-1][0] == f"{expected} buildings"


def test_courtyards_stay_open(tmp_path):
    ring = shapely.box(10, 5, 80, 55).difference(shapely.box(30, 15, 60, 45))
    separation_figure(IMAGE, maps(), [ring], tmp_path / "s.png")
    picture = imread(tmp_path / "s.png")[..., :3]
    last = picture[:, 3 * picture.shape[1] // 4 :]
    grey = np.ptp(last[len(last) // 2 - 10 : len(last) // 2 + 10, last.shape[1] // 2], axis=-1)
    assert (grey < 0.02).all()


def test_shapes_that_do_not_fit(tmp_path):
    for scores, objects in ((maps()[:1], numbers()), (maps()[:, :50], numbers()), (maps(), numbers()[:50])):
        with pytest.raises(ValueError, match="expected"):
            separation_figure(IMAGE, scores, objects, tmp_path / "s.png")
    assert not (tmp_path / "s.png").exists()


def test_colours_differ():
    assert len(np.unique(_colors(200).round(6), axis=0)) == 200
