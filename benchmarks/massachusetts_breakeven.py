"""Recompute the published break-even points of the Massachusetts Buildings test set from its score maps.

Data: score maps and labels of the 10 test scenes (Mnih 2013; HF-FCN, Zuo et al. 2016) with the precision/recall arrays
that were published with them, in ``$EAVES_DATA/published_scores/{Mnih,HF-FCN}``.
Run:  EAVES_DATA=... python benchmarks/massachusetts_breakeven.py     (5 s on one core)

The arrays ``pre_rec_relax{0,3}.npy`` are (256, 2): row i is the threshold i / 255, the columns are precision and recall
of all ten scenes together; relaxing is by chessboard distance. They were made from scores before these were rounded
to the uint8 of the PNGs, so a row is not our threshold i to the last digit: the curves are compared at equal recall.
"""

from __future__ import annotations

import os
import sys
from functools import reduce
from operator import add
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from eaves.metrics import break_even, precision_recall_curve
from eaves.metrics.relaxed import Distance

PUBLISHED = {("Mnih", 0): 0.7642, ("Mnih", 3): 0.9264, ("HF-FCN", 0): 0.8416, ("HF-FCN", 3): 0.9642}


class Result(NamedTuple):
    model: str
    rho_px: int
    published: float
    break_even: float | None
    curve_gap: np.ndarray  # |precision - published precision| at the recall of each published threshold


def measure(folder: Path, distance: Distance = "chessboard") -> list[Result]:
    results = []
    for model in ("Mnih", "HF-FCN"):
        scenes = [
            (_grey(path.with_name(path.name.replace("_pred", "_label"))) > 0, _grey(path))
            for path in sorted((folder / model).glob("*_pred.png"))
        ]
        for rho_px in (0, 3):
            curve = reduce(add, (precision_recall_curve(*scene, rho_px, distance=distance) for scene in scenes))
            published = np.load(folder / model / f"pre_rec_relax{rho_px}.npy")
            recall, precision = curve.recall[::-1], curve.precision[::-1]  # ascending recall, as np.interp needs
            inside = (published[:, 1] >= recall[0]) & (published[:, 1] <= recall[-1])
            at_recall = np.interp(published[inside, 1], recall, precision)
            results.append(
                Result(
                    model,
                    rho_px,
                    PUBLISHED[model, rho_px],
                    break_even(curve.precision, curve.recall),
                    np.abs(at_recall - published[inside, 0]),
                )
            )
    return results


def _grey(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 2:
        sys.exit(f"{path}: not a grey PNG")
    return image


def main() -> None:
    root = os.environ.get("EAVES_DATA")
    if not root:
        sys.exit("EAVES_DATA is not set: it must name the folder that has published_scores/")
    folder = Path(root) / "published_scores"
    if not folder.is_dir():
        sys.exit(f"{folder} does not exist: EAVES_DATA must name the folder that has published_scores/")
    print("| score maps | relaxed by | published | recomputed | difference | curves apart: median | most |")
    print("|---|---|---|---|---|---|---|")
    for distance in ("chessboard", "euclidean"):
        for model, rho_px, published, ours, gap in measure(folder, distance):
            if distance == "euclidean" and rho_px == 0:
                continue  # the same as above
            how = f"{rho_px} px, {distance}" if rho_px else "exact"
            value, away = ("-", "-") if ours is None else (f"{ours:.4f}", f"{ours - published:+.4f}")
            print(f"| {model} | {how} | {published:.4f} | {value} | {away} | {np.median(gap):.5f} | {gap.max():.5f} |")


if __name__ == "__main__":
    main()
