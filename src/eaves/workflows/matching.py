"""Footprints against reference polygons: brought to one system, matched, and told apart in a table."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from eaves.errors import EavesWarning, LabelError
from eaves.exchange.vectors import read_vectors
from eaves.metrics import Matches, OutlineMeasures, inside_aoi, match
from eaves.scene import metric_crs, project

_MENDED = re.compile(r"(\d+) (?:invalid mended|without extent or beyond mending dropped)")  # notes of reading


class Matched(NamedTuple):
    """Two layers that were matched, in a local metric system (or in pixels, where there is none).

    Attributes:
        matches: Which prediction is which reference.
        found: Predictions that belong to the AOI, one polygon a row.
        wanted: References, the same.
        crs: The system that the layers came in.
    """

    matches: Matches
    found: gpd.GeoDataFrame
    wanted: gpd.GeoDataFrame
    crs: Any


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
        LabelError: One has a CRS and the other none, they do not overlap, or one does not lie in its CRS.
    """
    if (found.crs is None) != (wanted.crs is None):
        bare = found_name if found.crs is None else wanted_name
        raise LabelError("two layers with a CRS, or two in pixels", f"no CRS in {bare}", "assign it its CRS")
    wanted = moved_to(wanted, found.crs)
    extents = [layer.total_bounds for layer in (found, wanted) if len(layer)]
    if len(extents) == 2 and ((extents[0][:2] > extents[1][2:]) | (extents[1][:2] > extents[0][2:])).any():
        raise LabelError(
            "a prediction and a reference of the same place",
            f"bounds {found.total_bounds.round(1).tolist()} and {wanted.total_bounds.round(1).tolist()}",
            "check the files and their CRSs",
        )
    return found, wanted


def moved_to(layer: gpd.GeoDataFrame, crs: Any) -> gpd.GeoDataFrame:
    """Return a layer in another system; one without a CRS as it is.

    Raises:
        LabelError: It does not lie in its CRS.
    """
    if crs is None or layer.crs is None or layer.crs == crs:
        return layer
    shapes = project(layer.geometry.to_numpy(), layer.crs, crs)
    return gpd.GeoDataFrame(layer.set_geometry(shapes, crs=crs))


def read_area(aoi: str | Path, crs: Any) -> gpd.GeoDataFrame:
    """Read an area of interest, in the system of the layers.

    Args:
        aoi: Polygons.
        crs: Of the layers, or none.

    Raises:
        LabelError: It cannot be read, or one of the two has a CRS and the other none.
    """
    area = read_vectors(aoi)
    if (area.crs is None) != (crs is None):
        raise LabelError("an AOI in the system of the layers", f"{'no' if area.crs is None else 'a'} CRS", "assign it")
    return moved_to(area, crs)


def match_objects(
    found: gpd.GeoDataFrame, wanted: gpd.GeoDataFrame, area: gpd.GeoDataFrame | None, iou: float, min_area_m2: float
) -> Matched:
    """Match footprints with reference polygons, in a local metric system.

    Args:
        found: The prediction.
        wanted: The reference, in the same system.
        area: Inside which at least half of an object has to lie to count; none counts all.
        iou: From which a match counts.
        min_area_m2: Smaller objects are left out on both sides.

    Raises:
        LabelError: A geometry is missing, empty, invalid or no polygon.
    """
    crs = found.crs
    both = [layer for layer in (found, wanted) if len(layer)]
    if crs is not None and both:
        left, bottom, right, top = both[0].total_bounds
        local = metric_crs(crs, (left + right) / 2, (bottom + top) / 2)
        found, wanted = moved_to(found, local), moved_to(wanted, local)
        area = None if area is None else moved_to(area, local)
    found, wanted = _single(found), _single(wanted)
    if area is not None:
        inside = shapely.union_all(area.geometry.to_numpy())
        found, wanted = (
            gpd.GeoDataFrame(layer[inside_aoi(layer.geometry, inside)].reset_index(drop=True))
            for layer in (found, wanted)
        )
    scores = found["score"].to_numpy() if "score" in found else None
    matches = match(found.geometry.to_numpy(), wanted.geometry.to_numpy(), scores, iou=iou, min_area=min_area_m2)
    return Matched(matches, found, wanted, crs)


def _single(layer: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Its polygons one by one."""
    return gpd.GeoDataFrame(layer.explode(ignore_index=True))


def match_table(matched: Matched, outlines: OutlineMeasures, unit_m: float | None) -> gpd.GeoDataFrame:
    """Return one row a prediction (``tp`` or ``fp``) and one a missed reference (``fn``), in the layers' own system.

    Args:
        matched: From :func:`match_objects`.
        outlines: What was measured of the two layers.
        unit_m: Metres of one unit of the plane; without, ``polis_m`` is empty.
    """
    matches, found, wanted = matched.matches, matched.found, matched.wanted
    number = len(found)
    missed = np.setdiff1d(np.arange(len(wanted)), matches.ref_index)
    reference, iou, polis_m = np.full(number, -1), np.zeros(number), np.full(number, np.nan)
    reference[matches.pred_index], iou[matches.pred_index] = matches.ref_index, matches.iou
    polis_m[matches.pred_index] = outlines.polis * (np.nan if unit_m is None else unit_m)
    of_reference = np.concatenate([reference, missed])
    # pandas' own integers hold what is not there; as floats a count would read 4.0
    vertices = pd.array(outlines.pred_vertices, dtype="Int64")
    reference_vertices = pd.array(np.append(outlines.ref_vertices, 0)[of_reference], dtype="Int64")
    reference_vertices[of_reference < 0] = pd.NA
    columns = {
        "status": [*np.where(reference < 0, "fp", "tp"), *["fn"] * len(missed)],
        "prediction": [*range(number), *[-1] * len(missed)],
        "reference": of_reference,
        "iou": np.concatenate([iou, np.zeros(len(missed))]),
        "polis_m": np.concatenate([polis_m, np.full(len(missed), np.nan)]),
        "mta_deg": np.concatenate([outlines.tangent_error_deg, np.full(len(missed), np.nan)]),
        "vertices": [*vertices, *[pd.NA] * len(missed)],
        "reference_vertices": reference_vertices,
    }
    shapes = np.concatenate([found.geometry.to_numpy(), wanted.geometry.to_numpy()[missed]])
    table = pd.DataFrame(columns).astype({"vertices": "Int64"})
    table = gpd.GeoDataFrame(table, geometry=shapes, crs=found.crs)
    return table if matched.crs is None else table.to_crs(matched.crs)


def read_footprints(path: str | Path) -> tuple[gpd.GeoDataFrame, int]:
    """Read predictions, and say how many were invalid; they are mended, so that no measure can tell any more.

    Args:
        path: What :func:`eaves.exchange.vectors.read_vectors` reads.

    Raises:
        LabelError: It cannot be read.

    Warns:
        EavesWarning: Something was dropped or mended.
    """
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        table = read_vectors(path)
    invalid = 0
    for message in said:
        warnings.warn_explicit(message.message, message.category, message.filename, message.lineno)
        if issubclass(message.category, EavesWarning):
            invalid += sum(int(number) for number in _MENDED.findall(str(message.message)))
    return table, invalid
