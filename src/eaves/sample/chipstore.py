"""Stored chips, whatever they are stored as."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from eaves.sample.source import Chip


class ChipStore(ABC):
    """Stored chips, read one by one. It can be pickled; every process opens the files by itself.

    Attributes:
        path: Folder or file.
        classes: Names of the classes, the first is the background.
        gsd_m: Ground size of a pixel, or none.
        credits: Makers and licences of the data.
        records: For each chip ``scene``, ``window`` [col, row, width, height], ``split``, ``transform``, ``crs`` and
            ``shares`` (class → share of the chip; what is missing to 1 is unknown; empty where nobody counted).

    Raises:
        SceneError: There is no store at ``path``, or it is damaged.

    Example:
        >>> store = open_chips("chips")  # doctest: +SKIP
        >>> image, mask, valid, instances = store[store.indices("val")[0]]  # doctest: +SKIP
    """

    path: Path
    classes: tuple[str, ...]
    gsd_m: float | None
    credits: tuple[str, ...]
    records: list[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Chip:
        """Return a chip.

        Raises:
            SceneError: Its bytes cannot be read.
            LabelError: Its labels are broken.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"chip {index} of {len(self)}")
        return self._read(index % len(self))

    @abstractmethod
    def _read(self, index: int) -> Chip:
        """The chip of an index that is there."""

    def indices(self, split: str) -> list[int]:
        """Return the chips of a split."""
        return [index for index, record in enumerate(self.records) if record["split"] == split]

    @property
    def scenes(self) -> list[str]:
        """Names of the scenes, in order of appearance."""
        return list(dict.fromkeys(record["scene"] for record in self.records))
