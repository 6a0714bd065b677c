"""Run a network over whole scenes."""

from eaves.predict.backends import Backend, TorchBackend
from eaves.predict.engine import Layout, Strip, choose_layout, stream_scores

__all__ = ["Backend", "Layout", "Strip", "TorchBackend", "choose_layout", "stream_scores"]
