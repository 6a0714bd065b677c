"""Runs and evaluations in one table: who is lined up with whom, what is counted, what stays empty."""

from __future__ import annotations

import csv
import json
import statistics
from datetime import UTC, datetime

import geopandas as gpd
import numpy as np
import pytest
import torch
from affine import Affine
from matplotlib.image import imread
from odc.geo.geobox import GeoBox
from shapely import box

import eaves
from eaves.errors import EavesWarning, ModelFileError, OutputError, SettingsError
from eaves.exchange.rasters import ScoreWriter
from eaves.exchange.vectors import write_vectors
from eaves.metrics import MetricsReport, Provenance, match, object_report, pixel_report
from eaves.models import MODELS, Card, build, save_model
from eaves.scene import Scaling
from eaves.settings import ModelSettings, load_recipe
from eaves.workflows.compare import compare_runs
from eaves.workflows.lineup import parameters_in
from eaves.workflows.makers import Maker, find_maker
from eaves.workflows.provenance import provenance

SMALL = ["model.arch='unet28'", "model.options={widths='narrow'}"]


def make_run(
    folder, recipe="demo", changes=(), *, epochs=3, best=2, data="towns/dataset.toml", model="model", **trained
):
    chosen = load_recipe(recipe, [*SMALL, *changes])
    card = Card(
        eaves_version="1",
        created=datetime(2026, 1, 1, tzinfo=UTC),
        recipe=chosen,
        classes=("background", "building"),
        scaling=Scaling.for_bytes(3),
        metrics={"val_iou": 0.5},
        trained={"epochs": best, "chips": 10 * best, **trained},
    )
    torch.manual_seed(chosen.fit.seed)
    folder.mkdir(parents=True, exist_ok=True)
    save_model(folder / f"{model}.safetensors", build(chosen.model, 3, card.readout.channels), card)
    note = {"inputs": {"data": {"path": data, "fingerprint": f"sha256:{data}"}}}
    (folder / "run.json").write_text(json.dumps(note))
    with (folder / "curves.csv").open("w", newline="") as file:
        rows = csv.DictWriter(file, ["epoch", "train_loss", "val_iou", "seconds"])
        rows.writeheader()
        rows.writerows({"epoch": n + 1, "train_loss": 1 / (n + 1), "val_iou": n / 9} for n in range(epochs))
    return folder


def make_report(folder, right, *, reference="city/kampala.gpkg", scores=True, iou=0.5, **inputs):
    """An evaluation of ten houses and 100 pixels of which ``right`` are found."""
    houses = [box(10 * i, 0, 10 * i + 5, 5) for i in range(10)]
    found = match(houses[:right], houses, np.linspace(1, 0.5, right) if scores else None)
    report = MetricsReport(
        pixels=pixel_report([[90, 0], [10 - right, right]], ("background", "building")),
        objects=object_report(found),
        provenance=Provenance(
            command="eaves evaluate",
            version="1",
            settings={"iou": iou, "min_area_m2": 0.0},
            inputs={"prediction": "gone.gpkg", "reference": f"{reference} sha256:{reference}", **inputs},
        ),
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(report.model_dump_json())
    return folder


def cells(table):
    """Heading → cell, a dictionary a row."""
    raw = [[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines() if line.startswith("|")]
    assert len({len(line) for line in raw}) == 1
    return [dict(zip(raw[0], row, strict=True)) for row in raw[2:]]


# --- one row ----------------------------------------------------------------------------------------------------------


def test_an_evaluated_run_has_it_all(tmp_path):
    run = make_run(tmp_path / "run", changes=["fit.choose_on=test"])
    make_report(run / "kampala", 8)
    (row,) = cells(compare_runs(run).table)
    assert row == {
        "model": "demo",
        "target": "classes",
        "measured on": "kampala",
        "accuracy": "0.980",
        "precision": "1.000",
        "recall": "0.800",
        "mIoU": f"{(90 / 92 + 0.8) / 2:.3f}",
        "IoU": "0.800",
        "F1": f"{16 / 18:.3f}",
        "AP": f"{81 / 101:.3f}",
        "AP50": f"{81 / 101:.3f}",
        "AP75": f"{81 / 101:.3f}",
        "object F1": f"{16 / 18:.3f}",
        "merged": "0",
        "split": "0",
        "IoU of the best epoch": "0.500",
        "parameters": row["parameters"],
        "epochs": "3",
        "best epoch": "2",
        "chips": "20",
        "chosen on": "test",
    }
    network = build(ModelSettings(arch="unet28", options={"widths": "narrow"}), 3, 2)
    assert row["parameters"] == f"{sum(p.numel() for p in network.parameters()) / 1e6:.2f} M"


def test_what_a_source_does_not_have_is_empty(tmp_path):
    make_run(tmp_path / "run")
    make_report(tmp_path / "bare", 6, scores=False)
    result = compare_runs([tmp_path / "run", tmp_path / "bare"], tmp_path / "out")
    measured, trained = cells(result.table)
    assert measured["model"] == "bare"
    assert [measured[key] for key in ("target", "parameters", "chips", "chosen on")] == [""] * 4
    assert trained["model"] == "demo"
    assert [trained[key] for key in ("measured on", "accuracy", "IoU", "object F1", "merged")] == [""] * 5
    assert "AP50" not in measured  # nobody has it
    assert "Mpx/s" not in measured
    with (tmp_path / "out" / "compare.csv").open() as file:
        first, second = csv.DictReader(file)
    assert first["ap50"] == first["iou"] == second["parameters"] == second["mpx_per_s"] == ""
    assert int(first["parameters"]) > 1000
    assert (second["iou"], second["merged"]) == ("0.6", "0")


def test_the_card_says_what_picked_the_epoch(tmp_path):
    make_run(tmp_path / "a", chosen_on="nothing: the last epoch")
    make_run(tmp_path / "b", changes=["fit.epochs=2", "fit.choose_on=test"])
    assert {line.chosen_on for line in compare_runs(tmp_path).lines} == {"nothing: the last epoch", "test"}


@pytest.mark.parametrize("arch", MODELS)
def test_parameters_are_what_training_sets(arch):
    with torch.device("meta"):
        network = build(ModelSettings(arch=arch), 3, 2)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert parameters_in(shapes) == sum(p.numel() for p in network.parameters())


# --- several runs -----------------------------------------------------------------------------------------------------


def test_seeds_share_a_row(tmp_path):
    right = (5, 6, 8)
    for seed, number in enumerate(right):
        run = make_run(tmp_path / "seeds" / str(seed), changes=[f"fit.seed={seed}"], best=seed + 1)
        make_report(run / "kampala", number)
    result = compare_runs(tmp_path / "seeds", tmp_path / "out")
    (line,) = result.lines
    assert (line.runs, line.values["iou"].runs) == (3, 3)
    assert line.values["iou"].mean == pytest.approx(19 / 30)
    assert line.values["iou"].sd == pytest.approx(statistics.stdev([0.5, 0.6, 0.8]))
    (row,) = cells(result.table)
    assert (row["runs"], row["IoU"], row["merged"], row["best epoch"]) == ("3", "0.633 ± 0.153", "0", "2 ± 1")
    assert "standard deviation" in result.table.splitlines()[-1]
    with (tmp_path / "out" / "compare.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["seed"], float(row["iou"])) for row in rows] == [("0", 0.5), ("1", 0.6), ("2", 0.8)]


def test_one_run_without_a_number_is_not_hidden(tmp_path):
    for seed, number in enumerate((0, 6)):  # the first predicts nothing: it has no precision
        make_report(make_run(tmp_path / str(seed), changes=[f"fit.seed={seed}"]) / "kampala", number)
    (row,) = cells(compare_runs([tmp_path / "0", tmp_path / "1"]).table)
    assert (row["precision"], row["recall"]) == ("1.000 (1 of 2)", "0.300 ± 0.424")


def test_settings_that_differ_stand_beside_the_name(tmp_path):
    changes = {"a": [], "b": ["fit.epochs=2", "fit.seed=3"], "c": ["target.kind=border"], "d": ["fit.workers=2"]}
    for name, change in changes.items():
        make_report(make_run(tmp_path / name, changes=change) / "kampala", 5)
    made = {(line.model, line.target): line.runs for line in compare_runs(tmp_path).lines}
    epochs = load_recipe("demo").fit.epochs
    assert made == {
        (f"demo fit.epochs={epochs} · classes", "classes"): 2,  # a and d: workers do not change what is learned
        ("demo fit.epochs=2", "classes"): 1,
        (f"demo fit.epochs={epochs} · border", "border"): 1,
    }
    lines = compare_runs([tmp_path / "a", tmp_path / "c"], names=["ours", "ours"]).lines
    assert {line.model for line in lines} == {"ours · classes", "ours · border"}


def test_settings_are_named_as_set_takes_them(tmp_path):
    terms = {"a": "{cross_entropy=1.0}", "b": "{cross_entropy=0.5}", "c": "{cross_entropy=0.5,dice=2.0}"}
    for name, value in terms.items():
        make_run(tmp_path / name, changes=[f"loss.terms={value}"])
    assert {line.model for line in compare_runs(tmp_path).lines} == {
        "demo loss.terms.cross_entropy=1.0",
        "demo loss.terms.cross_entropy=0.5",
        "demo loss.terms.cross_entropy=0.5 loss.terms.dice=2.0",
    }


def test_other_data_is_another_model(tmp_path):
    for name, data in (("a", "towns/dataset.toml"), ("b", "farms/dataset.toml"), ("c", "towns/dataset.toml")):
        make_report(make_run(tmp_path / name, data=data) / "kampala", 5)
    made = {line.model: line.runs for line in compare_runs(tmp_path).lines}
    assert made == {"demo data=towns/dataset": 2, "demo data=farms/dataset": 1}


def test_names_decide(tmp_path):
    for name, change in (("a", []), ("b", ["fit.epochs=2"]), ("c", [])):
        make_report(make_run(tmp_path / name, changes=change) / "kampala", 5)
    folders = [tmp_path / name for name in "abc"]
    lines = compare_runs(folders, names=["ours", "ours", "theirs"]).lines
    assert {line.model: line.runs for line in lines} == {"ours": 2, "theirs": 1}
    with pytest.raises(SettingsError, match="3 names"):
        compare_runs(folders, names=["ours"])


def test_places_are_not_mixed(tmp_path):
    run = make_run(tmp_path / "run")
    make_report(run / "one", 5)
    make_report(run / "two", 6, reference="city/banepa.gpkg")
    make_report(run / "three", 7, reference="city/banepa.gpkg", aoi="east.gpkg sha256:9")
    make_report(run / "four", 8, iou=0.3)
    lines = compare_runs(run).lines
    assert sorted((line.measured_on, round(line.values["iou"].mean, 6)) for line in lines) == [
        ("banepa (1)", 0.7),
        ("banepa (2)", 0.6),
        ("kampala (1)", 0.8),
        ("kampala (2)", 0.5),
    ]
    assert {line.model for line in lines} == {"demo"}


def test_references_of_one_name_are_told_apart(tmp_path):
    make_report(tmp_path / "a", 5, reference="kampala/buildings.gpkg")
    make_report(tmp_path / "b", 5, reference="banepa/buildings.gpkg")
    assert {line.measured_on for line in compare_runs(tmp_path).lines} == {"kampala/buildings", "banepa/buildings"}


def test_one_model_measured_twice_is_not_two_seeds(tmp_path):
    run = make_run(tmp_path / "run")
    make_report(run / "plain", 5)
    make_report(run / "mirrored", 6)
    assert {line.model: line.runs for line in compare_runs(run).lines} == {"demo · plain": 1, "demo · mirrored": 1}


def test_evaluations_alone_are_never_averaged(tmp_path):
    for name in ("a", "b"):
        make_report(tmp_path / name / "evaluation", 5)
    assert {line.model for line in compare_runs(tmp_path).lines} == {"a/evaluation", "b/evaluation"}


def test_the_best_of_a_place_comes_first(tmp_path):
    for name, number in (("low", 3), ("high", 9), ("middle", 6)):
        make_report(tmp_path / name, number)
    make_run(tmp_path / "run")
    assert [line.model for line in compare_runs(tmp_path).lines] == ["high", "middle", "low", "demo"]


def test_a_folder_named_twice_counts_once(tmp_path):
    run = make_run(tmp_path / "run")
    make_report(run / "kampala", 5)
    assert [line.runs for line in compare_runs([run, run / "kampala", tmp_path]).lines] == [1]


# --- whose evaluation it is -------------------------------------------------------------------------------------------


def footprints(path, model, number=4):
    table = gpd.GeoDataFrame(
        {"score": np.linspace(0.9, 0.5, number)},
        geometry=[box(500_000 + 20 * i, 0, 500_010 + 20 * i, 10) for i in range(number)],
        crs="EPSG:32636",
    )
    note = {} if model is None else provenance("extract", {"scene": "scene.tif", "model": model}, {})
    write_vectors(table, path, metadata=note | ({"inputs": [note["inputs"]]} if note else {}))
    return path


@pytest.fixture
def town(tmp_path):
    """A run, and an evaluation that lies elsewhere, of footprints that say which model made them."""
    run = make_run(tmp_path / "runs" / "first")
    found = footprints(tmp_path / "found.gpkg", run / "model.safetensors", 3)
    reference = footprints(tmp_path / "kampala.gpkg", None)
    eaves.evaluate_footprints(found, reference, tmp_path / "evaluation")
    return tmp_path


def test_the_model_is_found_by_the_footprints_own_notes(town):
    for paths in ([town / "evaluation"], [town], [town / "runs", town / "evaluation"]):
        (line,) = compare_runs(paths).lines
        assert (line.model, line.target, line.measured_on) == ("demo", "classes", "kampala")
        assert line.values["object_f1"].mean == pytest.approx(6 / 7)
        assert line.values["ap50"].mean == pytest.approx(76 / 101)
        assert line.values["chips"].mean == 20


def test_a_moved_run_is_found_by_its_fingerprint(town):
    (town / "runs" / "first").rename(town / "runs" / "moved")
    (line,) = compare_runs([town / "evaluation", town / "runs"]).lines
    assert (line.model, line.values["chips"].mean) == ("demo", 20)


def test_a_model_that_was_trained_anew_is_not_credited(town):
    make_run(town / "runs" / "first", changes=["fit.seed=5"])
    with pytest.warns(EavesWarning, match="1 of 1 evaluations are of a model that has changed"):
        lines = compare_runs(town).lines
    assert [(line.model, line.target, "iou" in line.values) for line in lines] == [
        ("evaluation", "", True),
        ("demo", "classes", False),
    ]


def test_another_epochs_model_is_named(tmp_path):
    run = make_run(tmp_path / "run")
    make_run(run / "epochs", changes=["fit.seed=7"], model="epoch_001")
    footprints(tmp_path / "found.gpkg", run / "epochs" / "epoch_001.safetensors")
    reference = footprints(tmp_path / "kampala.gpkg", None)
    eaves.evaluate_footprints(tmp_path / "found.gpkg", reference, run / "first epoch")
    assert {line.model for line in compare_runs(run).lines} == {"demo", "demo epoch_001"}


# --- several classes, and boundaries ----------------------------------------------------------------------------------


def make_classes_report(folder, matrix, names, boundaries=None, **settings):
    report = MetricsReport(
        pixels=pixel_report(matrix, names, boundaries, None if boundaries is None else 4),
        provenance=Provenance(
            command="eaves evaluate", version="1", settings=settings, inputs={"reference": "city/dataset.toml sha256:1"}
        ),
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(report.model_dump_json())
    return folder


MATRIX = [[6, 2, 0], [0, 4, 0], [2, 0, 2]]  # IoU 6/10, 4/6, 2/4


def test_every_class_has_a_column(tmp_path):
    rims = [[3, 4], [1, 2], [1, 4]]
    make_classes_report(tmp_path / "three", MATRIX, ("land", "building", "road"), rims)
    make_report(tmp_path / "two", 5)
    result = compare_runs(tmp_path, tmp_path / "out")
    by_name = {row["model"]: row for row in cells(result.table)}
    three, two = by_name["three"], by_name["two"]
    assert list(three)[2:] == [
        "accuracy", "precision", "recall", "mIoU", "IoU", "F1", "IoU land", "IoU building", "IoU road", "boundary IoU",
        "AP", "AP50", "AP75", "object F1", "merged", "split",
    ]  # fmt: skip
    assert [three[key] for key in ("accuracy", "mIoU", "IoU land", "IoU building", "IoU road", "boundary IoU")] == [
        "0.750", "0.589", "0.600", "0.667", "0.500", "0.375",
    ]  # fmt: skip
    assert [three[key] for key in ("AP50", "object F1", "merged", "split")] == [""] * 4
    assert [two[key] for key in ("IoU land", "IoU building", "IoU road", "boundary IoU")] == ["", "0.500", "", ""]
    with (tmp_path / "out" / "compare.csv").open() as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    assert (float(rows["three"]["iou_road"]), rows["two"]["iou_road"]) == (0.5, "")
    assert (
        compare_runs(tmp_path / "three", columns="source").table.splitlines()[0]
        == "| algorithm | acc | recall | miou |"
    )


def test_two_classes_need_no_columns_of_their_own(tmp_path):
    make_classes_report(tmp_path / "a", [[6, 2], [0, 4]], ("land", "water"), [[1, 2], [1, 4]])
    (row,) = cells(compare_runs(tmp_path).table)
    assert "IoU water" not in row
    assert (row["IoU"], row["boundary IoU"]) == ("0.667", "0.250")


def test_scenes_and_boundaries_are_not_mixed(tmp_path):
    names, rims = ("land", "building", "road"), [[1, 2]] * 3
    make_classes_report(tmp_path / "a", MATRIX, names, rims, scene="tiles/one.tif", boundary_m=2.0)
    make_classes_report(tmp_path / "b", MATRIX, names, None, scene="tiles/one.tif")  # from before boundaries
    make_classes_report(tmp_path / "c", MATRIX, names, rims, scene="tiles/two.tif", boundary_m=2.0)
    places = {line.model: line.measured_on for line in compare_runs(tmp_path).lines}
    assert places == {"a": "one", "b": "one", "c": "two"}
    make_classes_report(tmp_path / "d", MATRIX, names, rims, scene="tiles/one.tif", boundary_m=1.0)
    places = {line.model: line.measured_on for line in compare_runs(tmp_path).lines}
    assert places == {"a": "one (1)", "b": "one (1)", "c": "two", "d": "one (2)"}


# --- refined scores ---------------------------------------------------------------------------------------------------


def score_map(path, note):
    grid = GeoBox((10, 80), Affine(1, 0, 500_000, 0, -1, 10), "EPSG:32636")
    levels = np.zeros((1, 10, 80), np.uint8)
    levels[:, :, :10] = levels[:, :, 20:30] = 254
    with ScoreWriter(path, grid, ("building",), note) as writer:
        writer.write(0, levels)
    return path


def mark(path):
    return provenance("", {"file": path}, {})["inputs"]["file"]


@pytest.fixture
def refined(tmp_path):
    """A model, a corrector, the model's scores, and how to evaluate what was made of them."""
    coarse = make_run(tmp_path / "runs" / "coarse", changes=["name='coarse-osm'"]) / "model.safetensors"
    corrector = make_run(tmp_path / "runs" / "corrector", changes=["name='fixer'"]) / "model.safetensors"
    raw = provenance("predict", {"scene": "scene.tif", "model": coarse}, {})
    scores = score_map(tmp_path / "coarse.tif", raw)
    reference = footprints(tmp_path / "kampala.gpkg", None)

    def evaluated(name, note):
        made = score_map(tmp_path / f"{name}.tif", note)
        eaves.evaluate_footprints(made, reference, tmp_path / "evaluations" / name)
        return tmp_path / "evaluations" / name

    return {"raw": raw, "scores": scores, "corrector": corrector, "coarse": coarse, "evaluated": evaluated}


def refine_note(refined, refiner, scores_from=None, **models):
    inputs = {"scene": "scene.tif", "scores": refined["scores"]} | models
    note = provenance("refine", inputs, {"refiner": refiner})
    return note if scores_from is None else note | {"scores_from": scores_from}


def test_refined_scores_have_a_row_of_their_own(refined, tmp_path):
    refined["evaluated"]("plain", refined["raw"])
    refined["evaluated"]("crf", refine_note(refined, "crf", refined["raw"]))
    refined["evaluated"]("corrected", refine_note(refined, "corrector", refined["raw"], model=refined["corrector"]))
    lines = {line.model: line for line in compare_runs([tmp_path / "evaluations", tmp_path / "runs"]).lines}
    assert set(lines) == {"coarse-osm", "coarse-osm + crf", "fixer"}
    assert all("iou" in line.values for line in lines.values())
    assert lines["coarse-osm + crf"].values["parameters"] == lines["coarse-osm"].values["parameters"]


def test_a_run_of_which_only_refined_scores_were_evaluated_stays_a_run(refined, tmp_path):
    refined["evaluated"]("crf", refine_note(refined, "crf", refined["raw"]))
    lines = {line.model: line for line in compare_runs([tmp_path / "evaluations", tmp_path / "runs" / "coarse"]).lines}
    assert set(lines) == {"coarse-osm", "coarse-osm + crf"}
    assert "iou" not in lines["coarse-osm"].values
    assert lines["coarse-osm + crf"].measured_on == "kampala"


def test_refined_again(refined, tmp_path):
    once = refine_note(refined, "heat", refined["raw"])
    corrected = refine_note(refined, "corrector", refined["raw"], model=refined["corrector"])
    refined["evaluated"]("twice", refine_note(refined, "crf", once))
    refined["evaluated"]("after", refine_note(refined, "crf", corrected))
    names = {line.model for line in compare_runs(tmp_path / "evaluations").lines}
    assert names == {"coarse-osm + heat + crf", "fixer + crf"}


def test_refined_while_predicted(refined, tmp_path):
    inputs = {"scene": "scene.tif", "model": refined["coarse"]}
    refined["evaluated"]("one", provenance("predict", inputs, {"refiner": "crf"}))
    inputs |= {"refiner": refined["corrector"]}
    refined["evaluated"]("two", provenance("predict", inputs, {"refiner": "corrector"}))
    assert {line.model for line in compare_runs(tmp_path / "evaluations").lines} == {"coarse-osm + crf", "fixer"}


def test_footprints_of_refined_scores(refined, tmp_path):
    made = score_map(tmp_path / "refined.tif", refine_note(refined, "crf", refined["raw"]))
    eaves.vectorize_scores(made, tmp_path / "refined.gpkg")
    eaves.evaluate_footprints(tmp_path / "refined.gpkg", tmp_path / "kampala.gpkg", tmp_path / "evaluations")
    assert [line.model for line in compare_runs(tmp_path / "evaluations").lines] == ["coarse-osm + crf"]


def test_refined_twice_by_one_name_is_not_two_seeds(refined, tmp_path):
    for name in ("weak", "strong"):
        refined["evaluated"](name, refine_note(refined, "crf", refined["raw"]))
    lines = compare_runs(tmp_path / "evaluations").lines
    assert {line.model: line.runs for line in lines} == {"coarse-osm + crf · weak": 1, "coarse-osm + crf · strong": 1}


def test_notes_that_lack_something(refined, tmp_path):
    raw, scores = refined["raw"], refined["scores"]
    coarse = raw["inputs"]["model"]
    known = Maker(refined["coarse"], coarse["fingerprint"], ("crf",))
    foreign = score_map(tmp_path / "from osm.tif", {})
    cases = {
        "scores_from is missing: the file is asked": (refine_note(refined, "crf"), known),
        "the file is gone": (
            {"inputs": {"scores": {"path": "gone.tif"}}, "settings": {"refiner": "crf"}, "scores_from": raw},
            known,
        ),
        "nobody knows": (
            {"inputs": {"scores": {"path": "a/osm.tif"}}, "settings": {"refiner": "crf"}},
            Maker(None, "", ("crf",), "osm"),
        ),
        "another program's scores": (
            {"inputs": {"scores": mark(foreign)}, "settings": {"refiner": "crf"}, "scores_from": {}},
            Maker(None, "", ("crf",), "from osm"),
        ),
        "not even inputs": ({"settings": {"refiner": "crf"}}, Maker(None, "", ("crf",))),
        "no refiner": ({"inputs": {"scores": mark(scores)}, "settings": None}, known._replace(refiners=())),
        "nonsense": ({"inputs": [], "settings": [], "scores_from": 3}, Maker()),
        "more nonsense": ({"inputs": {"model": "m", "scores": {"path": 1}}, "settings": {"refiner": 1}}, Maker()),
        "no fingerprint": ({"inputs": {"model": {"path": "m"}}}, Maker(tmp_path.__class__("m"))),
    }
    for number, (case, (note, maker)) in enumerate(cases.items()):
        assert find_maker(score_map(tmp_path / f"{number}.tif", note)) == maker, case
    assert find_maker(tmp_path / "gone.tif") == Maker()


def test_scores_without_a_model_are_named_after_their_file(refined, tmp_path):
    note = {"inputs": {"scores": {"path": "maps/osm.tif"}}, "settings": {"refiner": "crf"}}
    refined["evaluated"]("crf", note)
    (line,) = compare_runs(tmp_path / "evaluations").lines
    assert (line.model, "parameters" in line.values) == ("osm + crf", False)


# --- what is written --------------------------------------------------------------------------------------------------


def test_files(tmp_path):
    run = make_run(tmp_path / "run")
    make_report(run / "kampala", 5)
    make_report(tmp_path / "other", 6)
    result = compare_runs([run, tmp_path / "other"], tmp_path / "out")
    names = ["compare.csv", "compare.md", "compare.png", "curves.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    assert (tmp_path / "out" / "compare.md").read_text() == result.table + "\n"
    for name in names[2:]:
        assert imread(tmp_path / "out" / name).std() > 0.05
    assert compare_runs([run, tmp_path / "other"]).folder is None


def test_no_curves_no_picture_of_them(tmp_path):
    make_report(tmp_path / "a", 5)
    compare_runs(tmp_path / "a", tmp_path / "out")
    assert not (tmp_path / "out" / "curves.png").exists()


def test_the_sources_table(tmp_path):
    for name, number in (("a", 5), ("b", 9)):
        make_report(tmp_path / name, number)
    table = compare_runs(tmp_path, columns="source").table
    assert table.splitlines() == [
        "| algorithm | acc | recall | miou |",
        "|---|---|---|---|",
        f"| b | 0.990 | 0.900 | {(90 / 91 + 0.9) / 2:.3f} |",
        f"| a | 0.950 | 0.500 | {(90 / 95 + 0.5) / 2:.3f} |",
        "",
        "Measured on kampala.",
    ]
    table = compare_runs(tmp_path, columns="objects").table
    heading = "| algorithm | acc | recall | miou | IoU | AP | AP50 | AP75 | object F1 | merged | split |"
    assert table.splitlines()[0] == heading
    make_run(tmp_path / "nobody measured it")
    make_report(tmp_path / "c", 5, reference="banepa.gpkg")
    rows = cells(compare_runs(tmp_path, columns="source").table)
    assert sorted(row["measured on"] for row in rows) == ["banepa", "kampala", "kampala"]


def test_names_cannot_break_the_table(tmp_path):
    make_report(tmp_path / "a", 5)
    assert r"| a\|b |" in compare_runs(tmp_path / "a", names=["a|b"]).table


def test_speed_is_measured_once_for_networks_built_alike(tmp_path, monkeypatch):
    for name, seed in (("a", 0), ("b", 1)):
        make_run(tmp_path / name, changes=[f"fit.seed={seed}"])
    make_run(tmp_path / "c", changes=["model.options={widths='narrow',batch_norm=true}"])
    seen = []

    def measured(backend, channels):
        seen.append((channels, backend(np.zeros((1, channels, 16, 16), np.float32)).shape))
        return 2.0 + len(seen)

    monkeypatch.setattr("eaves.workflows.compare.measure_speed", measured)
    told = []
    result = compare_runs(tmp_path, tmp_path / "out", speed=True, device="cpu", on_progress=told.append)
    assert seen == [(3, (1, 1, 16, 16))] * 2
    assert [at.done for at in told] == [1, 2]
    with (tmp_path / "out" / "compare.csv").open() as file:
        assert [row["mpx_per_s"] for row in csv.DictReader(file)] == ["3.0", "3.0", "4.0"]
    assert "Mpx/s: tiles of 1024 px, torch fp32 on cpu" in result.table.splitlines()[-1]


# --- refused ----------------------------------------------------------------------------------------------------------


def test_nothing_to_compare(tmp_path):
    make_report(tmp_path / "a", 5)
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "missing", tmp_path / "a" / "metrics.json"):
        with pytest.raises(SettingsError, match="a folder with an evaluation"):
            compare_runs([tmp_path / "a", path])
    with pytest.raises(SettingsError, match="none"):
        compare_runs([])
    with pytest.raises(SettingsError, match="all, source, objects or outlines"):
        compare_runs(tmp_path / "a", columns="sorce")  # pyright: ignore


@pytest.mark.parametrize("text", ["{", "[1]", '{"pixels": 3}', '{"objects": null}'])
def test_reports_that_are_none(tmp_path, text):
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(SettingsError, match=r"metrics\.json"):
        compare_runs(tmp_path)


def test_a_damaged_model_is_refused(tmp_path):
    run = make_run(tmp_path / "run")
    (run / "model.safetensors").write_bytes(b"\x10" + bytes(40))
    with pytest.raises(ModelFileError):
        compare_runs(run)


def test_a_place_that_cannot_be_written(tmp_path):
    make_report(tmp_path / "a", 5)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        compare_runs(tmp_path / "a", tmp_path / "file" / "out")
