"""Networks as functions of arrays."""

import numpy as np
import pytest
import torch

from eaves.errors import SettingsError
from eaves.models import build, scores
from eaves.predict import TorchBackend
from eaves.settings import ModelSettings


@pytest.mark.parametrize("classes", [2, 4])
def test_it_gives_the_networks_scores(classes):
    torch.manual_seed(1)
    network = build(ModelSettings(arch="unet28", options={"widths": "narrow"}), 3, classes)
    backend = TorchBackend(network, classes - 1)
    batch = np.random.default_rng(0).normal(size=(2, 3, 32, 48)).astype(np.float32)
    got = backend(batch)
    with torch.inference_mode():
        expected = scores(network.eval()(torch.from_numpy(batch))).numpy()
    assert got.shape == (2, classes - 1, 32, 48)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_a_device_that_is_not_there_is_refused():
    network = build(ModelSettings(arch="unet28", options={"widths": "narrow"}), 3, 2)
    with pytest.raises(SettingsError, match="--device cpu"):
        TorchBackend(network, device="cuda:7")
