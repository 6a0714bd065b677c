"""Networks that draw what they were taught perfectly: what is read out of them?"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from eaves.labels import UNKNOWN, Target
from eaves.labels.targets import signed_distance
from eaves.models import Readout
from eaves.settings import TargetSettings

NAMES = ("background", "building")
KINDS = [
    TargetSettings(),
    TargetSettings(kind="border", border_m=2.0),
    TargetSettings(kind="distance", n_bins=20, clip_m=5.0),
    TargetSettings(kind="distance", n_bins=2, clip_m=5.0),
]


def labels(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Twenty buildings, some of which touch."""
    rng = np.random.default_rng(seed)
    instances = np.zeros((96, 96), np.uint16)
    for number in range(1, 21):
        top, left = rng.integers(0, 80, 2)
        instances[top : top + rng.integers(4, 16), left : left + rng.integers(4, 16)] = number
    return (instances > 0).astype(np.uint8), instances


def perfect(drawn: np.ndarray, channels: int, sure: float = 30.0) -> torch.Tensor:
    """Logits of a network that is certain of what is drawn, one channel for two classes."""
    known = np.where(drawn == UNKNOWN, 0, drawn)
    logits = sure * torch.nn.functional.one_hot(torch.from_numpy(known).long(), channels).permute(2, 0, 1)[None].float()
    return logits[:, 1:] - logits[:, :1] if channels == 2 else logits


@pytest.mark.parametrize("settings", KINDS, ids=lambda one: f"{one.kind}{one.n_bins}")
@given(seed=st.integers(0, 1000))
def test_what_is_drawn_perfectly_reads_out_to_the_mask(settings, seed):
    mask, instances = labels(seed)
    drawn = Target.of(settings, NAMES, None).draw(mask, instances)
    readout = Readout(settings, NAMES)
    logits = perfect(drawn, readout.channels)
    known = drawn != UNKNOWN
    assert (readout.mask(logits)[0].numpy() == mask)[known].all()
    maps = readout.scores(logits)[0].numpy()
    assert ((maps[0] > 0.5) == (mask == 1))[known].all()
    assert maps[0, known] == pytest.approx(mask[known], abs=1e-6)


def test_the_border_map_is_the_rim():
    mask, instances = labels()
    drawn = Target.of(KINDS[1], NAMES, None).draw(mask, instances)
    border = Readout(KINDS[1], NAMES).scores(perfect(drawn, 3))[0, 1].numpy()
    known = drawn != UNKNOWN
    assert border[known] == pytest.approx((drawn[known] == 2).astype(float), abs=1e-6)
    assert 0 < (drawn == 2).sum() < mask.sum()


def test_the_distance_map_tells_metres():
    mask, instances = labels()
    drawn = Target.of(KINDS[2], NAMES, None).draw(mask, instances)
    told = Readout(KINDS[2], NAMES).scores(perfect(drawn, 20))[0, 1].numpy()
    distance, _ = signed_distance(mask, instances)
    known = drawn != UNKNOWN
    assert ((2 * told - 1) * 5)[known] == pytest.approx(distance.clip(-5, 5)[known], abs=0.25 + 1e-4)
    assert ((told > 0.5) == (mask == 1))[known].all()


@pytest.mark.parametrize("settings", KINDS, ids=lambda one: f"{one.kind}{one.n_bins}")
@pytest.mark.parametrize("spread", [0.01, 5.0, 1e4])
def test_scores_are_scores(settings, spread):
    readout = Readout(settings, NAMES)
    channels = 1 if readout.channels == 2 else readout.channels
    torch.manual_seed(0)
    maps = readout.scores(spread * torch.randn(2, channels, 16, 16, dtype=torch.bfloat16))
    assert maps.shape == (2, len(readout.bands), 16, 16)
    assert maps.dtype == torch.float32
    assert maps.min() >= 0
    assert maps.max() <= 1


def test_a_distance_of_two_steps_is_plain_segmentation():
    logits = torch.randn(2, 1, 8, 8)
    plain, steps = Readout(KINDS[0], NAMES), Readout(KINDS[3], NAMES)
    torch.testing.assert_close(steps.scores(logits)[:, 0], plain.scores(logits)[:, 0])
    assert (steps.mask(logits) == plain.mask(logits)).all()
    torch.testing.assert_close(steps.scores(logits)[:, 1], 0.25 + plain.scores(logits)[:, 0] / 2)


def test_names_of_the_maps():
    assert Readout(TargetSettings(), ("background", "building", "road")).bands == ("building", "road")
    assert [Readout(settings, NAMES).bands for settings in KINDS[1:3]] == [
        ("building", "border"),
        ("building", "distance"),
    ]
    assert [Readout(settings, NAMES).channels for settings in KINDS] == [2, 3, 20, 2]


def test_several_classes_read_out_to_the_likeliest():
    logits = torch.tensor([[1.0, 3.0, 2.0], [5.0, 0.0, 0.0]]).T[None, :, :, None]
    assert Readout(TargetSettings(), ("a", "b", "c")).mask(logits)[0, :, 0].tolist() == [1, 0]
