"""One file of labels beside a scene: told apart, checked, and brought to the scene's grid."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import NamedTuple

import geopandas as gpd
import numpy as np

from eaves.errors import LabelError
from eaves.exchange.annotations import read_annotations
from eaves.exchange.vectors import read_vectors
from eaves.labels import UNKNOWN, Align, ClassTable, LabelLayer, align_features, overlap
from eaves.labels.burn import extents_meet
from eaves.labels.classes import class_index
from eaves.labels.colors import of_color
from eaves.sample.classraster import ClassRaster
from eaves.scene import Scene
from eaves.settings import LabelSource

_LOG = logging.getLogger(__name__)
_RASTER_SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".jp2", ".webp", ".img", ".bmp")


class Painter(NamedTuple):
    """What paints a mask.

    Attributes:
        layer: Polygons of one class, or a raster of classes.
        value: The polygons' class index.
        path: Where it is from, as the dataset names it.
    """

    layer: LabelLayer | ClassRaster
    value: int
    path: str


def open_label_source(
    source: LabelSource, path: str, scene: Scene, image: str, names: tuple[str, ...], align: Align = "none"
) -> list[Painter]:
    """Open a file of labels.

    Annotation files (COCO, LabelMe, VIA) are in pixels of the image; their classes paint in the order of the
    dataset's, over crowds, which are unknown.

    Args:
        source: What the dataset says of it.
        path: As it can be opened.
        scene: The scene that it labels.
        image: The scene's image, as the dataset names it.
        names: The classes.
        align: How features are moved onto the image, as :func:`eaves.labels.align_features`.

    Returns:
        What paints, in order.

    Raises:
        LabelError: It is missing, empty (without ``negative_if_empty``), elsewhere, or without what it needs; or it is
            a class raster that is to be aligned.
        SceneError: The scene has no known resolution to align at.
    """
    if align != "none" and (source.values or source.colors):
        told = f"align = {align!r} for {image}, and the class raster {source.path}"
        raise LabelError("vectors to move onto the image", told, "set align = 'none', or give the labels as polygons")
    if source.values is not None and source.colors is not None:
        raise LabelError(f"values or colors for {source.path}", "both", "keep the one that the file has")
    if source.roof_color is not None and (source.values or source.colors):
        told = f"roof_color = {source.roof_color!r} for the class raster {source.path}"
        raise LabelError("polygons for roof_color", told, "give the labels as polygons")
    if source.values is not None:
        return [Painter(ClassRaster(path, ClassTable.of_values(source.values, names), scene), UNKNOWN, source.path)]
    if source.colors is not None:
        return [Painter(ClassRaster(path, ClassTable.of_colors(source.colors, names), scene), UNKNOWN, source.path)]
    if path.lower().endswith(_RASTER_SUFFIXES):
        raise LabelError(
            f"values or colors for the class raster {source.path}",
            "neither",
            'say what its numbers or colours mean: colors = {building = ["#3C1098"]}',
        )
    rows, cols = scene.native_grid.shape
    marks = read_annotations(path, image, (int(rows), int(cols)), source.layer)
    if marks is None:
        if source.categories is not None:
            raise LabelError(
                f"an annotation file (COCO, LabelMe, VIA) for the categories of {source.path}",
                "a file of another kind",
                "name the class that its features are: class = …",
            )
        features = read_vectors(path, layer=source.layer)
        _check_place(features, source, scene, image)
        features = _colored(_aligned(features, source, scene, align), source, scene)
        return [_painter(features, class_index(source.class_ or names[1], names), source, scene)]
    marks = _on_ground(marks, scene)
    _check_place(marks, source, scene, image)
    marks = _colored(_aligned(marks, source, scene, align), source, scene)
    values = _classes_of(marks, source, names)
    values[marks["crowd"].to_numpy()] = UNKNOWN
    order = [UNKNOWN, *range(len(names))]
    return [
        _painter(gpd.GeoDataFrame(marks[values == value]), value, source, scene, apart=False)
        for value in order
        if (values == value).any()
    ]


def _painter(features: gpd.GeoDataFrame, value: int, source: LabelSource, scene: Scene, apart: bool = True) -> Painter:
    layer = LabelLayer(features, scene.grid, width_m=source.width_m, gsd_m=scene.gsd_m, apart=apart)
    return Painter(layer, value, source.path)


def _aligned(features: gpd.GeoDataFrame, source: LabelSource, scene: Scene, align: Align) -> gpd.GeoDataFrame:
    if align == "none":
        return features
    moved, report = align_features(features, scene, align, width_m=source.width_m)
    _LOG.info("%s on %s: %s", source.path, scene.name, report)
    return moved


def _colored(features: gpd.GeoDataFrame, source: LabelSource, scene: Scene) -> gpd.GeoDataFrame:
    """Leave out what is of another colour than the wanted one; crowds stay."""
    if source.roof_color is None:
        return features
    colors = Scene(scene.path, nodata=scene.nodata).with_bands(3)  # whatever bands the network is given
    wanted = of_color(features, colors, source.roof_color)
    if "crowd" in features:
        wanted = wanted | features["crowd"].to_numpy(bool)
    _LOG.info("%s on %s: %d of %d are %s", source.path, scene.name, wanted.sum(), len(wanted), source.roof_color)
    return gpd.GeoDataFrame(features[wanted])


def _check_place(features: gpd.GeoDataFrame, source: LabelSource, scene: Scene, image: str) -> None:
    """Refuse labels that are empty, or elsewhere, unless that is meant."""
    empty_is_meant = source.negative_if_empty and (not len(features) or extents_meet(features, scene.grid))
    if not len(features) and not empty_is_meant:
        raise LabelError(
            f"features in {source.path}" + (f" for {image}" if "category" in features else ""),
            "none",
            "check file and layer; if the scene truly holds none of the class, set negative_if_empty = true",
        )
    if not empty_is_meant:
        share = overlap(features, scene.grid)
        _LOG.info("%s: %.1f%% of %d features lie in %s", source.path, 100 * share, len(features), image)


# --- annotation files -------------------------------------------------------------------------------------------------


def _on_ground(marks: gpd.GeoDataFrame, scene: Scene) -> gpd.GeoDataFrame:
    """Bring pixels of the file to the coordinates of its grid."""
    a = scene.native_grid.affine
    crs = None if scene.native_grid.crs is None else scene.native_grid.crs.proj
    moved = marks.geometry.affine_transform([a.a, a.b, a.d, a.e, a.c, a.f])
    return gpd.GeoDataFrame(marks.drop(columns="geometry"), geometry=moved.to_numpy(), crs=crs)


def _classes_of(marks: gpd.GeoDataFrame, source: LabelSource, names: tuple[str, ...]) -> np.ndarray:
    """Class index of each mark, int64 ``(n,)``."""
    categories = ["" if category is None else str(category) for category in marks["category"]]
    if source.class_ is not None and source.categories is not None:
        raise LabelError(f"class or categories for {source.path}", "both", "keep one")
    if source.class_ is not None:
        return np.full(len(marks), class_index(source.class_, names), np.int64)
    if source.categories is None and not any(categories):
        return np.ones(len(marks), np.int64)  # nobody was asked what things are: the second class, as for vectors
    meaning = _meaning(source, names)
    if strangers := sorted({category for category in categories if category not in meaning}):
        raise LabelError(
            f"categories {', '.join(map(repr, meaning))} in {source.path}",
            ", ".join(map(repr, strangers[:6])),
            f'say what they mean: categories = {{{names[1]} = ["{strangers[0]}"]}}, or class = "{names[1]}" for all',
        )
    return np.array([meaning[category] for category in categories], np.int64)


def _meaning(source: LabelSource, names: tuple[str, ...]) -> dict[str, int]:
    """Category → class index."""
    if source.categories is None:
        return {name: class_index(name, names) for name in (*names, "unknown")}
    meaning: dict[str, int] = {}
    pairs: Iterable[tuple[str, str]] = (
        (name, category) for name, several in source.categories.items() for category in several
    )
    for name, category in pairs:
        if meaning.setdefault(category, class_index(name, names)) != class_index(name, names):
            raise LabelError(f"one class for category {category!r} of {source.path}", "two", "take one out")
    return meaning
