"""Run a network over whole scenes."""

from eaves.predict.backends import Backend, TorchBackend, Tta, measure_speed
from eaves.predict.engine import Layout, Strip, choose_layout, stream_scores
from eaves.predict.refining import ScoredScene, stream_refined

__all__ = [
    "Backend",
    "Layout",
    "ScoredScene",
    "Strip",
    "TorchBackend",
    "Tta",
    "choose_layout",
    "measure_speed",
    "stream_refined",
    "stream_scores",
]
