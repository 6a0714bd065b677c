"""Train a network by a recipe, in a folder from which it can be resumed."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from eaves.errors import EavesWarning, SettingsError
from eaves.labels import Target
from eaves.models import (
    Card,
    InstanceNetwork,
    Network,
    Readout,
    SegmentationNetwork,
    build,
    load_encoder,
    losses_of,
    median_frequency_weights,
    save_model,
)
from eaves.progress import OnProgress, ignore
from eaves.scene import Scaling
from eaves.settings import LossSettings, Recipe
from eaves.train.curves import best_epoch
from eaves.train.data import ChipSource, class_counts
from eaves.train.finding import InstanceTask
from eaves.train.keep import Curves, Keep
from eaves.train.loading import ChipData, check_sharing
from eaves.train.module import SegmentationTask
from eaves.train.rollback import RollBack
from eaves.train.task import Task
from eaves.train.together import together
from eaves.train.trainer import make_trainer, run_trainer, seed_everything
from eaves.train.watch import CollapseAlarm, Standstill, Watch
from eaves.train.weights import Freeze, OneStatistic, RunningMean
from eaves.version import __version__

log = logging.getLogger(__name__)


class Run(NamedTuple):
    """What training left behind.

    Attributes:
        folder: Of the run.
        model: The best epoch's model file.
        best: That epoch's row of the curves.
        curves: All rows, oldest first.
    """

    folder: Path
    model: Path
    best: dict[str, Any]
    curves: list[dict[str, Any]]


class Prepared(NamedTuple):
    """A recipe brought to data: what a trainer needs, and what a card says.

    Attributes:
        task: The network with its loss and optimiser.
        data: Its batches.
        credits: Makers and licences of chips and pretrained weights.
        recipe: The recipe, with what the data decided where it left that open.
    """

    task: Task
    data: ChipData
    credits: tuple[str, ...]
    recipe: Recipe


def fit(
    recipe: Recipe,
    source: ChipSource,
    folder: Path,
    *,
    resume: bool = False,
    on_progress: OnProgress = ignore,
    callbacks: Sequence[L.Callback] = (),
) -> Run:
    """Train and keep every epoch, the best one, and where to go on.

    The folder gets ``epochs/epoch_NNN.safetensors``, ``model.safetensors`` (the best epoch), ``curves.csv``,
    ``tensorboard/`` and ``last.ckpt``. The same recipe, source and seed give the same weights on the same machine,
    with or without an interruption between epochs.

    Args:
        recipe: What to train and how.
        source: The chips. With ``fit.processes`` above 1 it is pickled into each of them.
        folder: Of the run; exists.
        resume: Go on from ``last.ckpt`` where there is one.
        on_progress: Is told after every batch.
        callbacks: More Lightning callbacks; with several processes, each has copies of its own.

    Returns:
        The run.

    Raises:
        SettingsError: The recipe does not fit the data or the machine, or its run has come to its end.
        TrainingError: Loss or weights are not finite once more than roll-backs are allowed, the resume point is of
            another recipe, or a process ended without a word.
    """
    if recipe.fit.processes > 1:
        check_sharing(recipe.fit)
        arguments = (recipe, source, folder, resume, list(callbacks))
        return together(_fit_as, recipe.fit.processes, arguments, on_progress)
    return _fit_as(0, on_progress, recipe, source, folder, resume, callbacks)


def prepare(recipe: Recipe, source: ChipSource, rank: int = 0) -> Prepared:
    """Build the network of a recipe for a source's chips, and the batches of them.

    Raises:
        SettingsError: The recipe does not fit the data.
    """
    seed_everything(recipe.fit.seed)
    if getattr(source, "judge", recipe.fit.choose_on) != recipe.fit.choose_on:
        raise SettingsError(
            f"a source that judges epochs on {recipe.fit.choose_on!r} chips (fit.choose_on)",
            f"one that does so on {getattr(source, 'judge', None)!r}",
            f"open it with judge={recipe.fit.choose_on!r}",
        )
    channels, dtype = _look_at(source)
    target = Target.of(recipe.target, source.classes, source.gsd_m)
    readout = Readout(recipe.target, source.classes)
    network = build(recipe.model, channels, readout.channels)
    _check_kind(network, recipe)
    _check_scores(network, source, recipe.target.kind)
    loaded = load_encoder(network, recipe.model.encoder_weights)
    if loaded.taken:
        parts = Counter(name.partition(".")[0] for name in network.pretrained)
        log.info("%s from %s; not taken %s", dict(parts), loaded.source, loaded.skipped)
    if isinstance(network, InstanceNetwork) and network.needs_pretrained and not loaded.taken:
        raise SettingsError(
            f"pretrained weights for {recipe.model.arch} with frozen batch normalisation",
            f"encoder_weights = {recipe.model.encoder_weights!r}",
            "set model.encoder_weights = 'imagenet' or 'coco', or options.norm = 'batch'",
            because="statistics that nobody has measured would stay what they are",
        )
    scaling = _scaling(source, dtype, channels, network)
    network = network.to(memory_format=torch.channels_last)
    data = ChipData(source, recipe, scaling, target, rank)
    total = data.steps * recipe.fit.epochs
    credits = (*source.credits, *([loaded.credit] if loaded.credit else []))
    if isinstance(network, InstanceNetwork):
        task = InstanceTask(network, source.classes, recipe.fit, total)
        return Prepared(task, data, credits, _pin(network, recipe, source, target))
    assert isinstance(network, SegmentationNetwork)
    weights = _class_weights(recipe, source, target)
    loss = losses_of(recipe.loss)
    task = SegmentationTask(network, loss, weights, source.classes, readout, recipe.fit, total)
    return Prepared(task, data, credits, recipe)


def _fit_as(
    rank: int,
    on_progress: OnProgress,
    recipe: Recipe,
    source: ChipSource,
    folder: Path,
    resume: bool,
    callbacks: Sequence[L.Callback],
) -> Run:
    """Train as one of the recipe's processes."""
    fit, monitor = recipe.fit, f"{recipe.fit.choose_on}_{recipe.fit.monitor}"
    last = folder / "last.ckpt"
    checkpoint = str(last) if resume and last.exists() else None
    task, data, credits, pinned = prepare(recipe, source, rank)
    _tell_what_judges(recipe, data)
    mean = RunningMean(fit.ema) if fit.ema else None
    rollback = RollBack(fit.rollbacks, mean)
    curves = Curves(folder / "curves.csv", fit.choose_on, task.columns)

    def save(path: Path, row: dict[str, Any]) -> None:
        trained: dict[str, int | float | str] = {
            "epochs": int(row["epoch"]),
            "chips": int(row["epoch"]) * data.samples,
            "hours": round(sum(row["seconds"] for row in curves.rows) / 3600, 4),
            "chosen_on": fit.choose_on if monitor in row else "nothing: the last epoch",
        }
        card = Card(
            eaves_version=__version__,
            recipe=pinned,
            classes=source.classes,
            scaling=data.scaling,
            gsd_m=source.gsd_m,
            metrics={name: value for name, value in row.items() if name.startswith(("val_", "test_"))},
            credits=credits,
            trained={**trained, **({"rollbacks": rollback.used} if rollback.used else {})},
            created=datetime.now(UTC).replace(microsecond=0),
        )
        path.parent.mkdir(exist_ok=True)
        save_model(path, mean.network if mean else task.network, card)

    keep = Keep(folder, curves, save, monitor, fit.stop_after)
    watch = Watch(on_progress, data.samples, fit.epochs, fit.batch, fit.choose_on)
    trainer = make_trainer(
        fit,
        task.network,
        max_epochs=fit.epochs,
        logger=TensorBoardLogger(folder, name="tensorboard", version=""),
        callbacks=[
            curves,
            *([watch, Standstill(fit.first_batch_s)] if rank == 0 else []),
            *([CollapseAlarm()] if rank == 0 and isinstance(task, SegmentationTask) else []),
            *([Freeze(fit.freeze_epochs, task.network)] if fit.freeze_epochs else []),
            rollback,
            *([mean] if mean else []),
            *([OneStatistic(mean)] if fit.processes > 1 else []),
            *callbacks,
            keep,
        ],
    )
    run_trainer(trainer, task, data, checkpoint)
    if not curves.rows:  # resumed a run that was already complete
        raise SettingsError(
            "epochs that are still to come",
            f"a finished run of {fit.epochs} in {folder}",
            "raise fit.epochs to train longer",
        )
    best = next(row for row in curves.rows if row["epoch"] == best_epoch(curves.rows, monitor))
    return Run(folder, folder / "model.safetensors", best, curves.rows)


def _tell_what_judges(recipe: Recipe, data: ChipData) -> None:
    fit, judges = recipe.fit, len(data.val_items)
    if fit.choose_on == "test":
        if not judges:
            raise SettingsError(
                "test chips for fit.choose_on = 'test'", "none", "give a scene split = 'test', or choose on 'val'"
            )
        warnings.warn(
            "fit.choose_on = 'test': the best epoch is picked on the test scenes, so that its figures on them flatter. "
            "The curves and the model's card say so.",
            EavesWarning,
            stacklevel=1,
        )
    elif not judges and fit.stop_after:
        raise SettingsError(
            "validation chips for fit.stop_after", "none", "give a scene split = 'val' or 'block', or set it to 0"
        )
    elif not judges:
        warnings.warn("No chip validates: the last epoch counts as the best.", EavesWarning, stacklevel=1)


def _look_at(source: ChipSource) -> tuple[int, np.dtype]:
    """Bands and pixel type of the chips."""
    items = source.train(0)
    if not len(items):
        raise SettingsError(
            "chips to train on", "none", "check the splits, the AOI, min_known and keep_empty; eaves doctor helps"
        )
    image = source.load(items[0]).image
    return image.shape[0], image.dtype


def _check_kind(network: Network, recipe: Recipe) -> None:
    """See that target, loss and monitor go with what the network gives.

    Raises:
        SettingsError: They do not, or would be ignored.
    """
    arch, finds = recipe.model.arch, isinstance(network, InstanceNetwork)
    if finds != (recipe.target.kind == "instances"):
        wanted = "target.kind = 'instances'" if finds else "a network that finds objects, such as maskrcnn,"
        told = f"target.kind = {recipe.target.kind!r}"
        raise SettingsError(f"{wanted} for {arch if finds else told}", told if finds else arch, "change one of them")
    if finds and recipe.loss != LossSettings():
        raise SettingsError(
            f"no [loss] for {arch}", f"{recipe.loss.terms}", "leave [loss] out", because="its terms are its own"
        )
    if recipe.fit.monitor == "f1" and not finds:
        raise SettingsError("fit.monitor = 'iou' or 'loss'", "'f1'", f"change it: {arch} does not tell objects apart")


def _pin(network: InstanceNetwork, recipe: Recipe, source: ChipSource, target: Target) -> Recipe:
    """Set what the densest chip decides, and return the recipe with it."""
    densest, items = 0.0, source.train(0)
    for at in np.unique(np.linspace(0, len(items) - 1, min(400, len(items))).astype(int)):  # stores lie scene by scene
        chip = source.load(items[at])
        densest = max(densest, float(target.draw(chip.mask, chip.instances).max()) / chip.mask.size * 1e6)
    pinned = network.pin(densest)
    if pinned:
        log.info("densest of the chips: %.0f objects in a million pixels; %s", densest, pinned)
    model = recipe.model.model_copy(update={"options": {**recipe.model.options, **pinned}})
    return recipe.model_copy(update={"model": model})


def _check_scores(network: Network, source: ChipSource, target: str) -> None:
    """See that a network that corrects scores finds some, and is asked for classes."""
    if not network.takes_scores:
        return
    if target != "classes":
        raise SettingsError("target.kind = 'classes' for a corrector", repr(target), "leave target out of the recipe")
    if source.load(source.train(0)[0]).scores is None:
        raise SettingsError(
            "chips with score maps for a corrector",
            "chips without",
            "train it on a DATASET.toml, with the model that it corrects: --corrects model.safetensors",
        )


def _scaling(source: ChipSource, dtype: np.dtype, channels: int, network: Network) -> Scaling:
    if dtype == np.uint8:
        return Scaling.for_bytes(channels, network.mean, network.std)
    items = source.train(0)
    chosen = [source.load(items[i]) for i in np.linspace(0, len(items) - 1, min(50, len(items))).astype(int)]
    return Scaling.fit([(chip.image, chip.valid) for chip in chosen], network.mean, network.std)


def _class_weights(recipe: Recipe, source: ChipSource, target: Target) -> torch.Tensor | None:
    wanted = recipe.loss.class_weights
    if wanted == "none":
        return None
    if wanted == "median-frequency":
        weights = median_frequency_weights(*class_counts(source, target))
        log.info("class weights: %s", dict(zip(target.names, np.round(weights, 3).tolist(), strict=True)))
        return torch.as_tensor(weights, dtype=torch.float32)
    if len(wanted) != len(target.names):
        raise SettingsError(
            f"{len(target.names)} class weights ({', '.join(target.names)})", f"{len(wanted)}", "give one a class"
        )
    return torch.tensor(wanted, dtype=torch.float32)
