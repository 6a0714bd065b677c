"""What is told of stored chips beside their pixels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from eaves.errors import SceneError
from eaves.labels import UNKNOWN
from eaves.sample.source import Chip

_VERSION = 1


class ChipRecord(NamedTuple):
    """A chip and where it is from.

    Attributes:
        chip: The sample.
        scene: Name of its scene.
        window: Where in the scene's working grid.
        split: ``train``, ``val`` or ``test``.
        grid: Where on earth, or none.
    """

    chip: Chip
    scene: str
    window: Window
    split: str
    grid: GeoBox | None = None


def describe(record: ChipRecord, classes: Sequence[str]) -> dict[str, Any]:
    """Tell of a chip, fit for JSON: ``scene``, ``window``, ``split``, ``transform``, ``crs`` and ``shares``."""
    counts = np.bincount(record.chip.mask.ravel(), minlength=UNKNOWN + 1)
    window, grid = record.window, record.grid
    return {
        "scene": record.scene,
        "window": [int(window.col_off), int(window.row_off), int(window.width), int(window.height)],
        "split": record.split,
        "transform": None if grid is None else list(grid.affine)[:6],
        "crs": None if grid is None or grid.crs is None else grid.crs.to_wkt(),
        "shares": {name: round(counts[i] / record.chip.mask.size, 6) for i, name in enumerate(classes)},
    }


def head(classes: Sequence[str], gsd_m: float | None, credits: Sequence[str]) -> dict[str, Any]:
    """What is told of all chips together."""
    return {
        "format": "eaves chips",
        "version": _VERSION,
        "classes": list(classes),
        "unknown": UNKNOWN,
        "gsd_m": gsd_m,
        "credits": list(credits),
    }


def parse_index(path: Path, text: bytes | str) -> dict[str, Any]:
    """Read what was told: the head, and ``chips``.

    Raises:
        SceneError: It is damaged, or of a later version.
    """
    try:
        index = json.loads(text)
        check_head(index)
        index["chips"]
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(path, f"index: {error!r}") from None
    return index


def check_head(told: dict[str, Any]) -> None:
    """Raise ValueError or KeyError where a head is not of a version that this Eaves knows."""
    if told["format"] != "eaves chips" or told["version"] > _VERSION:
        raise ValueError(f"format {told['format']!r}, version {told['version']}")
    for key in ("classes", "gsd_m", "credits"):
        told[key]


def damaged(path: Path, what: str) -> SceneError:
    """The error of chips that cannot be read."""
    return SceneError("whole stored chips", f"{path}: {what}", "make them again with eaves sample")
