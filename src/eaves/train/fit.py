"""Train a network by a recipe, in a folder from which it can be resumed."""

from __future__ import annotations

import logging
import random
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from eaves.errors import EavesWarning, SettingsError, TrainingError
from eaves.models import Card, SegmentationNetwork, build, combined, load_encoder, median_frequency_weights, save_model
from eaves.progress import OnProgress, ignore
from eaves.scene import Scaling
from eaves.settings import Recipe
from eaves.train.callbacks import CollapseAlarm, Curves, Keep, Watch
from eaves.train.data import ChipData, ChipSource, class_counts
from eaves.train.module import SegmentationTask
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
        source: The chips.
        folder: Of the run; exists.
        resume: Go on from ``last.ckpt`` where there is one.
        on_progress: Is told after every step.
        callbacks: More Lightning callbacks.

    Returns:
        The run.

    Raises:
        SettingsError: The recipe does not fit the data or the machine.
        TrainingError: The loss became infinite, or the resume point cannot be used.
    """
    seed_everything(recipe.fit.seed)
    channels, dtype = _look_at(source)
    network = build(recipe.model, channels, len(source.classes))
    loaded = load_encoder(network, recipe.model.encoder_weights)
    if loaded.taken:
        log.info("encoder: %d tensors from %s; not taken %s", loaded.taken, loaded.source, loaded.skipped)
    credits = (*source.credits, *([loaded.credit] if loaded.credit else []))
    scaling = _scaling(source, dtype, channels, network)
    network = network.to(memory_format=torch.channels_last)
    data = ChipData(source, recipe, scaling)
    samples = len(source.train(0))
    steps = max(1, -(-samples // recipe.fit.batch))
    weights = _class_weights(recipe, source)
    loss = combined(recipe.loss.terms)
    task = SegmentationTask(network, loss, weights, source.classes, recipe.fit, steps * recipe.fit.epochs)
    curves = Curves(folder / "curves.csv")

    def save(path: Path, row: dict[str, Any]) -> None:
        card = Card(
            eaves_version=__version__,
            recipe=recipe,
            classes=source.classes,
            scaling=scaling,
            gsd_m=source.gsd_m,
            metrics={name: value for name, value in row.items() if name.startswith("val_")},
            credits=credits,
            trained={"epochs": int(row["epoch"]), "chips": int(row["epoch"]) * samples},
            created=datetime.now(UTC).replace(microsecond=0),
        )
        path.parent.mkdir(exist_ok=True)
        save_model(path, network, card)

    keep = Keep(folder, curves, save, recipe.fit.monitor)
    trainer = _trainer(
        max_epochs=recipe.fit.epochs,
        precision=choose_precision(recipe.fit.precision, network),
        gradient_clip_val=recipe.fit.clip_norm or None,
        logger=TensorBoardLogger(folder, name="tensorboard", version=""),
        callbacks=[Watch(on_progress, samples, recipe.fit.epochs), curves, CollapseAlarm(), *callbacks, keep],
    )
    last = folder / "last.ckpt"
    checkpoint = str(last) if resume and last.exists() else None
    if not len(data.val_items):
        warnings.warn("No chip validates: the last epoch counts as the best.", EavesWarning, stacklevel=2)
    _fit_quietly(trainer, task, data, checkpoint)
    if not curves.rows:  # resumed a run that was already complete
        raise SettingsError(
            "epochs that are still to come",
            f"a finished run of {recipe.fit.epochs} in {folder}",
            "raise fit.epochs to train longer",
        )
    best = next(row for row in curves.rows if row["epoch"] == keep.best_epoch)
    return Run(folder, folder / "model.safetensors", best, curves.rows)


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch; chips are seeded apart, by epoch and index."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - libraries that draw from NumPy's global state
    torch.manual_seed(seed)


def choose_precision(wanted: str, network: SegmentationNetwork) -> Any:
    """Return Lightning's name of the precision.

    ``auto`` takes bf16 on hardware that computes it in silicon: GPUs from compute capability 8, and CPUs with AMX or
    AVX512-BF16 unless the network has depthwise convolutions, whose gradients are slower in bf16 there. A CPU that
    emulates bf16 was measured to be 400 times slower than in fp32, so that asking for it there is refused.

    Raises:
        SettingsError: bf16 is asked for where it is emulated.
    """
    if torch.cuda.is_available():
        in_silicon = torch.cuda.get_device_capability() >= (8, 0)
    else:
        able = torch.cpu.get_capabilities()
        in_silicon = bool(able.get("amx_bf16") or able.get("avx512_bf16") or able.get("bf16"))
    if wanted == "bf16" and not in_silicon:
        raise SettingsError("hardware that computes bf16", "hardware that emulates it", "use fit.precision = 'auto'")
    separable = any(isinstance(m, torch.nn.Conv2d) and m.groups == m.in_channels > 1 for m in network.modules())
    pays = in_silicon and (torch.cuda.is_available() or not separable)
    return "bf16-mixed" if wanted == "bf16" or (wanted == "auto" and pays) else "32-true"


def _look_at(source: ChipSource) -> tuple[int, np.dtype]:
    """Bands and pixel type of the chips."""
    items = source.train(0)
    if not len(items):
        raise SettingsError(
            "chips to train on", "none", "check the splits, the AOI, min_known and keep_empty; eaves doctor helps"
        )
    image = source.load(items[0]).image
    return image.shape[0], image.dtype


def _scaling(source: ChipSource, dtype: np.dtype, channels: int, network: SegmentationNetwork) -> Scaling:
    if dtype == np.uint8:
        return Scaling.for_bytes(channels, network.mean, network.std)
    items = source.train(0)
    chosen = [source.load(items[i]) for i in np.linspace(0, len(items) - 1, min(50, len(items))).astype(int)]
    return Scaling.fit([(chip.image, chip.valid) for chip in chosen], network.mean, network.std)


def _class_weights(recipe: Recipe, source: ChipSource) -> torch.Tensor | None:
    wanted = recipe.loss.class_weights
    if wanted == "none":
        return None
    if wanted == "median-frequency":
        weights = median_frequency_weights(*class_counts(source))
        log.info("class weights: %s", dict(zip(source.classes, np.round(weights, 3).tolist(), strict=True)))
        return torch.as_tensor(weights, dtype=torch.float32)
    if len(wanted) != len(source.classes):
        raise SettingsError(f"{len(source.classes)} class weights", f"{len(wanted)}", "give one a class")
    return torch.tensor(wanted, dtype=torch.float32)


def _trainer(**settings: Any) -> L.Trainer:
    with _hushed("lightning.pytorch"):
        return L.Trainer(
            reload_dataloaders_every_n_epochs=1,
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
            log_every_n_steps=10,
            devices=1,
            **settings,
        )


@contextmanager
def _hushed(name: str) -> Iterator[None]:
    """A logger that only speaks up for warnings."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _fit_quietly(trainer: L.Trainer, task: SegmentationTask, data: ChipData, checkpoint: str | None) -> None:
    with warnings.catch_warnings(), _hushed("lightning.pytorch"):
        # Lightning's advice on worker counts and logging intervals is for its own users, not for ours.
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=r".*does not have many workers|.*logging interval")
        try:
            trainer.fit(task, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        except SystemExit:
            # Lightning turns Ctrl-C into an exit and deafens the process to further ones; give both back.
            if not trainer.interrupted:
                raise
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt from None
        except (KeyError, RuntimeError) as error:
            if checkpoint is None or ("size mismatch" not in str(error) and "Missing key" not in str(error)):
                raise
            raise TrainingError(
                f"a resume point of this recipe in {checkpoint}",
                str(error).splitlines()[0],
                "resume with the recipe that began the run, or start in a new folder",
            ) from None
