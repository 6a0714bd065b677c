"""Tiles: a core that owns its pixels, and a halo that a network needs to see around it."""

from __future__ import annotations

from typing import NamedTuple

from rasterio.windows import Window

from eaves.errors import SettingsError


class Tile(NamedTuple):
    """A unit of inference.

    Attributes:
        core: The pixels it owns; the cores of a plan cover the grid exactly once.
        read: The core and its halo; may reach outside the grid.
    """

    core: Window
    read: Window


def plan_tiles(shape: tuple[int, int], tile_px: int, halo_px: int) -> list[list[Tile]]:
    """Cut a grid into rows of tiles from the upper left corner.

    Every tile reads the same size, ``tile_px + 2 * halo_px``, so that a network sees one shape and its stride
    falls on the same pixels in every tile when ``tile_px`` and ``halo_px`` are multiples of it.

    Args:
        shape: Rows and columns of the grid.
        tile_px: Side of a core.
        halo_px: Width of the halo.

    Raises:
        SettingsError: ``tile_px`` is not positive, or ``halo_px`` is negative.

    Example:
        >>> plan = plan_tiles((100, 130), 64, 8)
        >>> len(plan), len(plan[0]), plan[1][2].core
        (2, 3, Window(col_off=128, row_off=64, width=2, height=36))
    """
    if tile_px < 1 or halo_px < 0:
        raise SettingsError("tile_px >= 1 and halo_px >= 0", f"{tile_px} and {halo_px}", "change the tile or the halo")
    height, width = shape
    side = tile_px + 2 * halo_px
    return [
        [
            Tile(
                Window(col, row, min(tile_px, width - col), min(tile_px, height - row)),
                Window(col - halo_px, row - halo_px, side, side),
            )
            for col in range(0, width, tile_px)
        ]
        for row in range(0, height, tile_px)
    ]
