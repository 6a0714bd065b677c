"""Callbacks that decide which weights learn, and which are kept: freezing, the running mean, shared statistics."""

from __future__ import annotations

from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from eaves.errors import SettingsError
from eaves.models import Network
from eaves.train.task import Task


class Freeze(L.Callback):
    """Leave pretrained weights as they are for some epochs, with the statistics of their batch normalisation.

    Args:
        epochs: How many.
        network: Whose pretrained weights.

    Raises:
        SettingsError: Nothing of the network is pretrained.
    """

    def __init__(self, epochs: int, network: Network) -> None:
        if not network.pretrained:
            raise SettingsError(
                f"pretrained weights to freeze for {epochs} epochs",
                "a network that starts at random",
                "set model.encoder_weights, or fit.freeze_epochs = 0",
            )
        self.epochs = epochs

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Freeze, or thaw, by the number of the epoch alone, so that a resume does the same."""
        network, learn = cast(Task, pl_module).network, trainer.current_epoch >= self.epochs
        for parameter in network.encoder_parameters():
            # Processes that train together wait for every gradient: there it is dropped below.
            parameter.requires_grad_(learn or trainer.world_size > 1)
        for name, module in network.named_modules():
            if isinstance(module, _BatchNorm) and f"{name}.weight" in network.pretrained:
                module.train(learn)

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Let no gradient of frozen weights through."""
        if trainer.current_epoch < self.epochs:
            for parameter in cast(Task, pl_module).network.encoder_parameters():
                parameter.grad = None


class RunningMean(WeightAveraging):
    """An exponential running mean of the weights, which is what validates and is saved.

    Early on the decay is smaller, ``(1 + steps) / (10 + steps)``, so that the mean forgets where the weights began.
    The statistics of batch normalisation are averaged alike, so that they fit the weights.

    Source: Polyak and Juditsky 1992; Tarvainen and Valpola 2017, https://arxiv.org/abs/1703.01780, section 2.

    Args:
        decay: Share of the mean that stays, a step of the optimiser.
    """

    def __init__(self, decay: float) -> None:
        def blend(mean: Tensor, new: Tensor, steps: Tensor | int) -> Tensor:
            if not mean.is_floating_point():
                return new
            return torch.lerp(mean, new, 1 - min(decay, (1 + int(steps)) / (10 + int(steps))))

        super().__init__(avg_fn=blend)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Keep the mean where the weights will be."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)

    @property
    def average(self) -> nn.Module:
        """The averaged task with its counter; what a roll-back has to restore."""
        assert self._average_model is not None
        return self._average_model

    @property
    def network(self) -> Network:
        """The network with the mean of the weights."""
        return cast(Any, self.average).module.network


class OneStatistic(L.Callback):
    """Before an epoch is judged, give all processes the mean of their statistics of batch normalisation.

    Args:
        mean: Whose statistics are shared, too.
    """

    def __init__(self, mean: RunningMean | None) -> None:
        self.mean = mean

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Share after the last batch of the epoch."""
        if not trainer.is_last_batch:
            return
        for network in (cast(Task, pl_module).network, *([self.mean.network] if self.mean else [])):
            for statistic in network.buffers():
                if statistic.is_floating_point():
                    statistic.copy_(trainer.strategy.reduce(statistic.clone(), reduce_op="mean"))
