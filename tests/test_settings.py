"""Recipes, datasets and options, read and refused."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from eaves.errors import SettingsError
from eaves.settings import (
    AugmentSettings,
    ChipSettings,
    ClassSettings,
    FitSettings,
    LossSettings,
    ModelSettings,
    Recipe,
    SceneEntry,
    load_dataset,
    load_recipe,
    override,
    parse,
    recipe_names,
)

FULL = """\
credits = ["Imagery: a, CC BY 4.0", "Labels: b, ODbL"]

[classes]
names = ["background", "building", "road"]
rest = "unknown"

[[scene]]
image = "north.tif"
labels = "buildings.gpkg"
aoi = "surveyed.geojson"
split = "train"
nodata = 255
bands = [1, 2, 3]

[[scene]]
image = "https://example.org/south.tif"
gsd_m = 0.07

[[scene.labels]]
path = "houses.gpkg"
layer = "roofs"
class = "building"

[[scene.labels]]
path = "roads.gpkg"
class = "road"
width_m = 7.0

[[scene.labels]]
path = "classes.png"
colors = { building = ["#3C1098"], unknown = ["#9B9B9B"] }
"""


def dataset(folder: Path, text: str):
    path = folder / "dataset.toml"
    path.write_text(text, encoding="utf-8")
    return load_dataset(path)


# --- datasets ---------------------------------------------------------------------------------------------------------


def test_a_dataset_is_read(tmp_path):
    read = dataset(tmp_path, FULL)
    first, second = read.scene
    assert read.classes.names == ("background", "building", "road")
    assert len(read.credits) == 2
    assert (first.split, first.nodata, first.bands) == ("train", 255, (1, 2, 3))
    assert [(source.path, source.class_) for source in first.labels] == [("buildings.gpkg", None)]
    assert (second.split, second.gsd_m, second.nodata, second.bands) == ("block", 0.07, None, None)
    assert [source.class_ for source in second.labels] == ["building", "road", None]
    assert second.labels[0].layer == "roofs"
    assert second.labels[1].width_m == 7
    assert second.labels[2].colors == {"building": ("#3C1098",), "unknown": ("#9B9B9B",)}


def test_paths_are_relative_to_the_file(tmp_path):
    read = dataset(tmp_path, '[[scene]]\nimage = "a/b.tif"')
    assert read.root == tmp_path
    assert read.locate("a/b.tif") == str(tmp_path / "a/b.tif")
    for path in ("https://example.org/b.tif", "/vsizip/b.zip/b.tif", "/elsewhere/b.tif"):
        assert read.locate(path) == path


def test_a_root_in_the_file_counts_from_its_folder(tmp_path):
    text = 'root = "{}"\n[[scene]]\nimage = "b.tif"'
    assert dataset(tmp_path, text.format("data")).locate("b.tif") == str(tmp_path / "data/b.tif")
    assert dataset(tmp_path, text.format("/data")).locate("b.tif") == "/data/b.tif"


def test_a_mark_at_the_beginning_is_no_text(tmp_path):
    assert dataset(tmp_path, '\ufeff[[scene]]\nimage = "b.tif"').scene[0].image == "b.tif"


@pytest.mark.parametrize(
    ("text", "wrong", "right"),
    [
        ('[[scene]]\nimage = "a.tif"\nsplitt = "val"', "scene.0.splitt", "split"),
        ('[[scene]]\nimgae = "a.tif"', "scene.0.imgae", "image"),  # which leaves `image` missing too
        ('[[scene]]\nimage = "a.tif"\n[[scene.labels]]\npath = "b"\nclss = "x"', "scene.0.labels.0.clss", "class"),
        ('[class]\nrest = "x"\n[[scene]]\nimage = "a.tif"', "class", "classes"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(tmp_path, text, wrong, right):
    with pytest.raises(SettingsError) as caught:
        dataset(tmp_path, text)
    assert f"unknown key {wrong!r}" in caught.value.received
    assert caught.value.do == f"write {right!r}"
    assert str(tmp_path / "dataset.toml") in caught.value.expected


@pytest.mark.parametrize(
    "labels",
    [
        '[[scene.labels]]\npath = "b.gpkg"\nclass = "bulding"',
        '[[scene.labels]]\npath = "b.tif"\nvalues = { bulding = [1] }',
        '[[scene.labels]]\npath = "b.tif"\ncolors = { bulding = ["#000000"] }',
    ],
)
def test_an_unknown_class_is_refused_with_the_nearest(tmp_path, labels):
    with pytest.raises(SettingsError) as caught:
        dataset(tmp_path, f'[[scene]]\nimage = "a.tif"\n{labels}')
    assert "'bulding'" in caught.value.received
    assert "a.tif" in caught.value.received
    assert caught.value.do == "write 'building'"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "scene"),
        ("scene = []", "scene"),
        ('[[scene]]\nimage = "a.tif"\nsplit = "trian"', "scene.0.split"),
        ('[[scene]]\nimage = "a.tif"\ngsd_m = 0', "scene.0.gsd_m"),
        ('[classes]\nnames = ["a"]\n[[scene]]\nimage = "a.tif"', "classes.names"),
        ('[[scene]]\nimage = "a.tif"\n[[scene.labels]]\nclass = "building"', "scene.0.labels.0.path"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_named(tmp_path, text, where):
    with pytest.raises(SettingsError) as caught:
        dataset(tmp_path, text)
    assert caught.value.expected.startswith(f"{where} in ")


def test_faults_are_counted_by_place(tmp_path):
    with pytest.raises(SettingsError, match=r"Received 3 \(and 1 more\)"):
        dataset(tmp_path, '[[scene]]\nimage = 3\nsplit = "x"')
    with pytest.raises(SettingsError, match=r"Received 3\. "):
        dataset(tmp_path, "[[scene]]\nimage = 3")
    with pytest.raises(SettingsError, match=r"Expected loss\.class_weights in .* Received 'medain'\. "):
        load_recipe("demo", ["loss.class_weights=medain"])


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(SettingsError, match=r"none\.toml, which does not exist"):
        load_dataset(tmp_path / "none.toml")


@pytest.mark.parametrize("content", [b'credits = []\n[[scene]\nimage = "a"', b'\n image = "\xff"'])
def test_what_is_no_toml_is_said(tmp_path, content):
    (tmp_path / "bad.toml").write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        load_dataset(tmp_path / "bad.toml")
    assert "a TOML file" in caught.value.expected
    if b"scene" in content:
        assert "line 2" in caught.value.received


def test_a_folder_is_no_toml(tmp_path):
    with pytest.raises(SettingsError, match="a TOML file"):
        load_dataset(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rest": "roads"},
        {"names": ("background", "background")},
        {"names": ("background", "unknown")},
        {"names": ("background",)},
    ],
    ids=str,
)
def test_classes_that_cannot_be_told_apart_are_refused(wrong):
    with pytest.raises(SettingsError):
        parse(ClassSettings, wrong, source="here")


@pytest.mark.parametrize("rest", ["background", "building", "unknown"])
def test_rest_is_a_class_or_unknown(rest):
    assert ClassSettings(rest=rest).rest == rest


# --- settings ---------------------------------------------------------------------------------------------------------


def test_settings_are_frozen():
    recipe = Recipe(name="a")
    with pytest.raises(ValidationError):
        recipe.name = "b"
    with pytest.raises(ValidationError):
        recipe.fit.epochs = 3


def test_none_unsets_a_number_and_nothing_else():
    recipe = load_recipe("deeplabv3plus-mobilenetv2", ["chips.gsd_m=none", "model.encoder_weights=none"])
    assert recipe.chips.gsd_m is None
    assert recipe.model.encoder_weights == "none"
    assert SceneEntry.model_validate({"image": "a", "aoi": "none"}).aoi == "none"
    with pytest.raises(SettingsError, match=r"fit\.epochs"):
        load_recipe("demo", ["fit.epochs=none"])


@pytest.mark.parametrize("assignment", ["fit.seed=-1", "chips.chip_px=31", "chips.val_share=1.0", "fit.batch=0"])
def test_numbers_out_of_range_are_refused(assignment):
    with pytest.raises(SettingsError, match=assignment.partition("=")[0]):
        load_recipe("demo", [assignment])


# --- overrides --------------------------------------------------------------------------------------------------------


def test_override_makes_tables_on_its_way_and_leaves_its_input():
    data = {"a": {"b": {"c": 1, "d": 2}}, "e": 3}
    before = json.dumps(data)
    assert override(data, ["a.b.c=5", "x.y.z=true", "a.b.new=[1, 2]"]) == {
        "a": {"b": {"c": 5, "d": 2, "new": [1, 2]}},
        "e": 3,
        "x": {"y": {"z": True}},
    }
    assert json.dumps(data) == before


def test_the_last_override_counts():
    assert override({}, ["a.b=1", "a.b=2"]) == {"a": {"b": 2}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("1e-3", 1e-3),
        ("true", True),
        ('"3"', "3"),
        ("adam", "adam"),
        (" adam ", "adam"),
        ("a/b=c.tif", "a/b=c.tif"),
        ("{ dice = 1.0 }", {"dice": 1.0}),
        ("", ""),
    ],
)
def test_values_are_toml_or_else_text(text, value):
    assert override({}, [f"key={text}"]) == {"key": value}


def test_a_path_through_a_value_is_refused():
    with pytest.raises(SettingsError, match=r"'fit\.epochs\.more', but 'epochs' is a value"):
        override({"fit": {"epochs": 3}}, ["fit.epochs.more=1"])


def test_an_assignment_needs_a_sign():
    with pytest.raises(SettingsError, match="key=value"):
        override({}, ["fit.epochs"])


@given(
    st.lists(st.tuples(st.lists(st.sampled_from("abc"), min_size=1, max_size=3), st.integers()), max_size=6),
)
def test_what_was_set_last_is_there(changes):
    try:
        result = override({}, [f"{'.'.join(path)}={value}" for path, value in changes])
    except SettingsError:  # a path through a value
        return
    if changes:
        inner: Any = result
        for name in changes[-1][0]:
            inner = inner[name]
        assert inner == changes[-1][1]


# --- recipes ----------------------------------------------------------------------------------------------------------


def test_lost_labels_do_not_go_with_steps_of_distance():
    for kind in ("classes", "border"):
        assert load_recipe("unet28", [f"target.kind={kind}", "loss.omission=0.2"]).loss.omission == 0.2
    with pytest.raises(SettingsError, match="no one step of distance"):
        load_recipe("unet28", ["target.kind=distance", "loss.omission=0.2"])


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_sound_and_says_where_it_comes_from(name):
    from eaves.models import LOSSES, build

    recipe = load_recipe(name)
    assert recipe.name == name
    network = build(recipe.model, in_channels=3, classes=2)
    assert recipe.chips.chip_px % network.stride == 0
    assert set(recipe.loss.terms) <= set(LOSSES)
    lines = files("eaves.recipes").joinpath(f"{name}.toml").read_text(encoding="utf-8").splitlines()
    header = [line for line in lines[: lines.index("")] if line.startswith("#")]
    said = [line[2:].split(":")[0] for line in header if not line.startswith("#  ")]
    assert said == ["Source", "Data", "Command", "Hours", "Expected"]


def test_recipes_are_listed_by_name():
    assert recipe_names() == sorted(recipe_names())
    assert "deeplabv3plus-mobilenetv2" in recipe_names()


def test_an_unknown_recipe_is_refused_with_the_nearest():
    with pytest.raises(SettingsError) as caught:
        load_recipe("unet82")
    assert caught.value.do == "write 'unet28'"
    with pytest.raises(SettingsError) as caught:
        load_recipe("zzz")
    assert all(name in caught.value.do for name in recipe_names())


def test_a_recipe_from_a_file_with_changes(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\n[fit]\nepochs = 3\n')
    assert load_recipe(path).fit.epochs == 3
    assert load_recipe(path, ["fit.epochs=7", "loss.terms.dice=0.5"]).fit.epochs == 7
    with pytest.raises(SettingsError) as caught:
        load_recipe(str(path), ["fit.epoch=7"])
    assert "'fit.epoch'" in caught.value.received
    assert caught.value.do == "write 'epochs'"


numbers = st.floats(1e-6, 1e3)
shares = st.floats(0, 0.99)
words = st.text(max_size=8)
recipes = st.builds(
    Recipe,
    name=words,
    model=st.builds(
        ModelSettings,
        arch=words,
        encoder_weights=words,
        options=st.dictionaries(words, st.one_of(st.integers(), st.booleans(), words, st.lists(st.integers()))),
    ),
    chips=st.builds(
        ChipSettings,
        chip_px=st.integers(32, 4096),
        gsd_m=st.none() | numbers,
        windows=st.sampled_from(["random", "grid", "balanced"]),
        stride_px=st.none() | st.integers(1, 512),
        min_known=shares,
        val_chips=st.none() | st.integers(1, 512),
        val_share=st.floats(0.01, 0.99),
    ),
    augment=st.builds(AugmentSettings, flip=st.booleans(), rotate_deg=st.floats(0, 180), scale=shares, gamma=numbers),
    loss=st.builds(
        LossSettings,
        terms=st.dictionaries(words, numbers),
        class_weights=st.sampled_from(["none", "median-frequency"]) | st.tuples(numbers, numbers),
    ),
    fit=st.builds(
        FitSettings,
        epochs=st.integers(1, 99),
        optimizer=st.sampled_from(["adam", "adamw", "sgd"]),
        learning_rate=numbers,
        encoder_learning_rate=st.none() | numbers,
        seed=st.integers(0, 2**40),
    ),
)


@settings(max_examples=40)
@given(recipes)
def test_a_recipe_survives_json(recipe):
    assert Recipe.model_validate(json.loads(json.dumps(recipe.model_dump(mode="json")))) == recipe
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
