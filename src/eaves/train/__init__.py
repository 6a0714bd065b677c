"""Train any network of the toolkit: one module, one loop, resumable.

Names load what they need when they are first used: processes that make chips do without the training loop.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eaves.train.curves import read_curves
    from eaves.train.data import Batches, ChipSource, Item, StoredChips, class_counts
    from eaves.train.finding import InstanceTask
    from eaves.train.fitting import Run, fit
    from eaves.train.keep import Curves
    from eaves.train.loading import ChipData, Loader
    from eaves.train.module import SegmentationTask
    from eaves.train.rate import RateCurve, find_rate
    from eaves.train.rollback import RollBack
    from eaves.train.task import Task
    from eaves.train.trainer import choose_precision
    from eaves.train.watch import CollapseAlarm, Standstill
    from eaves.train.weights import Freeze, RunningMean

_HOMES = {
    "Batches": "data",
    "ChipData": "loading",
    "ChipSource": "data",
    "CollapseAlarm": "watch",
    "Curves": "keep",
    "Freeze": "weights",
    "InstanceTask": "finding",
    "Item": "data",
    "Loader": "loading",
    "RateCurve": "rate",
    "RollBack": "rollback",
    "Run": "fitting",
    "RunningMean": "weights",
    "SegmentationTask": "module",
    "Standstill": "watch",
    "StoredChips": "data",
    "Task": "task",
    "choose_precision": "trainer",
    "class_counts": "data",
    "find_rate": "rate",
    "fit": "fitting",
    "read_curves": "curves",
}

__all__ = [
    "Batches",
    "ChipData",
    "ChipSource",
    "CollapseAlarm",
    "Curves",
    "Freeze",
    "InstanceTask",
    "Item",
    "Loader",
    "RateCurve",
    "RollBack",
    "Run",
    "RunningMean",
    "SegmentationTask",
    "Standstill",
    "StoredChips",
    "Task",
    "choose_precision",
    "class_counts",
    "find_rate",
    "fit",
    "read_curves",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"eaves.train.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'eaves.train' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
