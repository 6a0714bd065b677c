from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from eaves.errors import OutputError
from eaves.exchange.atomic import check_writable, whole_file


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def test_file_appears_at_the_end_in_new_folders(tmp_path):
    path = tmp_path / "ein Ordner" / "größe.txt"
    with whole_file(path) as partial:
        assert partial.parent == path.parent
        assert partial.suffix == ".txt"
        partial.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert names(path.parent) == [path.name]


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit])
def test_failure_leaves_the_earlier_file_and_nothing_else(tmp_path, kind):
    path = tmp_path / "result.gpkg"
    path.write_text("earlier")

    def write_half():
        with whole_file(path) as partial:
            partial.write_text("half")
            partial.with_name(partial.name + "-journal").write_text("journal")
            partial.with_suffix(".tmp").write_text("aside")
            raise kind

    with pytest.raises(kind):
        write_half()
    assert path.read_text() == "earlier"
    assert names(tmp_path) == [path.name]


def test_companions_move_along_and_stale_ones_go(tmp_path):
    path = tmp_path / "roads.shp"
    for suffix in (".shp", ".qix", ".dbf", ".txt"):
        path.with_suffix(suffix).write_text("old")
    with whole_file(path) as partial:
        for suffix in (".shp", ".dbf", ".shx"):
            partial.with_suffix(suffix).write_text("new")
    found = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert found == {"roads.shp": "new", "roads.dbf": "new", "roads.shx": "new", "roads.txt": "old"}


def test_stale_write_ahead_log_is_not_applied_to_the_new_file(tmp_path):
    (tmp_path / "a.gpkg-wal").write_text("of the old file")
    with whole_file(tmp_path / "a.gpkg") as partial:
        partial.write_text("new")
    assert names(tmp_path) == ["a.gpkg"]


def geodatabase(path, *tables):
    path.mkdir()
    for number in (*range(1, 9), *tables):
        (path / f"a{number:08x}.gdbtable").write_text(str(tables))
    return path


def contents(path):
    return {file.name: file.read_text() for file in path.iterdir()}


def test_a_geodatabase_takes_the_place_of_another_whole(tmp_path):
    path = geodatabase(tmp_path / "a.gdb", 9)
    with whole_file(path) as partial:
        geodatabase(partial, 10)
        partial.with_suffix(".qml").write_text("style")
        assert (path / "a00000009.gdbtable").exists()
    assert names(tmp_path) == ["a.gdb", "a.qml"]
    assert "a0000000a.gdbtable" in contents(path)
    assert "a00000009.gdbtable" not in contents(path)


def test_a_geodatabase_takes_the_place_of_a_file(tmp_path):
    (tmp_path / "a.gdb").write_text("file")
    with whole_file(tmp_path / "a.gdb") as partial:
        geodatabase(partial, 9)
    assert names(tmp_path) == ["a.gdb"]
    assert (tmp_path / "a.gdb").is_dir()


@pytest.mark.parametrize("kind", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("moment", ["while it is written", "between the renames"])
def test_a_geodatabase_that_fails_leaves_the_earlier_one(tmp_path, monkeypatch, kind, moment):
    path = geodatabase(tmp_path / "a.gdb", 9)
    before = contents(path)
    real = Path.rename

    def rename(self, place):
        if "partial" in self.name:
            assert not path.exists()
            raise kind
        return real(self, place)

    def write():
        with whole_file(path) as partial:
            geodatabase(partial, 10)
            if moment == "while it is written":
                raise kind
            monkeypatch.setattr(Path, "rename", rename)

    with pytest.raises((OutputError, kind)):
        write()
    assert names(tmp_path) == ["a.gdb"]
    assert contents(path) == before


def test_a_geodatabase_of_several_tables_is_not_replaced(tmp_path):
    check_writable(geodatabase(tmp_path / "empty.gdb"))
    check_writable(geodatabase(tmp_path / "one.gdb", 0x1F))
    with pytest.raises(OutputError, match="2 tables in it"):
        check_writable(geodatabase(tmp_path / "two.gdb", 9, 10))
    (tmp_path / "folder.gdb").mkdir()
    with pytest.raises(OutputError, match="a folder"):
        check_writable(tmp_path / "folder.gdb")


def test_long_names_and_brackets_work(tmp_path):
    path = tmp_path / ("[x] ä" + "n" * 240 + ".json")
    assert len(path.name.encode()) > 245
    with whole_file(path) as partial:
        partial.write_text("{}")
    assert names(tmp_path) == [path.name]


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="a folder"):
        check_writable(tmp_path)
    with pytest.raises(OutputError, match="not a folder"):
        check_writable(tmp_path / "file" / "x.tif")
    with pytest.raises(OutputError):
        check_writable(tmp_path / ("n" * 300))
    check_writable(tmp_path / "new" / "deep" / "x.tif")
    assert not (tmp_path / "new").exists()
    with pytest.raises(OutputError), whole_file(tmp_path / "file" / "x.tif"):
        pass


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="refuses new files"):
        check_writable(tmp_path / "x.tif")
    tmp_path.chmod(0o700)


def test_block_that_makes_no_file_is_an_error(tmp_path):
    with pytest.raises(OutputError, match="finished file"), whole_file(tmp_path / "x"):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_full_disk_is_an_output_error_and_leaves_nothing(tmp_path):
    code = f"""
import resource
from eaves.errors import OutputError
from eaves.exchange.atomic import whole_file
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with whole_file({str(tmp_path / "x.bin")!r}) as partial:
        partial.write_bytes(bytes(5000))
except OutputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "free some room" in done.stdout
    assert names(tmp_path) == []


def test_a_name_without_a_suffix_appears_too(tmp_path) -> None:
    with whole_file(tmp_path / "chips") as partial:
        partial.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["chips"]
