"""A model set up for a scene: what predict and extract run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rasterio.windows import Window

from eaves.errors import SceneError, SettingsError
from eaves.models import Card, InstanceNetwork, SegmentationNetwork, Suppression, load_model
from eaves.predict import (
    LEAST_SCORE,
    Found,
    Layout,
    Strip,
    TorchBackend,
    TorchDetector,
    Tta,
    choose_layout,
    find_layout,
    stream_objects,
    stream_scores,
)
from eaves.progress import OnProgress, ignore
from eaves.scene import Scaling, Scene
from eaves.workflows.provenance import provenance


class Job(NamedTuple):
    """A model set up for a scene.

    Attributes:
        scene: On the grid of the model's resolution.
        found: The scene as it was opened, with all its bands or those that the user named.
        bands_named: The user named them.
        card: The model's.
        layout: Tiles.
        note: Provenance.
        run: Streams the scores.
        objects: Of a network of objects: gets what it finds while the scores are streamed. None for other networks.
    """

    scene: Scene
    found: Scene
    bands_named: bool
    card: Card
    layout: Layout
    note: dict[str, Any]
    run: Callable[[OnProgress], Iterator[Strip]]
    objects: list[Found] | None = None

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the score maps."""
        return self.card.bands

    def strips(self, on_progress: OnProgress = ignore) -> Iterator[Strip]:
        """Stream the scores."""
        return self.run(on_progress)


def prepare(
    verb: str,
    scene: str | Path,
    model: str | Path,
    *,
    nodata: float | None = None,
    bands: tuple[int, ...] | None = None,
    ground_gsd_m: float | None = None,
    allow_vrt: bool = False,
    tile_px: int | None = None,
    batch: int | None = None,
    device: str = "auto",
    tta: Tta = "none",
    nms: Suppression | None = None,
    detections_per_mpx: float | None = None,
    min_score: float = LEAST_SCORE,
    settings: dict[str, Any] | None = None,
) -> Job:
    """Open a scene and a model and fit them to each other; arguments as in :func:`predict_scores`.

    Raises:
        SceneError: The scene cannot be read, or does not fit the model.
        SettingsError: The model has no use for an option.
        ModelFileError: The model file is damaged.
    """
    network, card = load_model(model)
    if network.takes_scores:
        raise SettingsError(
            "a model that makes scores from an image",
            f"a corrector of scores, {model}",
            "predict with the model that it corrects, and give this one with --refine or to eaves refine",
        )
    found = Scene(scene, nodata=nodata, bands=bands, ground_gsd_m=ground_gsd_m, allow_vrt=allow_vrt)
    opened = fit_scene(found if bands else found.with_bands(card.scaling.band_count), card.gsd_m, card.scaling)
    # Tiles and batches shape the work, not the result; what shapes it goes into the provenance.
    shaping: dict[str, Any] = {"gsd_m": opened.gsd_m, "bands": opened.bands, "nodata": opened.nodata}
    choosing = {"nms": nms, "detections_per_mpx": detections_per_mpx}
    if isinstance(network, InstanceNetwork):
        if tta != "none":
            raise SettingsError("tta = 'none' for a network of objects", repr(tta), "leave --tta out")
        network.choose(nms, detections_per_mpx)
        shaping |= {name: value for name, value in choosing.items() if value is not None}
        detector = TorchDetector(network, device, min_score)
        layout, objects = find_layout(detector, opened.shape, tile_px, batch), []

        def run(on_progress: OnProgress) -> Iterator[Strip]:
            return stream_objects(opened, card.scaling, detector, layout, objects, on_progress)
    else:
        assert isinstance(network, SegmentationNetwork)
        if given := [f"--{name.replace('_', '-')}" for name, value in choosing.items() if value is not None]:
            raise SettingsError(f"a network of objects for {' and '.join(given)}", f"{model}", "leave it out")
        backend = TorchBackend(network, card.readout, device, tta)
        shaping["tta"] = tta
        layout, objects = choose_layout(backend, opened.shape, tile_px, batch), None

        def run(on_progress: OnProgress) -> Iterator[Strip]:
            return stream_scores(opened, card.scaling, backend, layout, on_progress)

    note = provenance(verb, {"scene": scene, "model": model}, shaping | (settings or {}))
    return Job(opened, found, bands is not None, card, layout, note, run, objects)


def fit_scene(scene: Scene, gsd_m: float | None, scaling: Scaling) -> Scene:
    """Return a scene at a model's resolution.

    Raises:
        SceneError: Its resolution is not known, or it has other bands or another type than the model's.
    """
    if gsd_m is not None:
        if scene.native_gsd_m is None:
            raise SceneError(
                f"a known ground resolution of {scene.path}",
                "no CRS and no stated resolution",
                "state the pixel's size in metres with --ground-gsd-m",
                because=f"the model works at {gsd_m} m a pixel",
            )
        scene = scene.at(gsd_m)
    image, _ = scene.read(Window(0, 0, 1, 1))
    scaling.check(image.dtype, len(image), scene.path)
    return scene
