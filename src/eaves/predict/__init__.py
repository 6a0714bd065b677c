"""Run a network over whole scenes."""

from eaves.predict.backends import Backend, TorchBackend, Tta, measure_speed
from eaves.predict.engine import Layout, Strip, choose_layout, stream_scores

__all__ = ["Backend", "Layout", "Strip", "TorchBackend", "Tta", "choose_layout", "measure_speed", "stream_scores"]
