"""What tests of several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

from eaves.models import Card, build, save_model
from eaves.scene import Scaling
from eaves.settings import ModelSettings, Recipe, TargetSettings


@pytest.fixture(scope="session")
def untrained() -> Callable[..., Path]:
    """Writes a network that knows nothing, but was meant to draw something, always the same."""

    def write(path: Path, kind: str = "classes", widths: str = "small") -> Path:
        recipe = Recipe(
            name=kind,
            model=ModelSettings(arch="unet28", options={"widths": widths}),
            target=TargetSettings(kind=kind),
        )
        card = Card(
            eaves_version="0.1.0",
            created=datetime(2024, 5, 6, tzinfo=UTC),
            recipe=recipe,
            classes=("background", "building"),
            scaling=Scaling.for_bytes(3),
            gsd_m=0.3,
        )
        torch.manual_seed(0)
        save_model(path, build(recipe.model, 3, card.readout.channels), card)
        return path

    return write
