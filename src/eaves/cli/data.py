"""Commands that look at data and make it: demo, synth, doctor, sample."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.markup import escape

from eaves.cli.app import AllowVrt, GroundGsd, Nodata, Out, Quiet, app, say, watched


@app.command
def demo(*, out: Out = Path("eaves-demo"), seed: int = 0, quiet: Quiet = False) -> None:
    """Tell the whole story on a synthetic city: labels, training, extraction of an unseen city, evaluation.

    Args:
        out: Folder for all results.
        seed: Of the cities and the training.
    """
    from eaves.workflows.demo import demo_city

    with watched(quiet) as on_progress:
        story = demo_city(out, seed=seed, on_progress=on_progress)
    say(quiet, story.text)


@app.command
def synth(
    *,
    out: Out,
    size_px: int = 2048,
    gsd_m: float = 0.3,
    seed: int = 0,
    nodata_corner: Annotated[bool, Parameter(negative="--no-nodata-corner")] = True,
    quiet: Quiet = False,
) -> None:
    """Write a synthetic city with its exact truth: scene.tif, buildings.gpkg, roads.gpkg, noisy.gpkg.

    Args:
        out: Folder; made if missing.
        size_px: Side of the square scene in pixels.
        gsd_m: Ground size of a pixel in metres.
        seed: Of everything random.
        nodata_corner: Leave a corner without imagery.
    """
    from eaves.workflows.synth import synth_city

    with watched(quiet) as on_progress:
        files = synth_city(
            out, size_px=size_px, gsd_m=gsd_m, seed=seed, nodata_corner=nodata_corner, on_progress=on_progress
        )
    say(quiet, f"{files.number} buildings in {files.scene}, with {files.buildings.name}, roads.gpkg and noisy.gpkg")


@app.command
def doctor(
    scene: str,
    *,
    labels: Path | None = None,
    model: Path | None = None,
    aoi: Path | None = None,
    nodata: Nodata = None,
    ground_gsd_m: GroundGsd = None,
    allow_vrt: AllowVrt = False,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
    quiet: Quiet = False,
) -> None:
    """Tell on one page what would go wrong: CRS, GSD, type, bands, nodata, label overlap and offset, leakage.

    Exits with 1 where something would surely fail.

    Args:
        scene: Raster file or URL, or a DATASET.toml.
        labels: Polygons to check against the scene.
        model: Model file to check against the scene.
        aoi: Polygons inside which the labels are complete.
        as_json: Print the findings as JSON.
    """
    from eaves.workflows.doctor import doctor_scene

    findings = doctor_scene(
        scene, labels=labels, model=model, aoi=aoi, nodata=nodata, ground_gsd_m=ground_gsd_m, allow_vrt=allow_vrt
    )
    if as_json:
        sys.stdout.write(json.dumps([finding._asdict() for finding in findings], indent=2) + "\n")
    else:
        colors = {"ok": "green", "note": "cyan", "warning": "yellow", "error": "red"}
        width = max((len(finding.topic) for finding in findings), default=0)
        for finding in findings:
            mark = f"[{colors[finding.level]}]{finding.level:<7}[/]"
            say(quiet, f"{mark} {escape(finding.topic):<{width}}  {escape(finding.text)}", markup=True)
    if any(finding.level == "error" for finding in findings):
        raise SystemExit(1)


@app.command
def sample(
    dataset: Path,
    *,
    out: Out,
    format: Literal["eaves", "hdf5", "coco", "esri-rcnn-masks", "esri-classified-tiles"] = "eaves",
    recipe: str | None = None,
    set: Annotated[list[str] | None, Parameter(name="--set", consume_multiple=True)] = None,
    epochs: int = 1,
    instances: bool = False,
    rotation_deg: float = 0.0,
    at_most: int | None = None,
    quiet: Quiet = False,
) -> None:
    """Cut chips out of a dataset's scenes and store them.

    Args:
        dataset: DATASET.toml.
        out: Folder (eaves), or file (hdf5).
        format: eaves is a folder of memory-mapped arrays, hdf5 one compressed file; coco and the two of Esri are what
            other programs read.
        recipe: Recipe whose [chips] to use; a name or a .toml file.
        set: Changes, such as chips.chip_px=256.
        epochs: How many epochs of training chips to draw.
        instances: Store which pixels belong to the same object, too.
        rotation_deg: Store each training chip again, turned by multiples of this angle.
        at_most: Keep this many training chips, drawn from all.
    """
    from eaves.workflows.sample import sample_chips

    with watched(quiet) as on_progress:
        chips = sample_chips(
            dataset,
            out,
            format=format,
            recipe=recipe,
            changes=set or (),
            epochs=epochs,
            instances=instances,
            rotation_deg=rotation_deg,
            at_most=at_most,
            on_progress=on_progress,
        )
    say(quiet, f"{chips.train} training and {chips.val} validation chips in {chips.path}")
