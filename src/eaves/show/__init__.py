"""Pictures of what was learned and found."""

from eaves.show.comparison import Scored, compare_curves, compare_figure
from eaves.show.figures import confusion_figure, curves_figure, overlay_figure
from eaves.show.separation import separation_figure
from eaves.show.sides import sides_figure

__all__ = [
    "Scored",
    "compare_curves",
    "compare_figure",
    "confusion_figure",
    "curves_figure",
    "overlay_figure",
    "separation_figure",
    "sides_figure",
]
