"""Random training windows a core-second: Eaves beside plain rasterio, torchgeo and raster-vision; prints Markdown.

python benchmarks/chip_sampling.py [--size 8192] [--windows 100] [--compress zstd]

A window is 512 x 512 px of three bands with its building mask, from polygons. Core-seconds are CPU time of this process
on one thread: the readers take turns, five rounds of other windows each, the median counts. All share one block cache
of GDAL's, 128 MB. The scene is made here; where EAVES_DATA is set, Banepa is read too, at its own 0.13 m and at 0.3 m.
Peers that are not installed are left out. Their pins do not fit constraints.txt; a separate environment has room:

    uv pip install --editable . --group peers

What the rows give: rasterio the image alone; torchgeo and raster-vision the image as float32 tensors with the mask;
Eaves the image in its own type, the mask with what is unknown, and where there is imagery.
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "GDAL_NUM_THREADS": "1", "NO_ALBUMENTATIONS_UPDATE": "1"}

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import geopandas as gpd
import numpy as np
import rasterio
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.windows import Window

from eaves.exchange.vectors import read_vectors
from eaves.labels import burn
from eaves.sample import ChipPlan
from eaves.scene import Scene
from eaves.settings import ChipSettings, Dataset, LabelSource, SceneEntry

CHIP_PX, ROUNDS = 512, 5
Reader = Callable[[int], Iterator[Any]]  # how many windows → those windows, one after the other


class Case(NamedTuple):
    name: str
    folder: Path  # for what is made
    image: Path
    houses: Path  # GeoJSON in degrees, the one form that all readers take
    gsd_m: float | None = None  # resampled to
    nodata: float | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=8192, help="side of the made scene in pixels")
    parser.add_argument("--windows", type=int, default=100, help="windows a round")
    parser.add_argument("--compress", default="zstd", help="of the made scene: none, zstd, deflate, jpeg …")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        cases = [make_case(Path(folder), options.size, options.compress)]
        cases.append(cases[0]._replace(name="Made scene at 0.3 m", gsd_m=0.3))
        if data := os.environ.get("EAVES_DATA"):
            place = Path(data) / "banepa"
            files = (place / "banepa.tif", place / "banepa_buildings.geojson")
            for name, gsd_m in (("Banepa, 0.13 m", None), ("Banepa at 0.3 m", 0.3)):
                cases.append(Case(name, Path(folder), *files, gsd_m, nodata=255))
        for case in cases:
            compare(case, options.windows)


def compare(case: Case, windows: int) -> None:
    readers: dict[str, Reader] = {}
    for name, make in MAKERS.items():
        try:
            readers[name] = make(case, windows)
        except ImportError as error:
            print(f"{name} is left out: {error}\n")
    speeds: dict[str, list[float]] = {name: [] for name in readers}
    for turn in range(ROUNDS + 1):
        for name, read in readers.items():
            start = time.process_time()
            count = sum(1 for _ in read(turn))
            if turn:  # the first warms up
                speeds[name].append(count / (time.process_time() - start))
    median = {name: statistics.median(found) for name, found in speeds.items()}
    with rasterio.open(case.image) as file:
        stored = f"{file.width} x {file.height} px, {file.profile.get('compress', 'not compressed')}"
    print(f"**{case.name}** ({stored}, blocks of {file.profile['blockxsize']} px, {windows} windows a round)\n")
    print("| reader | windows a core-second | least … most | x rasterio | x Eaves |\n|---|---|---|---|---|")
    for name, found in speeds.items():
        ratios = " | ".join(f"{median[name] / median[other]:.2f}" for other in ("rasterio", "Eaves"))
        print(f"| {name} | {median[name]:.0f} | {min(found):.0f} … {max(found):.0f} | {ratios} |")
    print(flush=True)


# --- readers ----------------------------------------------------------------------------------------------------------


def plain(case: Case, windows: int) -> Reader:
    file = rasterio.open(case.image)
    side = CHIP_PX if case.gsd_m is None else round(CHIP_PX * case.gsd_m / ground_gsd(case))
    how = {} if case.gsd_m is None else {"out_shape": (3, CHIP_PX, CHIP_PX), "resampling": Resampling.average}

    def read(turn: int) -> Iterator[Any]:
        rng = np.random.default_rng(turn)
        for col, row in rng.integers(0, (file.width - side, file.height - side), (windows, 2)):
            yield file.read((1, 2, 3), window=Window(int(col), int(row), side, side), **how)

    return read


def eaves(case: Case, windows: int) -> Reader:
    entry = SceneEntry(
        image=str(case.image),
        labels=(LabelSource(path=str(case.houses)),),
        nodata=case.nodata,
        split="train",
    )
    settings = ChipSettings(chip_px=CHIP_PX, per_epoch=windows, gsd_m=case.gsd_m, windows="random")
    plan = ChipPlan.of_dataset(Dataset(scene=(entry,)), settings)
    return lambda turn: (plan.load(draw) for draw in plan.train(turn))


def torchgeo(case: Case, windows: int, drawn: bool = False) -> Reader:
    """Its own way with polygons reads their file for every window; ``drawn`` gives it a mask made beforehand."""
    from torchgeo.datasets import RasterDataset, VectorDataset
    from torchgeo.samplers import RandomGeoSampler

    with rasterio.open(case.image) as file:
        crs, step = file.crs, file.res[0] * (1 if case.gsd_m is None else case.gsd_m / ground_gsd(case))
    labels: Any
    if drawn:
        labels = RasterDataset(draw_mask(case), crs=crs, res=step)
        labels.is_image = False
    else:
        labels = VectorDataset(case.houses, crs=crs, res=(step, step))
    both = RasterDataset(case.image, crs=crs, res=step) & labels
    sampler = RandomGeoSampler(both, size=CHIP_PX, length=windows)
    return lambda turn: (both[query] for query in sampler)


def rastervision(case: Case, windows: int) -> Reader:
    from rastervision.core.data import ClassConfig
    from rastervision.pytorch_learner import SemanticSegmentationRandomWindowGeoDataset

    side = CHIP_PX if case.gsd_m is None else round(CHIP_PX * case.gsd_m / ground_gsd(case))
    chips = SemanticSegmentationRandomWindowGeoDataset.from_uris(
        image_uri=str(case.image),
        label_vector_uri=str(case.houses),
        label_vector_default_class_id=1,
        class_config=ClassConfig(names=["background", "building"], null_class="background"),
        size_lims=(side, side + 1),
        out_size=CHIP_PX,
        padding=0,
        max_windows=10**9,
    )
    return lambda turn: (chips[index] for index in range(windows))


def ground_gsd(case: Case) -> float:
    return Scene(case.image).native_gsd_m or 1.0


def draw_mask(case: Case) -> Path:
    """The mask of a whole scene as a file beside the made one."""
    path = case.folder / f"{case.image.stem}_mask.tif"
    if not path.exists():
        with rasterio.open(case.image) as file:
            grid = GeoBox(file.shape, file.transform, file.crs)
            profile = {key: file.profile[key] for key in ("driver", "height", "width", "crs", "transform")}
        tiles = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate"}
        with rasterio.open(path, "w", count=1, dtype="uint8", **profile, **tiles) as file:
            file.write(burn(read_vectors(case.houses), grid), 1)
    return path


MAKERS: dict[str, Callable[[Case, int], Reader]] = {
    "rasterio": plain,
    "Eaves": eaves,
    "torchgeo": torchgeo,
    "torchgeo, mask drawn before": partial(torchgeo, drawn=True),
    "raster-vision": rastervision,
}


# --- a scene ----------------------------------------------------------------------------------------------------------


def make_case(folder: Path, size: int, compress: str) -> Case:
    """Write ground with grain and 13 roofs a window of 0.15 m."""
    rng = np.random.default_rng(0)
    affine = Affine(0.15, 0, 500_000, 0, -0.15, 5_200_000)
    boxes = zip(*rng.uniform((0, 0, 40, 40, 0), (size, size, 160, 160, 90), (size * size // 20_000, 5)).T, strict=True)
    houses = [shapely.affinity.rotate(shapely.box(x, y, x + w, y + h), turn) for x, y, w, h, turn in boxes]
    soft = cv2.resize(rng.normal(size=(size // 16, size // 16, 3)).astype(np.float32), (size, size))
    image = np.clip(110 + 20 * soft, 1, 255).astype(np.uint8)
    for house in houses:
        ring = shapely.get_coordinates(house).round().astype(np.int32)
        cv2.fillPoly(image, [ring], rng.integers(60, 230, 3).tolist())
    image += rng.integers(0, 16, image.shape, np.uint8)
    path = folder / "scene.tif"
    profile: dict[str, Any] = {"driver": "GTiff", "count": 3, "height": size, "width": size, "dtype": "uint8"}
    profile |= {"crs": "EPSG:32633", "transform": affine, "tiled": True, "blockxsize": 512, "blockysize": 512}
    profile |= {"interleave": "pixel", "photometric": "ycbcr" if compress == "jpeg" else "rgb"}
    if compress != "none":
        profile |= {"compress": compress} | ({} if compress == "jpeg" else {"predictor": 2})
    with rasterio.open(path, "w", **profile) as file:
        file.write(np.moveaxis(image, -1, 0))
    world = [shapely.affinity.affine_transform(house, affine.to_shapely()) for house in houses]
    table = gpd.GeoDataFrame(geometry=world, crs=profile["crs"])
    table.to_crs(4326).to_file(folder / "houses.geojson")
    return Case("Made scene, 0.15 m", folder, path, folder / "houses.geojson")


if __name__ == "__main__":
    main()
