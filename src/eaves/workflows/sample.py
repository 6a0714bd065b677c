"""``eaves sample``: cut chips and store them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from eaves.exchange.atomic import check_writable
from eaves.progress import OnProgress, Progress, ignore
from eaves.sample import ChipPlan, ChipRecord, write_chips
from eaves.settings import Recipe, load_dataset, load_recipe, override, parse


class Chips(NamedTuple):
    """What was stored.

    Attributes:
        path: The store.
        train: Training chips.
        val: Validation chips.
    """

    path: Path
    train: int
    val: int


def sample_chips(
    dataset: str | Path,
    out: str | Path,
    *,
    format: Literal["eaves", "hdf5"] = "eaves",
    recipe: str | Path | Recipe | None = None,
    changes: Sequence[str] = (),
    epochs: int = 1,
    on_progress: OnProgress = ignore,
) -> Chips:
    """Cut the chips that a recipe would draw and store them, so that training needs neither scenes nor GDAL.

    Chips are stored as they are in the scenes; augmentation happens in training.

    Args:
        dataset: ``DATASET.toml``.
        out: Folder (``eaves``: memory-mapped arrays) or file (``hdf5``: one compressed file).
        format: Of the store.
        recipe: Whose ``[chips]`` count; the defaults where none is given.
        changes: ``key=value`` changes, such as ``chips.chip_px=256``.
        epochs: Epochs of training chips to draw.
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
    if isinstance(recipe, Recipe):
        chosen = recipe
    elif recipe is None:
        chosen = parse(Recipe, override({"name": "chips"}, changes), source="--set")
    else:
        chosen = load_recipe(recipe, changes)
    plan = ChipPlan.of_dataset(load_dataset(dataset), chosen.chips, chosen.fit.seed)
    draws = [("train", draw) for epoch in range(epochs) for draw in plan.train(epoch)]
    draws += [("val", draw) for draw in plan.val()]

    def records() -> Iterator[ChipRecord]:
        for done, (split, draw) in enumerate(draws, start=1):
            yield plan.record(draw, split)
            on_progress(Progress("sample", done, len(draws), "chips"))

    write_chips(records(), out, format, classes=plan.classes, gsd_m=plan.gsd_m, credits=plan.credits)
    return Chips(out, sum(split == "train" for split, _ in draws), sum(split == "val" for split, _ in draws))
