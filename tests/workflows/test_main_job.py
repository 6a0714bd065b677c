"""The main job on a small synthetic city: every verb, from Python and from the command line, end to end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine

import eaves
from eaves.cli import main
from eaves.errors import EavesError, ModelFileError, OutputError, SceneError, SettingsError
from eaves.exchange.rasters import write_raster
from eaves.exchange.scoremap import open_scores
from eaves.exchange.vectors import read_metadata, read_vectors
from eaves.scene import Scene

# Enough to exercise everything; what such a network finds is noise, so thresholds are taken from its own scores.
SMALL = [
    "model.arch='unet28'",
    "model.options={widths='small'}",
    "chips.gsd_m=0.3",
    "chips.chip_px=64",
    "chips.per_epoch=8",
    "chips.block_m=20",
    "fit.epochs=2",
    "fit.batch=4",
    "fit.learning_rate=2e-4",
]
SIDE = 288


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    folder = tmp_path_factory.mktemp("city with späce")
    files = eaves.synth_city(folder, size_px=SIDE, seed=4)
    (folder / "dataset.toml").write_text(
        'credits = ["made here"]\n[[scene]]\nimage = "scene.tif"\nlabels = "buildings.gpkg"\nsplit = "block"\n'
    )
    return files


@pytest.fixture(scope="module")
def run(city, tmp_path_factory):
    return eaves.train_model(
        "demo", city.scene.parent / "dataset.toml", tmp_path_factory.mktemp("r") / "run", changes=SMALL
    )


@pytest.fixture(scope="module")
def predicted(city, run, tmp_path_factory):
    return eaves.predict_scores(city.scene, run.model, tmp_path_factory.mktemp("p") / "scores.tif", tile_px=128)


@pytest.fixture(scope="module")
def threshold(predicted):
    levels = open_scores(predicted.scores).read()
    return float(np.quantile(levels[levels != 255], 0.7)) / 254


@pytest.fixture(scope="module")
def extracted(city, run, threshold, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    made = eaves.extract_footprints(
        city.scene, run.model, folder / "f.gpkg", scores=folder / "s.tif", tile_px=128, threshold=threshold
    )
    return made, folder / "s.tif"


def test_synth_writes_a_scene_and_its_truth(city):
    scene = Scene(city.scene)
    assert scene.shape == (SIDE, SIDE)
    assert scene.gsd_m == pytest.approx(0.3, rel=1e-3)
    assert 0 < (~scene.read()[1]).mean() < 0.5
    truth = read_vectors(city.buildings)
    assert len(truth) == city.number > 5
    assert truth.crs == scene.crs.to_wkt()
    assert read_metadata(city.buildings)["settings"]["seed"] == 4
    assert len(read_vectors(city.roads))
    assert len(read_vectors(city.noisy))


def test_same_seed_same_files(city, tmp_path):
    again = eaves.synth_city(tmp_path, size_px=SIDE, seed=4)
    for name in ("scene", "buildings", "noisy"):
        assert getattr(again, name).read_bytes() == getattr(city, name).read_bytes()


def test_train_leaves_what_the_docs_say(run):
    for name in (
        "run.json",
        "curves.csv",
        "curves.png",
        "model.safetensors",
        "last.ckpt",
        "epochs/epoch_002.safetensors",
    ):
        assert (run.folder / name).exists()
    assert json.loads((run.folder / "run.json").read_text())["settings"]["chips"]["chip_px"] == 64


def test_train_refuses_to_overwrite_a_run(city, run):
    with pytest.raises(OutputError, match="--resume"):
        eaves.train_model("demo", city.scene.parent / "dataset.toml", run.folder, changes=SMALL)


def test_stored_chips_train_to_the_same_weights_as_the_scenes(city, run, tmp_path):
    dataset = city.scene.parent / "dataset.toml"
    for kind, name in (("eaves", "chips"), ("hdf5", "chips.h5")):
        chips = eaves.sample_chips(dataset, tmp_path / name, format=kind, recipe="demo", changes=SMALL)
        assert chips.train == 8
        assert chips.val > 0
    first = eaves.train_model("demo", tmp_path / "chips", tmp_path / "a", changes=[*SMALL, "fit.epochs=1"])
    second = eaves.train_model("demo", tmp_path / "chips.h5", tmp_path / "b", changes=[*SMALL, "fit.epochs=1"])
    assert first.best["train_loss"] == second.best["train_loss"]
    assert eaves.load_model(first.model)[1].credits == ("made here",)


def test_extract_equals_predict_then_vectorize(city, predicted, threshold, extracted, tmp_path):
    made, scores = extracted
    with rasterio.open(predicted.scores) as a, rasterio.open(scores) as b:
        np.testing.assert_array_equal(a.read(), b.read())
        assert a.nodata == 255
        assert a.scales == (1 / 254,)
        assert a.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert (a.read(1) == 255).sum() == (~Scene(city.scene).read()[1]).sum()
    traced = eaves.vectorize_scores(predicted.scores, tmp_path / "v.gpkg", threshold=threshold)
    one, two = read_vectors(made.path), read_vectors(traced.path)
    assert len(one) == len(two) == made.number > 3
    assert one.geometry.geom_equals_exact(two.geometry, 1e-9).all()


def test_scores_do_not_depend_on_the_tiles(city, run, predicted, tmp_path):
    other = eaves.predict_scores(city.scene, run.model, tmp_path / "scores.tif", tile_px=SIDE)
    one, two = (open_scores(made.scores).read().astype(int) for made in (predicted, other))
    assert np.abs(one - two).max() <= 1
    assert np.ptp(one[one != 255]) > 5


def test_footprints_say_what_they_are(city, threshold, extracted):
    made, _ = extracted
    table = read_vectors(made.path)
    assert {"area_m2", "score", "source", "vertices"} <= set(table.columns)
    assert table.crs == Scene(city.scene).crs.to_wkt()
    assert (table.area_m2 >= 4).all()
    assert table.score.between(threshold - 1e-3, 1).all()
    assert table.geometry.is_valid.all()
    note = read_metadata(made.path)
    assert note["command"] == "eaves extract"
    assert note["settings"]["threshold"] == threshold


# The outlines of noise touch themselves once GeoJSON has rounded them to a millimetre; reading says so.
@pytest.mark.filterwarnings("ignore:.*f.geojson:eaves.errors.EavesWarning")
@pytest.mark.parametrize("suffix", ["parquet", "geojson", "fgb"])
def test_every_format(threshold, extracted, tmp_path, suffix):
    out = tmp_path / f"f.{suffix}"
    made = eaves.vectorize_scores(extracted[1], out, threshold=threshold)
    table = read_vectors(out)
    assert len(table) == made.number == extracted[0].number
    if suffix == "geojson":
        assert gpd.read_file(out).crs.to_epsg() == 4326


def test_evaluate_of_vectors_and_of_scores_agree(city, threshold, extracted, tmp_path):
    made, scores = extracted
    one = eaves.evaluate_footprints(made.path, city.buildings, tmp_path / "a", scene=city.scene).report
    two = eaves.evaluate_footprints(scores, city.buildings, tmp_path / "b", threshold=threshold, min_area_m2=4.0).report
    assert one.pixels.iou == pytest.approx(two.pixels.iou, abs=0.03)
    assert one.pixels.pixels == two.pixels.pixels == Scene(city.scene).read()[1].sum()
    for name in ("metrics.json", "matches.parquet", "confusion.png", "overlay.png"):
        assert (tmp_path / "a" / name).exists()
    matches = read_vectors(tmp_path / "a" / "matches.parquet")
    assert (matches.status == "tp").sum() == one.objects.tp
    assert (matches.status == "fp").sum() == one.objects.fp
    assert (matches.status == "fn").sum() == one.objects.fn


def test_the_reference_against_itself_is_perfect(city, tmp_path):
    report = eaves.evaluate_footprints(city.buildings, city.buildings, tmp_path).report
    assert report.pixels.iou == 1
    assert report.objects.f1 == 1
    assert report.objects.merged == report.objects.split == 0


def test_an_aoi_limits_what_counts(city, tmp_path):
    truth = read_vectors(city.buildings)
    left, bottom, right, top = truth.total_bounds
    west = shapely.box(left, bottom, (left + right) / 2, top)
    half = gpd.GeoDataFrame(geometry=[west], crs=truth.crs)
    half.to_crs(4326).to_file(tmp_path / "aoi.geojson")
    truth[truth.centroid.x < (left + right) / 2].to_file(tmp_path / "west.gpkg")
    report = eaves.evaluate_footprints(
        tmp_path / "west.gpkg", city.buildings, tmp_path / "e", aoi=tmp_path / "aoi.geojson"
    ).report
    assert report.objects.recall > 0.9
    assert report.pixels.recall > 0.9


def test_pixel_space_works_end_to_end(city, run, threshold, tmp_path):
    image, _ = Scene(city.scene).read()
    write_raster(tmp_path / "plain.tif", rasterio_grid(image.shape[1:]), image)
    with pytest.raises(SceneError, match="--ground-gsd-m"):
        eaves.extract_footprints(tmp_path / "plain.tif", run.model, tmp_path / "p.gpkg")
    made = eaves.extract_footprints(
        tmp_path / "plain.tif", run.model, tmp_path / "p.gpkg", ground_gsd_m=0.3, threshold=threshold
    )
    table = read_vectors(made.path)
    assert made.number > 0
    assert table.crs is None
    assert table.total_bounds.max() <= SIDE


def rasterio_grid(shape):
    from odc.geo.geobox import GeoBox

    return GeoBox(shape, Affine.identity(), None)


def test_an_empty_scene_gives_an_empty_layer(city, run, tmp_path):
    write_raster(tmp_path / "black.tif", Scene(city.scene).grid, np.zeros((3, SIDE, SIDE), np.uint8), nodata=0)
    made = eaves.extract_footprints(tmp_path / "black.tif", run.model, tmp_path / "none.gpkg")
    table = read_vectors(made.path)
    assert made.number == len(table) == 0
    assert table.crs == Scene(city.scene).crs.to_wkt()
    assert {"area_m2", "score"} <= set(table.columns)


def test_several_scenes_make_one_layer(city, run, threshold, tmp_path):
    other = tmp_path / "other.tif"
    other.write_bytes(city.scene.read_bytes())
    made = eaves.extract_footprints([city.scene, other], run.model, tmp_path / "two.gpkg", threshold=threshold)
    assert read_vectors(made.path).groupby("source").size().to_dict() == {
        "other": made.number // 2,
        "scene": made.number // 2,
    }


def test_a_scene_of_another_type_is_refused_before_any_work(city, run, tmp_path):
    write_raster(tmp_path / "wide.tif", Scene(city.scene).grid, np.ones((3, SIDE, SIDE), np.uint16))
    write_raster(tmp_path / "grey.tif", Scene(city.scene).grid, np.ones((1, SIDE, SIDE), np.uint8))
    for name, words in (("wide.tif", "uint16"), ("grey.tif", "3 bands")):
        with pytest.raises(SceneError, match=words):
            eaves.extract_footprints(tmp_path / name, run.model, tmp_path / "f.gpkg")
    assert not (tmp_path / "f.gpkg").exists()


# --- the command line -------------------------------------------------------------------------------------------------


def command(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "eaves.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=300,
    )


def called(capsys, *arguments):
    """Run a command in this process: its exit status, and what it printed."""
    try:
        main([str(argument) for argument in arguments])
        status = 0
    except SystemExit as stop:
        status = stop.code or 0
    printed = capsys.readouterr()
    return status, printed.out + printed.err


def test_the_command_line_does_the_main_job(city, run, tmp_path):
    out = tmp_path / "f.gpkg"
    done = command("extract", city.scene, "--model", run.model, "-o", out)
    assert done.returncode == 0, done.stderr
    assert "footprints in" in done.stdout
    assert out.exists()
    done = command("evaluate", out, city.buildings, "-o", tmp_path / "e", "--quiet")
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    "arguments", [["extract"], ["nonsense"], ["vectorize", "a.tif", "-o", "b.gpkg", "--thresold", "0.5"]], ids=str
)
def test_wrong_use_is_2(arguments, capsys):
    assert called(capsys, *arguments)[0] == 2


def test_explained_failures_are_1_with_one_sentence(run, tmp_path, capsys):
    status, text = called(capsys, "extract", tmp_path / "no.tif", "--model", run.model, "-o", tmp_path / "f.gpkg")
    assert status == 1
    assert "does not exist" in text
    assert "Traceback" not in text


def test_every_command_has_help(capsys):
    for verb in ("demo", "synth", "doctor", "sample", "train", "predict", "vectorize", "extract", "evaluate", "models"):
        status, text = called(capsys, verb, "--help")
        assert status == 0
        assert "Usage" in text
        assert (Path(__file__).parents[2] / "docs" / f"{verb}.md").exists() or verb == "models"


def test_models_lists_recipes_and_shows_cards(run, capsys):
    _, text = called(capsys, "models")
    assert "unet28-paper" in text
    _, text = called(capsys, "models", run.model)
    assert '"made here"' in text


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda c, r, t: eaves.train_model("nonsense", c.scene, t / "r"), SettingsError),
        (lambda c, r, t: eaves.predict_scores(c.scene, r.model, t / "s.png"), SettingsError),
        (lambda c, r, t: eaves.predict_scores(c.scene, c.scene, t / "s.tif"), ModelFileError),
        (lambda c, r, t: eaves.extract_footprints(c.scene, r.model, t / "f.xyz"), OutputError),
        (lambda c, r, t: eaves.extract_footprints([], r.model, t / "f.gpkg"), SettingsError),
        (lambda c, r, t: eaves.vectorize_scores(c.scene, t / "f.gpkg"), SceneError),
        (lambda c, r, t: eaves.vectorize_scores(c.scene, t / "f.gpkg", threshold=1.5), EavesError),
    ],
)
def test_wrong_input_is_an_error_with_a_remedy(city, run, tmp_path, call, error):
    with pytest.raises(error, match="Do: "):
        call(city, run, tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.is_file()]
