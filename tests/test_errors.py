"""Errors carry a remedy, and keep it on their way between processes."""

from __future__ import annotations

import copy
import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves import errors
from eaves.errors import EavesError, EavesWarning, SceneError


def kinds(kind: type[EavesError] = EavesError) -> list[type[EavesError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in kinds(child))]


OWN = [kind for kind in kinds() if kind.__module__ == "eaves.errors"]


def test_the_message_says_what_was_wanted_what_came_and_what_to_do():
    error = EavesError("3 bands", "4", "pass --bands 1,2,3", because="the model was trained on 3")
    assert str(error) == "Expected 3 bands, because the model was trained on 3. Received 4. Do: pass --bands 1,2,3."
    assert str(EavesError("a", "b", "c")) == "Expected a. Received b. Do: c."


@pytest.mark.parametrize("kind", OWN)
@pytest.mark.parametrize("pass_on", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
@given(parts=st.tuples(st.text(), st.text(), st.text(), st.none() | st.text(min_size=1)))
def test_every_kind_keeps_its_parts(kind, pass_on, parts):
    expected, received, do, because = parts
    error = kind(expected, received, do, because=because)
    other = pass_on(error)
    assert type(other) is kind
    assert (other.expected, other.received, other.do, other.because) == parts
    assert str(other) == str(error)


def test_one_except_catches_all_and_no_built_in_is_meant():
    for kind in OWN:
        assert issubclass(kind, EavesError)
        assert not issubclass(kind, OSError | ValueError)
    with pytest.raises(EavesError):
        raise SceneError("a", "b", "c")
    assert issubclass(EavesWarning, UserWarning)


def test_the_drawn_tree_is_the_real_one():
    """Name and meaning of every line, in order, against the classes and their docstrings."""
    drawn = dict(re.findall(r"^[├└]── (\w+) +(.+)$", errors.__doc__ or "", flags=re.MULTILINE))
    real = {kind.__name__: (kind.__doc__ or "").strip() for kind in OWN if kind is not EavesError}
    assert list(drawn) == list(real)
    assert all(kind.__base__ is EavesError for kind in OWN if kind is not EavesError)
    for name, meaning in drawn.items():
        assert f"{meaning[0].upper()}{meaning[1:]}.".replace(",", "") == real[name].replace(",", "")
    classes = {name for name, thing in vars(errors).items() if isinstance(thing, type)}
    assert classes == {"EavesError", "EavesWarning", *drawn}
    assert all(name in (errors.__doc__ or "") for name in classes)
