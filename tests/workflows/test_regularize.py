"""``eaves regularize``, and ``extract --method``: regular footprints in any CRS, with what became of each."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from eaves.cli import main
from eaves.errors import LabelError, OutputError, SettingsError
from eaves.exchange.rasters import ScoreWriter
from eaves.exchange.vectors import read_metadata, read_vectors, write_vectors
from eaves.workflows.regularize import Regularity, regularize_footprints, regularize_table
from eaves.workflows.vectorize import vectorize_scores

GRID = GeoBox((120, 160), Affine(0.3, 0, 500_000, 0, -0.3, 5_200_000), "EPSG:32633")


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Two houses and a triangle, traced from a blurred score map."""
    import cv2
    import rasterio.features

    folder = tmp_path_factory.mktemp("raw")
    house = shapely.box(10, 10, 60, 45)
    shapes = [
        shapely.affinity.rotate(house, 12),
        shapely.affinity.rotate(house.difference(shapely.box(40, 30, 60, 45)), 33).buffer(0),
        shapely.Polygon([(20, 70), (75, 70), (47, 112)]),
    ]
    shapes[1] = shapely.affinity.translate(shapes[1], 80, 10)
    cover = rasterio.features.rasterize(shapes, (480, 640), transform=Affine.scale(0.25)).astype(np.float32)
    scores = cv2.GaussianBlur(cover.reshape(120, 4, 160, 4).mean((1, 3)), (0, 0), 1.2)
    with ScoreWriter(folder / "scores.tif", GRID, ("building",)) as writer:
        writer.write(0, np.round(scores * 254).astype(np.uint8)[None])
    vectorize_scores(folder / "scores.tif", folder / "raw.gpkg", simplify_px=0)
    return folder / "raw.gpkg"


def corner_cosines(polygon):
    xy = shapely.get_coordinates(polygon)[:-1]
    a, b = xy - np.roll(xy, 1, axis=0), np.roll(xy, -1, axis=0) - xy
    return (a * b).sum(axis=1) / (np.hypot(*a.T) * np.hypot(*b.T))


def test_footprints_become_regular_and_say_how(raw, tmp_path):
    out = tmp_path / "regular.gpkg"
    made = regularize_footprints(raw, out, method="right-angles", tolerance_m=0.9)
    assert (made.number, made.kept, made.shapes) == (3, 1, {"right-angles": 2})
    table = read_vectors(out)
    assert sorted(table["status"].tolist()) == [0, 0, 1]
    regular = table[table["status"] == 0]
    assert (regular["status_text"] == "regular").all()
    assert (regular["method"] == "right-angles").all()
    assert sorted(regular["vertices"].tolist()) == [4, 6]
    assert (table["deviation_m"] <= 0.9).all()
    assert (table["iou_with_traced"] > 0.9).all()
    for polygon in regular.geometry:
        assert np.abs(corner_cosines(polygon)).max() < 1e-6
    assert table["area_m2"].to_numpy() == pytest.approx(table.area / 0.9996**2, rel=1e-3)
    note = read_metadata(out)
    assert note["settings"]["tolerance_m"] == 0.9
    assert note["before"]["command"] == read_metadata(raw)["command"]


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857"])
def test_metres_are_metres_in_any_system(raw, crs):
    """In degrees and in web Mercator, whose metres are 1.47 times too long there."""
    table = read_vectors(raw)
    here = regularize_table(table, Regularity("auto", 0.9))
    there = regularize_table(gpd.GeoDataFrame(table.to_crs(crs)), Regularity("auto", 0.9)).to_crs(table.crs)
    assert there["status"].tolist() == here["status"].tolist()
    assert there["method"].tolist() == here["method"].tolist()
    assert there["deviation_m"].to_numpy() == pytest.approx(here["deviation_m"].to_numpy(), abs=0.02)
    assert (shapely.hausdorff_distance(there.geometry.to_numpy(), here.geometry.to_numpy()) < 0.03).all()


def test_classes_are_made_regular_each_for_itself(raw):
    table = read_vectors(raw)
    both = gpd.GeoDataFrame(
        {"class": ["a"] * len(table) + ["b"] * len(table)},
        geometry=[*table.geometry, *table.geometry],
        crs=table.crs,
    )
    made = regularize_table(both, Regularity("any-angle", 0.9))
    first, second = made.geometry[: len(table)], made.geometry[len(table) :]
    assert shapely.equals_exact(first.to_numpy(), second.to_numpy(), 1e-9).all()


@pytest.mark.parametrize("names", [["a", None], [1.0, np.nan], ["nan", None]])
def test_those_without_a_class_are_a_class(raw, names):
    table = read_vectors(raw)
    both = gpd.GeoDataFrame(
        {"class": np.repeat(np.array(names, object), len(table))},
        geometry=[*table.geometry, *table.geometry],
        crs=table.crs,
    )
    made = regularize_table(both, Regularity("any-angle", 0.9)).geometry.to_numpy()
    alone = regularize_table(table, Regularity("any-angle", 0.9)).geometry.to_numpy()
    assert shapely.equals_exact(made, np.tile(alone, 2), 1e-9).all()


def test_a_layer_that_does_not_lie_in_its_crs_is_refused(raw, tmp_path):
    for name, crs in (("degrees", 4326), ("local", 'LOCAL_CS["site",UNIT["metre",1]]'), ("space", 4978)):
        table = read_vectors(raw).set_crs(crs, allow_override=True)
        table.to_parquet(tmp_path / f"{name}.parquet")
        with pytest.raises(LabelError, match="set the right CRS"):
            regularize_footprints(tmp_path / f"{name}.parquet", tmp_path / "out.gpkg")
    assert not (tmp_path / "out.gpkg").exists()


def test_an_empty_layer_has_the_columns(raw, tmp_path):
    empty = read_vectors(raw).iloc[:0]
    write_vectors(empty, tmp_path / "empty.gpkg")
    assert regularize_footprints(tmp_path / "empty.gpkg", tmp_path / "out.gpkg").number == 0
    assert {"status", "status_text", "method", "deviation_m"} <= set(read_vectors(tmp_path / "out.gpkg").columns)


def test_wrong_use_is_told(raw, tmp_path):
    with pytest.raises(OutputError):
        regularize_footprints(raw, raw / "out.gpkg")  # in a file as if it were a folder
    with pytest.raises(OutputError, match="a file ending in one of"):  # before anything is read
        regularize_footprints(tmp_path / "none.gpkg", tmp_path / "out.xyz")
    with pytest.raises(SettingsError, match="tolerance above 0"):
        regularize_footprints(raw, tmp_path / "out.gpkg", tolerance_m=0)
    lines = gpd.GeoDataFrame(geometry=[shapely.LineString([(0, 0), (9, 9)])], crs="EPSG:32633")
    with pytest.raises(LabelError, match="1 features of another kind"):
        regularize_table(lines, Regularity())
    assert not (tmp_path / "out.gpkg").exists()


def test_the_command_says_what_became_of_them(raw, tmp_path, capsys):
    out = tmp_path / "regular.parquet"
    with pytest.raises(SystemExit, match="0"):
        main(["regularize", str(raw), "-o", str(out), "--tolerance-m", "0.9"])
    said = capsys.readouterr().out
    assert "3 footprints" in said
    assert "2 right-angles; 1 of 3 could not be" in said
    with pytest.raises(SystemExit, match="2"):
        main(["regularize", str(raw), "-o", str(out), "--method", "round"])


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326"])
def test_some_at_a_time_is_all_at_once(raw, tmp_path, monkeypatch, crs):
    """Neighbours are in one bundle; rows keep their order, whatever bundle they were in."""
    one = read_vectors(raw)
    moves = np.column_stack([60.0 * np.arange(6), np.zeros(6)])
    shapes = np.concatenate([shapely.transform(one.geometry.to_numpy(), lambda xy, by=by: xy + by) for by in moves])
    order = np.random.default_rng(0).permutation(len(shapes))
    many = gpd.GeoDataFrame({"number": np.arange(len(shapes))}, geometry=shapes[order], crs=one.crs).to_crs(crs)
    write_vectors(gpd.GeoDataFrame(many), tmp_path / "many.gpkg")
    regularize_footprints(tmp_path / "many.gpkg", tmp_path / "whole.gpkg", tolerance_m=0.9)
    monkeypatch.setattr("eaves.workflows.regularize._BUNDLE", 4)
    told = []
    regularize_footprints(tmp_path / "many.gpkg", tmp_path / "some.gpkg", tolerance_m=0.9, on_progress=told.append)
    assert [step.done for step in told][-1] == len(shapes)
    assert len(told) > 2
    whole, some = read_vectors(tmp_path / "whole.gpkg"), read_vectors(tmp_path / "some.gpkg")
    assert some["number"].tolist() == list(range(len(shapes)))
    assert some["status"].tolist() == whole["status"].tolist()
    far = shapely.hausdorff_distance(some.geometry.to_numpy(), whole.geometry.to_numpy())
    assert far.max() < (1e-6 if crs == "EPSG:32633" else 1e-7)
