"""Figures of several models: what was measured is drawn where it belongs, what was not is not drawn."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from eaves.errors import OutputError
from eaves.show import Scored, compare_curves, compare_figure
from eaves.show.comparison import _BARS, _POINTS, _colors
from eaves.show.figures import TRAIN, VALIDATION

FULL = {"iou": (0.8, 0.05), "object_f1": (0.4, 0.0), "ap50": (0.3, 0.0), "merged": (12.0, 2.0), "split": (3.0, 0.0)}


def where(path, color) -> np.ndarray:
    """Bool ``(row, col)``: pixels of a colour."""
    return (np.abs(imread(path)[..., :3] - np.array(to_rgb(color))) < 0.06).all(axis=-1)


def curve(level, epochs=5):
    return [{"epoch": n, "train_loss": level / n, "val_loss": 1.1 * level / n, "val_iou": 1 - level / n / 2}
            for n in range(1, epochs + 1)]  # fmt: skip


def test_scores_lie_where_they_should(tmp_path):
    rows = [Scored("low", "", {"iou": (0.25, 0.0)}), Scored("high", "", {"iou": (0.75, 0.0)})]
    compare_figure(rows, tmp_path / "c.png")
    drawn = where(tmp_path / "c.png", TRAIN)
    ruler = [Scored("low", "", {"iou": (0.0, 0.0)}), Scored("high", "", {"iou": (1.0, 0.0)})]
    compare_figure(ruler, tmp_path / "r.png")
    ends = where(tmp_path / "r.png", TRAIN)
    body = slice(0, int(0.8 * len(drawn)))  # without the legend

    def middle(picture, half):
        rows, cols = np.nonzero(picture[body])
        upper = rows < np.median(np.unique(rows))
        return cols[upper if half == "upper" else ~upper].mean()

    left, right = middle(ends, "upper"), middle(ends, "lower")
    assert (middle(drawn, "upper") - left) / (right - left) == pytest.approx(0.25, abs=0.02)
    assert (middle(drawn, "lower") - left) / (right - left) == pytest.approx(0.75, abs=0.02)


def test_everything_measured_is_drawn(tmp_path):
    compare_figure([Scored("a", "banepa", FULL)], tmp_path / "c.png", title="all")
    for _, _, color, *_ in (*_POINTS, *_BARS):
        assert where(tmp_path / "c.png", color).any(), color


@pytest.mark.parametrize(("left_out", "color"), [("object_f1", VALIDATION), ("merged", _BARS[0][2])])
def test_what_was_not_measured_is_not_drawn(tmp_path, left_out, color):
    values = {key: value for key, value in FULL.items() if key != left_out}
    compare_figure([Scored("a", "banepa", values)], tmp_path / "c.png")
    assert not where(tmp_path / "c.png", color).any()


def test_texts_and_order(tmp_path, monkeypatch):
    said, write = [], Axes.text
    monkeypatch.setattr(
        Axes, "text", lambda axes, x, y, text, **how: said.append((y, text)) or write(axes, x, y, text, **how)
    )
    rows = [Scored("a", "banepa", FULL), Scored("b", "banepa", {}), Scored("c", "kampala", FULL)]
    compare_figure(rows, tmp_path / "c.png")
    assert sorted(said) == [(0, "banepa"), (2, "not evaluated"), (3, "kampala")]  # a 1, b 2, c 4


@pytest.mark.parametrize("count", [0, 1, 2, 25])
def test_the_picture_grows_with_the_rows(tmp_path, count):
    compare_figure([Scored(f"model {n}", "banepa", FULL) for n in range(count)], tmp_path / "c.png")
    height, width = imread(tmp_path / "c.png").shape[:2]
    assert width == 1200
    assert 200 < height == pytest.approx(160 + 42 * max(1, count + 1 if count else 1), abs=2)


def test_curves_of_all_runs(tmp_path):
    compare_curves([("a", curve(1)), ("b", curve(2, 8)), ("b", curve(3))], tmp_path / "c.png", title="three runs")
    first, second = _colors(2)
    image = imread(tmp_path / "c.png")
    third = image.shape[1] // 3
    for panel in range(3):
        for color in (first, second):
            assert where(tmp_path / "c.png", color)[:, panel * third : (panel + 1) * third].sum() > 50
    compare_curves([("a", curve(1)), ("b", curve(2, 8))], tmp_path / "d.png")
    assert where(tmp_path / "c.png", second).sum() > 1.25 * where(tmp_path / "d.png", second).sum()


def test_curves_on_test_chips_are_dashed_and_said_to_be(tmp_path, monkeypatch):
    titles, write = [], Axes.set_title
    monkeypatch.setattr(Axes, "set_title", lambda axes, text, **how: titles.append(text) or write(axes, text, **how))
    judged = [{key.replace("val_", "test_"): value for key, value in row.items()} for row in curve(2, 40)]
    compare_curves([("a", curve(1))], tmp_path / "c.png")
    compare_curves([("a", judged)], tmp_path / "d.png")
    assert [title.endswith("(dashed: test)") for title in titles] == [False] * 4 + [True] * 2


@pytest.mark.parametrize("runs", [[], [("a", [])], [("a", [{"epoch": 1.0, "train_loss": 0.5}])]])
def test_curves_do_with_what_there_is(tmp_path, runs):
    compare_curves(runs, tmp_path / "c.png")
    assert imread(tmp_path / "c.png").std() > 0.01


@pytest.mark.parametrize("count", [1, 10, 11, 30])
def test_colours_differ(count):
    assert len(set(_colors(count))) == count


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    for write in (compare_figure, compare_curves):
        with pytest.raises(OutputError):
            write([], tmp_path / "file" / "c.png")
