"""The Lightning module of segmentation networks: any of them, any loss that is a dictionary of terms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from eaves.labels import UNKNOWN
from eaves.metrics import pixel_report
from eaves.models import Readout, SegmentationNetwork
from eaves.settings import FitSettings
from eaves.train.data import Item, inner
from eaves.train.task import Task


class SegmentationTask(Task):
    """Train a network on masks and measure it on every epoch.

    Logged each epoch: ``train_loss``, ``train_accuracy``, and of the chips that judge ``val_loss``, ``val_accuracy``,
    ``val_iou`` (mean over the classes but the first), or ``test_…`` where ``fit.choose_on`` is ``test``; all over known
    pixels only, and over all processes.

    Args:
        network: Gives logits ``(n, k, h, w)``.
        loss: ``(logits, target, class_weights) → {term: scalar}``; their sum is minimised.
        class_weights: One a class, or none.
        classes: Class names of the mask, background first.
        readout: How the network's logits become a mask.
        fit: Optimiser and schedule.
        total_steps: Length of the schedule in optimiser steps.
    """

    def __init__(
        self,
        network: SegmentationNetwork,
        loss: Callable[[Tensor, Tensor, Tensor | None], dict[str, Tensor]],
        class_weights: Tensor | None,
        classes: tuple[str, ...],
        readout: Readout,
        fit: FitSettings,
        total_steps: int,
    ) -> None:
        super().__init__(network, classes, fit, total_steps)
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.loss, self.readout = loss, readout
        self._seen = {stage: PixelSums(len(classes)) for stage in ("train", fit.choose_on)}

    def forward(self, image: Tensor) -> Tensor:
        """Return logits ``(n, k, h, w)``."""
        return self.network(image)

    def on_train_epoch_start(self) -> None:
        """Seed, and begin new sums."""
        super().on_train_epoch_start()
        self._seen["train"] = PixelSums(len(self.classes))

    def on_validation_epoch_start(self) -> None:
        """Begin new sums."""
        self._seen[self.fit.choose_on] = PixelSums(len(self.classes))

    def training_step(self, batch: Item, index: int) -> dict[str, Any]:
        """Return the loss and the mask that the network now gives."""
        loss, prediction = self._step(batch, "train")
        self.finite = self.finite and bool(torch.isfinite(loss))
        return {"loss": loss, "prediction": prediction, "note": f"accuracy {self._seen['train'].last_accuracy:.3f}"}

    def validation_step(self, batch: Item, index: int) -> None:
        """Add a batch to the epoch's sums; an empty one, of a process that has nothing to judge, adds nothing."""
        if len(batch.mask):
            self._step(batch, self.fit.choose_on)

    def on_train_epoch_end(self) -> None:
        """Log what the epoch's training chips gave."""
        self._log("train")

    def on_validation_epoch_end(self) -> None:
        """Log what the chips that judge gave."""
        self._log(self.fit.choose_on)

    def _step(self, batch: Item, stage: str) -> tuple[Tensor, Tensor]:
        image, mask, target = batch
        logits = self(image.contiguous(memory_format=torch.channels_last)).float()
        mask, target = inner(mask, logits), inner(target, logits)
        terms = self.loss(logits, target, self.class_weights)
        loss = torch.stack(list(terms.values())).sum()
        prediction = self.readout.mask(logits.detach())
        if stage != "train" or torch.isfinite(loss):  # what training rolls back does not count
            self._seen[stage].add(loss.detach(), mask, prediction)
        return loss, prediction

    def _log(self, stage: str) -> None:
        sums = self._seen[stage]
        chips, loss = self._of_all(torch.tensor([sums.chips, sums.loss], dtype=torch.float64)).tolist()
        matrix = self._of_all(sums.matrix)
        if not chips:
            return
        self.log(f"{stage}_loss", loss / chips)
        accuracy, iou = pixel_scores(matrix, self.classes)
        self.log(f"{stage}_accuracy", accuracy)
        if stage != "train":
            self.log(f"{stage}_iou", iou)


def pixel_scores(matrix: Tensor, classes: tuple[str, ...]) -> tuple[float, float]:
    """Return accuracy, and the mean IoU of the classes but the first; 0 where nothing defines them."""
    report = pixel_report(matrix.numpy(), classes)
    ious = [report.per_class[name].iou for name in classes[1:]]
    known = [iou for iou in ious if iou is not None]
    return report.accuracy or 0.0, sum(known) / len(known) if known else 0.0


class PixelSums:
    """Loss and confusion over the batches of an epoch."""

    def __init__(self, classes: int) -> None:
        self.classes, self.chips, self.loss, self.last_accuracy = classes, 0, 0.0, 0.0
        self.matrix = torch.zeros(classes, classes, dtype=torch.int64)

    def add(self, loss: Tensor, target: Tensor, prediction: Tensor) -> None:
        """Add a batch: its loss, what is there, and what was predicted, both ``(n, h, w)``."""
        known = target != UNKNOWN
        pairs = target[known].long() * self.classes + prediction[known]
        matrix = torch.bincount(pairs, minlength=self.classes**2).reshape(self.classes, self.classes).cpu()
        self.matrix += matrix
        self.last_accuracy = float(matrix.diagonal().sum()) / max(1, int(matrix.sum()))
        self.loss += float(loss) * len(target)
        self.chips += len(target)
