from __future__ import annotations

import pytest
import torch

from eaves.models import Card, SegmentationNetwork, build
from eaves.scene.scaling import Scaling
from eaves.settings import ModelSettings, Recipe


@pytest.fixture(scope="session")
def card() -> Card:
    """A card with every field filled, for a light U-Net of 3 bands and 2 classes."""
    return Card(
        eaves_version="0.1.0",
        created="2024-05-06T07:08:09Z",  # pyright: ignore[reportArgumentType]
        recipe=Recipe(name="light", model=ModelSettings(arch="unet", options={"encoder": "mobilenet_v2"})),
        classes=("background", "building"),
        scaling=Scaling.for_bytes(3, mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.3)),
        gsd_m=0.3,
        metrics={"iou": 0.75},
        trained={"epochs": 3, "hours": 0.5, "device": "cpu"},
        credits=("Imagery: someone, CC BY 4.0",),
    )


@pytest.fixture(scope="session")
def trained(card: Card) -> SegmentationNetwork:
    """What the card describes, after something has moved its batch-norm statistics. Not to be changed."""
    torch.manual_seed(0)
    network = build(card.recipe.model, in_channels=3, classes=2)
    with torch.no_grad():
        network.train()(torch.randn(2, 3, 64, 64))
    return network.eval()
