"""``eaves doctor``: what would go wrong, before any work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from rasterio.windows import Window

from eaves.errors import EavesError
from eaves.exchange.vectors import read_vectors
from eaves.labels import LabelLayer, block_offsets, overlap, summarize_offsets
from eaves.sample import ChipPlan, LabelledScene, open_dataset
from eaves.scene import Scene, areas_m2
from eaves.settings import ChipSettings, Dataset, load_dataset

_LOOK_PX = 2048  # a scene is judged on a view of at most this size
_OFFSET_GSD_M = 0.3
_OFFSET_LIMIT_M = 1.2


class Finding(NamedTuple):
    """One line of the page.

    Attributes:
        level: ``ok``, ``note``, ``warning`` (results may suffer), ``error`` (it will fail).
        topic: What was looked at.
        text: What was found, and what to do.
    """

    level: Literal["ok", "note", "warning", "error"]
    topic: str
    text: str


def doctor_scene(
    scene: str | Path,
    *,
    labels: str | Path | None = None,
    model: str | Path | None = None,
    aoi: str | Path | None = None,
    nodata: float | None = None,
    ground_gsd_m: float | None = None,
    allow_vrt: bool = False,
) -> list[Finding]:
    """Look at a scene, its labels and a model before any work.

    Args:
        scene: Raster file or URL, or a ``DATASET.toml``, whose scenes are all looked at.
        labels: Polygons to check against the scene.
        model: Model file to check against the scene.
        aoi: Polygons inside which the labels are complete.
        nodata: Value that means "no imagery" where the file does not say so.
        ground_gsd_m: Ground size of a pixel for a scene without a CRS.
        allow_vrt: Open virtual rasters.

    Returns:
        The page, line by line.

    Example:
        >>> [line.text for line in doctor_scene("ortho.tif") if line.level == "error"]  # doctest: +SKIP
        []
    """
    if str(scene).endswith(".toml"):
        return list(_dataset_findings(load_dataset(scene), model))
    try:
        opened = Scene(scene, nodata=nodata, ground_gsd_m=ground_gsd_m, allow_vrt=allow_vrt)
    except EavesError as error:
        return [Finding("error", "scene", str(error))]
    findings = list(_scene_findings(opened))
    if model is not None:
        findings += _model_findings(opened, Path(model))
    if labels is not None:
        findings += _label_findings(opened, Path(labels), aoi)
    return findings


def _scene_findings(scene: Scene) -> Iterator[Finding]:
    rows, cols = scene.shape
    yield Finding("ok", "size", f"{cols} x {rows} px, blocks of {scene.block_px[1]} x {scene.block_px[0]} px")
    if scene.block_px[0] < 8 and rows * cols > 50e6:
        yield Finding("note", "layout", "stored by rows, which is slow to cut: gdal_translate -of COG makes tiles")
    if scene.crs is None:
        yield Finding(
            "warning", "CRS", "none: footprints will be in pixels; assign one with gdal_edit -a_srs if you know it"
        )
    else:
        yield Finding("ok", "CRS", _name_of(scene.crs))
    if scene.gsd_m is None:
        yield Finding("warning", "GSD", "unknown: a model with a resolution needs --ground-gsd-m")
    else:
        level = "ok" if 0.03 <= scene.gsd_m <= 1.5 else "warning"
        more = "" if level == "ok" else ": buildings are seen well between 0.03 and 1.5 m"
        yield Finding(level, "GSD", f"{scene.gsd_m:.3f} m on the ground{more}")
    yield Finding("ok", "bands", f"{len(scene.bands)} x {scene.dtype} ({', '.join(scene.color_names)})")
    if scene.dtype != np.uint8:
        yield Finding("note", "type", f"{scene.dtype}: only models trained on such pixels fit")
    try:
        image, valid = scene.fit(_LOOK_PX).read()
    except EavesError as error:
        yield Finding("error", "pixels", str(error))
        return
    share = 1 - valid.mean()
    if not valid.any():
        yield Finding("error", "nodata", "no pixel has imagery")
        return
    yield Finding("ok" if share < 0.5 else "note", "nodata", f"{share:.1%} of the scene has no imagery")
    if scene.nodata is None and scene.dtype == np.uint8:
        yield from _unmarked_borders(image, valid)
    spread = [float(np.subtract(*np.percentile(band[valid], (98, 2)))) for band in image]
    if min(spread) <= 0:
        yield Finding("warning", "contrast", f"band {int(np.argmin(spread)) + 1} is constant")


def _unmarked_borders(image: np.ndarray, valid: np.ndarray) -> Iterator[Finding]:
    """A white or black margin that the file does not call nodata."""
    edge = np.zeros_like(valid)
    edge[[0, -1]] = edge[:, [0, -1]] = True
    for value, word in ((255, "white"), (0, "black")):
        same = (image == value).all(axis=0) & valid
        if same[edge].mean() > 0.02 and same.mean() > 0.005:
            yield Finding(
                "warning",
                "margin",
                f"{same.mean():.1%} of the scene is pure {word} and reaches the edge: if that is no imagery, "
                f"add --nodata {value} (nodata = {value} in a dataset)",
            )


def _model_findings(scene: Scene, model: Path) -> Iterator[Finding]:
    from eaves.models import read_card  # torch is only needed when a model is asked about

    try:
        card = read_card(model)
        card.scaling.check(scene.dtype, len(scene.bands), scene.path)
    except EavesError as error:
        yield Finding("error", "model", str(error))
        return
    yield Finding("ok", "model", f"{card.recipe.name}: {', '.join(card.classes)}; takes these bands and this type")
    if card.gsd_m is None or scene.gsd_m is None:
        if card.gsd_m is not None:
            yield Finding("error", "model GSD", f"works at {card.gsd_m} m; state the scene's with --ground-gsd-m")
        return
    ratio = scene.gsd_m / card.gsd_m
    if ratio > 1.5:
        text = f"the scene is {ratio:.1f} times coarser than the model's {card.gsd_m} m: expect lower scores"
        yield Finding("warning", "model GSD", text)
    else:
        yield Finding("ok", "model GSD", f"the scene will be resampled from {scene.gsd_m:.3f} to {card.gsd_m} m")


def _label_findings(scene: Scene, path: Path, aoi: str | Path | None) -> Iterator[Finding]:
    try:
        labels = read_vectors(path)
        share = overlap(labels, scene.grid)
        area = None if aoi is None else LabelLayer(read_vectors(aoi), scene.grid)
    except EavesError as error:
        yield Finding("error", "labels", str(error))
        return
    yield Finding(
        "ok" if share > 0.5 else "warning", "labels", f"{len(labels)} features, {share:.0%} of them in the scene"
    )
    if scene.crs is not None and labels.crs is not None and labels.crs != scene.crs.to_wkt():
        moved = f"{_name_of(labels.crs)}; will be reprojected"
        yield Finding("note", "label CRS", moved)
    if scene.crs is not None:
        sizes = areas_m2(labels.geometry.to_numpy(), labels.crs)
        yield Finding("ok", "label sizes", f"median {np.median(sizes):.0f} m2, {(sizes < 4).sum()} smaller than 4 m2")
    layer = LabelLayer(labels, scene.grid)
    yield from _offset_findings(scene, layer, area)


def _offset_findings(scene: Scene, layer: LabelLayer, area: LabelLayer | None) -> Iterator[Finding]:
    """Where the labels lie against the image's edges, block by block."""
    view = scene.at(max(_OFFSET_GSD_M, scene.gsd_m)) if scene.gsd_m else scene
    offsets = []
    rows, cols = view.shape
    for row in range(0, rows, _LOOK_PX):
        for col in range(0, cols, _LOOK_PX):
            window = Window(col, row, min(_LOOK_PX, cols - col), min(_LOOK_PX, rows - row))
            grid = view.grid[int(row) : int(row + window.height), int(col) : int(col + window.width)]
            mask = layer.burn(grid, np.zeros(tuple(grid.shape), np.uint8), 1)
            if not mask.any():
                continue
            image, valid = view.read(window)
            if area is not None:
                valid &= area.burn(grid, np.zeros(tuple(grid.shape), np.uint8), 1) > 0
            offsets += block_offsets(image, valid, mask)
    offset = summarize_offsets(offsets)
    if offset is None:
        yield Finding("note", "label offset", "cannot be told: too few clear edges")
        return
    size = float(np.hypot(offset.dx_px, offset.dy_px)) * (view.gsd_m or 1)
    unit, limit = ("m", _OFFSET_LIMIT_M) if view.gsd_m else ("px", _OFFSET_LIMIT_M / _OFFSET_GSD_M)
    scale = view.gsd_m or 1
    where = f"{size:.1f} {unit} (move labels by {offset.dx_px * scale:+.1f} right, {offset.dy_px * scale:+.1f} down)"
    if size > limit:
        yield Finding("warning", "label offset", f"labels lie off the image by {where}")
    else:
        yield Finding("ok", "label offset", where)


def _dataset_findings(dataset: Dataset, model: str | Path | None) -> Iterator[Finding]:
    """Each scene's own page, then what only the whole shows: empty chips, and overlap of training and validation."""
    scenes: list[LabelledScene] = []
    for entry in dataset.scene:
        try:
            opened = open_dataset(dataset.model_copy(update={"scene": (entry,)}))[0]
        except EavesError as error:
            yield Finding("error", entry.image, str(error))
            continue
        scenes.append(opened)
        findings = list(_scene_findings(opened.scene))
        if model is not None:
            findings += _model_findings(opened.scene, Path(model))
        name = Path(entry.image).stem
        for finding in findings:
            if finding.level != "ok" or finding.topic in ("size", "GSD"):
                yield finding._replace(topic=f"{name}: {finding.topic}")
        counts = opened.overview.counts.sum(axis=(1, 2))
        known = counts.sum() / max(1, opened.shape[0] * opened.shape[1])
        shares = ", ".join(f"{n} {c / max(1, counts.sum()):.1%}" for n, c in zip(opened.names, counts, strict=True))
        level = "ok" if counts[1:].sum() else "warning"
        yield Finding(level, f"{name}: labels", f"{known:.0%} of the scene is known; of that {shares}")
    if not scenes:
        return
    yield from _chip_findings(scenes)
    yield from _leakage_findings(scenes)


def _chip_findings(scenes: list[LabelledScene]) -> Iterator[Finding]:
    settings = ChipSettings(windows="grid", keep_empty=False, chip_px=256)
    try:
        plan = ChipPlan(scenes, settings)
        plan.train(0)
        val = plan.val()
    except EavesError as error:
        yield Finding("error", "chips", str(error))
        return
    counts = plan.counts["train"]
    text = (
        f"of {counts.considered} training windows of 256 px, {counts.empty} hold background alone and "
        f"{counts.unknown} are mostly unknown; {len(val)} validate"
    )
    yield Finding("ok" if counts.kept and len(val) else "warning", "chips", text)


def _leakage_findings(scenes: list[LabelledScene]) -> Iterator[Finding]:
    """Known pixels that both train and validate, seen on a coarse grid, scene by scene."""
    for index, first in enumerate(scenes):
        if first.entry.split == "random":
            text = f"{first.name} is split at random: neighbouring chips overlap, and validation flatters"
            yield Finding("warning", "leakage", text)
        for second in scenes[index + 1 :]:
            kinds = {first.entry.split, second.entry.split}
            if first.entry.image != second.entry.image or kinds in ({"train"}, {"val"}, {"test"}):
                continue
            both = (first.overview.known > 0) & (second.overview.known > 0)
            edge = (first.overview.known < first.overview.cell_px**2) & (
                second.overview.known < second.overview.cell_px**2
            )
            if (both & ~edge).any():
                yield Finding(
                    "warning",
                    "leakage",
                    f"{first.name}: {both.mean():.1%} of the scene is known to both {first.entry.split} and "
                    f"{second.entry.split}",
                )


def _name_of(crs: object) -> str:
    from pyproj import CRS

    found = CRS.from_user_input(getattr(crs, "proj", crs))
    code = found.to_epsg()
    return f"EPSG:{code} ({found.name})" if code else found.name
