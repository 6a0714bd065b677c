"""``eaves study``: how a correction proceeds, step by step, against a reference."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rasterio.windows import Window

from eaves.exchange.atomic import check_writable, whole_file
from eaves.exchange.scoremap import open_scores
from eaves.exchange.scoreview import ScoreView
from eaves.labels import UNKNOWN
from eaves.predict import ScoredScene, stream_refined
from eaves.progress import OnProgress, ignore
from eaves.refine import Correction, Refiner
from eaves.sample import LabelledScene
from eaves.scene import Scene
from eaves.settings import load_dataset
from eaves.show.correction import class_picture, pictures_figure, responses_figure, steps_figure
from eaves.workflows.evaluate_classes import choose_bands, choose_scene, decide
from eaves.workflows.provenance import provenance
from eaves.workflows.refiners import open_reference, open_refiner, score_scene
from eaves.workflows.scoring import PixelTally, boundary_reach

_CELL_PX = 64
_TILE_PX = 700  # of the picture of the whole
_CLOSE_UP_M = 75.0
_FILTERS = 4


class Study(NamedTuple):
    """What a study found.

    Attributes:
        folder: ``metrics.csv`` and the figures.
        rows: Of ``metrics.csv``: one a step, the map as it was first.
    """

    folder: Path
    rows: list[dict[str, Any]]


class _Seen(NamedTuple):
    """What the stream leaves behind for the figures, thinned to the picture's size.

    Attributes:
        image: RGB uint8 ``(h, w, 3)``.
        reference: Class indices.
        first: Before any step.
        last: After all.
        changed: Pixels of each cell of the scene that the correction set right, int64 ``(rows, cols)``.
    """

    image: np.ndarray
    reference: np.ndarray
    first: np.ndarray
    last: np.ndarray
    changed: np.ndarray


def study_refinement(
    scores: str | Path,
    reference: str | Path,
    refiner: str | Path,
    out: str | Path,
    *,
    scene: str | None = None,
    beside: Mapping[str, str | Path] | None = None,
    changes: Sequence[str] = (),
    gsd_m: float | None = None,
    boundary_m: float | None = None,
    close_ups: int = 3,
    device: str = "auto",
    on_progress: OnProgress = ignore,
) -> Study:
    """Measure a refiner after each of its steps, and draw what it does.

    Writes ``metrics.csv`` (accuracy, mean IoU, and each class's IoU and boundary IoU after every step), ``study.json``,
    and the figures of the source: ``steps.png`` (measures against steps), ``evolution.png`` (a close-up step by step:
    classes and scores), ``before_after.png``, ``tile.png`` (the whole, by method), ``closeups.png`` (the same, close)
    and for a trained corrector ``filters.png`` (what its filters answer to).

    Source: Maggiori et al., https://arxiv.org/abs/1608.03440, figures 6 to 11.

    Args:
        scores: Score map to correct.
        reference: DATASET TOML with the labels.
        refiner: As for :func:`eaves.refine_scores`.
        out: Folder.
        scene: Which scene of the dataset, where there are several and the map does not say.
        beside: Name → score map of another method, for the figures.
        changes: Settings of the refiner.
        gsd_m: Resolution to work at, for a hand-made refiner.
        boundary_m: How far a boundary reaches inside, in metres; 2 where the pixel's size is known.
        close_ups: How many places to look at closely: those where most was set right.
        device: Of a trained corrector.
        on_progress: Is told after every tile.

    Raises:
        SceneError: Scene and map are not of one place, or do not fit the refiner.
        SettingsError: The refiner or the scene cannot be told, or the map's classes are not the dataset's.
        LabelError: Labels cannot be used.
        OutputError: The folder cannot be written.

    Example:
        >>> study_refinement("scores.tif", "tile.toml", "corrector.safetensors", "study").rows[-1]  # doctest: +SKIP
    """
    out = Path(out)
    check_writable(out / "metrics.csv")
    opened, given, dataset = open_refiner(refiner, changes, device=device), open_scores(scores), load_dataset(reference)
    entry = choose_scene(dataset, scene, given.metadata)
    image = Scene(dataset.locate(entry.image), nodata=entry.nodata, bands=entry.bands, ground_gsd_m=entry.gsd_m)
    scored = score_scene(image, opened, given, gsd_m=gsd_m, bands_given=entry.bands is not None)
    names = dataset.classes.names
    labelled, order = open_reference(scored, given.classes, entry, dataset)
    others = {
        name: open_scores(path).on(scored.scene.grid, choose_bands(open_scores(path).classes, names, str(path)))
        for name, path in (beside or {}).items()
    }
    reach = boundary_reach(boundary_m, scored.scene.gsd_m)
    tallies = [PixelTally(names, reach) for _ in range(opened.refiner.iterations + 1)]
    seen = _measure(scored, opened.refiner, labelled, order, tallies, on_progress)
    rows = [_row(step, tally, names) for step, tally in enumerate(tallies)]
    with whole_file(out / "metrics.csv") as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    inputs: dict[str, str | Path] = {"scores": scores, "reference": reference, "scene": image.path}
    inputs |= {"model": opened.model} if opened.model else {}
    settings = {"refiner": opened.name, **opened.settings, "gsd_m": scored.scene.gsd_m, "boundary_px": reach}
    note = provenance("study", inputs | {f"beside {name}": path for name, path in (beside or {}).items()}, settings)
    with whole_file(out / "study.json") as partial:
        partial.write_text(json.dumps({**note, "steps": rows}, indent=2) + "\n", encoding="utf-8")
    steps_figure(rows, names, out / "steps.png", title=f"{opened.name} on {entry.image}")
    places = _places(seen.changed, scored, close_ups)
    _draw(scored, opened.refiner, labelled, order, others, seen, places, out)
    return Study(out, rows)


def _row(step: int, tally: PixelTally, names: Sequence[str]) -> dict[str, Any]:
    report = tally.report()
    row: dict[str, Any] = {"iteration": step, "accuracy": report.accuracy, "miou": report.miou}
    row |= {f"iou_{name}": report.per_class[name].iou for name in names}
    return row | {f"boundary_iou_{name}": report.per_class[name].boundary_iou for name in names}


def _measure(
    scored: ScoredScene,
    refiner: Refiner,
    labelled: LabelledScene,
    order: list[int],
    tallies: list[PixelTally],
    on_progress: OnProgress,
) -> _Seen:
    """Stream the steps past the reference."""
    rows, cols = scored.shape
    thin = max(1, -(-max(rows, cols) // _TILE_PX))
    changed = np.zeros((-(-rows // _CELL_PX), -(-cols // _CELL_PX)), np.int64)
    kept: list[list[np.ndarray]] = [[], [], [], []]
    for row, levels in stream_refined(scored, refiner, steps=len(tallies) - 1, on_progress=on_progress):
        window = Window(0, row, cols, levels.shape[1])
        chip = labelled.chip(window)
        guesses = [decide(levels[[step * len(order) + band for band in order]], 0.5) for step in range(len(tallies))]
        truth = np.where(guesses[0] == UNKNOWN, np.uint8(UNKNOWN), chip.mask)
        for tally, guess in zip(tallies, guesses, strict=True):
            tally.push(truth, guess)
        mended = (truth != UNKNOWN) & (guesses[0] != truth) & (guesses[-1] == truth)
        at_row, at_col = np.nonzero(mended)
        np.add.at(changed, ((at_row + row) // _CELL_PX, at_col // _CELL_PX), 1)
        thinned = np.s_[-row % thin :: thin, ::thin]
        for part, picture in zip(kept, (chip.image, truth, guesses[0], guesses[-1]), strict=True):
            part.append(picture[..., *thinned])
    image, *masks = (np.concatenate(part, axis=-2) for part in kept)
    return _Seen(rgb(image), *masks, changed)


def _places(changed: np.ndarray, scored: ScoredScene, count: int) -> list[Window]:
    """Windows around the cells where most was set right, which do not overlap."""
    rows, cols = scored.shape
    side = max(32, round(_CLOSE_UP_M / (scored.scene.gsd_m or 0.5)))
    side = min(side, rows, cols)
    places: list[Window] = []
    if count < 1:
        return places
    for cell in np.argsort(changed, axis=None)[::-1]:
        row, col = (int(at) * _CELL_PX + _CELL_PX // 2 - side // 2 for at in divmod(int(cell), changed.shape[1]))
        row, col = min(max(row, 0), rows - side), min(max(col, 0), cols - side)
        if all(abs(row - other.row_off) >= side or abs(col - other.col_off) >= side for other in places):
            places.append(Window(col, row, side, side))
        if len(places) == count:
            break
    return places


def _draw(
    scored: ScoredScene,
    refiner: Refiner,
    labelled: LabelledScene,
    order: list[int],
    others: Mapping[str, ScoreView],
    seen: _Seen,
    places: Sequence[Window],
    out: Path,
) -> None:
    names = labelled.names
    thin = -(-scored.shape[0] // seen.image.shape[0])
    rows, cols = scored.shape
    tile = [("image", seen.image / 255), ("before", class_picture(seen.first))]
    for name, view in others.items():
        strips = (view.read(Window(0, row, cols, 1))[:, :, ::thin] for row in range(0, rows, thin))
        tile.append((name, class_picture(np.concatenate([decide(strip, 0.5) for strip in strips]))))
    tile += [("after", class_picture(seen.last)), ("reference", class_picture(seen.reference))]
    pictures_figure([tile[at : at + 3] for at in range(0, len(tile), 3)], out / "tile.png", classes=names, cell=5.0)
    before_after, close = [], []
    for number, place in enumerate(places):
        halo = refiner.halo_px
        around = Window(place.col_off - halo, place.row_off - halo, place.width + 2 * halo, place.height + 2 * halo)
        stack, valid = scored.stack(around)
        bands = scored.scaling.band_count
        image, scores = stack[:bands], stack[bands : bands + len(order) + 1]
        steps = [
            step[[0, *(1 + band for band in order)], halo:-halo, halo:-halo]
            for step in refiner.steps(image, scores, valid)
        ]
        known = valid[halo:-halo, halo:-halo]
        guesses = [class_picture(np.where(known, step.argmax(axis=0), UNKNOWN).astype(np.uint8)) for step in steps]
        chip = labelled.chip(place)
        picture, truth = rgb(chip.image) / 255, class_picture(chip.mask)
        before_after.append([("image", picture), ("before", guesses[0]), ("after", guesses[-1]), ("reference", truth)])
        by_method = [(name, class_picture(decide(view.read(place), 0.5))) for name, view in others.items()]
        close.append(
            [("image", picture), ("before", guesses[0]), *by_method, ("after", guesses[-1]), ("reference", truth)]
        )
        if number == 0:
            shown = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), 8)).round().astype(int)).tolist()
            evolution = [[(f"step {step}", guesses[step]) for step in shown]]
            evolution += [
                [(f"{name}, step {step}", steps[step][1 + index]) for step in shown]
                for index, name in enumerate(names[1:])
            ]
            pictures_figure(evolution, out / "evolution.png", classes=names)
            if isinstance(refiner, Correction):
                inner = np.s_[halo:-halo, halo:-halo]
                of_scores, of_image = (
                    [(name, answer[inner]) for name, answer in answers]
                    for answers in refiner.responses(image, scores, valid, _FILTERS)
                )
                responses_figure(picture, of_scores, of_image, out / "filters.png", title="red high, blue low")
    if places:
        pictures_figure(before_after, out / "before_after.png", classes=names)
        pictures_figure(close, out / "closeups.png", classes=names)


def rgb(image: np.ndarray) -> np.ndarray:
    """A picture of any bands, uint8 ``(h, w, 3)``: the first three, or one as grey; other types stretched."""
    three = image[:3] if len(image) >= 3 else np.repeat(image[:1], 3, axis=0)
    if three.dtype != np.uint8:
        low, high = np.percentile(three, (1, 99))
        three = np.clip((three - low) / max(high - low, 1e-9) * 255, 0, 255).astype(np.uint8)
    return np.moveaxis(three, 0, -1)
