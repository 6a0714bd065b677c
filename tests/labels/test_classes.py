from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.errors import EavesWarning, LabelError
from eaves.labels import UNKNOWN, ClassTable, remap_colors, remap_values

NAMES = ("background", "building", "road")


@given(st.lists(st.integers(0, 9), min_size=4, max_size=4))
def test_each_value_becomes_its_class(values):
    raster = np.array(values, np.uint16).reshape(2, 2)
    table = {"background": (0, 1, 2, 3), "building": (4, 5, 6), "road": (7,), "unknown": (8, 9)}
    expected = np.array([0, 0, 0, 0, 1, 1, 1, 2, UNKNOWN, UNKNOWN], np.uint8)[raster]
    classes = remap_values(raster, table, NAMES, "background")
    assert classes.dtype == np.uint8
    assert (classes == expected).all()


def test_five_classes_become_two():
    raster = np.array([[0, 1, 2, 3, 4]])
    with pytest.warns(EavesWarning, match=r"80\.0% of the pixels have 4 values without a class"):
        classes = remap_values(raster, {"building": (2,)}, NAMES[:2], "background")
    assert classes.tolist() == [[0, 0, 1, 0, 0]]


def test_colours_match_exactly_and_the_rest_is_told():
    colors = np.array([[0x3C1098, 0x3C1099], [0x6EC1E4, 0x000000]])
    rgb = np.stack([colors >> 16, colors >> 8 & 255, colors & 255]).astype(np.uint8)
    table = {"building": ("#3C1098",), "road": ("#6ec1e4",), "unknown": ("#000000",)}
    with pytest.warns(EavesWarning, match="#3C1099") as told:
        classes = remap_colors(rgb, table, NAMES, "unknown")
    assert len(told) == 1
    assert classes.tolist() == [[1, UNKNOWN], [2, UNKNOWN]]


def test_negative_and_large_values():
    raster = np.array([[-9999, 70_000]], np.int32)
    classes, named = ClassTable.of_values({"building": (70_000,)}, NAMES).look_up(raster[None])
    assert classes.tolist() == [[UNKNOWN, 1]]
    assert named.tolist() == [[False, True]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ClassTable.of_values({"building": (1,), "road": (1,)}, NAMES), "one class for each value"),
        (lambda: ClassTable.of_values({"bulding": (1,)}, NAMES), "bulding"),
        (lambda: ClassTable.of_colors({"building": ("blue",)}, NAMES), "#RRGGBB"),
        (lambda: remap_values(np.zeros((2, 2)), {}, NAMES, "water"), "water"),
        (lambda: remap_colors(np.zeros((1, 2, 2)), {"road": ("#000000",)}, NAMES, "road"), "three 8-bit bands"),
    ],
)
def test_what_cannot_be_meant_is_refused(make, message):
    with pytest.raises(LabelError, match=message):
        make()
