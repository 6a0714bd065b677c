"""Networks, losses, pretrained encoders, and the file that holds a trained model."""

from eaves.models.build import MODELS, build
from eaves.models.card import Card
from eaves.models.file import load_model, read_card, save_model
from eaves.models.losses import LOSSES, combined, losses_of, median_frequency_weights
from eaves.models.network import SegmentationNetwork, scores
from eaves.models.pretrained import Loaded, load_encoder
from eaves.models.readout import Readout

__all__ = [
    "LOSSES",
    "MODELS",
    "Card",
    "Loaded",
    "Readout",
    "SegmentationNetwork",
    "build",
    "combined",
    "load_encoder",
    "load_model",
    "losses_of",
    "median_frequency_weights",
    "read_card",
    "save_model",
    "scores",
]
