"""Labels that lie off the image, moved back."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely

from eaves.errors import EavesWarning, LabelError, SceneError
from eaves.exchange.vectors import read_vectors
from eaves.labels import burn
from eaves.labels.align import align_features
from eaves.scene import Scene
from eaves.synth import City, plan_city, render

SIDE, GSD_M = 800, 0.3


@pytest.fixture(scope="module")
def city() -> City:
    return plan_city(SIDE, GSD_M, seed=1)


@pytest.fixture(scope="module")
def ortho(city: City, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("align") / "city.tif", render(city)[0], city)


def write(path: Path, image: np.ndarray, city: City, **profile: object) -> Path:
    shape = {"count": len(image), "height": image.shape[1], "width": image.shape[2], "dtype": image.dtype.name}
    place = {"crs": "EPSG:32633", "transform": city.grid.affine}
    with rasterio.open(path, "w", **{"driver": "GTiff", **shape, **place, **profile}) as file:
        file.write(image)
    return path


def houses(city: City, field=None) -> gpd.GeoDataFrame:
    """The city's buildings, each corner moved by a field of place: x and y in pixels → right and down in pixels."""
    table = city.buildings.reset_index(drop=True)
    if field is None:
        return table
    back = ~city.grid.affine

    def move(xy):
        pixels = np.column_stack([back.a * xy[:, 0] + back.c, back.e * xy[:, 1] + back.f])
        return xy + field(pixels) * (GSD_M, -GSD_M)

    return table.set_geometry(gpd.GeoSeries(shapely.transform(table.geometry.values, move), crs=table.crs))


def middles(table: gpd.GeoDataFrame) -> np.ndarray:
    return shapely.get_coordinates(shapely.centroid(table.geometry.values))


def lie_off_px(table: gpd.GeoDataFrame, city: City) -> np.ndarray:
    return np.hypot(*(middles(table) - middles(houses(city))).T) / GSD_M


def constant(pixels: np.ndarray) -> np.ndarray:
    return np.tile((6.3, -4.6), (len(pixels), 1))


def slow(pixels: np.ndarray) -> np.ndarray:
    """2 to 4 m, changing by 5 mm a metre."""
    x, y = pixels.T / SIDE
    return np.column_stack([-6 - 4 * x + 1.5 * y * y, 5 + 3 * np.sin(2 * y) - 2 * x])


@pytest.mark.parametrize("mode", ["scene", "block"])
def test_a_constant_shift_is_taken_back(ortho, city, mode):
    moved, report = align_features(houses(city, constant), Scene(ortho), mode)
    off = lie_off_px(moved, city)
    assert np.median(off) < 0.3
    assert np.percentile(off, 95) < 0.5
    assert report.moved == len(moved) == len(report.shifts_m)
    assert report.sure > 0.7 * report.blocks
    assert report.offset_m == pytest.approx((-6.3 * GSD_M, 4.6 * GSD_M), abs=0.3 * GSD_M)
    assert f"{len(moved)} of {len(moved)} features moved" in str(report)


def test_a_slow_field_is_taken_back_block_by_block(ortho, city):
    moved, _ = align_features(houses(city, slow), Scene(ortho), "block")
    off = lie_off_px(moved, city)
    assert np.median(off) < 0.3
    assert np.percentile(off, 90) < 0.5
    one, report = align_features(houses(city, slow), Scene(ortho), "scene")
    assert np.median(lie_off_px(one, city)) > 2 * np.median(off)
    assert np.ptp(report.shifts_m, axis=0).max() == 0


@pytest.mark.parametrize("mode", ["scene", "block"])
def test_labels_that_lie_right_stay(ortho, city, mode):
    table = houses(city)
    moved, report = align_features(table, Scene(ortho), mode)
    assert moved is table
    assert report.moved == 0
    assert np.hypot(*report.offset_m) < 0.3 * GSD_M
    assert f"none of {len(table)} features moved" in str(report)


def test_nothing_is_moved_by_labels_of_another_place(ortho, city):
    right = 2 * city.grid.affine.c + SIDE * GSD_M
    table = houses(city)
    mirrored = table.set_geometry(
        gpd.GeoSeries(shapely.transform(table.geometry.values, lambda xy: (right, 0) + xy * (-1, 1)), crs=table.crs)
    )
    with pytest.warns(EavesWarning, match="too few to trust"):
        moved, report = align_features(mirrored, Scene(ortho), "block")
    assert moved is mirrored
    assert report.moved == 0
    assert report.offset_m is None


def test_an_image_without_edges_tells_nothing(city, tmp_path):
    path = write(tmp_path / "flat.tif", np.full((1, SIDE, SIDE), 90, np.uint8), city)
    with pytest.warns(EavesWarning, match="0 of [0-9]+ blocks"):
        assert align_features(houses(city), Scene(path), "scene")[1].sure == 0


@pytest.mark.filterwarnings("ignore:labels on:eaves.errors.EavesWarning")
@pytest.mark.parametrize("max_m", [1.0, 2.0, 3.0])
def test_nothing_moves_farther_than_allowed(ortho, city, max_m):
    """The field asks for 2 … 4 m."""
    table = houses(city, slow)
    moved, report = align_features(table, Scene(ortho), "block", max_m=max_m)
    assert np.hypot(*report.shifts_m.T).max() <= max_m + 1e-9
    assert np.hypot(*(middles(moved) - middles(table)).T).max() <= max_m + 1e-6


def test_shared_walls_stay_shared(ortho, city):
    table = houses(city, slow)
    before = table.geometry.values
    first, second = shapely.STRtree(before).query(before, "touches")
    assert len(first) > 20
    moved, report = align_features(table, Scene(ortho), "block")
    after = moved.geometry.values
    assert np.ptp(report.shifts_m, axis=0).min() > 0.3
    assert shapely.distance(after[first], after[second]).max() < 0.01
    assert shapely.area(shapely.intersection(after[first], after[second])).max() < 0.05
    np.testing.assert_allclose(shapely.area(after), shapely.area(before), rtol=0.02)


def test_a_table_keeps_its_columns_index_and_system(ortho, city):
    table = houses(city, constant)[["roof", "geometry"]].rename_geometry("outline").to_crs(4326)
    table.index = [f"house {i}" for i in range(len(table))]
    moved, _ = align_features(table, Scene(ortho), "scene")
    assert moved.crs == table.crs
    assert moved.geometry.name == "outline"
    assert moved.index.equals(table.index)
    assert moved["roof"].equals(table["roof"])
    assert np.median(lie_off_px(moved.to_crs(32633), city)) < 0.3


def test_features_that_the_scene_does_not_show_stay(ortho, city):
    table = houses(city, constant)[["geometry"]].to_crs(4326)
    antipode = shapely.box(-165.0, -47.1, -164.9, -47.0)
    far = gpd.GeoDataFrame(geometry=[antipode, None, shapely.Polygon()], crs=4326)
    both = gpd.GeoDataFrame(gpd.pd.concat([table, far], ignore_index=True))
    moved, report = align_features(both, Scene(ortho), "block")
    assert report.moved == len(table)
    assert moved.geometry.iloc[len(table)].equals(antipode)
    assert moved.geometry.iloc[len(table) + 1] is None


def test_lines_are_moved_as_the_bands_they_stand_for(city, tmp_path):
    ways = [[(c, 20), (c + 90, 380)] for c in (40, 160, 270)] + [[(20, r), (380, r + 40)] for r in (70, 210, 320)]
    lines = shapely.transform(shapely.linestrings(ways), lambda xy: xy * (GSD_M, -GSD_M) + city.grid.affine * (0, 0))
    table = gpd.GeoDataFrame(geometry=lines, crs="EPSG:32633")
    ground = np.random.default_rng(0).normal(90, 5, (1, 400, 400))
    image = (ground + 80 * burn(table, city.grid[:400, :400], width_m=4.0)).astype(np.uint8)
    scene = Scene(write(tmp_path / "ways.tif", image, city))
    off = table.set_geometry(table.translate(1.8, 1.2))
    with pytest.raises(LabelError, match="width"):
        align_features(off, scene, "scene")
    moved, report = align_features(off, scene, "scene", width_m=4.0)
    assert report.offset_m == pytest.approx((-1.8, 1.2), abs=0.3 * GSD_M)
    assert shapely.hausdorff_distance(moved.geometry.values, lines).max() < 0.15


def test_a_picture_is_aligned_where_its_resolution_is_stated(city, tmp_path):
    from rasterio.errors import NotGeoreferencedWarning

    with pytest.warns(NotGeoreferencedWarning):
        path = write(tmp_path / "plain.png", render(city)[0], city, driver="PNG", crs=None, transform=None)
    back = ~city.grid.affine
    in_pixels = houses(city).geometry.affine_transform([back.a, 0, 0, back.e, back.c + 5, back.f - 7])
    table = gpd.GeoDataFrame(geometry=in_pixels.to_numpy())
    with pytest.raises(SceneError, match="ground resolution"):
        align_features(table, Scene(path), "scene")
    moved, report = align_features(table, Scene(path, ground_gsd_m=GSD_M), "scene")
    assert report.offset_m == pytest.approx((-5 * GSD_M, 7 * GSD_M), abs=0.3 * GSD_M)
    assert (middles(moved) - middles(table))[0] == pytest.approx((-5, 7), abs=0.3)


def test_the_image_is_read_in_small_parts(ortho, city, monkeypatch):
    sizes = []
    read = Scene.read
    monkeypatch.setattr(Scene, "read", lambda self, window: sizes.append(window) or read(self, window))
    align_features(houses(city), Scene(ortho), "block", max_m=3.0, block_m=60.0)
    assert len(sizes) > 20
    assert max(max(window.width, window.height) for window in sizes) <= 100 * 1.5 + 2 * (10 + 12)


def test_none_does_nothing(ortho, city):
    table = houses(city, constant)
    moved, report = align_features(table, Scene(ortho), "none")
    assert moved is table
    assert (report.blocks, report.moved) == (0, 0)
    assert align_features(table[:0], Scene(ortho), "block")[1].blocks == 0


@pytest.mark.filterwarnings("ignore:.*mended:eaves.errors.EavesWarning")
@pytest.mark.parametrize("name", ["kampala_0", "kampala_1", "nairobi_0", "nairobi_1", "philippines_0", "philippines_1"])
def test_real_labels(eaves_data, name):
    """Those of the first Nairobi scene lie 2 to 3 m to the south-east, the others right."""
    table = read_vectors(eaves_data / "oam" / f"{name}.geojson")
    scene = Scene(eaves_data / "oam" / f"{name}.tif", gsd_m=0.3)
    moved, report = align_features(table, scene, "block")
    if name != "nairobi_0":
        assert moved is table
        return
    sizes = np.hypot(*report.shifts_m.T)
    assert report.moved == len(table)
    assert 1.5 < sizes.min() < sizes.max() < 4
    assert (report.shifts_m < 0).all()
    left = align_features(moved, scene, "block")[1].offset_m
    assert np.hypot(*left) < 0.15
