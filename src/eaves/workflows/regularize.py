"""``eaves regularize``: traced outlines into the shapes that buildings have."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from eaves.errors import LabelError
from eaves.exchange.pieces import Pieces, open_pieces
from eaves.exchange.styles import qgis_style
from eaves.exchange.vectors import check_layer, read_metadata, write_vectors
from eaves.footprints import Regularized, Shape, bundles, regularize, with_shapes
from eaves.progress import OnProgress, Progress, ignore
from eaves.scene.grid import metric_crs, project
from eaves.scene.plane import MetricPlane, regions
from eaves.workflows.paths import check_apart
from eaves.workflows.provenance import provenance

_BUNDLE = 10_000
_NEIGHBOURS = 4.0  # tolerances: outlines farther apart never meet; twice what it takes, since units are not alike


@dataclass(frozen=True)
class Regularity:
    """How outlines are made regular; see :func:`eaves.footprints.regularize`.

    Attributes:
        method: ``right-angles``, ``right-angles-and-diagonals``, ``any-angle``, ``circle`` or ``auto``.
        tolerance_m: No outline moves farther, in metres.
        diagonal_penalty: How many times more an edge of another direction than along or across costs.
        densification_m: Edges also meet between bends, at vertices so far apart; none for bends alone.
        precision_m: Distances between parallel walls are multiples of it; 0 leaves them.
        min_radius_m: Least radius of a circle.
        max_radius_m: Greatest radius of a circle; none for any.
    """

    method: Shape = "right-angles"
    tolerance_m: float = 1.0
    diagonal_penalty: float = 1.5
    densification_m: float | None = None
    precision_m: float = 0.0
    min_radius_m: float = 0.0
    max_radius_m: float | None = None

    def settings(self) -> dict[str, Any]:
        """For the provenance."""
        return asdict(self)


class RegularFootprints(NamedTuple):
    """What was made regular.

    Attributes:
        path: The vector file.
        number: Footprints in it.
        kept: How many could not be made regular within the tolerance, and were kept nearly as they were.
        shapes: Methods and how many footprints have each.
    """

    path: Path
    number: int
    kept: int
    shapes: dict[str, int]


def regularize_table(
    table: gpd.GeoDataFrame, how: Regularity, *, unit_m: float | None = None, workers: int = 1
) -> gpd.GeoDataFrame:
    """Make the footprints of a table regular.

    What a column says of the shape follows the new one; added are
    ``status`` (0 regular; 1 not possible within the tolerance, kept nearly as it was), ``status_text``, ``method`` (the
    method that gave it, empty with status 1), ``deviation_m`` (the greatest distance between the outlines, both ways)
    and ``iou_with_traced``.

    Args:
        table: Polygons, as densely traced as they are to be had.
        how: Settings.
        unit_m: Metres of a unit for a table without a CRS; where it is not known, metres are units.
        workers: Threads.

    Raises:
        SettingsError: A setting is outside its range.
        LabelError: There is something else than polygons.
    """
    geometry = table.geometry.to_numpy()
    odd = ~np.isin(shapely.get_type_id(geometry), (3, 6))
    if odd.any():
        raise LabelError("polygons", f"{int(odd.sum())} features of another kind", "take them out of the layer")
    plane = MetricPlane(geometry, table.crs, unit_m or 1.0)
    flat = plane.there(geometry)
    made = _regular(flat, how, workers)
    back = shapely.orient_polygons(plane.back(made.polygons))
    broken = ~shapely.is_valid(back)  # corners so near each other that the map's numbers cannot tell them apart
    back[broken] = geometry[broken]
    columns: dict[str, Any] = {
        "status": np.where(broken, 1, made.status).astype(np.int16),
        "status_text": np.where(broken, "as traced: too small for the map's numbers", made.reason),
        "method": np.where(broken, "", made.method),
        "deviation_m": np.where(broken, 0.0, made.deviation.round(3)),
        "iou_with_traced": np.where(broken, 1.0, made.iou.round(4)),
    }
    if not len(table):
        columns["status_text"], columns["method"] = (pd.Series([], dtype="str") for _ in range(2))  # pyright: ignore[reportArgumentType]
    rest = table.drop(columns=table.geometry.name).assign(**columns)
    return with_shapes(gpd.GeoDataFrame(rest, geometry=back, crs=table.crs), unit_m)


def check_method(how: Regularity) -> None:
    """Refuse settings outside their range, before long work.

    Raises:
        SettingsError: One is.
    """
    _regular(np.empty(0, object), how, 1)


def _regular(polygons: np.ndarray, how: Regularity, workers: int) -> Regularized:
    return regularize(
        polygons,
        how.method,
        how.tolerance_m,
        diagonal_penalty=how.diagonal_penalty,
        densification=math.inf if how.densification_m is None else how.densification_m,
        precision=how.precision_m,
        min_radius=how.min_radius_m,
        max_radius=math.inf if how.max_radius_m is None else how.max_radius_m,
        workers=workers,
    )


def regularize_footprints(
    layer: str | Path,
    out: str | Path,
    *,
    method: Shape = "right-angles",
    tolerance_m: float = 1.0,
    diagonal_penalty: float = 1.5,
    densification_m: float | None = None,
    precision_m: float = 0.0,
    min_radius_m: float = 0.0,
    max_radius_m: float | None = None,
    ground_gsd_m: float | None = None,
    workers: int = 1,
    on_progress: OnProgress = ignore,
) -> RegularFootprints:
    """Make the footprints of a layer regular, within a tolerance of the outlines that they have.

    Some ten thousand at a time are in memory, whose neighbours are all among them; and the result, whose outlines have
    few vertices.

    Args:
        layer: Polygons as densely traced as they are to be had: ``eaves vectorize --simplify-px 0``.
        out: ``.gpkg``, ``.parquet``, ``.geojson`` or ``.fgb``.
        method: ``right-angles``, ``right-angles-and-diagonals`` (45 degrees), ``any-angle``, ``circle``, or ``auto``:
            for each footprint what suits it best.
        tolerance_m: No point of a new outline is farther than this from the old one, nor any of the old from the new.
        diagonal_penalty: How many times more an edge of another direction than along or across costs.
        densification_m: Edges also meet between bends, at vertices so far apart.
        precision_m: Distances between parallel walls are multiples of it.
        min_radius_m: Least radius of a circle.
        max_radius_m: Greatest radius of a circle.
        ground_gsd_m: Ground size of a pixel for a layer without a CRS.
        workers: Threads.
        on_progress: Is told after every ten thousand.

    Raises:
        SettingsError: A setting is outside its range.
        LabelError: The layer cannot be read, or holds something else than polygons.
        OutputError: ``out`` cannot be written.

    Example:
        >>> regularize_footprints("raw.gpkg", "footprints.gpkg", method="auto")  # doctest: +SKIP
    """
    out = Path(out)
    check_apart([out], [layer])
    check_layer(out)
    how = Regularity(method, tolerance_m, diagonal_penalty, densification_m, precision_m, min_radius_m, max_radius_m)
    check_method(how)
    table = _in_bundles(open_pieces(layer), how, ground_gsd_m, workers, on_progress)
    note = provenance("regularize", {"layer": layer}, how.settings())
    before = read_metadata(layer)
    note |= {"before": before} if before else {}
    write_vectors(table, out, metadata=note, style=qgis_style("footprints"))
    return RegularFootprints(out, len(table), *count_shapes(table))


def _in_bundles(
    pieces: Pieces, how: Regularity, unit_m: float | None, workers: int, on_progress: OnProgress
) -> gpd.GeoDataFrame:
    """Read a layer, and make it regular, some ten thousand footprints at a time."""
    if not len(pieces.bounds):
        return regularize_table(pieces.read(np.arange(0)), how, unit_m=unit_m)
    tables, done = [], 0
    reach = _NEIGHBOURS * how.tolerance_m / _least_unit_m(pieces, unit_m)
    for rows in bundles(pieces.bounds, reach, _BUNDLE, regions(pieces.bounds, pieces.crs)):
        tables.append(regularize_table(pieces.read(rows), how, unit_m=unit_m, workers=workers))
        done += len(rows)
        on_progress(Progress("regularize", done, len(pieces.bounds), "footprints"))
    table = pd.concat([each for each in tables if len(each)] or tables[:1]).sort_index(kind="stable")
    return gpd.GeoDataFrame(table.reset_index(drop=True), crs=tables[0].crs)


def _least_unit_m(pieces: Pieces, unit_m: float | None) -> float:
    """Metres of the shortest unit of a layer, about."""
    if pieces.crs is None:
        return unit_m or 1.0
    bounds = pieces.bounds[np.isfinite(pieces.bounds).all(axis=1)]
    if not len(bounds):
        return 1.0
    (left, bottom), (right, top) = bounds[:, :2].min(axis=0), bounds[:, 2:].max(axis=0)
    step = 100.0 if pieces.crs.is_projected else 1e-3
    found = []
    for x, y in ((x, y) for x in (left, (left + right) / 2, right) for y in (bottom, (bottom + top) / 2, top)):
        cross = shapely.linestrings([[[x - step, y], [x + step, y]], [[x, y - step], [x, y + step]]])
        found.append(shapely.length(project(cross, pieces.crs, metric_crs(pieces.crs, x, y))).min() / (2 * step))
    usable = [unit for unit in found if np.isfinite(unit) and unit > 0]
    return min(usable) if usable else 1.0


def count_shapes(table: gpd.GeoDataFrame) -> tuple[int, dict[str, int]]:
    """How many footprints of a table are not regular, and how many have each shape."""
    kept = table["status"].to_numpy() != 0
    return int(kept.sum()), dict(Counter(table["method"].to_numpy()[~kept].tolist()).most_common())
