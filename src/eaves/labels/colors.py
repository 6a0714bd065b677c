"""What colour roofs are: of each pixel in CIELAB, where equal steps look equal; of each polygon by its pixels.

Source: CIE 1976 L*a*b* by OpenCV; hues and limits are ours, chosen on real drone and aerial imagery.
"""

from __future__ import annotations

from typing import get_args

import cv2
import numpy as np
import pandas as pd
import shapely
from geopandas import GeoDataFrame
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from rasterio.windows import Window

from eaves.errors import SceneError, SettingsError
from eaves.scene import Scene, window_grid
from eaves.settings.dataset import RoofColor

COLORS: tuple[RoofColor, ...] = get_args(RoofColor)
_GREY_CHROMA = 12.0  # below, a surface looks grey: shadows and haze tint it by so much
_WHITE, _BLACK = 75.0, 30.0  # lightness
_BROWN = 62.0  # lightness below which orange is brown and not yellow
# Hue angles in degrees where a colour ends and the next one begins.
_HUES: tuple[tuple[float, RoofColor], ...] = (
    (40, "red"), (75, "brown"), (105, "yellow"), (200, "green"), (305, "blue"), (345, "purple"), (360, "red"),
)  # fmt: skip
_BLOCK_PX = 2048


def color_index(image: np.ndarray) -> np.ndarray:
    """Name the colour of each pixel.

    Args:
        image: uint8 ``(3, h, w)``: red, green, blue (sRGB).

    Returns:
        uint8 ``(h, w)``: index into ``COLORS``.

    Raises:
        SceneError: The image has other bands, or another type.

    Example:
        >>> COLORS[color_index(np.array([66, 112, 166], np.uint8).reshape(3, 1, 1))[0, 0]]
        'blue'
    """
    if image.dtype != np.uint8 or image.ndim != 3 or len(image) != 3:
        raise SceneError(
            "8-bit red, green and blue for the colours of roofs",
            f"{len(image)} bands of {image.dtype}",
            "name three bands (--bands), or convert the scene with gdal_translate -ot Byte -scale",
        )
    rgb = np.ascontiguousarray(np.moveaxis(image, 0, -1), np.float32) / 255
    lightness, a, b = np.moveaxis(cv2.cvtColor(rgb, cv2.COLOR_RGB2Lab), -1, 0)
    hue = np.degrees(np.arctan2(b, a)) % 360
    names = np.array([COLORS.index(name) for _, name in _HUES], np.uint8)
    index = names[np.searchsorted([end for end, _ in _HUES], hue, side="right").clip(max=len(_HUES) - 1)]
    warm = (index == COLORS.index("brown")) | (index == COLORS.index("yellow"))
    index[warm] = np.where(lightness[warm] < _BROWN, COLORS.index("brown"), COLORS.index("yellow"))
    grey = np.hypot(a, b) < _GREY_CHROMA
    index[grey] = COLORS.index("grey")
    index[grey & (lightness >= _WHITE)] = COLORS.index("white")
    index[lightness < np.where(grey, _BLACK, _BLACK / 3)] = COLORS.index("black")
    return index


def roof_colors(features: GeoDataFrame, scene: Scene) -> pd.DataFrame:
    """Measure the colour of each polygon on an image, block by block.

    Args:
        features: Polygons in any CRS.
        scene: 8-bit red, green and blue; measured on its working grid.

    Returns:
        With the index of ``features``: ``roof_color``, the commonest colour of its pixels (None where the image
        shows none of it), and ``blue_share``, the share of its pixels that are blue (NaN there).

    Raises:
        SceneError: The image cannot be read, or has other bands or another type.

    Example:
        >>> roof_colors(footprints, Scene("ortho.tif"))["roof_color"].value_counts()  # doctest: +SKIP
    """
    crs = scene.grid.crs
    shapes = features.geometry if crs is None or features.crs is None else features.geometry.to_crs(crs.proj)
    polygons = shapes.to_numpy()
    usable = np.flatnonzero(~shapely.is_missing(polygons) & ~shapely.is_empty(polygons))
    counts = np.zeros((len(polygons) + 1, len(COLORS)), np.int64)
    tree = shapely.STRtree(polygons[usable])
    rows, cols = scene.shape
    for row in range(0, rows, _BLOCK_PX):
        for col in range(0, cols, _BLOCK_PX):
            window = Window(col, row, min(_BLOCK_PX, cols - col), min(_BLOCK_PX, rows - row))
            grid = window_grid(scene.grid, window)
            near = usable[tree.query(_outline(grid), predicate="intersects")]
            if not len(near):
                continue
            # Later ones would hide earlier ones where polygons overlap; so each overlapping one is counted by itself.
            image, valid = scene.read(window)
            index = color_index(image)
            for layer in _layers(polygons, near):
                numbers = rasterize(
                    [(polygons[at], int(at) + 1) for at in layer],
                    out_shape=tuple(grid.shape),
                    transform=grid.affine,
                    dtype=np.int32,
                )
                assert numbers is not None
                numbers[~valid] = 0
                of, color = numbers[numbers > 0], index[numbers > 0]
                np.add.at(counts, (of, color), 1)
    return _told(counts[1:], features)


def check_color(color: str) -> RoofColor:
    """Return a colour's name.

    Raises:
        SettingsError: It is none.
    """
    for known in COLORS:
        if color == known:
            return known
    raise SettingsError(f"a colour of {', '.join(COLORS)}", repr(color), "choose one of them")


def of_color(features: GeoDataFrame, scene: Scene, color: str) -> np.ndarray:
    """Say which polygons are of a colour, as :func:`roof_colors` measures it, bool ``(n,)``."""
    wanted = check_color(color)
    return (roof_colors(features, scene)["roof_color"] == wanted).to_numpy()


def _told(counts: np.ndarray, features: GeoDataFrame) -> pd.DataFrame:
    total = counts.sum(axis=1)
    names = np.array(COLORS, object)[counts.argmax(axis=1)] if len(counts) else np.empty(0, object)
    names[total == 0] = None
    share = np.divide(counts[:, COLORS.index("blue")], total, where=total > 0, out=np.full(len(total), np.nan))
    columns = {"roof_color": pd.Series(names, dtype="str", index=features.index), "blue_share": share.round(3)}
    return pd.DataFrame(columns, index=features.index)


def _layers(polygons: np.ndarray, near: np.ndarray) -> list[list[int]]:
    """Polygons in groups, so that in none of them two overlap."""
    i, j = shapely.STRtree(polygons[near]).query(polygons[near], predicate="intersects")
    before: dict[int, list[int]] = {}
    for a, b in zip(i.tolist(), j.tolist(), strict=True):
        if b < a:
            before.setdefault(a, []).append(b)
    level = [0] * len(near)
    for at in range(len(near)):
        taken = {level[other] for other in before.get(at, ())}
        level[at] = next(number for number in range(len(near) + 1) if number not in taken)
    layers: list[list[int]] = [[] for _ in range(max(level) + 1)]
    for at, number in enumerate(level):
        layers[number].append(int(near[at]))
    return layers


def _outline(grid: GeoBox) -> shapely.Polygon:
    height, width = grid.shape
    corners = [(0, 0), (width, 0), (width, height), (0, height)]
    return shapely.Polygon([grid.affine * corner for corner in corners])
