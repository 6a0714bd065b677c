"""The rule that turns a scene's numbers into a network's input. It is stored with the model, never guessed per tile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from pydantic import model_validator

from eaves.errors import SceneError
from eaves.settings import Settings


class Scaling(Settings):
    """Numbers of a scene → floats around zero, band by band.

    ``scaled = clip((value - lo) / (hi - lo), 0, 1)``, then ``(scaled - mean) / std``.

    Attributes:
        dtype: NumPy name of the type that ``lo`` and ``hi`` are meant for; scenes of another type are refused.
        lo: Value of black, one a band.
        hi: Value of white, one a band.
        mean: Subtracted after scaling, one a band.
        std: Divided by after that, one a band.
    """

    dtype: str
    lo: tuple[float, ...]
    hi: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @model_validator(mode="after")
    def _one_a_band(self) -> Self:
        if not len(self.lo) == len(self.hi) == len(self.mean) == len(self.std) > 0:
            raise ValueError("lo, hi, mean and std need one number a band each")
        if not all(low < high for low, high in zip(self.lo, self.hi, strict=True)) or not all(s > 0 for s in self.std):
            raise ValueError("hi must be above lo, and std above 0")
        return self

    @property
    def band_count(self) -> int:
        """Number of bands that the rule is for."""
        return len(self.lo)

    @classmethod
    def for_bytes(cls, bands: int, mean: Sequence[float] = (0.5,), std: Sequence[float] = (0.25,)) -> Self:
        """Return the rule of 8-bit imagery: 0 is black, 255 is white.

        Args:
            bands: Number of bands.
            mean: One number a band, or one for all.
            std: One number a band, or one for all.
        """
        return cls(
            dtype="uint8",
            lo=(0.0,) * bands,
            hi=(255.0,) * bands,
            mean=_each(mean, bands),
            std=_each(std, bands),
        )

    @classmethod
    def fit(
        cls,
        samples: Sequence[tuple[np.ndarray, np.ndarray]],
        mean: Sequence[float] = (0.5,),
        std: Sequence[float] = (0.25,),
        percentiles: tuple[float, float] = (1.0, 99.0),
    ) -> Self:
        """Measure black and white once over samples of the training scenes.

        Args:
            samples: Images ``(b, h, w)`` of one dtype with their valid masks ``(h, w)``.
            mean: As in :meth:`for_bytes`.
            std: As in :meth:`for_bytes`.
            percentiles: Of the valid pixels; they become black and white.

        Raises:
            SceneError: No pixel is valid, dtypes differ, or a band is constant.
        """
        kinds = sorted({image.dtype.name for image, _ in samples})
        if len(kinds) != 1:
            raise SceneError("scenes of one pixel type", f"{kinds}", "convert the scenes to one type")
        values = np.concatenate([image[:, valid] for image, valid in samples], axis=1)  # (b, pixels)
        if not values.size:
            raise SceneError("some valid pixels", "none", "check nodata and the area of interest")
        if kinds == ["uint8"]:
            return cls.for_bytes(len(values), mean, std)
        lo, hi = np.percentile(values.astype(np.float64), percentiles, axis=1)
        if (hi <= lo).any():
            raise SceneError(
                "bands that vary", f"band {int(np.argmax(hi <= lo)) + 1} is constant", "choose other bands"
            )
        bands = len(values)
        return cls(dtype=kinds[0], lo=tuple(lo), hi=tuple(hi), mean=_each(mean, bands), std=_each(std, bands))

    def check(self, dtype: np.dtype, bands: int, name: str) -> None:
        """Refuse a scene that the rule is not for.

        Raises:
            SceneError: Another pixel type or band count.
        """
        if np.dtype(dtype).name != self.dtype:
            raise SceneError(
                f"pixels of type {self.dtype} in {name}",
                f"{np.dtype(dtype).name}",
                "convert it with gdal_translate -ot and -scale as the training scenes were, or train on such scenes",
                because="the model's scaling was measured on that type, and guessing another goes wrong silently",
            )
        if bands != self.band_count:
            example = ",".join(map(str, range(1, self.band_count + 1)))
            raise SceneError(
                f"{self.band_count} bands from {name}",
                f"{bands}",
                f"name {self.band_count} bands, for example --bands {example}",
            )

    def scale(self, image: np.ndarray) -> np.ndarray:
        """Return ``(b, h, w)`` float32 in [0, 1]; NaN becomes 0."""
        lo = np.asarray(self.lo, np.float32)[:, None, None]
        gain = 1 / (np.asarray(self.hi, np.float32)[:, None, None] - lo)
        scaled = (image.astype(np.float32) - lo) * gain
        return np.clip(np.nan_to_num(scaled, nan=0.0, posinf=1.0, neginf=0.0), 0, 1)

    def normalize(self, scaled: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Return ``(b, h, w)`` float32 for the network; pixels that are not valid become 0, the mean."""
        mean = np.asarray(self.mean, np.float32)[:, None, None]
        gain = 1 / np.asarray(self.std, np.float32)[:, None, None]
        return (scaled - mean) * gain * valid

    def apply(self, image: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Scale and normalise at once."""
        return self.normalize(self.scale(image), valid)


def _each(values: Sequence[float], bands: int) -> tuple[float, ...]:
    return tuple(float(v) for v in values) * (bands if len(values) == 1 else 1)
