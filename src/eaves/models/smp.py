"""Any network of segmentation-models-pytorch, by name."""

from __future__ import annotations

import difflib
from typing import Any

import torch
from torch import Tensor

from eaves.errors import SettingsError
from eaves.models.encoders import check_encoder, move_strides
from eaves.models.network import SegmentationNetwork
from eaves.models.options import options_of
from eaves.settings import parse

# All that take images of any size once they are padded; so not DPT.
ARCHITECTURES = (
    "Unet",
    "UnetPlusPlus",
    "MAnet",
    "Linknet",
    "FPN",
    "PSPNet",
    "DeepLabV3",
    "DeepLabV3Plus",
    "PAN",
    "UPerNet",
    "Segformer",
)
OURS = frozenset({"encoder_name", "encoder_weights", "in_channels", "classes", "activation", "aux_params"})
PRACTICAL_HALO = 128


class Smp(SegmentationNetwork):
    """A network of segmentation-models-pytorch: its encoder, its decoder and its head, as the library builds them.

    Source: https://github.com/qubvel-org/segmentation_models.pytorch, which names each architecture's paper.

    Most look further than ``halo_px``, some over the whole image: it is a practical one. ``stride`` is the encoder's,
    or the least multiple of it that the decoder takes.

    Args:
        in_channels: Bands of the input.
        classes: Classes, the background included.
        architecture: A name of ``ARCHITECTURES``, as the library writes it.
        encoder: Name of the encoder; see :func:`eaves.models.encoders.make_encoder`.
        stride_in_1x1: See :func:`eaves.models.encoders.make_encoder`.
        settings: The architecture's own arguments, such as ``{"decoder_channels": [128, 64, 32, 16, 16]}``.

    Raises:
        SettingsError: The architecture, the encoder or a setting is unknown, or they do not go together.

    Example:
        >>> Smp(in_channels=3, classes=3, architecture="FPN")(torch.zeros(2, 3, 40, 33)).shape
        torch.Size([2, 3, 40, 33])
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        architecture: str = "UnetPlusPlus",
        encoder: str = "mobilenet_v2",
        stride_in_1x1: bool = False,
        settings: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(in_channels, classes)
        _check_architecture(architecture)
        check_encoder(encoder)
        # Its import takes seconds.
        import segmentation_models_pytorch as library

        kind = getattr(library, architecture)
        options = options_of(kind, OURS, keyword_only=False)
        chosen = dict(parse(options, settings or {}, source=f"model.options.settings of {architecture}"))
        try:
            whole = kind(encoder, encoder_weights=None, in_channels=in_channels, classes=self.out_channels, **chosen)
        except (AssertionError, AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise _mismatch(architecture, encoder, str(error)) from error
        self.encoder_name = encoder
        self.encoder, self.decoder, self.head = whole.encoder, whole.decoder, whole.segmentation_head
        if stride_in_1x1:
            move_strides(self.encoder, encoder)
        # Some encoders want one size, some decoders a least one, some settings give another size back: none of which
        # is known before it is tried.
        least = int(whole.encoder.output_stride)
        strides = (least * factor for factor in (1, 2, 4, 8))
        stride = next((stride for stride in strides if self._problem(stride) is None), None)
        if stride is None:
            raise _mismatch(architecture, encoder, str(self._problem(least)))
        self.stride = stride
        self.halo_px = -(-PRACTICAL_HALO // stride) * stride

    def logits(self, image: Tensor) -> Tensor:
        """See :meth:`SegmentationNetwork.logits`."""
        return self.head(self.decoder(self.encoder(image)))

    def _problem(self, stride: int) -> str | None:
        """What goes wrong with the smallest image of this stride."""
        image = torch.zeros(1, self.in_channels, stride, 2 * stride)
        self.eval()
        try:
            with torch.inference_mode():
                height, width = self.logits(image).shape[-2:]
        except (AssertionError, IndexError, RuntimeError, ValueError) as error:
            return str(error)
        self.train()
        right = (height, width) == (stride, 2 * stride)
        return None if right else f"it gives {height} x {width} px for {stride} x {2 * stride} px"


def _check_architecture(name: str) -> None:
    if name in ARCHITECTURES:
        return
    lower = {known.lower(): known for known in ARCHITECTURES}
    near = difflib.get_close_matches(name.lower(), lower, n=1)
    raise SettingsError(
        f"options.architecture of {', '.join(ARCHITECTURES)}",
        repr(name),
        f"write {lower[near[0]]!r}" if near else "use one of them",
    )


def _mismatch(architecture: str, encoder: str, why: str) -> SettingsError:
    return SettingsError(
        f"an encoder and settings with which {architecture} takes images of any size",
        f"{encoder!r} and settings with which it does not ({why})",
        "change options.encoder or options.settings",
    )
