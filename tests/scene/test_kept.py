"""Keeping what was resampled."""

from __future__ import annotations

import gc
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.windows import Window

from eaves.scene import Scene, kept


@pytest.fixture(scope="module")
def ortho(tmp_path_factory):
    """300 x 420 px of 0.5 m, a hole without imagery in the middle."""
    image = np.random.default_rng(0).integers(1, 255, (3, 300, 420), np.uint8)
    image[:, 120:170, 200:260] = 0
    path = tmp_path_factory.mktemp("kept") / "a.tif"
    with rasterio.open(path, "w", driver="GTiff", count=3, height=300, width=420, dtype="uint8", crs="EPSG:32633",
                       transform=Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000), nodata=0) as file:  # fmt: skip
        file.write(image)
    return path


@pytest.fixture
def drawn(monkeypatch):
    """The windows that were resampled."""
    windows = []
    draw = Scene._read_wide
    monkeypatch.setattr(Scene, "_read_wide", lambda self, window: windows.append(window) or draw(self, window))
    return windows


@settings(max_examples=40)
@given(
    st.sampled_from([0.23, 0.4, 0.77, 1.3]),
    st.lists(st.tuples(*[st.integers(-20, 900)] * 2, *[st.integers(1, 300)] * 2), min_size=1, max_size=5),
)
def test_windows_are_the_same_kept_or_not(ortho, gsd_m, windows):
    plain, keeping = Scene(ortho, gsd_m=gsd_m), Scene(ortho, gsd_m=gsd_m, keep=True)
    for window in windows:
        for one, other in zip(plain.read(Window(*window)), keeping.read(Window(*window)), strict=True):
            np.testing.assert_array_equal(one, other)


def test_nothing_is_drawn_twice(ortho, drawn):
    scene = Scene(ortho, gsd_m=0.25, keep=True)
    scene.read(Window(0, 0, 256, 256))
    assert drawn == [Window(0, 0, 256, 256)]
    scene.read(Window(17, 30, 200, 200))
    assert len(drawn) == 1
    scene.read(Window(200, 100, 100, 100))  # needs two more blocks
    assert drawn[1:] == [Window(256, 0, 128, 256)]
    scene.read()
    scene.read()
    assert len(drawn) == 3


def test_what_is_read_is_the_readers_own(ortho):
    scene = Scene(ortho, gsd_m=0.4, keep=True)
    window = Window(10, 10, 50, 50)
    first, valid = scene.read(window)
    before = first.copy()
    first[:], valid[:] = 0, False
    again, known = scene.read(window)
    np.testing.assert_array_equal(again, before)
    assert known.all()


def test_nothing_is_kept_unasked_or_at_the_files_own_resolution(ortho, drawn):
    scene = Scene(ortho, gsd_m=0.4)
    scene.read()
    scene.read()
    assert len(drawn) == 2
    native = Scene(ortho, keep=True)
    native.read()
    assert len(drawn) == 2
    assert native._kept is None


def test_what_a_process_keeps_is_bounded_and_given_back(ortho, drawn, monkeypatch):
    gc.collect()
    first, second = (Scene(ortho, gsd_m=0.4, keep=True) for _ in range(2))
    monkeypatch.setattr(kept, "_ROOM_BYTES", kept._spent_bytes + 4 * first.shape[0] * first.shape[1] + 100)
    for scene in (first, first, second, second):
        scene.read()
    assert len(drawn) == 3
    del first, scene
    gc.collect()
    second.read()
    second.read()
    assert len(drawn) == 4


def test_a_copy_keeps_for_itself(ortho, drawn):
    scene = Scene(ortho, gsd_m=0.4, keep=True)
    image, _ = scene.read()
    assert len(pickle.dumps(scene)) < 10_000
    copy = pickle.loads(pickle.dumps(scene))
    np.testing.assert_array_equal(copy.read()[0], image)
    copy.read()
    assert len(drawn) == 2
    coarse = scene.at(1.0)
    coarse.read()
    coarse.read()
    assert len(drawn) == 3
    scene.read()
    assert len(drawn) == 3


def test_threads_share_it(ortho):
    scene = Scene(ortho, gsd_m=0.3, keep=True)
    plain = Scene(ortho, gsd_m=0.3)
    windows = [Window(*at, 90, 90) for at in np.random.default_rng(1).integers(0, 380, (60, 2)).tolist()]
    with ThreadPoolExecutor(4) as pool:
        for window, (image, _) in zip(windows, pool.map(scene.read, windows), strict=True):
            np.testing.assert_array_equal(image, plain.read(window)[0])
