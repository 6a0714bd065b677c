"""What a city looks like: its sun, its roofs, its soil. Drawn from the seed, so that every city is another one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TILE, METAL, FLAT = 0, 1, 2  # textures of roofs

# colour class: (red, green, blue) of the sunlit level surface in display values, texture
ROOF_COLOURS: dict[str, tuple[tuple[int, int, int], int]] = {
    "tile-red": ((168, 92, 70), TILE),
    "terracotta": ((190, 124, 90), TILE),
    "brown": ((126, 98, 82), TILE),
    "slate": ((96, 98, 104), TILE),
    "grey-tile": ((138, 136, 132), TILE),
    "blue-metal": ((66, 112, 166), METAL),
    "green-metal": ((104, 138, 114), METAL),
    "red-metal": ((160, 74, 68), METAL),
    "silver-metal": ((178, 182, 186), METAL),
    "rust-metal": ((142, 106, 88), METAL),
    "white": ((214, 213, 208), FLAT),
    "concrete": ((166, 160, 150), FLAT),
    "grey": ((134, 134, 134), FLAT),
    "bitumen": ((88, 88, 90), FLAT),
    "sand": ((186, 166, 138), FLAT),
}
_PITCHED = ("tile-red", "terracotta", "brown", "slate", "grey-tile")
_METAL = ("blue-metal", "green-metal", "red-metal", "silver-metal", "rust-metal")
_FLAT = ("white", "concrete", "grey", "bitumen", "sand")
DISTRICTS = ("rows", "core", "suburb", "estate", "industrial", "park", "fields")


@dataclass(frozen=True)
class Style:
    """The look of one city.

    Attributes:
        sun_azimuth_deg: Where the sun stands, clockwise from north.
        sun_elevation_deg: Height of the sun above the horizon.
        palettes: For each texture, names of colour classes and their shares.
        soil: Colour of bare ground, ``(3,)`` display values.
        grass: Colour of lawns, ``(3,)``.
        dirt_share: Share of local roads without asphalt.
        dryness: How far grass gives way to soil, 0 to 1.
        shares: Share of the area for each of ``DISTRICTS``.
        gain: Brightness of the picture.
        haze: Share of veiling light, 0 to 0.1.
    """

    sun_azimuth_deg: float
    sun_elevation_deg: float
    palettes: dict[int, tuple[tuple[str, ...], np.ndarray]]
    soil: np.ndarray
    grass: np.ndarray
    dirt_share: float
    dryness: float
    shares: np.ndarray
    gain: float
    haze: float

    def colour(self, texture: int, rng: np.random.Generator) -> str:
        """Draw a colour class for a roof of a texture."""
        names, shares = self.palettes[texture]
        draw = rng.random()
        for name, share in zip(names, shares, strict=True):
            draw -= share
            if draw < 0:
                return name
        return names[-1]


def draw_style(seed: int) -> Style:
    """Draw the look of the city with a seed; cities differ, yet stay in one domain."""
    rng = np.random.default_rng([seed, 1])
    palettes = {
        TILE: (_PITCHED, rng.dirichlet([5.0, 3.0, 3.0, 2.5, 2.5])),
        METAL: (_METAL, 0.7 * rng.dirichlet([5.0, 2.0, 2.0, 4.0, 3.0]) + 0.3 * np.array([0.32, 0.1, 0.13, 0.25, 0.2])),
        FLAT: (_FLAT, rng.dirichlet([3.0, 5.0, 5.0, 3.0, 2.5])),
    }
    shares = np.array([0.22, 0.24, 0.22, 0.1, 0.1, 0.05, 0.07]) * rng.uniform(0.75, 1.3, 7)
    redness = rng.uniform(0, 1)  # from grey-brown to laterite
    return Style(
        sun_azimuth_deg=float(rng.uniform(105, 250)),
        sun_elevation_deg=float(rng.uniform(44, 60)),
        palettes=palettes,
        soil=np.array([150, 128, 104]) * (1 - redness) + np.array([170, 124, 92]) * redness,
        grass=np.array([100, 116, 66]) + rng.uniform(-8, 8, 3),
        dirt_share=float(rng.uniform(0.15, 0.45)),
        dryness=float(rng.uniform(0.3, 0.6)),
        shares=shares / shares.sum(),
        gain=float(rng.uniform(0.94, 1.06)),
        haze=float(rng.uniform(0.01, 0.05)),
    )
