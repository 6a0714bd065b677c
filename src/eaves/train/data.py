"""Chips on their way into a network: drawn or stored, varied, scaled, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from eaves.errors import SettingsError
from eaves.labels import UNKNOWN
from eaves.sample import Chip, ChipStore, augment
from eaves.scene import Scaling
from eaves.settings import AugmentSettings, Recipe


class ChipSource(Protocol):
    """Where chips come from: scenes cut on the fly, or a store."""

    classes: tuple[str, ...]
    credits: tuple[str, ...]
    gsd_m: float | None

    def train(self, epoch: int) -> Sequence[Any]:
        """The training items of an epoch, the same for the same epoch."""
        ...

    def val(self) -> Sequence[Any]:
        """The validation items."""
        ...

    def load(self, item: Any, /) -> Chip:
        """The chip of an item."""
        ...


class StoredChips:
    """Chips of a store as a source.

    Args:
        store: From :func:`eaves.sample.open_chips`.
    """

    def __init__(self, store: ChipStore) -> None:
        self.store = store
        self.classes, self.credits, self.gsd_m = tuple(store.classes), tuple(store.credits), store.gsd_m

    def train(self, epoch: int) -> Sequence[int]:
        """All training chips, in every epoch."""
        return [int(index) for index in self.store.indices("train")]

    def val(self) -> Sequence[int]:
        """The validation chips."""
        return [int(index) for index in self.store.indices("val")]

    def load(self, item: int, /) -> Chip:
        """Read one."""
        return self.store[item]


class Batches(TorchDataset[tuple[torch.Tensor, torch.Tensor]]):
    """The items of one epoch as tensors.

    Item ``i`` is varied by a generator seeded with ``(seed, epoch, i)``, so that neither the number of worker
    processes nor an interruption changes what the network sees.

    Args:
        source: Gives the chips.
        items: What to load.
        scaling: The model's rule.
        vary: Augmentation; none for validation.
        seed: Seed and epoch.
    """

    def __init__(
        self,
        source: ChipSource,
        items: Sequence[Any],
        scaling: Scaling,
        vary: AugmentSettings | None,
        seed: tuple[int, int],
    ) -> None:
        self.source, self.items, self.scaling, self.vary, self.seed = source, items, scaling, vary, seed

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the image ``(c, h, w)`` float32 and the mask ``(h, w)`` int64 with UNKNOWN where nothing is known."""
        chip = self.source.load(self.items[index])
        image, mask, valid = self.scaling.scale(chip.image), chip.mask, chip.valid
        if self.vary is not None:
            rng = np.random.default_rng((*self.seed, index))
            image, mask, valid = augment(image, mask, valid, self.vary, rng)[:3]
        normal = self.scaling.normalize(image, valid)
        return torch.from_numpy(np.ascontiguousarray(normal)), torch.from_numpy(mask.astype(np.int64))


class ChipData(L.LightningDataModule):
    """Batches for Lightning, drawn anew each epoch.

    Args:
        source: Gives the chips.
        recipe: Batch size, augmentation, seed.
        scaling: The model's rule.

    Raises:
        SettingsError: There is nothing to train on.
    """

    def __init__(self, source: ChipSource, recipe: Recipe, scaling: Scaling) -> None:
        super().__init__()
        self.source, self.recipe, self.scaling = source, recipe, scaling
        self.val_items = source.val()
        if not len(source.train(0)):
            raise SettingsError(
                "chips to train on", "none", "check the splits, the AOI, min_known and keep_empty; eaves doctor helps"
            )

    def train_dataloader(self) -> DataLoader[Any]:
        """The batches of the trainer's current epoch, in a new order each epoch."""
        epoch = self.trainer.current_epoch if self.trainer else 0
        items = self.source.train(epoch)
        fit = self.recipe.fit
        order = np.random.default_rng((fit.seed, epoch)).permutation(len(items))
        batches = Batches(self.source, [items[i] for i in order], self.scaling, self.recipe.augment, (fit.seed, epoch))
        # A last batch of one chip would leave batch normalisation without a variance.
        return self._loader(batches, drop_last=len(batches) > fit.batch and len(batches) % fit.batch == 1)

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """The validation batches, always the same; none where nothing validates."""
        if not len(self.val_items):
            return []
        return self._loader(Batches(self.source, self.val_items, self.scaling, None, (0, 0)))

    def _loader(self, batches: Batches, drop_last: bool = False) -> DataLoader[Any]:
        fit = self.recipe.fit
        return DataLoader(
            batches,
            batch_size=fit.batch,
            drop_last=drop_last,
            num_workers=fit.workers,
            multiprocessing_context="spawn" if fit.workers else None,
            pin_memory=torch.cuda.is_available(),
        )


def class_counts(source: ChipSource, at_most: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Count classes over chips of the first epoch.

    Returns:
        Pixels of each class, and pixels of the chips that hold the class, both ``(classes,)`` int64.
    """
    pixels = np.zeros(len(source.classes), np.int64)
    beside = np.zeros(len(source.classes), np.int64)
    for item in source.train(0)[:at_most]:
        mask = source.load(item).mask
        counts = np.bincount(mask[mask != UNKNOWN].ravel(), minlength=len(source.classes))
        pixels += counts
        beside += np.where(counts > 0, counts.sum(), 0)
    return pixels, beside
