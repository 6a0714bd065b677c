"""Which chips an epoch consists of."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from rasterio.windows import Window

from eaves.errors import EavesWarning, LabelError
from eaves.labels import UNKNOWN
from eaves.sample.demand import Counts, Demand, lack
from eaves.sample.source import Chip, LabelledScene, open_dataset
from eaves.sample.split import block_split, block_windows, blocks_to_cells, sum_by_blocks
from eaves.sample.store import ChipRecord
from eaves.sample.windows import balanced_windows, grid_windows
from eaves.scene import window_grid
from eaves.settings import ChipSettings, Dataset

_LOG = logging.getLogger(__name__)
_BATCH = 1024
_PATIENCE = 2000  # proposals in a row without success before a scene is given up
_TRAIN, _VAL, _BLOCKS, _MIX = range(4)  # so that different uses of one seed are independent


class Draw(NamedTuple):
    """One chip to be read: index into the plan's ``scenes``, and the window."""

    scene: int
    window: Window


class ChipPlan:
    """Draws the windows of every epoch, the same for the same seed, and reads their chips. It can be pickled.

    Scenes split by ``block`` are cut into squares across all such scenes together; a chip of one side has UNKNOWN
    where the other side's blocks lie. Scenes split at ``random`` give windows to both sides from everywhere, which
    overlap: figures measured so flatter. Validation chips lie on a fixed grid and are not held to ``min_known`` and
    ``keep_empty``, so that they measure all that is known; those of a ``random`` split are drawn like training chips.

    Args:
        scenes: Labelled scenes of one dataset; those of split ``test`` are left alone.
        settings: How to draw.
        seed: Of everything drawn.
        credits: Makers and licences of the data.

    Attributes:
        scenes: Scenes, or parts of them, that :class:`Draw` counts into.
        settings: As given.
        classes: Names, the first is the background.
        credits: As given.
        gsd_m: Ground size of a pixel, the middle one where scenes differ; none in pixel space.
        counts: ``train`` and ``val`` → what became of the windows looked at in the last call.

    Raises:
        SettingsError: A block split with fewer than two known blocks.

    Example:
        >>> plan = ChipPlan.of_dataset(dataset, ChipSettings(), seed=1)  # doctest: +SKIP
        >>> chips = [plan.load(draw) for draw in plan.train(epoch=0)]  # doctest: +SKIP
    """

    def __init__(
        self, scenes: Sequence[LabelledScene], settings: ChipSettings, seed: int = 0, credits: Sequence[str] = ()
    ) -> None:
        self.settings, self.seed, self.credits = settings, seed, tuple(credits)
        self.classes = scenes[0].names
        self.gsd_m = settings.gsd_m or _middle_gsd(scenes)
        self.counts = {"train": Counts(), "val": Counts()}
        self.scenes: list[LabelledScene] = []
        self._train: list[int] = []
        self._val: list[int] = []
        self._mixed: list[int] = []
        self._blocks: dict[int, list[Window]] = {}  # part of a scene → its validation blocks
        for scene in scenes:
            if scene.entry.split in ("train", "random"):
                self._train.append(self._append(scene))
            if scene.entry.split == "random":
                self._mixed.append(self._train[-1])
            if scene.entry.split == "val":
                self._val.append(self._append(scene))
        self._cut_blocks([scene for scene in scenes if scene.entry.split == "block"])

    @classmethod
    def of_dataset(cls, dataset: Dataset, settings: ChipSettings, seed: int = 0) -> ChipPlan:
        """Open a dataset and plan its chips.

        Raises:
            SceneError: As :func:`eaves.sample.open_dataset`.
            LabelError: As :func:`eaves.sample.open_dataset`.
            SettingsError: As the class.
        """
        return cls(open_dataset(dataset, settings.gsd_m), settings, seed, dataset.credits)

    def train(self, epoch: int) -> list[Draw]:
        """Return the training chips of an epoch.

        Raises:
            LabelError: No window holds what the settings demand.
        """
        self.counts["train"] = Counts()
        rng = np.random.default_rng((self.seed, _TRAIN, epoch))
        if self.settings.windows == "grid":
            draws = [draw for scene in self._train for draw in self._grid_of(scene)[0]]
            draws = [draws[i] for i in rng.permutation(len(draws))]
            if not draws:
                raise self._nothing()
        else:
            draws = self._random_of(self._train, self.settings.per_epoch, rng)
        self._tell("train", len(draws))
        return draws

    def val(self) -> list[Draw]:
        """Return the validation chips, always the same; none where no scene validates."""
        self.counts["val"] = Counts()
        draws = [draw for scene in self._val for draw in self._all_of(scene)]
        if self.settings.windows == "grid":
            draws += [draw for scene in self._mixed for draw in self._grid_of(scene)[1]]
        elif self._mixed:
            count = round(self.settings.per_epoch * self.settings.val_share / (1 - self.settings.val_share))
            rng = np.random.default_rng((self.seed, _VAL))
            draws += self._random_of(self._mixed, max(1, count), rng, "val")
        cap = self.settings.val_chips or len(draws)
        if len(draws) > cap:
            draws = [draws[i] for i in np.linspace(0, len(draws) - 1, cap).round().astype(int)]
        self._tell("val", len(draws))
        return draws

    def load(self, draw: Draw) -> Chip:
        """Read a chip.

        Raises:
            SceneError: As :meth:`LabelledScene.chip`.
        """
        return self.scenes[draw.scene].chip(draw.window)

    def record(self, draw: Draw, split: str) -> ChipRecord:
        """Read a chip with what a store tells about it.

        Raises:
            SceneError: As :meth:`load`.
        """
        scene = self.scenes[draw.scene]
        return ChipRecord(self.load(draw), scene.name, draw.window, split, window_grid(scene.grid, draw.window))

    # --- parts of scenes ----------------------------------------------------------------------------------------------

    def _append(self, scene: LabelledScene) -> int:
        self.scenes.append(scene)
        return len(self.scenes) - 1

    def _cut_blocks(self, scenes: list[LabelledScene]) -> None:
        if not scenes:
            return
        sides = [self._block_cells(scene) for scene in scenes]
        areas = [sum_by_blocks(scene.overview.known, side) for scene, side in zip(scenes, sides, strict=True)]
        chosen = block_split(areas, self.settings.val_share, np.random.default_rng((self.seed, _BLOCKS)))
        for scene, side, val in zip(scenes, sides, chosen, strict=True):
            cells = blocks_to_cells(val, side, scene.overview.known.shape)
            if (~val).any():
                self._train.append(self._append(scene.only(~cells)))
            if val.any():
                self._val.append(self._append(scene.only(cells)))
                self._blocks[self._val[-1]] = block_windows(val, side * scene.overview.cell_px, scene.shape)

    def _block_cells(self, scene: LabelledScene) -> int:
        """Side of a block in cells of the overview: blocks end where cells do, so that their counts are exact."""
        return max(1, round(self.settings.block_m / (scene.scene.gsd_m or 1.0) / scene.overview.cell_px))

    # --- windows ------------------------------------------------------------------------------------------------------

    def _all_of(self, scene: int) -> list[Draw]:
        """Windows that hold every known pixel of a validation scene, or of its validation blocks."""
        chip_px = self.settings.chip_px
        areas = self._blocks.get(scene, [Window(0, 0, *reversed(self.scenes[scene].shape))])
        windows = [
            Window(area.col_off + window.col_off, area.row_off + window.row_off, chip_px, chip_px)
            for area in areas
            for window in grid_windows((area.height, area.width), chip_px)
        ]
        return self._accept(scene, windows, Demand(1), "val")

    def _grid_of(self, scene: int) -> tuple[list[Draw], list[Draw]]:
        """Grid windows of a training scene that meet the demand, and those of them that validate instead."""
        windows = grid_windows(self.scenes[scene].shape, self.settings.chip_px, self.settings.stride_px)
        draws = self._accept(scene, windows, self._demand(), "train")
        if scene not in self._mixed:
            return draws, []
        order = np.random.default_rng((self.seed, _MIX, scene)).permutation(len(draws))
        cut = round(self.settings.val_share * len(draws))
        return [draws[i] for i in np.sort(order[cut:])], [draws[i] for i in np.sort(order[:cut])]

    def _random_of(self, scenes: list[int], n: int, rng: np.random.Generator, side: str = "train") -> list[Draw]:
        """``n`` windows from several scenes, more from those where more is known."""
        plain = self._demand()
        demands = [plain] * n
        if self.settings.windows == "balanced":
            present = self._present(scenes)
            px = max(1, math.ceil(self.settings.min_share * self.settings.chip_px**2))
            balanced = round(n * self.settings.share_of_balanced) if present else 0
            demands[:balanced] = [
                plain._replace(wanted=present[i % len(present)], wanted_px=px) for i in range(balanced)
            ]
        draws: list[Draw] = []
        for demand in dict.fromkeys(demands):
            wanted = demands.count(demand)
            found = self._search(scenes, wanted, demand, rng, side)
            if len(found) < wanted and demand != plain:
                warnings.warn(
                    f"no {self.settings.chip_px} px chip holds {demand.wanted_px} px (min_share "
                    f"{self.settings.min_share}) of {self.classes[demand.wanted or 0]!r}: {wanted - len(found)} chips "
                    "drawn without that demand",
                    EavesWarning,
                    stacklevel=3,
                )
                found += self._search(scenes, wanted - len(found), plain, rng, side)
            if len(found) < wanted:
                raise self._nothing()
            draws += found
        return [draws[i] for i in rng.permutation(len(draws))]

    def _search(self, scenes: list[int], n: int, demand: Demand, rng: np.random.Generator, side: str) -> list[Draw]:
        """``n`` windows that meet a demand, or none where no scene has any."""
        weights = np.array([self._weight(scene, demand) for scene in scenes], float)
        found: list[Draw] = []
        while len(found) < n and weights.any():
            shares = rng.multinomial(n - len(found), weights / weights.sum())
            for place, share in enumerate(shares):
                some = self._search_one(scenes[place], int(share), demand, rng, side)
                if len(some) < share:
                    weights[place] = 0
                found += some
        return found

    def _search_one(self, scene: int, n: int, demand: Demand, rng: np.random.Generator, side: str) -> list[Draw]:
        found: list[Draw] = []
        failed = 0
        while len(found) < n and failed < _PATIENCE:
            windows = balanced_windows(
                self.scenes[scene].overview,
                self.settings.chip_px,
                min(_BATCH, n - len(found)),
                rng,
                wanted=demand.wanted,
                min_px=demand.wanted_px,
                min_known_px=demand.known_px,
            )
            if not windows:
                break
            some = self._accept(scene, windows, demand, side)
            failed = 0 if some else failed + len(windows)
            found += some
        return found

    def _accept(self, scene: int, windows: list[Window], demand: Demand, side: str) -> list[Draw]:
        """The windows that meet a demand; only where the overview cannot tell is the chip read."""
        part, counts = self.scenes[scene], self.counts[side]
        rows, cols = (np.array([getattr(w, name) for w in windows], np.int64) for name in ("row_off", "col_off"))
        least, most = part.overview.bounds(rows, cols, self.settings.chip_px)
        kept: list[Draw] = []
        for i, window in enumerate(windows):
            reason = lack(least[i], demand)
            if reason and not (reason := lack(most[i], demand)):
                mask = part.chip(window).mask
                reason = lack(np.bincount(mask.ravel(), minlength=UNKNOWN + 1)[: len(self.classes)], demand)
            counts.considered += 1
            if reason:
                setattr(counts, reason, getattr(counts, reason) + 1)
            else:
                counts.kept += 1
                kept.append(Draw(scene, window))
        return kept

    def _demand(self) -> Demand:
        known_px = max(1, math.ceil(self.settings.min_known * self.settings.chip_px**2))
        return Demand(known_px, 0 if self.settings.keep_empty else 1)

    def _present(self, scenes: list[int]) -> list[int]:
        """The classes but the first that occur."""
        total = sum(self.scenes[scene].overview.counts.sum(axis=(1, 2), dtype=np.int64) for scene in scenes)
        return [int(index) for index in np.flatnonzero(total) if index > 0]

    def _weight(self, scene: int, demand: Demand) -> int:
        counts = self.scenes[scene].overview.counts
        if demand.wanted is not None:
            return int(counts[demand.wanted].sum())
        return int((counts[1:] if demand.foreground_px else counts).sum())

    def _nothing(self) -> LabelError:
        counts, px = self.counts["train"], self.settings.chip_px
        return LabelError(
            f"chips of {px} px of which {self.settings.min_known:.0%} are known"
            + ("" if self.settings.keep_empty else " and some are not background"),
            f"none ({counts.considered} windows looked at, {counts.unknown} too little known, {counts.empty} empty)",
            "make chip_px or min_known smaller, or check AOI, nodata and labels with eaves doctor",
        )

    def _tell(self, side: str, drawn: int) -> None:
        counts = self.counts[side]
        _LOG.info(
            "%s: %d chips; %d windows looked at, %d too little known, %d empty, %d without the wanted class",
            side,
            drawn,
            counts.considered,
            counts.unknown,
            counts.empty,
            counts.unwanted,
        )


def _middle_gsd(scenes: Sequence[LabelledScene]) -> float | None:
    known = [scene.scene.gsd_m for scene in scenes if scene.scene.gsd_m]
    if not known:
        return None
    if max(known) > 1.1 * min(known):
        warnings.warn(
            f"scenes differ in resolution, {min(known):.3g} … {max(known):.3g} m a pixel, and gsd_m is not set: the "
            "network sees them at different scales",
            EavesWarning,
            stacklevel=3,
        )
    return float(np.median(known))
