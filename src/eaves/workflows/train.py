"""``eaves train``: a recipe and data into a model."""

from __future__ import annotations

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
from eaves.train import ChipSource, Run, StoredChips, fit
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
        on_progress: Is told after every step.
        callbacks: More Lightning callbacks.

    Raises:
        SettingsError: Recipe, data or folder cannot be meant.
        TrainingError: Training cannot go on.

    Example:
        >>> train_model("unet28", "dataset.toml", "runs/first", changes=["fit.epochs=3"])  # doctest: +SKIP
    """
    out = Path(out)
    chosen = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, changes)
    check_writable(out / "run.json")
    begun = (out / "curves.csv").exists() or (out / "last.ckpt").exists()
    if begun and not resume:
        raise OutputError("a folder without a run", f"{out}, which has one", "add --resume, or name another folder")
    source = open_source(data, chosen)
    note = provenance("train", {"data": data}, chosen.model_dump(mode="json"))
    with whole_file(out / "run.json") as partial:
        partial.write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
    run = fit(chosen, source, out, resume=resume, on_progress=on_progress, callbacks=callbacks)
    curves_figure(run.curves, out / "curves.png", title=chosen.name)
    return run


def open_source(data: str | Path, recipe: Recipe) -> ChipSource:
    """Open what chips come from: a dataset's scenes, or a store.

    Raises:
        SettingsError: Neither; or the store was cut for another resolution or chip size than the recipe asks for.
    """
    path = Path(data)
    if path.suffix == ".toml":
        return ChipPlan.of_dataset(load_dataset(path), recipe.chips, recipe.fit.seed)
    store = open_chips(path)
    source = StoredChips(store)
    wanted = recipe.chips.gsd_m
    if wanted is not None and source.gsd_m is not None and abs(source.gsd_m / wanted - 1) > 0.01:
        raise SettingsError(
            f"chips at {wanted} m", f"chips at {source.gsd_m} m in {path}", f"add --set chips.gsd_m={source.gsd_m}"
        )
    return source
