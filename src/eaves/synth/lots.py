"""Blocks of lots: houses in gardens, estates of slabs, industry, parks and fields."""

from __future__ import annotations

import numpy as np
import shapely
from shapely.geometry import LineString, Point, Polygon

from eaves.synth import draft as d
from eaves.synth.shapes import Frame, House, Wing, box_ring, build, build_bays
from eaves.synth.site import Site, box_of
from eaves.synth.style import FLAT, METAL


def fill_suburb(site: Site) -> None:
    """Detached houses of many shapes, each in its garden with a drive to the street."""
    rng = site.rng
    site.draft.add_patch(d.BASE, site.block.ring, d.MIXED, rng, amount=1 - site.style.dryness + 0.15)
    fronts = site.edges(10)
    for lot in site.lots(site.block.polygon, rng.uniform(380, 620)):
        _garden_house(site, lot, fronts)


def _garden_house(site: Site, lot: Polygon, fronts: list[tuple[Frame, float]]) -> None:
    rng, draft = site.rng, site.draft
    inner = lot.buffer(-0.2)
    if inner.is_empty or inner.geom_type != "Polygon":
        return
    cover = int(rng.choice([d.LAWN, d.MIXED, d.SOIL, d.PAVING], p=[0.4, 0.38, 0.14, 0.08]))
    draft.add_patch(d.YARD, inner, cover, rng, colour=site.style.soil * 0.4 + 92, amount=rng.uniform(0.3, 0.9))
    centre = shapely.get_coordinates(lot.centroid)[0]
    front, _ = min(fronts, key=lambda f: abs((centre - f[0].at) @ f[0].v), default=(None, 0.0))
    if front is None or rng.random() < 0.07:
        site.plant(lot, lot.area / 60)
        return
    room = lot.buffer(-0.8)
    for scale in (1.0, 0.9, 0.78, 0.62):
        house, here, width, depth = _villa(site, front, centre, scale)
        if room.covers(house.polygon) and site.fits(house.polygon, 1.0):
            break
    else:
        site.plant(lot, lot.area / 60)
        return
    site.place(house)
    site.furnish(house, here, width, depth)
    _drive(site, front, here, width)
    if rng.random() < 0.08:
        pool = Frame(here.spot(width / 2, depth + 7.5), here.u)
        if lot.buffer(-2.5).contains(Point(pool.at)) and house.polygon.distance(Point(pool.at)) > 3.6:
            draft.add_patch(d.DETAIL, pool.out(box_ring(-4.2, 4.2, -2.9, 2.9)), d.PAVING, rng, colour=(176, 170, 160))
            draft.add_patch(d.DETAIL, pool.out(box_ring(-3, 3, -1.7, 1.7)), d.PLAIN, rng, colour=(92, 168, 190))
    if rng.random() < 0.3:
        spot = Frame(centre + rng.uniform(-10, 10, 2), here.u)
        _, colour = site.colour((0.2, 0.6, 0.2))
        shed = build(spot, rng.uniform(2.5, 4.5), 2.6, [], roof="flat", colour=colour, eaves=2.3, slope=0)
        if lot.buffer(-0.5).covers(shed.polygon) and site.fits(shed.polygon, 1.0):
            site.place(shed)
    if rng.random() < 0.6:
        site.fence(lot.buffer(-0.4), hedge=bool(rng.random() < 0.45))
    site.plant(lot, lot.area / rng.uniform(60, 170))
    site.plant(lot, lot.area / 60, low=0.5, high=1.2)


def _villa(site: Site, front: Frame, centre: np.ndarray, scale: float) -> tuple[House, Frame, float, float]:
    rng = site.rng
    width, depth = rng.uniform(9.5, 16) * scale, rng.uniform(7, 9.5) * scale
    shape = rng.choice(["I", "L", "T", "U"], p=[0.38, 0.36, 0.14, 0.12])
    wing, long = width * rng.uniform(0.3, 0.42), rng.uniform(3, 6) * scale
    wings = {
        "I": [],
        "L": [Wing(0.0, wing, long)] if rng.random() < 0.5 else [Wing(width - wing, width, long)],
        "T": [Wing((width - wing) / 2, (width + wing) / 2, long)],
        "U": [Wing(0.0, wing, long), Wing(width - wing, width, long * rng.uniform(0.7, 1.0))],
    }[shape]
    texture, colour = site.colour((0.6, 0.26, 0.14))
    roof = "flat" if texture == FLAT else str(rng.choice(["hip", "gable"], p=[0.58, 0.42]))
    turn = front.u if rng.random() < 0.6 else -front.u
    if rng.random() < 0.08:
        turn = np.array([-turn[1], turn[0]])
    frame = Frame(centre, turn)
    total = depth + max((w.length for w in wings), default=0.0)
    here = Frame(frame.out(np.array([[-width / 2, -total / 2]]) + rng.uniform(-1, 1, 2))[0], turn)
    slope = rng.uniform(0.25, 0.45) if texture == METAL else rng.uniform(0.4, 0.65)
    eaves = rng.uniform(2.9, 3.6) if rng.random() < 0.65 else rng.uniform(5.5, 6.8)
    return build(here, width, depth, wings, roof=roof, colour=colour, eaves=eaves, slope=slope), here, width, depth


def _drive(site: Site, front: Frame, here: Frame, width: float) -> None:
    rng = site.rng
    middle = here.spot(width * rng.choice([0.15, 0.85]), 0.5)
    u, v = float((middle - front.at) @ front.u), float((middle - front.at) @ front.v)
    if v < 2:
        return
    ring = Polygon(front.out(box_ring(u - 1.5, u + 1.5, -0.3, v)))
    if site.placed and len(site.placed) > 1 and shapely.intersects(np.array(site.placed[:-1]), ring).any():
        return
    grey = rng.uniform(125, 172)
    cover = d.SOIL if rng.random() < 0.25 else d.PAVING
    site.draft.add_patch(d.DETAIL, ring, cover, rng, colour=(grey, grey - 3, grey - 8))
    if v > 6 and rng.random() < 0.5:
        site.draft.add_car(front, u + rng.normal(0, 0.2), rng.uniform(2.8, v - 2.6), rng, across=True)


def fill_estate(site: Site) -> None:
    """Parallel slabs of flats on lawns, car parks between them."""
    rng = site.rng
    site.draft.add_patch(d.BASE, site.block.ring, d.MIXED, rng, amount=0.75)
    texture, colour = site.colour((0.3, 0.35, 0.35))
    roof = "flat" if texture == FLAT else str(rng.choice(["gable", "hip"]))
    eaves, slope, deep = rng.uniform(8, 14), rng.uniform(0.22, 0.4), rng.uniform(10.5, 13)
    for lot in site.lots(site.block.polygon, 5200):
        frame, length, depth = box_of(lot)
        if rng.random() < 0.4:  # slabs across the lot
            frame, length, depth = Frame(frame.spot(0, depth), -frame.v), depth, length
        v, park = rng.uniform(3, 6), rng.random() < 0.6
        while v + deep < depth - 2:
            u, wide, before = 3.0, rng.uniform(24, 46), len(site.placed)
            while u + 16 < length - 2:
                wide = min(wide, length - 2 - u)
                here = Frame(frame.spot(u, v), frame.u)
                if rng.random() < 0.15:
                    _, colour = site.colour((0.3, 0.35, 0.35))
                house = build(here, wide, deep, [], roof=roof, colour=colour, eaves=eaves, slope=slope)
                if lot.buffer(-1).covers(house.polygon) and site.fits(house.polygon, 4):
                    site.place(house)
                    site.furnish(house, here, wide, deep)
                    path = here.out(box_ring(-1, wide + 1, deep + 1.5, deep + 3))
                    site.draft.add_patch(d.YARD, Polygon(path), d.PAVING, rng, colour=(160, 156, 148))
                    if park:
                        strip = here.out(box_ring(0, wide, deep + 4, deep + 4 + 15.5))
                        if lot.covers(Polygon(strip)) and site.fits(Polygon(strip), 1):
                            site.reserved.append(Polygon(strip))
                            site.draft.add_parking(Frame(strip[0], frame.u), wide, 15.5, rng, rng.uniform(0.3, 0.8))
                    u += wide + rng.uniform(5, 10)
                else:
                    u += 3
                    wide = max(16, 0.93 * wide)
            if len(site.placed) == before:
                v += 2
                continue
            v += deep + (rng.uniform(21.5, 25) if park else rng.uniform(12, 18))
            park = not park or rng.random() < 0.3
    _avoiding_trees(site, site.block.polygon.area / 170)


def _avoiding_trees(site: Site, number: float) -> None:
    ground = site.block.polygon
    if site.reserved:
        ground = ground.difference(shapely.union_all(site.reserved))
    site.plant(ground, number, high=3.6)


def fill_industrial(site: Site) -> None:
    """Big halls with metal or level roofs, yards with lorries and containers, car parks."""
    rng, draft = site.rng, site.draft
    grey = rng.uniform(128, 165)
    base = (grey, grey - 2, grey - 7)
    draft.add_patch(d.BASE, site.block.ring, d.MIXED, rng, amount=0.5)
    for lot in site.lots(site.block.polygon, rng.uniform(4500, 9000)):
        yard = lot.buffer(-1.2)
        cover = int(rng.choice([d.PAVING, d.ASPHALT, d.SOIL], p=[0.45, 0.3, 0.25]))
        draft.add_patch(d.YARD, yard, cover, rng, colour=base)
        frame, length, depth = box_of(lot)
        for scale in np.repeat(np.linspace(0.86, 0.4, 10), 3):
            width, deep = length * scale * rng.uniform(0.8, 1), (depth - 17) * min(1.0, scale + 0.14)
            if deep < 12:
                width, deep = length * scale * 0.8, depth * scale
            texture, colour = site.colour((0.0, 0.6, 0.4))
            bays = max(1, round(deep / rng.uniform(14, 24)))
            v = 2.5 + (1 - scale) * rng.uniform(0, 0.5) * depth
            here = Frame(frame.spot((length - width) * rng.uniform(0.2, 0.8), v), frame.u)
            roof, eaves = "flat" if texture == FLAT else "gable", rng.uniform(6, 10)
            if bays == 1 and rng.random() < 0.5 and width > 30:
                wing = Wing(0.0, width * rng.uniform(0.25, 0.4), min(9.0, depth - deep - 8))
                wings = [wing] if wing.length > 4 else []
                house = build(here, width, deep, wings, roof=roof, colour=colour, eaves=eaves, slope=0.22)
            else:
                house = build_bays(here, width, deep, bays, roof=roof, colour=colour, eaves=eaves, slope=0.18)
            if yard.covers(house.polygon) and site.fits(house.polygon, 3):
                break
        else:
            draft.add_patch(d.YARD, yard, d.MIXED, rng, amount=0.6)
            site.plant(yard, yard.area / 120)
            continue
        site.place(house)
        _hall_roof(site, house, here, width, deep, bays)
        strip = here.out(box_ring(2, width - 2, deep + 1.5, deep + 14.7))
        if yard.covers(Polygon(strip)) and site.fits(Polygon(strip), 0.5):
            draft.add_parking(Frame(strip[0], here.u), width - 4, 13.2, rng, rng.uniform(0.2, 0.8))
        _goods(site, yard)
    site.plant(site.block.polygon, site.block.polygon.area / 900)


def _hall_roof(site: Site, house: House, here: Frame, width: float, deep: float, bays: int) -> None:
    rng = site.rng
    if house.roof == "flat":
        site.furnish(house, here, width, deep)
    elif rng.random() < 0.7:
        bay = deep / bays
        for k in range(bays):
            for u in np.arange(6, width - 5, rng.uniform(7, 11)):
                for v in (0.27, 0.73):
                    size = (0.9, bay * 0.3, 0.04)
                    site.draft.add_box(here, float(u), (k + v) * bay, size, (196, 202, 200), d.IN_ROOF)


def _goods(site: Site, yard: Polygon) -> None:
    rng = site.rng
    left, top, right, bottom = yard.bounds
    for _ in range(rng.poisson(yard.area / 320)):
        at = rng.uniform((left, top), (right, bottom))
        turn = rng.choice([0.0, 1.57]) + 0.1
        frame = Frame(at, np.array([np.cos(turn), np.sin(turn)]))
        size = (float(rng.choice([6.1, 12.2])), 2.45, float(rng.choice([2.6, 5.2])))
        spot = Polygon(frame.out(box_ring(-size[0] / 2, size[0] / 2, -1.3, 1.3)))
        if yard.covers(spot) and site.fits(spot, 0.8):
            colour = [(150, 70, 52), (62, 92, 138), (188, 188, 184), (92, 112, 92), (176, 140, 72)][rng.integers(5)]
            site.draft.add_box(frame, 0, 0, size, colour, d.STAND)
            site.reserved.append(spot)


def fill_park(site: Site) -> None:
    """Lawns, paths, a pond, a pitch and many trees."""
    rng, draft, ground = site.rng, site.draft, site.block.polygon
    draft.add_patch(d.BASE, site.block.ring, d.MIXED, rng, amount=0.95)
    frame, length, depth = box_of(ground)
    kept: list[shapely.Geometry] = []
    if rng.random() < 0.6 and min(length, depth) > 45:
        at = frame.spot(length * rng.uniform(0.3, 0.7), depth * rng.uniform(0.35, 0.65))
        turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        radius = min(length, depth) * (0.2 + 0.04 * np.sin(2 * turn + rng.uniform(0, 6)) + 0.03 * np.sin(3 * turn))
        pond = Polygon(at + radius[:, None] * np.column_stack([np.cos(turn) * 1.3, np.sin(turn)])).intersection(ground)
        draft.add_patch(d.DETAIL, pond.buffer(1.5), d.SOIL, rng)
        draft.add_patch(d.RIVER, pond, d.WATER, rng)
        kept.append(pond)
    if rng.random() < 0.5:
        wide, deep = float(rng.uniform(24, 40)), float(rng.uniform(14, 22))
        court = Frame(frame.spot(6.0, 6.0), frame.u)
        shape = Polygon(court.out(box_ring(0, wide, 0, deep)))
        if ground.covers(shape) and not shapely.intersects(np.array(kept, dtype=object), shape).any():
            colour = [(150, 84, 66), (84, 124, 92), (82, 110, 146), (140, 138, 134)][rng.integers(4)]
            draft.add_patch(d.DETAIL, shape, d.PLAIN, rng, colour=colour)
            lines = [box_ring(1, wide - 1, 1, deep - 1), box_ring(1, wide / 2, 1, deep - 1)]
            for line in lines:
                edge = LineString(court.out(np.vstack([line, line[:1]]))).buffer(0.09)
                draft.add_patch(d.DETAIL, edge, d.PLAIN, rng, colour=(208, 206, 200))
            kept.append(shape)
    middle = rng.uniform(0.35, 0.65, 2)
    t = np.linspace(0, 1, 24)[:, None]
    for edge in rng.permutation(4)[: rng.integers(2, 5)]:  # curves from the sides to a common place
        start = np.array([[0.5, -0.05], [1.05, 0.5], [0.5, 1.05], [-0.05, 0.5]])[edge]
        bow = (start + middle) / 2 + rng.uniform(-0.22, 0.22, 2)
        curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * bow + t**2 * middle
        path = LineString(frame.out(curve * (length, depth))).buffer(1.1).intersection(ground)
        for shape in kept:
            path = path.difference(shape.buffer(1))
        draft.add_patch(d.DETAIL, path, d.PAVING, rng, colour=site.style.soil * 0.4 + 100)
    wood = ground
    for shape in kept:
        wood = wood.difference(shape)
    site.plant(wood, ground.area / 95, low=1.6, high=4.6)


def fill_fields(site: Site) -> None:
    """Crops in stripes, meadows, hedgerows, here and there a farm."""
    rng, draft = site.rng, site.draft
    draft.add_patch(d.BASE, site.block.ring, d.MIXED, rng, amount=0.8)
    for lot in site.lots(site.block.polygon, rng.uniform(6000, 14000)):
        field = lot.buffer(-1.2)
        frame, length, depth = box_of(lot)
        if rng.random() < 0.3:
            frame, length, depth = Frame(frame.spot(0, depth), -frame.v), depth, length
        colour = [(122, 132, 70), (168, 150, 96), (96, 116, 62), (144, 122, 92), (150, 146, 84)][rng.integers(5)]
        draft.add_patch(d.YARD, field, d.CROP, rng, colour=colour, frame=frame, amount=rng.uniform(0.4, 1))
        if rng.random() < 0.22:
            _farm(site, lot, frame, length, depth)
        edge = LineString(shapely.get_coordinates(lot.exterior))
        for at in np.arange(0, edge.length, rng.uniform(7, 25)):
            if rng.random() < 0.4:
                x, y = shapely.get_coordinates(edge.interpolate(at + rng.uniform(-2, 2)))[0]
                if site.block.polygon.contains(Point(x, y)) and site.fits(Point(x, y).buffer(1.0), 1.5):
                    draft.add_tree(x, y, rng)


def _farm(site: Site, lot: Polygon, frame: Frame, length: float, depth: float) -> None:
    rng = site.rng
    at = frame.spot(length * rng.uniform(0.2, 0.6), 4.0)
    for u, width, deep, chances in ((0.0, 13.0, 8.5, (0.8, 0.1, 0.1)), (19.0, 24.0, 11.0, (0.2, 0.7, 0.1))):
        here = Frame(at + u * frame.u, frame.u)
        texture, colour = site.colour(chances)
        roof = "flat" if texture == FLAT else "gable"
        house = build(here, width, deep, [], roof=roof, colour=colour, eaves=rng.uniform(3, 5), slope=0.4)
        if lot.covers(house.polygon) and site.fits(house.polygon, 2):
            site.draft.add_patch(d.DETAIL, house.polygon.buffer(5).intersection(lot), d.SOIL, rng)
            site.place(house)
            site.plant(house.polygon.buffer(7), 4, high=4.5)
