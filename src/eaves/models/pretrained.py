"""Pretrained weights for encoders: from a local folder, from the library's hub, or from a file of one's own."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from eaves.errors import EavesWarning, ModelFileError, SettingsError
from eaves.models.card import CARD_KEY
from eaves.models.file import read_card
from eaves.models.network import SegmentationNetwork
from eaves.models.tensors import read_tensors

FOLDER = "EAVES_WEIGHTS"
# Of ImageNet's training images; torchvision's networks, and all others that do not say otherwise, expect them.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGENET_CREDIT = "{encoder}: weights trained on ImageNet, whose terms ask for research use (image-net.org)"


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


def load_encoder(network: SegmentationNetwork, weights: str) -> Loaded:
    """Fill a network's encoder with pretrained weights, and tell the network the colours they were trained for.

    ``imagenet`` takes ``<encoder>.safetensors`` (without ``tu-``) from the folder that the environment variable
    ``EAVES_WEIGHTS`` names, where it is there: keys as in torchvision, or as in timm for ``tu-`` encoders. Otherwise
    segmentation-models-pytorch downloads its own. A path takes a safetensors file of such keys, or the encoder of a
    model file of Eaves. Half precision becomes single precision.

    The first convolution of 3 bands is fitted to others: with more, the first three keep their weights and the rest
    get the three's mean; with fewer, each gets the mean; all are then scaled by ``3 / bands``, so that activations
    keep their size. The network's ``mean`` and ``std`` are fitted the same way, without the scaling.

    Args:
        network: Changed in place: its weights, ``pretrained``, ``mean`` and ``std``.
        weights: ``none``, ``imagenet``, or a path.

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
            "leave encoder_weights out, or take an architecture with an encoder: deeplabv3plus or unet",
            because="it has no encoder that others have trained",
        )
    credit = IMAGENET_CREDIT.format(encoder=name) if weights == "imagenet" else None
    local = Path(os.environ.get(FOLDER, "")) / f"{name.removeprefix('tu-')}.safetensors"
    if weights == "imagenet" and not (os.environ.get(FOLDER) and local.is_file()):
        source = "hub"
        tensors, mean, std = _from_hub(name)
    else:
        path = local if weights == "imagenet" else Path(weights)
        source = str(path)
        tensors, mean, std = _from_file(path, name)
    taken, skipped, missing = _fill(network.get_submodule("encoder"), tensors)
    if not taken:
        raise ModelFileError(
            f"weights for the encoder {name!r} ({_some(missing)})",
            f"{source}, which has none of them ({_some(skipped)})",
            "name a file for this encoder, or the encoder of this file",
        )
    if missing:
        warnings.warn(
            f"{len(missing)} of {len(taken) + len(missing)} tensors of the encoder {name!r} are not in {source} and "
            f"start at random: {_some(missing)}",
            EavesWarning,
            stacklevel=2,
        )
    network.mean, network.std = _each(mean, network.in_channels), _each(std, network.in_channels)
    network.pretrained = frozenset(f"encoder.{key}" for key in taken)
    return Loaded(source, len(taken), tuple(skipped), tuple(missing), credit)


def _from_file(path: Path, name: str) -> tuple[dict[str, Tensor], tuple[float, ...], tuple[float, ...]]:
    tensors, metadata = read_tensors(path)
    if CARD_KEY in metadata:
        scaling = read_card(path).scaling
        inside = {key.removeprefix("encoder."): value for key, value in tensors.items() if key.startswith("encoder.")}
        return inside, scaling.mean, scaling.std
    if not name.startswith("tu-"):
        return tensors, IMAGENET_MEAN, IMAGENET_STD
    import timm

    expected = timm.get_pretrained_cfg(name.removeprefix("tu-"))
    mean, std = (expected.mean, expected.std) if expected else (IMAGENET_MEAN, IMAGENET_STD)
    return {f"model.{key}": value for key, value in tensors.items()}, tuple(mean), tuple(std)


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


def _fill(encoder: nn.Module, tensors: Mapping[str, Tensor]) -> tuple[list[str], list[str], list[str]]:
    """Copy what fits into ``encoder``; return the keys taken, skipped and missing."""
    own = encoder.state_dict()
    first = next((key for key, value in own.items() if value.ndim == 4), None)
    taken, skipped = [], []
    with torch.no_grad():
        for key, value in tensors.items():
            if key == first and key in own:
                value = _fit_bands(value.float(), own[key].shape[1])
            if key not in own:
                skipped.append(key)
            elif own[key].shape != value.shape:
                skipped.append(f"{key} {tuple(value.shape)}")
            else:
                own[key].copy_(value)
                taken.append(key)
    # Files for inference leave out the counters of batch normalisation.
    missing = [key for key in own if key not in set(taken) and not key.endswith("num_batches_tracked")]
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
