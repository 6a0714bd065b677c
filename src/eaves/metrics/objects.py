"""Objects: buildings found, missed and invented, as SpaceNet counts them; merged and split ones; COCO's AP.

Source: A. Van Etten, D. Lindenbaum, T. Bacastow, "SpaceNet: A Remote Sensing Dataset and Challenge Series",
arXiv:1807.01232 (object F1 at IoU 0.5). Of AP: see :mod:`eaves.metrics.ranking`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely

from eaves.errors import SettingsError
from eaves.metrics.polygons import COVERED, valid_polygons
from eaves.metrics.ranking import AP_THRESHOLDS, average_precision, pair_up, rank
from eaves.settings import Settings


@dataclass(frozen=True, eq=False)
class Matches:
    """Which prediction is which reference.

    Attributes:
        pred_index: Positions of the matched predictions in the array that was given, int64 ``(tp,)``.
        ref_index: Position of the reference of each, int64 ``(tp,)``.
        iou: Intersection over union of each pair, float64 ``(tp,)``, in [threshold, 1].
        pred_counted: Whether a prediction is at least ``min_area`` large, bool ``(predictions given,)``. What is
            counted and not matched is a false positive.
        ref_counted: The same for references, bool ``(references given,)``; else a false negative.
        threshold: Least IoU of a match.
        min_area: Least area of an object, in square units of the plane.
        merged: Predictions that cover two or more references: each has at least half of its area inside.
        swallowed: References so covered.
        split: References that hold two or more predictions: each has at least half of its area inside.
        fragments: Predictions so held.
        scores: Confidence of each prediction, float64 ``(predictions given,)``; None where none was given.
        hits: Which predictions match at each of the ``AP_THRESHOLDS``, bool ``(10, predictions given)``; None without
            scores.
    """

    pred_index: np.ndarray
    ref_index: np.ndarray
    iou: np.ndarray
    pred_counted: np.ndarray
    ref_counted: np.ndarray
    threshold: float
    min_area: float
    merged: int
    swallowed: int
    split: int
    fragments: int
    scores: np.ndarray | None
    hits: np.ndarray | None

    @property
    def tp(self) -> int:
        """Predictions that are a building."""
        return len(self.pred_index)

    @property
    def fp(self) -> int:
        """Predictions that are none."""
        return int(self.pred_counted.sum()) - self.tp

    @property
    def fn(self) -> int:
        """References that nothing matched."""
        return int(self.ref_counted.sum()) - self.tp

    @property
    def precision(self) -> float | None:
        """``TP / (TP + FP)``; None without predictions."""
        return _precision(self.tp, self.fp)

    @property
    def recall(self) -> float | None:
        """``TP / (TP + FN)``; None without references."""
        return _recall(self.tp, self.fn)

    @property
    def f1(self) -> float:
        """``2 TP / (2 TP + FP + FN)``; 1 where both sides are empty: nothing was there, and nothing was said."""
        return _f1(self.tp, self.fp, self.fn)


class ObjectReport(Settings):
    """Counts of one or more scenes, and the ratios of their sums; goes into ``metrics.json`` as it is.

    Attributes:
        f1: See ``Matches.f1``; so for the following.
        precision: None (``null`` in JSON) without predictions.
        recall: None without references.
        iou_threshold: Least IoU of a match.
        min_area: Objects below were left out on both sides; square units of the plane.
        small_predictions: Predictions left out as too small.
        small_references: References left out as too small.
        ap: Average precision, mean over the IoU thresholds 0.50, 0.55 … 0.95; see
            :func:`eaves.metrics.average_precision`. None where predictions have no scores, or without references.
        ap50: Average precision at IoU 0.50 alone.
        ap75: Average precision at IoU 0.75 alone.
    """

    f1: float
    precision: float | None
    recall: float | None
    tp: int
    fp: int
    fn: int
    merged: int
    swallowed: int
    split: int
    fragments: int
    iou_threshold: float
    min_area: float
    small_predictions: int
    small_references: int
    ap: float | None = None
    ap50: float | None = None
    ap75: float | None = None


def match(predictions: Any, references: Any, scores: Any = None, *, iou: float = 0.5, min_area: float = 0.0) -> Matches:
    """Match predicted with reference polygons.

    Predictions are visited in descending order of score (equal scores, and no scores: in the order given). Each takes
    the reference with the greatest IoU among those not yet taken; it is a match if that IoU is >= ``iou``. With scores
    the same is done at each of the ``AP_THRESHOLDS``, for :func:`object_report` to rank them.

    Args:
        predictions: Array of shapely polygons and multipolygons, ``(n,)``, in pixels or in a metric CRS; degrees give
            wrong areas.
        references: In the same plane, ``(m,)``.
        scores: Confidence of each prediction, ``(n,)``; or none.
        iou: Least IoU of a match, in (0, 1].
        min_area: Objects with area >= ``min_area`` count, on both sides alike; in square units of the plane.

    Raises:
        LabelError: A geometry is missing, empty, invalid or no polygon, or the scores do not fit.
        SettingsError: ``iou`` or ``min_area`` is out of range.

    Example:
        >>> found = match([shapely.box(0, 0, 2, 1)], [shapely.box(0, 0, 1, 1), shapely.box(5, 5, 6, 6)])
        >>> found.tp, found.fp, found.fn, found.iou.tolist()
        (1, 0, 1, [0.5])
    """
    if not 0 < iou <= 1 or not 0 <= min_area < np.inf:
        raise SettingsError("0 < iou <= 1 and min_area >= 0", f"iou {iou} and min_area {min_area}", "change them")
    all_pred, all_ref = valid_polygons(predictions, "predictions"), valid_polygons(references, "references")
    if scores is None and not len(all_pred):
        scores = ()  # nobody is left without
    place = rank(scores, len(all_pred))
    pred_counted, ref_counted = shapely.area(all_pred) >= min_area, shapely.area(all_ref) >= min_area
    pred, ref = all_pred[pred_counted], all_ref[ref_counted]
    p, r, shared = _shared_areas(pred, ref, iou)
    pred_area, ref_area = shapely.area(pred)[p], shapely.area(ref)[r]
    overlap = np.minimum(shared / (pred_area + ref_area - shared), 1.0)
    chosen = pair_up(p, r, overlap, place[pred_counted], iou)
    hits = None if scores is None else _hits(p, r, overlap, place, pred_counted)
    merged, swallowed = _several(p, r, shared >= COVERED * ref_area)
    split, fragments = _several(r, p, shared >= COVERED * pred_area)
    return Matches(
        pred_index=np.flatnonzero(pred_counted)[p[chosen]],
        ref_index=np.flatnonzero(ref_counted)[r[chosen]],
        iou=overlap[chosen],
        pred_counted=pred_counted,
        ref_counted=ref_counted,
        threshold=float(iou),
        min_area=float(min_area),
        merged=merged,
        swallowed=swallowed,
        split=split,
        fragments=fragments,
        scores=None if scores is None else np.asarray(scores, dtype=float),
        hits=hits,
    )


def object_report(*scenes: Matches) -> ObjectReport:
    """Sum the counts of scenes and take the ratios of the sums (not the mean of the scenes' ratios).

    For average precision the predictions of all scenes are ranked together.

    Raises:
        SettingsError: No scene is given, or they were matched with different thresholds or least areas.

    Example:
        >>> object_report(match([shapely.box(0, 0, 1, 1)], [shapely.box(0, 0, 1, 1)]), match([], [])).f1
        1.0
    """
    rules = {(scene.threshold, scene.min_area) for scene in scenes}
    if len(rules) != 1:
        raise SettingsError(
            "scenes matched by one rule", f"{len(rules)} rules", "match all with the same iou, min_area"
        )
    ((threshold, min_area),) = rules
    total = {
        name: sum(getattr(scene, name) for scene in scenes)
        for name in ("tp", "fp", "fn", "merged", "swallowed", "split", "fragments")
    }
    tp, fp, fn = total["tp"], total["fp"], total["fn"]
    ap, ap50, ap75 = _average_precisions(scenes)
    return ObjectReport(
        f1=_f1(tp, fp, fn),
        precision=_precision(tp, fp),
        recall=_recall(tp, fn),
        **total,
        iou_threshold=threshold,
        min_area=min_area,
        small_predictions=sum(int((~scene.pred_counted).sum()) for scene in scenes),
        small_references=sum(int((~scene.ref_counted).sum()) for scene in scenes),
        ap=ap,
        ap50=ap50,
        ap75=ap75,
    )


def _shared_areas(pred: np.ndarray, ref: np.ndarray, iou: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pairs whose common area may matter (for the IoU or for covering), and that area."""
    p, r = shapely.STRtree(ref).query(pred)
    pred_area, ref_area = shapely.area(pred)[p], shapely.area(ref)[r]
    pred_box, ref_box = shapely.bounds(pred)[p], shapely.bounds(ref)[r]  # xyxy
    sides = np.minimum(pred_box[:, 2:], ref_box[:, 2:]) - np.maximum(pred_box[:, :2], ref_box[:, :2])
    # The common part lies in both boxes and is no larger than either: most neighbours fall out without being cut.
    smaller = np.minimum(pred_area, ref_area)
    bound = np.minimum(sides.prod(axis=1), smaller) * (1 + 1e-9)
    near = (bound >= COVERED * smaller) | (bound >= iou * (pred_area + ref_area - bound))
    p, r = p[near], r[near]
    return p, r, shapely.area(shapely.intersection(pred[p], ref[r]))


def _hits(p: np.ndarray, r: np.ndarray, overlap: np.ndarray, place: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Which predictions match at each of COCO's thresholds, ``(10, predictions given)``."""
    given = np.flatnonzero(counted)
    hits = np.zeros((len(AP_THRESHOLDS), len(counted)), dtype=bool)
    for row, least in zip(hits, AP_THRESHOLDS, strict=True):
        row[given[p[pair_up(p, r, overlap, place[counted], least)]]] = True
    return hits


def _average_precisions(scenes: tuple[Matches, ...]) -> tuple[float | None, float | None, float | None]:
    """AP, AP50 and AP75 of all scenes' predictions in one ranking."""
    ranked = [(scene.scores, scene.hits) for scene in scenes if scene.scores is not None and scene.hits is not None]
    if len(ranked) < len(scenes):
        return None, None, None
    scores, hits = (np.concatenate(side, axis=-1) for side in zip(*ranked, strict=True))
    counted = np.concatenate([scene.pred_counted for scene in scenes])
    references = sum(int(scene.ref_counted.sum()) for scene in scenes)
    values = average_precision(scores[counted], hits[:, counted], references)
    if values is None:
        return None, None, None
    at = dict(zip(AP_THRESHOLDS, values.tolist(), strict=True))
    return float(values.mean()), at[0.5], at[0.75]


def _several(over: np.ndarray, under: np.ndarray, covered: np.ndarray) -> tuple[int, int]:
    """How many of ``over`` cover two or more of ``under``, and how many of ``under`` that concerns."""
    over, under = over[covered], under[covered]
    if not len(over):
        return 0, 0
    many = np.bincount(over) >= 2
    return int(many.sum()), len(np.unique(under[many[over]]))


def _precision(tp: int, fp: int) -> float | None:
    return tp / (tp + fp) if tp + fp else None


def _recall(tp: int, fn: int) -> float | None:
    return tp / (tp + fn) if tp + fn else None


def _f1(tp: int, fp: int, fn: int) -> float:
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 1.0
