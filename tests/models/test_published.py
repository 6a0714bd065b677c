"""Weights that others published under names of their own."""

from __future__ import annotations

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file

from eaves.errors import EavesWarning, ModelFileError
from eaves.models import build, load_encoder
from eaves.models.deeplab_lite import DeepLabV3Lite
from eaves.models.pretrained import COCO_VOC_FILE
from eaves.settings import ModelSettings


def test_layers_that_timm_flattens_are_found(tmp_path):
    """Its Xception has ``blocks.3`` as a network and ``blocks_3`` where it is cut into features."""
    import timm

    torch.manual_seed(0)
    state = timm.create_model("xception41").state_dict()
    save_file(state, tmp_path / "xception41.safetensors")
    network = build(ModelSettings(arch="deeplabv3plus", options={"encoder": "tu-xception41"}), 3, 2)
    loaded = load_encoder(network, str(tmp_path / "xception41.safetensors"))
    assert (loaded.skipped, loaded.missing) == (("model.head.fc.bias", "model.head.fc.weight"), ())
    assert network.mean == network.std == (0.5,) * 3
    key = "stack.conv1.conv_pw.weight"
    assert torch.equal(network.state_dict()[f"encoder.model.blocks_3.{key}"], state[f"blocks.3.{key}"])


def coco_voc(folder) -> None:
    """A file of the published DeepLabV3's shape, with random weights."""
    torch.manual_seed(6)
    network = DeepLabV3Lite(3, 21)
    state = {
        key.replace("encoder.features", "backbone").replace("head", "logits"): value
        for key, value in network.state_dict().items()
    }
    save_file({key: value.clone() for key, value in state.items() if "num_batches" not in key}, folder / COCO_VOC_FILE)


def test_a_published_segmentation_network_fills_all_but_the_logits(tmp_path, monkeypatch):
    coco_voc(tmp_path)
    monkeypatch.setenv("EAVES_WEIGHTS", str(tmp_path))
    network = build(ModelSettings(arch="deeplabv3lite"), in_channels=4, classes=3)
    loaded = load_encoder(network, "coco-voc")
    assert (loaded.taken, loaded.skipped, loaded.missing) == (270, ("logits.bias", "logits.weight"), ())
    assert loaded.credit is not None
    assert "PASCAL VOC" in loaded.credit
    assert network.mean == network.std == (0.5,) * 4
    stored = load_file(tmp_path / COCO_VOC_FILE)
    own = network.state_dict()
    for ours, theirs in (("encoder.features.17.conv.2", "backbone.17.conv.2"), ("aspp0.1", "aspp0.1")):
        assert torch.equal(own[f"{ours}.weight"], stored[f"{theirs}.weight"])
    assert len(network.encoder_parameters()) == len(list(network.parameters())) - 2


def test_its_backbone_serves_other_networks(tmp_path):
    coco_voc(tmp_path)
    network = build(ModelSettings(arch="unet"), 3, 2)
    with pytest.warns(EavesWarning, match=r"5 of 260 tensors.*features.18"):
        loaded = load_encoder(network, str(tmp_path / COCO_VOC_FILE))
    assert loaded.taken == 255
    assert "image_pooling.0.weight" in loaded.skipped
    with pytest.raises(ModelFileError, match="weights for the encoder 'resnet18'"):
        load_encoder(
            build(ModelSettings(arch="unet", options={"encoder": "resnet18"}), 3, 2), str(tmp_path / COCO_VOC_FILE)
        )


@pytest.mark.parametrize("folder", [None, "empty"])
def test_without_its_file_the_name_of_it_is_told(tmp_path, monkeypatch, folder):
    monkeypatch.delenv("EAVES_WEIGHTS", raising=False)
    if folder:
        monkeypatch.setenv("EAVES_WEIGHTS", str(tmp_path))
    with pytest.raises(ModelFileError, match=f"{COCO_VOC_FILE} in the folder.*EAVES_WEIGHTS"):
        load_encoder(build(ModelSettings(arch="deeplabv3lite"), 3, 2), "coco-voc")


def test_segnet_takes_vggs_convolutions(tmp_path):
    torch.manual_seed(0)
    state = torchvision.models.vgg16_bn().features.state_dict()
    save_file({f"features.{key}": value for key, value in state.items()}, tmp_path / "vgg16_bn.safetensors")
    network = build(ModelSettings(arch="segnet"), 3, 2)
    loaded = load_encoder(network, str(tmp_path / "vgg16_bn.safetensors"))
    assert (loaded.skipped, loaded.missing) == ((), ())
    assert torch.equal(network.state_dict()["encoder.features.40.weight"], state["40.weight"])
    assert len(network.encoder_parameters()) == 13 * 4
