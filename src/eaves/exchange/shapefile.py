"""What a Shapefile cannot hold: refused, or made to fit and said."""

from __future__ import annotations

from collections.abc import Iterator

import geopandas as gpd
import pandas as pd
import shapely

from eaves.errors import OutputError

_NAME_BYTES = 10
_TEXT_BYTES = 254
_COLUMNS = 255
_FILE_BYTES = 2**31 - 1  # GDAL writes more, other programs do not read it
_LARGEST = 1e22  # a number has 24 characters; GDAL cuts off the digits of larger ones
_WHOLE = 10**18  # whole numbers of more than 18 characters, the sign among them, are read as decimals of 16 digits


def fit_shapefile(table: gpd.GeoDataFrame) -> tuple[gpd.GeoDataFrame, list[str]]:
    """Make a table fit, as far as that loses no more than names, ends of texts and kinds of columns.

    Returns:
        The table, and what was done to it, in words.

    Raises:
        OutputError: Both polygons and lines, more than 255 columns, numbers from 1e22 on, or more than 2 GB.
    """
    if len({kind.removeprefix("Multi") for kind in table.geom_type.dropna()}) > 1:
        raise OutputError("either polygons or lines in a Shapefile", "both", "choose another format")
    if len(table.columns) - 1 > _COLUMNS:
        raise OutputError(
            f"at most {_COLUMNS} columns in a Shapefile", f"{len(table.columns) - 1}", "choose another format"
        )
    if (size := least_bytes(table)) > _FILE_BYTES:
        raise OutputError("at most 2 GB in a Shapefile", f"at least {size / 1e9:.1f} GB", "choose another format")
    table, notes = _with_short_names(gpd.GeoDataFrame(table.reset_index(drop=True)))
    for name in table.columns.drop([table.geometry.name]):
        table[name], said = _fit_column(pd.Series(table[name]))
        notes += [f"{what} ({name})" for what in said]
    return table, notes


def least_bytes(table: gpd.GeoDataFrame) -> int:
    """Bytes that the coordinates take at least in ``.shp``."""
    shapes = table.geometry.to_numpy()
    return 100 + 52 * len(shapes) + 16 * int(shapely.get_num_coordinates(shapes).sum())


def _fit_column(column: pd.Series) -> tuple[pd.Series, list[str]]:
    if isinstance(column.dtype, pd.DatetimeTZDtype) or column.dtype.kind == "M":
        return _as_text(column), ["times became texts"]
    if column.dtype.kind in "iuf":
        return column, list(_check_numbers(column))
    if column.dtype.kind == "b":
        return column, []
    told = column.map(lambda value: isinstance(value, str)).to_numpy(bool)
    cut = column.astype(object)
    cut[told] = cut[told].map(lambda text: text.encode()[:_TEXT_BYTES].decode(errors="ignore"))
    notes: list[str] = []
    if long := int((cut[told] != column[told]).sum()):
        column = cut
        notes.append(f"{long} texts cut at {_TEXT_BYTES} bytes")
    if empty := int((column[told] == "").sum()):
        notes.append(f"{empty} empty texts become none")
    return column, notes


def _as_text(column: pd.Series) -> pd.Series:
    return column.map(lambda time: None if pd.isna(time) else time.isoformat()).astype(object)


def _check_numbers(column: pd.Series) -> Iterator[str]:
    numbers = column.dropna()
    if column.dtype.kind == "f" and (beyond := int((numbers.abs() >= _LARGEST).sum())):
        raise OutputError(
            f"numbers below {_LARGEST:g} in a Shapefile, column {column.name}",
            f"{beyond} beyond",
            "choose another format",
        )
    if column.dtype.kind in "iu" and (long := int((~numbers.between(1 - _WHOLE // 10, _WHOLE - 1)).sum())):
        yield f"{long} whole numbers of more than 18 characters, which programs read as decimals"


def _with_short_names(table: gpd.GeoDataFrame) -> tuple[gpd.GeoDataFrame, list[str]]:
    """Column names that a Shapefile holds, each once."""
    renamed: dict[str, str] = {}
    taken: set[str] = set()
    for name in table.columns.drop([table.geometry.name]):
        short, number = str(name).encode()[:_NAME_BYTES].decode(errors="ignore"), 1
        while short.lower() in taken:
            number += 1
            end = f"_{number}"
            short = str(name).encode()[: _NAME_BYTES - len(end)].decode(errors="ignore") + end
        taken.add(short.lower())
        if short != name:
            renamed[name] = short
    if not renamed:
        return table, []
    told = ", ".join(f"{name} to {short}" for name, short in renamed.items())
    note = f"a Shapefile's column names have at most {_NAME_BYTES} bytes, so {len(renamed)} were shortened: {told}"
    return gpd.GeoDataFrame(table.rename(columns=renamed)), [note]
