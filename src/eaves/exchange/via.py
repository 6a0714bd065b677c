"""VGG Image Annotator 2: its project file, its exported annotations, and the balloon set's older form of them.

Source: https://www.robots.ox.ac.uk/~vgg/software/via/ (``via-2.x.y/CodeDoc.md``); Matterport's balloon set,
https://github.com/matterport/Mask_RCNN/tree/master/samples/balloon, has ``regions`` by number instead of in a list.
Coordinates are pixels, x to the right and y down, taken from the outer corner of the first pixel. The format does not
tell an image's size.
"""

from __future__ import annotations

from typing import Any

import geopandas as gpd
import shapely
from shapely import affinity

from eaves.errors import LabelError
from eaves.exchange.marks import Mark, find_image, line, polygon, tabulate


def is_via(data: Any) -> bool:
    """Whether parsed JSON is a project or the annotations of VIA 2."""
    if not isinstance(data, dict):
        return False
    entries = data.get("_via_img_metadata", data)
    return (
        isinstance(entries, dict)
        and bool(entries)
        and all(isinstance(one, dict) and "filename" in one and "regions" in one for one in entries.values())
    )


def read_via(data: dict[str, Any], source: str, image: str, attribute: str | None = None) -> gpd.GeoDataFrame:
    """Take the regions of one image out of a file of VIA.

    Polygons, rectangles, circles, ellipses and lines count; points do not.

    Args:
        data: The parsed file.
        source: Its name, for messages.
        image: Name of the image.
        attribute: The regions' attribute that names their category; needed where they have several.

    Returns:
        ``category`` (none for regions without attributes), ``crowd`` (never), and ``geometry`` in pixels.

    Raises:
        LabelError: The image is not in the file, a region is broken, or there are several attributes.
    """
    entries = list(data.get("_via_img_metadata", data).values())
    entry = entries[find_image([str(one["filename"]) for one in entries], image, source)]
    regions = entry["regions"]
    regions = list(regions.values()) if isinstance(regions, dict) else list(regions)
    known = sorted({key for one in regions for key in one.get("region_attributes") or {}})
    if attribute is None and len(known) > 1:
        raise LabelError(
            f"one attribute that names the category in {source}", ", ".join(known), f'choose it: layer = "{known[0]}"'
        )
    key = attribute or (known[0] if known else None)
    marks = []
    for index, one in enumerate(regions):
        name = f"region {index + 1}"
        try:
            drawn = _shape(one["shape_attributes"], name, source)
            marks.append(Mark(drawn, _category(one.get("region_attributes") or {}, key, name, source), name))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise LabelError(
                f"a region of VIA for {name} of {image} in {source}",
                f"{type(error).__name__}: {error}",
                "draw it again",
            ) from None
    return tabulate(marks, source)


def _category(attributes: dict[str, Any], key: str | None, name: str, source: str) -> str | None:
    """A text or a choice; of boxes to tick, the one that is ticked."""
    value = attributes.get(key) if key is not None else None
    if isinstance(value, dict):
        ticked = [choice for choice, on in value.items() if on]
        if len(ticked) > 1:
            raise LabelError(f"one category for {name} in {source}", " and ".join(ticked), "tick one of them")
        value = ticked[0] if ticked else None
    return str(value) if value not in (None, "") else None


def _shape(told: dict[str, Any], name: str, source: str) -> Any:
    kind = told["name"]
    if kind in ("polygon", "polyline"):
        points = list(zip(told["all_points_x"], told["all_points_y"], strict=True))
        return polygon(points, name, source) if kind == "polygon" else line(points, name, source)
    if kind == "rect":
        return shapely.box(told["x"], told["y"], told["x"] + told["width"], told["y"] + told["height"])
    if kind in ("circle", "ellipse"):
        rx, ry = (told["r"], told["r"]) if kind == "circle" else (told["rx"], told["ry"])
        unit = shapely.Point(0, 0).buffer(1.0, quad_segs=32)
        turned = affinity.rotate(
            affinity.scale(unit, rx, ry), told.get("theta") or 0.0, origin=(0, 0), use_radians=True
        )
        return affinity.translate(turned, told["cx"], told["cy"])
    if kind == "point":
        return shapely.Point(told["cx"], told["cy"])
    raise LabelError(
        f"a polygon, rect, circle, ellipse, polyline or point for {name} in {source}", repr(kind), "draw it as one"
    )
