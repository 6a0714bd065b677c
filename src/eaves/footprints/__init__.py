"""Score maps into polygons: trace the outline, simplify it, put it on the map."""

from eaves.footprints.simplify import simplify
from eaves.footprints.table import FootprintTable, footprint_table
from eaves.footprints.trace import Traced, Tracer, concatenate, trace

__all__ = ["FootprintTable", "Traced", "Tracer", "concatenate", "footprint_table", "simplify", "trace"]
