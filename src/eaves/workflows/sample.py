"""``eaves sample``: cut chips and store them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from eaves.errors import SettingsError
from eaves.exchange.atomic import check_writable
from eaves.progress import OnProgress, Progress, ignore
from eaves.sample import ChipPlan, ChipRecord, Counts, Draw, write_chips
from eaves.sample.store import WITH_OBJECTS, WRITERS, Format
from eaves.sample.turn import angles
from eaves.settings import Recipe, load_dataset, load_recipe, override, parse, suggest

_LOG = logging.getLogger(__name__)
_SUBSET = 4  # beside the plan's own uses of the seed


class Chips(NamedTuple):
    """What was stored.

    Attributes:
        path: The store.
        train: Training chips, turned ones too.
        val: Validation chips.
        counts: What became of the training windows.
        drawn: Training windows that were kept, before the subset was taken and turned.
    """

    path: Path
    train: int
    val: int
    counts: Counts
    drawn: int


def sample_chips(
    dataset: str | Path,
    out: str | Path,
    *,
    format: Format = "eaves",
    recipe: str | Path | Recipe | None = None,
    changes: Sequence[str] = (),
    epochs: int = 1,
    instances: bool = False,
    rotation_deg: float = 0.0,
    at_most: int | None = None,
    on_progress: OnProgress = ignore,
) -> Chips:
    """Cut the chips that a recipe would draw and store them, so that training needs neither scenes nor GDAL.

    Chips are stored as they are in the scenes; augmentation happens in training.

    Args:
        dataset: ``DATASET.toml``.
        out: Folder, or file (``hdf5``), to make.
        format: As :func:`eaves.sample.write_chips`: ``eaves`` and ``hdf5`` are our own, ``coco``, ``esri-rcnn-masks``
            and ``esri-classified-tiles`` are for others, and training reads them too.
        recipe: Whose ``[chips]`` count; the defaults where none is given.
        changes: ``key=value`` changes, such as ``chips.chip_px=256``.
        epochs: Epochs of training chips to draw.
        instances: Store which pixels belong to the same object, too; done anyhow where the recipe's target or the
            format needs it.
        rotation_deg: Cut every training chip again at this angle, twice this angle and so on, until it has turned
            once: 90 gives four chips a window. 0 cuts it once.
        at_most: Take no more training windows than this, a random subset of those drawn.
        on_progress: Is told after every chip.

    Raises:
        SettingsError: Something cannot be meant.
        LabelError: Labels are missing or elsewhere.
        OutputError: ``out`` cannot be written.

    Example:
        >>> sample_chips("dataset.toml", "chips", changes=["chips.chip_px=256"])  # doctest: +SKIP
    """
    out = Path(out)
    check_writable(out)
    if format not in WRITERS:
        raise SettingsError(f"a format of {', '.join(WRITERS)}", repr(format), suggest(format, list(WRITERS)))
    if at_most is not None and at_most < 1:
        raise SettingsError("at least one training chip", f"at most {at_most}", "leave it out to take all")
    turns = angles(rotation_deg)
    if isinstance(recipe, Recipe):
        chosen = recipe
    elif recipe is None:
        chosen = parse(Recipe, override({"name": "chips"}, changes), source="--set")
    else:
        chosen = load_recipe(recipe, changes)
    objects = instances or chosen.target.kind != "classes" or format in WITH_OBJECTS
    plan = ChipPlan.of_dataset(load_dataset(dataset), chosen.chips, chosen.fit.seed, instances=objects)
    drawn, counts = _draw(plan, epochs)
    chosen_draws = _subset(drawn, at_most, chosen.fit.seed)
    work = [("train", draw, angle) for draw in chosen_draws for angle in turns]
    work += [("val", draw, 0.0) for draw in plan.val()]
    train = len(chosen_draws) * len(turns)
    _LOG.info(
        "%d windows drawn, %d too little known and %d without labels dropped, %d kept, subset of %d, "
        "%d training chips at %d angles, %d validation chips",
        counts.considered, counts.unknown, counts.empty, len(drawn), len(chosen_draws), train, len(turns),
        len(work) - train,
    )  # fmt: skip

    def records() -> Iterator[ChipRecord]:
        for done, (split, draw, angle) in enumerate(work, start=1):
            yield plan.record(draw, split, angle)
            on_progress(Progress("sample", done, len(work), "chips"))

    write_chips(records(), out, format, classes=plan.classes, gsd_m=plan.gsd_m, credits=plan.credits)
    return Chips(out, train, len(work) - train, counts, len(drawn))


def _draw(plan: ChipPlan, epochs: int) -> tuple[list[Draw], Counts]:
    """The training chips of several epochs, and what became of their windows."""
    draws: list[Draw] = []
    counts = Counts()
    for epoch in range(epochs):
        draws += plan.train(epoch)
        for name, value in vars(plan.counts["train"]).items():
            setattr(counts, name, getattr(counts, name) + value)
    return draws, counts


def _subset(draws: list[Draw], at_most: int | None, seed: int) -> list[Draw]:
    """So many of them, the same for the same seed, in their order."""
    if at_most is None or at_most >= len(draws):
        return draws
    chosen = np.random.default_rng((seed, _SUBSET)).choice(len(draws), at_most, replace=False)
    return [draws[index] for index in np.sort(chosen)]
