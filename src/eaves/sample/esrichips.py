"""Chips as ArcGIS exports them, written and read; :mod:`eaves.exchange.esri` tells of the layout.

ArcGIS has no word for what nobody knows: its labels are 0 there, as in the background, and a plane in a folder
``unknown/`` of ours says so to us. So have ``eaves.json`` beside it, which tells scenes, splits and credits.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from eaves.errors import LabelError, OutputError, SceneError
from eaves.exchange.esri import DEFINITION, MAP, STATISTICS, EsriTally, Kind, map_lines, parse_esri
from eaves.labels import UNKNOWN
from eaves.labels.objects import number_objects
from eaves.sample.chipfiles import IMAGE_SUFFIXES, read_image, read_planes, write_image, write_plane
from eaves.sample.chipstore import ChipStore
from eaves.sample.record import ChipRecord, damaged, parse_index
from eaves.sample.source import Chip
from eaves.sample.split import strip_split
from eaves.scene import Scene

_LOG = logging.getLogger(__name__)
_OURS = "eaves.json"


class EsriWriter:
    """Writes chips as ArcGIS's "Export Training Data For Deep Learning" does.

    Args:
        folder: An empty one.
        classes: Names of the classes, the first is the background; the others name folders.
        kind: Of labels.
        gsd_m: Ground size of a pixel.

    Raises:
        OutputError: A class cannot name a folder.
    """

    def __init__(self, folder: Path, classes: Sequence[str], kind: Kind, gsd_m: float | None) -> None:
        self._folder, self._classes, self._kind = folder, tuple(classes), kind
        self._tally = EsriTally(kind, classes, gsd_m)
        self._lines: list[str] = []
        for name in self._classes[1:]:
            if name.strip(" .") != name or set(name) & set('\\/:*?"<>|'):
                raise OutputError("class names that can be folders", repr(name), "rename the class")

    def __enter__(self) -> Self:
        for name in ("images", "labels"):
            (self._folder / name).mkdir()
        return self

    def append(self, record: ChipRecord, told: dict[str, Any]) -> None:
        """Write a chip's image and labels."""
        chip, name = record.chip, f"{len(self._lines):09d}.tif"
        write_image(self._folder / "images" / name, chip.image, chip.valid, record.grid)
        if self._kind == "RCNN_Masks":
            labels, sizes = self._write_objects(name, record)
        else:
            plane = np.where(chip.mask == UNKNOWN, np.uint8(0), chip.mask)
            write_plane(self._folder / "labels" / name, plane, record.grid)
            labels, sizes = [name], [[int((plane == value).sum())] for value in range(1, len(self._classes))]
        unknown = (chip.mask == UNKNOWN) & chip.valid
        if unknown.any():
            (self._folder / "unknown").mkdir(exist_ok=True)
            write_plane(self._folder / "unknown" / name, unknown.astype(np.uint8), record.grid)
        self._lines.append(map_lines(name, labels))
        self._tally.add(chip.image, chip.valid, sizes)

    def _write_objects(self, name: str, record: ChipRecord) -> tuple[list[str], list[list[int]]]:
        numbers = number_objects(record.chip.mask, record.chip.instances)
        labels: list[str] = []
        sizes: list[list[int]] = []
        for value, of_class in enumerate(self._classes[1:], start=1):
            there = record.chip.mask == value
            _, place, counts = np.unique(numbers[there], return_inverse=True, return_counts=True)
            sizes.append(counts.tolist())
            if len(counts):
                plane = np.zeros(there.shape, np.uint8 if len(counts) < 256 else np.uint16)
                plane[there] = place + 1
                folder = self._folder / "labels" / of_class
                folder.mkdir(exist_ok=True)
                write_plane(folder / name, plane, record.grid)
                labels.append(f"{of_class}\\{name}")
        return labels, sizes

    def finish(self, index: dict[str, Any]) -> None:
        """Write what ArcGIS tells of all chips, and what it does not."""
        texts = {
            MAP: "".join(self._lines),
            DEFINITION: json.dumps(self._tally.definition(), indent=2),
            STATISTICS: json.dumps(self._tally.statistics(), indent=2),
            "stats.txt": self._tally.text(),
            _OURS: json.dumps(index, indent=1),
        }
        for name, text in texts.items():
            (self._folder / name).write_text(text, encoding="utf-8")

    def __exit__(self, *error: object) -> None:
        pass


class EsriChips(ChipStore):
    """Chips that ArcGIS exported, or :class:`EsriWriter` wrote.

    Classes are those of the definition after a ``background``, which is the value 0. A folder of ArcGIS's has no
    splits: chips at the far end of the longer side of the area validate, and those that overlap them are left out of
    training; where chips do not say where they lie, the last ones validate.

    Args:
        path: Folder with ``images/``, ``labels/`` and the definition.
        val_share: Share of the chips that validates, where the folder does not tell.

    Raises:
        SceneError: It is not there, empty or damaged.
        LabelError: It is of a kind without masks.
    """

    def __init__(self, path: str | Path, val_share: float = 0.2) -> None:
        self.path = Path(path)
        statistics = self.path / STATISTICS
        try:
            definition = (self.path / DEFINITION).read_bytes()
            told = parse_esri(definition, statistics.read_bytes() if statistics.is_file() else None, str(self.path))
            self._names = sorted(
                file.name for file in (self.path / "images").iterdir() if file.suffix.lower() in IMAGE_SUFFIXES
            )
        except OSError as error:
            raise SceneError(
                "chips that ArcGIS exported", f"{self.path}: {error.filename or error}", "export them again"
            ) from None
        self._kind = told.kind
        self._values = dict(sorted(told.classes.items()))
        self.classes = (self._values.pop(0, "background"), *self._values.values())
        self._labels: dict[int, dict[str, Path]] = self._find_labels()
        if not self._names:
            raise SceneError(f"images with labels in {self.path}", "none", "export them again")
        first = Scene(self.path / "images" / self._names[0])
        self.gsd_m, self._shape = first.native_gsd_m, first.shape
        self.credits = ()
        if (ours := self.path / _OURS).is_file():
            self._recall(parse_index(ours, ours.read_bytes()))
        else:
            self.records = self._part(val_share)

    # --- opening ------------------------------------------------------------------------------------------------------

    def _find_labels(self) -> dict[int, dict[str, Path]]:
        """Class index (0 for all in one) → name of an image → its file of labels."""
        if self._kind == "RCNN_Masks":
            # A folder has the class's name; by hand it may have been named by its value.
            folders = [self._files(name) or self._files(str(value)) for value, name in self._values.items()]
            return dict(enumerate(folders, start=1))
        labels = self._files("")
        there = [name for name in self._names if Path(name).stem in labels]
        if len(there) < len(self._names):
            _LOG.info("%s: %d images without labels left out", self.path, len(self._names) - len(there))
        self._names = there
        return {0: labels}

    def _files(self, of_class: str) -> dict[str, Path]:
        folder = self.path / "labels" / of_class
        files = folder.iterdir() if folder.is_dir() else ()
        return {file.stem: file for file in files if file.suffix.lower() in IMAGE_SUFFIXES}

    def _recall(self, index: dict[str, Any]) -> None:
        """Take over what our own writer told; images that somebody deleted are gone."""
        records = {f"{number:09d}.tif": one for number, one in enumerate(index["chips"])}
        if strangers := [name for name in self._names if name not in records]:
            raise damaged(self.path, f"{strangers[0]} and {len(strangers) - 1} more that {_OURS} does not know")
        self.classes = tuple(index["classes"])
        self.gsd_m, self.credits = index["gsd_m"], tuple(index["credits"])
        self.records = [records[name] for name in self._names]

    def _part(self, val_share: float) -> list[dict[str, Any]]:
        grids = [Scene(self.path / "images" / name).native_grid for name in self._names]
        boxes = np.array([_box(grid) for grid in grids])
        if any(grid.crs is None and grid.affine == Affine.identity() for grid in grids):
            boxes[:] = 0
        val, out = strip_split(boxes, val_share)
        _LOG.info(
            "%s: %d chips train, %d validate, %d overlap those and are left out",
            self.path,
            (~val & ~out).sum(),
            val.sum(),
            out.sum(),
        )
        return [
            {
                "scene": self.path.name,
                "window": [0, 0, self._shape[1], self._shape[0]],
                "split": "val" if val[i] else "left out" if out[i] else "train",
                "transform": list(grid.affine)[:6],
                "crs": None if grid.crs is None else grid.crs.to_wkt(),
                "shares": {},
            }
            for i, grid in enumerate(grids)
        ]

    # --- chips --------------------------------------------------------------------------------------------------------

    def _read(self, index: int) -> Chip:
        name = self._names[index]
        image, valid = read_image(self.path / "images" / name)
        if valid.shape != self._shape:
            size, first = (f"{cols} x {rows} px" for rows, cols in (valid.shape, self._shape))
            raise SceneError(
                f"chips of one size in {self.path}", f"{name} of {size} beside {first}", "export them again"
            )
        numbers = None
        if self._kind == "Classified_Tiles":
            mask = self._classes_in(self._labels[0][Path(name).stem])
        else:
            mask, numbers = self._objects_of(Path(name).stem)
        unknown = self.path / "unknown" / name
        if unknown.is_file():
            mask[read_planes(unknown)[0] > 0] = UNKNOWN
        mask[~valid] = UNKNOWN
        if numbers is not None:
            numbers[mask == UNKNOWN] = 0
        return Chip(image, mask, valid, numbers)

    def _classes_in(self, file: Path) -> np.ndarray:
        plane = self._planes(file)[0]
        meaning = np.full(UNKNOWN + 1, UNKNOWN, np.uint8)
        meaning[[0, *self._values]] = np.arange(len(self._values) + 1)
        known = np.isin(plane, [0, *self._values])
        if not known.all():
            raise LabelError(
                f"class values {[0, *self._values]} in {file}",
                f"{sorted(set(plane[~known].tolist()))[:5]}",
                "export the folder again with its classes",
            )
        return meaning[plane]

    def _objects_of(self, stem: str) -> tuple[np.ndarray, np.ndarray]:
        """Objects are counted on from class to class; where they overlap, ArcGIS has a plane for each layer."""
        mask, numbers = np.zeros(self._shape, np.uint8), np.zeros(self._shape, np.int64)
        for index, files in self._labels.items():
            if stem in files:
                for plane in self._planes(files[stem]):
                    there = plane > 0
                    mask[there] = index
                    numbers[there] = plane[there].astype(np.int64) + numbers.max()
        return mask, number_objects(mask, numbers)

    def _planes(self, file: Path) -> np.ndarray:
        planes = read_planes(file)
        if planes.shape[1:] != self._shape:
            size, image = (f"{cols} x {rows} px" for rows, cols in (planes.shape[1:], self._shape))
            raise LabelError(f"labels of the image's size in {file}", f"{size} for {image}", "export them again")
        return planes


def is_esri_folder(folder: Path) -> bool:
    """Whether ArcGIS exported chips there."""
    return (folder / DEFINITION).is_file()


def _box(grid: GeoBox) -> tuple[float, float, float, float]:
    rows, cols = grid.shape
    corners = np.array([grid.affine * corner for corner in ((0, 0), (cols, 0), (0, rows), (cols, rows))])
    (left, bottom), (right, top) = corners.min(axis=0), corners.max(axis=0)
    return left, bottom, right, top
