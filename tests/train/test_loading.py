"""Batches: whose they are, and what becomes of them when their makers die."""

import multiprocessing
import os
import signal
from itertools import chain

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rasterio.windows import Window

from eaves.errors import EavesWarning, SceneError, SettingsError
from eaves.labels import Target
from eaves.sample import ChipRecord, open_chips, write_chips
from eaves.scene import Scaling
from eaves.settings import AugmentSettings
from eaves.train import Batches, ChipData, Loader, StoredChips, class_counts
from eaves.train.loading import Workers, _one_thread

SCALING = Scaling.for_bytes(3, (0.5,), (0.25,))


def shares(recipe, squares, count, *changes):
    chosen = recipe(*changes)
    source = squares(train=count)
    parts = [ChipData(source, chosen, SCALING, rank=rank) for rank in range(chosen.fit.processes)]
    return [part._shares(count) for part in parts], parts[0].steps


@given(count=st.integers(1, 60), share=st.integers(1, 5), processes=st.integers(1, 4), accumulate=st.integers(1, 3))
def test_processes_share_every_batch_evenly(recipe, squares, count, share, processes, accumulate):
    changes = [f"fit.batch={share * processes}", f"fit.processes={processes}", f"fit.accumulate={accumulate}"]
    if count < processes:
        with pytest.raises(SettingsError, match="training chip"):
            shares(recipe, squares, count, *changes)
        return
    parts, steps = shares(recipe, squares, count, *changes)
    assert len({tuple(map(len, part)) for part in parts}) == 1  # they step together
    batches = [sorted(chain(*together)) for together in zip(*parts, strict=True)]
    taken = list(chain(*batches))
    assert taken == list(range(len(taken)))  # each chip once, in the order of the epoch
    assert count - len(taken) < (2 * processes if share > 1 else processes)
    assert all(len(batch) == share * processes for batch in batches[:-1])
    assert steps == -(-len(batches) // accumulate)


def test_a_last_batch_of_one_chip_is_left_out(recipe, squares):
    (alone,), _ = shares(recipe, squares, 9, "fit.batch=4")
    assert [len(batch) for batch in alone] == [4, 4]
    (single,), _ = shares(recipe, squares, 3, "fit.batch=1")
    assert [len(batch) for batch in single] == [1, 1, 1]


def test_a_batch_that_cannot_be_shared(recipe, squares):
    with pytest.raises(SettingsError, match=r"multiple of 3"):
        ChipData(squares(), recipe("fit.batch=4", "fit.processes=3"), SCALING)


def test_each_judging_batch_is_one_process_s(recipe, squares):
    source, chosen = squares(val=11), recipe("fit.processes=2")
    groups = [ChipData(source, chosen, SCALING, rank=rank).val_dataloader().groups for rank in (0, 1)]
    assert groups == [[[0, 1, 2, 3], [8, 9, 10]], [[4, 5, 6, 7]]]


def test_a_process_without_a_judging_batch_gets_an_empty_one(recipe, squares):
    """Without it, it would not take part where the processes add up what they saw."""
    (batch,) = ChipData(squares(val=4), recipe("fit.processes=2"), SCALING, rank=1).val_dataloader()
    assert batch.image.shape == (0, 3, 32, 32)
    assert batch.mask.shape == (0, 32, 32)


def test_class_counts_ignore_unknown(squares):
    pixels, beside = class_counts(squares(train=2), Target("classes", squares.classes))
    assert pixels.sum() == 2 * 32 * 28
    assert beside.tolist() == [2 * 32 * 28] * 2


# --- worker processes -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(squares, tmp_path_factory):
    """Chips on disk: a source that another process can open."""
    source, path = squares(train=6), tmp_path_factory.mktemp("chips") / "chips"
    records = [ChipRecord(source.load(item), "s", Window(0, 0, 32, 32), "train") for item in source.train(0)]
    records += [
        ChipRecord(source.load(item), "s", Window(0, 0, 32, 32), split)
        for item in source.val()
        for split in ("val", "test")
    ]
    write_chips(records, path, classes=source.classes)
    return open_chips(path)


def test_a_store_judges_by_the_split_that_is_named(store):
    assert [store.records[i]["split"] for i in StoredChips(store).val()] == ["val"] * 4
    assert [store.records[i]["split"] for i in StoredChips(store, "test").val()] == ["test"] * 4


def loader(source, workers):
    batches = Batches(source, source.train(0), SCALING, AugmentSettings(gamma=0.5), (3, 0))
    return Loader(batches, [[0, 1], [2, 3], [4], [5]], Workers(workers))


def same(these, those):
    return all(torch.equal(a, b) for one, two in zip(these, those, strict=True) for a, b in zip(one, two, strict=True))


def test_a_worker_that_is_killed_costs_nothing_but_time(store):
    source = StoredChips(store)
    given = loader(source, workers=1)
    before = signal.getsignal(signal.SIGCHLD)
    coming = iter(given)
    batches = [next(coming)]
    (child,) = multiprocessing.active_children()
    os.kill(child.pid, signal.SIGKILL)
    with pytest.warns(EavesWarning, match=r"have failed .*fit\.workers = 0"):
        batches += coming
    assert signal.getsignal(signal.SIGCHLD) == before
    assert given.workers.number == 0
    assert same(batches, list(loader(source, workers=0)))


@pytest.mark.filterwarnings("ignore:Got pickle error")  # torch's own advice
def test_workers_that_cannot_start(squares):
    source = squares(train=6)
    source.unpicklable = lambda: None
    given = loader(source, workers=1)
    with pytest.warns(EavesWarning, match="pickle"):
        batches = list(given)
    assert same(batches, list(loader(source, workers=0)))
    assert same(batches, list(given))  # and no second warning


def test_chips_at_fault_speak_for_themselves(squares, monkeypatch):
    class Broken(squares):
        def load(self, item):
            if item[1] == 3:
                raise SceneError("a scene", "half of it", "fetch it again")
            return super().load(item)

    def worker(dataset, batch_sampler, num_workers, **_):
        for group in batch_sampler:
            try:
                yield [dataset[index] for index in group]
            except SceneError as error:  # as torch gives an error of a worker that it cannot make anew
                raise RuntimeError(f"Caught it in a worker: {error}") if num_workers else error  # noqa: B904

    monkeypatch.setattr("eaves.train.loading.DataLoader", worker)
    with pytest.warns(EavesWarning, match="Caught it"), pytest.raises(SceneError, match="fetch it again"):
        list(loader(Broken(train=6), workers=1))


def test_workers_keep_to_one_thread():
    threads, of_cv2 = torch.get_num_threads(), cv2.getNumThreads()
    try:
        _one_thread(0)
        assert torch.get_num_threads() == 1
        assert cv2.getNumThreads() <= 1
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(of_cv2)


def test_items_are_the_same_whoever_makes_them(squares):
    source = squares(train=6)
    batches = loader(source, 0).batches
    assert np.array_equal(batches[2].image, batches[2].image)
    assert not np.array_equal(batches[2].image, batches[3].image)
