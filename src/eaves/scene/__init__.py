"""Open a raster: grid, bands, scaling, valid mask, reading at a wanted resolution; tiles."""

from eaves.scene.grid import areas_m2, ground_gsd_m, metric_crs, project, window_grid
from eaves.scene.scaling import Scaling
from eaves.scene.scene import Scene
from eaves.scene.tiles import Tile, plan_tiles

__all__ = ["Scaling", "Scene", "Tile", "areas_m2", "ground_gsd_m", "metric_crs", "plan_tiles", "project", "window_grid"]
