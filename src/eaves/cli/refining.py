"""Commands that sharpen score maps: refine, tune, study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from eaves.cli.app import (
    AllowVrt,
    Bands,
    Device,
    GroundGsd,
    Nodata,
    Out,
    Quiet,
    RefineSet,
    Scale,
    TilePx,
    app,
    numbers,
    say,
    watched,
)
from eaves.errors import SettingsError


@app.command
def refine(
    scene: str,
    scores: Path,
    *,
    with_: Annotated[str, Parameter(name="--with")],
    out: Out,
    set: RefineSet = None,
    gsd_m: float | None = None,
    scale: Scale = None,
    nodata: Nodata = None,
    bands: Bands = None,
    ground_gsd_m: GroundGsd = None,
    allow_vrt: AllowVrt = False,
    tile_px: TilePx = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Sharpen the score map of a scene to its image, and write it as a new one.

    Args:
        scene: Raster file or URL.
        scores: Its score map.
        with_: crf, heat, perona-malik, anisotropic, geodesic, or the model file of a corrector.
        out: GeoTIFF to write.
        gsd_m: Ground size of a pixel in metres to work at, for all but a corrector; the map's own where none is given.
    """
    from eaves.workflows.refine import refine_scores

    with watched(quiet) as on_progress:
        made = refine_scores(
            scene,
            scores,
            with_,
            out,
            changes=set or (),
            gsd_m=gsd_m,
            scale=scale,
            nodata=nodata,
            bands=numbers(bands),
            ground_gsd_m=ground_gsd_m,
            allow_vrt=allow_vrt,
            tile_px=tile_px,
            device=device,
            on_progress=on_progress,
        )
    rows, cols = made.shape
    gsd = "in pixel space" if made.gsd_m is None else f"at {made.gsd_m:.3g} m"
    say(quiet, f"{cols} x {rows} px {gsd}, refined by {made.refiner}, in {made.scores}")


@app.command
def study(
    scores: Path,
    reference: Path,
    *,
    with_: Annotated[str, Parameter(name="--with")],
    out: Out,
    scene: str | None = None,
    beside: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    set: RefineSet = None,
    gsd_m: float | None = None,
    boundary_m: float | None = None,
    close_ups: int = 3,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Measure a refiner after each of its steps against a reference, and draw what it does.

    Args:
        scores: Score map to correct.
        reference: DATASET.toml with the labels.
        with_: As for eaves refine.
        out: Folder for metrics.csv, study.json and the figures.
        scene: Which scene of the dataset, where there are several and the map does not say.
        beside: Maps of other methods for the figures, such as crf=crf.tif.
        gsd_m: Ground size of a pixel in metres to work at, for all but a corrector.
        boundary_m: How far a boundary reaches inside, in metres; 2 by default.
        close_ups: How many places to look at closely.
    """
    from eaves.workflows.study import study_refinement

    pairs = [name.partition("=") for name in beside or ()]
    if wrong := [name for name, sign, path in pairs if not (name and sign and path)]:
        raise SettingsError("name=map.tif with --beside", wrong[0], "write --beside crf=crf.tif")
    with watched(quiet) as on_progress:
        made = study_refinement(
            scores,
            reference,
            with_,
            out,
            scene=scene,
            beside={name: path for name, _, path in pairs},
            changes=set or (),
            gsd_m=gsd_m,
            boundary_m=boundary_m,
            close_ups=close_ups,
            device=device,
            on_progress=on_progress,
        )
    for row in made.rows:
        say(
            quiet,
            "  ".join(
                f"{key} {value:.3f}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
            ),
        )
    say(quiet, f"figures in {made.folder}")


@app.command
def tune(
    scores: Path,
    reference: Path,
    *,
    out: Out,
    scene: str | None = None,
    gsd_m: float | None = None,
    iterations: int = 5,
    part_px: int | None = None,
    quiet: Quiet = False,
) -> None:
    """Search the energies of a dense CRF that suit a tile with good labels; eaves refine --with takes the result.

    Args:
        scores: Score map to correct.
        reference: DATASET.toml with the tile's labels.
        out: .toml for the best settings; the table of all trials goes beside it as .csv.
        scene: Which scene of the dataset, where there are several and the map does not say.
        gsd_m: Ground size of a pixel in metres to work at; the map's own where none is given.
        iterations: Of the mean field.
        part_px: Search on the middle of the tile alone, a square of this side.
    """
    from eaves.workflows.tune import tune_crf

    with watched(quiet) as on_progress:
        found = tune_crf(
            scores,
            reference,
            out,
            scene=scene,
            gsd_m=gsd_m,
            iterations=iterations,
            part_px=part_px,
            on_progress=on_progress,
        )
    say(quiet, f"mean IoU {found.before:.3f} -> {found.miou:.3f} with {found.options}, in {out}")
