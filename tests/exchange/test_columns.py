"""Columns that a format cannot hold: there under some name or as texts, and said."""

from __future__ import annotations

import json
import warnings
from datetime import date

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pytest
import shapely

from eaves.errors import EavesWarning
from eaves.exchange.columns import fit_columns
from eaves.exchange.vectors import read_features, read_vectors, write_vectors

EVERY = [".gpkg", ".parquet", ".fgb", ".geojson", ".shp", ".gdb"]
OGR = [suffix for suffix in EVERY if suffix != ".parquet"]


def table(**columns):
    shapes = [shapely.box(500_000 + 20 * at, 5e6, 500_010 + 20 * at, 5e6 + 8) for at in range(3)]
    return gpd.GeoDataFrame({"at": [1, 2, 3], **columns}, geometry=shapes, crs="EPSG:32633")


def written(path, given):
    """What comes back, in the order that it was given, and what was said."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        write_vectors(given, path)
    back = read_features(path).sort_values("at")  # FlatGeobuf comes in the order of its index
    return back, [str(one.message) for one in said]


@pytest.mark.parametrize("suffix", EVERY)
@pytest.mark.parametrize(
    ("columns", "clash"),
    [
        ({"Status": ["a", "b", "c"], "status": [1, 2, 3], "STATUS": [4, 5, 6]}, (".gpkg", ".gdb", ".shp")),
        ({"Status": [7, 8, 9], "status": [1, 2, 3], "status_2": [4, 5, 6]}, (".gpkg", ".gdb", ".shp")),
        ({"fid": [7, 7, 8]}, (".gpkg",)),
        ({"FID": ["a", "b", "c"]}, (".gpkg",)),
        ({"fid": [1.5, np.nan, 3]}, (".gpkg",)),
        ({"fid": [-1, 0, 7]}, (".gpkg",)),
        ({"Fid": [5, 6, 7], "fid": [1, 2, 3]}, (".gpkg", ".gdb", ".shp")),
        ({"geom": ["a", "b", "c"]}, (".gpkg",)),
        ({"OBJECTID": [7, 7, 8]}, (".gdb",)),
        ({"objectid": [0, 1, 2]}, (".gdb",)),
        ({"SHAPE": ["a", "b", "c"], "Shape_Area": [1.0, 2.0, 3.0]}, (".gdb",)),
        ({"shape": ["a", "b", "c"]}, (".gdb",)),
        ({"ogc_fid": [7, 7, 8], "id": ["a", "b", "b"], "rowid": [1, 1, 1]}, set()),
        ({0: [1, 2, 3]}, (".gdb",)),
    ],
    ids=str,
)
def test_every_column_is_there_and_the_warning_tells(tmp_path, suffix, columns, clash):
    given = table(**{str(name): values for name, values in columns.items()})
    if suffix != ".parquet":  # which wants names that are texts, and says so
        given = given.rename(columns={str(name): name for name in columns})
    back, said = written(tmp_path / f"x{suffix}", given)
    names = [name for name in back.columns if name not in ("at", "geometry")]
    numbered = suffix == ".gpkg" and "Fid" in columns  # the first numbers the features
    found = [back[name].tolist() for name in names]
    if numbered:
        found.insert(0, back.index.tolist())
        names.insert(0, "Fid")
    np.testing.assert_equal(found, list(columns.values()))
    assert len({name.lower() for name in names}) == len(names) or suffix not in clash
    assert len(said) == (suffix in clash)
    renamed = [(str(old), new) for old, new in zip(columns, names, strict=True) if str(old) != new]
    assert bool(renamed) == (suffix in clash)
    for old, new in renamed:
        assert f"{old} to {new}" in said[0].replace("'", "")


@pytest.mark.parametrize(("suffix", "name"), [(".gpkg", "fid"), (".gpkg", "FID"), (".gdb", "OBJECTID")])
def test_numbers_of_features_stay_so(tmp_path, suffix, name):
    for numbers in ([7, 3, 12], pd.array([7, 3, 12], dtype="Int64")):
        back, said = written(tmp_path / f"x{suffix}", table(**{name: numbers}))
        assert said == []
        assert list(back.columns) == ["at", "geometry"]
        assert back.index.tolist() == [7, 3, 12]


@pytest.mark.parametrize("suffix", OGR)
def test_what_becomes_text_is_said(tmp_path, suffix):
    nested = [[1, "ä"], [{"a": None}], []]
    arrays = [np.array([1, 2]), np.array([3]), np.array([], int)]
    given = table(nested=nested, arrays=arrays, raw=[b"a", b"\xff", None], mixed=["a", 1, None])
    back, said = written(tmp_path / f"x{suffix}", given)
    told = {text.partition(": ")[2] for text in said}
    wanted = {"2 values became texts: bytes (raw)", "1 values became texts: int (mixed)"}
    if suffix != ".geojson":
        wanted |= {"3 values became texts: list (nested)", "3 values became texts: ndarray (arrays)"}
        assert [json.loads(text) for text in back["nested"]] == nested
        assert [json.loads(text) for text in back["arrays"]] == [[1, 2], [3], []]
    else:
        features = json.loads((tmp_path / "x.geojson").read_text(encoding="utf-8"))["features"]
        assert [one["properties"]["nested"] for one in features] == nested
        assert [one["properties"]["arrays"] for one in features] == [[1, 2], [3], []]
    assert told == wanted
    assert back["raw"].tolist()[:2] == ["61", "ff"]
    assert back["mixed"].tolist()[:2] == ["a", "1"]
    assert back[["raw", "mixed"]].isna().to_numpy()[2].all()


@pytest.mark.parametrize("suffix", OGR)
def test_texts_end_at_a_nul_and_say_so(tmp_path, suffix):
    back, said = written(
        tmp_path / f"x{suffix}", table(text=["a\0b", "x", None], odd=np.array(["\0", 1, None], object))
    )
    assert back["text"].tolist()[:2] == ["a", "x"]
    assert any(text.endswith("1 texts cut at a NUL character (text)") for text in said)
    assert any(text.endswith("1 texts cut at a NUL character (odd)") for text in said)


def test_numbers_among_which_some_are_missing_stay_numbers(tmp_path):
    objects = {
        "whole": np.array([1, None, 3], object),
        "real": np.array([1.5, None, 3], object),
        "flag": np.array([True, None, False], object),
    }
    back, said = written(tmp_path / "x.gpkg", table(**objects))
    assert said == []
    kinds = dict(zip(*(pyogrio.read_info(tmp_path / "x.gpkg")[key] for key in ("fields", "ogr_types")), strict=True))
    assert kinds == {"at": "OFTInteger64", "whole": "OFTInteger64", "real": "OFTReal", "flag": "OFTInteger"}
    for name, values in objects.items():
        assert back[name].tolist()[::2] == values.tolist()[::2]
        assert back[name].isna().tolist() == [False, True, False]


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".gdb"])
def test_days_texts_and_infinite_numbers_are_held(tmp_path, suffix):
    given = table(
        day=[date(2024, 1, 2), None, None],
        kind=pd.Categorical(["a", None, "b"]),
        real=[np.inf, -np.inf, np.nan],
        text=pd.array(["a", None, ""], dtype="string"),
    )
    back, said = written(tmp_path / f"x{suffix}", given)
    assert said == []
    assert str(back["day"].tolist()[0])[:10] == "2024-01-02"
    np.testing.assert_equal(back["real"].tolist(), [np.inf, -np.inf, np.nan])
    assert back["kind"].tolist()[::2] == ["a", "b"]
    assert back["text"].tolist()[::2] == ["a", ""]


def test_what_is_given_stays_as_it_is():
    given = table(Status=[[1], [2], [3]], status=[b"a", b"b", b"c"], fid=[1, 1, 1])
    before = given.copy(deep=True)
    fit_columns(given, "GPKG")
    pd.testing.assert_frame_equal(pd.DataFrame(given), pd.DataFrame(before))


def test_empty_tables_have_their_columns(tmp_path):
    given = table(Status=["a", "b", "c"], status=[[1], [2], [3]], fid=[1, 1, 2]).iloc[:0]
    with pytest.warns(EavesWarning, match="status to status_2"):
        write_vectors(given, tmp_path / "x.gpkg")
    assert {"Status", "status_2"} <= set(read_vectors(tmp_path / "x.gpkg").columns)
