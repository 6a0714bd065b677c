"""How tables of databases are named, without a server."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import geopandas as gpd
import pytest
import shapely

from eaves.errors import LabelError, OutputError
from eaves.exchange.atomic import check_writable
from eaves.exchange.database import is_database, parse_target
from eaves.exchange.vectors import read_metadata, read_vectors, write_vectors

TABLE = gpd.GeoDataFrame({"id": [1]}, geometry=[shapely.box(0, 0, 1, 1)], crs="EPSG:32633")


def test_only_addresses_of_databases_are_such():
    assert is_database("postgres://host/db?table=t")
    assert is_database(Path("postgresql://host/db?table=t"))
    assert not is_database("postgresql.gpkg")
    assert not is_database("/data/postgresql:/x.gpkg")
    assert not is_database("https://host/postgresql://x.gpkg")


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me:hush@host/db?table=t",
        "postgresql://me:hu/sh@host/db?table=t",
        "postgresql://me:hu?sh@host/db?table=t",
        "postgresql://me@host/db?table=t&password=hush",
        "postgres://host/db?table=t&sslpassword=hush",
    ],
)
@pytest.mark.parametrize("path", [str, Path])
def test_addresses_with_a_password_are_refused_and_not_repeated(address, path):
    for act in (read_vectors, read_metadata, check_writable, lambda path: write_vectors(TABLE, path)):
        with pytest.raises((LabelError, OutputError), match="PGPASSWORD") as caught:
            act(path(address))
        assert "hu" not in str(caught.value)


def test_addresses_are_taken_apart():
    found = parse_target("postgresql://me@host:5433/db?table=maps.roofs.old&sslmode=require", OutputError)
    assert found.address == "postgresql://me@host:5433/db?sslmode=require&connect_timeout=15"
    assert (found.schema, found.table) == ("maps", "roofs.old")
    assert str(found) == "maps.roofs.old in db on host:5433"
    for address in ("postgresql:///db?table=t", "postgresql://me@host/db?table=t"):
        assert parse_target(Path(address), OutputError) == parse_target(address, OutputError)
    assert parse_target("postgresql:///db?table=t", OutputError).schema == "public"


@pytest.mark.parametrize(
    "end", ["//host?table=t", "//host/?table=t", "//host/db", "//host/db?table=", "//h/d?table=.t"]
)
def test_addresses_that_name_no_table(end):
    with pytest.raises(OutputError, match="name both database and table"):
        parse_target("postgresql:" + end, OutputError)


def test_names_that_the_server_would_cut_off_are_refused():
    with pytest.raises(OutputError, match="63 bytes"):
        parse_target(f"postgresql://host/db?table={'ä' * 32}", OutputError)


def test_no_server_is_one_sentence():
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'eaves[postgis]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"postgresql://me@127.0.0.1:{free.getsockname()[1]}/db?table=t"
    with pytest.raises(OutputError, match="onnection refused") as caught:
        check_writable(address)
    assert "\n" not in str(caught.value)


def test_without_the_driver_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(OutputError, match=r"pip install 'eaves\[postgis\]'"):
        check_writable("postgresql://host/db?table=t")
    with pytest.raises(LabelError, match=r"pip install 'eaves\[postgis\]'"):
        read_vectors("postgresql://host/db?table=t")
