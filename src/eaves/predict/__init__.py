"""Run a network over whole scenes."""

from eaves.predict.backends import Backend, TorchBackend, Tta, measure_speed
from eaves.predict.engine import Layout, Strip, choose_layout, stream_scores
from eaves.predict.finding import LEAST_SCORE, Detector, TorchDetector, find_layout, stream_objects
from eaves.predict.refining import ScoredScene, stream_refined
from eaves.predict.seams import Found

__all__ = [
    "LEAST_SCORE",
    "Backend",
    "Detector",
    "Found",
    "Layout",
    "ScoredScene",
    "Strip",
    "TorchBackend",
    "TorchDetector",
    "Tta",
    "choose_layout",
    "find_layout",
    "measure_speed",
    "stream_objects",
    "stream_refined",
    "stream_scores",
]
