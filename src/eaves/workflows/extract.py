"""``eaves extract``: scenes into footprints in one pass."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd

from eaves.errors import SettingsError
from eaves.exchange.atomic import check_writable
from eaves.exchange.cocofile import SUFFIX, write_coco
from eaves.exchange.rasters import ScoreWriter
from eaves.exchange.styles import qgis_style
from eaves.exchange.vectors import check_layer, write_vectors
from eaves.footprints import Shape
from eaves.labels.colors import check_color
from eaves.models import Suppression
from eaves.predict import Tta
from eaves.progress import OnProgress, ignore
from eaves.workflows.calibrate import open_calibration, with_confidence
from eaves.workflows.color import of_one, open_colors, with_colors
from eaves.workflows.jobs import Job, prepare
from eaves.workflows.objects import ObjectBuilder
from eaves.workflows.paths import check_apart
from eaves.workflows.refiners import open_refiner, refine_job
from eaves.workflows.regularize import Regularity, check_method, count_shapes, regularize_table
from eaves.workflows.vectorize import FootprintBuilder, Footprints, Separate


def extract_footprints(
    scenes: str | Path | Sequence[str | Path],
    model: str | Path,
    out: str | Path,
    *,
    scores: str | Path | None = None,
    threshold: float = 0.5,
    min_area_m2: float = 4.0,
    simplify_px: float | None = None,
    method: Shape | None = None,
    tolerance_m: float = 1.0,
    date: str | None = None,
    calibration: str | Path | None = None,
    separate: Separate = "auto",
    seed_score: float | None = None,
    min_fall: float | None = None,
    min_seed_m2: float | None = None,
    nodata: float | None = None,
    bands: tuple[int, ...] | None = None,
    ground_gsd_m: float | None = None,
    allow_vrt: bool = False,
    tile_px: int | None = None,
    batch: int | None = None,
    device: str = "auto",
    tta: Tta = "none",
    nms: Suppression | None = None,
    detections_per_mpx: float | None = None,
    refine: str | Path | None = None,
    refine_changes: Sequence[str] = (),
    roof_color: bool = False,
    only_color: str | None = None,
    on_progress: OnProgress = ignore,
) -> Footprints:
    """Run a model over scenes and trace the outlines while it runs.

    The result equals :func:`predict_scores` followed by :func:`vectorize_scores`, without the file between them. With a
    network of objects, footprints are the outlines of its objects' masks, cut where they overlap: the surer one keeps
    the ground that both claim.

    Args:
        scenes: One raster or several; several go into one layer, in the first one's CRS, told apart by ``source``.
        model: Model file.
        out: ``.gpkg``, ``.parquet``, ``.geojson`` (WGS84) or ``.fgb``; or ``.coco.json``, COCO's annotations in pixels
            of one scene.
        scores: Also keep the score map here (one scene only).
        threshold: Score from which a pixel belongs to a building, between 0 and 1; with a network of objects, the score
            from which an object is one.
        min_area_m2: Smaller outlines are left out, and smaller holes filled. In square pixels where nothing tells a
            pixel's size.
        simplify_px: How far an outline may move when vertices are dropped, in pixels; 1 by default. Not with
            ``method``.
        method: Make footprints regular, as :func:`regularize_footprints` does, by this method.
        tolerance_m: With ``method``: how far an outline may move.
        calibration: File of :func:`calibrate_scores`: adds the column ``confidence``.
        date: Day of the imagery (``2026-05-31``), for the column ``date``; by default what the scene's file says.
        separate: How to part buildings that touch: ``border`` or ``distance`` needs a model that was taught it,
            ``auto`` takes what the model was taught, ``none`` leaves them together.
        seed_score: As for :func:`vectorize_scores`.
        min_fall: As for :func:`vectorize_scores`.
        min_seed_m2: As for :func:`vectorize_scores`.
        nodata: Value that means "no imagery" where a file does not say so.
        bands: Bands for the model, 1-based.
        ground_gsd_m: Ground size of a pixel for scenes without a CRS.
        allow_vrt: Open virtual rasters.
        tile_px: Side of a tile's core in pixels.
        batch: Tiles at a time.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        tta: Views of each tile whose scores are averaged: ``none``, ``flip`` (4 of them) or ``d4`` (8).
        nms: As for :func:`predict_scores`.
        detections_per_mpx: As for :func:`predict_scores`.
        refine: As for :func:`predict_scores`.
        refine_changes: As for :func:`predict_scores`.
        roof_color: Add what colour each roof is, as :func:`color_footprints` does.
        only_color: Keep the roofs of this colour alone; with ``roof_color``.
        on_progress: Is told after every batch.

    Raises:
        SceneError: A scene cannot be read, or does not fit the model or the refiner.
        SettingsError: There is no such refiner, the model does not give what ``separate`` asks for, or a setting is
            outside its range.
        ModelFileError: The model file is damaged.
        OutputError: A result cannot be written.

    Example:
        >>> extract_footprints("ortho.tif", "model.safetensors", "footprints.gpkg")  # doctest: +SKIP
    """
    out = Path(out)
    paths = [scenes] if isinstance(scenes, str | Path) else list(scenes)
    if not paths:
        raise SettingsError("at least one scene", "none", "name a raster")
    if scores is not None and len(paths) > 1:
        raise SettingsError("one scene with --scores", f"{len(paths)}", "run eaves predict for each scene")
    if out.name.endswith(SUFFIX) and len(paths) > 1:
        raise SettingsError(f"one scene for a file {SUFFIX}", f"{len(paths)}", "extract them one by one")
    if refine_changes and refine is None:
        raise SettingsError("a refiner for its settings", f"{', '.join(refine_changes)} alone", "add --refine")
    check_apart([out, scores], [*paths, model, refine, calibration])
    (check_writable if out.name.endswith(SUFFIX) else check_layer)(out)
    if method is None and tolerance_m != 1.0:
        raise SettingsError(
            "a --method for --tolerance-m", f"{tolerance_m} alone", "add --method auto, or leave it out"
        )
    if date is not None and not _is_day(date):
        raise SettingsError("a day such as 2026-05-31", repr(date), "write year, month and day")
    curve = None if calibration is None else open_calibration(calibration)
    if scores is not None:
        check_writable(Path(scores))
    parting: dict[str, Any] = {"seed_score": seed_score, "min_fall": min_fall, "min_seed_m2": min_seed_m2}
    settings: dict[str, Any] = {"threshold": threshold, "min_area_m2": min_area_m2, **parting}
    how = None if method is None else Regularity(method, tolerance_m)
    if how is None:
        simplify_px = 1.0 if simplify_px is None else simplify_px
        settings["simplify_px"] = simplify_px
    elif simplify_px is not None:
        raise SettingsError("either --method or --simplify-px", "both", "leave one out")
    else:
        check_method(how)
        settings |= how.settings()
    parting["separate"] = separate
    if only_color is not None:
        check_color(only_color)
        settings["only_color"] = only_color
    names: Sequence[str] = ()
    tables, grids, dropped, filled, covered, other, notes = [], [], 0, 0, 0, 0, []
    for path in paths:
        job = prepare(
            "extract",
            path,
            model,
            nodata=nodata,
            bands=bands,
            ground_gsd_m=ground_gsd_m,
            allow_vrt=allow_vrt,
            tile_px=tile_px,
            batch=batch,
            device=device,
            tta=tta,
            nms=nms,
            detections_per_mpx=detections_per_mpx,
            min_score=threshold,
            settings=settings,
        )
        if refine is not None:
            job = refine_job(job, open_refiner(refine, refine_changes, device=device), tile_px)
        colors = None
        if roof_color or only_color is not None:
            colors = open_colors(path, nodata=nodata, allow_vrt=allow_vrt)  # rather now than after hours
        builder = _builder(
            job,
            parting,
            threshold=threshold,
            min_area_m2=min_area_m2,
            simplify_px=simplify_px or 0.0,
            date=job.scene.date if date is None else date,
        )
        _run(job, builder, scores, on_progress)
        table = builder.finish()
        if how is not None:
            table = regularize_table(table, how, unit_m=job.scene.gsd_m if job.scene.crs is None else None)
        if colors is not None:
            colored, _ = with_colors(table, colors)
            table = colored if only_color is None else of_one(colored, only_color)
            other += len(colored) - len(table)
        tables.append(table if curve is None else with_confidence(table, curve))
        grids.append(job.found.native_grid)
        names = job.card.classes[1:]
        dropped, filled = dropped + builder.dropped, filled + builder.filled
        covered += builder.covered if isinstance(builder, ObjectBuilder) else 0
        notes.append(job.note)
    table = tables[0] if len(tables) == 1 else _together(tables)
    note = {**notes[0], "inputs": [each["inputs"] for each in notes]}
    if out.name.endswith(SUFFIX):
        write_coco(table, out, image=Path(paths[0]).name, grid=grids[0], classes=names, metadata=note)
    else:
        write_vectors(table, out, metadata=note, style=qgis_style("footprints"))
    shapes = (0, None) if how is None else count_shapes(table)
    return Footprints(out, len(table), dropped, filled, covered, other, *shapes)


def _is_day(text: str) -> bool:
    try:
        return str(datetime.date.fromisoformat(text)) == text
    except ValueError:
        return False


def _builder(job: Job, parting: dict[str, Any], **settings: Any) -> FootprintBuilder | ObjectBuilder:
    """What turns a job's scores, or its objects, into footprints."""
    if job.objects is not None:
        tuning = [parting[key] for key in parting if key != "separate"]
        if parting["separate"] not in ("auto", "none") or any(value is not None for value in tuning):
            raise SettingsError(
                "a model of scores, to part buildings", "a model that finds them one by one", "leave the parting out"
            )
        return ObjectBuilder.of_job(job, **settings)
    builder = FootprintBuilder(
        job.scene.grid,
        job.bands,
        ground_gsd_m=job.scene.gsd_m if job.scene.crs is None else None,
        source=job.scene.name,
        **parting,
        **settings,
    )
    job.note["settings"]["separate"] = builder.method or "none"
    return builder


def _run(
    job: Job, builder: FootprintBuilder | ObjectBuilder, scores: str | Path | None, on_progress: OnProgress
) -> None:
    writing = nullcontext() if scores is None else ScoreWriter(Path(scores), job.scene.grid, job.bands, job.note)
    with writing as writer:
        for row, levels in job.strips(on_progress):
            if writer is not None:
                writer.write(row, levels)
            if isinstance(builder, FootprintBuilder):
                builder.push(levels)
            else:
                builder.drain(job)
    if isinstance(builder, ObjectBuilder):
        builder.drain(job)  # the last ones come with the end


def _together(tables: list[gpd.GeoDataFrame]) -> gpd.GeoDataFrame:
    crs = tables[0].crs
    if any((table.crs is None) != (crs is None) for table in tables):
        raise SettingsError("scenes that all have a CRS, or none", "both kinds", "extract them one by one")
    moved = [table if crs is None or table.crs == crs else table.to_crs(crs) for table in tables]
    filled = [table for table in moved if len(table)] or moved[:1]
    return gpd.GeoDataFrame(pd.concat(filled, ignore_index=True), crs=crs)
