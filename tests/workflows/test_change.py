"""Two years compared, as layers and as scenes, from Python and from the command line."""

from __future__ import annotations

import logging
import sqlite3
import warnings
from contextlib import closing

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from scipy import ndimage
from shapely import box

import eaves
from eaves.cli import main
from eaves.errors import EavesWarning, LabelError, OutputError, SceneError, SettingsError
from eaves.exchange.rasters import write_raster
from eaves.exchange.scoremap import open_scores
from eaves.exchange.vectors import read_metadata, read_vectors, write_vectors
from eaves.footprints import compare_footprints
from eaves.workflows.change_ground import Plane, imaged_area

UTM = "EPSG:32633"
AT = np.array([500_000.0, 5_200_000.0])
AREA = box(*(AT - 60), *(AT + 400))
COLUMNS = "change kind old_id new_id old_count new_count iou area_old_m2 area_new_m2 area_change_m2 gained_m2 lost_m2"


def houses(shift=(0.0, 0.0)) -> list[shapely.Polygon]:
    """Forty of different sizes, 20 m apart."""
    rng = np.random.default_rng(0)
    low = AT + shift + 20.0 * np.column_stack([np.arange(40) % 8, np.arange(40) // 8])
    return [box(*one, *(one + side)) for one, side in zip(low, rng.uniform(6, 14, (40, 2)), strict=True)]


def layer(path, shapes, crs=UTM, to=None):
    table = gpd.GeoDataFrame({"name": ["x"] * len(shapes)}, geometry=shapes, crs=crs)
    write_vectors(table if to is None else table.to_crs(to), path)
    return path


SHIFT = np.array([2.4, -1.3])


@pytest.fixture(scope="module")
def years(tmp_path_factory):
    """House 3 is gone, 7 larger, 11 cut in two, one is new; the later layer lies off."""
    folder = tmp_path_factory.mktemp("years")
    old, new = houses(), houses(SHIFT)
    left, low, right, top = new[7].bounds
    new[7] = box(left, low, right + 4, top)
    left, low, right, top = new[11].bounds
    new[11:12] = [box(left, low, (left + right) / 2, top), box((left + right) / 2, low, right, top)]
    del new[3]
    new.append(box(*(AT + SHIFT + (200, 0)), *(AT + SHIFT + (210, 12))))
    layer(folder / "aoi.gpkg", [AREA])
    return layer(folder / "old.gpkg", old), layer(folder / "new.gpkg", new), folder / "aoi.gpkg"


@pytest.fixture(scope="module")
def changes(years, tmp_path_factory):
    old, new, aoi = years
    return eaves.change_footprints(old, new, tmp_path_factory.mktemp("c") / "changes.gpkg", aoi=aoi)


def rows_of(table: gpd.GeoDataFrame) -> list[tuple]:
    said = table[["change", "kind", "old_id", "new_id"]].astype(object).where(table.notna(), None)
    return sorted(map(tuple, said.to_numpy().tolist()), key=str)


# --- layers -----------------------------------------------------------------------------------------------------------


def test_every_building_has_what_became_of_it(changes, years):
    table = read_vectors(changes.path)
    assert list(table.columns) == [*COLUMNS.split(), "moved_m", "geometry"]
    assert changes.counts == {"added": 1, "removed": 1, "altered": 1, "unchanged": 38}
    by_old = table.dropna(subset="old_id").set_index("old_id")
    assert by_old.loc["4", "change"] == "removed"
    assert tuple(by_old.loc["8", ["change", "kind", "new_id"]]) == ("altered", "extended", "7")
    assert tuple(by_old.loc["12", ["change", "kind", "new_id", "new_count"]]) == ("unchanged", "split", "11,12", 2)
    assert by_old.loc["8", "gained_m2"] == pytest.approx(4 * np.ptp(shapely.bounds(houses()[7])[[1, 3]]), rel=0.01)
    assert by_old.loc["8", "area_change_m2"] == pytest.approx(by_old.loc["8", "gained_m2"], rel=0.01)
    added = table[table["change"] == "added"].iloc[0]
    assert added["new_id"] == "41"
    assert (added["old_count"], added["area_old_m2"], added["iou"]) == (0, 0, 0)
    assert added["area_new_m2"] == pytest.approx(120, rel=1e-3)
    still = table[(table["change"] == "unchanged") & table["kind"].isna()]
    assert (still["iou"] > 0.99).all()
    assert (still["moved_m"] < 0.05).all()


def test_the_shift_is_told_and_taken_back(changes):
    assert changes.aligned
    assert (changes.shift.dx, changes.shift.dy) == pytest.approx(tuple(SHIFT), abs=0.02)
    assert changes.text == (
        "41 buildings: 38 unchanged, 1 added, 1 removed, 1 altered; "
        "the new layer lies 2.4 m east, 1.3 m south of the old"
    )


def test_geometry_is_the_new_one_and_of_the_removed_the_old_one_moved(changes, years):
    table, new = read_vectors(changes.path), read_vectors(years[1])
    assert table.crs == new.crs
    for _, row in table.iterrows():
        if row["change"] == "removed":
            wanted = houses(SHIFT)[3]
        else:
            wanted = shapely.union_all([new.geometry.iloc[int(number) - 1] for number in row["new_id"].split(",")])
        assert shapely.symmetric_difference(row["geometry"], wanted).area < 1.0


def test_the_layer_says_where_it_comes_from_and_how_it_looks(changes, years):
    note = read_metadata(changes.path)
    assert note["command"] == "eaves change"
    assert set(note["inputs"]) == {"old", "new", "aoi"}
    assert note["settings"] == {"tolerance_m": 1.0, "min_change_m2": 4.0, "align": True, "max_shift_m": 15.0}
    assert note["result"]["unchanged"] == 38
    assert note["result"]["shift"] == pytest.approx(SHIFT.tolist(), abs=0.02)
    with closing(sqlite3.connect(changes.path)) as connection:
        ((name, style),) = connection.execute("SELECT f_table_name, styleQML FROM layer_styles")
    assert name == "changes"
    assert 'attr="change"' in style


def test_the_same_years_give_the_same_bytes(changes, years, tmp_path):
    old, new, aoi = years
    again = eaves.change_footprints(old, new, tmp_path / "changes.gpkg", aoi=aoi)
    assert again.path.read_bytes() == changes.path.read_bytes()
    assert again.page.read_bytes() == changes.page.read_bytes()


@pytest.mark.parametrize(("old_crs", "new_crs"), [("EPSG:4326", UTM), (UTM, "EPSG:3857"), ("EPSG:4326", "EPSG:4326")])
def test_systems_do_not_matter(changes, years, tmp_path, caplog, old_crs, new_crs):
    old, new, aoi = years
    there = [
        layer(tmp_path / f"{name}.gpkg", read_vectors(path).geometry, to=crs)
        for name, path, crs in (("a", old, old_crs), ("b", new, new_crs))
    ]
    with caplog.at_level(logging.INFO):
        found = eaves.change_footprints(*there, tmp_path / "c.gpkg", aoi=aoi)
    assert ("reprojected" in caplog.text) == (old_crs != new_crs)
    table = read_vectors(found.path)
    assert table.crs == new_crs
    assert rows_of(table) == rows_of(read_vectors(changes.path))
    assert found.text == changes.text
    assert table["area_new_m2"].sum() == pytest.approx(read_vectors(changes.path)["area_new_m2"].sum(), rel=2e-3)


def test_without_a_crs_lengths_are_pixels(years, tmp_path):
    plain = [
        layer(
            tmp_path / f"{path.stem}.gpkg",
            [shapely.affinity.translate(one, *-AT) for one in read_vectors(path).geometry],
            None,
        )
        for path in years
    ]
    found = eaves.change_footprints(plain[0], plain[1], tmp_path / "c.gpkg", aoi=plain[2])
    table = read_vectors(found.path)
    assert table.crs is None
    assert {"area_old_px", "gained_px", "moved_px"} <= set(table.columns)
    assert found.text.endswith("the new layer lies 2.4 px right, 1.3 px up of the old")
    assert "x, px" in found.page.read_text()


def test_parts_of_a_multipolygon_are_buildings_of_their_own(tmp_path):
    shapes = houses()
    old = layer(tmp_path / "old.gpkg", [shapely.MultiPolygon(shapes[:2]), *shapes[2:]])
    aoi = layer(tmp_path / "aoi.gpkg", [AREA])
    found = eaves.change_footprints(old, layer(tmp_path / "new.gpkg", shapes[1:]), tmp_path / "c.gpkg", aoi=aoi)
    table = read_vectors(found.path)
    assert found.counts == {"added": 0, "removed": 1, "altered": 0, "unchanged": 39}
    assert table.loc[table["change"] == "removed", "old_id"].tolist() == ["1"]
    assert "1" in table.loc[table["change"] == "unchanged", "old_id"].tolist()


@pytest.mark.parametrize(("suffix", "first"), [(".gpkg", 1), (".shp", 0), (".parquet", 0)])
def test_numbers_are_those_of_the_file_whatever_is_dropped(tmp_path, suffix, first):
    old, new = tmp_path / f"old{suffix}", layer(tmp_path / "new.gpkg", houses())
    table = gpd.GeoDataFrame({"name": range(40)}, geometry=[*houses()[:3], None, *houses()[4:]], crs=UTM)
    write_vectors(table, old)
    aoi = layer(tmp_path / "aoi.gpkg", [AREA])
    with pytest.warns(EavesWarning, match="1 without geometry dropped"):
        found = eaves.change_footprints(old, new, tmp_path / "c.gpkg", aoi=aoi)
    told = read_vectors(found.path)
    assert found.counts["unchanged"] == 39
    still = told[told["change"] == "unchanged"]
    assert (still["old_id"].astype(int) - first == still["new_id"].astype(int) - 1).all()
    assert told.loc[told["change"] == "added", "new_id"].tolist() == ["4"]


def test_what_was_valid_stays_so_when_it_is_moved(tmp_path, monkeypatch):
    plain = shapely.Polygon(box(0, 0, 12, 8).exterior, [[(0, 4), (3, 3), (3, 5)], [(12, 4), (9, 3), (9, 5)]])
    rng = np.random.default_rng(0)
    turned = [shapely.affinity.rotate(plain, angle, (0, 0)) for angle in rng.uniform(0, 90, 600)]
    low = 20.0 * np.column_stack([np.arange(600) % 30, np.arange(600) // 30]) + rng.uniform(0, 5, (600, 2))
    shapes = [shapely.affinity.translate(one, *by) for one, by in zip(turned, low, strict=True)]
    shapes = [one for one in shapes if one.is_valid]
    old = layer(tmp_path / "old.gpkg", shapes, None)
    later = [shapely.affinity.translate(one, *SHIFT) for one in shapes[:-40]]
    new = layer(tmp_path / "new.gpkg", [one for one in later if one.is_valid], None)
    bad = []

    def compare(*sides, **options):
        bad.extend(int((~shapely.is_valid(side)).sum()) for side in sides)
        return compare_footprints(*sides, **options)

    monkeypatch.setattr("eaves.workflows.change.compare_footprints", compare)
    with pytest.warns(EavesWarning, match="without --aoi"):
        found = eaves.change_footprints(old, new, tmp_path / "c.gpkg")
    assert found.aligned
    assert bad == [0, 0]
    assert read_vectors(found.path).is_valid.all()  # without a warning that something was mended


@pytest.mark.parametrize("crs", [4326, 'LOCAL_CS["site",UNIT["metre",1]]', 4978])
def test_layers_that_do_not_lie_in_their_crs_are_refused(tmp_path, crs):
    gpd.GeoDataFrame(geometry=houses(), crs=crs).to_parquet(tmp_path / "x.parquet")
    far = [box(15, 47, 15.001, 47.001), box(15, 147, 15.001, 147.001)]
    gpd.GeoDataFrame(geometry=far, crs=4326).to_parquet(tmp_path / "far.parquet")
    for name in ("x.parquet", "far.parquet"):
        with pytest.raises(LabelError, match="set the right CRS"):
            eaves.change_footprints(tmp_path / name, tmp_path / name, tmp_path / "c.gpkg")


def test_outside_the_aoi_nothing_counts(years, tmp_path):
    old, new, _ = years
    aoi = layer(tmp_path / "aoi.gpkg", [box(*(AT - 10), *(AT + np.array([75, 400])))], to="EPSG:4326")
    found = eaves.change_footprints(old, new, tmp_path / "c.gpkg", aoi=aoi)
    assert found.counts["added"] == 0
    assert found.outside == (20, 21)  # the added one, too
    assert sum(found.counts.values()) == 20
    with pytest.raises(LabelError, match="ground that both years show"):
        eaves.change_footprints(old, new, tmp_path / "d.gpkg", aoi=layer(tmp_path / "none.gpkg", [AREA][:0]))


def test_without_an_aoi_it_says_what_it_cannot_know(years, tmp_path):
    with pytest.warns(EavesWarning, match=r"without --aoi.* 0 old buildings lie beyond the new layer, 1 new ones"):
        found = eaves.change_footprints(*years[:2], tmp_path / "c.gpkg")
    assert found.counts["unchanged"] == 38
    assert "Nothing said which ground both layers cover" in found.page.read_text()


def test_what_is_unsure_is_not_moved_and_what_is_not_wanted_neither(years, tmp_path):
    old, new, aoi = years
    found = eaves.change_footprints(old, new, tmp_path / "c.gpkg", aoi=aoi, align=False)
    assert not found.aligned
    assert found.counts["unchanged"] < 5
    assert found.text.endswith("2.4 m east, 1.3 m south of the old, not taken back")
    few = [layer(tmp_path / f"{name}.gpkg", houses(by)[:2]) for name, by in (("a", (0, 0)), ("b", (3.5, 0)))]
    with pytest.warns(EavesWarning, match="cannot be told .2 of 2 buildings agree.: nothing moved"):
        found = eaves.change_footprints(*few, tmp_path / "d.gpkg", aoi=aoi)
    assert not found.aligned
    assert found.counts["altered"] == 2


@pytest.mark.parametrize("number", [(0, 40), (40, 0), (0, 0)])
def test_empty_layers(tmp_path, number):
    paths = [layer(tmp_path / f"{name}.gpkg", houses()[:n]) for name, n in zip("ab", number, strict=True)]
    found = eaves.change_footprints(*paths, tmp_path / "c.gpkg", aoi=layer(tmp_path / "aoi.gpkg", [AREA]))
    assert found.counts == {"added": number[1], "removed": number[0], "altered": 0, "unchanged": 0}
    assert len(read_vectors(found.path)) == sum(number)
    with pytest.warns(EavesWarning, match="without --aoi"):
        eaves.change_footprints(*paths, tmp_path / "d.gpkg")


@pytest.mark.parametrize("suffix", [".parquet", ".geojson", ".fgb"])
def test_other_formats_hold_the_same(changes, years, tmp_path, suffix):
    old, new, aoi = years
    found = eaves.change_footprints(old, new, tmp_path / f"c{suffix}", aoi=aoi, summary=tmp_path / "s" / "page.html")
    table = read_vectors(found.path)
    assert rows_of(table) == rows_of(read_vectors(changes.path))
    assert found.page == tmp_path / "s" / "page.html"
    assert found.page.exists()
    assert not (tmp_path / "c.html").exists()


def test_what_cannot_be_compared_is_refused(years, tmp_path):
    old, new, _ = years
    bare, far = layer(tmp_path / "bare.gpkg", houses(), None), layer(tmp_path / "far.gpkg", houses((9000, 0)))
    line = tmp_path / "line.gpkg"
    write_vectors(gpd.GeoDataFrame(geometry=[shapely.LineString([AT, AT + 9])], crs=UTM), line)
    out = tmp_path / "c.gpkg"
    for paths, options, error, words in (
        ((old, bare), {}, LabelError, "no CRS in .*bare"),
        ((old, far), {}, LabelError, "two layers of the same place"),
        ((old, line), {}, LabelError, "polygons in .*line"),
        ((old, tmp_path / "none.gpkg"), {}, LabelError, "does not exist"),
        ((old, new), {"aoi": bare}, LabelError, "an AOI in the system"),
        ((old, new), {"tolerance_m": 0}, SettingsError, "tolerance"),
        ((old, new), {"max_shift_m": -1}, SettingsError, "largest shift"),
        ((old, new), {"model": "m.safetensors"}, SettingsError, "two scenes with --model"),
        ((old, "new.tif"), {"model": "m.safetensors"}, SettingsError, "eaves extract"),
        (("old.tif", "new.tif"), {}, SettingsError, "add --model"),
        ((old, new), {"summary": tmp_path}, OutputError, "a file name"),
        ((tmp_path / "none.gpkg", new), {"summary": tmp_path / "." / "c.gpkg"}, OutputError, "c.gpkg twice"),
        ((old, new), {"max_shift_m": 1e9}, SettingsError, "a million tolerances"),
    ):
        with pytest.raises(error, match=f"(?s){words}"):
            eaves.change_footprints(*paths, out, **options)
    assert not out.exists()


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_tells_the_main_things(changes):
    text = changes.page.read_text(encoding="utf-8")
    assert changes.page.name == "changes.html"
    assert "Changes between old.gpkg and new.gpkg" in text
    assert changes.text[3:] in text
    assert "of these split (mapped as several now)" in text
    assert text.count("data:image/png;base64,") == 1 + 3  # the map, and one picture a change
    assert "46.95" in text  # latitude of the changes
    assert "of 40 buildings find one of their size there (sure:" in text
    assert "max_shift_m" in text


def test_names_of_files_stay_text(tmp_path):
    paths = [layer(tmp_path / f"{name} & <b>x.gpkg", houses()) for name in ("a", "b")]
    found = eaves.change_footprints(*paths, tmp_path / "c.gpkg", aoi=layer(tmp_path / "aoi.gpkg", [AREA]))
    text = found.page.read_text()
    assert "<b>" not in text
    assert "a &amp; &lt;b&gt;x.gpkg" in text
    assert "The largest changes" not in text  # there are none


# --- scenes -----------------------------------------------------------------------------------------------------------

GRID = GeoBox((192, 160), Affine(0.3, 0, AT[0], 0, -0.3, AT[1]), "EPSG:32633")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory, untrained):
    """Soft blots, the same once more without its right third, and a network that knows nothing."""
    folder = tmp_path_factory.mktemp("scenes")
    noise = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(3, *GRID.shape)), (0, 3, 3))
    image = np.clip(128 + 60 * noise / noise.std(), 1, 255).astype(np.uint8)
    for name, shown in (("old", 160), ("new", 110), ("none", 0)):
        part = image.copy()
        part[:, :, shown:] = 0
        write_raster(folder / f"{name}.tif", GRID, part, nodata=0)
    untrained(folder / "m.safetensors")
    eaves.predict_scores(folder / "old.tif", folder / "m.safetensors", folder / "s.tif")
    levels = open_scores(folder / "s.tif").read()
    return folder, {"threshold": float(np.quantile(levels, 0.7)) / 254, "min_area_m2": 1.0, "min_change_m2": 1.0}


def test_scenes_are_compared_where_both_show_something(scenes, tmp_path):
    folder, options = scenes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EavesWarning)  # so few blots may not tell a shift
        found = eaves.change_footprints(
            folder / "old.tif", folder / "new.tif", tmp_path / "c.gpkg", model=folder / "m.safetensors", **options
        )
    both = [read_vectors(tmp_path / f"c_{year}.gpkg") for year in ("old", "new")]
    beyond = both[0].geometry.centroid.x > AT[0] + 0.3 * 125
    assert beyond.sum() > 0
    assert found.outside[0] >= beyond.sum()
    table = read_vectors(found.path)
    assert len(table) > 3
    assert (table.geometry.bounds["minx"] < AT[0] + 0.3 * 110).all()
    far = table[table.geometry.bounds["maxx"] < AT[0] + 0.3 * 70]  # beyond what the network sees of the rim
    assert len(far) > 2
    assert (far["change"] == "unchanged").all()
    note = read_metadata(found.path)
    assert set(note["inputs"]) == {"old", "new", "model"}
    assert note["settings"]["threshold"] == options["threshold"]
    text = found.page.read_text()
    assert text.count("data:image/jpeg;base64,") >= 1
    assert "Compared inside" in text


def test_a_scene_against_itself_has_not_changed(scenes, tmp_path):
    folder, options = scenes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EavesWarning)
        found = eaves.change_footprints(
            folder / "old.tif", folder / "old.tif", tmp_path / "c.gpkg", model=folder / "m.safetensors", **options
        )
    assert found.counts["unchanged"] == sum(found.counts.values()) > 5
    assert found.outside[0] == found.outside[1]


def test_scenes_that_show_nothing_in_common(scenes, tmp_path):
    folder, options = scenes
    with pytest.raises(LabelError, match="ground that both years show"):
        eaves.change_footprints(
            folder / "old.tif", folder / "none.tif", tmp_path / "c.gpkg", model=folder / "m.safetensors", **options
        )
    with pytest.raises(SceneError):
        eaves.change_footprints("a.tif", "b.tif", tmp_path / "c.gpkg", model=folder / "m.safetensors")
    with pytest.raises(SettingsError, match="a file for the changes of scenes"):
        eaves.change_footprints("a.tif", "b.tif", "postgresql://me@here/base?table=changes", model="m.safetensors")


def test_the_imaged_area_is_what_the_scene_shows(scenes):
    scene = eaves.Scene(scenes[0] / "new.tif")
    left, bottom, right, top = shapely.bounds(imaged_area(scene, Plane()))
    assert (left, right) == pytest.approx((AT[0], AT[0] + 33), abs=0.4)
    assert (bottom, top) == pytest.approx((AT[1] - 0.3 * 192, AT[1]), abs=0.4)


# --- command line -----------------------------------------------------------------------------------------------------


def test_the_command_prints_one_line_of_counts(years, tmp_path, capsys):
    old, new, aoi = years
    with pytest.raises(SystemExit, match="0"):
        main(["change", str(old), str(new), "-o", str(tmp_path / "c.gpkg"), "--aoi", str(aoi), "--tolerance-m", "0.8"])
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert last == (
        "41 buildings: 38 unchanged, 1 added, 1 removed, 1 altered; "
        "the new layer lies 2.4 m east, 1.3 m south of the old"
    )
    assert read_metadata(tmp_path / "c.gpkg")["settings"]["tolerance_m"] == 0.8
    with pytest.raises(SystemExit, match="0"):
        main(["change", str(old), str(new), "-o", str(tmp_path / "d.gpkg"), "--aoi", str(aoi), "--no-align", "--quiet"])
    assert not capsys.readouterr().out
    assert read_metadata(tmp_path / "d.gpkg")["result"]["aligned"] is False


def test_the_command_explains_itself(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["change", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    for words in ("--tolerance-m", "in metres", "1.0", "--no-align", "--aoi", "--max-shift-m"):
        assert words in said
    with pytest.raises(SystemExit, match="1"):
        main(["change", "none.gpkg", "none.gpkg", "-o", "c.gpkg"])
