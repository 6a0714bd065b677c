from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.labels import UNKNOWN
from eaves.sample import augment
from eaves.settings import AugmentSettings

OFF = AugmentSettings(flip=False, rotate90=False)
COLORS = ("gamma", "brightness", "contrast", "saturation", "hue", "noise", "smooth")


def chip(shape: tuple[int, int] = (96, 96), bands: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A smooth picture with an L-shaped house in one corner and no imagery in another."""
    rows, cols = np.linspace(0.2, 0.8, shape[0]), np.linspace(0.3, 0.7, shape[1])
    image = np.stack([np.outer(rows, cols) + 0.1 * band for band in range(bands)]).astype(np.float32)
    mask = np.zeros(shape, np.uint8)
    mask[20:50, 10:20] = mask[40:50, 10:44] = 1
    valid = np.ones(shape, bool)
    valid[-12:, -20:] = False
    mask[~valid] = UNKNOWN
    return image * valid, mask, valid


def only(**changes) -> AugmentSettings:
    return OFF.model_copy(update={"probability": 1.0, **changes})


@pytest.mark.parametrize("shape", [(96, 96), (64, 96)])
@given(
    seed=st.integers(0, 10_000),
    flip=st.booleans(),
    rotate90=st.booleans(),
    rotate_deg=st.sampled_from([0.0, 20.0, 180.0]),
    scale=st.sampled_from([0.0, 0.4]),
)
def test_everything_moves_together(shape, seed, flip, rotate90, rotate_deg, scale):
    _, mask, valid = chip(shape)
    painted = np.stack([mask == 1, valid, mask == 1]).astype(np.float32)
    box = np.array([[10, 20, 44, 50]])
    geometry = AugmentSettings(flip=flip, rotate90=rotate90, rotate_deg=rotate_deg, scale=scale)
    objects = (mask == 1).astype(np.uint16) * 700  # an object as the mask has it
    image, moved, seen, numbers, boxes, kept = augment(
        painted, mask, valid, geometry, np.random.default_rng(seed), box, objects
    )
    assert numbers is not None
    assert numbers.dtype == np.uint16
    assert (numbers == np.where(moved == 1, 700, 0)).all()
    assert boxes is not None
    assert kept is not None
    assert image.shape == painted.shape
    assert moved.dtype == np.uint8
    assert (moved[~seen] == UNKNOWN).all()
    assert (image[:, ~seen] == 0).all()
    # Bilinear in the image, nearest in the mask: they may differ where the picture changes from pixel to pixel.
    assert ((image[0] > 0.5) != (moved == 1)).mean() < (0.01 if rotate_deg or scale else 1e-9)
    rows, cols = np.nonzero(moved == 1)
    if len(rows):
        left, top, right, bottom = boxes[0]
        assert kept[0]
        assert left - 1 <= cols.min()
        assert top - 1 <= rows.min()
        assert cols.max() + 1 <= right + 1
        assert rows.max() + 1 <= bottom + 1
        if not (rotate_deg or scale):
            assert (left, top, right, bottom) == (cols.min(), rows.min(), cols.max() + 1, rows.max() + 1)


@given(st.integers(0, 10_000))
def test_right_angles_keep_every_pixel(seed):
    image, mask, valid = chip()
    out = augment(image, mask, valid, AugmentSettings(), np.random.default_rng(seed))
    assert (np.sort(out.image, axis=None) == np.sort(image, axis=None)).all()
    assert (np.bincount(out.mask.ravel()) == np.bincount(mask.ravel())).all()
    assert out.valid.sum() == valid.sum()


def test_all_eight_positions_occur():
    image, mask, valid = chip()
    seen = {
        augment(image, mask, valid, AugmentSettings(), np.random.default_rng(seed)).mask.tobytes()
        for seed in range(200)
    }
    assert len(seen) == 8


def test_all_off_changes_nothing_and_the_arguments_are_never_touched():
    given_chip = chip()
    before = [array.copy() for array in given_chip]
    out = augment(*given_chip, OFF, np.random.default_rng(0), np.array([[1, 2, 3, 4]]))
    for ours, theirs in zip(out[:3], given_chip, strict=True):
        assert (ours == theirs).all()
    assert out.boxes is not None
    assert out.boxes.tolist() == [[1, 2, 3, 4]]
    strong = AugmentSettings(rotate_deg=45, scale=0.3, probability=1, **dict.fromkeys(COLORS, 0.5))
    augment(*given_chip, strong, np.random.default_rng(0))
    augment(*given_chip, only(gamma=1.0, noise=0.5), np.random.default_rng(0))
    for array, old in zip(given_chip, before, strict=True):
        assert (array == old).all()


@pytest.mark.parametrize("change", COLORS)
def test_each_change_changes_something_within_range(change):
    image, mask, valid = chip()
    image[:, 30:60, 30:60] = 0.9  # an edge, for the blur
    changes = []
    for seed in range(5):
        out = augment(image, mask, valid, only(**{change: 0.9}), np.random.default_rng(seed))
        assert out.image.min() >= 0
        assert out.image.max() <= 1
        changes.append(np.abs(out.image - image)[:, valid].max())
        assert (out.image[:, ~valid] == 0).all()
        assert (out.mask == mask).all()
        assert (out.valid == valid).all()
    assert np.median(changes) > 1e-3


def test_gamma_is_a_power_between_its_limits():
    image, mask, valid = chip()
    powers = []
    for seed in range(60):
        out = augment(image, mask, valid, only(gamma=1.0), np.random.default_rng(seed)).image
        power = np.log(out[:, valid]) / np.log(image[:, valid])
        assert np.ptp(power) < 1e-3
        powers.append(float(power.mean()))
    assert 0.5 <= min(powers) < 0.6
    assert 1.7 < max(powers) <= 2.0


def test_noise_has_the_deviation_it_says():
    image, mask, valid = (
        np.full((3, 128, 128), 0.5, np.float32),
        np.zeros((128, 128), np.uint8),
        np.ones((128, 128), bool),
    )
    spreads = [
        augment(image, mask, valid, only(noise=0.1), np.random.default_rng(seed)).image.std() for seed in range(40)
    ]
    assert max(spreads) < 0.105
    assert max(spreads) > 0.08
    assert min(spreads) < 0.02


def test_saturation_keeps_grey_and_the_mean():
    image, mask, valid = chip()
    out = augment(image, mask, valid, only(saturation=0.5), np.random.default_rng(1)).image
    assert out.mean(axis=0) == pytest.approx(image.mean(axis=0), abs=1e-5)
    gray = np.repeat(image[:1], 3, axis=0)
    assert augment(gray, mask, valid, only(saturation=0.5), np.random.default_rng(1)).image == pytest.approx(gray)


@pytest.mark.parametrize("bands", [1, 2, 5, 8])
def test_any_number_of_bands(bands):
    strong = AugmentSettings(rotate_deg=45, scale=0.3, probability=1, **dict.fromkeys(COLORS, 0.5))
    out = augment(*chip(bands=bands), strong, np.random.default_rng(0))
    assert out.image.shape == (bands, 96, 96)
    assert np.isfinite(out.image).all()


def test_probability_zero_leaves_colours():
    image, mask, valid = chip()
    settings = OFF.model_copy(update={"probability": 0.0, **dict.fromkeys(COLORS, 0.5)})
    assert (augment(image, mask, valid, settings, np.random.default_rng(0)).image == image).all()


def test_same_generator_same_chip():
    strong = AugmentSettings(rotate_deg=45, scale=0.3, probability=0.5, **dict.fromkeys(COLORS, 0.5))
    one, two = (augment(*chip(), strong, np.random.default_rng(7)) for _ in range(2))
    assert (one.image == two.image).all()
    assert (one.mask == two.mask).all()


def test_boxes_that_leave_the_chip_are_told():
    boxes = np.array([[0, 0, 4, 4], [40, 40, 56, 56]])
    for seed in range(20):
        out = augment(*chip(), only(rotate_deg=180.0, scale=0.3), np.random.default_rng(seed), boxes)
        assert out.boxes is not None
        assert out.kept is not None
        assert out.boxes.shape == (2, 4)
        assert out.kept[1]
        assert (out.boxes >= 0).all()
        assert (out.boxes <= 96).all()
    outs = [augment(*chip(), only(rotate_deg=180.0), np.random.default_rng(seed), boxes) for seed in range(40)]
    assert 0 < np.mean([out.kept[0] for out in outs if out.kept is not None]) < 1
    empty = augment(*chip(), OFF, np.random.default_rng(0), np.zeros((0, 4)))
    assert empty.boxes is not None
    assert empty.boxes.shape == (0, 4)


def test_a_chip_without_imagery():
    image, mask, _ = chip()
    strong = AugmentSettings(rotate_deg=45, scale=0.3, probability=1, **dict.fromkeys(COLORS, 0.5))
    out = augment(image, mask, np.zeros(mask.shape, bool), strong, np.random.default_rng(0))
    assert (out.image == 0).all()
    assert (out.mask == UNKNOWN).all()


@given(seed=st.integers(0, 1000), colors=st.integers(1, 3))
def test_bands_that_are_no_colours_move_with_the_others_and_keep_their_values(seed, colors):
    rng = np.random.default_rng(seed)
    image, mask = rng.random((4, 12, 12), np.float32), rng.integers(0, 2, (12, 12), np.uint8)
    valid, rest = rng.random((12, 12)) > 0.1, [3, 3]
    stack = np.concatenate([image[:colors], image[rest]])
    strong = AugmentSettings(gamma=1, brightness=0.5, contrast=0.9, saturation=0.9, hue=0.5, noise=0.5, probability=1)
    varied = augment(stack, mask, valid, strong, np.random.default_rng(1), colors=colors)
    plain = augment(stack, mask, valid, AugmentSettings(), np.random.default_rng(1))
    assert np.array_equal(varied.image[colors:], plain.image[colors:])
    assert np.array_equal(varied.mask, plain.mask)
    assert (varied.image[:colors] != plain.image[:colors]).any()
