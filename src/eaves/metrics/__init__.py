"""How good a result is: pure functions of arrays and polygons. ``docs/metrics.md`` explains each number."""

from eaves.metrics.boundaries import BoundaryTally, boundary_counts, boundary_iou
from eaves.metrics.calibration import Calibration, Reliability, calibrate, reliability
from eaves.metrics.coco import CocoReport, check_coco, coco_report
from eaves.metrics.corners import c_iou, right_angles, vertices
from eaves.metrics.objects import Matches, ObjectReport, match, object_report
from eaves.metrics.outlines import OutlineMeasures, OutlineReport, measure_outlines, outline_report
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
from eaves.metrics.polis import polis
from eaves.metrics.polygons import inside_aoi
from eaves.metrics.ranking import AP_THRESHOLDS, average_precision
from eaves.metrics.relaxed import PrecisionRecall, break_even, precision_recall_curve, relaxed_precision_recall
from eaves.metrics.report import MetricsReport, Provenance
from eaves.metrics.tangents import tangent_errors
from eaves.metrics.topology import holes_kept, overlap_area, self_touching

__all__ = [
    "AP_THRESHOLDS",
    "METRICS",
    "BoundaryTally",
    "Calibration",
    "ClassScores",
    "CocoReport",
    "Matches",
    "MetricsReport",
    "ObjectReport",
    "OutlineMeasures",
    "OutlineReport",
    "PixelReport",
    "PrecisionRecall",
    "Provenance",
    "Reliability",
    "accuracy",
    "average_precision",
    "boundary_counts",
    "boundary_iou",
    "break_even",
    "c_iou",
    "calibrate",
    "check_coco",
    "coco_report",
    "confusion",
    "f1",
    "holes_kept",
    "inside_aoi",
    "iou",
    "kappa",
    "match",
    "measure_outlines",
    "miou",
    "object_report",
    "outline_report",
    "overlap_area",
    "pixel_report",
    "polis",
    "precision",
    "precision_recall_curve",
    "recall",
    "relaxed_precision_recall",
    "reliability",
    "right_angles",
    "self_touching",
    "tangent_errors",
    "vertices",
]
