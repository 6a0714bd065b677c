"""Recipes: everything that decides what a training run learns, apart from the data."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from eaves.errors import SettingsError
from eaves.settings.base import Settings, load_toml, override, parse, suggest


class ModelSettings(Settings):
    """Which network.

    Attributes:
        arch: A key of ``eaves.models.MODELS``.
        encoder_weights: ``none``, ``imagenet`` (a local file where ``EAVES_WEIGHTS`` has one, else the library's
            hub), ``coco`` (Mask R-CNN on ResNet-50, a local file or torchvision's hub), ``coco-voc`` (DeepLabV3 on
            MobileNetV2, a local file), or the path of a safetensors file.
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


class TargetSettings(Settings):
    """What the network learns to draw of the labels. ``border`` and ``distance`` need a dataset of two classes.

    ``classes``: the classes themselves. ``instances``: every object by itself, for networks that find objects.
    ``border``: outside, inside, and border, the rim inside a building, so that touching neighbours have a rim twice as
    wide between them. ``distance``: the signed distance to the outline, positive inside, truncated and quantised.

    Source: distance as Yuan 2016, https://arxiv.org/abs/1602.06564, section 3.2.

    Attributes:
        kind: ``classes``, ``border``, ``distance`` or ``instances``.
        border_m: Width of the rim in metres (pixels where nothing tells a pixel's size), as the other lengths.
        ignore_m: Width of a band on either side of the rim that nobody judges, because labels are off by so much.
        n_bins: Equal steps of distance, an even number.
        clip_m: Largest distance told; farther is the last step.
    """

    kind: Literal["classes", "border", "distance", "instances"] = "classes"
    border_m: Annotated[float, Field(gt=0)] = 0.6
    ignore_m: Annotated[float, Field(ge=0)] = 0.0
    n_bins: Annotated[int, Field(ge=2, le=254, multiple_of=2)] = 20
    clip_m: Annotated[float, Field(gt=0)] = 3.0


class LossSettings(Settings):
    """What training minimises: a weighted sum of terms of ``eaves.models.LOSSES``.

    Attributes:
        terms: Name of a loss → its weight.
        class_weights: ``none``, ``median-frequency`` (measured on the training chips), or one number a class of the
            target.
        label_smoothing: Share of a pixel's label that is spread over all classes, in cross-entropy.
        tversky_alpha: Weight of false alarms in ``tversky``.
        tversky_beta: Weight of misses in ``tversky``.
        omission: Share of building pixels that labels miss, for ``noisy_cross_entropy``, as the next three.
        commission: Share of background pixels that labels call building.
        registration_px: How far labels may lie off.
        registration_block_px: Side of the blocks whose labels lie off by the same.
    """

    terms: dict[str, float] = {"cross_entropy": 1.0}
    class_weights: Literal["none", "median-frequency"] | tuple[float, ...] = "none"
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    tversky_alpha: Annotated[float, Field(gt=0)] = 0.3
    tversky_beta: Annotated[float, Field(gt=0)] = 0.7
    omission: Annotated[float, Field(ge=0, lt=1)] = 0.0
    commission: Annotated[float, Field(ge=0, lt=1)] = 0.0
    registration_px: Annotated[int, Field(ge=0)] = 0
    registration_block_px: Annotated[int, Field(ge=8)] = 64


class FitSettings(Settings):
    """How long and how fast.

    Attributes:
        epochs: Passes over the epoch's chips.
        batch: Chips in a step.
        optimizer: ``adam``, ``adamw``, ``adagrad`` or ``sgd``.
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
        monitor: What picks the best epoch; ``iou`` is the mean over the classes but the first, ``f1`` that of objects,
            for networks that find objects.
        choose_on: Chips on which the best epoch is picked. ``test`` flatters the result, and the card says so.
        accumulate: Batches whose gradients make one step.
        ema: Decay of a running mean of the weights, a step, which is what validates and is saved; 0 is off.
        freeze_epochs: Epochs in which the pretrained encoder stays as it is, while the rest learns.
        stop_after: Epochs without a better one after which training ends; 0 never.
        rollbacks: How often a loss that is not finite may send training back to its last good weights, at half the
            rate each time.
        processes: Processes that train together (GPUs, or CPU processes), each on its share of every batch.
        first_batch_s: Seconds without a first batch after which a warning tells what may be stuck.
    """

    epochs: Annotated[int, Field(ge=1)] = 10
    batch: Annotated[int, Field(ge=1)] = 8
    optimizer: Literal["adam", "adamw", "adagrad", "sgd"] = "adamw"
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
    monitor: Literal["iou", "loss", "f1"] = "iou"
    choose_on: Literal["val", "test"] = "val"
    accumulate: Annotated[int, Field(ge=1)] = 1
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    freeze_epochs: Annotated[int, Field(ge=0)] = 0
    stop_after: Annotated[int, Field(ge=0)] = 0
    rollbacks: Annotated[int, Field(ge=0)] = 3
    processes: Annotated[int, Field(ge=1)] = 1
    first_batch_s: Annotated[float, Field(gt=0)] = 120.0


class Recipe(Settings):
    """Everything that decides what a training run learns, apart from the data."""

    name: str
    model: ModelSettings = ModelSettings()
    target: TargetSettings = TargetSettings()
    chips: ChipSettings = ChipSettings()
    augment: AugmentSettings = AugmentSettings()
    loss: LossSettings = LossSettings()
    fit: FitSettings = FitSettings()

    @model_validator(mode="after")
    def _lost_labels_are_one_class(self) -> Recipe:
        if self.target.kind == "distance" and (self.loss.omission or self.loss.commission):
            raise SettingsError(
                "target.kind classes or border with omission and commission",
                f"target.kind = 'distance' in recipe {self.name}",
                "leave them out",
                because="a label that is lost is no one step of distance",
            )
        return self


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
        raise SettingsError("a recipe's name, or a .toml file", repr(text), suggest(text, recipe_names()))
    return parse(Recipe, override(data, assignments), source=f"recipe {text}")
