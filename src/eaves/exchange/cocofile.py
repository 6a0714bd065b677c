"""Footprints of one image as a file of COCO's: polygons, and runs where there are holes."""

from __future__ import annotations

import json
from collections.abc import Mapping
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
    table: gpd.GeoDataFrame, path: str | Path, *, image: str, grid: GeoBox, metadata: Mapping[str, Any] | None = None
) -> None:
    """Write footprints in pixels of the image that they were found in.

    Coordinates are as in :mod:`eaves.exchange.coco`. A footprint without holes is a polygon, with its coordinates as
    they are; one with holes, for which COCO's polygons have no word, is the runs of its pixels. ``score`` goes along,
    so that the annotations are also a file of results; ``area`` is in square pixels.

    Args:
        table: Polygons, in the CRS of ``grid``; categories are its column ``class``, else ``building``.
        path: The file.
        image: Name of the image.
        grid: Of the image's own pixels.
        metadata: JSON-able; stands under ``info``.

    Raises:
        OutputError: The place cannot be written, or a footprint lies outside the image.

    Example:
        >>> write_coco(footprints, "footprints.coco.json", image="ortho.tif", grid=scene.native_grid)  # doctest: +SKIP
    """
    rows, cols = (int(side) for side in grid.shape)
    inverse = ~grid.affine
    matrix = [inverse.a, inverse.b, inverse.d, inverse.e, inverse.c, inverse.f]
    shapes = gpd.GeoSeries(table.geometry.to_numpy()).affine_transform(matrix)
    # Outlines end at pixels' edges, from which the way through the map's coordinates strays by a hair.
    shapes = shapely.transform(shapes.to_numpy(), lambda xy: xy.clip(0, (cols, rows)))
    names = table["class"].astype(str).tolist() if "class" in table else [_CATEGORY] * len(table)
    categories = {name: number for number, name in enumerate(sorted(set(names)) or [_CATEGORY], 1)}
    scores = table["score"].tolist() if "score" in table else [None] * len(table)
    annotations = [
        {"id": number, "image_id": 1, "category_id": categories[name], **_describe(shape, (rows, cols))}
        | ({} if score is None else {"score": float(score)})
        for number, (shape, name, score) in enumerate(zip(shapes, names, scores, strict=True), 1)
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
    told = {"bbox": [left, top, right - left, bottom - top], "area": shape.area, "iscrowd": 0}
    if not len(shape.interiors):
        return {"segmentation": [shapely.get_coordinates(shape.exterior)[:-1].ravel().tolist()], **told}
    row, col = int(np.floor(top)), int(np.floor(left))
    window = (int(np.ceil(bottom)) - row, int(np.ceil(right)) - col)
    mask = rasterize([(shape, 1)], out_shape=window, transform=Affine.translation(col, row), dtype=np.uint8)
    assert mask is not None
    return {"segmentation": encode_rle(mask, at=(row, col), size=size), **told}
