"""``eaves refine``: sharpen a score map to its image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from eaves.errors import SettingsError
from eaves.exchange.atomic import check_writable
from eaves.exchange.rasters import ScoreWriter
from eaves.exchange.scoremap import open_scores
from eaves.predict import stream_refined
from eaves.progress import OnProgress, ignore
from eaves.scene import Scene
from eaves.workflows.paths import check_apart
from eaves.workflows.provenance import provenance
from eaves.workflows.refiners import open_refiner, score_scene


class Refinement(NamedTuple):
    """What was refined.

    Attributes:
        scores: The score map.
        shape: Its rows and columns.
        gsd_m: Its ground resolution, none in pixel space.
        refiner: Name in ``REFINERS``.
    """

    scores: Path
    shape: tuple[int, int]
    gsd_m: float | None
    refiner: str


def refine_scores(
    scene: str | Path,
    scores: str | Path,
    refiner: str | Path,
    out: str | Path,
    *,
    changes: Sequence[str] = (),
    gsd_m: float | None = None,
    scale: float | None = None,
    nodata: float | None = None,
    bands: tuple[int, ...] | None = None,
    ground_gsd_m: float | None = None,
    allow_vrt: bool = False,
    tile_px: int | None = None,
    device: str = "auto",
    on_progress: OnProgress = ignore,
) -> Refinement:
    """Sharpen the score map of a scene to the scene's image, and write it as a new one.

    The map may have any resolution; it is interpolated to the one that the refiner works at: a trained corrector's own,
    else ``gsd_m``, else the map's. Bands ``border`` and ``distance`` ride along unchanged. The whole streams by tiles.

    Args:
        scene: The image, raster file or URL.
        scores: Its score map: Eaves's own, or another program's.
        refiner: A name in :data:`eaves.refine.REFINERS` (``crf``, ``heat``, …), or a corrector's model file.
        out: GeoTIFF to write.
        changes: ``key=value`` settings of the refiner, such as ``iterations=8``; by default a corrector takes the steps
            that it was trained with.
        gsd_m: Resolution to work at, in metres, for a hand-made refiner.
        scale: Score of one unit of a foreign integer score map, such as ``1/255``.
        nodata: Value that means "no imagery" where the scene does not say so.
        bands: Bands of the image, 1-based.
        ground_gsd_m: Ground size of a pixel for a scene without a CRS.
        allow_vrt: Open virtual rasters.
        tile_px: Side of a tile's core in pixels.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``; hand-made refiners run on the CPU.
        on_progress: Is told after every tile.

    Raises:
        SceneError: Scene or map cannot be read, are not of one place, or do not fit the corrector.
        SettingsError: There is no such refiner, or a setting is wrong.
        ModelFileError: The model file is damaged.
        OutputError: ``out`` cannot be written.

    Example:
        >>> refine_scores("ortho.tif", "scores.tif", "corrector.safetensors", "refined.tif")  # doctest: +SKIP
    """
    out = Path(out)
    if out.suffix.lower() not in (".tif", ".tiff"):
        raise SettingsError("a score map that ends in .tif", str(out), "change the name")
    check_apart([out], [scene, scores, refiner])
    check_writable(out)
    opened = open_refiner(refiner, changes, device=device)
    given = open_scores(scores, scale)
    image = Scene(scene, nodata=nodata, bands=bands, ground_gsd_m=ground_gsd_m, allow_vrt=allow_vrt)
    scored = score_scene(image, opened, given, gsd_m=gsd_m, bands_given=bands is not None)
    inputs = {"scene": scene, "scores": scores} | ({"model": opened.model} if opened.model else {})
    settings = {"refiner": opened.name, "gsd_m": scored.scene.gsd_m, **opened.settings}
    note = provenance("refine", inputs, settings) | {"scores_from": given.metadata}
    with ScoreWriter(out, scored.scene.grid, given.classes, note) as writer:
        for row, levels in stream_refined(scored, opened.refiner, tile_px=tile_px, on_progress=on_progress):
            writer.write(row, levels)
    return Refinement(out, scored.shape, scored.scene.gsd_m, opened.name)
