"""Score maps of several classes against a DATASET, and boundaries: counted by hand, streamed, refused."""

from __future__ import annotations

import json

import cv2
import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.image import imread
from odc.geo.geobox import GeoBox

from eaves.cli.footprints import summary
from eaves.errors import EavesError, SceneError, SettingsError
from eaves.exchange.rasters import RasterWriter, ScoreWriter
from eaves.exchange.scores import LEVELS, NODATA, decode
from eaves.exchange.vectors import write_vectors
from eaves.labels import UNKNOWN
from eaves.metrics import MetricsReport, boundary_iou, confusion
from eaves.workflows import evaluate_classes as classes_module
from eaves.workflows.evaluate import evaluate_footprints
from eaves.workflows.evaluate_classes import choose_bands, decide

NAMES = ("land", "building", "road")
GRID = GeoBox((40, 60), Affine(0.5, 0, 500_000, 0, -0.5, 5_200_000), "EPSG:32633")
PLAIN = GeoBox((40, 60), Affine.identity(), None)


def truth_mask():
    mask = np.zeros((40, 60), np.uint8)
    mask[5:25, 10:30] = 1
    mask[:, 40:48] = 2
    return mask


def scene_file(path, grid, seed=0, hole=None):
    image = np.random.default_rng(seed).integers(1, 256, (3, *grid.shape), dtype=np.uint8)
    if hole is not None:
        image[(slice(None), *hole)] = 0
    with RasterWriter(path, grid, 3, "uint8", nodata=0) as raster:
        raster.write(0, image)
    return path


def dataset(folder, images=("scene.tif",), *, grid=GRID, mask=None, gsd_m=None, names=NAMES, rest=None, hole=None):
    """A DATASET with a class raster for each image."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["[classes]", f"names = {json.dumps(list(names))}", f'rest = "{rest or names[0]}"']
    values = ", ".join(f"{name} = [{index}]" for index, name in enumerate(names))
    for image in images:
        scene_file(folder / image, grid, hole=hole)
        label = f"{image.removesuffix('.tif')}_labels.tif"
        with RasterWriter(folder / label, grid, 1, "uint8") as raster:
            raster.write(0, (truth_mask() if mask is None else mask)[None])
        lines += ["[[scene]]", f'image = "{image}"', "" if gsd_m is None else f"gsd_m = {gsd_m}"]
        lines += ["[[scene.labels]]", f'path = "{label}"', f"values = {{ {values} }}"]
    path = folder / "dataset.toml"
    path.write_text("\n".join(lines))
    return path


def score_map(path, mask, bands=("building", "road"), *, names=NAMES, grid=GRID, note=None, sure=200):
    """A map that says ``mask``; UNKNOWN there is nodata here."""
    index = {name: names.index(name) for name in bands if name in names}
    levels = np.stack([np.where(mask == index.get(band, 99), sure, 20).astype(np.uint8) for band in bands])
    levels[:, mask == UNKNOWN] = NODATA
    with ScoreWriter(path, grid, bands, note) as writer:
        writer.write(0, levels)
    return path


# --- laws -------------------------------------------------------------------------------------------------------------


@given(arrays(np.uint8, (3, 4, 5)))
def test_the_greatest_score_wins(levels):
    scores, valid = decode(levels)
    scores = scores.astype(float)
    scores = np.concatenate([1 - scores.sum(axis=0, keepdims=True), scores])
    guess = decide(levels, 0.5)
    known = valid.all(axis=0)
    assert (guess[~known] == UNKNOWN).all()
    chosen = np.take_along_axis(scores, np.where(known, guess, 0)[None].astype(int), 0)[0]
    assert (chosen >= scores.max(axis=0) - 1e-6)[known].all()


@given(arrays(np.uint8, (1, 4, 5)), st.floats(0, 1))
def test_one_class_is_a_threshold(levels, threshold):
    guess = decide(levels, threshold)
    assert ((guess == UNKNOWN) == (levels[0] == NODATA)).all()
    assert ((guess == 1) == ((levels[0] >= threshold * LEVELS) & (levels[0] != NODATA))).all()


@given(st.permutations(["building", "road", "water", "border", "distance"]))
def test_bands_are_found_by_name(bands):
    chosen = choose_bands(bands, ("land", "building", "road", "water"), "s.tif")
    assert [bands[index] for index in chosen] == ["building", "road", "water"]


@pytest.mark.parametrize("rows", [1, 7, 512])
def test_strips_do_not_show(tmp_path, monkeypatch, rows):
    data = dataset(tmp_path)
    wrong = np.roll(truth_mask(), (2, 3), (0, 1))
    monkeypatch.setattr(classes_module, "_STRIP", rows)
    told = []
    report = evaluate_footprints(
        score_map(tmp_path / "s.tif", wrong), data, tmp_path / "e", on_progress=told.append
    ).report
    assert told[-1].done == told[-1].total == 40
    assert np.array_equal(report.pixels.confusion, confusion(truth_mask(), wrong, 3))
    assert report.pixels.boundary_px == 4  # 2 m of 0.5 m
    for index, name in enumerate(NAMES):
        expected = boundary_iou(truth_mask() == index, wrong == index, 4)
        assert report.pixels.per_class[name].boundary_iou == expected


# --- examples ---------------------------------------------------------------------------------------------------------


def test_a_perfect_map(tmp_path):
    data = dataset(tmp_path)
    result = evaluate_footprints(score_map(tmp_path / "s.tif", truth_mask()), data, tmp_path / "e", boundary_m=0.1)
    pixels = result.report.pixels
    assert (pixels.accuracy, pixels.miou, pixels.boundary_iou, pixels.boundary_px) == (1, 1, 1, 1)
    assert pixels.classes == NAMES
    assert pixels.per_class["building"].reference_px == 400
    assert result.report.objects is None
    assert sorted(path.name for path in (tmp_path / "e").iterdir()) == ["confusion.png", "metrics.json"]
    assert imread(tmp_path / "e" / "confusion.png").std() > 0.05
    assert MetricsReport.model_validate_json((tmp_path / "e" / "metrics.json").read_text()) == result.report
    made = result.report.provenance
    assert (made.settings["scene"], made.settings["boundary_m"], "threshold" in made.settings) == (
        "scene.tif",
        0.1,
        False,
    )
    assert set(made.inputs) == {"prediction", "reference", "scene", "labels_1"}
    assert all("sha256" in mark for mark in made.inputs.values())
    assert summary(result.report) == [
        "pixels:  mIoU 1.000  F1 1.000  precision 1.000  recall 1.000  accuracy 1.000  boundary IoU 1.000",
        "IoU:     land 1.000  building 1.000  road 1.000",
    ]


def test_the_order_of_bands_does_not_matter(tmp_path):
    data = dataset(tmp_path)
    wrong = np.roll(truth_mask(), 4, axis=1)
    one, other = (
        evaluate_footprints(score_map(tmp_path / f"{bands[0]}.tif", wrong, bands), data, tmp_path / bands[0]).report
        for bands in (("building", "road"), ("road", "border", "building"))
    )
    assert one.pixels == other.pixels
    assert one.pixels.accuracy < 1


def test_what_is_unknown_on_either_side_does_not_count(tmp_path):
    mask = truth_mask()
    mask[:10] = UNKNOWN  # no value that means a class: the rest, which is unknown
    data = dataset(tmp_path, mask=mask, rest="unknown", hole=(slice(30, 40), slice(0, 20)))
    guess = truth_mask()
    guess[:, 50:] = UNKNOWN
    report = evaluate_footprints(score_map(tmp_path / "s.tif", guess), data, tmp_path / "e").report
    assert report.pixels.pixels == 30 * 50 - 10 * 20
    assert report.pixels.accuracy == 1


def test_one_class_takes_the_threshold(tmp_path):
    mask = (truth_mask() == 1).astype(np.uint8)
    data = dataset(tmp_path, mask=mask, names=("background", "building"))
    scores = score_map(tmp_path / "s.tif", mask, ("building",), names=("background", "building"), sure=120)
    for threshold, recall in ((0.4, 1), (0.5, 0)):
        report = evaluate_footprints(scores, data, tmp_path / "e", threshold=threshold).report
        assert (report.pixels.recall, report.provenance.settings["threshold"]) == (recall, threshold)


def test_a_dataset_of_polygons_agrees_with_the_polygons(tmp_path):
    scene_file(tmp_path / "scene.tif", GRID)
    shape = shapely.box(*GRID.affine * (10, 25), *GRID.affine * (30, 5))
    write_vectors(gpd.GeoDataFrame(geometry=[shape], crs=GRID.crs.to_wkt()), tmp_path / "truth.gpkg")
    (tmp_path / "d.toml").write_text('[[scene]]\nimage = "scene.tif"\nlabels = "truth.gpkg"')
    guess = np.roll((truth_mask() == 1).astype(np.uint8), 2, axis=1)
    scores = score_map(tmp_path / "s.tif", guess, ("building",), names=("background", "building"))
    one = evaluate_footprints(scores, tmp_path / "truth.gpkg", tmp_path / "a").report
    other = evaluate_footprints(scores, tmp_path / "d.toml", tmp_path / "b").report
    assert one.pixels == other.pixels
    assert one.pixels.boundary_iou == boundary_iou(truth_mask() == 1, guess == 1, 4)
    assert one.provenance.settings["boundary_m"] == 2.0
    assert one.objects.tp == 1


def test_footprints_have_boundaries_too(tmp_path):
    scene_file(tmp_path / "scene.tif", GRID)
    for left in (10, 12):
        shape = shapely.box(*GRID.affine * (left, 25), *GRID.affine * (left + 20, 5))
        write_vectors(gpd.GeoDataFrame(geometry=[shape], crs=GRID.crs.to_wkt()), tmp_path / f"{left}.gpkg")
    one, other = truth_mask() == 1, np.roll(truth_mask() == 1, 2, axis=1)
    for boundary_m, d in ((None, 4), (1.0, 2)):
        pixels = evaluate_footprints(
            tmp_path / "12.gpkg",
            tmp_path / "10.gpkg",
            tmp_path / "e",
            scene=str(tmp_path / "scene.tif"),
            boundary_m=boundary_m,
        ).report.pixels
        assert (pixels.boundary_px, pixels.boundary_iou) == (d, boundary_iou(one, other, d))
        assert 0.3 < pixels.boundary_iou < pixels.iou


def test_a_plain_picture(tmp_path):
    """Without a CRS: the map's own notes say how large a pixel is, else nothing is measured at boundaries."""
    data = dataset(tmp_path / "a", grid=PLAIN)
    scores = score_map(tmp_path / "s.tif", truth_mask(), grid=PLAIN)
    pixels = evaluate_footprints(scores, data, tmp_path / "e").report.pixels
    assert (pixels.accuracy, pixels.boundary_px, pixels.boundary_iou) == (1, None, None)
    with pytest.raises(SettingsError, match="known size"):
        evaluate_footprints(scores, data, tmp_path / "e", boundary_m=1.0)
    noted = score_map(tmp_path / "n.tif", truth_mask(), grid=PLAIN, note={"settings": {"gsd_m": 1.0}})
    assert evaluate_footprints(noted, data, tmp_path / "e").report.pixels.boundary_px == 2
    stated = dataset(tmp_path / "b", grid=PLAIN, gsd_m=0.5)
    assert evaluate_footprints(scores, stated, tmp_path / "e").report.pixels.boundary_px == 4


@pytest.mark.parametrize(("grid", "gsd_m"), [(GRID, None), (PLAIN, 0.5)])
def test_labels_are_drawn_at_the_maps_resolution(tmp_path, grid, gsd_m):
    data = dataset(tmp_path, grid=grid, gsd_m=gsd_m)
    coarse = GeoBox((20, 30), grid.affine * Affine.scale(2), grid.crs)
    guess = cv2.resize(truth_mask(), (30, 20), interpolation=cv2.INTER_NEAREST)
    guess[2:5, 5:15] = guess[3, 6]
    pixels = evaluate_footprints(score_map(tmp_path / "s.tif", guess, grid=coarse), data, tmp_path / "e").report.pixels
    assert (pixels.pixels, pixels.boundary_px) == (600, 2)
    assert pixels.accuracy > 0.97


def test_a_row_more_or_less_at_the_end_is_the_same_grid(tmp_path):
    data = dataset(tmp_path)
    guess = np.pad(truth_mask(), ((0, 1), (0, 0)))[:, :-1]
    shape = GeoBox(guess.shape, GRID.affine, GRID.crs)
    pixels = evaluate_footprints(score_map(tmp_path / "s.tif", guess, grid=shape), data, tmp_path / "e").report.pixels
    assert (pixels.pixels, pixels.accuracy) == (40 * 59, 1)


# --- which scene ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "noted", "chosen"),
    [
        ("two.tif", None, "two.tif"),
        ("two", "one.tif", "two.tif"),
        ("two.png", None, "two.tif"),
        (None, "/elsewhere/one.tif", "one.tif"),
        (None, "one.vrt", "one.tif"),
    ],
)
def test_the_scene_is_found(tmp_path, wanted, noted, chosen):
    data = dataset(tmp_path, ("one.tif", "two.tif"))
    note = {"inputs": {"scene": {"path": noted}}} if noted else None
    scores = score_map(tmp_path / "s.tif", truth_mask(), note=note)
    report = evaluate_footprints(scores, data, tmp_path / "e", scene=wanted).report
    assert report.provenance.settings["scene"] == chosen


@pytest.mark.parametrize(
    ("wanted", "note"),
    [
        (None, None),
        (None, {"inputs": "?"}),
        (None, {"inputs": {"scene": "?"}}),
        (None, {"inputs": {"scene": {"path": "three.tif"}}}),
        ("three", None),
    ],
)
def test_scenes_are_listed_where_none_is_chosen(tmp_path, wanted, note):
    data = dataset(tmp_path, ("one.tif", "two.tif"))
    scores = score_map(tmp_path / "s.tif", truth_mask(), note=note)
    with pytest.raises(SettingsError, match=r"one\.tif, two\.tif.*--scene"):
        evaluate_footprints(scores, data, tmp_path / "e", scene=wanted)
    assert not (tmp_path / "e" / "metrics.json").exists()


def test_folders_tell_scenes_of_one_name_apart(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    data = dataset(tmp_path, ("a/image.tif", "b/image.tif"))
    note = {"inputs": {"scene": {"path": "/data/b/image.tif"}}}
    scores = score_map(tmp_path / "s.tif", truth_mask(), note=note)
    assert evaluate_footprints(scores, data, tmp_path / "e").report.provenance.settings["scene"] == "b/image.tif"
    with pytest.raises(SettingsError, match="several of them"):
        evaluate_footprints(scores, data, tmp_path / "e", scene="image.tif")


# --- refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bands", [("building",), ("building", "road", "tree"), ("a", "b"), ("building", "road", "road")]
)
def test_classes_that_are_not_the_datasets(tmp_path, bands):
    data = dataset(tmp_path)
    with pytest.raises(SettingsError, match="one band for each of building, road"):
        evaluate_footprints(score_map(tmp_path / "s.tif", truth_mask(), bands), data, tmp_path / "e")


@pytest.mark.parametrize(
    "grid",
    [
        GeoBox((40, 60), GRID.affine * Affine.translation(0.5, 0), GRID.crs),
        GeoBox((42, 60), GRID.affine, GRID.crs),
        GeoBox((40, 60), GRID.affine * Affine.scale(1, 1.01), GRID.crs),
        GeoBox((40, 60), GRID.affine, "EPSG:32634"),
        PLAIN,
    ],
)
def test_a_map_on_another_grid(tmp_path, grid):
    data = dataset(tmp_path)
    mask = np.zeros(grid.shape, np.uint8)
    with pytest.raises(SceneError, match="warp the map"):
        evaluate_footprints(score_map(tmp_path / "s.tif", mask, grid=grid), data, tmp_path / "e")


def test_another_resolution_of_a_picture_without_one(tmp_path):
    data = dataset(tmp_path, grid=PLAIN)
    coarse = GeoBox((20, 30), Affine.scale(2), None)
    scores = score_map(tmp_path / "s.tif", np.zeros((20, 30), np.uint8), grid=coarse)
    with pytest.raises(SceneError, match="gsd_m of the scene"):
        evaluate_footprints(scores, data, tmp_path / "e")


@pytest.mark.parametrize(
    "options",
    [
        {"aoi": "a.gpkg"},
        {"nodata": 0},
        {"separate": "border"},
        {"seed_score": 0.4},
        {"iou": 0.3},
        {"min_area_m2": 4.0},
        {"threshold": 0.4},
        {"boundary_m": 0.0},
    ],
)
def test_options_that_do_not_go_with_a_dataset(tmp_path, options):
    data = dataset(tmp_path)
    scores = score_map(tmp_path / "s.tif", truth_mask())
    with pytest.raises(SettingsError, match=r"leave|change"):
        evaluate_footprints(scores, data, tmp_path / "e", **options)


def test_footprints_do_not_go_with_a_dataset(tmp_path):
    with pytest.raises(SettingsError, match="a score map"):
        evaluate_footprints(tmp_path / "f.gpkg", dataset(tmp_path), tmp_path / "e")
    with pytest.raises(EavesError, match="does not exist"):
        evaluate_footprints(tmp_path / "s.tif", tmp_path / "none.toml", tmp_path / "e")


def test_reports_from_before_boundaries_are_read(tmp_path):
    report = evaluate_footprints(score_map(tmp_path / "s.tif", truth_mask()), dataset(tmp_path), tmp_path / "e").report
    data = json.loads(report.model_dump_json())
    del data["pixels"]["boundary_iou"], data["pixels"]["boundary_px"]
    for scores in data["pixels"]["per_class"].values():
        del scores["boundary_iou"]
    assert MetricsReport.model_validate(data).pixels.boundary_iou is None


def test_objects_where_the_scene_shows_nothing_do_not_count(tmp_path):
    """Houses in the left half of a scene, in its right half that is nodata, and beyond it."""
    scene_file(tmp_path / "scene.tif", GRID, hole=np.s_[:, 30:])
    at = [(500_003, True), (500_022, False), (500_060, False)]
    houses = [shapely.box(x, 5_199_985, x + 6, 5_199_995) for x, _ in at]
    write_vectors(gpd.GeoDataFrame(geometry=houses, crs="EPSG:32633"), tmp_path / "reference.gpkg")
    write_vectors(gpd.GeoDataFrame(geometry=houses[:2], crs="EPSG:32633"), tmp_path / "found.gpkg")
    given_ = (tmp_path / "found.gpkg", tmp_path / "reference.gpkg")
    report = evaluate_footprints(*given_, tmp_path / "e", scene=tmp_path / "scene.tif").report
    assert (report.objects.tp, report.objects.fp, report.objects.fn) == (1, 0, 0)
    mask = np.zeros((1, *GRID.shape), np.uint8)
    mask[0, 10:30, 6:18] = 250
    with ScoreWriter(tmp_path / "scores.tif", GRID, ("building",)) as writer:
        writer.write(0, mask)
    report = evaluate_footprints(tmp_path / "scores.tif", given_[1], tmp_path / "e").report
    assert (report.objects.tp, report.objects.fn) == (1, 1)  # of a score map without gaps, what lies beyond it
    away = gpd.GeoDataFrame(geometry=[shapely.box(500_060, 5_199_980, 500_090, 5_200_000)], crs="EPSG:32633")
    write_vectors(away, tmp_path / "away.gpkg")
    with pytest.raises(EavesError, match="ground that the scene shows inside the AOI"):
        evaluate_footprints(*given_, tmp_path / "e", scene=tmp_path / "scene.tif", aoi=tmp_path / "away.gpkg")


@pytest.mark.parametrize("wrong", [{"iou": 1.5}, {"iou": 0}, {"gsd_m": 0}, {"gsd_m": -1}])
def test_numbers_out_of_range_are_refused_before_the_work(tmp_path, wrong):
    with pytest.raises(SettingsError, match=r"above 0"):
        evaluate_footprints(tmp_path / "a.gpkg", tmp_path / "b.gpkg", tmp_path / "e", **wrong)
