from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from eaves.errors import LabelError
from eaves.labels import UNKNOWN
from eaves.metrics import METRICS, ClassScores, PixelReport, confusion, pixel_report, pixels

SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 12))


@st.composite
def mask_pairs(draw) -> tuple[np.ndarray, np.ndarray]:
    """Masks of three classes with unknown pixels."""
    masks = arrays(np.uint8, draw(SHAPES), elements=st.sampled_from([0, 1, 2, UNKNOWN]))
    return draw(masks), draw(masks)


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_published_unet_matrix():
    """The source's own table (S1): what its text calls accuracy is recall."""
    report = pixel_report([[41_317_449, 17_776_163], [728_649, 1_771_975]], ("background", "building"))
    assert report.pixels == 61_594_236
    for name, expected in (("recall", 0.7086), ("accuracy", 0.6996), ("precision", 0.0906), ("iou", 0.0874)):
        assert getattr(report, name) == pytest.approx(expected, abs=5e-5)
    assert report.f1 == pytest.approx(0.161, abs=5e-4)
    assert report.kappa == pytest.approx(0.096, abs=5e-4)


def test_rows_are_reference():
    reference = np.array([[0, 0, 1], [1, 1, 2]], dtype=np.uint8)
    prediction = np.array([[0, 1, 1], [1, 0, 2]], dtype=np.uint8)
    matrix = confusion(reference, prediction, 3)
    assert matrix.dtype == np.int64
    assert matrix.tolist() == [[1, 1, 0], [1, 2, 0], [0, 0, 1]]


def test_three_classes_by_hand():
    report = pixel_report([[5, 1, 0], [1, 2, 1], [0, 0, 0]], ("background", "building", "road"))
    assert report.per_class["background"] == ClassScores(
        precision=5 / 6, recall=5 / 6, f1=5 / 6, iou=5 / 7, reference_px=6, predicted_px=6
    )
    assert report.per_class["building"] == ClassScores(
        precision=2 / 3, recall=1 / 2, f1=4 / 7, iou=2 / 5, reference_px=4, predicted_px=3
    )
    # one road pixel was predicted and none is there: precision 0, recall undefined, IoU 0
    assert report.per_class["road"] == ClassScores(
        precision=0, recall=None, f1=0, iou=0, reference_px=0, predicted_px=1
    )
    assert report.recall == 1 / 2  # road is left out of the mean
    assert report.precision == pytest.approx((2 / 3 + 0) / 2)
    assert report.iou == pytest.approx(1 / 5)
    assert report.miou == pytest.approx((5 / 7 + 2 / 5) / 3)
    assert report.accuracy == 7 / 10
    chance = (6 * 6 + 4 * 3) / 100
    assert report.kappa == pytest.approx((0.7 - chance) / (1 - chance))


def test_undefined_is_null_in_json():
    report = pixel_report([[9, 0], [0, 0]], ("background", "building"))
    assert (report.accuracy, report.miou) == (1.0, 1.0)
    data = json.loads(report.model_dump_json())
    assert [data[name] for name in ("precision", "recall", "f1", "iou", "kappa")] == [None] * 5
    assert PixelReport.model_validate(data) == report


def test_nothing_counted_defines_nothing():
    matrix = np.zeros((2, 2), dtype=np.int64)
    assert {measure(matrix) for measure in METRICS.values()} == {None}


def test_unknown_is_left_out_on_either_side():
    reference = np.array([[0, 1, 255, 1]], dtype=np.uint8)
    prediction = np.array([[0, 1, 1, 255]], dtype=np.uint8)
    assert confusion(reference, prediction, 2).tolist() == [[1, 0], [0, 1]]
    with pytest.raises(LabelError, match="2 pixels with indices \\[255\\]"):
        confusion(reference, prediction, 2, ignore=None)


def test_bool_and_wide_integers():
    mask = np.array([[True, False]])
    assert confusion(mask, mask.astype(np.int64), 2).tolist() == [[1, 0], [0, 1]]


# --- refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "prediction", "message"),
    [
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8), "every channel"),
        (np.zeros((4, 4), np.uint8), np.zeros((1, 4, 4), np.uint8), "every channel"),
        (np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8), "one grid"),
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.float32), "threshold"),
        (np.zeros((4, 4), np.uint8), np.full((4, 4), 2, np.uint8), "16 pixels with indices \\[2\\]"),
        (np.zeros((4, 4), np.int16), np.full((4, 4), -1, np.int16), "0 to 255"),
        (np.zeros((4, 4), np.int16), np.full((4, 4), 256, np.int16), "0 to 255"),
    ],
)
def test_wrong_masks(reference, prediction, message):
    with pytest.raises(LabelError, match=message):
        confusion(reference, prediction, 2)


@pytest.mark.parametrize(
    ("matrix", "classes"),
    [
        ([[1, 2]], ("a", "b")),
        ([[1.0, 2.0], [3.0, 4.0]], ("a", "b")),
        ([[1, -2], [3, 4]], ("a", "b")),
        ([[1, 2], [3, 4]], ("a", "b", "c")),
        ([[1, 2], [3, 4]], ("a", "a")),
    ],
)
def test_wrong_matrices(matrix, classes):
    with pytest.raises(LabelError):
        pixel_report(matrix, classes)


# --- laws -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METRICS)
@given(counts=st.lists(st.integers(1, 10**9), min_size=2, max_size=5))
def test_equal_masks_score_one(name, counts):
    assert METRICS[name](np.diag(counts)) == pytest.approx(1.0)


@pytest.mark.parametrize("name", [name for name in METRICS if name != "kappa"])
def test_disjoint_masks_score_zero(name):
    assert METRICS[name](np.array([[0, 3], [4, 0]])) == 0


@given(mask_pairs())
def test_swapping_swaps_precision_and_recall(pair):
    reference, prediction = pair
    there, back = confusion(reference, prediction, 3), confusion(prediction, reference, 3)
    assert (there == back.T).all()
    assert METRICS["precision"](there) == METRICS["recall"](back)
    for name in ("accuracy", "f1", "iou", "miou"):
        assert METRICS[name](there) == METRICS[name](back)


@given(mask_pairs(), st.integers(0, 12))
def test_blocks_add_up(pair: tuple[np.ndarray, np.ndarray], row):
    whole = confusion(*pair, 3)
    parts = [confusion(pair[0][rows], pair[1][rows], 3) for rows in (slice(row), slice(row, None))]
    assert (parts[0] + parts[1] == whole).all()
    known = (pair[0] != UNKNOWN) & (pair[1] != UNKNOWN)
    assert whole.sum() == known.sum()


def test_own_blocks_do_not_show(monkeypatch):
    rng = np.random.default_rng(0)
    reference, prediction = rng.integers(0, 4, (2, 37, 23), dtype=np.uint8)
    whole = confusion(reference, prediction, 4)
    monkeypatch.setattr(pixels, "_BLOCK_PX", 50)
    assert (confusion(reference, prediction, 4) == whole).all()


@given(mask_pairs(), st.randoms(use_true_random=False))
def test_order_of_pixels_does_not_matter(pair: tuple[np.ndarray, np.ndarray], random):
    order = list(range(pair[0].size))
    random.shuffle(order)
    reference, prediction = (mask.ravel()[order].reshape(mask.shape) for mask in pair)
    assert (confusion(reference, prediction, 3) == confusion(*pair, 3)).all()
