from __future__ import annotations

import pickle

import pytest
from pydantic import ValidationError

from eaves.models import Card


def test_a_card_comes_back_from_json(card):
    assert Card.model_validate_json(card.model_dump_json()) == card


def test_a_card_crosses_processes(card):
    assert pickle.loads(pickle.dumps(card)) == card


@pytest.mark.parametrize(
    "change",
    [
        {"classes": ("background",)},
        {"classes": ("background", "building", "building")},
        {"gsd_m": 0.0},
        {"format_version": 2},
        {"created": "yesterday"},
        {"colour": "blue"},
    ],
)
def test_what_cannot_be_meant_is_refused(card, change):
    with pytest.raises(ValidationError, match=next(iter(change))):
        Card.model_validate(card.model_dump() | change)
