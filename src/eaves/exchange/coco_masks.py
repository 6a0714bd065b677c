"""Masks as COCO has them: outlines along pixel edges, and runs.

Runs go down the columns, the first is of zeros; they stand as a list, or packed into text of 6 bits a character from
``0`` on: 5 of the number, least significant first, and one that says that more follow. From the fourth run on, the
difference to the run before the last is packed.

Source: https://cocodataset.org/#format-data and the COCO API's ``maskApi.c`` (``rleEncode``, ``rleToString``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
import shapely
from rasterio.features import shapes as trace_shapes

_FIRST_CHARACTER, _MORE, _SIGN, _BITS = 48, 0x20, 0x10, 5


def encode_rle(
    mask: np.ndarray, *, compress: bool = True, at: tuple[int, int] = (0, 0), size: tuple[int, int] | None = None
) -> dict[str, Any]:
    """Encode a mask.

    Args:
        mask: ``(h, w)``; what is not 0 is set.
        compress: Pack the runs into text.
        at: Row and column of the mask in the image, whose other pixels are not set.
        size: Rows and columns of the image; by default the mask's own.

    Returns:
        ``{"size": [rows, cols], "counts": …}``, fit for JSON.

    Example:
        >>> encode_rle(np.array([[0, 1], [0, 1]]), compress=False)
        {'size': [2, 2], 'counts': [2, 2]}
    """
    rows, cols = size or mask.shape
    col, row = np.nonzero(np.asarray(mask, bool).T)
    place = (col + at[1]) * rows + row + at[0]  # runs go down the columns
    ends = np.flatnonzero(np.diff(place) > 1)
    turns = np.empty(0, np.int64)
    if len(place):
        turns = np.column_stack([place[np.r_[0, ends + 1]], place[np.r_[ends, -1]] + 1]).ravel()
    counts = np.diff(turns, prepend=0, append=rows * cols).tolist()
    counts = counts[:-1] if len(counts) > 1 and not counts[-1] else counts
    return {"size": [int(rows), int(cols)], "counts": pack_counts(counts) if compress else counts}


def decode_rle(rle: dict[str, Any]) -> np.ndarray:
    """Decode a mask.

    Args:
        rle: With ``size`` and ``counts``, a list or text.

    Returns:
        uint8 ``(h, w)`` of 0 and 1.

    Raises:
        ValueError: Runs are negative, damaged, or not as many pixels as the size says.

    Example:
        >>> decode_rle({"size": [2, 3], "counts": [1, 3, 2]}).tolist()
        [[0, 1, 0], [1, 1, 0]]
    """
    rows, cols = (int(side) for side in rle["size"])
    counts = rle["counts"]
    runs = np.array(unpack_counts(counts) if isinstance(counts, str | bytes) else counts, np.int64)
    if (runs < 0).any() or runs.sum() != rows * cols:
        raise ValueError(f"runs of {int(runs.sum())} pixels for a size of {rows} x {cols}")
    return np.repeat(np.arange(len(runs)) % 2, runs).astype(np.uint8).reshape((rows, cols), order="F")


def pack_counts(counts: Iterable[int]) -> str:
    """Pack runs into text.

    Example:
        >>> pack_counts([5, 3, 2, 30])
        '532k0'
    """
    text: list[str] = []
    before = (0, 0)  # the run before the last, and the last
    for place, count in enumerate(counts):
        rest = count - before[0] if place > 2 else count
        before = (before[1], count)
        more = True
        while more:
            bits, rest = rest & 0x1F, rest >> _BITS
            more = rest != (-1 if bits & _SIGN else 0)
            text.append(chr(_FIRST_CHARACTER + bits + _MORE * more))
    return "".join(text)


def unpack_counts(text: str | bytes) -> list[int]:
    """Unpack runs from text.

    Raises:
        ValueError: The text is cut short, or has other characters.

    Example:
        >>> unpack_counts(pack_counts([5, 300, 2, 301]))
        [5, 300, 2, 301]
    """
    counts: list[int] = []
    number, shift = 0, 0
    for code in text.encode() if isinstance(text, str) else text:
        bits = code - _FIRST_CHARACTER
        if not 0 <= bits < 64:
            raise ValueError(f"character {chr(code)!r} in packed runs")
        number |= (bits & 0x1F) << shift
        shift += _BITS
        if not bits & _MORE:
            if bits & _SIGN:
                number -= 1 << shift
            counts.append(number + (counts[-2] if len(counts) > 2 else 0))
            number, shift = 0, 0
    if shift:
        raise ValueError("packed runs that are cut short")
    return counts


def outline_objects(numbers: np.ndarray) -> dict[int, Any]:
    """Outline every object along the edges of its pixels.

    Coordinates are pixels, x to the right and y down, from the outer corner of the first pixel, as COCO counts; the
    pixels whose centres the outline holds are the object's, exactly.

    Args:
        numbers: ``(h, w)`` integers below 2 ** 31; 0 is no object.

    Returns:
        Number → polygon, or multipolygon of parts that touch in corners at most.

    Example:
        >>> outline_objects(np.array([[0, 7, 7]]))[7].bounds
        (1.0, 0.0, 3.0, 1.0)
    """
    parts: defaultdict[int, list[Any]] = defaultdict(list)
    whole = np.ascontiguousarray(numbers, np.int32)
    for drawn, number in trace_shapes(whole, mask=whole != 0, connectivity=4):
        shell, *holes = drawn["coordinates"]
        parts[int(number)].append(shapely.Polygon(shell, holes))
    return {
        number: found[0] if len(found) == 1 else shapely.MultiPolygon(found) for number, found in sorted(parts.items())
    }
