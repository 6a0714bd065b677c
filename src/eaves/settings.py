"""Recipes, datasets and options: frozen, and anything unknown is refused with the nearest known name."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from eaves.errors import SettingsError

S = TypeVar("S", bound="Settings")


class Settings(BaseModel):
    """Base of all settings: immutable, and a key that does not exist is an error.

    TOML has no null, so the word ``none`` unsets a number that is optional.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    @model_validator(mode="before")
    @classmethod
    def _none_unsets(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        kinds = {key: get_args(field.annotation) for key, field in cls.model_fields.items()}
        unset = {
            key for key, kind in kinds.items() if data.get(key) == "none" and type(None) in kind and str not in kind
        }
        return {key: None if key in unset else value for key, value in data.items()}


# --- recipe -----------------------------------------------------------------------------------------------------------


class ModelSettings(Settings):
    """Which network.

    Attributes:
        arch: A key of ``eaves.models.MODELS``.
        encoder_weights: ``none``, ``imagenet`` (a local file where ``EAVES_WEIGHTS`` has one, else the library's
            hub), or the path of a safetensors file.
        options: Keyword arguments of the architecture.
    """

    arch: str = "deeplabv3plus"
    encoder_weights: str = "none"
    options: dict[str, Any] = {}


class ChipSettings(Settings):
    """Where the training samples come from.

    Attributes:
        chip_px: Side of a square chip in pixels of the working grid.
        gsd_m: Ground size of a pixel in metres to which scenes are resampled; none keeps each scene's own.
        windows: ``random`` (``per_epoch`` windows by coordinates), ``grid`` (with ``stride_px``) or ``balanced``
            (random, with at least ``min_share`` of the wanted class in ``share_of_balanced`` of the chips).
        per_epoch: Training chips drawn in an epoch (``random`` and ``balanced``).
        stride_px: Step of the grid; the chip's own side where none is given.
        keep_empty: Keep chips that hold none of the classes but the first.
        min_known: Least share of a chip's pixels that must be valid and labelled.
        min_share: What "has some of the class" means to ``balanced`` windows, as a share of the chip.
        share_of_balanced: Share of the chips to which that applies.
        val_chips: Cap of the validation grid's chips; none takes all.
        block_m: Side of the blocks of a spatial split (``split = "block"``), in metres (pixels without a CRS).
        val_share: Share of the blocks, or of the random windows, that validates.
    """

    chip_px: Annotated[int, Field(ge=32)] = 512
    gsd_m: Annotated[float, Field(gt=0)] | None = None
    windows: Literal["random", "grid", "balanced"] = "random"
    per_epoch: Annotated[int, Field(ge=1)] = 400
    stride_px: Annotated[int, Field(ge=1)] | None = None
    keep_empty: bool = True
    min_known: Annotated[float, Field(ge=0, le=1)] = 0.25
    min_share: Annotated[float, Field(ge=0, le=1)] = 0.02
    share_of_balanced: Annotated[float, Field(ge=0, le=1)] = 0.75
    val_chips: Annotated[int, Field(ge=1)] | None = None
    block_m: Annotated[float, Field(gt=0)] = 100.0
    val_share: Annotated[float, Field(gt=0, lt=1)] = 0.2


class AugmentSettings(Settings):
    """How chips are varied. Each is off at 0 or false; ``probability`` applies to each photometric change alone.

    Attributes:
        flip: Mirror left-right and up-down, each half of the time.
        rotate90: Turn by a random multiple of 90 degrees.
        rotate_deg: Turn by any angle up to this.
        scale: Zoom by a factor between ``1 - scale`` and ``1 + scale``.
        gamma: Raise to a power between ``1 / (1 + gamma)`` and ``1 + gamma``.
        brightness: Add up to this (image in 0 … 1).
        contrast: Stretch about the mean by up to this factor.
        saturation: Pull towards or away from grey by up to this factor.
        hue: Mix the channels' gains by up to this.
        noise: Largest standard deviation of Gaussian noise (image in 0 … 1).
        smooth: Largest sigma of a Gaussian blur, in pixels.
        probability: Chance of each photometric change.
    """

    flip: bool = True
    rotate90: bool = True
    rotate_deg: Annotated[float, Field(ge=0, le=180)] = 0.0
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    gamma: Annotated[float, Field(ge=0)] = 0.0
    brightness: Annotated[float, Field(ge=0, le=1)] = 0.0
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.0
    saturation: Annotated[float, Field(ge=0, le=1)] = 0.0
    hue: Annotated[float, Field(ge=0, lt=1)] = 0.0
    noise: Annotated[float, Field(ge=0, le=1)] = 0.0
    smooth: Annotated[float, Field(ge=0)] = 0.0
    probability: Annotated[float, Field(ge=0, le=1)] = 0.5


class LossSettings(Settings):
    """What training minimises: a weighted sum of terms of ``eaves.models.LOSSES``.

    Attributes:
        terms: Name of a loss → its weight.
        class_weights: ``none``, ``median-frequency`` (measured on the training chips), or one number a class.
    """

    terms: dict[str, float] = {"cross_entropy": 1.0}
    class_weights: Literal["none", "median-frequency"] | tuple[float, ...] = "none"


class FitSettings(Settings):
    """How long and how fast.

    Attributes:
        epochs: Passes over the epoch's chips.
        batch: Chips in a step.
        optimizer: ``adam``, ``adamw`` or ``sgd``.
        learning_rate: Peak rate.
        encoder_learning_rate: Rate of pretrained encoder weights; none uses ``learning_rate``.
        weight_decay: L2 penalty (decoupled with ``adamw``).
        momentum: Of ``sgd``.
        schedule: ``constant``, or ``cosine`` after ``warmup_steps`` of linear warm-up.
        warmup_steps: Steps of warm-up.
        clip_norm: Gradients are scaled down to this norm; 0 leaves them.
        precision: ``auto`` takes bf16 where the hardware has it in silicon and the network gains, else fp32.
        workers: Processes that make chips; 0 makes them in the training process.
        seed: Of everything random.
        monitor: What picks the best epoch; ``iou`` is the mean over the classes but the first.
    """

    epochs: Annotated[int, Field(ge=1)] = 10
    batch: Annotated[int, Field(ge=1)] = 8
    optimizer: Literal["adam", "adamw", "sgd"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    encoder_learning_rate: Annotated[float, Field(gt=0)] | None = None
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup_steps: Annotated[int, Field(ge=0)] = 50
    clip_norm: Annotated[float, Field(ge=0)] = 1.0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    workers: Annotated[int, Field(ge=0)] = 0
    seed: Annotated[int, Field(ge=0)] = 0
    monitor: Literal["iou", "loss"] = "iou"


class Recipe(Settings):
    """Everything that decides what a training run learns, apart from the data."""

    name: str
    model: ModelSettings = ModelSettings()
    chips: ChipSettings = ChipSettings()
    augment: AugmentSettings = AugmentSettings()
    loss: LossSettings = LossSettings()
    fit: FitSettings = FitSettings()


# --- dataset ----------------------------------------------------------------------------------------------------------


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
        negative_if_empty: A file without features is meant: the scene is background.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    path: str
    layer: str | None = None
    class_: Annotated[str | None, Field(alias="class")] = None
    width_m: Annotated[float, Field(gt=0)] | None = None
    values: dict[str, tuple[int, ...]] | None = None
    colors: dict[str, tuple[str, ...]] | None = None
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
    """

    image: str
    labels: tuple[LabelSource, ...] = ()
    aoi: str | None = None
    split: Literal["train", "val", "test", "block", "random"] = "block"
    nodata: float | None = None
    gsd_m: Annotated[float, Field(gt=0)] | None = None
    bands: tuple[int, ...] | None = None

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


# --- reading ----------------------------------------------------------------------------------------------------------


def load_toml(path: str | Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        SettingsError: The file is missing or is not TOML; the message has the line.
    """
    path = Path(path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # some editors begin a file with a mark
    except FileNotFoundError:
        raise SettingsError("a TOML file", f"{path}, which does not exist", "check the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SettingsError("a TOML file", f"{path}: {error}", "mend the file") from None


def parse(kind: type[S], data: dict[str, Any], *, source: str) -> S:
    """Check ``data`` against ``kind``.

    Args:
        kind: The settings class.
        data: Nested dictionaries as TOML gives them.
        source: What to call the origin in messages.

    Raises:
        SettingsError: A key is unknown (the message has the nearest known one), missing, or out of range.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        # A misspelt key also leaves the right one missing: the misspelling is what to tell.
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        where = _place(first["loc"])
        places = {_place(one["loc"]) for one in error.errors()}
        others = sum(not f"{where}.".startswith(f"{place}.") for place in places)  # a list is not wrong beside its item
        more = f" (and {others} more)" if others else ""
        if first["type"] == "extra_forbidden":
            known = _names_beside(kind, first["loc"])
            raise SettingsError(
                f"known settings in {source}", f"unknown key {where!r}{more}", _suggest(str(first["loc"][-1]), known)
            ) from None
        got = "nothing" if first["type"] == "missing" else repr(first["input"])[:200]
        raise SettingsError(f"{where} in {source}: {first['msg']}", f"{got}{more}", "mend it") from None


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
                    _suggest(unknown[0], sorted(known)),
                )
    return dataset.model_copy(update={"root": Path(path).resolve().parent / dataset.root})


def recipe_names() -> list[str]:
    """Names of the recipes that come with Eaves."""
    return sorted(item.name[:-5] for item in files("eaves.recipes").iterdir() if item.name.endswith(".toml"))


def load_recipe(name: str | Path, assignments: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        name: One of :func:`recipe_names`, or the path of a TOML file.
        assignments: ``key=value`` changes as :func:`override` takes them.

    Raises:
        SettingsError: No such recipe, or something in it is unknown or out of range.
    """
    text = str(name)
    if text.endswith(".toml"):
        data = load_toml(text)
    elif text in recipe_names():
        data = tomllib.loads(files("eaves.recipes").joinpath(f"{text}.toml").read_text(encoding="utf-8"))
    else:
        raise SettingsError("a recipe's name, or a .toml file", repr(text), _suggest(text, recipe_names()))
    return parse(Recipe, override(data, assignments), source=f"recipe {text}")


def override(data: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Apply ``key.sub=value`` assignments to nested dictionaries; values are read as TOML, else as plain text.

    Raises:
        SettingsError: An assignment has no ``=``, or its path runs through a plain value.

    Example:
        >>> override({"fit": {"epochs": 3}}, ["fit.epochs=5"])
        {'fit': {'epochs': 5}}
    """
    result = {key: (dict(value) if isinstance(value, dict) else value) for key, value in data.items()}
    for assignment in assignments:
        path, sign, text = assignment.partition("=")
        if not sign:
            raise SettingsError("key=value", repr(assignment), "write --set fit.epochs=5")
        try:
            value = tomllib.loads(f"v = {text}")["v"]
        except tomllib.TOMLDecodeError:
            value = text.strip()
        *parents, last = path.strip().split(".")
        inner = result
        for name in parents:
            child = inner.setdefault(name, {})
            if not isinstance(child, dict):
                raise SettingsError("a path of tables", f"{path!r}, but {name!r} is a value", "check the key")
            inner[name] = dict(child)
            inner = inner[name]
        inner[last] = value
    return result


def _suggest(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"write {near[0]!r}" if near else f"use one of {', '.join(sorted(known))}"


def _place(location: tuple[int | str, ...]) -> str:
    """A location as the file has it, without pydantic's names of a choice of types."""
    return ".".join(str(part) for part in location if "[" not in str(part))


def _names_beside(kind: type[Settings], location: tuple[int | str, ...]) -> list[str]:
    """The field names that the settings class at ``location`` (of an unknown key) does have."""
    current: Any = kind
    for part in location[:-1]:
        if isinstance(part, str) and hasattr(current, "model_fields") and part in current.model_fields:
            current = _settings_in(current.model_fields[part].annotation)
    fields: dict[str, Any] = current.model_fields
    return sorted(field.alias or key for key, field in fields.items())


def _settings_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _settings_in(arg)) is not None), None)
