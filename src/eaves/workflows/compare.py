"""``eaves compare``: evaluations and runs in one table."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch

from eaves.errors import SettingsError
from eaves.exchange.atomic import check_writable, whole_file
from eaves.models import InstanceNetwork, SegmentationNetwork, load_model
from eaves.predict import TorchBackend, TorchDetector, measure_speed
from eaves.progress import OnProgress, Progress, ignore
from eaves.show import Scored, compare_curves, compare_figure
from eaves.workflows.lineup import Entry, count_parameters, line_up
from eaves.workflows.table import CLASS_IOU, OUTLINES, PIXELS, Columns, Line, make_lines, make_table, number_columns


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
    least area are the same. Where one has more than two classes, each of these has a column of its IoU. What a source
    does not have is an empty cell, and a column that nobody has is left out of the table (not of the CSV).

    Args:
        paths: Folders of runs (``eaves train -o``) and of evaluations (``eaves evaluate -o``), or folders that hold
            them at any depth.
        out: Folder for ``compare.md`` (the table), ``compare.csv`` (every evaluation by itself, unrounded),
            ``compare.png`` and ``curves.png``.
        names: What to call the models, one for each path; those of one name share a row.
        columns: ``all``; ``source``: algorithm, acc, recall and miou, as the sources print them; ``objects``: these
            and what tells how well buildings are told apart (IoU, AP, AP50, AP75, object F1, merged, split); or
            ``outlines``: how well they are drawn (C-IoU, PoLiS, vertex ratio, right angles, MTA and so on).
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
    if columns not in get_args(Columns):
        raise SettingsError("columns all, source, objects or outlines", repr(columns), "choose one of them")
    places = [Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]
    if not places:
        raise SettingsError("a run or an evaluation", "none", "name its folder")
    folder = None if out is None else Path(out)
    if folder is not None:
        check_writable(folder / "compare.csv")
    entries = line_up(places, names)
    speeds, note = _speeds(entries, device, on_progress) if speed else ({}, "")
    numbers = number_columns(_several_classes(entries))
    rows = [_row(entry, speeds, numbers) for entry in entries]
    lines = make_lines(rows, numbers)
    table = make_table(lines, numbers, columns, note)
    if folder is not None:
        _write(folder, table, rows, lines, entries)
    return Comparison(tuple(lines), table, folder)


def _several_classes(entries: Sequence[Entry]) -> list[str]:
    """The classes of evaluations that have more than two, each once."""
    reports = [entry.report.pixels for entry in entries if entry.report is not None and entry.report.pixels is not None]
    return list(dict.fromkeys(name for pixels in reports if len(pixels.classes) > 2 for name in pixels.classes))


def _row(entry: Entry, speeds: dict[Path, float], numbers: Iterable[str]) -> dict[str, Any]:
    """An evaluation as one row of ``compare.csv``; None is an empty cell."""
    row: dict[str, Any] = {"model": entry.name, "target": entry.target, "measured_on": entry.place}
    row |= dict.fromkeys(("chosen_on", "seed", *numbers)) | {"folder": str(entry.folder)}
    if entry.report is not None:
        if (pixels := entry.report.pixels) is not None:
            row |= {key: getattr(pixels, key) for key in PIXELS}
            row |= {key: each.iou for name, each in pixels.per_class.items() if (key := CLASS_IOU + name) in row}
        if (objects := entry.report.objects) is not None:
            row |= {key: getattr(objects, key) for key in ("ap", "ap50", "ap75", "merged", "split")}
            row["object_f1"] = objects.f1
        if (outlines := entry.report.outlines) is not None:
            row |= {key: getattr(outlines, key) for key in OUTLINES}
            row["outline_boundary_iou"] = outlines.boundary_iou
        if (coco := entry.report.coco) is not None:
            row |= {"coco_ap": coco.ap, "boundary_ap": coco.boundary_ap}
    if entry.card is not None and entry.model is not None:
        fit, trained = entry.card.recipe.fit, entry.card.trained
        curves = entry.curves
        row |= {
            "chosen_on": trained.get("chosen_on", fit.choose_on),
            "seed": fit.seed,
            "best_iou": entry.card.metrics.get("val_iou", entry.card.metrics.get("test_iou")),
            "parameters": count_parameters(entry.model),
            "mpx_per_s": None if entry.refiners else speeds.get(entry.model),  # the network's alone
            "epochs": int(max(line["epoch"] for line in curves)) if curves else None,
            "best_epoch": trained.get("epochs"),
            "chips": trained.get("chips"),
        }
    return row


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
    curves = {entry.model: (entry.name, entry.curves) for entry in entries if entry.curves and not entry.refiners}
    if curves:
        compare_curves(list(curves.values()), folder / "curves.png")


def _speeds(entries: Sequence[Entry], device: str, on_progress: OnProgress) -> tuple[dict[Path, float], str]:
    """Megapixels a second of each model, and how they were measured; networks built alike are measured once."""
    alike: dict[str, list[Path]] = {}
    for entry in entries:
        if entry.card is not None and entry.model is not None and not entry.refiners:
            built = f"{entry.card.recipe.model.model_dump_json()} {entry.card.readout.channels} {entry.card.scaling}"
            alike.setdefault(built, []).append(entry.model)
    speeds, note = {}, ""
    for done, models in enumerate(alike.values(), 1):
        network, card = load_model(models[0])
        if isinstance(network, SegmentationNetwork):
            backend = TorchBackend(network, card.readout, device)
        else:
            assert isinstance(network, InstanceNetwork)
            backend = TorchDetector(network, device)
        speeds |= dict.fromkeys(models, measure_speed(backend, network.input_channels))
        note = f"Mpx/s: tiles of 1024 px, {backend.name}, threads: {torch.get_num_threads()}."
        on_progress(Progress("measure", done, len(alike), "networks"))
    return speeds, note
