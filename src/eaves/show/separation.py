"""How touching buildings were parted: the maps of a network that draws more than classes, and what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import shapely
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure
from matplotlib.path import Path as Outline

from eaves.exchange.scores import NODATA, decode
from eaves.show.figures import save

_MAPS = {"border": ("magma", None), "distance": ("RdBu", 0.5)}  # colours, and a level that has a meaning
_CLASS = ("viridis", None)
_INK, _NO_IMAGERY = "#151515", "#d0d0d0"


def separation_figure(
    image: np.ndarray,
    scores: np.ndarray,
    objects: Any,
    path: str | Path,
    *,
    bands: Sequence[str] = ("building", "border"),
    title: str = "",
    panel_px: int = 520,
) -> None:
    """Draw an image, its score maps, and the buildings that were told apart, each in a colour of its own.

    A map named ``distance`` is drawn about 0.5, the outline, with a line there.

    Args:
        image: ``(3, row, col)`` uint8.
        scores: Maps of the same size, ``(bands, row, col)``: uint8 levels, or float in [0, 1]. Level 255, no imagery,
            is drawn grey.
        objects: Numbers of the buildings, integers ``(row, col)`` with 0 for none; or polygons in pixels of ``image``,
            ``(n,)``.
        path: PNG to write.
        bands: Name of each map.
        title: Above the figure.
        panel_px: Longer side of a panel.

    Raises:
        ValueError: Shapes do not fit each other.
        OutputError: ``path`` cannot be written.
    """
    _, height, width = image.shape
    if scores.shape != (len(bands), height, width):
        raise ValueError(f"expected scores ({len(bands)}, {height}, {width}), got {scores.shape}")
    maps = np.where(scores == NODATA, np.nan, decode(scores)[0]) if scores.dtype == np.uint8 else scores
    panels = len(bands) + 2
    scale = panel_px / max(height, width) / 100
    figure = Figure(figsize=(panels * (width * scale + 0.15), height * scale + 0.9), layout="constrained")
    first, *middle, last = figure.subplots(1, panels)
    first.imshow(np.moveaxis(image, 0, -1), extent=(0, width, height, 0))
    first.set_title("image", fontsize=10)
    for axes, name, band in zip(middle, bands, maps, strict=True):
        colors, level = _MAPS.get(name, _CLASS)
        colors = colormaps[colors].with_extremes(bad=_NO_IMAGERY)
        drawn = axes.imshow(band, cmap=colors, vmin=0, vmax=1, extent=(0, width, height, 0))
        if level is not None:
            axes.contour(np.arange(width) + 0.5, np.arange(height) + 0.5, band, [level], colors=_INK, linewidths=0.8)
        axes.set_title(name, fontsize=10)
        figure.colorbar(drawn, cax=axes.inset_axes((0, -0.06, 1, 0.03)), orientation="horizontal")
    number = _draw_objects(last, image, objects)
    last.set_title(f"{number} buildings", fontsize=10)
    for axes in (first, *middle, last):
        axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    figure.suptitle(title)
    save(figure, path)


def _draw_objects(axes: Axes, image: np.ndarray, objects: Any) -> int:
    """Coloured areas over a faded grey image; how many there are."""
    _, height, width = image.shape
    grey = np.repeat(image.mean(axis=0)[..., None], 3, axis=-1) / 255 * 0.5 + 0.5
    array = np.asarray(objects)
    if array.dtype.kind in "ui":
        if array.shape != (height, width):
            raise ValueError(f"expected objects ({height}, {width}), got {array.shape}")
        numbers, compact = np.unique(array, return_inverse=True)
        compact = compact.reshape(array.shape) + (1 if len(numbers) and numbers[0] else 0)
        number = int(compact.max(initial=0))
        painted = np.concatenate([np.zeros((1, 3)), _colors(number)])[compact]
        grey = np.where(compact[..., None] > 0, 0.35 * grey + 0.65 * painted, grey)
        grey[_edges(compact)] = 0.08
        axes.imshow(grey, extent=(0, width, height, 0))
        return number
    axes.imshow(grey, extent=(0, width, height, 0))
    shapes = np.asarray(objects, dtype=object)
    paths = [
        Outline.make_compound_path(*(Outline(shapely.get_coordinates(ring), closed=True) for ring in rings))
        for rings in map(shapely.get_rings, shapes)
    ]
    axes.add_collection(
        PathCollection(paths, facecolors=np.c_[_colors(len(paths)), np.full(len(paths), 0.65)], edgecolors=_INK, lw=0.9)
    )
    return len(paths)


def _edges(numbers: np.ndarray) -> np.ndarray:
    """Pixels of a building that touch another building or none, bool ``(row, col)``."""
    values = numbers.astype(np.float32)
    square = np.ones((3, 3), np.uint8)
    return (numbers > 0) & (cv2.erode(values, square) != cv2.dilate(values, square))


def _colors(count: int) -> np.ndarray:
    """Colours that differ most between neighbours in the count, ``(count, 3)`` in [0, 1]."""
    index = np.arange(count)
    hue = (index * 0.618034) % 1  # the golden ratio spreads any number of them
    return hsv_to_rgb(np.stack([hue, 0.55 + 0.35 * (index % 2), 1 - 0.2 * (index % 3 == 2)], axis=-1)).reshape(-1, 3)
