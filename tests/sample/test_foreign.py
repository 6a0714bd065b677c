"""Chips in the formats of others, there and back."""

from __future__ import annotations

import json
import pickle
import shutil
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

from eaves.errors import LabelError, OutputError, SceneError
from eaves.exchange.coco import check_coco
from eaves.labels import UNKNOWN
from eaves.labels.objects import number_objects
from eaves.sample import Chip, ChipPlan, ChipRecord, ChipStore, open_chips, write_chips
from eaves.settings import ChipSettings

TWO, THREE = ("ground", "building"), ("ground", "building", "road")
RCNN, TILES = "esri-rcnn-masks", "esri-classified-tiles"
FOREIGN = pytest.mark.parametrize("kind", ["coco", RCNN, TILES])


def chips(classes=TWO, dtype="uint8", bands=3, count=5) -> list[ChipRecord]:
    """Chips with touching objects, holes, parts, unknown and missing areas; the second has no object."""
    records = []
    for index in range(count):
        rng = np.random.default_rng(index)
        numbers = np.zeros((48, 48), np.uint16)
        mask = np.zeros((48, 48), np.uint8)
        for number in range(1, 9 * (index != 1)):
            top, left = rng.integers(0, 40, 2)
            where = np.zeros((48, 48), bool)
            where[top : top + rng.integers(3, 15), left : left + rng.integers(3, 15)] = True
            where[top + 1 : top + 3, left + 1 : left + 3] = False  # a hole, or a bay
            numbers[where], mask[where] = number, rng.integers(1, len(classes))
        image = rng.integers(1, 200 if dtype == "uint8" else 5000, (bands, 48, 48)).astype(dtype)
        valid = np.ones((48, 48), bool)
        if index in (2, 3):
            valid[30:, 25:] = False
            mask[5:12, 5:30] = UNKNOWN
        mask[~valid] = UNKNOWN
        image[:, ~valid] = 0
        grid = GeoBox((48, 48), Affine(0.5, 0, 350_000 + 24 * index, 0, -0.5, 3_060_000), "EPSG:32645")
        chip = Chip(image, mask, valid, number_objects(mask, numbers))
        split = "val" if index == 3 else "train"
        records.append(ChipRecord(chip, "north.tif", Window(48 * index, 0, 48, 48), split, grid))
    return records


def store(folder: Path, kind: Any, records, classes=TWO, **more) -> ChipStore:
    write_chips(iter(records), folder / "chips", kind, classes=classes, gsd_m=0.5, credits=("me",), **more)
    return open_chips(folder / "chips")


def in_order(found: ChipStore, records: list[ChipRecord]) -> list[Chip]:
    """Stored chips in the order in which they were written; COCO keeps splits apart."""
    windows = [tuple(told["window"]) for told in found.records]
    return [found[windows.index((r.window.col_off, r.window.row_off, 48, 48))] for r in records]


@FOREIGN
@pytest.mark.parametrize("classes", [TWO, THREE])
@pytest.mark.parametrize(("dtype", "bands"), [("uint8", 3), ("uint8", 4), ("uint16", 3), ("uint16", 5), ("float32", 1)])
def test_chips_come_back(tmp_path, kind, classes, dtype, bands):
    records = chips(classes, dtype, bands)
    found = store(tmp_path, kind, records, classes)
    assert (found.classes, found.gsd_m, found.credits, found.scenes) == (classes, 0.5, ("me",), ["north.tif"])
    assert len(found.indices("train")) == 4
    assert len(found.indices("val")) == 1
    for record, chip in zip(records, in_order(found, records), strict=True):
        assert chip.image.dtype == record.chip.image.dtype
        assert (chip.image == record.chip.image).all()
        assert (chip.valid == record.chip.valid).all()
        assert (chip.mask == record.chip.mask).all()
        assert chip.mask.dtype == np.uint8
        if kind == TILES:
            assert chip.instances is None
            continue
        assert chip.instances is not None
        assert chip.instances.dtype == np.uint16
        assert record.chip.instances is not None
        if kind == "coco" or classes == TWO:
            assert (chip.instances == record.chip.instances).all()
        else:  # counted class by class: the same objects by other numbers
            pairs = set(zip(chip.instances.ravel().tolist(), record.chip.instances.ravel().tolist(), strict=True))
            assert len(pairs) == record.chip.instances.max() + 1


@FOREIGN
def test_a_plan_is_stored_and_pickled(tmp_path, place, kind):
    plan = ChipPlan.of_dataset(
        place().town(), ChipSettings(chip_px=64, per_epoch=6, block_m=24.0, min_known=0.05), instances=True
    )
    draws = [("train", draw) for draw in plan.train(0)] + [("val", draw) for draw in plan.val()]
    found = store(tmp_path, kind, (plan.record(draw, split) for split, draw in draws), plan.classes)
    again = pickle.loads(pickle.dumps(found))
    for index in range(len(draws)):
        chip, told = again[index], found.records[index]
        corner = (told["split"], *told["window"][:2])
        original = next(d for split, d in draws if (split, d.window.col_off, d.window.row_off) == corner)
        expected = plan.load(original)
        assert (chip.mask == expected.mask).all()
        assert (chip.image == expected.image).all()
        assert "32645" in told["crs"]


@FOREIGN
def test_a_store_appears_whole_or_not_at_all(tmp_path, kind):
    def broken():
        yield from chips()[:2]
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_chips(broken(), tmp_path / "chips", kind, classes=TWO)
    assert list(tmp_path.iterdir()) == []


def test_chips_without_objects_get_connected_ones(tmp_path):
    records = [record._replace(chip=record.chip._replace(instances=None)) for record in chips()]
    for kind in ("coco", RCNN):
        found = store(tmp_path / kind, kind, records)
        for record, chip in zip(records, in_order(found, records), strict=True):
            assert (chip.instances == number_objects(record.chip.mask)).all()


# --- COCO -------------------------------------------------------------------------------------------------------------


def test_coco_files_keep_to_the_rules(tmp_path):
    store(tmp_path, "coco", chips(THREE), THREE)
    folder = tmp_path / "chips"
    assert sorted(file.name for file in folder.iterdir()) == [
        "annotations_train.json",
        "annotations_val.json",
        "images",
    ]
    for split, count in (("train", 4), ("val", 1)):
        data = json.loads((folder / f"annotations_{split}.json").read_text())
        assert check_coco(data) == []
        assert len(data["images"]) == count
        assert [one["name"] for one in data["categories"]] == ["building", "road"]
        kinds = {(one["iscrowd"], isinstance(one["segmentation"], list)) for one in data["annotations"]}
        assert kinds == {(0, True), (0, False), (1, False)}
    assert {file.suffix for file in (folder / "images").iterdir()} == {".png"}


def coco_by_others(folder: Path, *annotations: dict[str, Any], sizes=((40, 60), (40, 60))) -> Path:
    folder.mkdir(exist_ok=True)
    images = []
    for index, (rows, cols) in enumerate(sizes, start=1):
        cv2.imwrite(str(folder / f"{index}.jpg"), np.full((rows, cols, 3), 90, np.uint8))
        images.append({"id": index, "file_name": f"{index}.jpg", "height": rows, "width": cols})
    data = {
        "images": images,
        "categories": [{"id": 17, "name": "roof"}, {"id": 3, "name": "pool"}],
        "annotations": [{"id": i, "image_id": 1, "bbox": [0, 0, 1, 1]} | one for i, one in enumerate(annotations)],
    }
    (folder / "annotations_train.json").write_text(json.dumps(data))
    return folder


BOX = [[10, 10, 20, 10, 20, 20, 10, 20]]


def test_a_coco_set_by_others(tmp_path):
    roof, pool = (
        {"category_id": 17, "segmentation": BOX},
        {"category_id": 3, "segmentation": [[0, 0, 4, 0, 4, 4, 0, 4]]},
    )
    crowd = {"category_id": 17, "iscrowd": 1, "segmentation": {"size": [40, 60], "counts": [0, 40 * 15, 40 * 45]}}
    found = open_chips(coco_by_others(tmp_path / "set", roof, pool, crowd))
    assert found.classes == ("background", "pool", "roof")  # in the order of the ids
    chip, empty = found[0], found[1]
    assert (chip.mask[15, 15], chip.mask[2, 2], chip.mask[30, 5], chip.mask[30, 30]) == (2, 1, UNKNOWN, 0)
    assert chip.instances is not None
    assert (chip.instances[15, 15], chip.instances[2, 2], chip.instances[30, 5]) == (1, 2, 0)
    assert not empty.mask.any()
    assert (found.indices("train"), found.indices("val"), found.gsd_m) == ([0, 1], [], None)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda f: coco_by_others(f, {"category_id": 5, "segmentation": BOX}), LabelError, "no category 5"),
        (lambda f: coco_by_others(f, {"category_id": 3, "segmentation": [[1, 2]]}), LabelError, "at least 3 points"),
        (lambda f: coco_by_others(f, sizes=((40, 60), (60, 40))), SceneError, "2 sizes, such as 60 x 40 px and 40"),
        (lambda f: (coco_by_others(f) / "annotations_val.json").write_text("{"), SceneError, "whole stored chips"),
        (lambda f: (coco_by_others(f) / "annotations_val.json").write_text("[]"), SceneError, "no images"),
        (lambda f: coco_by_others(f, sizes=()), SceneError, "annotations_train.json"),
        (lambda f: (coco_by_others(f) / "1.jpg").unlink(), SceneError, "does not exist"),
        (
            lambda f: (coco_by_others(f), cv2.imwrite(str(f / "1.jpg"), np.zeros((9, 9, 3), np.uint8))),
            SceneError,
            "9 x 9 px for 60 x 40 px",
        ),
    ],
)
def test_a_broken_coco_set_is_told(tmp_path, make, error, message):
    make(tmp_path / "set")
    with pytest.raises(error, match=message):
        open_chips(tmp_path / "set")[0]


# --- ArcGIS -----------------------------------------------------------------------------------------------------------


def test_a_folder_as_arcgis_has_it(tmp_path):
    store(tmp_path, RCNN, chips(THREE), THREE)
    folder = tmp_path / "chips"
    assert {file.name for file in folder.iterdir()} >= {
        "images", "labels", "map.txt", "esri_model_definition.emd", "esri_accumulated_stats.json", "stats.txt",
    }  # fmt: skip
    names = [f"{index:09d}.tif" for index in range(5)]
    assert sorted(file.name for file in (folder / "images").iterdir()) == names
    assert sorted(file.name for file in (folder / "labels").iterdir()) == ["building", "road"]
    lines = (folder / "map.txt").read_text().splitlines()
    assert "images\\000000000.tif  labels\\building\\000000000.tif" in lines
    assert "images\\000000001.tif" in lines  # it has no label
    with rasterio.open(folder / "labels" / "building" / names[0]) as file:
        plane = file.read(1)
        assert np.unique(plane).tolist() == list(range(plane.max() + 1))
        assert file.transform == Affine(0.5, 0, 350_000, 0, -0.5, 3_060_000)
        assert file.crs.to_epsg() == 32645
    told = json.loads((folder / "esri_model_definition.emd").read_text())
    assert [(one["Value"], one["Name"]) for one in told["Classes"]] == [(1, "building"), (2, "road")]
    assert json.loads((folder / "esri_accumulated_stats.json").read_text())["MetaDataMode"] == "RCNN_Masks"


def by_arcgis(folder: Path, kind: str, records: list[ChipRecord], classes=TWO, **more) -> Path:
    """A folder without what only Eaves writes."""
    write_chips(records, folder, kind, classes=classes, gsd_m=0.5, **more)  # pyright: ignore[reportArgumentType]
    (folder / "eaves.json").unlink()
    shutil.rmtree(folder / "unknown", ignore_errors=True)
    return folder


def test_a_folder_by_arcgis_is_split_by_place(tmp_path):
    records = [
        record._replace(grid=GeoBox((48, 48), Affine(0.5, 0, 12.0 * index, 0, -0.5, 0), "EPSG:32645"))
        for index, record in enumerate(chips(count=10))  # neighbours overlap by half
    ]
    folder = by_arcgis(tmp_path / "chips", RCNN, records)
    found = open_chips(folder, val_share=0.2)
    assert found.indices("val") == [8, 9]
    assert found.indices("train") == [0, 1, 2, 3, 4, 5, 6]  # the eighth overlaps the ninth
    assert found.classes == ("background", "building")
    assert found.gsd_m == pytest.approx(0.5, rel=0.01)
    assert (found[0].instances == records[0].chip.instances).all()
    assert (found[2].mask[5:12, 5:30] != UNKNOWN).all()  # ArcGIS cannot say so
    assert (found[2].mask[~found[2].valid] == UNKNOWN).all()


def test_without_places_the_last_chips_validate(tmp_path):
    records = [record._replace(grid=None) for record in chips(count=10)]
    found = open_chips(by_arcgis(tmp_path / "chips", TILES, records), val_share=0.3)
    assert found.indices("val") == [7, 8, 9]
    assert found.indices("train") == list(range(7))
    assert found.gsd_m is None


def test_class_values_may_be_any_and_names_numbers(tmp_path):
    """As in a real export: values 1 and 2, named so, and no zero."""
    folder = by_arcgis(tmp_path / "chips", TILES, chips(count=3))
    told = json.loads((folder / "esri_model_definition.emd").read_text())
    told["Classes"] = [{"Value": value, "Name": str(value), "Color": [-1, -1, -1]} for value in (7, 2)]
    del told["MetaDataMode"]  # ArcGIS Pro 2.4 tells it in the statistics alone
    (folder / "esri_model_definition.emd").write_text(json.dumps(told))
    with rasterio.open(folder / "labels" / "000000000.tif", "r+") as file:
        plane = file.read(1)
        file.write(np.where(plane == 1, 7, 2).astype(np.uint8), 1)
    found = open_chips(folder)
    assert found.classes == ("background", "2", "7")
    assert (found[0].mask == np.where(plane == 1, 2, 1)).all()
    with pytest.raises(LabelError, match=r"class values \[0, 2, 7\].*Received \[1\]"):
        found[2]


def test_folders_named_by_value_and_objects_in_layers(tmp_path):
    folder = by_arcgis(tmp_path / "chips", RCNN, chips(count=2))
    (folder / "labels" / "building").rename(folder / "labels" / "1")
    layers = np.zeros((2, 48, 48), np.uint8)
    layers[0, 5:15, 5:15], layers[1, 10:20, 10:20] = 1, 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            folder / "labels" / "1" / "000000000.tif", "w", driver="GTiff", count=2, width=48, height=48, dtype="uint8"
        ) as file:
            file.write(layers)
    numbers = open_chips(folder)[0].instances
    assert numbers is not None
    assert (numbers[6, 6], numbers[12, 12], numbers[18, 18], numbers[0, 0]) == (1, 2, 2, 0)


def test_images_that_somebody_deleted(tmp_path):
    found = store(tmp_path, TILES, records := chips())
    (found.path / "images" / "000000002.tif").unlink()
    left = open_chips(found.path)
    assert len(left) == 4
    assert left.records[2]["split"] == "val"
    assert (left[2].mask == records[3].chip.mask).all()
    shutil.copy(found.path / "images" / "000000001.tif", found.path / "images" / "000000077.tif")
    shutil.copy(found.path / "labels" / "000000001.tif", found.path / "labels" / "000000077.tif")
    with pytest.raises(SceneError, match=r"000000077\.tif .*eaves\.json does not know"):
        open_chips(found.path)


def test_images_without_class_values_are_left_out(tmp_path, caplog):
    folder = by_arcgis(tmp_path / "chips", TILES, chips())
    (folder / "labels" / "000000002.tif").unlink()
    with caplog.at_level("INFO"):
        assert len(open_chips(folder)) == 4
    assert "1 images without labels left out" in caplog.text


def _write(path: Path, text: str) -> None:
    path.write_text(text)


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda f: _write(f / "esri_model_definition.emd", "{"), LabelError, "definition and statistics"),
        (
            lambda f: _write(f / "esri_model_definition.emd", '{"Classes": [{}]}'),
            LabelError,
            "definition and statistics",
        ),
        (
            lambda f: _write(f / "esri_accumulated_stats.json", '{"MetaDataMode": "PASCAL_VOC_rectangles"}'),
            LabelError,
            "chips with masks.*PASCAL_VOC",
        ),
        (lambda f: shutil.rmtree(f / "images"), SceneError, "images"),
        (lambda f: [file.unlink() for file in (f / "images").iterdir()], SceneError, "images with labels"),
        (lambda f: (f / "labels" / "000000000.tif").write_bytes(b"II*"), SceneError, "labels in"),
        (lambda f: (f / "images" / "000000000.tif").write_bytes(b"II*"), SceneError, "raster"),
    ],
)
def test_a_broken_folder_is_told(tmp_path, damage, error, message):
    folder = by_arcgis(tmp_path / "chips", TILES, chips(count=3))
    damage(folder)
    with pytest.raises(error, match=message):
        open_chips(folder)[0]


@pytest.mark.parametrize("name", ["a/b", "a\\b", "a:b", "dots..", " space"])
def test_a_class_that_cannot_be_a_folder(tmp_path, name):
    with pytest.raises(OutputError, match="can be folders"):
        write_chips(chips(), tmp_path / "chips", RCNN, classes=("ground", name))
    assert list(tmp_path.iterdir()) == []
