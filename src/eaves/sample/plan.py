"""Which chips an epoch consists of."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import Literal

import numpy as np
from rasterio.windows import Window

from eaves.errors import EavesWarning, SettingsError
from eaves.sample.demand import Counts, Demand
from eaves.sample.record import ChipRecord
from eaves.sample.search import Draw, Search
from eaves.sample.source import Chip, LabelledScene, open_dataset
from eaves.sample.split import block_split, block_windows, blocks_to_cells, sum_by_blocks
from eaves.sample.turn import turn_chip, turned_grid
from eaves.sample.windows import grid_windows
from eaves.scene import window_grid
from eaves.settings import ChipSettings, Dataset

_LOG = logging.getLogger(__name__)
_TRAIN, _VAL, _BLOCKS, _MIX = range(4)  # so that different uses of one seed are independent


class ChipPlan:
    """Draws the windows of every epoch, the same for the same seed, and reads their chips. It can be pickled.

    Scenes split by ``block`` are cut into squares across all such scenes together; a chip of one side has UNKNOWN
    where the other side's blocks lie. Scenes split at ``random`` give windows to both sides from everywhere, which
    overlap: figures measured so flatter. Validation chips lie on a fixed grid and are not held to ``min_known`` and
    ``keep_empty``, so that they measure all that is known; those of a ``random`` split are drawn like training chips.

    Args:
        scenes: Labelled scenes of one dataset; those of split ``test`` are left alone, unless they judge.
        settings: How to draw.
        seed: Of everything drawn.
        credits: Makers and licences of the data.
        instances: Chips number their objects.
        scores: Chips have their score maps.
        judge: ``test`` gives the scenes of split ``test`` as validation chips, in place of the others. What trains is
            the same either way.

    Attributes:
        scenes: Scenes, or parts of them, that :class:`Draw` counts into.
        settings: As given.
        classes: Names, the first is the background.
        credits: As given.
        gsd_m: Ground size of a pixel, the middle one where scenes differ; none in pixel space.
        counts: ``train`` and ``val`` → what became of the windows looked at in the last call.

    Raises:
        SettingsError: A block split with fewer than two known blocks; test scenes are to judge, and there are none.

    Example:
        >>> plan = ChipPlan.of_dataset(dataset, ChipSettings(), seed=1)  # doctest: +SKIP
        >>> chips = [plan.load(draw) for draw in plan.train(epoch=0)]  # doctest: +SKIP
    """

    def __init__(
        self,
        scenes: Sequence[LabelledScene],
        settings: ChipSettings,
        seed: int = 0,
        credits: Sequence[str] = (),
        instances: bool = False,
        judge: Literal["val", "test"] = "val",
        scores: bool = False,
    ) -> None:
        self.settings, self.seed, self.credits = settings, seed, tuple(credits)
        self.instances, self.scores = instances, scores
        self.classes = scenes[0].names
        self.gsd_m = settings.gsd_m or _middle_gsd(scenes)
        self.counts = {"train": Counts(), "val": Counts()}
        self.scenes: list[LabelledScene] = []
        self._search = Search(self.scenes, settings, self.classes)
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
        self._mixed_val = self._mixed  # mixed scenes that validate too
        if judge == "test":
            self._val = [self._append(scene) for scene in scenes if scene.entry.split == "test"]
            self._mixed_val = []
            if not self._val:
                raise SettingsError(
                    "scenes of split 'test' to judge on",
                    f"splits {sorted({scene.entry.split for scene in scenes})}",
                    'give a scene split = "test" in the dataset, or choose on val',
                )

    @classmethod
    def of_dataset(
        cls,
        dataset: Dataset,
        settings: ChipSettings,
        seed: int = 0,
        instances: bool = False,
        judge: Literal["val", "test"] = "val",
        scores: bool = False,
    ) -> ChipPlan:
        """Open a dataset and plan its chips.

        Raises:
            SceneError: As :func:`eaves.sample.open_dataset`.
            LabelError: As :func:`eaves.sample.open_dataset`.
            SettingsError: As the class.
        """
        return cls(open_dataset(dataset, settings.gsd_m), settings, seed, dataset.credits, instances, judge, scores)

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
                raise self._search.nothing(self.counts["train"])
        else:
            draws = self._search.draw(self._train, self.settings.per_epoch, rng, self.counts["train"])
        self._tell("train", len(draws))
        return draws

    def val(self) -> list[Draw]:
        """Return the validation chips, always the same; none where no scene validates."""
        self.counts["val"] = Counts()
        draws = [draw for scene in self._val for draw in self._all_of(scene)]
        if self.settings.windows == "grid":
            draws += [draw for scene in self._mixed_val for draw in self._grid_of(scene)[1]]
        elif self._mixed_val:
            count = round(self.settings.per_epoch * self.settings.val_share / (1 - self.settings.val_share))
            rng = np.random.default_rng((self.seed, _VAL))
            draws += self._search.draw(self._mixed_val, max(1, count), rng, self.counts["val"])
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
        return self.scenes[draw.scene].chip(draw.window, self.instances, self.scores)

    def record(self, draw: Draw, split: str, angle_deg: float = 0.0) -> ChipRecord:
        """Read a chip with what a store tells about it.

        Args:
            draw: The chip.
            split: Where it belongs.
            angle_deg: Turn it about its middle, as :func:`eaves.sample.turn.turn_chip`.

        Raises:
            SceneError: As :meth:`load`.
        """
        scene = self.scenes[draw.scene]
        chip = turn_chip(lambda window: scene.chip(window, self.instances), draw.window, angle_deg)
        grid = turned_grid(window_grid(scene.grid, draw.window), angle_deg)
        return ChipRecord(chip, scene.name, draw.window, split, grid)

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
        return self._search.accept(scene, windows, Demand(1), self.counts["val"])

    def _grid_of(self, scene: int) -> tuple[list[Draw], list[Draw]]:
        """Grid windows of a training scene that meet the demand, and those of them that validate instead."""
        windows = grid_windows(self.scenes[scene].shape, self.settings.chip_px, self.settings.stride_px)
        draws = self._search.accept(scene, windows, self._search.demand, self.counts["train"])
        if scene not in self._mixed:
            return draws, []
        order = np.random.default_rng((self.seed, _MIX, scene)).permutation(len(draws))
        cut = round(self.settings.val_share * len(draws))
        return [draws[i] for i in np.sort(order[cut:])], [draws[i] for i in np.sort(order[:cut])]

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
