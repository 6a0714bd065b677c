"""Score maps read back: Eaves's own, and those of other programs."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

from eaves.errors import EavesError, SceneError
from eaves.exchange.provenance import ITEM, unpack
from eaves.exchange.scores import LEVELS, NODATA, encode
from eaves.exchange.scoreview import ScoreView
from eaves.scene import Scene


class ScoreMap:
    """Scores of a scene as levels (see :mod:`eaves.exchange.scores`), whatever the file stores. Can be pickled.

    Attributes:
        path: The file.
        grid: Its grid.
        classes: Names of the bands; where the file names none, ``building`` for one band, else ``band_1`` and so on.
        metadata: What Eaves stored with it; empty for others' files.
        gsd_m: Ground size of a pixel in metres, none in pixel space.
    """

    def __init__(self, path: str | Path, scale: float | None = None) -> None:
        """Open; see :func:`open_scores`."""
        self._scene = scene = Scene(path)  # refuses what is not a raster of an allowed kind
        if "palette" in scene.color_names:
            raise SceneError(f"scores in {path}", "a colour table", "write the scores themselves into the raster")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as file:
                names = [file.descriptions[band - 1] for band in scene.bands]
                stored = {(file.scales[band - 1], file.offsets[band - 1]) for band in scene.bands}
                self.metadata = unpack(file.tags().get(ITEM))
        self.path = str(path)
        self.classes = tuple(
            name or ("building" if len(names) == 1 else f"band_{band}")
            for name, band in zip(names, scene.bands, strict=True)
        )
        self._scale, self._offset = self._value_rule(stored, scale)
        self._levels_as_stored = (
            scene.dtype == np.uint8
            and scene.nodata == NODATA
            and self._offset == 0
            and math.isclose(self._scale, 1 / LEVELS, rel_tol=1e-6)
        )

    @property
    def grid(self) -> GeoBox:
        """Shape, transform and CRS."""
        return self._scene.grid

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self._scene.shape

    @property
    def gsd_m(self) -> float | None:
        """Ground size of a pixel in metres."""
        return self._scene.gsd_m

    def read(self, window: Window | None = None) -> np.ndarray:
        """Read a window; it may reach outside, where nothing is known.

        Returns:
            Levels uint8 ``(class, row, col)``, 255 where there is no imagery.

        Raises:
            SceneError: A block cannot be decoded, or a value is no score.
        """
        image, valid = self._scene.read(window)
        if self._levels_as_stored:
            np.copyto(image, NODATA, where=~valid)
            return image
        scores = image.astype(np.float32)
        if self._scale != 1:
            scores *= np.float32(self._scale)
        if self._offset:
            scores += np.float32(self._offset)
        try:
            return encode(scores, valid)
        except EavesError as error:
            raise SceneError(
                f"scores between 0 and 1 in {self.path}",
                f"{error.received} with the scale {self._scale:g}",
                "convert logits to probabilities, or state the scale that turns its values into [0, 1]",
            ) from None

    def on(self, grid: GeoBox, bands: Sequence[int] | None = None) -> ScoreView:
        """Return the map as seen on another grid of the same place.

        Args:
            grid: With the same corner.
            bands: Which score maps, from 0; by default all.

        Raises:
            SceneError: The grid is of another place.
        """
        chosen = list(range(len(self.classes)) if bands is None else bands)
        return ScoreView(_Bands(self, chosen), self.grid, grid, len(chosen), self.path)

    def strips(self, rows: int = 512) -> Iterator[tuple[int, np.ndarray]]:
        """Read all from top to bottom, ``rows`` rows at a time.

        Yields:
            The first row and the levels, ``(class, rows, width)`` uint8; the last strip may have fewer rows.
        """
        height, width = self.shape
        for row in range(0, height, rows):
            yield row, self.read(Window(0, row, width, min(rows, height - row)))

    def __repr__(self) -> str:
        rows, cols = self.shape
        return f"ScoreMap({self.path!r}, {cols} x {rows} px, {', '.join(self.classes)})"

    def _value_rule(self, stored: set[tuple[float, float]], scale: float | None) -> tuple[float, float]:
        """Scale and offset that turn stored values into scores."""
        if scale is not None:
            if not 0 < scale < math.inf:
                raise SceneError("a scale above 0", f"{scale}", "state the score of the value 1, such as 1/255")
            return scale, 0.0
        if len(stored) > 1:
            raise SceneError(f"one scale for all bands of {self.path}", f"{sorted(stored)}", "state the scale")
        rule = stored.pop()
        if rule == (1.0, 0.0) and self._scene.dtype.kind != "f":
            raise SceneError(
                f"a stated scale for {self.path}",
                f"{self._scene.dtype} values without one",
                "state the scale: 1/255 if 255 means certain, 1 if the values are 0 and 1",
                because="whole numbers do not say which of them means certain",
            )
        return rule


class _Bands:
    """Some bands of a map, read; can be pickled."""

    def __init__(self, scores: ScoreMap, bands: list[int]) -> None:
        self.scores, self.bands = scores, bands

    def __call__(self, window: Window) -> np.ndarray:
        return self.scores.read(window)[self.bands]


def open_scores(path: str | Path, scale: float | None = None) -> ScoreMap:
    """Open a score map.

    Eaves's own are read as they are. Others' may hold floats in [0, 1], with nodata or NaN where nothing is known, or
    whole numbers, whose ``scale`` has to be stated here or as the scale of the file's bands.

    Args:
        path: A raster with a band for every class, the background not among them.
        scale: What to multiply the stored values with, instead of what the file says. With 1/255 a value of 255
            is certain, unless the file declares 255 its nodata value.

    Raises:
        SceneError: Not a raster, or whole numbers without a scale.

    Example:
        >>> for row0, levels in open_scores("scores.tif").strips():  # doctest: +SKIP
        ...     scores, valid = decode(levels)
    """
    return ScoreMap(path, scale)
