"""What every evaluation does: count pixels and boundaries while strips go by, and write down what came out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from odc.geo.geobox import GeoBox

from eaves.errors import SettingsError
from eaves.exchange.atomic import whole_file
from eaves.exchange.scoremap import ScoreMap
from eaves.metrics import (
    BoundaryTally,
    CocoReport,
    MetricsReport,
    ObjectReport,
    OutlineReport,
    PixelReport,
    Provenance,
    confusion,
    pixel_report,
)
from eaves.show import confusion_figure

BOUNDARY_M = 2.0
"""How far a boundary reaches inside, in metres, where nobody says otherwise."""


class Evaluation(NamedTuple):
    """What an evaluation found.

    Attributes:
        report: The numbers.
        folder: ``metrics.json``, ``confusion.png``; where objects were matched ``matches.parquet``; pictures.
    """

    report: MetricsReport
    folder: Path


class PixelTally:
    """Confusion matrix and boundary counts of strips.

    Args:
        classes: Names; the first is the background.
        boundary_px: How far a boundary reaches inside, in pixels; none does not measure it.

    Attributes:
        classes: As given.
        matrix: Pixels so far, int64 ``(k, k)``; rows are reference, columns prediction.
    """

    def __init__(self, classes: Sequence[str], boundary_px: int | None) -> None:
        self.classes = tuple(classes)
        self.matrix = np.zeros((len(self.classes),) * 2, np.int64)
        self._boundary_px = boundary_px
        self._boundaries = None if boundary_px is None else BoundaryTally(len(self.classes), boundary_px)

    def push(self, reference: np.ndarray, prediction: np.ndarray) -> None:
        """Take the next strip: class indices uint8 ``(rows, width)``, UNKNOWN where nothing counts."""
        self.matrix += confusion(reference, prediction, len(self.classes))
        if self._boundaries is not None:
            self._boundaries.push(reference, prediction)

    def report(self) -> PixelReport:
        """Work out the measures, after the last strip."""
        boundaries = None if self._boundaries is None else self._boundaries.finish()
        return pixel_report(self.matrix, self.classes, boundaries, self._boundary_px)


def boundary_reach(boundary_m: float | None, gsd_m: float | None) -> int | None:
    """Say how many pixels a boundary reaches inside.

    Args:
        boundary_m: In metres; none is 2 m where the pixel's size is known.
        gsd_m: Ground size of a pixel; none where it is not known.

    Returns:
        At least 1; none where it is not known.

    Raises:
        SettingsError: ``boundary_m`` is not above 0, or given where the pixel's size is not known.

    Example:
        >>> boundary_reach(None, 0.3), boundary_reach(1.0, 5.0), boundary_reach(None, None)
        (7, 1, None)
    """
    if boundary_m is not None and not 0 < boundary_m < float("inf"):
        raise SettingsError("a boundary wider than 0 m", f"{boundary_m}", "change --boundary-m")
    if gsd_m is None:
        if boundary_m is not None:
            raise SettingsError(
                "a pixel of known size, for a boundary in metres",
                "a grid without a CRS or a stated resolution",
                "leave --boundary-m out (boundaries are then not measured), or state the resolution",
            )
        return None
    return max(1, round((BOUNDARY_M if boundary_m is None else boundary_m) / gsd_m))


def map_gsd_m(scores: ScoreMap) -> float | None:
    """Ground size of a score map's pixel: measured, else as its own notes say; none where nothing says."""
    if scores.gsd_m is not None:
        return scores.gsd_m
    settings = scores.metadata.get("settings")
    stated = settings.get("gsd_m") if isinstance(settings, dict) else None
    return float(stated) if isinstance(stated, int | float) and stated > 0 else None


def plane_of(grid: GeoBox, gsd_m: float | None) -> tuple[float, float | None]:
    """Say how large a pixel is in the plane in which objects are matched: a local metric one, or the grid's own.

    Args:
        grid: On which pixels are compared.
        gsd_m: Ground size of its pixel; none where it is not known.

    Returns:
        Side of a pixel in units of the plane, and metres of one unit; none where nobody knows.

    Example:
        >>> from affine import Affine
        >>> plane_of(GeoBox((9, 9), Affine.scale(2), None), 0.6)
        (2.0, 0.3)
    """
    if grid.crs is not None and gsd_m is not None:
        return gsd_m, 1.0
    side = math.sqrt(abs(grid.affine.determinant))
    return side, None if gsd_m is None else gsd_m / side


def write_evaluation(
    out: Path,
    tally: PixelTally,
    objects: ObjectReport | None,
    note: Mapping[str, Any],
    *,
    outlines: OutlineReport | None = None,
    coco: CocoReport | None = None,
) -> MetricsReport:
    """Write ``metrics.json`` and ``confusion.png``.

    Args:
        out: Folder.
        tally: Of all strips.
        objects: None where objects were not matched.
        note: From :func:`eaves.workflows.provenance.provenance`.
        outlines: None where outlines were not measured.
        coco: None where nobody asked for it.

    Raises:
        OutputError: The folder cannot be written.
    """
    report = MetricsReport(
        pixels=tally.report(),
        objects=objects,
        outlines=outlines,
        coco=coco,
        provenance=Provenance(
            command=note["command"],
            version=note["version"],
            settings=note["settings"],
            inputs={
                role: f"{mark['path']} {mark.get('fingerprint', '')}".strip() for role, mark in note["inputs"].items()
            },
        ),
    )
    with whole_file(out / "metrics.json") as partial:
        partial.write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    confusion_figure(tally.matrix, tally.classes, out / "confusion.png", title="Pixels")
    return report
