"""COCO's average precision of masks and of their boundaries, counted by faster-coco-eval.

Sources: T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", arXiv:1405.0312, and its evaluation code;
B. Cheng et al., "Boundary IoU", CVPR 2021, arXiv:2103.16562, section 5 (boundary AP).
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import shapely
from numba import njit
from scipy import sparse

from eaves.errors import LabelError, SettingsError
from eaves.labels.fill import fill
from eaves.metrics.boundaries import check_reach
from eaves.metrics.nearest import pack
from eaves.metrics.polygons import valid_polygons
from eaves.settings import Settings

IMAGE_PX = 300
"""Side of the image whose diagonal ``dilation_ratio`` refers to: the chips that published boundary APs are of."""
_MOST_PX = 1 << 28
_Values = tuple[float | None, float | None, float | None]


class CocoReport(Settings):
    """COCO's numbers of one scene; goes into ``metrics.json`` as it is.

    Attributes:
        ap: Mean over the IoU thresholds 0.50, 0.55 … 0.95, of masks; None without references. So for the following.
        ap50: At IoU 0.50 alone.
        ap75: At IoU 0.75 alone.
        boundary_ap: The same with the lesser of mask IoU and boundary IoU; None where boundaries were not measured.
        boundary_ap50: At 0.50 alone.
        boundary_ap75: At 0.75 alone.
        boundary_px: How far a boundary reaches inside; None where boundaries were not measured.
        dilation_ratio: The same as a share of the diagonal of an image of 300 x 300 px, as papers state it.
        max_detections: Predictions that count, COCO's ``maxDets``: as many as there are, so that none is left out.
        gsd_m: Ground size of a pixel of the masks; None where it is not known.
    """

    ap: float | None
    ap50: float | None
    ap75: float | None
    boundary_ap: float | None
    boundary_ap50: float | None
    boundary_ap75: float | None
    boundary_px: int | None
    dilation_ratio: float | None
    max_detections: int
    gsd_m: float | None = None


def check_coco() -> None:
    """Fail before long work rather than after it, where faster-coco-eval is not installed.

    Raises:
        SettingsError: It is missing.
    """
    try:
        import faster_coco_eval  # noqa: F401
    except ImportError:
        raise SettingsError(
            "the package faster-coco-eval, for COCO's numbers",
            "none",
            "install it with eaves[coco], or leave them out (AP of exact polygons needs no package)",
        ) from None


def coco_report(
    predictions: Any, references: Any, scores: Any, *, boundary_px: int | None = None, gsd_m: float | None = None
) -> CocoReport:
    """Return COCO's average precision of footprints as masks, and boundary AP.

    A polygon's mask is the pixels whose centres it holds. Predictions and references that meet, and what these meet,
    are an image of their own: masks that do not meet have IoU 0, so that this is the scene as one image, without its
    matrix of all pairs. Nothing is cut at an image's border. Memory is two masks, the runs of all of them, and the
    pairs of the largest such cluster.

    Args:
        predictions: Polygons and multipolygons in pixels, ``(n,)``; where the origin lies is for the caller to say.
        references: On the same grid, ``(m,)``.
        scores: Confidence of each prediction, ``(n,)``.
        boundary_px: How far a boundary reaches inside, >= 1; None does not measure boundaries.
        gsd_m: Ground size of a pixel, for the report alone.

    Raises:
        LabelError: A geometry is missing, empty, invalid or no polygon, one is larger than 2 ** 28 px, or the scores do
            not fit.
        SettingsError: faster-coco-eval is not installed, or ``boundary_px`` is no whole number from 1.

    Example:
        >>> report = coco_report([shapely.box(0, 0, 9, 8)], [shapely.box(0, 0, 9, 9)], [1.0])  # IoU 8 / 9
        >>> round(report.ap, 2), report.ap50
        (0.8, 1.0)
    """
    check_coco()
    if boundary_px is not None:
        check_reach(boundary_px)
    pred, ref = valid_polygons(predictions, "predictions"), valid_polygons(references, "references")
    sure = np.asarray(scores, dtype=float)
    if sure.shape != (len(pred),) or np.isnan(sure).any():
        raise LabelError(
            f"a score for each of {len(pred)} predictions", f"shape {sure.shape}", "pass one, without NaN, for each"
        )
    values: list[_Values] = [(None, None, None)] * 2
    if len(ref):
        order = np.argsort(-sure, kind="stable")  # as the evaluator ranks them
        pred, sure = pred[order], sure[order]
        clusters = _clusters(pred, ref)
        values = _evaluate(*_masks(np.concatenate([pred, ref]), clusters, boundary_px), clusters, sure)
    diagonal = IMAGE_PX * 2**0.5
    return CocoReport(
        **dict(zip(("ap", "ap50", "ap75"), values[0], strict=True)),
        **dict(zip(("boundary_ap", "boundary_ap50", "boundary_ap75"), values[1], strict=True)),
        boundary_px=boundary_px,
        dilation_ratio=None if boundary_px is None else boundary_px / diagonal,
        max_detections=len(pred),
        gsd_m=gsd_m,
    )


def _clusters(pred: np.ndarray, ref: np.ndarray) -> np.ndarray:
    """Number of the cluster of each prediction, then of each reference."""
    p, r = shapely.STRtree(ref).query(pred, predicate="intersects")
    size = len(pred) + len(ref)
    graph = sparse.coo_array((np.ones(len(p), np.int8), (p, r + len(pred))), (size, size))
    return sparse.csgraph.connected_components(graph, directed=False)[1]


def _masks(
    shapes: np.ndarray, clusters: np.ndarray, boundary_px: int | None
) -> tuple[list[tuple[int, int]], list[dict[str, Any]], list[dict[str, Any]] | None]:
    """Rows and columns of each cluster's image; masks of the polygons in runs; and their boundaries."""
    outlines = pack(shapes)
    boxes = outlines.bounds()
    low, high = np.floor(boxes[:, :2]).astype(np.int64), np.ceil(boxes[:, 2:]).astype(np.int64)
    if (large := (high - low).prod(axis=1)).max(initial=0) > _MOST_PX:
        raise LabelError(
            f"polygons of at most {_MOST_PX} px",
            f"one of {large.max()} px",
            "compare at a coarser resolution (--gsd-m), or leave COCO's numbers out",
            because="each is drawn as a mask",
        )
    corner, end = np.full((2, clusters.max() + 1, 2), np.iinfo(np.int64).max)
    np.minimum.at(corner, clusters, low)
    np.minimum.at(end, clusters, -high)
    sizes = [(int(rows), int(cols)) for cols, rows in -end - corner]
    masks: list[dict[str, Any]] = []
    rims: list[dict[str, Any]] = []
    square = None if boundary_px is None else cv2.getStructuringElement(cv2.MORPH_RECT, (2 * boundary_px + 1,) * 2)
    for index, cluster in enumerate(clusters):
        (left, top), (cols, rows) = low[index], high[index] - low[index]
        mask = np.zeros((rows + 2, cols + 2), np.uint8)  # the ring is outside, for the erosion
        fill(mask, outlines, np.array([index]), np.array([1]), top - 1, left - 1)
        at = int(top - corner[cluster, 1]), int(left - corner[cluster, 0])
        masks.append(_encode(mask[1:-1, 1:-1], at, sizes[cluster]))
        if square is not None:
            rims.append(_encode((mask - cv2.erode(mask, square))[1:-1, 1:-1], at, sizes[cluster]))
    return sizes, masks, None if square is None else rims


def _encode(mask: np.ndarray, at: tuple[int, int], size: tuple[int, int]) -> dict[str, Any]:
    # As eaves.exchange.coco_masks does it, without a dozen arrays a mask: here are tens of thousands.
    return {"size": list(size), "counts": _runs(mask, *at, *size).tolist()}


@njit(cache=True, nogil=True)
def _runs(mask, top, left, rows, cols):
    """Runs of zeros and ones in turn, down the columns of an image that has the mask at a place."""
    runs, count, last, value = np.empty(2 * mask.size + 2, np.int64), 0, 0, 0
    for col in range(mask.shape[1]):
        for row in range(mask.shape[0] + 1):  # below the mask nothing is set
            now = mask[row, col] if row < mask.shape[0] else 0
            if now != value:
                place, value = (left + col) * rows + top + row, now
                if place == last and count:  # a column goes on in the next: one run, as the format has it
                    count -= 1
                    last -= runs[count]
                else:
                    runs[count] = place - last
                    count, last = count + 1, place
    runs[count] = rows * cols - last
    return runs[: count + 1] if runs[count] or not count else runs[:count]


def _evaluate(
    sizes: list[tuple[int, int]],
    masks: list[dict[str, Any]],
    rims: list[dict[str, Any]] | None,
    clusters: np.ndarray,
    scores: np.ndarray,
) -> list[_Values]:
    """AP, AP50 and AP75, of masks and of boundaries; predictions come first, by descending score."""
    from faster_coco_eval import COCO, COCOeval_faster
    from faster_coco_eval.core import mask as runs

    images = [{"id": at + 1, "height": rows, "width": cols} for at, (rows, cols) in enumerate(sizes)]
    common = [
        {
            "id": at + 1,
            "image_id": int(cluster) + 1,
            "category_id": 1,
            "segmentation": (packed := runs.frPyObjects(mask, *mask["size"])),
            "area": float(runs.area(packed)),
            "bbox": runs.toBbox(packed).tolist(),
            "iscrowd": 0,
        }
        for at, (cluster, mask) in enumerate(zip(clusters, masks, strict=True))
    ]
    found = [one | {"score": float(score)} for one, score in zip(common, scores, strict=False)]
    truth = {"images": images, "categories": [{"id": 1, "name": "building"}], "annotations": common[len(scores) :]}
    edges: dict[int, tuple[list[Any], list[Any]]] = {}
    if rims is not None:
        for at, (one, rim) in enumerate(zip(common, rims, strict=True)):
            sides = edges.setdefault(one["image_id"], ([], []))
            sides[at >= len(scores)].append(runs.frPyObjects(rim, *rim["size"]))

    class Boundaries(COCOeval_faster):
        # The library's own boundary AP takes the reach from the image's diagonal, and decodes the whole image for each
        # object; here images are of many sizes and the reach is one.
        def computeIoU(self, imgId: int, catId: int) -> Any:
            of_masks = super().computeIoU(imgId, catId)
            if not len(of_masks):
                return of_masks
            ours, theirs = edges[imgId]
            return np.minimum(of_masks, runs.iou(ours, theirs, [0] * len(theirs)))

    values: list[_Values] = []
    for kind in (COCOeval_faster, Boundaries):
        if kind is Boundaries and rims is None:
            values.append((None, None, None))
            continue
        known, given = COCO(truth), COCO(truth | {"annotations": found})
        evaluator = kind(known, given, iouType="segm", rle_iou_max_workers=1)
        evaluator.params.maxDets = [max(len(scores), 1)]
        evaluator.params.areaRng, evaluator.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluator.evaluate()
        evaluator.accumulate()
        precision = evaluator.eval["precision"][:, :, 0, 0, 0]  # thresholds x recalls
        values.append((float(precision.mean()), float(precision[0].mean()), float(precision[5].mean())))
    return values
