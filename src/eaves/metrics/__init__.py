"""How good a result is: pure functions of arrays and polygons. ``docs/metrics.md`` explains each number."""

from eaves.metrics.boundaries import BoundaryTally, boundary_counts, boundary_iou
from eaves.metrics.objects import Matches, ObjectReport, match, object_report
from eaves.metrics.pixels import (
    METRICS,
    ClassScores,
    PixelReport,
    accuracy,
    confusion,
    f1,
    iou,
    kappa,
    miou,
    pixel_report,
    precision,
    recall,
)
from eaves.metrics.polygons import inside_aoi
from eaves.metrics.ranking import AP_THRESHOLDS, average_precision
from eaves.metrics.relaxed import PrecisionRecall, break_even, precision_recall_curve, relaxed_precision_recall
from eaves.metrics.report import MetricsReport, Provenance

__all__ = [
    "AP_THRESHOLDS",
    "METRICS",
    "BoundaryTally",
    "ClassScores",
    "Matches",
    "MetricsReport",
    "ObjectReport",
    "PixelReport",
    "PrecisionRecall",
    "Provenance",
    "accuracy",
    "average_precision",
    "boundary_counts",
    "boundary_iou",
    "break_even",
    "confusion",
    "f1",
    "inside_aoi",
    "iou",
    "kappa",
    "match",
    "miou",
    "object_report",
    "pixel_report",
    "precision",
    "precision_recall_curve",
    "recall",
    "relaxed_precision_recall",
]
