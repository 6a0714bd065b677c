"""Outlines: how well drawn the buildings are that were found, beside how many were found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely

from eaves.errors import LabelError, SettingsError
from eaves.metrics.corners import c_iou, right_angles, vertices
from eaves.metrics.objects import Matches
from eaves.metrics.polis import polis
from eaves.metrics.polygons import valid_polygons
from eaves.metrics.tangents import INSIDE, tangent_errors
from eaves.metrics.topology import holes_kept, mean_widths, overlap_area, self_touching, shortest_edges
from eaves.settings import Settings

SLIVER_M = 1.0
"""A footprint that is narrower on average (area over half the perimeter) is a sliver."""


class OutlineReport(Settings):
    """What outlines are worth; goes into ``metrics.json`` as it is.

    Distances are means over buildings, each counted once. What nothing defines is None (``null`` in JSON), and so is
    what is in metres where nobody says how long a metre is.

    Attributes:
        boundary_iou: Of the outlines drawn on a grid, see :func:`eaves.metrics.boundary_iou`.
        polis_m: See :func:`eaves.metrics.polis`; mean over matched pairs, None without any.
        vertex_ratio: Vertices of predictions over those of their references, in matched pairs; 1 is ideal.
        right_angle_share: Of all corners of predictions, see :func:`eaves.metrics.right_angles`. Compare it with the
            reference's.
        c_iou: See :func:`eaves.metrics.c_iou`; the scene is one image.
        mta_deg: See :func:`eaves.metrics.tangent_errors`; mean over predictions that have one.
        invalid: Predictions that were no valid polygons, before anybody mended them.
        iou: Of the outlines drawn on a grid; what ``c_iou`` is made of.
        matched: Pairs that ``polis_m`` and ``vertex_ratio`` are of.
        vertex_ratio_all: Vertices of all predictions over those of all references.
        reference_right_angle_share: Of all corners of references.
        mta_predictions: Predictions that ``mta_deg`` is of.
        mta_step_m: Length of the pieces that it compares.
        self_touching: Predictions whose rings touch each other.
        overlap_m2: Area that predictions share with each other.
        holes_kept: Share of the holes in matched references that their predictions have too.
        reference_holes: Number of these holes.
        slivers: Predictions narrower than 1 m on average.
        min_edge_m: Shortest edge of a prediction, median over them.
    """

    boundary_iou: float | None
    polis_m: float | None
    vertex_ratio: float | None
    right_angle_share: float | None
    c_iou: float | None
    mta_deg: float | None
    invalid: int
    iou: float | None
    matched: int
    vertex_ratio_all: float | None
    reference_right_angle_share: float | None
    mta_predictions: int
    mta_step_m: float | None
    self_touching: int
    overlap_m2: float | None
    holes_kept: float | None
    reference_holes: int
    slivers: int | None
    min_edge_m: float | None


@dataclass(frozen=True, eq=False)
class OutlineMeasures:
    """What was measured of each building; lengths are in units of the plane.

    Attributes:
        predictions: As given, valid polygons ``(n,)``.
        references: As given, ``(m,)``.
        matches: Which prediction is which reference.
        polis: Of each matched pair, float64 ``(tp,)``.
        tangent_error_deg: Of each prediction, float64 ``(predictions given,)``; NaN where there is none.
        pred_vertices: Of each prediction, int64.
        ref_vertices: Of each reference, int64.
        step: Length of the pieces that the tangent error compares.
    """

    predictions: np.ndarray
    references: np.ndarray
    matches: Matches
    polis: np.ndarray
    tangent_error_deg: np.ndarray
    pred_vertices: np.ndarray
    ref_vertices: np.ndarray
    step: float


def measure_outlines(predictions: Any, references: Any, matches: Matches, step: float) -> OutlineMeasures:
    """Measure the outlines of a scene one by one, after the buildings were matched.

    Args:
        predictions: As given to :func:`eaves.metrics.match`, ``(n,)``.
        references: The same, ``(m,)``.
        matches: What it returned.
        step: Length of the pieces that the tangent error compares, in units of the plane; the source takes 2 px.

    Raises:
        LabelError: A geometry is missing, empty, invalid or no polygon, or they are not those that were matched.
        SettingsError: ``step`` is not above 0.

    Example:
        >>> from eaves.metrics import match
        >>> found, there = [shapely.box(1, 0, 11, 10)], [shapely.box(0, 0, 10, 10)]
        >>> measure_outlines(found, there, match(found, there), 2.0).polis.tolist()
        [0.5]
    """
    pred, ref = valid_polygons(predictions, "predictions"), valid_polygons(references, "references")
    counts = len(matches.pred_counted), len(matches.ref_counted)
    if (len(pred), len(ref)) != counts:
        raise LabelError(
            f"the {counts[0]} predictions and {counts[1]} references that were matched",
            f"{len(pred)} and {len(ref)}",
            "pass what match was given",
        )
    p, r, counted = matches.pred_index, matches.ref_index, matches.pred_counted
    errors = np.full(len(pred), np.nan)
    # Of a match the common area follows from the IoU: it need not be cut again.
    area, other = shapely.area(pred[p]), shapely.area(ref[r])
    inside = np.zeros(len(pred), bool)
    inside[p] = matches.iou / (1 + matches.iou) * (area + other) > INSIDE * area * (1 + 1e-9)
    errors[counted] = tangent_errors(pred[counted], ref[matches.ref_counted], step, inside=inside[counted])
    return OutlineMeasures(
        pred, ref, matches, polis(pred[p], ref[r]), errors, vertices(pred), vertices(ref), float(step)
    )


def outline_report(
    measures: OutlineMeasures,
    *,
    iou: float | None = None,
    boundary_iou: float | None = None,
    invalid: int = 0,
    unit_m: float | None = 1.0,
) -> OutlineReport:
    """Sum up the outlines of a scene.

    Args:
        measures: From :func:`measure_outlines`.
        iou: Of the outlines drawn on a grid.
        boundary_iou: The same of their boundaries.
        invalid: Predictions that were no valid polygons where they come from; what is measured has to be valid.
        unit_m: Metres of one unit of the plane; None where nobody knows.

    Raises:
        SettingsError: ``unit_m`` is not above 0.

    Example:
        >>> from eaves.metrics import match
        >>> found, there = [shapely.box(1, 0, 11, 10)], [shapely.box(0, 0, 10, 10)]
        >>> report = outline_report(measure_outlines(found, there, match(found, there), 2.0))
        >>> report.polis_m, report.vertex_ratio, report.right_angle_share
        (0.5, 1.0, 1.0)
    """
    if unit_m is not None and not 0 < unit_m < np.inf:
        raise SettingsError("a unit longer than 0 m", f"{unit_m}", "pass its length, or none where it is not known")
    matches = measures.matches
    pred, ref = measures.predictions, measures.references
    p, r = matches.pred_index, matches.ref_index
    n, m = measures.pred_vertices, measures.ref_vertices
    drawn, known = pred[matches.pred_counted], ref[matches.ref_counted]
    all_n, all_m = int(n[matches.pred_counted].sum()), int(m[matches.ref_counted].sum())
    errors = measures.tangent_error_deg[~np.isnan(measures.tangent_error_deg)]
    kept, holes = holes_kept(pred[p], ref[r])
    slivers = None if unit_m is None else int((mean_widths(drawn) * unit_m < SLIVER_M).sum())
    edges = shortest_edges(drawn)
    return OutlineReport(
        boundary_iou=boundary_iou,
        polis_m=_metres(measures.polis.mean(), unit_m) if len(p) else None,
        vertex_ratio=_ratio(n[p].sum(), m[r].sum()),
        right_angle_share=_right_share(drawn),
        c_iou=c_iou(iou, all_n, all_m),
        mta_deg=float(errors.mean()) if len(errors) else None,
        invalid=invalid,
        iou=iou,
        matched=len(p),
        vertex_ratio_all=_ratio(all_n, all_m),
        reference_right_angle_share=_right_share(known),
        mta_predictions=len(errors),
        mta_step_m=_metres(measures.step, unit_m),
        self_touching=int(self_touching(drawn).sum()),
        overlap_m2=None if unit_m is None else overlap_area(drawn) * unit_m**2,
        holes_kept=_ratio(kept, holes),
        reference_holes=holes,
        slivers=slivers,
        min_edge_m=_metres(np.median(edges), unit_m) if len(edges) else None,
    )


def _right_share(polygons: np.ndarray) -> float | None:
    right, corners = right_angles(polygons)
    return _ratio(right.sum(), corners.sum())


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def _metres(length: float, unit_m: float | None) -> float | None:
    return None if unit_m is None else float(length * unit_m)
