"""What ArcGIS tells beside exported chips: definition, statistics, and which label belongs to which image.

Source: "Export Training Data For Deep Learning (Image Analyst)" and "Deep learning training data contents",
https://pro.arcgis.com/en/pro-app/latest/tool-reference/image-analyst/export-training-data-for-deep-learning.htm and
https://pro.arcgis.com/en/pro-app/latest/help/analysis/image-analyst/deep-learning-training-data-contents.htm; what
``arcgis.learn.prepare_data`` reads of them. A folder has::

    images/000000000.tif …
    labels/000000000.tif …             Classified_Tiles: class values, 0 where there is none
    labels/<class name>/000000000.tif  RCNN_Masks: objects 1 … n of a class, 0 elsewhere; no file where it has none
    map.txt                            a line for each image and label
    esri_model_definition.emd          the classes, and statistics of the bands
    esri_accumulated_stats.json        statistics of bands and labels
    stats.txt                          the same for people

ArcGIS names the folders of ``RCNN_Masks`` by the class name, which is the class value where features have no name.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from eaves.errors import LabelError

Kind = Literal["RCNN_Masks", "Classified_Tiles"]
DEFINITION, STATISTICS, MAP = "esri_model_definition.emd", "esri_accumulated_stats.json", "map.txt"
_COLORS = [(255, 85, 0), (0, 112, 255), (56, 168, 0), (255, 211, 0), (132, 0, 168), (115, 115, 115)]


class EsriChips(NamedTuple):
    """What the definition says.

    Attributes:
        kind: ``RCNN_Masks`` or ``Classified_Tiles``.
        classes: Class value → name, 0 only where ArcGIS names it.
    """

    kind: Kind
    classes: dict[int, str]


def parse_esri(definition: bytes | str, statistics: bytes | str | None, source: str) -> EsriChips:
    """Read the definition and the statistics of an exported folder.

    Args:
        definition: Text of ``esri_model_definition.emd``.
        statistics: Text of ``esri_accumulated_stats.json``; older exports tell the kind only there.
        source: The folder, for messages.

    Raises:
        LabelError: They are damaged, or of a kind without masks.
    """
    try:
        told = json.loads(definition)
        more = json.loads(statistics) if statistics else {}
        classes = {int(one.get("Value", one.get("ClassValue"))): _name(one) for one in told["Classes"]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LabelError(
            f"ArcGIS's definition and statistics in {source}", f"{type(error).__name__}: {error}", "export it again"
        ) from None
    kind = more.get("MetaDataMode") or told.get("MetaDataMode")
    if kind not in ("RCNN_Masks", "Classified_Tiles"):
        raise LabelError(
            f"chips with masks in {source}, RCNN_Masks or Classified_Tiles",
            repr(kind),
            "export it again as one of them",
        )
    return EsriChips(kind, classes)


def _name(one: dict[str, Any]) -> str:
    name = one.get("Name", one.get("ClassName"))
    return str(one.get("Value", one.get("ClassValue")) if name in (None, "") else name)


def map_lines(image: str, labels: Sequence[str]) -> str:
    r"""Lines of ``map.txt`` for one image: one a label, or one with the image alone.

    Example:
        >>> print(map_lines("000000000.tif", ["000000000.tif"]), end="")
        images\000000000.tif  labels\000000000.tif
    """
    return "".join(f"images\\{image}  labels\\{label}\n" for label in labels) or f"images\\{image}\n"


class EsriTally:
    """Counts what ArcGIS counts, chip by chip.

    Args:
        kind: Of labels.
        classes: Names; the first is the background, value 0.
        unit_m: Ground size of a pixel; none counts areas in pixels.
    """

    def __init__(self, kind: Kind, classes: Sequence[str], unit_m: float | None) -> None:
        self.kind, self.classes, self.unit = kind, tuple(classes), unit_m or 1.0
        self.tiles = 0
        self._bands: list[dict[str, float]] = []
        self._size = (0, 0)
        self._sizes: list[list[float]] = [[] for _ in classes[1:]]  # of features, or of a class in an image
        self._images = [0] * len(classes[1:])
        self._per_image: list[int] = []

    def add(self, image: np.ndarray, valid: np.ndarray, sizes: Sequence[Sequence[int]]) -> None:
        """Count a chip.

        Args:
            image: ``(c, h, w)``.
            valid: bool ``(h, w)``.
            sizes: For each class but the background, the pixels of each of its objects (``RCNN_Masks``), or all its
                pixels (``Classified_Tiles``).
        """
        self.tiles += 1
        self._size = image.shape[1:]
        if not self._bands:
            self._bands = [{"Min": np.inf, "Max": -np.inf, "M1": 0.0, "M2": 0.0, "Num": 0} for _ in image]
        for band, pixels in zip(self._bands, image[:, valid].astype(np.float64), strict=True):
            _merge(band, pixels)
        for place, of_class in enumerate(sizes):
            self._sizes[place] += of_class
            self._images[place] += any(of_class)
        self._per_image.append(sum(any(one) if self.kind == "Classified_Tiles" else len(one) for one in sizes))

    def definition(self) -> dict[str, Any]:
        """The content of ``esri_model_definition.emd``."""
        return {
            "Framework": "",
            "ModelConfiguration": "",
            "ModelType": "ObjectDetection" if self.kind == "RCNN_Masks" else "ImageClassification",
            "ModelFile": "",
            "ImageHeight": self._size[0],
            "ImageWidth": self._size[1],
            "ExtractBands": list(range(len(self._bands))),
            "MetaDataMode": self.kind,
            "ImageSpaceUsed": "MAP_SPACE",
            "Classes": [
                {"Value": value, "Name": name, "Color": list(_COLORS[(value - 1) % len(_COLORS)])}
                for value, name in enumerate(self.classes)
                if value
            ],
            "InputRastersProps": {"RasterCount": 1, "SensorName": "", "BandNames": self._band_names()},
            "AllTilesStats": [
                {
                    "BandName": name,
                    **_finite(band, "Min", "Max"),
                    "Mean": band["M1"],
                    "StdDev": (band["M2"] / max(band["Num"], 1)) ** 0.5,
                }
                for name, band in zip(self._band_names(), self._bands, strict=True)
            ],
        }

    def statistics(self) -> dict[str, Any]:
        """The content of ``esri_accumulated_stats.json``."""
        features = self.kind == "RCNN_Masks"
        number = "Features" if features else "Pixels"
        counts = [len(sizes) if features else int(sum(sizes)) for sizes in self._sizes]
        scale = self.unit**2 if features else 1
        of_labels = {
            "NumClasses": len(self.classes) - 1,
            "NumImagesTotal": self.tiles,
            "NumImagesPerClass": self._images,
            f"Num{number}PerClass": counts,
            "NumFeaturesPerImage" if features else "NumClassesPerImage": _summary(self._per_image),
            "FeatureAreaPerClass" if features else "PixelsPerClass": [
                _summary([size * scale for size in sizes]) for sizes in self._sizes
            ],
        }
        if features:
            of_labels["NumFeaturesTotal"] = sum(counts)
        return {
            "Version": 1,
            "NumBands": len(self._bands),
            "TileSizeX": self._size[1],
            "TileSizeY": self._size[0],
            "MinCellSize": {"x": self.unit, "y": self.unit},
            "MaxCellSize": {"x": self.unit, "y": self.unit},
            "NumClasses": len(self.classes) - 1,
            "NumTiles": self.tiles,
            "OutputFeatures": features,
            "MetaDataMode": self.kind,
            "ImageSpaceUsed": "MAP_SPACE",
            "Classes": [{"ClassValue": value, "ClassName": name} for value, name in enumerate(self.classes) if value],
            "BandStatsState": [{**band, **_finite(band, "Min", "Max")} for band in self._bands],
            "FeatureStats" if features else "ClassPixelStats": of_labels,
        }

    def text(self) -> str:
        """The content of ``stats.txt``."""
        what = "features" if self.kind == "RCNN_Masks" else "pixels"
        per = _summary(self._per_image)
        lines = [
            f"images = {self.tiles} *{len(self._bands)}*{self._size[0]}*{self._size[1]}",
            f"classes = {len(self.classes) - 1}",
            f"{'features' if what == 'features' else 'classes'} per image = "
            f"[min = {per['Min']:g}, mean = {per['Mean']:.2f}, max = {per['Max']:g}]",
            f"{'cls name':<20} {'cls value':>10} {'images':>10} {what:>12} {'min size':>12} {'mean size':>12} "
            f"{'max size':>12}",
        ]
        for value, (name, sizes, images) in enumerate(zip(self.classes[1:], self._sizes, self._images, strict=True), 1):
            size = _summary(sizes)
            count = len(sizes) if what == "features" else sum(sizes)
            lines.append(
                f"{name:<20} {value:>10} {images:>10} {count:>12} {size['Min']:>12.2f} {size['Mean']:>12.2f} "
                f"{size['Max']:>12.2f}"
            )
        return "\n".join(lines) + "\n"

    def _band_names(self) -> list[str]:
        if len(self._bands) == 3:
            return ["Red", "Green", "Blue"]
        return [f"Band_{number}" for number in range(1, len(self._bands) + 1)]


def _merge(band: dict[str, float], pixels: np.ndarray) -> None:
    """Join a chip's mean and sum of squares with those of the chips before (Chan, Golub, LeVeque 1983)."""
    if not pixels.size:
        return
    count, before = pixels.size, band["Num"]
    step = float(pixels.mean()) - band["M1"]
    band["M2"] += float(((pixels - pixels.mean()) ** 2).sum()) + step**2 * before * count / (before + count)
    band["M1"] += step * count / (before + count)
    band["Num"] = before + count
    band["Min"], band["Max"] = min(band["Min"], float(pixels.min())), max(band["Max"], float(pixels.max()))


def _finite(band: dict[str, float], *keys: str) -> dict[str, float]:
    return {key: band[key] if np.isfinite(band[key]) else 0.0 for key in keys}


def _summary(values: Sequence[float]) -> dict[str, float]:
    return {
        "Min": float(min(values, default=0)),
        "Max": float(max(values, default=0)),
        "Mean": float(np.mean(values)) if len(values) else 0.0,
        "Sum": float(sum(values)),
        "Count": len(values),
    }
