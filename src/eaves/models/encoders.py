"""Encoders by name, from segmentation-models-pytorch (and through it timm), without weights."""

from __future__ import annotations

import difflib

from torch import nn

from eaves.errors import SettingsError


def make_encoder(
    name: str, in_channels: int, *, output_stride: int = 32, stride_in_1x1: bool = False
) -> tuple[nn.Module, list[int]]:
    """Build an encoder with random weights.

    Args:
        name: Of segmentation-models-pytorch (``mobilenet_v2``, ``resnet50``, …), or ``tu-`` and a name of timm.
        in_channels: Bands of the input.
        output_stride: 8, 16 or 32: pixels of the input a pixel of the deepest features; strides that are left out
            become dilations.
        stride_in_1x1: Put a ResNet bottleneck's stride into its first 1 x 1 convolution. That is ResNet v1, for which
            the weights of Caffe and Keras were trained; torchvision's were trained with the stride in the 3 x 3 one.

    Returns:
        A module that turns ``(n, in_channels, h, w)`` into a list of features, each of half the sides of the one
        before until the output stride is reached; and the number of channels of each.

    Raises:
        SettingsError: The encoder does not exist, or cannot be had with these options.

    Example:
        >>> make_encoder("mobilenet_v2", 3)[1]
        [3, 16, 24, 32, 96, 1280]
    """
    # Its import takes seconds, which a U-Net of our own does not need.
    from segmentation_models_pytorch.encoders import get_encoder

    check_encoder(name)
    try:
        encoder = get_encoder(name, in_channels=in_channels, weights=None, output_stride=output_stride)
    except (KeyError, ValueError, RuntimeError, TypeError) as error:
        raise SettingsError(
            f"an encoder that can have output stride {output_stride} and {in_channels} bands",
            f"{name!r}, which cannot ({error})",
            "use 'tu-xception65', the Xception that DeepLabV3+ was published with"
            if name == "xception"
            else "choose another encoder, such as 'mobilenet_v2' or 'resnet50'",
        ) from error
    if stride_in_1x1:
        move_strides(encoder, name)
    return encoder, encoder.out_channels


def check_encoder(name: str) -> None:
    """Refuse a name that nobody has.

    Raises:
        SettingsError: With the nearest names.
    """
    import timm
    from segmentation_models_pytorch.encoders import get_encoder_names

    known = get_encoder_names()
    if name in known or (name.startswith("tu-") and timm.is_model(name.removeprefix("tu-"))):
        return
    near = difflib.get_close_matches(name, [*known, *(f"tu-{model}" for model in timm.list_models())], n=3, cutoff=0.7)
    raise SettingsError(
        "an encoder of segmentation-models-pytorch, or 'tu-' and a name of timm",
        repr(name),
        f"use {' or '.join(map(repr, near or ['mobilenet_v2', 'resnet50']))}",
    )


def move_strides(encoder: nn.Module, name: str) -> None:
    """Move each bottleneck's stride into its first convolution: see ``stride_in_1x1`` of :func:`make_encoder`.

    Raises:
        SettingsError: The encoder has no bottlenecks.
    """
    from torchvision.models.resnet import Bottleneck

    bottlenecks = [module for module in encoder.modules() if isinstance(module, Bottleneck)]
    if not bottlenecks:
        raise SettingsError(
            "a ResNet of bottlenecks (resnet50, resnet101, resnet152) where stride_in_1x1 is true",
            repr(name),
            "set stride_in_1x1 = false",
        )
    for block in bottlenecks:
        block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride
