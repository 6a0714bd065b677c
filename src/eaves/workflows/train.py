"""``eaves train``: a recipe and data into a model."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import lightning as L

from eaves.errors import OutputError, SettingsError
from eaves.exchange.atomic import check_writable, whole_file
from eaves.progress import OnProgress, ignore
from eaves.sample import ChipPlan, open_chips
from eaves.settings import Recipe, load_dataset, load_recipe
from eaves.show import curves_figure
from eaves.show.rates import rate_figure
from eaves.train import ChipSource, RateCurve, Run, StoredChips, find_rate, fit
from eaves.train.loading import refuse_another_recipe
from eaves.workflows.provenance import provenance


def train_model(
    recipe: str | Path | Recipe,
    data: str | Path,
    out: str | Path,
    *,
    resume: bool = False,
    changes: Sequence[str] = (),
    on_progress: OnProgress = ignore,
    callbacks: Sequence[L.Callback] = (),
) -> Run:
    """Train a network; everything about the run goes into one folder.

    The folder gets ``run.json`` (recipe, data, versions), ``curves.csv``, ``curves.png``, ``tensorboard/``, a model
    file an epoch in ``epochs/``, the best one as ``model.safetensors``, and ``last.ckpt`` to resume from.

    Args:
        recipe: Name, ``.toml`` file, or the recipe itself.
        data: ``DATASET.toml``, or chips stored by ``eaves sample``.
        out: Folder of the run.
        resume: Go on where the run in ``out`` stopped. The result is the same as without the stop.
        changes: ``key=value`` changes to the recipe.
        on_progress: Is told after every batch.
        callbacks: More Lightning callbacks.

    Raises:
        SettingsError: Recipe, data or folder cannot be meant, or the run to resume has come to its end.
        TrainingError: Training cannot go on, or the run to resume is of another recipe.

    Example:
        >>> train_model("unet28", "dataset.toml", "runs/first", changes=["fit.epochs=3"])  # doctest: +SKIP
    """
    out = Path(out)
    chosen = _recipe(recipe, changes)
    check_writable(out / "run.json")
    begun = (out / "curves.csv").exists() or (out / "last.ckpt").exists()
    if begun and not resume:
        raise OutputError("a folder without a run", f"{out}, which has one", "add --resume, or name another folder")
    if (out / "last.ckpt").exists() and (out / "run.json").exists():
        refuse_another_recipe(json.loads((out / "run.json").read_text(encoding="utf-8"))["settings"], chosen)
    source = open_source(data, chosen)
    note = provenance("train", {"data": data}, chosen.model_dump(mode="json"))
    with whole_file(out / "run.json") as partial:
        partial.write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
    run = fit(chosen, source, out, resume=resume, on_progress=on_progress, callbacks=callbacks)
    curves_figure(run.curves, out / "curves.png", title=chosen.name)
    return run


def find_learning_rate(
    recipe: str | Path | Recipe,
    data: str | Path,
    out: str | Path,
    *,
    changes: Sequence[str] = (),
    lowest: float = 1e-6,
    highest: float = 1.0,
    steps: int = 100,
    on_progress: OnProgress = ignore,
) -> RateCurve:
    """Raise the rate step by step and see where the loss falls fastest: a first ``fit.learning_rate``.

    Writes ``rate.csv`` (rate, loss, and the loss's running mean) and ``rate.png`` into a folder; no model.

    Args:
        recipe: Name, ``.toml`` file, or the recipe itself.
        data: ``DATASET.toml``, or chips stored by ``eaves sample``.
        out: Folder.
        changes: ``key=value`` changes to the recipe.
        lowest: First rate.
        highest: Last rate.
        steps: Steps of the optimiser.
        on_progress: Is told after every step.

    Returns:
        The curve; its ``suggestion`` is the rate.

    Raises:
        SettingsError: Recipe, data or rates cannot be meant.
        TrainingError: The loss fell at no rate.

    Example:
        >>> find_learning_rate("unet28", "dataset.toml", "runs/rate").suggestion  # doctest: +SKIP
        0.0028
    """
    out, chosen = Path(out), _recipe(recipe, changes)
    check_writable(out / "rate.csv")
    source = open_source(data, chosen)
    curve = find_rate(chosen, source, lowest=lowest, highest=highest, steps=steps, on_progress=on_progress)
    with whole_file(out / "rate.csv") as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("rate", "loss", "smooth"))
        writer.writerows(zip(curve.rates.tolist(), curve.losses.tolist(), curve.smooth.tolist(), strict=True))
    rate_figure(curve.rates, curve.losses, curve.smooth, curve.suggestion, out / "rate.png", title=chosen.name)
    return curve


def open_source(data: str | Path, recipe: Recipe) -> ChipSource:
    """Open what chips come from: a dataset's scenes, or a store.

    Raises:
        SettingsError: Neither; or the store was cut for another resolution or chip size than the recipe asks for; or
            nothing is there to judge epochs on, where that is to be the test scenes.
    """
    path, judge = Path(data), recipe.fit.choose_on
    if path.suffix == ".toml":
        objects = recipe.target.kind != "classes"
        return ChipPlan.of_dataset(load_dataset(path), recipe.chips, recipe.fit.seed, instances=objects, judge=judge)
    store = open_chips(path)
    source = StoredChips(store, judge)
    wanted = recipe.chips.gsd_m
    if wanted is not None and source.gsd_m is not None and abs(source.gsd_m / wanted - 1) > 0.01:
        raise SettingsError(
            f"chips at {wanted} m", f"chips at {source.gsd_m} m in {path}", f"add --set chips.gsd_m={source.gsd_m}"
        )
    return source


def _recipe(recipe: str | Path | Recipe, changes: Sequence[str]) -> Recipe:
    return recipe if isinstance(recipe, Recipe) else load_recipe(recipe, changes)
