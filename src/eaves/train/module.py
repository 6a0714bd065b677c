"""The one Lightning module: any network, any loss that is a dictionary of terms."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from torch import Tensor

from eaves.labels import UNKNOWN
from eaves.metrics import pixel_report
from eaves.models import Readout, SegmentationNetwork
from eaves.settings import FitSettings
from eaves.train.data import Item, inner


class SegmentationTask(L.LightningModule):
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

    Attributes:
        damping: Factor of all rates, beside the schedule's; a roll-back halves it.
        finite: No loss since the optimiser's last step was infinite or NaN.
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
        super().__init__()
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.network, self.loss, self.classes, self.readout = network, loss, classes, readout
        self.fit, self.total_steps = fit, total_steps
        self.damping, self.finite = 1.0, True
        self._seen = {stage: _Sums(len(classes)) for stage in ("train", fit.choose_on)}

    def forward(self, image: Tensor) -> Tensor:
        """Return logits ``(n, k, h, w)``."""
        return self.network(image)

    def on_train_epoch_start(self) -> None:
        """Seed by epoch, so that dropout after a resume is what it would have been."""
        torch.manual_seed(self.fit.seed * 100_003 + self.current_epoch + 7919 * self.global_rank)
        self._seen["train"] = _Sums(len(self.classes))

    def on_validation_epoch_start(self) -> None:
        """Begin new sums."""
        self._seen[self.fit.choose_on] = _Sums(len(self.classes))

    def training_step(self, batch: Item, index: int) -> dict[str, Any]:
        """Return the loss and the mask that the network now gives."""
        loss, prediction = self._step(batch, "train")
        self.finite = self.finite and bool(torch.isfinite(loss))
        return {"loss": loss, "prediction": prediction, "accuracy": self._seen["train"].last_accuracy}

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

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what roll-backs did to the rate."""
        checkpoint["damping"] = self.damping

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on at the rate that roll-backs left."""
        self.damping = checkpoint.get("damping", 1.0)
        data = getattr(self.trainer, "datamodule", None)
        if data is not None and type(data).__qualname__ in checkpoint:
            # Before the weights of another recipe do not fit, which says less.
            data.load_state_dict(checkpoint[type(data).__qualname__])

    def configure_optimizers(self) -> Any:
        """Pretrained encoder weights can have a rate of their own."""
        fit = self.fit
        slow = {id(p) for p in self.network.encoder_parameters()} if fit.encoder_learning_rate else set()
        groups = [
            {"params": [p for p in self.network.parameters() if id(p) not in slow], "lr": fit.learning_rate},
            {"params": [p for p in self.network.parameters() if id(p) in slow], "lr": fit.encoder_learning_rate},
        ]
        groups = [group for group in groups if group["params"]]
        if fit.optimizer == "adagrad":
            optimizer = torch.optim.Adagrad(groups, fit.learning_rate, weight_decay=fit.weight_decay)
        elif fit.optimizer == "sgd":
            optimizer = torch.optim.SGD(groups, fit.learning_rate, fit.momentum, weight_decay=fit.weight_decay)
        else:
            kind = torch.optim.AdamW if fit.optimizer == "adamw" else torch.optim.Adam
            optimizer = kind(groups, fit.learning_rate, weight_decay=fit.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _rate(self, step: int) -> float:
        warmup = min(self.fit.warmup_steps, self.total_steps // 5)
        if step < warmup:
            return self.damping * (step + 1) / (warmup + 1)
        if self.fit.schedule == "constant":
            return self.damping
        done = (step - warmup) / max(1, self.total_steps - warmup)
        return self.damping * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

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
        report = pixel_report(matrix.numpy(), self.classes)
        self.log(f"{stage}_loss", loss / chips)
        self.log(f"{stage}_accuracy", report.accuracy or 0.0)
        if stage != "train":
            ious = [report.per_class[name].iou for name in self.classes[1:]]
            known = [iou for iou in ious if iou is not None]
            self.log(f"{stage}_iou", sum(known) / len(known) if known else 0.0)

    def _of_all(self, values: Tensor) -> Tensor:
        """The sum over the processes that train together."""
        if self.fit.processes == 1:
            return values
        return self.trainer.strategy.reduce(values.to(self.device), reduce_op="sum").cpu()


class _Sums:
    """Loss and confusion over the batches of an epoch."""

    def __init__(self, classes: int) -> None:
        self.classes, self.chips, self.loss, self.last_accuracy = classes, 0, 0.0, 0.0
        self.matrix = torch.zeros(classes, classes, dtype=torch.int64)

    def add(self, loss: Tensor, target: Tensor, prediction: Tensor) -> None:
        known = target != UNKNOWN
        pairs = target[known].long() * self.classes + prediction[known]
        matrix = torch.bincount(pairs, minlength=self.classes**2).reshape(self.classes, self.classes).cpu()
        self.matrix += matrix
        self.last_accuracy = float(matrix.diagonal().sum()) / max(1, int(matrix.sum()))
        self.loss += float(loss) * len(target)
        self.chips += len(target)
