"""The plan of a city: exact truth as vectors, and everything the painter needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, cast

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.geometry import Polygon

from eaves.errors import SettingsError
from eaves.synth import draft as d
from eaves.synth.draft import Draft, Ragged
from eaves.synth.lots import fill_estate, fill_fields, fill_industrial, fill_park, fill_suburb
from eaves.synth.pave import Way, cut_river, pave
from eaves.synth.rows import fill_core, fill_rows
from eaves.synth.shapes import PART, RING, SHED
from eaves.synth.site import Site
from eaves.synth.streets import lay_streets
from eaves.synth.style import ROOF_COLOURS, Style, draw_style

_FILL = {
    "rows": fill_rows,
    "core": fill_core,
    "suburb": fill_suburb,
    "estate": fill_estate,
    "industrial": fill_industrial,
    "park": fill_park,
    "fields": fill_fields,
}
Corner = Literal["upper-left", "upper-right", "lower-left", "lower-right"]


@dataclass(frozen=True)
class Scenery:
    """The plan as arrays, in metres from the scene's upper left corner, y down; what ``render`` paints.

    Attributes:
        ground: Patches, in painting order; ``covers (n, 10)``: cover, r, g, b, x, y, cos, sin, amount, shade.
        roofs: Footprints; ``parts (p, PART)`` with ``first_part (n + 1,)``; ``coats (n, 5)``: r, g, b, texture, shade.
        boxes: ``(n, 11)``: x, y, cos, sin, half length, half width, height, r, g, b, kind.
        trees: ``(n, 6)``: x, y, radius, height, shade, number.
    """

    ground: Ragged
    covers: np.ndarray
    roofs: Ragged
    parts: np.ndarray
    first_part: np.ndarray
    coats: np.ndarray
    boxes: np.ndarray
    trees: np.ndarray

    @cached_property
    def tallest_roof_m(self) -> float:
        """An upper bound of the height of anything on a roof."""
        p = self.parts
        run = np.select([p[:, 8] == SHED, p[:, 8] == RING], [2 * p[:, 5], p[:, 9] / 2], p[:, 5])
        return float((p[:, 6] + p[:, 7] * run).max(initial=0) + 2.5)


@dataclass(frozen=True, eq=False)
class City:
    """A planned city.

    Attributes:
        grid: Shape, transform and CRS of its picture.
        seed: What it was drawn from.
        style: Its look.
        scenery: What ``render`` paints.
        nodata: The corner without imagery in world coordinates, or none.
        roads: Axes of roads: ``geometry``, ``width_m``, ``dirt``.
        water: Rivers and ponds.
        all_buildings: Buildings with nothing cut off: ``roof``, ``colour``, ``height_m``, ``blue``, ``district``.
    """

    grid: GeoBox
    seed: int
    style: Style
    scenery: Scenery
    nodata: Polygon | None
    roads: gpd.GeoDataFrame
    water: gpd.GeoDataFrame
    all_buildings: gpd.GeoDataFrame = field(repr=False)

    @property
    def gsd_m(self) -> float:
        """Side of a pixel in metres."""
        return float(self.grid.affine.a)

    @cached_property
    def imaged(self) -> shapely.Geometry:
        """The ground that the picture shows, in world coordinates."""
        outline = shapely.box(*self.grid.boundingbox.bbox)
        return outline if self.nodata is None else outline.difference(self.nodata)

    @cached_property
    def buildings(self) -> gpd.GeoDataFrame:
        """The truth: every roof the picture shows, cut at the picture's border; polygons that do not overlap."""
        table = cast(gpd.GeoDataFrame, self.all_buildings[self.all_buildings.intersects(self.imaged)].copy())
        outside = ~table.within(self.imaged)
        table.loc[outside, "geometry"] = table.geometry[outside].intersection(self.imaged)
        return _parts(table, "Polygon")


def plan_city(
    size_px: int | tuple[int, int],
    gsd_m: float = 0.3,
    seed: int = 0,
    *,
    crs: Any = "EPSG:32633",
    origin: tuple[float, float] = (500_000.0, 5_200_000.0),
    nodata_corner: Corner | None = None,
) -> City:
    """Plan a city; the same arguments give the same city, to the last bit.

    Args:
        size_px: Side of a square picture, or (height, width).
        gsd_m: Side of a pixel in metres.
        seed: Another seed is another city with another sun, other roofs and other soil.
        crs: A projected system in metres.
        origin: World coordinates of the upper left corner.
        nodata_corner: A corner of the picture to leave without imagery, as the rim of a flight does.

    Returns:
        The city: ``buildings``, ``roads``, ``water`` in world coordinates; ``render`` paints it.

    Raises:
        SettingsError: A size or a GSD that cannot be meant.

    Example:
        >>> city = plan_city(256, seed=3)
        >>> city.grid.shape
        Shape2d(x=256, y=256)
    """
    height, width = (size_px, size_px) if isinstance(size_px, int) else size_px
    if min(height, width) < 16 or not 0.05 <= gsd_m <= 2:
        raise SettingsError(
            "a side of 16 pixels or more and a GSD of 0.05 to 2 m",
            f"{height} x {width} pixels at {gsd_m} m",
            "pass a larger size_px or another gsd_m",
        )
    extent = (height * gsd_m, width * gsd_m)
    style = draw_style(seed)
    draft = Draft()
    streets, blocks = lay_streets(extent, style, seed)
    river = cut_river(extent, seed)
    for number, block in enumerate(blocks):
        rng = np.random.default_rng([seed, 3, number])
        if river is not None and block.polygon.intersects(river):
            draft.add_patch(d.BASE, block.ring, d.MIXED, rng, amount=0.85)
            parts = shapely.get_parts(block.polygon.difference(river.buffer(9)))
            bank = Site(draft, style, block, rng)
            shore = block.polygon.intersection(river.buffer(9)).difference(river.buffer(1))
            bank.plant(shore, shore.area / 60)
        else:
            parts = [block.polygon]
        for part in parts:
            if part.geom_type == "Polygon" and part.area > 300:
                ring = block.ring if len(parts) == 1 and river is None else part
                site = Site(draft, style, type(block)(part, block.district, ring), rng)
                _FILL[block.district](site)
    if river is not None:
        rng = np.random.default_rng([seed, 4])
        draft.add_patch(d.DETAIL, river.buffer(2.5), d.SOIL, rng)
        draft.add_patch(d.RIVER, river, d.WATER, rng)
    lines = pave(draft, streets, river, extent, seed)
    grid = GeoBox((height, width), Affine(gsd_m, 0, origin[0], 0, -gsd_m, origin[1]), crs)
    return _publish(draft, lines, grid, seed, style, nodata_corner)


def _parts(table: gpd.GeoDataFrame, kind: str) -> gpd.GeoDataFrame:
    """Give every part of a geometry its own row, and keep the parts of one kind."""
    shapes = np.asarray(table.geometry.array, dtype=object)
    rows = table.iloc[np.repeat(np.arange(len(table)), shapely.get_num_geometries(shapes))]
    rows = rows.set_geometry(shapely.get_parts(shapes), crs=table.crs)
    return cast(gpd.GeoDataFrame, rows[rows.geom_type == kind].reset_index(drop=True))


def _coat(colour: str, rng: np.random.Generator) -> tuple[float, ...]:
    """A roof of a colour class: faded towards grey, with a tint and a shade of its own."""
    rgb, texture = ROOF_COLOURS[colour]
    grey, fade = sum(rgb) / 3, 0.9 * rng.beta(1.3, 3.2)
    warm = rng.normal(0, 0.03) * grey
    faded = [c + fade * (grey - c) + tint for c, tint in zip(rgb, (warm, 0.0, -warm), strict=True)]
    return (*faded, texture, rng.uniform(-1, 1))


def _publish(
    draft: Draft,
    lines: list[Way],
    grid: GeoBox,
    seed: int,
    style: Style,
    corner: Corner | None,
) -> City:
    height, width = (n * float(grid.affine.a) for n in grid.shape)
    frame = shapely.box(-25, -25, width + 25, height + 25)
    near = shapely.intersects(np.array([h.polygon for h in draft.houses], dtype=object), frame)
    keep = np.flatnonzero(near)
    houses = [draft.houses[i] for i in keep]
    rng = np.random.default_rng([seed, 7])
    draft.patches.sort(key=lambda p: p[0])
    scenery = Scenery(
        ground=Ragged.of([rings for _, rings, _ in draft.patches]),
        covers=np.array([row for _, _, row in draft.patches], dtype=float).reshape(-1, 10),
        roofs=Ragged.of([h.rings for h in houses]),
        parts=np.array([part for h in houses for part in h.parts], dtype=float).reshape(-1, PART),
        first_part=np.cumsum([0, *(len(h.parts) for h in houses)]),
        coats=np.array([_coat(h.colour, rng) for h in houses]).reshape(-1, 5),
        boxes=np.array(draft.boxes, dtype=float).reshape(-1, 11),
        trees=np.array(draft.trees, dtype=float).reshape(-1, 6),
    )
    x0, y0 = grid.affine.c, grid.affine.f

    def world(geometries: Any) -> np.ndarray:
        return shapely.transform(np.asarray(geometries, dtype=object), lambda xy: np.array([x0, y0]) + xy * (1, -1))

    table = gpd.GeoDataFrame(
        {
            "roof": [h.roof for h in houses],
            "colour": [h.colour for h in houses],
            "height_m": np.round([h.height_m for h in houses], 2),
            "blue": [h.colour == "blue-metal" for h in houses],
            "district": [draft.districts[i] for i in keep],
        },
        geometry=shapely.orient_polygons(world([h.polygon for h in houses])),
        crs=grid.crs,
    )
    scene = shapely.box(0, 0, width, height)
    shown = [(line.intersection(scene), w, dirt) for line, w, dirt in lines if line.intersects(scene)]
    roads = gpd.GeoDataFrame(
        {"width_m": np.round([w for _, w, _ in shown], 2), "dirt": [dirt for _, _, dirt in shown]},
        geometry=world([line for line, _, _ in shown]),
        crs=grid.crs,
    )
    roads = _parts(roads, "LineString")
    wet = [Polygon(r[0], r[1:]) for _, r, row in draft.patches if row[0] == d.WATER]
    water = gpd.GeoDataFrame(geometry=world([w.intersection(scene) for w in wet if w.intersects(scene)]), crs=grid.crs)
    nodata = None
    if corner is not None:
        u, v = 0.34 * width, 0.28 * height
        cut = Polygon([(0, 0), (u, 0), (u * 0.55, v * 0.5), (0, v)])
        flip = np.array([[-1 if "right" in corner else 1, -1 if "lower" in corner else 1]])
        shift = np.array([[width if "right" in corner else 0, height if "lower" in corner else 0]])
        nodata = world([shapely.transform(cut, lambda xy: xy * flip + shift)])[0]
    return City(grid, seed, style, scenery, nodata, roads, water, table)
