"""The reliability curve of scores and of confidences."""

from __future__ import annotations

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from eaves.exchange.atomic import whole_file
from eaves.metrics import Reliability


def reliability_figure(before: Reliability, after: Reliability, path: str | Path) -> None:
    """Draw what is claimed against what is right, for scores and for confidences, with the number of footprints.

    Args:
        before: Of scores.
        after: Of confidences.
        path: ``.png``.
    """
    figure = Figure(figsize=(5.2, 5.6))
    axes, counts = figure.subplots(2, 1, height_ratios=[4, 1], sharex=True)
    axes.plot([0, 1], [0, 1], color="0.7", lw=1, label="as claimed")
    for each, name, color, mark in (
        (before, "score", "#b0482a", "o"),
        (after, "confidence, on what it was learned from", "#1f6f8b", "s"),
    ):
        label = f"{name}: off by {each.error:.3f} on average"
        axes.plot(each.claimed, each.right, color=color, marker=mark, ms=5, lw=1.6, label=label)
        counts.plot(each.claimed, each.footprints, color=color, marker=mark, ms=4, lw=1)
    axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="share that is right")
    axes.legend(loc="upper left", fontsize=8, frameon=False)
    axes.grid(alpha=0.3)
    counts.set(xlabel="what is claimed", ylabel="footprints", ylim=(0, None))
    figure.tight_layout()
    with whole_file(Path(path)) as partial:
        FigureCanvasAgg(figure).print_png(partial)
