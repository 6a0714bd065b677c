"""Train any network of the toolkit: one module, one loop, resumable."""

from eaves.train.callbacks import CollapseAlarm, read_curves
from eaves.train.data import Batches, ChipData, ChipSource, StoredChips, class_counts
from eaves.train.fit import Run, choose_precision, fit
from eaves.train.module import SegmentationTask

__all__ = [
    "Batches",
    "ChipData",
    "ChipSource",
    "CollapseAlarm",
    "Run",
    "SegmentationTask",
    "StoredChips",
    "choose_precision",
    "class_counts",
    "fit",
    "read_curves",
]
