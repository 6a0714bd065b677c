"""Chips on their way into a network: drawn or stored, varied, scaled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset

from eaves.exchange.scores import decode_all
from eaves.labels import UNKNOWN, Target
from eaves.sample import Chip, ChipStore, augment
from eaves.scene import Scaling
from eaves.settings import AugmentSettings


class ChipSource(Protocol):
    """Where chips come from: scenes cut on the fly, or a store."""

    classes: tuple[str, ...]
    credits: tuple[str, ...]
    gsd_m: float | None

    def train(self, epoch: int) -> Sequence[Any]:
        """The training items of an epoch, the same for the same epoch, and as many in each."""
        ...

    def val(self) -> Sequence[Any]:
        """The items that every epoch is judged on."""
        ...

    def load(self, item: Any, /) -> Chip:
        """The chip of an item."""
        ...


class StoredChips:
    """Chips of a store as a source.

    Args:
        store: From :func:`eaves.sample.open_chips`.
        judge: Split that epochs are judged on.
    """

    def __init__(self, store: ChipStore, judge: Literal["val", "test"] = "val") -> None:
        self.store, self.judge = store, judge
        self.classes, self.credits, self.gsd_m = tuple(store.classes), tuple(store.credits), store.gsd_m

    def train(self, epoch: int) -> Sequence[int]:
        """All training chips, in every epoch."""
        return [int(index) for index in self.store.indices("train")]

    def val(self) -> Sequence[int]:
        """The chips of the split that judges."""
        return [int(index) for index in self.store.indices(self.judge)]

    def load(self, item: int, /) -> Chip:
        """Read one."""
        return self.store[item]


class Item(NamedTuple):
    """A chip, or a batch of them with one more axis in front, as training takes it.

    Attributes:
        image: float32 ``(c, h, w)``, normalised; below it the scores of every class, where the chip has scores.
        mask: uint8 ``(h, w)``: class, or UNKNOWN where nothing is known; what predictions are measured against.
        target: uint8 ``(h, w)``: what the network is to draw, or UNKNOWN; for networks of objects int32, their numbers.
    """

    image: torch.Tensor
    mask: torch.Tensor
    target: torch.Tensor


class Batches(TorchDataset[Item]):
    """The items of one epoch as tensors.

    Item ``i`` is varied by a generator seeded with ``(seed, epoch, i)``, so that neither the number of worker
    processes nor an interruption changes what the network sees.

    Args:
        source: Gives the chips.
        items: What to load.
        scaling: The model's rule.
        vary: Augmentation; none for validation.
        seed: Seed and epoch.
        target: What the network is to draw; the classes where none is given.
    """

    def __init__(
        self,
        source: ChipSource,
        items: Sequence[Any],
        scaling: Scaling,
        vary: AugmentSettings | None,
        seed: tuple[int, int],
        target: Target | None = None,
    ) -> None:
        self.source, self.items, self.scaling, self.vary, self.seed = source, items, scaling, vary, seed
        self.target = target

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Item:
        """Return a chip, varied and scaled."""
        chip = self.source.load(self.items[index])
        image, mask, valid, instances = self.scaling.scale(chip.image), chip.mask, chip.valid, chip.instances
        bands = len(image)
        if chip.scores is not None:
            image = np.concatenate([image, decode_all(chip.scores)[0] * valid])
        if self.vary is not None:
            rng = np.random.default_rng((*self.seed, index))
            image, mask, valid, instances, *_ = augment(
                image, mask, valid, self.vary, rng, instances=instances, colors=bands
            )
        normal = np.concatenate([self.scaling.normalize(image[:bands], valid), image[bands:]])
        drawn = mask if self.target is None else self.target.draw(mask, instances)
        return Item(*(torch.from_numpy(np.ascontiguousarray(array)) for array in (normal, mask, drawn)))


def inner(labels: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return the middle of labels: the pixels that a network without padding has logits for.

    Args:
        labels: ``(n, h, w)``.
        like: What the network gave, ``(…, rows, cols)`` with ``rows <= h`` and ``cols <= w``.
    """
    height, width = like.shape[-2:]
    top, left = (labels.shape[-2] - height) // 2, (labels.shape[-1] - width) // 2
    return labels[..., top : top + height, left : left + width]


def class_counts(source: ChipSource, target: Target, at_most: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Count the target's classes over chips of the first epoch.

    Returns:
        Pixels of each class, and pixels of the chips that hold the class, both ``(classes,)`` int64.
    """
    pixels = np.zeros(len(target.names), np.int64)
    beside = np.zeros(len(target.names), np.int64)
    for item in source.train(0)[:at_most]:
        chip = source.load(item)
        drawn = target.draw(chip.mask, chip.instances)
        counts = np.bincount(drawn[drawn != UNKNOWN].ravel(), minlength=len(target.names))
        pixels += counts
        beside += np.where(counts > 0, counts.sum(), 0)
    return pixels, beside
