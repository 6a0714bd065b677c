from __future__ import annotations

import json

import numpy as np
import pytest
from pydantic import ValidationError
from shapely import box

import eaves.metrics
from eaves.metrics import (
    METRICS,
    MetricsReport,
    PixelReport,
    Provenance,
    confusion,
    match,
    object_report,
    pixel_report,
)


def test_metrics_json_round_trip():
    mask = np.array([[0, 1], [1, 1]], dtype=np.uint8)
    report = MetricsReport(
        pixels=pixel_report(confusion(mask, mask, 2), ("background", "building")),
        objects=object_report(match([box(0, 0, 1, 1)], [])),
        provenance=Provenance(command="eaves evaluate", version="1", settings={"iou": 0.5}, inputs={"a.tif": "00ff"}),
    )
    text = report.model_dump_json()
    assert MetricsReport.model_validate_json(text) == report
    data = json.loads(text)
    assert set(data) == {"pixels", "objects", "outlines", "coco", "provenance"}
    assert data["outlines"] is None  # and reports from before there were any are read
    del data["outlines"], data["coco"]
    assert MetricsReport.model_validate(data) == report
    assert data["objects"]["recall"] is None


def test_provenance_is_not_optional():
    with pytest.raises(ValidationError):
        MetricsReport.model_validate({"pixels": None, "objects": None})


def test_every_metric_is_a_field_of_the_report():
    assert set(METRICS) < set(PixelReport.model_fields)


def test_public_names_are_documented():
    for name in eaves.metrics.__all__:
        public = getattr(eaves.metrics, name)
        assert name in ("METRICS", "AP_THRESHOLDS") or public.__doc__, name
