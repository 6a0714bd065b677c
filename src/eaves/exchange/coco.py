"""COCO's JSON of instances: read as labels, checked by its rules, and written.

Source: https://cocodataset.org/#format-data (object detection). Coordinates are pixels, x to the right and y down, from
the outer corner of the first pixel; a pixel belongs to a polygon when its centre does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from rasterio.features import rasterize

from eaves.errors import LabelError
from eaves.exchange.coco_masks import decode_rle, encode_rle, outline_objects
from eaves.exchange.marks import Mark, check_size, find_image, polygon, tabulate

_AREA_TOLERANCE = 1.0  # of a polygon's area, in pixels for a pixel of its side: an outline crosses pixels


def is_coco(data: Any) -> bool:
    """Whether parsed JSON is a COCO file of instances."""
    return isinstance(data, dict) and isinstance(data.get("images"), list) and isinstance(data.get("annotations"), list)


def read_coco(data: dict[str, Any], source: str, image: str, shape: tuple[int, int]) -> gpd.GeoDataFrame:
    """Take the annotations of one image out of a COCO file.

    Args:
        data: The parsed file.
        source: Its name, for messages.
        image: Name of the image.
        shape: Its rows and columns.

    Returns:
        ``category``, ``crowd``, and ``geometry`` in pixels; runs become outlines along pixel edges.

    Raises:
        LabelError: The image is not in the file or of another size, a category is not defined, or a segmentation is
            missing or broken.
    """
    with _told_of(source):
        entries = data["images"]
        entry = entries[find_image([str(one["file_name"]) for one in entries], image, source)]
        check_size((entry.get("height"), entry.get("width")), shape, image, source)
        names = {one["id"]: str(one["name"]) for one in data.get("categories", [])}
        marks = [_mark(one, names, shape, source) for one in data["annotations"] if one["image_id"] == entry["id"]]
    return tabulate(marks, source)


def paint_coco(
    annotations: Sequence[dict[str, Any]], classes: dict[Any, int], shape: tuple[int, int], source: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Paint the annotations of one image as they are, later over earlier.

    Args:
        annotations: Of the image.
        classes: Id of a category → class index.
        shape: Rows and columns.
        source: The file, for messages.

    Returns:
        Class uint8 ``(h, w)``, 0 where nothing is; number of the object from 1 on, uint16 ``(h, w)``, in the order of
        the annotations; and bool ``(h, w)``: in a crowd and in no object.

    Raises:
        LabelError: A category is not defined, or a segmentation is missing or broken.
    """
    numbers, crowd = np.zeros(shape, np.uint16), np.zeros(shape, bool)
    values = [0]  # class of each object
    waiting: list[tuple[Any, int]] = []  # polygons that one call can paint, which is much faster

    def paint() -> None:
        if waiting:
            rasterize(waiting, out=numbers)
            waiting.clear()

    with _told_of(source):
        for one in annotations:
            name = f"annotation {one.get('id')}"
            if one.get("iscrowd", 0):
                crowd |= _rasterize(one, name, shape, source)
                continue
            if one["category_id"] not in classes:
                raise _undefined(one["category_id"], name, source)
            number = len(values)
            values.append(classes[one["category_id"]])
            drawn = _segmentation(one, name, shape, source)
            if isinstance(drawn, np.ndarray):
                paint()
                numbers[drawn > 0] = number
            else:
                waiting += [(part, number) for part in shapely.get_parts(drawn)]
        paint()
    return np.array(values, np.uint8)[numbers], numbers, crowd & (numbers == 0)


def describe_objects(numbers: np.ndarray, mask: np.ndarray) -> Iterator[dict[str, Any]]:
    """Describe the objects of an image: polygons where an object has no hole, else runs.

    Args:
        numbers: Objects ``(h, w)``, 0 for none.
        mask: Class index ``(h, w)``; the id of its category.

    Yields:
        Annotations in the order of the numbers, without ``id`` and ``image_id``.

    Example:
        >>> numbers = np.array([[0, 1, 1]], np.uint16)
        >>> next(describe_objects(numbers, (numbers > 0).astype(np.uint8)))["bbox"]
        [1.0, 0.0, 2.0, 1.0]
    """
    for number, outline in outline_objects(numbers).items():
        parts = shapely.get_parts(outline)
        left, top, right, bottom = (float(side) for side in outline.bounds)
        whole = numbers == number
        if shapely.get_num_interior_rings(parts).any():
            segmentation: Any = encode_rle(whole)
        else:
            segmentation = [shapely.get_coordinates(part)[:-1].ravel().tolist() for part in parts]
        yield {
            "category_id": int(mask[whole][0]),
            "segmentation": segmentation,
            "area": int(whole.sum()),
            "bbox": [left, top, right - left, bottom - top],
            "iscrowd": 0,
        }


def describe_crowd(where: np.ndarray, category: int) -> dict[str, Any]:
    """Describe an area that nobody judges, bool ``(h, w)``, as a crowd, without ``id`` and ``image_id``."""
    rows, cols = (np.flatnonzero(where.any(axis=axis)) for axis in (1, 0))
    return {
        "category_id": category,
        "segmentation": encode_rle(where),
        "area": int(where.sum()),
        "bbox": [float(cols[0]), float(rows[0]), float(np.ptp(cols) + 1), float(np.ptp(rows) + 1)],
        "iscrowd": 1,
    }


def check_coco(data: dict[str, Any], *, areas: bool = True) -> list[str]:
    """Check a file by COCO's rules; the problems in words, none where all is well.

    Ids are there once and refer to what there is; polygons have at least three points and runs the size of their
    image; boxes lie in the image; areas are those of the segmentation.

    Args:
        data: The parsed file.
        areas: Compare areas too, for which every annotation has to be painted.

    Example:
        >>> check_coco({"images": [], "annotations": [{"id": 1, "image_id": 7, "category_id": 1}], "categories": []})
        ['annotation 1: no image 7', 'annotation 1: no category 1']
    """
    problems: list[str] = []
    for part in ("images", "annotations", "categories"):
        ids = [one.get("id") for one in data.get(part, [])]
        if len(set(ids)) < len(ids) or None in ids:
            problems.append(f"{part}: an id is missing or there twice")
    images = {one.get("id"): one for one in data.get("images", [])}
    categories = {one.get("id") for one in data.get("categories", [])}
    for one in data.get("annotations", []):
        found = []
        if one.get("image_id") not in images:
            found.append(f"no image {one.get('image_id')}")
        if one.get("category_id") not in categories:
            found.append(f"no category {one.get('category_id')}")
        found = found or list(_shape_problems(one, images[one["image_id"]], areas))
        problems += [f"annotation {one.get('id')}: {what}" for what in found]
    return problems


def _shape_problems(one: dict[str, Any], image: dict[str, Any], areas: bool) -> Iterator[str]:
    shape = (int(image["height"]), int(image["width"]))
    try:
        drawn = _segmentation(one, "it", shape, "the file")
    except LabelError as error:
        yield f"{error.expected}: {error.received}"
        return
    if one.get("iscrowd", 0) and not isinstance(drawn, np.ndarray):
        yield "a crowd without runs"
    left, top, width, height = one.get("bbox", (0, 0, 0, 0))
    if left < 0 or top < 0 or left + width > shape[1] or top + height > shape[0]:
        yield f"a box beyond the image, {one['bbox']}"
    if areas:
        pixels = int(_rasterize(one, "it", shape, "the file").sum())
        if abs(float(one["area"]) - pixels) > _AREA_TOLERANCE * (1 + pixels**0.5):
            yield f"an area of {one['area']} for {pixels} pixels"


# --- one annotation ---------------------------------------------------------------------------------------------------


def _mark(one: dict[str, Any], names: dict[Any, str], shape: tuple[int, int], source: str) -> Mark:
    name = f"annotation {one.get('id')}"
    if one["category_id"] not in names:
        raise _undefined(one["category_id"], name, source)
    drawn = _segmentation(one, name, shape, source)
    if isinstance(drawn, np.ndarray):
        drawn = outline_objects(drawn).get(1)
    elif drawn.geom_type == "MultiPolygon" and shapely.is_valid(drawn.geoms).all():
        drawn = shapely.union_all(drawn.geoms)  # parts may overlap
    return Mark(drawn, names[one["category_id"]], name, bool(one.get("iscrowd", 0)))


def _rasterize(one: dict[str, Any], name: str, shape: tuple[int, int], source: str) -> np.ndarray:
    """The pixels of an annotation, bool ``(h, w)``."""
    drawn = _segmentation(one, name, shape, source)
    if isinstance(drawn, np.ndarray):
        return drawn > 0
    out = np.zeros(shape, np.uint8)
    rasterize([(part, 1) for part in shapely.get_parts(drawn)], out=out)
    return out > 0


def _segmentation(one: dict[str, Any], name: str, shape: tuple[int, int], source: str) -> Any:
    """A polygon or multipolygon, or a mask uint8 ``(h, w)``."""
    drawn = one.get("segmentation")
    if isinstance(drawn, dict):
        try:
            mask = decode_rle(drawn)
        except (ValueError, KeyError, TypeError) as error:
            raise LabelError(f"runs for {name} in {source}", str(error), "export the annotations again") from None
        check_size(mask.shape, shape, f"the image of {name}", source)
        return mask
    if not isinstance(drawn, list) or not drawn:
        raise LabelError(
            f"a segmentation for {name} in {source}", "a box alone", "draw outlines; a box does not tell a shape"
        )
    parts = []
    for flat in drawn:
        if not isinstance(flat, list) or len(flat) % 2:
            raise LabelError(
                f"a polygon [x, y, x, y, …] for {name} in {source}", repr(flat)[:60], "export the annotations again"
            )
        parts.append(polygon(list(zip(flat[::2], flat[1::2], strict=True)), name, source))
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


def _undefined(category: Any, name: str, source: str) -> LabelError:
    return LabelError(f"a category for {name} in {source}", f"id {category!r}, which is not defined", "define it")


@contextmanager
def _told_of(source: str) -> Iterator[None]:
    """Turn what a broken file makes Python say into a sentence about the file."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LabelError(
            f"COCO's JSON of instances in {source}", f"{type(error).__name__}: {error}", "export the file again"
        ) from None
