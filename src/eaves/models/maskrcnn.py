"""Mask R-CNN, and the improved one: a pyramid of several paths, and Soft-NMS."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Literal, cast

from pydantic import Field
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign
from torchvision.ops.poolers import initLevelMapper

from eaves.errors import SettingsError
from eaves.models.encoders import make_encoder
from eaves.models.instances import Detections, InstanceNetwork, Objects
from eaves.models.proposals import CELL_PX, Heads, Proposals, Suppressor, nothing
from eaves.models.pyramid import Fusion, make_pyramid
from eaves.models.soft_nms import Suppression, check_method

_LEVELS = ("0", "1", "2", "3")  # torchvision's names of P2 … P5
_BOX_PX, _MASK_LAYERS = 7, 4
_DEEPEST = 32  # stride of the deepest features
_UNPINNED_PER_MPX = 2000.0  # detections, where no data have told: a roof of 7 x 7 m in every such square at 0.3 m
_LEAST = 100
_HALF = 0.5


class MaskRcnn(InstanceNetwork):
    """Mask R-CNN of torchvision's parts, on any encoder with features of strides 4 to 32.

    Encoder → pyramid P2 … P5 → proposals from anchors of one size a level (P6 is a pooled P5, for proposals alone) →
    RoIAlign 7 x 7, two layers → class and box; RoIAlign 14 x 14, four 3 x 3 convolutions, a transposed one → mask 28 x
    28. The image is taken at its own size: nothing is resized.

    Defaults are the plain network of the county-scale source: ``pyramid="multi-path"`` and ``nms="gaussian"``, each by
    itself, are the improvements of the blue-roof source.

    The caps on detections and proposals are densities, so that they grow with the image; training sets them from its
    densest chip where the recipe leaves them out.

    Source: He et al. 2017, arXiv:1703.06870; the improved one, the source in :mod:`eaves.models.pyramid`, section 2.2;
    Soft-NMS, :mod:`eaves.models.soft_nms`. The 200 regions a step, a third of them objects, are those of the widely
    used Keras implementation.

    Args:
        in_channels: Bands of the input.
        classes: Classes, the background included.
        encoder: Name in segmentation-models-pytorch; the sources' is ``resnet101``.
        stride_in_1x1: As in :func:`eaves.models.encoders.make_encoder`.
        norm: Batch normalisation of the encoder: ``frozen`` keeps pretrained statistics, so that one image a step is
            enough; ``batch`` learns them, which needs larger batches.
        pyramid: ``fpn`` or ``multi-path``.
        fusion: How maps are merged in ``multi-path``: ``sum``, ``weighted`` or ``concat``.
        width: Channels of the pyramid and the mask head.
        head_width: Of the two layers of the box head.
        anchor_sizes: Sides of square anchors in pixels, one for each of P2 … P6.
        aspect_ratios: Height to width of anchors.
        mask_px: Side of a mask; an even number.
        regions: Proposals that the heads learn from, an image.
        nms: ``hard``, or ``gaussian`` or ``linear`` Soft-NMS, on final detections.
        nms_iou: From which ``hard`` drops a box.
        soft_sigma: Of ``gaussian``.
        soft_iou: From which ``linear`` lowers scores.
        soft_stage: ``final``, or ``rpn`` to choose among proposals that way too, which passes very many of them.
        detections_per_mpx: Cap on detections in a million pixels, at least 100 an image; none lets training set it.
        proposals_per_mpx: The same for proposals, at least 200; none is twice that of detections. More find a little
            more, and each costs its share of the heads' time.

    Raises:
        SettingsError: The encoder has other strides, anchors are not five, or options contradict each other.

    Example:
        >>> import torch
        >>> network = MaskRcnn(3, 2, encoder="resnet18", width=32, head_width=64).eval()
        >>> [found] = network(torch.zeros(1, 3, 64, 96))
        >>> found.masks.shape[1:]
        torch.Size([28, 28])
    """

    stride = CELL_PX  # a multiple of the deepest features'
    halo_px = 128
    parts = ("encoder", "pyramid", "rpn", "roi_heads")
    terms = ("proposal", "proposal_box", "class", "box", "mask")

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        encoder: str = "resnet50",
        stride_in_1x1: bool = False,
        norm: Literal["frozen", "batch"] = "frozen",
        pyramid: Literal["fpn", "multi-path"] = "fpn",
        fusion: Fusion = "sum",
        width: Annotated[int, Field(ge=8)] = 256,
        head_width: Annotated[int, Field(ge=8)] = 1024,
        anchor_sizes: Sequence[Annotated[int, Field(ge=1)]] = (16, 32, 64, 128, 256),
        aspect_ratios: Sequence[Annotated[float, Field(gt=0)]] = (0.5, 1.0, 2.0),
        mask_px: Annotated[int, Field(ge=4, multiple_of=2)] = 28,
        regions: Annotated[int, Field(ge=8)] = 200,
        nms: Suppression = "hard",
        nms_iou: Annotated[float, Field(gt=0, le=1)] = 0.5,
        soft_sigma: Annotated[float, Field(gt=0)] = 0.5,
        soft_iou: Annotated[float, Field(gt=0, le=1)] = 0.3,
        soft_stage: Literal["final", "rpn"] = "final",
        detections_per_mpx: Annotated[float, Field(gt=0)] | None = None,
        proposals_per_mpx: Annotated[float, Field(gt=0)] | None = None,
    ) -> None:
        super().__init__(in_channels, classes)
        _check_options(pyramid, fusion, nms, soft_stage, anchor_sizes, aspect_ratios)
        self.encoder_name = encoder
        self.encoder, channels = make_encoder(encoder, in_channels, stride_in_1x1=stride_in_1x1)
        if len(channels) != 6:
            raise SettingsError(
                "an encoder with features of strides 2 to 32", f"{encoder!r}", "use resnet50, resnet101 or mobilenet_v2"
            )
        if norm == "frozen":
            _freeze_norms(self.encoder)
        self.norm = norm
        self.pyramid = make_pyramid(pyramid, channels[-4:], width, fusion)
        ratios = tuple(float(ratio) for ratio in aspect_ratios)
        anchors = AnchorGenerator(tuple((int(size),) for size in anchor_sizes), (ratios,) * len(anchor_sizes))
        soft = {"sigma": soft_sigma, "soft_iou": soft_iou, "min_score": 0.001}
        self.rpn = Proposals(
            anchors,
            RPNHead(width, len(ratios)),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=256,
            positive_fraction=0.5,
            nms_thresh=0.7,
            suppressor=Suppressor(nms if soft_stage == "rpn" else "hard", 0.7, **soft),
        )
        self.roi_heads = Heads(
            _pooler(_BOX_PX),
            TwoMLPHead(width * _BOX_PX**2, head_width),
            FastRCNNPredictor(head_width, classes),
            fg_iou_thresh=0.5,
            bg_iou_thresh=0.5,
            batch_size_per_image=regions,
            positive_fraction=0.33,
            bbox_reg_weights=None,
            score_thresh=0.05,
            nms_thresh=nms_iou,
            detections_per_img=_LEAST,
            mask_roi_pool=_pooler(mask_px // 2),
            mask_head=MaskRCNNHeads(width, (width,) * _MASK_LAYERS, 1),
            mask_predictor=MaskRCNNPredictor(width, width, classes),
            suppressor=Suppressor(nms, nms_iou, **soft),
        )
        # Small at first, whatever the size of the features: else the masks' loss begins ten times as large as the rest.
        for name in ("box_predictor.cls_score", "box_predictor.bbox_pred", "mask_predictor.mask_fcn_logits"):
            layer = cast(nn.Linear | nn.Conv2d, self.roi_heads.get_submodule(name))
            nn.init.normal_(layer.weight, std=0.01 if name.endswith("score") else 0.001)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        self.detections_per_mpx, self.proposals_per_mpx = detections_per_mpx, proposals_per_mpx

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Return the encoder's parameters that started from pretrained weights: what waits while the heads learn.

        Weights of a whole network fill pyramid and heads too, which do not wait.
        """
        named = self.named_parameters()
        return [each for name, each in named if name in self.pretrained and name.startswith("encoder.")]

    @property
    def needs_pretrained(self) -> bool:
        """See :class:`InstanceNetwork`."""
        return self.norm == "frozen"

    def choose(self, nms: Suppression | None = None, detections_per_mpx: float | None = None) -> None:
        """See :meth:`InstanceNetwork.choose`."""
        if nms is not None:
            check_method(nms)
            self.roi_heads.suppressor = self.roi_heads.suppressor._replace(method=nms)
        if detections_per_mpx is not None:
            if not 0 < detections_per_mpx < math.inf:
                raise SettingsError("detections_per_mpx above 0", f"{detections_per_mpx}", "raise it")
            self.detections_per_mpx = detections_per_mpx

    def pin(self, objects_per_mpx: float) -> dict[str, float]:
        """Allow twice the objects of the densest chip, where the options do not say it."""
        if self.detections_per_mpx is not None:
            return {}
        self.detections_per_mpx = float(math.ceil(2 * objects_per_mpx)) or 1.0
        return {"detections_per_mpx": self.detections_per_mpx}

    def losses(self, image: Tensor, objects: list[Objects]) -> dict[str, Tensor]:
        """See :meth:`InstanceNetwork.losses`."""
        targets = [
            {"boxes": each.boxes - _HALF, "labels": each.classes, "masks": each.masks, "unknown": each.unknown}
            for each in objects
        ]
        with self._asked_for(losses=True):
            images, features = self._look(image)
            proposals, first = self.rpn(images, features, targets)
            _, second = self.roi_heads(features, proposals, images.image_sizes, targets)
        heads = second.values() if self.roi_heads.sampled else map(nothing, second.values())
        values = (*first.values(), *heads)
        return dict(zip(self.terms, values, strict=True))

    def detect(self, image: Tensor, min_score: float = 0.05) -> list[Detections]:
        """See :meth:`InstanceNetwork.detect`."""
        self.roi_heads.score_thresh = min_score
        with self._asked_for(losses=False):
            images, features = self._look(image)
            proposals, _ = self.rpn(images, features)
            found, _ = self.roi_heads(features, proposals, images.image_sizes)
        return [
            Detections(
                one["boxes"].float() + _HALF,
                one["scores"].float(),
                one["labels"],
                one["masks"][:, 0].float(),
                capped,
            )
            for one, capped in zip(found, self.roi_heads.capped, strict=True)
        ]

    @contextmanager
    def _asked_for(self, *, losses: bool) -> Iterator[None]:
        """Tell torchvision's parts what is wanted; their ``training`` is the switch for that alone."""
        parts = (self.rpn, self.roi_heads)
        for part in parts:
            part.training = losses
        try:
            yield
        finally:
            for part in parts:
                part.training = self.training

    def _look(self, image: Tensor) -> tuple[ImageList, OrderedDict[str, Tensor]]:
        """The padded image with its own size beside it, and the pyramid's levels; sets the caps."""
        height, width = image.shape[-2:]
        padded = self.padded(image, _DEEPEST)
        mpx = height * width / 1e6
        per_mpx = self.detections_per_mpx or _UNPINNED_PER_MPX
        self.roi_heads.cap = max(_LEAST, math.ceil(per_mpx * mpx))
        self.rpn.cap = max(2 * _LEAST, math.ceil((self.proposals_per_mpx or 2 * per_mpx) * mpx))
        features = self.encoder(padded)[-4:]
        levels = self.pyramid(OrderedDict(zip(_LEVELS, features, strict=True)))
        return ImageList(padded, [(height, width)] * len(image)), levels


def _check_options(
    pyramid: str,
    fusion: str,
    nms: str,
    soft_stage: str,
    anchor_sizes: Sequence[int],
    aspect_ratios: Sequence[float],
) -> None:
    """Refuse options that would do nothing, or have no meaning."""
    if pyramid == "fpn" and fusion != "sum":
        raise SettingsError("pyramid = 'multi-path' with a fusion", f"fusion = {fusion!r} and 'fpn'", "leave it out")
    if nms == "hard" and soft_stage != "final":
        raise SettingsError("nms = 'gaussian' or 'linear' with soft_stage", "nms = 'hard'", "leave soft_stage out")
    if len(anchor_sizes) != len(_LEVELS) + 1 or not aspect_ratios:
        raise SettingsError(
            "five anchor_sizes, one a level, and at least one of aspect_ratios",
            f"{list(anchor_sizes)} and {list(aspect_ratios)}",
            "write anchor_sizes = [16, 32, 64, 128, 256]",
        )


def _pooler(size: int) -> MultiScaleRoIAlign:
    """RoIAlign from P2 … P5. Left to itself it would tell the levels' scales from the first image, by its size."""
    pooler = MultiScaleRoIAlign(list(_LEVELS), output_size=size, sampling_ratio=2)
    pooler.scales = [1 / 4, 1 / 8, 1 / 16, 1 / 32]
    pooler.map_levels = initLevelMapper(2, 5)
    return pooler


def _freeze_norms(encoder: nn.Module) -> None:
    """Replace batch normalisation by one whose statistics and scales stay."""
    for module in list(encoder.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, FrozenBatchNorm2d(child.num_features, child.eps))
