"""A scene with its labels: image, mask and valid pixels of any window."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from eaves.errors import LabelError
from eaves.exchange.scoremap import open_scores
from eaves.exchange.scores import NODATA
from eaves.exchange.scoreview import ScoreView
from eaves.exchange.vectors import read_vectors
from eaves.labels import UNKNOWN, LabelLayer, overlap
from eaves.labels.classes import class_index, warn_unnamed
from eaves.labels.objects import number_objects
from eaves.sample.classraster import ClassRaster
from eaves.sample.labelsource import open_label_source
from eaves.sample.overview import Overview
from eaves.scene import Scene, window_grid
from eaves.settings import Dataset, SceneEntry

_LOG = logging.getLogger(__name__)
_STRIDE_PX = 1024


class Chip(NamedTuple):
    """A training sample.

    Attributes:
        image: ``(c, h, w)`` in the scene's own type, 0 where there is no imagery.
        mask: uint8 ``(h, w)``: class index, UNKNOWN outside the AOI, where nothing is labelled or there is no imagery.
        valid: bool ``(h, w)``: there is imagery.
        instances: uint16 ``(h, w)``: objects numbered from 1 within the chip, 0 where there is none; or none, where
            nobody asked.
        scores: uint8 ``(classes - 1, h, w)``: levels of the score maps of the classes but the background, as
            :mod:`eaves.exchange.scores` has them; or none, where nobody asked. Where there is none, nothing is valid.
    """

    image: np.ndarray
    mask: np.ndarray
    valid: np.ndarray
    instances: np.ndarray | None = None
    scores: np.ndarray | None = None


class LabelledScene:
    """A scene of a dataset with its labels brought to the scene's grid. It can be pickled.

    A mask begins as the dataset's ``rest`` class; the label sources paint over it in order; what is outside the AOI
    or without imagery becomes UNKNOWN. A class raster paints only where its value or colour has a class; where it
    does not reach, or says nodata (unless that value has a class), the pixel is UNKNOWN.

    Args:
        entry: The scene of the dataset.
        dataset: Gives the classes, and the folder that paths are relative to.
        gsd_m: Ground size of a pixel to work at; none keeps the scene's own.

    Attributes:
        entry: As given.
        names: The classes.
        scene: The image on the working grid.

    Raises:
        SceneError: The image cannot be opened, or has no known resolution to resample from.
        LabelError: Labels are missing, empty (without ``negative_if_empty``), elsewhere, or without what they need.

    Example:
        >>> scene = LabelledScene(dataset.scene[0], dataset, gsd_m=0.3)  # doctest: +SKIP
        >>> image, mask, valid = scene.chip(Window(0, 0, 512, 512))  # doctest: +SKIP
    """

    def __init__(self, entry: SceneEntry, dataset: Dataset, gsd_m: float | None = None) -> None:
        self.entry = entry
        self.names = dataset.classes.names
        self.rest = dataset.classes.rest
        image = dataset.locate(entry.image)
        self.scene = Scene(
            image, gsd_m=gsd_m, nodata=entry.nodata, bands=entry.bands, ground_gsd_m=entry.gsd_m, keep=True
        )
        if not entry.labels:
            raise LabelError(
                f"labels for {entry.image}",
                "none",
                "name a label file, or leave the scene out; a scene of nothing but background needs an empty file and "
                "negative_if_empty = true",
                because="a scene that nobody looked at is unknown, not background",
            )
        self._painters = [
            painter
            for source in entry.labels
            for painter in open_label_source(
                source, dataset.locate(source.path), self.scene, entry.image, self.names, entry.align
            )
        ]
        self._aoi = self._open_aoi(dataset.locate(entry.aoi)) if entry.aoi else None
        self._scores_path = dataset.locate(entry.scores) if entry.scores else None
        self._keep: np.ndarray | None = None

    @property
    def grid(self) -> GeoBox:
        """The working grid."""
        return self.scene.grid

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the working grid."""
        return self.scene.shape

    @property
    def name(self) -> str:
        """The image as the dataset names it."""
        return self.entry.image

    def chip(self, window: Window, instances: bool = False, scores: bool = False) -> Chip:
        """Return image, mask and valid pixels of a window, which may reach outside the scene.

        Args:
            window: Rows and columns.
            instances: Number the objects too.
            scores: Read the score map too; what has no score is not valid.

        Raises:
            SceneError: Image, class raster or score map cannot be decoded.
            LabelError: The dataset names no score map.
        """
        image, valid = self.scene.read(window)
        levels = self._levels(window) if scores else None
        if levels is not None:
            valid &= (levels != NODATA).all(axis=0)
            image *= valid
        mask = self.mask(window)
        mask[~valid] = UNKNOWN
        return Chip(image, mask, valid, self.instances(window, mask) if instances else None, levels)

    def instances(self, window: Window, mask: np.ndarray) -> np.ndarray:
        """Number the objects of a window: polygons of vector labels, and connected regions of each class elsewhere.

        Args:
            window: Rows and columns.
            mask: Of that window.

        Returns:
            uint16 ``(h, w)``: 1 … n, each of them there; 0 where there is no object.
        """
        grid, first = window_grid(self.grid, window), 1
        numbers = np.zeros(mask.shape, np.int32)
        if any(isinstance(painter.layer, LabelLayer) for painter in self._painters):
            for layer, value, _ in self._painters:
                if isinstance(layer, ClassRaster):
                    numbers[layer.read(grid)[1]] = 0
                elif 0 < value < UNKNOWN:
                    first = layer.number(grid, numbers, first)
                else:
                    layer.burn(grid, numbers, 0)
        return number_objects(mask, numbers)

    def mask(self, window: Window) -> np.ndarray:
        """Return the labels of a window alone, uint8 ``(h, w)``, whether or not there is imagery."""
        grid = window_grid(self.grid, window)
        rows, cols = (int(size) for size in grid.shape)
        known = self._allowed(window)
        if self._aoi is not None:
            known &= self._aoi.burn(grid, np.zeros((rows, cols), np.uint8), 1) > 0
        mask = np.full((rows, cols), UNKNOWN, np.uint8)
        if not known.any():
            return mask
        mask[:] = class_index(self.rest, self.names)
        for layer, value, _ in self._painters:
            if isinstance(layer, LabelLayer):
                layer.burn(grid, mask, value)
            else:
                classes, paints = layer.read(grid)
                np.copyto(mask, classes, where=paints)
        mask[~known] = UNKNOWN
        return mask

    def only(self, keep: np.ndarray) -> LabelledScene:
        """Return the same scene with labels in some cells of the overview alone; elsewhere UNKNOWN.

        Args:
            keep: bool, of the overview's ``(rows, cols)`` of cells.
        """
        part = copy.copy(self)
        part._keep = keep
        part.__dict__["overview"] = self.overview.only(keep)
        return part

    @cached_property
    def overview(self) -> Overview:
        """Pixels of each class in each cell of a coarse grid, counted over the whole scene once, by windows."""
        rows, cols = self.shape
        overview = Overview.empty(self.shape, len(self.names))
        unnamed: list[dict[str, int]] = [{} for _ in self._painters]
        for row in range(0, rows, _STRIDE_PX):
            for col in range(0, cols, _STRIDE_PX):
                window = Window(col, row, min(_STRIDE_PX, cols - col), min(_STRIDE_PX, rows - row))
                mask = self.mask(window)
                if (mask == UNKNOWN).all():
                    continue  # outside the AOI: the image is not worth reading
                mask[~self.scene.read(window)[1]] = UNKNOWN
                overview.add(window, mask)
                self._count_unnamed(window, mask, unnamed)
        known = int(overview.counts.sum())
        for painter, counts in zip(self._painters, unnamed, strict=True):
            warn_unnamed(counts, max(known, 1), self.rest, painter.path)
        _LOG.info("%s: %.1f%% of %d x %d px known", self.name, 100 * known / (rows * cols), cols, rows)
        return overview

    def _levels(self, window: Window) -> np.ndarray:
        if self._scores_path is None:
            raise LabelError(
                f"a score map of {self.name}",
                "none",
                "name one in the dataset (scores = …), or the model that makes it with --corrects",
                because="a network that corrects scores learns from them",
            )
        return self._scores.read(window)

    @cached_property
    def _scores(self) -> ScoreView:
        """Opened by those alone who ask for it."""
        return self._open_scores(self._scores_path or "")

    # --- set-up -------------------------------------------------------------------------------------------------------

    def _open_aoi(self, path: str) -> LabelLayer:
        features = read_vectors(path)
        overlap(features, self.grid)
        return LabelLayer(features, self.grid)

    def _open_scores(self, path: str) -> ScoreView:
        scores = open_scores(path)
        wanted = self.names[1:]
        if missing := [name for name in wanted if name not in scores.classes]:
            raise LabelError(
                f"scores of {', '.join(wanted)} in {path}",
                f"bands {', '.join(scores.classes)}, without {', '.join(missing)}",
                "predict with a model of the dataset's classes",
            )
        return scores.on(self.grid, [scores.classes.index(name) for name in wanted])

    def _allowed(self, window: Window) -> np.ndarray:
        """Where this scene may know anything: inside the grid and in the cells that are kept."""
        rows, cols = self.shape
        row = np.arange(int(window.row_off), int(window.row_off) + int(window.height))
        col = np.arange(int(window.col_off), int(window.col_off) + int(window.width))
        inside = np.outer((row >= 0) & (row < rows), (col >= 0) & (col < cols))
        if self._keep is not None:
            cell_px = self.overview.cell_px
            at_row = np.clip(row // cell_px, 0, self._keep.shape[0] - 1)
            at_col = np.clip(col // cell_px, 0, self._keep.shape[1] - 1)
            inside &= self._keep[np.ix_(at_row, at_col)]
        return inside

    def _count_unnamed(self, window: Window, mask: np.ndarray, unnamed: list[dict[str, int]]) -> None:
        for (layer, *_), counts in zip(self._painters, unnamed, strict=True):
            if isinstance(layer, ClassRaster):
                for code, count in layer.unnamed(window_grid(self.grid, window), mask != UNKNOWN).items():
                    counts[code] = counts.get(code, 0) + count


def open_dataset(dataset: Dataset, gsd_m: float | None = None) -> list[LabelledScene]:
    """Open every scene of a dataset with its labels.

    Args:
        dataset: As read by :func:`eaves.settings.load_dataset`.
        gsd_m: Ground size of a pixel to work at; none keeps each scene's own.

    Raises:
        SceneError: As :class:`LabelledScene`.
        LabelError: As :class:`LabelledScene`, or scenes differ in band count or pixel type.
    """
    scenes = [LabelledScene(entry, dataset, gsd_m) for entry in dataset.scene]
    _check_alike(scenes)
    return scenes


def _check_alike(scenes: Sequence[LabelledScene]) -> None:
    # A window outside the scene shows the shape without reading: a colour table gives three bands of one.
    images = {part.name: part.scene.read(Window(-1, -1, 1, 1))[0] for part in scenes}
    kinds = {(len(image), image.dtype.name): name for name, image in images.items()}
    if len(kinds) > 1:
        told = "; ".join(f"{bands} bands of {dtype} in {name}" for (bands, dtype), name in kinds.items())
        raise LabelError(
            "scenes of one band count and pixel type", told, "choose bands in the dataset, or convert the scenes"
        )
