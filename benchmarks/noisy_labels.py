"""What noisy labels cost, and what helps: train on Nairobi, whose labels lie off the image, judge on clean places.

    EAVES_DATA=... EAVES_WEIGHTS=... python benchmarks/noisy_labels.py --work runs/noisy [--only NAME ...] [--set ...]
        [--train nairobi_0 nairobi_1] [--judge kampala_1 philippines_0]

The same light U-Net, chips and steps four times: labels as they are; moved onto the image block by block
(`align = "block"`); as they are with the registration loss; both. Nothing validates, and the last epoch is taken, so
that no clean label is seen before the judgement on `kampala_1` and `philippines_0`. Of the two scenes only
`nairobi_0` is shifted (by 2.5 m); `--train nairobi_0 --judge nairobi_1` asks within one city. Stages that are done are
not done again.

Imagery CC BY 4.0, OpenAerialMap contributors / HOTOSM; labels (c) OpenStreetMap contributors, ODbL.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from drone_imagery import eaves, write_dataset

REGISTRATION = ["loss.terms={ noisy_cross_entropy = 1.0 }", "loss.registration_px=12"]
VARIANTS = {
    "plain": ("none", []),
    "aligned": ("block", []),
    "registration": ("none", REGISTRATION),
    "both": ("block", REGISTRATION),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("runs/noisy"))
    parser.add_argument("--only", nargs="*", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--train", nargs="*", default=["nairobi_0", "nairobi_1"])
    parser.add_argument("--judge", nargs="*", default=["kampala_1", "philippines_0"])
    parser.add_argument("--set", nargs="*", default=[])
    options = parser.parse_args()
    if "EAVES_DATA" not in os.environ:
        sys.exit("EAVES_DATA is not set: it names the folder with oam/")
    oam, work = Path(os.environ["EAVES_DATA"]) / "oam", options.work
    for name in options.only:
        align, changes = VARIANTS[name]
        folder = work / name
        folder.mkdir(parents=True, exist_ok=True)
        lines = []
        for place in options.train:
            path = (oam / place).resolve()
            lines += [
                "[[scene]]",
                f'image = "{path}.tif"',
                f'labels = "{path}.geojson"',
                f'align = "{align}"',
                'split = "train"',
                "",
            ]
        dataset = write_dataset(lines, folder)
        run = folder / "run"
        if not (run / "curves.png").exists():
            eaves(
                "train",
                "unet-mobilenetv2",
                "--data",
                dataset,
                "-o",
                run,
                "--resume",
                "--set",
                "chips.gsd_m=0.3",
                *changes,
                *options.set,
            )
        for place in options.judge:
            test = folder / place
            if not (test / "metrics.json").exists():
                scene, found = oam / f"{place}.tif", test / "footprints.gpkg"
                eaves("extract", scene, "--model", run / "model.safetensors", "-o", found)
                eaves("evaluate", found, oam / f"{place}.geojson", "-o", test, "--scene", scene, "--gsd-m", 0.3)
    for place in options.judge:
        eaves("compare", *sorted(work.glob(f"*/{place}")), "-o", work / place)


if __name__ == "__main__":
    main()
