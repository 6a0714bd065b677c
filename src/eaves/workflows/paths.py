"""Outputs that would destroy an input, or each other."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from eaves.errors import OutputError
from eaves.exchange.database import is_database


def check_apart(outputs: Iterable[str | Path | None], inputs: Iterable[str | Path | None]) -> None:
    """Refuse to write a file that is read, or two results into one file.

    Args:
        outputs: What will be written; none is left out, tables of a database are compared by name.
        inputs: What will be read.

    Raises:
        OutputError: Two of them are one.

    Example:
        >>> check_apart(["a.gpkg"], ["b.gpkg", "c.tif"])
    """
    read = {_place(path) for path in inputs if path is not None}
    written: set[str] = set()
    for path in outputs:
        if path is None:
            continue
        place = _place(path)
        if place in read:
            raise OutputError("an output that is no input", f"{path}, which is read", "choose another output")
        if place in written:
            raise OutputError("outputs of different names", f"{path} twice", "choose another name for one of them")
        written.add(place)


def _place(path: str | Path) -> str:
    text = str(path)
    return text if is_database(path) or "://" in text or text.startswith("/vsi") else str(Path(path).resolve())
