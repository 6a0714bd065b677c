"""``eaves vectorize``: a score map into footprints."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import geopandas as gpd
import numpy as np
import pandas as pd
from odc.geo.geobox import GeoBox

from eaves.errors import SettingsError
from eaves.exchange.scoremap import open_scores
from eaves.exchange.styles import qgis_style
from eaves.exchange.vectors import check_layer, write_vectors
from eaves.footprints import METHODS, Method, Separator, Traced, Tracer, footprint_table
from eaves.progress import OnProgress, Progress, ignore
from eaves.scene.grid import ground_gsd_m as measure_gsd_m
from eaves.workflows.paths import check_apart
from eaves.workflows.provenance import provenance

Separate = Literal["auto", "none", "border", "distance", "score"]
"""How buildings that touch are parted: by what the score map offers, not at all, by the band of this name, or by the
score and its shape alone."""

_MIN_SEED_M2 = 12.0  # with less, noise breaks pieces off; sheds that touch a house go to it


class Footprints(NamedTuple):
    """What was traced.

    Attributes:
        path: The vector file.
        number: Footprints in it.
        dropped: Outlines smaller than the least area, left out.
        filled: Holes smaller than it, filled.
        covered: Objects that surer ones cover, left out.
        other_color: Footprints of other colours than the wanted one, left out.
        kept: Footprints that could not be made regular, kept nearly as traced.
        shapes: Methods and how many regular footprints have each; none where none was to be.
    """

    path: Path
    number: int
    dropped: int
    filled: int = 0
    covered: int = 0
    other_color: int = 0
    kept: int = 0
    shapes: dict[str, int] | None = None


class FootprintBuilder:
    """Strips of scores in, one table of footprints out.

    A band ``border`` or ``distance`` behind the first one is no class: it helps to part buildings of the first class
    that touch (see :class:`eaves.footprints.Separator`), and is left out of the table.

    Args:
        grid: Of the scores.
        bands: Names of the score bands; with more than one class the table has a column ``class``.
        threshold: Score from which a pixel belongs to a building.
        min_area_m2: Smaller outlines are left out (and counted), and smaller holes filled (and counted).
        simplify_px: How far the outline may move when vertices are dropped, in pixels.
        ground_gsd_m: Size of a pixel for a grid without a CRS.
        source: Goes into the column ``source``.
        date: Goes into the column ``date``.
        separate: How buildings that touch are parted; ``auto`` takes what the bands offer.
        seed_score: Seed score that a building reaches somewhere; by default the method's.
        min_fall: How far the seed score falls between two buildings; by default the method's.
        min_seed_m2: Smaller parts of a building are not parted off; 12 by default.

    Attributes:
        method: How buildings are parted, none where they are not.
        dropped: Outlines that were too small, so far.
        filled: Holes that were too small, so far.

    Raises:
        SettingsError: The bands do not offer what ``separate`` asks for, or a setting has no meaning.
    """

    def __init__(
        self,
        grid: GeoBox,
        bands: tuple[str, ...],
        *,
        threshold: float,
        min_area_m2: float,
        simplify_px: float,
        ground_gsd_m: float | None = None,
        source: str | None = None,
        date: str | None = None,
        separate: Separate = "auto",
        seed_score: float | None = None,
        min_fall: float | None = None,
        min_seed_m2: float | None = None,
    ) -> None:
        self.method = choose_method(bands, separate)
        if self.method is None and (seed_score, min_fall, min_seed_m2) != (None, None, None):
            raise SettingsError(
                "a way to part buildings for --seed-score, --min-fall and --min-seed-m2",
                f"separate = {separate!r} and the bands {', '.join(bands)}",
                "leave them out, or predict with a model that was trained with target.kind = 'border' or 'distance'",
            )
        width = int(grid.shape[1])
        takes: list[int | list[int]] = [i for i, name in enumerate(bands) if i == 0 or name not in METHODS]
        tracers: list[Tracer | Separator] = [Tracer(width, threshold=threshold) for _ in takes]
        self._classes = [bands[i] for i in takes if isinstance(i, int)]
        if self.method is not None:
            takes[0] = [0, bands.index(self.method, 1) if self.method in METHODS else 0]
            side_m = measure_gsd_m(grid) or ground_gsd_m or 1.0
            seed_m2 = _MIN_SEED_M2 if min_seed_m2 is None else min_seed_m2
            if not 0 <= seed_m2 < math.inf:
                raise SettingsError("--min-seed-m2 of 0 or more", f"{min_seed_m2}", f"try {_MIN_SEED_M2:g}")
            tracers[0] = Separator(
                width,
                threshold=threshold,
                method=self.method,
                seed_score=seed_score,
                min_fall=min_fall,
                min_seed_px=max(1, round(seed_m2 / side_m**2)),
            )
        self._takes, self._tracers = takes, tracers
        self._tables: list[list[gpd.GeoDataFrame]] = [[] for _ in takes]
        self.dropped = self.filled = 0
        self._grid, self._min_area_m2, self._simplify_px = grid, min_area_m2, simplify_px
        self._ground_gsd_m, self._source, self._date = ground_gsd_m, source, date

    def push(self, levels: np.ndarray) -> None:
        """Take a strip ``(band, row, col)`` uint8."""
        for index, (tracer, takes) in enumerate(zip(self._tracers, self._takes, strict=True)):
            self._keep(index, tracer.push(levels[takes]))

    def finish(self) -> gpd.GeoDataFrame:
        """Close the scene and return all footprints."""
        for index, tracer in enumerate(self._tracers):
            self._keep(index, tracer.finish(), always=True)
        return _stack([table for tables in self._tables for table in tables])

    def _keep(self, index: int, traced: Traced, always: bool = False) -> None:
        if not len(traced.polygons) and not (always and not self._tables[index]):
            return
        table, dropped, filled = footprint_table(
            traced,
            self._grid,
            min_area_m2=self._min_area_m2,
            min_hole_m2=self._min_area_m2,
            simplify_px=self._simplify_px,
            ground_gsd_m=self._ground_gsd_m,
            source=self._source,
            date=self._date,
            class_name=self._classes[index] if len(self._classes) > 1 else None,
        )
        self.dropped, self.filled = self.dropped + dropped, self.filled + filled
        self._tables[index].append(table)


def choose_method(bands: Sequence[str], separate: Separate = "auto") -> Method | None:
    """Say how a score map's buildings can be parted.

    Args:
        bands: Names of its bands, the first one of a class.
        separate: What is asked for.

    Returns:
        The method, none where there is none to be had or wanted. Where ``auto`` finds both, ``distance``.

    Raises:
        SettingsError: The band that is asked for is not there.

    Example:
        >>> choose_method(("building", "border")), choose_method(("building", "border"), "none")
        ('border', None)
    """
    if separate == "none":
        return None
    if separate == "auto":
        return next((method for method in reversed(METHODS) if method in bands[1:]), None)
    if separate == "score":
        return "score"
    if separate not in METHODS:
        wanted = f"auto, none, {', '.join(METHODS)} or score"
        raise SettingsError(wanted, f"separate = {separate!r}", "choose one of them")
    if separate not in bands[1:]:
        raise SettingsError(
            f"a band {separate!r} in the score map, to part buildings with",
            f"the bands {', '.join(bands)}",
            f"use --separate auto, or predict with a model that was trained with target.kind = {separate!r}",
        )
    return separate


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
    separate: Separate = "auto",
    seed_score: float | None = None,
    min_fall: float | None = None,
    min_seed_m2: float | None = None,
    on_progress: OnProgress = ignore,
) -> Footprints:
    """Trace the outlines of a score map at a threshold.

    Args:
        scores: Score map; a foreign one holds floats in [0, 1], or integers with ``scale``.
        out: ``.gpkg``, ``.parquet``, ``.geojson`` or ``.fgb``.
        threshold: Score from which a pixel belongs to a building, between 0 and 1.
        min_area_m2: Smaller outlines are left out, and smaller holes filled. In square pixels where nothing tells a
            pixel's size.
        simplify_px: How far an outline may move when vertices are dropped, in pixels; 0 keeps every crossing.
        scale: Score of one unit of a foreign integer map, such as ``1/255``.
        ground_gsd_m: Ground size of a pixel for a map without a CRS.
        separate: How to part buildings that touch: ``border`` or ``distance`` takes the map's band of that name,
            ``auto`` the one that there is, ``score`` the score and its shape alone, ``none`` leaves them together.
        seed_score: Seed score that a building reaches somewhere: 0.5 by default for ``border``, 0.55 for ``distance``,
            0.06 for ``score``.
        min_fall: How far the seed score falls between two buildings, as a share of the lower one's height: 0.4 by
            default for ``border``, 0.3 for the others; a smaller one parts more.
        min_seed_m2: A part that is smaller where it meets its neighbour belongs to it; 12 by default. In square pixels
            where nothing tells a pixel's size.
        on_progress: Is told after every strip.

    Raises:
        SettingsError: The map has no band for ``separate``, or a setting is outside its range.
        SceneError: The score map cannot be read, or its numbers are not scores.
        OutputError: ``out`` cannot be written.

    Example:
        >>> vectorize_scores("scores.tif", "raw.gpkg", min_area_m2=10)  # doctest: +SKIP
    """
    out = Path(out)
    check_apart([out], [scores])
    check_layer(out)
    source = open_scores(scores, scale=scale)
    builder = FootprintBuilder(
        source.grid,
        source.classes,
        threshold=threshold,
        min_area_m2=min_area_m2,
        simplify_px=simplify_px,
        ground_gsd_m=ground_gsd_m,
        source=Path(scores).stem,
        separate=separate,
        seed_score=seed_score,
        min_fall=min_fall,
        min_seed_m2=min_seed_m2,
    )
    for row, levels in source.strips():
        builder.push(levels)
        on_progress(Progress("trace", row + levels.shape[1], source.shape[0], "rows"))
    table = builder.finish()
    settings = {
        "threshold": threshold,
        "min_area_m2": min_area_m2,
        "simplify_px": simplify_px,
        "scale": scale,
        "separate": builder.method or "none",
        "seed_score": seed_score,
        "min_fall": min_fall,
        "min_seed_m2": min_seed_m2,
    }
    note = provenance("vectorize", {"scores": scores}, settings)
    write_vectors(table, out, metadata=note, style=qgis_style("footprints"))
    return Footprints(out, len(table), builder.dropped, builder.filled)
