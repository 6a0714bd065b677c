"""Labels from annotation tools, as labels of a scene."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from eaves.errors import LabelError
from eaves.exchange.coco_masks import encode_rle
from eaves.exchange.rasters import write_raster
from eaves.labels import UNKNOWN, burn
from eaves.sample import LabelledScene, open_dataset
from eaves.settings import ClassSettings, Dataset, LabelSource, SceneEntry
from eaves.synth import plan_city, render

WHOLE = Window(0, 0, 240, 200)
THREE = ClassSettings(names=("background", "building", "road"))


def box(left: int, top: int, right: int, bottom: int) -> list[list[int]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def coco(*drawn: tuple[int, Any], crowd: Any = None) -> dict[str, Any]:
    annotations = [
        {"id": index, "image_id": 1, "category_id": category, "segmentation": shape}
        for index, (category, shape) in enumerate(drawn)
    ]
    if crowd is not None:
        annotations.append({"id": 99, "image_id": 1, "category_id": 1, "segmentation": crowd, "iscrowd": 1})
    return {
        "images": [{"id": 1, "file_name": "image.tif", "height": 200, "width": 240}],
        "categories": [{"id": 1, "name": "house"}, {"id": 2, "name": "roof"}, {"id": 3, "name": "street"}],
        "annotations": annotations,
    }


def flat(corners: list[list[int]]) -> list[list[int]]:
    return [[value for corner in corners for value in corner]]


def open_one(place, data: dict[str, Any], classes: ClassSettings | None = None, gsd_m=None, **source) -> LabelledScene:
    name = source.pop("path", "labels.json")
    (place.folder / name).write_text(json.dumps(data))
    entry = SceneEntry(
        image=source.pop("image", None) or place.image(), labels=(LabelSource(path=name, **source),), gsd_m=0.5
    )
    return open_dataset(place.dataset(entry, classes=classes or ClassSettings()), gsd_m)[0]


@pytest.mark.parametrize("crs", ["EPSG:32645", None])
def test_pixels_of_the_file_are_pixels_of_the_scene(place, crs):
    here = place()
    scene = open_one(here, coco((1, flat(box(10, 20, 40, 60)))), image=here.image(crs=crs), **{"class": "building"})
    expected = np.zeros((200, 240), np.uint8)
    expected[20:60, 10:40] = 1
    assert (scene.chip(WHOLE).mask == expected).all()


def test_at_another_resolution_the_labels_follow(place):
    mask = np.zeros((200, 240), np.uint8)
    mask[20:60, 10:40] = 1
    for shape in (flat(box(10, 20, 40, 60)), encode_rle(mask)):
        scene = open_one(place(), coco((1, shape)), gsd_m=1.0, class_="building")
        found = scene.mask(Window(0, 0, 120, 100))
        assert found.shape == (100, 120)
        assert found[10:30, 5:20].all()
        assert found.sum() == 20 * 15


def test_categories_become_classes(place):
    data = coco((1, flat(box(10, 10, 30, 30))), (2, flat(box(20, 20, 50, 30))), (3, flat(box(40, 0, 45, 100))))
    mapped = {"building": ("house", "roof"), "road": ("street",)}
    mask = open_one(place(), data, THREE, categories=mapped).mask(WHOLE)
    assert (mask[15, 15], mask[25, 35], mask[25, 42], mask[50, 42]) == (1, 1, 2, 2)
    away = {"building": ("house",), "background": ("roof",), "unknown": ("street",)}
    mask = open_one(place(), data, THREE, categories=away).mask(WHOLE)
    assert (mask[15, 15], mask[25, 35], mask[50, 42]) == (1, 0, UNKNOWN)
    everything = open_one(place(), data, THREE, class_="road").mask(WHOLE)
    assert set(np.unique(everything)) == {0, 2}


def test_categories_may_be_classes_by_name(place):
    data = coco((1, flat(box(10, 10, 30, 30))))
    data["categories"][0]["name"] = "building"
    assert open_one(place(), data).mask(WHOLE).sum() == 400


def test_a_crowd_is_unknown_but_for_its_objects(place):
    crowd = np.zeros((200, 240), np.uint8)
    crowd[50:150, 50:150] = 1
    scene = open_one(
        place(), coco((1, flat(box(60, 60, 80, 80))), crowd=encode_rle(crowd)), categories={"building": ("house",)}
    )
    mask = scene.chip(WHOLE).mask
    assert (mask == UNKNOWN).sum() == 100 * 100 - 400
    assert (mask == 1).sum() == 400


def test_an_object_in_parts_has_one_number(place):
    parts = flat(box(10, 10, 20, 20)) + flat(box(30, 10, 40, 20))
    scene = open_one(place(), coco((1, parts), (1, flat(box(20, 10, 30, 20)))), class_="building")
    numbers = scene.chip(WHOLE, True).instances
    assert numbers is not None
    assert numbers[15, 5:45:5].tolist() == [0, 1, 1, 2, 2, 1, 1, 0]


def test_labelme_and_via(place):
    here = place()
    labelme = {
        "shapes": [{"label": "house", "points": box(10, 20, 40, 60), "shape_type": "polygon"}],
        "imagePath": "image.png",
        "imageHeight": 200,
        "imageWidth": 240,
    }
    xs, ys = zip(*box(10, 20, 40, 60), strict=True)
    polygon = {"name": "polygon", "all_points_x": xs, "all_points_y": ys}
    street = {"name": "polyline", "all_points_x": [0, 240], "all_points_y": [100, 100]}
    balloon = {"image.tif9": {"filename": "image.tif", "regions": {"0": {"shape_attributes": polygon}}}}
    project = {
        "_via_img_metadata": {
            "image.tif9": {
                "filename": "image.tif",
                "regions": [
                    {"shape_attributes": polygon, "region_attributes": {"kind": "house", "note": "red"}},
                    {"shape_attributes": street, "region_attributes": {"kind": "street"}},
                ],
            }
        }
    }
    expected = np.zeros((200, 240), np.uint8)
    expected[20:60, 10:40] = 1
    # The suffix does not tell what a file is.
    assert (open_one(here, labelme, class_="building", path="north.labelme").mask(WHOLE) == expected).all()
    assert (open_one(here, balloon).mask(WHOLE) == expected).all()
    mapped = {"building": ("house",), "road": ("street",)}
    mask = open_one(here, project, THREE, categories=mapped, layer="kind", width_m=5.0).mask(WHOLE)
    assert (mask[expected == 1] == 1).all()
    assert (mask == 2).sum() == pytest.approx(10 * 240, abs=20)


def test_geojson_is_geojson_still(place):
    here = place()
    labels = here.houses("houses.json")
    entry = SceneEntry(image=here.image(), labels=(LabelSource(path=labels),))
    assert LabelledScene(entry, here.dataset(entry)).mask(WHOLE).any()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            {},
            r"categories 'background', 'building', 'unknown'.*Received 'house'.*categories = {building = ..house..}",
        ),
        ({"categories": {"building": ("roof",)}}, "categories 'roof' in labels.json. Received 'house'"),
        ({"categories": {"buildings": ("house",)}}, "one of the classes"),
        ({"categories": {"building": ("house",), "background": ("house",)}}, "one class for category 'house'"),
        ({"categories": {"building": ("house",)}, "class_": "building"}, "class or categories"),
        ({"layer": "kind"}, "no layer for"),
    ],
)
def test_what_cannot_be_meant(place, source, message):
    with pytest.raises(LabelError, match=message):
        open_one(place(), coco((1, flat(box(10, 10, 30, 30)))), **source)


def test_an_image_without_annotations_must_be_meant(place):
    with pytest.raises(LabelError, match=r"features in labels\.json for image\.tif.*negative_if_empty"):
        open_one(place(), coco())
    assert (open_one(place(), coco(), negative_if_empty=True).mask(WHOLE) == 0).all()


def test_labels_beyond_the_image_are_refused(place):
    with pytest.raises(LabelError, match="overlap"):
        open_one(place(), coco((1, flat(box(1000, 1000, 1100, 1100)))), class_="building")


def test_categories_of_a_plain_vector_file_are_refused(place):
    here = place()
    source = LabelSource(path=here.vectors("a.gpkg", [shapely.box(10, 10, 20, 20)]), categories={"building": ("a",)})
    with pytest.raises(LabelError, match="an annotation file"):
        open_dataset(here.dataset(SceneEntry(image=here.image(), labels=(source,))))


@pytest.mark.parametrize("align", ["none", "scene", "block"])
def test_labels_that_lie_off_are_moved_onto_the_image_when_asked(tmp_path, align):
    city = plan_city(700, 0.3, seed=3)
    kind = {"driver": "GTiff", "count": 3, "height": 700, "width": 700, "dtype": "uint8"}
    place = {"crs": city.grid.crs.to_wkt(), "transform": city.grid.affine}
    with rasterio.open(tmp_path / "scene.tif", "w", **kind, **place) as file:
        file.write(render(city)[0])
    city.buildings.set_geometry(city.buildings.translate(2.1, -1.5)).to_file(tmp_path / "off.gpkg")
    entry = SceneEntry(image="scene.tif", labels=(LabelSource(path="off.gpkg"),), align=align)
    mask = LabelledScene(entry, Dataset(scene=(entry,), root=tmp_path)).mask(Window(0, 0, 700, 700)) == 1
    truth = burn(city.buildings, city.grid) == 1
    agreement = (mask & truth).sum() / (mask | truth).sum()
    assert agreement < 0.75 if align == "none" else agreement > 0.9


# --- roofs of one colour ----------------------------------------------------------------------------------------------

GROUND = Affine(0.5, 0, 10, 0, -0.5, 40)


def test_only_roofs_of_a_colour_are_labels_and_others_are_background(tmp_path):
    image = np.full((3, 60, 80), 120, np.uint8)
    image[:, 5:25, 5:30] = np.array([60, 110, 170], np.uint8)[:, None, None]
    image[:, 30:50, 5:30] = np.array([170, 60, 55], np.uint8)[:, None, None]
    write_raster(tmp_path / "image.tif", GeoBox((60, 80), GROUND, None), image)
    data = {
        "images": [{"id": 1, "file_name": "image.tif", "height": 60, "width": 80}],
        "categories": [{"id": 1, "name": "building"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": flat(box(5, 5, 30, 25))},
            {"id": 2, "image_id": 1, "category_id": 1, "segmentation": flat(box(5, 30, 30, 50))},
            {"id": 3, "image_id": 1, "category_id": 1, "segmentation": flat(box(50, 30, 70, 50)), "iscrowd": 0},
        ],
    }
    (tmp_path / "labels.json").write_text(json.dumps(data))
    entry = SceneEntry(image="image.tif", labels=(LabelSource(path="labels.json", roof_color="blue"),))
    [scene] = open_dataset(Dataset(scene=(entry,), root=tmp_path))
    mask = scene.chip(Window(0, 0, 80, 60)).mask
    assert mask[5:25, 5:30].all()
    assert mask.sum() == 20 * 25


def test_colours_of_a_class_raster_are_refused(tmp_path):
    write_raster(tmp_path / "image.tif", GeoBox((8, 8), GROUND, None), np.ones((3, 8, 8), np.uint8))
    labels = LabelSource(path="image.tif", values={"building": (1,)}, roof_color="blue")
    with pytest.raises(LabelError, match="polygons for roof_color"):
        open_dataset(Dataset(scene=(SceneEntry(image="image.tif", labels=(labels,)),), root=tmp_path))
