from __future__ import annotations

import sqlite3
from contextlib import closing
from xml.etree import ElementTree

import geopandas as gpd
import pyogrio
import pytest
import shapely

from eaves.exchange.styles import qgis_style
from eaves.exchange.vectors import read_metadata, read_vectors, write_vectors

TABLE = gpd.GeoDataFrame(
    {"change": ["added", "removed"]}, geometry=[shapely.box(0, 0, 1, 1), shapely.box(2, 0, 3, 1)], crs="EPSG:32633"
)


def symbols(root):
    return {symbol.get("name"): symbol for symbol in root.iter("symbol")}


def option(symbol, name, layer=-1):
    return symbol.findall("layer")[layer].find(f"Option/Option[@name='{name}']").get("value")


def test_footprints_are_outlined_and_see_through():
    root = ElementTree.fromstring(qgis_style("footprints"))
    rules = {rule.get("filter"): rule.get("symbol") for rule in root.iter("rule")}
    assert rules == {'"score" < 0.7': "0", "ELSE": "1"}  # ELSE takes tables without a score, too
    found = symbols(root)
    assert set(found) == set(rules.values())
    assert option(found["0"], "outline_style") == "dash"
    assert option(found["1"], "outline_style") == "solid"
    for symbol in found.values():
        assert 0 < int(option(symbol, "color").split(",")[3]) < 100
        assert option(symbol, "outline_color").split(",")[3] == "255"
        assert float(option(symbol, "outline_width", 0)) > float(option(symbol, "outline_width", 1))  # dark casing


def test_each_change_has_a_colour_of_its_own():
    root = ElementTree.fromstring(qgis_style("changes"))
    assert root.find("renderer-v2").get("attr") == "change"
    categories = {category.get("value"): category.get("symbol") for category in root.iter("category")}
    assert set(categories) == {"added", "removed", "altered", "unchanged"}
    found = symbols(root)
    assert len({option(found[symbol], "outline_color") for symbol in categories.values()}) == 4


def test_geopackage_carries_its_style_as_qgis_lays_it_out(tmp_path):
    path = tmp_path / "x.gpkg"
    style = qgis_style("changes")
    write_vectors(TABLE, path, layer="what's new", metadata={"a": 1}, style=style)
    with closing(sqlite3.connect(path)) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(layer_styles)")]
        (row,) = connection.execute("SELECT * FROM layer_styles").fetchall()
        contents = connection.execute("SELECT table_name, data_type, last_change FROM gpkg_contents").fetchall()
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert columns[:5] == ["id", "f_table_catalog", "f_table_schema", "f_table_name", "f_geometry_column"]
    assert columns[5:9] == ["styleName", "styleQML", "styleSLD", "useAsDefault"]
    assert columns[9:] == ["description", "owner", "ui", "update_time"]
    found = dict(zip(columns, row, strict=True))
    assert (found["f_table_name"], found["f_geometry_column"]) == ("what's new", "geom")
    assert (found["f_table_catalog"], found["f_table_schema"]) == ("", "")  # QGIS asks for empty ones, not for NULL
    assert found["styleQML"] == style
    assert found["useAsDefault"] == 1
    assert contents == [
        ("what's new", "features", "1970-01-01T00:00:00.000Z"),
        ("layer_styles", "attributes", "1970-01-01T00:00:00.000Z"),
    ]
    assert pyogrio.list_layers(path).tolist() == [["what's new", "Polygon"], ["layer_styles", None]]
    assert len(pyogrio.read_dataframe(path, layer="layer_styles")) == 1
    assert read_vectors(path)["change"].tolist() == ["added", "removed"]
    assert read_metadata(path) == {"a": 1}


@pytest.mark.parametrize("suffix", [".shp", ".geojson", ".fgb", ".parquet", ".gdb"])
def test_other_files_have_it_beside_them(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    (tmp_path / "x.qml").write_text("of an earlier file")
    write_vectors(TABLE, path, style=qgis_style("footprints"))
    assert (tmp_path / "x.qml").read_text(encoding="utf-8") == qgis_style("footprints")
    assert not [file for file in tmp_path.iterdir() if "partial" in file.name]


def test_without_a_style_none_is_written_and_one_made_by_hand_stays(tmp_path):
    (tmp_path / "x.qml").write_text("by hand")
    write_vectors(TABLE, tmp_path / "x.fgb")
    assert (tmp_path / "x.qml").read_text() == "by hand"
    write_vectors(TABLE, tmp_path / "x.gpkg")
    assert pyogrio.list_layers(tmp_path / "x.gpkg").tolist() == [["footprints", "Polygon"]]
