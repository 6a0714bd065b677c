from __future__ import annotations

import json
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize

from eaves.errors import EavesWarning, LabelError, OutputError
from eaves.exchange.coco import check_coco, describe_crowd, describe_objects, is_coco, paint_coco, read_coco
from eaves.exchange.coco_masks import decode_rle, encode_rle, outline_objects, pack_counts, unpack_counts
from eaves.exchange.cocofile import write_coco

SHAPE = (30, 40)
shapes = st.tuples(st.integers(1, 12), st.integers(1, 12))
masks = shapes.flatmap(lambda shape: arrays(bool, shape))
numbered = shapes.flatmap(lambda shape: arrays(np.uint16, shape, elements=st.integers(0, 3)))


def square(left: float, top: float, side: float = 4) -> list[float]:
    return [left, top, left + side, top, left + side, top + side, left, top + side]


def coco(*annotations: dict[str, Any], **image: Any) -> dict[str, Any]:
    return {
        "images": [{"id": 5, "file_name": "images/north.tif", "height": 30, "width": 40} | image],
        "categories": [{"id": 1, "name": "house"}, {"id": 9, "name": "shed"}],
        "annotations": [
            {"id": index, "image_id": 5, "category_id": 1, "iscrowd": 0} | one for index, one in enumerate(annotations)
        ],
    }


def read(*annotations: dict[str, Any], **image: Any):
    return read_coco(coco(*annotations, **image), "labels.json", "north.tif", SHAPE)


# --- runs -------------------------------------------------------------------------------------------------------------


@given(masks, st.booleans())
def test_runs_come_back(mask, compress):
    rle = json.loads(json.dumps(encode_rle(mask, compress=compress)))
    assert rle["size"] == list(mask.shape)
    assert (decode_rle(rle) == mask).all()


@given(st.lists(st.integers(0, 10**6), max_size=30))
def test_packed_runs_come_back(counts):
    text = pack_counts(counts)
    assert unpack_counts(text) == unpack_counts(text.encode()) == counts
    assert text.isascii()


def blocks() -> np.ndarray:
    mask = np.zeros((300, 9))
    mask[250:, 1:4] = mask[:3, 7] = 1
    return mask


@pytest.mark.parametrize(
    ("mask", "text"),
    [
        (np.zeros((3, 4)), "<"),
        (np.ones((3, 4)), "0<"),
        (np.eye(4), "01400000"),
        (np.arange(60).reshape(6, 10) % 7 < 3, "0120O10O11OO0020N0100000O020N0011OO10O11OO000"),
        (blocks(), "Va0b1j7000Zd0aNaF"),
    ],
)
def test_runs_are_those_of_the_api(mask, text):
    """As faster-coco-eval 1.8 (the code of pycocotools) packs these masks."""
    assert encode_rle(mask)["counts"] == text
    assert (decode_rle({"size": mask.shape, "counts": text.encode()}) == mask).all()


@pytest.mark.parametrize(
    "rle",
    [
        {"size": [2, 2], "counts": [1, 2]},
        {"size": [2, 2], "counts": [5, -1]},
        {"size": [2, 2], "counts": "~"},
        {"size": [2, 2], "counts": "P"},
    ],
)
def test_damaged_runs_are_refused(rle):
    with pytest.raises(ValueError):
        decode_rle(rle)
    with pytest.raises(LabelError, match="runs for annotation 0"):
        read({"segmentation": rle})


# --- outlines ---------------------------------------------------------------------------------------------------------


@given(numbered)
def test_outlines_hold_the_pixels_of_their_object(numbers):
    outlines = outline_objects(numbers)
    assert list(outlines) == sorted(set(numbers[numbers > 0].tolist()))
    for number, outline in outlines.items():
        assert outline.is_valid
        burnt = rasterize([outline], out_shape=numbers.shape)
        assert (burnt == (numbers == number)).all()
        assert outline.area == (numbers == number).sum()


@given(numbered, st.randoms())
def test_described_objects_are_painted_back(numbers, chance):
    mask = np.where(numbers > 0, 1 + numbers % 2, 0).astype(np.uint8)
    described = json.loads(json.dumps(list(describe_objects(numbers, mask))))
    _, order = np.unique(numbers[numbers > 0], return_inverse=True)
    found, again, crowd = paint_coco(described, {1: 1, 2: 2}, numbers.shape, "file")
    assert (found == mask).all()
    assert again[numbers > 0].tolist() == (order + 1).tolist()
    assert not crowd.any()
    whole = {
        "images": [{"id": 1, "height": numbers.shape[0], "width": numbers.shape[1], "file_name": "a.png"}],
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
        "annotations": [{"id": i, "image_id": 1} | one for i, one in enumerate(described)],
    }
    assert check_coco(whole) == []


def test_a_hole_needs_runs():
    numbers = np.zeros((7, 7), np.uint16)
    numbers[1:6, 1:6], numbers[3, 3] = 1, 0
    (ring,) = describe_objects(numbers, (numbers > 0).astype(np.uint8))
    assert ring["segmentation"]["size"] == [7, 7]
    assert (ring["area"], ring["bbox"]) == (24, [1.0, 1.0, 5.0, 5.0])
    numbers[3, 3] = 1
    (plain,) = describe_objects(numbers, (numbers > 0).astype(np.uint8))
    assert sorted(map(tuple, np.reshape(plain["segmentation"], (-1, 2)).tolist())) == [(1, 1), (1, 6), (6, 1), (6, 6)]


def test_a_crowd_is_painted_where_no_object_is():
    where = np.zeros(SHAPE, bool)
    where[4:10, 5:20] = True
    crowd = describe_crowd(where, 1)
    assert (crowd["bbox"], crowd["area"], crowd["iscrowd"]) == ([5.0, 4.0, 15.0, 6.0], 90, 1)
    house = {"id": 1, "category_id": 1, "segmentation": [square(6, 5)]}
    mask, numbers, unknown = paint_coco([house, crowd], {1: 1}, SHAPE, "file")
    assert mask.sum() == (numbers == 1).sum() == 16
    assert unknown.sum() == 90 - 16


# --- labels -----------------------------------------------------------------------------------------------------------


def test_polygons_and_runs_are_the_same_labels():
    mask = np.zeros(SHAPE, np.uint8)
    mask[3:7, 2:6] = 1
    table = read(
        {"segmentation": [square(2, 3)]},
        {"segmentation": encode_rle(mask)},
        {"segmentation": encode_rle(mask, compress=False), "category_id": 9},
        {"segmentation": encode_rle(mask), "iscrowd": 1},
    )
    assert table.crs is None
    assert table["category"].tolist() == ["house", "house", "shed", "house"]
    assert table["crowd"].tolist() == [False, False, False, True]
    assert all(shape.equals(shapely.box(2, 3, 6, 7)) for shape in table.geometry)


def test_an_object_in_parts_stays_one():
    table = read({"segmentation": [square(2, 3), square(20, 3), square(22, 5)]})
    assert len(table) == 1
    assert table.geometry[0].area == 16 + 28  # overlapping parts count once


def test_other_images_do_not_count():
    data = coco({"segmentation": [square(2, 3)]}, {"segmentation": [square(9, 9)], "image_id": 6})
    data["images"].append({"id": 6, "file_name": "images/south.tif", "height": 30, "width": 40})
    assert len(read_coco(data, "labels.json", "a/north.tif", SHAPE)) == 1
    assert len(read_coco(data, "labels.json", "south.png", SHAPE)) == 1  # the suffix may have changed


def test_a_bow_tie_is_mended_and_counted():
    with pytest.warns(EavesWarning, match=r"1 invalid mended \(feature annotation 0\)"):
        table = read({"segmentation": [[0, 0, 4, 4, 4, 0, 0, 4]]})
    assert table.geometry[0].is_valid


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data["images"].clear(), "one image north.tif"),
        (lambda data: data["images"].append(data["images"][0]), "2 of 2"),
        (lambda data: data["images"][0].update(width=80), r"40 x 30 px. Received 80 x 30 px|40 x 30 px, because"),
        (lambda data: data["annotations"][0].update(category_id=2), "a category for annotation 0.*id 2"),
        (lambda data: data["annotations"][0].update(segmentation=[[1, 1, 2, 2]]), "at least 3 points.*Received 2"),
        (lambda data: data["annotations"][0].update(segmentation=[[1, 1, 2]]), "a polygon .x, y"),
        (lambda data: data["annotations"][0].update(segmentation=[[1, 1, 2, 2, 3, "x"]]), "points"),
        (lambda data: data["annotations"][0].update(segmentation=[]), "a box alone"),
        (lambda data: data["annotations"][0].pop("segmentation"), "a box alone"),
        (lambda data: data["annotations"][0].pop("category_id"), "COCO's JSON.*KeyError"),
        (lambda data: data.update(images=[7]), "COCO's JSON"),
        (lambda data: data["annotations"][0].update(segmentation=encode_rle(np.ones((3, 3)))), "3 x 3 px"),
    ],
)
def test_broken_files_are_refused(change, message):
    data = coco({"segmentation": [square(2, 3)]})
    change(data)
    with pytest.raises(LabelError, match=message):
        read_coco(data, "labels.json", "north.tif", SHAPE)


def test_what_a_coco_file_is():
    assert is_coco(coco())
    for other in ([], {"images": [], "annotations": {}}, {"type": "FeatureCollection"}, None):
        assert not is_coco(other)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"image_id": 7}, "no image 7"),
        ({"category_id": 7}, "no category 7"),
        ({"id": None}, "an id is missing"),
        ({"area": 99}, "an area of 99 for 16 pixels"),
        ({"bbox": [2, 3, 60, 4]}, "a box beyond the image"),
        ({"segmentation": [[1, 1, 2, 2]]}, "at least 3 points"),
        ({"iscrowd": 1}, "a crowd without runs"),
    ],
)
def test_the_rules_find_what_breaks_them(change, problem):
    sound = {"segmentation": [square(2, 3)], "area": 16, "bbox": [2, 3, 4, 4]}
    assert check_coco(coco(sound)) == []
    (found,) = check_coco(coco(sound | change))
    assert problem in found


# --- runs of a part, and footprints as a file -------------------------------------------------------------------------


@given(mask=masks, row=st.integers(0, 5), col=st.integers(0, 5), more=st.integers(0, 4))
def test_runs_of_a_part_are_those_of_the_whole(mask, row, col, more):
    size = (mask.shape[0] + row + more, mask.shape[1] + col + more)
    whole = np.zeros(size, bool)
    whole[row : row + mask.shape[0], col : col + mask.shape[1]] = mask
    assert encode_rle(mask, at=(row, col), size=size) == encode_rle(whole)
    assert (decode_rle(encode_rle(whole)) == whole).all()


def footprints_table():
    grid = GeoBox((30, 40), Affine(0.3, 0, 500_000.1, 0, -0.3, 4_000_000.7), "EPSG:32645")
    plain = shapely.Polygon([(2.25, 3.5), (12.125, 3.5), (12.125, 9.75), (2.25, 9.75)])
    court = shapely.box(15, 5, 30, 20).difference(shapely.box(18, 8, 26, 17))
    edge = shapely.box(36, 26, 40, 30)
    a = grid.affine
    shapes = gpd.GeoSeries([plain, court, edge]).affine_transform([a.a, a.b, a.d, a.e, a.c, a.f])
    table = gpd.GeoDataFrame({"score": [0.9, 0.8, 0.7]}, geometry=shapes, crs="EPSG:32645")
    return grid, table, (plain, court, edge)


def test_footprints_come_back_from_their_file(tmp_path):
    grid, table, shapes = footprints_table()
    write_coco(table, tmp_path / "f.coco.json", image="north.tif", grid=grid, metadata={"version": "1"})
    data = json.loads((tmp_path / "f.coco.json").read_text())
    assert check_coco(data) == []
    assert [one["score"] for one in data["annotations"]] == [0.9, 0.8, 0.7]
    assert [isinstance(one["segmentation"], dict) for one in data["annotations"]] == [False, True, False]
    assert data["info"]["eaves"] == {"version": "1"}
    back = read_coco(data, "f.coco.json", "north.tif", (30, 40))
    for got, wanted in zip(back.geometry, shapes, strict=True):
        assert shapely.symmetric_difference(got, wanted).area < 1e-6  # those on pixel edges exactly, holes and all


def test_footprints_outside_the_image_are_cut_at_its_edge(tmp_path):
    grid, table, _ = footprints_table()
    table.geometry = table.geometry.translate(0.3, 0)
    write_coco(table, tmp_path / "f.coco.json", image="north.tif", grid=grid)
    data = json.loads((tmp_path / "f.coco.json").read_text())
    assert data["annotations"][2]["bbox"] == pytest.approx([37, 26, 3, 4], abs=1e-6)


def test_footprints_elsewhere_and_strangers_are_refused(tmp_path):
    grid, table, _ = footprints_table()
    moved = gpd.GeoDataFrame(geometry=[*table.geometry[:2], shapely.box(0, 0, 1, 1)], crs=table.crs)
    with pytest.raises(OutputError, match="1 outside of it"):
        write_coco(moved, tmp_path / "f.coco.json", image="north.tif", grid=grid)
    table["class"] = ["house", "shed", "house"]
    with pytest.raises(OutputError, match="footprints of house"):
        write_coco(table, tmp_path / "f.coco.json", image="north.tif", grid=grid, classes=("house",))
    assert not list(tmp_path.iterdir())


def test_colours_go_along_and_ids_do_not_depend_on_what_is_there(tmp_path):
    grid, table, _ = footprints_table()
    table["roof_color"], table["blue_share"] = ["blue", "grey", None], [0.9, 0.1, np.nan]
    table["class"] = "shed"
    write_coco(table, tmp_path / "f.coco.json", image="north.tif", grid=grid, classes=("house", "shed"))
    data = json.loads((tmp_path / "f.coco.json").read_text())
    assert [one["attributes"]["roof_color"] for one in data["annotations"]] == ["blue", "grey", None]
    assert data["annotations"][2]["attributes"]["blue_share"] is None
    assert {one["category_id"] for one in data["annotations"]} == {2}


def test_a_ring_too_thin_for_pixels_is_still_there(tmp_path):
    grid, table, _ = footprints_table()
    thin = shapely.box(5.6, 5.6, 9.4, 9.4).difference(shapely.box(5.7, 5.7, 9.3, 9.3))
    a = grid.affine
    table = table.iloc[:1].copy()
    table.geometry = gpd.GeoSeries([thin], index=table.index).affine_transform([a.a, a.b, a.d, a.e, a.c, a.f]).values
    write_coco(table, tmp_path / "f.coco.json", image="north.tif", grid=grid)
    [one] = json.loads((tmp_path / "f.coco.json").read_text())["annotations"]
    assert isinstance(one["segmentation"], list)
    assert one["area"] > 0


def test_classes_are_categories_and_an_empty_table_is_a_file(tmp_path):
    grid, table, _ = footprints_table()
    table["class"] = ["house", "shed", "house"]
    write_coco(table, tmp_path / "f.coco.json", image="north.tif", grid=grid)
    data = json.loads((tmp_path / "f.coco.json").read_text())
    assert [one["name"] for one in data["categories"]] == ["house", "shed"]
    assert [one["category_id"] for one in data["annotations"]] == [1, 2, 1]
    write_coco(table.iloc[:0], tmp_path / "e.coco.json", image="north.tif", grid=grid)
    empty = json.loads((tmp_path / "e.coco.json").read_text())
    assert check_coco(empty) == []
    assert empty["annotations"] == []
