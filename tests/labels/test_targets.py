from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from eaves.errors import SettingsError
from eaves.labels import UNKNOWN, Target
from eaves.labels.targets import BORDER, INSIDE, OUTSIDE, number_buildings, signed_distance
from eaves.settings import TargetSettings

NAMES = ("background", "building")
RIM = Target("border", (*NAMES, "border"), border_px=2.0, ignore_px=1.0)
STEPS = Target("distance", tuple(map(str, range(10))), clip_px=5.0)

small = st.tuples(st.integers(1, 12), st.integers(1, 12))
numbered = small.flatmap(lambda shape: arrays(np.uint16, shape, elements=st.integers(0, 3)))


@st.composite
def blobs(draw, with_unknown: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Mask and instances of a few rectangles, later ones over earlier, and a rectangle that nobody knows."""
    rows, cols = draw(st.integers(6, 40)), draw(st.integers(6, 40))
    instances = np.zeros((rows, cols), np.uint16)

    def rectangle() -> tuple[slice, slice]:
        top, left = draw(st.integers(0, rows - 1)), draw(st.integers(0, cols - 1))
        return slice(top, top + draw(st.integers(1, 15))), slice(left, left + draw(st.integers(1, 15)))

    for number in range(1, draw(st.integers(0, 6)) + 1):
        instances[rectangle()] = number
    mask = (instances > 0).astype(np.uint8)
    if with_unknown:
        mask[rectangle()] = UNKNOWN
    return mask, instances


def by_hand(ids: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Distance from each pixel's centre to every pixel edge between two numbers, spelled out."""
    rows, cols = ids.shape
    row, col = np.meshgrid(np.arange(rows) + 0.5, np.arange(cols) + 0.5, indexing="ij")
    nearest = np.full(ids.shape, np.inf)
    for r in range(rows):
        for c in range(cols):
            for r2, c2 in ((r + 1, c), (r, c + 1)):
                if r2 < rows and c2 < cols and ids[r, c] != ids[r2, c2] and known[r, c] and known[r2, c2]:
                    # The edge is the lower or the right one of pixel (r, c).
                    dr = np.where(r2 > r, row - r2, np.maximum(np.maximum(r - row, row - r - 1), 0))
                    dc = np.where(c2 > c, col - c2, np.maximum(np.maximum(c - col, col - c - 1), 0))
                    nearest = np.minimum(nearest, np.hypot(dr, dc))
    return nearest


@given(numbered, st.data())
def test_distances_are_those_to_the_nearest_outline(instances, data):
    hidden = data.draw(arrays(bool, instances.shape, elements=st.sampled_from([False, False, False, True])))
    mask = np.where(hidden, UNKNOWN, instances > 0).astype(np.uint8)
    distance, _ = signed_distance(mask, instances)
    expected = by_hand(np.where(hidden, 0, instances), ~hidden)
    seen = np.isfinite(expected)
    assert distance.dtype == np.float32
    assert np.abs(distance)[seen] == pytest.approx(expected[seen], abs=1e-5)
    assert (np.abs(distance)[~seen] >= max(mask.shape)).all()


@given(blobs(with_unknown=True))
def test_how_sure_is_the_distance_to_what_is_not_known(place):
    mask, instances = place
    _, sure = signed_distance(mask, instances)
    framed = np.pad(mask == UNKNOWN, 1, constant_values=True).astype(int)
    expected = by_hand(framed, np.ones(framed.shape, bool))[1:-1, 1:-1]
    assert sure[mask != UNKNOWN] == pytest.approx(expected[mask != UNKNOWN], abs=1e-5)


@given(blobs(), st.booleans())
def test_the_sign_agrees_with_the_mask(place, told_apart):
    mask, instances = place
    distance, _ = signed_distance(mask, instances if told_apart else None)
    assert ((distance > 0) == (mask == 1)).all()
    assert (np.abs(distance) >= 0.5).all()


@given(blobs(), st.integers(0, 5), st.integers(0, 5))
def test_distances_move_with_the_buildings(place, down, right):
    mask, instances = place
    assume(instances.any())
    room = ((20, 20), (20, 20))
    shifted = ((20 + down, 20 - down), (20 + right, 20 - right))
    still, moved = (signed_distance(np.pad(mask, pad), np.pad(instances, pad))[0] for pad in (room, shifted))
    size = mask.shape
    one = still[20 : 20 + size[0], 20 : 20 + size[1]]
    two = moved[20 + down : 20 + down + size[0], 20 + right : 20 + right + size[1]]
    assert one == pytest.approx(two, abs=1e-5)


@pytest.mark.parametrize("target", [RIM, STEPS])
@given(place=blobs(with_unknown=True), data=st.data())
def test_what_a_part_tells_the_whole_tells_too(target, place, data):
    """A chip sees a part of the ground: where it claims to know, seeing more must not change the answer."""
    mask, instances = place
    whole_mask = np.where(mask == UNKNOWN, 0, mask).astype(np.uint8)
    whole = target.draw(whole_mask, instances)
    top, left = data.draw(st.integers(0, 5)), data.draw(st.integers(0, 5))
    part = target.draw(mask[top:-1, left:-1], instances[top:-1, left:-1])
    known = part != UNKNOWN
    whole = whole[top:-1, left:-1]
    assert (part == whole)[known].all()
    assert (part[mask[top:-1, left:-1] == UNKNOWN] == UNKNOWN).all()


@given(blobs())
def test_far_from_every_edge_nothing_is_hidden(place):
    mask, instances = (np.pad(plane, 8) for plane in place)
    for target, reach in ((RIM._replace(ignore_px=0.0), 2), (STEPS, 5)):
        inner = (slice(reach, -reach), slice(reach, -reach))
        assert (target.draw(mask, instances)[inner] != UNKNOWN).all()


# --- border -----------------------------------------------------------------------------------------------------------


def test_touching_buildings_have_a_rim_between_them():
    instances = np.zeros((16, 30), np.uint16)
    instances[3:13, 3:15], instances[3:13, 15:27] = 1, 2
    mask = (instances > 0).astype(np.uint8)
    target = RIM._replace(ignore_px=0.0)
    parted = target.draw(mask, instances)
    assert parted[8].tolist() == [0] * 3 + [2] * 2 + [1] * 8 + [2] * 4 + [1] * 8 + [2] * 2 + [0] * 3
    assert target.draw(mask)[8, 5:25].tolist() == [1] * 20  # as one building: no rim in the middle
    assert (parted != OUTSIDE).sum() == mask.sum()


def test_the_band_around_the_rim_is_not_judged():
    mask = np.zeros((21, 21), np.uint8)
    mask[5:16, 5:16] = 1
    drawn = RIM.draw(mask)
    unknown = UNKNOWN
    row = [0] * 3 + [unknown] + [2] * 2 + [unknown] + [1] * 5 + [unknown] + [2] * 2 + [unknown] + [0] * 3
    assert drawn[10, 1:-1].tolist() == row
    assert RIM._replace(ignore_px=0.0).draw(mask)[10, 4:8].tolist() == [OUTSIDE, BORDER, BORDER, INSIDE]


def test_at_the_chips_edge_a_rim_may_hide():
    mask = np.ones((12, 12), np.uint8)
    mask[:, 6:] = 0
    drawn = RIM._replace(ignore_px=0.0).draw(mask)
    assert (drawn[:, 4:6] == BORDER).all()  # an outline is so near that none beyond the edge matters
    assert (drawn[[0, 1, -2, -1], :4] == UNKNOWN).all()
    assert (drawn[:, :2] == UNKNOWN).all()
    assert (drawn[2:-2, 2:4] == INSIDE).all()
    assert (drawn[:, 6:] == OUTSIDE).all()


# --- distance ---------------------------------------------------------------------------------------------------------


def test_steps_of_distance():
    mask = np.zeros((40, 60), np.uint8)
    mask[:, 30:] = 1
    drawn = STEPS.draw(mask)
    assert drawn[20, 22:38].tolist() == [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9]
    assert (drawn[20, 5:22] == 0).all()


@given(blobs(with_unknown=True), st.integers(1, 127), st.floats(0.3, 20))
def test_steps_stay_in_bounds_and_on_their_side(place, half, clip_px):
    mask, instances = place
    drawn = Target("distance", ("",) * (2 * half), clip_px=clip_px).draw(mask, instances)
    known = drawn != UNKNOWN
    assert drawn.dtype == np.uint8
    assert (drawn[known] < 2 * half).all()
    assert ((drawn >= half) == (mask == 1))[known].all()


@given(blobs())
def test_the_middle_of_a_step_is_near_the_distance(place):
    mask, instances = (np.pad(plane, 6) for plane in place)
    distance, _ = signed_distance(mask, instances)
    drawn = STEPS.draw(mask, instances)
    middle = (drawn + 0.5) - 5
    near = (drawn != UNKNOWN) & (np.abs(distance) < 5)
    assert (np.abs(middle - distance)[near] <= 0.5 + 1e-5).all()


# --- what is drawn ----------------------------------------------------------------------------------------------------


def test_classes_are_the_mask():
    mask = np.array([[0, 1, 2, UNKNOWN]], np.uint8)
    target = Target.of(TargetSettings(), ("a", "b", "c"), 0.3)
    assert target.names == ("a", "b", "c")
    assert (target.draw(mask) == mask).all()


def test_metres_become_pixels():
    border = Target.of(TargetSettings(kind="border", border_m=0.6, ignore_m=0.3), NAMES, 0.15)
    assert (border.border_px, border.ignore_px, border.names) == (4.0, 2.0, (*NAMES, "border"))
    distance = Target.of(TargetSettings(kind="distance", n_bins=4, clip_m=3.0), NAMES, 0.5)
    assert (distance.clip_px, distance.names) == (6.0, ("-3", "-1.5", "0", "1.5"))
    assert Target.of(TargetSettings(kind="distance", clip_m=3.0), NAMES, None).clip_px == 3.0


@pytest.mark.parametrize("kind", ["border", "distance"])
def test_more_classes_cannot_be_drawn(kind):
    with pytest.raises(SettingsError, match=r"two classes.*3: a, b, c"):
        Target.of(TargetSettings(kind=kind), ("a", "b", "c"), 0.3)


def test_a_chip_of_which_nothing_is_known():
    mask = np.full((9, 9), UNKNOWN, np.uint8)
    for target in (RIM, STEPS):
        assert (target.draw(mask) == UNKNOWN).all()


def test_the_arguments_stay_as_they_are():
    mask = np.full((9, 9), UNKNOWN, np.uint8)
    mask[2:7, 2:7] = 1
    instances = (mask == 1).astype(np.uint16)
    before = mask.copy(), instances.copy()
    for target in (RIM, STEPS):
        target.draw(mask, instances)
    assert (mask == before[0]).all()
    assert (instances == before[1]).all()


@given(numbered)
def test_every_building_has_a_number(instances):
    mask = (np.random.default_rng(0).random(instances.shape) < 0.6).astype(np.uint8)
    ids = number_buildings(mask, instances)
    assert ((ids > 0) == (mask == 1)).all()
    for number in np.unique(instances[instances > 0]):
        assert len(np.unique(ids[(instances == number) & (mask == 1)])) <= 1
    numbers = ids[(instances > 0) & (mask == 1)]
    assert not set(numbers) & set(ids[(instances == 0) & (mask == 1)])
