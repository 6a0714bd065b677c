"""The contract of networks that find objects, and what is Mask R-CNN's own."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import FrozenBatchNorm2d, box_iou

from eaves.errors import SettingsError
from eaves.labels import UNKNOWN
from eaves.models import MODELS, InstanceNetwork, build, objects_of
from eaves.models.maskrcnn import MaskRcnn
from eaves.models.proposals import _hidden
from eaves.settings import ModelSettings

INSTANCES = [name for name, kind in MODELS.items() if issubclass(kind, InstanceNetwork)]
SMALL = {"encoder": "resnet18", "width": 16, "head_width": 32, "norm": "batch"}


@pytest.fixture(scope="module", params=INSTANCES)
def arch(request) -> str:
    return request.param


def make(arch="maskrcnn", bands=3, classes=2, **options) -> InstanceNetwork:
    torch.manual_seed(0)
    network = build(ModelSettings(arch=arch, options={**SMALL, **options}), bands, classes)
    assert isinstance(network, InstanceNetwork)
    return network


@pytest.fixture(scope="module")
def network(arch) -> InstanceNetwork:
    return make(arch).eval()


def chip(side=96, classes=2):
    """A chip with three squares, the last one of the last class, and a corner where nothing is known."""
    mask = torch.zeros(side, side, dtype=torch.uint8)
    numbers = torch.zeros(side, side, dtype=torch.int32)
    for number, (row, col) in enumerate([(8, 8), (8, 30), (50, 40)], 1):
        mask[row : row + 20, col : col + 20] = classes - 1 if number == 3 else 1
        numbers[row : row + 20, col : col + 20] = number
    mask[-16:, -16:] = UNKNOWN
    return mask, numbers


def test_any_size_gives_objects_inside_it(network):
    @settings(deadline=None, max_examples=6)
    @given(n=st.integers(1, 2), height=st.integers(1, 80), width=st.integers(1, 80))
    def holds(n: int, height: int, width: int) -> None:
        with torch.inference_mode():
            found = network.detect(torch.randn(n, 3, height, width), 0.3)
        assert len(found) == n
        for one in found:
            assert one.boxes.shape == (len(one.scores), 4)
            assert one.masks.shape == (len(one.scores), 28, 28)
            assert ((one.masks >= 0) & (one.masks <= 1)).all()
            assert (one.scores[1:] <= one.scores[:-1]).all()
            assert (one.scores >= 0.3).all()
            assert (one.classes == 1).all()
            limits = torch.tensor([width, height, width, height])
            assert ((one.boxes >= -1e-4) & (one.boxes <= limits + 1e-4)).all()

    holds()


def test_losses_are_finite_and_reach_every_weight(arch):
    network = make(arch, classes=3).train()
    mask, numbers = chip(classes=3)
    terms = network(torch.randn(2, 3, 96, 96), [objects_of(mask, numbers)] * 2)
    assert tuple(terms) == network.terms
    assert all(torch.isfinite(value) and value >= 0 for value in terms.values())
    torch.stack(list(terms.values())).sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_losses_of_nothing_known_are_nothing(arch):
    network = make(arch).train()
    mask = torch.full((64, 64), UNKNOWN, dtype=torch.uint8)
    terms = network.losses(torch.randn(1, 3, 64, 64), [objects_of(mask, torch.zeros(64, 64))])
    loss = torch.stack(list(terms.values())).sum()
    assert loss == 0
    loss.backward()
    assert all(not p.grad.any() for p in network.parameters() if p.grad is not None)


def test_a_chip_without_objects_still_teaches_what_none_looks_like(arch):
    network = make(arch).train()
    terms = network.losses(
        torch.randn(1, 3, 64, 64), [objects_of(torch.zeros(64, 64, dtype=torch.uint8), torch.zeros(64, 64))]
    )
    assert terms["proposal"] > 0
    assert terms["class"] > 0
    assert terms["box"] == terms["mask"] == terms["proposal_box"] == 0


def test_losses_in_evaluation_change_no_statistic(network):
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with torch.no_grad():
        network.losses(torch.randn(1, 3, 96, 96), [objects_of(*chip())])
    assert not network.rpn.training
    assert not network.roi_heads.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_a_copy_and_a_pickle_are_the_same_network(network):
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = network(image)[0]
        for twin in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
            found = twin(image)[0]
            assert torch.equal(found.boxes, expected.boxes)
            assert torch.equal(found.masks, expected.masks)


def test_a_small_network_learns_its_squares():
    """Some steps on one chip: the loss falls by half, and what it is sure of is there."""
    network = make(norm="batch", anchor_sizes=[8, 16, 32, 64, 128]).train()
    mask, numbers = chip()
    image = (mask == 1).float().expand(2, 3, -1, -1) + 0.1 * torch.randn(2, 3, 96, 96)
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    began = 0.0
    for step in range(80):
        loss = torch.stack(list(network.losses(image, [objects_of(mask, numbers)] * 2).values())).sum()
        began = float(loss.detach()) if step == 0 else began
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.5 * began
    with torch.no_grad():
        network.train()  # statistics of the batch, which so few steps have not averaged yet
        found = network.detect(image, 0.05)[0]
    truth = objects_of(mask, numbers).boxes
    assert box_iou(found.boxes[:1], truth).max() > 0.5
    assert found.masks[0].mean() > 0.6


# --- objects of a chip ------------------------------------------------------------------------------------------------


def test_objects_of_a_chip():
    mask, numbers = chip(classes=3)
    objects = objects_of(mask, numbers)
    assert objects.boxes.tolist() == [[8, 8, 28, 28], [30, 8, 50, 28], [40, 50, 60, 70]]
    assert objects.classes.tolist() == [1, 1, 2]
    assert objects.masks.sum(dim=(1, 2)).tolist() == [400, 400, 400]
    assert int(objects.unknown.sum()) == 256


def test_what_is_too_small_is_unknown():
    mask = torch.zeros(8, 8, dtype=torch.uint8)
    mask[2, 1:6] = 1
    objects = objects_of(mask, mask)
    assert len(objects.boxes) == 0
    assert objects.unknown.sum() == 5


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 999))
def test_a_box_is_hidden_where_most_of_it_is_unknown(seed):
    generator = torch.Generator().manual_seed(seed)
    unknown = torch.rand(20, 24, generator=generator) < 0.6
    corner = torch.randint(-5, 20, (12, 2), generator=generator)
    boxes = torch.cat([corner, corner + torch.randint(1, 9, (12, 2), generator=generator)], dim=1)
    hidden = _hidden(boxes.float() - 0.5, unknown)
    for box, told in zip(boxes.tolist(), hidden.tolist(), strict=True):
        part = unknown[max(0, box[1]) : max(0, box[3]), max(0, box[0]) : max(0, box[2])]
        assert told == (part.numel() > 0 and int(part.sum()) > 0.5 * part.numel())


# --- options ----------------------------------------------------------------------------------------------------------


def test_the_sources_anchors_are_the_default_and_can_be_others():
    assert MaskRcnn(3, 2, **SMALL).rpn.anchor_generator.sizes == ((16,), (32,), (64,), (128,), (256,))
    blue = make(anchor_sizes=[32, 64, 128, 256, 512], aspect_ratios=[1.0])
    assert blue.rpn.anchor_generator.sizes[-1] == (512,)
    with torch.inference_mode():
        blue.eval()(torch.zeros(1, 3, 64, 64))


def test_nothing_is_resized_and_caps_grow_with_the_image():
    network = make(detections_per_mpx=10_000).eval()
    seen = []
    network.encoder.register_forward_pre_hook(lambda _, image: seen.append(tuple(image[0].shape)))
    with torch.inference_mode():
        network(torch.zeros(1, 3, 60, 100))
        caps = network.roi_heads.cap, network.rpn.cap
        network(torch.zeros(1, 3, 200, 200))
    assert seen == [(1, 3, 64, 128), (1, 3, 224, 224)]
    assert caps == (100, 200)  # at least
    assert (network.roi_heads.cap, network.rpn.cap) == (400, 800)


def test_a_cap_that_cuts_off_is_told():
    network = make(detections_per_mpx=1).eval()
    with torch.inference_mode():
        found = network.detect(torch.randn(1, 3, 256, 256), 0.01)[0]
    assert len(found.scores) == 100
    assert found.capped
    network.choose(detections_per_mpx=1e6)
    with torch.inference_mode():
        assert not network.detect(torch.randn(1, 3, 64, 64), 0.01)[0].capped


def test_what_was_seen_before_does_not_change_what_is_seen(arch):
    image, small = torch.randn(1, 3, 128, 128), torch.randn(1, 3, 40, 40)
    fresh, used = make(arch).eval(), make(arch).eval()
    with torch.inference_mode():
        used.detect(small)  # padded by more than half: its size says little of the levels' scales
        assert torch.equal(used.detect(image)[0].scores, fresh.detect(image)[0].scores)


def test_a_place_has_its_proposals_whatever_lies_elsewhere():
    """The best of each cell go on: a town beside it does not take a farm's."""
    network = make(detections_per_mpx=300.0).eval()
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(1, 4000, 2, generator=generator) * torch.tensor([500.0, 240.0])
    boxes = torch.cat([corner, corner + 12], dim=-1)
    quiet = torch.randn(1, 4000, 1, generator=generator)
    loud = quiet + 9.0 * (boxes[..., :1] > 256)  # the right half only
    network.rpn.cap = 200

    def left(logits):
        [[found], _] = network.rpn.filter_proposals(boxes, logits, [(256, 512)], [4000])
        return {tuple(box) for box in found[found[:, 2] < 256].tolist()}

    assert len(left(quiet)) > 50
    assert left(loud) == left(quiet)


def test_pinning_allows_twice_the_densest_chip_unless_told_otherwise():
    network = make()
    assert network.pin(812.5) == {"detections_per_mpx": 1625.0}
    assert network.pin(3.0) == {}
    assert make(detections_per_mpx=7.0).pin(812.5) == {}


def test_suppression_can_be_switched_without_touching_a_weight():
    image, found = torch.randn(1, 3, 128, 128), {}
    for nms in ("hard", "gaussian", "linear"):
        built = make(nms=nms, detections_per_mpx=1e6).eval()
        switched = make(detections_per_mpx=1e6).eval()
        switched.choose(nms)
        with torch.inference_mode():
            found[nms] = built.detect(image, 0.2)[0]
            assert torch.equal(switched.detect(image, 0.2)[0].scores, found[nms].scores)
    best = [each.scores[0] for each in found.values()]
    assert best == [best[0]] * 3  # nothing lowers the best
    assert len({len(each.scores) for each in found.values()}) == 3


def test_soft_proposals_are_an_option():
    with torch.inference_mode():
        make(nms="linear", soft_stage="rpn").eval()(torch.randn(1, 3, 64, 64))


def test_frozen_statistics_stay_and_need_somebodys():
    network = make(norm="frozen")
    assert network.needs_pretrained
    assert not make(norm="batch").needs_pretrained
    norms = [module for module in network.encoder.modules() if isinstance(module, FrozenBatchNorm2d)]
    assert len(norms) == 20
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize("encoder", ["resnet50", "mobilenet_v2", "tu-tf_efficientnet_lite0"])
def test_other_encoders_fit(encoder):
    with torch.inference_mode():
        make(encoder=encoder, pyramid="multi-path").eval()(torch.zeros(1, 3, 64, 64))


def test_a_larger_mask_is_an_option():
    with torch.inference_mode():
        found = make(mask_px=56).eval().detect(torch.randn(1, 3, 64, 64), 0.01)[0]
    assert found.masks.shape[1:] == (56, 56)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"fusion": "concat"}, "multi-path"),
        ({"soft_stage": "rpn"}, "leave soft_stage out"),
        ({"anchor_sizes": [8, 16]}, "five anchor_sizes"),
        ({"aspect_ratios": []}, "at least one of aspect_ratios"),
        ({"nms": "soft"}, "nms"),
        ({"mask_px": 27}, "mask_px"),
        ({"encoder": "tu-vit_base_patch16_224"}, "encoder"),
    ],
)
def test_options_that_cannot_be_are_refused(options, told):
    with pytest.raises(SettingsError, match=told):
        make(**options)


def test_choices_that_cannot_be_are_refused():
    for choice in ({"nms": "soft"}, {"detections_per_mpx": 0}):
        with pytest.raises(SettingsError):
            make().choose(**choice)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_finds_what_a_cpu_finds():
    network, image = make().eval(), torch.randn(1, 3, 128, 128)
    with torch.inference_mode():
        ours = network.detect(image, 0.3)[0]
        theirs = network.cuda().detect(image.cuda(), 0.3)[0]
    assert abs(len(ours.scores) - len(theirs.scores)) <= 2
    torch.testing.assert_close(theirs.scores[:5].cpu(), ours.scores[:5], rtol=1e-2, atol=1e-3)


def test_bf16_is_as_good_as_fp32_but_for_rounding():
    network = make().train()
    image, objects = torch.randn(1, 3, 96, 96), [objects_of(*chip())]
    with torch.autocast("cpu", torch.bfloat16):
        terms = network.losses(image, objects)
        torch.stack([value.float() for value in terms.values()]).sum().backward()
        found = network.eval().detect(image, 0.01)[0]
    assert found.boxes.dtype == found.scores.dtype == found.masks.dtype == torch.float32
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
