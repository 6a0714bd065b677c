"""The one Lightning module: any network, any loss that is a dictionary of terms."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from torch import Tensor

from eaves.errors import TrainingError
from eaves.labels import UNKNOWN
from eaves.metrics import pixel_report
from eaves.models import SegmentationNetwork
from eaves.settings import FitSettings


class SegmentationTask(L.LightningModule):
    """Train a network on masks and measure it on every epoch.

    Logged each epoch: ``train_loss``, ``train_accuracy``, ``val_loss``, ``val_accuracy``, ``val_iou`` (mean over
    the classes but the first), all over known pixels only.

    Args:
        network: Gives logits ``(n, k, h, w)``.
        loss: ``(logits, target, class_weights) → {term: scalar}``; their sum is minimised.
        class_weights: One a class, or none.
        classes: Class names, background first.
        fit: Optimiser and schedule.
        total_steps: Length of the schedule in optimiser steps.
    """

    def __init__(
        self,
        network: SegmentationNetwork,
        loss: Callable[[Tensor, Tensor, Tensor | None], dict[str, Tensor]],
        class_weights: Tensor | None,
        classes: tuple[str, ...],
        fit: FitSettings,
        total_steps: int,
    ) -> None:
        super().__init__()
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.network, self.loss, self.classes, self.fit, self.total_steps = network, loss, classes, fit, total_steps
        self._seen = {stage: _Sums(len(classes)) for stage in ("train", "val")}

    def forward(self, image: Tensor) -> Tensor:
        """Return logits ``(n, k, h, w)``."""
        return self.network(image)

    def on_train_epoch_start(self) -> None:
        """Seed by epoch, so that dropout after a resume is what it would have been."""
        torch.manual_seed(self.fit.seed * 100_003 + self.current_epoch)
        self._seen["train"] = _Sums(len(self.classes))

    def on_validation_epoch_start(self) -> None:
        """Begin new sums."""
        self._seen["val"] = _Sums(len(self.classes))

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> dict[str, Any]:
        """Return the loss and the mask that the network now gives."""
        loss, prediction = self._step(batch, "train")
        if not torch.isfinite(loss):
            raise TrainingError(
                "a finite loss",
                f"{float(loss.detach())} at step {self.global_step}",
                "lower fit.learning_rate, or set fit.clip_norm",
            )
        return {"loss": loss, "prediction": prediction, "accuracy": self._seen["train"].last_accuracy}

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """Add a batch to the epoch's sums."""
        self._step(batch, "val")

    def on_train_epoch_end(self) -> None:
        """Log what the epoch's training chips gave."""
        self._log("train", self._seen["train"])

    def on_validation_epoch_end(self) -> None:
        """Log what the validation chips gave."""
        self._log("val", self._seen["val"])

    def configure_optimizers(self) -> Any:
        """Pretrained encoder weights can have a rate of their own."""
        fit = self.fit
        slow = {id(p) for p in self.network.encoder_parameters()} if fit.encoder_learning_rate else set()
        groups = [
            {"params": [p for p in self.network.parameters() if id(p) not in slow], "lr": fit.learning_rate},
            {"params": [p for p in self.network.parameters() if id(p) in slow], "lr": fit.encoder_learning_rate},
        ]
        groups = [group for group in groups if group["params"]]
        if fit.optimizer == "sgd":
            optimizer = torch.optim.SGD(groups, fit.learning_rate, fit.momentum, weight_decay=fit.weight_decay)
        else:
            kind = torch.optim.AdamW if fit.optimizer == "adamw" else torch.optim.Adam
            optimizer = kind(groups, fit.learning_rate, weight_decay=fit.weight_decay)
        if fit.schedule == "constant" and not fit.warmup_steps:
            return optimizer
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _rate(self, step: int) -> float:
        warmup = min(self.fit.warmup_steps, self.total_steps // 5)
        if step < warmup:
            return (step + 1) / (warmup + 1)
        if self.fit.schedule == "constant":
            return 1.0
        done = (step - warmup) / max(1, self.total_steps - warmup)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def _step(self, batch: tuple[Tensor, Tensor], stage: str) -> tuple[Tensor, Tensor]:
        image, target = batch
        logits = self(image.contiguous(memory_format=torch.channels_last)).float()
        terms = self.loss(logits, target, self.class_weights)
        loss = torch.stack(list(terms.values())).sum()
        prediction = (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(1)
        self._seen[stage].add(loss.detach(), target, prediction.detach())
        return loss, prediction.detach()

    def _log(self, stage: str, sums: _Sums) -> None:
        if not sums.chips:
            return
        report = pixel_report(sums.matrix.cpu().numpy(), self.classes)
        self.log(f"{stage}_loss", sums.loss / sums.chips)
        self.log(f"{stage}_accuracy", report.accuracy or 0.0)
        if stage == "val":
            ious = [report.per_class[name].iou for name in self.classes[1:]]
            known = [iou for iou in ious if iou is not None]
            self.log("val_iou", sum(known) / len(known) if known else 0.0)


class _Sums:
    """Loss and confusion over the batches of an epoch."""

    def __init__(self, classes: int) -> None:
        self.classes, self.chips, self.loss, self.last_accuracy = classes, 0, 0.0, 0.0
        self.matrix = torch.zeros(classes, classes, dtype=torch.int64)

    def add(self, loss: Tensor, target: Tensor, prediction: Tensor) -> None:
        known = target != UNKNOWN
        pairs = target[known] * self.classes + prediction[known]
        matrix = torch.bincount(pairs, minlength=self.classes**2).reshape(self.classes, self.classes).cpu()
        self.matrix += matrix
        self.last_accuracy = float(matrix.diagonal().sum()) / max(1, int(matrix.sum()))
        self.loss += float(loss) * len(target)
        self.chips += len(target)
