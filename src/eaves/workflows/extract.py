"""``eaves extract``: scenes into footprints in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import geopandas as gpd
import pandas as pd

from eaves.errors import SettingsError
from eaves.exchange.atomic import check_writable
from eaves.exchange.rasters import ScoreWriter
from eaves.exchange.vectors import write_vectors
from eaves.predict import Tta
from eaves.progress import OnProgress, ignore
from eaves.workflows.jobs import Job, prepare
from eaves.workflows.refiners import open_refiner, refine_job
from eaves.workflows.vectorize import FootprintBuilder, Footprints, Separate


def extract_footprints(
    scenes: str | Path | Sequence[str | Path],
    model: str | Path,
    out: str | Path,
    *,
    scores: str | Path | None = None,
    threshold: float = 0.5,
    min_area_m2: float = 4.0,
    simplify_px: float = 1.0,
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
    refine: str | Path | None = None,
    refine_changes: Sequence[str] = (),
    on_progress: OnProgress = ignore,
) -> Footprints:
    """Run a model over scenes and trace the outlines while it runs.

    The result equals :func:`predict_scores` followed by :func:`vectorize_scores`, without the file between them.

    Args:
        scenes: One raster or several; several go into one layer, in the first one's CRS, told apart by ``source``.
        model: Model file.
        out: ``.gpkg``, ``.parquet``, ``.geojson`` (WGS84) or ``.fgb``.
        scores: Also keep the score map here (one scene only).
        threshold: Score from which a pixel belongs to a building, between 0 and 1.
        min_area_m2: Smaller outlines are left out. In square pixels where nothing tells a pixel's size.
        simplify_px: How far an outline may move when vertices are dropped, in pixels.
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
        refine: As for :func:`predict_scores`.
        refine_changes: As for :func:`predict_scores`.
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
    if refine_changes and refine is None:
        raise SettingsError("a refiner for its settings", f"{', '.join(refine_changes)} alone", "add --refine")
    check_writable(out)
    if scores is not None:
        check_writable(Path(scores))
    settings = {
        "threshold": threshold,
        "min_area_m2": min_area_m2,
        "simplify_px": simplify_px,
        "seed_score": seed_score,
        "min_fall": min_fall,
        "min_seed_m2": min_seed_m2,
    }
    tables, dropped, notes = [], 0, []
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
            settings=settings,
        )
        if refine is not None:
            job = refine_job(job, open_refiner(refine, refine_changes, device=device), tile_px)
        builder = FootprintBuilder(
            job.scene.grid,
            job.bands,
            threshold=threshold,
            min_area_m2=min_area_m2,
            simplify_px=simplify_px,
            ground_gsd_m=job.scene.gsd_m if job.scene.crs is None else None,
            source=job.scene.name,
            separate=separate,
            seed_score=seed_score,
            min_fall=min_fall,
            min_seed_m2=min_seed_m2,
        )
        job.note["settings"]["separate"] = builder.method or "none"
        _run(job, builder, scores, on_progress)
        tables.append(builder.finish())
        dropped += builder.dropped
        notes.append(job.note)
    table = tables[0] if len(tables) == 1 else _together(tables)
    note = {**notes[0], "inputs": [each["inputs"] for each in notes]}
    write_vectors(table, out, metadata=note)
    return Footprints(out, len(table), dropped)


def _run(job: Job, builder: FootprintBuilder, scores: str | Path | None, on_progress: OnProgress) -> None:
    if scores is None:
        for _, levels in job.strips(on_progress):
            builder.push(levels)
        return
    with ScoreWriter(Path(scores), job.scene.grid, job.bands, job.note) as writer:
        for row, levels in job.strips(on_progress):
            writer.write(row, levels)
            builder.push(levels)


def _together(tables: list[gpd.GeoDataFrame]) -> gpd.GeoDataFrame:
    crs = tables[0].crs
    if any((table.crs is None) != (crs is None) for table in tables):
        raise SettingsError("scenes that all have a CRS, or none", "both kinds", "extract them one by one")
    moved = [table if crs is None or table.crs == crs else table.to_crs(crs) for table in tables]
    filled = [table for table in moved if len(table)] or moved[:1]
    return gpd.GeoDataFrame(pd.concat(filled, ignore_index=True), crs=crs)
