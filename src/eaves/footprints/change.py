"""What became of buildings between two years: added, removed, altered, unchanged.

Two drawings of one house never agree to the centimetre. What counts is ground that one has and the other lacks, in
pieces wider than the tolerance: a strip along a wall is drawing, a room is building. A house that one year maps as two
is one house: buildings that share ground are judged together, as one row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from eaves.errors import LabelError, SettingsError

Change = Literal["added", "removed", "altered", "unchanged"]
CHANGES: tuple[Change, ...] = ("added", "removed", "altered", "unchanged")

_LINKED = 0.3  # share of the smaller one's area: a neighbour in a row, drawn one metre off, shares less
_MOSTLY = 0.5
_REBUILT_IOU = 0.3
_WALK = 2.0  # tolerances: two drawings of one house may lie so far apart where their shape is the same
_STEP = 0.5  # of the tolerance, and of the least change, that their shape may differ by


@dataclass(frozen=True, eq=False)
class Changes:
    """One row a building, or a group of buildings that share ground; first those that still stand, then the removed.

    Lengths and areas are those of the plane, and of what lies inside the area that was compared.

    Attributes:
        change: ``added``, ``removed``, ``altered`` or ``unchanged``, str ``(rows,)``.
        kind: Of the altered ``extended``, ``reduced`` or ``rebuilt``; of the unchanged ``merged`` (several are mapped
            as one now), ``split`` (one as several) or ``regrouped``; else empty; str ``(rows,)``.
        old_row: Row of each old building, int64 ``(n,)``; -1 where it was left out.
        new_row: The same of new ones, int64 ``(m,)``.
        iou: Intersection over union, 0 … 1; 0 where there is one year alone; so for the following.
        area_old: Ground the old buildings cover.
        area_new: The same of new ones.
        gained: New ground, in pieces that count.
        lost: Ground built on no longer, in pieces that count.
        moved: From the middle of the old to that of the new; NaN where there is one year alone.
        outside: Old and new buildings left out because more than half of them lies outside the area.
        small: Old and new buildings left out because they have no counterpart and are smaller than the least change.
    """

    change: np.ndarray
    kind: np.ndarray
    old_row: np.ndarray
    new_row: np.ndarray
    iou: np.ndarray
    area_old: np.ndarray
    area_new: np.ndarray
    gained: np.ndarray
    lost: np.ndarray
    moved: np.ndarray
    outside: tuple[int, int]
    small: tuple[int, int]

    def __len__(self) -> int:
        return len(self.change)

    @property
    def counts(self) -> dict[str, int]:
        """Rows of each change, all four."""
        return {name: int((self.change == name).sum()) for name in CHANGES}


def compare_footprints(
    old: Any, new: Any, *, tolerance: float = 1.0, min_change: float = 4.0, area: shapely.Geometry | None = None
) -> Changes:
    """Tell what became of every building.

    A building is unchanged where neither year has a piece of ground of ``min_change`` or more, wider than
    ``tolerance``, that the other lacks; and where its shape is the same to half of both but lies less than twice the
    tolerance away, because houses do not walk. Buildings of two years belong together where they share 30 % of the
    smaller one.

    Args:
        old: Valid polygons and multipolygons of a metric plane, moved onto the new layer, ``(n,)``.
        new: The same of another year, ``(m,)``.
        tolerance: Outlines closer than this are no change, in metres.
        min_change: Smaller pieces of ground are no change, and smaller buildings without a counterpart are left out
            and counted, in square metres.
        area: Ground that both years show. Buildings are compared inside it; those that lie mostly outside are left out
            and counted. None compares all.

    Raises:
        LabelError: A geometry is missing, empty or no polygon.
        SettingsError: ``tolerance`` or ``min_change`` cannot be meant.

    Example:
        >>> old = [shapely.box(0, 0, 10, 8), shapely.box(20, 0, 30, 8), shapely.box(40, 0, 50, 8)]
        >>> new = [shapely.box(0.4, 0, 10.4, 8), shapely.box(20, 0, 34, 8), shapely.box(60, 0, 70, 8)]
        >>> found = compare_footprints(old, new)
        >>> found.change.tolist(), found.kind.tolist()
        (['unchanged', 'altered', 'added', 'removed'], ['', 'extended', '', ''])
    """
    if not (0 < tolerance < np.inf and 0 <= min_change < np.inf):
        raise SettingsError(
            "a tolerance above 0 m and a least change of 0 m2 or more", f"{tolerance} and {min_change}", "change them"
        )
    whole = [_polygons(old, "old"), _polygons(new, "new")]
    cut = whole if area is None else [_inside(each, area) for each in whole]
    rows, pairs = _rows(*cut, tolerance, min_change)
    number = int(max(each.max(initial=-1) for each in rows)) + 1
    counts = [np.bincount(row[row >= 0], minlength=number) for row in rows]
    sides = [_unions(shapes, row, number) for shapes, row in zip(cut, rows, strict=True)]
    areas = [shapely.area(side) for side in sides]
    there = [count > 0 for count in counts]
    both, alone = there[0] & there[1], there[0] ^ there[1]
    gained, lost, shared = np.where(alone, areas[1], 0.0), np.where(alone, areas[0], 0.0), np.zeros(number)
    shared[rows[0][pairs.old]] = pairs.shared
    known = np.zeros(number, bool)
    known[rows[0][pairs.old]] = True
    known &= (counts[0] == 1) & (counts[1] == 1)
    rest = np.flatnonzero(both & ~known)
    shared[rest] = shapely.area(shapely.intersection(sides[0][rest], sides[1][rest]))
    gained[rest], lost[rest] = _differences(sides[0][rest], sides[1][rest], shared[rest], tolerance, min_change)
    iou = np.clip(shared / np.maximum(areas[0] + areas[1] - shared, 1e-12), 0.0, 1.0)
    moved = np.full(number, np.nan)
    moved[both] = np.hypot(*_apart(sides[0][both], sides[1][both]).T)
    change, kind = _names(there, counts, gained, lost, iou)

    # Left out: what lies mostly outside, in either year; and what is too small to be a change of its own.
    outside = np.zeros(number, bool)
    if area is not None:
        for shapes, row, side in zip(whole, rows, areas, strict=True):
            full = np.bincount(row[row >= 0], weights=shapely.area(shapes)[row >= 0], minlength=number)
            outside |= side < _MOSTLY * full * (1 - 1e-9)
    small = alone & ~outside & (np.maximum(areas[0], areas[1]) < min_change)
    keep = ~(outside | small)
    order = np.flatnonzero(keep)
    order = order[np.argsort(~there[1][order], kind="stable")]
    place = np.full(number + 1, -1)
    place[order] = np.arange(len(order))
    return Changes(
        change[order],
        kind[order],
        place[rows[0]],
        place[rows[1]],
        iou[order],
        areas[0][order],
        areas[1][order],
        gained[order],
        lost[order],
        moved[order],
        outside=_number((count * outside).sum() + (row < 0).sum() for count, row in zip(counts, rows, strict=True)),
        small=_number((count * small).sum() for count in counts),
    )


def _number(values: Any) -> tuple[int, int]:
    old, new = (int(value) for value in values)
    return old, new


def _names(
    there: list[np.ndarray], counts: list[np.ndarray], gained: np.ndarray, lost: np.ndarray, iou: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The change of each row, and what kind of it."""
    more, less = gained > 0, lost > 0
    change = np.select([~there[0], ~there[1], more | less], ["added", "removed", "altered"], "unchanged")
    kind = np.select([(more & less) | (iou < _REBUILT_IOU), more, less], ["rebuilt", "extended", "reduced"], "")
    many_old, many_new = counts[0] > 1, counts[1] > 1
    group = np.select([many_old & many_new, many_old, many_new], ["regrouped", "merged", "split"], "")
    kind = np.select([change == "altered", change == "unchanged"], [kind, group], "")
    return change, kind


def _polygons(shapes: Any, year: str) -> np.ndarray:
    shapes = np.asarray(shapes, dtype=object)
    bad = ~np.isin(shapely.get_type_id(shapes), (3, 6)) | shapely.is_empty(shapes)
    if bad.any():
        raise LabelError(
            f"polygons in the {year} layer", f"{int(bad.sum())} others among {len(shapes)}", "leave them out"
        )
    return shapes


def _inside(shapes: np.ndarray, area: shapely.Geometry) -> np.ndarray:
    """The part of each that lies inside."""
    shapely.prepare(area)
    crossing = np.flatnonzero(~shapely.covers(area, shapes))
    shapes = shapes.copy()
    shapes[crossing] = [_areal(part) for part in shapely.intersection(shapes[crossing], area)]
    return shapes


def _valid(shape: Any) -> Any:
    """As it was before it was moved: rounding can make corners touch, and what crosses itself cannot be cut."""
    return shape if shape.is_valid else _areal(shapely.make_valid(shape, method="structure", keep_collapsed=False))


def _areal(shape: Any) -> Any:
    """Without the lines and points where it touches the rim, with which nothing can be cut."""
    if shape.geom_type in ("Polygon", "MultiPolygon"):
        return shape
    return shapely.union_all([part for part in shapely.get_parts(shape) if part.geom_type == "Polygon"])


# --- which belong together --------------------------------------------------------------------------------------------


class _Pairs(NamedTuple):
    """Pairs of an old and a new building, int64 ``(p,)``, and the ground they share."""

    old: np.ndarray
    new: np.ndarray
    shared: np.ndarray

    def only(self, keep: np.ndarray) -> _Pairs:
        return _Pairs(*(part[keep] for part in self))


def _rows(old: np.ndarray, new: np.ndarray, tolerance: float, min_change: float) -> tuple[list[np.ndarray], _Pairs]:
    """The row of each old and of each new building, -1 where nothing of it is left; and the pairs that are the same."""
    pairs = _overlaps(old, new, _WALK * tolerance)
    i, j, shared = pairs
    areas = shapely.area(old), shapely.area(new)
    smaller = np.minimum(areas[0][i], areas[1][j])
    overlap = shared / (areas[0][i] + areas[1][j] - shared)
    same = np.flatnonzero(_is_best(i, overlap, len(old)) & _is_best(j, overlap, len(new)))
    gained, lost = _differences(old[i[same]], new[j[same]], shared[same], tolerance, min_change)
    same = same[(gained == 0) & (lost == 0)]
    # Those are settled, whatever else they touch, but for what lies mostly inside: the same house drawn twice.
    settled = np.zeros(len(old), bool), np.zeros(len(new), bool)
    settled[0][i[same]], settled[1][j[same]] = True, True
    one, other = settled[0][i], settled[1][j]
    twice = (other & ~one & (shared >= _MOSTLY * areas[0][i])) | (one & ~other & (shared >= _MOSTLY * areas[1][j]))
    keep = twice | (~one & ~other & (shared >= _LINKED * smaller))
    keep[same] = True
    number = len(old) + len(new)
    edges = (np.ones(int(keep.sum())), (i[keep], j[keep] + len(old)))
    _, group = connected_components(coo_array(edges, shape=(number, number)), directed=False)
    there = np.concatenate(areas) > 0
    row = np.full(number, -1)
    row[there] = np.unique(group[there], return_inverse=True)[1]
    return [row[: len(old)], row[len(old) :]], pairs.only(same)


def _overlaps(old: np.ndarray, new: np.ndarray, near: float) -> _Pairs:
    """Pairs that share enough ground to belong together, or whose middles lie so near that they may be the same."""
    i, j = shapely.STRtree(new).query(old)
    one, other = shapely.bounds(old)[i], shapely.bounds(new)[j]
    smaller = np.minimum(shapely.area(old)[i], shapely.area(new)[j])
    sides = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2])
    close = np.hypot(*_apart(old[i], new[j]).T) < near
    maybe = close | (sides.prod(axis=1) >= _LINKED * smaller)  # neighbours mostly fall out without being cut
    i, j, smaller, close = i[maybe], j[maybe], smaller[maybe], close[maybe]
    shared = shapely.area(shapely.intersection(old[i], new[j]))
    return _Pairs(i, j, shared).only((shared > 0) & (close | (shared >= _LINKED * smaller)))


def _is_best(member: np.ndarray, value: np.ndarray, number: int) -> np.ndarray:
    """Whether a pair is its member's best; of equal ones the first."""
    order = np.lexsort((np.arange(len(member)), -value, member))
    first = np.zeros(len(member), bool)
    first[order[np.concatenate([[True], np.diff(member[order]) > 0])[: len(member)]]] = True
    return first


def _unions(shapes: np.ndarray, row: np.ndarray, number: int) -> np.ndarray:
    """What the members of each row cover together; an empty polygon where there are none."""
    unions = np.full(number, shapely.Polygon(), dtype=object)
    count = np.bincount(row[row >= 0], minlength=number)
    alike = np.concatenate([count, [0]])[row]  # how many each shares its row with; -1 is none
    single, several = np.flatnonzero(alike == 1), np.flatnonzero(alike > 1)
    unions[row[single]] = shapes[single]
    several = several[np.argsort(row[several], kind="stable")]
    for members in np.split(several, np.flatnonzero(np.diff(row[several])) + 1):
        if len(members):
            unions[row[members[0]]] = shapely.union_all(shapes[members])
    return unions


# --- what differs -----------------------------------------------------------------------------------------------------


def _differences(
    old: np.ndarray, new: np.ndarray, shared: np.ndarray, tolerance: float, min_change: float
) -> tuple[np.ndarray, np.ndarray]:
    """Ground gained and lost, in pieces that are wide and large enough; none where a house was drawn a bit off."""
    gained, lost = (_beyond(one, other, shared, tolerance, min_change) for one, other in ((new, old), (old, new)))
    by = _apart(old, new)
    far = np.flatnonzero(((gained > 0) | (lost > 0)) & (np.hypot(*by.T) < _WALK * tolerance))
    if len(far):
        back = [shapely.transform(new[at], lambda xy, by=by[at]: xy - by) for at in far]
        back = np.array([_valid(shape) for shape in back], dtype=object)
        common = shapely.area(shapely.intersection(back, old[far]))
        more, less = (
            _beyond(one, other, common, _STEP * tolerance, _STEP * min_change)
            for one, other in ((back, old[far]), (old[far], back))
        )
        still = far[(more == 0) & (less == 0)]
        gained[still], lost[still] = 0.0, 0.0
    return gained, lost


def _beyond(ground: np.ndarray, other: np.ndarray, shared: np.ndarray, width: float, least: float) -> np.ndarray:
    """Area of what the one covers and the other does not, in pieces wider than ``width`` and of ``least`` or more."""
    area, own = np.zeros(len(ground)), shapely.area(ground)
    wide = np.flatnonzero(own - shared >= np.maximum(least, 1e-9 * own))  # most are nearly equal and need no cutting
    rest = shapely.difference(ground[wide], other[wide])
    core = shapely.buffer(rest, -width / 2, join_style="mitre")
    left = ~shapely.is_empty(core)
    wide, rest, core = wide[left], rest[left], core[left]
    # Grown again by as much, a piece has its old size, and strips along it stay away.
    pieces = shapely.intersection(shapely.buffer(core, width / 2, join_style="mitre"), rest)
    parts, of = shapely.get_parts(pieces, return_index=True)
    size = shapely.area(parts)
    size[size < least] = 0.0
    area[wide] = np.bincount(of, weights=size, minlength=len(wide))
    return area


def _apart(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """From the middles of the old to those of the new, ``(n, 2)``."""
    return shapely.get_coordinates(shapely.centroid(new)) - shapely.get_coordinates(shapely.centroid(old))
