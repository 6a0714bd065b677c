"""Eaves' own stores: a folder of memory-mapped arrays, or one compressed HDF5 file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from eaves.errors import SceneError
from eaves.sample.chipstore import ChipStore
from eaves.sample.record import damaged, parse_index
from eaves.sample.source import Chip
from eaves.sample.writers import PARTS


class ArrayChips(ChipStore):
    """Chips in arrays of one shape and type.

    Args:
        path: Folder or file.

    Raises:
        SceneError: There is no such store at ``path``, or it is damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._held: tuple[int, Mapping[str, Any]] | None = None
        self._hdf5 = not self.path.is_dir()
        arrays = self._open()
        index = parse_index(self.path, self._read_index(arrays))
        self.classes = tuple(index["classes"])
        self.gsd_m = index["gsd_m"]
        self.credits = tuple(index["credits"])
        self.records = index["chips"]
        self._parts = [part for part in PARTS if part in arrays]
        shapes = [arrays[part].shape for part in self._parts]
        if {shape[0] for shape in shapes} != {len(self.records)} or len({shape[-2:] for shape in shapes}) != 1:
            raise damaged(self.path, f"{len(self.records)} records for arrays of {shapes}")

    def _read(self, index: int) -> Chip:
        try:
            return Chip(*(np.array(self._arrays()[part][index]) for part in self._parts))
        except OSError as error:
            raise damaged(self.path, f"chip {index}: {error}") from None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_held": None}

    def _arrays(self) -> Mapping[str, Any]:
        """The arrays as this process opened them: an HDF5 handle must not cross a fork."""
        if self._held is None or self._held[0] != os.getpid():
            self._held = (os.getpid(), self._open())
        return self._held[1]

    def _open(self) -> Mapping[str, Any]:
        try:
            if self._hdf5:
                file = h5py.File(self.path, "r")
                return {part: file[part] for part in (*PARTS, "index") if part != "instances" or part in file}
            numbered = (self.path / "instances.npy").exists()
            return {part: np.load(self.path / f"{part}.npy", mmap_mode="r") for part in PARTS[: 3 + numbered]}
        except FileNotFoundError as error:
            raise SceneError(
                "stored chips", f"{self.path}: {error.filename or error}", "check the path, or make them: eaves sample"
            ) from None
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise damaged(self.path, str(error)) from None

    def _read_index(self, arrays: Mapping[str, Any]) -> bytes:
        try:
            if self._hdf5:
                return bytes(arrays["index"][()])
            return (self.path / "index.json").read_bytes()
        except OSError as error:
            raise damaged(self.path, str(error)) from None
