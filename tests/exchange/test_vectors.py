from __future__ import annotations

import json

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import shapely

from eaves.errors import EavesWarning, LabelError, OutputError
from eaves.exchange.styles import qgis_style
from eaves.exchange.vectors import check_layer, read_metadata, read_vectors, write_vectors

EVERY = [".gpkg", ".parquet", ".geoparquet", ".fgb", ".geojson", ".json", ".shp", ".gdb"]
METADATA = {"command": 'eaves extract "é"', "inputs": {"scene.tif": "sha256:00"}}
X, Y = 500000, 4100000


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def footprints(crs="EPSG:32633"):
    shapes = [
        shapely.box(X, Y, X + 10, Y + 8),
        shapely.Polygon(
            shapely.box(X + 20, Y, X + 40, Y + 20).exterior, [shapely.box(X + 25, Y + 5, X + 30, Y + 9).exterior]
        ),
        shapely.box(X + 50, Y, X + 61.125, Y + 8),
    ]
    return gpd.GeoDataFrame(
        {"id": [1, 2, 3], "score": [0.5, 0.25, 1.0], "status": ["ok", "traced", "größer"]}, geometry=shapes, crs=crs
    )


def ordered(table):
    return table.sort_values("id", ignore_index=True)


@pytest.mark.parametrize("suffix", EVERY)
def test_every_format_gives_back_table_crs_and_metadata(tmp_path, suffix):
    path = tmp_path / "neuer Ordner" / f"größe 1{suffix}"
    table = footprints()
    write_vectors(table, path, metadata=METADATA)
    back = ordered(read_vectors(path))  # FlatGeobuf comes in the order of its index
    assert list(back.columns) == ["id", "score", "status", "geometry"]
    assert back.drop(columns="geometry").to_numpy().tolist() == table.drop(columns="geometry").to_numpy().tolist()
    assert back.crs == ("EPSG:4326" if "json" in suffix else table.crs)
    np.testing.assert_allclose(back.to_crs(table.crs).symmetric_difference(table).area, 0, atol=0.05)
    assert read_metadata(path) == METADATA
    parts = {"größe 1" + part for part in (".shp", ".shx", ".dbf", ".prj", ".cpg", ".eaves.json")}
    assert set(names(path.parent)) == (parts if suffix == ".shp" else {path.name})


@pytest.mark.parametrize("suffix", EVERY)
def test_empty_tables_are_files_too(tmp_path, suffix):
    path = tmp_path / f"none{suffix}"
    write_vectors(footprints().iloc[:0], path, metadata=METADATA)
    back = read_vectors(path)
    assert len(back) == 0
    assert back.crs == ("EPSG:4326" if "json" in suffix else "EPSG:32633")
    assert list(back.columns) == (["geometry"] if "json" in suffix else ["id", "score", "status", "geometry"])
    assert read_metadata(path) == METADATA
    if "parquet" not in suffix and "json" not in suffix:
        assert pyogrio.read_info(path)["geometry_type"] == ("MultiPolygon" if suffix == ".gdb" else "Polygon")


@pytest.mark.parametrize("suffix", EVERY)
def test_pixel_space_stays_pixel_space(tmp_path, suffix):
    path = tmp_path / f"pixels{suffix}"
    if "json" in suffix:
        with pytest.warns(EavesWarning, match="take for degrees"):
            write_vectors(footprints(None), path)
    else:
        write_vectors(footprints(None), path)
    back = ordered(read_vectors(path))
    assert back.crs is None
    np.testing.assert_allclose(back.area, footprints(None).area)


@pytest.mark.parametrize("suffix", EVERY)
def test_same_table_same_bytes(tmp_path, suffix):
    contents = set()
    for _ in range(2):
        write_vectors(footprints(), tmp_path / f"x{suffix}", metadata=METADATA, style=qgis_style("footprints"))
        files = sorted(file for file in tmp_path.rglob("*") if file.is_file())
        contents.add(tuple((file.name, file.read_bytes()) for file in files))
    assert len(contents) == 1


def test_clock_of_gdal_is_given_back(tmp_path):
    write_vectors(footprints(), tmp_path / "x.gpkg")
    assert pyogrio.get_gdal_config_option("OGR_CURRENT_DATE") is None
    assert b"1970-01-01T00:00:00" in (tmp_path / "x.gpkg").read_bytes()


def test_layer_has_its_name_and_type(tmp_path):
    table = footprints()
    write_vectors(table, tmp_path / "x.gpkg", layer="roofs")
    assert pyogrio.list_layers(tmp_path / "x.gpkg").tolist() == [["roofs", "Polygon"]]
    table.loc[0, "geometry"] = shapely.union(table.geometry[0], table.geometry[2])
    write_vectors(table, tmp_path / "x.gpkg", layer="roofs")
    assert pyogrio.list_layers(tmp_path / "x.gpkg").tolist() == [["roofs", "MultiPolygon"]]


@pytest.mark.parametrize("suffix", [".gpkg", ".shp", ".parquet", ".gdb"])
def test_failure_leaves_the_earlier_file(tmp_path, suffix):
    def contents():
        return {file.relative_to(tmp_path): file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}

    path = tmp_path / f"x{suffix}"
    write_vectors(footprints(), path, metadata=METADATA)
    before = contents()
    bad = footprints().assign(odd=[1, "a", [2]])
    bad.loc[0, "geometry"] = shapely.LineString([(0, 0), (1, 1)])
    if suffix in (".gpkg", ".gdb"):
        bad["odd"] = [1j, 2j, 3j]
    with pytest.raises(OutputError, match="choose another format"):
        write_vectors(bad, path)
    assert contents() == before


def test_geometry_that_cannot_be_projected_is_an_error(tmp_path):
    table = footprints()
    table.loc[0, "geometry"] = shapely.box(5e9, 0, 5e9 + 1, 1)
    with pytest.raises(OutputError):
        write_vectors(table, tmp_path / "x.geojson")
    assert names(tmp_path) == []


@pytest.mark.parametrize("suffix", EVERY)
def test_missing_geometry_is_kept_or_refused(tmp_path, suffix):
    table = footprints()
    table.loc[1, "geometry"] = None
    if suffix == ".fgb":
        with pytest.raises(OutputError, match="NULL geometry"):
            write_vectors(table, tmp_path / f"x{suffix}")
        assert names(tmp_path) == []
        return
    write_vectors(table, tmp_path / f"x{suffix}")
    with pytest.warns(EavesWarning, match="1 without geometry dropped"):
        assert ordered(read_vectors(tmp_path / f"x{suffix}"))["id"].tolist() == [1, 3]


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".geojson"])
def test_whole_numbers_beyond_64_bits_are_refused(tmp_path, suffix):
    table = footprints().assign(large=np.array([2**63 + 5, 1, 2], np.uint64))
    with pytest.raises(OutputError, match="choose another format"):
        write_vectors(table, tmp_path / f"x{suffix}")


def test_unknown_suffix(tmp_path):
    with pytest.raises(OutputError, match=r"\.gpkg.*\.gdb.*Received x\.kml"):
        write_vectors(footprints(), tmp_path / "x.kml")


# --- reading others' files --------------------------------------------------------------------------------------------


def geojson(path, *geometries, crs=None):
    features = [{"type": "Feature", "properties": {"n": n}, "geometry": g} for n, g in enumerate(geometries)]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8")
    return path


def polygon(*ring):
    return {"type": "Polygon", "coordinates": [[list(point) for point in ring]]}


SQUARE = polygon((0, 0), (1, 0), (1, 1), (0, 1), (0, 0))


def test_one_warning_counts_all_that_was_mended(tmp_path):
    path = geojson(
        tmp_path / "odd.geojson",
        SQUARE,
        None,
        polygon((0, 0), (2, 2), (2, 0), (0, 2), (0, 0)),
        polygon((0, 0, 3), (1, 0, 3), (1, 1, 3), (0, 0, 3)),
        {"type": "Point", "coordinates": [0, 0]},
        {"type": "GeometryCollection", "geometries": [SQUARE, {"type": "Point", "coordinates": [0, 0]}]},
        {"type": "LineString", "coordinates": [[0, 0], [3, 3]]},
    )
    with pytest.warns(EavesWarning) as said:
        table = read_vectors(path)
    assert len(said) == 1
    message = str(said[0].message)
    for note in (
        "7 features",
        "1 without geometry dropped (feature 1)",
        "1 made of points dropped (feature 4)",
        "1 with heights flattened (feature 3)",
        "1 collections reduced to their polygons or lines (feature 5)",
        "1 invalid mended (feature 2)",
    ):
        assert note in message
    assert table["n"].tolist() == [0, 2, 3, 5, 6]
    assert table.index.tolist() == [0, 1, 2, 3, 4]
    assert table.crs == "EPSG:4326"
    assert table.is_valid.all()


def test_open_rings_are_closed(tmp_path):
    path = geojson(tmp_path / "open.geojson", polygon((0, 0), (1, 0), (1, 1), (0, 1)))
    with pytest.warns(EavesWarning, match="rings that did not close were closed"):
        table = read_vectors(path)
    assert shapely.area(table.geometry.to_numpy()).tolist() == [1.0]


def test_curves_become_chords(tmp_path):
    path = tmp_path / "curves.csv"
    path.write_text('id,WKT\n1,"CURVEPOLYGON(COMPOUNDCURVE(CIRCULARSTRING(0 0,1 1,2 0),(2 0,0 0)))"\n')
    table = read_vectors(path)
    assert table.area[0] == pytest.approx(np.pi / 2, rel=1e-2)
    assert table.crs is None


def test_measures_are_left_out(tmp_path):
    path = tmp_path / "measured.csv"
    path.write_text('id,WKT\n1,"POLYGON M((0 0 1,1 0 2,1 1 2,0 0 1))"\n')
    assert read_vectors(path).to_wkt()["geometry"].tolist() == ["POLYGON ((0 0, 1 0, 1 1, 0 0))"]


@pytest.mark.parametrize("suffix", [".gpkg", ".parquet", ".geojson", ".fgb", ".gdb", ".shp"])
def test_bbox_keeps_what_touches(tmp_path, suffix):
    table = footprints("EPSG:4326" if suffix == ".geojson" else "EPSG:32633")
    table.geometry = table.translate(-X, -Y)
    table.loc[2, "geometry"] = shapely.Polygon([(21.5, 0), (40, 0), (40, 40), (20.5, 40)])  # its box touches, alone
    write_vectors(table, tmp_path / f"x{suffix}")
    back = read_vectors(tmp_path / f"x{suffix}", bbox=(-5, -5, 21, 5))
    assert sorted(back["id"]) == [1, 2]
    assert back.index.tolist() == [0, 1]


def test_layers_must_be_chosen(tmp_path):
    path = tmp_path / "x.gpkg"
    for layer in ("roofs", "roads"):
        pyogrio.write_dataframe(footprints(), path, layer=layer)
    with pytest.raises(LabelError, match="choose one of roofs, roads"):
        read_vectors(path)
    with pytest.raises(LabelError, match="layer trees"):
        read_vectors(path, layer="trees")
    assert len(read_vectors(path, "roads")) == 3


def test_styles_beside_the_layer_are_no_choice(tmp_path):
    path = tmp_path / "x.gpkg"
    pyogrio.write_dataframe(footprints(), path, layer="roofs")
    pyogrio.write_dataframe(footprints().drop(columns="geometry"), path, layer="layer_styles")
    assert len(read_vectors(path)) == 3
    assert read_metadata(path) == {}


def test_other_geometry_columns_are_renamed(tmp_path):
    footprints().rename_geometry("outline").to_parquet(tmp_path / "x.parquet")
    assert read_vectors(tmp_path / "x.parquet").geometry.name == "geometry"


def test_what_is_no_vector_file(tmp_path):
    with pytest.raises(LabelError, match="does not exist"):
        read_vectors(tmp_path / "none.gpkg")
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    with pytest.raises(LabelError, match="geometry"):
        read_vectors(tmp_path / "table.csv")
    for name in ("x.gpkg", "x.parquet", "x.geojson", "x.txt"):
        (tmp_path / name).write_text("<html>")
        with pytest.raises(LabelError, match=name):
            read_vectors(tmp_path / name)
        with pytest.raises(LabelError, match=name):
            read_metadata(tmp_path / name)


def test_pointers_to_other_files_are_refused(tmp_path):
    write_vectors(footprints(), tmp_path / "real.gpkg")
    source = f"<OGRVRTLayer name='footprints'><SrcDataSource>{tmp_path / 'real.gpkg'}</SrcDataSource></OGRVRTLayer>"
    (tmp_path / "x.geojson").write_text(f"<OGRVRTDataSource>{source}</OGRVRTDataSource>")
    with pytest.raises(LabelError, match="pointer"):
        read_vectors(tmp_path / "x.geojson")


def test_real_labels(eaves_data):
    assert len(read_vectors(eaves_data / "banepa" / "banepa_buildings.geojson")) == 971


@pytest.mark.parametrize("name", ["out.xyz", "out", "out.coco.json", "out.gpkg.zip"])
def test_a_layer_that_cannot_be_written_is_refused_before_the_work(tmp_path, name):
    with pytest.raises(OutputError):
        check_layer(tmp_path / name)
    for suffix in EVERY:
        check_layer(tmp_path / f"out{suffix}")
    assert names(tmp_path) == []


def test_a_geopackage_with_the_layers_of_others_is_not_replaced(tmp_path):
    path = tmp_path / "mine.gpkg"
    table = gpd.GeoDataFrame({"id": [1]}, geometry=[shapely.box(0, 0, 1, 1)], crs="EPSG:32633")
    write_vectors(table, path, style="<qgis/>")
    write_vectors(table, path, style="<qgis/>")  # its own layer, and a style
    table.to_file(path, layer="roads")
    with pytest.raises(OutputError, match="footprints, roads"):
        check_layer(path)
    with pytest.raises(OutputError, match="one layer in"):
        write_vectors(table, path)
    assert len(gpd.read_file(path, layer="roads")) == 1
