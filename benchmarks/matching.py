"""Matching and outlines: Eaves beside what else is used to score footprints, on made-up towns; prints Markdown.

python benchmarks/matching.py [--buildings 20000]

Every building has 6 to 12 corners in one of any directions; its prediction has each corner moved, and is moved itself;
some are missing, some invented, some merged with their neighbour. Core-seconds are CPU time of this process on one
thread, the least of three. "Polygons" are predictions: a reference each comes on top. Peers count the same true
positives by their own means, and are stopped short where they need minutes: their rate is of fewer buildings.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import time
from collections.abc import Callable
from typing import Any

import geopandas as gpd
import numpy as np
import shapely

from eaves.metrics import coco_report, match, measure_outlines, object_report, outline_report

PITCH_M, GSD_M = 22.0, 0.3


def town(number: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return predictions with their scores, and references, in metres."""
    random = np.random.default_rng(seed)
    across = int(np.ceil(number**0.5))
    middles = np.stack(np.divmod(np.arange(number), across), axis=1) * PITCH_M
    there = np.array([house(random, middle) for middle in middles], dtype=object)
    found = np.array([drawn_again(random, one) for one in there], dtype=object)
    found = shapely.make_valid(found, method="structure", keep_collapsed=False)
    melted = np.flatnonzero((random.random(number) < 0.05) & (np.arange(number) % across > 0))
    found[melted] = shapely.convex_hull(shapely.union(found[melted], found[melted - 1]))
    keep = random.random(number) > 0.1
    keep[melted - 1] = False
    invented = shapely.transform(found[random.random(number) < 0.05], lambda xy: xy + PITCH_M / 2)
    found = shapely.get_parts(np.concatenate([found[keep], invented]))
    return found, random.random(len(found)), there


def drawn_again(random: np.random.Generator, shape: shapely.Polygon) -> shapely.Polygon:
    xy = np.array(shape.exterior.coords)[:-1]
    return shapely.Polygon(xy + random.normal(0, 0.3, xy.shape) + random.normal(0, 0.6, 2))


def house(random: np.random.Generator, middle: np.ndarray) -> shapely.Polygon:
    """A block with one to four notches in its corners: 6 to 12 corners."""
    w, h = random.uniform(8, 18, 2)
    shape = shapely.box(-w / 2, -h / 2, w / 2, h / 2)
    for x, y in random.permutation([(-1, -1), (1, -1), (1, 1), (-1, 1)])[: random.integers(1, 5)]:
        shape = shape.difference(
            shapely.box(*np.sort([[x * w / 2, y * h / 2], [x * w / 4, y * h / 4]], axis=0).ravel())
        )
    angle = random.uniform(0, np.pi / 2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return shapely.transform(shape, lambda xy: xy @ turn.T + middle)


def eaves(found: np.ndarray, scores: np.ndarray, there: np.ndarray) -> int:
    return object_report(match(found, there, scores)).tp


def every_pair(found: np.ndarray, scores: np.ndarray, there: np.ndarray) -> int:
    """All pairs, one prediction after the other: the definition as it reads."""
    left, right = np.ones(len(there), bool), 0
    areas = shapely.area(there)
    for at in np.argsort(-scores, kind="stable"):
        shared = shapely.area(shapely.intersection(there, found[at]))
        iou = np.where(left, shared / (areas + shapely.area(found[at]) - shared), 0)
        best = iou.argmax()
        if iou[best] >= 0.5:
            left[best] = False
            right += 1
    return right


def row_by_row(found: np.ndarray, scores: np.ndarray, there: np.ndarray) -> int:
    """As cw-eval and solaris do it: tables, an index, and a loop in Python over what is near."""
    truth = gpd.GeoSeries(there)
    index, right = truth.sindex, 0
    for at in np.argsort(-scores, kind="stable"):
        one, best, which = found[at], 0.0, -1
        for other in index.query(one, predicate="intersects"):
            candidate = truth.get(other)
            if candidate is not None:
                shared = one.intersection(candidate).area
                iou = shared / one.union(candidate).area
                if iou > best:
                    best, which = iou, other
        if best >= 0.5:
            truth = truth.drop(which)
            right += 1
    return right


def overlay(found: np.ndarray, scores: np.ndarray, there: np.ndarray) -> int:
    """All intersections as one table by geopandas.overlay, then the best of each prediction."""
    ours, theirs = gpd.GeoDataFrame({"p": range(len(found))}, geometry=found), gpd.GeoDataFrame(geometry=there)
    theirs["r"] = range(len(there))
    common = gpd.overlay(ours, theirs, how="intersection", keep_geom_type=True)
    shared = common.area
    total = ours.area.to_numpy()[common.p] + theirs.area.to_numpy()[common.r]
    common["iou"] = shared / (total - shared)
    best = common[common.iou >= 0.5].assign(score=lambda table: -scores[table.p])
    return best.sort_values(["score", "iou"], ascending=[True, False]).drop_duplicates("p").r.nunique()


def outlines(found: np.ndarray, scores: np.ndarray, there: np.ndarray) -> int:
    matches = match(found, there, scores)
    return outline_report(measure_outlines(found, there, matches, 2 * GSD_M)).matched


def in_pixels(found: np.ndarray, scores: np.ndarray, there: np.ndarray) -> int:
    found, there = (shapely.transform(side, lambda xy: xy / GSD_M) for side in (found, there))
    coco_report(found, there, scores, boundary_px=7)
    return 0


def seconds(work: Callable[..., int], sides: tuple[Any, ...], times: int) -> tuple[float, int]:
    spent = []
    for _ in range(times):
        start = time.process_time()
        result = work(*sides)
        spent.append(time.process_time() - start)
    return min(spent), result


def main(number: int) -> None:
    whole, part, few = town(number), town(min(number, 5000), 1), town(min(number, 1000), 2)
    outlines(*few)  # compiled code is loaded
    in_pixels(*few)
    found, _, there = whole
    corners = shapely.get_num_coordinates(there) - 1
    print(f"{len(found)} predictions and {len(there)} references of {corners.min()} to {corners.max()} corners\n")
    print("| what | predictions | core-s | predictions / core-s | matched |\n|---|---|---|---|---|")
    for name, work, sides, times in (
        ("eaves: match, object F1, AP at ten thresholds", eaves, whole, 3),
        ("the same, then every outline measure", outlines, whole, 3),
        ("COCO's AP and boundary AP, faster-coco-eval", in_pixels, whole, 1),
        ("geopandas.overlay and a sort, F1 alone", overlay, whole, 3),
        ("rows of a table and an index, as solaris, F1 alone", row_by_row, part, 1),
        ("every pair, F1 alone", every_pair, few, 1),
    ):
        spent, right = seconds(work, sides, times)
        rate = len(sides[0]) / spent
        print(f"| {name} | {len(sides[0]):,} | {spent:.2f} | {rate:,.0f} | {right or ''} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--buildings", type=int, default=20_000)
    main(parser.parse_args().buildings)
