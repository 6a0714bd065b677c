from __future__ import annotations

import json

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from eaves.exchange import geoparquet
from eaves.exchange.vectors import read_vectors, write_vectors


def grid(side=20, crs="EPSG:32633"):
    """Squares of 8 m, every 10 m, row by row."""
    shapes = [shapely.box(col * 10, row * 10, col * 10 + 8, row * 10 + 8) for row in range(side) for col in range(side)]
    return gpd.GeoDataFrame({"id": range(side * side)}, geometry=shapes, crs=crs)


def told(path):
    return json.loads(pq.read_schema(path).metadata[b"geo"])


def test_it_is_version_1_1_with_a_box_for_each_feature(tmp_path):
    write_vectors(grid(), tmp_path / "x.parquet")
    about = told(tmp_path / "x.parquet")
    assert about["version"] == "1.1.0"
    assert about["columns"]["geometry"]["covering"]["bbox"] == {
        side: ["bbox", side] for side in ("xmin", "ymin", "xmax", "ymax")
    }
    boxes = pq.read_table(tmp_path / "x.parquet", columns=["bbox"])["bbox"].to_pylist()
    assert boxes[21] == {"xmin": 10, "ymin": 10, "xmax": 18, "ymax": 18}


def test_other_programs_read_it_and_the_box_is_no_attribute(tmp_path):
    write_vectors(grid(), tmp_path / "x.parquet")
    for back in (gpd.read_parquet(tmp_path / "x.parquet"), read_vectors(tmp_path / "x.parquet")):
        assert list(back.columns) == ["id", "geometry"]
        assert back.crs == "EPSG:32633"
        assert back.geometry.geom_equals(grid().geometry).all()


def test_groups_of_rows_off_the_bbox_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(geoparquet, "_GROUP_ROWS", 20)
    write_vectors(grid(), tmp_path / "x.parquet")
    file = bytearray((tmp_path / "x.parquet").read_bytes())
    groups = pq.ParquetFile(tmp_path / "x.parquet").metadata
    assert groups.num_row_groups == 20
    for number in range(3, 20):  # rubble where rows from 30 m on are kept, so that reading them would fail
        for place in range(groups.row_group(number).num_columns):
            column = groups.row_group(number).column(place)
            start = column.dictionary_page_offset or column.data_page_offset
            file[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    (tmp_path / "x.parquet").write_bytes(file)
    assert read_vectors(tmp_path / "x.parquet", bbox=(0, 0, 25, 12))["id"].tolist() == [0, 1, 2, 20, 21, 22]
    with pytest.raises(Exception, match=r"x\.parquet"):
        read_vectors(tmp_path / "x.parquet")


@pytest.mark.parametrize("bbox", [(0, 0, 25, 12), (8.5, 0, 9.5, 300), (8, 0, 9.5, 9), (-9, -9, -1, -1)])
def test_files_without_boxes_give_the_same(tmp_path, bbox):
    write_vectors(grid(), tmp_path / "new.parquet")
    grid().to_parquet(tmp_path / "old.parquet")
    new, old = (read_vectors(tmp_path / name, bbox=bbox) for name in ("new.parquet", "old.parquet"))
    assert new["id"].tolist() == old["id"].tolist()
    assert new["id"].tolist() == np.flatnonzero(grid().intersects(shapely.box(*bbox))).tolist()


def test_empty_tables_and_missing_geometry(tmp_path):
    write_vectors(grid().iloc[:0], tmp_path / "x.parquet")
    assert told(tmp_path / "x.parquet")["version"] == "1.1.0"
    for bbox in (None, (0, 0, 1, 1)):
        back = read_vectors(tmp_path / "x.parquet", bbox=bbox)
        assert len(back) == 0
        assert list(back.columns) == ["id", "geometry"]
        assert back.crs == "EPSG:32633"
    table = grid()
    table.loc[0, "geometry"] = None
    write_vectors(table, tmp_path / "x.parquet")
    assert geoparquet.count_parquet(tmp_path / "x.parquet") == (400, 399)


def test_a_column_bbox_of_the_table_stays_what_it_is(tmp_path):
    table = grid().assign(bbox="mine")
    write_vectors(table, tmp_path / "x.parquet")
    assert "covering" not in told(tmp_path / "x.parquet")["columns"]["geometry"]
    assert read_vectors(tmp_path / "x.parquet", bbox=(0, 0, 1, 1))["bbox"].tolist() == ["mine"]
