from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from eaves.errors import LabelError, SettingsError
from eaves.labels import UNKNOWN
from eaves.metrics import confusion, miou
from eaves.models.options import options_of
from eaves.progress import Progress
from eaves.refine.crf import DenseCrf, Spatial, bilateral
from eaves.refine.crf_search import search_crf

law = settings(max_examples=40, deadline=None)
Case = tuple[np.ndarray, np.ndarray, np.ndarray]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    h, w = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    bands, classes = draw(st.integers(1, 4)), draw(st.integers(2, 4))
    valid = draw(arrays(np.bool_, (h, w), elements=st.sampled_from([True, True, True, False])))
    image = draw(arrays(np.float32, (bands, h, w), elements=st.floats(0, 1, width=32)))
    parts = draw(arrays(np.float32, (classes, h, w), elements=st.sampled_from([0, 0.0625, 0.5, 1])))
    parts[0] += (parts.sum(0) == 0).astype(np.float32)
    scores = parts / parts.sum(0)
    return np.where(valid, image, 0).astype(np.float32), np.where(valid, scores, 0).astype(np.float32), valid


@law
@given(cases())
def test_scores_stay_scores(case: Case):
    image, scores, valid = case
    kept = image.copy(), scores.copy()
    steps = list(DenseCrf(iterations=3).steps(image, scores, valid))
    assert len(steps) == 4
    np.testing.assert_array_equal(steps[0], scores)
    for refined in steps:
        assert refined.dtype == np.float32
        assert ((refined >= 0) & (refined <= 1)).all()
        np.testing.assert_allclose(refined.sum(0)[valid], 1, atol=2e-6)
        assert not refined[:, ~valid].any()
    np.testing.assert_array_equal(DenseCrf(iterations=3)(image, scores, valid), steps[-1])
    np.testing.assert_array_equal(image, kept[0])
    np.testing.assert_array_equal(scores, kept[1])


@law
@given(cases())
def test_what_is_not_valid_lends_nothing(case: Case):
    image, scores, valid = case
    others = np.where(valid, image, np.float32(0.7)), np.where(valid, scores, np.float32(0.3))
    np.testing.assert_array_equal(DenseCrf()(*others, valid), DenseCrf()(image, scores, valid))


@law
@given(cases(), st.randoms(use_true_random=False))
def test_order_of_classes_does_not_matter(case: Case, random):
    image, scores, valid = case
    order = list(range(len(scores)))
    random.shuffle(order)
    crf = DenseCrf()
    np.testing.assert_allclose(crf(image, scores[order], valid), crf(image, scores, valid)[order], atol=1e-3)


@law
@given(cases())
def test_who_does_not_know_learns_nothing_from_others_who_do_not(case: Case):
    image, scores, valid = case
    even = np.where(valid, np.float32(1 / len(scores)), np.float32(0)) + np.zeros_like(scores)
    np.testing.assert_allclose(DenseCrf()(image, even, valid), even, atol=1e-4)


@law
@given(cases(), st.floats(0.5625, 0.9375, width=32))
def test_what_all_agree_on_only_grows(case: Case, score: float):
    """A constant map does not stay as it is: neighbours confirm each other, more in the middle than at the border."""
    image, _, valid = case
    constant = np.where(valid, np.float32([[[1 - score]], [[score]]]), np.float32(0))
    steps = [step[1][valid] for step in DenseCrf().steps(image, constant, valid)]
    for before, after in pairwise(steps):
        assert (after >= before - 1e-6).all()


@law
@given(cases())
def test_spatial_neighbours_turn_with_the_image(case: Case):
    crf = DenseCrf(w_bilateral=0)
    expected = crf(*case)
    for turn in (lambda a: np.rot90(a, axes=(-2, -1)), lambda a: np.swapaxes(a, -2, -1), lambda a: a[..., ::-1]):
        turned = crf(*(np.ascontiguousarray(turn(array)) for array in case))
        np.testing.assert_allclose(turned, turn(expected), atol=1e-3)


@law
@given(cases())
def test_without_weights_scores_are_only_kept_from_zero(case: Case):
    image, scores, valid = case
    np.testing.assert_allclose(DenseCrf(w_bilateral=0, w_spatial=0)(image, scores, valid), scores, atol=1e-4)


# --- against all pairs of pixels --------------------------------------------------------------------------------------


def noisy(side: int = 32, noise: float = 5 / 255) -> Case:
    """Patches of random colours, softened, with noise; random scores of three classes; a hole."""
    random = np.random.default_rng(0)
    patches = random.uniform(0, 1, (3, 2, 2)).repeat(side // 2, 1).repeat(side // 2, 2)
    image = np.stack([cv2.GaussianBlur(patch, (0, 0), 1) for patch in patches]) + random.normal(0, noise, patches.shape)
    scores = np.exp(random.normal(size=(3, side, side)))
    valid = np.ones((side, side), bool)
    valid[3:8, 20:25] = False
    scores = np.where(valid, scores / scores.sum(0), 0)
    return np.where(valid, image, 0).astype(np.float32), scores.astype(np.float32), valid


def all_pairs(scores: np.ndarray, kernel: np.ndarray, iterations: int = 5) -> np.ndarray:
    """Mean field of ``(n, classes)`` with the full matrix, float64: Kraehenbuehl & Koltun's algorithm 1."""
    unary = -np.log(np.maximum(scores.astype(float), 1e-5))
    marginals = np.exp(-unary) / np.exp(-unary).sum(1, keepdims=True)
    for _ in range(iterations):
        message = kernel @ marginals
        compatible = message.sum(1, keepdims=True) - message  # Potts: what all other classes say against this one
        marginals = np.exp(-unary - compatible)
        marginals /= marginals.sum(1, keepdims=True)
    return marginals


def gaussian(*differences: np.ndarray) -> np.ndarray:
    """The true kernel, normalised, of differences in standard deviations, each (n, n, axes)."""
    kernel = np.exp(-0.5 * sum((part**2).sum(2) for part in differences))
    norm = 1 / np.sqrt(kernel.sum(1))
    return norm[:, None] * kernel * norm


def test_agrees_with_all_pairs_of_the_filters_it_uses():
    image, scores, valid = noisy()
    eye = np.eye(np.count_nonzero(valid), dtype=np.float32)
    kernel = 4.0 * bilateral(image, valid, 67, 3).filter(eye).astype(float)
    kernel += 3.0 * Spatial(valid, 3).filter(eye)
    expected = all_pairs(scores[:, valid].T, kernel)
    np.testing.assert_allclose(DenseCrf()(image, scores, valid)[:, valid].T, expected, atol=1e-4)


def test_spatial_kernel_is_the_true_one():
    valid = noisy()[2]
    place = np.argwhere(valid)
    true = gaussian((place[:, None] - place) / 3)
    eye = np.eye(len(place), dtype=np.float32)
    np.testing.assert_allclose(Spatial(valid, 3).filter(eye), true, atol=2e-5)


@pytest.mark.parametrize(("theta_beta", "mean", "changed"), [(3.0, 0.035, 0.07), (13.0, 0.012, 0.035)])
def test_is_near_to_all_pairs_of_true_gaussians(theta_beta: float, mean: float, changed: float):
    """The lattice's own error, on scores without any structure, where it does most: the worst of six seeds."""
    image, scores, valid = noisy()
    place, colour = np.argwhere(valid), 255 * image[:, valid].T.astype(float)
    apart = place[:, None] - place
    kernel = 4.0 * gaussian(apart / 67, (colour[:, None] - colour) / theta_beta) + 3.0 * gaussian(apart / 3)
    expected = all_pairs(scores[:, valid].T, kernel)
    found = DenseCrf(theta_beta=theta_beta)(image, scores, valid)[:, valid].T
    assert np.abs(found - expected).mean() < mean
    assert (found.argmax(1) != expected.argmax(1)).mean() < changed


# --- examples ---------------------------------------------------------------------------------------------------------


def city(side: int = 96) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Image, scores, valid and truth: three houses whose fuzzy scores lie three pixels off."""
    truth = np.zeros((side, side), np.uint8)
    for top, left, high, wide in ((10, 12, 26, 30), (50, 20, 30, 22), (30, 60, 34, 24)):
        truth[top : top + high, left : left + wide] = 1
    random = np.random.default_rng(0)
    image = np.where(truth, 0.6, 0.3) + random.normal(0, 2 / 255, (3, side, side))
    fuzzy = cv2.GaussianBlur(np.roll(truth, (3, 3), (0, 1)).astype(np.float32), (0, 0), 4)
    building = np.clip(fuzzy, 0.05, 0.95)
    return image.astype(np.float32), np.stack([1 - building, building]), np.ones((side, side), bool), truth


def quality(scores: np.ndarray, truth: np.ndarray) -> float:
    return miou(confusion(truth, scores.argmax(0).astype(np.uint8), 2)) or 0.0


def test_snaps_a_fuzzy_blob_to_the_image():
    image, scores, valid, truth = city()
    assert quality(scores, truth) < 0.85
    assert quality(DenseCrf()(image, scores, valid), truth) > 0.97


def test_nothing_valid_gives_nothing():
    scores = np.zeros((2, 4, 4), np.float32)
    assert not DenseCrf()(np.zeros((3, 4, 4), np.float32), scores, np.zeros((4, 4), bool)).any()


def test_certain_pixels_are_neighbours_too():
    # All but one pixel are certain; were they left out, that one would keep its class.
    image = np.full((3, 15, 15), 0.5, np.float32)
    building = np.ones((15, 15), np.float32)
    building[7, 7] = 0.3
    refined = DenseCrf()(image, np.stack([1 - building, building]), np.ones((15, 15), bool))
    assert refined[1, 7, 7] > 0.9


def test_options_are_what_a_recipe_can_say():
    defaults = options_of(DenseCrf)().model_dump()
    crf = DenseCrf(**defaults)
    assert all(getattr(crf, name) == value for name, value in defaults.items())
    assert (crf.halo_px, crf.name) == (67, "crf")
    with pytest.raises(ValueError, match="theta_beta"):
        options_of(DenseCrf)(theta_beta=0)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("w_bilateral", -1),
        ("w_spatial", float("nan")),
        ("theta_alpha_px", 0),
        ("theta_beta", -3),
        ("theta_gamma_px", float("inf")),
        ("iterations", 0),
        ("least_score", 0),
    ],
)
def test_refuses_options_that_cannot_be_meant(option: str, value: float):
    with pytest.raises(SettingsError, match=option):
        DenseCrf(**{option: value})


# --- search -----------------------------------------------------------------------------------------------------------


def test_search_finds_what_is_better_and_tells_all():
    image, scores, valid, truth = city()
    heard: list[Progress] = []
    found = search_crf(
        image,
        scores,
        valid,
        truth,
        w_bilateral=(0.0, 1.0, 3.0, 4.0),
        theta_alpha_px=(20, 40, 60, 80, 100),
        theta_beta=(0.1, 5.0),
        window_px=64,
        on_progress=heard.append,
    )
    assert found.before == pytest.approx(quality(scores, truth))
    assert found.miou == pytest.approx(quality(DenseCrf(**found.options)(image, scores, valid), truth))
    assert found.miou > 0.97
    assert found.options["theta_beta"] == 5
    assert found.options["w_bilateral"] > 1
    stages = [row.stage for row in found.rows]
    assert stages.count("coarse") == 4 * 4 * 2
    assert stages == sorted(stages)
    assert max(row.miou for row in found.rows if row.stage == "fine") == found.miou
    assert len(set(found.rows)) == len(found.rows) == len(heard)
    assert (heard[0].done, heard[0].total) == (1, 32)


def test_search_on_a_small_tile_tries_nothing_twice():
    image, scores, valid, truth = city()
    found = search_crf(image, scores, valid, truth, w_bilateral=(3,), theta_alpha_px=(30, 60), theta_beta=(3, 5))
    assert len({row[:5] for row in found.rows}) == len(found.rows) == 4
    assert found.miou == max(row.miou for row in found.rows)


def test_search_judges_only_what_is_known():
    image, scores, valid, truth = city()
    holed, wrong = truth.copy(), truth.copy()
    holed[:40], wrong[:40] = UNKNOWN, 1 - truth[:40]
    axes = {"w_bilateral": (3,), "theta_alpha_px": (60,), "theta_beta": (5,)}
    known = search_crf(image, scores, valid, holed, **axes)
    assert known.miou > 0.97
    assert search_crf(image, scores, valid, wrong, **axes).miou < 0.8
    with pytest.raises(LabelError, match="known"):
        search_crf(image, scores, valid, np.full_like(truth, UNKNOWN), **axes)


def test_search_refuses_axes_that_cannot_be_meant():
    arrays_ = city()
    with pytest.raises(SettingsError, match="theta_beta"):
        search_crf(*arrays_, theta_beta=())
    with pytest.raises(SettingsError, match="theta_beta"):
        search_crf(*arrays_, theta_beta=(0, 3))
