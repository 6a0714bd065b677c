"""``eaves evaluate``: how good footprints or scores are, against a reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from eaves.errors import LabelError, SettingsError
from eaves.exchange.atomic import check_writable
from eaves.exchange.scoremap import ScoreMap, open_scores
from eaves.exchange.scores import LEVELS, NODATA
from eaves.exchange.vectors import read_vectors, write_vectors
from eaves.footprints import METHODS
from eaves.labels import UNKNOWN, LabelLayer
from eaves.metrics import CocoReport, check_coco, coco_report, measure_outlines, object_report, outline_report
from eaves.progress import OnProgress, Progress, ignore
from eaves.scene import Scene, ground_gsd_m, metric_crs, window_grid
from eaves.workflows.change_ground import Plane, imaged_area
from eaves.workflows.evaluate_classes import evaluate_classes
from eaves.workflows.matching import (
    Matched,
    common_system,
    match_objects,
    match_table,
    moved_to,
    read_area,
    read_footprints,
)
from eaves.workflows.overlay import draw_overlay
from eaves.workflows.provenance import provenance
from eaves.workflows.scoring import (
    BOUNDARY_M,
    Evaluation,
    PixelTally,
    boundary_reach,
    map_gsd_m,
    plane_of,
    write_evaluation,
)
from eaves.workflows.vectorize import FootprintBuilder, Separate, choose_method

_RASTERS = (".tif", ".tiff", ".png")
_CLASSES = ("background", "building")
_STRIP = 1024
_MTA_STEP_PX = 2  # as the source of the tangent error has it


def evaluate_footprints(
    prediction: str | Path,
    reference: str | Path,
    out: str | Path,
    *,
    aoi: str | Path | None = None,
    scene: str | Path | None = None,
    nodata: float | None = None,
    threshold: float = 0.5,
    scale: float | None = None,
    separate: Separate = "auto",
    seed_score: float | None = None,
    min_fall: float | None = None,
    min_seed_m2: float | None = None,
    iou: float = 0.5,
    min_area_m2: float = 0.0,
    min_score: float | None = None,
    gsd_m: float | None = None,
    boundary_m: float | None = None,
    coco: bool = False,
    on_progress: OnProgress = ignore,
) -> Evaluation:
    """Compare footprints, or a score map, with reference polygons; or a score map of several classes with a DATASET.

    Pixels are compared on the score map's grid, else on the scene's, else on one of ``gsd_m``; objects are matched
    as SpaceNet does, and outlines measured, in a local metric system. What lies outside the AOI, or where the scene has
    no imagery, does not count; an object counts when at least half of it lies inside the AOI.

    A reference that ends in ``.toml`` is a DATASET: labels of all its classes, with AOI and nodata as it says. Then
    pixels alone are compared (see :func:`eaves.workflows.evaluate_classes.evaluate_classes`), on the score map's grid.

    Args:
        prediction: Footprints (vector) or a score map (``.tif``; its first class is taken, all of them with a DATASET).
        reference: Reference polygons, or a DATASET TOML.
        out: Folder for ``metrics.json``, ``matches.parquet``, ``confusion.png`` and, with ``scene``, ``overlay.png``
            and ``sides.png``; with a DATASET ``metrics.json`` and ``confusion.png``.
        aoi: Polygons inside which the reference is complete.
        scene: The image: gives the grid, the valid pixels and the picture. With a DATASET: which of its scenes.
        nodata: Value that means "no imagery" in the scene.
        threshold: Score from which a pixel belongs to a building.
        scale: Score of one unit of a foreign integer score map, such as ``1/255``.
        separate: How to part buildings of a score map that touch, as for :func:`vectorize_scores`.
        seed_score: As for :func:`vectorize_scores`.
        min_fall: As for :func:`vectorize_scores`.
        min_seed_m2: As for :func:`vectorize_scores`.
        iou: From which a match counts.
        min_area_m2: Smaller objects are left out on both sides.
        min_score: Footprints with a lower ``score`` count for average precision alone, which ranks all there are: what
            a network of objects is evaluated with. None counts all.
        gsd_m: Pixel size for comparing two vector files, 0.3 by default without a scene; or a score map with a DATASET,
            whose scores are then interpolated: maps of several resolutions are compared fairly on one grid.
        boundary_m: How far a boundary reaches inside, in metres, for boundary IoU; 2 by default. Where the size of a
            pixel is not known, boundaries are not measured.
        coco: Also count COCO's average precision of masks and of boundaries, with faster-coco-eval (the extra
            ``coco``), on a grid of the same pixel size in the local metric system.
        on_progress: Is told after every strip.

    Raises:
        LabelError: The two do not overlap, or have no common system.
        SettingsError: The score map has no band for ``separate``, or footprints are to be parted; ``coco`` lacks its
            package or the footprints' scores; with a DATASET, its scene or classes do not fit, or an option is given
            that does not go with it.
        SceneError: A raster cannot be read, or a score map does not lie on the grid of the DATASET's image.
        OutputError: ``out`` cannot be written.

    Example:
        >>> evaluate_footprints("footprints.gpkg", "reference.gpkg", "eval").report.objects.f1  # doctest: +SKIP
    """
    out = Path(out)
    check_writable(out / "metrics.json")
    tuning = {"seed_score": seed_score, "min_fall": min_fall, "min_seed_m2": min_seed_m2}
    parted = separate not in ("auto", "none") or set(tuning.values()) != {None}
    if Path(reference).suffix.lower() == ".toml":
        others = {"--aoi": aoi, "--nodata": nodata, "--separate": parted or None}
        others |= {"--min-score": min_score, "--coco": coco or None}
        others |= {"--iou": None if iou == 0.5 else iou, "--min-area-m2": min_area_m2 or None}
        _check_for_dataset(prediction, [name for name, value in others.items() if value is not None])
        return evaluate_classes(
            prediction,
            reference,
            out,
            scene=scene,
            threshold=threshold,
            scale=scale,
            gsd_m=gsd_m,
            boundary_m=boundary_m,
            on_progress=on_progress,
        )
    if not 0 < iou <= 1:
        raise SettingsError("an --iou above 0, at most 1", f"{iou}", "leave it at 0.5")
    if gsd_m is not None and not gsd_m > 0:
        raise SettingsError("a --gsd-m above 0", f"{gsd_m}", "give metres, such as 0.3")
    if coco:
        check_coco()
    wanted = read_vectors(reference)
    area = None if aoi is None else read_area(aoi, wanted.crs)
    opened = None if scene is None else Scene(scene, nodata=nodata)
    if opened is not None and gsd_m is not None:
        opened = opened.at(gsd_m)
    scores = open_scores(prediction, scale) if Path(prediction).suffix.lower() in _RASTERS else None
    parting = {"separate": separate, **tuning}
    if scores is None and parted:
        raise SettingsError("a score map, to part buildings", f"footprints, {prediction}", "leave the parting out")
    if scores is None:
        found, invalid = read_footprints(prediction)
    else:
        found, invalid = _trace(scores, threshold, min_area_m2, parting), 0
    found, wanted = common_system(found, wanted, str(prediction), str(reference))
    area = None if area is None else moved_to(area, wanted.crs)
    every = found
    if min_score is not None:
        if not 0 <= min_score <= 1:
            raise SettingsError("a --min-score between 0 and 1", f"{min_score}", "choose a score such as 0.5")
        if scores is not None or "score" not in found:
            raise SettingsError(
                "footprints with a column 'score' for --min-score", str(prediction), "leave it out, or use --threshold"
            )
        found = gpd.GeoDataFrame(found[found["score"] >= min_score].reset_index(drop=True))
    if scores is not None:
        grid, pixel_m = scores.grid, map_gsd_m(scores)
    elif opened is not None:
        grid, pixel_m = opened.grid, opened.gsd_m
    else:
        grid = _grid_around(wanted if area is None else area, gsd_m or 0.3)
        pixel_m = ground_gsd_m(grid)
    if coco and len(found) and "score" not in found:
        raise SettingsError("footprints with a column 'score' for --coco", str(prediction), "leave it out")
    reach = boundary_reach(boundary_m, pixel_m)
    tally = PixelTally(_CLASSES, reach)
    drawn = tally if scores is None else PixelTally(_CLASSES, reach)  # traced outlines are not the scores they are of
    layers = [None if layer is None else LabelLayer(layer, grid) for layer in (wanted, found, area)]
    for window, levels in _windows(grid, scores):
        truth, outlined, guess = _masks(window_grid(grid, window), layers, levels, threshold)
        if opened is not None and scores is None:
            truth[~opened.read(window)[1]] = UNKNOWN
        tally.push(truth, guess)
        if drawn is not tally:
            drawn.push(truth, outlined)
        on_progress(Progress("compare", int(window.row_off + window.height), int(grid.shape[0]), "rows"))
    ground = opened if scores is None or opened is not None else Scene(prediction)
    known = area if ground is None else _shown(ground, area, wanted.crs)
    matched = ranked = match_objects(found, wanted, known, iou, min_area_m2)
    report = object_report(matched.matches)
    if min_score is not None:
        ranked = match_objects(every, wanted, known, iou, min_area_m2)
        precisions = object_report(ranked.matches)
        report = report.model_copy(update={name: getattr(precisions, name) for name in ("ap", "ap50", "ap75")})
    side, unit_m = plane_of(grid, pixel_m)
    measures = measure_outlines(matched.found.geometry, matched.wanted.geometry, matched.matches, _MTA_STEP_PX * side)
    on_grid = drawn.report()
    outlines = outline_report(
        measures,
        iou=on_grid.iou,
        boundary_iou=on_grid.boundary_iou,
        invalid=invalid,
        unit_m=unit_m,
    )
    masks = _count_masks(ranked, side, reach, pixel_m) if coco else None
    settings: dict[str, Any] = {"threshold": threshold, "iou": iou, "min_area_m2": min_area_m2, "aoi": str(aoi or "")}
    if min_score is not None:
        settings["min_score"] = min_score
    if scores is not None:
        settings |= parting | {"separate": choose_method(scores.classes, separate) or "none"}
    if reach is not None:
        settings["boundary_m"] = BOUNDARY_M if boundary_m is None else boundary_m
    inputs: dict[str, str | Path] = {"prediction": prediction, "reference": reference}
    note = provenance("evaluate", inputs | ({"aoi": aoi} if aoi else {}), settings)
    written = write_evaluation(out, tally, report, note, outlines=outlines, coco=masks)
    write_vectors(match_table(matched, measures, unit_m), out / "matches.parquet", metadata=note)
    if opened is not None:
        draw_overlay(opened, found, wanted, area, out / "overlay.png")
    return Evaluation(written, out)


def _check_for_dataset(prediction: str | Path, given: Sequence[str]) -> None:
    """Refuse what cannot be compared with a DATASET, and options that would do nothing there."""
    if Path(prediction).suffix.lower() not in _RASTERS:
        raise SettingsError(
            "a score map, to compare with a dataset",
            f"footprints, {prediction}",
            "compare footprints with the dataset's label file",
        )
    if given:
        raise SettingsError(
            "options that go with a dataset",
            ", ".join(given),
            "leave them out",
            because="a dataset states its AOIs and nodata itself, and only pixels are compared with it",
        )


def _trace(scores: ScoreMap, threshold: float, min_area_m2: float, parting: dict[str, Any]) -> gpd.GeoDataFrame:
    method = choose_method(scores.classes, parting["separate"])
    bands = [0, scores.classes.index(method, 1)] if method in METHODS else [0]
    builder = FootprintBuilder(
        scores.grid,
        tuple(scores.classes[band] for band in bands),
        threshold=threshold,
        min_area_m2=min_area_m2,
        simplify_px=1.0,
        **parting,
    )
    for _, levels in scores.strips():
        builder.push(levels[bands])
    return builder.finish()


def _grid_around(layer: gpd.GeoDataFrame, gsd_m: float) -> GeoBox:
    if not len(layer):
        raise LabelError("reference polygons, an AOI or a scene", "none of them", "give --aoi or --scene")
    left, bottom, right, top = layer.total_bounds
    if layer.crs is None:
        return GeoBox.from_bbox((left, bottom, right, top), crs=None, resolution=1)
    local = metric_crs(layer.crs, (left + right) / 2, (bottom + top) / 2)
    west, south, east, north = moved_to(layer, local).total_bounds
    return GeoBox.from_bbox((west, south, east, north), crs=local.to_wkt(), resolution=gsd_m)


def _shown(scene: Scene, area: gpd.GeoDataFrame | None, crs: Any) -> gpd.GeoDataFrame:
    """The ground that a scene shows, inside an area of interest.

    Raises:
        LabelError: There is none.
    """
    shown = moved_to(gpd.GeoDataFrame(geometry=[imaged_area(scene, Plane())], crs=scene.crs), crs)
    if area is not None:
        common = shapely.intersection(shown.geometry.iloc[0], shapely.union_all(area.geometry.to_numpy()))
        shown = gpd.GeoDataFrame(geometry=[common], crs=crs)
    if shown.geometry.iloc[0].is_empty:
        raise LabelError("ground that the scene shows inside the AOI", "none", "check the files and their CRSs")
    return shown


def _windows(grid: GeoBox, scores: ScoreMap | None) -> Iterator[tuple[Window, np.ndarray | None]]:
    height, width = grid.shape
    if scores is not None:
        for row, levels in scores.strips(_STRIP):
            yield Window(0, row, width, levels.shape[1]), levels[0]
        return
    for row in range(0, height, _STRIP):
        yield Window(0, row, width, min(_STRIP, height - row)), None


def _count_masks(matched: Matched, side: float, reach: int | None, gsd_m: float | None) -> CocoReport:
    """COCO's numbers of what was matched, on pixels of ``side``."""
    matches = matched.matches
    shapes = (
        shapely.transform(layer.geometry.to_numpy()[counted], lambda xy: xy / side)
        for layer, counted in ((matched.found, matches.pred_counted), (matched.wanted, matches.ref_counted))
    )
    scores = np.zeros(0) if matches.scores is None else matches.scores[matches.pred_counted]
    return coco_report(*shapes, scores, boundary_px=reach, gsd_m=gsd_m)


def _masks(
    grid: GeoBox, layers: Sequence[LabelLayer | None], levels: np.ndarray | None, threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reference, footprints and prediction of a window, ``(h, w)`` uint8 each.

    The prediction is the footprints, or the scores that they were traced from. The reference is UNKNOWN where nothing
    counts.
    """
    truth, drawn, inside = (
        None if layer is None else layer.burn(grid, np.zeros(tuple(grid.shape), np.uint8), 1) for layer in layers
    )
    assert truth is not None
    assert drawn is not None
    if inside is not None:
        truth[inside == 0] = UNKNOWN
    if levels is None:
        return truth, drawn, drawn
    truth[levels == NODATA] = UNKNOWN
    return truth, drawn, (levels >= threshold * LEVELS).astype(np.uint8)
