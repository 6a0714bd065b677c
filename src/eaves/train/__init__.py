"""Train any network of the toolkit: one module, one loop, resumable."""

from eaves.train.curves import Curves, read_curves
from eaves.train.data import Batches, ChipSource, Item, StoredChips, class_counts
from eaves.train.fit import Run, fit
from eaves.train.loading import ChipData, Loader
from eaves.train.module import SegmentationTask
from eaves.train.rate import RateCurve, find_rate
from eaves.train.rollback import RollBack
from eaves.train.trainer import choose_precision
from eaves.train.watch import CollapseAlarm, Standstill
from eaves.train.weights import Freeze, RunningMean

__all__ = [
    "Batches",
    "ChipData",
    "ChipSource",
    "CollapseAlarm",
    "Curves",
    "Freeze",
    "Item",
    "Loader",
    "RateCurve",
    "RollBack",
    "Run",
    "RunningMean",
    "SegmentationTask",
    "Standstill",
    "StoredChips",
    "choose_precision",
    "class_counts",
    "find_rate",
    "fit",
    "read_curves",
]
