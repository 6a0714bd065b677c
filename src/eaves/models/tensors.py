"""Safetensors files, read with a word of explanation for every way in which they can be wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from eaves.errors import ModelFileError

PICKLE_SUFFIXES = {".pth", ".pt", ".ckpt", ".pkl", ".pickle", ".bin", ".tar"}


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file.

    Returns:
        The tensors by name, on the CPU, as stored; and the file's metadata.

    Raises:
        ModelFileError: The file is missing, a pickle, damaged, or of another kind.
    """
    with _opened(Path(path)) as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118


def read_metadata(path: str | Path) -> dict[str, str]:
    """Read only the metadata of a safetensors file; raises as :func:`read_tensors`."""
    with _opened(Path(path)) as file:
        return file.metadata() or {}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise ModelFileError("a safetensors file", f"{path}: {error.strerror}", "check the path") from None
    # A zip is what torch.save writes, and 0x80 opens a pickle; but so does the length of one safetensors header in 32,
    # whose ninth byte is the brace of its JSON.
    pickled = start[:4] == b"PK\x03\x04" or (start[:1] == b"\x80" and start[8:] != b"{")
    if pickled or path.suffix.lower() in PICKLE_SUFFIXES:
        raise ModelFileError(
            "a safetensors file",
            f"{path}, a pickle of PyTorch or another program",
            "write its state_dict with safetensors.torch.save_file, in a program that trusts it, and use that file",
            because="reading a pickle can run any code that its maker put there",
        )
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            yield file
    except SafetensorError as error:
        raise ModelFileError("a safetensors file", f"{path}: {error}", "fetch or write the file again") from error
