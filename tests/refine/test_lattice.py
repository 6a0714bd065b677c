from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from eaves.errors import SettingsError
from eaves.refine.lattice import Lattice

law = settings(max_examples=60, deadline=None)
POINTS = st.tuples(st.integers(1, 12), st.integers(1, 5)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=st.floats(-6, 6, width=32))
)


def slow_matrix(features: np.ndarray) -> np.ndarray:
    """The filter by Adams et al. in dictionaries of coordinates, float64, unnormalised and unscaled."""
    n, d = features.shape
    basis = np.zeros((d + 1, d))  # columns: an orthogonal basis of the plane of sum zero
    for j in range(d):
        basis[: j + 1, j], basis[j + 1, j] = 1, -(j + 1)
    basis /= np.linalg.norm(basis, axis=0)
    splat: dict[tuple[int, ...], np.ndarray] = {}
    for point, place in enumerate(features.astype(float) @ basis.T * (d + 1) * np.sqrt(2 / 3)):
        # The simplex's remainder-0 corner is the nearest of all points of the coarse lattice: by brute force.
        near = np.round(place / (d + 1))
        while near.sum():  # move where it costs least
            way = -np.sign(near.sum())
            cost = np.abs(place - (near + way * np.eye(d + 1)) * (d + 1)) ** 2
            near[(cost.diagonal() - (place - near * (d + 1)) ** 2).argmin()] += way
        rest = (place - near * (d + 1)) / (d + 1)
        falling = np.argsort(-rest, kind="stable")
        ordered = rest[falling]
        for k in range(d + 1):  # corner k: the k smallest differences went one simplex back
            corner = near * (d + 1) + k
            corner[falling[d + 1 - k :]] -= d + 1
            weight = ordered[d - k] - ordered[d + 1 - k] if k else 1 + ordered[d] - ordered[0]
            splat.setdefault(tuple(corner.astype(int)), np.zeros(n))[point] += weight
    values = dict(splat)
    for j in range(d + 1):
        step = np.full(d + 1, 1)
        step[j] = -d
        nothing = np.zeros(n)
        values = {
            key: 0.5 * value
            + 0.25 * values.get(tuple(np.add(key, step)), nothing)
            + 0.25 * values.get(tuple(np.subtract(key, step)), nothing)
            for key, value in values.items()
        }
    return sum((np.outer(splat[key], values[key]) for key in splat), np.zeros((n, n)))


def matrix(features: np.ndarray, *, normalise: bool = False) -> np.ndarray:
    return Lattice(features, normalise=normalise).filter(np.eye(len(features), dtype=np.float32))


@law
@given(POINTS)
def test_same_as_a_slow_one(features: np.ndarray):
    # Off the borders of simplices, where rounding chooses the side and with it which corners there are.
    features = features + np.random.default_rng(0).uniform(0, 0.1, features.shape).astype(np.float32)
    slow = slow_matrix(features)
    d = features.shape[1]
    slow *= np.sqrt(d + 1) * (4 * np.pi / 3) ** (d / 2)
    np.testing.assert_allclose(matrix(features), slow, atol=2e-3 * slow.max())


@law
@given(POINTS, st.randoms(use_true_random=False))
def test_order_of_points_does_not_matter(features: np.ndarray, random):
    order = list(range(len(features)))
    random.shuffle(order)
    np.testing.assert_allclose(matrix(features[order]), matrix(features)[np.ix_(order, order)], atol=1e-5, rtol=1e-4)


@law
@given(POINTS)
def test_points_in_one_place_read_the_same_and_nothing_is_negative(features: np.ndarray):
    twice = matrix(np.concatenate([features, features]), normalise=True)
    n = len(features)
    np.testing.assert_array_equal(twice[:n], twice[n:])
    assert (twice > -1e-6).all()


@law
@given(POINTS)
def test_far_points_do_not_hear_of_each_other(features: np.ndarray):
    away = features.copy()
    away[:, 0] += 100
    both, n = matrix(np.concatenate([features, away]), normalise=True), len(features)
    assert not both[:n, n:].any()
    assert not both[n:, :n].any()


def test_many_corners_are_kept_apart():
    # Far more corners than the table begins with, met in another order: a corner lost or taken twice would show.
    random = np.random.default_rng(0)
    features = random.uniform(-8, 8, (4000, 5)).astype(np.float32)
    order = random.permutation(4000)
    values = random.normal(size=(4000, 2)).astype(np.float32)
    one, other = Lattice(features), Lattice(features[order])
    assert one.corners == other.corners > 16_000
    np.testing.assert_allclose(other.filter(values[order]), one.filter(values)[order], atol=1e-4)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_like_a_gaussian_where_points_are_dense(d: int):
    # 5 sigmas to every side, six points a sigma in one and two dimensions, three in three.
    line = np.linspace(-5, 5, {1: 61, 2: 61, 3: 31}[d], dtype=np.float32)
    features = np.stack(np.meshgrid(*[line] * d), -1).reshape(-1, d)
    middle = int(np.abs(features).sum(1).argmin())
    impulse = np.zeros((len(features), 1), np.float32)
    impulse[middle] = 1
    found = Lattice(features, normalise=False).filter(impulse)[:, 0]
    true = np.exp(-0.5 * (features**2).sum(1))
    assert found.sum() == pytest.approx(true.sum(), rel=0.12)
    assert np.abs(found - true).max() < 0.21  # where it stands, of a height of 1: the lattice's own error
    assert np.abs(found - true).mean() < 0.02


def test_rows_of_the_normalised_add_up_to_about_one():
    random = np.random.default_rng(1)
    lattice = Lattice(random.normal(size=(3000, 5)).astype(np.float32))
    sums = lattice.filter(np.ones((3000, 1), np.float32))
    assert sums.mean() == pytest.approx(1, abs=0.1)


def test_nothing_is_filtered_to_nothing():
    lattice = Lattice(np.zeros((0, 5), np.float32))
    assert lattice.corners == 0
    assert lattice.filter(np.zeros((0, 2), np.float32)).shape == (0, 2)


@pytest.mark.parametrize(
    ("features", "words"),
    [
        (np.zeros(3, np.float32), "shape"),
        (np.zeros((3, 0), np.float32), "shape"),
        (np.float32([[0], [np.nan]]), "finite"),
        (np.float32([[0] * 5, [1e6] * 5]), "2\\^62"),
    ],
)
def test_refuses_features_that_cannot_be(features: np.ndarray, words: str):
    with pytest.raises(SettingsError, match=words):
        Lattice(features)


def test_refuses_values_of_other_points():
    with pytest.raises(SettingsError, match="one row a point"):
        Lattice(np.zeros((3, 2), np.float32)).filter(np.zeros((2, 1), np.float32))
