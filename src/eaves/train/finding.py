"""The Lightning module of networks that find objects."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from eaves.errors import EavesWarning
from eaves.models import Detections, InstanceNetwork, Objects, objects_of
from eaves.models.paste import paste
from eaves.settings import FitSettings
from eaves.train.data import Item
from eaves.train.module import PixelSums, pixel_scores
from eaves.train.task import Task

_SURE = 0.5  # score from which a detection counts
_MATCH = 0.5  # IoU from which it is an object
_PATIENCE = 3  # epochs without a single one before the alarm


class Counts(NamedTuple):
    """Objects of chips, counted: right, wrong and missed."""

    right: int = 0
    wrong: int = 0
    missed: int = 0


class InstanceTask(Task):
    """Train a network that finds objects, and measure it on every epoch.

    Logged each epoch: ``train_loss`` and each of its terms (``train_mask`` …), the same of the chips that judge, and of
    those ``val_iou`` and ``val_accuracy`` of the pixels that detections cover, and ``val_f1`` of objects: detections
    with a score of 0.5 or more, matched at a mask IoU of 0.5. All over known pixels only, and over all processes; what
    is found where nothing is known is neither right nor wrong.

    Args:
        network: Finds objects.
        classes: Class names of the mask, background first.
        fit: Optimiser and schedule.
        total_steps: Length of the schedule in optimiser steps.
    """

    def __init__(self, network: InstanceNetwork, classes: tuple[str, ...], fit: FitSettings, total_steps: int) -> None:
        super().__init__(network, classes, fit, total_steps)
        judge = fit.choose_on
        self.columns = (f"{judge}_f1", *(f"{stage}_{term}" for stage in ("train", judge) for term in network.terms))
        self._terms: dict[str, Tensor] = {}  # of each stage: chips, and the sum of each term over them
        self._new_sums("train")
        self._new_sums(judge)
        self._blind = 0

    def forward(self, image: Tensor, objects: list[Objects] | None = None) -> Any:
        """Return losses where objects are given, else detections."""
        return self.network(image, objects)

    def on_train_epoch_start(self) -> None:
        """Seed, and begin new sums."""
        super().on_train_epoch_start()
        self._new_sums("train")

    def on_validation_epoch_start(self) -> None:
        """Begin new sums."""
        self._new_sums(self.fit.choose_on)

    def training_step(self, batch: Item, index: int) -> dict[str, Any]:
        """Return the loss."""
        terms = self(_last(batch.image), _objects(batch))
        loss = torch.stack(list(terms.values())).sum()
        finite = bool(torch.isfinite(loss))
        self.finite = self.finite and finite
        if finite:  # what training rolls back does not count
            self._add("train", terms, len(batch.image))
        return {"loss": loss, "note": " ".join(f"{name} {float(value.detach()):.2f}" for name, value in terms.items())}

    def validation_step(self, batch: Item, index: int) -> None:
        """Add a batch to the epoch's sums; an empty one, of a process that has nothing to judge, adds nothing."""
        if not len(batch.mask):
            return
        judge, objects, image = self.fit.choose_on, _objects(batch), _last(batch.image)
        with torch.random.fork_rng(devices=[image.device] if image.is_cuda else []):
            torch.manual_seed(index)  # the heads' losses are of a random choice of regions: of the same in every epoch
            self._add(judge, self.network.losses(image, objects), len(image))
        found = self.network.detect(image, _SURE)
        drawn = [_draw(each, (mask.shape[0], mask.shape[1])) for each, mask in zip(found, batch.mask, strict=True)]
        prediction = torch.from_numpy(np.stack([mask for mask, _ in drawn]))
        self._pixels.add(torch.zeros(()), batch.mask.cpu(), prediction.long())
        for (_, masks), each, known in zip(drawn, found, objects, strict=True):
            counted = count_found(masks, each.classes.cpu(), known)
            self._found = Counts(*(a + b for a, b in zip(self._found, counted, strict=True)))

    def on_train_epoch_end(self) -> None:
        """Log what the epoch's training chips gave."""
        self._log_terms("train")

    def on_validation_epoch_end(self) -> None:
        """Log what the chips that judge gave."""
        judge = self.fit.choose_on
        self._log_terms(judge)
        accuracy, iou = pixel_scores(self._of_all(self._pixels.matrix), self.classes)
        right, wrong, missed = self._of_all(torch.tensor(self._found)).tolist()
        if not self._pixels.matrix.any():
            return
        self.log(f"{judge}_accuracy", accuracy)
        self.log(f"{judge}_iou", iou)
        total = 2 * right + wrong + missed
        self.log(f"{judge}_f1", 2 * right / total if total else 1.0)
        self._blind = self._blind + 1 if missed and not right + wrong else 0
        if self._blind == _PATIENCE:
            warnings.warn(
                f"In {_PATIENCE} epochs the network has found nothing on the chips that judge, which hold {missed} "
                "objects. Do: train longer, raise fit.learning_rate, start from pretrained weights, or let "
                "model.options.anchor_sizes fit the objects' sizes in pixels.",
                EavesWarning,
                stacklevel=1,
            )

    def _new_sums(self, stage: str) -> None:
        self._terms[stage] = torch.zeros(1 + len(self.network.terms), dtype=torch.float64)
        if stage != "train":
            self._pixels, self._found = PixelSums(len(self.classes)), Counts()

    def _add(self, stage: str, terms: dict[str, Tensor], chips: int) -> None:
        values = torch.tensor([1.0, *(float(terms[name].detach()) for name in self.network.terms)], dtype=torch.float64)
        self._terms[stage] += chips * values

    def _log_terms(self, stage: str) -> None:
        sums = self._of_all(self._terms[stage])
        if not sums[0]:
            return
        means = (sums[1:] / sums[0]).tolist()
        self.log(f"{stage}_loss", sum(means))
        for name, mean in zip(self.network.terms, means, strict=True):
            self.log(f"{stage}_{name}", mean)


def count_found(masks: list[np.ndarray], classes: Tensor, known: Objects) -> Counts:
    """Count detections of a chip, the surest first, as SpaceNet does: each takes the best object still free.

    Args:
        masks: bool ``(h, w)`` of each detection.
        classes: Of each.
        known: What is there.

    Returns:
        Right, wrong and missed; what lies mostly where nothing is known counts as neither, and of the rest only what
        is known is compared.
    """
    truth = known.masks.cpu().numpy()
    hidden = known.unknown.cpu().numpy()
    areas = truth.sum(axis=(1, 2))
    free = np.ones(len(truth), bool)
    right = wrong = 0
    for mask, value in zip(masks, classes.tolist(), strict=True):
        whole, mask = int(mask.sum()), mask & ~hidden
        area = int(mask.sum())
        if not area or area * 2 < whole:
            continue
        shared = truth[:, mask].sum(axis=1)
        iou = shared / (areas + area - shared)
        iou[~free | (known.classes.cpu().numpy() != value)] = 0
        if len(iou) and iou.max() >= _MATCH:
            free[int(iou.argmax())] = False
            right += 1
        else:
            wrong += 1
    return Counts(right, wrong, int(free.sum()))


def _objects(batch: Item) -> list[Objects]:
    return [objects_of(mask, numbers) for mask, numbers in zip(batch.mask, batch.target, strict=True)]


def _last(image: Tensor) -> Tensor:
    return image.contiguous(memory_format=torch.channels_last)


def _draw(found: Detections, shape: tuple[int, int]) -> tuple[np.ndarray, list[np.ndarray]]:
    """The class that detections give each pixel, uint8 ``(h, w)``, the surest on top; and each one's mask."""
    drawn, masks = np.zeros(shape, np.uint8), []
    pairs = zip(found.masks.cpu().numpy(), found.boxes.cpu().numpy(), found.classes.tolist(), strict=True)
    for mask, box, value in pairs:
        row, col, values = paste(mask, box, shape)
        whole = np.zeros(shape, bool)
        whole[row : row + values.shape[0], col : col + values.shape[1]] = values >= 0.5
        drawn[whole & (drawn == 0)] = value
        masks.append(whole)
    return drawn, masks
