"""Labels from annotation tools, told apart by what is in the file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import geopandas as gpd

from eaves.errors import LabelError
from eaves.exchange.coco import is_coco, read_coco
from eaves.exchange.labelme import is_labelme, read_labelme
from eaves.exchange.via import is_via, read_via

_HEAD_BYTES = 65536
_GEOJSON = re.compile(rb'"type"\s*:\s*"(Feature|FeatureCollection|Topology)"')


def read_annotations(
    path: str | Path, image: str, shape: tuple[int, int], attribute: str | None = None
) -> gpd.GeoDataFrame | None:
    """Read the labels of one image from COCO's, LabelMe's or VIA's JSON, whatever the file's suffix.

    Args:
        path: Any file of labels.
        image: Name of the image that they are for.
        shape: Its rows and columns.
        attribute: Names the category, where the file has several attributes (VIA).

    Returns:
        ``category`` (text or none), ``crowd`` (bool), and ``geometry`` in pixels: x to the right and y down, from the
        outer corner of the first pixel. None where the file is of another kind.

    Raises:
        LabelError: It is of one of these kinds, but the image is not in it or of another size, or it is broken.

    Warns:
        EavesWarning: Something was dropped or mended.

    Example:
        >>> read_annotations("annotations.json", "north.tif", (2000, 3000))  # doctest: +SKIP
    """
    data = _parse(Path(path))
    source = str(path)
    if attribute is not None and (is_coco(data) or is_labelme(data)):
        raise LabelError(f"no layer for {source}", repr(attribute), "leave layer out: the file names its categories")
    if is_coco(data):
        return read_coco(data, source, image, shape)
    if is_labelme(data):
        return read_labelme(data, source, image, shape)
    return read_via(data, source, image, attribute) if is_via(data) else None


def _parse(path: Path) -> Any:
    """The JSON in a file, or none where it is something else (GeoJSON too, which may be large)."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            if not head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") or _GEOJSON.search(head):
                return None
            return json.loads(head + file.read())
    except (OSError, ValueError):
        return None
