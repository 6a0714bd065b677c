"""The command line: one command a verb. The only place that prints."""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from eaves.errors import EavesError, EavesWarning
from eaves.progress import OnProgress, Progress, ignore
from eaves.version import __version__

app = App(
    name="eaves",
    help="Overhead imagery in, building footprints that a GIS can use out.",
    version=__version__,
    default_parameter=Parameter(negative=()),
)
_out = Console(soft_wrap=True, highlight=False)
_err = Console(stderr=True, soft_wrap=True, highlight=False)

Out = Annotated[Path, Parameter(name=["-o", "--out"])]
Quiet = Annotated[bool, Parameter(help="Print nothing but errors.")]
Bands = Annotated[str | None, Parameter(help="Bands for the model, 1-based, such as 1,2,3.")]
Nodata = Annotated[float | None, Parameter(help='Value that means "no imagery" where the file does not say so.')]
GroundGsd = Annotated[float | None, Parameter(help="Ground size of a pixel in metres, for a scene without a CRS.")]
AllowVrt = Annotated[bool, Parameter(help="Open virtual rasters, which can point at any other file.")]
TilePx = Annotated[int | None, Parameter(help="Side of a tile's core in pixels; chosen where none is given.")]
Batch = Annotated[int | None, Parameter(help="Tiles in one run of the network.")]
Device = Annotated[str, Parameter(help="auto, cpu, cuda, cuda:1 or mps.")]
Threshold = Annotated[float, Parameter(help="Score from which a pixel belongs to a building, between 0 and 1.")]
MinArea = Annotated[float, Parameter(help="Smaller outlines are left out, in square metres (pixels without a CRS).")]
Scale = Annotated[float | None, Parameter(help="Score of one unit of a foreign integer map: 0.00392 for 0 to 255.")]
Simplify = Annotated[float, Parameter(help="How far an outline may move when vertices are dropped, in pixels.")]


@app.command
def demo(*, out: Out = Path("eaves-demo"), seed: int = 0, quiet: Quiet = False) -> None:
    """Tell the whole story on a synthetic city: labels, training, extraction of an unseen city, evaluation.

    Args:
        out: Folder for all results.
        seed: Of the cities and the training.
    """
    from eaves.workflows.demo import demo_city

    with _watched(quiet) as on_progress:
        story = demo_city(out, seed=seed, on_progress=on_progress)
    _say(quiet, story.text)


@app.command
def synth(
    *,
    out: Out,
    size_px: int = 2048,
    gsd_m: float = 0.3,
    seed: int = 0,
    nodata_corner: Annotated[bool, Parameter(negative="--no-nodata-corner")] = True,
    quiet: Quiet = False,
) -> None:
    """Write a synthetic city with its exact truth: scene.tif, buildings.gpkg, roads.gpkg, noisy.gpkg.

    Args:
        out: Folder; made if missing.
        size_px: Side of the square scene in pixels.
        gsd_m: Ground size of a pixel in metres.
        seed: Of everything random.
        nodata_corner: Leave a corner without imagery.
    """
    from eaves.workflows.synth import synth_city

    with _watched(quiet) as on_progress:
        files = synth_city(
            out, size_px=size_px, gsd_m=gsd_m, seed=seed, nodata_corner=nodata_corner, on_progress=on_progress
        )
    _say(quiet, f"{files.number} buildings in {files.scene}, with {files.buildings.name}, roads.gpkg and noisy.gpkg")


@app.command
def doctor(
    scene: str,
    *,
    labels: Path | None = None,
    model: Path | None = None,
    aoi: Path | None = None,
    nodata: Nodata = None,
    ground_gsd_m: GroundGsd = None,
    allow_vrt: AllowVrt = False,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
    quiet: Quiet = False,
) -> None:
    """Tell on one page what would go wrong: CRS, GSD, type, bands, nodata, label overlap and offset, leakage.

    Exits with 1 where something would surely fail.

    Args:
        scene: Raster file or URL, or a DATASET.toml.
        labels: Polygons to check against the scene.
        model: Model file to check against the scene.
        aoi: Polygons inside which the labels are complete.
        as_json: Print the findings as JSON.
    """
    from eaves.workflows.doctor import doctor_scene

    findings = doctor_scene(
        scene, labels=labels, model=model, aoi=aoi, nodata=nodata, ground_gsd_m=ground_gsd_m, allow_vrt=allow_vrt
    )
    if as_json:
        sys.stdout.write(json.dumps([finding._asdict() for finding in findings], indent=2) + "\n")
    else:
        colors = {"ok": "green", "note": "cyan", "warning": "yellow", "error": "red"}
        width = max((len(finding.topic) for finding in findings), default=0)
        for finding in findings:
            mark = f"[{colors[finding.level]}]{finding.level:<7}[/]"
            _say(quiet, f"{mark} {escape(finding.topic):<{width}}  {escape(finding.text)}", markup=True)
    if any(finding.level == "error" for finding in findings):
        raise SystemExit(1)


@app.command
def sample(
    dataset: Path,
    *,
    out: Out,
    format: Literal["eaves", "hdf5"] = "eaves",
    recipe: str | None = None,
    set: Annotated[list[str] | None, Parameter(name="--set", consume_multiple=True)] = None,
    epochs: int = 1,
    quiet: Quiet = False,
) -> None:
    """Cut chips out of a dataset's scenes and store them.

    Args:
        dataset: DATASET.toml.
        out: Folder (eaves), or file (hdf5).
        format: eaves is a folder of memory-mapped arrays, hdf5 one compressed file.
        recipe: Recipe whose [chips] to use; a name or a .toml file.
        set: Changes, such as chips.chip_px=256.
        epochs: How many epochs of training chips to draw.
    """
    from eaves.workflows.sample import sample_chips

    with _watched(quiet) as on_progress:
        chips = sample_chips(
            dataset, out, format=format, recipe=recipe, changes=set or (), epochs=epochs, on_progress=on_progress
        )
    _say(quiet, f"{chips.train} training and {chips.val} validation chips in {chips.path}")


@app.command
def train(
    recipe: str,
    *,
    data: Path,
    out: Out,
    resume: bool = False,
    set: Annotated[list[str] | None, Parameter(name="--set", consume_multiple=True)] = None,
    quiet: Quiet = False,
) -> None:
    """Train a network by a recipe. Ctrl-C stops it; the same command with --resume goes on.

    Args:
        recipe: Name (see eaves models) or .toml file.
        data: DATASET.toml, or stored chips.
        out: Folder of the run.
        resume: Go on where the run in that folder stopped.
        set: Changes to the recipe, such as fit.epochs=5 chips.chip_px=256.
    """
    from eaves.workflows.train import train_model

    with _watched(quiet) as on_progress:
        run = train_model(recipe, data, out, resume=resume, changes=set or (), on_progress=on_progress)
    best = ", ".join(f"{key} {value:.3f}" for key, value in run.best.items() if key.startswith("val_"))
    _say(quiet, f"best of {len(run.curves)} epochs: epoch {run.best['epoch']} ({best or 'nothing validated'})")
    _say(quiet, f"model: {run.model}   curves: {run.folder / 'curves.png'}")


@app.command
def predict(
    scene: str,
    *,
    model: Path,
    out: Out,
    nodata: Nodata = None,
    bands: Bands = None,
    ground_gsd_m: GroundGsd = None,
    allow_vrt: AllowVrt = False,
    tile_px: TilePx = None,
    batch: Batch = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Write the score map of a scene: a COG whose values, divided by 254, are scores between 0 and 1.

    Args:
        scene: Raster file or URL.
        model: Model file (.safetensors).
        out: GeoTIFF to write.
    """
    from eaves.workflows.predict import predict_scores

    with _watched(quiet) as on_progress:
        made = predict_scores(
            scene,
            model,
            out,
            nodata=nodata,
            bands=_numbers(bands),
            ground_gsd_m=ground_gsd_m,
            allow_vrt=allow_vrt,
            tile_px=tile_px,
            batch=batch,
            device=device,
            on_progress=on_progress,
        )
    rows, cols = made.shape
    gsd = "in pixel space" if made.gsd_m is None else f"at {made.gsd_m:.3g} m"
    _say(quiet, f"{cols} x {rows} px {gsd} in {made.scores} (tiles of {made.layout.tile_px} px)")


@app.command
def vectorize(
    scores: Path,
    *,
    out: Out,
    threshold: Threshold = 0.5,
    min_area_m2: MinArea = 4.0,
    simplify_px: Simplify = 1.0,
    scale: Scale = None,
    ground_gsd_m: GroundGsd = None,
    quiet: Quiet = False,
) -> None:
    """Trace the outlines of a score map.

    Args:
        scores: Score map.
        out: .gpkg, .parquet, .geojson or .fgb.
    """
    from eaves.workflows.vectorize import vectorize_scores

    with _watched(quiet) as on_progress:
        made = vectorize_scores(
            scores,
            out,
            threshold=threshold,
            min_area_m2=min_area_m2,
            simplify_px=simplify_px,
            scale=scale,
            ground_gsd_m=ground_gsd_m,
            on_progress=on_progress,
        )
    _say(quiet, f"{made.number} footprints in {made.path}; {made.dropped} smaller than {min_area_m2:g} left out")


@app.command
def extract(
    scenes: list[str],
    /,
    *,
    model: Path,
    out: Out,
    scores: Path | None = None,
    threshold: Threshold = 0.5,
    min_area_m2: MinArea = 4.0,
    simplify_px: Simplify = 1.0,
    nodata: Nodata = None,
    bands: Bands = None,
    ground_gsd_m: GroundGsd = None,
    allow_vrt: AllowVrt = False,
    tile_px: TilePx = None,
    batch: Batch = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Turn scenes into footprints: the main job, in one pass.

    Args:
        scenes: Rasters or URLs.
        model: Model file (.safetensors).
        out: .gpkg, .parquet, .geojson or .fgb.
        scores: Also keep the score map here.
    """
    from eaves.workflows.extract import extract_footprints

    began = time.monotonic()
    with _watched(quiet) as on_progress:
        made = extract_footprints(
            scenes,
            model,
            out,
            scores=scores,
            threshold=threshold,
            min_area_m2=min_area_m2,
            simplify_px=simplify_px,
            nodata=nodata,
            bands=_numbers(bands),
            ground_gsd_m=ground_gsd_m,
            allow_vrt=allow_vrt,
            tile_px=tile_px,
            batch=batch,
            device=device,
            on_progress=on_progress,
        )
    took = f"{time.monotonic() - began:.0f} s"
    left_out = f"{made.dropped} smaller than {min_area_m2:g} left out"
    _say(quiet, f"{made.number} footprints in {made.path}; {left_out}; {took}")


@app.command
def evaluate(
    prediction: Path,
    reference: Path,
    *,
    out: Out,
    aoi: Path | None = None,
    scene: str | None = None,
    nodata: Nodata = None,
    threshold: Threshold = 0.5,
    scale: Scale = None,
    iou: float = 0.5,
    min_area_m2: float = 0.0,
    gsd_m: float | None = None,
    quiet: Quiet = False,
) -> None:
    """Say how good footprints or a score map are, against reference polygons.

    Args:
        prediction: Footprints, or a score map (.tif).
        reference: Reference polygons.
        out: Folder for metrics.json, matches.parquet and pictures.
        aoi: Polygons inside which the reference is complete.
        scene: The image: gives the grid, the valid pixels and the picture.
        iou: From which a match of objects counts.
        min_area_m2: Smaller objects are left out on both sides.
        gsd_m: Pixel size for comparing two vector files without a scene.
    """
    from eaves.workflows.evaluate import evaluate_footprints

    with _watched(quiet) as on_progress:
        result = evaluate_footprints(
            prediction,
            reference,
            out,
            aoi=aoi,
            scene=scene,
            nodata=nodata,
            threshold=threshold,
            scale=scale,
            iou=iou,
            min_area_m2=min_area_m2,
            gsd_m=gsd_m,
            on_progress=on_progress,
        )
    for line in summary(result.report):
        _say(quiet, line)
    _say(quiet, f"details: {result.folder / 'metrics.json'}")


@app.command
def models(model: Path | None = None, *, quiet: Quiet = False) -> None:
    """List architectures and recipes, or show the card of a model file.

    Args:
        model: Model file.
    """
    if model is not None:
        from eaves.models import read_card

        _say(quiet, read_card(model).model_dump_json(indent=2))
        return
    from eaves.models import MODELS
    from eaves.settings import load_recipe, recipe_names

    _say(quiet, "architectures: " + ", ".join(MODELS))
    for name in recipe_names():
        recipe = load_recipe(name)
        chips, fit = recipe.chips, recipe.fit
        gsd = f"{chips.gsd_m} m" if chips.gsd_m else "the scenes' own GSD"
        _say(quiet, f"recipe {name}: {recipe.model.arch}, {chips.chip_px} px chips at {gsd}, {fit.epochs} epochs")


def summary(report: Any) -> list[str]:
    """Say the main numbers of an evaluation in a few lines."""

    def show(value: float | None) -> str:
        return "undefined" if value is None else f"{value:.3f}"

    lines = []
    if (pixels := report.pixels) is not None:
        lines.append(
            f"pixels:  IoU {show(pixels.iou)}  F1 {show(pixels.f1)}  precision {show(pixels.precision)}  "
            f"recall {show(pixels.recall)}  accuracy {show(pixels.accuracy)}"
        )
    if (objects := report.objects) is not None:
        lines.append(
            f"objects: F1 {show(objects.f1)}  precision {show(objects.precision)}  recall {show(objects.recall)}  "
            f"({objects.tp} right, {objects.fp} wrong, {objects.fn} missed; {objects.merged} merged, "
            f"{objects.split} split)"
        )
    return lines


def main(arguments: list[str] | None = None) -> None:
    """Run the command line: 0 on success, 1 on a failure that is explained, 2 on wrong use, 130 on Ctrl-C."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    warnings.showwarning = _show_warning
    try:
        app(arguments, console=_out, error_console=_err, exit_on_error=False, print_error=True)
    except EavesError as error:
        _err.print(f"[red]error[/]: {escape(str(error))}")
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        _err.print("stopped")
        raise SystemExit(130) from None
    except SystemExit:
        raise
    except Exception as error:
        if type(error).__module__.startswith("cyclopts"):
            raise SystemExit(2) from None
        raise


def _show_warning(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any) -> None:
    if issubclass(category, EavesWarning):
        _err.print(f"[yellow]warning[/]: {escape(str(message))}")
    else:
        logging.getLogger("py.warnings").debug("%s:%s: %s", filename, lineno, message)


@contextmanager
def _watched(quiet: bool) -> Iterator[OnProgress]:
    """A progress bar with the time left on a terminal, a line every now and then elsewhere."""
    if quiet:
        yield ignore
        return
    if not _err.is_terminal:
        yield _Lines()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Bar(*columns, console=_err) as bar:
        tasks: dict[str, Any] = {}

        def show(at: Progress) -> None:
            # Stages "epoch 3/10" are one bar; its description moves on.
            key = f"{at.unit} of {at.total}"
            if key not in tasks or bar.tasks[tasks[key]].finished:
                tasks[key] = bar.add_task(at.stage, total=at.total, unit=at.unit, note=at.note)
            bar.update(tasks[key], completed=at.done, description=at.stage, note=escape(at.note))

        yield show


class _Lines:
    """Progress for logs: one line at most every ten seconds, and one at each end."""

    def __init__(self) -> None:
        self.began = self.last = time.monotonic()
        self.stage = ""

    def __call__(self, at: Progress) -> None:
        now = time.monotonic()
        if at.stage.split(" ")[0] != self.stage.split(" ")[0]:
            self.began = now
        self.stage = at.stage
        if now - self.last < 10 and at.done < at.total:
            return
        self.last = now
        left = (now - self.began) * (at.total - at.done) / max(1, at.done)
        text = f"{at.stage}: {at.done} of {at.total} {at.unit}, about {left:.0f} s left  {at.note}"
        _err.print(escape(text.rstrip()))


def _say(quiet: bool, text: str, markup: bool = False) -> None:
    if not quiet:
        _out.print(text, markup=markup)


def _numbers(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        from eaves.errors import SettingsError

        raise SettingsError("band numbers such as 1,2,3", repr(text), "change --bands") from None


if __name__ == "__main__":
    main()
