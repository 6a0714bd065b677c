"""Chips as a COCO data set: ``images/``, and ``annotations_train.json`` and the like beside it.

What nobody knows, though there is imagery, is a crowd of every category, which COCO's measures leave alone. What COCO
has no word for (the scene, the place on earth, the background's name, credits) stands under keys ``eaves``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from eaves.errors import LabelError, SceneError
from eaves.exchange.coco import check_coco, describe_crowd, describe_objects, is_coco, paint_coco
from eaves.labels import UNKNOWN
from eaves.labels.objects import number_objects
from eaves.sample.chipfiles import read_image, suffix_of, write_image
from eaves.sample.chipstore import ChipStore
from eaves.sample.record import ChipRecord, check_head, damaged
from eaves.sample.source import Chip

_SPLITS = ("train", "val", "test")


class CocoWriter:
    """Writes chips as a COCO data set.

    Args:
        folder: An empty one.
        classes: Names of the classes; a category's id is its class index.
    """

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self._folder, self._classes = folder, tuple(classes)
        self._images: dict[str, list[dict[str, Any]]] = {}
        self._annotations: dict[str, list[dict[str, Any]]] = {}
        self._count = self._drawn = 0

    def __enter__(self) -> Self:
        (self._folder / "images").mkdir()
        return self

    def append(self, record: ChipRecord, told: dict[str, Any]) -> None:
        """Write a chip's image, and remember its objects."""
        chip = record.chip
        name = f"{self._count:09d}{suffix_of(chip.image)}"
        write_image(self._folder / "images" / name, chip.image, chip.valid, record.grid)
        self._count += 1
        image = {"id": self._count, "file_name": name, "width": chip.mask.shape[1], "height": chip.mask.shape[0]}
        self._images.setdefault(record.split, []).append({**image, "eaves": told})
        described = list(describe_objects(number_objects(chip.mask, chip.instances), chip.mask))
        unknown = (chip.mask == UNKNOWN) & chip.valid
        if unknown.any():
            described += [describe_crowd(unknown, index) for index in range(1, len(self._classes))]
        for one in described:
            self._drawn += 1
            self._annotations.setdefault(record.split, []).append({"id": self._drawn, "image_id": self._count, **one})

    def finish(self, index: dict[str, Any]) -> None:
        """Write the annotations, a file a split."""
        categories = [
            {"id": value, "name": name, "supercategory": ""} for value, name in enumerate(self._classes) if value
        ]
        told = {key: value for key, value in index.items() if key != "chips"}
        info = {"description": "chips cut by eaves sample", "version": "1.0", "eaves": told}
        for split, images in self._images.items():
            document = {
                "info": info,
                "licenses": [],
                "images": images,
                "categories": categories,
                "annotations": self._annotations.get(split, []),
            }
            (self._folder / f"annotations_{split}.json").write_text(json.dumps(document), encoding="utf-8")

    def __exit__(self, *error: object) -> None:
        pass


class CocoChips(ChipStore):
    """Chips of a COCO data set, by anyone.

    Images lie in ``images/`` or beside the annotations, and are of one size. Categories become classes in the order of
    their ids, after a ``background``. Where annotations overlap, later ones hide earlier ones; crowds are unknown.

    Args:
        path: Folder with ``annotations_train.json``, ``annotations_val.json`` or ``annotations_test.json``.

    Raises:
        SceneError: There are none, or images differ in size.
        LabelError: A file breaks COCO's rules.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.classes, self.gsd_m, self.credits, self.records = (), None, (), []
        self._entries: list[tuple[dict[str, Any], list[dict[str, Any]], str]] = []
        self._values: dict[Any, int] = {}
        for split in _SPLITS:
            if (file := annotation_file(self.path, split)).is_file():
                self._add(split, file)
        if not self._entries:
            raise SceneError(
                "chips in annotations_train.json", f"none in {self.path}", "check the path, or make them: eaves sample"
            )
        sizes = {(one["height"], one["width"]) for one, *_ in self._entries}
        if len(sizes) > 1:
            raise SceneError(
                f"images of one size in {self.path}",
                f"{len(sizes)} sizes, such as {' and '.join(f'{w} x {h} px' for h, w in sorted(sizes)[:2])}",
                "name them as scenes of a DATASET, with the JSON as their labels, and let chips be cut",
            )

    def _add(self, split: str, file: Path) -> None:
        try:
            data = json.loads(file.read_bytes())
        except (OSError, ValueError) as error:
            raise damaged(file, str(error)) from None
        if not is_coco(data):
            raise damaged(file, "no images and annotations")
        try:
            problems = check_coco(data, areas=False)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            problems = [f"{type(error).__name__}: {error}"]
        if problems:
            raise LabelError(
                f"a file that keeps to COCO's rules, {file}",
                "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else ""),
                "export it again",
            )
        self._learn(data, file)
        drawn: dict[Any, list[dict[str, Any]]] = {}
        for one in data["annotations"]:
            drawn.setdefault(one["image_id"], []).append(one)
        for image in data["images"]:
            self._entries.append((image, drawn.get(image["id"], []), str(file)))
            plain = {"scene": self.path.name, "window": [0, 0, image["width"], image["height"]], "shares": {}}
            told = image.get("eaves") or {"transform": None, "crs": None, **plain}
            self.records.append({**told, "split": split})

    def _learn(self, data: dict[str, Any], file: Path) -> None:
        """Take classes and the like from a file; all files must agree."""
        categories = sorted(data["categories"], key=lambda one: one["id"])
        told = data.get("info", {}).get("eaves")
        if told is None:
            classes = ("background", *(str(one["name"]) for one in categories))
            values = {one["id"]: index for index, one in enumerate(categories, start=1)}
        else:
            try:
                check_head(told)
            except (ValueError, KeyError) as error:
                raise damaged(file, f"info: {error!r}") from None
            self.gsd_m, self.credits = told["gsd_m"], tuple(told["credits"])
            classes, values = tuple(told["classes"]), {one["id"]: int(one["id"]) for one in categories}
        if self._entries and (classes, values) != (self.classes, self._values):
            raise LabelError(f"the same categories in every file of {self.path}", f"others in {file}", "make them one")
        self.classes, self._values = classes, values

    def _read(self, index: int) -> Chip:
        entry, annotations, source = self._entries[index]
        name = str(entry["file_name"])
        beside = self.path / "images" / name
        image, valid = read_image(beside if beside.is_file() else self.path / name)
        shape = (int(entry["height"]), int(entry["width"]))
        if valid.shape != shape:
            raise damaged(beside, f"an image of {valid.shape[1]} x {valid.shape[0]} px for {shape[1]} x {shape[0]} px")
        mask, numbers, crowd = paint_coco(annotations, self._values, shape, source)
        mask[crowd | ~valid] = UNKNOWN
        numbers[mask == UNKNOWN] = 0
        return Chip(image, mask, valid, np.ascontiguousarray(numbers))


def annotation_file(folder: Path, split: str) -> Path:
    """Where the annotations of a split stand."""
    return folder / f"annotations_{split}.json"


def is_coco_folder(folder: Path) -> bool:
    """Whether a folder holds a COCO data set."""
    return any(annotation_file(folder, split).is_file() for split in _SPLITS)
