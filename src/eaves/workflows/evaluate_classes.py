"""``eaves evaluate`` with a DATASET as reference: a score map of all its classes against the labels of one scene."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from rasterio.windows import Window

from eaves.errors import SceneError, SettingsError
from eaves.exchange.scoremap import ScoreMap, open_scores
from eaves.exchange.scores import LEVELS, NODATA
from eaves.exchange.scoreview import one_system
from eaves.footprints import METHODS
from eaves.labels import UNKNOWN
from eaves.progress import OnProgress, Progress, ignore
from eaves.sample import LabelledScene
from eaves.scene import Scene
from eaves.settings import Dataset, SceneEntry, load_dataset
from eaves.workflows.provenance import provenance
from eaves.workflows.scoring import BOUNDARY_M, Evaluation, PixelTally, boundary_reach, map_gsd_m, write_evaluation

_STRIP = 512
_OFF_PX = 0.1  # how far the map's grid may lie off the image's


def evaluate_classes(
    prediction: str | Path,
    reference: str | Path,
    out: Path,
    *,
    scene: str | Path | None = None,
    threshold: float = 0.5,
    scale: float | None = None,
    gsd_m: float | None = None,
    boundary_m: float | None = None,
    on_progress: OnProgress = ignore,
) -> Evaluation:
    """Compare a score map with the labels of a dataset's scene, pixel by pixel; objects are not matched.

    A pixel is predicted to be the class with the greatest score, where the background has what the others leave of 1;
    with one class beside the background, that class from ``threshold`` on. Memory is set by the map's width.

    Args:
        prediction: Score map with a band for every class of the dataset but the first, in any order; bands that part
            buildings (``border``, ``distance``) are passed over.
        reference: DATASET TOML.
        out: Folder for ``metrics.json`` and ``confusion.png``.
        scene: Which scene of the dataset: its image as the dataset writes it, or enough of the end of its path. None:
            the only one, else the one that the map's own notes name.
        threshold: Score from which a pixel belongs to the only class.
        scale: Score of one unit of a foreign integer score map.
        gsd_m: Ground size of a pixel to compare at, with scores interpolated; the map's own where none is given.
        boundary_m: How far a boundary reaches inside, in metres; 2 where the pixel's size is known.
        on_progress: Is told after every strip.

    Raises:
        SettingsError: The scene cannot be told, the bands are not the classes, or a threshold is given for several.
        SceneError: The map does not lie on the image's grid, or a file cannot be read.
        LabelError: As :class:`eaves.sample.LabelledScene`.
        OutputError: ``out`` cannot be written.
    """
    dataset = load_dataset(reference)
    names = dataset.classes.names
    scores = open_scores(prediction, scale)
    bands = choose_bands(scores.classes, names, str(prediction))
    if len(bands) > 1 and threshold != 0.5:
        raise SettingsError(
            "no threshold for several classes", f"threshold {threshold:g}", "leave it out: the greatest score decides"
        )
    entry = choose_scene(dataset, None if scene is None else str(scene), scores.metadata)
    labelled = open_labels(scores, entry, dataset)
    if gsd_m is not None:
        labelled = LabelledScene(entry, dataset, gsd_m)
    view = scores.on(labelled.grid if gsd_m is not None else scores.grid, bands)
    gsd_m = labelled.scene.gsd_m or map_gsd_m(scores)
    reach = boundary_reach(boundary_m, gsd_m)
    tally = PixelTally(names, reach)
    rows, cols = view.shape
    for row in range(0, rows, _STRIP):
        window = Window(0, row, cols, min(_STRIP, rows - row))
        truth, guess = labelled.chip(window).mask, decide(view.read(window), threshold)
        truth[guess == UNKNOWN] = UNKNOWN
        tally.push(truth, guess)
        on_progress(Progress("compare", row + window.height, rows, "rows"))
    settings: dict[str, Any] = {"scene": entry.image, "gsd_m": gsd_m}
    settings |= {"threshold": threshold} if len(bands) == 1 else {}
    settings |= {} if reach is None else {"boundary_m": BOUNDARY_M if boundary_m is None else boundary_m}
    inputs: dict[str, str | Path] = {
        "prediction": prediction,
        "reference": reference,
        "scene": dataset.locate(entry.image),
    }
    inputs |= {f"labels_{at}": dataset.locate(source.path) for at, source in enumerate(entry.labels, 1)}
    inputs |= {"aoi": dataset.locate(entry.aoi)} if entry.aoi else {}
    return Evaluation(write_evaluation(out, tally, None, provenance("evaluate", inputs, settings)), out)


def decide(levels: np.ndarray, threshold: float) -> np.ndarray:
    """Say which class each pixel is.

    Args:
        levels: One band a class but the background, uint8 ``(k - 1, h, w)``.
        threshold: Score from which a pixel belongs to the class, where there is one.

    Returns:
        uint8 ``(h, w)``: class index, of equal scores the first; UNKNOWN where a band has no score.

    Example:
        >>> decide(np.array([[[0, 100, 90, 255]], [[60, 100, 91, 0]]], np.uint8), 0.5).tolist()
        [[0, 1, 2, 255]]
    """
    if len(levels) == 1:
        guess = (levels[0] >= threshold * LEVELS).astype(np.uint8)
    else:
        # Whole levels are the scores times 254, without their rounding: the same class wins.
        rest = LEVELS - levels.sum(axis=0, dtype=np.int32)
        best = levels.argmax(axis=0)
        guess = np.where(levels.max(axis=0) > rest, best + 1, 0).astype(np.uint8)
    guess[(levels == NODATA).any(axis=0)] = UNKNOWN
    return guess


def choose_bands(bands: Sequence[str], classes: Sequence[str], path: str) -> list[int]:
    """Say which band of a score map is which class.

    Args:
        bands: Names of the map's bands.
        classes: Of the dataset, the background first.
        path: Of the map, for messages.

    Returns:
        Positions among the bands, one a class but the first.

    Raises:
        SettingsError: A class has no band, or two; or a band is no class and parts no buildings.

    Example:
        >>> choose_bands(("road", "building", "border"), ("land", "building", "road"), "scores.tif")
        [1, 0]
    """
    wanted = tuple(classes[1:])
    strange = [name for name in bands if name not in wanted and name not in METHODS]
    if strange or any(bands.count(name) != 1 for name in wanted):
        raise SettingsError(
            f"one band for each of {', '.join(wanted)}",
            f"bands {', '.join(bands)} in {path}",
            "compare with a dataset of these classes, or name the bands (their descriptions) as the dataset does",
            because=f"the dataset's classes are these and {classes[0]}, which has what the others leave",
        )
    return [bands.index(name) for name in wanted]


# --- the scene --------------------------------------------------------------------------------------------------------


def choose_scene(dataset: Dataset, wanted: str | None, metadata: Mapping[str, Any]) -> SceneEntry:
    """Find the scene that a score map is of.

    Args:
        dataset: Has it.
        wanted: What the user calls it, or none.
        metadata: The map's notes, which may name the image that it was made from.

    Returns:
        The one that is asked for; else the only one; else the one that the notes name.

    Raises:
        SettingsError: None fits, or several do equally well.
    """
    if wanted is None and len(dataset.scene) == 1:
        return dataset.scene[0]
    called = wanted or _scene_in(metadata)
    likeness = [0.0 if called is None else _likeness(dataset.locate(entry.image), called) for entry in dataset.scene]
    best = max(likeness)
    if best > 0 and likeness.count(best) == 1:
        return dataset.scene[likeness.index(best)]
    if wanted is not None:
        received = f"{wanted!r}, which fits {'several' if best > 0 else 'none'} of them"
    else:
        received = f"a score map of {called}" if called else "a score map that does not say what it was made from"
    raise SettingsError(
        f"one of the dataset's scenes: {', '.join(entry.image for entry in dataset.scene)}",
        received,
        "name it with --scene",
    )


def _scene_in(metadata: Mapping[str, Any]) -> str | None:
    inputs = metadata.get("inputs")
    mark = inputs.get("scene") if isinstance(inputs, dict) else None
    return mark.get("path") if isinstance(mark, dict) else None


def _likeness(image: str, called: str) -> float:
    """How many parts from the end of two paths are alike; half a one where the names differ in their suffix alone."""
    one, other = PurePath(image), PurePath(called)
    alike = 0
    for mine, theirs in zip(reversed(one.parts), reversed(other.parts), strict=False):
        if mine != theirs:
            break
        alike += 1
    return alike or (0.5 if one.stem == other.stem or one.stem == other.name else 0.0)


def open_labels(scores: ScoreMap, entry: SceneEntry, dataset: Dataset) -> LabelledScene:
    """Open a scene with its labels on a score map's grid; the two may differ by a row or a column at the end.

    Raises:
        SceneError: The map does not lie on the image's grid at any resolution, or that is not known.
        LabelError: As :class:`eaves.sample.LabelledScene`.
    """
    path = dataset.locate(entry.image)
    native = Scene(path, nodata=entry.nodata, bands=entry.bands, ground_gsd_m=entry.gsd_m)
    remedy = "predict over this image, choose its scene, or warp the map onto the image's grid first"
    if not one_system(scores.grid, native.grid):
        raise SceneError(f"a score map in the CRS of {path}", f"another one in {scores.path}", remedy)
    ratio = math.sqrt(abs(scores.grid.affine.determinant / native.grid.affine.determinant))
    gsd_m = None
    if abs(ratio - 1) >= 1e-3:
        if native.native_gsd_m is None:
            raise SceneError(
                f"a known ground resolution of {path}",
                f"none, and a score map with pixels {ratio:.3g} times as large",
                "state it as gsd_m of the scene in the dataset",
            )
        gsd_m = native.native_gsd_m * ratio
    labelled = LabelledScene(entry, dataset, gsd_m)
    rows, cols = labelled.shape
    to_map = ~scores.grid.affine * labelled.grid.affine
    off = max(math.dist(to_map * corner, corner) for corner in ((0, 0), (cols, 0), (0, rows)))
    if off > _OFF_PX or abs(rows - scores.shape[0]) > 1 or abs(cols - scores.shape[1]) > 1:
        raise SceneError(
            f"a score map on the grid of {path}, {cols} x {rows} px at its resolution",
            f"{scores.shape[1]} x {scores.shape[0]} px, up to {off:.3g} px off, in {scores.path}",
            remedy,
            because="labels are drawn where the scores are",
        )
    return labelled
