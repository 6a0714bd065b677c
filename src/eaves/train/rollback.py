"""What happens when a loss is not finite: back to weights that were good, and on at half the rate."""

from __future__ import annotations

import warnings
from collections import deque
from copy import deepcopy
from typing import Any, NamedTuple, cast

import lightning as L
import torch
from torch import nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from eaves.errors import EavesWarning, TrainingError
from eaves.train.task import Task
from eaves.train.weights import RunningMean

_REMEDY = "lower fit.learning_rate, set fit.clip_norm = 1.0, and see whether the imagery holds NaN: eaves doctor"


class RollBack(L.Callback):
    """Watch loss, gradients and weights; where one is not finite, go back to good weights and halve the rate.

    Weights, running mean and the optimiser's state go back together; the batches go on. They are kept in memory when
    an epoch begins and every ``every`` steps, twice over, and the older copy counts: weights often go astray some
    steps before anything overflows. A new epoch begins with one copy, so that a resumed run goes back no further.

    Args:
        allowed: How often, in the whole run; 0 keeps no copies.
        mean: Goes back with the weights.
        every: Steps of the optimiser between two copies.

    Attributes:
        used: How often it has happened.
    """

    def __init__(self, allowed: int, mean: RunningMean | None = None, every: int = 50) -> None:
        self.allowed, self.mean, self.every = allowed, mean, every
        self.used = 0
        self._kept: deque[_Copy] = deque(maxlen=2)

    def state_dict(self) -> dict[str, Any]:
        """How often it has happened, for a resume."""
        return {"used": self.used}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over how often it has happened."""
        self.used = state_dict["used"]

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin with the weights of the resume point."""
        self._kept.clear()
        self._keep(trainer, pl_module)

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        """Let no gradient through that is not finite, nor one of a loss that is not."""
        task = cast(Task, pl_module)
        gradients = [p.grad for p in task.parameters() if p.grad is not None]
        fine = task.finite and bool(torch.isfinite(get_total_norm(gradients)))
        task.finite = True
        if not trainer.strategy.reduce_boolean_decision(fine, all=True):
            optimizer.zero_grad(set_to_none=True)  # the step that follows then changes nothing
            self._back(trainer, task, "loss or its gradient")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the weights where they would be kept or judged."""
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        due = stepped and (batch_idx + 1) // trainer.accumulate_grad_batches % self.every == 0
        if not (due or trainer.is_last_batch):
            return
        task = cast(Task, pl_module)
        fine = all(bool(torch.isfinite(value).all()) for value in task.network.state_dict().values())
        if not trainer.strategy.reduce_boolean_decision(fine, all=True):
            self._back(trainer, task, "weights")
        elif due:
            self._keep(trainer, task)

    def _modules(self, task: L.LightningModule) -> list[nn.Module]:
        """What goes back together."""
        return [task, self.mean.average] if self.mean else [task]

    def _keep(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        if self.allowed:
            states = [_copied(module.state_dict()) for module in self._modules(task)]
            self._kept.append(_Copy(trainer.global_step, states, _copied(trainer.optimizers[0].state_dict())))

    def _back(self, trainer: L.Trainer, task: Task, what: str) -> None:
        step = trainer.global_step
        if self.used >= self.allowed:
            times = f" after {self.used} roll-back{'s' * (self.used > 1)}" if self.used else ""
            raise TrainingError(f"a finite {what}", f"infinity or NaN at step {step}{times}", _REMEDY)
        good = self._kept[0]
        self._kept = deque([good], maxlen=2)
        for module, state in zip(self._modules(task), good.modules, strict=True):
            module.load_state_dict(state)
        optimizer = trainer.optimizers[0]
        rates = [group["lr"] for group in optimizer.param_groups]
        optimizer.load_state_dict(deepcopy(good.optimizer))
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate / 2
        self.used += 1
        task.damping /= 2  # for the steps to come: their rates are the schedule's times this
        if trainer.is_global_zero:
            warnings.warn(
                f"{what.capitalize()} not finite at step {step}: training goes on from the weights of step "
                f"{good.step} at {task.damping:g} of its rates (roll-back {self.used} of {self.allowed}). Do, if it "
                f"happens again: {_REMEDY}.",
                EavesWarning,
                stacklevel=1,
            )


class _Copy(NamedTuple):
    step: int
    modules: list[dict[str, Any]]
    optimizer: dict[str, Any]


def _copied(state: Any) -> Any:
    """The same with tensors copied into main memory."""
    if isinstance(state, torch.Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, dict):
        return {key: _copied(value) for key, value in state.items()}
    return [_copied(value) for value in state] if isinstance(state, list) else state
