"""Outlines: Eaves beside what else turns score maps into footprints; prints Markdown, and draws figures.

    python benchmarks/outlines.py [--seed 21 --size-px 4096] [--draw DIR]
    EAVES_DATA=... python benchmarks/outlines.py --raw          the raw polygons of others in the data, without truth

A synthetic city at 0.3 m: its buildings' cover, blurred by 1.2 px and with noise that is smooth over 2 px, is the score
map; a second one says where houses touch. All tools get the same buildings, parted alike: Eaves the sub-pixel outlines,
the others the pixels of each. Means are over buildings found (IoU 0.5 with a reference), but for deviation, angles and
holes, which are of all. Core-seconds are CPU time of one thread after compilation, from pixels to polygons where a tool
starts there. Peers that are not installed are named and left out: `make bench`; geoai-py by itself.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import geopandas as gpd
import numpy as np
import rasterio.features
import shapely
from affine import Affine

from eaves.footprints import Shape, regularize, separate, simplify
from eaves.footprints.deviation import deviations
from eaves.metrics import match, measure_outlines, object_report, outline_report
from eaves.synth import plan_city

GSD, FINE, STRIP = 0.3, 8, 256
METHODS: tuple[Shape, ...] = ("right-angles", "right-angles-and-diagonals", "any-angle", "auto")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size-px", type=int, default=4096)
    parser.add_argument("--seed", type=int, default=21)
    parser.add_argument("--tolerance-m", type=float, default=1.0)
    parser.add_argument("--raw", action="store_true")
    parser.add_argument("--draw", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.raw:
        raw(options.tolerance_m, options.draw)
        return
    truth, levels = city(options.size_px, options.seed)
    pixels = separate(levels, 0.5, "border", min_seed_px=40).polygons
    traced = shapely.transform(pixels, lambda xy: xy * GSD)
    large = shapely.area(traced) >= 4
    pixels, traced = pixels[large], traced[large]
    labels = rasterio.features.rasterize(zip(pixels, range(1, len(pixels) + 1), strict=True), levels.shape[1:])
    alone = apart(truth) & (shapely.area(truth) >= 20)
    cover = rasterio.features.rasterize(truth, levels.shape[1:], transform=Affine.scale(GSD)) > 0
    mask = levels[0] >= 127
    iou = (mask & cover).sum() / (mask | cover).sum()
    print(
        f"{len(traced)} buildings traced, {len(truth)} in the city, {alone.sum()} of them alone; mask IoU {iou:.3f}\n"
    )
    results = {name: timed(tool, traced, labels) for name, tool in tools(options.tolerance_m).items()}
    for title, reference in (("All buildings", truth), ("Buildings of 20 m² and more that stand alone", truth[alone])):
        print(f"**{title}**\n\n{HEAD}")
        for name, (polygons, seconds) in results.items():
            print(row(name, polygons, traced, reference, seconds), flush=True)
        print()
    if options.draw:
        draw(options.draw, levels, traced, truth, {m: regularize(traced, m, options.tolerance_m) for m in METHODS})


def city(size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The buildings of a city in metres, y down, and levels of its score map and of where houses touch."""
    plan = plan_city(size, gsd_m=GSD, seed=seed)
    to_pixels = ~plan.grid.affine
    truth = plan.buildings.geometry.to_numpy()
    truth = shapely.transform(truth, lambda xy: np.column_stack(to_pixels * (xy[:, 0], xy[:, 1])))
    i, j = shapely.STRtree(truth).query(truth, predicate="intersects")
    walls = shapely.intersection(truth[i[i < j]], truth[j[i < j]])
    walls = shapely.buffer(walls[shapely.length(walls) > 0.5], 1.0, cap_style="flat")
    random = np.random.default_rng(seed)

    def map_of(shapes: np.ndarray, gain: float, noise: float) -> np.ndarray:
        cover = np.zeros((size, size), np.float32)
        bounds = shapely.bounds(shapes)
        for row in range(0, size, STRIP):
            here = shapes[(bounds[:, 1] < row + STRIP) & (bounds[:, 3] > row)]
            at = Affine.translation(0, row) * Affine.scale(1 / FINE)
            if len(here):
                fine = rasterio.features.rasterize(here, (STRIP * FINE, size * FINE), transform=at)
                cover[row : row + STRIP] = fine.reshape(STRIP, FINE, size, FINE).mean((1, 3))
        wave = cv2.GaussianBlur(random.normal(size=cover.shape).astype(np.float32), (0, 0), 2)
        scores = gain * cv2.GaussianBlur(cover, (0, 0), 1.2) + noise * wave / wave.std()
        return np.round(np.clip(scores, 0, 1) * 254).astype(np.uint8)

    return shapely.transform(truth, lambda xy: xy * GSD), np.stack([map_of(truth, 1, 0.1), map_of(walls, 1.3, 0.05)])


def apart(truth: np.ndarray) -> np.ndarray:
    """Which buildings have no other within two pixels."""
    i, j = shapely.STRtree(truth).query(truth, predicate="dwithin", distance=2 * GSD)
    return np.bincount(i[i != j], minlength=len(truth)) == 0


# --- tools: (traced outlines in metres, label image) -> polygons in metres --------------------------------------------

Tool = Callable[[np.ndarray, np.ndarray], np.ndarray]


def tools(tolerance: float) -> dict[str, Tool]:
    """Eaves and those of its peers that are installed."""
    found: dict[str, Tool] = {
        "traced (sub-pixel)": lambda traced, _: traced,
        "rasterio shapes": lambda _, labels: staircase(labels),
        "rasterio shapes + simplify 0.6 m": lambda _, labels: shapely.simplify(staircase(labels), 0.6),
        "OpenCV contours + Douglas-Peucker 0.6 m": lambda _, labels: contours(labels, 0.6),
        "Eaves simplify 0.3 m": lambda traced, _: simplify(traced, 0.3),
    }
    try:
        from buildingregulariser import regularize_geodataframe

        def building_regulariser(_: np.ndarray, labels: np.ndarray) -> np.ndarray:
            table = gpd.GeoDataFrame(geometry=staircase(labels), crs="EPSG:32633")
            return regularize_geodataframe(table, num_cores=1).geometry.to_numpy()

        found["buildingregulariser"] = building_regulariser
    except ImportError:
        print("buildingregulariser is not installed: left out")
    try:
        from geoai.utils.geometry import adaptive_regularization, hybrid_regularization, regularization

        for function in (regularization, hybrid_regularization, adaptive_regularization):
            found[f"geoai {function.__name__}"] = lambda _, labels, make=function: polygons_of(
                make(list(staircase(labels)))
            )
    except ImportError as error:
        print(f"geoai is not installed ({error}): left out")
    for method in METHODS:
        found[f"**Eaves {method}**"] = lambda traced, _, how=method: regularize(traced, how, tolerance).polygons
    return found


def polygons_of(made: list) -> np.ndarray:
    return np.array([each if isinstance(each, shapely.Polygon) else shapely.Polygon() for each in made], object)


def staircase(labels: np.ndarray) -> np.ndarray:
    shapes = rasterio.features.shapes(labels.astype(np.int32), mask=labels > 0, transform=Affine.scale(GSD))
    return np.array([shapely.geometry.shape(shape) for shape, _ in shapes], object)


def contours(labels: np.ndarray, tolerance: float) -> np.ndarray:
    """As usual: the contours of each mask, through the centres of its pixels, moved by half a pixel."""
    made = []
    rows, cols = np.nonzero(labels)
    number = labels[rows, cols]
    order = np.argsort(number, kind="stable")
    ends = np.flatnonzero(np.diff(number[order])) + 1
    for part in np.split(order, ends):
        r, c = rows[part], cols[part]
        top, left = r.min() - 1, c.min() - 1
        mask = np.zeros((r.max() - top + 2, c.max() - left + 2), np.uint8)
        mask[r - top, c - left] = 1
        rings, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        ring = cv2.approxPolyDP(max(rings, key=cv2.contourArea), tolerance / GSD, True)[:, 0]
        if len(ring) >= 3:
            made.append(shapely.Polygon((ring + np.array([left + 0.5, top + 0.5])) * GSD))
    return np.array(made, object)


def timed(tool: Tool, traced: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, float]:
    """What a tool makes, and the least core-seconds of three runs; compilation comes first."""
    few = np.where(labels <= 40, labels, 0)
    tool(traced[:40], few)
    seconds, made = [], np.empty(0, object)
    for _ in range(3):
        began = time.process_time()
        made = tool(traced, labels)
        seconds.append(time.process_time() - began)
        if seconds[-1] > 20:
            break
    return made, min(seconds)


# --- measures ---------------------------------------------------------------------------------------------------------

HEAD = (
    "| tool | found | mean IoU | vertex ratio | right angles | PoLiS m | deviation m (mean, worst) | invalid "
    "| overlaps m² | holes kept | buildings / core-s |\n|---|---|---|---|---|---|---|---|---|---|---|"
)


def row(name: str, polygons: np.ndarray, traced: np.ndarray, reference: np.ndarray, seconds: float) -> str:
    invalid = int((~shapely.is_valid(polygons) | shapely.is_empty(polygons)).sum())
    mended = shapely.make_valid(polygons[~shapely.is_empty(polygons)], method="structure", keep_collapsed=False)
    parts = shapely.get_parts(mended)
    solid = parts[(shapely.get_type_id(parts) == 3) & (shapely.area(parts) > 0.1)]
    matches = match(solid, reference)
    report = outline_report(measure_outlines(solid, reference, matches, 2 * GSD))
    count = object_report(matches)
    if len(polygons) == len(traced) and shapely.equals(polygons, traced).all():
        far = "0"
    else:
        tree = shapely.STRtree(traced)
        near = tree.nearest(shapely.point_on_surface(solid))
        distance = deviations(traced[near], solid, 1.0)
        far = f"{distance.mean():.2f}, {distance.max():.2f}"
    speed = "–" if seconds < 1e-3 else f"{len(traced) / seconds:,.0f}".replace(",", " ")
    return (
        f"| {name} | {count.tp} | {matches.iou.mean():.3f} | {report.vertex_ratio:.2f} | "
        f"{report.right_angle_share:.2f} | {report.polis_m:.3f} | {far} | {invalid} | {report.overlap_m2:.2f} | "
        f"{'–' if report.holes_kept is None else f'{report.holes_kept:.2f}'} | {speed} |"
    )


# --- real outlines ----------------------------------------------------------------------------------------------------


def raw(tolerance: float, out: Path | None) -> None:
    """Polygons that other programs traced, without truth: how many become regular, and how fast."""
    folder = Path(os.environ["EAVES_DATA"]) / "samples/raw_polygons"
    print("| layer | polygons | method | regular | IoU with traced | vertices | worst m | invalid | / core-s |")
    print("|---|---|---|---|---|---|---|---|---|")
    from eaves.exchange.vectors import read_vectors
    from eaves.scene.plane import MetricPlane

    for path in sorted(each for each in folder.rglob("*") if each.suffix in (".geojson", ".gpkg", ".parquet", ".shp")):
        table = read_vectors(path)
        polygons = MetricPlane(table.geometry.to_numpy(), table.crs).there(table.geometry.to_numpy())
        polygons = polygons[np.isin(shapely.get_type_id(polygons), (3, 6))]
        before = shapely.get_num_coordinates(polygons).sum()
        for method in METHODS:
            began = time.process_time()
            made = regularize(polygons, method, tolerance)
            seconds = time.process_time() - began
            print(
                f"| {path.stem} | {len(polygons)} | {method} | {(made.status == 0).mean():.1%} | "
                f"{np.nanmean(made.iou):.3f} | "
                f"{before} → {shapely.get_num_coordinates(made.polygons).sum()} | {np.nanmax(made.deviation):.2f} | "
                f"{(~shapely.is_valid(made.polygons)).sum()} | {len(polygons) / seconds:,.0f} |"
            )


# --- figures ----------------------------------------------------------------------------------------------------------


def draw(out: Path, levels: np.ndarray, traced: np.ndarray, truth: np.ndarray, made: dict) -> None:
    """Four methods on the same blocks, and the worst ten of the first."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    out.mkdir(parents=True, exist_ok=True)

    def show(axes, polygons, status, window, color="#ffd400"):
        x0, y0, x1, y1 = window
        axes.imshow(levels[0], cmap="gray", extent=(0, levels.shape[2] * GSD, levels.shape[1] * GSD, 0))
        for each, bad in zip(polygons, status, strict=True):
            for ring in shapely.get_rings(each):
                axes.plot(*shapely.get_coordinates(ring).T, color="#ff4040" if bad else color, lw=1.1)
        axes.set(xlim=(x0, x1), ylim=(y1, y0), xticks=[], yticks=[])

    middle = shapely.get_coordinates(shapely.centroid(traced))
    density = [(np.abs(middle - at).max(axis=1) < 40).sum() for at in middle[::20]]
    x, y = middle[::20][int(np.argmax(density))]
    window = (x - 40, y - 40, x + 40, y + 40)
    figure, axes = plt.subplots(2, 3, figsize=(15, 10.4))
    nothing = np.zeros(len(traced), int)
    panels = [("traced", traced, nothing), *((m, r.polygons, r.status) for m, r in made.items())]
    panels.append(("reference", truth, np.zeros(len(truth), int)))
    for panel, (name, polygons, status) in zip(axes.ravel(), panels, strict=True):
        near = shapely.intersects(shapely.box(*window), polygons)
        show(panel, polygons[near], status[near], window)
        panel.set_title(name)
    figure.tight_layout()
    figure.savefig(out / "methods.png", dpi=70)
    figure, axes = plt.subplots(2, 5, figsize=(17, 7.4))
    worst = np.argsort(made["auto"].iou)[:10]
    for panel, k in zip(axes.ravel(), worst, strict=True):
        x0, y0, x1, y1 = shapely.bounds(traced[k]) + np.array([-4, -4, 4, 4])
        side = max(x1 - x0, y1 - y0) / 2
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        show(panel, [made["auto"].polygons[k]], [made["auto"].status[k]], (x - side, y - side, x + side, y + side))
        for near in truth[shapely.intersects(shapely.box(x0, y0, x1, y1), truth)]:
            panel.plot(*shapely.get_coordinates(near.exterior).T, color="#30c060", lw=0.8)
        panel.set_title(f"{made['auto'].method[k] or 'not regular'}, IoU {made['auto'].iou[k]:.2f}", fontsize=9)
    figure.tight_layout()
    figure.savefig(out / "worst.png", dpi=70)


if __name__ == "__main__":
    main()
