"""Hand-made refiners: core-seconds a megapixel on a made-up scene; prints Markdown.

python benchmarks/refiners.py [--size 1024] [--noise 5] [--classes 2]

Core-seconds are CPU time of this process on one thread, the median of three, after compilation. The scene has flat
roofs and ground of random colours, softened edges and noise; the CRF's time depends on the noise, because every colour
that occurs takes room in its lattice.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import statistics
import time
from collections.abc import Sequence

import cv2
import numpy as np

from eaves.refine.crf import DenseCrf, bilateral
from eaves.refine.diffusion import Anisotropic, GeodesicActiveContour, Heat, PeronaMalik
from eaves.refine.refiner import Refiner

PATCH = 24


def scene(size: int, noise: float, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return an image, fuzzy scores and what is valid; noise in grey levels."""
    random = np.random.default_rng(0)
    cells = -(-size // PATCH)

    def patches(values: np.ndarray) -> np.ndarray:
        return values.repeat(PATCH, -2).repeat(PATCH, -1)[..., :size, :size].astype(np.float32)

    colours = patches(random.uniform(0, 1, (3, cells, cells)))
    image = np.stack([cv2.GaussianBlur(band, (0, 0), 1) for band in colours])
    image = np.clip(image + random.normal(0, noise / 255, image.shape), 0, 1).astype(np.float32)
    which = patches(random.integers(0, classes, (cells, cells)))
    scores = np.stack([cv2.GaussianBlur((which == c).astype(np.float32), (0, 0), 4) for c in range(classes)]) + 0.02
    return image, scores / scores.sum(0), np.ones((size, size), bool)


def core_seconds(refine: Refiner, arrays: Sequence[np.ndarray]) -> float:
    refine(*(array[..., :64, :64] for array in arrays))
    times = []
    for _ in range(3):
        start = time.process_time()
        refine(*arrays)
        times.append(time.process_time() - start)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--noise", type=float, default=5.0, help="standard deviation in grey levels")
    parser.add_argument("--classes", type=int, default=2)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    arrays = scene(options.size, options.noise, options.classes)
    megapixels = options.size**2 / 1e6
    corners = bilateral(arrays[0], arrays[2], 67.0, 3.0).corners / options.size**2
    print(f"{options.size} x {options.size}, {options.classes} classes, noise {options.noise:g} grey levels")
    print(f"({corners:.1f} lattice corners a pixel at theta_alpha 67 px and theta_beta 3)\n")
    print("| refiner | iterations | halo, px | core-seconds a Mpx |\n|---|---|---|---|")
    refiners = [DenseCrf(), DenseCrf(theta_beta=13.0), Heat(), PeronaMalik(), Anisotropic(), GeodesicActiveContour()]
    for refine in refiners:
        label = f"{refine.name} (theta_beta {refine.theta_beta:g})" if isinstance(refine, DenseCrf) else refine.name
        seconds = core_seconds(refine, arrays) / megapixels
        print(f"| {label} | {refine.iterations} | {refine.halo_px} | {seconds:.2f} |", flush=True)


if __name__ == "__main__":
    main()
