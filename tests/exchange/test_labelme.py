from __future__ import annotations

import base64
from typing import Any

import cv2
import numpy as np
import pytest
import shapely

from eaves.errors import EavesWarning, LabelError
from eaves.exchange.labelme import is_labelme, read_labelme

SQUARE = [[2, 3], [6, 3], [6, 7], [2, 7]]


def file(*shapes: dict[str, Any], **more: Any) -> dict[str, Any]:
    drawn = [{"label": "house", "points": SQUARE, "shape_type": "polygon", "group_id": None} | one for one in shapes]
    return {"version": "5.4.1", "shapes": drawn, "imagePath": "north.jpg", "imageHeight": 30, "imageWidth": 40} | more


def read(*shapes: dict[str, Any], **more: Any):
    return read_labelme(file(*shapes, **more), "north.json", "images/north.tif", (30, 40))


def packed(mask: np.ndarray) -> str:
    return base64.b64encode(cv2.imencode(".png", mask.astype(np.uint8))[1].tobytes()).decode()


def test_every_kind_of_shape():
    mask = np.zeros((4, 5), np.uint8)
    mask[1:3, 2:4] = 1
    table = read(
        {},
        {"shape_type": "rectangle", "points": [[6, 7], [2, 3]]},
        {"shape_type": "rectangle", "points": SQUARE},
        {"shape_type": "circle", "points": [[10, 10], [13, 14]], "label": "tank"},
        {"shape_type": "linestrip", "points": [[0, 0], [5, 5], [9, 5]], "label": "road"},
        {"shape_type": "mask", "points": [[20, 10], [24, 13]], "mask": packed(mask)},
    )
    assert table["category"].tolist() == ["house", "house", "house", "tank", "road", "house"]
    shapes = list(table.geometry)
    assert all(shape.equals(shapely.box(2, 3, 6, 7)) for shape in shapes[:3])
    assert shapes[3].area == pytest.approx(np.pi * 25, rel=0.002)
    assert shapes[3].centroid.coords[0] == pytest.approx((10, 10))
    assert shapes[4].equals(shapely.LineString([(0, 0), (5, 5), (9, 5)]))
    assert shapes[5].equals(shapely.box(22, 11, 24, 13))


def test_a_group_is_one_object():
    far = [[20, 20], [24, 20], [24, 24]]
    table = read({"group_id": 3}, {"group_id": 3, "points": far}, {"group_id": 3, "label": "shed"}, {})
    assert table["category"].tolist() == ["house", "shed", "house"]
    assert table.geometry[0].area == 16 + 8


def test_points_are_left_out_and_counted():
    with pytest.warns(EavesWarning, match="1 made of points dropped"):
        assert len(read({}, {"shape_type": "point", "points": [[1, 1]]})) == 1


@pytest.mark.parametrize(
    ("shape", "more", "message"),
    [
        ({"points": [[1, 1], [2, 2]]}, {}, "at least 3 points for shape 1"),
        ({"points": [[1, 1, 4], [2, 2, 2], [3, 3, 3]]}, {}, "points .x, y"),
        ({"shape_type": "line", "points": [[1, 1]]}, {}, "at least 2 points"),
        ({"shape_type": "star"}, {}, "'star'"),
        ({"shape_type": "mask", "mask": "AAAA"}, {}, "damaged text"),
        ({"shape_type": "mask"}, {}, "KeyError"),
        ({}, {"imageWidth": 80}, "80 x 30 px in north.json"),
        ({}, {"imagePath": "south.jpg"}, r"one image north.tif.*south.jpg"),
    ],
)
def test_broken_files_are_refused(shape, more, message):
    with pytest.raises(LabelError, match=message):
        read(shape, **more)


def test_what_a_labelme_file_is():
    assert is_labelme(file())
    assert not is_labelme({"shapes": []})
    assert not is_labelme([])
