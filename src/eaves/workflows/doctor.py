"""``eaves doctor``: what would go wrong, before any work."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
from rasterio.windows import Window

from eaves.errors import EavesError, EavesWarning, SettingsError
from eaves.sample import ChipPlan, LabelledScene
from eaves.scene import Scene
from eaves.settings import ChipSettings, Dataset, SceneEntry, load_dataset
from eaves.workflows.examine import Finding, label_findings, offset_finding, offset_view, scene_findings

_CHIP_PX = 256


def doctor_scene(
    scene: str | Path,
    *,
    labels: str | Path | None = None,
    model: str | Path | None = None,
    aoi: str | Path | None = None,
    nodata: float | None = None,
    ground_gsd_m: float | None = None,
    allow_vrt: bool = False,
) -> list[Finding]:
    """Look at a scene, its labels and a model before any work.

    Args:
        scene: Raster file or URL, or a ``DATASET.toml``, whose scenes are all looked at.
        labels: Polygons to check against the scene.
        model: Model file to check against the scene.
        aoi: Polygons inside which the labels are complete.
        nodata: Value that means "no imagery" where the file does not say so.
        ground_gsd_m: Ground size of a pixel for a scene without a CRS.
        allow_vrt: Open virtual rasters.

    Returns:
        The page, line by line. What was mended or skipped on the way stands there too, as warnings.

    Raises:
        SettingsError: The dataset cannot be read; or an argument is given that says nothing here.

    Example:
        >>> [line.text for line in doctor_scene("ortho.tif") if line.level == "error"]  # doctest: +SKIP
        []
    """
    if str(scene).endswith(".toml"):
        given = {"labels": labels, "aoi": aoi, "nodata": nodata, "ground_gsd_m": ground_gsd_m, "allow_vrt": allow_vrt}
        if extra := [name for name, value in given.items() if value is not None and value is not False]:
            told = f"{', '.join(extra)} beside the dataset {scene}"
            raise SettingsError("a dataset alone", told, "write it into the dataset, scene by scene")
        return list(_dataset_findings(load_dataset(scene), model))
    if aoi is not None and labels is None:
        raise SettingsError("labels that the AOI bounds", "an AOI alone", "name the labels too")
    try:
        opened = Scene(scene, nodata=nodata, ground_gsd_m=ground_gsd_m, allow_vrt=allow_vrt)
    except EavesError as error:
        return [Finding("error", "scene", str(error))]
    findings = list(scene_findings(opened, model))
    if labels is not None:
        findings += _heed("labels", label_findings(opened, Path(labels), aoi), set())
    return findings


def _heed(topic: str, findings: Iterator[Finding], told: set[str]) -> Iterator[Finding]:
    """The findings, then what Eaves warned of while they were made, but for what was told before."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", EavesWarning)
        page = list(findings)
    yield from page
    for one in said:
        if not issubclass(one.category, EavesWarning):
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
        elif (text := str(one.message)) not in told:
            told.add(text)
            yield Finding("warning", topic, text)


# --- a dataset --------------------------------------------------------------------------------------------------------


def _dataset_findings(dataset: Dataset, model: str | Path | None) -> Iterator[Finding]:
    """Each scene's own page, then what only the whole shows."""
    scenes: list[LabelledScene] = []
    told: set[str] = set()
    for entry in dataset.scene:
        name = Path(entry.image).stem
        for finding in _heed("labels", _entry_findings(entry, dataset, model, scenes), told):
            if finding.level != "ok" or finding.topic in ("size", "GSD", "classes", "label offset"):
                yield finding._replace(topic=f"{name}: {finding.topic}")
    if scenes:
        yield from _likeness_findings(scenes)
        yield from _heed("chips", _chip_findings(scenes), told)
        yield from _leakage_findings(scenes)


def _entry_findings(
    entry: SceneEntry, dataset: Dataset, model: str | Path | None, scenes: list[LabelledScene]
) -> Iterator[Finding]:
    """The page of one scene, which joins ``scenes`` where its labels are sound."""
    try:
        scene = Scene(dataset.locate(entry.image), nodata=entry.nodata, bands=entry.bands, ground_gsd_m=entry.gsd_m)
    except EavesError as error:
        yield Finding("error", "scene", str(error))
        return
    yield from scene_findings(scene, model)
    try:
        labelled = LabelledScene(entry, dataset, offset_view(scene).gsd_m)
        counts = labelled.overview.counts.sum(axis=(1, 2), dtype=np.int64)
    except EavesError as error:
        yield Finding("error", "labels", str(error))
        return
    scenes.append(labelled)
    known = int(counts.sum())
    shares = ", ".join(
        f"{name} {count / max(1, known):.1%}" for name, count in zip(labelled.names, counts, strict=True)
    )
    rows, cols = labelled.shape
    text = f"{shares} of what is known, which is {known / (rows * cols):.0%} of the scene"
    meant = counts[1:].any() or any(source.negative_if_empty for source in entry.labels)
    yield Finding("ok" if known and meant else "warning", "classes", text)
    yield offset_finding(labelled.scene, labelled.mask)


def _likeness_findings(scenes: list[LabelledScene]) -> Iterator[Finding]:
    """What keeps scenes from training one network."""
    kinds = {(len(part.scene.read(Window(-1, -1, 1, 1))[0]), part.scene.dtype.name): part.name for part in scenes}
    if len(kinds) > 1:
        told = "; ".join(f"{bands} bands of {dtype} in {name}" for (bands, dtype), name in kinds.items())
        yield Finding("error", "bands", f"scenes differ, so one network cannot take them all: {told}")
    own = [part.scene.native_gsd_m for part in scenes if part.scene.native_gsd_m]
    if own and max(own) > 1.1 * min(own):
        text = f"scenes differ, {min(own):.3g} … {max(own):.3g} m a pixel: train with a recipe that sets chips.gsd_m"
        yield Finding("note", "resolution", text)


def _chip_findings(scenes: list[LabelledScene]) -> Iterator[Finding]:
    gsds = [part.scene.gsd_m for part in scenes if part.scene.gsd_m]
    coarsest = max(gsds, default=None)  # stated, so that the plan does not speak of what was noted already
    settings = ChipSettings(windows="grid", keep_empty=False, chip_px=_CHIP_PX, gsd_m=coarsest)
    try:
        plan = ChipPlan(scenes, settings)
        plan.train(0)
        val = plan.val()
    except EavesError as error:
        yield Finding("error", "chips", str(error))
        return
    counts = plan.counts["train"]
    at = f" at {' … '.join(dict.fromkeys(f'{gsd:.2g}' for gsd in (min(gsds), max(gsds))))} m" if gsds else ""
    text = (
        f"of {counts.considered} training windows of {_CHIP_PX} px{at}, {counts.empty} hold background alone and "
        f"{counts.unknown} are mostly unknown; {len(val)} validate"
    )
    yield Finding("ok" if counts.kept and len(val) else "warning", "chips", text)


def _leakage_findings(scenes: list[LabelledScene]) -> Iterator[Finding]:
    """Known pixels that both train and validate, seen on a coarse grid."""
    for scene in scenes:
        if scene.entry.split == "random":
            text = f"{scene.name} is split at random: neighbouring chips overlap, and validation flatters"
            yield Finding("warning", "leakage", text)
    for first, second in combinations(scenes, 2):
        splits = [first.entry.split, second.entry.split]
        apart = splits[0] == splits[1] and splits[0] in ("train", "val", "test")
        if apart or Path(first.scene.path).resolve() != Path(second.scene.path).resolve():
            continue
        if first.shape == second.shape and (share := _shared(first, second)):
            text = f"{first.name}: {share:.1%} of the scene is known to both {splits[0]} and {splits[1]}"
            yield Finding("warning", "leakage", text)


def _shared(first: LabelledScene, second: LabelledScene) -> float:
    """Share of the cells that two views of one scene both know, but for cells that a border between them cuts."""
    whole = first.overview.cell_px**2
    both = (first.overview.known > 0) & (second.overview.known > 0)
    cut = (first.overview.known < whole) & (second.overview.known < whole)
    return float((both & ~cut).mean())
