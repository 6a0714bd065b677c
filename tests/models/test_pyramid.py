from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from eaves.models.pyramid import MultiPathPyramid, make_pyramid

CHANNELS = [4, 6, 8, 10]


def features(side=32):
    torch.manual_seed(0)
    return {str(level): torch.randn(2, count, side >> level, side >> level) for level, count in enumerate(CHANNELS)}


@pytest.mark.parametrize("kind", ["fpn", "multi-path"])
def test_levels_have_the_features_sides_and_one_width(kind):
    levels = make_pyramid(kind, CHANNELS, 12, "sum")(features())
    assert list(levels) == ["0", "1", "2", "3", "pool"]
    assert [tuple(level.shape) for level in levels.values()] == [(2, 12, side, side) for side in (32, 16, 8, 4, 2)]
    assert torch.equal(levels["pool"], levels["3"][..., ::2, ::2])


@pytest.mark.parametrize("fusion", ["sum", "weighted", "concat"])
def test_it_is_the_sources_formula(fusion):
    pyramid = MultiPathPyramid(CHANNELS, 12, fusion)
    if fusion == "weighted":
        for share in pyramid.shares.values():
            torch.nn.init.uniform_(share, -0.5, 2.0)
    m = [block(feature) for block, feature in zip(pyramid.inner_blocks, features().values(), strict=True)]
    n = list(m)
    for i in (2, 1, 0):
        n[i] = m[i] + F.interpolate(n[i + 1], scale_factor=2)
    p = [n[0]]
    for i in (1, 2, 3):
        parts = [pyramid.down[str(i)](p[-1]), n[i]] + ([m[i]] if i < 3 else [])  # N4 is M4: once
        if fusion == "sum":
            mixed = sum(parts)
        elif fusion == "concat":
            mixed = pyramid.mix[str(i)](torch.cat(parts, dim=1))
        else:
            share = pyramid.shares[str(i)].clamp(min=0)
            mixed = sum(w * part for w, part in zip(share / (share.sum() + 1e-4), parts, strict=True))
        p.append(pyramid.layer_blocks[str(i)](mixed))
    for ours, theirs in zip(pyramid(features()).values(), p, strict=False):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("fusion", ["sum", "weighted", "concat"])
def test_every_weight_learns(fusion):
    pyramid = MultiPathPyramid(CHANNELS, 12, fusion)
    torch.stack([level.square().mean() for level in pyramid(features()).values()]).sum().backward()
    assert [name for name, p in pyramid.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_torchvisions_lateral_and_output_weights_fit():
    plain, ours = make_pyramid("fpn", CHANNELS, 12, "sum").state_dict(), MultiPathPyramid(CHANNELS, 12).state_dict()
    shared = {key for key in plain if key in ours}
    assert shared == {key for key in plain if not key.startswith("layer_blocks.0")}
    assert all(plain[key].shape == ours[key].shape for key in shared)


def test_odd_sides_come_back():
    sizes = [(27, 13), (14, 7), (7, 4), (4, 2)]
    given = {str(i): torch.zeros(1, c, *size) for i, (c, size) in enumerate(zip(CHANNELS, sizes, strict=True))}
    levels = MultiPathPyramid(CHANNELS, 8)(given)
    assert [tuple(levels[str(i)].shape[-2:]) for i in range(4)] == sizes
