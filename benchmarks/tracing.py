"""Tracing outlines: Eaves beside rasterio, scikit-image and OpenCV, on made-up score maps; prints Markdown.

python benchmarks/tracing.py [--size 8192] [--specks]

Core-seconds are CPU time of this process on one thread, the least of three, after compilation. Only Eaves works strip
by strip. Quality is measured against the true polygons: mean IoU, mean of area / true area, and mean vertices, after
simplification at 1 px (Eaves fits lines; the others' outlines go through shapely.simplify, as is usual).
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import resource
import time
from collections.abc import Callable

import cv2
import numpy as np
import rasterio.features
import shapely
from affine import Affine
from shapely import affinity
from skimage import measure

from eaves.footprints import Tracer, concatenate, simplify, trace

STRIP = 512
FINER = 8


def city(size: int, spacing: int = 64, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return true polygons, one a cell of ``spacing`` pixels, and a blurred, slightly noisy score map of them."""
    random = np.random.default_rng(seed)
    cells = size // spacing
    polygons = []
    for index in range(cells * cells):
        w, h = random.uniform(12, 36, 2)
        shape = shapely.box(-w / 2, -h / 2, w / 2, h / 2)
        if random.random() < 0.5:
            shape = shape.difference(shapely.box(0, 0, w, h))
        shape = affinity.rotate(shape, random.uniform(0, 90), origin=(0, 0))
        x, y = (np.array(divmod(index, cells)) + 0.5 + random.uniform(-0.1, 0.1, 2)) * spacing
        polygons.append(affinity.translate(shape, x, y))
    cover = np.empty((size, size), np.float32)
    for row in range(0, size, STRIP):
        rows = min(STRIP, size - row)
        to_fine = Affine.translation(0, row) * Affine.scale(1 / FINER)
        near = [p for p in polygons if p.bounds[1] < row + rows and p.bounds[3] > row]
        fine = rasterio.features.rasterize(near, (rows * FINER, size * FINER), transform=to_fine)
        cover[row : row + rows] = fine.reshape(rows, FINER, size, FINER).mean((1, 3))
    noise = cv2.GaussianBlur(random.normal(size=(size, size)).astype(np.float32), (0, 0), 2) * 0.3
    scores = np.clip(cv2.GaussianBlur(cover, (0, 0), 1.0) + noise, 0, 1)
    return np.array(polygons), np.round(scores * 254).astype(np.uint8)


def eaves_strips(levels: np.ndarray) -> np.ndarray:
    tracer = Tracer(levels.shape[1], threshold=0.5)
    parts = [tracer.push(levels[row : row + STRIP]) for row in range(0, len(levels), STRIP)]
    return concatenate([*parts, tracer.finish()]).polygons


def rasterio_shapes(levels: np.ndarray) -> np.ndarray:
    mask = (levels >= 127).astype(np.uint8)
    return np.array([shapely.geometry.shape(shape) for shape, _ in rasterio.features.shapes(mask, mask=mask > 0)])


def skimage_contours(levels: np.ndarray) -> np.ndarray:
    rings = measure.find_contours(np.pad(levels, 1), 127)
    sizes = [len(ring) for ring in rings]
    coords = np.concatenate(rings)[:, ::-1] - 0.5
    polygons = shapely.polygons(shapely.linearrings(coords, indices=np.repeat(np.arange(len(rings)), sizes)))
    return polygons[shapely.is_ccw(shapely.get_exterior_ring(polygons))]  # holes are left out, not cut out


def opencv_contours(levels: np.ndarray) -> np.ndarray:
    found, _ = cv2.findContours((levels >= 127).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    rings = [ring[:, 0] for ring in found if len(ring) > 3]
    coords = np.concatenate(rings) + 0.5
    indices = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    return shapely.make_valid(shapely.polygons(shapely.linearrings(coords, indices=indices)))


def seconds(work: Callable[[], np.ndarray], times: int = 3) -> tuple[float, np.ndarray]:
    spent = []
    for _ in range(times):
        start = time.process_time()
        result = work()
        spent.append(time.process_time() - start)
    return min(spent), result


def quality(polygons: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    large = polygons[shapely.area(polygons) > 30]
    found = large[shapely.STRtree(large).nearest(shapely.centroid(truth))]
    overlap = shapely.area(shapely.intersection(found, truth)) / shapely.area(shapely.union(found, truth))
    area = shapely.area(found) / shapely.area(truth)
    return overlap.mean(), area.mean(), (shapely.get_num_coordinates(found) - 1).mean()


def compare(size: int) -> None:
    truth, levels = city(size)
    trace(levels[:64], 0.5)
    simplify(shapely.buffer(shapely.points([[0, 0]]), 5))
    print(f"{size} x {size} px, {len(truth)} buildings, {(levels >= 127).mean():.1%} of the pixels inside\n")
    print(
        "| method | outline | core-s | Mpx / core-s | polygons / core-s | simplified: core-s | IoU | area | vertices |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name, outline, work in (
        (f"eaves, strips of {STRIP} rows", "sub-pixel, holes", eaves_strips),
        ("rasterio.features.shapes", "pixel edges, holes", rasterio_shapes),
        ("skimage.find_contours", "sub-pixel, no holes", skimage_contours),
        ("cv2.findContours", "pixel centres, no holes", opencv_contours),
    ):
        spent, polygons = seconds(lambda work=work: work(levels))
        shorten = simplify if work is eaves_strips else shapely.simplify
        again, simple = seconds(lambda shorten=shorten, polygons=polygons: shorten(polygons, 1.0))
        iou, area, vertices = quality(simple, truth)
        print(
            f"| {name} | {outline} | {spent:.2f} | {levels.size / 1e6 / spent:.0f} | {len(polygons) / spent:,.0f} "
            f"| {again:.2f} | {iou:.4f} | {area:.4f} | {vertices:.1f} |"
        )


def worst(size: int) -> None:
    trace(np.eye(9, dtype=np.uint8) * 254, 0.5)  # compiled code is loaded
    print("\n| field | polygons | core-s | peak memory of the process, GB |\n|---|---|---|---|")
    board = (np.add.outer(np.arange(size), np.arange(size)) % 2 * 254).astype(np.uint8)
    specks = np.zeros((size, size), np.uint8)
    specks[1::2, 1::2] = 254
    for name, levels in (
        ("full frame", np.full((size, size), 254, np.uint8)),
        ("specks of one pixel", specks),
        ("checkerboard, one polygon", board),
    ):
        tracer, count, start = Tracer(size, threshold=0.5), 0, time.process_time()
        for row in range(0, size, STRIP):
            count += len(tracer.push(levels[row : row + STRIP]).polygons)
        count += len(tracer.finish().polygons)
        spent, peak = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"| {name}, {size} x {size} px | {count:,} | {spent:.2f} | {peak:.2f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=4096, help="side of the score map in pixels")
    parser.add_argument("--specks", action="store_true", help="also a million specks, a checkerboard and a full frame")
    options = parser.parse_args()
    if options.specks:
        worst(2048)
    else:
        compare(options.size)
