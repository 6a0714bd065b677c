"""``eaves predict``: a model over a scene, as a score map."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rasterio.windows import Window

from eaves.errors import SceneError, SettingsError
from eaves.exchange.atomic import check_writable
from eaves.exchange.rasters import ScoreWriter
from eaves.models import Card, load_model
from eaves.predict import Layout, Strip, TorchBackend, Tta, choose_layout, stream_scores
from eaves.progress import OnProgress, ignore
from eaves.scene import Scene
from eaves.workflows.provenance import provenance


class Job(NamedTuple):
    """A model set up for a scene.

    Attributes:
        scene: On the grid of the model's resolution.
        card: The model's.
        layout: Tiles.
        backend: Runs the network.
        note: Provenance.
    """

    scene: Scene
    card: Card
    layout: Layout
    backend: TorchBackend
    note: dict[str, Any]

    def strips(self, on_progress: OnProgress = ignore) -> Iterator[Strip]:
        """Stream the scores."""
        return stream_scores(self.scene, self.card.scaling, self.backend, self.layout, on_progress)


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
    settings: dict[str, Any] | None = None,
) -> Job:
    """Open a scene and a model and fit them to each other; arguments as in :func:`predict_scores`.

    Raises:
        SceneError: The scene cannot be read, or does not fit the model.
        ModelFileError: The model file is damaged.
    """
    network, card = load_model(model)
    opened = Scene(scene, nodata=nodata, bands=bands, ground_gsd_m=ground_gsd_m, allow_vrt=allow_vrt)
    rgb = tuple(opened.color_names.index(name) + 1 for name in ("red", "green", "blue") if name in opened.color_names)
    if bands is None and len(rgb) == card.scaling.band_count < len(opened.bands):
        # A fourth band (infrared, say) beside bands that the file itself calls red, green and blue.
        opened = Scene(scene, nodata=nodata, bands=rgb, ground_gsd_m=ground_gsd_m, allow_vrt=allow_vrt)
    if card.gsd_m is not None:
        if opened.native_gsd_m is None:
            raise SceneError(
                f"a known ground resolution of {scene}",
                "no CRS and no stated resolution",
                "state the pixel's size in metres with --ground-gsd-m",
                because=f"the model works at {card.gsd_m} m a pixel",
            )
        opened = opened.at(card.gsd_m)
    image, _ = opened.read(Window(0, 0, 1, 1))
    card.scaling.check(image.dtype, len(image), str(scene))
    backend = TorchBackend(network, card.readout, device, tta)
    layout = choose_layout(backend, opened.shape, tile_px, batch)
    # Tiles and batches shape the work, not the result; what shapes it goes into the provenance.
    shaping = {"gsd_m": opened.gsd_m, "bands": opened.bands, "nodata": opened.nodata, "tta": tta, **(settings or {})}
    return Job(opened, card, layout, backend, provenance(verb, {"scene": scene, "model": model}, shaping))


class Prediction(NamedTuple):
    """What was predicted.

    Attributes:
        scores: The score map.
        shape: Its rows and columns.
        gsd_m: Its ground resolution, none in pixel space.
        layout: Tiles that were used.
    """

    scores: Path
    shape: tuple[int, int]
    gsd_m: float | None
    layout: Layout


def predict_scores(
    scene: str | Path,
    model: str | Path,
    out: str | Path,
    *,
    nodata: float | None = None,
    bands: tuple[int, ...] | None = None,
    ground_gsd_m: float | None = None,
    allow_vrt: bool = False,
    tile_px: int | None = None,
    batch: int | None = None,
    device: str = "auto",
    tta: Tta = "none",
    on_progress: OnProgress = ignore,
) -> Prediction:
    """Write the score map of a scene: a COG with a band a class (without the background), uint8, 254 is a score of 1.

    A model that was taught border or distance adds a band of that name, which parts buildings that touch.

    The map lies on the scene's grid at the model's resolution; pixels without imagery are nodata (255). Memory
    is set by the tile and the batch, and grows with the width of the scene only by a few rows of tiles.

    Args:
        scene: Raster file or URL.
        model: Model file (``.safetensors``).
        out: GeoTIFF to write.
        nodata: Value that means "no imagery" where the file does not say so.
        bands: Bands for the model, 1-based.
        ground_gsd_m: Ground size of a pixel for a scene without a CRS.
        allow_vrt: Open virtual rasters.
        tile_px: Side of a tile's core in pixels; chosen where none is given.
        batch: Tiles at a time.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        tta: Views of each tile whose scores are averaged: ``none``, ``flip`` (4 of them) or ``d4`` (8).
        on_progress: Is told after every batch.

    Raises:
        SceneError: The scene cannot be read, or does not fit the model.
        ModelFileError: The model file is damaged.
        OutputError: ``out`` cannot be written.

    Example:
        >>> predict_scores("ortho.tif", "model.safetensors", "scores.tif")  # doctest: +SKIP
    """
    out = Path(out)
    if out.suffix.lower() not in (".tif", ".tiff"):
        raise SettingsError("a score map that ends in .tif", str(out), "change the name")
    check_writable(out)
    job = prepare(
        "predict",
        scene,
        model,
        nodata=nodata,
        bands=bands,
        ground_gsd_m=ground_gsd_m,
        allow_vrt=allow_vrt,
        tile_px=tile_px,
        batch=batch,
        device=device,
        tta=tta,
    )
    with ScoreWriter(out, job.scene.grid, job.card.bands, job.note) as writer:
        for row, levels in job.strips(on_progress):
            writer.write(row, levels)
    return Prediction(out, job.scene.shape, job.scene.gsd_m, job.layout)
