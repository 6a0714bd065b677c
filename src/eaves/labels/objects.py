"""Objects of a mask: one number for each."""

from __future__ import annotations

import cv2
import numpy as np

from eaves.errors import LabelError
from eaves.labels.classes import UNKNOWN


def number_objects(mask: np.ndarray, numbers: np.ndarray | None = None) -> np.ndarray:
    """Number the objects of a mask from 1 on, leaving no number out, so that each is of one class.

    Args:
        mask: uint8 ``(h, w)`` class index, or UNKNOWN.
        numbers: ``(h, w)`` integers that tell objects apart where they are not 0; their order stays. Elsewhere
            objects are the connected regions of each class; corners connect.

    Returns:
        uint16 ``(h, w)``, 0 where the mask is background or UNKNOWN.

    Raises:
        LabelError: There are more than 65535.

    Example:
        >>> number_objects(np.array([[1, 1, 0, 2]], np.uint8), np.array([[7, 4, 4, 0]])).tolist()
        [[2, 1, 0, 3]]
    """
    objects = (mask != 0) & (mask != UNKNOWN)
    ids = np.zeros(mask.shape, np.int32)
    told = np.zeros(mask.shape, bool) if numbers is None else objects & (numbers > 0)
    count = 0
    if numbers is not None and told.any():
        keys, place = np.unique(numbers[told].astype(np.int64) * (UNKNOWN + 1) + mask[told], return_inverse=True)
        ids[told] = place + 1
        count = len(keys)
    rest = objects & ~told
    for value in np.unique(mask[rest]):
        found, regions = cv2.connectedComponents((rest & (mask == value)).astype(np.uint8), connectivity=8)
        np.copyto(ids, regions + count, where=regions > 0)
        count += found - 1
    if count > np.iinfo(np.uint16).max:
        raise LabelError("at most 65535 objects in a chip", f"{count}", "make chip_px smaller, or check the labels")
    return ids.astype(np.uint16)
