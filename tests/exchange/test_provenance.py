from __future__ import annotations

from pathlib import Path

import pytest

from eaves.errors import SceneError
from eaves.exchange.provenance import fingerprint, pack, unpack


def test_metadata_comes_back():
    assert unpack(pack({"command": 'é "x"', "inputs": {"a": [1, 2]}})) == {"command": 'é "x"', "inputs": {"a": [1, 2]}}
    assert unpack(pack({"path": Path("a/b")})) == {"path": "a/b"}
    assert unpack(pack(None)) == unpack(None) == unpack("not JSON") == unpack("[1]") == unpack(b"\xff") == {}


def test_content_counts_and_names_do_not(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"same")
    b.write_bytes(b"same")
    assert fingerprint(a) == fingerprint(b)
    assert fingerprint(a).startswith("sha256:")
    b.write_bytes(b"samE")
    assert fingerprint(a) != fingerprint(b)


def test_large_files_are_sampled_from_end_to_end(tmp_path):
    path = tmp_path / "large"
    size = 65 << 20
    with path.open("wb") as file:
        file.truncate(size)
    plain = fingerprint(path)
    assert plain.startswith("sha256-sampled:")
    seen = {plain}
    for at in (0, size // 3, size - 1):
        with path.open("r+b") as file:
            file.seek(at)
            file.write(b"x")
        seen.add(fingerprint(path))
    assert len(seen) == 4


def test_folders_count_by_names_and_contents(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "file").write_text("x")
    assert fingerprint(tmp_path / "one") == fingerprint(tmp_path / "two")
    (tmp_path / "two" / "deep" / "file").rename(tmp_path / "two" / "deep" / "other")
    assert fingerprint(tmp_path / "one") != fingerprint(tmp_path / "two")


def test_missing_file(tmp_path):
    with pytest.raises(SceneError, match="check the path"):
        fingerprint(tmp_path / "nothing.tif")
