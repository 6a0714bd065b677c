"""Footprints against reference polygons: brought to one system, matched, and told apart in a table."""

from __future__ import annotations

from typing import Any

import geopandas as gpd
import pandas as pd
import shapely

from eaves.errors import LabelError
from eaves.metrics import Matches, inside_aoi, match
from eaves.scene import metric_crs


def common_system(
    found: gpd.GeoDataFrame, wanted: gpd.GeoDataFrame, found_name: str, wanted_name: str
) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
    """Return both layers in the prediction's system.

    Args:
        found: The prediction.
        wanted: The reference.
        found_name: What to call them in messages.
        wanted_name: As ``found_name``.

    Raises:
        LabelError: One has a CRS and the other none, or they do not overlap.
    """
    if (found.crs is None) != (wanted.crs is None):
        bare = found_name if found.crs is None else wanted_name
        raise LabelError("two layers with a CRS, or two in pixels", f"no CRS in {bare}", "assign it its CRS")
    if found.crs is not None and wanted.crs != found.crs:
        wanted = wanted.to_crs(found.crs)
    extents = [layer.total_bounds for layer in (found, wanted) if len(layer)]
    if len(extents) == 2 and ((extents[0][:2] > extents[1][2:]) | (extents[1][:2] > extents[0][2:])).any():
        raise LabelError(
            "a prediction and a reference of the same place",
            f"bounds {found.total_bounds.round(1).tolist()} and {wanted.total_bounds.round(1).tolist()}",
            "check the files and their CRSs",
        )
    return found, wanted


def match_objects(
    found: gpd.GeoDataFrame, wanted: gpd.GeoDataFrame, area: gpd.GeoDataFrame | None, iou: float, min_area_m2: float
) -> tuple[Matches, gpd.GeoDataFrame]:
    """Match footprints with reference polygons, in a local metric system.

    Args:
        found: The prediction.
        wanted: The reference, in the same system.
        area: Inside which at least half of an object has to lie to count; none counts all.
        iou: From which a match counts.
        min_area_m2: Smaller objects are left out on both sides.

    Returns:
        The matches, and a table with one row a prediction (``tp`` or ``fp``) and one a missed reference (``fn``).

    Raises:
        LabelError: A geometry is missing, empty, invalid or no polygon.
    """
    crs = found.crs
    both = [layer for layer in (found, wanted) if len(layer)]
    if crs is not None and both:
        left, bottom, right, top = both[0].total_bounds
        local = metric_crs(crs, (left + right) / 2, (bottom + top) / 2)
        found, wanted = found.to_crs(local), wanted.to_crs(local)
        area = None if area is None else area.to_crs(local)
    found, wanted = _single(found), _single(wanted)
    if area is not None:
        inside = shapely.union_all(area.geometry.to_numpy())
        found, wanted = (
            gpd.GeoDataFrame(layer[inside_aoi(layer.geometry, inside)].reset_index(drop=True))
            for layer in (found, wanted)
        )
    scores = found["score"].to_numpy() if "score" in found else None
    matches = match(found.geometry.to_numpy(), wanted.geometry.to_numpy(), scores, iou=iou, min_area=min_area_m2)
    return matches, _match_table(matches, found, wanted, crs)


def _single(layer: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Its polygons one by one."""
    return gpd.GeoDataFrame(layer.explode(ignore_index=True))


def _match_table(matches: Matches, found: gpd.GeoDataFrame, wanted: gpd.GeoDataFrame, crs: Any) -> gpd.GeoDataFrame:
    """One row a prediction (``tp`` or ``fp``) and one a missed reference (``fn``)."""
    paired = dict(zip(matches.pred_index.tolist(), zip(matches.ref_index, matches.iou, strict=True), strict=True))
    hit = {int(ref) for ref, _ in paired.values()}
    rows = [
        ("tp" if index in paired else "fp", index, *paired.get(index, (-1, 0.0)), shape)
        for index, shape in enumerate(found.geometry)
    ]
    rows += [("fn", -1, index, 0.0, shape) for index, shape in enumerate(wanted.geometry) if index not in hit]
    table = pd.DataFrame(rows, columns=["status", "prediction", "reference", "iou", "geometry"])
    table = gpd.GeoDataFrame(table, geometry="geometry", crs=found.crs)
    return table if crs is None else table.to_crs(crs)
