"""A block while it is being built on: what fits where, lots, gardens, trees, and things on roofs."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import shapely
from shapely.geometry import Point, Polygon

from eaves.synth import draft as d
from eaves.synth.draft import Draft
from eaves.synth.shapes import Frame, House
from eaves.synth.streets import Block
from eaves.synth.style import FLAT, METAL, TILE, Style


class Site:
    """A block under construction.

    Attributes:
        draft: Where everything is drawn.
        style: The city's look.
        rng: The block's own generator, so that blocks do not depend on each other.
        block: The ground.
        placed: Footprints so far, of this block.
    """

    def __init__(self, draft: Draft, style: Style, block: Block, rng: np.random.Generator) -> None:
        self.draft, self.style, self.block, self.rng = draft, style, block, rng
        self.placed: list[Polygon] = []
        self.reserved: list[Polygon] = []
        self._ground = shapely.buffer(block.polygon, 0.85, join_style="mitre")
        shapely.prepare(self._ground)

    def fits(self, polygon: Polygon | Point, gap_m: float, *, beside: int = 0) -> bool:
        """Whether a footprint stays on the ground and ``gap_m`` off others; the last ``beside`` ones may touch it."""
        if not self._ground.covers(polygon):
            return False
        others = self.placed[: len(self.placed) - beside] + self.reserved
        return not (others and bool(shapely.dwithin(np.array(others, dtype=object), polygon, gap_m).any()))

    def place(self, house: House, *, polygon: Polygon | None = None) -> None:
        """Build a house that fits."""
        self.draft.add_house(house, self.block.district)
        self.placed.append(polygon or house.polygon)

    def edges(self, shortest_m: float) -> list[tuple[Frame, float]]:
        """Street fronts, longest first: a frame whose ``v`` looks into the block, and the length."""
        ring = shapely.get_coordinates(shapely.orient_polygons(shapely.simplify(self.block.polygon, 0.8)).exterior)
        step = np.diff(ring, axis=0)
        length = np.hypot(*step.T)
        order = [i for i in np.argsort(-length, kind="stable") if length[i] >= shortest_m]
        return [(Frame(ring[i], step[i] / length[i]), float(length[i])) for i in order]

    def colour(self, chances: tuple[float, float, float]) -> tuple[int, str]:
        """Draw the texture of a roof from the chances of tile, metal and flat, and its colour class."""
        draw = self.rng.random() - chances[0]
        texture = TILE if draw < 0 else METAL if draw < chances[1] else FLAT
        return texture, self.style.colour(texture, self.rng)

    def lots(self, polygon: Polygon, area_m2: float, *, spread: float = 0.35) -> list[Polygon]:
        """Cut a polygon crosswise into lots of about an area."""
        stack, lots = [polygon], []
        while stack:
            piece = stack.pop()
            if piece.area < area_m2 * self.rng.uniform(1 - spread, 1 + spread) * 1.4:
                lots.append(piece)
                continue
            frame, length, depth = box_of(piece)
            at = length * self.rng.uniform(0.42, 0.58)
            for u0, u1 in ((-1, at), (at, length + 1)):
                corners = np.array([[u0, -1], [u1, -1], [u1, depth + 1], [u0, depth + 1]])
                half = piece.intersection(Polygon(frame.out(corners)))
                stack += [g for g in shapely.get_parts(half) if g.geom_type == "Polygon" and g.area > 20]
        return lots

    def plant(self, polygon: shapely.Geometry, number: float, *, low: float = 1.3, high: float = 3.8) -> None:
        """Plant about ``number`` trees with radii from ``low`` to ``high``; crowns may reach over roofs, trunks not."""
        count = self.rng.poisson(max(number, 0))
        if not count:
            return
        left, top, right, bottom = shapely.bounds(polygon)
        xy = self.rng.uniform((left, top), (right, bottom), (count, 2))
        radius = self.rng.uniform(low, high, count)
        points = np.asarray(shapely.points(xy))
        keep = np.asarray(shapely.contains(polygon, points))
        if self.placed:
            placed = np.array(self.placed)
            near = placed[shapely.dwithin(placed, polygon, 1.0)]
            keep &= (shapely.distance(near[:, None], points) > 0.55 * radius).all(0)
        for i in np.flatnonzero(keep):
            self.draft.add_tree(*xy[i], self.rng, radius=float(radius[i]))

    def furnish(self, house: House, frame: Frame, width: float, depth: float) -> None:
        """Put what people put on roofs: chimneys and windows on pitched ones, machines and tanks on level ones."""
        rng = self.rng
        if house.roof == "flat":
            for _ in range(rng.poisson(min(width * depth / 70, 9))):
                u, v = rng.uniform(0.15, 0.85, 2) * (width, depth)
                kind = rng.random()
                if kind < 0.25 and width > 6 and depth > 6:  # stairhead
                    size, grey = (rng.uniform(2, 3.2), rng.uniform(2, 3), 2.3), rng.uniform(120, 190)
                elif kind < 0.6:
                    size, grey = (rng.uniform(0.8, 2), rng.uniform(0.8, 1.4), 0.9), rng.uniform(150, 215)
                else:
                    size, grey = (rng.uniform(0.9, 1.3), rng.uniform(0.9, 1.3), 1.2), rng.choice([40, 70, 200])
                self.draft.add_box(frame, u, v, size, (grey, grey, grey + 3), d.ON_ROOF)
            return
        if rng.random() < 0.4:
            u, v = width * rng.uniform(0.15, 0.85), depth * rng.uniform(0.4, 0.6)
            self.draft.add_box(frame, u, v, (0.7, 0.6, 1.1), (128, 92, 80), d.ON_ROOF)
        for _ in range(rng.poisson(0.5)):
            u, v = width * rng.uniform(0.2, 0.8), depth * rng.choice([0.25, 0.75])
            self.draft.add_box(frame, u, v, (0.8, 1.1, 0.05), (92, 108, 124), d.IN_ROOF)
        if rng.random() < 0.07 and width > 5:
            size = (min(width - 1.5, rng.uniform(3, 6)), depth * 0.28, 0.12)
            self.draft.add_box(frame, width / 2, depth * rng.choice([0.26, 0.74]), size, (38, 46, 70), d.IN_ROOF)

    def fence(self, polygon: Polygon, *, hedge: bool) -> None:
        """Enclose a lot by a hedge or a wall, with gaps."""
        ring = shapely.get_coordinates(shapely.simplify(polygon, 0.3).exterior)
        shade = self.rng.uniform(-14, 14)
        for a, b in pairwise(ring):
            length = float(np.hypot(*(b - a)))
            if length < 3 or self.rng.random() < 0.25:
                continue
            frame = Frame(a, (b - a) / length)
            size = (length * self.rng.uniform(0.7, 1), 0.9, 1.5) if hedge else (length, 0.3, 1.7)
            colour = (66 + shade, 86 + shade, 48 + shade) if hedge else (158 + shade, 150 + shade, 140 + shade)
            middle = Point(frame.spot(length / 2, 0))
            if not (self.placed and shapely.dwithin(np.array(self.placed), middle, 0.8).any()):
                self.draft.add_box(frame, length / 2, 0, size, colour, d.HEDGE if hedge else d.STAND)


def box_of(polygon: Polygon) -> tuple[Frame, float, float]:
    """Return the smallest rectangle around a polygon: its frame at a corner, ``u`` along the long side, and sides."""
    corners = shapely.get_coordinates(shapely.orient_polygons(shapely.oriented_envelope(polygon)))[:4]
    sides = np.hypot(*(np.roll(corners, -1, 0) - corners).T)
    first = 0 if sides[0] >= sides[1] else 1
    a, b = corners[first], corners[(first + 1) % 4]
    return Frame(a, (b - a) / sides[first]), float(sides[first]), float(sides[1 - first])
