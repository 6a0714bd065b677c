"""Several models side by side: their scores, and how they learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from eaves.show.figures import TRAIN, VALIDATION, save

_POINTS = (
    ("iou", "pixel IoU", TRAIN, "o"),
    ("object_f1", "object F1", VALIDATION, "D"),
    ("ap50", "AP50", "#3a7d44", "|"),
)
_BARS = (
    ("merged", "merged: one prediction, several buildings", "#e08e45"),
    ("split", "split: one building, several predictions", "#7a5195"),
)
_ROW = 0.42  # inches


class Scored(NamedTuple):
    """One row of :func:`compare_figure`.

    Attributes:
        name: Of the model.
        place: What it was measured on; rows of one place that follow each other stand under its name.
        values: ``iou``, ``object_f1``, ``ap50``, ``merged``, ``split`` → mean and standard deviation over the runs (0
            where there is one run); what was not measured is left out.
    """

    name: str
    place: str
    values: Mapping[str, tuple[float, float]]


def compare_figure(rows: Sequence[Scored], path: str | Path, *, title: str = "") -> None:
    """Draw scores as points, and merged and split buildings as bars, a row a model, the first row on top.

    Args:
        rows: In the order to show.
        path: PNG to write.
        title: Above the figure.

    Raises:
        OutputError: ``path`` cannot be written.
    """
    places = [row.place for row in rows]
    first = [index for index, place in enumerate(places) if index == 0 or place != places[index - 1]]
    y = np.arange(len(rows)) + np.cumsum([index in first for index in range(len(rows))])  # a line for each heading
    lines = float(y[-1]) + 1 if len(rows) else 1.0
    figure = Figure(figsize=(12, 1.6 + _ROW * lines), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(2, 1))
    _draw_points(left, rows, y)
    _draw_bars(right, rows, y)
    left.set(xlim=(-0.02, 1.02), ylim=(lines - 0.4, -0.6), yticks=y, yticklabels=[row.name for row in rows])
    left.set_title("scores: 1 is perfect", loc="left", fontsize=10)
    right.set_title("merged and split: 0 is perfect", loc="left", fontsize=10)
    for axes in (left, right):
        axes.grid(axis="x", alpha=0.25)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
    for index in first:
        left.text(0, float(y[index]) - 1, places[index], va="center", weight="bold", fontsize=10)
    handles = [handle for axes in (left, right) for handle in axes.get_legend_handles_labels()[0]]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False)
    figure.suptitle(title)
    save(figure, path)


def _draw_points(axes: Axes, rows: Sequence[Scored], y: np.ndarray) -> None:
    for row, at in zip(rows, y, strict=True):
        found = sorted(row.values[key][0] for key, *_ in _POINTS if key in row.values)
        axes.plot(found, [at] * len(found), color="#c9c9c9", lw=2, zorder=1)
        if not found:
            axes.text(0, at, "not evaluated", va="center", color="#7a7a7a", style="italic", fontsize=9)
    for key, label, color, marker in _POINTS:
        points = [(*row.values[key], at) for row, at in zip(rows, y, strict=True) if key in row.values]
        if points:
            mean, sd, at = map(list, zip(*points, strict=True))
            axes.errorbar(
                mean, at, xerr=sd, fmt=marker, color=color, markersize=13 if marker == "|" else 7,
                markeredgewidth=3 if marker == "|" else 0, capsize=3, label=label, zorder=2,
            )  # fmt: skip


def _draw_bars(axes: Axes, rows: Sequence[Scored], y: np.ndarray) -> None:
    for (key, label, color), offset in zip(_BARS, (-0.19, 0.19), strict=True):
        bars = [(*row.values[key], at + offset) for row, at in zip(rows, y, strict=True) if key in row.values]
        if bars:
            mean, sd, at = map(list, zip(*bars, strict=True))
            error = [value or np.nan for value in sd]
            drawn = axes.barh(at, mean, 0.36, xerr=error, color=color, label=label, error_kw={"capsize": 2})
            axes.bar_label(drawn, [f"{value:.3g}" for value in mean], padding=4, fontsize=8)
    if axes.containers:
        axes.set_xlim(0, max(1.0, axes.get_xlim()[1] * 1.08))  # room for the numbers


def compare_curves(runs: Sequence[tuple[str, Sequence[dict[str, Any]]]], path: str | Path, *, title: str = "") -> None:
    """Draw how several runs learned: training loss, validation loss, validation IoU.

    Curves of a run whose best epoch is picked on test chips are dashed. Losses of different recipes are different
    quantities; their shapes can be compared, their heights cannot.

    Args:
        runs: Name, and one dictionary an epoch as ``curves.csv`` holds them; runs of one name have one colour.
        path: PNG to write.
        title: Above the figure.

    Raises:
        OutputError: ``path`` cannot be written.
    """
    names = list(dict.fromkeys(name for name, _ in runs))
    colors = dict(zip(names, _colors(len(names)), strict=True))
    figure = Figure(figsize=(12, 4.2 + 0.22 * -(-len(names) // 3)), layout="constrained")
    panels = figure.subplots(1, 3)
    stages = (("train_loss",), ("val_loss", "test_loss"), ("val_iou", "test_iou"))
    labels = ("training loss", "validation loss", "validation IoU (mean over classes)")
    for axes, columns, label in zip(panels, stages, labels, strict=True):
        for name, rows in runs:
            for column, style in zip(columns, ("-", "--"), strict=False):
                points = [(row["epoch"], row[column]) for row in rows if column in row]
                if points:
                    axes.plot(
                        *zip(*points, strict=True), color=colors[name], ls=style, marker="o", markersize=3, lw=1.6
                    )
        dashed = any(line.get_linestyle() == "--" for line in axes.lines)
        axes.set(xlabel="epoch", title=label + (" (dashed: test)" if dashed else ""))
        axes.grid(alpha=0.25)
        axes.xaxis.get_major_locator().set_params(integer=True)
    handles = [panels[0].plot([], [], color=colors[name], marker="o", label=name)[0] for name in names]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(title)
    save(figure, path)


def _colors(count: int) -> list[str]:
    if count <= 10:
        return [to_hex(color) for color in colormaps["tab10"].colors[:count]]  # pyright: ignore
    return [to_hex(colormaps["turbo"](value)) for value in np.linspace(0.03, 0.97, count)]
