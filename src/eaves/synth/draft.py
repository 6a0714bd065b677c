"""The drawing board of a plan: houses, patches of ground, boxes and trees collect here, and are packed into arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import shapely

from eaves.synth.shapes import Frame, House, box_ring

# what covers the ground
MIXED, LAWN, SOIL, ASPHALT, PAVING, CROP, WATER, PLAIN, PARKING = range(9)
# order of painting the ground
BASE, YARD, DETAIL, RIVER, PAVEMENT, ROAD, MARK = range(7)
# kinds of boxes: stands on the ground, stands on a roof, lies in a roof, car, hedge
STAND, ON_ROOF, IN_ROOF, CAR, HEDGE = range(5)
_CARS = np.array(
    [(226, 226, 224), (176, 178, 182), (58, 58, 62), (110, 112, 116), (150, 48, 44), (52, 76, 130), (198, 184, 150)]
)
_CAR_SHARES = np.array([0.3, 0.52, 0.70, 0.82, 0.89, 0.96])  # cumulated


@dataclass(frozen=True)
class Ragged:
    """Polygons as flat arrays.

    Attributes:
        points: All corners, ``(p, 2)`` float64.
        rings: Where each ring begins in ``points``, ``(r + 1,)``.
        polygons: Where each polygon begins in ``rings``, ``(n + 1,)``.
        bounds: ``(n, 4)`` xyxy.
    """

    points: np.ndarray
    rings: np.ndarray
    polygons: np.ndarray
    bounds: np.ndarray

    @classmethod
    def of(cls, polygons: Sequence[Sequence[np.ndarray]]) -> Ragged:
        """Pack polygons, each a list of open rings ``(k, 2)``."""
        rings = [ring for polygon in polygons for ring in polygon]
        points = np.concatenate(rings) if rings else np.zeros((0, 2))
        starts = np.cumsum([0, *map(len, rings)])
        bounds = np.array([[*p[0].min(0), *p[0].max(0)] for p in polygons]).reshape(-1, 4)
        return cls(points, starts, np.cumsum([0, *map(len, polygons)]), bounds)


@dataclass
class Draft:
    """What has been drawn so far; coordinates in metres from the scene's upper left corner, y down."""

    houses: list[House] = field(default_factory=list)
    districts: list[str] = field(default_factory=list)
    patches: list[tuple[int, list[np.ndarray], tuple]] = field(default_factory=list)
    boxes: list[tuple] = field(default_factory=list)
    trees: list[tuple] = field(default_factory=list)

    def add_house(self, house: House, district: str) -> None:
        """Add a building to the truth and the picture."""
        self.houses.append(house)
        self.districts.append(district)

    def add_patch(
        self,
        layer: int,
        shape: np.ndarray | shapely.Geometry,
        cover: int,
        rng: np.random.Generator,
        *,
        colour: Iterable[float] = (0, 0, 0),
        frame: Frame | None = None,
        amount: float = 0.0,
    ) -> None:
        """Cover ground.

        Args:
            layer: Order of painting.
            shape: A ring ``(n, 2)`` or polygons.
            cover: What it is: ``LAWN``, ``SOIL`` …
            rng: For the patch's own shade.
            colour: Of ``PAVING`` and ``PLAIN``, display values.
            frame: Origin and direction of rows.
            amount: Share of grass of ``MIXED``; height of ``CROP``.
        """
        at, u = (frame.at, frame.u) if frame else (np.zeros(2), np.array([1.0, 0.0]))
        row = (cover, *colour, *at, *u, amount, rng.uniform(-1, 1))
        if isinstance(shape, np.ndarray):
            self.patches.append((layer, [shape], row))
            return
        for part in shapely.get_parts(shape):
            if part.geom_type == "Polygon" and part.area > 0.05:
                rings = [shapely.get_coordinates(r)[:-1] for r in (part.exterior, *part.interiors)]
                self.patches.append((layer, rings, row))

    def add_box(
        self, frame: Frame, u: float, v: float, size: tuple[float, float, float], colour: Iterable[float], kind: int
    ) -> None:
        """Set a box of ``size`` (length, width, height) with its middle at ``(u, v)`` of a frame."""
        at = frame.spot(u, v)
        self.boxes.append((*at, *frame.u, size[0] / 2, size[1] / 2, size[2], *colour, kind))

    def add_car(self, frame: Frame, u: float, v: float, rng: np.random.Generator, *, across: bool = False) -> None:
        """Park a car along ``u``, or along ``v`` when ``across``."""
        turned = Frame(frame.spot(u, v), frame.v if across else frame.u)
        if rng.random() < 0.5:
            turned = Frame(turned.at, -turned.u)
        colour = _CARS[np.searchsorted(_CAR_SHARES, rng.random())] + rng.uniform(-10, 10, 3)
        if rng.random() < 0.06:
            self.add_box(turned, 0, 0, (rng.uniform(6, 9), 2.4, 3.0), (205, 205, 200), STAND)
        else:
            self.add_box(turned, 0, 0, (rng.uniform(3.9, 4.8), rng.uniform(1.75, 1.95), 1.5), colour, CAR)

    def add_tree(self, x: float, y: float, rng: np.random.Generator, *, radius: float | None = None) -> None:
        """Plant a tree."""
        r = rng.uniform(1.4, 4.2) if radius is None else radius
        self.trees.append((x, y, r, r * rng.uniform(1.5, 2.2) + 1.2, rng.uniform(-1, 1), rng.integers(1 << 20)))

    def add_parking(self, frame: Frame, length: float, depth: float, rng: np.random.Generator, full: float) -> None:
        """Lay out a car park ``length × depth`` with bays on both sides of its lane, ``full`` of them taken."""
        self.add_patch(YARD, frame.out(box_ring(0, length, 0, depth)), PARKING, rng, frame=frame, amount=depth)
        for v in (2.6, depth - 2.6) if depth > 13 else (2.6,):
            for u in np.arange(1.25, length - 1.25, 2.5):
                if rng.random() < full:
                    self.add_car(frame, float(u), v + rng.normal(0, 0.2), rng, across=True)
