"""Score maps and masks into polygons: trace the outline, part what touches, simplify it, put it on the map."""

from eaves.footprints.overlaps import part_overlaps
from eaves.footprints.separate import METHODS, Method, Separator, separate
from eaves.footprints.simplify import simplify
from eaves.footprints.table import FootprintTable, footprint_table
from eaves.footprints.trace import Traced, Tracer, concatenate, trace

__all__ = [
    "METHODS",
    "FootprintTable",
    "Method",
    "Separator",
    "Traced",
    "Tracer",
    "concatenate",
    "footprint_table",
    "part_overlaps",
    "separate",
    "simplify",
    "trace",
]
