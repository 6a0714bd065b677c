"""Studying a correction step by step, and tuning its rival."""

from __future__ import annotations

import csv
import json

import cv2
import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

import eaves
from eaves.cli import main
from eaves.errors import SettingsError
from eaves.exchange.rasters import RasterWriter, ScoreWriter
from eaves.exchange.scores import LEVELS
from eaves.models import Card, build, save_model
from eaves.scene import Scaling
from eaves.settings import load_recipe
from eaves.version import __version__

SIDE = 160
GRID = GeoBox((SIDE, SIDE), Affine(0.5, 0, 500_000, 0, -0.5, 5_200_000), "EPSG:32633")
FIGURES = {"steps.png", "evolution.png", "before_after.png", "tile.png", "closeups.png"}


@pytest.fixture(scope="module")
def tile(tmp_path_factory):
    """Three classes, sharp in the image, blurred and out of order in the score map."""
    folder = tmp_path_factory.mktemp("tile")
    truth = np.zeros((SIDE, SIDE), np.uint8)
    truth[:, 70:84] = 2
    truth[20:60, 20:50] = truth[90:140, 100:150] = 1
    rng = np.random.default_rng(0)
    image = np.array([60, 200, 130])[truth][None] + rng.normal(0, 3, (3, SIDE, SIDE))
    blurred = [cv2.GaussianBlur((truth == k).astype(np.float32), (0, 0), 4) for k in (2, 1)]
    with RasterWriter(folder / "a.tif", GRID, 3, "uint8") as writer:
        writer.write(0, image.clip(1, 255).astype(np.uint8))
    with RasterWriter(folder / "truth.tif", GRID, 1, "uint8") as writer:
        writer.write(0, truth[None])
    with ScoreWriter(folder / "scores.tif", GRID, ("road", "building"), {}) as writer:
        writer.write(0, np.rint(0.9 * np.stack(blurred) * LEVELS).astype(np.uint8))
    values = "{ background = [0], building = [1], road = [2] }"
    (folder / "d.toml").write_text(
        '[classes]\nnames = ["background", "building", "road"]\n[[scene]]\nimage = "a.tif"\n'
        f'labels = [{{ path = "truth.tif", values = {values} }}]\n'
    )
    return folder


def test_every_step_is_measured_and_drawn(tile, tmp_path):
    made = eaves.study_refinement(
        tile / "scores.tif",
        tile / "d.toml",
        "crf",
        tmp_path,
        changes=["iterations=2"],
        beside={"before": tile / "scores.tif"},
    )
    assert [row["iteration"] for row in made.rows] == [0, 1, 2]
    assert made.rows[2]["miou"] > made.rows[0]["miou"]
    assert made.rows[2]["boundary_iou_road"] > made.rows[0]["boundary_iou_road"]
    first = eaves.evaluate_footprints(tile / "scores.tif", tile / "d.toml", tmp_path / "e").report.pixels
    assert made.rows[0]["miou"] == pytest.approx(first.miou, abs=1e-9)
    refined = eaves.refine_scores(
        tile / "a.tif", tile / "scores.tif", "crf", tmp_path / "r.tif", changes=["iterations=2"]
    )
    last = eaves.evaluate_footprints(refined.scores, tile / "d.toml", tmp_path / "f").report.pixels
    assert made.rows[2]["miou"] == pytest.approx(last.miou, abs=0.003)  # blending rounds
    for name in FIGURES:
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    with (tmp_path / "metrics.csv").open(newline="") as file:
        assert [float(row["iou_building"]) for row in csv.DictReader(file)] == [r["iou_building"] for r in made.rows]
    assert json.loads((tmp_path / "study.json").read_text())["settings"]["iterations"] == 2


def test_a_corrector_shows_its_filters(tile, tmp_path):
    recipe = load_recipe("corrector", ["model.options.iterations=1"])
    card = Card(
        eaves_version=__version__,
        created="2026-01-01T00:00:00Z",  # type: ignore[arg-type]
        recipe=recipe,
        classes=("background", "building", "road"),
        scaling=Scaling.for_bytes(3),
        gsd_m=0.5,
    )
    save_model(tmp_path / "m.safetensors", build(recipe.model, 3, 3), card)
    eaves.study_refinement(tile / "scores.tif", tile / "d.toml", tmp_path / "m.safetensors", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {*FIGURES, "filters.png"}
    eaves.study_refinement(tile / "scores.tif", tile / "d.toml", "heat", tmp_path / "none", close_ups=0)
    assert {path.name for path in (tmp_path / "none").glob("*.png")} == {"steps.png", "tile.png"}


def test_what_is_tuned_can_be_taken(tile, tmp_path):
    found = eaves.tune_crf(tile / "scores.tif", tile / "d.toml", tmp_path / "crf.toml", iterations=1)
    assert found.miou > found.before
    part = eaves.tune_crf(tile / "scores.tif", tile / "d.toml", tmp_path / "part.toml", iterations=1, part_px=100)
    assert part.before != found.before
    made = eaves.refine_scores(tile / "a.tif", tile / "scores.tif", tmp_path / "crf.toml", tmp_path / "r.tif")
    report = eaves.evaluate_footprints(made.scores, tile / "d.toml", tmp_path / "e").report.pixels
    assert report.miou == pytest.approx(found.miou, abs=0.005)  # levels, and the lattice's place
    with (tmp_path / "crf.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(found.rows)


def test_a_dataset_of_other_classes_is_refused(tile, tmp_path):
    (tmp_path / "d.toml").write_text(
        f'[[scene]]\nimage = "{tile}/a.tif"\nlabels = [{{ path = "{tile}/truth.tif", '
        "values = { building = [1] } }]\n"
    )
    for run in (eaves.study_refinement, lambda *a: eaves.tune_crf(a[0], a[1], a[3])):
        with pytest.raises(SettingsError, match="scores of building"):
            run(tile / "scores.tif", tmp_path / "d.toml", "crf", tmp_path / "o.toml")


def test_beside_needs_a_name_and_a_map(tile, tmp_path, capsys):
    command = ["study", str(tile / "scores.tif"), str(tile / "d.toml"), "--with", "heat", "-o", str(tmp_path / "o")]
    with pytest.raises(SystemExit, match="1"):
        main([*command, "--beside", "crf.tif"])
    assert "name=map.tif" in capsys.readouterr().err
