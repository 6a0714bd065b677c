"""From the settings of a recipe to a network."""

from __future__ import annotations

import difflib

from eaves.errors import SettingsError
from eaves.models.coarse import CoarseFcn
from eaves.models.corrector import Corrector
from eaves.models.deeplab import DeepLabV3Plus
from eaves.models.deeplab_lite import DeepLabV3Lite
from eaves.models.maskrcnn import MaskRcnn
from eaves.models.network import Network
from eaves.models.options import options_of
from eaves.models.segnet import SegNet
from eaves.models.smp import ARCHITECTURES, Smp
from eaves.models.unet import UNet
from eaves.models.unet28 import UNet28
from eaves.settings import ModelSettings, parse

MODELS: dict[str, type[Network]] = {
    "coarse": CoarseFcn,
    "corrector": Corrector,
    "deeplabv3lite": DeepLabV3Lite,
    "deeplabv3plus": DeepLabV3Plus,
    "maskrcnn": MaskRcnn,
    "segnet": SegNet,
    "smp": Smp,
    "unet": UNet,
    "unet28": UNet28,
}


def build(settings: ModelSettings, in_channels: int, classes: int) -> Network:
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
        raise SettingsError(f"an architecture of {', '.join(MODELS)}", repr(settings.arch), _suggestion(settings.arch))
    kind = MODELS[settings.arch]
    options = parse(options_of(kind), settings.options, source=f"model.options of {settings.arch}")
    return kind(in_channels, classes, **dict(options))


def _suggestion(arch: str) -> str:
    theirs = {name.lower(): f"write arch = 'smp' with options.architecture = {name!r}" for name in ARCHITECTURES}
    ours = {name: f"write {name!r}" for name in MODELS}
    near = difflib.get_close_matches(arch.lower(), {**theirs, **ours}, n=1)
    return {**theirs, **ours}[near[0]] if near else "use one of them"
