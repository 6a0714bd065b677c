"""Look for windows that hold what a chip must hold."""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import numpy as np
from rasterio.windows import Window

from eaves.errors import EavesWarning, LabelError
from eaves.labels import UNKNOWN
from eaves.sample.demand import Counts, Demand, lack
from eaves.sample.source import LabelledScene
from eaves.sample.windows import balanced_windows
from eaves.settings import ChipSettings

_BATCH = 1024
_PATIENCE = 2000  # proposals in a row without success before a scene is given up


class Draw(NamedTuple):
    """One chip to be read: index into the plan's ``scenes``, and the window."""

    scene: int
    window: Window


class Search:
    """Finds windows in scenes.

    Args:
        scenes: What indices count into; it may still grow.
        settings: What a chip must hold.
        classes: Names of the classes.
    """

    def __init__(self, scenes: list[LabelledScene], settings: ChipSettings, classes: tuple[str, ...]) -> None:
        self.scenes, self.settings, self.classes = scenes, settings, classes

    def draw(self, scenes: list[int], n: int, rng: np.random.Generator, counts: Counts) -> list[Draw]:
        """Draw windows from several scenes, more from those where more is known.

        Args:
            scenes: Indices.
            n: How many.
            rng: Source of chance.
            counts: Where to count what becomes of the windows looked at.

        Raises:
            LabelError: No window holds what the settings demand.
        """
        plain = self.demand
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
            found = self._find(scenes, wanted, demand, rng, counts)
            if len(found) < wanted and demand != plain:
                warnings.warn(
                    f"no {self.settings.chip_px} px chip holds {demand.wanted_px} px (min_share "
                    f"{self.settings.min_share}) of {self.classes[demand.wanted or 0]!r}: {wanted - len(found)} chips "
                    "drawn without that demand",
                    EavesWarning,
                    stacklevel=3,
                )
                found += self._find(scenes, wanted - len(found), plain, rng, counts)
            if len(found) < wanted:
                raise self.nothing(counts)
            draws += found
        return [draws[i] for i in rng.permutation(len(draws))]

    def accept(self, scene: int, windows: list[Window], demand: Demand, counts: Counts) -> list[Draw]:
        """Keep the windows that meet a demand; only where the overview cannot tell is the chip read.

        Args:
            scene: Index.
            windows: All of ``chip_px``.
            demand: What each must hold.
            counts: Where to count what becomes of them.
        """
        part = self.scenes[scene]
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

    @property
    def demand(self) -> Demand:
        """What the settings ask of every chip."""
        known_px = max(1, math.ceil(self.settings.min_known * self.settings.chip_px**2))
        return Demand(known_px, 0 if self.settings.keep_empty else 1)

    def nothing(self, counts: Counts) -> LabelError:
        """The error of a demand that no window meets."""
        px = self.settings.chip_px
        return LabelError(
            f"chips of {px} px of which {self.settings.min_known:.0%} are known"
            + ("" if self.settings.keep_empty else " and some are not background"),
            f"none ({counts.considered} windows looked at, {counts.unknown} too little known, {counts.empty} empty)",
            "make chip_px or min_known smaller, or check AOI, nodata and labels with eaves doctor",
        )

    def _find(self, scenes: list[int], n: int, demand: Demand, rng: np.random.Generator, counts: Counts) -> list[Draw]:
        """``n`` windows that meet a demand, or none where no scene has any."""
        weights = np.array([self._weight(scene, demand) for scene in scenes], float)
        found: list[Draw] = []
        while len(found) < n and weights.any():
            shares = rng.multinomial(n - len(found), weights / weights.sum())
            for place, share in enumerate(shares):
                some = self._find_in(scenes[place], int(share), demand, rng, counts)
                if len(some) < share:
                    weights[place] = 0
                found += some
        return found

    def _find_in(self, scene: int, n: int, demand: Demand, rng: np.random.Generator, counts: Counts) -> list[Draw]:
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
            some = self.accept(scene, windows, demand, counts)
            failed = 0 if some else failed + len(windows)
            found += some
        return found

    def _present(self, scenes: list[int]) -> list[int]:
        """The classes but the first that occur."""
        total = sum(self.scenes[scene].overview.counts.sum(axis=(1, 2), dtype=np.int64) for scene in scenes)
        return [int(index) for index in np.flatnonzero(total) if index > 0]

    def _weight(self, scene: int, demand: Demand) -> int:
        counts = self.scenes[scene].overview.counts
        if demand.wanted is not None:
            return int(counts[demand.wanted].sum())
        return int((counts[1:] if demand.foreground_px else counts).sum())
