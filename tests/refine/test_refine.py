"""The contract of every refiner, for whatever stands in REFINERS."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eaves.models.corrector import Corrector
from eaves.refine import REFINERS, Correction
from eaves.scene import Scaling


@pytest.fixture(scope="module", params=REFINERS)
def refine(request):
    if request.param != "corrector":
        return REFINERS[request.param](iterations=3)
    torch.manual_seed(0)
    network = Corrector(3, 3, iterations=3)
    with torch.no_grad():
        for step in network.steps:
            step.out_weight.mul_(30)
    return Correction(network, Scaling.for_bytes(3))


def case(seed: int, height: int = 20, width: int = 17):
    rng = np.random.default_rng(seed)
    valid = rng.random((height, width)) > 0.2
    scores = rng.dirichlet((0.5, 0.5, 0.5), (height, width)).transpose(2, 0, 1).astype(np.float32)
    return rng.random((3, height, width), np.float32) * valid, scores * valid, valid


def test_scores_stay_scores_and_the_last_step_is_the_result(refine):
    @settings(max_examples=10)
    @given(seed=st.integers(0, 1000))
    def holds(seed):
        image, scores, valid = case(seed)
        steps = list(refine.steps(image, scores, valid))
        assert len(steps) == refine.iterations + 1
        assert np.array_equal(refine(image, scores, valid), steps[-1])
        np.testing.assert_allclose(steps[0], scores, atol=0.005)  # a corrector begins at half a level
        for step in steps:
            assert step.shape == scores.shape
            assert ((step >= 0) & (step <= 1)).all()
            np.testing.assert_allclose(step.sum(axis=0), valid, atol=1e-5)

    holds()


def test_the_arguments_stay_as_they_are(refine):
    image, scores, valid = case(0)
    before = image.copy(), scores.copy(), valid.copy()
    assert (refine(image, scores, valid) != scores).any()
    for one, other in zip((image, scores, valid), before, strict=True):
        assert np.array_equal(one, other)


def test_it_has_a_name_and_a_reach(refine):
    assert refine.name in REFINERS
    assert refine.halo_px > 0


def test_nothing_valid_is_nothing_done(refine):
    image, scores, valid = case(0)
    assert not refine(image * 0, scores * 0, valid & False).any()
