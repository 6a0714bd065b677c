from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eaves.exchange.vectors import read_vectors
from eaves.labels import LabelLayer, block_offsets, estimate_offset, summarize_offsets
from eaves.labels.offset import Evidence
from eaves.scene import Scene


def village(seed: int = 0, side: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """Light and dark roofs at any angle on noisy ground, and their mask."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((side, side), np.uint8)
    image = rng.normal(0.5, 0.05, (side, side)).astype(np.float32)
    for _ in range(14):
        middle, size = rng.uniform(30, side - 30, 2), rng.uniform(14, 36, 2)
        corners = cv2.boxPoints((tuple(middle), tuple(size), float(rng.uniform(0, 90)))).astype(np.int32)
        cv2.fillPoly(labels, [corners], (1,))
        cv2.fillPoly(image, [corners], (float(rng.choice([0.2, 0.8])),))
    return image[None] * 200, labels


@settings(max_examples=10)
@given(st.integers(-12, 12), st.integers(-12, 12))
def test_a_shift_is_found(dx, dy):
    image, labels = village()
    moved = cv2.warpAffine(labels, np.array([[1.0, 0, dx], [0, 1.0, dy]]), labels.shape[::-1])
    offset = estimate_offset(image, np.ones(labels.shape, bool), moved)
    assert offset[:2] == pytest.approx((-dx, -dy), abs=0.6)
    assert offset.confidence > 5


def test_unrelated_labels_are_not_trusted():
    image, _ = village()
    _, labels = village(seed=3)
    assert summarize_offsets(block_offsets(image, np.ones(labels.shape, bool), labels)) is None


def test_nothing_to_tell_from():
    image, labels = village()
    everywhere = np.ones(labels.shape, bool)
    assert estimate_offset(image, everywhere, np.zeros_like(labels)).confidence == 0
    assert estimate_offset(image, ~everywhere, labels).confidence == 0
    assert block_offsets(image, everywhere, np.zeros_like(labels)) == []
    assert estimate_offset(np.zeros_like(image), everywhere, labels).confidence < 5


def test_the_border_of_the_imagery_is_no_edge():
    """A nodata corner cuts through everything; the shift is that of the roofs."""
    image, labels = village()
    valid = np.ones(labels.shape, bool)
    valid[np.add.outer(np.arange(256), np.arange(256)) < 200] = False
    moved = np.roll(labels, (5, -7), (0, 1))
    assert estimate_offset(image * valid, valid, moved)[:2] == pytest.approx((7, -5), abs=0.6)


def test_a_flat_picture_tells_nothing_even_where_it_ends():
    """What lies beyond the scene is read as 0, and that step is no edge of a thing."""
    _, labels = village()
    valid = np.zeros(labels.shape, bool)
    valid[:, 40:] = True
    assert estimate_offset(np.full((1, *labels.shape), 90.0) * valid, valid, labels).confidence == 0


def test_evidence_of_parts_adds_up_to_that_of_the_whole():
    image, labels = village()
    valid = np.ones(labels.shape, bool)
    labels = np.roll(labels, (4, -6), (0, 1))
    whole = Evidence.gather(image, valid, labels, 12)
    sides = (slice(0, 120), slice(120, None))
    parts = [Evidence.gather(image, valid, labels, 12, core=(rows, cols)) for rows in sides for cols in sides]
    total = parts[0] + parts[1] + parts[2] + parts[3]
    np.testing.assert_allclose(total.match, whole.match, atol=0.05)
    np.testing.assert_allclose(total.length, whole.length, atol=0.05)
    assert total.offset()[:2] == pytest.approx((6, -4), abs=0.5)
    middle = Evidence.gather(image, valid, labels, 12, origin=(100, 200)).middle
    np.testing.assert_allclose(middle - (100, 200), np.argwhere(labels).mean(axis=0), atol=6)


@pytest.mark.filterwarnings("ignore:.*mended:eaves.errors.EavesWarning")
@pytest.mark.parametrize("name", ["kampala_0", "kampala_1", "philippines_0", "philippines_1", "nairobi_0"])
def test_real_labels(eaves_data, name):
    """Good labels lie within 1 px of 0.3 m; those of the first Nairobi scene lie 1.5 m to the south-east or more."""
    scene = Scene(eaves_data / "oam" / f"{name}.tif", gsd_m=0.3)
    features = read_vectors(eaves_data / "oam" / f"{name}.geojson")
    labels = LabelLayer(features, scene.grid).burn(scene.grid, np.zeros(scene.shape, np.uint8), 1)
    found = summarize_offsets(block_offsets(*scene.read(), labels))
    assert found is not None
    if name == "nairobi_0":
        assert found.dx_px < -2
        assert found.dy_px < -3
    else:
        assert max(abs(found.dx_px), abs(found.dy_px)) < 1
