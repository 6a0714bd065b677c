"""``eaves compare``: evaluations and runs in one table."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from eaves.errors import SettingsError
from eaves.exchange.atomic import check_writable, whole_file
from eaves.models import load_model
from eaves.predict.backends import TorchBackend, measure_speed
from eaves.progress import OnProgress, Progress, ignore
from eaves.show import Scored, compare_curves, compare_figure
from eaves.workflows.lineup import Entry, count_parameters, line_up

Columns = Literal["all", "source"]


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


class Comparison(NamedTuple):
    """What was lined up.

    Attributes:
        lines: Of the table, the best pixel IoU of each place first.
        table: Markdown.
        folder: ``compare.md``, ``compare.csv``, ``compare.png`` and, with training curves, ``curves.png``; or None.
    """

    lines: tuple[Line, ...]
    table: str
    folder: Path | None


class _Column(NamedTuple):
    heading: str
    show: Callable[[float], str]


def _share(value: float) -> str:
    return f"{value:.3f}"


def _count(value: float) -> str:
    return f"{value:.0f}" if value == int(value) else f"{value:.1f}"


_PIXELS = ("accuracy", "precision", "recall", "miou", "iou", "f1")
_NUMBERS = {
    "accuracy": _Column("accuracy", _share),
    "precision": _Column("precision", _share),
    "recall": _Column("recall", _share),
    "miou": _Column("mIoU", _share),
    "iou": _Column("IoU", _share),
    "f1": _Column("F1", _share),
    "ap50": _Column("AP50", _share),
    "object_f1": _Column("object F1", _share),
    "merged": _Column("merged", _count),
    "split": _Column("split", _count),
    "best_iou": _Column("IoU of the best epoch", _share),
    "parameters": _Column("parameters", lambda value: f"{value / 1e6:.2f} M"),
    "mpx_per_s": _Column("Mpx/s", lambda value: f"{value:.3g}"),
    "epochs": _Column("epochs", _count),
    "best_epoch": _Column("best epoch", _count),
    "chips": _Column("chips", _count),
}
_TEXTS = {"model": "model", "target": "target", "measured_on": "measured on", "runs": "runs", "chosen_on": "chosen on"}
_SHOWN: dict[Columns, dict[str, str]] = {
    "all": {key: _TEXTS[key] for key in ("model", "target", "measured_on", "runs")}
    | {key: column.heading for key, column in _NUMBERS.items()}
    | {"chosen_on": _TEXTS["chosen_on"]},
    "source": {
        "model": "algorithm",
        "measured_on": "measured on",
        "accuracy": "acc",
        "recall": "recall",
        "miou": "miou",
    },
}


def compare_runs(
    paths: str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    *,
    names: Sequence[str] | None = None,
    columns: Columns = "all",
    speed: bool = False,
    device: str = "auto",
    on_progress: OnProgress = ignore,
) -> Comparison:
    """Line up evaluations and training runs in one table.

    Runs of one recipe that differ in their seed alone share a row, as mean ± standard deviation; where their settings
    or data differ, the difference stands beside the name. Evaluations share a row only where reference, AOI, IoU and
    least area are the same. What a source does not have is an empty cell, and a column that nobody has is left out of
    the table (not of the CSV).

    Args:
        paths: Folders of runs (``eaves train -o``) and of evaluations (``eaves evaluate -o``), or folders that hold
            them at any depth.
        out: Folder for ``compare.md`` (the table), ``compare.csv`` (every evaluation by itself, unrounded),
            ``compare.png`` and ``curves.png``.
        names: What to call the models, one for each path; those of one name share a row.
        columns: ``all``, or ``source``: algorithm, acc, recall and miou, as the sources print them.
        speed: Measure how fast each network runs: a tile of 1024 px, median of three.
        device: Where to measure it: ``auto``, ``cpu``, ``cuda``, ``mps``.
        on_progress: Is told after every network that was measured.

    Raises:
        SettingsError: A path has nothing to compare, or an evaluation cannot be understood.
        ModelFileError: A model file cannot be read.
        OutputError: ``out`` cannot be written.

    Example:
        >>> compare_runs(["runs/unet", "runs/segnet"], "comparison").table  # doctest: +SKIP
    """
    if columns not in _SHOWN:
        raise SettingsError("columns all or source", repr(columns), "choose one of the two")
    places = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    if not places:
        raise SettingsError("a run or an evaluation", "none", "name its folder")
    folder = None if out is None else Path(out)
    if folder is not None:
        check_writable(folder / "compare.csv")
    entries = line_up(places, names)
    speeds, note = _speeds(entries, device, on_progress) if speed else ({}, "")
    rows = [_row(entry, speeds) for entry in entries]
    lines = _lines(rows)
    table = _markdown(lines, columns, note)
    if folder is not None:
        _write(folder, table, rows, lines, entries)
    return Comparison(tuple(lines), table, folder)


def _row(entry: Entry, speeds: dict[Path, float]) -> dict[str, Any]:
    """An evaluation as one row of ``compare.csv``; None is an empty cell."""
    row: dict[str, Any] = {"model": entry.name, "target": entry.target, "measured_on": entry.place}
    row |= dict.fromkeys(("chosen_on", "seed", *_NUMBERS)) | {"folder": str(entry.folder)}
    if entry.report is not None:
        if (pixels := entry.report.pixels) is not None:
            row |= {key: getattr(pixels, key) for key in _PIXELS}
        if (objects := entry.report.objects) is not None:
            row |= {"object_f1": objects.f1, "ap50": objects.ap50, "merged": objects.merged, "split": objects.split}
    if entry.card is not None and entry.model is not None:
        fit, trained = entry.card.recipe.fit, entry.card.trained
        curves = entry.curves
        row |= {
            "chosen_on": trained.get("chosen_on", fit.choose_on),
            "seed": fit.seed,
            "best_iou": entry.card.metrics.get("val_iou", entry.card.metrics.get("test_iou")),
            "parameters": count_parameters(entry.model),
            "mpx_per_s": speeds.get(entry.model),
            "epochs": int(max(line["epoch"] for line in curves)) if curves else None,
            "best_epoch": trained.get("epochs"),
            "chips": trained.get("chips"),
        }
    return row


def _lines(rows: Sequence[dict[str, Any]]) -> list[Line]:
    """Rows of one model at one place together, the best first."""
    together: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        together.setdefault((row["measured_on"], row["model"], row["target"]), []).append(row)
    lines = []
    for (place, model, target), group in together.items():
        values = {}
        for key in _NUMBERS:
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


def _markdown(lines: Sequence[Line], columns: Columns, note: str) -> str:
    if columns == "source":
        lines = [line for line in lines if line.values.keys() & _SHOWN["source"].keys()]
    cells = [_cells(line) for line in lines]
    shown = {key: heading for key, heading in _SHOWN[columns].items() if any(row[key] for row in cells)}
    if all(line.runs == 1 for line in lines):
        shown.pop("runs", None)
    notes = []
    if columns == "source" and len({line.measured_on for line in lines}) == 1 and shown.pop("measured_on", None):
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


def _cells(line: Line) -> dict[str, str]:
    cells = {key: str(getattr(line, key)) for key in _TEXTS}
    return cells | {key: _cell(line.values.get(key), line.runs, column) for key, column in _NUMBERS.items()}


def _cell(value: Spread | None, runs: int, column: _Column) -> str:
    if value is None:
        return ""
    text = column.show(value.mean)
    if value.sd is not None and (value.sd > 0 or column.show is _share):  # counts that all agree need no spread
        text += f" ± {column.show(value.sd)}"
    return text if value.runs == runs else f"{text} ({value.runs} of {runs})"


def _write(
    folder: Path, table: str, rows: Sequence[dict[str, Any]], lines: Sequence[Line], entries: Sequence[Entry]
) -> None:
    with whole_file(folder / "compare.md") as partial:
        partial.write_text(table + "\n", encoding="utf-8")
    with whole_file(folder / "compare.csv") as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    drawn = [
        Scored(
            f"{line.model} ({line.runs} runs)" if line.runs > 1 else line.model,
            line.measured_on,
            {key: (value.mean, value.sd or 0.0) for key, value in line.values.items()},
        )
        for line in lines
    ]
    compare_figure(drawn, folder / "compare.png")
    curves = {entry.model: (entry.name, entry.curves) for entry in entries if entry.curves}
    if curves:
        compare_curves(list(curves.values()), folder / "curves.png")


def _speeds(entries: Sequence[Entry], device: str, on_progress: OnProgress) -> tuple[dict[Path, float], str]:
    """Megapixels a second of each model, and how they were measured; networks built alike are measured once."""
    alike: dict[str, list[Path]] = {}
    for entry in entries:
        if entry.card is not None and entry.model is not None:
            built = f"{entry.card.recipe.model.model_dump_json()} {entry.card.readout.channels} {entry.card.scaling}"
            alike.setdefault(built, []).append(entry.model)
    speeds, note = {}, ""
    for done, models in enumerate(alike.values(), 1):
        network, card = load_model(models[0])
        backend = TorchBackend(network, card.readout, device)
        speeds |= dict.fromkeys(models, measure_speed(backend, card.scaling.band_count))
        note = f"Mpx/s: tiles of 1024 px, {backend.name}, threads: {torch.get_num_threads()}."
        on_progress(Progress("measure", done, len(alike), "networks"))
    return speeds, note
