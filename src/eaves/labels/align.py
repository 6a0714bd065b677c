"""Move labels onto the image: offsets found block by block, made a smooth field, and taken back.

Maps drawn over another year's or another flight's imagery lie off this one by a shift that changes slowly from place to
place (the relief that the imagery was laid on differs). It is estimated where houses are many enough to tell, held
against its neighbours, and drawn through the places between by local straight fits (W. Cleveland, S. Devlin, "Locally
Weighted Regression", JASA 83, 1988). Every corner moves by the field at its own place: corners that two houses share
stay shared, a row of houses neither opens nor overlaps, and within a house the field changes by centimetres.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import reduce
from itertools import chain, pairwise
from operator import add
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.windows import Window
from scipy.ndimage import map_coordinates
from scipy.spatial import KDTree

from eaves.errors import EavesWarning
from eaves.labels.burn import LabelLayer
from eaves.labels.offset import CONFIDENT, Evidence, fitting_blocks
from eaves.scene import Scene, project, window_grid

if TYPE_CHECKING:
    from geopandas import GeoDataFrame  # geopandas is slow to import

Align = Literal["none", "scene", "block"]
Field = Callable[[np.ndarray], np.ndarray]  # (n, 2) x and y in pixels → (n, 2) shifts right and down in pixels

_GSD_M = 0.3  # roofs have the most edges there
_RIM_PX = 12  # image beyond what is compared, so that edges at a window's rim are told from their surroundings
_AGREE_M = 1.0  # neighbours differ less
_LEAST, _LEAST_SHARE = 3, 0.05  # labels mirrored on purpose are sure of themselves in 1 % of the blocks
_STILL_PX = 1.0  # labels drawn by hand are no truer than that
_NEAREST = 24  # blocks asked for the field at a place
_REACH = 0.6  # of a block: how far a block speaks for its surroundings
_HOLD, _ASKED = 0.1, 0.05


class AlignReport(NamedTuple):
    """What became of labels.

    Attributes:
        blocks: Places where an offset was looked for.
        sure: Those whose offset is confident and agrees with its neighbours.
        offset_m: The median of these, to the right and down the picture, in metres, whether or not it was taken back;
            none where there are too few to trust.
        shifts_m: float64 ``(n, 2)``: how far each feature was moved at its middle, to the right and down the picture,
            in metres; 0 where it was not.
    """

    blocks: int
    sure: int
    offset_m: tuple[float, float] | None
    shifts_m: np.ndarray

    @property
    def moved(self) -> int:
        """Number of features that were moved."""
        return int(self.shifts_m.any(axis=1).sum())

    def __str__(self) -> str:
        told = f"{self.sure} of {self.blocks} blocks are sure of an offset"
        if self.offset_m is None:
            return f"{told}, too few to trust: none of {len(self.shifts_m)} features moved"
        right, down = self.offset_m
        told += f", in the middle {right:+.2f} m right and {down:+.2f} m down"
        if not self.moved:
            return f"{told}: none of {len(self.shifts_m)} features moved"
        sizes = np.hypot(*self.shifts_m[self.shifts_m.any(axis=1)].T)
        sizes = f"{sizes.min():.2f} … {sizes.max():.2f} m"
        return f"{told}: {self.moved} of {len(self.shifts_m)} features moved by {sizes}"


class _Estimates(NamedTuple):
    """Offsets found: places and shifts ``(n, 2)`` as x and y in pixels, and confidence ``(n,)``."""

    places: np.ndarray
    shifts: np.ndarray
    confidence: np.ndarray

    def only(self, keep: np.ndarray) -> _Estimates:
        return _Estimates(*(part[keep] for part in self))


def align_features(
    features: GeoDataFrame,
    scene: Scene,
    mode: Align,
    *,
    max_m: float = 6.0,
    block_m: float = 80.0,
    width_m: float | None = None,
) -> tuple[GeoDataFrame, AlignReport]:
    """Move features onto the image of a scene.

    The image is read at 0.3 m (its own resolution where coarser), block by block. Features that the scene does not
    show stay where they are. So do all of them where fewer than three blocks (and one in twenty) are sure of an offset
    and agree, and where nine in ten would move by less than a pixel.

    Args:
        features: Polygons, lines, or both, in any CRS.
        scene: The image, with a known ground resolution.
        mode: ``scene`` moves all by one shift, the median; ``block`` each by the shift around it; ``none`` nothing.
        max_m: Largest shift looked for; nothing moves farther.
        block_m: Side of the blocks, which overlap by half. Smaller ones follow a field that changes fast, larger ones
            need fewer houses.
        width_m: Width of lines.

    Returns:
        A new table in the CRS of ``features``, and what was found.

    Raises:
        SceneError: The scene has no known resolution, or a block cannot be decoded.
        LabelError: As :class:`LabelLayer`.

    Warns:
        EavesWarning: No offset can be told.

    Example:
        >>> moved, report = align_features(houses, scene, "block")  # doctest: +SKIP
        >>> print(report)  # doctest: +SKIP
        18 of 81 blocks are sure of an offset, in the middle -1.54 m right and -1.98 m down: 85 of 85 features moved …
    """
    report = AlignReport(0, 0, None, np.zeros((len(features), 2)))
    if mode == "none" or not len(features):
        return features, report
    gsd_m = max(_GSD_M, scene.native_gsd_m or _GSD_M)
    view = scene if scene.gsd_m and abs(scene.gsd_m / gsd_m - 1) < 1e-3 else scene.at(gsd_m)
    layer = LabelLayer(features, view.grid, width_m=width_m, gsd_m=view.gsd_m)
    found = _estimate(view, layer, max(2, round(max_m / gsd_m)), max(32, round(block_m / 2 / gsd_m)))
    sure = _agreeing(found, max_m / gsd_m, _AGREE_M / gsd_m)
    report = report._replace(blocks=len(found.places), sure=len(sure.places))
    if report.sure < max(min(_LEAST, report.blocks), _LEAST_SHARE * report.blocks, 1):
        warnings.warn(f"labels on {scene.name}: {report}", EavesWarning, stacklevel=2)
        return features, report
    middle = np.median(sure.shifts, axis=0)
    middle *= min(1.0, max_m / gsd_m / max(np.hypot(*middle), 1e-9))
    report = report._replace(offset_m=(float(middle[0] * gsd_m), float(middle[1] * gsd_m)))
    field = _level(middle)
    if mode == "block":
        field = _smooth(sure, view.shape, _REACH * block_m / gsd_m, max_m / gsd_m)
    geometries, shifts = _move(features.geometry.values, features.crs, view.grid, field, max_m / gsd_m)
    moved = shifts.any(axis=1)
    if not moved.any() or np.percentile(np.hypot(*shifts[moved].T), 90) < _STILL_PX:
        return features, report
    table, column = features.copy(), features.geometry
    table[column.name] = type(column)(geometries, index=features.index, crs=features.crs)
    return table, report._replace(shifts_m=shifts * gsd_m)


# --- offsets ----------------------------------------------------------------------------------------------------------


def _estimate(view: Scene, layer: LabelLayer, max_px: int, cell_px: int) -> _Estimates:
    """Offsets of blocks of two by two cells; each cell is read and compared once, and two rows of them are held."""
    rows, cols = (fitting_blocks(size, cell_px) for size in view.shape)
    nothing: list[Evidence | None] = [None] * len(cols)
    strips = ([_evidence(view, layer, (row, col), max_px) for col in cols] for row in rows)
    found = []
    for upper, lower in pairwise(chain([nothing], strips, [nothing])):
        for left in range(-1, len(cols)):
            pair = slice(max(0, left), left + 2)
            parts = [part for part in (*upper[pair], *lower[pair]) if part is not None]
            if parts:
                block = reduce(add, parts)
                found.append((*block.middle[::-1], *block.offset()))
    table = np.unique(np.reshape(found, (-1, 5)), axis=0)  # a lonely cell makes four equal blocks
    return _Estimates(table[:, :2], table[:, 2:4], table[:, 4])


def _evidence(view: Scene, layer: LabelLayer, cell: tuple[slice, slice], max_px: int) -> Evidence | None:
    """What the label edges in a cell tell, or none where there are no labels."""
    margin = max_px + _RIM_PX
    top, left = (part.start - margin for part in cell)
    height, width = (part.stop - part.start + 2 * margin for part in cell)
    window = Window(left, top, width, height)
    labels = layer.burn(window_grid(view.grid, window), np.zeros((height, width), np.uint8), 1)
    core = (slice(margin, height - margin), slice(margin, width - margin))
    if not labels[core].any():
        return None
    image, valid = view.read(window)
    return Evidence.gather(image, valid, labels, max_px, core=core, origin=(top, left))


def _agreeing(found: _Estimates, max_px: float, agree_px: float) -> _Estimates:
    """Those that are confident and like the median of their neighbours."""
    sure = found.only((found.confidence > CONFIDENT) & (np.hypot(*found.shifts.T) <= max_px))
    if not len(sure.places):
        return sure
    near = KDTree(sure.places).query(sure.places, min(9, len(sure.places)))[1].reshape(len(sure.places), -1)
    return sure.only(np.hypot(*(sure.shifts - np.median(sure.shifts[near], axis=1)).T) <= agree_px)


# --- the field --------------------------------------------------------------------------------------------------------


def _level(shift: np.ndarray) -> Field:
    return lambda places: np.tile(shift, (len(places), 1))


def _smooth(sure: _Estimates, shape: tuple[int, int], reach_px: float, max_px: float) -> Field:
    """A field over the picture: straight fits at the nodes of a grid, linear between."""
    step = reach_px / 2
    x, y = np.meshgrid(*(np.arange(0, size + step, step) for size in shape[::-1]))
    nodes = np.column_stack([x.ravel(), y.ravel()])
    count = min(_NEAREST, len(sure.places))
    distance, near = (part.reshape(len(nodes), count) for part in KDTree(sure.places).query(nodes, count))
    weights = np.exp((distance[:, :1] ** 2 - distance**2) / (2 * reach_px**2))
    away = (sure.places[near] - nodes[:, None]) / reach_px
    terms = np.concatenate([np.ones((*near.shape, 1)), away], axis=2)  # (nodes, near, 3)
    # Slopes are held back a little, so that few or distant blocks give a level field.
    hold = weights.sum(axis=1)[:, None, None] * np.diag([0, _HOLD, _HOLD])
    left = np.einsum("nk,nki,nkj->nij", weights, terms, terms) + hold
    right = np.einsum("nk,nki,nkc->nic", weights, terms, sure.shifts[near])
    values = np.linalg.solve(left, right)[:, 0]
    # No farther than the blocks that were asked.
    asked = np.where(weights[..., None] > _ASKED, sure.shifts[near], np.nan)
    values = np.clip(values, np.nanmin(asked, axis=1), np.nanmax(asked, axis=1))
    values *= np.minimum(1, max_px / np.maximum(np.hypot(*values.T), 1e-9))[:, None]
    planes = values.T.reshape(2, *x.shape)

    def field(places: np.ndarray) -> np.ndarray:
        at = places.T[::-1] / step
        return np.column_stack([map_coordinates(plane, at, order=1, mode="nearest") for plane in planes])

    return field


def _move(geometries: Any, crs: Any, grid: GeoBox, field: Field, reach_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Geometries with those near the grid moved, and every one's shift at its middle in pixels, ``(n, 2)``."""
    result = np.array(geometries, dtype=object)
    elsewhere = grid.crs is not None and crs != grid.crs.proj
    on_grid = project(result, crs, grid.crs, strict=False) if elsewhere else result
    rows, cols = grid.shape
    with np.errstate(invalid="ignore"):  # of what is missing, or too far away for the grid's system
        in_pixels = shapely.transform(on_grid, lambda xy: _apply(~grid.affine, xy))
        bounds = shapely.bounds(in_pixels)
        low, high = bounds[:, :2] <= (cols + reach_px, rows + reach_px), bounds[:, 2:] >= -reach_px
    near = np.isfinite(bounds).all(axis=1) & low.all(axis=1) & high.all(axis=1)
    shifts = np.zeros((len(result), 2))
    shifts[near] = field(shapely.get_coordinates(shapely.centroid(in_pixels[near])))
    moved = shapely.transform(in_pixels[near], lambda xy: _apply(grid.affine, xy + field(xy)))
    result[near] = project(moved, grid.crs, crs) if elsewhere else moved
    return result, shifts


def _apply(affine: Affine, xy: np.ndarray) -> np.ndarray:
    return xy @ np.array([[affine.a, affine.d], [affine.b, affine.e]]) + (affine.c, affine.f)
