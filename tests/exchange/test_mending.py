from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from eaves.exchange.mending import mend

BOX = "POLYGON ((0 0, 2 0, 2 2, 0 2, 0 0))"


def mend_one(text):
    shape = None if text is None else shapely.from_wkt(text)
    mended = mend(np.array([shape], dtype=object), np.array([7]))
    return mended.geometries[0], mended.notes


@pytest.mark.parametrize(
    "text",
    [
        BOX,
        "MULTIPOLYGON (((0 0, 1 0, 1 1, 0 0)), ((5 5, 6 5, 6 6, 5 5)))",
        "POLYGON ((0 0, 9 0, 9 9, 0 9, 0 0), (1 1, 2 1, 2 2, 1 1))",
        "POLYGON ((0 0, 2 0, 2 0, 2 2, 0 2, 0 0))",  # duplicate vertices are valid
        "LINESTRING (0 0, 1 1)",
        "LINESTRING (0 0, 2 2, 2 0, 0 2)",
        "MULTILINESTRING ((0 0, 1 1), (2 2, 3 3))",
    ],
)
def test_good_shapes_stay_as_they_are(text):
    shape, notes = mend_one(text)
    assert shapely.equals_identical(shape, shapely.from_wkt(text))
    assert notes == []


@pytest.mark.parametrize(
    ("text", "kind", "measure", "word"),
    [
        ("POLYGON ((0 0, 2 2, 2 0, 0 2, 0 0))", "MultiPolygon", 2, "invalid mended"),  # bow-tie
        (
            "POLYGON ((0 0, 2 0, 2 2, 0 2, 0 0), (5 5, 6 5, 6 6, 5 5))",
            "MultiPolygon",
            4.5,
            "invalid mended",
        ),  # hole outside
        ("POLYGON ((0 0, 2 0, 2 2, 0 2, 0 0), (0 0, 1 0, 1 1, 0 0))", "Polygon", 3.5, "invalid mended"),
        ("POLYGON ((0 0, 2 0, 2 2, 3 3, 2 2, 0 2, 0 0))", "Polygon", 4, "invalid mended"),  # spike
        ("MULTIPOLYGON (((0 0, 2 0, 2 2, 0 2, 0 0)), ((1 0, 3 0, 3 2, 1 2, 1 0)))", "Polygon", 6, "invalid mended"),
        ("POLYGON Z ((0 0 5, 2 0 5, 2 2 5, 0 2 5, 0 0 5))", "Polygon", 4, "heights flattened"),
        ("POLYGON M ((0 0 5, 2 0 5, 2 2 5, 0 2 5, 0 0 5))", "Polygon", 4, "heights flattened"),
        (f"GEOMETRYCOLLECTION ({BOX}, POINT (9 9), LINESTRING (0 0, 9 9))", "Polygon", 4, "collections"),
        (f"GEOMETRYCOLLECTION (GEOMETRYCOLLECTION ({BOX}), LINESTRING (0 0, 9 9))", "Polygon", 4, "collections"),
        (f"GEOMETRYCOLLECTION ({BOX}, {BOX})", "Polygon", 4, "collections"),
        ("GEOMETRYCOLLECTION (LINESTRING (0 0, 3 4), POINT (1 1))", "LineString", 5, "collections"),
    ],
)
def test_odd_shapes_are_mended(text, kind, measure, word):
    shape, notes = mend_one(text)
    assert shape.geom_type == kind
    assert shape.is_valid
    assert not shape.has_z
    assert (shape.area or shape.length) == pytest.approx(measure)
    assert any(note.startswith("1 ") and word in note and note.endswith("(feature 7)") for note in notes)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (None, "without geometry"),
        ("POLYGON EMPTY", "without geometry"),
        ("GEOMETRYCOLLECTION EMPTY", "without geometry"),
        ("POINT (1 1)", "made of points"),
        ("MULTIPOINT ((1 1), (2 2))", "made of points"),
        ("POLYGON ((0 0, 1 1, 2 2, 0 0))", "without extent"),
        ("LINESTRING (1 1, 1 1)", "without extent"),
        ("POLYGON ((0 0, Inf 0, 1 1, 0 0))", "not numbers"),
    ],
)
def test_shapes_without_area_or_length_go(text, word):
    shape, notes = mend_one(text)
    assert shape is None
    assert len(notes) == 1
    assert word in notes[0]
    assert "dropped" in notes[0]


def test_coordinates_that_are_no_numbers_go():
    with np.errstate(invalid="ignore"):
        shape = shapely.Polygon([(0, 0), (1, 0), (np.nan, 1)])
    mended = mend(np.array([shape], dtype=object), np.array([7]))
    assert mended.geometries.tolist() == [None]
    assert "not numbers" in mended.notes[0]


def test_notes_count_and_name_the_first():
    shapes = np.array([None] * 8 + [shapely.box(0, 0, 1, 1)], dtype=object)
    assert mend(shapes, np.arange(9)).notes == ["8 without geometry dropped (features 0, 1, 2, 3, 4, …)"]


def test_nothing_to_mend():
    mended = mend(np.array([], dtype=object), np.array([]))
    assert len(mended.geometries) == 0
    assert mended.notes == []


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=9))
def test_any_ring_gives_a_valid_area_or_nothing(ring):
    shape = shapely.Polygon(ring)
    mended = mend(np.array([shape], dtype=object), np.array([0])).geometries[0]
    if mended is not None:
        assert mended.is_valid
        assert mended.geom_type in ("Polygon", "MultiPolygon")
        assert 0 < mended.area <= shape.convex_hull.area + 1e-9
