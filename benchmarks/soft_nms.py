"""How long Soft-NMS takes beside torchvision's NMS: boxes of a dense town, one core, medians of 50 runs.

python benchmarks/soft_nms.py
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import torch
from torchvision.ops import nms

from eaves.models import suppress

COUNTS = (100, 300, 1000, 3000)


def main() -> None:
    torch.set_num_threads(1)
    print("| boxes | torchvision nms | gaussian | linear | gaussian / nms |\n|---|---|---|---|---|")
    for count in COUNTS:
        boxes, scores = town(count)
        groups = torch.zeros(count)
        took = {"nms": median(lambda boxes=boxes, scores=scores: nms(boxes, scores, 0.5))}
        for method in ("gaussian", "linear"):
            took[method] = median(
                lambda method=method, boxes=boxes, scores=scores, groups=groups: suppress(boxes, scores, groups, method)
            )
        shown = " | ".join(f"{took[name] * 1e3:.2f} ms" for name in ("nms", "gaussian", "linear"))
        print(f"| {count} | {shown} | {took['gaussian'] / took['nms']:.2f} |")


def town(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Four detections of each house, some pixels off, and scores."""
    rng = np.random.default_rng(0)
    side = int(np.sqrt(count / 4) * 40) + 1
    corner = np.repeat(rng.uniform(0, side, (-(-count // 4), 2)), 4, axis=0)[:count] + rng.normal(0, 4, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(20, 45, (count, 2))], axis=1)
    return torch.tensor(boxes, dtype=torch.float32), torch.tensor(rng.uniform(0.05, 1, count), dtype=torch.float32)


def median(call) -> float:
    call()
    taken = []
    for _ in range(50):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


if __name__ == "__main__":
    main()
