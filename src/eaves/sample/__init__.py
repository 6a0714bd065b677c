"""Training samples: windows, splits, chips drawn or stored, and their variation."""

from eaves.sample.augment import Augmented, augment
from eaves.sample.demand import Counts
from eaves.sample.overview import Overview
from eaves.sample.plan import ChipPlan, Draw
from eaves.sample.record import ChipRecord
from eaves.sample.source import Chip, LabelledScene, open_dataset
from eaves.sample.split import block_split
from eaves.sample.store import ChipStore, open_chips, write_chips
from eaves.sample.windows import balanced_windows, grid_windows, random_windows

__all__ = [
    "Augmented",
    "Chip",
    "ChipPlan",
    "ChipRecord",
    "ChipStore",
    "Counts",
    "Draw",
    "LabelledScene",
    "Overview",
    "augment",
    "balanced_windows",
    "block_split",
    "grid_windows",
    "open_chips",
    "open_dataset",
    "random_windows",
    "write_chips",
]
