"""The loss while the learning rate was raised, as a figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from eaves.show.figures import TRAIN, VALIDATION, save


def rate_figure(
    rates: np.ndarray, losses: np.ndarray, smooth: np.ndarray, suggestion: float, path: str | Path, *, title: str = ""
) -> None:
    """Draw the loss over the learning rate, its running mean, and the rate that is suggested.

    Args:
        rates: float ``(n,)``, rising, above 0.
        losses: float ``(n,)``, of single steps.
        smooth: float ``(n,)``, their running mean.
        suggestion: One of the rates.
        path: PNG to write.
        title: Above the figure.

    Raises:
        OutputError: ``path`` cannot be written.
    """
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, losses, color=TRAIN, alpha=0.35, linewidth=1, label="one step")
    axes.plot(rates, smooth, color=TRAIN, linewidth=2, label="running mean")
    axes.axvline(suggestion, color=VALIDATION, linestyle="--", label=f"falls fastest: {suggestion:.2g}")
    # A loss that broke at the end would flatten all that matters.
    low, high = float(smooth.min()), float(smooth[: int(np.argmin(smooth)) + 1].max())
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
    axes.set_ylim(low - 0.2 * (high - low), high + 0.4 * (high - low))
    axes.legend(frameon=False)
    axes.grid(alpha=0.25)
    figure.suptitle(title)
    save(figure, path)
