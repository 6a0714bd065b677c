"""Networks as functions of arrays."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from eaves.errors import SettingsError
from eaves.models import Readout, SegmentationNetwork, build, scores
from eaves.predict import TorchBackend
from eaves.predict.backends import Tta, measure_speed
from eaves.settings import ModelSettings, TargetSettings

NARROW = ModelSettings(arch="unet28", options={"widths": "narrow", "batch_norm": True})
KINDS = {
    "classes": (TargetSettings(), ("background", "building", "road")),
    "border": (TargetSettings(kind="border"), ("background", "building")),
    "distance": (TargetSettings(kind="distance", n_bins=6), ("background", "building")),
}
GROUPS: dict[Tta, list] = {
    "none": [lambda x: x],
    "flip": [lambda x: x, lambda x: x[..., ::-1], lambda x: x[..., ::-1, :], lambda x: x[..., ::-1, ::-1]],
    "d4": [
        lambda x, k=k, t=t: np.rot90(np.swapaxes(x, -1, -2) if t else x, k, (-2, -1)) for k in range(4) for t in (0, 1)
    ],
}


def backend(kind="classes", tta: Tta = "none", seed=1):
    torch.manual_seed(seed)
    readout = Readout(*KINDS[kind])
    network = build(NARROW, 3, readout.channels)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.5)  # scores that differ from place to place
    return TorchBackend(network, readout, "cpu", tta)


def image(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def same(got, expected):
    np.testing.assert_allclose(got, expected, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_it_gives_the_networks_scores(kind):
    runs = backend(kind)
    batch = image(2, 3, 32, 48)
    got = runs(batch)
    with torch.inference_mode():
        logits = runs.network(torch.from_numpy(batch))
        expected = scores(logits) if kind == "classes" else runs.readout.scores(logits)
    assert got.shape == (2, runs.bands, 32, 48) == (2, 2, 32, 48)
    assert got.dtype == np.float32
    same(got, expected.numpy())


def test_a_device_that_is_not_there_is_refused():
    network = build(ModelSettings(arch="unet28", options={"widths": "narrow"}), 3, 2)
    readout = Readout(TargetSettings(), ("background", "building"))
    with pytest.raises(SettingsError, match="--device cpu"):
        TorchBackend(network, readout, device="cuda:7")
    with pytest.raises(SettingsError, match=r"none, flip, d4.*'d8'"):
        TorchBackend(network, readout, tta="d8")  # pyright: ignore


# --- views ------------------------------------------------------------------------------------------------------------


class OneSided(SegmentationNetwork):
    """A network without any symmetry: each pixel looks at what lies to its right, and a little at what lies above."""

    stride, halo_px = 1, 2

    def logits(self, image):
        right = torch.nn.functional.pad(image, (0, 2))[..., 2:]
        above = torch.nn.functional.pad(image, (0, 0, 1, 0))[..., :-1, :]
        return (right - 0.3 * above).mean(1, keepdim=True)


class Round(SegmentationNetwork):
    """A network that looks the same way in all directions."""

    stride, halo_px = 1, 3

    def logits(self, image):
        return torch.nn.functional.avg_pool2d(image.mean(1, keepdim=True), 7, 1, 3) * 5


def of(kind, tta: Tta):
    return TorchBackend(kind(3, 2), Readout(TargetSettings(), ("background", "building")), "cpu", tta)


@pytest.mark.parametrize("tta", GROUPS)
@pytest.mark.parametrize("shape", [(1, 3, 16, 16), (3, 3, 9, 20)])
def test_views_are_averaged_over_the_group(tta, shape):
    """By hand: turn the image, run the network, turn the scores back."""
    plain, batch = of(OneSided, "none"), image(*shape)
    views, probe = GROUPS[tta], np.arange(6).reshape(2, 3)
    back = [next(inverse for inverse in views if np.array_equal(inverse(view(probe)), probe)) for view in views]
    seen = [plain(np.ascontiguousarray(view(batch))) for view in views]
    same(of(OneSided, tta)(batch), np.mean([turn(one) for turn, one in zip(back, seen, strict=True)], axis=0))


@pytest.mark.parametrize("tta", GROUPS)
def test_a_symmetric_network_gives_the_same(tta):
    batch = image(2, 3, 24, 17)
    same(of(Round, tta)(batch), of(Round, "none")(batch))


@pytest.mark.parametrize("tta", ["flip", "d4"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (2, 3, 16, 48)])
def test_turning_the_image_turns_the_scores(kind, tta, shape):
    """Whatever the network: this one is not symmetric, as the first lines make sure."""
    batch = image(*shape)
    alone, together = backend(kind), backend(kind, tta)
    for turn in GROUPS[tta][1:]:
        turned = np.ascontiguousarray(turn(batch))
        assert np.abs(alone(turned) - turn(alone(batch))).max() > 1e-3
        same(together(turned), turn(together(batch)))


def test_mirror_images_do_not_make_quarter_turns_right():
    batch = image(1, 3, 16, 16)
    runs = of(OneSided, "flip")
    turned = np.rot90(batch, 1, (-2, -1))
    assert np.abs(runs(np.ascontiguousarray(turned)) - np.rot90(runs(batch), 1, (-2, -1))).max() > 1e-3


@pytest.mark.parametrize("tta", GROUPS)
def test_tiles_do_not_show(tta):
    """A window with its halo, a multiple of the stride, gives what the whole image gives there."""
    runs = backend(tta=tta)
    halo = runs.halo_px
    whole = image(1, 3, 2 * halo + 64, 2 * halo + 96)
    window = np.ascontiguousarray(whole[..., 16 : 2 * halo + 48, 32 : 2 * halo + 96])
    inner = (..., slice(halo, -halo), slice(halo, -halo))
    same(runs(window)[inner], runs(whole)[..., halo + 16 : halo + 48, halo + 32 : halo + 96])


def test_the_batch_is_left_as_it_was():
    batch = image(1, 3, 16, 16)
    before = batch.copy()
    of(OneSided, "d4")(batch)
    assert (batch == before).all()


def test_the_name_tells_the_views():
    assert [of(Round, tta).name for tta in GROUPS] == [
        "torch fp32 on cpu",
        "torch fp32 on cpu, 4 views",
        "torch fp32 on cpu, 8 views",
    ]


# --- speed ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([9, 1, 4, 2], 1 / 2),  # the first does not count, and of the others the middle one
        ([9, *[0.2] * 9], 1 / 0.2),  # three in each measurement
    ],
)
def test_speed_is_the_median_after_a_first_run(monkeypatch, seconds, expected):
    clock, durations = [0.0], iter(seconds)

    def runs(batch):
        assert batch.shape == (1, 4, 1000, 1000)
        clock[0] += next(durations)
        return batch

    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    assert measure_speed(runs, 4, tile_px=1000) == pytest.approx(expected)
    assert next(durations, None) is None
