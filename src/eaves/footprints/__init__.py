"""Score maps into polygons: trace, part what touches, make regular, put on the map; and compare two years of them."""

from eaves.footprints.attributes import shape_columns, with_shapes
from eaves.footprints.bundles import bundles
from eaves.footprints.change import CHANGES, Changes, compare_footprints
from eaves.footprints.overlaps import part_overlaps
from eaves.footprints.regularize import Regularized, regularize
from eaves.footprints.separate import METHODS, Method, Separator, separate
from eaves.footprints.shaping import REGULARIZERS, Shape
from eaves.footprints.shift import Shift, estimate_shift
from eaves.footprints.simplify import simplify
from eaves.footprints.table import FootprintTable, footprint_table
from eaves.footprints.trace import Traced, Tracer, concatenate, trace

__all__ = [
    "CHANGES",
    "METHODS",
    "REGULARIZERS",
    "Changes",
    "FootprintTable",
    "Method",
    "Regularized",
    "Separator",
    "Shape",
    "Shift",
    "Traced",
    "Tracer",
    "bundles",
    "compare_footprints",
    "concatenate",
    "estimate_shift",
    "footprint_table",
    "part_overlaps",
    "regularize",
    "separate",
    "shape_columns",
    "simplify",
    "trace",
    "with_shapes",
]
