"""From the settings of a recipe to a network."""

from __future__ import annotations

import difflib
import inspect
from functools import cache
from typing import Any, get_type_hints

from pydantic import create_model

from eaves.errors import SettingsError
from eaves.models.deeplab import DeepLabV3Plus
from eaves.models.network import SegmentationNetwork
from eaves.models.unet import UNet
from eaves.models.unet28 import UNet28
from eaves.settings import ModelSettings, Settings, parse

MODELS: dict[str, type[SegmentationNetwork]] = {
    "deeplabv3plus": DeepLabV3Plus,
    "unet": UNet,
    "unet28": UNet28,
}


def build(settings: ModelSettings, in_channels: int, classes: int) -> SegmentationNetwork:
    """Build a network with random weights; :func:`eaves.models.load_encoder` brings pretrained ones.

    Args:
        settings: Architecture and its options.
        in_channels: Bands of the input.
        classes: Classes, the background included; 2 gives one logit.

    Raises:
        SettingsError: The architecture is unknown, or an option is unknown or has a wrong value.

    Example:
        >>> build(ModelSettings(arch="unet28", options={"widths": "large"}), in_channels=3, classes=2).halo_px
        112
    """
    if settings.arch not in MODELS:
        near = difflib.get_close_matches(settings.arch, MODELS, n=1)
        raise SettingsError(
            f"an architecture of {', '.join(MODELS)}",
            repr(settings.arch),
            f"write {near[0]!r}" if near else "use one of them",
        )
    kind = MODELS[settings.arch]
    options = parse(_options(kind), settings.options, source=f"model.options of {settings.arch}")
    return kind(in_channels, classes, **dict(options))


@cache
def _options(kind: type[SegmentationNetwork]) -> type[Settings]:
    """The keyword-only arguments of an architecture, as settings that check themselves."""
    hints = get_type_hints(kind.__init__, include_extras=True)
    fields: dict[str, Any] = {
        name: (hints[name], parameter.default)
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    return create_model(f"{kind.__name__}Options", __base__=Settings, **fields)
