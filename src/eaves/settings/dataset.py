"""Datasets: scenes with labels, and what the labels mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from eaves.errors import SettingsError
from eaves.settings.base import Settings, load_toml, parse, suggest

RoofColor = Literal["white", "grey", "black", "red", "brown", "yellow", "green", "blue", "purple"]
"""Colours that a roof can have; :mod:`eaves.labels.colors` tells them apart."""


class LabelSource(Settings):
    """One file of labels for one scene.

    A vector file paints ``class`` (lines as bands ``width_m`` wide). A class raster needs ``values`` or ``colors``.

    Attributes:
        path: Vector or raster file, relative to the dataset's folder.
        layer: Layer of a vector file that has several.
        class_: Written ``class`` in TOML. The class that the features are.
        width_m: Width of lines in metres.
        values: Class → raster values that mean it.
        colors: Class → RGB colours that mean it, as ``#RRGGBB``.
        categories: Class → categories of an annotation file (COCO, LabelMe, VIA) that mean it; without it and without
            ``class``, categories are classes.
        roof_color: Only polygons of this colour, as the image shows them, are of the class; others are as if they were
            not in the file. For a network of blue roofs, say, to which other roofs are background.
        negative_if_empty: A file without features is meant: the scene is background.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    path: str
    layer: str | None = None
    class_: Annotated[str | None, Field(alias="class")] = None
    width_m: Annotated[float, Field(gt=0)] | None = None
    values: dict[str, tuple[int, ...]] | None = None
    colors: dict[str, tuple[str, ...]] | None = None
    categories: dict[str, tuple[str, ...]] | None = None
    roof_color: RoofColor | None = None
    negative_if_empty: bool = False


class SceneEntry(Settings):
    """One scene of a dataset.

    Attributes:
        image: Raster file or URL.
        labels: Sources painted in order, later over earlier. A plain string means polygons of the second class.
        aoi: Polygons outside which nothing is known.
        split: ``train``, ``val``, ``test``; ``block`` cuts the scene spatially, ``random`` draws both from everywhere.
        nodata: Value that means "no imagery" where the file does not say so itself.
        gsd_m: Ground size of a pixel in metres, for an image without a CRS.
        bands: Bands to read, 1-based.
        align: Move vector labels onto the image before use: all by one shift (``scene``), or each by the shift found
            around it (``block``).
        scores: Score map of the image, for a recipe that corrects one.
    """

    image: str
    labels: tuple[LabelSource, ...] = ()
    aoi: str | None = None
    split: Literal["train", "val", "test", "block", "random"] = "block"
    nodata: float | None = None
    gsd_m: Annotated[float, Field(gt=0)] | None = None
    bands: tuple[int, ...] | None = None
    align: Literal["none", "scene", "block"] = "none"
    scores: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _plain_labels(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("labels"), str):
            data = {**data, "labels": ({"path": data["labels"]},)}
        return data


class ClassSettings(Settings):
    """The classes that a network tells apart; the first is the background.

    Attributes:
        names: At least two, each once; ``unknown`` is no class.
        rest: What pixels are that no label covers inside the known area: a class, or ``unknown``.
    """

    names: Annotated[tuple[str, ...], Field(min_length=2)] = ("background", "building")
    rest: str = "background"

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        if len(set(self.names)) < len(self.names) or "unknown" in self.names:
            raise ValueError(f"names are {list(self.names)}, of which one is there twice or is 'unknown'")
        if self.rest not in (*self.names, "unknown"):
            raise ValueError(f"rest is {self.rest!r}, which is neither a class of {list(self.names)} nor 'unknown'")
        return self


class Dataset(Settings):
    """Scenes with labels, and what the labels mean.

    Attributes:
        scene: The scenes.
        classes: Shared by all of them.
        credits: Makers and licences of imagery and labels; a model trained on them carries these on.
        root: Folder to which the paths are relative; in a file, itself relative to the file's folder.
    """

    scene: Annotated[tuple[SceneEntry, ...], Field(min_length=1)]
    classes: ClassSettings = ClassSettings()
    credits: tuple[str, ...] = ()
    root: Path = Path()

    def locate(self, path: str) -> str:
        """Return ``path`` as it can be opened: URLs and absolute paths as they are, others below ``root``."""
        return path if "://" in path or path.startswith("/vsi") else str(self.root / path)


def load_dataset(path: str | Path) -> Dataset:
    """Read a DATASET TOML; relative paths in it are relative to its folder (or to ``root`` in it).

    Raises:
        SettingsError: The file is missing, not TOML, or has wrong or unknown keys.
    """
    data = load_toml(path)
    dataset = parse(Dataset, data, source=str(path))
    known = set(dataset.classes.names)
    for entry in dataset.scene:
        for source in entry.labels:
            named = {source.class_} if source.class_ else set()
            named |= set(source.values or {}) | set(source.colors or {})
            if unknown := sorted(named - known - {"unknown"}):
                raise SettingsError(
                    f"labels of classes {sorted(known)} in {path}",
                    f"class {unknown[0]!r} for {entry.image}",
                    suggest(unknown[0], sorted(known)),
                )
    return dataset.model_copy(update={"root": Path(path).resolve().parent / dataset.root})
