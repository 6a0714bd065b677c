"""A layer read in pieces is the layer, whatever the format."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import shapely

from eaves.errors import EavesWarning, LabelError
from eaves.exchange.pieces import open_pieces
from eaves.exchange.vectors import read_vectors, write_vectors


def layer(count=9):
    shapes = [shapely.box(500_000 + 20 * k, 5_000_000, 500_010 + 20 * k, 5_000_008) for k in range(count)]
    return gpd.GeoDataFrame({"number": np.arange(count)}, geometry=shapes, crs="EPSG:32633")


@pytest.mark.parametrize("suffix", [".gpkg", ".shp", ".gdb", ".fgb", ".geojson", ".parquet"])
def test_pieces_are_the_layer(tmp_path, suffix):
    path = tmp_path / f"layer{suffix}"
    write_vectors(layer(), path)
    whole, pieces = read_vectors(path), open_pieces(path)
    assert pieces.crs == whole.crs
    assert np.allclose(pieces.bounds, whole.bounds.to_numpy(), atol=1e-6)
    for rows in (np.arange(9), np.array([1, 4, 8]), np.arange(0)):
        piece = pieces.read(rows)
        assert piece.index.tolist() == rows.tolist()
        assert piece["number"].tolist() == whole["number"].iloc[rows].tolist()
        assert shapely.equals_exact(piece.geometry.to_numpy(), whole.geometry.iloc[rows].to_numpy(), 1e-9).all()


def test_what_is_dropped_leaves_its_row_out(tmp_path):
    table = layer()
    table.loc[3, "geometry"] = None
    table.to_file(tmp_path / "holes.gpkg")
    pieces = open_pieces(tmp_path / "holes.gpkg")
    assert np.isnan(pieces.bounds[3]).all()
    with pytest.warns(EavesWarning, match="1 without geometry dropped"):
        assert pieces.read(np.array([2, 3, 4])).index.tolist() == [2, 4]


def test_an_empty_layer_and_what_is_none(tmp_path):
    write_vectors(layer().iloc[:0], tmp_path / "empty.gpkg")
    pieces = open_pieces(tmp_path / "empty.gpkg")
    assert pieces.bounds.shape == (0, 4)
    assert pieces.crs == "EPSG:32633"
    (tmp_path / "text.gpkg").write_text("no database")
    with pytest.raises(LabelError, match="a vector file that GDAL reads"):
        open_pieces(tmp_path / "text.gpkg")
    with pytest.raises(LabelError, match="does not exist"):
        open_pieces(tmp_path / "none.gpkg")
