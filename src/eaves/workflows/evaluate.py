"""``eaves evaluate``: how good footprints or scores are, against a reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from eaves.errors import LabelError, SettingsError
from eaves.exchange.atomic import check_writable, whole_file
from eaves.exchange.scoremap import open_scores
from eaves.exchange.scores import LEVELS, NODATA
from eaves.exchange.vectors import read_vectors, write_vectors
from eaves.labels import UNKNOWN, LabelLayer
from eaves.metrics import Matches, MetricsReport, Provenance, confusion, inside_aoi, match, object_report, pixel_report
from eaves.progress import OnProgress, Progress, ignore
from eaves.scene import Scene, metric_crs, window_grid
from eaves.show import confusion_figure, overlay_figure
from eaves.workflows.provenance import provenance
from eaves.workflows.vectorize import FootprintBuilder, Separate, choose_method

_RASTERS = (".tif", ".tiff", ".png")
_CLASSES = ("background", "building")
_STRIP = 1024
_PICTURE_PX = 1600


class Evaluation(NamedTuple):
    """What an evaluation found.

    Attributes:
        report: The numbers.
        folder: ``metrics.json``, ``matches.parquet`` and pictures.
    """

    report: MetricsReport
    folder: Path


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
    gsd_m: float | None = None,
    on_progress: OnProgress = ignore,
) -> Evaluation:
    """Compare footprints, or a score map, with reference polygons.

    Pixels are compared on the score map's grid, else on the scene's, else on one of ``gsd_m``; objects are matched
    as SpaceNet does, in a local metric system. What lies outside the AOI, or where the scene has no imagery, does
    not count; an object counts when at least half of it lies inside the AOI.

    Args:
        prediction: Footprints (vector) or a score map (``.tif``; its first class is taken).
        reference: Reference polygons.
        out: Folder for ``metrics.json``, ``matches.parquet``, ``confusion.png`` and, with ``scene``, ``overlay.png``.
        aoi: Polygons inside which the reference is complete.
        scene: The image: gives the grid, the valid pixels and the picture.
        nodata: Value that means "no imagery" in the scene.
        threshold: Score from which a pixel belongs to a building.
        scale: Score of one unit of a foreign integer score map, such as ``1/255``.
        separate: How to part buildings of a score map that touch, as for :func:`vectorize_scores`.
        seed_score: As for :func:`vectorize_scores`.
        min_fall: As for :func:`vectorize_scores`.
        min_seed_m2: As for :func:`vectorize_scores`.
        iou: From which a match counts.
        min_area_m2: Smaller objects are left out on both sides.
        gsd_m: Pixel size for comparing two vector files without a scene; 0.3 by default.
        on_progress: Is told after every strip.

    Raises:
        LabelError: The two do not overlap, or have no common system.
        SettingsError: The score map has no band for ``separate``, or footprints are to be parted.
        OutputError: ``out`` cannot be written.

    Example:
        >>> evaluate_footprints("footprints.gpkg", "reference.gpkg", "eval").report.objects.f1  # doctest: +SKIP
    """
    out = Path(out)
    check_writable(out / "metrics.json")
    wanted = read_vectors(reference)
    area = None if aoi is None else read_vectors(aoi)
    opened = None if scene is None else Scene(scene, nodata=nodata)
    if opened is not None and gsd_m is not None:
        opened = opened.at(gsd_m)
    scores = open_scores(prediction, scale) if Path(prediction).suffix.lower() in _RASTERS else None
    tuning = {"seed_score": seed_score, "min_fall": min_fall, "min_seed_m2": min_seed_m2}
    parting = {"separate": separate, **tuning}
    if scores is None and (separate not in ("auto", "none") or set(tuning.values()) != {None}):
        raise SettingsError("a score map, to part buildings", f"footprints, {prediction}", "leave the parting out")
    found = read_vectors(prediction) if scores is None else _trace(scores, threshold, min_area_m2, parting)
    found, wanted = _common_system(found, wanted, str(prediction), str(reference))
    if area is not None and area.crs != wanted.crs and wanted.crs is not None:
        area = area.to_crs(wanted.crs)
    if scores is not None:
        grid = scores.grid
    elif opened is not None:
        grid = opened.grid
    else:
        grid = _grid_around(wanted if area is None else area, gsd_m or 0.3)
    matrix = np.zeros((2, 2), np.int64)
    layers = [None if layer is None else LabelLayer(layer, grid) for layer in (wanted, found, area)]
    for window, levels in _windows(grid, scores):
        truth, guess = _masks(window_grid(grid, window), layers, levels, threshold)
        if opened is not None and scores is None:
            truth[~opened.read(window)[1]] = UNKNOWN
        matrix += confusion(truth, guess, 2)
        on_progress(Progress("compare", int(window.row_off + window.height), int(grid.shape[0]), "rows"))
    matches, table = _match(found, wanted, area, iou, min_area_m2)
    settings: dict[str, Any] = {"threshold": threshold, "iou": iou, "min_area_m2": min_area_m2, "aoi": str(aoi or "")}
    if scores is not None:
        settings |= parting | {"separate": choose_method(scores.classes, separate) or "none"}
    inputs: dict[str, str | Path] = {"prediction": prediction, "reference": reference}
    note = provenance("evaluate", inputs | ({"aoi": aoi} if aoi else {}), settings)
    report = MetricsReport(
        pixels=pixel_report(matrix, _CLASSES),
        objects=object_report(matches),
        provenance=Provenance(
            command=note["command"],
            version=note["version"],
            settings=settings,
            inputs={
                role: f"{mark['path']} {mark.get('fingerprint', '')}".strip() for role, mark in note["inputs"].items()
            },
        ),
    )
    with whole_file(out / "metrics.json") as partial:
        partial.write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    write_vectors(table, out / "matches.parquet", metadata=note)
    confusion_figure(matrix, _CLASSES, out / "confusion.png", title="Pixels")
    if opened is not None:
        _picture(opened, found, wanted, area, out / "overlay.png")
    return Evaluation(report, out)


def _trace(scores: Any, threshold: float, min_area_m2: float, parting: dict[str, Any]) -> gpd.GeoDataFrame:
    method = choose_method(scores.classes, parting["separate"])
    bands = [0] if method is None else [0, scores.classes.index(method, 1)]
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


def _common_system(
    found: gpd.GeoDataFrame, wanted: gpd.GeoDataFrame, found_name: str, wanted_name: str
) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
    """Both layers in the prediction's system."""
    if (found.crs is None) != (wanted.crs is None):
        bare = found_name if found.crs is None else wanted_name
        raise LabelError("two layers with a CRS, or two in pixels", f"no CRS in {bare}", "assign it its CRS")
    if found.crs is not None and wanted.crs != found.crs:
        wanted = wanted.to_crs(found.crs)
    extents = [layer.total_bounds for layer in (found, wanted) if len(layer)]
    if len(extents) == 2 and ((extents[0][:2] > extents[1][2:]) | (extents[1][:2] > extents[0][2:])).any():
        raise LabelError(
            "a prediction and a reference of the same place",
            f"bounds {found.total_bounds.round(1).tolist()} and {wanted.total_bounds.round(1).tolist()}",
            "check the files and their CRSs",
        )
    return found, wanted


def _grid_around(layer: gpd.GeoDataFrame, gsd_m: float) -> GeoBox:
    if not len(layer):
        raise LabelError("reference polygons, an AOI or a scene", "none of them", "give --aoi or --scene")
    left, bottom, right, top = layer.total_bounds
    if layer.crs is None:
        return GeoBox.from_bbox((left, bottom, right, top), crs=None, resolution=1)
    local = metric_crs(layer.crs, (left + right) / 2, (bottom + top) / 2)
    west, south, east, north = layer.to_crs(local).total_bounds
    return GeoBox.from_bbox((west, south, east, north), crs=local.to_wkt(), resolution=gsd_m)


def _windows(grid: GeoBox, scores: Any) -> Iterator[tuple[Window, np.ndarray | None]]:
    height, width = grid.shape
    if scores is not None:
        for row, levels in scores.strips(_STRIP):
            yield Window(0, row, width, levels.shape[1]), levels[0]
        return
    for row in range(0, height, _STRIP):
        yield Window(0, row, width, min(_STRIP, height - row)), None


def _masks(
    grid: GeoBox, layers: Sequence[LabelLayer | None], levels: np.ndarray | None, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Reference and prediction of a window, ``(h, w)`` uint8; the reference is UNKNOWN where nothing counts."""
    truth, guess, inside = (
        None if layer is None else layer.burn(grid, np.zeros(tuple(grid.shape), np.uint8), 1) for layer in layers
    )
    assert truth is not None
    assert guess is not None
    if inside is not None:
        truth[inside == 0] = UNKNOWN
    if levels is not None:
        truth[levels == NODATA] = UNKNOWN
        guess = (levels >= threshold * LEVELS).astype(np.uint8)
    return truth, guess


def _match(
    found: gpd.GeoDataFrame, wanted: gpd.GeoDataFrame, area: gpd.GeoDataFrame | None, iou: float, min_area_m2: float
) -> tuple[Matches, gpd.GeoDataFrame]:
    crs = found.crs
    both = [layer for layer in (found, wanted) if len(layer)]
    if crs is not None and both:
        left, bottom, right, top = both[0].total_bounds
        local = metric_crs(crs, (left + right) / 2, (bottom + top) / 2)
        found, wanted = found.to_crs(local), wanted.to_crs(local)
        area = None if area is None else area.to_crs(local)
    found, wanted = _single(found), _single(wanted)
    if area is not None:
        inside = shapely.union_all(area.geometry.to_numpy())
        found, wanted = (
            gpd.GeoDataFrame(layer[inside_aoi(layer.geometry, inside)].reset_index(drop=True))
            for layer in (found, wanted)
        )
    scores = found["score"].to_numpy() if "score" in found else None
    matches = match(found.geometry.to_numpy(), wanted.geometry.to_numpy(), scores, iou=iou, min_area=min_area_m2)
    return matches, _match_table(matches, found, wanted, crs)


def _single(layer: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Its polygons one by one."""
    return gpd.GeoDataFrame(layer.explode(ignore_index=True))


def _match_table(matches: Matches, found: gpd.GeoDataFrame, wanted: gpd.GeoDataFrame, crs: Any) -> gpd.GeoDataFrame:
    """One row a prediction (``tp`` or ``fp``) and one a missed reference (``fn``)."""
    paired = dict(zip(matches.pred_index.tolist(), zip(matches.ref_index, matches.iou, strict=True), strict=True))
    hit = {int(ref) for ref, _ in paired.values()}
    rows = [
        ("tp" if index in paired else "fp", index, *paired.get(index, (-1, 0.0)), shape)
        for index, shape in enumerate(found.geometry)
    ]
    rows += [("fn", -1, index, 0.0, shape) for index, shape in enumerate(wanted.geometry) if index not in hit]
    table = pd.DataFrame(rows, columns=["status", "prediction", "reference", "iou", "geometry"])
    table = gpd.GeoDataFrame(table, geometry="geometry", crs=found.crs)
    return table if crs is None else table.to_crs(crs)


def _picture(
    scene: Scene, found: gpd.GeoDataFrame, wanted: gpd.GeoDataFrame, area: gpd.GeoDataFrame | None, path: Path
) -> None:
    """The part of the scene that counts, with both sets of outlines, as sharp as the picture can show it."""
    left, top, right, bottom = 0.0, 0.0, float(scene.shape[1]), float(scene.shape[0])
    if area is not None:
        bounds = shapely.total_bounds(_in_pixels(area, scene))
        left, top = max(left, bounds[0]), max(top, bounds[1])
        right, bottom = min(right, bounds[2]), min(bottom, bounds[3])
    if right - left < 1 or bottom - top < 1:
        return
    share = max(right - left, bottom - top) / max(scene.shape)
    view = scene.fit(max(1, round(_PICTURE_PX / share)))
    zoom = view.shape[1] / scene.shape[1]
    window = Window(
        round(left * zoom),
        round(top * zoom),
        max(1, round((right - left) * zoom)),
        max(1, round((bottom - top) * zoom)),
    )
    image, valid = view.read(window)
    if image.dtype != np.uint8:
        low, high = np.percentile(image[:, valid], (1, 99)) if valid.any() else (0, 1)
        image = np.clip((image - low) / max(high - low, 1e-9) * 255, 0, 255).astype(np.uint8)
    image = image[:3] if len(image) >= 3 else np.repeat(image[:1], 3, axis=0)
    corner = (window.col_off, window.row_off)
    shown = [shapely.transform(_in_pixels(layer, view), lambda xy: xy - corner) for layer in (found, wanted)]
    overlay_figure(image, shown[0], path, reference=shown[1], title=Path(scene.path).name, width_px=_PICTURE_PX)


def _in_pixels(layer: gpd.GeoDataFrame, scene: Scene) -> np.ndarray:
    if layer.crs is not None and scene.crs is not None:
        layer = layer.to_crs(scene.crs.to_wkt())
    inverse = ~scene.grid.affine
    matrix = (inverse.a, inverse.b, inverse.d, inverse.e, inverse.c, inverse.f)
    return np.asarray(layer.geometry.affine_transform(matrix), dtype=object)
