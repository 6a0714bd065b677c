"""``eaves predict``: a model over a scene, as a score map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from eaves.errors import SettingsError
from eaves.exchange.atomic import check_writable
from eaves.exchange.rasters import ScoreWriter
from eaves.exchange.vectors import write_vectors
from eaves.models import Suppression
from eaves.predict import LEAST_SCORE, Layout, Tta
from eaves.progress import OnProgress, ignore
from eaves.workflows.jobs import prepare
from eaves.workflows.objects import ObjectBuilder
from eaves.workflows.paths import check_apart
from eaves.workflows.refiners import open_refiner, refine_job


class Prediction(NamedTuple):
    """What was predicted.

    Attributes:
        scores: The score map.
        shape: Its rows and columns.
        gsd_m: Its ground resolution, none in pixel space.
        layout: Tiles that were used.
        instances: Of a network of objects: what it found, beside the score map.
        number: How many.
    """

    scores: Path
    shape: tuple[int, int]
    gsd_m: float | None
    layout: Layout
    instances: Path | None = None
    number: int = 0


def predict_scores(
    scene: str | Path,
    model: str | Path,
    out: str | Path,
    *,
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
    on_progress: OnProgress = ignore,
) -> Prediction:
    """Write the score map of a scene: a COG with a band a class (without the background), uint8, 254 is a score of 1.

    A network of objects writes these too, as polygons with their scores, beside the map: ``x.instances.parquet`` beside
    ``x.tif``. They may overlap; left out is what scores below 0.05 or covers no
    pixel, and of a mask in pieces all but the largest. A pixel's score is that of the surest object
    on it, or what that object's mask gives the pixel where that is less.

    A model that was taught border or distance adds a band of that name, which parts buildings that touch.

    The map lies on the scene's grid at the model's resolution; pixels without imagery are nodata (255). Memory
    is set by the tile and the batch, and grows with the width of the scene only by a few rows of tiles.

    Args:
        scene: Raster file or URL.
        model: Model file (``.safetensors``).
        out: GeoTIFF to write.
        nodata: Value that means "no imagery" where the file does not say so.
        bands: Bands for the model, 1-based.
        ground_gsd_m: Ground size of a pixel for a scene without a CRS.
        allow_vrt: Open virtual rasters.
        tile_px: Side of a tile's core in pixels; chosen where none is given.
        batch: Tiles at a time.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        tta: Views of each tile whose scores are averaged: ``none``, ``flip`` (4 of them) or ``d4`` (8).
        nms: For a network of objects: how detections that overlap are treated, ``hard``, ``gaussian`` or ``linear``
            (Soft-NMS); the model's own way where none is given.
        detections_per_mpx: For a network of objects: its cap on detections in a million pixels.
        refine: Sharpen the scores to the image while they are made, as :func:`eaves.refine_scores` with this refiner;
            the result equals the two steps.
        refine_changes: Settings of the refiner, such as ``iterations=8``.
        on_progress: Is told after every batch.

    Raises:
        SceneError: The scene cannot be read, or does not fit the model or the refiner.
        SettingsError: There is no such refiner, or a setting of it is wrong; or the model has no use for an option.
        ModelFileError: The model file is damaged.
        OutputError: ``out`` cannot be written.

    Example:
        >>> predict_scores("ortho.tif", "model.safetensors", "scores.tif")  # doctest: +SKIP
    """
    out = Path(out)
    if out.suffix.lower() not in (".tif", ".tiff"):
        raise SettingsError("a score map that ends in .tif", str(out), "change the name")
    if refine_changes and refine is None:
        raise SettingsError("a refiner for its settings", f"{', '.join(refine_changes)} alone", "add --refine")
    check_apart([out], [scene, model, refine])
    check_writable(out)
    job = prepare(
        "predict",
        scene,
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
    )
    beside = None if job.objects is None else out.with_suffix(".instances.parquet")
    if beside is not None:
        check_writable(beside)
    if refine is not None:
        job = refine_job(job, open_refiner(refine, refine_changes, device=device), tile_px)
    builder = None if beside is None else ObjectBuilder.of_job(job, threshold=LEAST_SCORE, apart=False)
    with ScoreWriter(out, job.scene.grid, job.bands, job.note) as writer:
        for row, levels in job.strips(on_progress):
            writer.write(row, levels)
            if builder is not None:
                builder.drain(job)
    if builder is None or beside is None:
        return Prediction(out, job.scene.shape, job.scene.gsd_m, job.layout)
    builder.drain(job)  # the last ones come with the end
    table = builder.finish()
    write_vectors(table, beside, metadata=job.note)
    return Prediction(out, job.scene.shape, job.scene.gsd_m, job.layout, beside, len(table))
