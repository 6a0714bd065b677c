"""Processes that train together give what one would have given, and say what went wrong."""

import multiprocessing

import pytest
import torch
from rasterio.windows import Window

from eaves.errors import EavesWarning, SettingsError, TrainingError
from eaves.models import load_model
from eaves.progress import Progress, ignore
from eaves.sample import ChipRecord, open_chips, write_chips
from eaves.train import StoredChips, fit, read_curves
from eaves.train.together import _listen

SAME = ["model.options={widths='narrow'}", "fit.optimizer='sgd'", "fit.learning_rate=0.03", "fit.ema=0.5"]


@pytest.fixture(scope="module")
def chips(squares, tmp_path_factory):
    """A source that other processes can open: 13 training chips, 9 that judge, each of which knows all pixels."""
    source, path = squares(train=13, val=9), tmp_path_factory.mktemp("chips") / "chips"
    records = []
    for split, items in (("train", source.train(0)), ("val", source.val())):
        for item in items:
            chip = source.load(item)
            chip.mask[:4] = 0
            records.append(ChipRecord(chip, "s", Window(0, 0, 32, 32), split))
    write_chips(records, path, classes=source.classes)
    return StoredChips(open_chips(path))


def test_two_processes_are_one(recipe, chips, tmp_path):
    """Two take 2 of each batch of 4; a network without batch normalisation cannot tell."""
    seen = []
    alone = fit(recipe(*SAME, "fit.epochs=2"), chips, tmp_path / "one")
    run = fit(recipe(*SAME, "fit.epochs=2", "fit.processes=2"), chips, tmp_path / "two", on_progress=seen.append)
    for epoch in (1, 2):
        name = f"epochs/epoch_{epoch:03d}.safetensors"
        one, two = (load_model(folder / name)[0].state_dict() for folder in (alone.folder, run.folder))
        for key, value in one.items():
            torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-6, msg=key)
    for a, b in zip(alone.curves, run.curves, strict=True):
        assert {k: v for k, v in a.items() if k != "seconds"} == pytest.approx(
            {k: v for k, v in b.items() if k != "seconds"}, rel=1e-4
        )
    assert read_curves(run.folder / "curves.csv") == run.curves
    assert [at.done for at in seen] == [4, 8, 13, 17, 21, 26]
    names = [sorted(str(path.relative_to(r.folder)) for path in r.folder.rglob("*.*")) for r in (alone, run)]
    assert [n for n in names[0] if "events" not in n] == [n for n in names[1] if "events" not in n]
    assert sum("events" in name for name in names[1]) == 1


def test_what_cannot_be_is_told_before_processes_start(recipe, chips, tmp_path, monkeypatch):
    with pytest.raises(SettingsError, match="multiple of 2"):
        fit(recipe("fit.batch=3", "fit.processes=2"), chips, tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(SettingsError, match="a GPU for each of 2"):
        fit(recipe("fit.processes=2"), chips, tmp_path)
    assert not multiprocessing.active_children()


def test_what_cannot_be_sent_to_processes(recipe, squares, tmp_path):
    source = squares()
    source.unpicklable = lambda: None
    with pytest.raises(SettingsError, match="cannot be pickled"):
        fit(recipe("fit.processes=2"), source, tmp_path)
    assert not multiprocessing.active_children()


# --- what the processes say -------------------------------------------------------------------------------------------


@pytest.fixture
def ends():
    pipes = [multiprocessing.Pipe(duplex=False) for _ in range(2)]
    yield [mine for mine, _ in pipes], [theirs for _, theirs in pipes]
    for pipe in pipes:
        for end in pipe:
            end.close()


def test_progress_warnings_and_the_result_arrive(ends):
    mine, theirs = ends
    seen = []
    theirs[0].send(("progress", tuple(Progress("epoch 1/2", 1, 2, "chips"))))
    theirs[0].send(("warning", "half of it is missing"))
    theirs[1].send(("done", None))
    theirs[0].send(("done", "result"))
    with pytest.warns(EavesWarning, match="half of it"):
        assert _listen(mine, seen.append) == "result"
    assert seen == [Progress("epoch 1/2", 1, 2, "chips")]


def test_an_error_of_any_process_is_raised_as_it_was(ends):
    mine, theirs = ends
    theirs[1].send(("failed", TrainingError("a finite loss", "nan", "lower it")))
    with pytest.raises(TrainingError, match="finite loss"):
        _listen(mine, ignore)


def test_a_process_that_dies_is_told(ends):
    mine, theirs = ends
    theirs[1].close()
    with pytest.raises(TrainingError, match=r"without a word \(process 1\)"):
        _listen(mine, ignore)
