"""``eaves train``: a recipe and data into a model."""

from __future__ import annotations

import csv
import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import lightning as L

from eaves.errors import OutputError, SettingsError, TrainingError
from eaves.exchange.atomic import check_writable, whole_file
from eaves.models import MODELS, read_card
from eaves.progress import OnProgress, ignore
from eaves.sample import ChipPlan, open_chips
from eaves.settings import Dataset, Recipe, load_dataset, load_recipe
from eaves.show import curves_figure
from eaves.show.rates import rate_figure
from eaves.train import ChipSource, RateCurve, Run, StoredChips, find_rate, fit
from eaves.train.loading import refuse_another_recipe
from eaves.workflows.predict import predict_scores
from eaves.workflows.provenance import provenance


def train_model(
    recipe: str | Path | Recipe,
    data: str | Path,
    out: str | Path,
    *,
    corrects: str | Path | None = None,
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
        corrects: Model file whose score maps a corrector is to learn on: each scene of the dataset that names none gets
            one from it first, in ``scores/`` in the folder.
        resume: Go on where the run in ``out`` stopped. The result is the same as without the stop.
        changes: ``key=value`` changes to the recipe.
        on_progress: Is told after every batch.
        callbacks: More Lightning callbacks.

    Raises:
        SettingsError: Recipe, data or folder cannot be meant, or the run to resume has come to its end.
        SceneError: A scene cannot be read, or does not fit the model that is corrected.
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
        began = json.loads((out / "run.json").read_text(encoding="utf-8"))
        refuse_another_recipe(began["settings"], chosen)
        _refuse_another_model(began["inputs"].get("corrects"), corrects)
    source = open_source(data, chosen, corrects, out / "scores", on_progress)
    inputs = {"data": data} | ({"corrects": corrects} if corrects else {})
    note = provenance("train", inputs, chosen.model_dump(mode="json"))
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
    corrects: str | Path | None = None,
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
        corrects: As in :func:`train_model`.
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
    source = open_source(data, chosen, corrects, out / "scores", on_progress)
    curve = find_rate(chosen, source, lowest=lowest, highest=highest, steps=steps, on_progress=on_progress)
    with whole_file(out / "rate.csv") as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("rate", "loss", "smooth"))
        writer.writerows(zip(curve.rates.tolist(), curve.losses.tolist(), curve.smooth.tolist(), strict=True))
    rate_figure(curve.rates, curve.losses, curve.smooth, curve.suggestion, out / "rate.png", title=chosen.name)
    return curve


def open_source(
    data: str | Path,
    recipe: Recipe,
    corrects: str | Path | None = None,
    scores: Path = Path("scores"),
    on_progress: OnProgress = ignore,
) -> ChipSource:
    """Open what chips come from: a dataset's scenes, or a store.

    Args:
        data: ``DATASET.toml``, or stored chips.
        recipe: Decides which chips.
        corrects: Model that makes the score maps that chips bring along.
        scores: Folder for these.
        on_progress: Is told while they are made.

    Raises:
        SettingsError: Neither; or the store was cut for another resolution or chip size than the recipe asks for; or
            nothing is there to judge epochs on, where that is to be the test scenes.
    """
    path, judge = Path(data), recipe.fit.choose_on
    kind = MODELS.get(recipe.model.arch)
    takes_scores = kind is not None and kind.takes_scores
    if corrects is not None and not (takes_scores and path.suffix == ".toml"):
        what = f"{recipe.model.arch} on {path.name}"
        raise SettingsError("a corrector and a DATASET.toml with --corrects", what, "leave --corrects out")
    if path.suffix == ".toml":
        dataset = load_dataset(path)
        if corrects is not None:
            dataset = with_scores(dataset, corrects, scores, judge, on_progress)
        objects = recipe.target.kind != "classes"
        return ChipPlan.of_dataset(
            dataset, recipe.chips, recipe.fit.seed, instances=objects, judge=judge, scores=takes_scores
        )
    store = open_chips(path)
    source = StoredChips(store, judge)
    wanted = recipe.chips.gsd_m
    if wanted is not None and source.gsd_m is not None and abs(source.gsd_m / wanted - 1) > 0.01:
        raise SettingsError(
            f"chips at {wanted} m", f"chips at {source.gsd_m} m in {path}", f"add --set chips.gsd_m={source.gsd_m}"
        )
    return source


def with_scores(
    dataset: Dataset, model: str | Path, folder: Path, judge: str = "val", on_progress: OnProgress = ignore
) -> Dataset:
    """Return a dataset whose scenes have score maps; what is missing is made, and what was made before is taken again.

    Args:
        dataset: Its scenes of split ``test`` are left alone unless they judge.
        model: Makes the scores.
        folder: Gets a map a scene.
        judge: Split that epochs are judged on.
        on_progress: Is told after every batch of tiles.

    Raises:
        SceneError: A scene cannot be read, or does not fit the model.
        OutputError: A map cannot be written.
    """
    entries = []
    for number, entry in enumerate(dataset.scene):
        if entry.scores is None and (entry.split != "test" or judge == "test"):
            image = dataset.locate(entry.image)
            read = {"nodata": entry.nodata, "bands": entry.bands, "gsd_m": entry.gsd_m}
            note = json.dumps(provenance("", {"scene": image, "model": model}, read))
            path = folder / f"{number}_{Path(image).stem}_{zlib.crc32(note.encode()):08x}.tif"
            if not path.exists():
                folder.mkdir(parents=True, exist_ok=True)
                predict_scores(
                    image,
                    model,
                    path,
                    nodata=entry.nodata,
                    bands=entry.bands,
                    ground_gsd_m=entry.gsd_m,
                    on_progress=on_progress,
                )
            entry = entry.model_copy(update={"scores": str(path.resolve())})
        entries.append(entry)
    credits = tuple(dict.fromkeys((*dataset.credits, *read_card(model).credits)))
    return dataset.model_copy(update={"scene": tuple(entries), "credits": credits})


def _refuse_another_model(began_with: dict[str, str] | None, model: str | Path | None) -> None:
    now = None if model is None else provenance("", {"corrects": model}, {})["inputs"]["corrects"]
    marks = [None if mark is None else mark.get("fingerprint", mark["path"]) for mark in (began_with, now)]
    if marks[0] != marks[1]:
        told = [f"--corrects {mark['path']}" if mark else "no --corrects" for mark in (began_with, now)]
        raise TrainingError(
            f"the model that the run began with: {told[0]}", told[1], "resume with it, or start in a new folder"
        )


def _recipe(recipe: str | Path | Recipe, changes: Sequence[str]) -> Recipe:
    return recipe if isinstance(recipe, Recipe) else load_recipe(recipe, changes)
