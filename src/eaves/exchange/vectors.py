"""Tables of polygons and lines, in and out of the formats that GIS programs read."""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyogrio
import shapely
from shapely.errors import GEOSException

from eaves.errors import EavesWarning, LabelError, OutputError
from eaves.exchange.atomic import check_writable, whole_file
from eaves.exchange.database import is_database
from eaves.exchange.geoparquet import (
    SUFFIXES,
    count_parquet,
    is_parquet,
    read_parquet,
    read_parquet_note,
    write_parquet,
)
from eaves.exchange.mending import mend
from eaves.exchange.postgis import read_table, read_table_note, write_table
from eaves.exchange.provenance import unpack
from eaves.exchange.styles import add_style
from eaves.exchange.vectorfiles import DRIVERS, count_file, count_placed, kind_of, layers_of, note_of, write_file

_POINTERS = ("OGR_VRT", "GDALG")  # small files that make GDAL open any other
# pyogrio's own are RuntimeErrors; a whole number beyond 64 bits overflows
PROBLEMS = (RuntimeError, TypeError, ValueError, OverflowError, pa.ArrowException, sqlite3.Error)
"""What reading and writing raise."""


def read_vectors(
    path: str | Path, layer: str | None = None, *, bbox: tuple[float, float, float, float] | None = None
) -> gpd.GeoDataFrame:
    """Read any vector file that GDAL reads, GeoParquet, or a table of PostGIS, as valid 2D polygons or lines.

    Features without geometry and points are dropped, heights flattened, curves become chords, collections are
    reduced to their polygons (or lines), and invalid shapes mended; one warning counts all that.

    Args:
        path: File, folder or URL, or ``postgresql://user@host/database?table=schema.name``, without a password.
        layer: Needed where the file has several with geometry.
        bbox: ``(left, bottom, right, top)`` in the file's own CRS; features that do not touch it are left out.

    Returns:
        A table with a fresh index and the geometry in ``geometry``; it may be empty. ``crs`` is none where the file
        states none (GeoJSON is WGS84 by its standard); what that means is for the caller to say.

    Raises:
        LabelError: Missing, not a vector file, without geometry, or of several layers with none chosen.

    Warns:
        EavesWarning: Something was dropped or mended.

    Example:
        >>> read_vectors("buildings.gpkg").crs  # doctest: +SKIP
    """
    table = read_features(path, layer, bbox=bbox)
    if bbox is not None:  # some formats look at the features' boxes alone
        table = table[shapely.intersects(table.geometry.to_numpy(), shapely.box(*bbox))]
    return gpd.GeoDataFrame(table.reset_index(drop=True))


def read_features(
    path: str | Path,
    layer: str | None = None,
    *,
    bbox: tuple[float, float, float, float] | None = None,
    fids: np.ndarray | None = None,
) -> gpd.GeoDataFrame:
    """Read as :func:`read_vectors` does, with the features' numbers as index, or only those of some numbers.

    Args:
        path: As there.
        layer: As there.
        bbox: As there; features whose box alone touches it may be among the result.
        fids: Numbers of the features, of a file that GDAL reads.

    Raises:
        LabelError: As there.
    """
    database = is_database(path)
    path = str(path)
    if not database and "://" not in path and not path.startswith("/vsi") and not Path(path).exists():
        raise LabelError("a vector file", f"{path}, which does not exist", "check the path")
    if database and layer is not None:
        raise LabelError("a table of a database", f"the layer {layer}, too", "name it in ?table= and leave layer out")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            if database:
                table = read_table(path, bbox)
            else:
                table = read_parquet(path, bbox) if is_parquet(path) else _read_ogr(path, layer, bbox, fids)
        except (*PROBLEMS, OSError, GEOSException) as error:
            raise LabelError(
                "a vector file that GDAL reads (GeoPackage, GeoJSON, FlatGeobuf, Shapefile, …) or GeoParquet",
                f"{path}: {error}",
                "check that the file is complete and of that kind",
            ) from None
    mended = mend(table.geometry.to_numpy(), table.index.to_numpy())
    notes = [*mended.notes, *_notes(said)]
    if notes:
        warnings.warn(f"{path}, {len(table)} features: {'; '.join(notes)}", EavesWarning, stacklevel=3)
    kept = ~shapely.is_missing(mended.geometries)
    columns = table.drop(columns=table.geometry.name)[kept]
    return gpd.GeoDataFrame(columns, geometry=mended.geometries[kept], crs=table.crs)


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Return what :func:`write_vectors` stored with a file or a table; empty for others'.

    Raises:
        LabelError: It cannot be read.
    """
    if is_database(path):
        return read_table_note(path)
    path = Path(path)
    beside = path.with_suffix(".eaves.json")
    if path.suffix.lower() == ".shp":
        return unpack(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
    try:
        if is_parquet(path):
            return read_parquet_note(path)
        layers = layers_of(str(path))
        return note_of(str(path), pyogrio.read_info(path, layer=layers[0])) if layers else {}
    except (*PROBLEMS, OSError) as error:
        raise LabelError("a vector file", f"{path}: {error}", "check the path") from None


def single_layer(path: str, layer: str | None) -> str:
    """Name the layer that is meant.

    Raises:
        LabelError: There is no such one, or several and none is named.
    """
    layers = layers_of(path)
    if layer is None and len(layers) > 1:
        raise LabelError(f"the name of a layer of {path}", "none", f"choose one of {', '.join(layers)}")
    if not layers or (layer is not None and layer not in layers):
        raise LabelError(f"layer {layer} with geometry in {path}", f"{layers or 'no layer'}", "choose another layer")
    return layer or layers[0]


def _read_ogr(
    path: str, layer: str | None, bbox: tuple[float, float, float, float] | None, fids: np.ndarray | None
) -> gpd.GeoDataFrame:
    layer = single_layer(path, layer)
    info = pyogrio.read_info(path, layer=layer)
    if info["driver"] in _POINTERS:
        raise LabelError(f"features in {path}", f"a pointer to other files ({info['driver']})", "name the file itself")
    table = pyogrio.read_dataframe(path, layer=layer, bbox=bbox, fids=fids, fid_as_index=True, on_invalid="fix")
    if not isinstance(table, gpd.GeoDataFrame):
        raise LabelError(f"geometry in {path}", "a table without", "choose the file or layer that has it")
    if (
        "crs" in (stored := note_of(path, info)) and stored["crs"] is None
    ):  # pixel space, in spite of GeoJSON's standard
        table = gpd.GeoDataFrame(table.drop(columns="geometry"), geometry=table.geometry.to_numpy())
    return table


def _notes(said: Sequence[warnings.WarningMessage]) -> Iterator[str]:
    """What GDAL said, once each."""
    for message in dict.fromkeys(str(one.message) for one in said if one.category in (RuntimeWarning, UserWarning)):
        if "Non closed ring" in message:
            yield "rings that did not close were closed"
        else:
            yield message


def check_layer(path: str | Path) -> None:
    """Fail before long work where :func:`write_vectors` would fail after it. Creates nothing.

    Raises:
        OutputError: Unknown suffix, or a place that cannot be written.
    """
    if not is_database(path):
        _check_suffix(Path(path))
    check_writable(path)


def _check_suffix(path: Path) -> None:
    if path.name.lower().endswith(".coco.json"):
        raise OutputError("a format of map coordinates", f"{path.name}, of pixels", "write it with eaves extract")
    if path.suffix.lower() not in DRIVERS and not is_parquet(path):
        raise OutputError(
            f"a file ending in one of {', '.join([*DRIVERS, *SUFFIXES])}", f"{path.name}", "change the suffix"
        )


def write_vectors(
    table: gpd.GeoDataFrame,
    path: str | Path,
    *,
    layer: str = "footprints",
    metadata: Mapping[str, Any] | None = None,
    style: str | None = None,
) -> None:
    """Write a table in the format that the suffix names; it appears whole, counted, or not at all.

    The index is not written. The same table gives the same bytes. What a format cannot hold is refused, or said in a
    warning.

    ================================ ===================================================================================
    ``.gpkg``                        any CRS; metadata as an item of the layer; the style inside
    ``.parquet``, ``.geoparquet``    GeoParquet 1.1, with the box of each feature; metadata beside the schema, key
                                     ``eaves``
    ``.fgb``                         FlatGeobuf, in the order of its spatial index; every feature needs geometry;
                                     metadata as an item of the layer
    ``.geojson``, ``.json``          always WGS84, RFC 7946; metadata as its ``description``; columns of an empty table
                                     are lost; without a CRS pixel coordinates, with a warning
    ``.shp``                         Shapefile: 2 GB, column names of 10 bytes, texts of 254; metadata in
                                     ``.eaves.json``
    ``.gdb``                         Esri's file geodatabase, a folder of one layer; coordinates on a grid of 0.1 mm,
                                     polygons as multipolygons; metadata as the layer's description
    ``postgresql://user@host/…``     a table of PostGIS, ``?table=schema.name``; metadata as its comment
    ================================ ===================================================================================

    Args:
        table: Polygons or lines; held in memory, about 1 kB a footprint. May be empty.
        path: The file. Of an existing folder, only a geodatabase of one layer is replaced; of an existing table, only
            one by eaves.
        layer: Name of the layer, where the format has names; a database takes that of ``table=``.
        metadata: JSON-able; :func:`read_metadata` gives it back.
        style: QML, such as that of :func:`eaves.exchange.styles.qgis_style`: inside a GeoPackage, beside other files
            under their name with ``.qml``, which QGIS finds. A database gets none.

    Raises:
        OutputError: Unknown suffix, a place that cannot be written, or a table that the format cannot hold.

    Warns:
        EavesWarning: The format could not hold all that the table says.

    Example:
        >>> write_vectors(footprints, "footprints.gpkg", metadata={"version": "1.0"})  # doctest: +SKIP
    """
    if is_database(path):
        write_table(table, path, kind=kind_of(table), placed=count_placed(table), metadata=metadata)
        return
    path = Path(path)
    _check_suffix(path)
    with whole_file(path) as partial:
        try:
            notes = _write_into(table, partial, layer, metadata)
            if style is not None:
                add_style(partial, layer, style)
            rows, placed = count_parquet(partial) if is_parquet(path) else count_file(partial)
        except PROBLEMS as error:
            raise OutputError(
                f"{path} to be written",
                str(error).rstrip("."),
                "check the room on the disk, or choose another format",
            ) from error
        if rows != len(table) or placed < count_placed(table):
            raise OutputError(
                f"{len(table)} features in {path}",
                f"{rows} on reading it again, {placed} of them with geometry",
                "choose another format, or check that the coordinates lie in their CRS",
            )
        for note in notes:
            warnings.warn(f"{path}: {note}", EavesWarning, stacklevel=2)


def _write_into(table: gpd.GeoDataFrame, path: Path, layer: str, metadata: Mapping[str, Any] | None) -> list[str]:
    """Write a new file; returns what was lost, in words."""
    if is_parquet(path):
        write_parquet(table, path, metadata)
        return []
    return write_file(table, path, layer, metadata)
