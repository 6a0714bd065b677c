"""Refiners set up for a scene: what refine, predict and extract run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from odc.geo.geobox import GeoBox
from pydantic import Field
from rasterio.windows import Window

from eaves.errors import SceneError, SettingsError
from eaves.exchange.scoremap import ScoreMap
from eaves.exchange.scoreview import ReadLevels, RollingLevels, ScoreView
from eaves.footprints import METHODS
from eaves.models import load_model
from eaves.models.corrector import Corrector
from eaves.models.options import options_of
from eaves.predict import ScoredScene, Strip, stream_refined
from eaves.predict.backends import choose_device
from eaves.progress import OnProgress
from eaves.refine import REFINERS, Correction, Refiner
from eaves.sample import LabelledScene
from eaves.scene import Scaling, Scene
from eaves.settings import Dataset, SceneEntry, Settings, parse
from eaves.settings.base import load_toml, override, suggest
from eaves.workflows.jobs import Job, fit_scene
from eaves.workflows.provenance import provenance


class Opened(NamedTuple):
    """A refiner set up.

    Attributes:
        refiner: Does the work.
        name: Of it in ``REFINERS``.
        settings: What shapes its result, for the provenance.
        scaling: Pixel values → [0, 1], of a trained one's card.
        gsd_m: Resolution that it works at, of a trained one's card.
        classes: Classes that it was trained on, the background first; any number for hand-made ones.
        model: Its file.
    """

    refiner: Refiner
    name: str
    settings: dict[str, Any]
    scaling: Scaling | None = None
    gsd_m: float | None = None
    classes: tuple[str, ...] | None = None
    model: str | None = None


class _Iterations(Settings):
    """What can be set of a trained corrector."""

    iterations: Annotated[int, Field(ge=0)] | None = None


def open_refiner(refiner: str | Path, changes: Sequence[str] = (), *, device: str = "auto") -> Opened:
    """Set up a refiner.

    Args:
        refiner: A name in ``REFINERS``, what ``eaves tune`` wrote (``.toml``), or a trained corrector's model file.
        changes: ``key=value`` settings, such as ``theta_beta=5`` of a hand-made one; a corrector has ``iterations``.
        device: Of a trained one.

    Raises:
        SettingsError: There is no such refiner, or a setting is unknown or out of range.
        ModelFileError: The model file is damaged.
    """
    name = str(refiner)
    if name.endswith(".toml"):
        told = load_toml(name)
        kept = told.get("settings")
        if set(told) != {"refiner", "settings"} or not isinstance(kept, dict):
            raise SettingsError(f"refiner and [settings] in {name}", ", ".join(told), "write it with eaves tune")
        name, given = str(told["refiner"]), kept
    else:
        given = {}
    if name in REFINERS and name != "corrector":
        kind = REFINERS[name]
        assert isinstance(kind, type)
        options = dict(parse(options_of(kind), override(given, changes), source=f"settings of {name}"))
        return Opened(kind(**options), name, options)
    if not name.endswith(".safetensors"):
        known = [key for key in REFINERS if key != "corrector"]
        raise SettingsError(
            f"one of {', '.join(known)}, or a corrector's .safetensors", repr(name), suggest(name, known)
        )
    network, card = load_model(name)
    if not isinstance(network, Corrector):
        raise SettingsError(
            "a model that corrects scores",
            f"{card.recipe.model.arch} in {name}",
            "train one with eaves train corrector --corrects, or run this one with eaves predict",
        )
    wanted = parse(_Iterations, override({}, changes), source="settings of a corrector").iterations
    correction = Correction(network, card.scaling, iterations=wanted, device=choose_device(device))
    settings = {"iterations": network.iterations}
    return Opened(correction, "corrector", settings, card.scaling, card.gsd_m, card.classes, name)


def score_scene(
    scene: Scene, opened: Opened, given: ScoreMap, *, gsd_m: float | None = None, bands_given: bool = False
) -> ScoredScene:
    """Bring a scene and its score map to the grid that a refiner works on.

    Raises:
        SceneError: They are not of one place, or do not fit the refiner.
    """
    if opened.scaling is not None and gsd_m is not None:
        raise SettingsError("no gsd_m beside a trained corrector", f"{gsd_m}", "leave it out: its card has one")
    return _score(scene, opened, given.classes, gsd_m, given.read, given.grid, given.path, bands_given)


def open_reference(
    scored: ScoredScene, bands: Sequence[str], entry: SceneEntry, dataset: Dataset
) -> tuple[LabelledScene, list[int]]:
    """Open the labels of a scene on the grid that a refiner works on.

    Args:
        scored: The scene with its scores.
        bands: Names of the score map's bands.
        entry: The scene in the dataset.
        dataset: Has the labels.

    Returns:
        The labelled scene, and of each class but the first its place among ``scored.classes``.

    Raises:
        SettingsError: The map's classes are not the dataset's.
        LabelError: Labels cannot be used.
    """
    wanted, found = dataset.classes.names[1:], [bands[band] for band in scored.classes]
    if sorted(found) != sorted(wanted):
        raise SettingsError(f"scores of {', '.join(wanted)}", ", ".join(found), "name a dataset of the map's classes")
    same = scored.scene.grid == scored.scene.native_grid
    labelled = LabelledScene(entry, dataset, None if same else scored.scene.gsd_m)
    return labelled, [found.index(name) for name in wanted]


def refine_job(job: Job, opened: Opened, tile_px: int | None = None) -> Job:
    """Return a job whose strips are those of another, refined while they are made.

    Args:
        job: A model set up for a scene.
        opened: The refiner.
        tile_px: Side of the refiner's tiles; chosen where none is given.

    Raises:
        SceneError: The scene does not fit the refiner.
        SettingsError: The model finds objects, whose outlines no refiner sharpens.
    """
    if job.objects is not None:
        raise SettingsError(
            "a model of scores to refine while they are made",
            "a model that finds objects",
            "leave --refine out, or run eaves refine on its score map",
            because="the outlines of objects do not come from the scores",
        )

    def scored(read: ReadLevels) -> ScoredScene:
        grid = job.scene.grid
        return _score(job.found, opened, job.bands, None, read, grid, "the model's scores", job.bands_named)

    probe = scored(lambda window: np.empty(0))

    def strips(on_progress: OnProgress) -> Iterator[Strip]:
        both = scored(RollingLevels(job.strips()))
        return stream_refined(both, opened.refiner, tile_px=tile_px, on_progress=on_progress)

    inputs = job.note["inputs"] | (provenance("", {"refiner": opened.model}, {})["inputs"] if opened.model else {})
    settings = {**job.note["settings"], "gsd_m": probe.scene.gsd_m, "refiner": opened.name, **opened.settings}
    note = {**job.note, "inputs": inputs, "settings": settings}
    return job._replace(scene=probe.scene, note=note, run=strips)


def _score(
    scene: Scene,
    opened: Opened,
    classes: Sequence[str],
    gsd_m: float | None,
    read: ReadLevels,
    native: GeoBox,
    name: str,
    bands_given: bool,
) -> ScoredScene:
    scaling = opened.scaling
    if not bands_given:
        scene = scene.with_bands(3 if scaling is None else scaling.band_count)
    if scaling is not None:
        scene = fit_scene(scene, opened.gsd_m, scaling)
    else:
        scene = scene.at(gsd_m or _map_gsd_m(scene, native, name))
        image, _ = scene.read(Window(0, 0, 1, 1))
        if image.dtype != np.uint8:
            raise SceneError(
                f"8-bit pixels in {scene.path} for {opened.name}",
                f"{image.dtype}",
                "convert it with gdal_translate -ot Byte -scale",
                because="edges are measured against fixed differences of colour, and guessing black and white is wrong",
            )
        scaling = Scaling.for_bytes(len(image))
    of_classes = [band for band, class_ in enumerate(classes) if class_ not in METHODS]
    if opened.classes is not None:
        if missing := [class_ for class_ in opened.classes[1:] if class_ not in classes]:
            raise SceneError(
                f"scores of {', '.join(opened.classes[1:])} in {name}",
                f"bands {', '.join(classes)}, without {', '.join(missing)}",
                "predict with a model of the corrector's classes",
            )
        of_classes = [list(classes).index(class_) for class_ in opened.classes[1:]]
    view = ScoreView(read, native, scene.grid, len(classes), name)
    return ScoredScene(scene, scaling, view, of_classes)


def _map_gsd_m(scene: Scene, native: GeoBox, name: str) -> float | None:
    """Ground size of a score map's pixel, told by the scene's; none where the two have the same pixels.

    Raises:
        SceneError: It cannot be told.
    """
    ratio = math.sqrt(abs(native.affine.determinant / scene.native_grid.affine.determinant))
    if abs(ratio - 1) < 1e-3:
        return None
    if scene.native_gsd_m is None:
        raise SceneError(
            f"a known ground resolution of {scene.path}",
            f"none, and pixels {ratio:.3g} times as large in {name}",
            "state it with --ground-gsd-m, or in the dataset as gsd_m",
        )
    return ratio * scene.native_gsd_m
