"""Blocks of touching houses: terraces with gardens, and the dense old core."""

from __future__ import annotations

import numpy as np
import shapely
from shapely.geometry import Point, Polygon

from eaves.synth import draft as d
from eaves.synth.shapes import Frame, House, Wing, box_ring, build, build_court
from eaves.synth.site import Site, box_of
from eaves.synth.style import FLAT, METAL


def fill_rows(site: Site) -> None:
    """Terraces along the streets, gardens behind, sometimes a court of flats."""
    rng = site.rng
    site.draft.add_patch(d.BASE, site.block.ring, d.MIXED, rng, amount=1 - site.style.dryness + 0.1)
    if rng.random() < 0.45:
        _court(site, (0.6, 0.1, 0.3))
    setback, depth = rng.choice([0.0, 1.5, 3.5]), rng.uniform(8.5, 11)
    for frame, length in site.edges(16):
        _terraces(site, frame, length, setback, depth)
    site.plant(site.block.polygon, site.block.polygon.area / 130, low=0.7, high=3.4)


def _terraces(site: Site, frame: Frame, length: float, setback: float, depth: float) -> None:
    rng, t = site.rng, site.rng.uniform(0.5, 2.5)
    while t < length - 6:
        if not site.fits(Point(frame.spot(t + 2.6, setback + depth / 2)), 2.5):  # no room even for a narrow house
            t += 2.0
            continue
        texture, colour = site.colour((0.72, 0.16, 0.12))
        roof = "flat" if texture == FLAT else "gable"
        mixed = rng.random() < 0.7  # owners paint and cover as they like
        width, eaves = rng.uniform(5.2, 8.0), rng.uniform(5, 7.5)
        slope = 0.35 if texture == METAL else rng.uniform(0.6, 0.85)
        wing = rng.choice(["none", "side", "pairs"])
        built = 0
        for k in range(rng.integers(3, 9)):
            if t + width > length - 0.5:
                break
            if mixed and rng.random() < 0.5:
                new, other = site.colour((0.72, 0.16, 0.12))
                if (new == FLAT) == (texture == FLAT):
                    colour = other
            long = rng.uniform(2.5, 4.5)
            wings = []
            if wing == "side" and rng.random() < 0.8:
                wings = [Wing(0.0, width * 0.45, long)]
            elif wing == "pairs":
                left = k % 2 == 1
                wings = [Wing(0.0, width * 0.45, 3.5)] if left else [Wing(width * 0.55, width, 3.5)]
            here = Frame(frame.spot(t, setback), frame.u)
            # neighbours compute the wall they share from the same t, so it is the same to the last bit
            house = build(here, width, depth, wings, roof=roof, colour=colour, eaves=eaves, slope=slope)
            house = _on(frame, house, here, t, setback)
            if not site.fits(house.polygon, 1.4, beside=built):
                break
            site.place(house)
            site.furnish(house, here, width, depth)
            _garden(site, here, width, depth, setback)
            built, t = built + 1, t + width
        t += rng.uniform(0, 3.5) if built else 2.0


def _on(frame: Frame, house: House, here: Frame, t: float, setback: float) -> House:
    local = [np.column_stack([(r - here.at) @ here.u + t, (r - here.at) @ here.v + setback]) for r in house.rings]
    return House([frame.out(np.round(r, 9)) for r in local], house.parts, house.roof, house.colour, house.height_m)


def _garden(site: Site, here: Frame, width: float, depth: float, setback: float) -> None:
    rng = site.rng
    cover = rng.choice([d.LAWN, d.MIXED, d.PAVING, d.SOIL], p=[0.45, 0.25, 0.18, 0.12])
    back = rng.uniform(6, 12)
    ring = here.out(box_ring(0.1, width - 0.1, depth, depth + back))
    ground = Polygon(ring).intersection(site.block.polygon)
    grey = rng.uniform(140, 175)
    site.draft.add_patch(d.YARD, ground, int(cover), rng, colour=(grey, grey - 3, grey - 9), amount=0.5)
    if setback > 1:
        ring = here.out(box_ring(0.2, width - 0.2, 0.2 - setback, 0))
        front = d.PAVING if rng.random() < 0.5 else d.LAWN
        site.draft.add_patch(d.YARD, ring, front, rng, colour=(grey, grey - 3, grey - 9))
    if rng.random() < 0.7:
        middle, hedge = depth + back / 2, bool(rng.random() < 0.4)
        size = (back, 0.8, 1.4) if hedge else (back, 0.25, 1.6)
        colour = (70, 90, 50) if hedge else (150, 138, 122)
        turned = Frame(here.spot(width, middle), here.v)
        if site.block.polygon.contains(shapely.points(turned.at)):
            site.draft.add_box(turned, 0, 0, size, colour, d.HEDGE if hedge else d.STAND)
    if rng.random() < 0.25:
        shed = Frame(here.spot(rng.uniform(0.3, width - 3), depth + back - 3), here.u)
        _, colour = site.colour((0.2, 0.5, 0.3))
        house = build(shed, rng.uniform(2.2, 2.9), 2.2, [], roof="flat", colour=colour, eaves=2.3, slope=0)
        if site.fits(house.polygon, 0.8):
            site.place(house)


def _court(site: Site, chances: tuple[float, float, float]) -> None:
    """A building around a yard, in the middle of the block's longer half."""
    rng = site.rng
    frame, length, depth = box_of(site.block.polygon)
    width, deep = min(rng.uniform(24, 44), length - 6), min(rng.uniform(22, 34), depth - 6)
    if min(width, deep) < 20:
        return
    texture, colour = site.colour(chances)
    roof = "flat" if texture == FLAT else "gable"
    corner = np.array([[rng.choice([3.0, (length - width) / 2, length - width - 3]), (depth - deep) / 2]])
    here = Frame(frame.out(corner)[0], frame.u)
    house = build_court(
        here, width, deep, rng.uniform(6.5, 8.5), roof=roof, colour=colour, eaves=rng.uniform(7, 11), slope=0.5
    )
    if site.fits(house.polygon, 1.5):
        site.place(house)
        court = Polygon(house.rings[1])
        site.reserved.append(court)
        cover = d.PAVING if rng.random() < 0.6 else d.LAWN
        site.draft.add_patch(d.YARD, Polygon(house.rings[0]).buffer(2.0), d.PAVING, rng, colour=(158, 153, 146))
        site.draft.add_patch(d.YARD, court, cover, rng, colour=(162, 156, 148))
        site.plant(court, 2.5, low=1.5, high=3)


def fill_core(site: Site) -> None:
    """Houses of every width, depth, height and roof, wall to wall along the street, and more of them behind."""
    rng = site.rng
    ground = site.style.soil * 0.5 + np.array([150, 146, 138]) * 0.5
    site.draft.add_patch(d.BASE, site.block.ring, d.PAVING if rng.random() < 0.5 else d.SOIL, rng, colour=ground)
    if rng.random() < 0.4:
        _court(site, (0.25, 0.35, 0.4))
    for frame, length in site.edges(10):
        _street_front(site, frame, length)
    _behind(site)
    _clutter(site)
    site.plant(site.block.polygon, site.block.polygon.area / 200, low=0.8, high=3.2)


def _street_front(site: Site, frame: Frame, length: float) -> None:
    rng, t, built = site.rng, site.rng.uniform(0, 1.5), 0
    while t < length - 4:
        if not site.fits(Point(frame.spot(t + 2.2, 3.2)), 2.0, beside=built):  # no room even for a small house
            t, built = t + 2.0, 0
            continue
        width = min(rng.uniform(4.5, 12), length - t)
        depth = rng.uniform(7, 14)
        house = _core_house(site, frame, t, width, depth)
        if not site.fits(house.polygon, 0.9, beside=built):
            house = _core_house(site, frame, t, width, 6.5)
            if not site.fits(house.polygon, 0.9, beside=built):
                t, built = t + 2.0, 0
                continue
        site.place(house)
        site.furnish(house, Frame(house.rings[0][0], frame.u), width, depth)
        built, t = built + 1, t + width
        if rng.random() < 0.14:
            t, built = t + rng.uniform(1.5, 4), 0


def _core_house(site: Site, frame: Frame, t: float, width: float, depth: float) -> House:
    rng = site.rng
    texture, colour = site.colour((0.25, 0.4, 0.35))
    roof = "flat" if texture == FLAT else "gable"
    here = Frame(frame.spot(t, 0.0), frame.u)
    wings = []
    if rng.random() < 0.3 and width > 7:
        wings = [Wing(0.0, width * rng.uniform(0.35, 0.55), rng.uniform(2.5, 5))]
    slope = rng.uniform(0.12, 0.3) if texture == METAL else rng.uniform(0.4, 0.6)
    eaves = float(rng.choice([3.2, 6.2, 9.2, 12.0], p=[0.3, 0.35, 0.25, 0.1]) + rng.uniform(-0.4, 0.4))
    house = build(here, width, depth, wings, roof=roof, colour=colour, eaves=eaves, slope=slope)
    return _on(frame, house, here, t, 0.0)


def _behind(site: Site) -> None:
    """Small houses and sheds in what the street fronts leave."""
    rng = site.rng
    rest = site.block.polygon.buffer(-0.3)
    if site.placed:
        rest = rest.difference(shapely.union_all([*site.placed, *site.reserved]).buffer(1.0))
    for part in shapely.get_parts(rest):
        if part.geom_type != "Polygon" or part.area < 25:
            continue
        for lot in site.lots(part, rng.uniform(70, 150)):
            cover = int(rng.choice([d.SOIL, d.PAVING, d.MIXED, d.LAWN], p=[0.35, 0.35, 0.22, 0.08]))
            ground = site.style.soil * rng.uniform(0.1, 0.6) + rng.uniform(60, 100)
            site.draft.add_patch(d.YARD, lot, cover, rng, colour=ground, amount=0.5)
            if rng.random() < 0.17:
                continue
            frame, length, depth = box_of(lot)
            width, deep = length - rng.uniform(0.4, 2), depth - rng.uniform(0.3, 1.2)
            texture, colour = site.colour((0.15, 0.5, 0.35))
            for scale in (1.0, 0.85, 0.68, 0.5):
                w, h = width * scale, deep * scale
                if min(w, h) < 2.6:
                    break
                at = frame.spot((length - w) / 2, (depth - h) / 2)
                here = Frame(at, frame.u)
                roof = "flat" if texture == FLAT else "gable"
                slope = rng.uniform(0.1, 0.28) if texture == METAL else 0.5
                house = build(here, w, h, [], roof=roof, colour=colour, eaves=rng.uniform(2.6, 6.5), slope=slope)
                if site.fits(house.polygon, 0.6):
                    site.place(house)
                    site.furnish(house, here, w, h)
                    break


def _clutter(site: Site) -> None:
    """Slabs of concrete, tarpaulins and heaps in the yards: what is no roof and looks like one."""
    rng = site.rng
    left, top, right, bottom = site.block.polygon.bounds
    colours = [(162, 158, 150), (150, 148, 144), (72, 112, 160), (190, 190, 188), (120, 96, 80), (98, 98, 98)]
    for _ in range(rng.poisson(site.block.polygon.area / 350)):
        turn = rng.uniform(0, 3.2)
        frame = Frame(rng.uniform((left, top), (right, bottom)), np.array([np.cos(turn), np.sin(turn)]))
        ring = frame.out(box_ring(0, rng.uniform(1.5, 6), 0, rng.uniform(1.2, 4)))
        if site.block.polygon.covers(Polygon(ring)) and site.fits(Polygon(ring), 0.3):
            which = rng.choice(6, p=[0.34, 0.24, 0.12, 0.08, 0.12, 0.1])
            site.draft.add_patch(d.DETAIL, ring, d.PAVING, rng, colour=colours[which])
