"""Outlines and COCO's numbers in an evaluation: on the ground, in pixels, of vectors and of traced scores."""

from __future__ import annotations

import sys

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely import box

from eaves.cli import main
from eaves.cli.footprints import summary
from eaves.errors import EavesWarning, LabelError, SettingsError
from eaves.exchange.rasters import ScoreWriter
from eaves.exchange.vectors import read_vectors, write_vectors
from eaves.metrics import MetricsReport, boundary_iou
from eaves.workflows.compare import compare_runs
from eaves.workflows.evaluate import evaluate_footprints

UTM = "EPSG:32633"
X, Y = 500_000, 5_200_000  # on the central meridian: a metre is 0.9996 units
GRID = GeoBox((200, 400), Affine(0.5, 0, X, 0, -0.5, Y + 100), UTM)
PLAIN = GeoBox((200, 400), Affine.identity(), None)
THERE = [box(10, 10, 30, 30), box(60, 10, 80, 30), box(110, 10, 130, 30)]
FOUND = [
    box(11, 10, 31, 30),
    shapely.Polygon([(60, 10), (80, 10), (80, 30), (70, 32), (60, 30)]),
    box(160, 60, 170, 70),
]


def layer(path, shapes, *, crs=UTM, scores=None, to=None):
    if crs is not None:
        shapes = [shapely.transform(shape, lambda xy: xy + np.array([X, Y])) for shape in shapes]
    table = gpd.GeoDataFrame({} if scores is None else {"score": scores}, geometry=shapes, crs=crs)
    write_vectors(table if to is None else table.to_crs(to), path)
    return path


@pytest.fixture
def pair(tmp_path):
    return layer(tmp_path / "found.gpkg", FOUND, scores=[0.9, 0.8, 0.7]), layer(tmp_path / "there.gpkg", THERE)


def score_map(path, grid, *, note=None):
    """A map that says FOUND's first shape, in pixels of half a metre."""
    levels = np.full(grid.shape, 20, np.uint8)
    levels[140:180, 22:62] = 200
    with ScoreWriter(path, grid, ("building",), note) as writer:
        writer.write(0, levels[None])
    return path


def pixels(shapes):
    """Of GRID, those whose centres the shapes hold."""
    rows, cols = np.mgrid[:200, :400]
    x, y = cols * 0.5 + 0.25, 100 - rows * 0.5 - 0.25
    return np.any([shapely.contains_xy(shape, x, y) for shape in shapes], axis=0)


# --- on the ground ----------------------------------------------------------------------------------------------------


def test_vectors_by_hand(pair, tmp_path):
    report = evaluate_footprints(*pair, tmp_path / "e").report
    outlines = report.outlines
    assert outlines.polis_m == pytest.approx((0.5 + 0.2) / 2, rel=1e-3)
    assert (outlines.vertex_ratio, outlines.vertex_ratio_all) == (9 / 8, 13 / 12)
    assert outlines.right_angle_share == (4 + 2 + 4) / 13
    assert outlines.mta_step_m == pytest.approx(0.6, rel=1e-3)  # twice the 0.3 m of the grid
    assert outlines.iou == report.pixels.iou
    assert outlines.boundary_iou == report.pixels.boundary_iou
    assert outlines.c_iou == pytest.approx(outlines.iou * (1 - 1 / 25))
    assert (outlines.invalid, outlines.matched, report.coco) == (0, 2, None)
    assert MetricsReport.model_validate_json((tmp_path / "e" / "metrics.json").read_text()) == report


@pytest.mark.parametrize("crs", [4326, 3857])
def test_metres_are_metres_whatever_the_system(pair, tmp_path, crs):
    plain = evaluate_footprints(*pair, tmp_path / "a").report.outlines
    others = (layer(tmp_path / f"{name}.gpkg", shapes, to=crs) for name, shapes in (("f", FOUND), ("t", THERE)))
    outlines = evaluate_footprints(*others, tmp_path / "b").report.outlines
    assert outlines.polis_m == pytest.approx(plain.polis_m, abs=2e-3)
    assert outlines.min_edge_m == pytest.approx(plain.min_edge_m, rel=1e-3)
    assert outlines.right_angle_share == plain.right_angle_share
    assert outlines.overlap_m2 == pytest.approx(0, abs=1e-6)


def test_a_layer_against_itself_is_perfect(pair, tmp_path):
    outlines = evaluate_footprints(pair[1], pair[1], tmp_path / "e").report.outlines
    assert (outlines.c_iou, outlines.boundary_iou, outlines.vertex_ratio, outlines.polis_m) == (1, 1, 1, 0)
    assert outlines.mta_deg == pytest.approx(0, abs=1e-3)


def test_every_building_in_a_table(pair, tmp_path):
    evaluate_footprints(*pair, tmp_path / "e")
    table = read_vectors(tmp_path / "e" / "matches.parquet")
    assert table.status.tolist() == ["tp", "tp", "fp", "fn"]
    assert table.prediction.tolist() == [0, 1, 2, -1]
    assert table.reference.tolist() == [0, 1, -1, 2]
    assert table.polis_m[:2].tolist() == pytest.approx([0.5, 0.2], rel=1e-3)
    assert table.polis_m[2:].isna().all()
    assert table.mta_deg.notna().tolist() == [True, True, False, False]
    assert table.vertices.dropna().tolist() == [4, 5, 4]
    assert table.reference_vertices.dropna().tolist() == [4, 4, 4]
    assert table.iou[0] == pytest.approx(19 / 21)
    assert table.crs == UTM


def test_empty_layers(pair, tmp_path):
    none = layer(tmp_path / "none.gpkg", [])
    for number, sides in enumerate(((none, pair[1]), (pair[0], none))):
        aoi = layer(tmp_path / "aoi.gpkg", [box(0, 0, 200, 100)])
        result = evaluate_footprints(*sides, tmp_path / str(number), aoi=aoi)
        assert (result.report.outlines.matched, result.report.outlines.polis_m) == (0, None)
        assert len(read_vectors(tmp_path / str(number) / "matches.parquet")) == 3


def test_what_was_invalid_is_counted_before_it_is_mended(pair, tmp_path):
    bow = shapely.Polygon([(200, 10), (220, 30), (220, 10), (200, 30)])
    for suffix in ("gpkg", "parquet"):
        broken = layer(tmp_path / f"broken.{suffix}", [*FOUND, bow])
        with pytest.warns(EavesWarning, match="1 invalid mended"):
            report = evaluate_footprints(broken, pair[1], tmp_path / "e").report
        assert report.outlines.invalid == 1
        assert report.objects.fp == 3  # two triangles of it, and the invented one


def test_min_score_measures_what_is_kept(pair, tmp_path):
    kept = evaluate_footprints(*pair, tmp_path / "e", min_score=0.75, coco=True).report
    assert (kept.outlines.vertex_ratio_all, kept.coco.max_detections) == (9 / 12, 3)


# --- traced scores, pixels --------------------------------------------------------------------------------------------


def test_the_outlines_of_a_score_map_are_the_traced_ones(pair, tmp_path):
    scores = score_map(tmp_path / "s.tif", GRID)
    report = evaluate_footprints(scores, pair[1], tmp_path / "e").report
    assert report.outlines.polis_m == pytest.approx(0.5, abs=0.05)
    assert report.outlines.mta_step_m == pytest.approx(1.0, rel=1e-3)
    table = read_vectors(tmp_path / "e" / "matches.parquet")
    [footprint] = table.geometry[table.status == "tp"]
    truth, drawn = pixels(THERE), pixels([shapely.transform(footprint, lambda xy: xy - np.array([X, Y]))])
    assert report.outlines.iou == (truth & drawn).sum() / (truth | drawn).sum()
    assert report.outlines.boundary_iou == boundary_iou(truth, drawn, 4)
    scored = np.zeros((200, 400), bool)
    scored[140:180, 22:62] = True
    assert report.pixels.iou == (truth & scored).sum() / (truth | scored).sum()


def test_a_score_map_that_is_not_what_is_traced(pair, tmp_path):
    """A speck that is too small to be traced is in the pixels and not in the outlines."""
    path = tmp_path / "s.tif"
    levels = np.full(GRID.shape, 20, np.uint8)
    levels[140:180, 22:62] = levels[20:24, 300:304] = 200
    with ScoreWriter(path, GRID, ("building",), None) as writer:
        writer.write(0, levels[None])
    report = evaluate_footprints(path, pair[1], tmp_path / "e", min_area_m2=50).report
    assert report.outlines.iou > report.pixels.iou
    assert report.outlines.boundary_iou > report.pixels.boundary_iou


def test_pixels_are_metres_only_where_somebody_says_so(tmp_path):
    there = layer(tmp_path / "there.gpkg", [box(20, 140, 60, 180)], crs=None)
    known, unknown = (
        evaluate_footprints(score_map(tmp_path / "s.tif", PLAIN, note=note), there, tmp_path / "e", coco=True).report
        for note in ({"settings": {"gsd_m": 0.5}}, None)
    )
    assert known.outlines.polis_m == pytest.approx(0.5, abs=0.05)  # a pixel is 0.5 m, and the shift is 2 px
    assert (known.outlines.mta_step_m, known.coco.boundary_px) == (1.0, 4)
    assert (unknown.outlines.polis_m, unknown.outlines.mta_step_m, unknown.outlines.boundary_iou) == (None,) * 3
    assert unknown.outlines.mta_deg == known.outlines.mta_deg
    assert (unknown.coco.ap, unknown.coco.boundary_ap) == (known.coco.ap, None)
    assert read_vectors(tmp_path / "e" / "matches.parquet").polis_m.isna().all()


# --- COCO -------------------------------------------------------------------------------------------------------------


def test_coco_by_hand(pair, tmp_path):
    report = evaluate_footprints(*pair, tmp_path / "e", coco=True).report
    # The two matches come before the invented one: precision 1 up to a recall of 2 / 3.
    assert report.coco.ap50 == pytest.approx(67 / 101)
    assert report.coco.ap == pytest.approx(report.objects.ap, abs=0.1)
    assert report.coco.boundary_ap < report.coco.ap
    assert (report.coco.boundary_px, report.coco.max_detections) == (7, 3)
    assert report.coco.gsd_m == pytest.approx(0.3, rel=1e-3)


def test_coco_ranks_the_predictions(pair, tmp_path):
    """The invented one is the surest, and the first in its file: a precision of 2 / 3 at best."""
    sure = layer(tmp_path / "sure.gpkg", [FOUND[2], *FOUND[:2]], scores=[0.9, 0.8, 0.7])
    report = evaluate_footprints(sure, pair[1], tmp_path / "e", coco=True).report
    assert report.coco.ap50 == report.objects.ap50 == pytest.approx(67 * 2 / 3 / 101)


def test_coco_leaves_out_what_the_objects_leave_out(pair, tmp_path):
    there = layer(tmp_path / "more.gpkg", [*THERE, box(90, 60, 91, 61), box(300, 10, 320, 30)])
    aoi = layer(tmp_path / "aoi.gpkg", [box(0, 0, 200, 100)])
    one = evaluate_footprints(*pair, tmp_path / "a", coco=True).report.coco
    other = evaluate_footprints(pair[0], there, tmp_path / "b", coco=True, aoi=aoi, min_area_m2=4).report.coco
    assert other.model_copy(update={"gsd_m": one.gsd_m}) == one
    assert other.gsd_m == pytest.approx(one.gsd_m, rel=1e-4)  # the same grid around another place


def test_coco_needs_scores_and_its_package(pair, tmp_path, monkeypatch):
    bare = layer(tmp_path / "bare.gpkg", FOUND)
    with pytest.raises(SettingsError, match="column 'score' for --coco"):
        evaluate_footprints(bare, pair[1], tmp_path / "e", coco=True)
    (tmp_path / "d.toml").write_text("")
    with pytest.raises(SettingsError, match="--coco"):
        evaluate_footprints(tmp_path / "s.tif", tmp_path / "d.toml", tmp_path / "e", coco=True)
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(SettingsError, match=r"eaves\[coco\]"):
        evaluate_footprints(*pair, tmp_path / "e", coco=True)
    assert not (tmp_path / "e").exists()
    assert evaluate_footprints(*pair, tmp_path / "e").report.coco is None


# --- what is said -----------------------------------------------------------------------------------------------------


def test_the_command_says_it_in_a_line(pair, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", *map(str, pair), "-o", str(tmp_path / "e"), "--coco"])
    assert not stop.value.code
    lines = {line.split(":")[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "PoLiS 0.350 m" in lines["outlines"]
    assert "vertex ratio 1.125  right angles 0.769" in lines["outlines"]
    assert "(0 invalid)" in lines["outlines"]
    assert "(7 px wide)" in lines["COCO"]


def test_numbers_that_are_undefined_are_said_so(tmp_path):
    none, there = layer(tmp_path / "none.gpkg", []), layer(tmp_path / "there.gpkg", THERE)
    report = evaluate_footprints(none, there, tmp_path / "e").report
    [line] = [line for line in summary(report) if line.startswith("outlines")]
    assert "PoLiS undefined" in line
    assert "MTA undefined" in line


def test_compare_reads_them(pair, tmp_path):
    evaluate_footprints(*pair, tmp_path / "runs" / "one", coco=True)
    evaluate_footprints(pair[1], pair[1], tmp_path / "runs" / "two")
    rows = compare_runs(tmp_path / "runs", tmp_path / "out", columns="outlines").table.splitlines()
    heading = [cell.strip() for cell in rows[0].split("|")[1:-1]]
    assert heading[:5] == ["algorithm", "IoU", "boundary IoU", "C-IoU", "PoLiS m"]
    assert heading[5:] == ["vertex ratio", "right angles", "MTA deg", "invalid", "object F1", "boundary AP"]
    best, other = ([cell.strip() for cell in row.split("|")[1:-1]] for row in rows[2:4])
    assert best == ["two", "1.000", "1.000", "1.000", "0.000", "1.000", "1.000", "0.0", "0", "1.000", ""]
    assert other[4:7] == ["0.350", "1.125", "0.769"]
    assert "polis_m" in (tmp_path / "out" / "compare.csv").read_text().splitlines()[0].split(",")


def test_layers_that_do_not_lie_in_their_crs_are_refused(tmp_path):
    metres = [shapely.transform(shape, lambda xy: xy + np.array([X, Y])) for shape in THERE]
    far = [box(15, 47, 15.001, 47.001), box(15, 147, 15.001, 147.001)]
    for shapes, crs in ((metres, 4326), (far, 4326), (metres, 'LOCAL_CS["site",UNIT["metre",1]]'), (metres, 4978)):
        gpd.GeoDataFrame(geometry=shapes, crs=crs).to_parquet(tmp_path / "x.parquet")
        with pytest.raises(LabelError, match="set the right CRS"):
            evaluate_footprints(tmp_path / "x.parquet", tmp_path / "x.parquet", tmp_path / "e")


def test_an_aoi_without_a_crs_is_refused(pair, tmp_path):
    write_vectors(gpd.GeoDataFrame(geometry=[box(X, Y, X + 200, Y + 100)]), tmp_path / "aoi.gpkg")
    with pytest.raises(LabelError, match=r"an AOI in the system of the layers\. Received no CRS"):
        evaluate_footprints(*pair, tmp_path / "e", aoi=tmp_path / "aoi.gpkg")
