from __future__ import annotations

import json
import multiprocessing
import operator
import pickle
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest
from rasterio.windows import Window

from eaves.errors import OutputError, SceneError, SettingsError
from eaves.labels import UNKNOWN
from eaves.sample import Chip, ChipPlan, ChipRecord, ChipStore, open_chips, write_chips
from eaves.settings import ChipSettings

CLASSES = ("background", "building")
FORMATS = pytest.mark.parametrize("kind", ["eaves", "hdf5"])


def chips(
    count: int = 5, dtype: str = "uint16", shape: tuple[int, ...] = (4, 32, 32), objects: bool = False
) -> list[ChipRecord]:
    rng = np.random.default_rng(0)
    return [
        ChipRecord(
            Chip(
                rng.integers(0, 200, shape).astype(dtype),
                rng.choice(np.array([0, 1, UNKNOWN], np.uint8), shape[1:]),
                rng.random(shape[1:]) < 0.9,
                rng.integers(0, 60_000, shape[1:], np.uint16) if objects else None,
            ),
            f"scene{index % 2}.tif",
            Window(index, 2, 32, 32),
            "val" if index == 3 else "train",
        )
        for index in range(count)
    ]


def place_for(folder, kind: str):
    return folder / ("chips" if kind == "eaves" else "chips.h5")


def store(folder, kind: Any, records=None, **more) -> ChipStore:
    path = place_for(folder, kind)
    write_chips(iter(chips() if records is None else records), path, kind, classes=CLASSES, **more)
    return open_chips(path)


def same(one: Chip, two: Chip) -> bool:
    pairs = zip(one, two, strict=True)
    return all(
        (ours is None and theirs is None)
        or (ours is not None and theirs is not None and ours.dtype == theirs.dtype and bool((ours == theirs).all()))
        for ours, theirs in pairs
    )


@FORMATS
@pytest.mark.parametrize("objects", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_what_is_stored_comes_back(tmp_path, kind, dtype, objects):
    records = chips(dtype=dtype, objects=objects)
    found = store(tmp_path, kind, records, gsd_m=0.3, credits=("me", "you"))
    assert len(found) == 5
    for index, record in enumerate(records):
        assert same(record.chip, found[index])
    assert (found[-1].image == found[4].image).all()
    assert (found.classes, found.gsd_m, found.credits) == (CLASSES, 0.3, ("me", "you"))
    assert found.indices("train") == [0, 1, 2, 4]
    assert found.indices("val") == [3]
    assert found.scenes == ["scene0.tif", "scene1.tif"]
    told = found.records[1]
    assert told["window"] == [1, 2, 32, 32]
    assert told["shares"]["building"] == pytest.approx((records[1].chip.mask == 1).mean(), abs=1e-6)
    with pytest.raises(IndexError):
        found[5]
    with pytest.raises(IndexError):
        found[-6]


@FORMATS
def test_a_plan_is_stored_with_its_places(tmp_path, place, kind):
    plan = ChipPlan.of_dataset(place().town(), ChipSettings(chip_px=64, per_epoch=6, block_m=24.0))
    draws = [("train", draw) for draw in plan.train(0)] + [("val", draw) for draw in plan.val()]
    found = store(tmp_path, kind, (plan.record(draw, split) for split, draw in draws), gsd_m=plan.gsd_m)
    assert len(found.indices("train")) == 6
    for index, (_, draw) in enumerate(draws):
        assert (found[index].mask == plan.load(draw).mask).all()
        told = found.records[index]
        assert told["scene"] == "image.tif"
        left, top = (draw.window.col_off * 0.5 + 350_000, 3_060_100 - draw.window.row_off * 0.5)
        assert told["transform"] == [0.5, 0, left, 0, -0.5, top]
        assert "32645" in told["crs"]


def test_the_folder_opens_without_eaves(tmp_path):
    store(tmp_path, "eaves")
    images = np.load(tmp_path / "chips" / "images.npy")
    assert images.shape == (5, 4, 32, 32)
    assert (images[2] == chips()[2].chip.image).all()
    assert json.loads((tmp_path / "chips" / "index.json").read_text())["unknown"] == UNKNOWN


def test_hdf5_is_compressed(tmp_path):
    records = [record._replace(chip=record.chip._replace(image=np.zeros((4, 32, 32), "uint8"))) for record in chips()]
    store(tmp_path, "hdf5", records)
    store(tmp_path, "eaves", records)
    plain = sum(file.stat().st_size for file in (tmp_path / "chips").iterdir())
    assert (tmp_path / "chips.h5").stat().st_size < plain


@FORMATS
def test_a_pickled_store_reads_on(tmp_path, kind):
    found = store(tmp_path, kind)
    expected = found[2]
    assert len(pickle.dumps(found)) < 20_000
    assert same(pickle.loads(pickle.dumps(found))[2], expected)


@FORMATS
def test_chips_with_and_without_objects_do_not_mix(tmp_path, kind):
    with pytest.raises(SettingsError, match="one shape and type"):
        write_chips([*chips(2), *chips(2, objects=True)], place_for(tmp_path, kind), kind, classes=CLASSES)


@FORMATS
def test_a_plan_stores_its_objects(tmp_path, place, kind):
    plan = ChipPlan.of_dataset(place().town(), ChipSettings(chip_px=64, per_epoch=4, block_m=24.0), instances=True)
    found = store(tmp_path, kind, (plan.record(draw, "train") for draw in plan.train(0)))
    numbers = [found[index].instances for index in range(4)]
    assert all(ids is not None and ((ids > 0) == (found[index].mask == 1)).all() for index, ids in enumerate(numbers))
    assert any(ids is not None and ids.max() > 1 for ids in numbers)


def test_a_spawned_process_opens_hdf5_by_itself(tmp_path):
    found = store(tmp_path, "hdf5")
    expected = found[2].mask
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert (pool.submit(operator.itemgetter(2), found).result(60).mask == expected).all()


@FORMATS
def test_a_store_appears_whole_or_not_at_all(tmp_path, kind):
    def broken():
        yield from chips(3)
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_chips(broken(), place_for(tmp_path, kind), kind, classes=CLASSES)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SettingsError, match="none"):
        write_chips([], place_for(tmp_path, kind), kind, classes=CLASSES)
    with pytest.raises(SettingsError, match="one shape and type"):
        write_chips([*chips(2), *chips(1, "uint8")], place_for(tmp_path, kind), kind, classes=CLASSES)
    assert list(tmp_path.iterdir()) == []


@FORMATS
def test_nothing_is_overwritten(tmp_path, kind):
    store(tmp_path, kind)
    with pytest.raises(OutputError, match="exists"):
        write_chips(chips(), place_for(tmp_path, kind), kind, classes=CLASSES)


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for kind in ("eaves", "hdf5"):
        with pytest.raises(OutputError):
            write_chips(chips(), tmp_path / "file" / "chips", kind, classes=CLASSES)


def _cut(path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "index.json").write_text("{"),
        lambda folder: (folder / "index.json").write_text('{"format": "eaves chips", "version": 99}'),
        lambda folder: (folder / "index.json").unlink(),
        lambda folder: _cut(folder / "images.npy", 5000),
        lambda folder: _cut(folder / "images.npy", 100),
        lambda folder: _cut(folder / "masks.npy", 0),
        lambda folder: (folder / "valid.npy").unlink(),
        lambda folder: np.save(folder / "masks.npy", np.zeros((4, 32, 32), np.uint8)),
        lambda folder: np.save(folder / "masks.npy", np.zeros((5, 16, 32), np.uint8)),
        lambda folder: np.save(folder / "masks.npy", np.array([None] * 5)),
    ],
)
def test_a_damaged_folder_is_told(tmp_path, damage):
    store(tmp_path, "eaves")
    damage(tmp_path / "chips")
    with pytest.raises(SceneError, match="chips"):
        open_chips(tmp_path / "chips")


def read_all(path) -> list[Chip]:
    found = open_chips(path)
    return [found[index] for index in range(len(found))]


def test_a_damaged_file_is_told(tmp_path):
    path = store(tmp_path, "hdf5").path
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SceneError, match="eaves sample"):
        open_chips(path)
    path.write_bytes(b"not a store")
    with pytest.raises(SceneError):
        open_chips(path)
    flipped = bytearray(whole)
    at = whole.find(b"\x78\x5e", 4096)  # the head of a compressed chip
    at = len(whole) // 2 if at < 0 else at + 20
    flipped[at : at + 400] = bytes(255 - byte for byte in flipped[at : at + 400])
    path.write_bytes(flipped)
    with pytest.raises(SceneError):
        read_all(path)


def test_there_is_no_store(tmp_path):
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(SceneError, match="eaves sample"):
            open_chips(path)
