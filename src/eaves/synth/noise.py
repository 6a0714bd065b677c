"""Labels with the faults of a volunteered map: shifted, missing, invented, simplified, merged."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from eaves.errors import SettingsError
from eaves.synth.shapes import box_ring


def noisy_labels(
    buildings: gpd.GeoDataFrame,
    seed: int = 0,
    *,
    shift_m: float = 1.5,
    jitter_m: float = 0.4,
    omit: float = 0.1,
    extra: float = 0.03,
    merge: float = 0.3,
    simplify: float = 0.2,
    district_m: float = 150.0,
) -> gpd.GeoDataFrame:
    """Copy footprints with the faults that OpenStreetMap's have.

    One mapper draws a district over one picture, so its shift is common to the district; omissions come in clusters
    for the same reason.

    Args:
        buildings: Footprints, polygons in a projected system in metres.
        seed: The same seed gives the same faults.
        shift_m: Mean length of a district's shift; single lengths lie within 0.5 to 1.5 times of it.
        jitter_m: Standard deviation of each building's own shift, along x and along y.
        omit: Share of buildings that are missing.
        extra: Number of false polygons as a share of the buildings.
        merge: Share of groups of touching buildings that become one polygon.
        simplify: Share of polygons whose shape is reduced to a rectangle without courtyard.
        district_m: Side of a district.

    Returns:
        Polygons alone: nothing tells what was done to them.

    Raises:
        SettingsError: A share outside 0 to 1, or a negative length.

    Example:
        >>> square = gpd.GeoDataFrame(geometry=[shapely.box(0, 0, 10, 10)], crs=32633)
        >>> len(noisy_labels(square, omit=0, extra=0))
        1
    """
    shares = {"omit": omit, "extra": extra, "merge": merge, "simplify": simplify}
    lengths = {"shift_m": shift_m, "jitter_m": jitter_m}
    wrong = {k: v for k, v in shares.items() if not 0 <= v <= 1} | {k: v for k, v in lengths.items() if v < 0}
    if wrong or district_m <= 0:
        raise SettingsError(
            "shares from 0 to 1, lengths of 0 or more and a district larger than 0",
            ", ".join(f"{k} = {v}" for k, v in (wrong or {"district_m": district_m}).items()),
            "correct them",
        )
    rng = np.random.default_rng([seed, 20])
    truth = np.asarray(buildings.geometry.array, dtype=object)
    if not len(truth):
        return gpd.GeoDataFrame(geometry=[], crs=buildings.crs)
    shapes = _merged(truth, merge, rng)
    plain = rng.random(len(shapes)) < simplify
    shapes[plain] = shapely.oriented_envelope(shapes[plain])
    cells = _cells(shapes, district_m)
    # a district whose mapper was in a hurry misses up to twice as many
    haste = rng.uniform(0, 2, cells.max() + 1)
    chance = np.clip(omit + (haste[cells] - haste[cells].mean()) * min(omit, 1 - omit), 0, 1)
    kept = rng.random(len(shapes)) >= chance
    length = shift_m * rng.uniform(0.5, 1.5, len(haste))
    turn = rng.uniform(0, 2 * np.pi, len(haste))
    shift = (length * np.array([np.cos(turn), np.sin(turn)])).T[cells] + rng.normal(0, jitter_m, (len(shapes), 2))
    moved = [shapely.transform(s, lambda xy, by=by: xy + by) for s, by in zip(shapes[kept], shift[kept], strict=True)]
    return gpd.GeoDataFrame(geometry=[*moved, *_invented(truth, extra, rng)], crs=buildings.crs)


def _cells(shapes: np.ndarray, district_m: float) -> np.ndarray:
    xy = shapely.get_coordinates(shapely.centroid(shapes))
    return np.unique(np.floor(xy / district_m), axis=0, return_inverse=True)[1].reshape(-1)


def _merged(shapes: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Make one polygon of each of a share of the groups whose members touch along a wall."""
    touch = shapely.STRtree(shapes).query(shapes, predicate="dwithin", distance=0.02)
    n = len(shapes)
    _, group = connected_components(coo_array((np.ones(touch.shape[1]), (touch[0], touch[1])), shape=(n, n)))
    chosen = rng.random(group.max() + 1) < share
    merged: list[shapely.Geometry] = []
    for members in np.split(np.argsort(group, kind="stable"), np.flatnonzero(np.diff(np.sort(group))) + 1):
        if len(members) > 1 and chosen[group[members[0]]]:
            # closing by a centimetre: walls computed apart may miss each other by a rounding error
            joined = shapely.union_all(shapely.buffer(shapes[members], 0.02, join_style="mitre")).buffer(
                -0.02, join_style="mitre"
            )
            merged += [g for g in shapely.get_parts(joined) if g.area > 0]
        else:
            merged += list(shapes[members])
    return np.array(merged, dtype=object)


def _invented(truth: np.ndarray, share: float, rng: np.random.Generator) -> list[shapely.Polygon]:
    """Draw rectangles where there is no building: houses pulled down since, or never built."""
    wanted, tree = round(share * len(truth)), shapely.STRtree(truth)
    low, high = np.reshape(shapely.total_bounds(truth), (2, 2))
    found: list[shapely.Polygon] = []
    for _ in range(50 * wanted):
        if len(found) == wanted:
            break
        width, depth = rng.uniform(5, 15), rng.uniform(5, 11)
        turn, at = rng.uniform(0, np.pi), rng.uniform(low, high)
        axes = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        box = shapely.Polygon(at + box_ring(0, width, 0, depth) @ axes)
        if not len(tree.query(box, predicate="intersects")):
            found.append(box)
    return found
