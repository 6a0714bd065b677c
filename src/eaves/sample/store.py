"""Chips on disk, in Eaves' own formats and in those of others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from eaves.errors import OutputError, SceneError, SettingsError
from eaves.exchange.atomic import whole_file
from eaves.sample.arrays import ArrayChips
from eaves.sample.chipstore import ChipStore
from eaves.sample.cocochips import CocoChips, CocoWriter, is_coco_folder
from eaves.sample.esrichips import EsriChips, EsriWriter, is_esri_folder
from eaves.sample.record import ChipRecord, describe, head
from eaves.sample.writers import FolderWriter, Hdf5Writer, Writer, whole_folder

Format = Literal["eaves", "hdf5", "coco", "esri-rcnn-masks", "esri-classified-tiles"]

WRITERS: dict[str, Callable[[Path, Sequence[str], float | None], Writer]] = {
    "eaves": lambda path, classes, gsd_m: FolderWriter(path),
    "hdf5": lambda path, classes, gsd_m: Hdf5Writer(path),
    "coco": lambda path, classes, gsd_m: CocoWriter(path, classes),
    "esri-rcnn-masks": lambda path, classes, gsd_m: EsriWriter(path, classes, "RCNN_Masks", gsd_m),
    "esri-classified-tiles": lambda path, classes, gsd_m: EsriWriter(path, classes, "Classified_Tiles", gsd_m),
}
"""Name of a format → what writes it, given a place, classes and the ground size of a pixel."""

WITH_OBJECTS = ("coco", "esri-rcnn-masks")
"""Formats that hold objects, not only classes."""


def open_chips(path: str | Path, val_share: float = 0.2) -> ChipStore:
    """Open stored chips; what is at ``path`` tells the format.

    Args:
        path: A folder of Eaves, of a COCO data set or exported by ArcGIS, or an HDF5 file of Eaves.
        val_share: Share of the chips that validates, where the folder itself does not part them (ArcGIS).

    Raises:
        SceneError: There are none at ``path``, or they are damaged.
        LabelError: Labels are broken, or of a kind without masks.
    """
    path = Path(path)
    if path.is_dir() and not (path / "index.json").is_file():
        if is_esri_folder(path):
            return EsriChips(path, val_share)
        if is_coco_folder(path):
            return CocoChips(path)
        raise SceneError(
            "stored chips (index.json of eaves, annotations_train.json of COCO, or esri_model_definition.emd)",
            f"a folder without any, {path}",
            "check the path, or make them: eaves sample",
        )
    return ArrayChips(path)


def write_chips(
    records: Iterable[ChipRecord],
    path: str | Path,
    format: Format = "eaves",
    *,
    classes: Sequence[str],
    gsd_m: float | None = None,
    credits: Sequence[str] = (),
) -> int:
    """Store chips as they come; memory holds one at a time. The store appears whole or not at all.

    ========================= ==========================================================================================
    ``eaves``                 a folder: ``index.json`` beside ``images.npy`` ``(n, c, h, w)``, ``masks.npy``,
                              ``valid.npy`` and, where chips have them, ``instances.npy`` ``(n, h, w)``, read by memory
                              map
    ``hdf5``                  the same arrays, gzip-compressed chip by chip, in one file
    ``coco``                  a folder: ``images/`` as PNG (RGB of 8 bits) or TIFF, and COCO's JSON of instances a split
    ``esri-rcnn-masks``       a folder as ArcGIS exports it, with a plane of objects for each class
    ``esri-classified-tiles`` a folder as ArcGIS exports it, with class values; objects are not kept
    ========================= ==========================================================================================

    Args:
        records: Chips of one shape and type.
        path: Folder or file to make.
        format: See above. All but ``esri-classified-tiles`` keep objects; the formats of others number connected
            regions where chips have none.
        classes: Names of the classes.
        gsd_m: Ground size of a pixel.
        credits: Makers and licences of the data.

    Returns:
        How many chips were stored.

    Raises:
        OutputError: Something is at ``path`` already, or it cannot be written.
        SettingsError: There are no chips, or they differ in shape or type.
    """
    path = Path(path)
    if path.exists():
        raise OutputError("a place where nothing is yet", f"{path}, which exists", "choose another name or remove it")
    opening = whole_file if format == "hdf5" else whole_folder
    with opening(path) as aside, WRITERS[format](aside, classes, gsd_m) as writer:
        told: list[dict[str, Any]] = []
        kind: tuple[Any, ...] | None = None
        for record in records:
            here = (record.chip.image.shape, record.chip.image.dtype.name, record.chip.instances is not None)
            if kind is not None and here != kind:
                raise SettingsError(
                    "chips of one shape and type", f"{kind} and {here}", "choose bands, chip_px and scenes that agree"
                )
            kind = here
            told.append(describe(record, classes))
            writer.append(record, told[-1])
        if not told:
            raise SettingsError("chips to store", "none", "check the splits, the AOI, min_known and keep_empty")
        writer.finish({**head(classes, gsd_m, credits), "chips": told})
    return len(told)
