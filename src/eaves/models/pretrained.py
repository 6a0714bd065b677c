"""Pretrained weights for encoders: from a local folder, from the library's hub, or from a file of one's own."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from eaves.errors import EavesWarning, ModelFileError, SettingsError
from eaves.models.build import MODELS
from eaves.models.card import CARD_KEY
from eaves.models.file import read_card
from eaves.models.network import Network
from eaves.models.tensors import read_tensors

FOLDER = "EAVES_WEIGHTS"
COUNTER = "num_batches_tracked"
# Of ImageNet's training images; torchvision's networks, and all others that do not say otherwise, expect them.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGENET_CREDIT = "{encoder}: weights trained on ImageNet, whose terms ask for research use (image-net.org)"

# A published segmentation network, DeepLabV3 on MobileNetV2: its parts are these of ours. Pixels are x / 127.5 - 1.
COCO_VOC = "coco-voc"
COCO_VOC_FILE = "deeplabv3_mobilenet_v2_coco_voc.safetensors"
COCO_VOC_PARTS = {
    "backbone": "encoder.features",
    "image_pooling": "image_pooling",
    "aspp0": "aspp0",
    "concat_projection": "concat_projection",
}
# A published network of instances, Mask R-CNN on ResNet-50: its parts are these of ours.
COCO = "coco"
COCO_FILE = "maskrcnn_resnet50_fpn.safetensors"
COCO_ENCODER = "resnet50"
COCO_PARTS = {"backbone.body": "encoder", "backbone.fpn": "pyramid", "rpn": "rpn", "roi_heads": "roi_heads"}
COCO_CREDIT = (
    "Mask R-CNN with ResNet-50 trained on ImageNet and COCO (torchvision, BSD-3); ImageNet's terms ask for research "
    "use (image-net.org)"
)

COCO_VOC_CREDIT = (
    "DeepLabV3 with MobileNetV2 trained on ImageNet, COCO and PASCAL VOC (tensorflow/models, Apache-2.0); ImageNet's "
    "terms ask for research use (image-net.org)"
)


@dataclass(frozen=True)
class Loaded:
    """What became of pretrained weights.

    Attributes:
        source: Where they came from; ``none`` where nothing was asked for.
        taken: Number of the encoder's tensors that were filled.
        skipped: Tensors of the source that the encoder has no place for, such as a classifier's.
        missing: Tensors of the encoder that the source does not have; they keep their random start.
        credit: What a model that starts from them has to say; None where nothing is known.
    """

    source: str
    taken: int = 0
    skipped: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    credit: str | None = None


def load_encoder(network: Network, weights: str) -> Loaded:
    """Fill a network's encoder with pretrained weights, and tell the network the colours they were trained for.

    ``imagenet`` takes ``<encoder>.safetensors`` (without ``tu-``) from the folder that the environment variable
    ``EAVES_WEIGHTS`` names, where it is there: keys as in torchvision, or as in timm for ``tu-`` encoders. Otherwise
    segmentation-models-pytorch downloads its own. A path takes a safetensors file of such keys, or the encoder of a
    model file of Eaves. Half precision becomes single precision.

    ``coco-voc`` takes ``deeplabv3_mobilenet_v2_coco_voc.safetensors`` from that folder: DeepLabV3 on MobileNetV2,
    trained on ImageNet, COCO and PASCAL VOC. It fills all of ``deeplabv3lite`` but the logits, and the encoder of other
    networks on ``mobilenet_v2``. A path to that file is told by its keys (``concat_projection.``, …).

    ``coco`` takes torchvision's Mask R-CNN on ResNet-50, trained on COCO: ``maskrcnn_resnet50_fpn.safetensors`` from
    that folder, else torchvision's hub. It fills all of ``maskrcnn`` with ``resnet50`` but what tells COCO's classes
    apart, and the encoder of other networks on it. A path to such a file is told by its keys (``roi_heads.``, …), older
    ones too. A model file of Eaves fills as much of a network of its own architecture.

    The first convolution of 3 bands is fitted to others: with more, the first three keep their weights and the rest
    get the three's mean; with fewer, each gets the mean; all are then scaled by ``3 / bands``, so that activations
    keep their size. The network's ``mean`` and ``std`` are fitted the same way, without the scaling.

    Args:
        network: Changed in place: its weights, ``pretrained``, ``mean`` and ``std``.
        weights: ``none``, ``imagenet``, ``coco``, ``coco-voc``, or a path.

    Returns:
        What was taken, what not, and whom to credit.

    Raises:
        SettingsError: The network has no encoder, or nobody publishes weights for it.
        ModelFileError: The file is missing, damaged, or has nothing for this encoder; or the hub cannot be reached.

    Example:
        >>> network = build(ModelSettings(arch="unet"), in_channels=3, classes=2)  # doctest: +SKIP
        >>> load_encoder(network, "imagenet").taken  # doctest: +SKIP
        260
    """
    if weights == "none":
        return Loaded("none")
    name = network.encoder_name
    if name is None:
        raise SettingsError(
            f"encoder_weights = 'none' for {type(network).__name__}",
            repr(weights),
            "leave encoder_weights out, or take an architecture with an encoder, such as deeplabv3plus or unet",
            because="it has no encoder that others have trained",
        )
    found = _find(network, name, weights)
    taken, skipped, missing = _fill(network, found.tensors, found.parts)
    if not taken:
        raise ModelFileError(
            f"weights for the encoder {name!r} ({_some(missing)})",
            f"{found.source}, which has none of them ({_some(skipped)})",
            "name a file for this encoder, or the encoder of this file",
        )
    if missing:
        warnings.warn(
            f"{len(missing)} of {len(taken) + len(missing)} tensors of {' and '.join(found.parts)} ({name!r}) are not "
            f"in {found.source} and start at random: {_some(missing)}",
            EavesWarning,
            stacklevel=2,
        )
    network.mean, network.std = _each(found.mean, network.in_channels), _each(found.std, network.in_channels)
    network.pretrained = frozenset(taken)
    return Loaded(found.source, len(taken), tuple(skipped), tuple(missing), found.credit)


@dataclass(frozen=True)
class _Found:
    """Weights under the network's own names, where it has a place for them; ``parts`` is what they are for."""

    source: str
    tensors: dict[str, Tensor]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    credit: str | None = None
    parts: tuple[str, ...] = ("encoder",)


def _find(network: Network, name: str, weights: str) -> _Found:
    folder = os.environ.get(FOLDER, "")
    if weights == COCO_VOC:
        if not folder or not (Path(folder) / COCO_VOC_FILE).is_file():
            raise ModelFileError(
                f"{COCO_VOC_FILE} in the folder that the environment variable {FOLDER} names",
                repr(folder) if folder else "no such variable",
                "put the file there, or give its path as encoder_weights",
                because="no hub has it as safetensors",
            )
        return _from_file(network, name, Path(folder) / COCO_VOC_FILE)
    if weights == COCO:
        if name != COCO_ENCODER:
            raise SettingsError(
                f"options.encoder = {COCO_ENCODER!r} for encoder_weights = {COCO!r}", repr(name), "use 'imagenet'"
            )
        local = Path(folder) / COCO_FILE
        if folder and local.is_file():
            return _from_file(network, name, local)
        return _mask_rcnn(network, _coco_from_hub(), "hub")
    if weights != "imagenet":
        return _from_file(network, name, Path(weights))
    credit = IMAGENET_CREDIT.format(encoder=name)
    local = Path(folder) / f"{name.removeprefix('tu-')}.safetensors"
    if folder and local.is_file():
        return replace(_from_file(network, name, local), credit=credit)
    tensors, mean, std = _from_hub(name)
    return _Found("hub", _prefixed("encoder", tensors), mean, std, credit)


def _from_file(network: Network, name: str, path: Path) -> _Found:
    tensors, metadata = read_tensors(path)
    if CARD_KEY in metadata:
        scaling = read_card(path).scaling
        parts = network.parts if read_card(path).recipe.model.arch in _names_of(network) else ("encoder",)
        inside = {key: value for key, value in tensors.items() if key.startswith(tuple(f"{part}." for part in parts))}
        return _Found(str(path), inside, scaling.mean, scaling.std, parts=parts)
    if "concat_projection.0.weight" in tensors:
        renamed = {_rename(key): value for key, value in tensors.items()}
        return _Found(str(path), renamed, (0.5,), (0.5,), COCO_VOC_CREDIT, tuple(COCO_VOC_PARTS.values()))
    if any(key.startswith("roi_heads.") for key in tensors):
        return _mask_rcnn(network, tensors, str(path))
    if not name.startswith("tu-"):
        return _Found(str(path), _prefixed("encoder", tensors), IMAGENET_MEAN, IMAGENET_STD)
    import timm

    expected = timm.get_pretrained_cfg(name.removeprefix("tu-"))
    mean, std = (expected.mean, expected.std) if expected else (IMAGENET_MEAN, IMAGENET_STD)
    own = network.get_submodule("encoder").state_dict()
    # Where timm cuts a network into features, a layer ``blocks.3`` can become ``blocks_3``.
    flat = {key: re.sub(r"^(\w+)\.(\d+)\.", r"\1_\2.", key) for key in tensors}
    found = {flat[key] if f"model.{flat[key]}" in own else key: value for key, value in tensors.items()}
    return _Found(str(path), _prefixed("encoder.model", found), tuple(mean), tuple(std))


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{key}": value for key, value in tensors.items()}


def _rename(key: str) -> str:
    part, _, rest = key.partition(".")
    return f"{COCO_VOC_PARTS.get(part, part)}.{rest}"


def _mask_rcnn(network: Network, tensors: Mapping[str, Tensor], source: str) -> _Found:
    """Torchvision's Mask R-CNN under our names; those of its first years are brought up to date."""
    renamed = {}
    for key, value in tensors.items():
        key = re.sub(r"^(backbone\.fpn\.\w+_blocks\.\d)\.(weight|bias)$", r"\1.0.\2", key)
        key = re.sub(r"^rpn\.head\.conv\.(weight|bias)$", r"rpn.head.conv.0.0.\1", key)
        key = re.sub(
            r"^(roi_heads\.mask_head)\.mask_fcn(\d)\.", lambda found: f"{found[1]}.{int(found[2]) - 1}.0.", key
        )
        part = next((part for part in COCO_PARTS if key.startswith(f"{part}.")), None)
        renamed[key if part is None else COCO_PARTS[part] + key.removeprefix(part)] = value
    return _Found(source, renamed, IMAGENET_MEAN, IMAGENET_STD, COCO_CREDIT, network.parts)


def _coco_from_hub() -> dict[str, Tensor]:
    from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

    url = MaskRCNN_ResNet50_FPN_Weights.COCO_V1.url
    try:
        return torch.hub.load_state_dict_from_url(url, progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise ModelFileError(
            f"COCO weights of Mask R-CNN from {url}",
            f"no answer ({type(error).__name__}: {str(error).splitlines()[0]})",
            f"connect to the network once, or put {COCO_FILE} into a folder and name that folder in the environment "
            f"variable {FOLDER}",
        ) from error


def _names_of(network: Network) -> list[str]:
    """Architectures of a recipe that build networks of this kind."""
    return [arch for arch, kind in MODELS.items() if kind is type(network)]


def _from_hub(name: str) -> tuple[dict[str, Tensor], tuple[float, ...], tuple[float, ...]]:
    from huggingface_hub.errors import HfHubHTTPError
    from segmentation_models_pytorch import encoders

    try:
        # timm's encoders know their weights by a truth value, the library's own by a name.
        encoder = encoders.get_encoder(name, weights=True if name.startswith("tu-") else "imagenet")
        expected = encoders.get_preprocessing_params(name, pretrained="imagenet")
    except (KeyError, RuntimeError, ValueError) as error:
        raise SettingsError(
            f"an encoder that has published ImageNet weights for encoder_weights = 'imagenet' ({error})",
            repr(name),
            "choose another encoder, or set encoder_weights to 'none' or to a file",
        ) from error
    except (OSError, HfHubHTTPError) as error:
        raise ModelFileError(
            f"ImageNet weights of {name!r} from the hub",
            f"no answer ({type(error).__name__}: {str(error).splitlines()[0]})",
            f"connect to the network once, or put {name.removeprefix('tu-')}.safetensors into a folder and name that "
            f"folder in the environment variable {FOLDER}",
        ) from error
    return encoder.state_dict(), tuple(expected["mean"]), tuple(expected["std"])


def _fill(
    network: nn.Module, tensors: Mapping[str, Tensor], parts: tuple[str, ...]
) -> tuple[list[str], list[str], list[str]]:
    """Copy what fits into ``network``; return the keys taken, and the keys skipped and missing without ``encoder.``."""
    own = network.state_dict()
    first = next((key for key, value in own.items() if key.startswith("encoder.") and value.ndim == 4), None)
    taken, skipped = [], []
    with torch.no_grad():
        for key, value in tensors.items():
            if key == first:
                value = _fit_bands(value.float(), own[key].shape[1])
            if key not in own:
                skipped.append(key.removeprefix("encoder."))
            elif own[key].shape != value.shape:
                skipped.append(f"{key.removeprefix('encoder.')} {tuple(value.shape)}")
            else:
                own[key].copy_(value)
                taken.append(key)
    # Files for inference leave out the counters of batch normalisation.
    wanted = (key for key in own if key.startswith(tuple(f"{part}." for part in parts)))
    missing = [key.removeprefix("encoder.") for key in wanted if key not in set(taken) and not key.endswith(COUNTER)]
    return taken, skipped, missing


def _fit_bands(weight: Tensor, bands: int) -> Tensor:
    """Fit ``(out, 3, kh, kw)`` to ``(out, bands, kh, kw)``."""
    have = weight.shape[1]
    if have == bands or have != 3:
        return weight
    kept = weight if bands > 3 else weight[:, :0]
    rest = weight.mean(1, keepdim=True).expand(-1, bands - kept.shape[1], -1, -1)
    return torch.cat((kept, rest), dim=1) * (have / bands)


def _each(values: tuple[float, ...], bands: int) -> tuple[float, ...]:
    if len(values) in (1, bands):
        return values * (bands // len(values))
    kept = values if bands > len(values) else ()
    return kept + (sum(values) / len(values),) * (bands - len(kept))


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
