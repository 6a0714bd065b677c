"""Chips on disk: a folder of memory-mapped arrays (``eaves``), or one compressed file (``hdf5``)."""

from __future__ import annotations

import io
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import h5py
import numpy as np
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from eaves.errors import OutputError, SceneError, SettingsError
from eaves.exchange.atomic import whole_file
from eaves.labels import UNKNOWN
from eaves.sample.source import Chip

Format = Literal["eaves", "hdf5"]
_VERSION = 1
_HEADER_BYTES = 128
_PARTS = ("images", "masks", "valid")


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
        shapes = [arrays[part].shape for part in _PARTS]
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
            return Chip(*(np.array(self._arrays()[part][index % len(self)]) for part in _PARTS))
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
                return {part: file[part] for part in (*_PARTS, "index")}
            return {part: np.load(self.path / f"{part}.npy", mmap_mode="r") for part in _PARTS}
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
    opening = _whole_folder(path) if format == "eaves" else whole_file(path)
    with opening as partial, _Folder(partial) if format == "eaves" else _Hdf5(partial) as writer:
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


# --- writers ----------------------------------------------------------------------------------------------------------


class _Writer(Protocol):
    def append(self, chip: Chip) -> None: ...
    def finish(self, index: dict[str, Any]) -> None: ...
    def __enter__(self) -> _Writer: ...
    def __exit__(self, *error: object) -> None: ...


class _Folder:
    """Arrays grow at the end; their headers, which hold the count, are written last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, io.BufferedWriter] = {}
        self._kinds: dict[str, tuple[np.dtype, tuple[int, ...]]] = {}
        self._count = 0

    def __enter__(self) -> _Folder:
        return self

    def append(self, chip: Chip) -> None:
        for part, array in zip(_PARTS, chip, strict=True):
            if part not in self._files:
                self._files[part] = (self._folder / f"{part}.npy").open("wb")
                self._files[part].write(bytes(_HEADER_BYTES))
                self._kinds[part] = (array.dtype, array.shape)
            self._files[part].write(np.ascontiguousarray(array).data)
        self._count += 1

    def finish(self, index: dict[str, Any]) -> None:
        for part, file in self._files.items():
            dtype, shape = self._kinds[part]
            file.seek(0)
            file.write(_npy_header(dtype, (self._count, *shape)))
        (self._folder / "index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")

    def __exit__(self, *error: object) -> None:
        for file in self._files.values():
            file.close()


class _Hdf5:
    """Datasets of one chip a chunk, grown in steps."""

    def __init__(self, path: Path) -> None:
        self._file = h5py.File(path, "w")
        self._count = 0

    def __enter__(self) -> _Hdf5:
        return self

    def append(self, chip: Chip) -> None:
        for part, array in zip(_PARTS, chip, strict=True):
            if part not in self._file:
                self._file.create_dataset(
                    part,
                    shape=(0, *array.shape),
                    maxshape=(None, *array.shape),
                    chunks=(1, *array.shape),
                    dtype=array.dtype,
                    compression="gzip",
                    compression_opts=4,
                    shuffle=True,
                    fletcher32=True,
                )
            self._dataset(part).resize(self._count + 1, axis=0)
            self._dataset(part)[self._count] = array
        self._count += 1

    def finish(self, index: dict[str, Any]) -> None:
        text = json.dumps(index).encode()
        self._file.create_dataset("index", data=np.frombuffer(text, np.uint8), compression="gzip", fletcher32=True)
        self._file["images"].attrs["about"] = "(n, c, h, w); masks and valid are (n, h, w); index is JSON in UTF-8"

    def _dataset(self, part: str) -> Any:
        return self._file[part]

    def __exit__(self, *error: object) -> None:
        self._file.close()


def _npy_header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """Version 1.0 of NumPy's format, padded to a fixed length."""
    told = repr({"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})
    start = b"\x93NUMPY\x01\x00" + (_HEADER_BYTES - 10).to_bytes(2, "little")
    return start + told.encode().ljust(_HEADER_BYTES - 11) + b"\n"


@contextmanager
def _whole_folder(path: Path) -> Iterator[Path]:
    """A folder beside ``path`` that takes its place when the block ends well, and is removed when it does not."""
    partial = path.with_name(f".{path.name}.partial-{secrets.token_hex(4)}")
    try:
        partial.mkdir(parents=True)
        yield partial
        partial.rename(path)
    except OSError as error:
        raise OutputError(f"a folder that can be written at {path}", str(error), "choose another place") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


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
