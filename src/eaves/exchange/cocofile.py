"""Footprints of one image as a file of COCO's: polygons, and runs where there are holes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize

from eaves.errors import OutputError
from eaves.exchange.atomic import whole_file
from eaves.exchange.coco import check_coco
from eaves.exchange.coco_masks import encode_rle

SUFFIX = ".coco.json"
_CATEGORY = "building"


def write_coco(
    table: gpd.GeoDataFrame,
    path: str | Path,
    *,
    image: str,
    grid: GeoBox,
    classes: Sequence[str] = (),
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write footprints in pixels of the image that they were found in.

    Coordinates are as in :mod:`eaves.exchange.coco`. A footprint without holes is a polygon, with its coordinates as
    they are; one with holes, for which COCO's polygons have no word, is the runs of its pixels. ``score`` goes along,
    so that the annotations are also a file of results, and ``roof_color`` and ``blue_share`` as ``attributes``. What
    reaches beyond the image is cut off at its edge.

    Args:
        table: Polygons, in the CRS of ``grid``; categories are its column ``class``, else ``building``.
        path: The file.
        image: Name of the image.
        grid: Of the image's own pixels.
        classes: Names of the categories, so that their ids are the same in every file; those of the table by default.
        metadata: JSON-able; stands under ``info``.

    Raises:
        OutputError: The place cannot be written, or a footprint lies outside the image or is none of ``classes``.

    Example:
        >>> write_coco(footprints, "footprints.coco.json", image="ortho.tif", grid=scene.native_grid)  # doctest: +SKIP
    """
    rows, cols = (int(side) for side in grid.shape)
    inverse = ~grid.affine
    matrix = [inverse.a, inverse.b, inverse.d, inverse.e, inverse.c, inverse.f]
    shapes = gpd.GeoSeries(table.geometry.to_numpy()).affine_transform(matrix)
    # A working grid of larger pixels can reach beyond the image, and the way through the map strays by a hair.
    shapes = shapely.transform(shapes.to_numpy(), lambda xy: xy.clip(0, (cols, rows)))
    if len(shapes) and (outside := int((shapely.area(shapes) == 0).sum())):
        raise OutputError(f"footprints in {image}, for {path}", f"{outside} outside of it", "check scene and layer")
    names = table["class"].astype(str).tolist() if "class" in table else [_CATEGORY] * len(table)
    known = list(classes) or sorted(set(names)) or [_CATEGORY]
    if strangers := sorted(set(names) - set(known)):
        raise OutputError(f"footprints of {', '.join(known)} for {path}", strangers[0], "name its class, too")
    categories = {name: number for number, name in enumerate(known, 1)}
    told = [column for column in ("roof_color", "blue_share") if column in table]
    attributes = table[told].astype(object).where(table[told].notna(), None).to_dict("records")
    scores = table["score"].tolist() if "score" in table else [None] * len(table)
    annotations = [
        {"id": number, "image_id": 1, "category_id": categories[name], **_describe(shape, (rows, cols))}
        | ({} if score is None else {"score": float(score)})
        | ({"attributes": more} if more else {})
        for number, (shape, name, score, more) in enumerate(zip(shapes, names, scores, attributes, strict=True), 1)
    ]
    document = {
        "info": {"description": "footprints by eaves", "version": "1.0", "eaves": metadata or {}},
        "licenses": [],
        "images": [{"id": 1, "file_name": image, "width": cols, "height": rows}],
        "categories": [{"id": number, "name": name, "supercategory": ""} for name, number in categories.items()],
        "annotations": annotations,
    }
    if problems := check_coco(document, areas=False):
        raise OutputError(f"footprints that COCO can hold, for {path}", problems[0], "choose another format")
    with whole_file(Path(path)) as partial:
        partial.write_text(json.dumps(document) + "\n", encoding="utf-8")


def _describe(shape: shapely.Polygon, size: tuple[int, int]) -> dict[str, Any]:
    left, top, right, bottom = shape.bounds
    plain = {
        "segmentation": [shapely.get_coordinates(shape.exterior)[:-1].ravel().tolist()],
        "bbox": [left, top, right - left, bottom - top],
        "area": shape.area,
        "iscrowd": 0,
    }
    if not len(shape.interiors):
        return plain
    row, col = int(np.floor(top)), int(np.floor(left))
    window = (int(np.ceil(bottom)) - row, int(np.ceil(right)) - col)
    mask = rasterize([(shape, 1)], out_shape=window, transform=Affine.translation(col, row), dtype=np.uint8)
    assert mask is not None
    if not mask.any():  # too thin for any pixel's centre, hole and all
        return plain
    return {**plain, "segmentation": encode_rle(mask, at=(row, col), size=size), "area": int(mask.sum())}
