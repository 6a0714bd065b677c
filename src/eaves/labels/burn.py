"""Burn polygons and lines on a grid. A pixel belongs to a polygon when its centre does."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from eaves.errors import EavesWarning, LabelError
from eaves.labels.fill import Outlines, fill
from eaves.scene import metric_crs, project

if TYPE_CHECKING:
    from geopandas import GeoDataFrame  # geopandas is slow to import

_LOG = logging.getLogger(__name__)
_POINT, _LINE, _RING, _POLYGON = 0, 1, 2, 3


class LabelLayer:
    """Features of one class, brought to a scene's grid once and burned window by window.

    Features that the scene does not show are left out at once; those that touch a window are found through a
    spatial index, so that a window costs the same in a file of a hundred features or of a million.

    Args:
        features: Polygons, lines, or both; their CRS may differ from the grid's.
        grid: The scene's whole grid. Without a CRS, features are in its coordinates (pixels, for a plain picture).
        width_m: Width to which lines are widened, with round ends so that segments join, measured in a local metric
            CRS.
        gsd_m: Ground size of the grid's pixel; needed only for lines on a grid without a CRS.
        apart: The parts of a feature are objects of their own (GIS layers often join strangers in one feature); else
            they are one object.

    Attributes:
        crs: The grid's.
        parts: Single polygons in ``crs``, ``(n,)``.
        objects: Which object each of them belongs to, ``(n,)``.

    Raises:
        LabelError: Features have no CRS but the grid has one; there are lines but no width.

    Example:
        >>> import geopandas
        >>> grid = GeoBox((4, 4), Affine.identity(), None)
        >>> layer = LabelLayer(geopandas.GeoDataFrame(geometry=[shapely.box(1, 1, 3, 4)]), grid)
        >>> layer.burn(grid, np.zeros((4, 4), np.uint8), 1).sum()
        np.uint64(6)
    """

    def __init__(
        self,
        features: GeoDataFrame,
        grid: GeoBox,
        *,
        width_m: float | None = None,
        gsd_m: float | None = None,
        apart: bool = True,
    ) -> None:
        self.crs = grid.crs
        if grid.crs is not None and features.crs is not None and features.crs != grid.crs.proj:
            _LOG.info("labels reprojected from %s to %s", _name(features.crs), _name(grid.crs))
        parts, objects = _single_parts(_on_grid(features.geometry.values, features.crs, grid)[1])
        if apart:
            objects = np.arange(len(parts))
        kinds = shapely.get_dimensions(parts)
        if skipped := int((kinds < 1).sum()):
            warnings.warn(
                f"{skipped} of {len(parts)} label parts are points, which cover nothing: left out",
                EavesWarning,
                stacklevel=2,
            )
        areas, of_areas = parts[kinds == 2], objects[kinds == 2]
        lines, of_lines = parts[kinds == 1], objects[kinds == 1]
        if len(lines):
            if grid.crs is not None:
                near = _around(lines, grid, grid.crs)
                lines, of_lines = lines[near], of_lines[near]
            areas = np.concatenate([areas, _widen(lines, grid, width_m, gsd_m)])
            of_areas = np.concatenate([of_areas, of_lines])
        shown = shapely.intersects(areas, _outline(grid))
        self.parts: np.ndarray = areas[shown]
        self.objects: np.ndarray = of_areas[shown]
        self._to_pixels = ~grid.affine
        self._outlines = Outlines.of(self.parts, self._to_pixels)
        self._tree = shapely.STRtree(shapely.box(*self._outlines.bounds().T))

    def __len__(self) -> int:
        return len(self.parts)

    def burn(self, grid: GeoBox, out: np.ndarray, value: int) -> np.ndarray:
        """Paint the features that a window shows.

        Args:
            grid: The window's grid, in the layer's CRS.
            out: uint8 ``(h, w)`` of the same shape, painted in place.
            value: What to paint, 0 … 255.

        Returns:
            ``out``.
        """
        self._paint(grid, out, lambda near: np.full(len(near), value))
        return out

    def number(self, grid: GeoBox, out: np.ndarray, first: int = 1) -> int:
        """Paint each object that a window shows with a number of its own, later ones over earlier.

        Args:
            grid: The window's grid, in the layer's CRS.
            out: uint16 or int32 ``(h, w)`` of the same shape, painted in place.
            first: The first object's number; the others follow.

        Returns:
            The number after the last.
        """
        shown = 0

        def numbers(near: np.ndarray) -> np.ndarray:
            nonlocal shown
            there, place = np.unique(self.objects[near], return_inverse=True)
            shown = len(there)
            return first + place

        self._paint(grid, out, numbers)
        return first + shown

    def _paint(self, grid: GeoBox, out: np.ndarray, values: Callable[[np.ndarray], np.ndarray]) -> None:
        shift = self._to_pixels * grid.affine  # from the window's pixels to the whole grid's
        row, col = round(shift.f), round(shift.c)
        rows, cols = out.shape
        if shift.almost_equals(Affine.translation(col, row), precision=1e-6):
            near = np.sort(self._tree.query(shapely.box(col, row, col + cols, row + rows)))
            fill(out, self._outlines, near, values(near), row, col)
        else:  # another grid
            near = np.sort(self._tree.query(_apply(shift, np.array([shapely.box(0, 0, cols, rows)]))[0]))
            fill(out, self._outlines.moved(~shift), near, values(near), 0, 0)


def burn(
    features: GeoDataFrame,
    grid: GeoBox,
    *,
    value: int = 1,
    out: np.ndarray | None = None,
    width_m: float | None = None,
    gsd_m: float | None = None,
) -> np.ndarray:
    """Burn features on a grid.

    Args:
        features: Polygons, lines, or both, in any CRS (the grid's coordinates where that has none).
        grid: Where to.
        value: What to paint, 0 … 255.
        out: uint8 ``(h, w)`` to paint over in place; zeros where none is given.
        width_m: Width of lines in metres.
        gsd_m: Ground size of a pixel, for lines on a grid without a CRS.

    Returns:
        uint8 ``(h, w)``: ``out``.

    Raises:
        LabelError: As :class:`LabelLayer`.

    Example:
        >>> import geopandas
        >>> grid = GeoBox((2, 3), Affine.identity(), None)
        >>> burn(geopandas.GeoDataFrame(geometry=[shapely.box(0, 0, 2, 1)]), grid).tolist()
        [[1, 1, 0], [0, 0, 0]]
    """
    if out is None:
        out = np.zeros(tuple(grid.shape), np.uint8)
    return LabelLayer(features, grid, width_m=width_m, gsd_m=gsd_m).burn(grid, out, value)


def overlap(features: GeoDataFrame, grid: GeoBox) -> float:
    """Return the share of features that touch the grid, in (0, 1].

    Args:
        features: Labels in any CRS.
        grid: The scene's grid.

    Raises:
        LabelError: None does, or there are no features; the message has both extents and systems.

    Example:
        >>> import geopandas
        >>> grid = GeoBox((4, 4), Affine.identity(), None)
        >>> overlap(geopandas.GeoDataFrame(geometry=[shapely.box(1, 1, 2, 2), shapely.box(8, 8, 9, 9)]), grid)
        0.5
    """
    there, moved = _on_grid(features.geometry.values, features.crs, grid)
    touching = int(shapely.intersects(moved, _outline(grid)).sum())
    if touching:
        return touching / len(there)
    if not len(there):
        raise LabelError("labels with features", "an empty table", "check the file and the layer")
    raise LabelError(
        "labels that overlap the scene",
        f"labels in {_extent(features.total_bounds, features.crs)}, and a scene in "
        f"{_extent(shapely.bounds(_outline(grid)), grid.crs)}",
        "check that both are of the same place, and that each states the CRS its coordinates are in"
        if grid.crs is not None
        else "give the labels in the picture's own coordinates: x to the right and y down, in pixels, from the upper "
        "left corner",
    )


def extents_meet(features: GeoDataFrame, grid: GeoBox) -> bool:
    """Whether the box around all features meets the grid, even where no single feature does.

    Raises:
        LabelError: Features have no CRS but the grid has one.
    """
    left, bottom, right, top = (float(value) for value in features.total_bounds)
    box = np.array([shapely.box(left, bottom, right, top)], dtype=object)
    return bool(shapely.intersects(_on_grid(box, features.crs, grid)[1], _outline(grid)).any())


# --- from the labels' CRS to the grid's -------------------------------------------------------------------------------


def _on_grid(geometries: Any, crs: Any, grid: GeoBox) -> tuple[np.ndarray, np.ndarray]:
    """All geometries there are, and those near the grid in its CRS."""
    shapes = np.asarray(geometries, dtype=object)
    there = shapely.force_2d(shapes[~(shapely.is_missing(shapes) | shapely.is_empty(shapes))])
    if grid.crs is None or not len(there):
        return there, there
    if crs is None:
        raise LabelError(
            "labels that state their CRS",
            f"labels without one, in {_extent(shapely.total_bounds(there), None)}",
            "state it: ogr2ogr -a_srs EPSG:… labelled.gpkg labels.shp",
            because=f"the scene is in {_name(grid.crs)}",
        )
    if crs == grid.crs.proj:
        return there, there
    near = there[_around(there, grid, crs)]
    moved = project(near, crs, grid.crs, strict=False)  # what is too far away is nothing on the grid
    return there, moved[np.isfinite(shapely.bounds(moved)).all(axis=1)]


def _around(shapes: np.ndarray, grid: GeoBox, crs: Any) -> np.ndarray:
    """Which shapes lie on the grid or up to its own size beside it: only those are worth exact work."""
    edge = shapely.segmentize(_outline(grid), shapely.length(_outline(grid)) / 80)
    if crs != grid.crs:
        edge = project([edge], grid.crs, crs, strict=False)[0]
    left, bottom, right, top = shapely.bounds(edge)
    if not np.isfinite([left, bottom, right, top]).all():
        return np.ones(len(shapes), bool)
    margin = max(right - left, top - bottom)
    bounds = shapely.bounds(shapes)
    return (
        (bounds[:, 0] <= right + margin)
        & (bounds[:, 2] >= left - margin)
        & (bounds[:, 1] <= top + margin)
        & (bounds[:, 3] >= bottom - margin)
    )


def _widen(lines: np.ndarray, grid: GeoBox, width_m: float | None, gsd_m: float | None) -> np.ndarray:
    """Lines as polygons ``width_m`` wide, in the grid's coordinates."""
    if width_m is None:
        raise LabelError("a width for lines", f"{len(lines)} lines", "set width_m, for roads about 7")
    if grid.crs is None:
        if gsd_m is None:
            raise LabelError(
                "a known ground resolution",
                f"lines {width_m} m wide on a picture without a CRS",
                "state the size of a pixel as gsd_m",
            )
        unit_m = gsd_m / abs(grid.affine.determinant) ** 0.5
        return shapely.buffer(lines, width_m / 2 / unit_m)
    x, y = grid.affine * (grid.shape[1] / 2, grid.shape[0] / 2)
    local = metric_crs(grid.crs, x, y)
    return project(shapely.buffer(project(lines, grid.crs, local), width_m / 2), local, grid.crs)


def _single_parts(shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Collections taken apart, so that the index sees small things; and which of the shapes each part is from."""
    owners = np.arange(len(shapes))
    while (shapely.get_type_id(shapes) > _POLYGON).any():
        shapes, index = shapely.get_parts(shapes, return_index=True)
        owners = owners[index]
    there = ~shapely.is_empty(shapes)
    return shapes[there], owners[there]


def _outline(grid: GeoBox) -> Any:
    rows, cols = grid.shape
    return _apply(grid.affine, np.array([shapely.box(0, 0, cols, rows)], dtype=object))[0]


def _apply(affine: Affine, shapes: np.ndarray) -> np.ndarray:
    matrix = np.array([[affine.a, affine.b], [affine.d, affine.e]])
    return shapely.transform(shapes, lambda xy: xy @ matrix.T + (affine.c, affine.f))


def _extent(bounds: Any, crs: Any) -> str:
    left, bottom, right, top = (f"{value:.6g}" for value in bounds)
    return f"x {left} … {right}, y {bottom} … {top} ({_name(crs)})"


def _name(crs: Any) -> str:
    if crs is None:
        return "no CRS"
    crs = getattr(crs, "proj", crs)
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else crs.name
