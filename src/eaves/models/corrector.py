"""The recurrent network that corrects score maps: a learned iterative process that sharpens them to the image."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from eaves.models.fused import FusedUpdate, run_update
from eaves.models.network import SegmentationNetwork

_KERNEL = 5
LEAST_SCORE = 1 / 508  # half a level of a stored score: a logarithm needs more than 0


class Folded(NamedTuple):
    """The convolutions of one step: a kernel and the layer above it are one kernel, as nothing lies between them.

    Attributes:
        score_kernel: ``(classes, hidden, 1, 5, 5)``: a class's map → hidden units.
        image_kernel: ``(classes, hidden, bands, 5, 5)``.
        bias: ``(classes, hidden)``.
        out_weight: ``(classes, hidden)``: hidden units → update of the class's map.
        out_bias: ``(classes,)``.
    """

    score_kernel: Tensor
    image_kernel: Tensor
    bias: Tensor
    out_weight: Tensor
    out_bias: Tensor


class Step(nn.Module):
    """One step's weights: filters of maps, filters of the image, and a small network on top for each class.

    Args:
        bands: Of the image.
        heads: Networks on top: as many as classes, or one for all.
        filters: Filters of each kind.
        hidden: Hidden units of a network on top.
    """

    def __init__(self, bands: int, heads: int, filters: int, hidden: int) -> None:
        super().__init__()
        self.score_filters = nn.Conv2d(1, filters, _KERNEL)
        self.image_filters = nn.Conv2d(bands, filters, _KERNEL)
        self.mix_weight = nn.Parameter(_by_fan_in(heads, hidden, 2 * filters))
        self.mix_bias = nn.Parameter(torch.zeros(heads, hidden))
        # Near nothing at first: five steps of a random process would drown the maps.
        self.out_weight = nn.Parameter(_by_fan_in(heads, hidden) * 0.01)
        self.out_bias = nn.Parameter(torch.zeros(heads))
        for layer in (self.score_filters, self.image_filters):
            layer.weight.data = _by_fan_in(*layer.weight.shape)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def fold(self) -> Folded:
        """Multiply out what no nonlinearity parts."""
        filters = self.score_filters.out_channels
        of_scores, of_image = self.mix_weight.split(filters, dim=2)  # (heads, hidden, filters) each
        score_bias, image_bias = self.score_filters.bias, self.image_filters.bias
        assert score_bias is not None
        assert image_bias is not None
        return Folded(
            torch.einsum("khf,fcij->khcij", of_scores, self.score_filters.weight),
            torch.einsum("khf,fcij->khcij", of_image, self.image_filters.weight),
            self.mix_bias + of_scores @ score_bias + of_image @ image_bias,
            self.out_weight,
            self.out_bias,
        )


class Corrector(SegmentationNetwork):
    """Correct the scores of another network by iterating one small learned update.

    ``u_k <- u_k + f_k({M_i * u_k}, {N_j * I})``, where ``u_k`` is the logarithm of class k's score, ``I`` the image,
    the ``M_i`` and ``N_j`` are 32 filters of 5 x 5 each and ``f_k`` is a network of 64, 32 and 1 units with a ReLU. The
    responses to the image are computed once; filters are shared by classes and, like ``f_k``, by iterations. Three
    bands and three classes make 9 603 parameters.

    It takes the image with the scores of all classes stacked below it, and gives logits. Pixels whose scores sum to
    zero are not valid: they lend nothing to their neighbours.

    Source: Maggiori et al., https://arxiv.org/abs/1608.03440, equations 5 to 8, section III.

    Args:
        in_channels: Bands of the image.
        classes: Classes, the background included.
        iterations: Steps T; with weights that are shared it may be changed after training, see :attr:`iterations`.
        heads: ``class``: a network on top for each class; ``one``: the same for all (class-agnostic).
        shared: The steps have the same weights. False unrolls ``iterations`` steps with weights of their own.
        filters: Filters of each kind.
        hidden: Hidden units.
        average: Divide the gradients of shared weights by the number of steps, as the source does. Optimisers that
            scale by the gradients' size (AdaGrad, Adam) do not notice; SGD does.
        checkpoint_steps: Keep only the maps between steps in training and compute the rest again: less memory, a third
            more time, for many iterations.

    Attributes:
        iterations: Steps that :meth:`logits` takes.

    Example:
        >>> image, scores = torch.rand(1, 3, 16, 16), torch.full((1, 3, 16, 16), 1 / 3)
        >>> network = Corrector(in_channels=3, classes=3)
        >>> network(torch.cat((image, scores), dim=1)).shape, sum(p.numel() for p in network.parameters())
        (torch.Size([1, 3, 16, 16]), 9603)
    """

    stride = 1
    takes_scores = True

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        iterations: Annotated[int, Field(ge=1, le=1000)] = 5,
        heads: Literal["class", "one"] = "class",
        shared: bool = True,
        filters: Annotated[int, Field(ge=1)] = 32,
        hidden: Annotated[int, Field(ge=1)] = 32,
        average: bool = False,
        checkpoint_steps: bool = False,
    ) -> None:
        super().__init__(in_channels, classes)
        self.shared, self.average, self.checkpoint_steps = shared, average, checkpoint_steps
        count = classes if heads == "class" else 1
        self.steps = nn.ModuleList(
            Step(in_channels, count, filters, hidden) for _ in range(1 if shared else iterations)
        )
        self._iterations = iterations

    @property
    def iterations(self) -> int:
        """Steps; without shared weights at most those that were trained."""
        return self._iterations

    @iterations.setter
    def iterations(self, count: int) -> None:
        if count < 0 or not (self.shared or count <= len(self.steps)):
            most = "any number" if self.shared else f"at most {len(self.steps)}"
            raise ValueError(f"expected {most} of steps, got {count}")
        self._iterations = count

    @property
    def halo_px(self) -> int:  # type: ignore[override]
        """Two pixels a step."""
        return max(1, _KERNEL // 2 * self._iterations)

    def logits(self, image: Tensor) -> Tensor:
        """Return the logits after the last step."""
        return deque(self.evolve(image), maxlen=1).pop()

    def evolve(self, image: Tensor) -> Iterator[Tensor]:
        """Yield the logits before the first and after every step, each ``(n, out_channels, h, w)``.

        Args:
            image: As :meth:`forward`.
        """
        bands, scores = image[:, : self.in_channels], image[:, self.in_channels :]
        valid = (scores.sum(1, keepdim=True) > 0.5).to(image.dtype)
        u = torch.log(scores.clamp(LEAST_SCORE, 1)) * valid
        bands = (bands * valid).contiguous()
        yield self._outputs(u)
        step, folded, drive = None, None, None
        for index in range(self._iterations):
            if step is not self.steps[0 if self.shared else index]:
                step = self.steps[0 if self.shared else index]
                assert isinstance(step, Step)
                folded = step.fold()
                if self.average and self.shared:
                    folded = Folded(*(_slow(part, 1 / self._iterations) for part in folded))
                drive = _image_part(bands, folded)
            if self.checkpoint_steps and torch.is_grad_enabled():
                update = checkpoint(_update, u, drive, folded, use_reentrant=False)
            else:
                update = _update(u, drive, folded)  # type: ignore[arg-type]
            u = (u + update) * valid
            yield self._outputs(u)

    def _outputs(self, u: Tensor) -> Tensor:
        return u[:, 1:] - u[:, :1] if self.out_channels == 1 else u


def _image_part(bands: Tensor, folded: Folded) -> list[Tensor]:
    """What the image says to the hidden units of each head, ``(n, hidden, h, w)``; the same in every step."""
    return [
        F.conv2d(bands, kernel, bias, padding=_KERNEL // 2).contiguous()
        for kernel, bias in zip(folded.image_kernel, folded.bias, strict=True)
    ]


def _update(u: Tensor, drive: list[Tensor], folded: Folded) -> Tensor:
    """The update of every class's map, ``(n, classes, h, w)``."""
    updates = []
    for index in range(u.shape[1]):
        head = min(index, len(drive) - 1)
        kernel, weight, bias = folded.score_kernel[head], folded.out_weight[head], folded.out_bias[head]
        if u.device.type == "cpu" and u.dtype == torch.float32 and not torch.is_autocast_enabled("cpu"):
            parts = (u[:, index], drive[head], kernel[:, 0], weight)
            learns = torch.is_grad_enabled() and any(part.requires_grad for part in parts)
            update = FusedUpdate.apply(*parts) if learns else run_update(*parts)
            updates.append(update + bias)  # type: ignore[operator]
        else:
            hidden = F.conv2d(u[:, index : index + 1], kernel, padding=_KERNEL // 2) + drive[head]
            updates.append(torch.einsum("h,nhij->nij", weight, torch.relu(hidden)) + bias)
    return torch.stack(updates, dim=1)


def _slow(part: Tensor, share: float) -> Tensor:
    """The same values, with this share of their gradient."""
    return part * share + part.detach() * (1 - share)


def _by_fan_in(*shape: int) -> Tensor:
    """Random weights, uniform, scaled by the number of a unit's inputs."""
    limit = math.sqrt(3 / math.prod(shape[1:] if len(shape) != 3 else shape[2:]))
    return torch.empty(shape).uniform_(-limit, limit)
