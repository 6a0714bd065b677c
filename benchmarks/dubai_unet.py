"""The 28-layer U-Net on real five-class scenes: trained on Dubai tiles 1-5, judged on tile 7.

    EAVES_DATA=... python benchmarks/dubai_unet.py --work runs/dubai [--recipe NAME] [--scale 2] [--set key=value]

The network learns all five classes; the building/background matrix that the source reports is summed from theirs.
The scenes have no CRS and no stated resolution; `--scale 2` reads them at half their pixels, which two cores need.
Every epoch's weights are judged on the middle quarter of tile 7, the chosen ones on the whole of it.
The best epoch is chosen on validation; the one that is best on the test tile is named too, and is not a fair figure.

Imagery and labels: Humans in the Loop / MBRSC (https://humansintheloop.org), CC0.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import cv2
import numpy as np

from eaves import load_recipe, train_model
from eaves.errors import EavesError
from eaves.exchange.scores import NODATA
from eaves.metrics import confusion, pixel_report
from eaves.progress import Progress
from eaves.sample import open_dataset
from eaves.settings import load_dataset
from eaves.show import confusion_figure, curves_figure
from eaves.train import read_curves
from eaves.workflows.jobs import prepare

CLASSES = {"land": "#8429F6", "building": "#3C1098", "road": "#6EC1E4", "vegetation": "#FEDD3A", "water": "#E2A929"}
TRAIN, TEST, MIDDLE = (1, 2, 3, 4, 5), "7", "7_middle"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("runs/dubai"))
    parser.add_argument("--recipe", default="unet28")
    parser.add_argument("--scale", type=float, default=2.0)
    parser.add_argument("--set", nargs="*", default=[])
    options = parser.parse_args()
    if "EAVES_DATA" not in os.environ:
        sys.exit("EAVES_DATA is not set: it names the folder with dubai/")
    work = options.work
    dataset = prepare_scenes(Path(os.environ["EAVES_DATA"]) / "dubai", work)
    run = work / options.recipe
    if not (run / "curves.png").exists():
        # A stated pixel of 1 m is a stand-in: the tiles' true ones (0.7 to 1.5 m) are not known.
        changes = [f"chips.gsd_m={options.scale}", *options.set]
        train_model(load_recipe(options.recipe, changes), dataset, run, resume=True, on_progress=tell)
    rows = read_curves(run / "curves.csv")
    weights = [run / "epochs" / f"epoch_{int(row['epoch']):03d}.safetensors" for row in rows]
    matrices = [judge(model, dataset, run, MIDDLE) for model in weights]
    reports = [pixel_report(matrix, tuple(CLASSES)) for matrix in matrices]
    chosen = int(np.argmax([row.get("val_iou", 0) for row in rows]))
    best_on_test = int(np.argmax([report.miou or 0 for report in reports]))
    heads = ["epoch", "train loss", "train acc", "val loss", "val acc", "val IoU"]
    heads += ["test acc", "test mIoU", "road IoU", "building IoU"]
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    for index, (row, report) in enumerate(zip(rows, reports, strict=True)):
        mark = "**" if index == chosen else ""
        print(
            f"| {mark}{int(row['epoch'])}{mark} | {row['train_loss']:.3f} | {row['train_accuracy']:.3f} | "
            f"{row['val_loss']:.3f} | {row['val_accuracy']:.3f} | {row['val_iou']:.3f} | {report.accuracy:.3f} | "
            f"{report.miou:.3f} | {report.per_class['road'].iou:.3f} | {report.per_class['building'].iou:.3f} |"
        )
    print(f"\nChosen on validation: epoch {chosen + 1}. Best on the test tile (not a fair choice): {best_on_test + 1}.")
    matrix = judge(weights[chosen], dataset, run, TEST)
    whole = pixel_report(matrix, tuple(CLASSES))
    ious = ", ".join(f"{name} {each.iou:.3f}" for name, each in whole.per_class.items())
    print(f"Its figures on the whole of tile 7: accuracy {whole.accuracy:.3f}, mIoU {whole.miou:.3f} ({ious}).")
    confusion_figure(matrix, tuple(CLASSES), run / "confusion_test.png", title="Dubai tile 7")
    building = list(CLASSES).index("building")
    tp, row_sum, col_sum = matrix[building, building], matrix[building].sum(), matrix[:, building].sum()
    binary = np.array([[matrix.sum() - row_sum - col_sum + tp, col_sum - tp], [row_sum - tp, tp]])
    print(f"Five classes, rows reference ({', '.join(CLASSES)}):\n{matrix}")
    report = pixel_report(binary, ("background", "building"))
    print(
        f"Building against the rest: {binary.tolist()}: accuracy {report.accuracy:.3f}, recall {report.recall:.3f}, "
        f"precision {report.precision:.3f}, IoU {report.iou:.3f}, kappa {report.kappa:.3f}"
    )
    curves_figure(rows, run / "curves.png", title=f"{options.recipe} on Dubai tiles 1-5")


def prepare_scenes(data: Path, work: Path) -> Path:
    """Stitch each tile's 3 x 3 parts and write the dataset."""
    work.mkdir(parents=True, exist_ok=True)
    for tile in (*TRAIN, 7):
        for folder, suffix, name in (("images", "jpg", "image"), ("masks", "png", "mask")):
            out = work / f"tile_{tile}_{name}.png"
            if out.exists():
                continue
            whole = stitch(data, tile, folder, suffix)
            cv2.imwrite(str(out), whole)
            if tile == 7:  # a quarter of its area, on which every epoch is judged
                height, width = whole.shape[:2]
                middle = whole[height // 4 : height * 3 // 4, width // 4 : width * 3 // 4]
                cv2.imwrite(str(work / f"tile_{MIDDLE}_{name}.png"), middle)
    lines = [
        'credits = ["Imagery and labels: Humans in the Loop / MBRSC, CC0"]',
        "[classes]",
        f"names = {json.dumps(list(CLASSES))}",
        'rest = "unknown"',
    ]
    for tile in (*TRAIN, TEST, MIDDLE):
        colors = ", ".join(f'{name} = ["{color}"]' for name, color in CLASSES.items())
        lines += [
            "[[scene]]",
            f'image = "tile_{tile}_image.png"',
            "gsd_m = 1.0",
            f'split = "{"block" if tile in TRAIN else "test"}"',
            "[[scene.labels]]",
            f'path = "tile_{tile}_mask.png"',
            f"colors = {{ {colors} }}",
        ]
    dataset = work / "dataset.toml"
    dataset.write_text("\n".join(lines))
    return dataset


def stitch(data: Path, tile: int, folder: str, suffix: str) -> np.ndarray:
    """Put the nine parts of a tile together, BGR ``(h, w, 3)``."""
    parts = [
        cv2.imread(str(data / f"tile_{tile}" / folder / f"image_part_{part:03d}.{suffix}"), cv2.IMREAD_COLOR)
        for part in range(1, 10)
    ]
    return np.vstack([np.hstack(parts[start : start + 3]) for start in (0, 3, 6)])


def judge(model: Path, dataset: Path, run: Path, tile: str) -> np.ndarray:
    """Confusion matrix of a model on a test tile; kept beside the run, since it takes a while."""
    kept = run / "test" / f"{tile}_{model.stem}.npy"
    if kept.exists():
        return np.load(kept)
    data = load_dataset(dataset)
    entry = next(scene for scene in data.scene if scene.image == f"tile_{tile}_image.png")
    job = prepare("predict", data.locate(entry.image), model, ground_gsd_m=entry.gsd_m, tile_px=1600)
    labelled = open_dataset(data.model_copy(update={"scene": (entry,)}), job.card.gsd_m)[0]
    truth = labelled.chip(_all(labelled.shape)).mask
    matrix = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    for row, levels in job.strips(tell):
        part = truth[row : row + levels.shape[1]]
        scores = np.concatenate([254 - levels.astype(int).sum(axis=0, keepdims=True), levels])  # the first is the rest
        guess = np.where((levels == NODATA).any(axis=0), 0, scores.argmax(axis=0)).astype(np.uint8)
        matrix += confusion(part, guess, len(CLASSES))
    kept.parent.mkdir(exist_ok=True)
    np.save(kept, matrix)
    return matrix


def _all(shape: tuple[int, int]):
    from rasterio.windows import Window

    return Window(0, 0, shape[1], shape[0])


def tell(progress: Progress) -> None:
    if progress.done % 64 < 8 or progress.done == progress.total:
        print(f"{progress.stage}: {progress.done}/{progress.total} {progress.unit} {progress.note}", file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except EavesError as error:
        sys.exit(str(error))
