"""``eaves tune``: the energies of a dense CRF that suit a tile whose labels are good."""

from __future__ import annotations

import csv
from pathlib import Path

from rasterio.windows import Window

from eaves.errors import SettingsError
from eaves.exchange.atomic import check_writable, whole_file
from eaves.exchange.scoremap import open_scores
from eaves.progress import OnProgress, ignore
from eaves.refine import CrfSearch, search_crf
from eaves.scene import Scene
from eaves.settings import load_dataset
from eaves.workflows.evaluate_classes import choose_scene
from eaves.workflows.refiners import open_reference, open_refiner, score_scene

_MOST_PX = 30_000_000  # the search holds the tile, and a lattice of some 100 bytes a pixel


def tune_crf(
    scores: str | Path,
    reference: str | Path,
    out: str | Path,
    *,
    scene: str | None = None,
    gsd_m: float | None = None,
    iterations: int = 5,
    part_px: int | None = None,
    on_progress: OnProgress = ignore,
) -> CrfSearch:
    """Search the energies of a dense CRF with the best mean IoU on a tile, for ``eaves refine --with``.

    Args:
        scores: Score map to correct.
        reference: DATASET TOML with the tile's labels.
        out: ``.toml`` for the best settings; the table of all trials goes beside it, as ``.csv``.
        scene: Which scene of the dataset, where there are several and the map does not say.
        gsd_m: Resolution to work at; the map's own where none is given.
        iterations: Of the mean field.
        part_px: Search on the middle of the tile alone, a square of this side; a megapixel takes some 3 core-seconds a
            trial, and there are some 20 on the whole.
        on_progress: Is told after every trial.

    Raises:
        SettingsError: ``out`` is no ``.toml``, the tile is too large, or the map's classes are not the dataset's.
        SceneError: Scene and map are not of one place.
        LabelError: Labels cannot be used.
        OutputError: ``out`` cannot be written.

    Example:
        >>> tune_crf("scores.tif", "tile.toml", "crf.toml").options  # doctest: +SKIP
    """
    out = Path(out)
    if out.suffix.lower() != ".toml":
        raise SettingsError("a name that ends in .toml", str(out), "change the name")
    check_writable(out)
    given, dataset = open_scores(scores), load_dataset(reference)
    entry = choose_scene(dataset, scene, given.metadata)
    image = Scene(dataset.locate(entry.image), nodata=entry.nodata, bands=entry.bands, ground_gsd_m=entry.gsd_m)
    scored = score_scene(image, open_refiner("crf"), given, gsd_m=gsd_m, bands_given=entry.bands is not None)
    labelled, order = open_reference(scored, given.classes, entry, dataset)
    part = _middle(scored.shape, part_px)
    if part.width * part.height > _MOST_PX:
        raise SettingsError(
            f"a tile of at most {_MOST_PX // 1_000_000} Mpx",
            f"{scored.shape} px",
            "search a part of it: --part-px 2000",
        )
    stack, valid = scored.stack(part)
    bands = scored.scaling.band_count
    both = stack[[bands, *(bands + 1 + band for band in order)]]
    truth = labelled.chip(part).mask
    found = search_crf(stack[:bands], both, valid, truth, iterations=iterations, on_progress=on_progress)
    lines = [f"# eaves tune: mean IoU {found.before:.4f} -> {found.miou:.4f} on {entry.image}", 'refiner = "crf"', ""]
    lines += ["[settings]", *(f"{name} = {value:g}" for name, value in found.options.items()), ""]
    with whole_file(out) as partial:
        partial.write_text("\n".join(lines), encoding="utf-8")
    with whole_file(out.with_suffix(".csv")) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(found.rows[0]._fields)
        writer.writerows(found.rows)
    return found


def _middle(shape: tuple[int, int], side: int | None) -> Window:
    """The middle of a grid, or all of it."""
    rows, cols = (size if side is None else min(side, size) for size in shape)
    return Window((shape[1] - cols) // 2, (shape[0] - rows) // 2, cols, rows)
