"""GeoParquet 1.1, with the box of each feature beside it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import geopandas as gpd
import pyarrow.parquet as pq

from eaves.exchange.provenance import ITEM, pack, unpack

SUFFIXES = (".parquet", ".geoparquet")

_KEY = ITEM.lower().encode()
_GROUP_ROWS = 65536  # a reader skips whole groups by their boxes; footprints of neighbouring rows lie near each other


def is_parquet(path: str | Path) -> bool:
    """Whether the name says GeoParquet."""
    return str(path).lower().endswith(SUFFIXES)


def write_parquet(table: gpd.GeoDataFrame, path: Path, metadata: Mapping[str, Any] | None) -> None:
    """Write a table with a covering column ``bbox``; a table that has such a column of its own keeps that one alone."""
    buffer = io.BytesIO()  # geopandas knows the format; this adds one key to it
    covered = "bbox" not in table.columns
    table.to_parquet(buffer, index=False, compression=None, schema_version="1.1.0", write_covering_bbox=covered)
    arrow = pq.read_table(buffer)
    if metadata:
        arrow = arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), _KEY: pack(metadata)})
    pq.write_table(arrow, path, compression="zstd", row_group_size=_GROUP_ROWS)


def count_parquet(path: Path) -> tuple[int, int]:
    """Return the features of a file, and how many have geometry."""
    told = (pq.read_schema(path).metadata or {})[b"geo"]
    column = pq.read_table(path, columns=[unpack(told)["primary_column"]])
    return column.num_rows, column.num_rows - column[0].null_count


def read_parquet(path: str, bbox: tuple[float, float, float, float] | None) -> gpd.GeoDataFrame:
    """Read a table; where the file has a covering column, groups of rows that lie off ``bbox`` are not read at all."""
    table = None
    if bbox is not None:
        try:
            table = gpd.read_parquet(path, bbox=bbox)
        except ValueError:  # no covering column, or no file at all, which the next line says
            table = None
    if table is None:
        table = gpd.read_parquet(path)
    table.index = range(len(table))
    return table


def read_parquet_note(path: Path) -> dict[str, Any]:
    """Return the metadata that :func:`write_parquet` stored; empty for others' files."""
    return unpack((pq.read_schema(path).metadata or {}).get(_KEY))
