from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely

from eaves.errors import EavesWarning, LabelError
from eaves.exchange.via import is_via, read_via

POLYGON = {"name": "polygon", "all_points_x": [2, 6, 6, 2], "all_points_y": [3, 3, 7, 7]}


def region(shape: dict[str, Any] = POLYGON, **attributes: Any) -> dict[str, Any]:
    return {"shape_attributes": shape, "region_attributes": attributes}


def annotations(*regions: dict[str, Any]) -> dict[str, Any]:
    return {
        "north.jpg1115004": {"filename": "north.jpg", "size": 1115004, "regions": list(regions), "file_attributes": {}},
        "south.jpg9": {"filename": "south.jpg", "size": 9, "regions": [], "file_attributes": {}},
    }


def read(*regions: dict[str, Any], attribute: str | None = None):
    return read_via(annotations(*regions), "via.json", "north.jpg", attribute)


def test_every_kind_of_region():
    table = read(
        region(),
        region({"name": "rect", "x": 2, "y": 3, "width": 4, "height": 4}),
        region({"name": "circle", "cx": 10, "cy": 12, "r": 5}),
        region({"name": "ellipse", "cx": 10, "cy": 12, "rx": 8, "ry": 2, "theta": np.pi / 2}),
        region({"name": "polyline", "all_points_x": [0, 5], "all_points_y": [0, 5]}),
    )
    shapes = list(table.geometry)
    assert all(shape.equals(shapely.box(2, 3, 6, 7)) for shape in shapes[:2])
    assert shapes[2].bounds == pytest.approx((5, 7, 15, 17))
    assert shapes[3].bounds == pytest.approx((8, 4, 12, 20))
    assert shapes[4].equals(shapely.LineString([(0, 0), (5, 5)]))
    assert table["category"].tolist() == [None] * 5


def test_a_project_file_and_the_balloons():
    project = {"_via_settings": {}, "_via_img_metadata": annotations(region()), "_via_attributes": {}}
    balloons = {
        "34020010494_e5cb88e1c4_k.jpg1115004": {
            "fileref": "",
            "size": 1115004,
            "filename": "34020010494_e5cb88e1c4_k.jpg",
            "base64_img_data": "",
            "file_attributes": {},
            "regions": {"0": region(), "1": region({"name": "rect", "x": 0, "y": 0, "width": 1, "height": 1})},
        }
    }
    assert is_via(project)
    assert is_via(balloons)
    assert len(read_via(project, "via.json", "north.jpg")) == 1
    assert len(read_via(balloons, "via.json", "34020010494_e5cb88e1c4_k.jpg")) == 2


def test_the_attribute_that_names_the_category():
    plain = read(region(kind="house"), region(kind="shed"), region())
    assert plain["category"].tolist() == ["house", "shed", None]
    ticked = read(region(kind={"house": True, "shed": False}), region(kind={}))
    assert ticked["category"].tolist() == ["house", None]
    two = (region(kind="house", color="red"), region(kind="shed", color="red"))
    assert read(*two, attribute="kind")["category"].tolist() == ["house", "shed"]
    with pytest.raises(LabelError, match=r'color, kind\. Do: choose it: layer = "color"'):
        read(*two)
    with pytest.raises(LabelError, match="house and shed"):
        read(region(kind={"house": True, "shed": True}))


def test_an_image_without_regions_is_empty():
    assert len(read_via(annotations(region()), "via.json", "south.jpg")) == 0


def test_points_are_left_out_and_counted():
    with pytest.warns(EavesWarning, match="1 made of points dropped"):
        assert len(read(region(), region({"name": "point", "cx": 1, "cy": 1}))) == 1


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({**POLYGON, "all_points_x": [1, 2], "all_points_y": [1, 2]}, "at least 3 points for region 1"),
        ({**POLYGON, "all_points_x": [1, 2, 3]}, "ValueError"),
        ({"name": "rect", "x": 2}, "KeyError"),
        ({"name": "star"}, "'star'"),
    ],
)
def test_broken_regions_are_refused(shape, message):
    with pytest.raises(LabelError, match=message):
        read(region(shape))


def test_an_image_that_is_not_there():
    with pytest.raises(LabelError, match=r"one image west\.jpg.*none of 2 \(north\.jpg, south\.jpg\)"):
        read_via(annotations(), "via.json", "west.jpg")


def test_what_a_via_file_is():
    assert not is_via({})
    assert not is_via({"a": {"filename": "x"}})
    assert not is_via([])
