"""The street plan: a rectangle is cut in two, and each piece again, until the pieces are blocks.

Cuts are not quite in the middle and not quite square, so streets meet in T and X and never make a chessboard; a smooth
bend is laid over the whole afterwards. Junctions are shared points of a street and the blocks on both sides of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import shapely
from shapely.geometry import LineString, Polygon

from eaves.synth.style import DISTRICTS, Style

# area of a block at which cutting ends, in square metres, and width of its streets in metres
_BLOCK_M2 = {
    "rows": 7500,
    "core": 7500,
    "suburb": 11000,
    "estate": 15000,
    "industrial": 26000,
    "park": 16000,
    "fields": 60000,
}
_STREET_M = {"rows": 7.5, "core": 5.0, "suburb": 6.5, "estate": 7.0, "industrial": 9.0, "park": 6.0, "fields": 4.0}


@dataclass
class Street:
    """One cut: a straight line before the bend.

    Attributes:
        ends: Ends before the bend, ``(2, 2)`` in metres.
        width_m: Kerb to kerb.
        dirt: Without asphalt.
        main: Parts districts: has bridges, trees and crossings.
        at: Places of junctions along it, 0 to 1.
        line: After ``bend``: polyline ``(n, 2)`` in metres, and its places ``where`` ``(n,)``.
    """

    ends: np.ndarray
    width_m: float
    dirt: bool
    main: bool
    at: list[float] = field(default_factory=lambda: [0.0, 1.0])
    line: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    where: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def bend(self, warp: Warp) -> None:
        """Give the street its final course, through its junctions."""
        length = float(np.hypot(*(self.ends[1] - self.ends[0])))
        at = np.unique(self.at)
        extra = [np.linspace(a, b, n + 1)[1:-1] for a, b in pairwise(at) if (n := int((b - a) * length / 75)) > 1]
        self.where = np.unique(np.concatenate([at, *extra]))
        self.line = warp(self.ends[0] + self.where[:, None] * (self.ends[1] - self.ends[0]))

    def between(self, a: float, b: float) -> np.ndarray:
        """Return the points from place ``a`` to place ``b``, without the last."""
        low, high = min(a, b), max(a, b)
        part = self.line[(self.where >= low) & (self.where <= high)]
        return (part if a < b else part[::-1])[:-1]


@dataclass(frozen=True)
class Block:
    """What streets leave: ``polygon`` in metres to its kerbs, ``district`` its kind, ``ring`` up to street axes."""

    polygon: Polygon
    district: str
    ring: Polygon


class Warp:
    """A smooth bend of the plane by a few sines; ``warp((n, 2)) -> (n, 2)`` in metres."""

    def __init__(self, rng: np.random.Generator) -> None:
        waves = 6
        turn, length = rng.uniform(0, 2 * np.pi, waves), rng.uniform(230, 700, waves)
        self.k = 2 * np.pi / length[:, None] * np.column_stack([np.cos(turn), np.sin(turn)])
        self.shift = rng.uniform(-1, 1, (waves, 2)) * (length * 0.017)[:, None]
        self.phase = rng.uniform(0, 2 * np.pi, waves)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Bend points."""
        return points + np.sin(points @ self.k.T + self.phase) @ self.shift


@dataclass
class _Piece:
    points: np.ndarray  # (n, 2), convex
    streets: list[int]  # of the edge from each point to the next; -1 is the rim
    district: str | None
    level: int


def lay_streets(extent_m: tuple[float, float], style: Style, seed: int) -> tuple[list[Street], list[Block]]:
    """Cut the ground into blocks.

    Args:
        extent_m: Height and width of the scene.
        style: The city's look.
        seed: The city's seed.

    Returns:
        Streets with their course, and blocks that reach the scene or its 40 m rim.
    """
    rng = np.random.default_rng([seed, 2])
    height, width = extent_m
    frame = shapely.box(-40, -40, width + 40, height + 40)
    warp = Warp(rng)
    streets, done = _cut_all(extent_m, style, rng)
    for street in streets:
        street.bend(warp)
    tubes = [
        shapely.buffer(LineString(s.line), s.width_m / 2 + kerb_m(s), cap_style="flat", join_style="mitre")
        for s in streets
    ]
    tree = shapely.STRtree(tubes)
    blocks = []
    for piece in done:
        ring = _ring(piece, streets, warp)
        if not ring.is_valid or not ring.intersects(frame):
            continue
        near = tree.query(ring, predicate="intersects")
        polygon = ring.difference(shapely.union_all([tubes[i] for i in near]))
        for part in shapely.get_parts(polygon):
            if part.area > 150:
                blocks.append(Block(part, piece.district or "park", ring))
    return streets, blocks


def kerb_m(street: Street) -> float:
    """Width of the pavement on each side of a street."""
    return 0.6 if street.dirt else 2.4 if street.main else 1.7 if street.width_m > 6 else 1.0


def _cut_all(
    extent_m: tuple[float, float], style: Style, rng: np.random.Generator
) -> tuple[list[Street], list[_Piece]]:
    height, width = extent_m
    middle = np.array([width / 2, height / 2])
    reach = np.hypot(width, height) / 2 + 110
    turn = rng.uniform(0.05, 0.35) * rng.choice([-1, 1])
    axes = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    corners = middle + reach * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) @ axes
    district_m2 = float(np.clip(min(extent_m) / 3.2, 105, 520)) ** 2
    frame = np.array([-90.0, -90.0, width + 90, height + 90])
    streets: list[Street] = []
    done: list[_Piece] = []
    debt = np.zeros(len(DISTRICTS))  # area each kind still has to get: keeps even a small city mixed
    stack = [_Piece(corners, [-1] * 4, None, 0)]
    while stack:
        piece = stack.pop()
        low, high = piece.points.min(0), piece.points.max(0)
        if (low > frame[2:]).any() or (high < frame[:2]).any():
            continue
        area = _area(piece.points)
        if piece.district is None and area < 1.3 * district_m2:
            out = np.abs((low + high) / 2 - middle).max() / (max(extent_m) / 2)
            piece.district = _draw_district(style, debt, area, out, rng)
        wanted = np.inf if piece.district is None else _BLOCK_M2[piece.district] * rng.uniform(0.75, 1.5)
        if piece.district is not None and area < wanted:
            done.append(piece)
        else:
            stack.extend(_cut(piece, streets, style, rng))
    return streets, done


def _draw_district(style: Style, debt: np.ndarray, area: float, out: float, rng: np.random.Generator) -> str:
    shares = style.shares * np.where(np.array(DISTRICTS) == "fields", 0.2 + 2.2 * max(0.0, out - 0.25), 1.0)
    shares *= np.where(np.array(DISTRICTS) == "core", 1.6 - out, 1.0)
    debt += shares / shares.sum() * area
    chosen = int(np.argmax(debt + rng.uniform(0, 0.25, len(debt)) * area))
    debt[chosen] -= area
    return DISTRICTS[chosen]


def _cut(piece: _Piece, streets: list[Street], style: Style, rng: np.random.Generator) -> list[_Piece]:
    """Cut a piece across its long side; the cut becomes a street and ends in junctions with two others."""
    points = piece.points
    edge = np.roll(points, -1, 0) - points
    direction = edge / np.hypot(*edge.T)[:, None]
    spans = [(np.ptp(points @ d), np.ptp(points @ np.array([-d[1], d[0]])), i) for i, d in enumerate(direction)]
    along, across, best = min(spans, key=lambda s: s[0] * s[1])
    d = direction[best] if along >= across else np.array([-direction[best][1], direction[best][0]])
    inner = piece.district is not None
    slant = rng.normal(0, 0.035 if inner else 0.12)
    c, s = np.cos(slant), np.sin(slant)
    normal = np.array([d[0] * c - d[1] * s, d[0] * s + d[1] * c])
    place = points @ normal
    level = place.min() + np.ptp(place) * rng.uniform(0.38, 0.62)
    side = place - level
    number = len(streets)
    ends: list[np.ndarray] = []
    halves: tuple[list, list] = ([], [])
    for i in range(len(points)):
        j = (i + 1) % len(points)
        halves[int(side[i] > 0)].append((points[i], piece.streets[i]))
        if (side[i] > 0) != (side[j] > 0):
            share = side[i] / (side[i] - side[j])
            cross = points[i] + share * (points[j] - points[i])
            _join(streets, piece.streets[i], cross)
            ends.append(cross)
            halves[int(side[i] > 0)].append((cross, number))
            halves[int(side[j] > 0)].append((cross, piece.streets[i]))
    if piece.district is not None:
        width_m, dirt_share = _STREET_M[piece.district] * rng.uniform(0.85, 1.15), style.dirt_share
        dirt_share = {"fields": 0.9, "industrial": 0.0, "estate": 0.0}.get(piece.district, dirt_share)
    else:
        width_m, dirt_share = (13.0 if piece.level < 2 else 8.8) * rng.uniform(0.9, 1.1), 0.0
    streets.append(Street(np.array(ends), float(width_m), bool(rng.random() < dirt_share), not inner))
    return [
        _Piece(np.array([p for p, _ in half]), [s for _, s in half], piece.district, piece.level + 1) for half in halves
    ]


def _place(street: Street, point: np.ndarray) -> float:
    d = street.ends[1] - street.ends[0]
    return float(np.round((point - street.ends[0]) @ d / (d @ d), 12))


def _join(streets: list[Street], number: int, point: np.ndarray) -> None:
    if number >= 0:
        streets[number].at.append(_place(streets[number], point))


def _ring(piece: _Piece, streets: list[Street], warp: Warp) -> Polygon:
    parts = []
    for i, number in enumerate(piece.streets):
        a, b = piece.points[i], piece.points[(i + 1) % len(piece.points)]
        if number < 0:
            parts.append(warp(a[None]))
        else:
            parts.append(streets[number].between(_place(streets[number], a), _place(streets[number], b)))
    return Polygon(np.concatenate(parts))


def _area(points: np.ndarray) -> float:
    x, y = points.T
    return float(abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2)
