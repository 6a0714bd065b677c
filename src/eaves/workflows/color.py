"""``eaves color``: what colour the roofs of a layer are, from an image."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import geopandas as gpd
from rasterio.windows import Window

from eaves.errors import LabelError
from eaves.exchange.vectors import check_layer, read_vectors, write_vectors
from eaves.labels import overlap
from eaves.labels.colors import check_color, color_index, roof_colors
from eaves.scene import Scene
from eaves.workflows.paths import check_apart
from eaves.workflows.provenance import provenance


class Colored(NamedTuple):
    """What was told apart.

    Attributes:
        path: The vector file.
        number: Features in it.
        left_out: Features of other colours, and those that the image does not show.
        counts: Colour → features of it, before any was left out; those that the image does not show are not in it.
    """

    path: Path
    number: int
    left_out: int
    counts: dict[str, int]


def color_footprints(
    layer: str | Path,
    scene: str | Path,
    out: str | Path,
    *,
    only: str | None = None,
    nodata: float | None = None,
    bands: tuple[int, ...] | None = None,
    allow_vrt: bool = False,
) -> Colored:
    """Write a layer with the colour of each roof: ``roof_color``, and ``blue_share`` from 0 to 1.

    Args:
        layer: Polygons: footprints, or labels.
        scene: The image, with 8-bit red, green and blue.
        out: ``.gpkg``, ``.parquet``, ``.geojson`` or ``.fgb``.
        only: Keep the roofs of this colour alone: white, grey, black, red, brown, yellow, green, blue or purple.
        nodata: Value that means "no imagery" where the file does not say so.
        bands: Red, green and blue, 1-based, where the file does not say so.
        allow_vrt: Open virtual rasters.

    Raises:
        SettingsError: ``only`` is no colour.
        SceneError: The image cannot be read, or is not of three bands of 8 bits.
        LabelError: The layer has no polygons, or lies elsewhere.
        OutputError: ``out`` cannot be written.

    Example:
        >>> color_footprints("footprints.gpkg", "ortho.tif", "blue.gpkg", only="blue").number  # doctest: +SKIP
    """
    out = Path(out)
    check_apart([out], [layer, scene])
    check_layer(out)
    if only is not None:
        check_color(only)
    opened = open_colors(scene, nodata=nodata, bands=bands, allow_vrt=allow_vrt)
    features = read_vectors(layer)
    if not len(features):
        raise LabelError(f"polygons in {layer}", "none", "check file and layer")
    overlap(features, opened.grid)
    table, counts = with_colors(features, opened)
    kept = table if only is None else of_one(table, only)
    note = provenance("color", {"layer": layer, "scene": scene}, {"only": only, "bands": opened.bands})
    write_vectors(kept, out, metadata=note)
    return Colored(out, len(kept), len(table) - len(kept), counts)


def open_colors(
    scene: str | Path,
    *,
    nodata: float | None = None,
    bands: tuple[int, ...] | None = None,
    allow_vrt: bool = False,
) -> Scene:
    """Open an image for its colours, at its own resolution, whatever bands a model may want of it.

    Raises:
        SceneError: It cannot be read, or is not of 8 bits, or nothing says which bands are red, green and blue.
    """
    opened = Scene(scene, nodata=nodata, bands=bands, allow_vrt=allow_vrt)
    opened = opened if bands else opened.with_bands(3)
    color_index(opened.read(Window(0, 0, 1, 1))[0])
    return opened


def with_colors(table: gpd.GeoDataFrame, scene: Scene) -> tuple[gpd.GeoDataFrame, dict[str, int]]:
    """Return a table with ``roof_color`` and ``blue_share`` before its geometry, and how many are of each colour."""
    table = gpd.GeoDataFrame(table.reset_index(drop=True))
    told = roof_colors(table, scene)
    plain = table.drop(columns=["geometry", "roof_color", "blue_share"], errors="ignore")
    colored = gpd.GeoDataFrame(plain.join(told), geometry=table.geometry, crs=table.crs)
    return colored, {str(name): int(count) for name, count in told["roof_color"].value_counts().items()}


def of_one(table: gpd.GeoDataFrame, color: str) -> gpd.GeoDataFrame:
    """Return the rows of one colour."""
    return gpd.GeoDataFrame(table[table["roof_color"] == color].reset_index(drop=True))
