"""Writing files through GDAL: what each format wants, and what it cannot hold."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import geopandas as gpd
import numpy as np
import pyogrio
import shapely

from eaves.exchange.columns import fit_columns
from eaves.exchange.provenance import ITEM, pack, unpack
from eaves.exchange.shapefile import fit_shapefile

DRIVERS = {
    ".gpkg": "GPKG",
    ".fgb": "FlatGeobuf",
    ".geojson": "GeoJSON",
    ".json": "GeoJSON",
    ".shp": "ESRI Shapefile",
    ".gdb": "OpenFileGDB",
}
"""GDAL's driver of each suffix that can be written, beside GeoParquet."""

_SAME_BYTES = {"OGR_CURRENT_DATE": "1970-01-01T00:00:00.000Z", "OPENFILEGDB_REPRODUCIBLE_UUID": "YES"}  # on a rerun
_LAYER_OPTIONS = {
    "GeoJSON": {"COORDINATE_PRECISION": "8", "WRITE_BBOX": "YES"},  # 8 digits of a degree are a millimetre
    "ESRI Shapefile": {"2GB_LIMIT": "YES", "DBF_DATE_LAST_UPDATE": "1970-01-01"},
}
_DESCRIPTION = "dataIdInfo/idAbs"  # where ArcGIS shows it, too


def write_file(table: gpd.GeoDataFrame, path: Path, layer: str, metadata: Mapping[str, Any] | None) -> list[str]:
    """Write a new file, or a folder for ``.gdb``, in the format of its suffix.

    Returns:
        What the format could not hold, in words.

    Raises:
        OutputError: The format cannot hold the table.
    """
    driver = DRIVERS[path.suffix.lower()]
    options = dict(_LAYER_OPTIONS.get(driver, {}))
    extra: dict[str, Any] = {}
    table, notes = fit_columns(table, driver)
    if driver == "GeoJSON":
        if table.crs is None:
            metadata = {**(metadata or {}), "crs": None}
            notes.append("pixel coordinates without a CRS, which other programs will take for degrees")
        else:
            options["RFC7946"] = "YES"  # WGS84, rings counterclockwise, cut at the antimeridian
        if metadata:
            options["DESCRIPTION"] = pack(metadata)
    elif driver == "ESRI Shapefile":
        table, more = fit_shapefile(table)
        notes += more
        if metadata:
            path.with_suffix(".eaves.json").write_text(pack(metadata), encoding="utf-8")
    elif driver == "OpenFileGDB":
        table, large = _with_short_integers(table)
        if large:
            options["TARGET_ARCGIS_VERSION"] = "ARCGIS_PRO_3_2_OR_LATER"
            notes.append(f"whole numbers beyond 2^31 need ArcGIS Pro 3.2 or later ({', '.join(large)})")
        if metadata:
            options["DOCUMENTATION"] = _document(metadata)
    elif metadata:
        extra["layer_metadata"] = {ITEM: pack(metadata)}
    kind = kind_of(table)
    with warnings.catch_warnings(record=True) as said, _gdal_options(_SAME_BYTES):
        warnings.simplefilter("always")
        pyogrio.write_dataframe(
            table,
            path,
            driver=driver,
            layer=None if driver == "ESRI Shapefile" else layer,  # a Shapefile's layer is its file name
            geometry_type=kind,
            promote_to_multi=kind.startswith("Multi"),
            layer_options=options,
            **extra,
        )
    messages = dict.fromkeys(str(one.message) for one in said)
    return notes + [text for text in messages if not text.startswith("'crs' was not")]  # pixel space is a normal case


def count_file(path: Path) -> tuple[int, int]:
    """Return the features of a file, and how many have geometry: GDAL drops a geometry that it cannot project."""
    features, bounds = pyogrio.read_bounds(path, layer=layers_of(str(path))[0])
    return len(features), int(np.isfinite(bounds).all(axis=0).sum())


def layers_of(path: str) -> list[str]:
    """Names of the layers with geometry; GIS programs keep styles in layers without."""
    return [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]


def note_of(path: str, info: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata stored with a layer; empty for others' files.

    Args:
        path: The file.
        info: What pyogrio says of the layer.
    """
    if info["driver"] == "OpenFileGDB":
        documented = pyogrio.read_dataframe(path, sql=f"GetLayerMetadata {info['layer_name']}")
        return _parse_document("" if documented.empty else str(documented.iloc[0, 0]))
    items = info["layer_metadata"] or {}
    return unpack(items.get("DESCRIPTION") if info["driver"] == "GeoJSON" else items.get(ITEM))


def kind_of(table: gpd.GeoDataFrame) -> str:
    """Return the one geometry type that holds all of a table; polygons where it is empty."""
    kinds = set(table.geom_type.dropna())
    base = {kind.removeprefix("Multi") for kind in kinds}
    if len(base) > 1:
        return "Unknown"
    name = base.pop() if base else "Polygon"
    return f"Multi{name}" if f"Multi{name}" in kinds else name


def count_placed(table: gpd.GeoDataFrame) -> int:
    """Return how many features have geometry."""
    shapes = table.geometry.to_numpy()
    return int((~shapely.is_missing(shapes) & ~shapely.is_empty(shapes)).sum())


def _with_short_integers(table: gpd.GeoDataFrame) -> tuple[gpd.GeoDataFrame, list[str]]:
    """Whole numbers in 32 bits, in which every geodatabase holds them, and the columns that need more."""
    table = gpd.GeoDataFrame(table.copy(deep=False))
    large = []
    for name in table.columns.drop([table.geometry.name]):
        column = table[name]
        if column.dtype.kind not in "iu":
            continue
        if column.dropna().between(-(2**31), 2**31 - 1).all():
            table[name] = column.astype("Int32" if column.hasnans else "int32")
        else:
            large.append(str(name))
    return table, large


def _document(metadata: Mapping[str, Any]) -> str:
    """Metadata as ArcGIS lays it out."""
    outer, inner = _DESCRIPTION.split("/")
    return f"<metadata><{outer}><{inner}>{escape(pack(metadata))}</{inner}></{outer}></metadata>"


def _parse_document(text: str) -> dict[str, Any]:
    try:
        return unpack(ElementTree.fromstring(text).findtext(_DESCRIPTION))
    except ElementTree.ParseError:
        return {}


@contextmanager
def _gdal_options(options: Mapping[str, Any]) -> Iterator[None]:
    before = {name: pyogrio.get_gdal_config_option(name) for name in options}
    pyogrio.set_gdal_config_options(dict(options))
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options(before)
