"""What looks on while a network trains: progress, and alarms for a collapse to background and for a standstill."""

from __future__ import annotations

import sys
import threading
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import torch

from eaves.errors import EavesWarning
from eaves.labels import UNKNOWN
from eaves.progress import OnProgress, Progress
from eaves.train.data import Item, inner


class Watch(L.Callback):
    """Tell how many samples are left, the loss, and what the task says of itself.

    Args:
        on_progress: Is told after every batch.
        samples: Training chips of an epoch.
        epochs: Epochs of the run.
        batch: Chips in a batch of all processes.
        judge: Split that epochs are judged on, ``val`` or ``test``.
    """

    def __init__(self, on_progress: OnProgress, samples: int, epochs: int, batch: int, judge: str = "val") -> None:
        self.on_progress, self.samples, self.epochs, self.batch, self.judge = on_progress, samples, epochs, batch, judge
        self.note = ""

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report one batch."""
        epoch = trainer.current_epoch
        done = self.samples if trainer.is_last_batch else min(self.samples, (batch_idx + 1) * self.batch)
        note = f"loss {float(outputs['loss'].detach()):.3f} {outputs['note']}{self.note}"
        stage = f"epoch {epoch + 1}/{self.epochs}"
        self.on_progress(Progress(stage, epoch * self.samples + done, self.epochs * self.samples, "chips", note))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Remember the validation numbers for the next reports."""
        got, name = trainer.callback_metrics, self.judge
        if f"{name}_loss" in got:
            self.note = f" | {name} loss {float(got[f'{name}_loss']):.3f} iou {float(got[f'{name}_iou']):.3f}"


class CollapseAlarm(L.Callback):
    """Warn when the network calls (nearly) everything background although the labels do not.

    Args:
        every: Batches between two looks.
        least: Predicted foreground below this share of the labelled foreground is a collapse.
        patience: Looks in a row before the alarm.

    Attributes:
        rung: It has warned; it does so once.
    """

    def __init__(self, every: int = 50, least: float = 0.01, patience: int = 3) -> None:
        self.every, self.least, self.patience = every, least, patience
        self.rung = False
        self._labelled = self._predicted = self._batches = self._bad = 0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Item, batch_idx: int
    ) -> None:
        """Count foreground; look every so many batches."""
        mask = inner(batch.mask, outputs["prediction"])
        known = mask != UNKNOWN
        self._labelled += int(torch.count_nonzero(mask[known]))
        self._predicted += int(torch.count_nonzero(outputs["prediction"][known]))
        self._batches += 1
        if self._batches % self.every:
            return
        self._bad = self._bad + 1 if self._predicted < self.least * self._labelled else 0
        if self._bad >= self.patience and not self.rung:
            self.rung = True
            warnings.warn(
                f"The network calls everything background: {self._predicted} of {self._labelled} labelled foreground "
                f"pixels in the last {self.every} batches. Do: lower fit.learning_rate, use chips.windows = "
                "'balanced', or loss.class_weights = 'median-frequency'.",
                EavesWarning,
                stacklevel=1,
            )
        self._labelled = self._predicted = 0


class Standstill(L.Callback):
    """Warn when no batch comes: the first one in time, or a later one in twenty times the longest wait so far.

    Args:
        first_batch_s: Seconds to wait for the first batch, and at least for any other.

    Attributes:
        told: Warnings so far; each standstill gives one.
    """

    def __init__(self, first_batch_s: float) -> None:
        self.first_batch_s = first_batch_s
        self.told = 0
        self._over = threading.Event()
        self._beats, self._last, self._longest, self._warned = 0, time.monotonic(), 0.0, False

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin to wait."""
        self._last = time.monotonic()
        self._over.clear()
        threading.Thread(target=self._wait, args=(threading.get_ident(),), daemon=True).start()

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """A sign of life."""
        self._beat()

    def on_validation_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """A sign of life."""
        self._beat()

    def on_fit_end(self, *args: Any, **kwargs: Any) -> None:
        """Wait no more."""
        self._over.set()

    def on_exception(self, *args: Any, **kwargs: Any) -> None:
        """Wait no more."""
        self._over.set()

    def _beat(self) -> None:
        now = time.monotonic()
        self._longest = max(self._longest, now - self._last)
        self._beats, self._last, self._warned = self._beats + 1, now, False

    def _wait(self, watched: int) -> None:
        while not self._over.wait(min(1.0, self.first_batch_s / 4)):
            waited = time.monotonic() - self._last
            if waited < max(self.first_batch_s, 20 * self._longest) or self._warned:
                continue
            self._warned, self.told = True, self.told + 1
            frame = sys._current_frames().get(watched)
            at = traceback.extract_stack(frame)[-1] if frame else None
            where = f", now in {at.name} ({Path(at.filename).name}, line {at.lineno})" if at else ""
            what = "further batch" if self._beats else "first batch"
            warnings.warn(
                f"No {what} for {waited:.0f} s{where}. Do, if it goes on: set fit.workers = 0, in case the processes "
                "that make chips are stuck; make fit.batch or chips.chip_px smaller, in case one batch takes so long; "
                "store chips first with eaves sample, in case reading the scenes does.",
                EavesWarning,
                stacklevel=1,
            )
