"""What has to travel with a model's weights for anyone to use them rightly."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from eaves.models.readout import Readout
from eaves.scene.scaling import Scaling
from eaves.settings import Recipe, Settings

CARD_KEY = "eaves_card"


class Card(Settings):
    """What a model is, what it expects, and where it comes from.

    Attributes:
        format_version: Of the model file; raised when an older Eaves could no longer read it.
        eaves_version: The Eaves that trained the model.
        created: When, by the clock of the trainer (ISO 8601).
        recipe: What it was trained by; its ``model`` rebuilds the network.
        classes: Names, the background first.
        bands: Names of the score maps that the model gives.
        scaling: Pixel values → network input; has the pixel type and the number of bands.
        gsd_m: Ground size of a pixel that it was trained at, in metres; None where the imagery had no scale.
        metrics: Name → value, on the validation chips.
        trained: What training consumed, such as epochs, chips and hours.
        credits: Makers and licences of imagery, labels and pretrained weights.
    """

    format_version: Literal[1] = 1
    eaves_version: str
    created: datetime
    recipe: Recipe
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    scaling: Scaling
    gsd_m: Annotated[float, Field(gt=0)] | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    trained: dict[str, int | float | str] = Field(default_factory=dict)
    credits: tuple[str, ...] = ()

    @property
    def readout(self) -> Readout:
        """How the network's logits become score maps."""
        return Readout(self.recipe.target, self.classes)

    @property
    def bands(self) -> tuple[str, ...]:
        """See above."""
        return self.readout.bands

    @model_validator(mode="after")
    def _classes_differ(self) -> Self:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"classes {list(self.classes)} has a name twice")
        return self
