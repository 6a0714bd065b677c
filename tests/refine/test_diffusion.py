from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from eaves.errors import SettingsError
from eaves.models.options import options_of
from eaves.refine.diffusion import Anisotropic, Diffusion, GeodesicActiveContour, Heat, PeronaMalik

KINDS = [Heat, PeronaMalik, Anisotropic, GeodesicActiveContour]
SMALL: list[Callable[[], Diffusion]] = [
    lambda: Heat(iterations=3, time_step=0.25),
    lambda: PeronaMalik(iterations=3, time_step=0.25, kappa=0.2),
    lambda: PeronaMalik(iterations=2, stopping="rational", sigma_px=0),
    lambda: Anisotropic(iterations=3, kappa=0.2),
    lambda: Anisotropic(iterations=2, sigma_px=0, rho_px=0, stopping="rational"),
    lambda: GeodesicActiveContour(iterations=3, kappa=0.2, sigma_px=0.5),
    lambda: GeodesicActiveContour(iterations=2, sigma_px=0, stopping="exponential"),
]
each = pytest.mark.parametrize("make", SMALL)
law = settings(max_examples=40, deadline=None)
Case = tuple[np.ndarray, np.ndarray, np.ndarray]


@st.composite
def cases(draw: st.DrawFn, least: int = 1, most: int = 9) -> Case:
    h, w = draw(st.integers(least, most)), draw(st.integers(least, most))
    bands, classes = draw(st.integers(1, 3)), draw(st.integers(2, 4))
    valid = draw(arrays(np.bool_, (h, w), elements=st.sampled_from([True, True, True, False])))
    image = draw(arrays(np.float32, (bands, h, w), elements=st.floats(0, 1, width=32)))
    parts = draw(arrays(np.float32, (classes, h, w), elements=st.sampled_from([0, 0.0625, 0.5, 1])))
    parts[0] += (parts.sum(0) == 0).astype(np.float32)
    scores = parts / parts.sum(0)
    return np.where(valid, image, 0).astype(np.float32), np.where(valid, scores, 0).astype(np.float32), valid


@each
@law
@given(case=cases())
def test_scores_stay_scores(make, case: Case):
    image, scores, valid = case
    for refined in make().steps(image, scores, valid):
        assert refined.dtype == np.float32
        assert ((refined >= 0) & (refined <= 1)).all()
        np.testing.assert_allclose(refined.sum(0)[valid], 1, atol=2e-6)
        assert not refined[:, ~valid].any()


@each
@law
@given(case=cases(), value=st.floats(0, 1, width=32))
def test_what_is_constant_stays_as_it_is(make, case: Case, value: float):
    image, _, valid = case
    constant = np.stack([np.where(valid, part, np.float32(0)) for part in (np.float32(1) - np.float32(value), value)])
    constant = constant.astype(np.float32)
    np.testing.assert_array_equal(make()(image, constant, valid), constant)


@each
@law
@given(case=cases(), random=st.randoms(use_true_random=False))
def test_order_of_classes_does_not_matter(make, case: Case, random):
    image, scores, valid = case
    order = list(range(len(scores)))
    random.shuffle(order)
    np.testing.assert_allclose(make()(image, scores[order], valid), make()(image, scores, valid)[order], atol=1e-6)


@each
@law
@given(case=cases(), noise=st.floats(0.125, 1, width=32))
def test_what_is_not_valid_lends_nothing(make, case: Case, noise: float):
    image, scores, valid = case
    others = np.where(valid, image, np.float32(noise)), np.where(valid, scores, np.float32(1 - noise))
    np.testing.assert_array_equal(make()(*others, valid), make()(image, scores, valid))


@each
@law
@given(case=cases())
def test_turns_and_mirrors_come_along(make, case: Case):
    expected = make()(*case)
    for turn in (lambda a: np.rot90(a, axes=(-2, -1)), lambda a: np.swapaxes(a, -2, -1), lambda a: a[..., ::-1]):
        turned = make()(*(np.ascontiguousarray(turn(array)) for array in case))
        np.testing.assert_allclose(turned, turn(expected), atol=2e-5)


@each
@law
@given(case=cases())
def test_no_score_leaves_the_range_of_its_class(make, case: Case):
    image, scores, valid = case
    if not valid.any() or len(scores) > 2:  # three contours that move are brought back to the sum of one
        return
    refined = make()(image, scores, valid)[:, valid]
    given_ = scores[:, valid]
    assert (refined >= given_.min(1, keepdims=True) - 1e-5).all()
    assert (refined <= given_.max(1, keepdims=True) + 1e-5).all()


@pytest.mark.parametrize("make", SMALL[:5])
@law
@given(case=cases())
def test_flows_carry_but_do_not_lose(make, case: Case):
    image, scores, valid = case
    np.testing.assert_allclose(make()(image, scores, valid).sum((1, 2)), scores.sum((1, 2)), atol=1e-4)


@each
def test_tiles_are_the_whole_to_the_last_bit(make):
    random = np.random.default_rng(0)
    valid = random.random((61, 67)) > 0.1
    image = np.where(valid, random.random((3, 61, 67)), 0).astype(np.float32)
    scores = random.dirichlet([1, 1, 1], (61, 67)).transpose(2, 0, 1)
    scores = np.where(valid, scores, 0).astype(np.float32)
    refine = make()
    whole, halo = refine(image, scores, valid), refine.halo_px
    assert halo < 20
    for row in range(0, 61, 16):
        for col in range(0, 67, 23):
            top, left = max(row - halo, 0), max(col - halo, 0)
            tile = slice(top, row + 16 + halo), slice(left, col + 23 + halo)
            refined = refine(image[:, *tile], scores[:, *tile], valid[tile])
            core = refined[:, row - top : row - top + 16, col - left : col - left + 23]
            np.testing.assert_array_equal(core, whole[:, row : row + 16, col : col + 23])


@pytest.mark.parametrize("make", [SMALL[i] for i in (0, 1, 2, 4, 6)])  # far ends of two blurs in a row are too faint
def test_halo_is_no_larger_than_the_reach(make):
    refine = make()
    side = 2 * refine.halo_px + 5
    middle = side // 2
    random = np.random.default_rng(3)
    seen = 0
    for _ in range(20):
        image = (0.5 + 0.02 * random.random((1, side, side))).astype(np.float32)
        building = random.random((side, side)).astype(np.float32)
        other_image, other_building = image.copy(), building.copy()
        other_image[:, middle, middle + refine.halo_px] += 0.5
        other_building[middle, middle + refine.halo_px] = 0
        valid = np.ones((side, side), bool)
        one = refine(image, np.stack([1 - building, building]), valid)
        other = refine(other_image, np.stack([1 - other_building, other_building]), valid)
        assert (one[:, middle, middle - 1] == other[:, middle, middle - 1]).all()
        seen += bool((one[:, middle, middle] != other[:, middle, middle]).any())
    assert seen


def test_steps_end_with_the_result_and_leave_the_arguments():
    random = np.random.default_rng(0)
    image, building = random.random((3, 8, 8)).astype(np.float32), random.random((8, 8)).astype(np.float32)
    scores, valid = np.stack([1 - building, building]), np.ones((8, 8), bool)
    kept = image.copy(), scores.copy()
    for kind in KINDS:
        refine = kind(iterations=3)
        steps = list(refine.steps(image, scores, valid))
        assert len(steps) == 4
        np.testing.assert_array_equal(steps[0], scores)
        np.testing.assert_array_equal(steps[-1], refine(image, scores, valid))
        assert not np.array_equal(steps[1], steps[2])
    np.testing.assert_array_equal(image, kept[0])
    np.testing.assert_array_equal(scores, kept[1])


def disc(side: int, radius: float, soft_px: float = 3.0) -> np.ndarray:
    row, col = np.mgrid[:side, :side] - (side - 1) / 2
    return np.clip(0.5 + (radius - np.hypot(row, col)) / (2 * soft_px), 0, 1).astype(np.float32)


def refine_building(refine: Diffusion, image: np.ndarray, building: np.ndarray) -> np.ndarray:
    return refine(image[None], np.stack([1 - building, building]), np.ones(building.shape, bool))[1]


def test_heat_blurs_by_the_root_of_twice_the_time():
    impulse = np.zeros((41, 41), np.float32)
    impulse[20, 20] = 1
    blurred = refine_building(Heat(iterations=20, time_step=0.2), impulse, impulse)
    col = np.arange(41) - 20
    assert (blurred * col**2).sum() == pytest.approx(2 * 20 * 0.2, rel=1e-3)


@pytest.mark.parametrize("refine", [PeronaMalik(), Anisotropic()])
def test_an_edge_of_the_image_keeps_what_heat_blurs(refine: Diffusion):
    image = np.zeros((24, 24), np.float32)
    image[:, 12:] = 0.6
    random = np.random.default_rng(0)
    building = np.clip(image / 0.6 * 0.6 + 0.2 + random.normal(0, 0.1, image.shape), 0, 1).astype(np.float32)
    heat = refine_building(Heat(iterations=20), image, building)
    kept = refine_building(refine, image, building)
    assert heat[:, 12].mean() - heat[:, 11].mean() < 0.2
    assert kept[:, 12].mean() - kept[:, 11].mean() > 0.5
    assert kept[:, 16:].std() < 0.5 * building[:, 16:].std()


def test_anisotropic_flow_runs_along_an_edge_and_not_across():
    """Along the diagonal the stencil is exact, so that a spot on the edge spreads on it alone."""
    row, col = np.mgrid[:41, :41]
    ramp = np.clip(0.5 + 0.1 * (col - row), 0, 1).astype(np.float32)
    spot = np.zeros((41, 41), np.float32)
    spot[20, 20] = 1
    spread = refine_building(Anisotropic(iterations=20, kappa=0.02, sigma_px=0, rho_px=0), ramp, spot)
    along, across = (spread * ((row + col - 40) ** 2) / 2).sum(), (spread * ((row - col) ** 2) / 2).sum()
    assert along == pytest.approx(2 * 20 * 0.2, rel=0.02)
    assert across < 1e-3


def test_a_contour_shrinks_as_geometry_says_and_stops_at_an_edge():
    # du/dt = |grad u| curvature: the area falls by 2 pi a unit of time, whatever the radius.
    building, flat = disc(61, 20.0), np.full((61, 61), 0.5, np.float32)
    refine = GeodesicActiveContour(iterations=400, time_step=0.125)
    area = (building > 0.5).sum()
    shrunk = (refine_building(refine, flat, building) > 0.5).sum()
    assert area - shrunk == pytest.approx(2 * np.pi * 50, rel=0.1)
    held = (refine_building(refine, disc(61, 20.0, 0.5), building) > 0.5).sum()
    assert area - held < 0.1 * (area - shrunk)


def test_contours_settle_on_an_edge_from_outside():
    image, building = disc(61, 16.0, 0.5), disc(61, 18.0)
    refined = refine_building(GeodesicActiveContour(iterations=400), image, building)
    true = image > 0.5

    def iou(found: np.ndarray) -> float:
        return (found & true).sum() / (found | true).sum()

    assert iou(building > 0.5) < 0.82
    assert iou(refined > 0.5) > 0.93


@pytest.mark.parametrize("kind", KINDS)
def test_options_are_what_a_recipe_can_say(kind: type[Diffusion]):
    options = options_of(kind)
    defaults = options().model_dump()
    refine = kind(**defaults)
    assert all(getattr(refine, name) == value for name, value in defaults.items())
    with pytest.raises(ValueError, match="time_step"):
        options(time_step=1)


@pytest.mark.parametrize(
    ("kind", "option", "value"),
    [
        (Heat, "time_step", 0.26),
        (Heat, "time_step", 0.0),
        (Heat, "iterations", 0),
        (PeronaMalik, "kappa", 0.0),
        (PeronaMalik, "stopping", "linear"),
        (PeronaMalik, "sigma_px", -1.0),
        (Anisotropic, "time_step", 0.21),
        (Anisotropic, "rho_px", float("nan")),
        (GeodesicActiveContour, "time_step", 0.2),
    ],
)
def test_refuses_options_that_cannot_be_meant(kind: type[Diffusion], option: str, value):
    with pytest.raises(SettingsError, match=option):
        kind(**{option: value})


def test_refuses_arrays_that_do_not_fit():
    image, scores, valid = np.zeros((3, 4, 4), np.float32), np.zeros((2, 4, 4), np.float32), np.ones((4, 4), bool)
    for wrong in ((image[:, 1:], scores, valid), (image, scores, valid.astype(np.uint8)), (image, scores[:1], valid)):
        with pytest.raises(SettingsError):
            Heat()(*wrong)
