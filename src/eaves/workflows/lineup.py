"""What lies in folders: evaluations, the runs and models that they are of, and names that tell them apart."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from safetensors import safe_open

from eaves.errors import EavesWarning, SettingsError
from eaves.exchange.provenance import fingerprint
from eaves.metrics import MetricsReport
from eaves.models import Card, read_card
from eaves.settings import parse
from eaves.train import read_curves
from eaves.workflows.makers import Maker, find_maker
from eaves.workflows.scoring import BOUNDARY_M

_REPORT, _MODEL = "metrics.json", "model.safetensors"
# What decides where, when or how fast a run was made, not what it learned.
_NO_DIFFERENCE = {"name", "target.kind", "fit.seed", "fit.workers", "fit.processes", "fit.first_batch_s"}


@dataclass
class Entry:
    """One evaluation, or a run that nobody has evaluated.

    Attributes:
        given: Which of the paths it was found in.
        folder: Of the evaluation, else of the run.
        report: The evaluation's numbers.
        model: The model file that was evaluated, where it is known.
        card: That file's.
        refiners: What was done to the model's scores before they were evaluated, in order.
        scores: Name of the score map that was refined, where no model is known.
        name: What to call the model.
        place: What it was measured on; empty where nothing was.
    """

    given: int
    folder: Path
    report: MetricsReport | None = None
    model: Path | None = None
    card: Card | None = field(default=None, repr=False)
    refiners: tuple[str, ...] = ()
    scores: str = ""
    name: str = ""
    place: str = ""

    @property
    def target(self) -> str:
        """What the network draws."""
        return self.card.recipe.target.kind if self.card else ""

    @property
    def curves(self) -> list[dict[str, float]]:
        """Rows of the run's ``curves.csv``; none where there is no such file."""
        path = self.model.with_name("curves.csv") if self.model is not None and self.model.name == _MODEL else None
        return read_curves(path) if path is not None and path.exists() else []


def line_up(paths: Sequence[Path], names: Sequence[str] | None = None) -> list[Entry]:
    """Find evaluations and runs in folders, at any depth, and name them.

    The model of an evaluation is the one that its prediction was made with, by the notes in the files; where these say
    nothing, the ``model.safetensors`` in the evaluation's folder or the nearest one above it.

    Args:
        paths: Folders.
        names: One for each path; else the recipe's name with the settings in which recipes of one name differ, or
            the folder's where there is no recipe. Refiners follow it: ``coarse + crf``.

    Returns:
        Evaluations, and runs without any, in the order of the paths.

    Raises:
        SettingsError: A path holds nothing to compare, or there are not as many names as paths.
        ModelFileError: A model file cannot be read.
    """
    if names is not None and len(names) != len(paths):
        raise SettingsError(f"{len(paths)} names, one for each path", f"{len(names)}", "name each path, or none")
    reports: dict[Path, int] = {}
    models: dict[Path, int] = {}
    for given, path in enumerate(paths):
        at = path.resolve()
        found = [dict.fromkeys(sorted(at.rglob(name)), given) for name in (_REPORT, _MODEL)]
        if not path.is_dir() or not any(found):
            raise SettingsError(
                f"a folder with an evaluation ({_REPORT}) or a run ({_MODEL})",
                f"{path}, which has neither" if path.is_dir() else f"{path}, which is no folder",
                "name the -o of eaves evaluate, or of eaves train",
            )
        reports |= {file: number for file, number in found[0].items() if file not in reports}
        models |= {file: number for file, number in found[1].items() if file not in models}
    entries, lost = [], 0
    for file, given in reports.items():
        report = _read_report(file)
        path, _ = _split_mark(report.provenance.inputs.get("prediction", ""))
        maker = find_maker(Path(path))
        model, certain = _model_of(file, maker, tuple(models))
        lost += not certain
        card = None if model is None else read_card(model)
        entries.append(Entry(given, file.parent, report, model, card, maker.refiners, maker.scores))
    if lost:
        warnings.warn(
            f"{lost} of {len(reports)} evaluations are of a model that has changed or gone since: their rows have its "
            "scores alone. Do: extract and evaluate again.",
            EavesWarning,
            stacklevel=3,
        )
    evaluated = {entry.model for entry in entries if not entry.refiners}
    entries += [
        Entry(given, file.parent, None, file, read_card(file))
        for file, given in models.items()
        if file not in evaluated
    ]
    entries.sort(key=lambda entry: (entry.given, entry.report is None, str(entry.folder)))
    _name_places(entries)
    _name_models(entries, names)
    return entries


def count_parameters(model: Path) -> int:
    """Count the numbers that training sets, from the header of a model file; batches' statistics are not among them."""
    with safe_open(model, framework="np") as file:
        shapes = {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118 - it is no dict
    return parameters_in(shapes)


def parameters_in(shapes: Mapping[str, Sequence[int]]) -> int:
    """Count the parameters among tensors of these names and shapes.

    Example:
        >>> parameters_in({"conv.weight": [8, 3, 3, 3], "norm.weight": [8], "norm.running_mean": [8]})  # frozen
        216
    """
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    # Frozen normalisation counts no batches; its scales and shifts are no parameters either.
    norms = {key.removesuffix("running_mean") for key in shapes if key.endswith(".running_mean")}
    frozen = {f"{norm}{part}" for norm in norms if f"{norm}{buffers[2]}" not in shapes for part in ("weight", "bias")}
    sizes = [shape for key, shape in shapes.items() if not key.endswith(buffers) and key not in frozen]
    return sum(_product(shape) for shape in sizes)


def _product(shape: Sequence[int]) -> int:
    size = 1
    for side in shape:
        size *= side
    return size


def _read_report(path: Path) -> MetricsReport:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError("an evaluation in JSON", f"{path}: {error}", "evaluate again") from None
    if not isinstance(data, dict):
        raise SettingsError("an evaluation of Eaves", f"{path}, which is none", "leave its folder out")
    return parse(MetricsReport, data, source=str(path))


# --- whose evaluation it is -------------------------------------------------------------------------------------------


def _model_of(report_file: Path, maker: Maker, models: Sequence[Path]) -> tuple[Path | None, bool]:
    """The model file, and whether that is certain (or at least not contradicted)."""
    above = next((folder / _MODEL for folder in report_file.parents if (folder / _MODEL).exists()), None)
    if not maker.mark:
        return None if maker.scores else above, True
    for candidate in (maker.model, above, *models):
        if candidate is not None and candidate.is_file() and fingerprint(candidate) == maker.mark:
            return candidate.resolve(), True
    return None, False


def _split_mark(text: str) -> tuple[str, str]:
    """``path fingerprint`` of a report's inputs, apart."""
    path, _, mark = text.rpartition(" ")
    return (path, mark) if mark.startswith("sha256") else (text, "")


# --- names ------------------------------------------------------------------------------------------------------------


def _name_places(entries: Sequence[Entry]) -> None:
    """Evaluations of one reference (of a dataset: one scene of it), inside one AOI, by one rule, are of one place."""
    keys: dict[int, Hashable] = {}
    paths: dict[Hashable, PurePath] = {}
    for index, entry in enumerate(entries):
        if entry.report is not None:
            source = entry.report.provenance
            reference, aoi = (_split_mark(source.inputs.get(role, "")) for role in ("reference", "aoi"))
            rule = [source.settings.get(key) for key in ("iou", "min_area_m2", "scene")]
            rule.append(source.settings.get("boundary_m", BOUNDARY_M))  # unmeasured is an empty cell, no other place
            files = [_split_mark(text) for role, text in source.inputs.items() if role.startswith("labels")]
            keys[index] = (reference[1] or reference[0], aoi[1] or aoi[0], *rule, *(mark or at for at, mark in files))
            path = PurePath(reference[0]).with_suffix("") if reference[0] else PurePath("?")
            scene = source.settings.get("scene")
            paths.setdefault(keys[index], path / PurePath(scene).with_suffix("") if isinstance(scene, str) else path)
    labels = _short(paths)
    for index, key in keys.items():
        entries[index].place = labels[key]


def _name_models(entries: Sequence[Entry], names: Sequence[str] | None) -> None:
    folders = _short({entry.folder: entry.folder for entry in entries})
    differences = _differences(entries)
    for index, entry in enumerate(entries):
        if names is not None:
            entry.name = names[entry.given]
            continue
        if entry.card is not None:
            file = [] if entry.model is None or entry.model.name == _MODEL else [entry.model.stem]
            made = " ".join([entry.card.recipe.name, *file, *differences[index]])
        else:
            made = entry.scores
        # A folder's name is the evaluation's, refiners and all.
        entry.name = " + ".join([made, *entry.refiners]) if made else folders[entry.folder]
    targets: dict[str, set[str]] = {}
    for entry in entries:
        targets.setdefault(entry.name, set()).add(entry.target)
    for entry in entries:
        if len(targets[entry.name]) > 1 and entry.target:
            entry.name += f" · {entry.target}"
    # One model measured twice at one place differs by how it was run: it is not two runs of one kind.
    # So do the same scores refined twice by one name.
    times = Counter((entry.model, entry.name, entry.place) for entry in entries if entry.model or entry.scores)
    for entry in entries:
        if times[entry.model, entry.name, entry.place] > 1:
            entry.name += f" · {entry.folder.name if entry.model else folders[entry.folder]}"


def _differences(entries: Sequence[Entry]) -> list[list[str]]:
    """In which settings, and on which data, runs of one recipe's name differ: ``key=value`` of each entry."""
    flat = [_flat(entry) if entry.card else {} for entry in entries]
    result: list[list[str]] = [[] for _ in entries]
    for name in {entry.card.recipe.name for entry in entries if entry.card}:
        alike = [index for index, entry in enumerate(entries) if entry.card and entry.card.recipe.name == name]
        for key in sorted({key for index in alike for key in flat[index]}):
            if len({repr(flat[index].get(key)) for index in alike}) > 1:
                shown = _short_values([flat[index].get(key) for index in alike])
                for index, value in zip(alike, shown, strict=True):
                    result[index] += [f"{key}={value}"] if value is not None else []
    return result


def _flat(entry: Entry) -> dict[str, Any]:
    assert entry.card is not None
    flat = _leaves(entry.card.recipe.model_dump(mode="json"))
    note = entry.model.with_name("run.json") if entry.model else None
    if note is not None and note.is_file():
        try:
            data = json.loads(note.read_text(encoding="utf-8"))["inputs"]["data"]
            flat["data"] = (data.get("fingerprint") or data["path"], data["path"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass  # a run without a readable note is told apart by its settings alone
    return {key: value for key, value in flat.items() if key not in _NO_DIFFERENCE}


def _leaves(tables: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings with the keys that ``--set`` has for them."""
    flat: dict[str, Any] = {}
    for key, value in tables.items():
        flat |= _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _short_values(values: Sequence[Any]) -> list[str | None]:
    """Settings as text; data as the shortest paths that tell them apart."""
    marks = {value[0]: PurePath(value[1]).with_suffix("") for value in values if isinstance(value, tuple)}
    names = _short(marks)
    return [
        None if value is None else names[value[0]] if isinstance(value, tuple) else str(value).replace(" ", "")
        for value in values
    ]


def _short(paths: Mapping[Any, PurePath]) -> dict[Any, str]:
    """The last parts of each path, as many as tell it from the others; equal paths get a number."""
    result: dict[Any, str] = {}
    times: Counter[PurePath] = Counter()
    for key, path in paths.items():
        others = [other.parts for name, other in paths.items() if name != key]
        apart = (n for n in range(1, len(path.parts)) if all(parts[-n:] != path.parts[-n:] for parts in others))
        times[path] += 1
        if path.parts in others:
            result[key] = f"{path.name} ({times[path]})"
        else:
            result[key] = str(PurePath(*path.parts[-next(apart, len(path.parts)) :]))
    return result
