"""What people draw on an image in an annotation tool: shapes in pixels, each of a category."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from eaves.errors import EavesWarning, LabelError
from eaves.exchange.mending import mend


class Mark(NamedTuple):
    """One shape.

    Attributes:
        shape: Polygon, multipolygon or line. Coordinates are pixels, x to the right and y down, from the outer corner
            of the image's first pixel.
        category: What its author calls it; none where the tool was not told.
        name: Which one of its file, for messages.
        crowd: An area of many objects that nobody told apart.
    """

    shape: Any
    category: str | None
    name: str
    crowd: bool = False


def tabulate(marks: Sequence[Mark], source: str) -> gpd.GeoDataFrame:
    """Make a table with columns ``category``, ``crowd`` and ``geometry``, without CRS; invalid shapes are mended.

    Warns:
        EavesWarning: Something was dropped or mended.
    """
    names = np.array([mark.name for mark in marks], dtype=object)
    shapes = np.empty(len(marks), dtype=object)
    shapes[:] = [mark.shape for mark in marks]
    mended = mend(shapes, names)
    if mended.notes:
        warnings.warn(f"{source}, {len(marks)} shapes: {'; '.join(mended.notes)}", EavesWarning, stacklevel=3)
    kept = ~shapely.is_missing(mended.geometries)
    columns = {
        "category": pd.Series([mark.category for mark, good in zip(marks, kept, strict=True) if good], dtype=object),
        "crowd": np.array([mark.crowd for mark in marks], bool)[kept],
    }
    return gpd.GeoDataFrame(columns, geometry=mended.geometries[kept])


def polygon(points: Sequence[Sequence[float]], name: str, source: str) -> shapely.Polygon:
    """Make a polygon of at least three points ``(x, y)``.

    Raises:
        LabelError: There are fewer, or they are no pairs of numbers.
    """
    corners = _pairs(points, name, source)
    if len(corners) < 3:
        raise LabelError(
            f"a polygon of at least 3 points for {name} in {source}", f"{len(corners)}", "draw it again, or delete it"
        )
    return shapely.Polygon(corners)


def line(points: Sequence[Sequence[float]], name: str, source: str) -> shapely.LineString:
    """Make a line of at least two points ``(x, y)``.

    Raises:
        LabelError: There are fewer, or they are no pairs of numbers.
    """
    corners = _pairs(points, name, source)
    if len(corners) < 2:
        raise LabelError(
            f"a line of at least 2 points for {name} in {source}", f"{len(corners)}", "draw it again, or delete it"
        )
    return shapely.LineString(corners)


def _pairs(points: Sequence[Sequence[float]], name: str, source: str) -> np.ndarray:
    try:
        corners = np.asarray(points, float).reshape(len(points), 2)
    except (ValueError, TypeError) as error:
        raise LabelError(f"points (x, y) for {name} in {source}", str(error), "draw it again, or delete it") from None
    if not np.isfinite(corners).all():
        raise LabelError(
            f"points (x, y) for {name} in {source}", "coordinates that are not numbers", "draw it again, or delete it"
        )
    return corners


def find_image(names: Sequence[str], image: str, source: str) -> int:
    """Find which of a file's images is meant: the one of the same name, else of the same name but for the suffix.

    Folders count where several have the name.

    Args:
        names: Of the file's images.
        image: The one wanted, as the dataset names it.
        source: The file, for messages.

    Raises:
        LabelError: It is not there, or several could be meant.

    Example:
        >>> find_image(["a/7.jpg", "b/7.jpg", "8.jpg"], "images/b/7.tif", "labels.json")
        1
    """
    wanted = _plain(image)
    paths = [_plain(name) for name in names]
    found = [i for i, path in enumerate(paths) if path.name == wanted.name]
    found = found or [i for i, path in enumerate(paths) if path.stem == wanted.stem]
    if len(found) > 1:
        alike = [_common_tail(paths[i], wanted) for i in found]
        found = [i for i, length in zip(found, alike, strict=True) if length == max(alike)]
    if len(found) != 1:
        some = ", ".join(names[i] for i in (found or range(len(names)))[:4])
        raise LabelError(
            f"one image {wanted.name} in {source}",
            f"{len(found) or 'none'} of {len(names)} ({some}{', …' if len(names) > 4 else ''})",
            "give image and entry the same name" if not found else "give each image a name of its own",
        )
    return found[0]


def _plain(name: str) -> PurePosixPath:
    return PurePosixPath(name.replace("\\", "/"))


def _common_tail(one: PurePosixPath, other: PurePosixPath) -> int:
    """How many folders above the file agree."""
    pairs = list(zip(one.parent.parts[::-1], other.parent.parts[::-1], strict=False))
    return next((count for count, (ours, theirs) in enumerate(pairs) if ours != theirs), len(pairs))


def check_size(told: tuple[Any, Any], shape: tuple[int, int], image: str, source: str) -> None:
    """Compare the size that a file tells of an image with its own.

    Args:
        told: Rows and columns that the file tells; none where it does not.
        shape: Rows and columns of the image.
        image: Its name.
        source: The file.

    Raises:
        LabelError: They differ.
    """
    if None not in told and tuple(told) != tuple(shape):
        raise LabelError(
            f"labels drawn on {image} as it is, {shape[1]} x {shape[0]} px",
            f"{told[1]} x {told[0]} px in {source}",
            "label the image itself, or scale the labels with it",
            because="labels in pixels mean nothing on an image of another size",
        )
