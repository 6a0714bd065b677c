"""Which learning rate to begin with: raise it until the loss breaks, and look where the loss fell fastest."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import lightning as L
import numpy as np

from eaves.errors import SettingsError, TrainingError
from eaves.progress import OnProgress, Progress, ignore
from eaves.settings import Recipe
from eaves.train.data import ChipSource
from eaves.train.fitting import prepare
from eaves.train.trainer import make_trainer, run_trainer

SMOOTHING = 0.9  # of the loss, from step to step
BROKEN = 4.0  # times the smallest smoothed loss


class RateCurve(NamedTuple):
    """The loss while the rate was raised, a step at a time.

    Attributes:
        rates: float64 ``(n,)``, rising.
        losses: float64 ``(n,)``, of each step's batch.
        smooth: float64 ``(n,)``, their running mean.
        suggestion: Rate at which the running mean fell fastest, by the rate's logarithm.
    """

    rates: np.ndarray
    losses: np.ndarray
    smooth: np.ndarray
    suggestion: float


def find_rate(
    recipe: Recipe,
    source: ChipSource,
    *,
    lowest: float = 1e-6,
    highest: float = 1.0,
    steps: int = 100,
    on_progress: OnProgress = ignore,
) -> RateCurve:
    """Train for some steps at a rate that rises from step to step, and see where the loss falls fastest.

    Everything else is as the recipe says, but for schedule, warm-up, running mean, freezing and several processes.
    It ends early when the loss is not finite or four times its least. A pretrained encoder's own rate rises in the
    proportion that the recipe has.

    Source: Smith 2017, https://arxiv.org/abs/1506.01186, section 3.3 (there with a linear ramp and the accuracy).

    Args:
        recipe: What would be trained.
        source: The chips.
        lowest: First rate.
        highest: Last rate.
        steps: Steps of the optimiser; at least 20.
        on_progress: Is told after every step.

    Returns:
        The curve with its suggestion for ``fit.learning_rate``.

    Raises:
        SettingsError: The recipe does not fit the data, or rates and steps make no ramp.
        TrainingError: The loss did not fall at any rate.

    Example:
        >>> find_rate(recipe, source).suggestion  # doctest: +SKIP
        0.0028
    """
    if not 0 < lowest < highest or steps < 20:
        raise SettingsError(
            "rates that rise over at least 20 steps", f"{lowest} to {highest} in {steps} steps", "widen the ramp"
        )
    fit = recipe.fit.model_copy(
        update={"ema": 0.0, "freeze_epochs": 0, "processes": 1, "schedule": "constant", "warmup_steps": 0}
    )
    task, data, *_ = prepare(recipe.model_copy(update={"fit": fit}), source)
    ramp = np.geomspace(lowest, highest, steps)
    sweep = _Sweep(ramp / fit.learning_rate, on_progress)
    trainer = make_trainer(
        fit,
        task.network,
        max_epochs=-1,
        max_steps=steps,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        callbacks=[sweep],
    )
    run_trainer(trainer, task, data)
    rates, smooth = ramp[: len(sweep.losses)], np.array(sweep.smooth)
    return RateCurve(rates, np.array(sweep.losses), smooth, _steepest(rates, smooth))


def _steepest(rates: np.ndarray, smooth: np.ndarray) -> float:
    """The rate at which the loss falls fastest on its way to its least."""
    least = int(np.argmin(smooth))
    slope = np.gradient(smooth, np.log(rates)) if len(rates) > 1 else np.zeros(len(rates))
    if least < 2 or slope[:least].min() >= 0:
        raise TrainingError(
            "a loss that falls at some rate",
            f"one that was least at the start, {smooth[0]:.3g}" if len(smooth) else "none that was finite",
            "lower the first rate, or check the labels with eaves doctor",
        )
    return float(rates[int(np.argmin(slope[:least]))])


class _Sweep(L.Callback):
    """Set the rate of each step, collect its loss, and end when the loss breaks.

    Args:
        factors: Of the recipe's rates, one a step.
        on_progress: Is told after every step.

    Attributes:
        losses: Of the steps so far.
        smooth: Their running mean.
    """

    def __init__(self, factors: np.ndarray, on_progress: OnProgress) -> None:
        self.factors, self.on_progress = factors, on_progress
        self.losses: list[float] = []
        self.smooth: list[float] = []
        self._mean = 0.0
        self._parts: list[float] = []

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Raise the rate."""
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = group["initial_lr"] * self.factors[trainer.global_step]

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take the loss down; one step can be of several batches."""
        self._parts.append(float(outputs["loss"].detach()))
        if not math.isfinite(self._parts[-1]):
            trainer.should_stop = True
            return
        if trainer.global_step == len(self.losses):
            return
        self.losses.append(sum(self._parts) / len(self._parts))
        self._parts = []
        self._mean = SMOOTHING * self._mean + (1 - SMOOTHING) * self.losses[-1]
        self.smooth.append(self._mean / (1 - SMOOTHING ** len(self.losses)))
        self.on_progress(Progress("rate", len(self.losses), len(self.factors), "steps", f"loss {self.losses[-1]:.3f}"))
        if self.smooth[-1] > BROKEN * min(self.smooth):
            trainer.should_stop = True
