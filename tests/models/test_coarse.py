"""The coarse network: what it sees, and that it can be cut."""

from __future__ import annotations

import pytest
import torch

from eaves.models.coarse import CoarseFcn


def fresh(**options) -> CoarseFcn:
    torch.manual_seed(0)
    return CoarseFcn(3, 3, **options).eval()


def test_it_has_the_sources_weights():
    assert sum(p.numel() for p in fresh().features.parameters()) == 280_259
    assert [(m.out_channels, m.kernel_size, m.stride) for m in fresh().features if isinstance(m, torch.nn.Conv2d)] == [
        (64, (12, 12), (4, 4)),
        (128, (3, 3), (1, 1)),
        (128, (3, 3), (1, 1)),
        (3, (9, 9), (1, 1)),
    ]


def test_chips_of_124_px_train_label_maps_of_64():
    network = fresh(padding="valid").train()
    assert network(torch.zeros(2, 3, 124, 124)).shape == (2, 3, 64, 64)
    with pytest.raises(ValueError, match="more than 60 px"):
        network(torch.zeros(1, 3, 60, 124))


def test_what_valid_trains_is_what_same_predicts():
    image = torch.randn(1, 3, 132, 124)
    network = fresh(padding="valid")
    inner = network.train()(image)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(image)[..., 30:-30, 30:-30], inner)


def test_a_pixel_sees_no_further_than_the_halo():
    network, image = fresh(), torch.randn(1, 3, 160, 160)
    seen = image.clone().requires_grad_()
    network(seen)[0, :, 80, 80].sum().backward()
    assert seen.grad is not None
    rows = torch.nonzero(seen.grad.abs().sum((0, 1, 3))).flatten()
    assert 80 - network.halo_px <= int(rows.min()) < int(rows.max()) <= 80 + network.halo_px
    assert int(rows.max() - rows.min()) + 1 == 64  # 60 of each of the two features that a pixel lies between


def test_windows_that_start_at_the_stride_agree():
    network, image = fresh(), torch.randn(1, 3, 256, 256)
    halo = network.halo_px
    with torch.no_grad():
        whole, part = network(image), network(image[..., 40:240, 20:220])
    torch.testing.assert_close(
        part[..., halo:-halo, halo:-halo], whole[..., 40 + halo : 240 - halo, 20 + halo : 220 - halo]
    )


def test_the_deconvolution_begins_as_bilinear_interpolation():
    network = fresh()
    with torch.no_grad():
        flat = network.up(torch.ones(1, 3, 9, 9))
        slope = network.up(torch.arange(9.0).expand(1, 3, 9, 9))
    torch.testing.assert_close(flat, torch.ones_like(flat))
    torch.testing.assert_close(slope[0, 0, 16].diff(), torch.full((31,), 0.25))


@pytest.mark.parametrize("side", [125, 126, 127])
def test_chips_that_would_train_on_shifted_labels_are_refused(side):
    with pytest.raises(ValueError, match="a multiple of 4"):
        fresh(padding="valid").train()(torch.zeros(1, 3, side, 128))
    assert fresh(padding="valid")(torch.zeros(1, 3, side, 128)).shape == (1, 3, side, 128)
