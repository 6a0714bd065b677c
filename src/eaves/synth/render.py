"""Any window of a city as an orthophoto: the same pixels whatever the windows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import shapely
from rasterio.windows import Window

from eaves.synth import paint
from eaves.synth.develop import FACTOR, expose, light
from eaves.synth.draft import Ragged
from eaves.synth.plan import City

_PIECE_PX = 1024  # a window is rendered in pieces of this side, which bounds the memory


class Canvas(NamedTuple):
    """A window on the fine grid of ``FACTOR`` samples along a pixel's side.

    Attributes:
        colour: float32, ``(h, w, 3)``, unlit.
        height: float32, ``(h, w)``, metres.
        slope: float32, ``(h, w, 2)``.
        owner: int32, ``(h, w)``: number of the building seen, -1 ground, -2 a tree.
    """

    colour: np.ndarray
    height: np.ndarray
    slope: np.ndarray
    owner: np.ndarray


def render(city: City, window: Window | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Render a window of a city.

    The truth is the outline itself; pixels at an outline mix what lies on its two sides, as in a photograph.

    Args:
        city: What ``plan_city`` gave.
        window: In pixels of ``city.grid``, inside it; none is the whole picture.

    Returns:
        image: uint8, ``(3, h, w)``, red, green, blue.
        valid: bool, ``(h, w)``; false in the corner without imagery, where ``image`` is 0.

    Example:
        >>> from eaves.synth import plan_city
        >>> city = plan_city(64, seed=1)
        >>> render(city, Window(8, 8, 32, 16))[0].shape
        (3, 16, 32)
    """
    rows, cols = city.grid.shape
    row0, col0, h, w = (
        (0, 0, rows, cols)
        if window is None
        else (int(window.row_off), int(window.col_off), int(window.height), int(window.width))
    )
    image = np.zeros((3, h, w), np.uint8)
    for i in range(0, h, _PIECE_PX):
        for j in range(0, w, _PIECE_PX):
            _render_piece(city, row0 + i, col0 + j, image[:, i : i + _PIECE_PX, j : j + _PIECE_PX])
    valid = _valid(city, row0, col0, h, w)
    image[:, ~valid] = 0
    return image, valid


def render_strips(city: City, rows: int = 512) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Render the whole picture from top to bottom: (first row, image, valid) of strips of ``rows`` rows."""
    height, width = city.grid.shape
    for row0 in range(0, height, rows):
        yield row0, *render(city, Window(0, row0, width, min(rows, height - row0)))  # pyright: ignore[reportCallIssue]


def draw(city: City, row0: int, col0: int, shape: tuple[int, int], rim: int = 0) -> Canvas:
    """Paint a window of the fine grid without light.

    Args:
        city: The city.
        row0: First row of the fine grid.
        col0: First column of the fine grid.
        shape: Rows and columns.
        rim: Samples along each side of which only the height matters: their ground has no colour.
    """
    s, step, seed = city.scenery, city.gsd_m / FACTOR, city.seed
    left, top = col0 * step, row0 * step
    bounds = (left, top, left + shape[1] * step, top + shape[0] * step)
    canvas = Canvas(
        np.empty((*shape, 3), np.float32),
        np.zeros(shape, np.float32),
        np.zeros((*shape, 2), np.float32),
        np.full(shape, -1, np.int32),
    )
    where = (row0, col0, step)
    cover = np.full(shape, -1, np.int32)
    _fill(cover, where, s.ground, bounds)
    _fill(canvas.owner, where, s.roofs, bounds)
    turf = city.style.grass
    paint.paint_ground(canvas.colour, cover, canvas.owner, rim, *where, s.covers, city.style.soil, turf, seed)
    paint.paint_roofs(
        canvas.colour, canvas.height, canvas.slope, canvas.owner, *where, s.parts, s.first_part, s.coats, seed
    )
    reach = s.boxes[:, 4] + s.boxes[:, 5]
    boxes = _within(s.boxes[:, 0], s.boxes[:, 1], reach, bounds)
    for roofs in (False, True):
        paint.paint_boxes(*canvas, *where, s.boxes, boxes, roofs, seed)
    trees = _within(s.trees[:, 0], s.trees[:, 1], 1.5 * s.trees[:, 2], bounds)
    paint.paint_trees(*canvas, *where, s.trees, trees, seed)
    return canvas


def _render_piece(city: City, row0: int, col0: int, image: np.ndarray) -> None:
    offsets, rises, sun = _rays(city)
    margin = int(np.abs(offsets).max()) + 2
    h, w = image.shape[1:]
    shape = (h * FACTOR + 2 * margin, w * FACTOR + 2 * margin)
    canvas = draw(city, row0 * FACTOR - margin, col0 * FACTOR - margin, shape, margin - 1)
    light(canvas.colour, canvas.height, canvas.slope, margin - 1, offsets, rises, sun, _ceiling(canvas.height, offsets))
    style = city.style
    expose(image, canvas.colour, margin, row0, col0, style.gain, style.haze, city.gsd_m, city.seed)


def _rays(city: City) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps of a shadow ray on the fine grid, its height at each, and the sun's direction (rows run south)."""
    azimuth, elevation = np.radians([city.style.sun_azimuth_deg, city.style.sun_elevation_deg])
    east, south, rise = np.sin(azimuth), -np.cos(azimuth), np.tan(elevation)
    step_m = city.gsd_m / FACTOR
    tallest = max(city.scenery.trees[:, 3].max(initial=0) + 2, city.scenery.tallest_roof_m)
    near = np.arange(1.5 * step_m, 4, max(1.5 * step_m, 0.2))
    run = np.concatenate([near, np.arange(4, tallest / rise, max(2.5 * step_m, 0.35))])
    offsets = np.round(run[:, None] * np.array([south, east]) / step_m).astype(np.int64)
    sun = np.array([east * np.cos(elevation), south * np.cos(elevation), np.sin(elevation)])
    return offsets, run * rise, sun


def _ceiling(height: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """For cells of 64 x 64 samples, the greatest height that rays along ``offsets`` can pass under."""
    h, w = height.shape
    cells = np.zeros((-(-h // 64) * 64, -(-w // 64) * 64), np.float32)
    cells[:h, :w] = height
    cells = cells.reshape(cells.shape[0] // 64, 64, -1, 64).max((1, 3))
    low, high = np.minimum(offsets.min(0), 0) // 64, -(-np.maximum(offsets.max(0), 0) // 64)
    padded = np.pad(cells, [(-low[0], high[0]), (-low[1], high[1])])
    windows = np.lib.stride_tricks.sliding_window_view(padded, tuple(high - low + 1))
    return np.ascontiguousarray(windows.max((2, 3)))


def _fill(owner: np.ndarray, where: tuple[int, int, float], shapes: Ragged, bounds: tuple) -> None:
    left, top, right, bottom = shapes.bounds.T
    chosen = np.flatnonzero((left < bounds[2]) & (right > bounds[0]) & (top < bounds[3]) & (bottom > bounds[1]))
    paint.fill(owner, *where, shapes.points, shapes.rings, shapes.polygons, chosen)


def _within(x: np.ndarray, y: np.ndarray, reach: np.ndarray, bounds: tuple) -> np.ndarray:
    inside = (x + reach > bounds[0]) & (x - reach < bounds[2]) & (y + reach > bounds[1]) & (y - reach < bounds[3])
    return np.flatnonzero(inside)


def _valid(city: City, row0: int, col0: int, h: int, w: int) -> np.ndarray:
    valid = np.ones((h, w), bool)
    if city.nodata is not None:
        affine = city.grid.affine
        x, y = affine.c + (col0 + np.arange(w) + 0.5) * affine.a, affine.f + (row0 + np.arange(h) + 0.5) * affine.e
        left, bottom, right, top = city.nodata.bounds
        cols, rows = np.flatnonzero((x >= left) & (x <= right)), np.flatnonzero((y >= bottom) & (y <= top))
        if len(cols) and len(rows):
            xx, yy = np.meshgrid(x[cols], y[rows])
            valid[np.ix_(rows, cols)] = ~shapely.contains_xy(city.nodata, xx, yy)
    return valid
