"""Pictures of what was learned and found."""

from eaves.show.change import ChangePage, change_map, close_up, write_change_page
from eaves.show.comparison import Scored, compare_curves, compare_figure
from eaves.show.figures import confusion_figure, curves_figure, overlay_figure
from eaves.show.reliability import reliability_figure
from eaves.show.separation import separation_figure
from eaves.show.sides import sides_figure

__all__ = [
    "ChangePage",
    "Scored",
    "change_map",
    "close_up",
    "compare_curves",
    "compare_figure",
    "confusion_figure",
    "curves_figure",
    "overlay_figure",
    "reliability_figure",
    "separation_figure",
    "sides_figure",
    "write_change_page",
]
