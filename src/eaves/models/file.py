"""The model file: weights and card in one safetensors file, which runs no code when it is read."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor

from eaves.errors import ModelFileError, SettingsError
from eaves.exchange.atomic import whole_file
from eaves.models.build import build
from eaves.models.card import CARD_KEY, Card
from eaves.models.network import Network
from eaves.models.tensors import read_metadata, read_tensors
from eaves.settings import parse

FORMAT_VERSION = 1


def save_model(path: str | Path, network: Network, card: Card, *, half: bool = False) -> None:
    """Write a network and its card as one file, whole or not at all.

    Args:
        path: Ends in ``.safetensors``.
        network: What ``card.recipe.model`` builds.
        card: What travels with the weights.
        half: Store matrices in half precision, which halves the file; vectors (biases, batch normalisation) keep
            single precision.

    Raises:
        ModelFileError: Card and network do not fit, a weight is not finite, or does not fit half precision.
        OutputError: The place cannot be written.

    Example:
        >>> save_model("model.safetensors", network, card)  # doctest: +SKIP
        >>> network, card = load_model("model.safetensors")  # doctest: +SKIP
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ModelFileError("a name that ends in .safetensors", str(path), "rename the output")
    fits = (card.scaling.band_count, card.readout.channels)
    if fits != (network.in_channels, network.classes):
        raise ModelFileError(
            f"a card for {network.in_channels} bands and {network.classes} channels",
            f"one for {fits[0]} bands and {fits[1]} channels",
            "make the card for this network",
        )
    tensors = {}
    for key, value in network.state_dict().items():
        tensor = value.detach().cpu()
        if half and tensor.ndim > 1 and tensor.is_floating_point():
            tensor = tensor.half()
        tensors[key] = tensor.clone(memory_format=torch.contiguous_format)
    _check_finite(tensors, "a network to save")
    with whole_file(path) as aside:
        save_file(tensors, aside, {CARD_KEY: card.model_dump_json(), "format": "pt"})


def load_model(path: str | Path) -> tuple[Network, Card]:
    """Read a model file.

    Args:
        path: Written by :func:`save_model`.

    Returns:
        The network on the CPU in single precision, in evaluation mode; and its card.

    Raises:
        ModelFileError: The file is missing, a pickle, damaged, not of Eaves, of another version, for an architecture
            that is not here, or its weights do not fit the card's network or are not finite.
    """
    card = read_card(path)
    stored, _ = read_tensors(path)
    try:
        with torch.random.fork_rng(devices=[]):  # the random start is thrown away, and nobody should notice it
            network = build(card.recipe.model, card.scaling.band_count, card.readout.channels)
    except SettingsError as error:
        raise ModelFileError(
            f"a model that this Eaves can build: {error.expected} (in {path})", error.received, error.do
        ) from error
    own = network.state_dict()
    wrong = [f"{key} missing" for key in own if key not in stored]
    wrong += [f"{key} unknown" for key in stored if key not in own]
    wrong += [
        f"{key} {tuple(stored[key].shape)} instead of {tuple(value.shape)}"
        for key, value in own.items()
        if key in stored and stored[key].shape != value.shape
    ]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise ModelFileError(
            f"the {len(own)} tensors of {card.recipe.model.arch!r} in {path}",
            f"{', '.join(wrong[:5])}{more}",
            "fetch the file again, or train again",
        )
    _check_finite(stored, str(path))
    network.load_state_dict(stored)  # copies, and so casts, into the network's own types
    network.mean, network.std = card.scaling.mean, card.scaling.std
    return network.eval(), card


def read_card(path: str | Path) -> Card:
    """Read only the card of a model file; raises as :func:`load_model` does."""
    metadata = read_metadata(path)
    if CARD_KEY not in metadata:
        raise ModelFileError(
            "a model file that Eaves wrote",
            f"{path}, which has weights but no card",
            "give it as encoder_weights in a recipe if it is an encoder's; else train a model",
            because="the card says how to scale pixels and what the classes are",
        )
    try:
        data = json.loads(metadata[CARD_KEY])
        version = data["format_version"]
    except (ValueError, TypeError, KeyError):
        raise ModelFileError("a card in JSON", f"{path}, whose card is damaged", "fetch the file again") from None
    if version != FORMAT_VERSION:
        raise ModelFileError(
            f"model format {FORMAT_VERSION} in {path}",
            f"format {version!r}, of Eaves {data.get('eaves_version', 'unknown')}",
            "use the Eaves that wrote it, or train again",
        )
    try:
        return parse(Card, data, source=str(path))
    except (SettingsError, ValidationError) as error:
        raise ModelFileError(
            f"a card that Eaves understands in {path}",
            f"a card of Eaves {data.get('eaves_version', 'unknown')}: {error}",
            "use the Eaves that wrote it, or train again",
        ) from error


def _check_finite(tensors: dict[str, Tensor], where: str) -> None:
    if broken := [key for key, value in tensors.items() if not torch.isfinite(value).all()]:
        raise ModelFileError(
            f"finite weights in {where}",
            f"NaN or infinity in {len(broken)} tensors, first in {broken[0]}",
            "take an earlier checkpoint, or train with a lower learning rate",
        )
