"""What flows and drives through a city: the river, and streets with pavements, marks, cars and trees."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import shapely
from shapely.geometry import LineString, Polygon

from eaves.synth import draft as d
from eaves.synth.draft import Draft
from eaves.synth.shapes import Frame
from eaves.synth.streets import Street, kerb_m

Way = tuple[LineString, float, bool]  # axis, width in metres, without asphalt


def cut_river(extent_m: tuple[float, float], seed: int) -> Polygon | None:
    """Let a river wind through the scene, wider in larger ones; some cities, and all small ones, have none."""
    rng = np.random.default_rng([seed, 5])
    height, width = extent_m
    reach = max(extent_m)
    if reach < 280 or rng.random() < 0.35:
        return None
    half = float(np.clip(reach * 0.012, 5, 22))
    turn = rng.uniform(0, np.pi)
    middle = np.array([width, height]) * rng.uniform(0.25, 0.75, 2)
    t = np.arange(-0.8 * reach, 0.8 * reach, 6.0)
    swing = sum(a * np.sin(t / w + rng.uniform(0, 6)) for a, w in ((0.05 * reach, 0.16 * reach), (12.0, 38.0)))
    axis, side = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    wide = half * (1 + 0.25 * np.sin(t / 55 + rng.uniform(0, 6)))
    left, right = (middle + t[:, None] * axis + (swing + s * wide)[:, None] * side for s in (1, -1))
    return Polygon(np.vstack([left, right[::-1]])).buffer(0)


def pave(
    draft: Draft, streets: list[Street], river: Polygon | None, extent_m: tuple[float, float], seed: int
) -> list[Way]:
    """Draw the streets with pavements, marks, cars and trees; return their axes, width and surface."""
    height, width = extent_m
    frame = shapely.box(-30, -30, width + 30, height + 30)
    lines: list[Way] = []
    for number, street in sorted(enumerate(streets), key=lambda s: s[1].width_m):  # wide ones over narrow ones
        line = LineString(street.line).intersection(frame)
        if river is not None and not street.main:
            line = line.difference(river.buffer(4))  # only main streets have bridges
        for part in shapely.get_parts(line):
            if part.geom_type == "LineString" and part.length > 3:
                rng = np.random.default_rng([seed, 6, number])
                lines.append((part, street.width_m, street.dirt))
                kerb = kerb_m(street)
                if not street.dirt:
                    grey = rng.uniform(150, 170)
                    walk = part.buffer(street.width_m / 2 + kerb, cap_style="round", join_style="mitre")
                    draft.add_patch(d.PAVEMENT, walk, d.PAVING, rng, colour=(grey, grey - 3, grey - 8))
                way = part.buffer(street.width_m / 2, cap_style="round", join_style="mitre")
                cover = d.SOIL if street.dirt else d.ASPHALT
                draft.add_patch(d.PAVEMENT if street.dirt else d.ROAD, way, cover, rng)
                _along(draft, part, street, river, rng)
    return lines


def _along(draft: Draft, line: LineString, street: Street, river: Polygon | None, rng: np.random.Generator) -> None:
    points = shapely.get_coordinates(line)
    junctions = shapely.points(np.array(street.line))
    half = street.width_m / 2
    dense = rng.uniform(0.04, 0.4)
    for a, b in pairwise(points):
        length = float(np.hypot(*(b - a)))
        if length < 16:
            continue
        frame = Frame(a, (b - a) / length)
        if not street.dirt and street.width_m > 6.2:
            step, dash = (9.0, 3.0) if street.main else (12.0, 2.0)
            for u in np.arange(9.0, length - 9.0, step):
                ring = frame.out(np.array([[u, -0.08], [u + dash, -0.08], [u + dash, 0.08], [u, 0.08]]))
                draft.add_patch(d.MARK, ring, d.PLAIN, rng, colour=(205, 204, 198))
        for u in np.arange(9.0, length - 9.0, 6.5):
            for side in (-1, 1):
                if street.width_m > 6 and rng.random() < dense * (0.5 if street.dirt else 1):
                    draft.add_car(frame, u + rng.uniform(-0.6, 0.6), side * (half - 1.15), rng)
                elif street.width_m > 5 and rng.random() < 0.06:
                    draft.add_car(frame, u, side * half * 0.42, rng)
        if street.main and length > 40 and rng.random() < 0.4:
            for side in np.arange(-half + 0.6, half - 0.5, 1.0):  # a zebra crossing
                ring = frame.out(np.array([[12, side], [15, side], [15, side + 0.5], [12, side + 0.5]]))
                draft.add_patch(d.MARK, ring, d.PLAIN, rng, colour=(205, 204, 198))
        if street.main:
            for u in np.arange(8.0, length - 8.0, 9.0):
                for side in (-1, 1):
                    at = frame.spot(u, side * (half + 1.5))
                    far = shapely.distance(junctions, shapely.points(at)).min() > 9
                    if rng.random() < 0.6 and far and (river is None or not river.contains(shapely.points(at))):
                        draft.add_tree(*at, rng, radius=float(rng.uniform(1.5, 2.8)))
