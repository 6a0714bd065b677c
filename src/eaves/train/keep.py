"""Callbacks that write the run down: a row an epoch, model files, the resume point."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from eaves.errors import SettingsError
from eaves.exchange.atomic import whole_file
from eaves.train.curves import best_epoch, columns, enough, read_curves


class Curves(L.Callback):
    """Write ``curves.csv``, one row an epoch; rows of an earlier part of the run are kept on resume.

    Args:
        path: Of the file.
        judge: Split that epochs are judged on, ``val`` or ``test``.
        more: Columns of the task's own.

    Attributes:
        rows: One an epoch; ``rate`` is that of the epoch's last step.
    """

    def __init__(self, path: Path, judge: str = "val", more: Sequence[str] = ()) -> None:
        self.path, self.names = path, columns(judge, more)
        self.rows: list[dict[str, Any]] = []
        self._began, self._rate = time.monotonic(), 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """On a resume, take over the rows of the epochs before."""
        if trainer.current_epoch and self.path.exists():
            self.rows = [row for row in read_curves(self.path) if row["epoch"] <= trainer.current_epoch]

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._began = time.monotonic()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember the rate."""
        self._rate = trainer.optimizers[0].param_groups[0]["lr"]

    def write(self, trainer: L.Trainer) -> dict[str, Any]:
        """Add the epoch that ended and return its row; the first of the processes writes."""
        got, names = trainer.callback_metrics, self.names
        row: dict[str, Any] = {name: float(got[name]) for name in names if name in got}
        seconds = round(time.monotonic() - self._began, 1)
        row = {"epoch": trainer.current_epoch + 1, **row, "rate": self._rate, "seconds": seconds}
        self.rows.append(row)
        if trainer.is_global_zero:
            with whole_file(self.path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, names)
                writer.writeheader()
                writer.writerows(self.rows)
        return row


class Keep(Checkpoint):
    """After every epoch: its row in the curves, its model file, the best so far, and where to resume.

    Lightning runs checkpoint callbacks after the module has logged its epoch, hence the base class.
    The resume point is written last and appears whole, so that a kill at any moment repeats at most one epoch.

    Args:
        folder: Of the run.
        curves: Gets its row first.
        save: ``(path, row)``: writes a model file with that row in its card.
        monitor: Column that tells the best.
        stop_after: Epochs without a better one after which training ends; 0 never.

    Raises:
        SettingsError: A resumed run had come to such an end.
    """

    def __init__(
        self,
        folder: Path,
        curves: Curves,
        save: Callable[[Path, dict[str, Any]], None],
        monitor: str,
        stop_after: int = 0,
    ) -> None:
        self.folder, self.curves, self.save, self.monitor = folder, curves, save, monitor
        self.stop_after = stop_after

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuse to go on with a run that has stopped by itself."""
        if enough(self.curves.rows, self.monitor, self.stop_after):
            raise SettingsError(
                "a run that would go on",
                f"one in {self.folder} that has stopped, with nothing better in {self.stop_after} epochs",
                "raise fit.stop_after to train longer, or set it to 0",
            )

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save what the epoch gave; all processes take part, the first one writes."""
        row = self.curves.write(trainer)
        if enough(self.curves.rows, self.monitor, self.stop_after):
            trainer.should_stop = True
        if not trainer.is_global_zero:
            trainer.save_checkpoint(self.folder / "last.ckpt")  # gives its part; the first process writes
            return
        self.save(self.folder / "epochs" / f"epoch_{row['epoch']:03d}.safetensors", row)
        if row["epoch"] == best_epoch(self.curves.rows, self.monitor):
            self.save(self.folder / "model.safetensors", row)
        with whole_file(self.folder / "last.ckpt") as partial:
            trainer.save_checkpoint(partial)
