"""Score maps into polygons: trace the outline, part what touches, simplify it, put it on the map."""

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
    "separate",
    "simplify",
    "trace",
]
