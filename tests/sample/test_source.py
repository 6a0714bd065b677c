from __future__ import annotations

import pickle

import numpy as np
import pytest
import shapely
from rasterio.windows import Window

from eaves.errors import EavesWarning, LabelError
from eaves.labels import UNKNOWN
from eaves.sample import LabelledScene, open_dataset
from eaves.settings import ClassSettings, LabelSource, SceneEntry

WHOLE = Window(0, 0, 240, 200)
BUILDINGS = (LabelSource(path="houses.gpkg"),)


def open_one(place, *labels: LabelSource, gsd_m=None, classes=None, **entry) -> LabelledScene:
    entry = SceneEntry(image=entry.pop("image", None) or place.image(), labels=labels, **entry)
    dataset = place.dataset(entry, classes=classes or ClassSettings())
    return open_dataset(dataset, gsd_m)[0]


def test_image_and_mask_of_a_window(place):
    here = place()
    scene = open_one(here, LabelSource(path=here.houses(to="EPSG:4326")))
    chip = scene.chip(Window(0, 0, 40, 30))
    assert chip.image.shape == (3, 30, 40)
    assert chip.image.dtype == chip.mask.dtype == np.uint8
    assert chip.valid.all()
    assert chip.instances is None
    expected = np.zeros((30, 40), np.uint8)
    expected[10:22, 10:22] = 1
    assert (chip.mask == expected).all()


def test_outside_the_aoi_and_without_imagery_nothing_is_known(place):
    here = place()
    aoi = here.vectors("aoi.geojson", [shapely.box(0, 0, 160, 200)], to="EPSG:4326")
    scene = open_one(here, LabelSource(path=here.houses()), image=here.image(nodata=0), aoi=aoi)
    chip = scene.chip(WHOLE)
    known = chip.mask != UNKNOWN
    assert known[:, :160][chip.valid[:, :160]].all()
    assert not known[:, 160:].any()
    assert not known[100:, 120:].any()
    assert not chip.valid[100:, 120:].any()
    assert set(np.unique(chip.mask)) == {0, 1, UNKNOWN}


def test_a_window_may_reach_outside(place):
    here = place()
    scene = open_one(here, LabelSource(path=here.houses()))
    chip = scene.chip(Window(-20, -30, 64, 64))
    assert not chip.valid[:30].any()
    assert not chip.valid[:, :20].any()
    assert (chip.mask[~chip.valid] == UNKNOWN).all()
    assert (chip.mask[30:, 20:] == scene.chip(WHOLE).mask[:34, :44]).all()
    assert (scene.chip(Window(500, 500, 16, 16)).mask == UNKNOWN).all()


def test_at_another_resolution_labels_follow(place):
    here = place()
    scene = open_one(here, LabelSource(path=here.houses(side_px=20)), gsd_m=1.0)
    assert scene.shape == pytest.approx((100, 120), abs=1)
    mask = scene.chip(Window(0, 0, 20, 20)).mask
    assert mask[5:15, 5:15].all()
    assert mask.sum() == 100


def test_later_sources_paint_over_earlier(place):
    here = place()
    classes = ClassSettings(names=("background", "building", "road"))
    road = here.vectors("roads.gpkg", [shapely.LineString([(0, 16), (240, 16)])])
    houses = LabelSource(path=here.houses(), class_="building")
    scene = open_one(here, houses, LabelSource(path=road, class_="road", width_m=7.0), classes=classes)
    mask = scene.chip(WHOLE).mask
    assert (mask[16] == 2).all()
    assert (mask[:, 30] == 2).sum() == 14  # 7 m of 0.5 m
    assert mask[11:22, 11].tolist().count(2) == 11


def test_rest_may_be_unknown(place):
    here = place()
    classes = ClassSettings(rest="unknown")
    assert set(np.unique(open_one(here, LabelSource(path=here.houses()), classes=classes).chip(WHOLE).mask)) == {
        1,
        UNKNOWN,
    }


def test_classes_from_colours_on_the_same_pixels(place):
    here = place()
    colors = np.full((200, 240), 0x9B9B9B)
    colors[:, :50], colors[:, 50:90], colors[:, 90:100] = 0x8429F6, 0x3C1098, 0x123456
    rgb = np.stack([colors >> 16, colors >> 8 & 255, colors & 255]).astype(np.uint8)
    source = LabelSource(
        path=here.raster("labels.png", rgb, crs=None, driver="PNG"),
        colors={"background": ("#8429F6",), "building": ("#3C1098",), "unknown": ("#9B9B9B",)},
    )
    scene = open_one(here, source, image=here.image(crs=None), gsd_m=None)
    mask = scene.chip(WHOLE).mask
    assert (mask[:, :50] == 0).all()
    assert (mask[:, 50:90] == 1).all()
    assert (mask[:, 90:100] == 0).all()
    assert (mask[:, 100:] == UNKNOWN).all()
    with pytest.warns(EavesWarning, match=r"labels.png: .* 1 values without a class.*#123456"):
        assert scene.overview.counts.sum() == 200 * 100


def test_the_same_pixels_at_another_resolution(place):
    here = place()
    values = np.zeros((1, 200, 240), np.uint8)
    values[:, 40:80, 100:160] = 1
    source = LabelSource(
        path=here.raster("labels.png", values, crs=None, driver="PNG"), values={"building": (1,), "background": (0,)}
    )
    entry = SceneEntry(image=here.image(crs=None), labels=(source,), gsd_m=0.3)
    mask = LabelledScene(entry, here.dataset(entry), gsd_m=0.6).chip(Window(0, 0, 120, 100)).mask
    assert (mask == values[0, ::2, ::2]).all()


def test_a_class_raster_on_another_grid(place):
    here = place()
    values = np.zeros((1, 100, 120), np.uint8)
    values[:, 10:50, 20:60] = 7
    # The same corner at twice the pixel: it covers the whole scene.
    name = here.raster("classes.tif", values, transform=place_affine(1.0), nodata=3)
    scene = open_one(here, LabelSource(path=name, values={"building": (7,), "background": (0,)}))
    mask = scene.chip(WHOLE).mask
    expected = np.zeros((200, 240), np.uint8)
    expected[20:100, 40:120] = 1
    assert (mask == expected).all()


def place_affine(gsd_m: float):
    from affine import Affine

    return Affine(gsd_m, 0, 350_000, 0, -gsd_m, 3_060_100)


def test_where_a_class_raster_says_nothing_nothing_is_known(place):
    here = place()
    values = np.full((1, 100, 120), 9, np.uint8)
    values[:, :, 60:] = 0
    name = here.raster("classes.tif", values, transform=place_affine(0.5), nodata=0)  # a quarter of the scene
    scene = open_one(here, LabelSource(path=name, values={"building": (9,)}))
    mask = scene.chip(WHOLE).mask
    assert (mask[:100, :60] == 1).all()
    assert (mask[:100, 60:] == UNKNOWN).all()  # nodata that no class claims
    assert (mask[100:] == UNKNOWN).all()
    named = open_one(here, LabelSource(path=name, values={"building": (9,), "background": (0,)}))
    assert (named.chip(WHOLE).mask[:100, 60:120] == 0).all()


def test_a_class_raster_in_another_crs(place):
    import rasterio
    from rasterio.warp import Resampling, calculate_default_transform, reproject

    here = place()
    values = np.zeros((1, 200, 240), np.uint8)
    values[:, 40:160, 60:180] = 1
    here.raster("utm.tif", values)
    with rasterio.open(here.folder / "utm.tif") as source:
        affine, cols, rows = calculate_default_transform(source.crs, "EPSG:3857", 240, 200, *source.bounds)
        warped = np.full((1, rows, cols), 2, np.uint8)
        reproject(
            values,
            warped,
            src_transform=source.transform,
            src_crs=source.crs,
            dst_transform=affine,
            dst_crs="EPSG:3857",
            resampling=Resampling.nearest,
            init_dest_nodata=False,
        )
    name = here.raster("mercator.tif", warped, crs="EPSG:3857", transform=affine)
    scene = open_one(here, LabelSource(path=name, values={"background": (0, 2), "building": (1,)}))
    assert (scene.chip(WHOLE).mask == values[0]).mean() > 0.99


def test_a_paletted_class_raster_means_its_indices(place):
    import rasterio

    here = place()
    values = np.zeros((1, 200, 240), np.uint8)
    values[:, :, 100:] = 4
    name = here.raster("palette.tif", values, photometric="palette")
    with rasterio.open(here.folder / name, "r+") as target:
        target.write_colormap(1, {0: (0, 0, 0, 255), 4: (255, 0, 0, 255)})
    by_value = open_one(here, LabelSource(path=name, values={"building": (4,), "background": (0,)}))
    assert (by_value.chip(WHOLE).mask == values[0] // 4).all()
    by_color = open_one(here, LabelSource(path=name, colors={"building": ("#FF0000",), "background": ("#000000",)}))
    assert (by_color.chip(WHOLE).mask == values[0] // 4).all()


def test_the_overview_counts_what_masks_hold(place):
    here = place(150, 333)
    aoi = here.vectors("aoi.gpkg", [shapely.Polygon([(0, 0), (300, 20), (250, 140), (30, 120)])])
    scene = open_one(here, LabelSource(path=here.houses()), image=here.image(nodata=0), aoi=aoi)
    mask = scene.chip(Window(0, 0, 333, 150)).mask
    assert scene.overview.counts.sum(axis=(1, 2)).tolist() == [(mask == 0).sum(), (mask == 1).sum()]
    px = scene.overview.cell_px
    cell = mask[2 * px : 3 * px, 5 * px : 6 * px]
    assert scene.overview.counts[:, 2, 5].tolist() == [(cell == 0).sum(), (cell == 1).sum()]


def test_a_scene_crosses_to_another_process(place):
    here = place()
    scene = open_one(here, LabelSource(path=here.houses()))
    again = pickle.loads(pickle.dumps(scene))
    for ours, theirs in zip(scene.chip(WHOLE, True), again.chip(WHOLE, True), strict=True):
        assert (np.asarray(ours) == np.asarray(theirs)).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda here: (), "a scene that nobody looked at"),
        (lambda here: (LabelSource(path=here.vectors("none.gpkg", [])),), "negative_if_empty"),
        (lambda here: (LabelSource(path=here.vectors("far.gpkg", [shapely.box(9000, 0, 9100, 9)])),), "overlap"),
        (lambda here: (LabelSource(path=here.vectors("l.gpkg", [shapely.LineString([(0, 0), (9, 9)])])),), "width_m"),
        (lambda here: (LabelSource(path=here.image("labels.png", crs=None)),), "values or colors"),
        (
            lambda here: (LabelSource(path="x.png", values={"building": (1,)}, colors={"building": ("#000000",)}),),
            "both",
        ),
        (
            lambda here: (
                LabelSource(
                    path=here.raster("small.tif", np.zeros((1, 9, 9), np.uint8), crs=None), values={"building": (1,)}
                ),
            ),
            "same pixels",
        ),
        (lambda here: (LabelSource(path=here.image("rgb.tif"), values={"building": (1,)}),), "one band"),
    ],
    ids=["none", "empty", "elsewhere", "lines", "raster", "both", "size", "bands"],
)
def test_labels_that_cannot_be_meant(place, make, message):
    here = place()
    with pytest.raises(LabelError, match=message):
        open_one(here, *make(here)).chip(WHOLE)


def test_an_empty_file_may_be_meant(place):
    here = place()
    scene = open_one(here, LabelSource(path=here.vectors("none.gpkg", []), negative_if_empty=True))
    assert (scene.chip(WHOLE).mask == 0).all()
    around = here.vectors("around.gpkg", [shapely.box(-9, -9, -5, -5), shapely.box(300, 300, 305, 305)])
    scene = open_one(here, LabelSource(path=around, negative_if_empty=True))
    assert (scene.chip(WHOLE).mask == 0).all()


def test_scenes_must_be_alike(place):
    here = place()
    labels = (LabelSource(path=here.houses()),)
    gray = here.raster("gray.tif", np.ones((1, 200, 240), np.uint8))
    with pytest.raises(LabelError, match=r"1 bands of uint8 in gray\.tif"):
        open_dataset(here.dataset(SceneEntry(image=here.image(), labels=labels), SceneEntry(image=gray, labels=labels)))


def test_a_scene_with_a_colour_table_is_rgb(place):
    import rasterio

    here = place()
    labels = (LabelSource(path=here.houses()),)
    name = here.raster("palette.tif", np.full((1, 200, 240), 4, np.uint8), photometric="palette")
    with rasterio.open(here.folder / name, "r+") as target:
        target.write_colormap(1, {4: (250, 120, 30, 255)})
    rgb, indexed = open_dataset(
        here.dataset(SceneEntry(image=here.image(), labels=labels), SceneEntry(image=name, labels=labels))
    )
    chips = [scene.chip(Window(0, 0, 8, 8)) for scene in (rgb, indexed)]
    assert chips[0].image.shape == chips[1].image.shape == (3, 8, 8)
    assert chips[1].image[:, 0, 0].tolist() == [250, 120, 30]


# --- objects ----------------------------------------------------------------------------------------------------------


def test_objects_that_touch_are_told_apart(place):
    here = place()
    row = here.vectors("row.gpkg", [shapely.box(20 + 15 * i, 20, 35 + 15 * i, 60) for i in range(4)])
    chip = open_one(here, LabelSource(path=row)).chip(Window(0, 0, 128, 96), True)
    assert chip.instances is not None
    assert chip.instances.dtype == np.uint16
    assert ((chip.instances > 0) == (chip.mask == 1)).all()
    assert [np.unique(chip.instances[20:60, 20 + 15 * i : 35 + 15 * i]).tolist() for i in range(4)] == [
        [1],
        [2],
        [3],
        [4],
    ]


def test_objects_are_numbered_from_one_in_every_window(place):
    here = place(200, 400)
    scene = open_one(here, LabelSource(path=here.houses()))
    for left in (0, 62, 100, 300):  # at 62 a house ends where the window begins
        numbers = scene.chip(Window(left, 0, 64, 64), True).instances
        assert numbers is not None
        assert np.unique(numbers).tolist() == list(range(int(numbers.max()) + 1))


def test_what_is_painted_over_is_no_object(place):
    here = place()
    classes = ClassSettings(names=("background", "building", "road"))
    sources = (
        LabelSource(path=here.vectors("a.gpkg", [shapely.box(10, 10, 50, 50)]), class_="building"),
        LabelSource(path=here.vectors("b.gpkg", [shapely.box(30, 10, 70, 50)]), class_="road"),
        LabelSource(path=here.vectors("c.gpkg", [shapely.box(20, 20, 40, 30)]), class_="background"),
        LabelSource(path=here.vectors("d.gpkg", [shapely.box(60, 40, 70, 50)]), class_="unknown"),
    )
    _, mask, _, numbers, _ = open_one(here, *sources, classes=classes).chip(Window(0, 0, 96, 96), True)
    assert numbers is not None
    assert np.unique(numbers[mask == 1]).tolist() == [1]
    assert np.unique(numbers[mask == 2]).tolist() == [2]
    assert not numbers[(mask == 0) | (mask == UNKNOWN)].any()
    assert (mask[25, 25], mask[45, 65]) == (0, UNKNOWN)


def test_a_class_raster_has_connected_objects(place):
    here = place()
    values = np.zeros((1, 200, 240), np.uint8)
    values[:, 10:20, 10:20] = values[:, 20:30, 20:30] = values[:, 50:60, 50:60] = 1
    name = here.raster("classes.tif", values)
    numbers = open_one(here, LabelSource(path=name, values={"building": (1,), "background": (0,)})).chip(
        Window(0, 0, 96, 96), True
    )
    assert numbers.instances is not None
    assert [int(numbers.instances[at]) for at in ((12, 12), (25, 25), (55, 55))] == [1, 1, 2]  # corners connect


def test_polygons_and_class_rasters_number_objects_together(place):
    here = place()
    values = np.zeros((1, 200, 240), np.uint8)
    values[:, 10:20, 10:40], values[:, 10:20, 40:60] = 1, 2
    raster = LabelSource(path=here.raster("classes.tif", values), values={"building": (1,), "road": (2,)})
    vector = LabelSource(path=here.vectors("a.gpkg", [shapely.box(30, 5, 80, 30)]), class_="building")
    classes = ClassSettings(names=("background", "building", "road"))
    over = open_one(here, raster, vector, classes=classes).chip(Window(0, 0, 96, 96), True).instances
    under = open_one(here, vector, raster, classes=classes).chip(Window(0, 0, 96, 96), True).instances
    assert over is not None
    assert under is not None
    assert (over[15, 15], over[15, 35], over[15, 50]) == (2, 1, 1)  # the polygon hides what is below it
    assert (under[7, 35], under[15, 15], under[15, 35], under[15, 50]) == (1, 2, 2, 3)
    alone = open_one(here, raster, classes=classes).chip(Window(0, 0, 96, 96), True).instances
    assert alone is not None
    assert (alone[15, 15], alone[15, 50]) == (1, 2)  # of two classes, so two objects
