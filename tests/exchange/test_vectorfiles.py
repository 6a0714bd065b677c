"""What GeoJSON and Esri's geodatabase ask for."""

from __future__ import annotations

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pytest
import shapely

from eaves.errors import EavesWarning, OutputError
from eaves.exchange.atomic import check_writable
from eaves.exchange.vectors import read_metadata, read_vectors, write_vectors

X, Y = 500000, 4100000
METADATA = {"command": 'eaves extract <&> "é" ]]>', "inputs": {}}


def holed(crs="EPSG:32633"):
    shapes = [
        shapely.box(X, Y, X + 10, Y + 8),
        shapely.Polygon(
            shapely.box(X + 20, Y, X + 40, Y + 20).exterior, [shapely.box(X + 25, Y + 5, X + 30, Y + 9).exterior]
        ),
    ]
    return gpd.GeoDataFrame({"id": [1, 2]}, geometry=shapes, crs=crs)


def positions(geometry):
    """All coordinates of a GeoJSON geometry, as written."""
    found = geometry["coordinates"]
    while isinstance(found[0][0], list):
        found = [inner for outer in found for inner in outer]
    return np.array(found)


# --- GeoJSON, by the clauses of RFC 7946 ------------------------------------------------------------------------------


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326", "EPSG:4258", "EPSG:3857"])
def test_geojson_is_wgs84_longitude_first_without_a_crs_member(tmp_path, crs):
    table = holed().to_crs(crs)
    write_vectors(table, tmp_path / "x.geojson", metadata=METADATA)
    data = json.loads((tmp_path / "x.geojson").read_text(encoding="utf-8"))
    assert "crs" not in data
    assert json.loads(data["description"]) == METADATA
    lon, lat = positions(data["features"][0]["geometry"]).T
    assert (abs(lon - 15) < 0.01).all()
    assert (abs(lat - 37.05) < 0.01).all()


def test_geojson_rings_follow_the_right_hand_rule(tmp_path):
    for table in (holed(), holed().assign(geometry=shapely.reverse(holed().geometry.to_numpy()))):
        write_vectors(table, tmp_path / "x.geojson")
        outer, hole = json.loads((tmp_path / "x.geojson").read_text())["features"][1]["geometry"]["coordinates"]
        assert shapely.LinearRing(outer).is_ccw
        assert not shapely.LinearRing(hole).is_ccw
        assert outer[0] == outer[-1]


def test_geojson_coordinates_are_exact_to_a_millimetre(tmp_path):
    table = holed()
    write_vectors(table, tmp_path / "x.geojson")
    exact = table.to_crs(4326).geometry.get_coordinates().to_numpy()
    features = json.loads((tmp_path / "x.geojson").read_text())["features"]
    written = np.concatenate([positions(feature["geometry"]) for feature in features])
    assert {tuple(row) for row in written} == {tuple(row) for row in exact.round(8)}
    back = read_vectors(tmp_path / "x.geojson").to_crs(table.crs)
    assert max(back.hausdorff_distance(table)) < 1.5e-3


def test_geojson_is_cut_at_the_antimeridian(tmp_path):
    table = gpd.GeoDataFrame({"id": [1]}, geometry=[shapely.box(828000, 100000, 840000, 101000)], crs="EPSG:32660")
    write_vectors(table, tmp_path / "x.geojson")
    (feature,) = json.loads((tmp_path / "x.geojson").read_text())["features"]
    west, east = sorted(
        (shapely.Polygon(rings[0]) for rings in feature["geometry"]["coordinates"]), key=lambda part: -part.bounds[0]
    )
    assert (west.bounds[2], east.bounds[0]) == (180, -180)
    assert west.bounds[0] > 179
    assert east.bounds[2] < -179
    assert feature["bbox"] == pytest.approx([west.bounds[0], feature["bbox"][1], east.bounds[2], feature["bbox"][3]])
    assert feature["bbox"][0] > feature["bbox"][2]  # as its clause 5.2 has it
    assert read_vectors(tmp_path / "x.geojson").to_crs(table.crs).area[0] == pytest.approx(12e6, rel=1e-3)


def test_geojson_tells_the_box_of_all_and_of_each(tmp_path):
    write_vectors(holed(), tmp_path / "x.geojson")
    data = json.loads((tmp_path / "x.geojson").read_text())
    each = [positions(feature["geometry"]) for feature in data["features"]]
    boxes = [data["bbox"], *(feature["bbox"] for feature in data["features"])]
    for found, xy in zip(boxes, [np.concatenate(each), *each], strict=True):
        assert found == pytest.approx([*xy.min(axis=0), *xy.max(axis=0)], abs=1e-8)


# --- Esri's file geodatabase ------------------------------------------------------------------------------------------


def test_geodatabase_keeps_whole_numbers_crs_holes_and_note(tmp_path):
    table = holed().assign(
        some=pd.array([5, None], dtype="Int64"), flag=[True, False], text=["größer", None], real=[1e300, np.nan]
    )
    write_vectors(table, tmp_path / "x.gdb", layer="roofs", metadata=METADATA)
    assert pyogrio.read_info(tmp_path / "x.gdb")["ogr_types"][:3] == ["OFTInteger"] * 3
    back = read_vectors(tmp_path / "x.gdb")
    assert back["id"].tolist() == [1, 2]
    assert back["some"].tolist()[0] == 5
    assert back["some"].isna().tolist() == [False, True]
    assert back["flag"].tolist() == [1, 0]
    assert back["text"].tolist()[0] == "größer"
    assert back["real"].tolist()[0] == 1e300
    assert back.crs == table.crs
    assert [len(part.interiors) for shape in back.geometry for part in shape.geoms] == [0, 1]
    assert (
        back.geometry.geom_equals_exact(table.geometry, 1e-4, True).all() or max(back.hausdorff_distance(table)) < 1e-4
    )
    assert read_metadata(tmp_path / "x.gdb") == METADATA
    assert pyogrio.list_layers(tmp_path / "x.gdb").tolist() == [["roofs", "MultiPolygon"]]


def test_geodatabase_of_others_says_nothing(tmp_path):
    pyogrio.write_dataframe(holed().drop(columns="id"), tmp_path / "x.gdb", driver="OpenFileGDB")
    assert read_metadata(tmp_path / "x.gdb") == {}


def test_geodatabase_says_which_numbers_old_programs_do_not_read(tmp_path):
    table = holed().assign(large=[2**62, 1])
    with pytest.warns(EavesWarning, match=r"ArcGIS Pro 3\.2 or later \(large\)") as said:
        write_vectors(table, tmp_path / "x.gdb")
    assert len(said) == 1
    back = read_vectors(tmp_path / "x.gdb")
    assert back["large"].tolist() == [2**62, 1]
    assert back["id"].tolist() == [1, 2]


def test_geodatabase_takes_the_place_of_an_earlier_one(tmp_path):
    path = tmp_path / "x.gdb"
    write_vectors(holed(), path)
    (path / "a00000009.freelist").touch()
    check_writable(path)
    write_vectors(holed()[:1], path)
    assert len(read_vectors(path)) == 1
    assert not (path / "a00000009.freelist").exists()
    assert [file.name for file in tmp_path.iterdir()] == ["x.gdb"]


def test_geodatabase_of_several_layers_and_other_folders_are_not_replaced(tmp_path):
    path = tmp_path / "x.gdb"
    for layer in ("roofs", "roads"):
        pyogrio.write_dataframe(holed().drop(columns="id"), path, driver="OpenFileGDB", layer=layer)
    (tmp_path / "y.gdb").mkdir()
    for act in (check_writable, lambda path: write_vectors(holed(), path)):
        with pytest.raises(OutputError, match="2 tables in it"):
            act(path)
        with pytest.raises(OutputError, match="a folder"):
            act(tmp_path / "y.gdb")
    assert pyogrio.list_layers(path)[:, 0].tolist() == ["roofs", "roads"]
