"""Chips on disk: a folder of memory-mapped arrays (``eaves``), or one compressed file (``hdf5``)."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import h5py
import numpy as np
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from eaves.errors import OutputError, SceneError, SettingsError
from eaves.exchange.atomic import whole_file
from eaves.labels import UNKNOWN
from eaves.sample.source import Chip
from eaves.sample.writers import PARTS, FolderWriter, Hdf5Writer, whole_folder

Format = Literal["eaves", "hdf5"]
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


class ChipStore:
    """Stored chips, read one by one. It can be pickled; every process opens the files by itself.

    Attributes:
        path: Folder or file.
        classes: Names of the classes, the first is the background.
        gsd_m: Ground size of a pixel, or none.
        credits: Makers and licences of the data.
        records: For each chip ``scene``, ``window`` [col, row, width, height], ``split``, ``transform``, ``crs`` and
            ``shares`` (class → share of the chip; what is missing to 1 is unknown).

    Raises:
        SceneError: There is no store at ``path``, or it is damaged.

    Example:
        >>> store = open_chips("chips")  # doctest: +SKIP
        >>> image, mask, valid = store[store.indices("val")[0]]  # doctest: +SKIP
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._held: tuple[int, Mapping[str, Any]] | None = None
        self._hdf5 = not self.path.is_dir()
        arrays = self._open()
        index = _parse_index(self.path, self._read_index(arrays))
        self.classes: tuple[str, ...] = tuple(index["classes"])
        self.gsd_m: float | None = index["gsd_m"]
        self.credits: tuple[str, ...] = tuple(index["credits"])
        self.records: list[dict[str, Any]] = index["chips"]
        shapes = [arrays[part].shape for part in PARTS]
        if {shape[0] for shape in shapes} != {len(self.records)} or len({shape[-2:] for shape in shapes}) != 1:
            raise _damaged(self.path, f"{len(self.records)} records for arrays of {shapes}")

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Chip:
        """Return a chip.

        Raises:
            SceneError: Its bytes cannot be read.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"chip {index} of {len(self)}")
        try:
            return Chip(*(np.array(self._arrays()[part][index % len(self)]) for part in PARTS))
        except OSError as error:
            raise _damaged(self.path, f"chip {index}: {error}") from None

    def indices(self, split: str) -> list[int]:
        """Return the chips of a split."""
        return [index for index, record in enumerate(self.records) if record["split"] == split]

    @property
    def scenes(self) -> list[str]:
        """Names of the scenes, in order of appearance."""
        return list(dict.fromkeys(record["scene"] for record in self.records))

    # --- files --------------------------------------------------------------------------------------------------------

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
                return {part: file[part] for part in (*PARTS, "index")}
            return {part: np.load(self.path / f"{part}.npy", mmap_mode="r") for part in PARTS}
        except FileNotFoundError as error:
            raise SceneError(
                "stored chips", f"{self.path}: {error.filename or error}", "check the path, or make them: eaves sample"
            ) from None
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise _damaged(self.path, str(error)) from None

    def _read_index(self, arrays: Mapping[str, Any]) -> bytes:
        try:
            if self._hdf5:
                return bytes(arrays["index"][()])
            return (self.path / "index.json").read_bytes()
        except OSError as error:
            raise _damaged(self.path, str(error)) from None


def open_chips(path: str | Path) -> ChipStore:
    """Open stored chips of either format.

    Raises:
        SceneError: There are none at ``path``, or they are damaged.
    """
    return ChipStore(path)


def write_chips(
    records: Iterable[ChipRecord],
    path: str | Path,
    format: Format = "eaves",
    *,
    classes: Sequence[str],
    gsd_m: float | None = None,
    credits: Sequence[str] = (),
) -> int:
    """Store chips as they come; memory holds one at a time. The store appears whole or not at all.

    Args:
        records: Chips of one shape and type.
        path: Folder (``eaves``) or file (``hdf5``) to make.
        classes: Names of the classes.
        format: ``eaves``: ``index.json`` beside ``images.npy`` ``(n, c, h, w)``, ``masks.npy`` and ``valid.npy``
            ``(n, h, w)``, read by memory map. ``hdf5``: the same arrays, gzip-compressed chip by chip, in one file.
        gsd_m: Ground size of a pixel.
        credits: Makers and licences of the data.

    Returns:
        How many chips were stored.

    Raises:
        OutputError: Something is at ``path`` already, or it cannot be written.
        SettingsError: There are no chips, or they differ in shape or type.
    """
    path = Path(path)
    if path.exists():
        raise OutputError("a place where nothing is yet", f"{path}, which exists", "choose another name or remove it")
    header = {
        "format": "eaves chips",
        "version": _VERSION,
        "classes": list(classes),
        "unknown": UNKNOWN,
        "gsd_m": gsd_m,
        "credits": list(credits),
    }
    opening = whole_folder(path) if format == "eaves" else whole_file(path)
    with opening as partial, FolderWriter(partial) if format == "eaves" else Hdf5Writer(partial) as writer:
        told: list[dict[str, Any]] = []
        kind: tuple[Any, ...] | None = None
        for record in records:
            here = (record.chip.image.shape, record.chip.image.dtype.name)
            if kind is not None and here != kind:
                raise SettingsError(
                    "chips of one shape and type", f"{kind} and {here}", "choose bands, chip_px and scenes that agree"
                )
            kind = here
            writer.append(record.chip)
            told.append(_describe(record, classes))
        if not told:
            raise SettingsError("chips to store", "none", "check the splits, the AOI, min_known and keep_empty")
        writer.finish({**header, "chips": told})
    return len(told)


# --- index ------------------------------------------------------------------------------------------------------------


def _describe(record: ChipRecord, classes: Sequence[str]) -> dict[str, Any]:
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


def _parse_index(path: Path, text: bytes) -> dict[str, Any]:
    try:
        index = json.loads(text)
        if index["format"] != "eaves chips" or index["version"] > _VERSION:
            raise ValueError(f"format {index['format']!r}, version {index['version']}")
        for key in ("classes", "gsd_m", "credits", "chips"):
            index[key]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, f"index: {error!r}") from None
    return index


def _damaged(path: Path, what: str) -> SceneError:
    return SceneError("whole stored chips", f"{path}: {what}", "make them again with eaves sample")
