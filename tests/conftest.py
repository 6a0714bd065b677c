"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# A loaded machine is no reason to fail a law.
settings.register_profile("eaves", deadline=None)
settings.load_profile("eaves")


def _folder(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set: real data is not here")
    return Path(value)


@pytest.fixture(scope="session")
def eaves_data() -> Path:
    """The folder of real imagery and labels, or a skip that says why."""
    return _folder("EAVES_DATA")


@pytest.fixture(scope="session")
def eaves_weights() -> Path:
    """The folder of pretrained encoders, or a skip that says why."""
    return _folder("EAVES_WEIGHTS")
