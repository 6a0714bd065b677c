"""``eaves demo``: the whole story on a synthetic city."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import NamedTuple

from eaves.metrics import MetricsReport
from eaves.progress import OnProgress, ignore
from eaves.workflows.evaluate import evaluate_footprints
from eaves.workflows.extract import extract_footprints
from eaves.workflows.sample import sample_chips
from eaves.workflows.synth import synth_city
from eaves.workflows.train import train_model

# Several small cities teach more than a large one: each has its own sun, soil and roofs.
_CITIES, _TRAIN_PX, _TEST_PX = 4, 1024, 1024
_DATASET = """\
# What a DATASET looks like; yours names your own images and labels.
credits = ["Synthetic city, made by eaves synth"]
"""
_SCENE = """
[[scene]]
image = "train/{number}/scene.tif"
labels = "train/{number}/buildings.gpkg"
split = "block"
"""


class Story(NamedTuple):
    """What the demo made.

    Attributes:
        folder: All of it.
        report: How good the footprints of the unseen city are.
        text: The story, for a person.
    """

    folder: Path
    report: MetricsReport
    text: str


def demo_city(out: str | Path = "eaves-demo", *, seed: int = 0, on_progress: OnProgress = ignore) -> Story:
    """Make cities, train on all but one, extract that one, and say how good the result is.

    Args:
        out: Folder; what an earlier demo left there is replaced.
        seed: Of the cities and the training.
        on_progress: Is told how far each step is.

    Raises:
        OutputError: ``out`` cannot be written.

    Example:
        >>> demo_city("eaves-demo").report.pixels.iou > 0.85  # doctest: +SKIP
        True
    """
    out, began = Path(out), time.monotonic()
    for part in ("train", "test", "chips", "run", "evaluation"):
        shutil.rmtree(out / part, ignore_errors=True)
    first = (_CITIES + 1) * seed
    for number in range(1, _CITIES + 1):
        synth_city(out / "train" / str(number), size_px=_TRAIN_PX, seed=first + number, on_progress=on_progress)
    test = synth_city(out / "test", size_px=_TEST_PX, seed=first, on_progress=on_progress)
    dataset = out / "dataset.toml"
    scenes = [_SCENE.format(number=number) for number in range(1, _CITIES + 1)]
    dataset.write_text(_DATASET + "".join(scenes), encoding="utf-8")
    changes = [f"fit.seed={seed}"]
    chips = sample_chips(dataset, out / "chips", recipe="demo", changes=changes, on_progress=on_progress)
    run = train_model("demo", chips.path, out / "run", changes=changes, on_progress=on_progress)
    found = extract_footprints(
        test.scene, run.model, out / "footprints.gpkg", scores=out / "scores.tif", on_progress=on_progress
    )
    result = evaluate_footprints(
        found.path, test.buildings, out / "evaluation", scene=test.scene, min_area_m2=4.0, on_progress=on_progress
    )
    return Story(out, result.report, _tell(out, test.number, found.number, result.report, time.monotonic() - began))


def _tell(out: Path, buildings: int, found: int, report: MetricsReport, seconds: float) -> str:
    pixels, objects = report.pixels, report.objects
    assert pixels is not None
    assert objects is not None
    return f"""
A network learned from four synthetic cities and then saw another for the first time: {found} footprints where
{buildings} buildings stand. Pixel IoU {pixels.iou or 0:.3f}, object F1 {objects.f1:.3f}
({objects.tp} right, {objects.fp} wrong, {objects.fn} missed). All of it took {seconds:.0f} s.

  {out}/footprints.gpkg          the footprints: open them in QGIS over {out}/test/scene.tif
  {out}/scores.tif               the score map behind them
  {out}/evaluation/overlay.png   found and real outlines over the image
  {out}/evaluation/metrics.json  all numbers
  {out}/run/curves.png           how the training went; {out}/run/model.safetensors is the model

Next, with your own imagery and labels: write a dataset like {out}/dataset.toml, then

  eaves doctor dataset.toml
  eaves train deeplabv3plus-mobilenetv2 --data dataset.toml -o runs/first
  eaves extract my.tif --model runs/first/model.safetensors -o footprints.gpkg"""
