"""Polygons, lines and class rasters → class masks on a scene's grid; how far labels lie off the image."""

from eaves.labels.align import Align, AlignReport, align_features
from eaves.labels.burn import LabelLayer, burn, overlap
from eaves.labels.classes import UNKNOWN, ClassTable, remap_colors, remap_values
from eaves.labels.offset import Offset, block_offsets, estimate_offset, summarize_offsets
from eaves.labels.targets import Target

__all__ = [
    "UNKNOWN",
    "Align",
    "AlignReport",
    "ClassTable",
    "LabelLayer",
    "Offset",
    "Target",
    "align_features",
    "block_offsets",
    "burn",
    "estimate_offset",
    "overlap",
    "remap_colors",
    "remap_values",
    "summarize_offsets",
]
