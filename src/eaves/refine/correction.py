"""The recurrent corrector as a refiner."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.nn import functional

from eaves.errors import SettingsError
from eaves.models.corrector import LEAST_SCORE, Corrector, Step
from eaves.scene import Scaling


class Correction:
    """A trained corrector: (image, scores) → scores.

    Args:
        network: Moved to the device and switched to evaluation.
        scaling: Of its card; its mean and standard deviation bring the image in [0, 1] to what the network expects.
        iterations: Steps to take, where other than those trained.
        device: As for :class:`eaves.predict.TorchBackend`.

    Raises:
        SettingsError: More steps than the network has weights for.

    Example:
        >>> network = Corrector(in_channels=3, classes=2, iterations=2)
        >>> correct = Correction(network, Scaling.for_bytes(3))
        >>> image, scores = np.zeros((3, 8, 8), np.float32), np.full((2, 8, 8), 0.5, np.float32)
        >>> correct(image, scores, np.ones((8, 8), bool)).shape, correct.halo_px
        ((2, 8, 8), 4)
    """

    name = "corrector"

    def __init__(
        self, network: Corrector, scaling: Scaling, *, iterations: int | None = None, device: str | torch.device = "cpu"
    ) -> None:
        if iterations is not None:
            try:
                network.iterations = iterations
            except ValueError:
                raise SettingsError(
                    f"at most {len(network.steps)} iterations",
                    str(iterations),
                    "ask for fewer",
                    because="the steps of this corrector have weights of their own",
                ) from None
        self.network, self.scaling = network.to(device).eval(), scaling
        self.device = torch.device(device)
        self.halo_px, self.iterations = network.halo_px, network.iterations

    def __call__(self, image: np.ndarray, scores: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """See :class:`eaves.refine.Refiner`."""
        with torch.inference_mode():
            return self._scores(self.network(self._stack(image, scores, valid)), valid)

    def steps(self, image: np.ndarray, scores: np.ndarray, valid: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the scores before the first and after every step."""
        evolution = self.network.evolve(self._stack(image, scores, valid))
        while True:
            with torch.inference_mode():  # not around the yield: it would hold for the caller too
                if (logits := next(evolution, None)) is None:
                    return
                now = self._scores(logits, valid)
            yield now

    def _stack(self, image: np.ndarray, scores: np.ndarray, valid: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.concatenate([self.scaling.normalize(image, valid), scores])[None]).to(self.device)

    @staticmethod
    def _scores(logits: torch.Tensor, valid: np.ndarray) -> np.ndarray:
        both = torch.cat((torch.zeros_like(logits), logits), 1) if logits.shape[1] == 1 else logits
        return torch.softmax(both[0].float(), 0).cpu().numpy() * valid

    def responses(
        self, image: np.ndarray, scores: np.ndarray, valid: np.ndarray, count: int
    ) -> tuple[list[tuple[str, np.ndarray]], list[tuple[str, np.ndarray]]]:
        """Return what the first step's filters answer to: those that the second class's update draws on most.

        Args:
            image: As for a call, and so are the next two.
            scores: …
            valid: …
            count: Filters of each kind.

        Returns:
            Names and answers float32 ``(h, w)`` of filters of the score map, and of the image.
        """
        step = self.network.steps[0]
        assert isinstance(step, Step)
        with torch.inference_mode():
            head = min(1, len(step.mix_weight) - 1)
            draws = (step.out_weight[head].abs() @ step.mix_weight[head].abs()).cpu()
            u = torch.from_numpy(np.log(np.clip(scores[1], LEAST_SCORE, 1)) * valid).to(self.device, torch.float32)
            colors = torch.from_numpy(self.scaling.normalize(image, valid)).to(self.device)
            of_map, of_image = (
                functional.conv2d(given[None], layer.weight, layer.bias, padding="same")[0].cpu().numpy()
                for given, layer in ((u[None], step.score_filters), (colors, step.image_filters))
            )
        filters = len(of_map)
        best = [draws[part].argsort(descending=True)[:count].tolist() for part in (np.s_[:filters], np.s_[filters:])]
        return [(f"M{i} of the scores", of_map[i]) for i in best[0]], [
            (f"N{i} of the image", of_image[i]) for i in best[1]
        ]
