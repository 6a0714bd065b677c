"""LabelMe's JSON: one file for one image.

Source: https://github.com/wkentaro/labelme (``labelme/label_file.py``, ``labelme/utils/shape.py``). Coordinates are
pixels with fractions, x to the right and y down, taken from the outer corner of the first pixel.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import cv2
import geopandas as gpd
import numpy as np
import shapely
from shapely import affinity

from eaves.errors import LabelError
from eaves.exchange.coco_masks import outline_objects
from eaves.exchange.marks import Mark, check_size, find_image, line, polygon, tabulate


def is_labelme(data: Any) -> bool:
    """Whether parsed JSON is a file of LabelMe."""
    return isinstance(data, dict) and isinstance(data.get("shapes"), list) and "imagePath" in data


def read_labelme(data: dict[str, Any], source: str, image: str, shape: tuple[int, int]) -> gpd.GeoDataFrame:
    """Take the shapes out of a file of LabelMe.

    Polygons, rectangles, circles, lines and masks count; points do not. Shapes of one label and one ``group_id`` are
    one object.

    Args:
        data: The parsed file.
        source: Its name, for messages.
        image: Name of the image.
        shape: Its rows and columns.

    Returns:
        ``category``, ``crowd`` (never), and ``geometry`` in pixels.

    Raises:
        LabelError: The file is for another image or another size, or a shape is broken.
    """
    find_image([str(data["imagePath"])], image, source)
    check_size((data.get("imageHeight"), data.get("imageWidth")), shape, image, source)
    marks: list[Mark] = []
    groups: dict[tuple[str, Any], list[int]] = {}
    for index, one in enumerate(data["shapes"]):
        name = f"shape {index + 1}"
        try:
            marks.append(Mark(_shape(one, name, source), str(one["label"]), name))
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise LabelError(
                f"a shape of LabelMe for {name} in {source}", f"{type(error).__name__}: {error}", "draw it again"
            ) from None
        if one.get("group_id") is not None:
            groups.setdefault((marks[-1].category or "", one["group_id"]), []).append(index)
    for members in groups.values():
        first, *others = members
        if others:
            joined = shapely.union_all(shapely.make_valid([marks[i].shape for i in members]))
            marks[first] = marks[first]._replace(shape=joined)
    joined_away = {i for members in groups.values() for i in members[1:]}
    return tabulate([mark for i, mark in enumerate(marks) if i not in joined_away], source)


def _shape(one: dict[str, Any], name: str, source: str) -> Any:
    kind, points = one.get("shape_type") or "polygon", one["points"]
    if kind == "polygon":
        return polygon(points, name, source)
    if kind == "rectangle":
        (x1, y1), (x2, y2) = points[0], points[len(points) // 2]  # two corners, or all four in turn
        return shapely.box(min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
    if kind == "circle":
        (x, y), (x2, y2) = points
        return shapely.Point(x, y).buffer(float(np.hypot(x2 - x, y2 - y)), quad_segs=32)
    if kind in ("line", "linestrip"):
        return line(points, name, source)
    if kind == "mask":
        return _mask(one["mask"], points, name, source)
    if kind in ("point", "points"):
        return shapely.MultiPoint(points)
    raise LabelError(
        f"a polygon, rectangle, circle, line, mask or point for {name} in {source}", repr(kind), "draw it as one"
    )


def _mask(text: str, points: Any, name: str, source: str) -> Any:
    """A mask is a picture in base64, whose upper left pixel is the one at the first point."""
    try:
        packed = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
        picture = cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE) if packed.size else None
    except (binascii.Error, cv2.error):
        picture = None
    if picture is None:
        raise LabelError(f"a picture in the mask of {name} in {source}", "damaged text", "draw it again")
    (x, y), _ = points
    outline = outline_objects((picture > 0).astype(np.int32)).get(1)
    return None if outline is None else affinity.translate(outline, round(x), round(y))
