"""Batches of chips, made in worker processes as long as those live, and shared among processes that train together."""

from __future__ import annotations

import json
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader

from eaves.errors import EavesWarning, SettingsError, TrainingError
from eaves.labels import Target
from eaves.scene import Scaling
from eaves.settings import FitSettings, Recipe
from eaves.train.data import Batches, ChipSource, Item

# What a resumed run may have otherwise than the run that it goes on with.
FREE_ON_RESUME = {
    "name",
    *(f"fit.{name}" for name in ("epochs", "workers", "processes", "stop_after", "rollbacks", "first_batch_s")),
}


class ChipData(L.LightningDataModule):
    """Batches for Lightning, drawn anew each epoch.

    Where several processes train together, each takes its part of every batch; chips of an epoch that cannot be dealt
    out evenly (fewer than there are processes) are left out. Of the chips that judge, each takes whole batches.

    Args:
        source: Gives the chips.
        recipe: Batch size, augmentation, seed.
        scaling: The model's rule.
        target: What the network is to draw.
        rank: Number of this process among ``recipe.fit.processes``.

    Attributes:
        samples: Training chips of an epoch.
        steps: Steps of the optimiser in an epoch.

    Raises:
        SettingsError: There is nothing to train on, or a batch cannot be dealt out to the processes.
    """

    def __init__(
        self, source: ChipSource, recipe: Recipe, scaling: Scaling, target: Target | None = None, rank: int = 0
    ) -> None:
        super().__init__()
        self.source, self.recipe, self.scaling, self.target, self.rank = source, recipe, scaling, target, rank
        self.workers = Workers(recipe.fit.workers)
        self.val_items = source.val()
        self.samples = len(source.train(0))
        fit = recipe.fit
        check_sharing(fit)
        if self.samples < fit.processes:
            raise SettingsError(
                "chips to train on" if fit.processes == 1 else f"a training chip for each of {fit.processes} processes",
                str(self.samples or "none"),
                "check the splits, the AOI, min_known and keep_empty; eaves doctor helps",
            )
        self.steps = -(-len(self._shares(self.samples)) // fit.accumulate)

    def train_dataloader(self) -> Loader:
        """The batches of the trainer's current epoch, in a new order each epoch."""
        epoch = self.trainer.current_epoch if self.trainer else 0
        items = self.source.train(epoch)
        seed = (self.recipe.fit.seed, epoch)
        items = [items[i] for i in np.random.default_rng(seed).permutation(len(items))]
        batches = Batches(self.source, items, self.scaling, self.recipe.augment, seed, self.target)
        return Loader(batches, self._shares(len(items)), self.workers)

    def val_dataloader(self) -> Loader | list[Any]:
        """The batches that judge, always the same; none where nothing judges."""
        count, fit = len(self.val_items), self.recipe.fit
        if not count:
            return []
        groups = [list(range(start, min(start + fit.batch, count))) for start in range(0, count, fit.batch)]
        batches = Batches(self.source, self.val_items, self.scaling, None, (0, 0), self.target)
        # Lightning leaves a process without batches out, and the others would wait for its sums for ever.
        return Loader(batches, groups[self.rank :: fit.processes] or [[]], self.workers)

    def state_dict(self) -> dict[str, Any]:
        """What a resume compares."""
        return {"recipe": self.recipe.model_dump_json()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse to go on by another recipe.

        Raises:
            TrainingError: What decides the weights differs.
        """
        refuse_another_recipe(json.loads(state_dict["recipe"]), self.recipe)

    def _shares(self, count: int) -> list[list[int]]:
        """Of each batch of an epoch, the positions that are this process's."""
        batch, processes = self.recipe.fit.batch, self.recipe.fit.processes
        count -= count % processes
        # A last batch of one chip would leave batch normalisation without a variance.
        if count > batch > processes and count % batch == processes:
            count -= processes
        return [
            list(range(start + self.rank, min(start + batch, count), processes)) for start in range(0, count, batch)
        ]


def check_sharing(fit: FitSettings) -> None:
    """See whether processes can train together.

    Raises:
        SettingsError: A batch cannot be dealt out to them evenly, or there are fewer GPUs (but some).
    """
    if fit.batch % fit.processes:
        raise SettingsError(
            f"a batch that {fit.processes} processes can share evenly",
            f"fit.batch = {fit.batch}",
            f"set fit.batch to a multiple of {fit.processes}",
        )
    if torch.cuda.is_available() and torch.cuda.device_count() < fit.processes:
        raise SettingsError(
            f"a GPU for each of {fit.processes} processes",
            f"{torch.cuda.device_count()}",
            f"set fit.processes = {torch.cuda.device_count()}",
        )


class Workers:
    """How many processes make chips; none once one of them has failed."""

    def __init__(self, number: int) -> None:
        self.number = number

    def give_up(self, error: Exception) -> None:
        """Make chips in this process from here on, and say so."""
        self.number = 0
        told = (str(error).strip().splitlines() or [type(error).__name__])[0]
        warnings.warn(
            f"The processes that make chips have failed ({told}). The training process makes them from here on, with "
            "the same result, only slower. Do: set fit.workers = 0, or lower it if memory ran out; a script that "
            'trains with workers needs if __name__ == "__main__".',
            EavesWarning,
            stacklevel=1,
        )


class Loader:
    """Batches in a given order. Where worker processes fail, it goes on without them, from where they were.

    Args:
        batches: The chips, at least one.
        groups: Of each batch, which chips; one without any makes an empty batch, and is the only one.
        workers: How many processes; changed when they fail.
    """

    def __init__(self, batches: Batches, groups: Sequence[list[int]], workers: Workers) -> None:
        self.batches, self.groups, self.workers = batches, groups, workers

    def __len__(self) -> int:
        return len(self.groups)

    def __iter__(self) -> Iterator[Item]:
        if not self.groups[0]:
            yield Item(*(part[None][:0] for part in self.batches[0]))
            return
        done = 0
        if self.workers.number:
            try:
                for batch in self._made_by(self.workers.number, 0):
                    yield batch
                    done += 1
            except Exception as error:  # whatever it is: chips that are at fault fail again below, in their own words
                self.workers.give_up(error)
        if done < len(self.groups):
            yield from self._made_by(0, done)

    def _made_by(self, workers: int, start: int) -> Iterator[Item]:
        loader = DataLoader(
            self.batches,
            batch_sampler=self.groups[start:],
            num_workers=workers,
            multiprocessing_context="spawn" if workers else None,
            worker_init_fn=_one_thread,
            pin_memory=torch.cuda.is_available(),
        )
        if not (workers and hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread()):
            return iter(loader)
        # torch would raise a worker's death in whatever the training process is doing at that moment. Without its
        # signal handler, it is found where the worker's batch is waited for.
        before = signal.getsignal(signal.SIGCHLD)
        try:
            return iter(loader)
        finally:
            signal.signal(signal.SIGCHLD, before)


def refuse_another_recipe(began_with: dict[str, Any], recipe: Recipe) -> None:
    """Compare the recipe of a run with the one that is to go on with it. What is new in a later Eaves may differ.

    Args:
        began_with: The run's recipe as JSON holds it.
        recipe: The other.

    Raises:
        TrainingError: Something that decides the weights differs.
    """
    before, now = _flat(began_with), _flat(recipe.model_dump(mode="json"))
    differ = [key for key in before if key in now and before[key] != now[key] and key not in FREE_ON_RESUME]
    if differ:
        raise TrainingError(
            "a resume point of this recipe",
            "; ".join(f"{key} = {before[key]!r}, which is now {now[key]!r}" for key in differ),
            "resume with the recipe that began the run, or start in a new folder",
        )


def _one_thread(worker: int) -> None:
    """Workers share the processors: threads of their own would fight for them."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def _flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of nested dictionaries by their dotted names; free-form tables count as leaves."""
    leaves: dict[str, Any] = {}
    for key, value in data.items():
        nested = isinstance(value, dict) and not prefix
        leaves |= _flat(value, f"{key}.") if nested else {f"{prefix}{key}": value}
    return leaves
