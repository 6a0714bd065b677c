"""What a network of objects costs and how much it depends on the window: no training, one CPU core.

    python benchmarks/instance_costs.py                                   memory of a training step
    EAVES_DATA=... python benchmarks/instance_costs.py --model M          and two windows of Banepa, 256 px apart

Memory is counted: tensors that autograd keeps, and weights, gradients and AdamW's moments, in fp32. The windows are
1 024 px at 0.3 m; of detections with a score of 0.5 or more whose middle lies farther than a halo from the edges of
both, it tells how many have a counterpart.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import shapely
import torch
from rasterio.windows import Window

from eaves.models import InstanceNetwork, build, load_model, objects_of
from eaves.scene import Scene
from eaves.settings import ModelSettings

WINDOW, SHIFT, CORNER = 1024, 256, 1500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| encoder | pyramid | chip | kept for the gradient | weights, gradients, AdamW |\n|---|---|---|---|---|")
    for encoder, side in (("resnet50", 512), ("resnet101", 512), ("resnet101", 1024)):
        for pyramid in ("fpn", "multi-path"):
            kept, own = step_memory(encoder, pyramid, side)
            print(f"| {encoder} | {pyramid} | {side} px | {kept / 1e9:.2f} GB | {own / 1e9:.2f} GB |", flush=True)
    if options.model is not None:
        print("\n| farther from the edge than | detections | box IoU >= 0.9 | >= 0.999 |\n|---|---|---|---|")
        for halo, best in agreement(options.model).items():
            print(f"| {halo} px | {len(best)} | {(best >= 0.9).sum()} | {(best >= 0.999).sum()} |")


def step_memory(encoder: str, pyramid: str, side: int) -> tuple[int, int]:
    """Bytes that a step on a chip of houses keeps, and those of weights and optimiser."""
    settings = ModelSettings(arch="maskrcnn", options={"encoder": encoder, "pyramid": pyramid})
    network = build(settings, 3, 2).train()
    assert isinstance(network, InstanceNetwork)
    numbers = torch.zeros(side, side, dtype=torch.int32)
    corners = [(row, col) for row in range(4, side - 40, 56) for col in range(4, side - 40, 56)]
    for number, (row, col) in enumerate(corners, 1):
        numbers[row : row + 36, col : col + 36] = number
    weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        objects = objects_of((numbers > 0).to(torch.uint8), numbers)
        loss = torch.stack(list(network.losses(torch.randn(1, 3, side, side), [objects]).values())).sum()
    own = 4 * sum(parameter.numel() * 4 for parameter in network.parameters())
    del loss
    return sum(kept.values()), own


def agreement(model: Path) -> dict[int, np.ndarray]:
    """Of each halo: the greatest box IoU that a detection of one window has with one of the other."""
    network, card = load_model(model)
    assert isinstance(network, InstanceNetwork)
    scene = Scene(Path(os.environ["EAVES_DATA"]) / "banepa/banepa.tif", nodata=255).at(card.gsd_m or 0.3)
    first, second = (boxes(network, card.scaling, scene, CORNER + shift) for shift in (0, SHIFT))
    middle = (first[:, :2] + first[:, 2:]) / 2
    found = {}
    for halo in (96, 128, 192, 256):
        low, high = CORNER + SHIFT + halo, CORNER + WINDOW - halo
        ours, theirs = shapely.box(*first[((middle > low) & (middle < high)).all(axis=1)].T), shapely.box(*second.T)
        i, j = shapely.STRtree(theirs).query(ours)
        shared = shapely.area(shapely.intersection(ours[i], theirs[j]))
        best = np.zeros(len(ours))
        np.maximum.at(best, i, shared / (shapely.area(ours[i]) + shapely.area(theirs[j]) - shared))
        found[halo] = best
    return found


def boxes(network: InstanceNetwork, scaling, scene: Scene, corner: int) -> np.ndarray:
    image, valid = scene.read(Window(corner, corner, WINDOW, WINDOW))
    with torch.inference_mode():
        [found] = network.detect(torch.from_numpy(scaling.apply(image, valid))[None], 0.5)
    return found.boxes.double().numpy() + corner


if __name__ == "__main__":
    main()
