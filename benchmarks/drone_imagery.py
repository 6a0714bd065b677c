"""Train, extract and evaluate on real drone imagery: Banepa (Nepal), Kampala (Uganda), Catanduanes (Philippines).

    EAVES_DATA=... EAVES_WEIGHTS=... python benchmarks/drone_imagery.py --work runs/drone [--recipe NAME] [--set k=v]

Stages that are done are not done again; delete the folder to start over, or stop with Ctrl-C and run it again.
Banepa trains on the western four fifths of its labelled area and validates on the eastern fifth; buildings on the cut
belong to neither. `kampala_0` and `philippines_1` train, `kampala_1` and `philippines_0` validate.

Imagery CC BY 4.0, OpenAerialMap contributors / HOTOSM; labels (c) OpenStreetMap contributors, ODbL.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import geopandas as gpd
import shapely

CREDITS = (
    "Imagery: OpenAerialMap contributors / HOTOSM, CC BY 4.0",
    "Labels: (c) OpenStreetMap contributors, ODbL",
)
PLACES = {"kampala_0": "train", "philippines_1": "train", "kampala_1": "val", "philippines_0": "val"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("runs/drone"))
    parser.add_argument("--recipe", default="deeplabv3plus-mobilenetv2")
    parser.add_argument("--set", nargs="*", default=[])
    options = parser.parse_args()
    if "EAVES_DATA" not in os.environ:
        sys.exit("EAVES_DATA is not set: it names the folder with banepa/ and oam/")
    data, work = Path(os.environ["EAVES_DATA"]), options.work
    work.mkdir(parents=True, exist_ok=True)
    dataset = prepare(data, work)
    run = work / options.recipe
    model = run / "model.safetensors"
    if not (run / "curves.png").exists():
        changes = [part for change in options.set for part in ("--set", change)]
        eaves("train", options.recipe, "--data", dataset, "-o", run, "--resume", *changes)
    banepa, oam = data / "banepa/banepa.tif", data / "oam"
    jobs = {
        "banepa": (banepa, work / "banepa_val.gpkg", work / "banepa_val_aoi.gpkg", ["--nodata", "255"]),
        "kampala_1": (oam / "kampala_1.tif", oam / "kampala_1.geojson", None, []),
        "philippines_0": (oam / "philippines_0.tif", oam / "philippines_0.geojson", None, []),
    }
    rows = []
    for name, (scene, reference, aoi, extra) in jobs.items():
        out = run / name
        if not (out / "metrics.json").exists():
            began = time.monotonic()
            found, scores = out / "footprints.gpkg", out / "scores.tif"
            peak = eaves("extract", scene, "--model", model, "-o", found, "--scores", scores, *extra)
            (out / "cost.json").write_text(json.dumps({"seconds": time.monotonic() - began, "peak_gb": peak}))
            area = ["--aoi", aoi] if aoi else []
            eaves("evaluate", found, reference, "-o", out, "--scene", scene, "--gsd-m", "0.3", *area, *extra)
        report = json.loads((out / "metrics.json").read_text())
        cost = json.loads((out / "cost.json").read_text())
        pixels, objects = report["pixels"], report["objects"]
        rows.append(
            {
                "validation": name,
                "pixel IoU": f"{pixels['iou']:.3f}",
                "precision": f"{pixels['precision']:.3f}",
                "recall": f"{pixels['recall']:.3f}",
                "object F1": f"{objects['f1']:.3f}",
                "footprints": f"{objects['tp'] + objects['fp']} for {objects['tp'] + objects['fn']}",
                "merged (buildings)": f"{objects['merged']} ({objects['swallowed']})",
                "split": objects["split"],
                "extract": f"{cost['seconds']:.0f} s",
                "peak": f"{cost['peak_gb']:.2f} GB",
            }
        )
    print("| " + " | ".join(rows[0]) + " |\n" + "|---" * len(rows[0]) + "|")
    for row in rows:
        print("| " + " | ".join(map(str, row.values())) + " |")


def prepare(data: Path, work: Path) -> Path:
    """Write the dataset of Banepa, Kampala and Catanduanes."""
    lines = banepa_scenes(data, work)
    for name, side in PLACES.items():
        path = (data / "oam" / name).resolve()
        lines += ["[[scene]]", f'image = "{path}.tif"', f'labels = "{path}.geojson"', f'split = "{side}"', ""]
    return write_dataset(lines, work)


def banepa_scenes(data: Path, work: Path) -> list[str]:
    """Cut Banepa's labelled area in two and return the lines of its scenes."""
    buildings = gpd.read_file(data / "banepa/banepa_buildings.geojson")
    labelled = gpd.read_file(data / "banepa/banepa_labelled_area.geojson").union_all()
    left, bottom, right, top = labelled.bounds
    cut = left + 0.8 * (right - left)
    crossing = buildings[(buildings.bounds.minx < cut) & (buildings.bounds.maxx > cut)]
    sides = {"train": shapely.box(left, bottom, cut, top), "val": shapely.box(cut, bottom, right, top)}
    lines = []
    for side, box in sides.items():
        aoi = labelled.intersection(box).difference(crossing.union_all())
        gpd.GeoDataFrame(geometry=[aoi], crs=buildings.crs).to_file(work / f"banepa_{side}_aoi.gpkg")
        inside = buildings[buildings.intersects(box)].drop(index=crossing.index, errors="ignore")
        inside[["osm_id", "geometry"]].to_file(work / f"banepa_{side}.gpkg")
        lines += [
            "[[scene]]",
            f'image = "{(data / "banepa/banepa.tif").resolve()}"',
            f'labels = "banepa_{side}.gpkg"',
            f'aoi = "banepa_{side}_aoi.gpkg"',
            "nodata = 255",
            f'split = "{side}"',
            "",
        ]
    return lines


def write_dataset(lines: list[str], work: Path) -> Path:
    dataset = work / "dataset.toml"
    dataset.write_text("\n".join([f"credits = {json.dumps(CREDITS)}", "", *lines]), encoding="utf-8")
    return dataset


def eaves(*arguments: object) -> float:
    """Run a command; return its peak memory in GB."""
    process = subprocess.Popen([sys.executable, "-m", "eaves.cli", *map(str, arguments)])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"eaves {arguments[0]} failed")
    return usage.ru_maxrss * 1024 / 1e9  # Linux counts KiB


if __name__ == "__main__":
    main()
