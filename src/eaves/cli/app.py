"""The application, the options that several commands share, and what they print with."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from eaves.errors import SettingsError
from eaves.progress import OnProgress, Progress, ignore
from eaves.version import __version__

app = App(
    name="eaves",
    help="Overhead imagery in, building footprints that a GIS can use out.",
    version=__version__,
    default_parameter=Parameter(negative=()),
)
console = Console(soft_wrap=True, highlight=False)
errors = Console(stderr=True, soft_wrap=True, highlight=False)

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
MinArea = Annotated[
    float,
    Parameter(help="Smaller outlines are left out and smaller holes filled, in square metres (pixels without a CRS)."),
]
Scale = Annotated[float | None, Parameter(help="Score of one unit of a foreign integer map: 0.00392 for 0 to 255.")]
SeparateBy = Annotated[
    Literal["auto", "none", "border", "distance", "score"],
    Parameter(
        help="How to part buildings that touch: by the band of that name, or the score's shape; auto: what there is."
    ),
]
SeedScore = Annotated[float | None, Parameter(help="Seed score that a building reaches somewhere, between 0 and 1.")]
MinFall = Annotated[float | None, Parameter(help="How far the seed score falls between two buildings, in 0 … 1.")]
MinSeed = Annotated[float | None, Parameter(help="A part smaller than this goes to its neighbour, in square metres.")]
Tta = Annotated[
    Literal["none", "flip", "d4"],
    Parameter(help="Average the scores of each tile's mirror images (flip, 4 views), and its quarter turns (d4, 8)."),
]
Nms = Annotated[
    Literal["hard", "gaussian", "linear"] | None,
    Parameter(help="With a network of objects: how overlapping detections are treated; gaussian, linear: Soft-NMS."),
]
DetectionsPerMpx = Annotated[
    float | None, Parameter(help="With a network of objects: its cap on detections in a million pixels.")
]
RoofColors = Annotated[bool, Parameter(help="Add what colour each roof is, and its share of blue.")]
OnlyColor = Annotated[str | None, Parameter(help="Keep the roofs of this colour alone, such as blue, red or white.")]
RefineWith = Annotated[
    str | None, Parameter(help="Sharpen the scores to the image, as eaves refine --with does: crf, or a corrector.")
]
RefineSet = Annotated[
    list[str] | None, Parameter(consume_multiple=True, help="Settings of the refiner, such as iterations=8.")
]
SIMPLIFY = "How far an outline may move when vertices are dropped, in pixels."
Simplify = Annotated[float, Parameter(help=SIMPLIFY)]
Method = Literal["right-angles", "right-angles-and-diagonals", "any-angle", "circle", "auto"]
ToleranceM = Annotated[float, Parameter(help="No outline moves farther than this, in metres; three pixels are good.")]


@contextmanager
def watched(quiet: bool) -> Iterator[OnProgress]:
    """A progress bar with the time left on a terminal, a line every now and then elsewhere."""
    if quiet:
        yield ignore
        return
    if not errors.is_terminal:
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
    with Bar(*columns, console=errors) as bar:
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
        errors.print(escape(text.rstrip()))


def say(quiet: bool, text: str, markup: bool = False) -> None:
    """Print a line, unless nothing is wanted."""
    if not quiet:
        console.print(text, markup=markup)


def numbers(text: str | None) -> tuple[int, ...] | None:
    """Read band numbers such as ``1,2,3``."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise SettingsError("band numbers such as 1,2,3", repr(text), "change --bands") from None
