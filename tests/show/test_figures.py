"""Figures: written whole, of the size promised, with what they should show."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread

from eaves.errors import OutputError
from eaves.show import confusion_figure, curves_figure, overlay_figure
from eaves.show.figures import FOUND, TEST, TRAIN, VALIDATION, WANTED

ROWS = [
    {
        "epoch": epoch,
        "train_loss": 1 / epoch,
        "train_accuracy": 0.8,
        "val_loss": 1.2 / epoch,
        "val_accuracy": 0.7,
        "val_iou": 0.5,
    }
    for epoch in range(1, 5)
]


def pixels(path) -> np.ndarray:
    """``(row, col, rgb)`` in [0, 1]."""
    return imread(path)[..., :3]


def share_of(image: np.ndarray, color) -> float:
    return float((np.abs(image - np.array(to_rgb(color))) < 0.06).all(axis=-1).mean())


def test_curves_show_training_and_validation(tmp_path):
    curves_figure(ROWS, tmp_path / "curves.png", title="a run")
    image = pixels(tmp_path / "curves.png")
    assert image.shape == (420, 1100, 3)
    third = image.shape[1] // 3
    for panel, colors in enumerate([(TRAIN, VALIDATION), (TRAIN, VALIDATION), (VALIDATION,)]):
        for color in colors:
            assert share_of(image[:, panel * third : (panel + 1) * third], color) > 1e-4


def test_curves_of_a_run_that_is_judged_on_test_chips(tmp_path):
    rows = [{key.replace("val_", "test_"): value for key, value in row.items()} for row in ROWS]
    curves_figure(rows, tmp_path / "curves.png")
    image = pixels(tmp_path / "curves.png")
    assert share_of(image, TEST) > 1e-3
    assert share_of(image, VALIDATION) == 0


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{"epoch": 1}],
        [{"epoch": 1.0, "train_loss": 0.5, "train_accuracy": 0.9, "seconds": 3.0}],  # nothing validates
        [{"epoch": 1, "train_loss": 0.5}, {"epoch": 2, "train_loss": float("nan"), "val_loss": 0.4}],
    ],
    ids=["no epoch", "nothing measured", "no validation", "holes"],
)
def test_curves_do_with_what_there_is(tmp_path, rows):
    curves_figure(rows, tmp_path / "curves.png")
    image = pixels(tmp_path / "curves.png")
    assert image.std() > 0.01
    assert (share_of(image, VALIDATION) > 0) == any("val_loss" in row for row in rows)


@pytest.mark.parametrize("classes", [("background", "building"), ("background", "building", "road", "water")])
def test_confusion_is_dark_where_the_network_is_right(tmp_path, classes):
    k = len(classes)
    confusion_figure(np.eye(k, dtype=int) * 123_456 + 1_000, classes, tmp_path / "c.png", title="Pixels")
    image = pixels(tmp_path / "c.png")
    assert 300 < image.shape[0] < image.shape[1] < 1200
    assert share_of(image, "#08306b") > 0.05  # the darkest blue


def test_confusion_of_a_class_that_never_occurs(tmp_path):
    confusion_figure(np.array([[90, 10], [0, 0]]), ("background", "building"), tmp_path / "c.png")
    assert pixels(tmp_path / "c.png").std() > 0.05


def boxes(*at: int) -> list:
    return [shapely.box(x, x, x + 20, x + 20) for x in at]


def test_overlay_draws_outlines_where_they_lie(tmp_path):
    image = np.full((3, 100, 200), 60, np.uint8)
    overlay_figure(image, boxes(20), tmp_path / "o.png", width_px=800)
    drawn = pixels(tmp_path / "o.png")
    assert drawn.shape == (400, 800, 3)
    at = np.argwhere((np.abs(drawn - np.array(to_rgb(FOUND))) < 0.2).all(axis=-1))
    assert at.min(axis=0) == pytest.approx(80, abs=3)
    assert at.max(axis=0) == pytest.approx(160, abs=3)
    assert drawn[300, 600] == pytest.approx(60 / 255, abs=0.01)
    assert drawn[120, 120] == pytest.approx(60 / 255, abs=0.01)  # an outline, not an area


def test_overlay_tells_reference_from_found(tmp_path):
    image = np.full((3, 120, 90), 60, np.uint8)
    overlay_figure(image, boxes(10), tmp_path / "o.png", reference=boxes(50), title="town", width_px=800)
    drawn = pixels(tmp_path / "o.png")
    assert drawn.shape == (834, 600, 3)  # with a band for title and legend
    assert share_of(drawn[34:], FOUND) > 1e-3
    assert share_of(drawn[34:], WANTED) > 1e-3
    assert share_of(drawn[:34], FOUND) > 1e-3
    assert share_of(drawn[:34], WANTED) > 1e-3


def test_overlay_of_a_narrow_image_has_room_for_its_title(tmp_path):
    overlay_figure(np.full((3, 120, 30), 60, np.uint8), boxes(5), tmp_path / "o.png", title="strip", width_px=600)
    drawn = pixels(tmp_path / "o.png")
    assert drawn.shape == (634, 520, 3)
    picture = np.flatnonzero((np.abs(drawn[300] - 60 / 255) < 0.02).all(axis=-1))
    assert (picture.min(), picture.max()) == pytest.approx((185, 334), abs=2)  # in the middle


def test_overlay_draws_courtyards_and_parts(tmp_path):
    holed = shapely.box(20, 20, 80, 80).difference(shapely.box(40, 40, 60, 60))
    shapes = [holed, shapely.MultiPolygon(boxes(90, 120))]
    overlay_figure(np.full((3, 150, 150), 60, np.uint8), shapes, tmp_path / "o.png", width_px=600)
    yellow = np.all(np.abs(pixels(tmp_path / "o.png") - np.array(to_rgb(FOUND))) < 0.2, axis=-1)
    for x in (20, 40, 90, 120):  # the left edge of each ring
        assert yellow[4 * (x + 10), 4 * x - 2 : 4 * x + 3].any()


def test_overlay_without_footprints_is_the_image(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (3, 40, 60), np.uint8)
    overlay_figure(image, [], tmp_path / "o.png", width_px=60)
    np.testing.assert_allclose(pixels(tmp_path / "o.png"), np.moveaxis(image, 0, -1) / 255, atol=0.01)


WRITERS = {
    "curves": lambda path: curves_figure(ROWS, path),
    "confusion": lambda path: confusion_figure(np.eye(2), ("a", "b"), path),
    "overlay": lambda path: overlay_figure(np.zeros((3, 9, 9), np.uint8), boxes(2), path),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_failure_leaves_nothing_new(tmp_path, monkeypatch, write):
    (tmp_path / "f.png").write_bytes(b"an earlier figure")

    def fails(figure, path, **options):
        path.write_bytes(b"half")
        raise RuntimeError("power cut")

    monkeypatch.setattr(Figure, "savefig", fails)
    with pytest.raises(RuntimeError, match="power cut"):
        write(tmp_path / "f.png")
    assert [path.name for path in tmp_path.iterdir()] == ["f.png"]
    assert (tmp_path / "f.png").read_bytes() == b"an earlier figure"


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_place_that_cannot_be_written(tmp_path, write):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        write(tmp_path / "file" / "f.png")
