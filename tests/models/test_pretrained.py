from __future__ import annotations

import json

import pytest
import torch
import torchvision
from huggingface_hub.errors import LocalEntryNotFoundError
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from torchvision.models.resnet import Bottleneck

from eaves.errors import EavesWarning, ModelFileError, SettingsError
from eaves.models import Loaded, build, load_encoder, save_model
from eaves.models.pretrained import _each, _fit_bands
from eaves.settings import ModelSettings

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def unet(encoder: str = "mobilenet_v2", bands: int = 3, **options):
    return build(ModelSettings(arch="unet", options={"encoder": encoder, **options}), in_channels=bands, classes=2)


@pytest.fixture(scope="module")
def torchvisions() -> dict[str, torch.Tensor]:
    """A checkpoint as files for inference have it: half precision matrices, no counters; random weights."""
    torch.manual_seed(5)
    state = torchvision.models.mobilenet_v2().state_dict()
    return {key: value.half() if value.ndim > 1 else value for key, value in state.items() if "num_batches" not in key}


@pytest.fixture
def folder(tmp_path, monkeypatch, torchvisions):
    save_file(torchvisions, tmp_path / "mobilenet_v2.safetensors")
    monkeypatch.setenv("EAVES_WEIGHTS", str(tmp_path))
    return tmp_path


# --- from the local folder --------------------------------------------------------------------------------------------


def test_nothing_asked_for_is_nothing_done():
    network = build(ModelSettings(arch="unet28"), 3, 2)
    assert load_encoder(network, "none") == Loaded("none")


@pytest.mark.parametrize("arch", ["unet", "deeplabv3plus"])
def test_imagenet_takes_the_local_file(folder, torchvisions, arch):
    network = build(ModelSettings(arch=arch), 3, 2)
    head = {key: value.clone() for key, value in network.state_dict().items() if not key.startswith("encoder.")}
    loaded = load_encoder(network, "imagenet")
    assert loaded.source == str(folder / "mobilenet_v2.safetensors")
    assert loaded.taken == 260
    assert loaded.skipped == ("classifier.1.bias", "classifier.1.weight")
    assert loaded.missing == ()
    assert loaded.credit is not None
    assert "ImageNet" in loaded.credit
    assert (network.mean, network.std) == IMAGENET
    state = network.state_dict()
    for key in ("features.0.0.weight", "features.17.conv.1.1.running_var"):
        assert state[f"encoder.{key}"].dtype == torch.float32
        assert torch.equal(state[f"encoder.{key}"], torchvisions[key].float())
    assert all(torch.equal(state[key], value) for key, value in head.items())


def test_the_encoders_parameters_are_those_that_were_taken(folder):
    network = unet()
    load_encoder(network, "imagenet")
    ours, theirs = network.encoder_parameters(), list(network.get_submodule("encoder").parameters())
    assert len(ours) == len(theirs) == 156
    assert all(a is b for a, b in zip(ours, theirs, strict=True))


def test_a_path_is_taken_without_credit(folder):
    loaded = load_encoder(unet(), str(folder / "mobilenet_v2.safetensors"))
    assert loaded.taken == 260
    assert loaded.credit is None


def test_the_encoder_of_a_model_file_is_taken_with_its_colours(tmp_path, trained, card):
    path = tmp_path / "model.safetensors"
    save_model(path, trained, card)
    network = build(ModelSettings(arch="deeplabv3plus"), 3, 5)
    loaded = load_encoder(network, str(path))
    assert (loaded.skipped, loaded.missing) == ((), ())
    assert (network.mean, network.std) == (card.scaling.mean, card.scaling.std)
    key = "encoder.features.3.conv.0.0.weight"
    assert torch.equal(network.state_dict()[key], trained.state_dict()[key])


def test_timms_encoders_have_timms_keys_and_colours(tmp_path, monkeypatch):
    import timm

    torch.manual_seed(0)
    state = timm.create_model("tf_efficientnet_lite0").state_dict()
    save_file(state, tmp_path / "tf_efficientnet_lite0.safetensors")
    monkeypatch.setenv("EAVES_WEIGHTS", str(tmp_path))
    network = unet("tu-tf_efficientnet_lite0")
    loaded = load_encoder(network, "imagenet")
    assert loaded.missing == ()
    assert "model.classifier.weight" in loaded.skipped
    assert (network.mean, network.std) == ((0.5,) * 3, (0.5,) * 3)
    assert torch.equal(network.state_dict()["encoder.model.conv_stem.weight"], state["conv_stem.weight"])


# --- other bands ------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=20)
@given(bands=st.integers(1, 9), seed=st.integers(0, 99))
def test_a_grey_image_gives_the_same_response_whatever_the_bands(bands, seed):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(4, 3, 3, 3, generator=generator)
    grey = torch.rand(1, 1, 8, 8, generator=generator)
    expected = F.conv2d(grey.expand(-1, 3, -1, -1), weight)
    fitted = _fit_bands(weight, bands)
    assert fitted.shape == (4, bands, 3, 3)
    torch.testing.assert_close(F.conv2d(grey.expand(-1, bands, -1, -1), fitted), expected, rtol=1e-4, atol=1e-4)


def test_more_bands_keep_the_colours_of_the_first_three():
    weight = torch.randn(4, 3, 3, 3)
    torch.testing.assert_close(_fit_bands(weight, 4)[:, :3], weight * 3 / 4)
    assert _fit_bands(weight, 3) is weight


@pytest.mark.parametrize(
    ("bands", "expected"),
    [(1, (0.2,)), (2, (0.2, 0.2)), (3, (0.1, 0.2, 0.3)), (5, (0.1, 0.2, 0.3, 0.2, 0.2))],
)
def test_colours_are_one_a_band(bands, expected):
    assert _each((0.1, 0.2, 0.3), bands) == pytest.approx(expected)
    assert _each((0.7,), bands) == (0.7,) * bands


def test_a_network_of_four_bands_starts_pretrained(folder):
    network = unet(bands=4)
    loaded = load_encoder(network, "imagenet")
    assert loaded.missing == ()
    assert len(network.mean) == len(network.std) == 4
    with torch.inference_mode():
        assert network.eval()(torch.zeros(1, 4, 32, 32)).shape == (1, 1, 32, 32)


# --- from the hub -----------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path, monkeypatch, torchvisions):
    """The hub, answered by files of our own."""
    import segmentation_models_pytorch as smp

    save_file({key: value.float() for key, value in torchvisions.items()}, tmp_path / "model.safetensors")
    config = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "input_range": [0, 1], "input_space": "RGB"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    asked = []

    def answer(repo_id: str, filename: str, revision: str) -> str:
        asked.append((repo_id, filename))
        return str(tmp_path / filename)

    monkeypatch.setattr(smp.encoders, "hf_hub_download", answer)
    monkeypatch.delenv("EAVES_WEIGHTS", raising=False)
    return asked


def test_without_a_folder_the_hub_is_asked(hub, torchvisions, monkeypatch):
    # The library loads strictly, so that its file must have the counters, too.
    from torchvision.models import MobileNetV2

    strict = MobileNetV2.load_state_dict
    monkeypatch.setattr(MobileNetV2, "load_state_dict", lambda self, state, **_: strict(self, state, strict=False))
    network = unet()
    loaded = load_encoder(network, "imagenet")
    assert hub[0] == ("smp-hub/mobilenet_v2.imagenet", "config.json")
    assert ("smp-hub/mobilenet_v2.imagenet", "model.safetensors") in hub
    assert (loaded.source, loaded.missing) == ("hub", ())
    assert (network.mean, network.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    key = "features.0.0.weight"
    assert torch.equal(network.state_dict()[f"encoder.{key}"], torchvisions[key].float())


def test_a_folder_without_the_file_asks_the_hub(hub, tmp_path, monkeypatch):
    import segmentation_models_pytorch as smp

    def silent(*_, **__):
        raise LocalEntryNotFoundError("cannot reach the hub\nreally")

    monkeypatch.setattr(smp.encoders, "hf_hub_download", silent)
    monkeypatch.setenv("EAVES_WEIGHTS", str(tmp_path))
    with pytest.raises(
        ModelFileError, match=r"cannot reach the hub\)\. Do: .*mobilenet_v2\.safetensors.*EAVES_WEIGHTS"
    ):
        load_encoder(unet(), "imagenet")


def test_an_encoder_without_published_weights_says_so(hub, monkeypatch):
    import segmentation_models_pytorch as smp

    monkeypatch.setitem(smp.encoders.encoders["resnet18"], "pretrained_settings", {})
    with pytest.raises(SettingsError, match=r"published ImageNet weights.*Received 'resnet18'"):
        load_encoder(unet("resnet18"), "imagenet")


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_network_without_encoder_takes_none():
    with pytest.raises(SettingsError, match=r"UNet28.*no encoder.*leave encoder_weights out"):
        load_encoder(build(ModelSettings(arch="unet28"), 3, 2), "imagenet")


def test_a_file_for_another_encoder_is_refused(folder):
    network = unet("resnet18")
    with pytest.raises(ModelFileError, match=r"weights for the encoder 'resnet18'.*features.0.0.weight"):
        load_encoder(network, str(folder / "mobilenet_v2.safetensors"))
    assert network.encoder_parameters() == []


def test_parts_that_are_missing_or_of_another_shape_are_told(tmp_path, torchvisions):
    partial = {key: value for key, value in torchvisions.items() if not key.startswith("features.18.")}
    partial["features.0.1.bias"] = torch.zeros(7)
    save_file(partial, tmp_path / "partial.safetensors")
    network = unet()
    with pytest.warns(EavesWarning, match=r"6 of 260 tensors.*start at random"):
        loaded = load_encoder(network, str(tmp_path / "partial.safetensors"))
    assert "features.0.1.bias (7,)" in loaded.skipped
    assert set(loaded.missing) == {
        "features.0.1.bias",
        "features.18.0.weight",
        *(f"features.18.1.{part}" for part in ("weight", "bias", "running_mean", "running_var")),
    }
    assert len(network.encoder_parameters()) == 156 - 4


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(ModelFileError, match="No such file"):
        load_encoder(unet(), str(tmp_path / "nothing.safetensors"))
    torch.save({}, tmp_path / "weights.pth")
    with pytest.raises(ModelFileError, match="pickle"):
        load_encoder(unet(), str(tmp_path / "weights.pth"))


# --- the real files ---------------------------------------------------------------------------------------------------


def stored(folder, name: str) -> dict[str, torch.Tensor]:
    return {key: value.float() for key, value in load_file(folder / f"{name}.safetensors").items()}


def features(network, image: torch.Tensor) -> list[torch.Tensor]:
    with torch.inference_mode():
        return network.get_submodule("encoder").eval()(image)


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_real_mobilenet_gives_torchvisions_features(eaves_weights, image):
    reference = torchvision.models.mobilenet_v2().eval()
    reference.load_state_dict(stored(eaves_weights, "mobilenet_v2"), strict=False)
    network = unet()
    assert load_encoder(network, "imagenet").taken == 260
    with torch.inference_mode():
        assert torch.equal(features(network, image)[-1], reference.features(image))


def test_real_resnet50_gives_resnet_v1_features(eaves_weights, image):
    reference = torchvision.models.resnet50().eval()
    reference.load_state_dict(stored(eaves_weights, "resnet50"), strict=False)
    for layer in (reference.layer2, reference.layer3, reference.layer4):
        block = layer.get_submodule("0")
        assert isinstance(block, Bottleneck)
        block.conv1.stride, block.conv2.stride = (2, 2), (1, 1)
    network = unet("resnet50", stride_in_1x1=True)
    loaded = load_encoder(network, "imagenet")
    assert (loaded.missing, loaded.skipped) == ((), ("fc.bias", "fc.weight"))
    with torch.inference_mode():
        x = reference.maxpool(reference.relu(reference.bn1(reference.conv1(image))))
        x = reference.layer4(reference.layer3(reference.layer2(reference.layer1(x))))
        assert torch.equal(features(network, image)[-1], x)


def test_real_vgg_gives_torchvisions_features(eaves_weights, image):
    reference = torchvision.models.vgg16_bn().features.eval()
    weights = {key.removeprefix("features."): value for key, value in stored(eaves_weights, "vgg16_bn").items()}
    reference.load_state_dict(weights, strict=False)
    network = unet("vgg16_bn")
    assert load_encoder(network, "imagenet").missing == ()
    with torch.inference_mode():
        assert torch.equal(features(network, image)[-1], reference(image))
        assert network(image).shape == (1, 1, 64, 64)  # its decoder has one block more than others


def test_real_efficientnet_gives_timms_features(eaves_weights, image):
    import timm

    reference = timm.create_model("tf_efficientnet_lite0", features_only=True).eval()
    reference.load_state_dict(stored(eaves_weights, "tf_efficientnet_lite0"), strict=False)
    network = unet("tu-tf_efficientnet_lite0")
    assert load_encoder(network, "imagenet").missing == ()
    assert network.mean == network.std == (0.5, 0.5, 0.5)
    with torch.inference_mode():
        for ours, theirs in zip(features(network, image)[1:], reference(image), strict=True):
            assert torch.equal(ours, theirs)
