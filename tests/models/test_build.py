from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

import eaves.models
from eaves.errors import SettingsError
from eaves.models import MODELS, SegmentationNetwork, build
from eaves.models.unet28 import UNet28
from eaves.settings import ModelSettings


def test_options_reach_the_network():
    network = build(ModelSettings(arch="unet28", options={"batch_norm": True}), in_channels=5, classes=3)
    assert isinstance(network, UNet28)
    assert (network.in_channels, network.classes, network.out_channels) == (5, 3, 3)
    assert network.down[0].get_submodule("0").bias is None


def test_an_unknown_architecture_is_refused_with_the_known_ones():
    with pytest.raises(SettingsError, match=r"deeplabv3plus, maskrcnn, segnet, smp, unet, unet28.*write 'unet28'"):
        build(ModelSettings(arch="unet_28"), 3, 2)
    with pytest.raises(SettingsError, match="use one of them"):
        build(ModelSettings(arch="zzz"), 3, 2)


@pytest.mark.parametrize(("arch", "name"), [("unetplusplus", "UnetPlusPlus"), ("fpn", "FPN"), ("PSP-Net", "PSPNet")])
def test_an_architecture_of_the_library_is_answered_with_the_way_to_it(arch, name):
    with pytest.raises(SettingsError, match=f"arch = 'smp' with options.architecture = '{name}'"):
        build(ModelSettings(arch=arch), 3, 2)


@pytest.mark.parametrize("arch", [name for name, kind in MODELS.items() if issubclass(kind, SegmentationNetwork)])
@pytest.mark.parametrize("classes", [2, 3, 20])
def test_a_scene_of_uneven_sides_keeps_its_shape(arch, classes):
    """2 064 x 1 463 pixels, S2's crop, is a multiple of nothing; on meta tensors that costs nothing."""
    with torch.device("meta"), torch.inference_mode():
        network = build(ModelSettings(arch=arch), in_channels=3, classes=classes).eval()
        assert network(torch.empty(1, network.input_channels, 1463, 2064)).shape == (
            1,
            network.out_channels,
            1463,
            2064,
        )


@pytest.mark.parametrize("arch", MODELS)
def test_an_unknown_option_is_refused(arch):
    with pytest.raises(SettingsError, match=f"model.options of {arch}.*unknown key 'colour'"):
        build(ModelSettings(arch=arch, options={"colour": 1}), 3, 2)


def test_a_misspelt_option_is_answered_with_the_right_one():
    with pytest.raises(SettingsError, match="write 'batch_norm'"):
        build(ModelSettings(arch="unet28", options={"batchnorm": True}), 3, 2)


@pytest.mark.parametrize(
    ("arch", "options"),
    [
        ("unet28", {"widths": "medium"}),
        ("unet28", {"batch_norm": "perhaps"}),
        ("deeplabv3plus", {"output_stride": 32}),
        ("deeplabv3plus", {"channels": 2.5}),
        ("deeplabv3plus", {"dropout": 1.0}),
        ("unet", {"encoder": 18}),
        ("segnet", {"unpool": "transposed"}),
        ("deeplabv3lite", {"dropout": 1.0}),
        ("smp", {"settings": [1]}),
    ],
)
def test_a_wrong_value_is_refused_by_name(arch, options):
    with pytest.raises(SettingsError, match=next(iter(options))):
        build(ModelSettings(arch=arch, options=options), 3, 2)


def test_every_public_name_is_there():
    assert all(hasattr(eaves.models, name) for name in eaves.models.__all__)
    assert eaves.models.__all__ == sorted(eaves.models.__all__, key=lambda name: (not name.isupper(), name))


def test_the_library_of_encoders_is_imported_only_when_needed():
    """Its import takes seconds, and commands that only read a card should not wait for it."""
    for file in Path(eaves.models.__path__[0]).glob("*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & {"segmentation_models_pytorch", "timm"}, file.name
