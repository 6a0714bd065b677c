"""``eaves vectorize``: a score map into footprints."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import geopandas as gpd
import numpy as np
import pandas as pd
from odc.geo.geobox import GeoBox

from eaves.exchange.atomic import check_writable
from eaves.exchange.scoremap import open_scores
from eaves.exchange.vectors import write_vectors
from eaves.footprints import Traced, Tracer, footprint_table
from eaves.progress import OnProgress, Progress, ignore
from eaves.workflows.provenance import provenance


class Footprints(NamedTuple):
    """What was traced.

    Attributes:
        path: The vector file.
        number: Footprints in it.
        dropped: Outlines smaller than the least area, left out.
    """

    path: Path
    number: int
    dropped: int


class FootprintBuilder:
    """Strips of scores in, one table of footprints out.

    Args:
        grid: Of the scores.
        classes: Names of the score bands; with more than one the table has a column ``class``.
        threshold: Score from which a pixel belongs to a building.
        min_area_m2: Smaller outlines are left out (and counted).
        simplify_px: How far the outline may move when vertices are dropped, in pixels.
        ground_gsd_m: Size of a pixel for a grid without a CRS.
        source: Goes into the column ``source``.
    """

    def __init__(
        self,
        grid: GeoBox,
        classes: tuple[str, ...],
        *,
        threshold: float,
        min_area_m2: float,
        simplify_px: float,
        ground_gsd_m: float | None = None,
        source: str | None = None,
    ) -> None:
        self._tracers = [Tracer(int(grid.shape[1]), threshold=threshold) for _ in classes]
        self._tables: list[list[gpd.GeoDataFrame]] = [[] for _ in classes]
        self._classes = classes
        self.dropped = 0
        self._grid, self._min_area_m2, self._simplify_px = grid, min_area_m2, simplify_px
        self._ground_gsd_m, self._source = ground_gsd_m, source

    def push(self, levels: np.ndarray) -> None:
        """Take a strip ``(class, row, col)`` uint8."""
        for index, tracer in enumerate(self._tracers):
            self._keep(index, tracer.push(levels[index]))

    def finish(self) -> gpd.GeoDataFrame:
        """Close the scene and return all footprints."""
        for index, tracer in enumerate(self._tracers):
            self._keep(index, tracer.finish(), always=True)
        return _stack([table for tables in self._tables for table in tables])

    def _keep(self, index: int, traced: Traced, always: bool = False) -> None:
        if not len(traced.polygons) and not (always and not self._tables[index]):
            return
        table, dropped = footprint_table(
            traced,
            self._grid,
            min_area_m2=self._min_area_m2,
            simplify_px=self._simplify_px,
            ground_gsd_m=self._ground_gsd_m,
            source=self._source,
            class_name=self._classes[index] if len(self._classes) > 1 else None,
        )
        self.dropped += dropped
        self._tables[index].append(table)


def _stack(tables: Iterable[gpd.GeoDataFrame]) -> gpd.GeoDataFrame:
    tables = list(tables)
    filled = [table for table in tables if len(table)] or tables[:1]
    return gpd.GeoDataFrame(pd.concat(filled, ignore_index=True), crs=tables[0].crs)


def vectorize_scores(
    scores: str | Path,
    out: str | Path,
    *,
    threshold: float = 0.5,
    min_area_m2: float = 4.0,
    simplify_px: float = 1.0,
    scale: float | None = None,
    ground_gsd_m: float | None = None,
    on_progress: OnProgress = ignore,
) -> Footprints:
    """Trace the outlines of a score map at a threshold.

    Args:
        scores: Score map; a foreign one holds floats in [0, 1], or integers with ``scale``.
        out: ``.gpkg``, ``.parquet``, ``.geojson`` or ``.fgb``.
        threshold: Score from which a pixel belongs to a building, between 0 and 1.
        min_area_m2: Smaller outlines are left out. In square pixels where nothing tells a pixel's size.
        simplify_px: How far an outline may move when vertices are dropped, in pixels; 0 keeps every crossing.
        scale: Score of one unit of a foreign integer map, such as ``1/255``.
        ground_gsd_m: Ground size of a pixel for a map without a CRS.
        on_progress: Is told after every strip.

    Raises:
        SceneError: The score map cannot be read, or its numbers are not scores.
        OutputError: ``out`` cannot be written.

    Example:
        >>> vectorize_scores("scores.tif", "raw.gpkg", min_area_m2=10)  # doctest: +SKIP
    """
    out = Path(out)
    check_writable(out)
    source = open_scores(scores, scale=scale)
    builder = FootprintBuilder(
        source.grid,
        source.classes,
        threshold=threshold,
        min_area_m2=min_area_m2,
        simplify_px=simplify_px,
        ground_gsd_m=ground_gsd_m,
        source=Path(scores).stem,
    )
    for row, levels in source.strips():
        builder.push(levels)
        on_progress(Progress("trace", row + levels.shape[1], source.shape[0], "rows"))
    table = builder.finish()
    settings = {"threshold": threshold, "min_area_m2": min_area_m2, "simplify_px": simplify_px, "scale": scale}
    write_vectors(table, out, metadata=provenance("vectorize", {"scores": scores}, settings))
    return Footprints(out, len(table), builder.dropped)
