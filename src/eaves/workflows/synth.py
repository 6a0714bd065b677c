"""``eaves synth``: write a synthetic city with its exact truth."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from eaves.exchange.rasters import RasterWriter
from eaves.exchange.vectors import write_vectors
from eaves.progress import OnProgress, Progress, ignore
from eaves.synth import noisy_labels, plan_city, render_strips
from eaves.workflows.provenance import provenance


class CityFiles(NamedTuple):
    """Where a city lies.

    Attributes:
        scene: RGB GeoTIFF, 0 where there is no imagery.
        buildings: The truth.
        roads: Centre lines with widths.
        noisy: Buildings as a volunteer's map might have them.
        number: Buildings.
    """

    scene: Path
    buildings: Path
    roads: Path
    noisy: Path
    number: int


def synth_city(
    out: str | Path,
    *,
    size_px: int = 2048,
    gsd_m: float = 0.3,
    seed: int = 0,
    nodata_corner: bool = True,
    on_progress: OnProgress = ignore,
) -> CityFiles:
    """Write ``scene.tif``, ``buildings.gpkg``, ``roads.gpkg`` and ``noisy.gpkg`` into a folder.

    The picture is rendered strip by strip; the same seed gives the same files.

    Args:
        out: Folder; made if missing.
        size_px: Side of the square scene.
        gsd_m: Ground size of a pixel in metres.
        seed: Of everything random.
        nodata_corner: Leave a corner without imagery, as orthophotos have it.
        on_progress: Is told after every strip.

    Raises:
        SettingsError: A size that cannot be.
        OutputError: The folder cannot be written.

    Example:
        >>> synth_city("city", size_px=1024, seed=3).number > 0  # doctest: +SKIP
        True
    """
    out = Path(out)
    city = plan_city(size_px, gsd_m=gsd_m, seed=seed, nodata_corner="upper-right" if nodata_corner else None)
    note = provenance("synth", {}, {"size_px": size_px, "gsd_m": gsd_m, "seed": seed, "nodata_corner": nodata_corner})
    files = CityFiles(
        out / "scene.tif", out / "buildings.gpkg", out / "roads.gpkg", out / "noisy.gpkg", len(city.buildings)
    )
    with RasterWriter(files.scene, city.grid, count=3, dtype="uint8", nodata=0, metadata=note) as writer:
        for row, image, _valid in render_strips(city):
            writer.write(row, image)
            on_progress(Progress("render", row + image.shape[1], size_px, "rows"))
    write_vectors(city.buildings, files.buildings, layer="buildings", metadata=note)
    write_vectors(city.roads, files.roads, layer="roads", metadata=note)
    write_vectors(noisy_labels(city.buildings, seed), files.noisy, layer="noisy", metadata=note)
    return files
