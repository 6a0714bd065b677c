"""Eaves turns overhead imagery into building footprints that a GIS can use.

Every command of ``eaves`` is a function here; they load what they need when they are first used, so that importing
the package is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from eaves.version import __version__

if TYPE_CHECKING:
    from eaves.errors import EavesError, EavesWarning
    from eaves.models import load_model, save_model
    from eaves.scene import Scene
    from eaves.settings import Dataset, Recipe, load_dataset, load_recipe
    from eaves.workflows.calibrate import calibrate_scores
    from eaves.workflows.change import change_footprints
    from eaves.workflows.color import color_footprints
    from eaves.workflows.compare import compare_runs
    from eaves.workflows.demo import demo_city
    from eaves.workflows.doctor import doctor_scene
    from eaves.workflows.evaluate import evaluate_footprints
    from eaves.workflows.extract import extract_footprints
    from eaves.workflows.predict import predict_scores
    from eaves.workflows.refine import refine_scores
    from eaves.workflows.regularize import regularize_footprints
    from eaves.workflows.sample import sample_chips
    from eaves.workflows.study import study_refinement
    from eaves.workflows.synth import synth_city
    from eaves.workflows.train import find_learning_rate, train_model
    from eaves.workflows.tune import tune_crf
    from eaves.workflows.vectorize import vectorize_scores

_HOMES = {
    "Dataset": "settings",
    "EavesError": "errors",
    "EavesWarning": "errors",
    "Recipe": "settings",
    "Scene": "scene",
    "calibrate_scores": "workflows.calibrate",
    "change_footprints": "workflows.change",
    "color_footprints": "workflows.color",
    "compare_runs": "workflows.compare",
    "demo_city": "workflows.demo",
    "doctor_scene": "workflows.doctor",
    "evaluate_footprints": "workflows.evaluate",
    "extract_footprints": "workflows.extract",
    "find_learning_rate": "workflows.train",
    "load_dataset": "settings",
    "load_model": "models",
    "load_recipe": "settings",
    "predict_scores": "workflows.predict",
    "refine_scores": "workflows.refine",
    "regularize_footprints": "workflows.regularize",
    "sample_chips": "workflows.sample",
    "save_model": "models",
    "study_refinement": "workflows.study",
    "synth_city": "workflows.synth",
    "train_model": "workflows.train",
    "tune_crf": "workflows.tune",
    "vectorize_scores": "workflows.vectorize",
}

__all__ = [
    "Dataset",
    "EavesError",
    "EavesWarning",
    "Recipe",
    "Scene",
    "__version__",
    "calibrate_scores",
    "change_footprints",
    "color_footprints",
    "compare_runs",
    "demo_city",
    "doctor_scene",
    "evaluate_footprints",
    "extract_footprints",
    "find_learning_rate",
    "load_dataset",
    "load_model",
    "load_recipe",
    "predict_scores",
    "refine_scores",
    "regularize_footprints",
    "sample_chips",
    "save_model",
    "study_refinement",
    "synth_city",
    "train_model",
    "tune_crf",
    "vectorize_scores",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"eaves.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'eaves' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
