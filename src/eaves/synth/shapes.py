"""Footprints of houses and the roofs over them.

A roof is the upper envelope of simple roofs over oriented rectangles: where two of them meet, ridges and valleys come
of themselves. A footprint is drawn in its own frame, ``u`` along the street and ``v`` away from it, in metres.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import cast

import numpy as np
import shapely
from shapely.geometry import Polygon

# how a roof part rises: level; ridge along u; hipped at both ends; hipped at its low-u end; one slope up along v; ring
LEVEL, GABLE, HIP, HALF_HIP, SHED, RING = range(6)
PART = 10  # numbers a part has: x, y, cos, sin, half length, half width, eaves height, slope, kind, ring depth


@dataclass(frozen=True)
class Frame:
    """A place and a direction on the ground: ``at`` (x, y) in metres, ``u`` a unit vector; ``v`` is ``u`` turned."""

    at: np.ndarray
    u: np.ndarray

    @property
    def v(self) -> np.ndarray:
        """The second axis."""
        return np.array([-self.u[1], self.u[0]])

    def out(self, local: np.ndarray) -> np.ndarray:
        """Return points of this frame ``(n, 2)`` on the ground."""
        (x, y), (c, s) = self.at, self.u
        there = np.empty(local.shape)
        there[:, 0] = x + local[:, 0] * c - local[:, 1] * s
        there[:, 1] = y + local[:, 0] * s + local[:, 1] * c
        return there

    def spot(self, u: float, v: float) -> np.ndarray:
        """Return one point on the ground, ``(2,)``."""
        (x, y), (c, s) = self.at, self.u
        return np.array([x + u * c - v * s, y + u * s + v * c])

    def part(self, u0: float, u1: float, v0: float, v1: float, eaves: float, slope: float, kind: int, **more) -> tuple:
        """Return a roof part over a rectangle; ``turned`` lays its ridge along ``v``, low end first."""
        (x, y), (c, s), u, v = self.at, self.u, (u0 + u1) / 2, (v0 + v1) / 2
        half, axis = ((u1 - u0) / 2, (v1 - v0) / 2), (c, s)
        if more.get("turned"):
            half, axis = half[::-1], (-s, c)
        return (x + u * c - v * s, y + u * s + v * c, *axis, *half, eaves, slope, kind, more.get("depth", 0.0))


@dataclass(frozen=True)
class House:
    """A building.

    Attributes:
        rings: Outline first, then courtyards; each ``(n, 2)`` in metres, not closed.
        parts: Roof parts, each ``PART`` numbers.
        roof: ``hip``, ``gable`` or ``flat``.
        colour: Colour class of the roof.
        height_m: Eaves height.
    """

    rings: list[np.ndarray]
    parts: list[tuple]
    roof: str
    colour: str
    height_m: float

    @cached_property
    def polygon(self) -> Polygon:
        """The footprint."""
        if len(self.rings) == 1:
            return cast(Polygon, shapely.polygons(self.rings[0]))  # five times as fast as the constructor
        return Polygon(self.rings[0], self.rings[1:])


@dataclass(frozen=True)
class Wing:
    """A part behind the main body, from ``u0`` to ``u1``, ``length`` metres deep."""

    u0: float
    u1: float
    length: float


def box_ring(u0: float, u1: float, v0: float, v1: float) -> np.ndarray:
    """Corners of a rectangle, ``(4, 2)``."""
    return np.array([[u0, v0], [u1, v0], [u1, v1], [u0, v1]], dtype=float)


def build(
    frame: Frame, width: float, depth: float, wings: list[Wing], *, roof: str, colour: str, eaves: float, slope: float
) -> House:
    """Build a house of a body ``width × depth`` and wings behind it: a rectangle, an L, a T or a U.

    Args:
        frame: Its front left corner is the origin.
        width: Along ``u``, metres.
        depth: Along ``v``, metres.
        wings: From left to right; a wing at a side makes an L, in the middle a T, two make a U.
        roof: ``hip``, ``gable`` or ``flat``; a ``gable`` with slope under 0.2 and no wings is one slope.
        colour: Colour class.
        eaves: Height of the eaves, metres.
        slope: Rise over run of pitched roofs.
    """
    back = [(width, depth)]
    for w in reversed(wings):
        back += [(w.u1, depth), (w.u1, depth + w.length), (w.u0, depth + w.length), (w.u0, depth)]
    ring = _clean([(0.0, 0.0), (width, 0.0), *back, (0.0, depth)])
    if roof == "flat":
        parts = [frame.part(0, width, 0, depth, eaves, 0.0, LEVEL)]
        parts += [frame.part(w.u0, w.u1, 0, depth + w.length, eaves, 0.0, LEVEL) for w in wings]
    else:
        kind = {"hip": HIP, "gable": GABLE}[roof]
        if roof == "gable" and slope < 0.2 and not wings:
            kind = SHED
        turned = depth > width * 1.15 and not wings
        parts = [frame.part(0, width, 0, depth, eaves, slope, kind, turned=turned)]
        ends = HIP if roof == "hip" else HALF_HIP
        parts += [frame.part(w.u0, w.u1, 0, depth + w.length, eaves, slope, ends, turned=True) for w in wings]
    return House([frame.out(ring)], parts, roof, colour, eaves)


def _clean(ring: list[tuple[float, float]]) -> np.ndarray:
    """Drop repeated points and points within a straight side of a ring whose sides lie along the axes."""
    points = [p for p, before in zip(ring, ring[-1:] + ring[:-1], strict=True) if p != before]
    around = zip(points[-1:] + points[:-1], points, points[1:] + points[:1], strict=True)
    return np.array([p for a, p, b in around if not (a[0] == p[0] == b[0] or a[1] == p[1] == b[1])])


def build_court(
    frame: Frame, width: float, depth: float, thick: float, *, roof: str, colour: str, eaves: float, slope: float
) -> House:
    """Build a house around a courtyard: ``width × depth`` outside, ``thick`` metres from the street to the court."""
    rings = [box_ring(0, width, 0, depth), box_ring(thick, width - thick, thick, depth - thick)[::-1]]
    part = frame.part(0, width, 0, depth, eaves, 0.0 if roof == "flat" else slope, RING, depth=thick)
    return House([frame.out(r) for r in rings], [part], roof, colour, eaves)


def build_bays(
    frame: Frame, width: float, depth: float, bays: int, *, roof: str, colour: str, eaves: float, slope: float
) -> House:
    """Build a hall with parallel bays along ``u``, each with its own ridge."""
    cuts = np.linspace(0, depth, bays + 1)
    kind = {"hip": HIP, "gable": GABLE, "flat": LEVEL}[roof]
    if kind == LEVEL:
        parts = [frame.part(0, width, 0, depth, eaves, 0.0, LEVEL)]
    else:
        parts = [frame.part(0, width, a, b, eaves, slope, kind) for a, b in pairwise(cuts)]
    return House([frame.out(box_ring(0, width, 0, depth))], parts, roof, colour, eaves)
