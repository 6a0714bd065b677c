"""The stored rule from numbers to network input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from eaves.errors import SceneError
from eaves.scene import Scaling


def test_bytes():
    rule = Scaling.for_bytes(3, (0.5,), (0.25,))
    image = np.zeros((3, 1, 3), np.uint8)
    image[:, 0] = [0, 255, 255]
    scaled = rule.scale(image)
    assert scaled[0, 0].tolist() == [0, 1, 1]
    normal = rule.normalize(scaled, np.array([[True, True, False]]))
    assert normal[0, 0].tolist() == [-2, 2, 0]


def test_fit_measures_once_over_all_samples():
    image = np.arange(1000, dtype=np.uint16).reshape(1, 25, 40) * 10
    rule = Scaling.fit([(image, np.ones((25, 40), bool)), (image, np.zeros((25, 40), bool))])
    assert rule.dtype == "uint16"
    assert rule.lo[0] == pytest.approx(100, abs=10)
    assert rule.hi[0] == pytest.approx(9890, abs=10)


def test_fit_of_bytes_is_the_byte_rule():
    image = np.full((3, 4, 4), 9, np.uint8)
    assert Scaling.fit([(image, np.ones((4, 4), bool))]) == Scaling.for_bytes(3)


@given(st.floats(allow_nan=True, allow_infinity=True, width=32))
def test_nothing_poisons_the_input(value):
    rule = Scaling(dtype="float32", lo=(0,), hi=(1,), mean=(0.5,), std=(0.2,))
    assert np.isfinite(rule.apply(np.full((1, 1, 1), value, np.float32), np.ones((1, 1), bool))).all()


def test_refuses_other_types_and_band_counts():
    rule = Scaling.for_bytes(3)
    rule.check(np.dtype("uint8"), 3, "a.tif")
    with pytest.raises(SceneError, match="uint16"):
        rule.check(np.dtype("uint16"), 3, "a.tif")
    with pytest.raises(SceneError, match="--bands 1,2,3"):
        rule.check(np.dtype("uint8"), 4, "a.tif")


def test_nonsense_is_refused():
    with pytest.raises(ValidationError):
        Scaling(dtype="uint8", lo=(0, 0), hi=(255,), mean=(0,), std=(1,))
    with pytest.raises(ValidationError):
        Scaling(dtype="uint8", lo=(5,), hi=(5,), mean=(0,), std=(1,))
    with pytest.raises(SceneError, match="constant"):
        Scaling.fit([(np.ones((1, 4, 4), np.uint16), np.ones((4, 4), bool))])
    with pytest.raises(SceneError, match="valid"):
        Scaling.fit([(np.ones((1, 4, 4), np.uint16), np.zeros((4, 4), bool))])
