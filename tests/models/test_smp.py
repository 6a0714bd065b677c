from __future__ import annotations

from typing import Any

import pytest
import torch

from eaves.errors import SettingsError
from eaves.models import build, load_encoder
from eaves.models.smp import ARCHITECTURES, Smp
from eaves.settings import ModelSettings

SMALL: dict[str, dict[str, Any]] = {
    "MAnet": {"decoder_channels": [64, 32, 16, 16, 16]},
    "DeepLabV3": {"decoder_channels": 32},
    "UPerNet": {"decoder_channels": 32},
}


def network(bands: int = 3, classes: int = 2, **options: Any) -> Smp:
    built = build(ModelSettings(arch="smp", options=options), in_channels=bands, classes=classes)
    assert isinstance(built, Smp)
    return built


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_takes_any_size_and_trains(architecture):
    torch.manual_seed(0)
    net = network(4, 3, architecture=architecture, settings=SMALL.get(architecture, {}))
    assert net.training
    net(torch.randn(2, 4, 65, 33)).square().mean().backward()
    for part in (net.decoder, net.head):
        assert all(p.grad is not None for p in part.parameters())
    assert any(p.grad is not None for p in net.encoder.parameters())  # PSPNet leaves the deepest layers out
    with torch.inference_mode():
        for size in ((1, 1), (40, 131)):
            assert net.eval()(torch.randn(1, 4, *size)).shape == (1, 3, *size)


@pytest.mark.parametrize(("architecture", "stride"), [("FPN", 32), ("PSPNet", 8), ("DeepLabV3Plus", 16), ("PAN", 128)])
def test_the_stride_is_the_librarys(architecture, stride):
    net = network(architecture=architecture)
    assert (net.stride, net.halo_px) == (stride, 128)


@pytest.mark.parametrize("architecture", ["UnetPlusPlus", "FPN", "Linknet"])
def test_it_is_the_librarys_network(architecture):
    import segmentation_models_pytorch as library

    theirs = getattr(library, architecture)("mobilenet_v2", encoder_weights=None).eval()
    ours = network(architecture=architecture).eval()
    ours.load_state_dict({k.replace("segmentation_head", "head"): v for k, v in theirs.state_dict().items()})
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(ours(image), theirs(image))


def test_settings_reach_the_library():
    shallow = network(architecture="Unet", settings={"encoder_depth": 3, "decoder_channels": [32, 16, 8]})
    assert shallow.stride == 8
    rates = network(architecture="DeepLabV3Plus", settings={"decoder_atrous_rates": [2, 3, 5]})
    dilations = {m.dilation[0] for m in rates.decoder.modules() if isinstance(m, torch.nn.Conv2d)}
    assert dilations == {1, 2, 3, 5}


def test_pretrained_encoders_are_taken(eaves_weights):
    net = network(architecture="FPN")
    loaded = load_encoder(net, str(eaves_weights / "mobilenet_v2.safetensors"))
    assert (loaded.taken, loaded.missing) == (260, ())
    assert len(net.encoder_parameters()) == 156


def test_stride_in_1x1_reaches_the_encoder():
    net = network(architecture="FPN", encoder="resnet50", stride_in_1x1=True)
    assert net.encoder.get_submodule("layer2.0.conv1").stride == (2, 2)


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"architecture": "UnetPlus"}, "write 'UnetPlusPlus'"),
        ({"architecture": "manet"}, "write 'MAnet'"),
        ({"architecture": "zzz"}, "Unet, UnetPlusPlus.*use one of them"),
        ({"encoder": "mobilenetv2"}, "use 'mobilenet_v2'"),
        ({"settings": {"decoder_chanels": [1]}}, "settings of UnetPlusPlus.*write 'decoder_channels'"),
        ({"settings": {"classes": 3}}, "unknown key 'classes'"),
        ({"settings": {"decoder_channels": 3}}, "decoder_channels in model.options.settings"),
        ({"settings": {"decoder_channels": [8, 8, 8, 8]}}, "UnetPlusPlus takes images.*depth is 5"),
        ({"architecture": "PAN", "settings": {"encoder_output_stride": 8}}, "encoder_output_stride.*16 or 32"),
        ({"architecture": "DeepLabV3", "settings": {"decoder_atrous_rates": ["a"]}}, "decoder_atrous_rates.0"),
        ({"architecture": "PSPNet", "settings": {"upsampling": 4}}, "it gives 4 x 8 px for 8 x 16 px"),
        ({"architecture": "UnetPlusPlus", "encoder": "mit_b0"}, "'mit_b0' and settings with which it does not"),
        ({"architecture": "FPN", "encoder": "tu-swin_tiny_patch4_window7_224"}, "does not .*224"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(SettingsError, match=message):
        network(**options)
