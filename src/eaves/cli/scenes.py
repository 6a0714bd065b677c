"""Commands that run a model over scenes, or trace what it gave: predict, vectorize, extract."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from eaves.cli.app import (
    SIMPLIFY,
    AllowVrt,
    Bands,
    Batch,
    DetectionsPerMpx,
    Device,
    GroundGsd,
    Method,
    MinArea,
    MinFall,
    MinSeed,
    Nms,
    Nodata,
    OnlyColor,
    Out,
    Quiet,
    RefineSet,
    RefineWith,
    RoofColors,
    Scale,
    SeedScore,
    SeparateBy,
    Simplify,
    Threshold,
    TilePx,
    ToleranceM,
    Tta,
    app,
    numbers,
    say,
    watched,
)
from eaves.cli.footprints import regular_line


@app.command
def predict(
    scene: str,
    *,
    model: Path,
    out: Out,
    nodata: Nodata = None,
    bands: Bands = None,
    ground_gsd_m: GroundGsd = None,
    allow_vrt: AllowVrt = False,
    tile_px: TilePx = None,
    batch: Batch = None,
    device: Device = "auto",
    tta: Tta = "none",
    nms: Nms = None,
    detections_per_mpx: DetectionsPerMpx = None,
    refine: RefineWith = None,
    refine_set: RefineSet = None,
    quiet: Quiet = False,
) -> None:
    """Write the score map of a scene: a COG whose values, divided by 254, are scores between 0 and 1.

    Args:
        scene: Raster file or URL.
        model: Model file (.safetensors).
        out: GeoTIFF to write.
    """
    from eaves.workflows.predict import predict_scores

    with watched(quiet) as on_progress:
        made = predict_scores(
            scene,
            model,
            out,
            nodata=nodata,
            bands=numbers(bands),
            ground_gsd_m=ground_gsd_m,
            allow_vrt=allow_vrt,
            tile_px=tile_px,
            batch=batch,
            device=device,
            tta=tta,
            nms=nms,
            detections_per_mpx=detections_per_mpx,
            refine=refine,
            refine_changes=refine_set or (),
            on_progress=on_progress,
        )
    rows, cols = made.shape
    gsd = "in pixel space" if made.gsd_m is None else f"at {made.gsd_m:.3g} m"
    say(quiet, f"{cols} x {rows} px {gsd} in {made.scores} (tiles of {made.layout.tile_px} px)")
    if made.instances is not None:
        say(quiet, f"{made.number} objects in {made.instances}")


@app.command
def vectorize(
    scores: Path,
    *,
    out: Out,
    threshold: Threshold = 0.5,
    min_area_m2: MinArea = 4.0,
    simplify_px: Simplify = 1.0,
    separate: SeparateBy = "auto",
    seed_score: SeedScore = None,
    min_fall: MinFall = None,
    min_seed_m2: MinSeed = None,
    scale: Scale = None,
    ground_gsd_m: GroundGsd = None,
    quiet: Quiet = False,
) -> None:
    """Trace the outlines of a score map.

    Args:
        scores: Score map.
        out: .gpkg, .parquet, .geojson or .fgb.
    """
    from eaves.workflows.vectorize import vectorize_scores

    with watched(quiet) as on_progress:
        made = vectorize_scores(
            scores,
            out,
            threshold=threshold,
            min_area_m2=min_area_m2,
            simplify_px=simplify_px,
            separate=separate,
            seed_score=seed_score,
            min_fall=min_fall,
            min_seed_m2=min_seed_m2,
            scale=scale,
            ground_gsd_m=ground_gsd_m,
            on_progress=on_progress,
        )
    left_out = f"{made.dropped} smaller than {min_area_m2:g} left out, {made.filled} holes filled"
    say(quiet, f"{made.number} footprints in {made.path}; {left_out}")


@app.command
def extract(
    scenes: list[str],
    /,
    *,
    model: Path,
    out: Out,
    scores: Path | None = None,
    threshold: Threshold = 0.5,
    min_area_m2: MinArea = 4.0,
    simplify_px: Annotated[float | None, Parameter(help=SIMPLIFY)] = None,
    method: Annotated[Method | None, Parameter(help="Make footprints regular by this method.")] = None,
    tolerance_m: ToleranceM = 1.0,
    date: str | None = None,
    calibration: Path | None = None,
    separate: SeparateBy = "auto",
    seed_score: SeedScore = None,
    min_fall: MinFall = None,
    min_seed_m2: MinSeed = None,
    nodata: Nodata = None,
    bands: Bands = None,
    ground_gsd_m: GroundGsd = None,
    allow_vrt: AllowVrt = False,
    tile_px: TilePx = None,
    batch: Batch = None,
    device: Device = "auto",
    tta: Tta = "none",
    nms: Nms = None,
    detections_per_mpx: DetectionsPerMpx = None,
    refine: RefineWith = None,
    refine_set: RefineSet = None,
    roof_color: RoofColors = False,
    only_color: OnlyColor = None,
    quiet: Quiet = False,
) -> None:
    """Turn scenes into footprints: the main job, in one pass.

    Args:
        scenes: Rasters or URLs.
        model: Model file (.safetensors).
        out: .gpkg, .parquet, .geojson or .fgb.
        scores: Also keep the score map here.
        calibration: File of eaves calibrate: adds the column confidence.
        date: Day of the imagery, such as 2026-05-31; by default what the scene's file says.
    """
    from eaves.workflows.extract import extract_footprints

    began = time.monotonic()
    with watched(quiet) as on_progress:
        made = extract_footprints(
            scenes,
            model,
            out,
            scores=scores,
            threshold=threshold,
            min_area_m2=min_area_m2,
            simplify_px=simplify_px,
            method=method,
            tolerance_m=tolerance_m,
            date=date,
            calibration=calibration,
            separate=separate,
            seed_score=seed_score,
            min_fall=min_fall,
            min_seed_m2=min_seed_m2,
            nodata=nodata,
            bands=numbers(bands),
            ground_gsd_m=ground_gsd_m,
            allow_vrt=allow_vrt,
            tile_px=tile_px,
            batch=batch,
            device=device,
            tta=tta,
            nms=nms,
            detections_per_mpx=detections_per_mpx,
            refine=refine,
            refine_changes=refine_set or (),
            roof_color=roof_color,
            only_color=only_color,
            on_progress=on_progress,
        )
    took = f"{time.monotonic() - began:.0f} s"
    left_out = f"{made.dropped} smaller than {min_area_m2:g} left out, {made.filled} holes filled"
    left_out += f", {made.covered} that others cover" if made.covered else ""
    left_out += f", {made.other_color} that are not {only_color}" if made.other_color else ""
    say(quiet, f"{made.number} footprints in {made.path}; {left_out}; {took}")
    if made.shapes is not None:
        say(quiet, regular_line(made.number, made.kept, made.shapes))
