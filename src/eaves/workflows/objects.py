"""Objects that a network has found, as footprints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from odc.geo.geobox import GeoBox

from eaves.errors import SettingsError
from eaves.footprints import Traced, footprint_table, part_overlaps, simplify, trace
from eaves.predict import Found
from eaves.workflows.jobs import Job


class ObjectBuilder:
    """Objects in, one table of footprints out.

    Args:
        grid: Of the scene that they were found in.
        classes: Names of the classes but the background; with more than one the table has a column ``class``.
        threshold: Score from which an object is kept.
        min_area_m2: Smaller outlines are left out (and counted), and smaller holes filled (and counted).
        simplify_px: How far an outline may move when vertices are dropped, in pixels.
        apart: Cut overlaps, so that no two footprints of a class share ground; see
            :func:`eaves.footprints.part_overlaps`. What is mostly covered by surer ones is left out (and counted).
        ground_gsd_m: Size of a pixel for a grid without a CRS.
        source: Goes into the column ``source``.
        date: Goes into the column ``date``.

    Attributes:
        dropped: Outlines that were too small, so far.
        filled: Holes that were too small, so far.
        covered: Outlines that surer ones cover, so far.

    Raises:
        SettingsError: ``threshold`` is no score.
    """

    def __init__(
        self,
        grid: GeoBox,
        classes: tuple[str, ...],
        *,
        threshold: float,
        min_area_m2: float = 0.0,
        simplify_px: float = 0.0,
        apart: bool = True,
        ground_gsd_m: float | None = None,
        source: str | None = None,
        date: str | None = None,
    ) -> None:
        if not 0 < threshold < 1:
            raise SettingsError("a threshold between 0 and 1", f"{threshold}", "choose a score such as 0.5")
        self.dropped = self.filled = self.covered = 0
        self._grid, self._classes, self._threshold = grid, classes, threshold
        self._min_area_m2, self._simplify_px, self._apart = min_area_m2, simplify_px, apart
        self._ground_gsd_m, self._source, self._date = ground_gsd_m, source, date
        self._outlines: list[tuple[shapely.Polygon, float, int, int]] = []  # with score, pixels and class

    @classmethod
    def of_job(cls, job: Job, **settings: Any) -> Self:
        """Make a builder for the objects of a job; settings as above."""
        return cls(
            job.scene.grid,
            job.bands,
            ground_gsd_m=job.scene.gsd_m if job.scene.crs is None else None,
            source=job.scene.name,
            **settings,
        )

    def push(self, objects: Sequence[Found]) -> None:
        """Take objects."""
        for found in objects:
            if found.score >= self._threshold:
                # Beyond the mask's window its levels are 0: the outline ends between pixels there, too.
                traced = trace(np.pad(found.levels, 1), 0.5)
                # What lies apart from the main part is an error of the mask far more often than a building.
                largest = int(traced.pixels.argmax())
                moved = shapely.transform(
                    traced.polygons[largest], lambda xy, at=(found.col - 1, found.row - 1): xy + at
                )
                self._outlines.append((moved, found.score, int(traced.pixels[largest]), found.value))

    def drain(self, job: Job) -> None:
        """Take what a job has found so far, which it then forgets."""
        self.push(job.objects or ())
        if job.objects is not None:
            job.objects.clear()

    def finish(self) -> gpd.GeoDataFrame:
        """Return all footprints."""
        tables = [self._table(value) for value in range(1, len(self._classes) + 1)]
        return gpd.GeoDataFrame(pd.concat(tables, ignore_index=True), crs=tables[0].crs)

    def _table(self, value: int) -> gpd.GeoDataFrame:
        mine = [outline for outline in self._outlines if outline[3] == value]
        polygons = np.array([outline[0] for outline in mine], object)
        scores = np.array([outline[1] for outline in mine], np.float64)
        pixels = np.array([outline[2] for outline in mine], np.int64)
        simplify_px = self._simplify_px
        if self._apart and len(polygons):
            polygons, simplify_px = simplify(polygons, simplify_px), 0.0  # walls once shared stay so
            polygons, kept = part_overlaps(polygons, scores)
            polygons, scores, pixels = polygons[kept], scores[kept], pixels[kept]
            self.covered += int((~kept).sum())
        table, dropped, filled = footprint_table(
            Traced(polygons, scores, pixels),
            self._grid,
            min_area_m2=self._min_area_m2,
            min_hole_m2=self._min_area_m2,
            simplify_px=simplify_px,
            ground_gsd_m=self._ground_gsd_m,
            source=self._source,
            date=self._date,
            class_name=self._classes[value - 1] if len(self._classes) > 1 else None,
        )
        self.dropped, self.filled = self.dropped + dropped, self.filled + filled
        return table
