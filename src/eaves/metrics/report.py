"""The shape of ``metrics.json``."""

from __future__ import annotations

from typing import Any

from eaves.metrics.coco import CocoReport
from eaves.metrics.objects import ObjectReport
from eaves.metrics.outlines import OutlineReport
from eaves.metrics.pixels import PixelReport
from eaves.settings import Settings


class Provenance(Settings):
    """Where numbers come from.

    Attributes:
        command: The command line, or the call.
        version: Of Eaves.
        settings: What was set: thresholds, least areas, AOI rule.
        inputs: File → its fingerprint.
    """

    command: str
    version: str
    settings: dict[str, Any]
    inputs: dict[str, str]


class MetricsReport(Settings):
    """Everything that an evaluation found; ``model_dump_json`` gives ``metrics.json``.

    Attributes:
        pixels: None where no raster was compared.
        objects: None where no polygons were compared.
        outlines: So for these.
        coco: None where they were not asked for.
        provenance: Where the numbers come from.

    Example:
        >>> source = Provenance(command="eaves evaluate a.gpkg b.gpkg", version="0.1", settings={"iou": 0.5}, inputs={})
        >>> MetricsReport(provenance=source).pixels is None
        True
    """

    pixels: PixelReport | None = None
    objects: ObjectReport | None = None
    outlines: OutlineReport | None = None
    coco: CocoReport | None = None
    provenance: Provenance
