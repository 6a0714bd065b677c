from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from eaves.errors import LabelError
from eaves.labels import UNKNOWN
from eaves.labels.objects import number_objects

shapes = st.tuples(st.integers(1, 15), st.integers(1, 15))
masks = shapes.flatmap(lambda s: arrays(np.uint8, s, elements=st.sampled_from([0, 1, 2, UNKNOWN])))


@given(masks, st.data())
def test_numbers_are_whole_and_each_of_one_class(mask, data):
    told = data.draw(st.none() | arrays(np.uint16, mask.shape, elements=st.sampled_from([0, 3, 7, 900])))
    numbers = number_objects(mask, told)
    objects = (mask != 0) & (mask != UNKNOWN)
    assert numbers.dtype == np.uint16
    assert ((numbers > 0) == objects).all()
    assert sorted(set(numbers[objects].tolist())) == list(range(1, int(numbers.max()) + 1))
    for number in range(1, int(numbers.max()) + 1):
        where = numbers == number
        assert len(np.unique(mask[where])) == 1
        assert told is None or len(np.unique(told[where])) == 1
    assert (number_objects(mask, numbers) == numbers).all()  # nothing more to do


def test_corners_connect_but_classes_do_not():
    mask = np.array([[1, 0, 2], [0, 1, 2], [UNKNOWN, 0, 1]], np.uint8)
    assert number_objects(mask).tolist() == [[1, 0, 2], [0, 1, 2], [0, 0, 1]]


def test_more_than_a_chip_can_number():
    told = np.arange(300 * 300).reshape(300, 300) + 1
    with pytest.raises(LabelError, match="65535"):
        number_objects(np.ones((300, 300), np.uint8), told)
