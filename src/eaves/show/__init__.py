"""Pictures of what was learned and found."""

from eaves.show.figures import confusion_figure, curves_figure, overlay_figure

__all__ = ["confusion_figure", "curves_figure", "overlay_figure"]
