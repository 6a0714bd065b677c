"""Rings of many polygons as edges, each polygon in a frame of its own: the compiled part of regularisation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import shapely
from numba import njit

from eaves.footprints.edges import ACROSS, ALONG, KINDS, fit_edges, meet_edges
from eaves.footprints.frames import main_direction, refined_turn, turn, turn_back
from eaves.footprints.walls import Sides

_PRICE = 0.2  # of an edge, in cubed tolerances
_TURNS = np.radians(np.array([0.0, 3.0, -3.0, 6.0, -6.0, 10.0, -10.0]))  # tried where a frame gives no polygon
_SMALL = 2.0  # tolerances
_ROUNDS = 3  # a frame follows its edges, which follow the frame
_SAME = np.radians(0.02)


class Drafts(NamedTuple):
    """Edges of rings, one ring after the other.

    Attributes:
        ends: Where the edges of each ring end, int64 ``(rings + 1,)``; a ring without edges could not be drawn.
        kinds: Of edges, int64 ``(edges,)``.
        lines: A point and a direction of each, in the frame of its polygon, float64 ``(edges, 4)``.
        starts: The vertex of its ring where each begins, int64 ``(edges,)``.
        prices: Of rings, float64 ``(rings,)``, in cubed tolerances; infinite where there are no edges.
    """

    ends: np.ndarray
    kinds: np.ndarray
    lines: np.ndarray
    starts: np.ndarray
    prices: np.ndarray


class Rings(NamedTuple):
    """Polygons as arrays.

    Attributes:
        coords: Of all rings, each closed, float64 ``(m, 2)``.
        ends: Where each ring ends, int64 ``(rings + 1,)``.
        polygon_ends: Where the rings of each polygon end, int64 ``(polygons + 1,)``.
    """

    coords: np.ndarray
    ends: np.ndarray
    polygon_ends: np.ndarray

    def ring(self, number: int) -> np.ndarray:
        """A ring, closed."""
        return self.coords[self.ends[number] : self.ends[number + 1]]

    @property
    def owners(self) -> np.ndarray:
        """The polygon of each ring."""
        return np.repeat(np.arange(len(self.polygon_ends) - 1), np.diff(self.polygon_ends))


def as_rings(polygons: np.ndarray) -> Rings:
    """Return polygons, none of them empty, as arrays."""
    _, coords, (ends, polygon_ends) = shapely.to_ragged_array(polygons)
    return Rings(np.ascontiguousarray(coords[:, :2]), ends.astype(np.int64), polygon_ends.astype(np.int64))


def main_directions(rings: Rings, tolerance: float) -> np.ndarray:
    """The direction of each polygon's walls by its exterior, in radians, float64 ``(polygons,)``."""
    return _directions(rings.coords, rings.ends, rings.polygon_ends, tolerance)


def exterior_sides(rings: Rings, drafts: Drafts, lines: np.ndarray) -> Sides:
    """The edges of exteriors, with the stretches of the outline that they stand for."""
    exterior = rings.polygon_ends[:-1]
    count = np.diff(drafts.ends)[exterior]
    ends = np.concatenate([[0], np.cumsum(count)])
    within = np.arange(ends[-1]) - np.repeat(ends[:-1], count)
    edge = np.repeat(drafts.ends[exterior], count) + within
    following = np.repeat(drafts.ends[exterior], count) + (within + 1) % np.repeat(count, count)
    size = np.repeat((np.diff(rings.ends) - 1)[exterior], count)
    first, last = drafts.starts[edge] % size, drafts.starts[following] % size
    last = np.where(last > first, last, last + size)
    here = np.repeat(rings.ends[exterior], count)
    a, b = rings.coords[here + first], rings.coords[here + last % size]
    return Sides(ends, lines[edge], first, last, np.hypot(*(b - a).T))


def prices(diagonal_penalty: float) -> np.ndarray:
    """What edges of each kind cost, in cubed tolerances."""
    price = np.full(KINDS, _PRICE)
    price[2:] *= 1 + diagonal_penalty
    return price


def draw(
    rings: Rings,
    angles: np.ndarray,
    origins: np.ndarray,
    fixed: np.ndarray,
    allowed: np.ndarray,
    price: np.ndarray,
    tolerance: float,
    spacing: float = np.inf,
) -> Drafts:
    """Replace rings by edges.

    Args:
        rings: The polygons.
        angles: Of each polygon's frame, in radians, float64 ``(polygons,)``; turned in place to fit its edges better.
        origins: Of each polygon's frame, float64 ``(polygons, 2)``.
        fixed: Whether its angle is to stay, bool ``(polygons,)``.
        allowed: Kinds that edges may have, bool ``(5,)``.
        price: Of edges of each kind, in cubed tolerances, float64 ``(5,)``.
        tolerance: How far an edge may lie from what it stands for.
        spacing: Edges may meet at bends of a ring, and at vertices between them that are so far apart.
    """
    reach = (float(tolerance), float(spacing))
    ends, polygon_ends = rings.ends, rings.polygon_ends
    return Drafts(*_draw(rings.coords, ends, polygon_ends, angles, origins, fixed, allowed, price, reach))


def round_offsets(drafts: Drafts, precision: float) -> None:
    """Move edges along and across, in place, so that their distances from the origin are multiples of a length."""
    for kind, axis in ((ALONG, 1), (ACROSS, 0)):
        chosen = drafts.kinds == kind
        drafts.lines[chosen, axis] = np.round(drafts.lines[chosen, axis] / precision) * precision


def lines_on_map(drafts: Drafts, angles: np.ndarray, origins: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """The lines of edges in the plane instead of their frames, float64 ``(edges, 4)``."""
    ring = np.repeat(np.arange(len(owners)), np.diff(drafts.ends))
    c, s = np.cos(angles[owners[ring]]), np.sin(angles[owners[ring]])
    x, y, dx, dy = drafts.lines.T
    origin = origins[owners[ring]]
    return np.column_stack(
        [origin[:, 0] + c * x - s * y, origin[:, 1] + s * x + c * y, c * dx - s * dy, s * dx + c * dy]
    )


def corners(
    drafts: Drafts, angles: np.ndarray, origins: np.ndarray, owners: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where edges meet, in the plane: closed rings, float64 ``(m, 2)``, and where each ends."""
    return _corners(drafts.ends, drafts.lines, angles[owners], origins[owners])


@njit(cache=True, nogil=True)
def _directions(coords, ends, polygon_ends, tolerance):
    angles = np.empty(len(polygon_ends) - 1)
    for k in range(len(angles)):
        ring = polygon_ends[k]
        angles[k] = main_direction(coords[ends[ring] : ends[ring + 1] - 1], tolerance)
    return angles


@njit(cache=True, nogil=True)
def _draw(coords, ends, polygon_ends, angles, origins, fixed, allowed, price, reach):
    tolerance, spacing = reach
    most = len(coords)
    kinds, lines, starts = np.empty(most, np.int64), np.empty((most, 4)), np.empty(most, np.int64)
    rings = len(ends) - 1
    edge_ends, costs = np.zeros(rings + 1, np.int64), np.full(rings, np.inf)
    price = price * tolerance**3
    done = 0
    for k in range(len(polygon_ends) - 1):
        for ring in range(polygon_ends[k], polygon_ends[k + 1]):
            source = coords[ends[ring] : ends[ring + 1] - 1]
            edge_ends[ring + 1] = done
            if len(source) < 3 or _is_small(source, tolerance):
                continue
            local = np.empty_like(source)
            at = slice(done, done + len(source))
            if ring == polygon_ends[k] and not fixed[k]:
                count, cost, angles[k] = _best_frame(
                    source, angles[k], origins[k], local, allowed, price, reach, kinds[at], lines[at], starts[at]
                )
            else:
                turn(source, angles[k], origins[k, 0], origins[k, 1], local)
                count, cost = fit_edges(local, allowed, price, tolerance, spacing, kinds[at], lines[at], starts[at])
            done += count
            edge_ends[ring + 1], costs[ring] = done, cost / tolerance**3
    return edge_ends, kinds[:done].copy(), lines[:done].copy(), starts[:done].copy(), costs


@njit(cache=True, nogil=True)
def _is_small(ring, tolerance):
    """Whether a ring is so small that any way round it is within the tolerance, and its edges say nothing."""
    width = ring[:, 0].max() - ring[:, 0].min()
    height = ring[:, 1].max() - ring[:, 1].min()
    return max(width, height) < _SMALL * tolerance


@njit(cache=True, nogil=True)
def _best_frame(source, angle, origin, local, allowed, price, reach, kinds, lines, starts):
    """Edges of an exterior in the frame that suits it best, near an angle; their number, price, and the angle."""
    tolerance, spacing = reach
    best, best_angle = np.inf, angle
    here, count, cost = angle, 0, np.inf
    for off in _TURNS:
        if best < np.inf:
            break
        here = angle + off
        for _ in range(_ROUNDS):
            turn(source, here, origin[0], origin[1], local)
            count, cost = fit_edges(local, allowed, price, tolerance, spacing, kinds, lines, starts)
            if cost < best:
                best, best_angle = cost, here
            more = refined_turn(local, kinds, starts, count) if count else 0.0
            if abs(more) < _SAME:
                break
            here += more
    if best == np.inf:
        return 0, best, angle
    if here != best_angle or cost != best:
        turn(source, best_angle, origin[0], origin[1], local)
        count, best = fit_edges(local, allowed, price, tolerance, spacing, kinds, lines, starts)
    return count, best, best_angle


@njit(cache=True, nogil=True)
def _corners(ends, lines, angles, origins):
    rings = len(ends) - 1
    out, out_ends = np.empty((len(lines) + rings, 2)), np.zeros(rings + 1, np.int64)
    n = 0
    for ring in range(rings):
        count = ends[ring + 1] - ends[ring]
        if count:
            local = np.empty((count + 1, 2))
            meet_edges(lines[ends[ring] : ends[ring + 1]], count, local)
            turn_back(local, angles[ring], origins[ring, 0], origins[ring, 1], out[n : n + count + 1])
            n += count + 1
        out_ends[ring + 1] = n
    return out[:n], out_ends
