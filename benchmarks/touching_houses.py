"""Which target parts touching houses: classes, border or distance, on Banepa's row houses at 0.3 m and at 0.15 m.

    EAVES_DATA=... EAVES_WEIGHTS=... python benchmarks/touching_houses.py --work runs/banepa [--gsd-m 0.3 0.15]
        [--targets classes border distance] [--set chips.per_epoch=100 ...]

The same light U-Net (MobileNetV2), chips, steps and seed for every target; only the target and its loss differ. Trained
on the western four fifths of the labelled area and judged on the eastern fifth; the best of the epochs is the one with
the best pixel IoU on a grid of chips of that fifth, which flatters all three alike. Stages that are done are not done
again.

Imagery CC BY 4.0, OpenAerialMap contributors / HOTOSM; labels (c) OpenStreetMap contributors, ODbL.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import geopandas as gpd
import rasterio

from drone_imagery import banepa_scenes, eaves, write_dataset

MARGIN = 40.0  # units of the scene's CRS around the strip, so that the network sees what surrounds it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("runs/banepa"))
    parser.add_argument("--gsd-m", nargs="*", type=float, default=[0.3, 0.15])
    parser.add_argument("--targets", nargs="*", default=["classes", "border", "distance"])
    parser.add_argument("--set", nargs="*", default=[])
    options = parser.parse_args()
    if "EAVES_DATA" not in os.environ:
        sys.exit("EAVES_DATA is not set: it names the folder with banepa/")
    data, work = Path(os.environ["EAVES_DATA"]), options.work
    work.mkdir(parents=True, exist_ok=True)
    dataset = write_dataset(banepa_scenes(data, work), work)
    strip = cut_strip(data / "banepa/banepa.tif", work)
    for gsd_m in options.gsd_m:
        for target in options.targets:
            run = work / f"{target}-{gsd_m:g}m"
            if not (run / "curves.png").exists():
                recipe = "unet-mobilenetv2" + ("" if target == "classes" else f"-{target}")
                settings = [f"chips.gsd_m={gsd_m}", "chips.val_chips=30", *options.set]
                eaves("train", recipe, "--data", dataset, "-o", run, "--resume", "--set", *settings)
            test = run / "strip"
            if not (test / "metrics.json").exists():
                found, area, nodata = test / "footprints.gpkg", work / "banepa_val_aoi.gpkg", ["--nodata", 255]
                model = run / "model.safetensors"
                eaves("extract", strip, "--model", model, "-o", found, "--scores", test / "scores.tif", *nodata)
                reference = ["--aoi", area, "--scene", strip, "--gsd-m", 0.3, *nodata]
                eaves("evaluate", found, work / "banepa_val.gpkg", "-o", test, *reference)
    runs = sorted(path.parent.parent for path in work.glob("*/strip/metrics.json"))
    eaves("compare", *runs, "-o", work / "table")


def cut_strip(scene: Path, work: Path, side: str = "val") -> Path:
    """Copy the part of the scene around the validation strip, or around what trains."""
    out = work / ("strip.tif" if side == "val" else f"{side}.tif")
    if out.exists():
        return out
    with rasterio.open(scene) as file:
        area = gpd.read_file(work / f"banepa_{side}_aoi.gpkg").to_crs(file.crs).buffer(MARGIN)
        window = file.window(*area.total_bounds).round_offsets().round_lengths()
        window = window.intersection(rasterio.windows.Window(0, 0, file.width, file.height))
        profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "crs": file.crs, "tiled": True}
        profile |= {"width": window.width, "height": window.height, "transform": file.window_transform(window)}
        with rasterio.open(out, "w", **profile, compress="deflate") as copy:
            copy.write(file.read((1, 2, 3), window=window))
    return out


if __name__ == "__main__":
    main()
