"""Files, and geodatabases, appear whole or not at all: written aside, flushed to the disk, renamed."""

from __future__ import annotations

import errno
import glob
import os
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from eaves.errors import OutputError
from eaves.exchange.database import check_table, is_database

# What a program may have left beside an earlier file of the same name, and would wrongly apply to the new one.
_COMPANIONS = {
    ".gpkg": (".gpkg-wal", ".gpkg-shm", ".gpkg-journal"),
    ".shp": (".shx", ".dbf", ".prj", ".cpg", ".qix", ".sbn", ".sbx", ".eaves.json"),
    ".tif": (".tif.aux.xml", ".tif.ovr", ".tif.msk"),
}
_SYSTEM_TABLES = 8  # of a geodatabase, in the files a00000001 to a00000008; layers and tables come after them
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Write a file aside and move it to its place when it is complete.

    What lies beside the temporary file under its name (the parts of a Shapefile, an ``.aux.xml``) moves with it, the
    file itself last. Any exception, an interrupt from the keyboard too, removes all of them and leaves an earlier
    file as it was. The folders of ``path`` are created. A geodatabase, ``.gdb``, is a folder: two renames put a new one
    into the place of an earlier one, and between them there is none.

    Args:
        path: Where the file shall appear.

    Yields:
        A path in the same folder with the same suffix; the block has to create that file, or folder.

    Raises:
        OutputError: The place cannot be written, the disk is full, or the block made no file.

    Example:
        >>> with whole_file("report.json") as partial:  # doctest: +SKIP
        ...     partial.write_text("{}")
    """
    path = Path(path)
    check_writable(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _refused(path, error) from None
    stem = path.stem.encode()[:150].decode(errors="ignore")  # leaves room in the 255 bytes that a name may have
    base = path.with_name(f".{stem}.partial-{secrets.token_hex(4)}")
    partial = base.with_name(base.name + path.suffix)
    try:
        yield partial
        _move(partial, base, path)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise _refused(path, error) from error
        raise
    finally:
        for left in _named_after(base):  # nothing is left where all has moved
            _remove(left)


def check_writable(path: str | Path) -> None:
    """Fail before long work rather than after it. Creates nothing.

    Args:
        path: A file, a geodatabase, or a table of a database, which is asked.

    Raises:
        OutputError: ``path`` is a folder that is no geodatabase of one layer, or a GeoPackage of several; its name is
            too long, its nearest existing folder refuses new files, or the database does.
    """
    if is_database(path):
        check_table(path)
        return
    path = Path(path)
    try:
        if _is_geodatabase(path):
            _check_single(path)
        elif path.suffix.lower() == ".gpkg" and path.is_file():
            _check_layers(path)
        elif path.is_dir():
            raise OutputError(f"a file name for {path}", "a folder", f"add a name, for example {path / 'result'}")
        folder = next(parent for parent in path.absolute().parents if parent.exists())
    except OSError as error:  # the name is too long to be looked up
        raise _refused(path, error) from None
    if len(path.name.encode()) > 255:
        raise OutputError(f"a file name of at most 255 bytes in {folder}", f"{len(path.name.encode())}", "shorten it")
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        kind = "which refuses new files" if folder.is_dir() else "which is not a folder"
        raise OutputError(f"a place where {path} can be written", f"{folder}, {kind}", "choose another output")


def _is_geodatabase(path: Path) -> bool:
    return path.suffix.lower() == ".gdb" and (path / "a00000001.gdbtable").is_file()


def _check_single(path: Path) -> None:
    """Refuse to replace a geodatabase that may hold the work of others beside one layer."""
    tables = sum(int(file.stem[1:], 16) > _SYSTEM_TABLES for file in path.glob("a????????.gdbtable"))
    if tables > 1:
        raise OutputError(f"a new geodatabase, or one layer in {path}", f"{tables} tables in it", "choose another name")


def _check_layers(path: Path) -> None:
    """Refuse to replace a GeoPackage that holds other layers than one; styles are none."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            rows = database.execute("SELECT table_name FROM gpkg_contents WHERE table_name <> 'layer_styles'")
            layers = [str(name) for (name,) in rows]
    except sqlite3.Error:  # no GeoPackage, or a damaged one
        return
    if len(layers) > 1:
        raise OutputError(
            f"a new GeoPackage, or one layer in {path}", f"{', '.join(sorted(layers))}", "choose another name"
        )


def _move(partial: Path, base: Path, path: Path) -> None:
    if not partial.exists():
        raise OutputError(f"a finished file for {path}", "none", "report this with the command that was run")
    parts = sorted(_named_after(base), key=lambda part: part == partial)  # the file itself last
    for part in parts:
        for file in part.iterdir() if part.is_dir() else [part]:
            _flush(file, os.O_RDWR)
    try:
        for suffix in _COMPANIONS.get(path.suffix.lower(), ()):
            path.with_name(path.stem + suffix).unlink(missing_ok=True)
        for part in parts:
            place = path.with_name(path.stem + part.name.removeprefix(base.name))
            if part.is_dir():
                _replace_folder(part, place)
            else:
                part.replace(place)
    except OSError as error:
        raise _refused(path, error) from error
    if os.name == "posix":  # elsewhere a folder cannot be opened
        _flush(path.parent, os.O_RDONLY)


def _replace_folder(part: Path, place: Path) -> None:
    """No system renames a folder onto one that is not empty."""
    if not place.exists():
        part.rename(place)
        return
    earlier = place.with_name(f".{place.name}.replaced-{secrets.token_hex(4)}")
    place.rename(earlier)
    try:
        part.rename(place)
    except BaseException:
        earlier.rename(place)
        raise
    _remove(earlier)


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _named_after(base: Path) -> list[Path]:
    return [Path(found) for found in glob.glob(f"{glob.escape(str(base))}*")]  # noqa: PTH207 escapes


def _flush(path: Path, mode: int) -> None:
    handle = os.open(path, mode)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _refused(path: Path, error: OSError) -> OutputError:
    remedy = "free some room or choose another disk" if error.errno in _NO_ROOM else "choose another output"
    return OutputError(f"a place where {path} can be written", f"{error.strerror or error}", remedy)
