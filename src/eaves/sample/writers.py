"""Write chips one after the other, in either of Eaves' own formats."""

from __future__ import annotations

import io
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, Self

import h5py
import numpy as np

from eaves.errors import OutputError
from eaves.sample.record import ChipRecord
from eaves.sample.source import Chip

PARTS = ("images", "masks", "valid", "instances")
"""The arrays of a store, in the order of a chip's first fields; the last where chips have it. Scores are not kept."""

_HEADER_BYTES = 128


class Writer(Protocol):
    """Writes chips inside a ``with`` block."""

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def append(self, record: ChipRecord, told: dict[str, Any]) -> None:
        """Add a chip and what is told of it."""
        ...

    def finish(self, index: dict[str, Any]) -> None:
        """Write what makes the store whole: what is told of all chips."""
        ...

    def __exit__(self, *error: object) -> None:
        """End, well or not."""
        ...


class FolderWriter:
    """Writes ``.npy`` files. Arrays grow at the end; their headers, which hold the count, are written last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, io.BufferedWriter] = {}
        self._kinds: dict[str, tuple[np.dtype, tuple[int, ...]]] = {}
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def append(self, record: ChipRecord, told: dict[str, Any]) -> None:
        """Add a chip; all have the shapes and types of the first."""
        for part, array in _arrays(record.chip):
            if part not in self._files:
                self._files[part] = (self._folder / f"{part}.npy").open("wb")
                self._files[part].write(bytes(_HEADER_BYTES))
                self._kinds[part] = (array.dtype, array.shape)
            self._files[part].write(np.ascontiguousarray(array).data)
        self._count += 1

    def finish(self, index: dict[str, Any]) -> None:
        """Write what makes the store whole."""
        for part, file in self._files.items():
            dtype, shape = self._kinds[part]
            file.seek(0)
            file.write(_npy_header(dtype, (self._count, *shape)))
            file.flush()
            os.fsync(file.fileno())
        (self._folder / "index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")

    def __exit__(self, *error: object) -> None:
        for file in self._files.values():
            file.close()


class Hdf5Writer:
    """Writes one HDF5 file: a chunk is a chip, compressed and with a checksum."""

    def __init__(self, path: Path) -> None:
        self._file = h5py.File(path, "w")
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def append(self, record: ChipRecord, told: dict[str, Any]) -> None:
        """Add a chip; all have the shapes and types of the first."""
        for part, array in _arrays(record.chip):
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
        """Write what makes the store whole."""
        text = json.dumps(index).encode()
        self._file.create_dataset("index", data=np.frombuffer(text, np.uint8), compression="gzip", fletcher32=True)
        self._file["images"].attrs["about"] = "(n, c, h, w); masks and valid are (n, h, w); index is JSON in UTF-8"

    def _dataset(self, part: str) -> Any:
        return self._file[part]

    def __exit__(self, *error: object) -> None:
        self._file.close()


def _arrays(chip: Chip) -> list[tuple[str, np.ndarray]]:
    return [(part, array) for part, array in zip(PARTS, chip, strict=False) if array is not None]


def _npy_header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """Version 1.0 of NumPy's format, padded to a fixed length."""
    told = repr({"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape})
    start = b"\x93NUMPY\x01\x00" + (_HEADER_BYTES - 10).to_bytes(2, "little")
    return start + told.encode().ljust(_HEADER_BYTES - 11) + b"\n"


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
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
