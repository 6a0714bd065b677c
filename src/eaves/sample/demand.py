"""What a chip must hold to be taken, and what became of those that were looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class Demand(NamedTuple):
    """What a chip must hold, in pixels: known ones, ones of any class but the first, ones of a wanted class."""

    known_px: int
    foreground_px: int = 0
    wanted: int | None = None
    wanted_px: int = 1


@dataclass
class Counts:
    """What became of the windows that were looked at.

    Attributes:
        considered: All of them.
        unknown: Dropped: too little is known.
        empty: Dropped: none of the classes but the first.
        unwanted: Passed over in search of a wanted class.
        kept: The rest.
    """

    considered: int = 0
    unknown: int = 0
    empty: int = 0
    unwanted: int = 0
    kept: int = 0


def lack(pixels: np.ndarray, demand: Demand) -> str:
    """What a window with so many pixels of each class lacks: a field of :class:`Counts`, or nothing."""
    if pixels.sum() < demand.known_px:
        return "unknown"
    if pixels[1:].sum() < demand.foreground_px:
        return "empty"
    if demand.wanted is not None and pixels[demand.wanted] < demand.wanted_px:
        return "unwanted"
    return ""
