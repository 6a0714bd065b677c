"""Buildings that touch, parted by a score map's second band: in vectorize, extract and evaluate."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from scipy import ndimage

from eaves.errors import SettingsError
from eaves.exchange.rasters import ScoreWriter, write_raster
from eaves.exchange.scoremap import open_scores
from eaves.exchange.vectors import read_metadata, read_vectors, write_vectors
from eaves.metrics import calibrate
from eaves.workflows.evaluate import evaluate_footprints
from eaves.workflows.extract import extract_footprints
from eaves.workflows.predict import predict_scores
from eaves.workflows.vectorize import FootprintBuilder, choose_method, vectorize_scores

HOUSES = [(10 + 20 * i, 10, 30 + 20 * i, 40) for i in range(5)]  # a terrace of five: x0, y0, x1, y1 in pixels
GRID = GeoBox((60, 120), Affine(0.3, 0, 500_000, 0, -0.3, 5_200_000), "EPSG:32633")


def bands() -> dict[str, np.ndarray]:
    """What a good network gives for the terrace."""
    depth = np.zeros(GRID.shape)
    for x0, y0, x1, y1 in HOUSES:
        inside = np.zeros(GRID.shape, bool)
        inside[y0:y1, x0:x1] = True
        depth += ndimage.distance_transform_edt(inside)
    soft = {"building": depth > 0, "border": (depth > 0) & (depth < 3), "distance": 0.4 + np.minimum(depth, 10) / 20}
    return {name: np.rint(254 * ndimage.gaussian_filter(band.astype(float), 1)) for name, band in soft.items()}


def score_map(path: Path, *names: str) -> Path:
    made = bands()
    with ScoreWriter(path, GRID, names) as writer:
        writer.write(0, np.stack([made.get(name, made["building"]) for name in names]).astype(np.uint8))
    return path


def test_a_map_of_one_band_is_parted_by_its_shape(tmp_path):
    hall = np.zeros(GRID.shape, np.uint8)
    hall[10:40, 10:50] = hall[10:40, 58:100] = hall[22:27, 50:58] = 254
    with ScoreWriter(tmp_path / "scores.tif", GRID, ("building",)) as writer:
        writer.write(0, hall[None])
    for separate, number in (("auto", 1), ("none", 1), ("score", 2)):
        assert vectorize_scores(tmp_path / "scores.tif", tmp_path / "f.gpkg", separate=separate).number == number
    assert read_metadata(tmp_path / "f.gpkg")["settings"]["separate"] == "score"
    result = evaluate_footprints(tmp_path / "scores.tif", tmp_path / "f.gpkg", tmp_path / "e", separate="score")
    assert result.report.objects.f1 == 1


@pytest.mark.parametrize("name", ["border", "distance"])
def test_touching_buildings_are_parted_where_the_map_says_how(tmp_path, name):
    scores, out = score_map(tmp_path / "scores.tif", "building", name), tmp_path / "f.gpkg"
    for separate, number in (("auto", 5), (name, 5), ("none", 1)):
        assert vectorize_scores(scores, out, separate=separate).number == number
        assert read_metadata(out)["settings"]["separate"] == ("none" if separate == "none" else name)
    vectorize_scores(scores, out, seed_score=0.6)
    table = read_vectors(out)
    assert "class" not in table
    assert table.area_m2.to_numpy() == pytest.approx(20 * 30 * 0.09, rel=0.02)
    wanted = [shapely.box(*GRID.affine * (x0, y1), *GRID.affine * (x1, y0)) for x0, y0, x1, y1 in HOUSES]
    found = table.geometry.to_numpy()[np.argsort(table.centroid.x)]
    assert (shapely.area(shapely.intersection(found, wanted)) / shapely.area(shapely.union(found, wanted)) > 0.97).all()
    assert shapely.area(shapely.union_all(found)) == pytest.approx(shapely.area(found).sum(), rel=1e-3)


def test_a_second_band_is_never_a_class(tmp_path):
    scores, out = score_map(tmp_path / "scores.tif", "building", "shed", "border", "distance"), tmp_path / "f.gpkg"
    vectorize_scores(scores, out)
    assert read_vectors(out)["class"].value_counts().to_dict() == {"building": 5, "shed": 1}
    assert read_metadata(out)["settings"]["separate"] == "distance"
    vectorize_scores(scores, out, separate="none")
    assert read_vectors(out)["class"].value_counts().to_dict() == {"building": 1, "shed": 1}


def test_the_first_band_is_a_class_whatever_its_name(tmp_path):
    assert choose_method(("border",)) is None
    assert choose_method(("border", "distance")) == "distance"
    assert vectorize_scores(score_map(tmp_path / "scores.tif", "border"), tmp_path / "f.gpkg").number == 1


def test_strips_do_not_matter(tmp_path):
    levels = open_scores(score_map(tmp_path / "scores.tif", "building", "border")).read()
    tables = []
    for rows in (60, 1, 7):
        builder = FootprintBuilder(GRID, ("building", "border"), threshold=0.5, min_area_m2=1, simplify_px=1)
        for row in range(0, 60, rows):
            builder.push(levels[:, row : row + rows])
        tables.append(builder.finish())
    assert len(tables[0]) == 5
    for table in tables[1:]:
        assert table.to_wkb().equals(tables[0].to_wkb())


@pytest.mark.parametrize("name", ["border", "distance"])
def test_parts_smaller_than_the_least_go_to_their_neighbour(tmp_path, name):
    scores, out = score_map(tmp_path / "scores.tif", "building", name), tmp_path / "f.gpkg"
    assert vectorize_scores(scores, out, min_seed_m2=20).number == 5  # 54 m2 each, less what the valleys drown
    assert vectorize_scores(scores, out, min_seed_m2=54).number == 1
    # as many square pixels where nothing tells a pixel's size, and square metres where it is stated
    made = bands()
    levels = np.stack([made["building"], made[name]]).astype(np.uint8)
    counts = []
    for side_m, least in ((None, 222), (None, 600), (0.3, 20), (0.3, 54)):
        builder = FootprintBuilder(
            GeoBox(GRID.shape, Affine.identity(), None),
            ("building", name),
            threshold=0.5,
            min_area_m2=1,
            simplify_px=1,
            ground_gsd_m=side_m,
            min_seed_m2=least,
        )
        builder.push(levels)
        counts.append(len(builder.finish()))
    assert counts == [5, 1, 5, 1]


@pytest.mark.parametrize(
    ("names", "settings", "words"),
    [
        (["building", "border"], {"separate": "distance"}, "band 'distance'.*bands building, border.*--separate auto"),
        (["building"], {"separate": "border"}, "bands building"),
        (["building", "border"], {"separate": "watershed"}, "auto, none, border, distance or score"),
        (["building"], {"seed_score": 0.5}, "a way to part"),
        (["building", "border"], {"separate": "none", "min_fall": 0.5}, "a way to part"),
        (["building", "border"], {"min_fall": 2.0}, "at most 1"),
        (["building", "distance"], {"seed_score": 0.4}, "above 0.5"),
        (["building"], {"min_seed_m2": 2.0}, "--min-seed-m2"),
        (["building", "distance"], {"min_seed_m2": -1.0}, "0 or more"),
        (["building", "distance"], {"min_seed_m2": float("nan")}, "0 or more"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path, names, settings, words):
    scores = score_map(tmp_path / "scores.tif", *names)
    truth = tmp_path / "truth.gpkg"
    write_vectors(gpd.GeoDataFrame(geometry=[shapely.box(500_000, 5_199_990, 500_010, 5_200_000)], crs=32633), truth)
    with pytest.raises(SettingsError, match=f"(?s){words}"):
        vectorize_scores(scores, tmp_path / "f.gpkg", **settings)
    with pytest.raises(SettingsError, match=f"(?s){words}"):
        evaluate_footprints(scores, truth, tmp_path / "e", **settings)
    assert not (tmp_path / "f.gpkg").exists()


def test_evaluate_parts_as_vectorize_does(tmp_path):
    scores = score_map(tmp_path / "scores.tif", "building", "shed", "border")
    shapes = [shapely.box(*GRID.affine * (x0, y1), *GRID.affine * (x1, y0)) for x0, y0, x1, y1 in HOUSES]
    truth = tmp_path / "truth.gpkg"
    write_vectors(gpd.GeoDataFrame(geometry=shapes, crs=GRID.crs.to_wkt()), truth)
    parted = evaluate_footprints(scores, truth, tmp_path / "a").report
    assert (parted.objects.tp, parted.objects.fp, parted.objects.merged) == (5, 0, 0)
    assert parted.provenance.settings["separate"] == "border"
    merged = evaluate_footprints(scores, truth, tmp_path / "b", separate="none").report
    assert (merged.objects.tp, merged.objects.fp, merged.objects.merged) == (0, 1, 1)
    assert merged.provenance.settings["separate"] == "none"
    assert merged.pixels == parted.pixels
    for settings in ({"separate": "border"}, {"seed_score": 0.4}, {"min_fall": 0.4}, {"min_seed_m2": 1.0}):
        with pytest.raises(SettingsError, match="a score map"):
            evaluate_footprints(truth, truth, tmp_path / "c", **settings)
    assert "separate" not in evaluate_footprints(truth, truth, tmp_path / "c").report.provenance.settings


@pytest.fixture(scope="module")
def scene_and_models(tmp_path_factory, untrained):
    """Noise, and two networks that know nothing but what they were meant to draw."""
    folder = tmp_path_factory.mktemp("models")
    image = np.random.default_rng(1).integers(0, 256, (3, *GRID.shape), dtype=np.uint8)
    write_raster(folder / "scene.tif", GRID, image)
    for kind in ("classes", "border"):
        untrained(folder / f"{kind}.safetensors", kind)
    return folder


def test_extract_parts_as_vectorize_does(scene_and_models, tmp_path):
    scene, model = scene_and_models / "scene.tif", scene_and_models / "border.safetensors"
    predict_scores(scene, model, tmp_path / "s.tif")
    levels = open_scores(tmp_path / "s.tif").read()[0]
    easy = {"threshold": float(np.quantile(levels, 0.3)) / 254, "min_area_m2": 0.1}
    parting = {"seed_score": 0.01, "min_fall": 0.01, "min_seed_m2": 0.3}
    traced = vectorize_scores(tmp_path / "s.tif", tmp_path / "v.gpkg", **parting, **easy)
    made = extract_footprints(scene, model, tmp_path / "e.gpkg", scores=tmp_path / "t.tif", **parting, **easy)
    assert open_scores(tmp_path / "t.tif").classes == ("building", "border")
    one, two = read_vectors(made.path), read_vectors(traced.path)
    assert one.geometry.geom_equals_exact(two.geometry, 1e-9).all()
    assert made.number > extract_footprints(scene, model, tmp_path / "n.gpkg", separate="none", **easy).number > 0
    settings = read_metadata(tmp_path / "e.gpkg")["settings"]
    assert parting.items() <= settings.items()
    assert settings["separate"] == "border"
    assert read_metadata(tmp_path / "n.gpkg")["settings"]["separate"] == "none"


def test_extract_makes_regular_and_says_how_sure_and_when(scene_and_models, tmp_path):
    scene, model = scene_and_models / "scene.tif", scene_and_models / "border.safetensors"
    predict_scores(scene, model, tmp_path / "s.tif")
    low = {"threshold": float(np.quantile(open_scores(tmp_path / "s.tif").read()[0], 0.3)) / 254, "min_area_m2": 0.1}
    rng = np.random.default_rng(0)
    curve = calibrate(rng.uniform(0, 1, 99), rng.random(99) < 0.5)
    (tmp_path / "c.json").write_text(curve.model_dump_json())
    made = extract_footprints(
        scene,
        model,
        tmp_path / "e.gpkg",
        method="auto",
        tolerance_m=0.9,
        date="2026-05-31",
        calibration=tmp_path / "c.json",
        **low,
    )
    table = read_vectors(made.path)
    assert made.shapes is not None
    assert made.kept + sum(made.shapes.values()) == made.number == len(table) > 0
    assert (table["deviation_m"] <= 0.9).all()
    assert table["confidence"].to_numpy() == pytest.approx(curve.apply(table["score"].to_numpy()), abs=1e-3)
    assert (table["date"] == "2026-05-31").all()
    assert read_metadata(made.path)["settings"]["method"] == "auto"
    for wrong in ({"date": "yesterday"}, {"date": "2026-13-45"}, {"tolerance_m": 5.0}):
        with pytest.raises(SettingsError):
            extract_footprints(scene, model, tmp_path / "p.gpkg", **wrong, **low)
    plain = extract_footprints(scene, model, tmp_path / "p.gpkg", **low)
    assert plain.shapes is None
    assert "status" not in read_vectors(plain.path)
    with pytest.raises(SettingsError, match="either --method or --simplify-px"):
        extract_footprints(scene, model, tmp_path / "x.gpkg", method="auto", simplify_px=1)
    with pytest.raises(SettingsError, match="tolerance"):
        extract_footprints(scene, model, tmp_path / "x.gpkg", method="auto", tolerance_m=-1)


def test_extract_refuses_to_part_with_a_model_that_was_not_taught_it(scene_and_models, tmp_path):
    scene, model = scene_and_models / "scene.tif", scene_and_models / "classes.safetensors"
    with pytest.raises(SettingsError, match=r"(?s)band 'distance'.*bands building\."):
        extract_footprints(scene, model, tmp_path / "f.gpkg", separate="distance")
    extract_footprints(scene, model, tmp_path / "f.gpkg")
    assert read_metadata(tmp_path / "f.gpkg")["settings"]["separate"] == "none"
