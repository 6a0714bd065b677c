"""What every network keeps to, whatever is inside it."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Network(nn.Module, ABC):
    """What training, prediction and the model file know of any network.

    Args:
        in_channels: Bands of the input.
        classes: Classes to tell apart, the background included; at least 2.

    Attributes:
        stride: Where two windows overlap, the network can only agree exactly with itself when they start a multiple of
            it apart; sides of the image that it works on are multiples of it.
        halo_px: How far around a pixel the network looks, rounded up to a multiple of ``stride``.
        takes_scores: The input has the scores of every class, the background's first, below the image's bands.
        input_channels: Of the input: bands, and scores where it takes them.
        encoder_name: Name in segmentation-models-pytorch of the submodule ``encoder``, for which pretrained weights
            exist; None where there is no such submodule.
        parts: Submodules that weights of the same architecture, trained for other classes, may fill.
        pretrained: Names of the parameters that started from pretrained weights.
        mean: What the network expects to be subtracted from an image in [0, 1], one a band or one for all.
        std: What it expects to be divided by after that.
    """

    stride: int
    halo_px: int
    takes_scores: bool = False
    encoder_name: str | None = None
    parts: tuple[str, ...] = ("encoder",)
    pretrained: frozenset[str] = frozenset()
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.25,)

    def __init__(self, in_channels: int, classes: int) -> None:
        if in_channels < 1 or classes < 2:
            raise ValueError(f"needs at least 1 band and 2 classes, got {in_channels} and {classes}")
        super().__init__()
        self.in_channels = in_channels
        self.classes = classes
        self.input_channels = in_channels + (classes if self.takes_scores else 0)

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that started from pretrained weights; empty where none did."""
        return [parameter for name, parameter in self.named_parameters() if name in self.pretrained]

    def padded(self, image: Tensor, multiple: int | None = None) -> Tensor:
        """Pad an image at the bottom and the right to multiples of ``stride``, or of another number.

        With zeros: the mean colour after normalisation, and what invalid pixels are, too.

        Args:
            image: ``(n, input_channels, h, w)`` float, normalised; ``h, w >= 1``.
            multiple: The other number.

        Raises:
            ValueError: The image has another number of dimensions or bands, or no pixels.
        """
        multiple = multiple or self.stride
        if image.ndim != 4 or image.shape[1] != self.input_channels or 0 in image.shape:
            raise ValueError(f"expected (n, {self.input_channels}, h, w) with pixels, got {tuple(image.shape)}")
        height, width = image.shape[-2:]
        below, right = -height % multiple, -width % multiple
        return F.pad(image, (0, right, 0, below)) if below or right else image


class SegmentationNetwork(Network):
    """Normalised image → logits of the same size.

    A new architecture states ``stride`` and ``halo_px`` and implements :meth:`logits`; its options are the
    keyword-only arguments of its constructor.

    Args:
        in_channels: Bands of the input.
        classes: Classes to tell apart, the background included; at least 2.

    Attributes:
        out_channels: 1 for two classes (the logit of the second), else ``classes``.
    """

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__(in_channels, classes)
        self.out_channels = 1 if classes == 2 else classes

    @abstractmethod
    def logits(self, image: Tensor) -> Tensor:
        """Return logits ``(n, out_channels, h, w)`` of ``image`` ``(n, input_channels, h, w)``.

        ``h`` and ``w`` are multiples of ``stride``.
        """

    def forward(self, image: Tensor) -> Tensor:
        """Return logits of an image of any size.

        The image is padded as :meth:`padded` does. The padding is cut off the result.

        Args:
            image: ``(n, input_channels, h, w)`` float, normalised; ``h, w >= 1``.

        Returns:
            ``(n, out_channels, h, w)`` float, unbounded.

        Raises:
            ValueError: The image has another number of dimensions or bands, or no pixels.

        Example:
            >>> from eaves.models.unet28 import UNet28
            >>> UNet28(in_channels=3, classes=2)(torch.zeros(1, 3, 33, 47)).shape
            torch.Size([1, 1, 33, 47])
        """
        return self.logits(self.padded(image))[..., : image.shape[-2], : image.shape[-1]]


def scores(logits: Tensor) -> Tensor:
    """Turn logits into probabilities of the classes other than the background.

    Args:
        logits: ``(n, k, h, w)``; ``k`` is 1 for two classes, else the number of classes.

    Returns:
        ``(n, classes - 1, h, w)`` float32 in [0, 1].

    Example:
        >>> scores(torch.zeros(1, 1, 1, 1)).item()
        0.5
    """
    logits = logits.float()
    return torch.sigmoid(logits) if logits.shape[1] == 1 else torch.softmax(logits, dim=1)[:, 1:]
