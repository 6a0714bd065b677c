"""A dataset that has its labels moved onto the image."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from eaves.errors import LabelError
from eaves.exchange.rasters import RasterWriter
from eaves.exchange.vectors import write_vectors
from eaves.sample import LabelledScene
from eaves.settings import Dataset, LabelSource, SceneEntry
from eaves.synth import plan_city, render


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    """A city whose labels lie 2.4 m to the right and 1.5 m down."""
    folder = tmp_path_factory.mktemp("town")
    city = plan_city(512, seed=3)
    with RasterWriter(folder / "a.tif", city.grid, 3, "uint8") as writer:
        writer.write(0, render(city)[0])
    right = city.buildings[["geometry"]]
    write_vectors(right, folder / "right.gpkg", layer="a")
    write_vectors(right.set_geometry(right.translate(2.4, -1.5)), folder / "off.gpkg", layer="a")
    return folder


def opened(folder, labels, **more) -> LabelledScene:
    entry = SceneEntry(image="a.tif", labels=labels, **more)
    return LabelledScene(entry, Dataset(scene=(entry,), root=folder))


@pytest.mark.parametrize("align", ["scene", "block"])
def test_labels_are_moved_onto_the_image(town, align, caplog):
    right = opened(town, "right.gpkg").overview.counts[1] / 256
    off = opened(town, "off.gpkg").overview.counts[1] / 256
    with caplog.at_level(logging.INFO):
        moved = opened(town, "off.gpkg", align=align).overview.counts[1] / 256
    assert np.abs(moved - right).mean() < 0.2 * np.abs(off - right).mean()
    assert "features moved by" in caplog.text


def test_a_class_raster_cannot_be_aligned(town):
    source = LabelSource(path="a.tif", values={"building": (1,)})
    with pytest.raises(LabelError, match="class raster"):
        opened(town, (source,), align="scene")
