"""Layers that are larger than memory: boxes first, features some at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import geopandas as gpd
import numpy as np
import pyogrio

from eaves.exchange.database import is_database
from eaves.exchange.geoparquet import is_parquet
from eaves.exchange.vectors import PROBLEMS, read_features, single_layer

_QUICK = ("GPKG", "ESRI Shapefile", "OpenFileGDB")  # drivers that find a feature by its number


class Pieces(NamedTuple):
    """A layer whose features are read when they are wanted.

    Attributes:
        bounds: Left, bottom, right and top of each feature in the layer's CRS, float64 ``(n, 4)``; not numbers where
            it has no geometry.
        crs: Of the layer, or none.
        read: Takes rows, integers ``(m,)`` in rising order, and returns those features as
            :func:`~eaves.exchange.read_vectors` does, with their rows as index; what it drops is not among them.
    """

    bounds: np.ndarray
    crs: Any
    read: Callable[[np.ndarray], gpd.GeoDataFrame]


def open_pieces(path: str | Path) -> Pieces:
    """Open a layer to read it in pieces.

    Formats that find a feature by its number (GeoPackage, Shapefile, file geodatabase) are read from the disk piece by
    piece; others are held in memory.

    Raises:
        LabelError: It cannot be read.
    """
    if not is_database(path) and not is_parquet(path) and Path(path).exists():
        pieces = _by_number(Path(path))
        if pieces is not None:
            return pieces
    table = read_features(path).reset_index(drop=True)
    return Pieces(table.bounds.to_numpy(), table.crs, lambda rows: gpd.GeoDataFrame(table.iloc[rows]))


def _by_number(path: Path) -> Pieces | None:
    try:
        layer = single_layer(str(path), None)
        info = pyogrio.read_info(path, layer=layer)
        if info["driver"] not in _QUICK:
            return None
        fids, bounds = pyogrio.read_bounds(path, layer=layer)
    except PROBLEMS:
        return None  # reading all of it says what is wrong

    def read(rows: np.ndarray) -> gpd.GeoDataFrame:
        table = read_features(path, layer, fids=fids[rows])
        rising = np.argsort(fids[rows])  # a view's features may come in any order
        table.index = rows[rising][np.searchsorted(fids[rows][rising], table.index.to_numpy())]
        return gpd.GeoDataFrame(table.sort_index())

    return Pieces(bounds.T, read(np.arange(min(1, len(fids)))).crs, read)
