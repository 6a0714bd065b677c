from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import shapely

from eaves.errors import SettingsError
from eaves.synth import noisy_labels


@pytest.fixture(scope="module")
def houses() -> gpd.GeoDataFrame:
    """2 x 900 houses in pairs that share a wall."""
    rng = np.random.default_rng(0)
    shapes = []
    for i in range(900):
        x, y = 500_000 + 40 * (i % 30), 5_000_000 + 40 * (i // 30)
        w = rng.uniform(6, 10)
        shapes += [shapely.box(x, y, x + w, y + 9), shapely.box(x + w, y, x + w + 7, y + 8)]
    return gpd.GeoDataFrame(geometry=shapes, crs=32633)


OFF = {"shift_m": 0.0, "jitter_m": 0.0, "omit": 0.0, "extra": 0.0, "merge": 0.0, "simplify": 0.0}


def test_nothing_asked_nothing_done(houses: gpd.GeoDataFrame):
    noisy = noisy_labels(houses, **OFF)
    assert noisy.geometry.geom_equals(houses.geometry).all()
    assert list(noisy.columns) == ["geometry"]


def test_same_seed_same_faults(houses: gpd.GeoDataFrame):
    a, b, c = (noisy_labels(houses, seed) for seed in (3, 3, 4))
    assert a.geometry.to_wkb().tolist() == b.geometry.to_wkb().tolist()
    assert a.geometry.to_wkb().tolist() != c.geometry.to_wkb().tolist()


@pytest.mark.parametrize("omit", [0.05, 0.2, 0.6, 1.0])
def test_omission(houses: gpd.GeoDataFrame, omit: float):
    noisy = noisy_labels(houses, 1, **{**OFF, "omit": omit})
    assert 1 - len(noisy) / len(houses) == pytest.approx(omit, abs=0.04)


def test_shift_is_shared_by_a_district(houses: gpd.GeoDataFrame):
    noisy = noisy_labels(houses, 2, **{**OFF, "shift_m": 2.0})
    moved = shapely.get_coordinates(shapely.centroid(noisy.geometry.array)) - shapely.get_coordinates(
        shapely.centroid(houses.geometry.array)
    )
    length = np.hypot(*moved.T)
    assert length.mean() == pytest.approx(2, abs=0.3)
    assert length.min() > 0.99
    assert length.max() < 3.01
    assert 30 < len(np.unique(moved.round(4), axis=0)) < 120


def test_jitter_is_each_ones_own(houses: gpd.GeoDataFrame):
    noisy = noisy_labels(houses, 2, **{**OFF, "jitter_m": 0.5})
    moved = shapely.get_coordinates(shapely.centroid(noisy.geometry.array)) - shapely.get_coordinates(
        shapely.centroid(houses.geometry.array)
    )
    assert moved.std(0) == pytest.approx([0.5, 0.5], abs=0.05)


def test_merged_rows(houses: gpd.GeoDataFrame):
    noisy = noisy_labels(houses, 5, **{**OFF, "merge": 0.4})
    assert len(noisy) == pytest.approx(len(houses) - 0.4 * 900, abs=60)
    assert noisy.area.sum() == pytest.approx(houses.area.sum(), rel=1e-6)
    assert noisy.is_valid.all()


def test_extra_polygons_stand_on_no_house(houses: gpd.GeoDataFrame):
    noisy = noisy_labels(houses, 5, **{**OFF, "extra": 0.1})
    added = noisy.geometry.array[len(houses) :]
    assert len(added) == 180
    assert not shapely.intersects(shapely.union_all(houses.geometry.array), added).any()


def test_simplified_shapes_lose_courtyards():
    court = shapely.box(0, 0, 30, 30).difference(shapely.box(10, 10, 20, 20))
    noisy = noisy_labels(gpd.GeoDataFrame(geometry=[court], crs=32633), **{**OFF, "simplify": 1.0})
    assert noisy.area.sum() == pytest.approx(900)


def test_no_buildings_no_labels():
    assert len(noisy_labels(gpd.GeoDataFrame(geometry=[], crs=32633))) == 0


def test_wrong_shares_are_refused(houses: gpd.GeoDataFrame):
    with pytest.raises(SettingsError, match=r"omit = 1\.5"):
        noisy_labels(houses, omit=1.5)
