"""Figures as PNG files: curves, confusion matrix, outlines over the image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from eaves.exchange.atomic import whole_file

TRAIN, VALIDATION, TEST, FOUND, WANTED = "#1f6fb4", "#d1495b", "#8a4fbf", "#ffd23f", "#27c7e8"

_STAGES = (("train", "training", TRAIN), ("val", "validation", VALIDATION), ("test", "test (picks the epoch)", TEST))
_JUDGED = ("val_", "test_")


def curves_figure(rows: Sequence[dict[str, Any]], path: str | Path, *, title: str = "") -> None:
    """Draw the curves that people look at: training and validation, loss, accuracy and IoU.

    Of a network that finds objects, their F1 and the terms of the loss too.

    A run whose best epoch is picked on test chips has those in the place of validation, and the figure says so.

    Args:
        rows: One dictionary an epoch, as ``curves.csv`` holds them.
        path: PNG to write.
        title: Above the figure.

    Raises:
        OutputError: ``path`` cannot be written.
    """
    names = [("loss", "loss"), ("accuracy", "pixel accuracy"), ("iou", "IoU (mean over classes)")]
    told = dict.fromkeys(name.partition("_")[2] for row in rows for name in row if name.startswith(_JUDGED))
    more = [name for name in told if name not in dict(names)]
    names += [(name, "object F1" if name == "f1" else f"loss: {name.replace('_', ' ')}") for name in more]
    columns = 3
    lines = -(-len(names) // columns)
    figure = Figure(figsize=(11, 0.6 + 3.6 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    for axes, (name, label) in zip(panels, names, strict=False):
        for stage, legend, color in _STAGES:
            points = [(row["epoch"], row[f"{stage}_{name}"]) for row in rows if f"{stage}_{name}" in row]
            if points:
                axes.plot(*zip(*points, strict=True), color=color, marker="o", markersize=3.5, label=legend)
        axes.set(xlabel="epoch", title=label)
        axes.grid(alpha=0.25)
        axes.xaxis.get_major_locator().set_params(integer=True)
        if axes.lines:
            axes.legend(frameon=False)
    figure.suptitle(title)
    save(figure, path)


def confusion_figure(matrix: np.ndarray, classes: Sequence[str], path: str | Path, *, title: str = "") -> None:
    """Draw a confusion matrix: rows are the reference, columns the prediction, shares are of the row.

    Args:
        matrix: Pixel counts ``(k, k)``.
        classes: Names of the classes.
        path: PNG to write.
        title: Above the figure.

    Raises:
        OutputError: ``path`` cannot be written.
    """
    matrix = np.asarray(matrix)
    shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    side = 2.6 + 1.1 * len(classes)
    figure = Figure(figsize=(side + 0.6, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row in range(len(classes)):
        for col in range(len(classes)):
            axes.text(
                col,
                row,
                f"{shares[row, col]:.1%}\n{matrix[row, col]:,}",
                ha="center",
                va="center",
                color="white" if shares[row, col] > 0.55 else "black",
            )
    axes.set(
        xticks=range(len(classes)),
        yticks=range(len(classes)),
        xticklabels=classes,
        yticklabels=classes,
        xlabel="predicted",
        ylabel="reference",
        title=title,
    )
    save(figure, path)


def overlay_figure(
    image: np.ndarray,
    found: ArrayLike,
    path: str | Path,
    *,
    reference: ArrayLike = (),
    title: str = "",
    width_px: int = 1600,
) -> None:
    """Draw outlines over an image.

    Args:
        image: ``(3, row, col)`` uint8.
        found: Footprints in pixels of ``image``.
        path: PNG to write.
        reference: Reference outlines in pixels of ``image``.
        title: Above the picture.
        width_px: Longer side of the picture.

    Raises:
        OutputError: ``path`` cannot be written.
    """
    _, height, width = image.shape
    scale = width_px / max(height, width)
    compared = np.size(np.asarray(reference, dtype=object)) > 0
    band = 34 if title or compared else 0
    wide = max(width * scale, 520 if band else 1)  # room for title and legend above a narrow picture
    tall = height * scale + band
    figure = Figure(figsize=(wide / 100, tall / 100), dpi=100)
    share = height * scale / tall
    axes = figure.add_axes((0.5 - width * scale / wide / 2, 0, width * scale / wide, share))
    axes.imshow(np.moveaxis(image, 0, -1), extent=(0, width, height, 0), interpolation="antialiased")
    line = min(2.2, max(0.7, 1.4 * scale))
    for outlines, color, weight in ((reference, WANTED, line * 0.9), (found, FOUND, line)):
        axes.add_collection(LineCollection(_rings(outlines), colors=color, linewidths=weight))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    if band:
        figure.text(0.01, (1 + share) / 2, title, va="center", fontsize=11)
        legend = [Line2D([], [], color=FOUND, lw=3, label="found")]
        legend += [Line2D([], [], color=WANTED, lw=3, label="reference")] if compared else []
        figure.patch.set_facecolor("#e9e9e9")
        figure.legend(handles=legend, loc="upper right", ncols=2, frameon=False, borderaxespad=0.3)
    save(figure, path)


def _rings(outlines: ArrayLike) -> list[np.ndarray]:
    parts = shapely.get_parts(np.asarray(outlines, dtype=object))
    return [shapely.get_coordinates(ring) for ring in shapely.get_rings(parts)]


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG, whole or not at all; raises OutputError where it cannot be written."""
    FigureCanvasAgg(figure)
    with whole_file(Path(path)) as partial:
        figure.savefig(partial, dpi=100)
