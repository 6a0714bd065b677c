"""Does correcting a coarse network's score maps pay? A synthetic city, Dubai, and a strong network on Banepa.

    EAVES_DATA=... EAVES_WEIGHTS=... python benchmarks/correction.py --work runs/correction [--only city dubai banepa]
        [--seeds 0 1 2] [--correctors corrector] [--strong model.safetensors] [--set fit.epochs=30 ...]

city    Three classes at 0.5 m. A coarse network learns from a city whose labels have OpenStreetMap's faults (shifted,
        missing, merged, invented; every road 7 m wide); correctors, and the energies of the CRF, learn from one clean
        tile of 3 000 x 3 000 px; all are measured on another such tile.
dubai   Roads and buildings. Labels of tiles 1 to 4, degraded alike, teach the coarse network; tile 5 teaches the
        correctors; tile 7 measures. The tiles state no pixel size: 0.5 m stands in for it.
banepa  A strong network (--strong, such as one of benchmarks/touching_houses.py or drone_imagery.py) in place of the
        coarse one: correctors and CRF learn from the western part, where that network learned too, and are measured
        on the eastern.

Each stage is a command of Eaves's; stages that are done are not done again. `--set` changes the correctors' recipes.
Prints `eaves compare`'s table for each.

Dubai: Humans in the Loop / MBRSC, CC0. Banepa: imagery CC BY 4.0, OpenAerialMap contributors / HOTOSM; labels
(c) OpenStreetMap contributors, ODbL.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import NamedTuple

import cv2
import geopandas as gpd
import numpy as np
import rasterio
import shapely

from drone_imagery import banepa_scenes, eaves, write_dataset
from dubai_unet import stitch
from touching_houses import cut_strip

CORRECTORS = ("corrector", "corrector-class-agnostic", "corrector-unshared")
CITIES = {"osm": (4000, 11), "tile": (3000, 12), "test": (3000, 13)}  # side in pixels, seed
CLASSES = ["[classes]", 'names = ["background", "building", "road"]', ""]
DUBAI = {"background": ["#8429F6", "#FEDD3A", "#E2A929"], "building": ["#3C1098"], "road": ["#6EC1E4"]}


class Place(NamedTuple):
    """What a comparison runs on.

    Attributes:
        plenty: Dataset of plentiful labels, or none where a network is given.
        tile: Dataset of the carefully labelled tile.
        test: Dataset of what is measured.
        tile_image: The tile's image.
        test_image: The other.
        extra: Options of predict and refine for these images.
        gsd_m: Resolution that is corrected at.
    """

    plenty: Path | None
    tile: Path
    test: Path
    tile_image: Path
    test_image: Path
    extra: list[str]
    gsd_m: float = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("runs/correction"))
    parser.add_argument("--only", nargs="*", default=["city", "dubai", "banepa"], choices=["city", "dubai", "banepa"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--correctors", nargs="*", default=list(CORRECTORS), choices=CORRECTORS)
    parser.add_argument("--strong", type=Path)
    parser.add_argument("--set", nargs="*", default=[])
    options = parser.parse_args()
    if "EAVES_DATA" not in os.environ and options.only != ["city"]:
        sys.exit("EAVES_DATA is not set: it names the folder with dubai/ and banepa/")
    for name in options.only:
        work = options.work / name
        work.mkdir(parents=True, exist_ok=True)
        place = {"city": prepare_city, "dubai": prepare_dubai, "banepa": prepare_banepa}[name](work)
        for seed in options.seeds:
            run(place, work, seed, options.correctors, options.set, options.strong)
        evaluations = sorted(path.parent for path in work.glob("*/test*/metrics.json"))
        eaves("compare", *evaluations, "-o", work / "table")


def run(place: Place, work: Path, seed: int, correctors: list[str], changes: list[str], strong: Path | None) -> None:
    """Train, correct and measure with one seed."""
    coarse = work / f"coarse-{seed}"
    model = coarse / "model.safetensors"
    if place.plenty is None:
        if strong is None:
            sys.exit("--strong is not set: it names the model that is corrected")
        model = strong
    elif not (coarse / "curves.png").exists():
        seeds = [f"fit.seed={seed}"]
        eaves("train", "coarse-osm", "--data", place.plenty, "-o", coarse, "--resume", "--set", *seeds)
    maps = {}
    for side, image in (("tile", place.tile_image), ("test", place.test_image)):
        maps[side] = coarse / f"{side}.tif"
        if not maps[side].exists():
            eaves("predict", image, "--model", model, "-o", maps[side], *place.extra)
    measure(maps["test"], place.test, coarse, place.gsd_m)
    beside = []
    for name in correctors:
        folder = work / f"{name}-{seed}"
        if not (folder / "curves.png").exists():
            settings = [f"chips.gsd_m={place.gsd_m}", "chips.val_chips=40", f"fit.seed={seed}", *changes]
            data = ["--data", place.tile, "--corrects", model]
            eaves("train", name, *data, "-o", folder, "--resume", "--set", *settings)
        if not (folder / "test.tif").exists():
            trained = ["--with", folder / "model.safetensors"]
            eaves("refine", place.test_image, maps["test"], *trained, "-o", folder / "test.tif", *place.extra)
            # What it learned by heart shows on the tile that it learned from.
            eaves("refine", place.tile_image, maps["tile"], *trained, "-o", folder / "tile.tif", *place.extra)
        measure(folder / "test.tif", place.test, folder, place.gsd_m)
        measure(folder / "tile.tif", place.tile, folder, place.gsd_m, "learned_from")
        beside.append(f"{name.removeprefix('corrector').strip('-') or 'corrector'}={folder / 'test.tif'}")
    crf = work / f"crf-{seed}"
    gsd = ["--gsd-m", place.gsd_m]
    if not (crf / "crf.toml").exists():
        eaves("tune", maps["tile"], place.tile, "-o", crf / "crf.toml", *gsd, "--part-px", 1200)
    if not (crf / "test.tif").exists():
        refine = ["--with", crf / "crf.toml", "-o", crf / "test.tif"]
        eaves("refine", place.test_image, maps["test"], *refine, *gsd, *place.extra)
    measure(crf / "test.tif", place.test, crf, place.gsd_m)
    study = work / f"study-{seed}"
    if not (study / "study.json").exists():
        trained = work / f"corrector-{seed}" / "model.safetensors"
        shown = ["--beside", f"CRF={crf / 'test.tif'}", *beside[1:2]]
        eaves("study", maps["test"], place.test, "--with", trained, "-o", study, *shown)


def measure(scores: Path, reference: Path, folder: Path, gsd_m: float, name: str = "test") -> None:
    if not (folder / name / "metrics.json").exists():
        eaves("evaluate", scores, reference, "-o", folder / name, "--gsd-m", gsd_m)


# --- places -----------------------------------------------------------------------------------------------------------


def prepare_city(work: Path) -> Place:
    """Draw the three cities and write their datasets."""
    for name, (size, seed) in CITIES.items():
        folder = work / name
        if not (folder / "scene.tif").exists():
            eaves("synth", "-o", folder, "--size-px", size, "--gsd-m", 0.5, "--seed", seed, "--no-nodata-corner")
        roads = gpd.read_file(folder / "roads.gpkg")
        if name == "osm":
            shift_lines(roads, seed).to_file(folder / "lines.gpkg")
            buildings, road = "noisy.gpkg", 'path = "lines.gpkg", class = "road", width_m = 7.0'
        else:
            roads.set_geometry(roads.buffer(roads["width_m"] / 2)).to_file(folder / "pavement.gpkg")
            buildings, road = "buildings.gpkg", 'path = "pavement.gpkg", class = "road"'
        split = "test" if name == "test" else "block"
        labels = f'labels = [{{ {road} }}, {{ path = "{buildings}", class = "building" }}]'
        lines = [*CLASSES, "[[scene]]", 'image = "scene.tif"', labels, f'split = "{split}"', ""]
        (folder / "dataset.toml").write_text("\n".join(lines), encoding="utf-8")
    sets, images = ({name: work / name / file for name in CITIES} for file in ("dataset.toml", "scene.tif"))
    return Place(sets["osm"], sets["tile"], sets["test"], images["tile"], images["test"], [])


def shift_lines(roads: gpd.GeoDataFrame, seed: int, shift_m: float = 1.5, omit: float = 0.1) -> gpd.GeoDataFrame:
    """Shift each road as far as a district's buildings are shifted, and leave some out."""
    rng = np.random.default_rng(seed)
    kept = roads[rng.random(len(roads)) >= omit].copy()
    turn, size = rng.uniform(0, 2 * np.pi, len(kept)), rng.uniform(0.5, 1.5, len(kept)) * shift_m
    moves = np.column_stack([np.cos(turn), np.sin(turn)]) * size[:, None]
    kept["geometry"] = [
        shapely.transform(line, lambda xy, move=move: xy + move)
        for line, move in zip(kept.geometry, moves, strict=True)
    ]
    return kept


def prepare_dubai(work: Path) -> Place:
    """Copy the tiles as GeoTIFF with labels of three classes, and spoil those of the first four."""
    data = Path(os.environ["EAVES_DATA"]) / "dubai"
    for tile in (1, 2, 3, 4, 5, 7):
        if not (work / f"{tile}_classes.tif").exists():
            copy_tile(data, tile, work)
    sides = {"osm": (1, 2, 3, 4), "tile": (5,), "test": (7,)}
    sets = {}
    for side, tiles in sides.items():
        lines = [*CLASSES]
        for tile in tiles:
            values = "{ background = [0], building = [1], road = [2] }"
            split = "test" if side == "test" else "block"
            labels = f'labels = [{{ path = "{tile}_classes.tif", values = {values} }}]'
            lines += ["[[scene]]", f'image = "{tile}.tif"', labels, "gsd_m = 0.5", f'split = "{split}"', ""]
        sets[side] = work / f"{side}.toml"
        sets[side].write_text("\n".join(lines), encoding="utf-8")
    extra = ["--ground-gsd-m", "0.5"]
    return Place(sets["osm"], sets["tile"], sets["test"], work / "5.tif", work / "7.tif", extra)


def copy_tile(data: Path, tile: int, work: Path) -> None:
    """Write a tile's image, and its classes: background, building, road."""
    image, colors = (
        np.ascontiguousarray(np.moveaxis(stitch(data, tile, folder, suffix)[..., ::-1], -1, 0))
        for folder, suffix in (("images", "jpg"), ("masks", "png"))
    )
    classes = np.full(colors.shape[1:], 255, np.uint8)
    for value, names in enumerate(DUBAI.values()):
        for name in names:
            wanted = np.array([int(name[i : i + 2], 16) for i in (1, 3, 5)], np.uint8)
            classes[(colors == wanted[:, None, None]).all(axis=0)] = value
    if tile < 5:
        classes = spoil(classes, tile)
    for name, array in ((f"{tile}.tif", image), (f"{tile}_classes.tif", classes[None])):
        size = {"count": len(array), "height": array.shape[1], "width": array.shape[2]}
        nodata = 255 if len(array) == 1 else None
        with rasterio.open(
            work / name, "w", driver="GTiff", dtype="uint8", **size, nodata=nodata, tiled=True, compress="deflate"
        ) as file:
            file.write(array)


def spoil(classes: np.ndarray, seed: int, shift_px: float = 3.0, omit: float = 0.1, cell_px: int = 300) -> np.ndarray:
    """Shift buildings by a district's common offset, leave some out, and give every road one width.

    Args:
        classes: uint8 ``(h, w)``; 1 is building, 2 is road, 255 unknown.
        seed: Of everything random.
        shift_px: Mean length of a district's shift.
        omit: Share of the buildings left out.
        cell_px: Side of a district.
    """
    rng = np.random.default_rng(seed)
    height, width = classes.shape
    spoiled = np.where(classes == 255, np.uint8(255), np.uint8(0))
    roads = (classes == 2).astype(np.uint8)
    middle = cv2.morphologyEx(roads, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    shift = rng.normal(0, shift_px / 1.25, 2).round().astype(int)  # 1.25: the mean length of a normal pair of sigma 1
    spoiled[(np.roll(middle, shift, (0, 1)) > 0) & (spoiled == 0)] = 2
    count, numbers, boxes, centers = cv2.connectedComponentsWithStats((classes == 1).astype(np.uint8), connectivity=4)
    cells = np.array([-(-height // cell_px), -(-width // cell_px)])
    moves = rng.normal(0, shift_px / 1.25, (*cells, 2)).round().astype(int)
    for index in range(1, count):
        if rng.random() < omit:
            continue
        col, row = (centers[index] // cell_px).astype(int)
        left, top, wide, tall, _ = boxes[index]
        down, right = moves[row, col]
        part = numbers[top : top + tall, left : left + wide] == index
        at_row, at_col = np.nonzero(part)
        at_row, at_col = at_row + top + down, at_col + left + right
        inside = (at_row >= 0) & (at_row < height) & (at_col >= 0) & (at_col < width)
        at_row, at_col = at_row[inside], at_col[inside]
        free = spoiled[at_row, at_col] != 255
        spoiled[at_row[free], at_col[free]] = 1
    return spoiled


def prepare_banepa(work: Path) -> Place:
    """Split Banepa as the other benchmarks do; the western part is the tile, the eastern strip measures."""
    data = Path(os.environ["EAVES_DATA"])
    banepa_scenes(data, work)
    sets, images = [], []
    for side, split in (("train", "block"), ("val", "test")):
        image = cut_strip(data / "banepa/banepa.tif", work, side)
        lines = ["[[scene]]", f'image = "{image.resolve()}"', f'labels = "../banepa_{side}.gpkg"']
        lines += [f'aoi = "../banepa_{side}_aoi.gpkg"', "nodata = 255", f'split = "{split}"', ""]
        (work / side).mkdir(exist_ok=True)
        sets.append(write_dataset(lines, work / side))
        images.append(image)
    return Place(None, *sets, *images, ["--nodata", "255"], 0.3)


if __name__ == "__main__":
    main()
