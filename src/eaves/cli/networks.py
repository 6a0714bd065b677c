"""Commands about networks: train, compare, models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from eaves.cli.app import Device, Out, Quiet, app, say, watched
from eaves.errors import SettingsError


@app.command
def train(
    recipe: str,
    *,
    data: Path,
    out: Out,
    corrects: Path | None = None,
    resume: bool = False,
    set: Annotated[list[str] | None, Parameter(name="--set", consume_multiple=True)] = None,
    find_rate: bool = False,
    quiet: Quiet = False,
) -> None:
    """Train a network by a recipe. Ctrl-C stops it; the same command with --resume goes on.

    Args:
        recipe: Name (see eaves models) or .toml file.
        data: DATASET.toml, or stored chips.
        out: Folder of the run.
        corrects: Model file whose scores a corrector learns to correct.
        resume: Go on where the run in that folder stopped.
        set: Changes to the recipe, such as fit.epochs=5 chips.chip_px=256.
        find_rate: Do not train; raise the rate step by step and suggest one (rate.csv and rate.png in the folder).
    """
    if find_rate:
        from eaves.workflows.train import find_learning_rate

        if resume:
            raise SettingsError("--find-rate without --resume", "both", "leave one out")
        with watched(quiet) as on_progress:
            curve = find_learning_rate(recipe, data, out, corrects=corrects, changes=set or (), on_progress=on_progress)
        say(quiet, f"suggested: --set fit.learning_rate={curve.suggestion:.2g}   curve: {out / 'rate.png'}")
        return
    from eaves.workflows.train import train_model

    with watched(quiet) as on_progress:
        run = train_model(
            recipe, data, out, corrects=corrects, resume=resume, changes=set or (), on_progress=on_progress
        )
    best = ", ".join(f"{key} {value:.3f}" for key, value in run.best.items() if key.startswith("val_"))
    say(quiet, f"best of {len(run.curves)} epochs: epoch {run.best['epoch']} ({best or 'nothing validated'})")
    say(quiet, f"model: {run.model}   curves: {run.folder / 'curves.png'}")


@app.command
def compare(
    runs: list[Path],
    /,
    *,
    out: Annotated[Path | None, Parameter(name=["-o", "--out"])] = None,
    names: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    columns: Literal["all", "source", "objects", "outlines"] = "all",
    speed: bool = False,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Line runs and evaluations up in one table.

    Args:
        runs: Folders of runs and of evaluations, or folders that hold them.
        out: Folder for compare.md, compare.csv, compare.png and curves.png.
        names: What to call the models, one for each folder; those of one name share a row.
        columns: all; source: algorithm, acc, recall and miou, as sources print them; objects: AP and the like too;
            or outlines: how well they are drawn.
        speed: Measure how fast each network runs.
    """
    from eaves.workflows.compare import compare_runs

    with watched(quiet) as on_progress:
        made = compare_runs(
            runs, out, names=names, columns=columns, speed=speed, device=device, on_progress=on_progress
        )
    say(quiet, made.table)


@app.command
def models(model: Path | None = None, *, quiet: Quiet = False) -> None:
    """List architectures and recipes, or show the card of a model file.

    Args:
        model: Model file.
    """
    if model is not None:
        from eaves.models import read_card

        say(quiet, read_card(model).model_dump_json(indent=2))
        return
    from eaves.models import MODELS
    from eaves.settings import load_recipe, recipe_names

    say(quiet, "architectures: " + ", ".join(MODELS))
    for name in recipe_names():
        recipe = load_recipe(name)
        chips, fit = recipe.chips, recipe.fit
        gsd = f"{chips.gsd_m} m" if chips.gsd_m else "the scenes' own GSD"
        say(quiet, f"recipe {name}: {recipe.model.arch}, {chips.chip_px} px chips at {gsd}, {fit.epochs} epochs")
