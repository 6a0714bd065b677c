"""Mask R-CNN and the improved one: {FPN, multi-path} x {NMS, Soft-NMS} on drone imagery and on blue roofs.

    EAVES_DATA=... EAVES_WEIGHTS=... python benchmarks/instances.py --work runs/instances [--only drone blue]
        [--set fit.epochs=20 ...]

Two networks are trained for each set, alike but for the pyramid, and each is run with either way to treat overlaps,
which no weight depends on: the four cells of the blue-roof source's ablation. `drone`: Banepa's western four fifths,
`kampala_0` and `philippines_1` train; Banepa's eastern fifth, `kampala_1` and `philippines_0` test, at 0.3 m. `blue`:
the blue roofs of two synthetic cities train (other roofs are background), those of a third test. Epochs are chosen by
object F1 on a grid of chips: for `drone` of the scenes that also test, which flatters all four alike; for `blue` of a
fourth city. Stages that are done are not done again.

Imagery CC BY 4.0, OpenAerialMap contributors / HOTOSM; labels (c) OpenStreetMap contributors, ODbL.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from drone_imagery import eaves, prepare
from touching_houses import cut_strip

PYRAMIDS = {"FPN": "fpn", "multi-path": "multi-path"}
SUPPRESSIONS = {"NMS": "hard", "Soft-NMS": "gaussian"}
SHORT = [  # a budget that ends on a CPU: small chips, and fewer regions a step
    "chips.chip_px=256",
    "model.options.regions=128",
    "model.options.stride_in_1x1=true",  # as the weights in the folder of EAVES_WEIGHTS
]
BUDGETS = {
    "drone": ["chips.per_epoch=96", "chips.val_chips=24", "fit.epochs=10"],
    "blue": ["chips.per_epoch=100", "chips.val_chips=12", "fit.epochs=6"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("runs/instances"))
    parser.add_argument("--only", nargs="*", default=list(BUDGETS), choices=list(BUDGETS))
    parser.add_argument("--set", nargs="*", default=[])
    options = parser.parse_args()
    if "EAVES_DATA" not in os.environ:
        sys.exit("EAVES_DATA is not set: it names the folder with banepa/ and oam/")
    work = options.work
    work.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        dataset, places = (drone if name == "drone" else blue)(work)
        folders, names = [], []
        for pyramid, kind in PYRAMIDS.items():
            run = work / f"{name}-{kind}"
            if not (run / "curves.png").exists():
                changes = [*SHORT, *BUDGETS[name], f"model.options.pyramid={kind}", *options.set]
                eaves("train", "maskrcnn-resnet50", "--data", dataset, "-o", run, "--resume", "--set", *changes)
            for suppression, method in SUPPRESSIONS.items():
                cell = work / "cells" / f"{name}-{kind}-{method}"
                for place, (scene, reference, more) in places.items():
                    judge(run / "model.safetensors", method, scene, reference, more, cell / place)
                folders.append(cell)
                names.append(f"{pyramid} + {suppression}")
        eaves("compare", *folders, "-o", work / f"table-{name}", "--columns", "objects", "--names", *names)


def drone(work: Path) -> tuple[Path, dict]:
    """The data set, and what tests: scene, reference, and options for each place."""
    data = Path(os.environ["EAVES_DATA"])
    dataset = work / "dataset.toml"
    if not dataset.exists():
        prepare(data, work)
    strip, oam = cut_strip(data / "banepa/banepa.tif", work), data / "oam"
    area = ["--aoi", work / "banepa_val_aoi.gpkg"]
    places = {"banepa": (strip, work / "banepa_val.gpkg", [area, ["--nodata", 255]])}
    for name in ("kampala_1", "philippines_0"):
        places[name] = (oam / f"{name}.tif", oam / f"{name}.geojson", [[], []])
    return dataset, places


def blue(work: Path) -> tuple[Path, dict]:
    """Cities with their blue roofs."""
    scenes = []
    for seed, side, split in ((11, 2048, "train"), (12, 2048, "train"), (13, 1024, "val"), (21, 4096, "test")):
        city = work / f"city{seed}"
        if not (city / "noisy.gpkg").exists():
            eaves("synth", "-o", city, "--size-px", side, "--seed", seed)
        if split == "test":
            reference = city / "blue.gpkg"
            eaves("color", city / "buildings.gpkg", city / "scene.tif", "-o", reference, "--only", "blue")
            continue
        labels = f'[{{ path = "{city.name}/buildings.gpkg", roof_color = "blue" }}]'
        scenes.append(f'[[scene]]\nimage = "{city.name}/scene.tif"\nlabels = {labels}\nsplit = "{split}"\n')
    dataset = work / "blue.toml"
    dataset.write_text("\n".join(scenes))
    return dataset, {"city": (work / "city21/scene.tif", work / "city21/blue.gpkg", [[], []])}


def judge(model: Path, method: str, scene: Path, reference: Path, more: list[list], out: Path) -> None:
    """Find the objects of a scene and measure them, unless that is done."""
    if (out / "metrics.json").exists():
        return
    area, nodata = more
    eaves("predict", scene, "--model", model, "-o", out / "scores.tif", "--nms", method, *nodata)
    found = [out / "scores.instances.parquet", reference, "-o", out, "--scene", scene, "--gsd-m", 0.3]
    eaves("evaluate", *found, "--min-score", 0.5, *area, *nodata)


if __name__ == "__main__":
    main()
