from __future__ import annotations

import numpy as np
import pytest
import shapely

from eaves.errors import SettingsError
from eaves.synth import City, plan_city


@pytest.fixture(scope="module")
def city() -> City:
    return plan_city(1024, seed=1)


def test_same_seed_same_city_and_another_seed_another(city: City):
    again, other = plan_city(1024, seed=1), plan_city(1024, seed=2)
    assert (
        shapely.to_wkb(city.buildings.geometry.array).tolist()
        == shapely.to_wkb(again.buildings.geometry.array).tolist()
    )
    assert city.buildings.drop(columns="geometry").equals(again.buildings.drop(columns="geometry"))
    assert (city.scenery.trees == again.scenery.trees).all()
    assert len(other.buildings) != len(city.buildings)
    assert other.style.sun_azimuth_deg != city.style.sun_azimuth_deg


@pytest.mark.parametrize("seed", [1, 4, 9])
def test_truth_is_valid_and_does_not_overlap(seed: int):
    buildings = plan_city(700, seed=seed).buildings
    shapes = np.asarray(buildings.geometry.array)
    assert shapely.is_valid(shapes).all()
    assert set(shapely.get_type_id(shapes)) == {3}
    a, b = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    pairs = a < b
    assert shapely.area(shapely.intersection(shapes[a[pairs]], shapes[b[pairs]])).max() < 1e-6


def test_outlines_have_no_idle_corners(city: City):
    # a corner on a straight side would spoil the vertex counts of a truth
    for polygon in city.all_buildings.geometry:
        ring = shapely.get_coordinates(polygon.exterior)[:-1]
        a, b = np.roll(ring, 1, 0) - ring, np.roll(ring, -1, 0) - ring
        turn = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
        assert (np.abs(turn) / np.hypot(*a.T) / np.hypot(*b.T) > 0.05).all()


def test_touching_houses_share_walls_to_the_last_bit(city: City):
    shapes = np.asarray(city.all_buildings[city.all_buildings.district == "rows"].geometry.array)
    a, b = shapely.STRtree(shapes).query(shapes, predicate="dwithin", distance=0.01)
    shared = []
    for i, j in zip(a[a < b], b[a < b], strict=True):
        corners = [set(map(tuple, shapely.get_coordinates(shapes[k])[:-1])) for k in (i, j)]
        shared.append(len(corners[0] & corners[1]))
    # a wing along the wall leaves one common corner, at the street; all others have the whole wall in common
    assert min(shared) >= 1
    assert np.mean(np.array(shared) >= 2) > 0.6
    assert len(shared) > 20


def test_it_holds_what_cities_hold(city: City):
    b = city.buildings
    assert set(b.roof) == {"hip", "gable", "flat"}
    assert b.blue.sum() > 3
    assert (b.blue == (b.colour == "blue-metal")).all()
    assert (shapely.get_num_interior_rings(city.all_buildings.geometry.array) > 0).any()
    corners = shapely.get_num_coordinates(b.geometry.array) - 1
    assert {4, 6} <= set(corners)
    assert (corners >= 8).any()
    assert b.height_m.between(2, 20).all()
    assert len(city.roads) > 4
    assert city.roads.width_m.between(2, 20).all()
    assert city.roads.crs == b.crs == city.grid.crs
    assert len(b.district.unique()) >= 3


def test_houses_stand_off_the_carriageway(city: City):
    ways = shapely.union_all(shapely.buffer(city.roads.geometry.array, city.roads.width_m.to_numpy() / 2 - 0.05))
    assert shapely.area(shapely.intersection(city.buildings.geometry.array, ways)).max() < 0.5


def test_buildings_end_at_the_imagery():
    city = plan_city(512, seed=2, nodata_corner="lower-right")
    assert city.nodata is not None
    assert city.buildings.within(city.imaged.buffer(1e-6)).all()
    assert city.nodata.area > 0.02 * city.imaged.area


def test_a_size_that_cannot_be_meant_is_refused():
    with pytest.raises(SettingsError, match="16 pixels"):
        plan_city(8)
