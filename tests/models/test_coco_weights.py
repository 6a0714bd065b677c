"""torchvision's Mask R-CNN, trained on COCO, as a start: from a file, from the hub, old names and new."""

from __future__ import annotations

import functools
import http.server
import re
import threading

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from eaves.errors import EavesWarning, ModelFileError, SettingsError
from eaves.models import build, load_encoder, save_model
from eaves.settings import ModelSettings


def theirs():
    torch.manual_seed(3)
    return torchvision.models.detection.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None).eval()


def ours(classes=2, **options):
    torch.manual_seed(4)
    return build(ModelSettings(arch="maskrcnn", options={"encoder": "resnet50", **options}), 3, classes).eval()


@pytest.fixture(scope="module")
def checkpoint() -> dict[str, torch.Tensor]:
    return {key: value for key, value in theirs().state_dict().items() if "num_batches" not in key}


def aged(key: str) -> str:
    """The names that torchvision's published file still has."""
    key = re.sub(r"^(backbone\.fpn\.\w+_blocks\.\d)\.0\.", r"\1.", key)
    key = key.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
    return re.sub(r"mask_head\.(\d)\.0\.", lambda found: f"mask_head.mask_fcn{int(found[1]) + 1}.", key)


@pytest.mark.parametrize("old", [False, True])
def test_all_but_the_classes_is_taken_and_the_rest_is_listed(tmp_path, monkeypatch, checkpoint, old):
    stored = {aged(key): value for key, value in checkpoint.items()} if old else checkpoint
    assert (stored.keys() == checkpoint.keys()) is not old
    save_file(stored, tmp_path / "maskrcnn_resnet50_fpn.safetensors")
    monkeypatch.setenv("EAVES_WEIGHTS", str(tmp_path))
    network = ours()
    with pytest.warns(EavesWarning, match=r"tensors of encoder and pyramid and rpn and roi_heads.*start at random"):
        loaded = load_encoder(network, "coco")
    assert loaded.taken + len(loaded.skipped) == len(checkpoint)
    names = {name.partition(" ")[0] for name in loaded.skipped}
    assert {name.split(".")[-2] for name in names} == {"cls_score", "bbox_pred", "mask_fcn_logits"}
    assert loaded.credit is not None
    assert "COCO" in loaded.credit
    assert network.mean == (0.485, 0.456, 0.406)
    state = network.state_dict()
    assert torch.equal(state["encoder.layer3.2.conv2.weight"], checkpoint["backbone.body.layer3.2.conv2.weight"])
    assert torch.equal(state["pyramid.layer_blocks.1.0.bias"], checkpoint["backbone.fpn.layer_blocks.1.0.bias"])
    assert torch.equal(state["roi_heads.mask_head.3.0.weight"], checkpoint["roi_heads.mask_head.3.0.weight"])
    waits = {id(p) for p in network.encoder_parameters()}
    assert waits == {id(p) for p in network.get_submodule("encoder").parameters()}  # heads learn from the first step


def test_with_all_of_its_weights_it_is_torchvisions_network(tmp_path, checkpoint):
    """The same boxes, scores and masks, but for the half pixel by which the two count differently."""
    save_file(checkpoint, tmp_path / "w.safetensors")
    side, caps = 256, {"detections_per_mpx": 3814.0, "proposals_per_mpx": 1e6}  # all of them
    network = ours(91, anchor_sizes=[32, 64, 128, 256, 512], **caps)
    assert load_encoder(network, str(tmp_path / "w.safetensors")).skipped == ()
    reference = theirs()
    reference.transform.min_size, reference.transform.max_size = (side,), side
    reference.roi_heads.detections_per_img, reference.roi_heads.score_thresh = 250, 0.005
    reference.rpn._pre_nms_top_n = reference.rpn._post_nms_top_n = {"training": 70_000, "testing": 70_000}
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (network.mean, network.std))
    with torch.inference_mode():
        [found] = network.detect((image - mean) / std, 0.005)
        features = reference.backbone(reference.transform([image[0]])[0].tensors)
        images = reference.transform([image[0]])[0]
        boxes, _ = reference.rpn(images, features)
        [expected], _ = reference.roi_heads(features, boxes, images.image_sizes)
    assert network.roi_heads.cap == 250
    # At the image's edge ours end where its pixels do, half a pixel beyond their centres; there the two may differ.
    inside = torch.nonzero(((expected["boxes"] > 1) & (expected["boxes"] < side - 1)).all(dim=1))[:, 0]
    distance, same = torch.cdist(expected["boxes"][inside], found.boxes - 0.5).min(dim=1)
    there = distance < 0.02
    assert there.float().mean() > 0.7  # of random boxes on top of each other, some lose to one at the edge
    inside, same = inside[there], same[there]
    torch.testing.assert_close(found.scores[same], expected["scores"][inside], rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(found.masks[same], expected["masks"][inside, 0], rtol=1e-3, atol=1e-3)


def test_the_multi_path_pyramid_takes_what_fits(tmp_path, checkpoint):
    save_file(checkpoint, tmp_path / "w.safetensors")
    network = ours(pyramid="multi-path")
    with pytest.warns(EavesWarning, match="pyramid.down.1.0.weight|start at random"):
        loaded = load_encoder(network, str(tmp_path / "w.safetensors"))
    assert "pyramid.layer_blocks.0.0.weight" in loaded.skipped
    assert "pyramid.inner_blocks.3.0.weight" in network.pretrained


def test_a_segmentation_network_takes_the_encoder(tmp_path, checkpoint):
    save_file(checkpoint, tmp_path / "w.safetensors")
    network = build(ModelSettings(arch="unet", options={"encoder": "resnet50"}), 3, 2)
    loaded = load_encoder(network, str(tmp_path / "w.safetensors"))
    assert loaded.missing == ()
    assert {key.partition(".")[0] for key in network.pretrained} == {"encoder"}


def test_a_model_file_of_its_own_kind_fills_it(tmp_path, card):
    small = {"encoder": "resnet18", "width": 16, "head_width": 32, "norm": "batch"}
    model = ModelSettings(arch="maskrcnn", options=small)
    target = card.recipe.target.model_copy(update={"kind": "instances"})
    recipe = card.recipe.model_copy(update={"model": model, "target": target})
    network = build(model, 3, 2)
    save_model(tmp_path / "m.safetensors", network, card.model_copy(update={"recipe": recipe}))
    other = build(model, 3, 2)
    loaded = load_encoder(other, str(tmp_path / "m.safetensors"))
    assert (loaded.skipped, loaded.missing) == ((), ())
    assert all(torch.equal(a, b) for a, b in zip(other.parameters(), network.parameters(), strict=True))


def test_another_encoder_is_refused():
    with pytest.raises(SettingsError, match="encoder = 'resnet50'"):
        load_encoder(ours(encoder="resnet101"), "coco")


# --- the hub, on this machine -----------------------------------------------------------------------------------------


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A server in the place of torchvision's; its folder, and a way to name a file in it."""
    folder = tmp_path / "hub"
    folder.mkdir()
    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("EAVES_WEIGHTS", "")

    def serve(name):
        value = type("W", (), {"url": f"http://127.0.0.1:{server.server_port}/{name}"})
        weights = type("E", (), {"COCO_V1": value})
        monkeypatch.setattr(torchvision.models.detection, "MaskRCNN_ResNet50_FPN_Weights", weights)
        return folder / name

    yield serve
    server.shutdown()
    server.server_close()


def test_the_hub_is_asked_where_no_file_is_here(hub, checkpoint):
    import hashlib

    file = hub("w.pth")
    torch.save(checkpoint, file)
    mark = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    named = hub(f"maskrcnn-{mark}.pth")
    file.rename(named)
    with pytest.warns(EavesWarning, match="start at random"):
        loaded = load_encoder(ours(), "coco")
    assert loaded.source == "hub"
    assert loaded.taken > 300


def test_a_damaged_download_and_no_answer_are_told(hub, checkpoint):
    file = hub("maskrcnn-00000000.pth")
    torch.save({}, file)
    with pytest.raises(ModelFileError, match="invalid hash value"):
        load_encoder(ours(), "coco")
    hub("nothing-00000001.pth")
    with pytest.raises(ModelFileError, match=r"HTTPError.*maskrcnn_resnet50_fpn.safetensors"):
        load_encoder(ours(), "coco")
