"""Small places to sample from."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning

from eaves.settings import Dataset, LabelSource, SceneEntry

UTM = "EPSG:32645"
CORNER = (350_000.0, 3_060_000.0)
GSD_M = 0.5


def _affine(shape: tuple[int, int]) -> Affine:
    return Affine(GSD_M, 0, CORNER[0], 0, -GSD_M, CORNER[1] + GSD_M * shape[0])


class Place:
    """Writes rasters and vectors whose coordinates are pixels of a picture ``shape`` rows by columns."""

    def __init__(self, folder: Path, shape: tuple[int, int]) -> None:
        self.folder, self.shape = folder, shape

    def image(self, name: str = "image.tif", *, seed: int = 0, crs: str | None = UTM, nodata: int | None = None) -> str:
        """A picture of noise with values of 10 and more; 0 in its lower right quarter where ``nodata`` is given."""
        pixels = np.random.default_rng(seed).integers(10, 255, (3, *self.shape), np.uint8)
        if nodata is not None:
            pixels[:, self.shape[0] // 2 :, self.shape[1] // 2 :] = nodata
        return self.raster(name, pixels, crs=crs, nodata=nodata)

    def raster(self, name: str, pixels: np.ndarray, *, crs: str | None = UTM, **profile: Any) -> str:
        if crs is not None:
            profile = {"crs": crs, "transform": _affine(pixels.shape[1:]), **profile}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(
                self.folder / name,
                "w",
                count=len(pixels),
                height=pixels.shape[1],
                width=pixels.shape[2],
                dtype=pixels.dtype.name,
                **{"driver": "GTiff", **profile},
            ) as target:
                target.write(pixels)
        return name

    def vectors(self, name: str, shapes: Sequence[Any], *, crs: str | None = UTM, to: str | None = None) -> str:
        a = _affine(self.shape) if crs is not None else Affine.identity()
        world = [shapely.affinity.affine_transform(s, [a.a, a.b, a.d, a.e, a.c, a.f]) for s in shapes]
        table = gpd.GeoDataFrame(geometry=world, crs=crs)
        (table if to is None else table.to_crs(to)).to_file(self.folder / name)
        return name

    def houses(self, name: str = "houses.gpkg", *, side_px: int = 12, step_px: int = 40, **more: Any) -> str:
        """A house in every square of ``step_px``, from 10 px on."""
        rows, cols = self.shape
        return self.vectors(
            name,
            [
                shapely.box(col, row, col + side_px, row + side_px)
                for row in range(10, rows - side_px, step_px)
                for col in range(10, cols - side_px, step_px)
            ],
            **more,
        )

    def dataset(self, *entries: SceneEntry, **more: Any) -> Dataset:
        return Dataset(scene=entries, root=self.folder, **more)

    def town(self, split: Any = "block", **more: Any) -> Dataset:
        """One scene full of houses."""
        labels = (LabelSource(path=self.houses()),)
        return self.dataset(SceneEntry(image=self.image(), labels=labels, split=split, **more))


@pytest.fixture
def place(tmp_path: Path) -> Callable[..., Place]:
    return lambda rows=200, cols=240: Place(tmp_path, (rows, cols))
