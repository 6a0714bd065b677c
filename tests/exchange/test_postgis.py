"""Tables of PostGIS, on a real server that these tests start and stop."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
from datetime import date
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

from eaves.errors import EavesWarning, LabelError, OutputError
from eaves.exchange.atomic import check_writable
from eaves.exchange.vectors import read_metadata, read_vectors, write_vectors

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'eaves[postgis]'")

METADATA = {"command": 'eaves extract "é" 100 %', "inputs": {"scene.tif": "sha256:00"}}
PASSWORD = "not-for-any-log"
X, Y = 500000, 4100000


@pytest.fixture(scope="module")
def server():
    """Address of a database with PostGIS on a private server, about three seconds away; each worker starts its own."""
    if os.name != "posix":
        pytest.skip("PostgreSQL is started here as on Debian")
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda file: float(file.parts[-3]))
    if not binaries:
        pytest.skip("no PostgreSQL server here: apt-get install postgresql-postgis")
    binary = binaries[-1].parent
    extension = Path("/usr/share/postgresql") / binary.parent.name / "extension" / "postgis.control"
    if not extension.is_file():
        pytest.skip("no PostGIS here: apt-get install postgresql-postgis")
    user = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="eaves-postgis-"))  # a short path: a socket's has 107 bytes at most
    told = folder / "password"
    told.write_text(PASSWORD)
    if user:
        for path in (folder, told):
            shutil.chown(path, user)

    def run(command, *arguments):
        done = subprocess.run(
            [binary / command, *arguments],
            user=user,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = folder / "data"
    try:
        run("initdb", "-D", data, "-U", "eaves", "-A", "scram-sha-256", f"--pwfile={told}", "-E", "UTF8", "--no-sync")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} -c fsync=off -c shared_buffers=16MB"
        run("pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start")
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("PGPASSWORD", PASSWORD)
                address = f"postgresql://eaves@127.0.0.1:{port}/postgres"
                with psycopg.connect(address) as connection:
                    connection.execute("CREATE EXTENSION postgis")
                    connection.execute("CREATE SCHEMA maps")
                yield address
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def ask(server):
    def ask(query, *values):
        with psycopg.connect(server) as connection:
            cursor = connection.execute(query, values or None)
            return cursor.fetchall() if cursor.description else None

    return ask


@pytest.fixture
def target(server, request):
    """A table of this test's own."""
    name = request.node.name.replace("[", "_").strip("]")[:55]
    yield f"{server}?table=maps.{name}"
    with psycopg.connect(server) as connection:
        connection.execute(psycopg.sql.SQL("DROP TABLE IF EXISTS {} CASCADE").format(identifier(name)))


def identifier(name):
    return psycopg.sql.Identifier("maps", name)


def footprints(crs="EPSG:32633"):
    shapes = [
        shapely.box(X, Y, X + 10, Y + 8),
        shapely.Polygon(
            shapely.box(X + 20, Y, X + 40, Y + 20).exterior, [shapely.box(X + 25, Y + 5, X + 30, Y + 9).exterior]
        ),
        shapely.box(X + 50, Y, X + 61.125, Y + 8),
    ]
    return gpd.GeoDataFrame(
        {"id": [3, 2, 1], "score": [0.5, 0.25, 1.0], "status": ["ok", "", "größer"]}, geometry=shapes, crs=crs
    )


def of(target):
    return target.rpartition("=")[2].partition(".")[2]


@pytest.mark.parametrize("path", [str, Path])
def test_a_table_comes_back_as_it_was(target, ask, path):
    table = footprints()
    check_writable(path(target))
    write_vectors(table, path(target), metadata=METADATA, style="<qgis/>")
    back = read_vectors(path(target))
    assert back.crs == table.crs
    assert list(back.columns) == ["id", "score", "status", "geometry"]
    assert back.drop(columns="geometry").to_numpy().tolist() == table.drop(columns="geometry").to_numpy().tolist()
    assert back["id"].dtype == "int64"
    assert (shapely.to_wkb(back.geometry.to_numpy()) == shapely.to_wkb(table.geometry.to_numpy())).all()
    assert read_metadata(path(target)) == METADATA
    described = ask("SELECT type, srid, f_geometry_column FROM geometry_columns WHERE f_table_name = %s", of(target))
    assert described == [("POLYGON", 32633, "geom")]
    indexes = " ".join(row[0] for row in ask("SELECT indexdef FROM pg_indexes WHERE tablename = %s", of(target)))
    assert "USING gist (geom)" in indexes
    assert "UNIQUE INDEX" in indexes
    assert ask("SELECT tablename FROM pg_tables WHERE tablename LIKE 'eaves_partial%'") == []


def test_rows_drawn_in_qgis_get_a_key_of_their_own(target, ask):
    write_vectors(footprints(), target)
    ask(f"INSERT INTO maps.{of(target)} (id) VALUES (9)")
    assert ask(f"SELECT fid FROM maps.{of(target)} WHERE id = 9") == [(4,)]


def test_every_kind_of_column(target):
    table = footprints().assign(
        flag=[True, False, True],
        maybe=pd.array([True, None, False], dtype="boolean"),
        some=pd.array([2**40, None, 3], dtype="Int64"),
        large=[2**62, -1, 2**53 + 1],
        short=np.array([1, 2, 3], np.float32),
        number=[1e300, np.nan, np.inf],
        time=pd.to_datetime(["2024-01-01T10:00:00+02:00", None, "2024-01-02T00:00:00Z"], utc=True),
        local=pd.to_datetime(["2024-01-01T10:00:00", None, "2024-01-02"], format="ISO8601"),
        day=[date(2024, 1, 2), None, date(2024, 1, 3)],
        kind=pd.Categorical(["a", None, "b"]),
        text=["", None, 'a,"b"\t\n\\'],
        fid=[7, 7, 7],
        geom=["a", "b", "c"],
    )
    write_vectors(table, target)
    back = read_vectors(target)
    assert list(back.columns) == [*table.columns.drop("geometry"), "geometry"]
    for name in ("flag", "large", "short", "fid"):
        assert back[name].dtype == table[name].dtype
        assert back[name].tolist() == table[name].tolist()
    assert [None if pd.isna(value) else value for value in back["maybe"]] == [True, None, False]
    for name in ("some", "number"):
        np.testing.assert_array_equal(back[name].to_numpy(float), table[name].to_numpy(float, na_value=np.nan))
    for name in ("text", "kind"):
        assert back[name].dropna().tolist() == table[name].dropna().tolist()
        assert back[name].isna().tolist() == [False, True, False]
    assert back["day"].tolist()[0] == date(2024, 1, 2)
    for name in ("time", "local"):
        assert back[name].isna().tolist() == [False, True, False]
        assert back[name][0] == table[name][0]


def test_mixed_geometry_types(target, ask):
    table = footprints()
    table.loc[1, "geometry"] = shapely.union(table.geometry[0], table.geometry[2])
    table.loc[2, "geometry"] = None
    write_vectors(table, target)
    with pytest.warns(EavesWarning, match=r"1 without geometry dropped \(feature 3\)"):  # its key, as QGIS shows it
        back = read_vectors(target)
    assert back.geometry.geom_equals(table.geometry[:2]).all()
    assert ask("SELECT type FROM geometry_columns WHERE f_table_name = %s", of(target)) == [("MULTIPOLYGON",)]
    table.loc[2, "geometry"] = shapely.LineString([(X, Y), (X + 1, Y)])
    write_vectors(table, target)
    assert read_vectors(target).geom_type.tolist() == ["Polygon", "MultiPolygon", "LineString"]


def test_empty_tables_and_pixel_space(target):
    write_vectors(footprints().iloc[:0], target, metadata=METADATA)
    back = read_vectors(target)
    assert len(back) == 0
    assert back.crs == "EPSG:32633"
    assert list(back.columns) == ["id", "score", "status", "geometry"]
    assert back["id"].dtype == "int64"
    write_vectors(footprints(None), target)
    assert read_vectors(target).crs is None
    assert read_metadata(target) == {}


def test_bbox_keeps_what_touches(target):
    table = footprints()
    table.loc[0, "geometry"] = shapely.Polygon([(X, Y), (X + 10, Y), (X, Y + 10)])
    write_vectors(table, target)
    assert read_vectors(target, bbox=(X + 9, Y + 9, X + 21, Y + 10))["id"].tolist() == [2]
    assert read_vectors(target, bbox=(X - 5, Y - 5, X + 1, Y + 5))["id"].tolist() == [3]


def test_crs_of_longitude_first_is_wgs84(target):
    table = footprints().to_crs("OGC:CRS84")
    write_vectors(table, target)
    back = read_vectors(target)
    assert back.crs == "EPSG:4326"
    assert back.geometry.geom_equals(table.geometry.set_crs(4326, allow_override=True)).all()


def test_a_crs_without_number_is_refused_and_the_earlier_table_stays(target):
    write_vectors(footprints(), target, metadata=METADATA)
    odd = footprints().to_crs("+proj=tmerc +lon_0=17.123 +k=0.99")
    with pytest.raises(OutputError, match="a CRS that the database knows"):
        write_vectors(odd, target)
    with pytest.raises(OutputError, match="column odd"):
        write_vectors(footprints().assign(odd=[[1], [2], [3]]), target)
    with pytest.raises(OutputError, match="Do: check the address"):
        write_vectors(footprints().assign(xmin=1), target)  # the server's own name
    with pytest.raises(OutputError, match="Do: check the address"):
        write_vectors(footprints().assign(status="a\x00b"), target)  # fails while rows are sent
    assert len(read_vectors(target)) == 3
    assert read_metadata(target) == METADATA


def test_a_table_appears_at_once_with_its_rows(target, server, ask, monkeypatch):
    write_vectors(footprints(), target)
    seen = []
    real = psycopg.Copy.write_row

    def watch(self, row):
        seen.append(ask(f"SELECT count(*) FROM maps.{of(target)}")[0][0])  # another connection, in the middle
        return real(self, row)

    monkeypatch.setattr(psycopg.Copy, "write_row", watch)
    write_vectors(footprints().iloc[:2], target)
    assert seen == [3, 3]
    assert ask(f"SELECT count(*) FROM maps.{of(target)}") == [(2,)]


def test_rows_that_vanish_are_noticed(target, ask, monkeypatch):
    real = psycopg.Copy.write_row
    monkeypatch.setattr(psycopg.Copy, "write_row", lambda self, row: real(self, row) if row[0] > 1 else None)
    with pytest.raises(OutputError, match=r"3 features .* Received 2 on reading it again"):
        write_vectors(footprints(), target)
    with pytest.raises(LabelError, match="none of that name"):
        read_vectors(target)


def test_tables_of_others_are_not_replaced(target, ask):
    ask(f"CREATE TABLE maps.{of(target)} (id int PRIMARY KEY, outline geometry(Polygon, 4326), price numeric)")
    ask(f"INSERT INTO maps.{of(target)} VALUES (7, ST_MakeEnvelope(0, 0, 1, 1, 4326), 1.5)")
    for act in (check_writable, lambda path: write_vectors(footprints(), path)):
        with pytest.raises(OutputError, match="because a database keeps no copy"):
            act(target)
    back = read_vectors(target)
    assert back.drop(columns="geometry").to_dict("records") == [{"id": 7, "price": 1.5}]
    assert back.crs == "EPSG:4326"
    assert read_metadata(target) == {}


def test_views_and_curves_are_read(target, ask):
    curve = "CURVEPOLYGON(COMPOUNDCURVE(CIRCULARSTRING(0 0,1 1,2 0),(2 0,0 0)))"
    ask(f"CREATE TABLE maps.{of(target)} (id int, shape geometry)")
    ask(f"INSERT INTO maps.{of(target)} VALUES (1, ST_GeomFromText('{curve}', 32633))")
    ask(f"CREATE VIEW maps.seen AS SELECT * FROM maps.{of(target)}")
    back = read_vectors(target.replace(of(target), "seen"))
    assert back.area[0] == pytest.approx(np.pi / 2, rel=1e-2)
    assert back.crs == "EPSG:32633"
    ask(f"INSERT INTO maps.{of(target)} VALUES (2, ST_GeomFromText('POINT(0 0)', 4326))")
    with pytest.raises(LabelError, match="one CRS"):
        read_vectors(target)


def test_places_that_cannot_be_written(server, ask, monkeypatch):
    with pytest.raises(OutputError, match="schema nowhere"):
        check_writable(f"{server}?table=nowhere.x")
    ask("DROP ROLE IF EXISTS guest")
    ask(f"CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}'")
    with pytest.raises(OutputError, match="refuses new ones"):
        check_writable(f"{server.replace('eaves@', 'guest@')}?table=maps.x")
    with pytest.raises(OutputError, match="only reads"):
        check_writable(f"{server}?table=maps.x&options=-c%20default_transaction_read_only%3Don")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS plain")
        connection.execute("CREATE DATABASE plain")
    with pytest.raises(OutputError, match="CREATE EXTENSION postgis"):
        check_writable(f"{server.replace('/postgres', '/plain')}?table=x")
    monkeypatch.setenv("PGPASSWORD", "wrong-one")
    with pytest.raises(OutputError, match="password authentication failed") as caught:
        check_writable(f"{server}?table=maps.x")
    assert "wrong-one" not in str(caught.value)


def test_a_layer_beside_the_table_is_refused(server):
    with pytest.raises(LabelError, match="leave layer out"):
        read_vectors(f"{server}?table=maps.x", layer="roofs")


def test_the_comment_says_who_wrote_it(target, ask):
    write_vectors(footprints(), target, metadata=METADATA)
    comment = ask("SELECT obj_description(%s::regclass, 'pg_class')", f"maps.{of(target)}")[0][0]
    assert json.loads(comment) == {"EAVES": METADATA}
