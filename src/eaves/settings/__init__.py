"""Recipes, datasets and options: frozen, and anything unknown is refused with the nearest known name."""

from eaves.settings.base import Settings, load_toml, override, parse, suggest
from eaves.settings.dataset import ClassSettings, Dataset, LabelSource, SceneEntry, load_dataset
from eaves.settings.recipe import (
    AugmentSettings,
    ChipSettings,
    FitSettings,
    LossSettings,
    ModelSettings,
    Recipe,
    TargetSettings,
    load_recipe,
    recipe_names,
)

__all__ = [
    "AugmentSettings",
    "ChipSettings",
    "ClassSettings",
    "Dataset",
    "FitSettings",
    "LabelSource",
    "LossSettings",
    "ModelSettings",
    "Recipe",
    "SceneEntry",
    "Settings",
    "TargetSettings",
    "load_dataset",
    "load_recipe",
    "load_toml",
    "override",
    "parse",
    "recipe_names",
    "suggest",
]
