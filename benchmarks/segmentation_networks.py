"""Every segmentation network of the sources on one set of tiles: same chips, same number of steps, one table.

    EAVES_DATA=... EAVES_WEIGHTS=... python benchmarks/segmentation_networks.py --work runs/roofs [--only NAME ...]
        [--seeds 0 1 2] [--set chips.per_epoch=100 ...]

Stages that are done are not done again, so that several processes may share the work by ``--only``; ``--table`` alone
prints what is there. Tiles of `roofs_z18` (Shenzhen, 0.55 m, 8-bit RGB) are laid out in sheets with empty lanes between
them: the suggested training tiles without some whole clusters, which validate; the suggested validation tiles test.
The masks let touching roofs melt, so that "merged" counts what a network melts beyond that.

The tiles state no licence: experiments only, and nothing trained on them is published.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import Affine

from drone_imagery import eaves

SCRATCH = ["model.encoder_weights=none"]  # where the folder of EAVES_WEIGHTS has none
# name → recipe and what differs from it
NETWORKS = {
    "unet28-paper": ("unet28-paper", []),
    "unet28": ("unet28", []),
    "segnet": ("segnet", []),
    "segnet-border": ("segnet-border", []),
    "segnet-distance": ("segnet-distance", []),
    "deeplabv3plus-mobilenetv2": ("deeplabv3plus-mobilenetv2", []),
    "deeplabv3plus-xception": ("deeplabv3plus-xception", SCRATCH),
    "unet-resnet34": ("unet-resnet34", SCRATCH),
}
ALIKE = [
    "chips.chip_px=128",
    "chips.gsd_m=none",
    "chips.windows=random",
    "chips.keep_empty=false",
    "chips.per_epoch=160",
    "chips.val_chips=32",
    "fit.batch=4",
    "fit.epochs=6",
    "fit.warmup_steps=20",
]
GSD_M = 0.5507  # 0.597164 m in EPSG:3857 at 22.75 degrees north
TILE_PX, LANE_PX = 512, 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("runs/roofs"))
    parser.add_argument("--only", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--set", nargs="*", default=[])
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    work = options.work
    if not options.table:
        if "EAVES_DATA" not in os.environ:
            sys.exit("EAVES_DATA is not set: it names the folder with roofs_z18/")
        prepare(Path(os.environ["EAVES_DATA"]) / "roofs_z18", work)
        for seed in options.seeds:
            for name in options.only:
                run_one(name, seed, work, options.set)
    done = sorted(path.parent.parent for path in work.glob("*/test/metrics.json"))
    eaves("compare", *done, "-o", work / "table")


def run_one(name: str, seed: int, work: Path, changes: list[str]) -> None:
    recipe, own = NETWORKS[name]
    run = work / f"{name}-{seed}"
    if not (run / "curves.png").exists():
        settings = [*ALIKE, *own, f"fit.seed={seed}", *changes]
        eaves("train", recipe, "--data", work / "dataset.toml", "-o", run, "--resume", "--set", *settings)
    test = run / "test"
    if not (test / "metrics.json").exists():
        found = test / "footprints.gpkg"
        model = run / "model.safetensors"
        place = ["--nodata", 0, "--ground-gsd-m", GSD_M]
        eaves("extract", work / "test.tif", "--model", model, "-o", found, "--scores", test / "scores.tif", *place)
        eaves("evaluate", found, work / "test.gpkg", "-o", test, "--scene", work / "test.tif", "--nodata", 0)


def prepare(data: Path, work: Path) -> None:
    """Lay the tiles out and write the dataset."""
    if (work / "dataset.toml").exists():
        return
    work.mkdir(parents=True, exist_ok=True)
    with (data / "tiles.csv").open(newline="", encoding="utf-8") as file:
        tiles = [row for row in csv.DictReader(file) if row["label_suspect"] == "0"]
    sides: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    held: set[str] = set()
    training = [row for row in tiles if row["suggested_split"] == "train"]
    for row in reversed(training):  # whole clusters, until a tenth of the tiles validates
        if sum(one["cluster"] in held for one in training) < len(training) / 10:
            held.add(row["cluster"])
    for row in tiles:
        side = "test" if row["suggested_split"] == "val" else "val" if row["cluster"] in held else "train"
        sides[side].append(row["file"])
    lines = ['credits = ["roofs_z18: Shenzhen tiles without a stated licence; experiments only"]', ""]
    for side, names in sides.items():
        lay_out(data, names, work, side)
        lines += [
            "[[scene]]",
            f'image = "{side}.tif"',
            f'labels = [{{ path = "{side}_roofs.tif", values = {{ background = [0], building = [1] }} }}]',
            f"gsd_m = {GSD_M}",
            "nodata = 0",
            f'split = "{side}"',
            "",
        ]
    eaves("vectorize", work / "test_roofs.tif", "-o", work / "test.gpkg", "--scale", 1, "--simplify-px", 0)
    print(json.dumps({side: len(names) for side, names in sides.items()}))
    (work / "dataset.toml").write_text("\n".join(lines), encoding="utf-8")


def lay_out(data: Path, names: list[str], work: Path, side: str) -> None:
    """Write the tiles of a side as one picture and one mask; 0 0 0 is no imagery, 255 in the mask is unknown."""
    across = int(np.ceil(np.sqrt(len(names))))
    step = TILE_PX + LANE_PX
    shape = (step * -(-len(names) // across), step * across)
    image, roofs = np.zeros((3, *shape), np.uint8), np.full((1, *shape), 255, np.uint8)
    for index, name in enumerate(names):
        row, col = (step * place for place in divmod(index, across))
        here = np.s_[:, row : row + TILE_PX, col : col + TILE_PX]
        with rasterio.open(data / "images" / f"{name}.webp") as file:
            image[here] = np.maximum(file.read((1, 2, 3)), 1)  # black roofs are imagery too
        with rasterio.open(data / "roofs" / f"{name}.png") as file:
            roofs[here] = file.read()
    for path, array, nodata in ((f"{side}.tif", image, 0), (f"{side}_roofs.tif", roofs, 255)):
        profile = {"driver": "GTiff", "count": len(array), "height": shape[0], "width": shape[1], "dtype": "uint8"}
        with rasterio.open(
            work / path, "w", **profile, nodata=nodata, tiled=True, compress="deflate", transform=Affine.scale(1)
        ) as file:
            file.write(array)


if __name__ == "__main__":
    main()
