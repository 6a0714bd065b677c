"""Pictures of a correction: how maps sharpen step by step, what it made better, and what its filters answer to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from eaves.labels import UNKNOWN
from eaves.show.figures import save

_COLORS = ("#ececec", "#c8432f", "#2f4b7c", "#3d9970", "#f2b134", "#7b5ea7", "#00a6a6", "#8c564b")
_CELL = 2.7  # inches


def class_picture(mask: np.ndarray) -> np.ndarray:
    """Paint class indices.

    Args:
        mask: uint8 ``(h, w)``; UNKNOWN becomes white.

    Returns:
        float ``(h, w, 3)`` in [0, 1].

    Example:
        >>> class_picture(np.array([[0, 255]], np.uint8))[0, 1].tolist()
        [1.0, 1.0, 1.0]
    """
    table = np.ones((256, 3))
    for index in range(255):
        table[index] = to_rgb(_COLORS[index % len(_COLORS)])
    table[UNKNOWN] = 1
    return table[mask]


def steps_figure(
    rows: Sequence[Mapping[str, Any]], classes: Sequence[str], path: str | Path, *, title: str = ""
) -> None:
    """Draw measures against the number of steps.

    Args:
        rows: One a step: ``iteration``, ``accuracy``, ``miou``, ``iou_<class>`` and ``boundary_iou_<class>``; what is
            missing or none is left out.
        classes: Names, the background first.
        path: PNG to write.
        title: Above the figure.

    Raises:
        OutputError: ``path`` cannot be written.
    """
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    panels = figure.subplots(1, 3)
    lines = (
        ("overall", [("accuracy", "accuracy", "#333333"), ("miou", "mean IoU", "#d1495b")]),
        ("IoU", [(f"iou_{name}", name, _ink(index)) for index, name in enumerate(classes)]),
        ("boundary IoU", [(f"boundary_iou_{name}", name, _ink(index)) for index, name in enumerate(classes)]),
    )
    for axes, (heading, curves) in zip(panels, lines, strict=True):
        for key, label, color in curves:
            points = [(row["iteration"], row[key]) for row in rows if row.get(key) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), color=color, marker="o", markersize=4, label=label)
        axes.set(xlabel="iteration", title=heading, ylim=(0, 1))
        axes.grid(alpha=0.25)
        axes.xaxis.get_major_locator().set_params(integer=True)
        if axes.lines:
            axes.legend(frameon=False)
    figure.suptitle(title)
    save(figure, path)


def pictures_figure(
    rows: Sequence[Sequence[tuple[str, np.ndarray]]],
    path: str | Path,
    *,
    classes: Sequence[str] = (),
    title: str = "",
    cell: float = _CELL,
) -> None:
    """Draw pictures in rows and columns.

    Args:
        rows: Of pictures with what stands above them: RGB ``(h, w, 3)``, or scores ``(h, w)`` in [0, 1], dark to light.
        path: PNG to write.
        classes: For the key of colours; none draws no key.
        title: Above the figure.
        cell: Side of a picture in inches.

    Raises:
        OutputError: ``path`` cannot be written.
    """
    columns = max(map(len, rows))
    height, width = rows[0][0][1].shape[:2]
    figure = Figure(figsize=(cell * columns, cell * len(rows) * height / width + 0.9), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for line, pictures in zip(grid, rows, strict=True):
        for axes in line:
            axes.set_axis_off()
        for axes, (name, picture) in zip(line, pictures, strict=False):
            if picture.ndim == 2:
                axes.imshow(picture, cmap="magma", vmin=0, vmax=1, interpolation="nearest")
            else:
                axes.imshow(picture, interpolation="nearest")
            axes.set_title(name, fontsize=9)
    if classes:
        key = [Patch(facecolor=_COLORS[i % len(_COLORS)], edgecolor="#999999", label=n) for i, n in enumerate(classes)]
        figure.legend(handles=key, loc="outside lower center", ncols=len(key), frameon=False)
    figure.suptitle(title)
    save(figure, path)


def responses_figure(
    image: np.ndarray,
    of_scores: Sequence[tuple[str, np.ndarray]],
    of_image: Sequence[tuple[str, np.ndarray]],
    path: str | Path,
    *,
    title: str = "",
) -> None:
    """Draw what filters answer: red where high, blue where low.

    Args:
        image: RGB ``(h, w, 3)``.
        of_scores: Names and answers ``(h, w)`` of filters of the score maps.
        of_image: The same of filters of the image.
        path: PNG to write.
        title: Above the figure.

    Raises:
        OutputError: ``path`` cannot be written.
    """
    columns = 1 + max(len(of_scores), len(of_image))
    height, width = image.shape[:2]
    figure = Figure(figsize=(_CELL * columns, _CELL * 2 * height / width + 0.8), layout="constrained")
    grid = figure.subplots(2, columns, squeeze=False)
    for line, answers in zip(grid, (of_scores, of_image), strict=True):
        for axes in line:
            axes.set_axis_off()
        line[0].imshow(image, interpolation="nearest")
        line[0].set_title("image", fontsize=9)
        for axes, (name, answer) in zip(line[1:], answers, strict=False):
            middle = answer - np.median(answer)
            reach = float(np.percentile(np.abs(middle), 99)) or 1.0
            axes.imshow(middle, cmap="RdBu_r", vmin=-reach, vmax=reach, interpolation="nearest")
            axes.set_title(name, fontsize=9)
    figure.suptitle(title)
    save(figure, path)


def _ink(index: int) -> str:
    """The colour of a class for a line, which light grey is not."""
    return "#8a8a8a" if index == 0 else _COLORS[index % len(_COLORS)]
