"""From a network's logits to maps of scores, whatever it was taught to draw."""

from __future__ import annotations

import torch
from torch import Tensor

from eaves.models.network import scores
from eaves.settings import TargetSettings


class Readout:
    """How the channels of a network become score maps and a mask.

    Networks that find objects give no logits; their maps have the classes' names.

    Two maps come from a network of two classes that draws more than classes, and the second one helps to part
    buildings that touch: ``building`` and ``border`` (the chance that a pixel is the rim of a building), or
    ``building`` and ``distance`` (the expected distance to the outline, from 0, ``clip_m`` outside, over 0.5, on the
    outline, to 1, ``clip_m`` inside).

    Args:
        settings: What the network draws.
        classes: Of the dataset, the background first.

    Attributes:
        channels: Classes that the network tells apart.
        bands: Names of the score maps: those of the classes but the background, then ``border`` or ``distance``.

    Example:
        >>> readout = Readout(TargetSettings(kind="border"), ("background", "building"))
        >>> readout.channels, readout.bands, readout.scores(torch.zeros(1, 3, 9, 9)).shape
        (3, ('building', 'border'), torch.Size([1, 2, 9, 9]))
    """

    def __init__(self, settings: TargetSettings, classes: tuple[str, ...]) -> None:
        self.kind = settings.kind
        more = () if settings.kind in ("classes", "instances") else (settings.kind,)
        self.bands: tuple[str, ...] = (*classes[1:], *more)
        self.channels = {"border": 3, "distance": settings.n_bins}.get(settings.kind, len(classes))

    def scores(self, logits: Tensor) -> Tensor:
        """Turn logits into score maps.

        Args:
            logits: ``(n, k, h, w)``; ``k`` is ``channels``, or 1 where there are two.

        Returns:
            ``(n, bands, h, w)`` float32 in [0, 1].
        """
        if self.kind == "classes":
            return scores(logits)
        if logits.shape[1] == 1:  # a distance of two steps: outside and inside
            logits = torch.cat((torch.zeros_like(logits), logits), dim=1)
        p = torch.softmax(logits.float(), dim=1)
        if self.kind == "border":
            return torch.stack((1 - p[:, 0], p[:, 2]), dim=1)
        middle = (torch.arange(self.channels, device=p.device) + 0.5) / self.channels
        expected = torch.einsum("nkhw,k->nhw", p, middle)
        return torch.stack((p[:, self.channels // 2 :].sum(1), expected), dim=1).clamp(0, 1)

    def mask(self, logits: Tensor) -> Tensor:
        """Turn logits into the likeliest class, int64 ``(n, h, w)``."""
        if self.kind != "classes":
            return (self.scores(logits)[:, 0] > 0.5).long()
        return (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(1)
