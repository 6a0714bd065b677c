"""The page of a comparison of two years: what it says, and its pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import geopandas as gpd
import numpy as np
import shapely

from eaves.footprints import Changes, Shift
from eaves.scene import Scene, project
from eaves.show.change import COLORS, ChangePage, Panel, Picture, Row, change_map, close_up, write_change_page
from eaves.workflows.change_ground import Place, Plane, paper, scene_picture

_LARGEST = 12
_CLOSE_UPS = 6
_MAP_PX = 1200
_CLOSE_PX = 360
_MARK = 23  # characters that tell one file from another
_AROUND_M = 12.0  # of ground beside a change, at least
_HINTS = {"merged": "mapped as one now", "split": "mapped as several now", "regrouped": "mapped otherwise now"}


class Side(NamedTuple):
    """One year.

    Attributes:
        name: What to call it: its file.
        shapes: Its buildings in the plane, the old ones moved onto the new.
        scene: Its image, or none.
        shift: What its ground was moved by, x and y.
    """

    name: str
    shapes: np.ndarray
    scene: Scene | None
    shift: tuple[float, float] = (0.0, 0.0)


def tell_shift(shift: Shift, plane: Plane) -> str:
    """Say where the new layer lies, in words.

    Example:
        >>> tell_shift(Shift(1.23, -0.41, 380, 400, 17.0), Plane("EPSG:32633"))
        'the new layer lies 1.2 m east, 0.4 m south of the old'
    """
    if not shift.sure:
        return "how far the layers lie apart cannot be told"
    ways = (("right", "left"), ("down", "up")) if plane.crs is None else (("east", "west"), ("north", "south"))
    parts = [
        f"{abs(by):.1f} {plane.unit} {way[0] if by > 0 else way[1]}"
        for by, way in zip((shift.dx, shift.dy), ways, strict=True)
        if abs(by) >= 0.05
    ]
    return f"the new layer lies {', '.join(parts)} of the old" if parts else "the layers lie on each other"


def tell_notes(
    changes: Changes,
    shift: Shift,
    aligned: bool,
    align: bool,
    plane: Plane,
    area: shapely.Geometry | None,
    settings: dict[str, Any],
) -> list[str]:
    """Say what has to be known beside the counts.

    Args:
        changes: What was found.
        shift: As it was estimated.
        aligned: It was taken back.
        align: It was to be taken back where it is sure.
        plane: Of the shift.
        area: The ground that was compared; none where nothing told.
        settings: ``tolerance_m`` and ``min_change_m2`` among them.
    """
    unit, square = plane.unit, plane.square
    agree = f"{shift.agree} of {shift.of} buildings find one of their size there"
    sure = (
        f"sure: {shift.confidence:.1f} standard deviations more than with any other shift" if shift.sure else "unsure"
    )
    taken = "It was taken back before comparing." if aligned else "Nothing was moved."
    notes = [f"Shift: x {shift.dx:+.2f} {unit}, y {shift.dy:+.2f} {unit}; {agree} ({sure}). {taken}"]
    if not align:
        notes[0] += " Taking it back was not wanted."
    notes.append(
        f"Outlines closer than {settings['tolerance_m']:g} {unit} are no change, nor pieces smaller than "
        f"{settings['min_change_m2']:g} {square}; a house of the same shape may lie twice as far away. Differences of "
        "areas are of all outlines, with what drawing them adds and takes away."
    )
    if area is None:
        notes.append("Nothing said which ground both layers cover: what one never mapped counts as added or removed.")
    else:
        notes.append(f"Compared inside {shapely.area(area):,.0f} {square} of ground that both years show.")
    for (old, new), why in ((changes.outside, "mostly outside it"), (changes.small, "too small to be a change")):
        if old or new:
            notes.append(f"Left out: {old} buildings before and {new} after, {why}.")
    return notes


def write_summary(
    path: Path,
    table: gpd.GeoDataFrame,
    rows: tuple[np.ndarray, np.ndarray],
    sides: tuple[Side, Side],
    plane: Plane,
    *,
    area: shapely.Geometry | None,
    lead: Sequence[str],
    notes: Sequence[str],
    origin: Mapping[str, Any],
) -> None:
    """Write the page.

    Args:
        path: ``.html``.
        table: The changes as they are written, of any CRS.
        rows: The row of each old and each new building.
        sides: Old and new.
        plane: Of their shapes.
        area: The ground that was compared; none where it is all.
        lead: Main sentences.
        notes: What else has to be known.
        origin: Inputs and settings.

    Raises:
        OutputError: ``path`` cannot be written.
    """
    ground = _Ground(table, rows, sides, plane)
    _, _, gained, lost = _columns(plane)
    size = table[gained] + table[lost]
    changed = np.flatnonzero(table["change"] != "unchanged")
    largest = changed[np.argsort(-size.to_numpy()[changed], kind="stable")][:_LARGEST]
    pictured = largest[:_CLOSE_UPS]
    title = f"Changes between {sides[0].name} and {sides[1].name}"
    page = ChangePage(
        title=title,
        lead=lead,
        classes=_classes(table, plane),
        class_heads=(
            "",
            "buildings",
            f"before, {plane.square}",
            f"after, {plane.square}",
            f"difference, {plane.square}",
        ),
        overview=ground.overview(pictured, area),
        close_ups=[(f"{n}: {_describe(table.iloc[at], plane)}", ground.close(at)) for n, at in enumerate(pictured, 1)],
        pairs=ground.pairs,
        largest=[ground.line(n, at) for n, at in enumerate(largest, 1)],
        largest_heads=ground.heads,
        notes=notes,
        origin=[(name, _plain(value)) for name, value in origin.items()],
    )
    write_change_page(page, path)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return f"{value.get('path', '')}  {value.get('fingerprint', '')[:_MARK]}".strip()
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _columns(plane: Plane) -> tuple[str, str, str, str]:
    unit = "px" if plane.crs is None else "m2"
    return f"area_old_{unit}", f"area_new_{unit}", f"gained_{unit}", f"lost_{unit}"


def _classes(table: gpd.GeoDataFrame, plane: Plane) -> list[Row]:
    """One row a class, and below it its kinds."""
    before, after, *_ = _columns(plane)

    def row(name: str, part: Any, color: str | None = None) -> Row:
        old, new = float(part[before].sum()), float(part[after].sum())
        return Row((name, f"{len(part):,}", f"{old:,.0f}", f"{new:,.0f}", f"{new - old:+,.0f}"), color)

    rows = []
    for name, color in COLORS.items():
        part = table[table["change"] == name]
        rows.append(row(name, part, color))
        for kind in dict.fromkeys(sorted(part["kind"].dropna())):
            hint = f" ({_HINTS[kind]})" if kind in _HINTS else ""
            rows.append(row(f"\u2003of these {kind}{hint}", part[part["kind"] == kind]))
    return [*rows, row("all", table)]


def _describe(row: Any, plane: Plane) -> str:
    gained, lost = (row[name] for name in _columns(plane)[2:])
    told = [f"+{gained:,.0f}"] * bool(gained) + [f"−{lost:,.0f}"] * bool(lost)
    return f"{_name(row)}, {' '.join(told)} {plane.square}"


def _name(row: Any) -> str:
    return row["kind"] if row["change"] == "altered" else row["change"]


class _Ground:
    """Pictures of places, in the new scene or on paper."""

    def __init__(
        self, table: gpd.GeoDataFrame, rows: tuple[np.ndarray, np.ndarray], sides: tuple[Side, Side], plane: Plane
    ) -> None:
        self.table, self.rows, self.sides, self.plane = table, rows, sides, plane
        self.tree = shapely.STRtree(sides[1].shapes)

    @property
    def pairs(self) -> bool:
        return all(side.scene is not None for side in self.sides)

    @property
    def heads(self) -> tuple[str, ...]:
        square = self.plane.square
        place = ("x, px", "y, px") if self.plane.crs is None else ("latitude", "longitude")
        return ("", "change", f"before, {square}", f"after, {square}", *place, "old id", "new id")

    def line(self, number: int, at: int) -> Row:
        row = self.table.iloc[at]
        x, y = np.mean(np.reshape(self._bounds(at), (2, 2)), axis=0)
        if self.plane.crs is None:
            place = f"{x:.0f}", f"{y:.0f}"
        else:
            point = project([shapely.Point(x, y)], self.plane.crs, 4326)[0]
            place = f"{point.y:.6f}", f"{point.x:.6f}"
        before, after = (f"{row[name]:,.0f}" for name in _columns(self.plane)[:2])
        ids = (row[name] if isinstance(row[name], str) else "" for name in ("old_id", "new_id"))
        return Row((str(number), _name(row), before, after, *place, *ids), COLORS[row["change"]])

    def overview(self, marked: np.ndarray, area: shapely.Geometry | None) -> bytes:
        bounds = self._all() if area is None else tuple(shapely.bounds(area))
        picture, place = self._picture(self.sides[1], bounds, _MAP_PX)
        change = self.table["change"].to_numpy()
        shapes = []
        for name in COLORS:
            side = int(name != "removed")
            row = self.rows[side]
            there = np.flatnonzero(row >= 0)
            shapes.append(place(self.sides[side].shapes[there[change[row[there]] == name]]))
        middles = [shapely.box(*self._bounds(at)).centroid for at in marked]
        return change_map(picture, shapes, marks=[(at.x, at.y) for at in place(middles)], width_px=_MAP_PX)

    def close(self, at: int) -> bytes:
        left, bottom, right, top = self._bounds(at)
        x, y, half = (left + right) / 2, (bottom + top) / 2, max(right - left, top - bottom) / 2
        half = max(1.4 * half, half + _AROUND_M)
        bounds = (x - half, y - half, x + half, y + half)
        old, new = (side.shapes[row == at] for side, row in zip(self.sides, self.rows, strict=True))
        near = self.tree.query(shapely.box(*bounds))
        others = self.sides[1].shapes[near[self.rows[1][near] != at]]
        nothing = np.array([], dtype=object)
        if not self.pairs:
            picture, place = paper(self.plane, bounds, _CLOSE_PX)
            return close_up([Panel(picture, "", place(old), place(new), place(others))], height_px=_CLOSE_PX)
        panels = []
        for index, (side, title) in enumerate(zip(self.sides, ("before", "after"), strict=True)):
            picture, place = self._picture(side, bounds, _CLOSE_PX)
            shown = (place(old), nothing) if index == 0 else (nothing, place(new))
            panels.append(Panel(picture, title, *shown, place(others) if index else nothing))
        return close_up(panels, height_px=_CLOSE_PX)

    def _picture(self, side: Side, bounds: Any, longest_px: int) -> tuple[Picture, Place]:
        if side.scene is None:
            return paper(self.plane, bounds, longest_px)
        x, y = side.shift
        left, bottom, right, top = bounds
        picture, place = scene_picture(side.scene, self.plane, (left - x, bottom - y, right - x, top - y), longest_px)
        return picture, lambda shapes: place(shapely.transform(np.asarray(shapes, object), lambda xy: xy - (x, y)))

    def _bounds(self, at: int) -> tuple[float, float, float, float]:
        shapes = [side.shapes[row == at] for side, row in zip(self.sides, self.rows, strict=True)]
        left, bottom, right, top = shapely.total_bounds(np.concatenate(shapes))
        return left, bottom, right, top

    def _all(self) -> tuple[float, float, float, float]:
        shapes = np.concatenate([side.shapes for side in self.sides])
        if not len(shapes):
            return 0.0, 0.0, 1.0, 1.0
        left, bottom, right, top = shapely.total_bounds(shapes)
        rim = 0.02 * max(right - left, top - bottom, 1e-9)
        return left - rim, bottom - rim, right + rim, top + rim
