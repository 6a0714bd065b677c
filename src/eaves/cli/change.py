"""The command that compares two years: change."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from eaves.cli.app import (
    AllowVrt,
    Bands,
    Batch,
    Device,
    GroundGsd,
    MinArea,
    Nodata,
    Out,
    Quiet,
    Threshold,
    TilePx,
    app,
    numbers,
    say,
    watched,
)


@app.command
def change(
    old: str,
    new: str,
    *,
    out: Out,
    model: Path | None = None,
    aoi: Path | None = None,
    tolerance_m: float = 1.0,
    min_change_m2: float = 4.0,
    align: Annotated[bool, Parameter(negative="--no-align")] = True,
    max_shift_m: float = 15.0,
    summary: Path | None = None,
    threshold: Threshold = 0.5,
    min_area_m2: MinArea = 4.0,
    nodata: Nodata = None,
    bands: Bands = None,
    ground_gsd_m: GroundGsd = None,
    allow_vrt: AllowVrt = False,
    tile_px: TilePx = None,
    batch: Batch = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Tell which buildings were added, removed and altered between two years, as a layer and on a page.

    Args:
        old: Footprints of the earlier year; with --model its scene.
        new: The same of the later year.
        out: .gpkg, .parquet, .geojson or .fgb.
        model: Model file (.safetensors) that finds the buildings of two scenes.
        aoi: Polygons inside which both years are complete; scenes tell by themselves what they show.
        tolerance_m: Outlines closer than this are no change, in metres (pixels without a CRS).
        min_change_m2: Smaller changes are none, in square metres (pixels without a CRS).
        align: Take back the shift between the years, where it is sure.
        max_shift_m: Largest shift looked for, in metres (pixels without a CRS).
        summary: HTML page to write; beside the layer, under its name, where none is given.
    """
    from eaves.workflows.change import change_footprints

    with watched(quiet) as on_progress:
        made = change_footprints(
            old,
            new,
            out,
            model=model,
            aoi=aoi,
            tolerance_m=tolerance_m,
            min_change_m2=min_change_m2,
            align=align,
            max_shift_m=max_shift_m,
            summary=summary,
            threshold=threshold,
            min_area_m2=min_area_m2,
            nodata=nodata,
            bands=numbers(bands),
            ground_gsd_m=ground_gsd_m,
            allow_vrt=allow_vrt,
            tile_px=tile_px,
            batch=batch,
            device=device,
            on_progress=on_progress,
        )
    say(quiet, f"{made.path}, with a summary in {made.page}")
    say(quiet, made.text)
