"""What watches a training run: progress, curves, checkpoints, and the alarm for a collapse to background."""

from __future__ import annotations

import csv
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint

from eaves.errors import EavesWarning
from eaves.exchange.atomic import whole_file
from eaves.labels import UNKNOWN
from eaves.progress import OnProgress, Progress

COLUMNS: list[str] = ["epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_iou", "seconds"]


class Watch(L.Callback):
    """Tell how many samples are left, and the loss and accuracy now.

    Args:
        on_progress: Is told after every step.
        samples: Training chips of an epoch.
        epochs: Epochs of the run.
    """

    def __init__(self, on_progress: OnProgress, samples: int, epochs: int) -> None:
        self.on_progress, self.samples, self.epochs = on_progress, samples, epochs
        self.note = ""

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report one step."""
        epoch = trainer.current_epoch
        done = min(self.samples, (batch_idx + 1) * len(batch[0]))
        note = f"loss {float(outputs['loss'].detach()):.3f} accuracy {outputs['accuracy']:.3f}{self.note}"
        stage = f"epoch {epoch + 1}/{self.epochs}"
        self.on_progress(Progress(stage, epoch * self.samples + done, self.epochs * self.samples, "chips", note))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remember the validation numbers for the next reports."""
        got = trainer.callback_metrics
        if "val_loss" in got:
            self.note = f" | val loss {float(got['val_loss']):.3f} iou {float(got['val_iou']):.3f}"


class Curves(L.Callback):
    """Write ``curves.csv``, one row an epoch; rows of an earlier part of the run are kept on resume."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self._began = time.monotonic()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock; on a resume, take over the rows of the epochs before."""
        self._began = time.monotonic()
        if not self.rows and trainer.current_epoch and self.path.exists():
            self.rows = [row for row in read_curves(self.path) if row["epoch"] <= trainer.current_epoch]

    def write(self, trainer: L.Trainer) -> dict[str, Any]:
        """Add the epoch that ended and return its row."""
        got = trainer.callback_metrics
        row: dict[str, Any] = {name: float(got[name]) for name in COLUMNS if name in got}
        row = {"epoch": trainer.current_epoch + 1, **row, "seconds": round(time.monotonic() - self._began, 1)}
        self.rows.append(row)
        with whole_file(self.path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(self.rows)
        return row


def read_curves(path: str | Path) -> list[dict[str, float]]:
    """Read a ``curves.csv``: one dictionary an epoch, without the columns that it has no value for."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


class Keep(Checkpoint):
    """After every epoch: its row in the curves, its model file, the best so far, and where to resume.

    Lightning runs checkpoint callbacks after the module has logged its epoch, hence the base class.
    The resume point is written last and appears whole, so that a kill at any moment repeats at most one epoch.

    Args:
        folder: Of the run.
        curves: Gets its row first.
        save: ``(path, row)``: writes a model file with that row in its card.
        monitor: ``iou`` or ``loss``.
    """

    def __init__(
        self, folder: Path, curves: Curves, save: Callable[[Path, dict[str, Any]], None], monitor: str
    ) -> None:
        self.folder, self.curves, self.save, self.monitor = folder, curves, save, monitor

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save what the epoch gave."""
        row = self.curves.write(trainer)
        self.save(self.folder / "epochs" / f"epoch_{row['epoch']:03d}.safetensors", row)
        if row["epoch"] == self.best_epoch:
            self.save(self.folder / "model.safetensors", row)
        with whole_file(self.folder / "last.ckpt") as partial:
            trainer.save_checkpoint(partial)

    @property
    def best_epoch(self) -> int:
        """The epoch with the best monitored value so far; the latest where nothing validates."""
        rows = self.curves.rows
        name = f"val_{self.monitor}"
        judged = [row for row in rows if name in row]
        if not judged:
            return int(rows[-1]["epoch"])
        sign = -1 if self.monitor == "loss" else 1
        return int(max(judged, key=lambda row: sign * row[name])["epoch"])


class CollapseAlarm(L.Callback):
    """Warn when the network calls (nearly) everything background although the labels do not.

    Args:
        every: Steps between two looks.
        least: Predicted foreground below this share of the labelled foreground is a collapse.
        patience: Looks in a row before the alarm.
    """

    def __init__(self, every: int = 50, least: float = 0.01, patience: int = 3) -> None:
        self.every, self.least, self.patience = every, least, patience
        self.rung = False
        self._labelled = self._predicted = self._bad = 0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count foreground; look every so many steps."""
        target = batch[1]
        known = target != UNKNOWN
        self._labelled += int(torch.count_nonzero(target[known]))
        self._predicted += int(torch.count_nonzero(outputs["prediction"][known]))
        if (trainer.global_step + 1) % self.every:
            return
        self._bad = self._bad + 1 if self._predicted < self.least * self._labelled else 0
        if self._bad >= self.patience and not self.rung:
            self.rung = True
            warnings.warn(
                f"The network calls everything background: {self._predicted} of {self._labelled} labelled foreground "
                f"pixels in the last {self.every} steps. Do: lower fit.learning_rate, use chips.windows = 'balanced', "
                "or loss.class_weights = 'median-frequency'.",
                EavesWarning,
                stacklevel=2,
            )
        self._labelled = self._predicted = 0
