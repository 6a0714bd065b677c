"""The ground of two years: what both scenes show, and pictures of places in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import shapely
from affine import Affine
from rasterio.features import shapes as trace_mask
from rasterio.windows import Window

from eaves.scene import Scene, project
from eaves.show.change import Picture

_MASK_PX = 2048  # the longer side at which it is looked at what a scene shows
_HOLE_PX = 64  # smaller gaps in the imagery, in pixels of that size, are dark roofs taken for nodata

Place = Callable[[Any], np.ndarray]
"""Geometries of the plane → pixels of a picture."""


class Plane(NamedTuple):
    """Where lengths are measured.

    Attributes:
        crs: A local metric system; none where coordinates are pixels.
    """

    crs: Any = None

    @property
    def unit(self) -> str:
        """Of lengths."""
        return "px" if self.crs is None else "m"

    @property
    def square(self) -> str:
        """Of areas, as the page writes it."""
        return "px²" if self.crs is None else "m²"

    def take(self, shapes: Any, crs: Any) -> np.ndarray:
        """Bring geometries here."""
        return np.asarray(shapes, dtype=object) if self.crs is None else project(shapes, crs, self.crs)

    def give(self, shapes: Any, crs: Any) -> np.ndarray:
        """Bring geometries back."""
        return np.asarray(shapes, dtype=object) if self.crs is None else project(shapes, self.crs, crs)


def imaged_area(scene: Scene, plane: Plane) -> shapely.Geometry:
    """Return the ground that a scene shows, about a pixel of 1/2048 of its side inside the rim of its imagery."""
    view = scene.fit(_MASK_PX)
    _, valid = view.read()
    traced = trace_mask(valid.astype(np.uint8), mask=valid, transform=Affine.identity())
    parts = [shapely.geometry.shape(ring) for ring, _ in traced]
    filled = [
        shapely.Polygon(part.exterior, [hole for hole in part.interiors if shapely.Polygon(hole).area >= _HOLE_PX])
        for part in parts
    ]
    area = shapely.buffer(shapely.union_all(filled), -1.0, join_style="mitre")
    area = shapely.transform(area, lambda xy: _apply(view.grid.affine, xy))
    return plane.take([area], scene.crs)[0]


def scene_picture(
    scene: Scene, plane: Plane, bounds: tuple[float, float, float, float], longest_px: int
) -> tuple[Picture, Place]:
    """Read the ground around a place.

    Args:
        scene: The image.
        plane: Of ``bounds``.
        bounds: Left, bottom, right, top.
        longest_px: Of the picture's longer side; where the scene has fewer pixels there, fewer.

    Returns:
        The picture, and what brings geometries of the plane into it.
    """
    inverse = ~scene.native_grid.affine
    corners = shapely.transform(plane.give([shapely.box(*bounds)], scene.crs)[0], lambda xy: _apply(inverse, xy))
    left, top, right, bottom = corners.bounds  # in the file's own pixels
    share = max(right - left, bottom - top) / max(scene.native_grid.shape)
    view = scene.fit(max(1, round(longest_px / share)))
    inverse = ~view.grid.affine
    zoom = view.shape[1] / scene.native_grid.shape[1]
    size = max(1, round((bottom - top) * zoom)), max(1, round((right - left) * zoom))
    corner = round(left * zoom), round(top * zoom)
    image, valid = view.read(Window(*corner, size[1], size[0]))

    def place(shapes: Any) -> np.ndarray:
        there = plane.give(shapes, scene.crs)
        return np.asarray(shapely.transform(there, lambda xy: _apply(inverse, xy) - corner), dtype=object)

    return Picture(_as_bytes(image, valid), size, None if scene.crs is None else view.gsd_m), place


def paper(plane: Plane, bounds: tuple[float, float, float, float], longest_px: int) -> tuple[Picture, Place]:
    """Return white ground around a place, and what brings geometries of the plane onto it, as :func:`scene_picture`."""
    left, bottom, right, top = bounds
    scale = longest_px / max(right - left, top - bottom)
    up = -1 if plane.crs is not None else 1  # pixels count downwards already
    origin = np.array([left, top if up < 0 else bottom])

    def place(shapes: Any) -> np.ndarray:
        there = shapely.transform(np.asarray(shapes, dtype=object), lambda xy: (xy - origin) * (scale, up * scale))
        return np.asarray(there, dtype=object)

    size = max(1, round((top - bottom) * scale)), max(1, round((right - left) * scale))
    return Picture(None, size, None if plane.crs is None else 1 / scale), place


def _as_bytes(image: np.ndarray, valid: np.ndarray) -> np.ndarray:
    if image.dtype != np.uint8:
        low, high = np.percentile(image[:, valid], (1, 99)) if valid.any() else (0, 1)
        image = np.clip((image - low) / max(high - low, 1e-9) * 255, 0, 255).astype(np.uint8)
    return image[:3] if len(image) >= 3 else np.repeat(image[:1], 3, axis=0)


def _apply(affine: Affine, xy: np.ndarray) -> np.ndarray:
    return xy @ np.array([[affine.a, affine.d], [affine.b, affine.e]]) + (affine.c, affine.f)
