"""(image, scores) → scores: the recurrent corrector and its rivals."""

from collections.abc import Callable

from eaves.refine.correction import Correction
from eaves.refine.crf import DenseCrf
from eaves.refine.crf_search import CrfSearch, search_crf
from eaves.refine.diffusion import Anisotropic, GeodesicActiveContour, Heat, PeronaMalik
from eaves.refine.refiner import Refiner

REFINERS: dict[str, Callable[..., Refiner]] = {
    "anisotropic": Anisotropic,
    "corrector": Correction,
    "crf": DenseCrf,
    "geodesic": GeodesicActiveContour,
    "heat": Heat,
    "perona-malik": PeronaMalik,
}
"""Name → what makes a refiner of keyword settings; ``corrector`` needs a trained network besides."""

__all__ = [
    "REFINERS",
    "Anisotropic",
    "Correction",
    "CrfSearch",
    "DenseCrf",
    "GeodesicActiveContour",
    "Heat",
    "PeronaMalik",
    "Refiner",
    "search_crf",
]
