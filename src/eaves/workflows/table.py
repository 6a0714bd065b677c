"""Rows of ``compare``: what belongs together in one line, and the lines as a table."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

Columns = Literal["all", "source", "objects", "outlines"]
CLASS_IOU = "iou_"
"""Begins the key of a class's IoU: ``iou_road``."""


class Spread(NamedTuple):
    """A number over the runs of a line.

    Attributes:
        mean: Over the runs that have it.
        sd: Standard deviation (n - 1); None with one run.
        runs: How many have it.
    """

    mean: float
    sd: float | None
    runs: int


class Line(NamedTuple):
    """A row of the table: one kind of model, measured at one place.

    Attributes:
        model: Its name.
        target: What it draws: ``classes``, ``border``, ``distance``; empty where no model is known.
        measured_on: The reference; empty where nothing was measured.
        chosen_on: Chips on which its best epoch was picked, ``val`` or ``test``; as the model's card says it.
        runs: How many evaluations are in it.
        values: Column → number; what nobody has is left out.
    """

    model: str
    target: str
    measured_on: str
    chosen_on: str
    runs: int
    values: dict[str, Spread]


class Column(NamedTuple):
    """A number of the table.

    Attributes:
        heading: Of the column.
        show: Turns the number into text.
    """

    heading: str
    show: Callable[[float], str]


def _share(value: float) -> str:
    return f"{value:.3f}"


def _count(value: float) -> str:
    return f"{value:.0f}" if value == int(value) else f"{value:.1f}"


PIXELS = ("accuracy", "precision", "recall", "miou", "iou", "f1", "boundary_iou")
"""Numbers that are fields of the pixels' report."""
OUTLINES = ("c_iou", "polis_m", "vertex_ratio", "right_angle_share", "mta_deg", "invalid")
"""Numbers that are fields of the outlines' report."""
_NUMBERS = {
    "accuracy": Column("accuracy", _share),
    "precision": Column("precision", _share),
    "recall": Column("recall", _share),
    "miou": Column("mIoU", _share),
    "iou": Column("IoU", _share),
    "f1": Column("F1", _share),
    "boundary_iou": Column("boundary IoU", _share),
    "ap": Column("AP", _share),
    "ap50": Column("AP50", _share),
    "ap75": Column("AP75", _share),
    "object_f1": Column("object F1", _share),
    "merged": Column("merged", _count),
    "split": Column("split", _count),
    "coco_ap": Column("COCO AP", _share),
    "boundary_ap": Column("boundary AP", _share),
    "outline_boundary_iou": Column("boundary IoU of outlines", _share),
    "c_iou": Column("C-IoU", _share),
    "polis_m": Column("PoLiS m", _share),
    "vertex_ratio": Column("vertex ratio", _share),
    "right_angle_share": Column("right angles", _share),
    "mta_deg": Column("MTA deg", lambda value: f"{value:.1f}"),
    "invalid": Column("invalid", _count),
    "best_iou": Column("IoU of the best epoch", _share),
    "parameters": Column("parameters", lambda value: f"{value / 1e6:.2f} M"),
    "mpx_per_s": Column("Mpx/s", lambda value: f"{value:.3g}"),
    "epochs": Column("epochs", _count),
    "best_epoch": Column("best epoch", _count),
    "chips": Column("chips", _count),
}
_TEXTS = {"model": "model", "target": "target", "measured_on": "measured on", "runs": "runs", "chosen_on": "chosen on"}
_SOURCE = {"model": "algorithm", "measured_on": "measured on", "accuracy": "acc", "recall": "recall", "miou": "miou"}
_OBJECTS = _SOURCE | {"iou": "IoU", "ap": "AP", "ap50": "AP50", "ap75": "AP75", "object_f1": "object F1"}
_OBJECTS |= {"merged": "merged", "split": "split"}
_OUTLINES = {"model": "algorithm", "measured_on": "measured on", "iou": "IoU", "outline_boundary_iou": "boundary IoU"}
_OUTLINES |= {key: _NUMBERS[key].heading for key in (*OUTLINES, "object_f1", "boundary_ap")}
_FORMS = {"source": _SOURCE, "objects": _OBJECTS, "outlines": _OUTLINES}


def number_columns(classes: Iterable[str] = ()) -> dict[str, Column]:
    """Return the columns of numbers, by key.

    Args:
        classes: Names of those that have a column each, beside the usual ones.

    Example:
        >>> [column.heading for column in number_columns(["road"]).values()][5:8]
        ['F1', 'IoU road', 'boundary IoU']
    """
    each = {CLASS_IOU + name: Column(f"IoU {name}", _share) for name in classes}
    split = list(_NUMBERS).index("boundary_iou")
    items = list(_NUMBERS.items())
    return dict(items[:split]) | each | dict(items[split:])


def make_lines(rows: Sequence[Mapping[str, Any]], numbers: Mapping[str, Column]) -> list[Line]:
    """Put rows of one model at one place together, the best first.

    Args:
        rows: Key → value, of texts and of ``numbers``; None is an empty cell.
        numbers: From :func:`number_columns`.
    """
    together: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        together.setdefault((row["measured_on"], row["model"], row["target"]), []).append(row)
    lines = []
    for (place, model, target), group in together.items():
        values = {}
        for key in numbers:
            known = [float(row[key]) for row in group if row[key] is not None]
            if known:
                values[key] = Spread(
                    statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None, len(known)
                )
        chosen = "/".join(sorted({row["chosen_on"] for row in group if row["chosen_on"]}))
        lines.append(Line(model, target, place, chosen, len(group), values))
    places = [place for place in dict.fromkeys(line.measured_on for line in lines) if place] + [""]

    def worth(line: Line) -> tuple[int, float]:
        first = next((line.values[key].mean for key in ("iou", "object_f1", "best_iou") if key in line.values), -1.0)
        return places.index(line.measured_on), -first

    return sorted(lines, key=worth)


def make_table(lines: Sequence[Line], numbers: Mapping[str, Column], columns: Columns, note: str) -> str:
    """Write lines as a Markdown table, without the columns that nobody has.

    Args:
        lines: From :func:`make_lines`.
        numbers: From :func:`number_columns`.
        columns: ``all``, ``source``, ``objects`` or ``outlines``.
        note: How the speed was measured.
    """
    form = _FORMS.get(columns)
    if form is not None:
        lines = [line for line in lines if line.values.keys() & form.keys()]
        headings = form
    else:
        headings = {key: _TEXTS[key] for key in ("model", "target", "measured_on", "runs")}
        headings |= {key: column.heading for key, column in numbers.items()} | {"chosen_on": _TEXTS["chosen_on"]}
    cells = [_cells(line, numbers) for line in lines]
    shown = {key: heading for key, heading in headings.items() if any(row[key] for row in cells)}
    if all(line.runs == 1 for line in lines):
        shown.pop("runs", None)
    notes = []
    if form is not None and len({line.measured_on for line in lines}) == 1 and shown.pop("measured_on", None):
        notes.append(f"Measured on {lines[0].measured_on}.")
    if any(line.runs > 1 for line in lines):
        notes.append("Mean ± standard deviation over the runs of a row.")
    if note and "mpx_per_s" in shown:
        notes.append(note)
    table = [
        "| " + " | ".join(shown.values()) + " |",
        "|" + "---|" * len(shown),
        *("| " + " | ".join(row[key].replace("|", "\\|") for key in shown) + " |" for row in cells),
    ]
    return "\n".join(table + (["", " ".join(notes)] if notes else []))


def _cells(line: Line, numbers: Mapping[str, Column]) -> dict[str, str]:
    cells = {key: str(getattr(line, key)) for key in _TEXTS}
    return cells | {key: _cell(line.values.get(key), line.runs, column) for key, column in numbers.items()}


def _cell(value: Spread | None, runs: int, column: Column) -> str:
    if value is None:
        return ""
    text = column.show(value.mean)
    if value.sd is not None and (value.sd > 0 or column.show is _share):  # counts that all agree need no spread
        text += f" ± {column.show(value.sd)}"
    return text if value.runs == runs else f"{text} ({value.runs} of {runs})"
