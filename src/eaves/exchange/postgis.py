"""Tables of PostGIS, in and out.

psycopg alone does it: GDAL's wheels have no driver for PostgreSQL, and geopandas' own writer turns empty texts into
none and drops a CRS that it does not recognise.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString, NamedTuple, cast

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from pyproj import CRS

from eaves.errors import LabelError, OutputError
from eaves.exchange.database import WAIT_S, Relation, Target, check_place, connected, find_relation, parse_target
from eaves.exchange.provenance import ITEM, pack

if TYPE_CHECKING:
    from psycopg import Connection

_SQL_TYPES: dict[str, LiteralString] = {
    "bool": "boolean",
    "int8": "smallint",
    "uint8": "smallint",
    "int16": "smallint",
    "uint16": "integer",
    "int32": "integer",
    "uint32": "bigint",
    "int64": "bigint",
    "uint64": "numeric(20)",
    "float16": "real",
    "float32": "real",
    "float64": "double precision",
}
_DTYPES = {"bool": "bool", "int2": "int16", "int4": "int32", "int8": "int64", "float4": "float32", "float8": "float64"}
_GATHER = {"MultiPolygon": shapely.multipolygons, "MultiLineString": shapely.multilinestrings}
_SHAPE, _KEY = "geometry of eaves", "key of eaves"  # in results, where no column is likely to be called so


class _Described(NamedTuple):
    """Columns of a table: name and type of the plain ones, geometry, keys, and the key that Eaves itself made."""

    plain: dict[str, str]
    shape: str
    keys: list[str]
    generated: str | None


def write_table(
    table: gpd.GeoDataFrame, path: str | Path, *, kind: str, placed: int, metadata: Mapping[str, Any] | None
) -> None:
    """Write a table with a key, an index of its geometry and a comment, in one transaction.

    Readers see the earlier table until the new one takes its place.

    Args:
        table: Polygons or lines.
        path: ``postgresql://user@host/database?table=schema.name``.
        kind: Geometry type of the column; multi types take single ones too.
        placed: How many rows have geometry.
        metadata: JSON-able; goes into the table's comment.

    Raises:
        OutputError: The server refuses, or the table does not fit.
    """
    target = parse_target(path, OutputError)
    with connected(target, OutputError) as connection:
        from psycopg import sql

        check_place(connection, target)
        names = [str(name) for name in table.columns.drop([table.geometry.name])]
        key = _free("fid", names)
        place = _free("geom", [*names, key])
        srid = _find_srid(connection, table.crs, target)
        columns = [sql.SQL("{} bigint NOT NULL").format(sql.Identifier(key))]
        for name in names:
            told = sql.SQL(_sql_type(pd.Series(table[name]), target))
            columns.append(sql.SQL("{} {}").format(sql.Identifier(name), told))
        shape = sql.SQL(cast(LiteralString, f"geometry({'Geometry' if kind == 'Unknown' else kind}, {srid})"))
        columns.append(sql.SQL("{} {}").format(sql.Identifier(place), shape))
        parts = {
            "aside": sql.Identifier(target.schema, f"eaves_partial_{secrets.token_hex(8)}"),
            "table": sql.Identifier(target.schema, target.table),
            "name": sql.Identifier(target.table),
            "columns": sql.SQL(", ").join(columns),
            "key": sql.Identifier(key),
            "place": sql.Identifier(place),
            "next": sql.Literal(len(table) + 1),
            "wait": sql.Literal(f"{WAIT_S}s"),
            "comment": sql.Literal(pack({ITEM: dict(metadata or {})})),
        }
        connection.execute(sql.SQL("CREATE TABLE {aside} ({columns})").format(**parts))
        values = [table[name].astype(object).where(table[name].notna(), None).tolist() for name in names]
        shapes = _as_hex(table, kind, srid)
        with connection.cursor().copy(sql.SQL("COPY {aside} FROM STDIN").format(**parts)) as copy:
            for row in zip(range(1, len(table) + 1), *values, shapes, strict=True):
                copy.write_row(row)
        counting = "SELECT count(*), count({place}) FILTER (WHERE NOT ST_IsEmpty({place})) FROM {aside}"
        rows, found = connection.execute(sql.SQL(counting).format(**parts)).fetchall()[0]
        if rows != len(table) or found < placed:
            raise OutputError(
                f"{len(table)} features in {target}",
                f"{rows} on reading it again, {found} of them with geometry",
                "choose another format",
            )
        for step in (
            "SET LOCAL lock_timeout = {wait}",  # somebody may be reading the earlier table
            "DROP TABLE IF EXISTS {table}",
            "ALTER TABLE {aside} RENAME TO {name}",
            "ALTER TABLE {table} ADD PRIMARY KEY ({key})",  # QGIS edits tables that have one
            "ALTER TABLE {table} ALTER {key} ADD GENERATED BY DEFAULT AS IDENTITY (START WITH {next})",
            "CREATE INDEX ON {table} USING gist ({place})",
            "COMMENT ON TABLE {table} IS {comment}",
        ):
            connection.execute(sql.SQL(step).format(**parts))


def read_table(path: str | Path, bbox: tuple[float, float, float, float] | None) -> gpd.GeoDataFrame:
    """Read a table or a view with one column of geometry; the key of a table by Eaves becomes the index.

    Args:
        path: ``postgresql://user@host/database?table=schema.name``.
        bbox: Rows whose box does not touch it are left out.

    Raises:
        LabelError: No such table, or it has no geometry, or several CRSs.
    """
    target = parse_target(path, LabelError)
    with connected(target, LabelError) as connection:
        from psycopg import sql

        found = _describe(connection, target)
        parts = {"table": sql.Identifier(target.schema, target.table), "shape": sql.Identifier(found.shape)}
        srids = connection.execute(
            sql.SQL(
                "SELECT DISTINCT ST_SRID({shape}::geometry) FROM {table} WHERE {shape} IS NOT NULL "
                "UNION SELECT srid FROM geometry_columns WHERE srid > 0 "
                "AND (f_table_schema, f_table_name, f_geometry_column) = (%s, %s, %s)"
            ).format(**parts),
            [target.schema, target.table, found.shape],
        ).fetchall()
        if len(srids) > 1:
            raise LabelError(f"one CRS in {target}", f"{len(srids)}", "choose one in a view")
        srid = srids[0][0] if srids else 0
        columns = [sql.SQL("ST_AsBinary(ST_CurveToLine({shape}::geometry))").format(**parts)]
        for name, kind in found.plain.items():
            columns.append(sql.SQL("{}::float8" if kind == "numeric" else "{}").format(sql.Identifier(name)))
        if found.generated is not None:
            columns.append(sql.SQL("{}").format(sql.Identifier(found.generated)))
        query = sql.SQL("SELECT {columns} FROM {table}").format(columns=sql.SQL(", ").join(columns), **parts)
        if bbox is not None:
            box = sql.SQL(", ").join([sql.Literal(float(side)) for side in bbox] + [sql.Literal(srid)])
            query += sql.SQL(" WHERE {shape}::geometry && ST_MakeEnvelope({box})").format(box=box, **parts)
        if found.keys:
            query += sql.SQL(" ORDER BY {}").format(sql.SQL(", ").join(map(sql.Identifier, found.keys)))
        rows = connection.execute(query).fetchall()
        crs = _find_crs(connection, srid)
    names = [_SHAPE, *found.plain, *([] if found.generated is None else [_KEY])]
    frame = pd.DataFrame.from_records(rows, columns=names)
    if found.generated is not None:
        frame = frame.set_index(_KEY)
    shapes = shapely.from_wkb(frame.pop(_SHAPE).to_numpy(object), on_invalid="fix")
    for name, kind in found.plain.items():
        if kind in _DTYPES and not frame[name].hasnans:
            frame[name] = frame[name].astype(_DTYPES[kind])
        elif kind in _DTYPES and kind != "bool":
            frame[name] = frame[name].astype("float64")
    return gpd.GeoDataFrame(frame, geometry=shapes, crs=crs)


def read_table_note(path: str | Path) -> dict[str, Any]:
    """Return the metadata that :func:`write_table` stored; empty for others' tables.

    Raises:
        LabelError: There is no such table.
    """
    target = parse_target(path, LabelError)
    with connected(target, LabelError) as connection:
        return _found(connection, target).note or {}


def _found(connection: Connection[Any], target: Target) -> Relation:
    there = find_relation(connection, target)
    if there is None:
        raise LabelError(f"the table {target}", "none of that name", "check schema and name")
    return there


def _describe(connection: Connection[Any], target: Target) -> _Described:
    there = _found(connection, target)
    rows = connection.execute(
        "SELECT a.attname, t.typname, coalesce(a.attnum = ANY(i.indkey), false) "
        "FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid "
        "LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary "
        "WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        [there.oid],
    ).fetchall()
    shapes = [name for name, kind, _ in rows if kind in ("geometry", "geography")]
    if len(shapes) != 1:
        raise LabelError(f"one column of geometry in {target}", f"{len(shapes)}", "choose another table, or a view")
    keys = [name for name, _, is_key in rows if is_key]
    generated = keys[0] if len(keys) == 1 and there.note is not None else None
    plain = {name: kind for name, kind, _ in rows if name not in (shapes[0], generated)}
    return _Described(plain, shapes[0], keys, generated)


def _find_srid(connection: Connection[Any], crs: CRS | None, target: Target) -> int:
    """The database's number of a CRS; zero where there is none."""
    if crs is None:
        return 0
    authority = ("EPSG", "4326") if crs == "OGC:CRS84" else crs.to_authority(min_confidence=70)
    row = connection.execute(
        "SELECT srid FROM spatial_ref_sys WHERE upper(auth_name) = %s AND auth_srid::text = %s", authority or ("", "")
    ).fetchone()
    if row is None:
        raise OutputError(
            f"a CRS that the database knows, for {target}", crs.name, "choose another format, or a CRS with a number"
        )
    return row[0]


def _find_crs(connection: Connection[Any], srid: int) -> CRS | None:
    row = connection.execute(
        "SELECT auth_name, auth_srid, srtext FROM spatial_ref_sys WHERE srid = %s", [srid]
    ).fetchone()
    if row is None:
        return None
    name, number, text = row
    return CRS.from_user_input(f"{name}:{number}" if name else text)


def _sql_type(column: pd.Series, target: Target) -> LiteralString:
    """PostgreSQL's type of a column."""
    if told := _SQL_TYPES.get(str(column.dtype).lower().replace("boolean", "bool")):
        return told
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        return "timestamptz"
    if column.dtype.kind == "M":
        return "timestamp"
    kinds = set(column.dropna().map(type))
    if kinds <= {str}:
        return "text"
    if kinds == {date}:
        return "date"
    odd = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise OutputError(
        f"numbers, texts or dates in the column {column.name} of {target}",
        odd,
        "choose another format, or make it text",
    )


def _as_hex(table: gpd.GeoDataFrame, kind: str, srid: int) -> list[str | None]:
    """Geometries as the server reads them; singles gathered where the column is of multis."""
    shapes = table.geometry.to_numpy().copy()
    if kind in _GATHER:
        single = table.geom_type.to_numpy() == kind.removeprefix("Multi")
        shapes[single] = _GATHER[kind](shapes[single], indices=np.arange(single.sum()))
    return shapely.to_wkb(shapely.set_srid(shapes, srid), hex=True, include_srid=True).tolist()


def _free(name: str, taken: Sequence[str]) -> str:
    return next(free for number in range(len(taken) + 1) if (free := name + "_" * number) not in taken)
