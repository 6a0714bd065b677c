"""A network of objects from training to footprints, on a small synthetic city."""

from __future__ import annotations

import json

import geopandas as gpd
import numpy as np
import pytest
import shapely
from rasterio.windows import Window

import eaves
from eaves.cli import main
from eaves.errors import OutputError, SceneError, SettingsError
from eaves.exchange.coco import check_coco
from eaves.exchange.scoremap import open_scores
from eaves.exchange.vectors import read_metadata, read_vectors
from eaves.models import read_card
from eaves.scene import Scene
from eaves.train import read_curves

SMALL = [
    "model.encoder_weights=none",
    "model.options={encoder='resnet18', norm='batch', width=16, head_width=32, pyramid='multi-path', nms='gaussian'}",
    "chips.gsd_m=0.3",
    "chips.chip_px=96",
    "chips.per_epoch=4",
    "chips.block_m=20",
    "fit.freeze_epochs=0",
    "fit.epochs=2",
    "fit.batch=2",
]
SIDE = 288
# What such a network finds is noise; a threshold in it, and room for all of it.
SURE = {"threshold": 0.3, "min_area_m2": 2.0, "detections_per_mpx": 1e6}


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    folder = tmp_path_factory.mktemp("city")
    files = eaves.synth_city(folder, size_px=SIDE, seed=4)
    (folder / "dataset.toml").write_text(
        'credits = ["made here"]\n[[scene]]\nimage = "scene.tif"\nlabels = "buildings.gpkg"\nsplit = "block"\n'
    )
    return files


@pytest.fixture(scope="module")
def run(city, tmp_path_factory):
    folder = tmp_path_factory.mktemp("r") / "run"
    return eaves.train_model("maskrcnn-resnet50", city.scene.parent / "dataset.toml", folder, changes=SMALL)


@pytest.fixture(scope="module")
def predicted(city, run, tmp_path_factory):
    out = tmp_path_factory.mktemp("p") / "scores.tif"
    return eaves.predict_scores(city.scene, run.model, out, tile_px=128, detections_per_mpx=1e6)


# --- training ---------------------------------------------------------------------------------------------------------


def test_a_run_has_the_terms_of_its_loss_and_objects_in_its_curves(run):
    rows = read_curves(run.folder / "curves.csv")
    terms = ("proposal", "proposal_box", "class", "box", "mask")
    for row in rows:
        for stage in ("train", "val"):
            assert row[f"{stage}_loss"] == pytest.approx(sum(row[f"{stage}_{term}"] for term in terms), rel=1e-5)
        assert 0 <= row["val_f1"] <= 1
        assert 0 <= row["val_iou"] <= 1
        assert "train_accuracy" not in row
    assert run.best["val_f1"] == max(row["val_f1"] for row in rows)


def test_the_card_has_the_caps_that_the_data_set(run):
    card = read_card(run.model)
    assert card.recipe.target.kind == "instances"
    assert card.bands == ("building",)
    assert card.recipe.model.options["detections_per_mpx"] > 0
    assert "val_f1" in card.metrics


def test_a_resumed_run_is_the_run_without_a_stop(city, run, tmp_path):
    dataset = city.scene.parent / "dataset.toml"
    eaves.train_model("maskrcnn-resnet50", dataset, tmp_path / "run", changes=[*SMALL, "fit.schedule=constant"])
    begun = [*SMALL, "fit.schedule=constant", "fit.epochs=1"]
    eaves.train_model("maskrcnn-resnet50", dataset, tmp_path / "two", changes=begun)
    eaves.train_model(
        "maskrcnn-resnet50", dataset, tmp_path / "two", changes=[*SMALL, "fit.schedule=constant"], resume=True
    )
    whole, resumed = (read_curves(tmp_path / name / "curves.csv")[1] for name in ("run", "two"))
    assert resumed["train_loss"] == pytest.approx(whole["train_loss"], rel=1e-4)
    assert resumed["val_loss"] == pytest.approx(whole["val_loss"], rel=1e-4)


def test_objects_are_learned_from_stored_chips_too(city, tmp_path):
    for kind in ("esri-rcnn-masks", "coco"):
        dataset = city.scene.parent / "dataset.toml"
        eaves.sample_chips(dataset, tmp_path / kind, format=kind, recipe="maskrcnn-resnet50", changes=SMALL)
        changes = [*SMALL, "fit.epochs=1"]
        run = eaves.train_model("maskrcnn-resnet50", tmp_path / kind, tmp_path / f"{kind}-run", changes=changes)
        assert np.isfinite(run.best["train_mask"])
        assert read_card(run.model).recipe.model.options["detections_per_mpx"] > 0


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (["target.kind=classes"], "target.kind = 'instances'"),
        (["loss.terms={dice=1.0}"], r"no \[loss\]"),
        (["model.options={encoder='resnet18'}"], "pretrained weights"),
        (["model.arch=unet28", "model.options={}"], "network that finds objects"),
        (["fit.freeze_epochs=1"], "pretrained weights to freeze"),
    ],
)
def test_recipes_that_contradict_themselves_are_refused(city, tmp_path, changes, told):
    with pytest.raises(SettingsError, match=told):
        eaves.train_model(
            "maskrcnn-resnet50", city.scene.parent / "dataset.toml", tmp_path / "run", changes=[*SMALL, *changes]
        )


def test_f1_judges_only_what_tells_objects_apart(city, tmp_path):
    changes = ["fit.monitor=f1", "chips.chip_px=64", "chips.block_m=20"]
    with pytest.raises(SettingsError, match="does not tell objects apart"):
        eaves.train_model("demo", city.scene.parent / "dataset.toml", tmp_path / "run", changes=changes)


# --- scenes -----------------------------------------------------------------------------------------------------------


def test_predict_writes_scores_and_objects(city, run, predicted):
    scores = open_scores(predicted.scores)
    assert scores.classes == ("building",)
    table = read_vectors(predicted.instances)
    assert predicted.instances.name == "scores.instances.parquet"
    assert len(table) == predicted.number > 0
    assert table.crs == Scene(city.scene).crs.to_wkt()
    assert table["score"].between(0.05, 1).all()
    assert read_metadata(predicted.instances)["settings"]["detections_per_mpx"] == 1e6


def test_a_threshold_of_the_scores_gives_the_objects_of_such_a_score(predicted):
    scores = open_scores(predicted.scores)
    levels = scores.read()[0]
    table = read_vectors(predicted.instances)
    least = float(table["score"].quantile(0.5))
    sure = table[(table["score"] >= least) & (least <= 0.5)]
    inside = shapely.union_all(sure.geometry.to_numpy())
    rows, cols = np.nonzero((levels != 255) & (levels >= 127))
    points = gpd.GeoSeries(gpd.points_from_xy(*(scores.grid.affine * (cols + 0.5, rows + 0.5))), crs=table.crs)
    covered = points.within(inside.buffer(1e-6)).mean() if len(points) else 1.0
    assert covered > 0.95  # parts that lie apart from an object's main one are in the scores alone
    # And the other way round: what an object's mask holds has at least its score, or one half.
    best = table.iloc[int(table["score"].argmax())]
    row, col = np.mgrid[0 : levels.shape[0], 0 : levels.shape[1]]
    x, y = scores.grid.affine * (col.ravel() + 0.5, row.ravel() + 0.5)
    inside = shapely.contains_xy(best.geometry.buffer(-0.3), x, y).reshape(levels.shape) & (levels != 255)
    assert inside.sum() > 4
    assert (levels[inside] >= min(127, int(best["score"] * 254))).all()


def test_extract_gives_footprints_that_share_no_ground(city, run, tmp_path):
    made = eaves.extract_footprints(city.scene, run.model, tmp_path / "f.gpkg", roof_color=True, **SURE)
    table = read_vectors(made.path)
    assert len(table) == made.number > 0
    assert list(table.columns)[-4:] == ["source", "roof_color", "blue_share", "geometry"]
    assert table.geometry.is_valid.all()
    assert (table.geom_type == "Polygon").all()
    i, j = table.sindex.query(table.geometry, predicate="intersects")
    pairs = i < j
    shared = shapely.area(
        shapely.intersection(table.geometry.to_numpy()[i[pairs]], table.geometry.to_numpy()[j[pairs]])
    )
    assert shared.max(initial=0) < 0.01
    only = eaves.extract_footprints(city.scene, run.model, tmp_path / "grey.gpkg", only_color="grey", **SURE)
    assert only.number == (table["roof_color"] == "grey").sum()
    assert only.number + only.other_color == made.number


def test_extract_writes_coco_that_comes_back_as_labels(city, run, tmp_path):
    made = eaves.extract_footprints(city.scene, run.model, tmp_path / "f.coco.json", **SURE)
    data = json.loads(made.path.read_text())
    assert check_coco(data, areas=False) == []  # such outlines are so thin that pixels tell little of their areas
    assert len(data["annotations"]) == made.number > 0
    assert {"score", "segmentation", "bbox", "area", "category_id"} <= set(data["annotations"][0])
    (tmp_path / "d.toml").write_text(f'[[scene]]\nimage = "{city.scene}"\nlabels = "f.coco.json"\nsplit = "train"\n')
    from eaves.sample import open_dataset

    [scene] = open_dataset(eaves.load_dataset(tmp_path / "d.toml"))
    mask = scene.chip(Window(0, 0, SIDE, SIDE)).mask
    area = sum(one["area"] for one in data["annotations"])
    assert (mask == 1).sum() == pytest.approx(area, rel=0.1)


def test_evaluate_ranks_all_objects_and_counts_the_sure_ones(city, predicted, tmp_path):
    table = read_vectors(predicted.instances)
    least = float(table["score"].quantile(0.8))
    all_ = eaves.evaluate_footprints(predicted.instances, city.buildings, tmp_path / "a").report
    sure = eaves.evaluate_footprints(predicted.instances, city.buildings, tmp_path / "b", min_score=least).report
    assert all_.objects is not None
    assert sure.objects is not None
    assert sure.objects.ap50 == all_.objects.ap50
    assert sure.objects.tp + sure.objects.fp < all_.objects.tp + all_.objects.fp
    with pytest.raises(SettingsError, match="column 'score'"):
        eaves.evaluate_footprints(city.buildings, city.buildings, tmp_path / "c", min_score=0.5)
    with pytest.raises(SettingsError, match="--threshold"):
        eaves.evaluate_footprints(predicted.scores, city.buildings, tmp_path / "c", min_score=0.5)


def test_compare_lines_a_network_of_objects_up_and_measures_its_speed(run, city, predicted, tmp_path, capsys):
    eaves.evaluate_footprints(predicted.instances, city.buildings, tmp_path / "e", min_score=0.5)
    with pytest.raises(SystemExit, match="0"):
        main(["compare", str(run.folder), str(tmp_path / "e"), "--quiet", "-o", str(tmp_path / "t")])
    assert "maskrcnn-resnet50" in (tmp_path / "t" / "compare.md").read_text()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"tta": "flip"}, "tta = 'none'"),
        ({"refine": "crf"}, "no refiner|that finds objects"),
        ({"separate": "border"}, "finds them one by one"),
        ({"min_seed_m2": 3.0}, "finds them one by one"),
        ({"threshold": 1.0}, "between 0 and 1"),
        ({"nms": "soft"}, "nms as one of"),
        ({"only_color": "pink"}, "a colour of"),
    ],
)
def test_options_that_do_nothing_are_refused(city, run, tmp_path, options, told):
    with pytest.raises(SettingsError, match=told):
        eaves.extract_footprints(city.scene, run.model, tmp_path / "f.gpkg", **options)
    assert not list(tmp_path.iterdir())


def test_one_coco_file_is_of_one_scene(city, run, tmp_path):
    with pytest.raises(SettingsError, match="one scene for a file"):
        eaves.extract_footprints([city.scene, city.scene], run.model, tmp_path / "f.coco.json")


def test_options_of_objects_need_a_network_of_them(city, tmp_path, run):
    from eaves.models import build, load_model, save_model

    network, card = load_model(run.model)
    other = card.recipe.model_copy(
        update={
            "model": card.recipe.model.model_copy(update={"arch": "unet28", "options": {"widths": "narrow"}}),
            "target": card.recipe.target.model_copy(update={"kind": "classes"}),
        }
    )
    plain = card.model_copy(update={"recipe": other})
    save_model(tmp_path / "m.safetensors", build(plain.recipe.model, network.in_channels, 2), plain)
    with pytest.raises(SettingsError, match="network of objects for --nms"):
        eaves.predict_scores(city.scene, tmp_path / "m.safetensors", tmp_path / "s.tif", nms="gaussian")


# --- colours ----------------------------------------------------------------------------------------------------------


def test_color_tells_blue_roofs_of_the_city(tmp_path, capsys):
    files = eaves.synth_city(tmp_path, size_px=512, seed=12, nodata_corner=False)
    made = eaves.color_footprints(files.buildings, files.scene, tmp_path / "c.gpkg")
    table, truth = read_vectors(made.path), read_vectors(files.buildings)
    blue = table["roof_color"] == "blue"
    assert truth["blue"].sum() > 3
    assert (blue & truth["blue"]).sum() >= 0.8 * truth["blue"].sum()
    assert (blue & ~truth["blue"]).sum() <= 0.1 * blue.sum()
    assert (table.loc[blue, "blue_share"] > 0.3).all()
    assert sum(made.counts.values()) == table["roof_color"].notna().sum()
    out = tmp_path / "blue.gpkg"
    with pytest.raises(SystemExit, match="0"):
        main(["color", str(files.buildings), str(files.scene), "-o", str(out), "--only", "blue"])
    assert len(read_vectors(out)) == blue.sum()
    assert f"{blue.sum()} blue" in capsys.readouterr().out


def test_colours_need_eight_bits_and_three_bands(tmp_path, city):
    import rasterio

    with rasterio.open(city.scene) as source:
        profile, image = source.profile, source.read()
    with rasterio.open(tmp_path / "16.tif", "w", **{**profile, "dtype": "uint16", "nodata": 0}) as copy:
        copy.write(image.astype("uint16"))
    with pytest.raises(SceneError, match="8-bit red, green and blue"):
        eaves.color_footprints(city.buildings, tmp_path / "16.tif", tmp_path / "c.gpkg")
    with pytest.raises(SettingsError, match="a colour of"):
        eaves.color_footprints(city.buildings, city.scene, tmp_path / "c.gpkg", only="pink")
    with pytest.raises(OutputError):
        eaves.color_footprints(city.buildings, city.scene, tmp_path / "none" / "x" / "c.docx")


# --- outlines ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [12, 30, 50, 90])
def test_a_full_mask_becomes_the_box_to_a_tenth_of_a_pixel(side):
    from affine import Affine
    from odc.geo.geobox import GeoBox
    from rasterio.windows import Window as Read

    from eaves.exchange.scores import encode
    from eaves.models.paste import paste
    from eaves.predict import Found
    from eaves.scene import Tile
    from eaves.workflows.objects import ObjectBuilder

    tile = Tile(Read(0, 0, 200, 200), Read(0, 0, 200, 200))
    for shift in (0.0, 0.2, 0.4, 0.5, 0.6, 0.9):
        box = np.array([40 + shift, 50 + shift, 40 + shift + side, 50 + shift + side])
        row, col, values = paste(np.ones((28, 28), np.float32), box, (200, 200))
        levels = encode(values, np.ones(values.shape, bool))
        builder = ObjectBuilder(GeoBox((200, 200), Affine.identity(), None), ("building",), threshold=0.5)
        builder.push([Found(tuple(box), 0.9, 1, row, col, levels, tile, False, 50.0)])
        [outline] = builder.finish().geometry
        assert np.abs(np.array(outline.bounds) - box).max() < 0.1
        assert outline.area == pytest.approx(side**2, rel=0.015)  # corners are rounded
