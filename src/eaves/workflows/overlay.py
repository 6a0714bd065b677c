"""The pictures of an evaluation: both sets of outlines over the scene, and side by side."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely
from rasterio.windows import Window

from eaves.scene import Scene
from eaves.show import overlay_figure, sides_figure

_PICTURE_PX = 1600


def draw_overlay(
    scene: Scene, found: gpd.GeoDataFrame, wanted: gpd.GeoDataFrame, area: gpd.GeoDataFrame | None, path: Path
) -> None:
    """Draw the part of the scene that counts, with both sets of outlines, as sharp as the pictures can show it.

    Args:
        scene: The image.
        found: The prediction.
        wanted: The reference.
        area: The AOI; none shows all of the scene.
        path: PNG to write, with both over the image; beside it ``sides.png``: the image, and each over it.

    Raises:
        OutputError: ``path`` cannot be written.
    """
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
    sides_figure(image, shown[0], path.with_name("sides.png"), reference=shown[1])


def _in_pixels(layer: gpd.GeoDataFrame, scene: Scene) -> np.ndarray:
    if layer.crs is not None and scene.crs is not None:
        layer = layer.to_crs(scene.crs.to_wkt())
    inverse = ~scene.grid.affine
    matrix = (inverse.a, inverse.b, inverse.d, inverse.e, inverse.c, inverse.f)
    return np.asarray(layer.geometry.affine_transform(matrix), dtype=object)
