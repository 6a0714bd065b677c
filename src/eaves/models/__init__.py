"""Networks, losses, pretrained encoders, and the file that holds a trained model."""

from eaves.models.build import MODELS, build
from eaves.models.card import Card
from eaves.models.file import load_model, read_card, save_model
from eaves.models.instances import Detections, InstanceNetwork, Objects, objects_of
from eaves.models.losses import LOSSES, combined, losses_of, median_frequency_weights
from eaves.models.network import Network, SegmentationNetwork, scores
from eaves.models.pretrained import Loaded, load_encoder
from eaves.models.readout import Readout
from eaves.models.soft_nms import Suppression, suppress

__all__ = [
    "LOSSES",
    "MODELS",
    "Card",
    "Detections",
    "InstanceNetwork",
    "Loaded",
    "Network",
    "Objects",
    "Readout",
    "SegmentationNetwork",
    "Suppression",
    "build",
    "combined",
    "load_encoder",
    "load_model",
    "losses_of",
    "median_frequency_weights",
    "objects_of",
    "read_card",
    "save_model",
    "scores",
    "suppress",
]
