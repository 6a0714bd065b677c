"""What every Lightning module of Eaves has in common: optimiser, schedule, roll-backs, sums over processes."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import torch
from torch import Tensor

from eaves.models import Network
from eaves.settings import FitSettings


class Task(L.LightningModule):
    """Train a network by a recipe's ``[fit]``.

    ``training_step`` gives a dictionary with ``loss`` and ``note``, a few words on how it goes; it sets ``finite``.

    Args:
        network: Is trained.
        classes: Class names of the mask, background first.
        fit: Optimiser and schedule.
        total_steps: Length of the schedule in optimiser steps.

    Attributes:
        damping: Factor of all rates, beside the schedule's; a roll-back halves it.
        finite: No loss since the optimiser's last step was infinite or NaN.
        columns: What is logged beside loss, accuracy and IoU; columns of ``curves.csv``.
    """

    columns: tuple[str, ...] = ()

    def __init__(self, network: Network, classes: tuple[str, ...], fit: FitSettings, total_steps: int) -> None:
        super().__init__()
        self.network: Any = network
        self.classes, self.fit, self.total_steps = classes, fit, total_steps
        self.damping, self.finite = 1.0, True

    def on_train_epoch_start(self) -> None:
        """Seed by epoch, so that what is drawn at random after a resume is what it would have been."""
        torch.manual_seed(self.fit.seed * 100_003 + self.current_epoch + 7919 * self.global_rank)

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

    def _of_all(self, values: Tensor) -> Tensor:
        """The sum over the processes that train together."""
        if self.fit.processes == 1:
            return values
        return self.trainer.strategy.reduce(values.to(self.device), reduce_op="sum").cpu()
