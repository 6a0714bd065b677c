"""``eaves change``: what was built, pulled down and altered between two years."""

from __future__ import annotations

import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from eaves.errors import EavesWarning, SettingsError
from eaves.exchange.atomic import check_writable
from eaves.exchange.database import is_database
from eaves.exchange.styles import qgis_style
from eaves.exchange.vectors import check_layer, write_vectors
from eaves.footprints import CHANGES, Changes, Shift, compare_footprints, estimate_shift
from eaves.progress import OnProgress, ignore
from eaves.workflows.change_ground import Plane
from eaves.workflows.change_summary import Side, tell_notes, tell_shift, write_summary
from eaves.workflows.change_years import (
    Year,
    common_ground,
    extract_year,
    one_plane,
    read_year,
    still_valid,
    warn_of_extent,
)
from eaves.workflows.paths import check_apart
from eaves.workflows.provenance import provenance

_RASTERS = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".jp2", ".vrt")


class ChangeReport(NamedTuple):
    """What became of the buildings.

    Attributes:
        path: The layer.
        page: The summary.
        counts: ``added``, ``removed``, ``altered``, ``unchanged`` → buildings; what is mapped as one in either year
            counts once.
        shift: How far the new layer lies off the old, in metres east and north; in pixels right and down without a CRS.
        aligned: Whether it was taken back.
        outside: Old and new buildings left out because they lie mostly outside the ground compared.
        small: Old and new buildings left out because they have no counterpart and are smaller than ``min_change_m2``.
        text: All that in one line.
    """

    path: str | Path
    page: Path
    counts: dict[str, int]
    shift: Shift
    aligned: bool
    outside: tuple[int, int]
    small: tuple[int, int]
    text: str


def change_footprints(
    old: str | Path,
    new: str | Path,
    out: str | Path,
    *,
    model: str | Path | None = None,
    aoi: str | Path | None = None,
    tolerance_m: float = 1.0,
    min_change_m2: float = 4.0,
    align: bool = True,
    max_shift_m: float = 15.0,
    summary: str | Path | None = None,
    threshold: float = 0.5,
    min_area_m2: float = 4.0,
    nodata: float | None = None,
    bands: tuple[int, ...] | None = None,
    ground_gsd_m: float | None = None,
    allow_vrt: bool = False,
    tile_px: int | None = None,
    batch: int | None = None,
    device: str = "auto",
    on_progress: OnProgress = ignore,
) -> ChangeReport:
    """Compare the buildings of two years: added, removed, altered, unchanged.

    The new layer's shift against the old is estimated from the buildings that did not change, and taken back where it
    is sure. Lengths and areas are those of a local metric system; without a CRS they are pixels.

    The layer has one row a building, in the new layer's CRS: ``change``; ``kind`` (of the altered: extended, reduced,
    rebuilt; of the unchanged: merged, split or regrouped, where the years map one building differently); ``old_id`` and
    ``new_id`` (numbers of features in their files, separated by commas); ``old_count`` and ``new_count``; ``iou``;
    ``area_old_m2``, ``area_new_m2``, ``area_change_m2``, ``gained_m2``, ``lost_m2``; ``moved_m``. Its geometry is the
    new one; of removed buildings the old one, moved by the shift.

    Args:
        old: Footprints of the earlier year, or with ``model`` a scene.
        new: The same of the later year.
        out: ``.gpkg``, ``.parquet``, ``.geojson``, ``.fgb``, or what else :func:`write_vectors` knows. Of scenes, their
            footprints are kept beside it, ``*_old.gpkg`` and ``*_new.gpkg``.
        model: Model file that finds the buildings of two scenes. Then only ground counts that both show.
        aoi: Polygons inside which both years are complete; buildings count that lie inside by half. Without it, and
            without scenes, what one layer never mapped counts as added or removed.
        tolerance_m: Outlines closer than this are no change, in metres.
        min_change_m2: Smaller changes are none, in square metres.
        align: Take the shift back.
        max_shift_m: Largest shift looked for, in metres.
        summary: HTML page to write; by default beside the layer, under its name.
        threshold: As for :func:`extract_footprints`; so for the following.
        min_area_m2: Of outlines that are found.
        nodata: Value that means "no imagery".
        bands: Bands for the model, 1-based.
        ground_gsd_m: Ground size of a pixel for scenes without a CRS.
        allow_vrt: Open virtual rasters.
        tile_px: Side of a tile's core in pixels.
        batch: Tiles at a time.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        on_progress: Is told after every batch of a scene.

    Raises:
        LabelError: A layer cannot be read, one has a CRS and the other none, or they lie at different places.
        SettingsError: Scenes without a model or a model without scenes, or a setting outside its range.
        SceneError: A scene cannot be read, or does not fit the model.
        ModelFileError: The model file is damaged.
        OutputError: A result cannot be written, or is one of the inputs, or summary and layer are one file.

    Warns:
        EavesWarning: Nothing says which ground both layers cover; or the shift is not sure.

    Example:
        >>> change_footprints("2020.gpkg", "2024.gpkg", "changes.gpkg").counts["added"]  # doctest: +SKIP
    """
    place = Path(str(out).partition("?")[0].rpartition("/")[2]) if is_database(out) else Path(out)
    page = place.with_suffix(".html") if summary is None else Path(summary)
    _check(old, new, out, model, tolerance_m, min_change_m2, max_shift_m)
    check_apart([out, page], [old, new, model, aoi])
    check_layer(out)
    check_writable(page)
    options: dict[str, Any] = {"threshold": threshold, "min_area_m2": min_area_m2, "nodata": nodata, "bands": bands}
    if model is None:
        years = [read_year(path) for path in (old, new)]
    else:
        options |= {"ground_gsd_m": ground_gsd_m, "allow_vrt": allow_vrt}
        running = {"tile_px": tile_px, "batch": batch, "device": device, "on_progress": on_progress}
        years = [
            extract_year(path, model, place.with_name(f"{place.stem}_{year}.gpkg"), options, running)
            for path, year in ((old, "old"), (new, "new"))
        ]
    plane, shapes = one_plane(*years)
    shift = estimate_shift(*shapes, max_shift=max_shift_m, tolerance=tolerance_m)
    aligned = align and shift.sure
    by = (shift.dx, shift.dy) if aligned else (0.0, 0.0)
    shapes[0] = still_valid(np.asarray(shapely.transform(shapes[0], lambda xy: xy + by), dtype=object))
    area = common_ground(years, plane, by, aoi)
    if area is None:
        warn_of_extent(*shapes, tolerance_m)
    if not aligned and align and len(shapes[0]) and len(shapes[1]):
        warnings.warn(
            f"how far the layers lie apart cannot be told ({shift.agree} of {shift.of} buildings agree): nothing moved",
            EavesWarning,
            stacklevel=2,
        )
    changes = compare_footprints(*shapes, tolerance=tolerance_m, min_change=min_change_m2, area=area)
    table = _table(changes, years, shapes, plane)
    text = _text(changes.counts, tell_shift(shift, plane) + ("" if align or not shift.sure else ", not taken back"))
    inputs = {"old": old, "new": new} | ({"aoi": aoi} if aoi else {}) | ({"model": model} if model else {})
    settings = {"tolerance_m": tolerance_m, "min_change_m2": min_change_m2, "align": align, "max_shift_m": max_shift_m}
    note = provenance("change", inputs, settings | (options if model else {}))
    note["result"] = changes.counts | {
        "shift": [round(shift.dx, 3), round(shift.dy, 3)],
        "shift_agree": [shift.agree, shift.of],
        "shift_confidence": round(shift.confidence, 2),
        "aligned": aligned,
        "outside": changes.outside,
        "small": changes.small,
    }
    write_vectors(table, out, layer="changes", metadata=note, style=qgis_style("changes"))
    sides = tuple(
        Side(Path(str(year.path)).name, each, year.scene, moved)
        for year, each, moved in zip(years, shapes, (by, (0.0, 0.0)), strict=True)
    )
    write_summary(
        page,
        table,
        (changes.old_row, changes.new_row),
        (sides[0], sides[1]),
        plane,
        area=area,
        lead=[text[0].upper() + text[1:] + "."],
        notes=tell_notes(changes, shift, aligned, align, plane, area, settings),
        origin=note["inputs"] | settings | (options if model else {}) | {"version": note["version"]},
    )
    return ChangeReport(out, page, changes.counts, shift, aligned, changes.outside, changes.small, text)


def _check(old: Any, new: Any, out: Any, model: Any, tolerance_m: float, min_change_m2: float, max_m: float) -> None:
    if not (0 < tolerance_m < np.inf and 0 <= min_change_m2 < np.inf and 0 < max_m < np.inf):
        raise SettingsError(
            "a tolerance and a largest shift above 0 m, and a least change of 0 m2 or more",
            f"{tolerance_m}, {max_m} and {min_change_m2}",
            "change them",
        )
    estimate_shift([], [], max_shift=max_m, tolerance=tolerance_m)  # refuses what it cannot look through
    rasters = [path for path in (old, new) if str(path).lower().endswith(_RASTERS)]
    if model is None and rasters:
        raise SettingsError("a model to find the buildings of scenes", f"{rasters[0]} alone", "add --model")
    if model is not None and len(rasters) < 2:
        raise SettingsError(
            "two scenes with --model",
            "a layer" if rasters else "two layers",
            "leave --model out, or run eaves extract on the scene first and compare the two layers",
        )
    if model is not None and is_database(out):
        raise SettingsError(
            "a file for the changes of scenes",
            f"a database, {out}",
            "run eaves extract on both scenes first and compare the two layers",
            because="their footprints are kept beside it",
        )


def _table(changes: Changes, years: list[Year], shapes: list[np.ndarray], plane: Plane) -> gpd.GeoDataFrame:
    """One row a building, in the new layer's CRS."""
    crs = years[1].table.crs
    members = [_members(row, len(changes)) for row in (changes.old_row, changes.new_row)]
    ids = [
        [",".join(map(str, sorted(set(year.ids[which].tolist())))) if len(which) else None for which in each]
        for year, each in zip(years, members, strict=True)
    ]
    ours = np.asarray(years[1].table.geometry.to_numpy(), dtype=object)
    geometry = np.empty(len(changes), dtype=object)
    for at, which in enumerate(members[1]):
        if len(which):
            geometry[at] = ours[which[0]] if len(which) == 1 else shapely.union_all(ours[which])
    gone = np.flatnonzero(changes.change == "removed")
    back = [shapes[0][members[0][at][0]] for at in gone]  # a removed building is one polygon
    geometry[gone] = still_valid(plane.give(back, crs)) if len(gone) else back
    length, square = ("px", "px") if plane.crs is None else ("m", "m2")
    columns = {
        "change": pd.Series(changes.change, dtype="str"),
        "kind": pd.Series([kind or None for kind in changes.kind.tolist()], dtype="str"),
        "old_id": pd.Series(ids[0], dtype="str"),
        "new_id": pd.Series(ids[1], dtype="str"),
        "old_count": [len(which) for which in members[0]],
        "new_count": [len(which) for which in members[1]],
        "iou": changes.iou.round(4),
        f"area_old_{square}": changes.area_old.round(2),
        f"area_new_{square}": changes.area_new.round(2),
        f"area_change_{square}": (changes.area_new - changes.area_old).round(2),
        f"gained_{square}": changes.gained.round(2),
        f"lost_{square}": changes.lost.round(2),
        f"moved_{length}": changes.moved.round(2),
    }
    return gpd.GeoDataFrame(columns, geometry=geometry, crs=crs)


def _members(row: np.ndarray, number: int) -> list[np.ndarray]:
    """Which buildings each row has."""
    order = np.argsort(row, kind="stable")
    ends = np.searchsorted(row[order], np.arange(number + 1))
    return [order[start:stop] for start, stop in pairwise(ends)]


def _text(counts: dict[str, int], shift: str) -> str:
    told = ", ".join(f"{counts[name]} {name}" for name in ("unchanged", *CHANGES[:3]))
    return f"{sum(counts.values())} buildings: {told}; {shift}"
