"""Commands about footprints: regularize, color, evaluate, calibrate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eaves.cli.app import (
    AllowVrt,
    Bands,
    GroundGsd,
    Method,
    MinFall,
    MinSeed,
    Nodata,
    OnlyColor,
    Out,
    Quiet,
    Scale,
    SeedScore,
    SeparateBy,
    Threshold,
    ToleranceM,
    app,
    numbers,
    say,
    watched,
)


@app.command
def regularize(
    layer: Path,
    *,
    out: Out,
    method: Method = "right-angles",
    tolerance_m: ToleranceM = 1.0,
    diagonal_penalty: float = 1.5,
    densification_m: float | None = None,
    precision_m: float = 0.0,
    min_radius_m: float = 0.0,
    max_radius_m: float | None = None,
    ground_gsd_m: GroundGsd = None,
    workers: int = 1,
    quiet: Quiet = False,
) -> None:
    """Give traced outlines the angles that buildings have, within a tolerance that is kept.

    Args:
        layer: Polygons, as densely traced as they are to be had: eaves vectorize --simplify-px 0.
        out: .gpkg, .parquet, .geojson or .fgb.
        method: What shapes; auto chooses for each footprint.
        diagonal_penalty: How many times more an edge of another direction than along or across costs.
        densification_m: Edges also meet between bends, at vertices so far apart, in metres; for long slow curves.
        precision_m: Distances between parallel walls are multiples of it, in metres; 0 leaves them.
        min_radius_m: Least radius of a circle, in metres.
        max_radius_m: Greatest radius of a circle, in metres.
        workers: Threads.
    """
    from eaves.workflows.regularize import regularize_footprints

    with watched(quiet) as on_progress:
        made = regularize_footprints(
            layer,
            out,
            method=method,
            tolerance_m=tolerance_m,
            diagonal_penalty=diagonal_penalty,
            densification_m=densification_m,
            precision_m=precision_m,
            min_radius_m=min_radius_m,
            max_radius_m=max_radius_m,
            ground_gsd_m=ground_gsd_m,
            workers=workers,
            on_progress=on_progress,
        )
    say(quiet, f"{made.number} footprints in {made.path}")
    say(quiet, regular_line(made.number, made.kept, made.shapes))


def regular_line(number: int, kept: int, shapes: dict[str, int]) -> str:
    """Say how regularisation went."""
    told = ", ".join(f"{count} {name}" for name, count in shapes.items()) or "none"
    rest = f"; {kept} of {number} could not be, kept nearly as traced: see the column status" if kept else ""
    return f"regular: {told}{rest}"


@app.command
def color(
    layer: Path,
    scene: str,
    *,
    out: Out,
    only: OnlyColor = None,
    nodata: Nodata = None,
    bands: Bands = None,
    allow_vrt: AllowVrt = False,
    quiet: Quiet = False,
) -> None:
    """Tell what colour the roofs of a layer are, from an image: columns roof_color and blue_share.

    Args:
        layer: Footprints, or labels.
        scene: Raster file or URL, with 8-bit red, green and blue.
        out: .gpkg, .parquet, .geojson or .fgb.
    """
    from eaves.workflows.color import color_footprints

    made = color_footprints(layer, scene, out, only=only, nodata=nodata, bands=numbers(bands), allow_vrt=allow_vrt)
    told = ", ".join(f"{count} {name}" for name, count in made.counts.items())
    say(quiet, f"{made.number} roofs in {made.path} ({told})")


@app.command
def evaluate(
    prediction: Path,
    reference: Path,
    *,
    out: Out,
    aoi: Path | None = None,
    scene: str | None = None,
    nodata: Nodata = None,
    threshold: Threshold = 0.5,
    scale: Scale = None,
    iou: float = 0.5,
    min_area_m2: float = 0.0,
    min_score: float | None = None,
    gsd_m: float | None = None,
    boundary_m: float | None = None,
    coco: bool = False,
    separate: SeparateBy = "auto",
    seed_score: SeedScore = None,
    min_fall: MinFall = None,
    min_seed_m2: MinSeed = None,
    quiet: Quiet = False,
) -> None:
    """Say how good footprints or a score map are, against reference polygons or a DATASET's labels.

    Args:
        prediction: Footprints, or a score map (.tif).
        reference: Reference polygons; or a DATASET (.toml), for a score map of all its classes.
        out: Folder for metrics.json, matches.parquet and pictures.
        aoi: Polygons inside which the reference is complete.
        scene: The image: gives the grid, the valid pixels and the picture. With a DATASET, which of its scenes.
        iou: From which a match of objects counts.
        min_area_m2: Smaller objects are left out on both sides.
        min_score: Footprints with a lower score count for average precision alone.
        gsd_m: Pixel size for comparing two vector files without a scene.
        boundary_m: How far a boundary reaches inside for boundary IoU, in metres; 2 where none is given.
        coco: Also COCO's AP of masks and boundary AP (needs eaves[coco]).
    """
    from eaves.workflows.evaluate import evaluate_footprints

    with watched(quiet) as on_progress:
        result = evaluate_footprints(
            prediction,
            reference,
            out,
            aoi=aoi,
            scene=scene,
            nodata=nodata,
            threshold=threshold,
            scale=scale,
            iou=iou,
            min_area_m2=min_area_m2,
            min_score=min_score,
            gsd_m=gsd_m,
            boundary_m=boundary_m,
            coco=coco,
            separate=separate,
            seed_score=seed_score,
            min_fall=min_fall,
            min_seed_m2=min_seed_m2,
            on_progress=on_progress,
        )
    for line in summary(result.report):
        say(quiet, line)
    say(quiet, f"details: {result.folder / 'metrics.json'}")


@app.command
def calibrate(
    prediction: Path,
    reference: Path,
    *,
    out: Out,
    aoi: Path | None = None,
    iou: float = 0.5,
    min_area_m2: float = 0.0,
    quiet: Quiet = False,
) -> None:
    """Learn how likely a footprint of each score is right: for the column confidence of eaves extract --calibration.

    Args:
        prediction: Footprints with a column score.
        reference: Reference polygons, of an area that the model has not learned from.
        out: .json; a figure lies beside it.
        aoi: Polygons inside which the reference is complete.
        iou: From which a match counts.
        min_area_m2: Smaller objects are left out on both sides, in square metres.
    """
    from eaves.workflows.calibrate import calibrate_scores

    made = calibrate_scores(prediction, reference, out, aoi=aoi, iou=iou, min_area_m2=min_area_m2)
    curve = made.curve
    say(quiet, f"{curve.right} of {curve.footprints} footprints are right; {made.path}, {made.figure}")
    off = "off by {:.3f} on average, confidences by {:.3f}".format(*curve.error)
    say(quiet, f"scores are {off}; Brier {curve.brier[0]:.3f} and {curve.brier[1]:.3f} (footprints not learned from)")


def summary(report: Any) -> list[str]:
    """Say the main numbers of an evaluation in a few lines."""

    def show(value: float | None) -> str:
        return "undefined" if value is None else f"{value:.3f}"

    lines = []
    if (pixels := report.pixels) is not None:
        several = len(pixels.classes) > 2
        main = f"mIoU {show(pixels.miou)}" if several else f"IoU {show(pixels.iou)}"
        rims = "" if pixels.boundary_px is None else f"  boundary IoU {show(pixels.boundary_iou)}"
        lines.append(
            f"pixels:  {main}  F1 {show(pixels.f1)}  precision {show(pixels.precision)}  "
            f"recall {show(pixels.recall)}  accuracy {show(pixels.accuracy)}{rims}"
        )
        if several:
            ious = "  ".join(f"{name} {show(each.iou)}" for name, each in pixels.per_class.items())
            lines.append(f"IoU:     {ious}")
    if (objects := report.objects) is not None:
        lines.append(
            f"objects: F1 {show(objects.f1)}  AP50 {show(objects.ap50)}  precision {show(objects.precision)}  "
            f"recall {show(objects.recall)}  "
            f"({objects.tp} right, {objects.fp} wrong, {objects.fn} missed; {objects.merged} merged, "
            f"{objects.split} split)"
        )
    if (outlines := report.outlines) is not None:
        apart = "undefined" if outlines.polis_m is None else f"{outlines.polis_m:.3f} m"
        turned = "undefined" if outlines.mta_deg is None else f"{outlines.mta_deg:.1f} deg"
        lines.append(
            f"outlines: PoLiS {apart}  boundary IoU {show(outlines.boundary_iou)}  C-IoU {show(outlines.c_iou)}  "
            f"vertex ratio {show(outlines.vertex_ratio)}  right angles {show(outlines.right_angle_share)}  "
            f"MTA {turned}  ({outlines.invalid} invalid)"
        )
    if (coco := report.coco) is not None:
        rims = (
            "" if coco.boundary_px is None else f"  boundary AP {show(coco.boundary_ap)} ({coco.boundary_px} px wide)"
        )
        lines.append(f"COCO:    AP {show(coco.ap)}  AP50 {show(coco.ap50)}  AP75 {show(coco.ap75)}{rims}")
    return lines
