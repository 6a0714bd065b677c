"""A Shapefile's limits: refused, or made to fit and said."""

from __future__ import annotations

import struct
from datetime import date
from itertools import pairwise

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

from eaves.errors import EavesWarning, OutputError
from eaves.exchange.shapefile import fit_shapefile, least_bytes
from eaves.exchange.vectors import read_vectors, write_vectors

SQUARE = shapely.box(0, 0, 10, 10)
HOLED = shapely.Polygon(SQUARE.exterior, [shapely.box(2, 2, 4, 4).exterior])


def squares(**columns):
    rows = len(next(iter(columns.values()))) if columns else 1
    return gpd.GeoDataFrame(columns, geometry=[SQUARE] * rows, crs="EPSG:32633")


def fields(path):
    """Name, type, width and decimals of each column, from the file's bytes."""
    head = path.with_suffix(".dbf").read_bytes()
    found, at = {}, 32
    while head[at] != 0x0D:
        name = head[at : at + 11].split(b"\0")[0].decode()
        found[name] = (chr(head[at + 11]), head[at + 16], head[at + 17])
        at += 32
    return found


def rings(path):
    """Rings of the first feature, from the file's bytes."""
    data = path.read_bytes()[100 + 8 :]
    kind, parts, points = struct.unpack("<i32xii", data[:44])
    assert kind == 5  # a polygon
    starts = [*struct.unpack(f"<{parts}i", data[44 : 44 + 4 * parts]), points]
    xy = np.frombuffer(data[44 + 4 * parts :][: 16 * points]).reshape(-1, 2)
    return [shapely.LinearRing(xy[start:end]) for start, end in pairwise(starts)]


def test_outer_rings_run_clockwise_and_holes_against_it(tmp_path):
    table = squares(id=[1])
    for shape in (HOLED, shapely.reverse(HOLED)):
        table.loc[0, "geometry"] = shape
        write_vectors(table, tmp_path / "x.shp")
        outer, hole = rings(tmp_path / "x.shp")
        assert not outer.is_ccw
        assert hole.is_ccw
        assert (shapely.Polygon(outer).area, shapely.Polygon(hole).area) == (100, 4)


def test_text_is_utf_8_and_says_so(tmp_path):
    write_vectors(squares(größe=["Gebäude 建物", "x"]), tmp_path / "x.shp")
    assert (tmp_path / "x.cpg").read_text() == "UTF-8"
    assert "Gebäude 建物".encode() in (tmp_path / "x.dbf").read_bytes()
    assert read_vectors(tmp_path / "x.shp")["größe"].tolist() == ["Gebäude 建物", "x"]


def test_names_are_shortened_aloud(tmp_path):
    table = squares(id=[1]).assign(confidence_mean=0.5, confidence_max=1.0, CONFIDENCE_2=3, größenordnung=2)
    with pytest.warns(EavesWarning, match="confidence_mean to confidence, confidence_max to confiden_2") as said:
        write_vectors(table, tmp_path / "x.shp")
    assert len(said) == 1
    back = read_vectors(tmp_path / "x.shp")
    assert list(back.columns) == ["id", "confidence", "confiden_2", "CONFIDEN_3", "größenor", "geometry"]
    assert back.iloc[0, :5].tolist() == [1, 0.5, 1.0, 3, 2]


def test_long_texts_are_cut_between_characters_and_counted(tmp_path):
    table = squares(
        text=["ä" * 127, "a" + "ä" * 127, "x" * 255, None], kind=pd.Categorical(["b" * 300, "a", "a", None])
    )
    with pytest.warns(EavesWarning) as said:
        write_vectors(table, tmp_path / "x.shp")
    assert [str(one.message).rpartition(": ")[2] for one in said] == [
        "2 texts cut at 254 bytes (text)",
        "1 texts cut at 254 bytes (kind)",
    ]
    back = read_vectors(tmp_path / "x.shp")
    assert back["text"].tolist()[:3] == ["ä" * 127, "a" + "ä" * 126, "x" * 254]
    assert back["text"].isna().tolist() == [False, False, False, True]
    assert back["kind"][0] == "b" * 254


def test_times_become_texts_and_days_stay(tmp_path):
    table = squares(
        time=pd.to_datetime(["2024-01-01T10:00:00+02:00", None], utc=True), day=[date(2024, 1, 2), None], n=[1, 2]
    )
    with pytest.warns(EavesWarning, match=r"times became texts \(time\)"):
        write_vectors(table, tmp_path / "x.shp")
    back = read_vectors(tmp_path / "x.shp")
    assert back["time"].tolist()[0] == "2024-01-01T08:00:00+00:00"
    assert back["time"].isna().tolist() == [False, True]
    assert str(back["day"][0])[:10] == "2024-01-02"


def test_missing_values_stay_missing_and_empty_texts_become_so(tmp_path):
    table = squares(
        whole=pd.array([1, None], dtype="Int64"),
        real=[0.5, np.nan],
        flag=pd.array([True, None], dtype="boolean"),
        text=["a", None],
    )
    write_vectors(table, tmp_path / "x.shp")  # nothing is lost, nothing said
    back = read_vectors(tmp_path / "x.shp")
    assert back.iloc[0, :4].tolist() == [1, 0.5, True, "a"]
    assert back.iloc[1, :4].isna().all()
    with pytest.warns(EavesWarning, match=r"2 empty texts become none \(text\)"):
        write_vectors(table.assign(text=["", ""]), tmp_path / "x.shp")
    assert read_vectors(tmp_path / "x.shp")["text"].isna().all()


def test_fields_are_as_wide_as_their_values(tmp_path):
    table = squares(whole=[1], small=np.array([1], np.int16), real=[0.1], flag=[True], text=["a" * 200])
    write_vectors(table, tmp_path / "x.shp")
    found = fields(tmp_path / "x.shp")
    assert found["flag"] == ("L", 1, 0)
    assert found["text"] == ("C", 200, 0)
    assert found["real"][::2] == ("N", 15)
    assert found["whole"][1] <= 18


@pytest.mark.parametrize("value", [1e15 + 0.25, 9.9e21, -9.9e21, 123456789.123456789, -1 / 3, 3e-9, 0.0])
def test_numbers_come_back(tmp_path, value):
    write_vectors(squares(real=[value]), tmp_path / "x.shp")
    assert read_vectors(tmp_path / "x.shp")["real"][0] == pytest.approx(value, rel=1e-15, abs=1e-15)


@pytest.mark.parametrize("value", [1e22, -1e30, np.inf])
def test_numbers_that_do_not_fit_are_refused(tmp_path, value):
    with pytest.raises(OutputError, match="column real"):
        write_vectors(squares(real=[value]), tmp_path / "x.shp")
    assert list(tmp_path.iterdir()) == []


def test_long_whole_numbers_are_said(tmp_path):
    fine = [10**18 - 1, 1 - 10**17]
    with pytest.warns(EavesWarning, match=r"2 whole numbers of more than 18 characters.* \(large\)") as said:
        write_vectors(squares(large=[10**18, -(10**17)], fine=fine), tmp_path / "x.shp")
    assert len(said) == 1
    back = read_vectors(tmp_path / "x.shp")
    assert back["fine"].tolist() == fine
    assert back["fine"].dtype == "int64"
    assert back["large"].dtype == "float64"


def test_more_than_2_gb_is_refused_at_once():
    circle = shapely.Point(0, 0).buffer(1, quad_segs=25_000)  # one shape of 0.8 MB, named often
    table = gpd.GeoDataFrame(geometry=[circle] * 2750, crs="EPSG:32633")
    with pytest.raises(OutputError, match=r"2 GB in a Shapefile\. Received at least 2\.2 GB"):
        fit_shapefile(table)
    fit_shapefile(gpd.GeoDataFrame(table[:2600]))


def test_size_is_told_before_writing(tmp_path):
    table = gpd.GeoDataFrame(geometry=[SQUARE, HOLED], crs="EPSG:32633")
    write_vectors(table, tmp_path / "x.shp")
    assert least_bytes(table) == (tmp_path / "x.shp").stat().st_size - 4 * 3  # a number for each ring


def test_both_polygons_and_lines_or_too_many_columns_are_refused(tmp_path):
    both = gpd.GeoDataFrame(geometry=[SQUARE, SQUARE.exterior], crs="EPSG:32633")
    both.loc[1, "geometry"] = shapely.LineString([(0, 0), (1, 1)])
    with pytest.raises(OutputError, match="either polygons or lines"):
        write_vectors(both, tmp_path / "x.shp")
    wide = squares(**{f"c{number}": [number] for number in range(256)})
    with pytest.raises(OutputError, match="at most 255 columns"):
        write_vectors(wide, tmp_path / "x.shp")
    write_vectors(wide.drop(columns="c255"), tmp_path / "x.shp")
    assert read_vectors(tmp_path / "x.shp")["c254"].tolist() == [254]
