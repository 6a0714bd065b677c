"""Class rasters by value or colour → class indices."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from eaves.errors import EavesWarning, LabelError

UNKNOWN = 255
"""In a mask: nobody knows what this pixel is. Neither losses nor metrics count it."""


class ClassTable:
    """Which class a raster value or colour means.

    Args:
        codes: Class → the codes that mean it: raster values, or colours as ``0xRRGGBB``.
        names: All classes in order; ``unknown`` may stand in ``codes`` too and becomes :data:`UNKNOWN`.
        bands: 1 for values, 3 for colours.

    Raises:
        LabelError: A class is not one of ``names``, or a code means two classes.

    Example:
        >>> table = ClassTable.of_values({"building": (2, 5)}, ("background", "building"))
        >>> classes, named = table.look_up(np.array([[[2, 3]]]))
        >>> classes.tolist(), named.tolist()
        ([[1, 255]], [[True, False]])
    """

    def __init__(self, codes: Mapping[str, Sequence[int]], names: Sequence[str], bands: int) -> None:
        meaning: dict[int, int] = {}
        for name, wanted in codes.items():
            for code in wanted:
                if meaning.setdefault(code, index := class_index(name, names)) != index:
                    raise LabelError(
                        "one class for each value", f"{_spell(code, bands)} for {name!r} and another", "take one out"
                    )
        self.bands = bands
        self._codes = np.array(sorted(meaning), np.int64)
        self._classes = np.array([meaning[code] for code in sorted(meaning)], np.uint8)

    @classmethod
    def of_values(cls, values: Mapping[str, Sequence[int]], names: Sequence[str]) -> ClassTable:
        """The table of a raster with one number a pixel."""
        return cls(values, names, 1)

    @classmethod
    def of_colors(cls, colors: Mapping[str, Sequence[str]], names: Sequence[str]) -> ClassTable:
        """The table of a picture; colours read ``#RRGGBB``.

        Raises:
            LabelError: A colour does not read so.
        """
        return cls({name: [_parse(color) for color in wanted] for name, wanted in colors.items()}, names, 3)

    def look_up(self, raster: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the class of each pixel.

        Args:
            raster: ``(1, h, w)`` values or ``(3, h, w)`` uint8 colours.

        Returns:
            uint8 ``(h, w)``, UNKNOWN where the code has no class, and bool ``(h, w)``: it has one.

        Raises:
            LabelError: The band count is wrong.
        """
        codes = self._pack(raster)
        classes = np.full(codes.shape, UNKNOWN, np.uint8)
        named = np.zeros(codes.shape, bool)
        if len(self._codes):
            at = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
            named = self._codes[at] == codes
            classes[named] = self._classes[at[named]]
        return classes, named

    def unnamed(self, raster: np.ndarray, where: np.ndarray) -> dict[str, int]:
        """Count the codes under ``where`` (bool ``(h, w)``): spelled out → number of pixels."""
        codes, counts = np.unique(self._pack(raster)[where], return_counts=True)
        return {_spell(int(code), self.bands): int(count) for code, count in zip(codes, counts, strict=True)}

    def _pack(self, raster: np.ndarray) -> np.ndarray:
        if len(raster) != self.bands:
            raise LabelError(
                "a class raster with one band of values" if self.bands == 1 else "a picture of three 8-bit bands",
                f"{len(raster)} bands",
                "use values for one band and colors for RGB, or name the bands",
            )
        if self.bands == 1:
            return raster[0]
        red, green, blue = raster.astype(np.int32)
        return (red << 16) | (green << 8) | blue


def remap_values(
    raster: np.ndarray, values: Mapping[str, Sequence[int]], names: Sequence[str], rest: str
) -> np.ndarray:
    """Turn raster values into class indices.

    Args:
        raster: ``(h, w)`` of any integer type.
        values: Class → values that mean it.
        names: All classes in order.
        rest: Class of all other values, or ``unknown``.

    Returns:
        uint8 ``(h, w)``: index into ``names``, or UNKNOWN. Warns with the values that became ``rest``.

    Raises:
        LabelError: As :class:`ClassTable`.

    Example:
        >>> remap_values(np.array([[0, 2]]), {"land": (0,), "building": (2,)}, ("land", "building"), "land").tolist()
        [[0, 1]]
    """
    return _remap(raster[None], ClassTable.of_values(values, names), names, rest)


def remap_colors(rgb: np.ndarray, colors: Mapping[str, Sequence[str]], names: Sequence[str], rest: str) -> np.ndarray:
    """Turn colours into class indices. A colour matches exactly or not at all.

    Args:
        rgb: uint8 ``(3, h, w)``.
        colors: Class → colours that mean it, as ``#RRGGBB``.
        names: All classes in order.
        rest: Class of all other colours, or ``unknown``.

    Returns:
        uint8 ``(h, w)``: index into ``names``, or UNKNOWN. Warns with the colours that became ``rest``.

    Raises:
        LabelError: As :class:`ClassTable`.

    Example:
        >>> rgb = np.array([0x3C, 0x10, 0x98], np.uint8)[:, None, None]
        >>> remap_colors(rgb, {"building": ("#3C1098",)}, ("land", "building"), "land").tolist()
        [[1]]
    """
    return _remap(rgb, ClassTable.of_colors(colors, names), names, rest)


def class_index(name: str, names: Sequence[str]) -> int:
    """Return the index of a class, UNKNOWN for ``unknown``.

    Raises:
        LabelError: It is none of ``names``.
    """
    if name == "unknown":
        return UNKNOWN
    if name not in names:
        raise LabelError(f"one of the classes {list(names)}, or 'unknown'", repr(name), "check the spelling")
    return list(names).index(name)


def warn_unnamed(counts: Mapping[str, int], total: int, rest: str, source: str) -> None:
    """Warn once of codes that have no class and became ``rest``; the message has the commonest and their share."""
    if not counts:
        return
    common = sorted(counts, key=lambda code: -counts[code])
    few = ", ".join(f"{code} ({counts[code] / total:.1%})" for code in common[:6])
    warnings.warn(
        f"{source}: {sum(counts.values()) / total:.1%} of the pixels have {len(common)} values without a class, which "
        f"become {rest!r}: {few}{', …' if len(common) > 6 else ''}",
        EavesWarning,
        stacklevel=3,
    )


def _remap(raster: np.ndarray, table: ClassTable, names: Sequence[str], rest: str) -> np.ndarray:
    other = class_index(rest, names)
    classes, named = table.look_up(raster)
    if not named.all():
        classes[~named] = other
        warn_unnamed(table.unnamed(raster, ~named), named.size, rest, "class raster")
    return classes


def _parse(color: str) -> int:
    if not re.fullmatch("#[0-9A-Fa-f]{6}", color):
        raise LabelError("a colour as #RRGGBB", repr(color), "write six hexadecimal digits after #")
    return int(color[1:], 16)


def _spell(code: int, bands: int) -> str:
    return f"#{code:06X}" if bands == 3 else str(code)
