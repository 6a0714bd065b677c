"""The page of a comparison: pictures with what they should show, and text that stays text."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
import shapely
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from eaves.errors import OutputError
from eaves.show import ChangePage, change_map, close_up, write_change_page
from eaves.show.change import COLORS, Panel, Picture, Row

NOTHING = np.array([], dtype=object)
PAPER = Picture(None, (100, 200), 0.5)


def pixels(picture: bytes) -> np.ndarray:
    """``(row, col, rgb)`` in [0, 1]."""
    kind = "png" if picture.startswith(b"\x89PNG") else "jpeg"
    image = imread(io.BytesIO(picture), format=kind)[..., :3]
    return image if kind == "png" else image / 255


def near(image: np.ndarray, color: str, by: float = 0.12) -> np.ndarray:
    return (np.abs(image - np.array(to_rgb(color))) < by).all(axis=-1)


def boxes(*left: int) -> np.ndarray:
    return np.array([shapely.box(x, 20, x + 20, 40) for x in left], dtype=object)


def test_the_map_has_each_change_in_its_colour_where_it_is():
    drawn = pixels(change_map(PAPER, [boxes(10), boxes(60), boxes(110), boxes(160)], width_px=800))
    assert drawn.shape == (400, 800, 3)
    for left, name in zip((10, 60, 110, 160), COLORS, strict=True):
        begins = 4 * left - 40
        at = np.argwhere(near(drawn[:360, begins : begins + 160], COLORS[name], 0.2))
        assert at.min(axis=0) == pytest.approx((80, 40), abs=4)
        assert at.max(axis=0) == pytest.approx((160, 120), abs=4)


def test_a_building_of_less_than_a_few_pixels_is_seen():
    tiny = np.array([shapely.box(5000, 5000, 5006, 5006)], dtype=object)
    wide = Picture(None, (10_000, 10_000), 1.0)
    drawn = pixels(change_map(wide, [tiny, NOTHING, NOTHING, NOTHING], width_px=800))
    assert near(drawn[380:420, 380:420], COLORS["added"], 0.2).sum() > 8
    still = pixels(change_map(wide, [NOTHING, NOTHING, NOTHING, tiny], width_px=800))
    assert not near(still[380:420, 380:420], COLORS["added"], 0.2).any()


def test_marks_are_drawn_beside_their_places():
    with_marks, without = (
        pixels(change_map(PAPER, [NOTHING] * 4, marks=marks, width_px=800)) for marks in ([(100, 50)], ())
    )
    differ = np.argwhere(np.abs(with_marks - without).max(axis=-1) > 0.1)
    assert len(differ) > 50
    assert (np.abs(differ - (200, 400)) < 60).all()


def test_the_scale_bar_is_as_long_as_it_says():
    without, drawn = (
        pixels(change_map(Picture(None, (100, 200), scale), [NOTHING] * 4, width_px=800)) for scale in (None, 0.5)
    )
    assert (without == 1).all()
    dark = np.argwhere((drawn[380:, :400] < 0.3).all(axis=-1))
    bar = np.ptp(dark[dark[:, 1] < 170, 1])
    assert bar == pytest.approx(20 / 0.5 * 4, abs=6)  # 20 m, of the 100 m that the picture shows


def test_a_close_up_over_images_has_a_view_of_each_year():
    images = [np.full((3, 50, 50), level, np.uint8) for level in (40, 200)]
    views = [Picture(image, (50, 50), 0.3) for image in images]
    shape = np.array([shapely.box(15, 15, 35, 35)], dtype=object)
    panels = [
        Panel(views[0], "before", shape, NOTHING, NOTHING),
        Panel(views[1], "after", NOTHING, NOTHING, NOTHING),
    ]
    picture = close_up(panels, height_px=300)
    assert picture.startswith(b"\xff\xd8")
    drawn = pixels(picture)
    assert drawn.shape == (300, 606, 3)
    assert drawn[150, 250].mean() == pytest.approx(40 / 255, abs=0.05)
    assert drawn[150, 550].mean() == pytest.approx(200 / 255, abs=0.05)
    assert near(drawn[:, :300], COLORS["removed"], 0.2).sum() > 300
    assert not near(drawn[:, 306:], COLORS["removed"], 0.2).any()


def test_a_close_up_on_paper_shows_both_years_and_what_is_around():
    whole = close_up([Panel(PAPER, "", boxes(20), boxes(60), boxes(120))], height_px=300)
    assert whole.startswith(b"\x89PNG")
    drawn = pixels(whole)
    for name in ("removed", "added", "unchanged"):
        assert near(drawn, COLORS[name]).sum() > 100


def page(**changes) -> ChangePage:
    picture = change_map(PAPER, [boxes(10), NOTHING, NOTHING, NOTHING], width_px=200)
    told = {
        "title": "Changes between <a>.gpkg & b.gpkg",
        "lead": ["12 buildings"],
        "classes": [Row(("added", "1", "0", "400"), COLORS["added"]), Row(("all", "12", "1", "2"))],
        "class_heads": ("", "buildings", "before", "after"),
        "overview": picture,
        "close_ups": [('1: "added"', picture)],
        "pairs": False,
        "largest": [Row(("1", "added", "0", "400", "46.9", "15.0", "", "<7>"), COLORS["added"])],
        "largest_heads": ("", "change", "before", "after", "latitude", "longitude", "old id", "new id"),
        "notes": ["nothing <script>alert(1)</script> to know"],
        "origin": [("old", "/some/where & <there>.gpkg")],
    }
    return ChangePage(**(told | changes))


def test_the_page_is_one_file_that_needs_nothing_else(tmp_path):
    write_change_page(page(), tmp_path / "p.html")
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["p.html"]
    assert text.startswith("<!DOCTYPE html>")
    assert text.count("data:image/png;base64,") == 2
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert "http" not in text
    for tag in ("table", "tr", "td", "p", "figure", "ul", "li", "div", "span"):
        assert len(re.findall(rf"<{tag}[ >]", text)) == text.count(f"</{tag}>"), tag


def test_what_others_wrote_stays_text(tmp_path):
    write_change_page(page(), tmp_path / "p.html")
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "<title>Changes between &lt;a&gt;.gpkg &amp; b.gpkg</title>" in text
    assert 'alt="1: &quot;added&quot;"' in text
    assert "&lt;7&gt;" in text
    assert "&lt;there&gt;" in text


def test_a_page_without_changes_has_no_list_of_them(tmp_path):
    write_change_page(page(close_ups=[], largest=[], notes=[]), tmp_path / "p.html")
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "The largest changes" not in text
    assert "To know" not in text


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        write_change_page(page(), tmp_path / "file" / "p.html")
