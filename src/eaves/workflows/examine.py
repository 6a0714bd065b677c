"""What a scene, a model and labels say about themselves, one finding a line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pyproj import CRS
from rasterio.windows import Window

from eaves.errors import EavesError
from eaves.exchange.vectors import read_vectors
from eaves.labels import UNKNOWN, LabelLayer, block_offsets, overlap, summarize_offsets
from eaves.scene import Scene, areas_m2, window_grid

_LOOK_PX = 2048  # a scene is judged on a view of at most this size
_PART_PX = 1024  # and read in parts of this size
_LOOK_GSD_M = 0.3
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


# --- a scene ----------------------------------------------------------------------------------------------------------


def scene_findings(scene: Scene, model: str | Path | None = None) -> Iterator[Finding]:
    """Look at grid, bands and pixels of a scene, and whether a model fits.

    Args:
        scene: On its own grid.
        model: Model file.

    Example:
        >>> [finding.topic for finding in scene_findings(Scene("ortho.tif"))][:3]  # doctest: +SKIP
        ['size', 'CRS', 'GSD']
    """
    yield from _grid_findings(scene)
    yield from _pixel_findings(scene)
    if model is not None:
        yield from _model_findings(scene, Path(model))


def _grid_findings(scene: Scene) -> Iterator[Finding]:
    rows, cols = scene.shape
    yield Finding("ok", "size", f"{cols} x {rows} px, blocks of {scene.block_px[1]} x {scene.block_px[0]} px")
    if scene.block_px[0] < 8 and rows * cols > 50e6:
        yield Finding("note", "layout", "stored by rows, which is slow to cut: gdal_translate -of COG makes tiles")
    if scene.crs is None:
        text = "none: footprints will be in pixels; assign one with gdal_edit -a_srs if you know it"
        yield Finding("warning", "CRS", text)
    else:
        yield Finding("ok", "CRS", _name_of(scene.crs))
    if scene.gsd_m is None:
        text = "unknown: a model with a resolution needs --ground-gsd-m (gsd_m in a dataset)"
        yield Finding("warning", "GSD", text)
    else:
        level = "ok" if 0.03 <= scene.gsd_m <= 1.5 else "warning"
        more = "" if level == "ok" else ": buildings are seen well between 0.03 and 1.5 m"
        yield Finding(level, "GSD", f"{scene.gsd_m:.3f} m on the ground{more}")
    yield Finding("ok", "bands", f"{len(scene.bands)} x {scene.dtype} ({', '.join(scene.color_names)})")
    if scene.dtype != np.uint8:
        yield Finding("note", "type", f"{scene.dtype}: only models trained on such pixels fit")


def _pixel_findings(scene: Scene) -> Iterator[Finding]:
    try:
        image, valid = _read_small(scene)
    except EavesError as error:
        yield Finding("error", "pixels", str(error))
        return
    if not valid.any():
        yield Finding("error", "nodata", "no pixel has imagery")
        return
    share = 1 - valid.mean()
    yield Finding("ok" if share < 0.5 else "note", "nodata", f"{share:.1%} of the scene has no imagery")
    if scene.nodata is None and scene.dtype.kind == "u":
        yield from _unmarked_borders(image, valid)
    spread = [float(np.subtract(*np.percentile(band[valid], (98, 2)))) for band in image]
    if min(spread) <= 0:
        yield Finding("warning", "contrast", f"band {int(np.argmin(spread)) + 1} is constant")


def _read_small(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """The whole scene made small, in parts, so that a large file never lies in memory whole."""
    view = scene.fit(_LOOK_PX)
    image = np.zeros((len(view.read(Window(0, 0, 1, 1))[0]), *view.shape), view.dtype)
    valid = np.zeros(view.shape, bool)
    shrunk = max(view.shape) / max(view.native_grid.shape)
    for window in _windows(view.shape, max(1, round(_LOOK_PX * shrunk))):
        rows, cols = window.toslices()
        image[:, rows, cols], valid[rows, cols] = view.read(window)
    return image, valid


def _unmarked_borders(image: np.ndarray, valid: np.ndarray) -> Iterator[Finding]:
    """A white or black margin that the file does not call nodata."""
    edge = np.zeros_like(valid)
    edge[[0, -1]] = edge[:, [0, -1]] = True
    for value, word in ((np.iinfo(image.dtype).max, "white"), (0, "black")):
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
        seen = scene.with_bands(card.scaling.band_count)
        card.scaling.check(scene.dtype, len(seen.read(Window(0, 0, 1, 1))[0]), scene.path)
    except EavesError as error:
        yield Finding("error", "model", str(error))
        return
    yield Finding("ok", "model", f"{card.recipe.name}: {', '.join(card.classes)}; takes these bands and this type")
    if card.gsd_m is None:
        return
    if scene.gsd_m is None:
        text = f"works at {card.gsd_m} m; state the scene's with --ground-gsd-m (gsd_m in a dataset)"
        yield Finding("error", "model GSD", text)
    elif (ratio := scene.gsd_m / card.gsd_m) > 1.5:
        text = f"the scene is {ratio:.1f} times coarser than the model's {card.gsd_m} m: expect lower scores"
        yield Finding("warning", "model GSD", text)
    else:
        yield Finding("ok", "model GSD", f"the scene will be resampled from {scene.gsd_m:.3f} to {card.gsd_m} m")


# --- labels -----------------------------------------------------------------------------------------------------------


def label_findings(scene: Scene, path: str | Path, aoi: str | Path | None = None) -> Iterator[Finding]:
    """Look at whether a file of polygons belongs to a scene.

    Args:
        scene: On its own grid.
        path: Polygons.
        aoi: Polygons inside which those are complete.

    Example:
        >>> [finding.level for finding in label_findings(Scene("a.tif"), "elsewhere.gpkg")]  # doctest: +SKIP
        ['error']
    """
    try:
        labels = read_vectors(path)
        share = overlap(labels, scene.grid)
        layer = LabelLayer(labels, scene.grid)
        area = None if aoi is None else read_vectors(aoi)
        if area is not None:
            overlap(area, scene.grid)
        inside = None if area is None else LabelLayer(area, scene.grid)
    except EavesError as error:
        yield Finding("error", "labels", str(error))
        return
    yield Finding(
        "ok" if share > 0.5 else "note", "labels", f"{len(labels)} features, {share:.0%} of them in the scene"
    )
    if scene.crs is not None:
        if labels.crs != scene.crs.proj:
            yield Finding("note", "label CRS", f"{_name_of(labels.crs)}; will be reprojected")
        sizes = areas_m2(labels.geometry.to_numpy(), labels.crs)
        yield Finding("ok", "label sizes", f"median {np.median(sizes):.0f} m2, {(sizes < 4).sum()} smaller than 4 m2")
    view = offset_view(scene)

    def mask_of(window: Window) -> np.ndarray:
        grid = window_grid(view.grid, window)
        mask = layer.burn(grid, np.zeros(tuple(grid.shape), np.uint8), 1)
        if inside is not None:
            mask[inside.burn(grid, np.zeros_like(mask), 1) == 0] = UNKNOWN
        return mask

    yield offset_finding(view, mask_of)


def offset_view(scene: Scene) -> Scene:
    """Return a scene at the resolution at which labels are compared with it: 0.3 m, or its own where coarser."""
    return scene.at(max(_LOOK_GSD_M, scene.native_gsd_m)) if scene.native_gsd_m else scene


def offset_finding(view: Scene, mask_of: Callable[[Window], np.ndarray]) -> Finding:
    """Tell how far labels lie off the image's edges, block by block.

    Args:
        view: The image, at the resolution of :func:`offset_view`.
        mask_of: Window of ``view`` → uint8 ``(h, w)``: 0 is background, UNKNOWN where labels are not complete.

    Example:
        >>> offset_finding(labelled.scene, labelled.mask).text  # doctest: +SKIP
        '0.4 m (move labels by +0.3 right, -0.2 down)'
    """
    offsets = []
    try:
        for window in _windows(view.shape, _PART_PX):
            mask = mask_of(window)
            known = mask != UNKNOWN
            labelled = known & (mask > 0)
            if labelled.any():
                image, valid = view.read(window)
                offsets += block_offsets(image, valid & known, labelled)
    except EavesError as error:
        return Finding("error", "label offset", str(error))
    offset = summarize_offsets(offsets)
    if offset is None:
        return Finding("note", "label offset", "cannot be told: too few clear edges")
    unit, scale, limit = ("m", view.gsd_m, _OFFSET_LIMIT_M) if view.gsd_m else ("px", 1, _OFFSET_LIMIT_M / _LOOK_GSD_M)
    right, down = offset.dx_px * scale, offset.dy_px * scale
    size = float(np.hypot(right, down))
    where = f"{size:.1f} {unit} (move labels by {right:+.1f} right, {down:+.1f} down)"
    if size > limit:
        return Finding(
            "warning",
            "label offset",
            f"labels lie off the image by {where}; align = 'scene' or 'block' in a dataset moves them",
        )
    return Finding("ok", "label offset", where)


def _windows(shape: tuple[int, int], side_px: int) -> Iterator[Window]:
    rows, cols = shape
    for row in range(0, rows, side_px):
        for col in range(0, cols, side_px):
            yield Window(col, row, min(side_px, cols - col), min(side_px, rows - row))


def _name_of(crs: Any) -> str:
    found = CRS.from_user_input(getattr(crs, "proj", crs))
    code = found.to_epsg()
    return f"EPSG:{code} ({found.name})" if code else found.name
