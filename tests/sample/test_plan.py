from __future__ import annotations

import pickle

import numpy as np
import pytest
import shapely
from affine import Affine

from eaves.errors import EavesWarning, LabelError, SettingsError
from eaves.labels import UNKNOWN
from eaves.sample import ChipPlan
from eaves.settings import ChipSettings, ClassSettings, LabelSource, SceneEntry

SMALL = ChipSettings(chip_px=64, per_epoch=40, block_m=24.0)


def plan_of(dataset, settings=SMALL, seed=0, **changes) -> ChipPlan:
    return ChipPlan.of_dataset(dataset, settings.model_copy(update=changes), seed)


def known_by(plan: ChipPlan, draws) -> np.ndarray:
    """Pixels of the only scene that some chip tells the class of."""
    rows, cols = plan.scenes[0].shape
    known = np.zeros((rows + 128, cols + 128), bool)
    for draw in draws:
        row, col = int(draw.window.row_off) + 64, int(draw.window.col_off) + 64
        known[row : row + 64, col : col + 64] |= plan.load(draw).mask != UNKNOWN
    return known[64:-64, 64:-64]


@pytest.mark.parametrize("windows", ["random", "grid", "balanced"])
def test_same_seed_same_chips(place, windows):
    dataset = place().town()
    one, two, other = (plan_of(dataset, windows=windows, seed=seed) for seed in (5, 5, 6))
    assert one.train(3) == two.train(3)
    assert one.val() == two.val() == one.val()
    assert one.train(3) != one.train(4)
    assert one.train(3) != other.train(3)
    for ours, theirs in zip(one.load(one.train(3)[0])[:3], two.load(two.train(3)[0])[:3], strict=True):
        assert (ours == theirs).all()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("windows", ["random", "grid"])
def test_no_pixel_trains_and_validates(place, windows, seed):
    dataset = place(330, 270).town()
    plan = plan_of(dataset, seed=seed, windows=windows, per_epoch=150, min_known=0.05)
    train, val = known_by(plan, plan.train(0)), known_by(plan, plan.val())
    assert not (train & val).any()
    assert train.sum() > 0.6 * train.size
    assert 0.1 < val.sum() / val.size < 0.3


def test_validation_sees_all_that_is_its_own(place):
    plan = plan_of(place(330, 270).town())
    everything = sum(plan.scenes[index].overview.counts.sum() for index in {draw.scene for draw in plan.val()})
    assert known_by(plan, plan.val()).sum() == everything


def test_named_splits_stay_apart(place):
    here = place()
    labels = (LabelSource(path=here.houses()),)
    entries = [
        SceneEntry(image=here.image(f"{split}.tif"), labels=labels, split=split) for split in ("train", "val", "test")
    ]
    plan = plan_of(here.dataset(*entries, credits=("me",)))
    assert {plan.scenes[draw.scene].name for draw in plan.train(0)} == {"train.tif"}
    assert {plan.scenes[draw.scene].name for draw in plan.val()} == {"val.tif"}
    assert plan.credits == ("me",)
    assert plan.classes == ("background", "building")
    assert plan.gsd_m == pytest.approx(0.5, rel=0.01)
    assert len(plan.val()) == 4 * 4
    assert len(plan_of(here.dataset(*entries), val_chips=5).val()) == 5


def test_the_test_scenes_may_judge(place):
    here = place()
    labels = (LabelSource(path=here.houses()),)
    entries = [
        SceneEntry(image=here.image(f"{split}.tif"), labels=labels, split=split) for split in ("train", "val", "test")
    ]
    plan = ChipPlan.of_dataset(here.dataset(*entries), SMALL, judge="test")
    assert {plan.scenes[draw.scene].name for draw in plan.train(0)} == {"train.tif"}
    assert {plan.scenes[draw.scene].name for draw in plan.val()} == {"test.tif"}
    assert len(plan.val()) == 4 * 4
    with pytest.raises(SettingsError, match="scenes of split 'test'"):
        ChipPlan.of_dataset(here.dataset(*entries[:2]), SMALL, judge="test")


@pytest.mark.parametrize("split", ["block", "random"])
def test_where_test_scenes_judge_the_others_train_as_ever(place, split):
    here = place()
    labels = (LabelSource(path=here.houses()),)
    entries = [SceneEntry(image=here.image(f"{part}.tif"), labels=labels, split=part) for part in (split, "test")]
    dataset = here.dataset(*entries)
    usual, judged = (ChipPlan.of_dataset(dataset, SMALL, judge=judge) for judge in ("val", "test"))
    assert {usual.scenes[draw.scene].name for draw in usual.val()} == {f"{split}.tif"}
    assert {judged.scenes[draw.scene].name for draw in judged.val()} == {"test.tif"}
    assert judged.train(0) == usual.train(0)


def test_without_validation(place):
    assert plan_of(place().town(split="train")).val() == []


@pytest.mark.parametrize(("windows", "train", "val"), [("random", 40, 10), ("grid", 13, 3)])
def test_a_random_split_draws_both_from_everywhere(place, windows, train, val):
    plan = plan_of(place().town(split="random"), windows=windows)
    assert len(plan.train(0)) == train
    assert len(plan.val()) == val
    assert plan.val() == plan.val()
    if windows == "grid":
        assert not set(plan.train(0)) & set(plan.val())


def test_balanced_chips_reach_the_wanted_share(place):
    here = place(400, 400)
    houses = here.vectors("few.gpkg", [shapely.box(300, 300, 330, 330)])
    dataset = here.dataset(SceneEntry(image=here.image(), labels=(LabelSource(path=houses),), split="train"))
    plain = plan_of(dataset)
    balanced = plan_of(dataset, windows="balanced", min_share=0.1, share_of_balanced=0.75)
    shares = [[(plan.load(d).mask == 1).mean() for d in plan.train(0)] for plan in (plain, balanced)]
    assert np.mean(np.array(shares[0]) >= 0.1) < 0.3
    assert sum(share >= 0.1 for share in shares[1]) >= 30
    assert sum(share == 0 for share in shares[1]) >= 4  # the rest comes from everywhere


def test_balanced_takes_turns_with_several_classes(place):
    here = place(400, 400)
    sources = (
        LabelSource(path=here.vectors("a.gpkg", [shapely.box(20, 20, 80, 80)]), class_="building"),
        LabelSource(path=here.vectors("b.gpkg", [shapely.box(300, 300, 360, 360)]), class_="road"),
    )
    dataset = here.dataset(
        SceneEntry(image=here.image(), labels=sources, split="train"),
        classes=ClassSettings(names=("background", "building", "road", "water")),
    )
    plan = plan_of(dataset, windows="balanced", min_share=0.2, share_of_balanced=1.0)
    found = [np.bincount(plan.load(draw).mask.ravel(), minlength=3)[1:3] >= 0.2 * 64**2 for draw in plan.train(0)]
    assert np.sum(found, axis=0).tolist() == [20, 20]


def test_balanced_says_when_it_cannot(place):
    with pytest.warns(EavesWarning, match="no 64 px chip holds 3687 px"):
        assert len(plan_of(place().town(), windows="balanced", min_share=0.9).train(0)) == 40


def test_empty_chips_are_dropped_and_counted(place):
    here = place(320, 320)
    houses = here.vectors("few.gpkg", [shapely.box(70, 70, 80, 80), shapely.box(120, 120, 140, 140)])
    dataset = here.dataset(SceneEntry(image=here.image(), labels=(LabelSource(path=houses),), split="train"))
    kept = plan_of(dataset, windows="grid")
    assert len(kept.train(0)) == 25
    dropped = plan_of(dataset, windows="grid", keep_empty=False)
    assert {(d.window.row_off, d.window.col_off) for d in dropped.train(0)} == {
        (64, 64),
        (64, 128),
        (128, 64),
        (128, 128),
    }
    counts = dropped.counts["train"]
    assert (counts.considered, counts.empty, counts.unknown, counts.kept) == (25, 21, 0, 4)
    random = plan_of(dataset, keep_empty=False)
    assert all((random.load(draw).mask == 1).any() for draw in random.train(0))


def test_chips_with_too_little_known_are_dropped(place):
    here = place(320, 320)
    aoi = here.vectors("aoi.gpkg", [shapely.Polygon([(50, 50), (200, 60), (180, 210), (40, 170)])])
    labels = (LabelSource(path=here.houses()),)
    entry = SceneEntry(image=here.image(nodata=0), labels=labels, aoi=aoi, split="train")
    for windows in ("random", "grid"):
        plan = plan_of(here.dataset(entry), windows=windows, min_known=0.6, stride_px=20)
        draws = plan.train(0)
        assert len(draws) > 5
        assert all((plan.load(draw).mask != UNKNOWN).mean() >= 0.6 for draw in draws)
    assert plan.counts["train"].unknown > 0
    every = plan_of(here.dataset(entry), windows="grid", min_known=0.0, stride_px=20)
    exact = sum((every.load(draw).mask != UNKNOWN).mean() >= 0.6 for draw in every.train(0))
    assert len(draws) == exact


def test_windows_go_where_more_is_known(place):
    here = place(200, 400)
    labels = (LabelSource(path=here.houses()),)
    small = here.vectors("small.gpkg", [shapely.box(0, 0, 100, 200)])
    entries = (
        SceneEntry(image=here.image("a.tif"), labels=labels, split="train"),
        SceneEntry(image=here.image("b.tif"), labels=labels, split="train", aoi=small),
    )
    draws = plan_of(here.dataset(*entries), per_epoch=500).train(0)
    assert 0.12 < np.mean([draw.scene == 1 for draw in draws]) < 0.28  # a fifth of the known area


def test_a_scene_smaller_than_a_chip(place):
    plan = plan_of(place(50, 50).town(split="train"))
    assert {(d.window.row_off, d.window.col_off) for d in plan.train(0)} == {(-7, -7)}


def test_a_plan_crosses_to_another_process(place):
    plan = ChipPlan.of_dataset(place().town(), SMALL, instances=True)
    again = pickle.loads(pickle.dumps(plan))
    assert again.train(1) == plan.train(1)
    for ours, theirs in zip(plan.load(plan.val()[0]), again.load(again.val()[0]), strict=True):
        assert (np.asarray(ours) == np.asarray(theirs)).all()


def test_what_cannot_be_drawn_is_said(place):
    with pytest.raises(LabelError, match="windows looked at"):
        plan_of(place(40, 40).town(split="train"), min_known=0.9).train(0)
    with pytest.raises(SettingsError, match="two blocks"):
        plan_of(place().town(), block_m=1000.0)


def test_scenes_of_different_resolution_are_told(place):
    here = place()
    labels = (LabelSource(path=here.houses()),)
    finer = here.raster(
        "finer.tif", np.ones((3, 250, 300), np.uint8), transform=Affine(0.4, 0, 350_000, 0, -0.4, 3_060_100)
    )
    entries = [SceneEntry(image=name, labels=labels, split="train") for name in (finer, here.image())]
    with pytest.warns(EavesWarning, match="differ in resolution"):
        plan_of(here.dataset(*entries))
