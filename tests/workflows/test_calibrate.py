"""``eaves calibrate``: from footprints and a reference to the column ``confidence``."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import shapely

from eaves.cli import main
from eaves.errors import LabelError, OutputError
from eaves.exchange.vectors import write_vectors
from eaves.workflows.calibrate import calibrate_scores, open_calibration, with_confidence

UTM = "EPSG:32633"


@pytest.fixture(scope="module")
def layers(tmp_path_factory):
    """300 footprints; of those with a score of s the share s² is there."""
    folder = tmp_path_factory.mktemp("layers")
    rng = np.random.default_rng(0)
    x, y = 5e5 + 30 * (np.arange(300) % 20), 5e6 + 30 * (np.arange(300) // 20)
    houses = shapely.box(x, y, x + 10, y + 10)
    scores = rng.uniform(0.5, 1, 300)
    right = rng.random(300) < scores**2
    write_vectors(gpd.GeoDataFrame({"score": scores}, geometry=houses, crs=UTM), folder / "found.gpkg")
    write_vectors(gpd.GeoDataFrame(geometry=houses[right], crs=UTM).to_crs(4326), folder / "reference.gpkg")
    return folder, right


def test_scores_become_shares_of_what_is_right(layers, tmp_path, capsys):
    folder, right = layers
    out = tmp_path / "calibration.json"
    with pytest.raises(SystemExit, match="0"):
        main(["calibrate", str(folder / "found.gpkg"), str(folder / "reference.gpkg"), "-o", str(out)])
    assert f"{right.sum()} of 300 footprints are right" in capsys.readouterr().out
    curve = open_calibration(out)
    assert (curve.footprints, curve.right) == (300, right.sum())
    assert curve.apply(np.array([0.6, 0.9])) == pytest.approx([0.36, 0.81], abs=0.15)
    assert curve.error[1] < curve.error[0]
    assert out.with_suffix(".png").stat().st_size > 5000
    table = with_confidence(gpd.read_file(folder / "found.gpkg"), curve)
    assert list(table.columns) == ["score", "confidence", "geometry"]
    assert np.corrcoef(table["score"], table["confidence"])[0, 1] > 0.8


def test_an_aoi_bounds_what_is_compared(layers, tmp_path):
    folder, right = layers
    area = gpd.GeoDataFrame(geometry=[shapely.box(5e5 - 5, 5e6 - 5, 5e5 + 1000, 5e6 + 5 * 30 - 5)], crs=UTM)
    write_vectors(area.to_crs(4326), tmp_path / "aoi.gpkg")
    made = calibrate_scores(
        folder / "found.gpkg", folder / "reference.gpkg", tmp_path / "c.json", aoi=tmp_path / "aoi.gpkg"
    )
    assert (made.curve.footprints, made.curve.right) == (100, right[:100].sum())


def test_what_cannot_be_is_told(layers, tmp_path):
    folder, _ = layers
    with pytest.raises(LabelError, match="column 'score'"):
        calibrate_scores(folder / "reference.gpkg", folder / "found.gpkg", tmp_path / "c.json")
    assert not (tmp_path / "c.json").exists()
    for text in ("", "[]", '{"scores": [1]}'):
        (tmp_path / "other.json").write_text(text)
        with pytest.raises(LabelError, match="a file of eaves calibrate"):
            open_calibration(tmp_path / "other.json")
    with pytest.raises(LabelError):
        open_calibration(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        (lambda scores: scores * 100, "scores from 0 to 1"),
        (lambda scores: scores.where(scores > 0.6), "300 predictions"),
        (lambda scores: scores.map("{:.1f} sure".format), "300 predictions"),
    ],
)
def test_other_scores_are_refused(layers, tmp_path, scores, words):
    folder, _ = layers
    table = gpd.read_file(folder / "found.gpkg")
    write_vectors(table.assign(score=scores(table["score"])), tmp_path / "found.gpkg")
    with pytest.raises(LabelError, match=words):
        calibrate_scores(tmp_path / "found.gpkg", folder / "reference.gpkg", tmp_path / "c.json")


def test_an_aoi_without_a_crs_is_refused(layers, tmp_path):
    folder, _ = layers
    write_vectors(gpd.GeoDataFrame(geometry=[shapely.box(5e5, 5e6, 6e5, 6e6)]), tmp_path / "aoi.gpkg")
    with pytest.raises(LabelError, match=r"an AOI in the system of the layers\. Received no CRS"):
        calibrate_scores(
            folder / "found.gpkg", folder / "reference.gpkg", tmp_path / "c.json", aoi=tmp_path / "aoi.gpkg"
        )


@pytest.mark.parametrize("name", ["c.png", "c.PNG"])
def test_the_figure_does_not_take_the_place_of_the_curve(tmp_path, name):
    with pytest.raises(OutputError, match="change the suffix"):  # before anything is read
        calibrate_scores(tmp_path / "none.gpkg", tmp_path / "none.gpkg", tmp_path / name)
