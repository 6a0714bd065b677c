"""``eaves sample``: every format that it writes, training reads."""

from __future__ import annotations

import re
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine

import eaves
from eaves.errors import LabelError, OutputError, SettingsError
from eaves.sample import open_chips

SMALL = ["chips.chip_px=64", "chips.per_epoch=12", "chips.block_m=40"]
TINY = ["model.arch='unet28'", "model.options={widths='narrow'}", "fit.epochs=1", "fit.batch=2", "fit.precision='fp32'"]
FORMATS = ["eaves", "hdf5", "coco", "esri-rcnn-masks", "esri-classified-tiles"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """Houses in the left half of one scene."""
    folder = tmp_path_factory.mktemp("town")
    affine = Affine(0.5, 0, 350_000, 0, -0.5, 3_060_100)
    image = np.random.default_rng(0).integers(10, 255, (3, 256, 384), np.uint8)
    with rasterio.open(
        folder / "image.tif", "w", driver="GTiff", count=3, height=256, width=384, dtype="uint8",
        crs="EPSG:32645", transform=affine,
    ) as file:  # fmt: skip
        file.write(image)
    boxes = [shapely.box(c, r, c + 14, r + 14) for r in range(8, 240, 40) for c in range(8, 150, 40)]
    a = affine
    world = [shapely.affinity.affine_transform(box, [a.a, a.b, a.d, a.e, a.c, a.f]) for box in boxes]
    gpd.GeoDataFrame(geometry=world, crs="EPSG:32645").to_file(folder / "houses.gpkg")
    path = folder / "dataset.toml"
    path.write_text('credits = ["made here"]\n[[scene]]\nimage = "image.tif"\nlabels = "houses.gpkg"\n')
    return path


def chips_in(path: Path) -> list:
    found = open_chips(path)
    order = sorted(range(len(found)), key=lambda i: (found.records[i]["split"], *found.records[i]["window"]))
    return [found[index] for index in order]


def test_every_format_holds_the_same_chips(dataset, tmp_path):
    stores = {}
    for kind in FORMATS:
        place = tmp_path / (f"{kind}.h5" if kind == "hdf5" else kind)
        made = eaves.sample_chips(dataset, place, format=kind, changes=SMALL, instances=True)  # pyright: ignore
        assert made.train == 12
        assert made.val > 0
        stores[kind] = chips_in(place)
    for kind in FORMATS[1:]:
        assert len(stores[kind]) == len(stores["eaves"])
        for ours, theirs in zip(stores["eaves"], stores[kind], strict=True):
            assert (ours.image == theirs.image).all()
            assert (ours.mask == theirs.mask).all()
            assert (ours.valid == theirs.valid).all()
            assert theirs.instances is None if kind.endswith("tiles") else (ours.instances == theirs.instances).all()


@pytest.mark.parametrize("kind", ["coco", "esri-rcnn-masks", "esri-classified-tiles"])
def test_training_reads_the_formats_of_others(dataset, tmp_path, kind):
    eaves.sample_chips(dataset, tmp_path / "chips", format=kind, changes=SMALL)
    if kind.startswith("esri"):
        (tmp_path / "chips" / "eaves.json").unlink()  # as if ArcGIS had written it
    run = eaves.train_model("unet28", tmp_path / "chips", tmp_path / "run", changes=[*SMALL, *TINY])
    assert run.model.exists()
    card = eaves.load_model(run.model)[1]
    assert card.classes[1] == "building"
    assert card.credits == (() if kind.startswith("esri") else ("made here",))


def test_turned_chips(dataset, tmp_path):
    plain = eaves.sample_chips(dataset, tmp_path / "plain", changes=SMALL)
    turned = eaves.sample_chips(dataset, tmp_path / "turned", changes=SMALL, rotation_deg=90)
    assert (turned.train, turned.val) == (4 * plain.train, plain.val)
    once, four = open_chips(tmp_path / "plain"), open_chips(tmp_path / "turned")
    for index in range(plain.train):
        for quarter in range(4):
            expected = np.rot90(once[index].mask, quarter)
            assert (four[4 * index + quarter].mask == expected).all()


def test_the_way_of_a_sample_is_told(dataset, tmp_path, caplog):
    """Windows, then those with labels, then a subset of them, each counted."""
    grid = [*SMALL, "chips.windows='grid'", "chips.stride_px=16", "chips.keep_empty=false"]
    with caplog.at_level("INFO"):
        made = eaves.sample_chips(dataset, tmp_path / "chips", changes=grid, at_most=20, rotation_deg=180)
    counts = made.counts
    assert counts.considered == counts.unknown + counts.empty + counts.kept
    assert counts.empty > 20
    assert (made.drawn, made.train) == (counts.kept, 40)
    told = re.search(
        r"(\d+) windows drawn, (\d+) too little known and (\d+) without labels dropped, (\d+) kept", caplog.text
    )
    assert told is not None
    assert [int(number) for number in told.groups()] == [counts.considered, counts.unknown, counts.empty, counts.kept]
    assert "subset of 20, 40 training chips at 2 angles" in caplog.text
    store = open_chips(tmp_path / "chips")
    assert all((store[index].mask == 1).any() for index in store.indices("train"))
    again = eaves.sample_chips(dataset, tmp_path / "again", changes=grid, at_most=20, rotation_deg=180)
    assert open_chips(again.path).records == store.records
    everything = eaves.sample_chips(dataset, tmp_path / "all", changes=grid, at_most=10**6)
    assert everything.train == everything.drawn


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"format": "cocoa"}, SettingsError, "write 'coco'"),
        ({"rotation_deg": 360}, SettingsError, "an angle"),
        ({"at_most": 0}, SettingsError, "at least one training chip"),
        ({"changes": ["chips.chip_px=4096", "chips.min_known=0.9"]}, LabelError, "chips of 4096 px"),
    ],
)
def test_what_cannot_be_meant(dataset, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        eaves.sample_chips(dataset, tmp_path / "chips", **{"changes": SMALL, **options})
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(dataset, tmp_path):
    for kind in FORMATS:
        place = tmp_path / kind
        place.write_text("mine")
        with pytest.raises(OutputError, match="exists"):
            eaves.sample_chips(dataset, place, format=kind, changes=SMALL)  # pyright: ignore[reportArgumentType]
        assert place.read_text() == "mine"
