"""Who made footprints or a score map, as the notes in the files say: a model, and refiners after it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from eaves.errors import EavesError
from eaves.exchange.scoremap import open_scores
from eaves.exchange.vectors import read_metadata

_RASTERS = (".tif", ".tiff")
_DEPTH = 8  # files behind files


class Maker(NamedTuple):
    """What a prediction came from.

    Attributes:
        model: The model file that made the scores, where a note names one.
        mark: Its fingerprint; empty where none is known.
        refiners: What was done to the scores since, in order, such as ``crf``; a model that corrects scores is no
            refiner but the maker of what it gives.
        scores: Name of the score map that was refined first, where no model is known; else empty.
    """

    model: Path | None = None
    mark: str = ""
    refiners: tuple[str, ...] = ()
    scores: str = ""


def find_maker(prediction: Path) -> Maker:
    """Follow the notes from a prediction back to a model.

    Args:
        prediction: Footprints or a score map; a file that is gone, or another program's, says nothing.
    """
    return _follow(_read_note(prediction), _DEPTH)


def _follow(note: Mapping[str, Any], depth: int) -> Maker:
    inputs = note.get("inputs")
    inputs = inputs[0] if isinstance(inputs, list) and inputs else inputs  # of several scenes
    model, scores = _mark(inputs, "model"), _mark(inputs, "scores")
    settings = note.get("settings")
    refiner = settings.get("refiner") if isinstance(settings, dict) else None
    if corrector := _mark(inputs, "refiner"):  # refined while the scores were made, by a trained corrector
        return _made_by(corrector)
    if model:
        # A model beside the scores that went in is what refined them; alone it made what was refined.
        return _made_by(model, () if scores or not isinstance(refiner, str) else (refiner,))
    before = note.get("scores_from")
    if not (isinstance(before, dict) and before):
        before = _read_note(Path(scores["path"])) if scores else {}
    maker = _follow(before, depth - 1) if before and depth else Maker()
    if not isinstance(refiner, str) or not refiner:
        return maker
    named = maker.model is not None or maker.scores or not scores
    return maker._replace(
        refiners=(*maker.refiners, refiner), scores=maker.scores if named else PurePath(scores["path"]).stem
    )


def _made_by(model: Mapping[str, Any], refiners: tuple[str, ...] = ()) -> Maker:
    return Maker(Path(model["path"]), str(model.get("fingerprint") or ""), refiners)


def _mark(inputs: Any, role: str) -> dict[str, Any]:
    """Path and fingerprint of an input; empty where there is none, or none that can be understood."""
    mark = inputs.get(role) if isinstance(inputs, dict) else None
    return mark if isinstance(mark, dict) and isinstance(mark.get("path"), str) else {}


def _read_note(path: Path) -> Mapping[str, Any]:
    if not path.is_file() and path.suffix.lower() != ".gdb":
        return {}
    try:
        return open_scores(path).metadata if path.suffix.lower() in _RASTERS else read_metadata(path)
    except EavesError:  # another program's file, which says nothing
        return {}
