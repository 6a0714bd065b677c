"""Tables of polygons and lines, in and out of the formats that GIS programs read."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import shapely
from shapely.errors import GEOSException

from eaves.errors import EavesWarning, LabelError, OutputError
from eaves.exchange.atomic import whole_file
from eaves.exchange.mending import mend
from eaves.exchange.provenance import ITEM, pack, unpack

PARQUET = (".parquet", ".geoparquet")
DRIVERS = {
    ".gpkg": "GPKG",
    ".fgb": "FlatGeobuf",
    ".geojson": "GeoJSON",
    ".json": "GeoJSON",
    ".shp": "ESRI Shapefile",
}
"""GDAL's driver of each suffix that can be written, beside GeoParquet."""

_POINTERS = ("OGR_VRT", "GDALG")  # small files that make GDAL open any other
_NO_CLOCK = {"OGR_CURRENT_DATE": "1970-01-01T00:00:00.000Z"}  # a rerun gives the same bytes
_LAYER_OPTIONS = {
    "GeoJSON": {"COORDINATE_PRECISION": "8"},  # 8 digits of a degree are a millimetre
    "ESRI Shapefile": {"2GB_LIMIT": "YES", "DBF_DATE_LAST_UPDATE": "1970-01-01"},
}
_PROBLEMS = (RuntimeError, TypeError, ValueError, pa.ArrowException)  # pyogrio's own are RuntimeErrors


# --- reading ----------------------------------------------------------------------------------------------------------


def read_vectors(
    path: str | Path, layer: str | None = None, *, bbox: tuple[float, float, float, float] | None = None
) -> gpd.GeoDataFrame:
    """Read any vector file that GDAL reads, or GeoParquet, as valid 2D polygons or lines.

    Features without geometry and points are dropped, heights flattened, curves become chords, collections are
    reduced to their polygons (or lines), and invalid shapes mended; one warning counts all that.

    Args:
        path: File, folder or URL.
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
    path = str(path)
    if "://" not in path and not path.startswith("/vsi") and not Path(path).exists():
        raise LabelError("a vector file", f"{path}, which does not exist", "check the path")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            table = _read_parquet(path, bbox) if path.lower().endswith(PARQUET) else _read_ogr(path, layer, bbox)
        except (*_PROBLEMS, OSError, GEOSException) as error:
            raise LabelError(
                "a vector file that GDAL reads (GeoPackage, GeoJSON, FlatGeobuf, Shapefile, …) or GeoParquet",
                f"{path}: {error}",
                "check that the file is complete and of that kind",
            ) from None
    mended = mend(table.geometry.to_numpy(), table.index.to_numpy())
    notes = [*mended.notes, *_notes(said)]
    if notes:
        warnings.warn(f"{path}, {len(table)} features: {'; '.join(notes)}", EavesWarning, stacklevel=2)
    kept = ~shapely.is_missing(mended.geometries)
    columns = table.drop(columns=table.geometry.name)[kept].reset_index(drop=True)
    return gpd.GeoDataFrame(columns, geometry=mended.geometries[kept], crs=table.crs)


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Return what :func:`write_vectors` stored with a file; empty for others' files.

    Raises:
        LabelError: The file cannot be read.
    """
    path = Path(path)
    beside = path.with_suffix(".eaves.json")
    if path.suffix.lower() == ".shp":
        return unpack(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
    try:
        if path.suffix.lower() in PARQUET:
            return unpack((pq.read_schema(path).metadata or {}).get(ITEM.lower().encode()))
        layers = _layers(str(path))
        return _stored(_info(str(path), layers[0])) if layers else {}
    except (*_PROBLEMS, OSError) as error:
        raise LabelError("a vector file", f"{path}: {error}", "check the path") from None


def _read_parquet(path: str, bbox: tuple[float, float, float, float] | None) -> gpd.GeoDataFrame:
    table = gpd.read_parquet(path)
    table.index = range(len(table))
    return table if bbox is None else table.iloc[np.sort(table.sindex.query(shapely.box(*bbox)))]


def _read_ogr(path: str, layer: str | None, bbox: tuple[float, float, float, float] | None) -> gpd.GeoDataFrame:
    layers = _layers(path)
    if layer is None and len(layers) > 1:
        raise LabelError(f"the name of a layer of {path}", "none", f"choose one of {', '.join(layers)}")
    if not layers or (layer is not None and layer not in layers):
        raise LabelError(f"layer {layer} with geometry in {path}", f"{layers or 'no layer'}", "choose another layer")
    info = _info(path, layer or layers[0])
    if info["driver"] in _POINTERS:
        raise LabelError(f"features in {path}", f"a pointer to other files ({info['driver']})", "name the file itself")
    table = pyogrio.read_dataframe(path, layer=layer or layers[0], bbox=bbox, fid_as_index=True, on_invalid="fix")
    if not isinstance(table, gpd.GeoDataFrame):
        raise LabelError(f"geometry in {path}", "a table without", "choose the file or layer that has it")
    if "crs" in (stored := _stored(info)) and stored["crs"] is None:  # pixel space, in spite of GeoJSON's standard
        table = gpd.GeoDataFrame(table.drop(columns="geometry"), geometry=table.geometry.to_numpy())
    return table


def _layers(path: str) -> list[str]:
    """Names of the layers with geometry; GIS programs keep styles in layers without."""
    return [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]


def _info(path: str, layer: str) -> dict[str, Any]:
    return pyogrio.read_info(path, layer=layer)


def _stored(info: dict[str, Any]) -> dict[str, Any]:
    items = info["layer_metadata"] or {}
    return unpack(items.get("DESCRIPTION") if info["driver"] == "GeoJSON" else items.get(ITEM))


def _notes(said: Sequence[warnings.WarningMessage]) -> Iterator[str]:
    """What GDAL said, once each."""
    for message in dict.fromkeys(str(one.message) for one in said if one.category in (RuntimeWarning, UserWarning)):
        if "Non closed ring" in message:
            yield "rings that did not close were closed"
        else:
            yield message


# --- writing ----------------------------------------------------------------------------------------------------------


def write_vectors(
    table: gpd.GeoDataFrame,
    path: str | Path,
    *,
    layer: str = "footprints",
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write a table in the format that the suffix names; the file appears whole, counted, or not at all.

    The index is not written. The same table gives the same bytes.

    ================================ ===================================================================================
    ``.gpkg``                        any CRS; metadata as an item of the layer
    ``.parquet``, ``.geoparquet``    GeoParquet; metadata beside the schema, key ``eaves``
    ``.fgb``                         FlatGeobuf, in the order of its spatial index; metadata as an item of the layer
    ``.geojson``, ``.json``          always WGS84, RFC 7946; metadata as its ``description``; columns of an empty table
                                     are lost; without a CRS pixel coordinates, with a warning
    ``.shp``                         Shapefile: column names of 10 bytes, with a warning; metadata in ``.eaves.json``
    ================================ ===================================================================================

    Args:
        table: Polygons or lines; held in memory, about 1 kB a footprint. May be empty.
        path: The file.
        layer: Name of the layer, where the format has names.
        metadata: JSON-able; :func:`read_metadata` gives it back.

    Raises:
        OutputError: Unknown suffix, a place that cannot be written, or a table that the format cannot hold.

    Example:
        >>> write_vectors(footprints, "footprints.gpkg", metadata={"version": "1.0"})  # doctest: +SKIP
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if path.name.lower().endswith(".coco.json"):
        raise OutputError("a format of map coordinates", f"{path.name}, of pixels", "write it with eaves extract")
    if suffix not in DRIVERS and suffix not in PARQUET:
        raise OutputError(
            f"a file ending in one of {', '.join([*DRIVERS, *PARQUET])}", f"{path.name}", "change the suffix"
        )
    with whole_file(path) as partial:
        try:
            if suffix in PARQUET:
                _write_parquet(table, partial, metadata)
                rows = placed = pq.read_metadata(partial).num_rows
            else:
                _write_ogr(table, partial, path, DRIVERS[suffix], layer, metadata)
                rows, placed = _count(partial)
        except _PROBLEMS as error:
            raise OutputError(
                f"{path} to be written",
                str(error).rstrip("."),
                "check the room on the disk, or choose another format",
            ) from error
        if rows != len(table) or placed < _placed(table):
            raise OutputError(
                f"{len(table)} features in {path}",
                f"{rows} on reading it again, {placed} of them with geometry",
                "choose another format, or check that the coordinates lie in their CRS",
            )


def _write_parquet(table: gpd.GeoDataFrame, partial: Path, metadata: Mapping[str, Any] | None) -> None:
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False, compression=None)  # geopandas knows the format; this adds one key to it
    arrow = pq.read_table(buffer)
    if metadata:
        arrow = arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), ITEM.lower(): pack(metadata)})
    pq.write_table(arrow, partial, compression="zstd")


def _write_ogr(
    table: gpd.GeoDataFrame, partial: Path, final: Path, driver: str, layer: str, metadata: Mapping[str, Any] | None
) -> None:
    options = dict(_LAYER_OPTIONS.get(driver, {}))
    extra: dict[str, Any] = {}
    kind = _kind(table)
    if driver == "GeoJSON":
        if table.crs is None:
            metadata = {**(metadata or {}), "crs": None}
            message = f"{final}: pixel coordinates without a CRS, which other programs will take for degrees"
            warnings.warn(message, EavesWarning, stacklevel=3)
        else:
            options["RFC7946"] = "YES"  # WGS84, rings counterclockwise, cut at the antimeridian
        if metadata:
            options["DESCRIPTION"] = pack(metadata)
    elif driver == "ESRI Shapefile":
        if kind == "Unknown":
            raise OutputError(f"either polygons or lines in {final}", "both", "choose another format")
        table = _short_names(table, final)
        if metadata:
            partial.with_suffix(".eaves.json").write_text(pack(metadata), encoding="utf-8")
    elif metadata:
        extra["layer_metadata"] = {ITEM: pack(metadata)}
    with warnings.catch_warnings(record=True) as said, _gdal_options(_NO_CLOCK):
        warnings.simplefilter("always")
        pyogrio.write_dataframe(
            table,
            partial,
            driver=driver,
            layer=None if driver == "ESRI Shapefile" else layer,  # a Shapefile's layer is its file name
            geometry_type=kind,
            promote_to_multi=kind.startswith("Multi"),
            layer_options=options,
            **extra,
        )
    for message in dict.fromkeys(str(one.message) for one in said):
        if not message.startswith("'crs' was not provided"):  # pixel space is a normal case
            warnings.warn(f"{final}: {message}", EavesWarning, stacklevel=3)


def _placed(table: gpd.GeoDataFrame) -> int:
    shapes = table.geometry.to_numpy()
    return int((~shapely.is_missing(shapes) & ~shapely.is_empty(shapes)).sum())


def _count(path: Path) -> tuple[int, int]:
    """Features of a file, and how many have geometry: GDAL drops a geometry that it cannot project."""
    features, bounds = pyogrio.read_bounds(path)
    return len(features), int(np.isfinite(bounds).all(axis=0).sum())


def _kind(table: gpd.GeoDataFrame) -> str:
    """The one geometry type that holds all of a table; polygons where it is empty."""
    kinds = set(table.geom_type.dropna())
    base = {kind.removeprefix("Multi") for kind in kinds}
    if len(base) > 1:
        return "Unknown"
    name = base.pop() if base else "Polygon"
    return f"Multi{name}" if f"Multi{name}" in kinds else name


def _short_names(table: gpd.GeoDataFrame, final: Path) -> gpd.GeoDataFrame:
    """Column names that a Shapefile holds, each once."""
    renamed: dict[str, str] = {}
    taken: set[str] = set()
    for name in table.columns.drop([table.geometry.name]):
        short, number = str(name).encode()[:10].decode(errors="ignore"), 1
        while short.lower() in taken:
            number += 1
            short = str(name).encode()[: 9 - len(str(number))].decode(errors="ignore") + f"_{number}"
        taken.add(short.lower())
        if short != name:
            renamed[name] = short
    if renamed:
        message = f"{final}: a Shapefile's column names have at most 10 bytes, so {len(renamed)} were shortened: " + (
            ", ".join(f"{name} to {short}" for name, short in renamed.items())
        )
        warnings.warn(message, EavesWarning, stacklevel=4)
    return cast(gpd.GeoDataFrame, table.rename(columns=renamed))


@contextmanager
def _gdal_options(options: Mapping[str, Any]) -> Iterator[None]:
    before = {name: pyogrio.get_gdal_config_option(name) for name in options}
    pyogrio.set_gdal_config_options(dict(options))
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options(before)
