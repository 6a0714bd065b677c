"""Input, result and reference side by side, every building in a colour of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import shapely
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.path import Path as Outline
from numpy.typing import ArrayLike

from eaves.show.figures import save

_COLORS = np.array(  # told apart by most eyes, and from roofs and trees
    ["#e6194b", "#3cb44b", "#ffe119", "#4363d8", "#f58231", "#911eb4", "#46f0f0", "#f032e6", "#d2f53c", "#fabebe"]
)
_TITLE_PX = 30
_GAP_PX = 8


def sides_figure(
    image: np.ndarray,
    found: ArrayLike,
    path: str | Path,
    *,
    reference: ArrayLike | None = None,
    width_px: int = 1800,
) -> None:
    """Draw the image, the image with what was found, and with the reference.

    Args:
        image: ``(3, row, col)`` uint8.
        found: Footprints in pixels of ``image``.
        path: PNG to write.
        reference: Reference outlines in pixels of ``image``; none leaves that panel out.
        width_px: Of the picture; a tall one is narrower, at most so high.

    Raises:
        OutputError: ``path`` cannot be written.
    """
    panels = [("image", None), ("found", found)] + ([("reference", reference)] if reference is not None else [])
    _, height, width = image.shape
    scale = min((width_px - _GAP_PX * (len(panels) - 1)) / len(panels) / width, width_px / height)
    wide, tall = max(1.0, width * scale), max(1.0, height * scale)
    whole = (wide * len(panels) + _GAP_PX * (len(panels) - 1), tall + _TITLE_PX)
    figure = Figure(figsize=(whole[0] / 100, whole[1] / 100), dpi=100)
    for index, (title, polygons) in enumerate(panels):
        left = index * (wide + _GAP_PX) / whole[0]
        axes = figure.add_axes((left, 0, wide / whole[0], tall / whole[1]))
        axes.imshow(np.moveaxis(image, 0, -1), extent=(0, width, height, 0), interpolation="antialiased")
        if polygons is not None:
            _fill(axes, np.asarray(polygons, dtype=object), min(1.6, max(0.5, scale)))
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.set_axis_off()
        figure.text(left + 4 / whole[0], 1 - _TITLE_PX / 2 / whole[1], title, va="center", fontsize=11)
    save(figure, path)


def _fill(axes: Axes, polygons: np.ndarray, line: float) -> None:
    """Neighbours have different colours: those of the list, in the order of their places."""
    parts = [part for part in shapely.get_parts(polygons) if part.geom_type == "Polygon" and not part.is_empty]
    parts.sort(key=lambda part: (part.centroid.x + part.centroid.y, part.centroid.x))
    outlines = [_outline(part) for part in parts]
    colors = _COLORS[np.arange(len(parts)) * 3 % len(_COLORS)]
    axes.add_collection(PathCollection(outlines, facecolors=colors, edgecolors="none", alpha=0.45))
    axes.add_collection(PathCollection(outlines, facecolors="none", edgecolors=colors, linewidths=line))


def _outline(polygon: shapely.Polygon) -> Outline:
    rings = [np.asarray(ring.coords) for ring in (polygon.exterior, *polygon.interiors)]
    codes = [[Outline.MOVETO, *[Outline.LINETO] * (len(ring) - 2), Outline.CLOSEPOLY] for ring in rings]
    return Outline(np.concatenate(rings), np.concatenate(codes))
