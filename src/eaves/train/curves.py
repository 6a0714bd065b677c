"""The run in numbers: what ``curves.csv`` holds, which epoch is the best, and when it is enough."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def columns(judge: str = "val", more: Sequence[str] = ()) -> list[str]:
    """Names of the columns of ``curves.csv``; those of the chips that judge tell which chips those are.

    Args:
        judge: Split that epochs are judged on.
        more: What the task logs beside loss, accuracy and IoU.

    Example:
        >>> columns("test")[3:6]
        ['test_loss', 'test_accuracy', 'test_iou']
    """
    judged = [f"{judge}_{name}" for name in ("loss", "accuracy", "iou")]
    return ["epoch", "train_loss", "train_accuracy", *judged, *more, "rate", "seconds"]


def read_curves(path: str | Path) -> list[dict[str, float]]:
    """Read a ``curves.csv``: one dictionary an epoch, without the columns that it has no value for."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        return [
            {key: int(float(value)) if key == "epoch" else float(value) for key, value in row.items() if value}
            for row in csv.DictReader(file)
        ]


def best_epoch(rows: Sequence[dict[str, Any]], name: str) -> int:
    """The epoch with the best value; the latest where none has one.

    Args:
        rows: Of the curves, at least one.
        name: Column; the smallest is the best of one that ends in ``loss``, the largest of others.

    Example:
        >>> best_epoch([{"epoch": 1, "val_iou": 0.5}, {"epoch": 2, "val_iou": 0.4}], "val_iou")
        1
    """
    judged = [row for row in rows if math.isfinite(row.get(name, math.nan))]
    if not judged:
        return int(rows[-1]["epoch"])
    sign = -1 if name.endswith("loss") else 1
    return int(max(judged, key=lambda row: sign * row[name])["epoch"])


def enough(rows: Sequence[dict[str, Any]], monitor: str, stop_after: int) -> bool:
    """Whether the last ``stop_after`` epochs brought nothing better; 0 is never enough.

    Example:
        >>> enough([{"epoch": 1, "val_iou": 0.5}, {"epoch": 2, "val_iou": 0.4}], "val_iou", 1)
        True
    """
    return bool(stop_after and rows) and rows[-1]["epoch"] - best_epoch(rows, monitor) >= stop_after
