"""Columns that GDAL's formats cannot hold as they are: renamed or made texts, and said."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import date, time
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd

_RESERVED = {"GPKG": ("fid", "geom"), "OpenFileGDB": ("objectid", "shape")}  # the first for the features' numbers
_CALLED = {"GPKG": "a GeoPackage", "OpenFileGDB": "a file geodatabase"}
_LEAST_NUMBER = {"GPKG": 0, "OpenFileGDB": 1}
_LARGEST_NUMBER = {"GPKG": 2**63 - 1, "OpenFileGDB": 2**31 - 1}
_NESTED = (list, tuple, dict, np.ndarray)
_HELD = (str, date, time, np.datetime64)


def fit_columns(table: gpd.GeoDataFrame, driver: str) -> tuple[gpd.GeoDataFrame, list[str]]:
    """Make a table fit what GDAL writes.

    A GeoPackage and a file geodatabase tell no upper case from lower in names, and have two columns of their own; a
    column that would clash gets a number behind its name. One that numbers the features (``fid``, ``OBJECTID``) is
    kept as their number. Lists, and whatever else is neither number, text nor time, become texts; GeoJSON has lists.

    Args:
        table: Anything.
        driver: GDAL's name of the format.

    Returns:
        The table, and what was done to it, in words.

    Example:
        >>> import shapely
        >>> table = gpd.GeoDataFrame({"Status": ["a"], "status": [1]}, geometry=[shapely.box(0, 0, 1, 1)])
        >>> list(fit_columns(table, "GPKG")[0].columns)
        ['Status', 'status_2', 'geometry']
    """
    geometry = table.geometry.name
    table = gpd.GeoDataFrame(table.rename(columns={name: str(name) for name in table.columns if name != geometry}))
    notes: list[str] = []
    if driver in _RESERVED:
        number, place = _RESERVED[driver]
        names = [name for name in table.columns if name != geometry]
        key = next(
            (name for name in names if name.lower() == number and _are_numbers(pd.Series(table[name]), driver)), None
        )
        renamed = _apart([name for name in names if name != key], (number, place))
        if renamed:
            table = gpd.GeoDataFrame(table.rename(columns=renamed))
            told = ", ".join(f"{name} to {other}" for name, other in renamed.items())
            notes.append(
                f"{_CALLED[driver]} keeps {number} and {place} for itself and tells no upper case from lower, so "
                f"{len(renamed)} columns were renamed: {told}"
            )
    for name in table.columns.drop([geometry]):
        if table[name].dtype.kind == "O":
            table[name], said = _fit_values(pd.Series(table[name]), driver)
            notes += [f"{what} ({name})" for what in said]
    return table, notes


def _are_numbers(column: pd.Series, driver: str) -> bool:
    """Whether a column can number the features."""
    if column.dtype.kind not in "iu" or column.isna().any() or not column.is_unique:
        return False
    return bool(column.between(_LEAST_NUMBER[driver], _LARGEST_NUMBER[driver]).all())


def _apart(names: Iterable[str], reserved: Iterable[str]) -> dict[str, str]:
    """New names of those that clash with one before them, or with a reserved one."""
    names = list(names)
    taken, given = set(reserved), {name.lower() for name in names}
    renamed = {}
    for name in names:
        free, number = name, 1
        while free.lower() in taken or (number > 1 and free.lower() in given):
            number += 1
            free = f"{name}_{number}"
        taken.add(free.lower())
        if free != name:
            renamed[name] = free
    return renamed


def _fit_values(column: pd.Series, driver: str) -> tuple[pd.Series, list[str]]:
    """Texts, and what GDAL would write as Python prints it."""
    notes: list[str] = []
    if column.dtype == object:
        better = column.convert_dtypes()
        if better.dtype.kind in "iufb":  # numbers among which some are missing
            return better, []
        odd = column.notna() & ~column.map(lambda value: isinstance(value, _HELD)).astype(bool)
        lists = odd & column.map(lambda value: isinstance(value, _NESTED)).astype(bool)
        column = column.copy()
        told = odd & ~lists if driver == "GeoJSON" else odd  # GDAL writes JSON into JSON as what it is
        if told.any():
            kinds = ", ".join(sorted({type(value).__name__ for value in column[told]}))
            notes.append(f"{int(told.sum())} values became texts: {kinds}")
        column[odd] = [_as_text(value) for value in column[odd]]
    held = column.map(lambda value: isinstance(value, str) and "\0" in value).astype(bool)
    if held.any():
        column = column.astype(object)
        column[held] = [value.partition("\0")[0] for value in column[held]]
        notes.append(f"{int(held.sum())} texts cut at a NUL character")
    return column, notes


def _as_text(value: Any) -> str:
    if isinstance(value, _NESTED):
        return _as_json(value)
    return value.hex() if isinstance(value, bytes) else str(value)


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    """What JSON has no words for."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value.hex() if isinstance(value, bytes) else str(value)
