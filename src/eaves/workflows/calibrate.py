"""``eaves calibrate``: how sure scores are, learned from footprints whose truth is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import geopandas as gpd
import numpy as np
from pydantic import ValidationError

from eaves.errors import LabelError, OutputError
from eaves.exchange.atomic import check_writable, whole_file
from eaves.exchange.vectors import read_vectors
from eaves.metrics import Calibration, calibrate, reliability
from eaves.show import reliability_figure
from eaves.workflows.matching import common_system, match_objects, read_area
from eaves.workflows.paths import check_apart
from eaves.workflows.provenance import provenance


class Calibrated(NamedTuple):
    """What was learned.

    Attributes:
        curve: From scores to confidences.
        path: The file.
        figure: Reliability before and after.
    """

    curve: Calibration
    path: Path
    figure: Path


def calibrate_scores(
    prediction: str | Path,
    reference: str | Path,
    out: str | Path,
    *,
    aoi: str | Path | None = None,
    iou: float = 0.5,
    min_area_m2: float = 0.0,
) -> Calibrated:
    """Learn from footprints and a reference how likely a footprint of each score is right.

    A footprint is right where it matches a reference as SpaceNet counts. Take an area that the model has not learned
    from, or the curve flatters; and the way of extraction that it will be used with.

    Args:
        prediction: Footprints with a column ``score``.
        reference: Reference polygons.
        out: ``.json``; a figure of the same name, ``.png``, lies beside it.
        aoi: Polygons inside which the reference is complete.
        iou: From which a match counts.
        min_area_m2: Smaller objects are left out on both sides.

    Raises:
        LabelError: There is no column ``score`` of numbers from 0 to 1, there are fewer than 20 footprints, or all are
            right or wrong; or the layers and the AOI have no common system.
        OutputError: ``out`` cannot be written, or is the figure's name.

    Example:
        >>> calibrate_scores("found.gpkg", "reference.gpkg", "calibration.json").curve.error  # doctest: +SKIP
    """
    out = Path(out)
    figure = out.with_suffix(".png")
    if out.suffix.lower() == figure.suffix:  # one file on systems that do not tell cases apart
        raise OutputError("a file such as calibration.json", out.name, "change the suffix: the figure beside it has it")
    check_apart([out, figure], [prediction, reference, aoi])
    check_writable(out)
    found, wanted = read_vectors(prediction), read_vectors(reference)
    if "score" not in found:
        raise LabelError(f"a column 'score' in {prediction}", ", ".join(found.columns), "take footprints of Eaves")
    found, wanted = common_system(found, wanted, str(prediction), str(reference))
    area = None if aoi is None else read_area(aoi, found.crs)
    matched = match_objects(found, wanted, area, iou, min_area_m2)
    right = np.zeros(len(matched.found), bool)
    right[matched.matches.pred_index] = True
    counted = matched.matches.pred_counted
    scores, right = matched.found["score"].to_numpy(float)[counted], right[counted]
    curve = calibrate(scores, right)
    inputs = {"prediction": prediction, "reference": reference} | ({"aoi": aoi} if aoi else {})
    note = provenance("calibrate", inputs, {"iou": iou, "min_area_m2": min_area_m2})
    with whole_file(out) as partial:
        partial.write_text(json.dumps(curve.model_dump() | {"provenance": note}, indent=1), encoding="utf-8")
    reliability_figure(reliability(scores, right), reliability(curve.apply(scores), right), figure)
    return Calibrated(curve, out, figure)


def open_calibration(path: str | Path) -> Calibration:
    """Read what :func:`calibrate_scores` wrote.

    Raises:
        LabelError: It is missing, or something else.
    """
    try:
        stored = json.loads(Path(path).read_text(encoding="utf-8"))
        return Calibration.model_validate({key: value for key, value in stored.items() if key != "provenance"})
    except (OSError, ValueError, AttributeError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise LabelError("a file of eaves calibrate", f"{path}: {reason}", "make one, or check the path") from None


def with_confidence(table: gpd.GeoDataFrame, curve: Calibration) -> gpd.GeoDataFrame:
    """Return a table with a column ``confidence`` (0.001) behind ``score``."""
    confidence = curve.apply(table["score"].to_numpy(float)).round(3)
    made = table.copy()
    made.insert(list(table.columns).index("score") + 1, "confidence", confidence)
    return made
