"""No output destroys an input, or another output."""

from __future__ import annotations

import pytest

import eaves
from eaves.errors import OutputError
from eaves.workflows.paths import check_apart


def test_one_file_under_two_names_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b").mkdir()
    (tmp_path / "link.gpkg").symlink_to(tmp_path / "a.gpkg")
    check_apart(["a.gpkg", None, "b.gpkg"], [None, "c.gpkg", "https://example.org/a.gpkg"])
    for same in ("a.gpkg", "b/../a.gpkg", tmp_path / "a.gpkg", "link.gpkg"):
        with pytest.raises(OutputError, match="which is read"):
            check_apart(["a.gpkg"], [same])
        with pytest.raises(OutputError, match="twice"):
            check_apart(["a.gpkg", same], [])
    with pytest.raises(OutputError, match="which is read"):
        check_apart(["postgresql://me@host/db?table=a"], ["postgresql://me@host/db?table=a"])


def test_every_verb_leaves_its_inputs_alone(tmp_path):
    files = {name: tmp_path / name for name in ("s.tif", "m.safetensors", "a.gpkg", "c.json")}
    for path in files.values():
        path.write_text("kept")
    scene, model, layer, _ = files.values()
    other = tmp_path / "o.gpkg"
    for run in (
        lambda: eaves.predict_scores(scene, model, scene),
        lambda: eaves.extract_footprints(scene, model, other, scores=scene),
        lambda: eaves.extract_footprints(scene, model, other, scores=other),
        lambda: eaves.extract_footprints([scene], model, layer, calibration=layer),
        lambda: eaves.vectorize_scores(layer, layer),
        lambda: eaves.regularize_footprints(layer, layer),
        lambda: eaves.color_footprints(layer, scene, layer),
        lambda: eaves.refine_scores(scene, tmp_path / "t.tif", "crf", tmp_path / "t.tif"),
        lambda: eaves.calibrate_scores(layer, other, layer),
        lambda: eaves.change_footprints(layer, other, layer),
        lambda: eaves.change_footprints(layer, other, tmp_path / "n.gpkg", summary=layer),
        lambda: eaves.change_footprints(layer, other, tmp_path / "n.gpkg", summary=tmp_path / "n.gpkg"),
    ):
        with pytest.raises(OutputError, match=r"no input|different names"):
            run()
    assert all(path.read_text() == "kept" for path in files.values())
