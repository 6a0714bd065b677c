"""A plane in metres for a layer of any CRS, in which angles are those on the map."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from pyproj import CRS, Proj, Transformer

from eaves.scene.grid import areas_m2, metric_crs, project

_STEP_M = 50.0
_REGION_M, _REGION_DEG = 25_000.0, 0.25
_ALIKE = 1e-3  # scales that differ by less keep right angles


class MetricPlane:
    """Moves geometries to a metric plane and back.

    Where the layer's own system keeps angles (UTM, state planes, web Mercator), the plane is that system, moved near
    zero and scaled to true metres at the middle of the layer: right angles in the plane are right angles on the map.
    Else (degrees, equal-area systems) it is a Lambert azimuthal equal-area system around the middle.

    Args:
        geometries: That will be moved, object ``(n,)``; they give the middle.
        crs: Their system; anything pyproj understands, or none.
        unit_m: Metres of a unit where there is no system.

    Example:
        >>> from eaves.scene import areas_m2
        >>> house = np.array([shapely.box(1_000_000, 6_000_000, 1_000_020, 6_000_010)])
        >>> plane = MetricPlane(house, "EPSG:3857")
        >>> float((shapely.area(plane.there(house)) / areas_m2(house, "EPSG:3857")).round(2)[0])
        1.0
    """

    def __init__(self, geometries: np.ndarray, crs: Any, unit_m: float = 1.0) -> None:
        bounds = shapely.total_bounds(geometries) if len(geometries) else np.zeros(4)
        bounds = bounds if np.isfinite(bounds).all() else np.zeros(4)
        self._x, self._y = float(bounds[0] + bounds[2]) / 2, float(bounds[1] + bounds[3]) / 2
        self._crs = None if crs is None else CRS.from_user_input(getattr(crs, "proj", crs))
        self._unit = unit_m if self._crs is None else _metres_a_unit(self._crs, self._x, self._y)
        self._local = metric_crs(self._crs, self._x, self._y) if self._unit is None else None

    def there(self, geometries: np.ndarray) -> np.ndarray:
        """Return geometries in metres."""
        if self._unit is None:
            return project(geometries, self._crs, self._local)
        unit, origin = self._unit, (self._x, self._y)
        return shapely.transform(np.asarray(geometries, object), lambda xy: (xy - origin) * unit)

    def back(self, geometries: np.ndarray) -> np.ndarray:
        """Return geometries in the layer's system."""
        if self._unit is None:
            return project(geometries, self._local, self._crs)
        unit, origin = self._unit, (self._x, self._y)
        return shapely.transform(np.asarray(geometries, object), lambda xy: xy / unit + origin)


def regions(bounds: np.ndarray, crs: Any) -> np.ndarray:
    """Number places so that those of one number lie in one cell of about 25 km, which one plane serves.

    Across a wide layer a plane's metres are not true: web Mercator's scale changes by a hundredth within 40 km.

    Args:
        bounds: Left, bottom, right and top of each, float64 ``(n, 4)``; not numbers where it has no extent.
        crs: Their system, or none.

    Returns:
        int64 ``(n,)`` from 0 on, in the order of rows and columns of cells; all 0 without a system.

    Example:
        >>> regions(np.array([[5e5, 4e6, 5e5, 4e6], [5e5, 4e6, 5e5, 4e6], [6e5, 4e6, 6e5, 4e6]]), "EPSG:32633").tolist()
        [0, 0, 1]
    """
    if crs is None or not len(bounds):
        return np.zeros(len(bounds), np.int64)
    system = CRS.from_user_input(getattr(crs, "proj", crs))
    side = _REGION_M / system.axis_info[0].unit_conversion_factor if system.is_projected else _REGION_DEG
    middle = np.nan_to_num((bounds[:, :2] + bounds[:, 2:]) / 2, posinf=0.0, neginf=0.0)
    cells = np.floor(middle[:, ::-1] / side)
    return np.unique(cells, axis=0, return_inverse=True)[1].reshape(-1)


def _metres_a_unit(crs: CRS, x: float, y: float) -> float | None:
    """Metres on the ground of a unit of a system that keeps angles there; none for another system."""
    if not crs.is_projected:
        return None
    lon, lat = Transformer.from_crs(crs, 4326, always_xy=True).transform(x, y)
    if not np.isfinite([lon, lat]).all():
        return None
    factors = Proj(crs).get_factors(lon, lat)
    a, b = factors.meridional_scale, factors.parallel_scale
    if not np.isfinite([a, b]).all() or abs(a / b - 1) > _ALIKE or abs(factors.meridian_parallel_angle - 90) > 0.05:
        return None
    # Measured, since PROJ gives web Mercator's scales as on a sphere.
    step = _STEP_M / crs.axis_info[0].unit_conversion_factor
    [area] = areas_m2(np.array([shapely.box(x - step, y - step, x + step, y + step)]), crs)
    return float(np.sqrt(area) / (2 * step))
