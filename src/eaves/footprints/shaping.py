"""Each outline by itself: its edges, or its circle, where they stay within the tolerance."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import shapely

from eaves.footprints.circles import circle, compactness, fit_circles
from eaves.footprints.clip import common_areas
from eaves.footprints.deviation import deviations
from eaves.footprints.drafts import Drafts, Rings, as_rings, corners, draw, main_directions, round_offsets
from eaves.footprints.edges import ACROSS, ALONG, FALLING, FREE, KINDS, RISING

Shape = Literal["right-angles", "right-angles-and-diagonals", "any-angle", "circle", "auto"]
REGULARIZERS: dict[Shape, tuple[int, ...]] = {
    "right-angles": (ALONG, ACROSS),
    "right-angles-and-diagonals": (ALONG, ACROSS, RISING, FALLING),
    "any-angle": (ALONG, ACROSS, FREE),
    "circle": (),
    "auto": (),
}
"""Methods, and what edges each has; ``auto`` chooses among the others."""

REGULAR, SHARED, SIMPLIFIED, TRACED, THINNED, CROWDED, NOTHING = range(7)
"""What has become of a polygon."""

_ROUND = 0.88  # compactness from which ``auto`` tries a circle: an octagon has 0.948, a square 0.785
_PLAINLY_ROUND = 2.5  # of the tolerance: the least radius at which blur leaves a square its corners
_PLAIN = 4.5  # edges' worth: what costs less is a plain rectangle, to which nothing else is preferred
_WORTH = 0.95  # of the price: what a freer method has to stay below to be preferred
_BOX = 6.0  # edges' worth of a rectangle that stands for a ring too small to have edges
_UNIT = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0]])


@dataclass
class Work:
    """Single polygons on their way: as given, as they are by now, and what has become of each."""

    traced: np.ndarray
    shapes: np.ndarray
    why: np.ndarray
    method: np.ndarray
    price: np.ndarray
    angles: np.ndarray
    origins: np.ndarray
    deviation: np.ndarray

    def of(self, chosen: np.ndarray) -> Work:
        """Return what has become of some, each as often as it is named."""
        return Work(*(getattr(self, each.name)[chosen] for each in fields(self)))


@dataclass(frozen=True)
class Rules:
    """What was asked for: method, tolerance, prices of edges, and the rest in units of the plane."""

    method: Shape
    tolerance: float
    price: np.ndarray
    precision: float
    spacing: float
    radii: tuple[float, float]


def shape_alone(parts: np.ndarray, rules: Rules) -> Work:
    """Give each of single polygons the shape that the rules ask for, as if it stood alone."""
    count = len(parts)
    work = Work(
        parts,
        parts.copy(),
        np.full(count, TRACED),
        np.full(count, "", object),
        np.full(count, np.inf),
        np.zeros(count),
        shapely.get_coordinates(shapely.centroid(parts)),
        np.zeros(count),
    )
    if not count:
        return work
    work.angles = main_directions(as_rings(parts), rules.tolerance)
    everyone = np.arange(count)
    methods: tuple[Shape, ...] = (rules.method,)
    if rules.method == "auto":
        methods = ("right-angles", "right-angles-and-diagonals", "any-angle")
    for method in methods:
        if REGULARIZERS[method]:
            _draw(work, everyone[work.price > _PLAIN * rules.price[ALONG]], method, rules)
    if rules.method in ("circle", "auto"):
        _round_off(work, rules)
    return work


def _draw(work: Work, chosen: np.ndarray, method: Shape, rules: Rules) -> None:
    """Draw some polygons with a method's edges, and take what is cheaper than what they have."""
    if not len(chosen):
        return
    rings, angles, origins = as_rings(work.traced[chosen]), work.angles[chosen], work.origins[chosen]
    drafts = draft_edges(rings, angles, origins, method, rules)
    owners = rings.owners
    xy, ends = corners(drafts, angles, origins, owners)
    drawn = np.diff(drafts.ends) > 0
    price = np.bincount(owners, np.where(drawn, drafts.prices, _BOX * rules.price[ALONG]))
    for ring in np.flatnonzero(~drawn)[::-1]:
        xy = np.insert(xy, ends[ring], _box(rings.ring(ring), float(angles[owners[ring]])), axis=0)
        ends[ring + 1 :] += len(_UNIT)
    shapes = shapely.from_ragged_array(shapely.GeometryType.POLYGON, xy, (ends, rings.polygon_ends))
    taken = take(work, chosen, shapes, rules, shapely.is_valid(shapes) & (price < _WORTH * work.price[chosen]))
    work.price[chosen[taken]], work.angles[chosen[taken]] = price[taken], angles[taken]
    work.why[chosen[taken]], work.method[chosen[taken]] = REGULAR, method


def draft_edges(
    rings: Rings, angles: np.ndarray, origins: np.ndarray, method: Shape, rules: Rules, fixed: bool = False
) -> Drafts:
    """Draw the edges that a method allows along some rings; ``fixed`` keeps the directions as they are."""
    allowed = np.zeros(KINDS, bool)
    allowed[list(REGULARIZERS[method])] = True
    hold = np.full(len(angles), fixed)
    drafts = draw(rings, angles, origins, hold, allowed, rules.price, rules.tolerance, rules.spacing)
    if rules.precision:
        round_offsets(drafts, rules.precision)
    return drafts


def take(work: Work, chosen: np.ndarray, shapes: np.ndarray, rules: Rules, good: np.ndarray) -> np.ndarray:
    """Take of some shapes what is good, and within the tolerance; return which."""
    good = good.copy()
    far = deviations(work.traced[chosen[good]], shapes[good], rules.tolerance)
    good[good] = near = far <= rules.tolerance
    work.shapes[chosen[good]], work.deviation[chosen[good]] = shapes[good], far[near]
    return good


def _box(ring: np.ndarray, angle: float) -> np.ndarray:
    """The rectangle in a direction with a ring's area and proportions: for one that is too small to have edges."""
    turned = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    local = ring @ turned
    low, high = local.min(axis=0), local.max(axis=0)
    half = (high - low) / 2
    half *= math.sqrt(shapely.Polygon(ring).area / max(4 * float(half.prod()), 1e-300))
    return ((low + high) / 2 + half * _UNIT) @ turned.T


def _round_off(work: Work, rules: Rules) -> None:
    """Make circles of what is one: all that can be, or with ``auto`` where it fits better than what there is."""
    middles, radii = fit_circles(work.traced)
    wanted = (radii >= rules.radii[0]) & (radii <= rules.radii[1])
    if rules.method == "auto":
        wanted &= (compactness(work.traced) >= _ROUND) & (radii >= _PLAINLY_ROUND * rules.tolerance)
    chosen = np.flatnonzero(wanted)
    shapes = np.empty(len(chosen), object)
    for k, at in enumerate(chosen):
        holes = list(work.shapes[at].interiors)
        shapes[k] = shapely.Polygon(circle(*middles[at], radii[at], rules.tolerance).exterior, holes)
    good = shapely.is_valid(shapes)
    if rules.method == "auto":
        better = iou_of(shapes, work.traced[chosen]) > iou_of(work.shapes[chosen], work.traced[chosen])
        good &= better | (work.why[chosen] != REGULAR)
    taken = chosen[take(work, chosen, shapes, rules, good)]
    work.why[taken], work.method[taken] = REGULAR, "circle"


def iou_of(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Intersection over union, pair by pair, float64 ``(n,)``."""
    common = common_areas(other, one)
    same = shapely.equals_identical(one, other)  # needles, whose areas are rounding
    common[same] = shapely.area(one[same])
    return common / np.maximum(shapely.area(one) + shapely.area(other) - common, 1e-300)
