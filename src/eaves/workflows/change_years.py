"""Two years to compare: their buildings, the plane where they are compared, and the ground that both show."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import geopandas as gpd
import numpy as np
import shapely

from eaves.errors import EavesWarning, LabelError
from eaves.exchange.mending import mend
from eaves.exchange.vectors import read_features
from eaves.scene import Scene, metric_crs
from eaves.workflows.change_ground import Plane, imaged_area
from eaves.workflows.matching import read_area

_LOG = logging.getLogger(__name__)


class Year(NamedTuple):
    """One year.

    Attributes:
        path: What it was read from: its layer, or its scene.
        table: Its buildings, single polygons.
        ids: Number of the feature that each is of, in its file, int64 ``(n,)``.
        scene: Its image, or none.
    """

    path: str | Path
    table: gpd.GeoDataFrame
    ids: np.ndarray
    scene: Scene | None = None


def read_year(path: str | Path) -> Year:
    """Read a layer of buildings; parts of a multipolygon are buildings of their own.

    Raises:
        LabelError: It cannot be read, or holds lines.
    """
    table = read_features(path)  # its index is the numbers, whatever was dropped
    if len(table) and (shapely.get_dimensions(table.geometry.to_numpy()) != 2).any():
        raise LabelError(f"polygons in {path}", "lines", "choose the layer of buildings")
    shapes, numbers = table.geometry.to_numpy(), table.index.to_numpy(np.int64)
    numbers = gpd.GeoDataFrame({"number": numbers}, geometry=shapes, crs=table.crs)
    single = gpd.GeoDataFrame(numbers.explode(ignore_index=True))
    return Year(path, single, single["number"].to_numpy())


def extract_year(
    path: str | Path, model: str | Path, out: Path, options: dict[str, Any], running: dict[str, Any]
) -> Year:
    """Find the buildings of a scene.

    Args:
        path: The scene.
        model: Model file.
        out: Where to keep the footprints.
        options: What shapes them, as for :func:`extract_footprints`.
        running: What does not.

    Raises:
        SceneError: The scene cannot be read, or does not fit the model.
        ModelFileError: The model file is damaged.
    """
    from eaves.workflows.extract import extract_footprints  # torch takes longer to load than layers to compare

    opening = {name: options[name] for name in ("nodata", "bands", "ground_gsd_m", "allow_vrt")}
    scene = Scene(path, **opening)  # rather refused now than after hours
    extract_footprints(path, model, out, **options, **running)
    return read_year(out)._replace(path=path, scene=scene if opening["bands"] else scene.with_bands(3))


def one_plane(old: Year, new: Year) -> tuple[Plane, list[np.ndarray]]:
    """Return where lengths are measured, and the buildings of both years there, object ``(n,)`` each.

    Raises:
        LabelError: One has a CRS and the other none, they lie at different places, or one does not lie in its CRS.
    """
    systems = old.table.crs, new.table.crs
    if (systems[0] is None) != (systems[1] is None):
        bare = old.path if systems[0] is None else new.path
        raise LabelError("two layers with a CRS, or two in pixels", f"no CRS in {bare}", "assign it its CRS")
    if systems[0] != systems[1]:
        _LOG.info("%s reprojected from %s to %s", old.path, _name(systems[0]), _name(systems[1]))
    filled = [year.table for year in (new, old) if len(year.table)]
    plane = Plane(systems[1])
    if filled and filled[0].crs is not None:
        left, bottom, right, top = filled[0].total_bounds
        plane = Plane(metric_crs(filled[0].crs, (left + right) / 2, (bottom + top) / 2))
    elif new.scene is not None and new.scene.crs is not None:
        middle = new.scene.grid.center_pixel.boundingbox.bbox
        plane = Plane(metric_crs(new.scene.crs, *middle[:2]))
    shapes = []
    for year in (old, new):
        shapes.append(still_valid(plane.take(year.table.geometry.to_numpy().copy(), year.table.crs)))
    if len(filled) == 2:
        boxes = [np.reshape(shapely.total_bounds(each), (2, 2)) for each in shapes]
        if (boxes[0][0] > boxes[1][1]).any() or (boxes[1][0] > boxes[0][1]).any():
            raise LabelError(
                "two layers of the same place",
                f"bounds {old.table.total_bounds.round(5).tolist()} and {new.table.total_bounds.round(5).tolist()}",
                "check the files and their CRSs",
            )
    return plane, shapes


def still_valid(shapes: np.ndarray) -> np.ndarray:
    """Return polygons that were valid before they were moved; rounding can make corners touch."""
    broken = np.flatnonzero(~shapely.is_valid(shapes))
    if len(broken):
        shapes = shapes.copy()
        shapes[broken] = mend(shapes[broken], broken).geometries
    return shapes


def _name(crs: Any) -> str:
    return ":".join(crs.to_authority() or (crs.name,))


def common_ground(
    years: list[Year], plane: Plane, by: tuple[float, float], aoi: str | Path | None
) -> shapely.Geometry | None:
    """Return the ground that both years show: the AOI, and of scenes what they have imagery of.

    Args:
        years: Old and new.
        plane: Of the result.
        by: What the old year is moved by.
        aoi: Polygons; or none.

    Returns:
        A polygon or multipolygon, or none where nothing tells.

    Raises:
        LabelError: There is none, or the AOI has a CRS and the layers none.
    """
    areas = []
    for year, moved in zip(years, (by, (0.0, 0.0)), strict=True):
        if year.scene is not None:
            area = shapely.transform(imaged_area(year.scene, plane), lambda xy, moved=moved: xy + moved)
            areas.extend(still_valid(np.array([area], dtype=object)))
    if aoi is not None:
        areas.append(shapely.union_all(still_valid(read_area(aoi, plane.crs).geometry.to_numpy())))
    if not areas:
        return None
    area = areas[0]
    for other in areas[1:]:
        area = shapely.intersection(area, other)
    parts = shapely.get_parts(area)
    area = shapely.union_all(parts[shapely.get_dimensions(parts) == 2])
    if area.is_empty:
        raise LabelError("ground that both years show", "none", "check the files, their CRSs and the AOI")
    return area


def warn_of_extent(old: np.ndarray, new: np.ndarray, tolerance_m: float) -> None:
    """Say that nothing tells the common ground, and how many buildings lie beyond the other layer's hull."""
    beyond = []
    for one, other in ((old, new), (new, old)):
        hull = shapely.buffer(shapely.convex_hull(shapely.multipoints(shapely.get_coordinates(other))), tolerance_m)
        shapely.prepare(hull)
        beyond.append(int((~shapely.intersects(one, hull)).sum()))
    warnings.warn(
        "without --aoi nothing says which ground both layers cover: what one of them never mapped counts as added or "
        f"removed; {beyond[0]} old buildings lie beyond the new layer, {beyond[1]} new ones beyond the old",
        EavesWarning,
        stacklevel=3,
    )
