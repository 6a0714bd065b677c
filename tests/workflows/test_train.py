"""``eaves train`` from Python: what judges, what resumes, and which rate to begin with."""

import csv
import json

import pytest

import eaves
from eaves.errors import EavesWarning, SettingsError, TrainingError
from eaves.train import read_curves
from eaves.workflows.train import find_learning_rate, train_model

SMALL = [
    "model.options={widths='narrow', batch_norm=true}",
    "chips.gsd_m=0.3",
    "chips.chip_px=32",
    "chips.per_epoch=8",
    "chips.block_m=10",
    "fit.epochs=1",
    "fit.batch=4",
    "fit.precision='fp32'",
]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Two small cities: one trains and validates, the other tests."""
    folder = tmp_path_factory.mktemp("cities")
    text = 'credits = ["made here"]\n'
    for name, split in (("a", "block"), ("b", "test")):
        eaves.synth_city(folder / name, size_px=160, seed=4 + len(name))
        text += f'[[scene]]\nimage = "{name}/scene.tif"\nlabels = "{name}/buildings.gpkg"\nsplit = "{split}"\n'
    (folder / "dataset.toml").write_text(text)
    return folder / "dataset.toml"


def test_the_test_scenes_judge_where_that_is_asked_for(dataset, tmp_path):
    with pytest.warns(EavesWarning, match="picked on the test scenes"):
        run = train_model("unet28", dataset, tmp_path / "run", changes=[*SMALL, "fit.choose_on='test'"])
    card = eaves.load_model(run.model)[1]
    assert card.trained["chosen_on"] == "test"
    assert "test_iou" in read_curves(run.folder / "curves.csv")[0]
    plain = train_model("unet28", dataset, tmp_path / "plain", changes=SMALL)
    assert plain.best["train_loss"] == run.best["train_loss"]  # the same chips train
    assert plain.best["val_loss"] != run.best["test_loss"]


def test_another_recipe_leaves_the_run_as_it_was(dataset, tmp_path):
    train_model("unet28", dataset, tmp_path, changes=SMALL)
    before = (tmp_path / "run.json").read_bytes()
    with pytest.raises(TrainingError, match=r"fit\.learning_rate = 0\.001, which is now 0\.5"):
        train_model("unet28", dataset, tmp_path, changes=[*SMALL, "fit.learning_rate=0.5", "fit.epochs=2"], resume=True)
    assert (tmp_path / "run.json").read_bytes() == before
    run = train_model("unet28", dataset, tmp_path, changes=[*SMALL, "fit.epochs=2"], resume=True)
    assert len(run.curves) == 2
    assert json.loads((tmp_path / "run.json").read_text())["settings"]["fit"]["epochs"] == 2


def test_the_rate_is_written_and_returned(dataset, tmp_path):
    curve = find_learning_rate("unet28", dataset, tmp_path, changes=SMALL, steps=30)
    with (tmp_path / "rate.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["rate"]) for row in rows] == curve.rates.tolist()
    assert [float(row["loss"]) for row in rows] == curve.losses.tolist()
    assert curve.suggestion in curve.rates
    assert (tmp_path / "rate.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rate.csv", "rate.png"]  # no model, no run


def test_a_store_without_test_chips_cannot_judge_by_them(dataset, tmp_path):
    chips = eaves.sample_chips(dataset, tmp_path / "chips", recipe="unet28", changes=SMALL)
    with pytest.raises(SettingsError, match="test chips"):
        train_model("unet28", chips.path, tmp_path / "run", changes=[*SMALL, "fit.choose_on='test'"])
