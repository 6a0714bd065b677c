"""A coarse network, a corrector of it, and refining from Python and from the command line."""

from __future__ import annotations

import json
import warnings

import cv2
import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

import eaves
from eaves.cli import main
from eaves.errors import SceneError, SettingsError, TrainingError
from eaves.exchange.rasters import RasterWriter, ScoreWriter
from eaves.exchange.scoremap import open_scores
from eaves.exchange.scores import LEVELS, NODATA
from eaves.scene import Scene
from eaves.workflows.train import train_model

COARSE = ["chips.per_epoch=64", "fit.epochs=2", "fit.batch=16", "chips.block_m=30"]
CORRECTOR = ["chips.per_epoch=24", "fit.epochs=2", "chips.chip_px=48", "chips.block_m=20", "model.options.iterations=2"]
SIDE = 321  # a score map at 1 m has 161 pixels, of which the last one is half


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    folder = tmp_path_factory.mktemp("city")
    eaves.synth_city(folder, size_px=SIDE, gsd_m=0.5, seed=4)
    (folder / "dataset.toml").write_text(
        'credits = ["made here"]\n[[scene]]\nimage = "scene.tif"\nlabels = "buildings.gpkg"\nsplit = "block"\n'
    )
    return folder


@pytest.fixture(scope="module")
def coarse(city, tmp_path_factory):
    return train_model("coarse-osm", city / "dataset.toml", tmp_path_factory.mktemp("c"), changes=COARSE).model


@pytest.fixture(scope="module")
def corrector(city, coarse, tmp_path_factory):
    out = tmp_path_factory.mktemp("r")
    return train_model("corrector", city / "dataset.toml", out, corrects=coarse, changes=CORRECTOR).model


@pytest.fixture(scope="module")
def scores(city, coarse, tmp_path_factory):
    return eaves.predict_scores(city / "scene.tif", coarse, tmp_path_factory.mktemp("s") / "scores.tif").scores


@pytest.fixture(scope="module")
def refined(city, scores, corrector, tmp_path_factory):
    return eaves.refine_scores(city / "scene.tif", scores, corrector, tmp_path_factory.mktemp("f") / "refined.tif")


def test_the_map_is_at_the_correctors_resolution_and_says_where_it_is_from(city, refined, scores):
    found = open_scores(refined.scores)
    assert open_scores(scores).shape == (161, 161)
    assert found.shape == refined.shape == Scene(city / "scene.tif").shape == (SIDE, SIDE)
    assert found.classes == ("building",)
    assert set(found.metadata["inputs"]) == {"scene", "scores", "model"}
    assert found.metadata["settings"]["iterations"] == 2
    assert found.metadata["scores_from"]["command"] == "eaves predict"
    valid = Scene(city / "scene.tif").read()[1]
    unknown = found.read()[0] == NODATA
    assert unknown[~valid].all()
    assert not unknown[cv2.erode(valid.astype(np.uint8), np.ones((5, 5))) > 0].any()  # a pixel at 1 m is two here


def test_one_pass_equals_two(city, coarse, corrector, refined, tmp_path):
    made = eaves.predict_scores(city / "scene.tif", coarse, tmp_path / "both.tif", refine=corrector, tile_px=64)
    assert np.array_equal(open_scores(made.scores).read(), open_scores(refined.scores).read())
    eaves.extract_footprints(
        city / "scene.tif", coarse, tmp_path / "a.gpkg", refine=corrector, threshold=0.2, scores=tmp_path / "s.tif"
    )
    assert np.array_equal(open_scores(tmp_path / "s.tif").read(), open_scores(refined.scores).read())


def test_no_step_gives_the_map_back_and_more_steps_move_it(city, scores, corrector, refined, tmp_path):
    still = eaves.refine_scores(city / "scene.tif", scores, corrector, tmp_path / "0.tif", changes=["iterations=0"])
    more = eaves.refine_scores(city / "scene.tif", scores, corrector, tmp_path / "9.tif", changes=["iterations=9"])
    before = open_scores(scores).on(open_scores(still.scores).grid)
    image = open_scores(still.scores).read()
    valid = image != NODATA
    assert np.abs(image[valid].astype(int) - before.read(Window(0, 0, SIDE, SIDE))[valid]).max() <= 1
    assert (open_scores(more.scores).read() != open_scores(refined.scores).read()).any()


def test_the_run_keeps_its_score_maps_and_takes_them_again(city, coarse, tmp_path):
    run = train_model("corrector", city / "dataset.toml", tmp_path, corrects=coarse, changes=CORRECTOR)
    (path,) = (tmp_path / "scores").iterdir()
    before = path.stat().st_mtime_ns
    changes = [*CORRECTOR, "fit.epochs=3"]
    train_model("corrector", city / "dataset.toml", tmp_path, corrects=coarse, changes=changes, resume=True)
    assert path.stat().st_mtime_ns == before
    told = json.loads((tmp_path / "run.json").read_text())
    assert told["inputs"]["corrects"]["path"] == str(coarse)
    assert eaves.load_model(run.model)[1].credits == ("made here",)


def test_maps_named_in_the_dataset_are_taken(city, scores, tmp_path):
    (tmp_path / "d.toml").write_text(
        f'[[scene]]\nimage = "{city}/scene.tif"\nlabels = "{city}/buildings.gpkg"\nscores = "{scores}"\n'
    )
    assert train_model("corrector-unshared", tmp_path / "d.toml", tmp_path / "run", changes=CORRECTOR).model.exists()


def test_the_command_line_refines(city, scores, corrector, tmp_path, capsys):
    out = tmp_path / "r.tif"
    command = ["refine", str(city / "scene.tif"), str(scores), "--with", str(corrector), "-o", str(out)]
    with pytest.raises(SystemExit, match="0"):
        main([*command, "--set", "iterations=1"])
    assert "refined by corrector" in capsys.readouterr().out
    assert open_scores(out).metadata["settings"]["iterations"] == 1


@pytest.mark.parametrize(
    ("refiner", "changes", "message"),
    [
        ("cfr", [], "corrector's .safetensors"),
        ("CORRECTOR", ["iterations=-1"], "iterations"),
        ("CORRECTOR", ["theta=1"], "theta"),
        ("COARSE", [], "a model that corrects scores"),
    ],
)
def test_what_is_no_refiner_is_refused(city, scores, coarse, corrector, tmp_path, refiner, changes, message):
    refiner = {"CORRECTOR": corrector, "COARSE": coarse}.get(refiner, refiner)
    with pytest.raises(SettingsError, match=message):
        eaves.refine_scores(city / "scene.tif", scores, refiner, tmp_path / "o.tif", changes=changes)
    assert not list(tmp_path.iterdir())


def test_a_corrector_needs_scores(city, coarse, corrector, tmp_path):
    with pytest.raises(SettingsError, match="makes scores from an image"):
        eaves.predict_scores(city / "scene.tif", corrector, tmp_path / "o.tif")
    with pytest.raises(eaves.EavesError, match="--corrects"):
        train_model("corrector", city / "dataset.toml", tmp_path / "a", changes=CORRECTOR)
    with pytest.raises(SettingsError, match="leave --corrects out"):
        train_model("unet28", city / "dataset.toml", tmp_path / "b", corrects=coarse)
    chips = eaves.sample_chips(city / "dataset.toml", tmp_path / "chips", recipe="corrector", changes=CORRECTOR)
    with pytest.raises(SettingsError, match="chips with score maps"):
        train_model("corrector", chips.path, tmp_path / "c", changes=CORRECTOR)


def test_a_map_of_another_place_or_class_is_refused(city, corrector, refined, tmp_path):
    found = open_scores(refined.scores)
    levels = found.read()
    moved = GeoBox(found.shape, Affine.translation(7, 0) * found.grid.affine, found.grid.crs)
    for name, grid, classes in (("moved", moved, ("building",)), ("other", found.grid, ("water",))):
        with ScoreWriter(tmp_path / f"{name}.tif", grid, classes, {}) as writer:
            writer.write(0, levels)
    with pytest.raises(SceneError, match="gdalwarp"):
        eaves.refine_scores(city / "scene.tif", tmp_path / "moved.tif", corrector, tmp_path / "o.tif")
    with pytest.raises(SceneError, match="without building"):
        eaves.refine_scores(city / "scene.tif", tmp_path / "other.tif", corrector, tmp_path / "o.tif")


def test_a_two_class_corrector_learns_to_sharpen(tmp_path):
    """A blurred square under a sharp image: after training the edge is where the image has it."""
    side = 256
    rng = np.random.default_rng(0)
    truth = np.zeros((side, side), bool)
    for _ in range(14):
        row, col = rng.integers(8, side - 48, 2)
        truth[row : row + rng.integers(12, 40), col : col + rng.integers(12, 40)] = True
    image = np.where(truth, 190, 70)[None].repeat(3, 0) + rng.normal(0, 6, (3, side, side))
    blurred = cv2.GaussianBlur(truth.astype(np.float32), (0, 0), 6)
    grid = GeoBox((side, side), Affine(0.5, 0, 500_000, 0, -0.5, 5_200_000), "EPSG:32633")
    with RasterWriter(tmp_path / "a.tif", grid, 3, "uint8") as writer:
        writer.write(0, image.clip(1, 255).astype(np.uint8))
    with RasterWriter(tmp_path / "truth.tif", grid, 1, "uint8") as writer:
        writer.write(0, truth[None].astype(np.uint8))
    with ScoreWriter(tmp_path / "scores.tif", grid, ("building",), {}) as writer:
        writer.write(0, np.rint(blurred * LEVELS)[None].astype(np.uint8))
    (tmp_path / "d.toml").write_text(
        '[[scene]]\nimage = "a.tif"\nscores = "scores.tif"\nlabels = [{ path = "truth.tif", values = '
        "{ background = [0], building = [1] } }]\n"
    )
    changes = ["chips.per_epoch=96", "chips.chip_px=48", "fit.epochs=4", "model.options.filters=8", "chips.block_m=16"]
    run = train_model("corrector", tmp_path / "d.toml", tmp_path / "run", changes=[*changes, "model.options.hidden=8"])
    made = eaves.refine_scores(tmp_path / "a.tif", tmp_path / "scores.tif", run.model, tmp_path / "r.tif")
    sharp = open_scores(made.scores).read()[0] > LEVELS / 2

    def iou(mask: np.ndarray) -> float:
        return (mask & truth).sum() / (mask | truth).sum()

    assert iou(sharp) > 0.5 * (1 + iou(blurred > 0.5))  # at least half of the error is gone


@pytest.fixture(scope="module")
def places(city, tmp_path_factory):
    """The city with a fourth band that its file calls undefined, and without a CRS."""
    folder = tmp_path_factory.mktemp("places")
    image, _ = Scene(city / "scene.tif").read()
    grid = Scene(city / "scene.tif").grid
    infrared = np.concatenate([image, image[:1]])
    profile = {"driver": "GTiff", "height": SIDE, "width": SIDE, "dtype": "uint8", "nodata": 0}
    with rasterio.open(
        folder / "four.tif", "w", count=4, crs="EPSG:32633", transform=grid.affine, photometric="RGB", **profile
    ) as file:
        file.write(infrared)
        file.colorinterp = [*file.colorinterp[:3], ColorInterp.undefined]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(folder / "bare.tif", "w", count=3, **profile) as file:
            file.write(image)
    return folder


@pytest.mark.parametrize("refiner", ["heat", "CORRECTOR"])
@pytest.mark.parametrize("name", ["four.tif", "bare.tif"])
def test_one_pass_equals_two_with_more_bands_and_without_a_crs(places, coarse, corrector, tmp_path, name, refiner):
    refiner = corrector if refiner == "CORRECTOR" else refiner
    size = {"ground_gsd_m": 0.5} if name == "bare.tif" else {}
    eaves.predict_scores(places / name, coarse, tmp_path / "s.tif", **size)
    eaves.predict_scores(places / name, coarse, tmp_path / "one.tif", refine=refiner, **size)
    two = eaves.refine_scores(places / name, tmp_path / "s.tif", refiner, tmp_path / "two.tif", **size)
    assert np.array_equal(open_scores(tmp_path / "one.tif").read(), open_scores(two.scores).read())
    assert two.shape == ((SIDE, SIDE) if refiner == corrector else (161, 161))


def test_settings_without_a_refiner_are_refused(city, coarse, tmp_path):
    for run in (eaves.predict_scores, eaves.extract_footprints):
        with pytest.raises(SettingsError, match="add --refine"):
            run(city / "scene.tif", coarse, tmp_path / "o.tif", refine_changes=["iterations=3"])


def test_imagery_of_16_bits_is_refused_by_a_hand_made_refiner(city, scores, tmp_path):
    image, _ = Scene(city / "scene.tif").read()
    with RasterWriter(tmp_path / "a.tif", Scene(city / "scene.tif").grid, 3, "uint16", nodata=0) as writer:
        writer.write(0, image.astype(np.uint16) * 200)
    with pytest.raises(SceneError, match="8-bit pixels"):
        eaves.refine_scores(tmp_path / "a.tif", scores, "heat", tmp_path / "o.tif")


def test_a_resume_with_another_model_is_refused(city, coarse, corrector, tmp_path):
    other = train_model("coarse-osm", city / "dataset.toml", tmp_path / "c", changes=[*COARSE, "fit.seed=7"]).model
    again = {"changes": [*CORRECTOR, "fit.epochs=3"], "resume": True}
    for given in (other, None):
        with pytest.raises(TrainingError, match="that the run began with"):
            train_model("corrector", city / "dataset.toml", corrector.parent, corrects=given, **again)


def test_maps_of_two_resolutions_are_measured_on_one_grid(city, scores, corrector, tmp_path):
    still = eaves.refine_scores(city / "scene.tif", scores, corrector, tmp_path / "0.tif", changes=["iterations=0"])
    reference = city / "dataset.toml"
    fine = eaves.evaluate_footprints(still.scores, reference, tmp_path / "a").report.pixels
    coarse = eaves.evaluate_footprints(scores, reference, tmp_path / "b").report.pixels
    raised = eaves.evaluate_footprints(scores, reference, tmp_path / "c", gsd_m=0.5).report.pixels
    assert coarse.pixels < 0.3 * fine.pixels
    assert raised.pixels == fine.pixels
    assert np.abs(np.array(raised.confusion) - np.array(fine.confusion)).max() < 0.01 * fine.pixels  # rounding blends
    assert raised.boundary_px == fine.boundary_px
