"""What the doctor finds in scenes, labels, models and datasets that are known to be sound or broken."""

from __future__ import annotations

import re
import warnings
from datetime import UTC, datetime
from pathlib import Path

import cv2
import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning

from eaves.errors import SettingsError
from eaves.exchange.vectors import read_vectors
from eaves.models import Card, build, save_model
from eaves.scene import Scaling
from eaves.settings import ModelSettings, Recipe
from eaves.workflows.doctor import Finding, doctor_scene

UTM = "EPSG:32645"
GSD_M = 0.3
SIDE_PX = 400
WORLD = Affine(GSD_M, 0, 350_000, 0, -GSD_M, 3_060_000)


def village(seed: int = 0) -> tuple[np.ndarray, list]:
    """Light and dark roofs at any angle on noisy ground, and their outlines in pixels."""
    rng = np.random.default_rng(seed)
    image = rng.normal(110, 10, (SIDE_PX, SIDE_PX)).astype(np.float32)
    outlines: list = []
    while len(outlines) < 30:
        middle, size = rng.uniform(30, SIDE_PX - 30, 2), rng.uniform(14, 36, 2)
        corners = cv2.boxPoints((tuple(middle), tuple(size), float(rng.uniform(0, 90)))).astype(np.int32)
        outline = shapely.Polygon(corners)
        if not any(outline.distance(other) < 4 for other in outlines):
            cv2.fillPoly(image, [corners], (float(rng.choice([40, 200])),))
            outlines.append(outline)
    return np.stack([image, image * 0.9, image * 0.8]).clip(1, 250).astype(np.uint8), outlines


IMAGE, OUTLINES = village()


def write_image(path: Path, image: np.ndarray = IMAGE, *, crs: str | None = UTM, transform=WORLD, colors=None) -> Path:
    profile = {"driver": "GTiff", "count": len(image), "dtype": image.dtype, "tiled": True}
    profile |= {"height": image.shape[1], "width": image.shape[2], "blockxsize": 256, "blockysize": 256}
    if crs:
        profile |= {"crs": crs, "transform": transform}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", **profile) as file:
            file.write(image)
            if colors:
                file.colorinterp = colors
    return path


def write_labels(path: Path, outlines=OUTLINES, *, right_m: float = 0, down_m: float = 0, crs=UTM, to=UTM) -> Path:
    """Outlines in pixels, moved on the ground, as a file."""
    a = WORLD
    world = [shapely.affinity.affine_transform(o, [a.a, a.b, a.d, a.e, a.c + right_m, a.f - down_m]) for o in outlines]
    gpd.GeoDataFrame(geometry=world, crs=crs).to_crs(to).to_file(path)
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A sound scene and its labels. Not to be changed."""
    folder = tmp_path_factory.mktemp("place")
    write_image(folder / "ortho.tif")
    write_labels(folder / "roofs.gpkg")
    return folder


def about(findings: list[Finding], topic: str) -> Finding:
    """The one finding about a topic."""
    (found,) = [finding for finding in findings if finding.topic == topic]
    return found


def levels(findings: list[Finding]) -> set[str]:
    return {finding.level for finding in findings}


# --- a scene ----------------------------------------------------------------------------------------------------------


def test_a_good_scene(place):
    findings = doctor_scene(place / "ortho.tif", labels=place / "roofs.gpkg")
    assert levels(findings) == {"ok"}
    assert about(findings, "size").text == "400 x 400 px, blocks of 256 x 256 px"
    assert about(findings, "CRS").text.startswith("EPSG:32645")
    assert about(findings, "GSD").text.startswith("0.300 m")
    assert about(findings, "labels").text == "30 features, 100% of them in the scene"
    sizes = [outline.area * GSD_M**2 for outline in OUTLINES]
    assert f"median {np.median(sizes):.0f} m2, 0 smaller" in about(findings, "label sizes").text


def test_a_missing_scene_and_one_that_is_none(place, tmp_path):
    assert about(doctor_scene(tmp_path / "none.tif"), "scene").level == "error"
    assert "does not exist" in about(doctor_scene(tmp_path / "none.tif"), "scene").text
    assert about(doctor_scene(place / "roofs.gpkg"), "scene").level == "error"


def test_a_scene_without_a_crs(tmp_path):
    path = write_image(tmp_path / "a.tif", crs=None)
    findings = doctor_scene(path)
    assert about(findings, "CRS").level == "warning"
    assert about(findings, "GSD").level == "warning"
    assert about(doctor_scene(path, ground_gsd_m=0.3), "GSD") == Finding("ok", "GSD", "0.300 m on the ground")


def test_a_coarse_scene(tmp_path):
    findings = doctor_scene(write_image(tmp_path / "a.tif", transform=WORLD * Affine.scale(10)))
    assert about(findings, "GSD").level == "warning"


@pytest.mark.parametrize(
    ("dtype", "value", "word"),
    [("uint8", 255, "white"), ("uint8", 0, "black"), ("uint16", 65535, "white"), ("uint16", 0, "black")],
)
def test_a_margin_that_is_not_marked(tmp_path, dtype, value, word):
    image = IMAGE.astype(dtype)
    image[:, :, :30] = value
    path = write_image(tmp_path / "a.tif", image)
    found = about(doctor_scene(path), "margin")
    assert found.level == "warning"
    assert f"pure {word}" in found.text
    assert f"--nodata {value}" in found.text
    marked = doctor_scene(path, nodata=value)
    assert "margin" not in {finding.topic for finding in marked}
    assert about(marked, "nodata").text == "7.5% of the scene has no imagery"


def test_white_roofs_are_no_margin(tmp_path):
    image = IMAGE.copy()
    image[:, 100:200, 100:200] = 255
    assert "margin" not in {finding.topic for finding in doctor_scene(write_image(tmp_path / "a.tif", image))}


def test_nothing_to_see(tmp_path):
    path = write_image(tmp_path / "a.tif", np.zeros_like(IMAGE))
    assert about(doctor_scene(path, nodata=0), "nodata").level == "error"
    assert about(doctor_scene(path), "contrast").level == "warning"
    image = IMAGE.copy()
    image[1] = 7
    assert about(doctor_scene(write_image(tmp_path / "b.tif", image)), "contrast").text == "band 2 is constant"


def test_a_damaged_file(tmp_path):
    path = write_image(tmp_path / "a.tif")
    path.write_bytes(path.read_bytes()[:200_000])
    assert "error" in levels(doctor_scene(path))


def test_a_large_scene_is_looked_at_in_small(tmp_path):
    """A view of 2048 px, read in parts, is one picture: a constant stays one, and the share of nodata is right."""
    image = np.full((1, 300, 5000), 90, np.uint8)
    image[:, :, 4000:] = 7
    findings = doctor_scene(write_image(tmp_path / "a.tif", image), nodata=7)
    assert about(findings, "nodata").text == "20.0% of the scene has no imagery"
    assert about(findings, "contrast").level == "warning"


# --- labels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("right_m", "down_m"), [(2.4, 0.0), (0.0, -3.0), (-1.8, 1.8)])
def test_labels_that_lie_off(place, tmp_path, right_m, down_m):
    labels = write_labels(tmp_path / "off.gpkg", right_m=right_m, down_m=down_m)
    found = about(doctor_scene(place / "ortho.tif", labels=labels), "label offset")
    assert found.level == "warning"
    size, right, down = (float(number) for number in re.findall(r"[-+]?\d+\.\d", found.text))
    assert size == pytest.approx(np.hypot(right_m, down_m), abs=0.4)
    assert (right, down) == pytest.approx((-right_m, -down_m), abs=0.4)


def test_the_offset_of_a_picture_is_in_pixels(tmp_path):
    image = write_image(tmp_path / "a.tif", crs=None)
    moved = gpd.GeoDataFrame(geometry=[shapely.affinity.translate(outline, 9, 0) for outline in OUTLINES])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="'crs' was not provided")
        moved.to_file(tmp_path / "a.gpkg")
    found = about(doctor_scene(image, labels=tmp_path / "a.gpkg"), "label offset")
    assert found.level == "warning"
    assert float(re.findall(r"by ([\d.]+) px", found.text)[0]) == pytest.approx(9, abs=1)


def test_labels_of_another_place_and_none(place, tmp_path):
    far = write_labels(tmp_path / "far.gpkg", right_m=5000)
    other = write_labels(tmp_path / "other.gpkg", crs="EPSG:32633")  # stated wrongly: another continent
    for labels in (far, other, tmp_path / "none.gpkg"):
        findings = doctor_scene(place / "ortho.tif", labels=labels)
        assert about(findings, "labels").level == "error"
        assert "label offset" not in {finding.topic for finding in findings}


def test_labels_in_another_crs_are_noted(place, tmp_path):
    labels = write_labels(tmp_path / "degrees.gpkg", to="EPSG:4326")
    findings = doctor_scene(place / "ortho.tif", labels=labels)
    assert about(findings, "label CRS") == Finding("note", "label CRS", "EPSG:4326 (WGS 84); will be reprojected")
    assert about(findings, "label offset").level == "ok"


def test_few_labels_in_the_scene_are_noted(place, tmp_path):
    elsewhere = [shapely.affinity.translate(outline, 3000, 0) for outline in OUTLINES]
    labels = write_labels(tmp_path / "county.gpkg", [*OUTLINES, *elsewhere, *elsewhere])
    found = about(doctor_scene(place / "ortho.tif", labels=labels), "labels")
    assert found == Finding("note", "labels", "90 features, 33% of them in the scene")


def test_too_few_edges(place, tmp_path):
    labels = write_labels(tmp_path / "one.gpkg", OUTLINES[:1])
    assert about(doctor_scene(place / "ortho.tif", labels=labels), "label offset").level in ("ok", "note")
    blank = write_image(tmp_path / "blank.tif", np.full_like(IMAGE, 90))
    assert about(doctor_scene(blank, labels=labels), "label offset").text.startswith("cannot be told")


def test_an_aoi_bounds_what_is_compared(place, tmp_path):
    """The left half is labelled well; the right half lies 3.6 m off."""
    off = [shapely.affinity.translate(o, 0, 12) if o.centroid.x > SIDE_PX / 2 else o for o in OUTLINES]
    labels = write_labels(tmp_path / "half.gpkg", off)
    left = write_labels(tmp_path / "left.gpkg", [shapely.box(0, 0, SIDE_PX / 2 - 20, SIDE_PX)])
    right = write_labels(tmp_path / "right.gpkg", [shapely.box(SIDE_PX / 2 + 20, 0, SIDE_PX, SIDE_PX)])
    assert about(doctor_scene(place / "ortho.tif", labels=labels, aoi=left), "label offset").level == "ok"
    assert about(doctor_scene(place / "ortho.tif", labels=labels, aoi=right), "label offset").level == "warning"
    far = write_labels(tmp_path / "far.gpkg", right_m=5000)
    assert about(doctor_scene(place / "ortho.tif", labels=labels, aoi=far), "labels").level == "error"
    with pytest.raises(SettingsError, match="AOI"):
        doctor_scene(place / "ortho.tif", aoi=left)


BOW_TIE = shapely.Polygon([(50, 50), (90, 90), (90, 50), (50, 90)])


def test_what_was_mended_is_a_finding(place, tmp_path):
    labels = write_labels(tmp_path / "broken.gpkg", [*OUTLINES, BOW_TIE])
    with pytest.warns(match="mended"):
        read_vectors(labels)
    findings = doctor_scene(place / "ortho.tif", labels=labels)  # where a loose warning would fail the test
    mended = [finding for finding in findings if "mended" in finding.text]
    assert [(finding.level, finding.topic) for finding in mended] == [("warning", "labels")]


# --- a model ----------------------------------------------------------------------------------------------------------


def save(path: Path, *, gsd_m: float | None = 0.3, bands: int = 3) -> Path:
    recipe = Recipe(name="tiny", model=ModelSettings(arch="unet28", options={"widths": "small"}))
    card = Card(
        eaves_version="0.1.0",
        created=datetime(2024, 5, 6, tzinfo=UTC),
        recipe=recipe,
        classes=("background", "building"),
        scaling=Scaling.for_bytes(bands),
        gsd_m=gsd_m,
    )
    save_model(path, build(recipe.model, bands, 2), card)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """Takes 3 bands of 8 bits at 0.3 m."""
    return save(tmp_path_factory.mktemp("model") / "m.safetensors")


def test_a_model_that_fits(place, model):
    findings = doctor_scene(place / "ortho.tif", model=model)
    assert levels(findings) == {"ok"}
    assert about(findings, "model").text.startswith("tiny: background, building")
    assert "0.300 to 0.3 m" in about(findings, "model GSD").text


def test_pixels_that_a_model_was_not_trained_on(model, tmp_path):
    findings = doctor_scene(write_image(tmp_path / "a.tif", IMAGE.astype("uint16") * 9), model=model)
    assert about(findings, "model").level == "error"
    assert "uint8" in about(findings, "model").text
    assert about(findings, "type").level == "note"


def test_bands_that_a_model_was_not_trained_on(model, tmp_path):
    four = np.concatenate([IMAGE, IMAGE[:1]])
    plain = 4 * [ColorInterp.gray]
    named = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.gray]
    unnamed_file = write_image(tmp_path / "a.tif", four, colors=plain)
    assert about(doctor_scene(unnamed_file, model=model), "model").level == "error"
    # Extraction takes red, green and blue where the file names them.
    assert about(doctor_scene(write_image(tmp_path / "b.tif", four, colors=named), model=model), "model").level == "ok"


def test_resolutions_that_a_model_does_not_meet(model, tmp_path):
    coarse = write_image(tmp_path / "a.tif", transform=WORLD * Affine.scale(3))
    assert "3.0 times coarser" in about(doctor_scene(coarse, model=model), "model GSD").text
    assert about(doctor_scene(coarse, model=model), "model GSD").level == "warning"
    plain = write_image(tmp_path / "b.tif", crs=None)
    assert about(doctor_scene(plain, model=model), "model GSD").level == "error"
    assert about(doctor_scene(plain, model=model, ground_gsd_m=0.3), "model GSD").level == "ok"
    free = save(tmp_path / "free.safetensors", gsd_m=None)
    assert "model GSD" not in {finding.topic for finding in doctor_scene(plain, model=free)}


def test_a_file_that_is_no_model(place, tmp_path):
    for path in (tmp_path / "none.safetensors", place / "ortho.tif"):
        assert about(doctor_scene(place / "ortho.tif", model=path), "model").level == "error"


# --- a dataset --------------------------------------------------------------------------------------------------------


def toml(folder: Path, *entries: str) -> Path:
    """A dataset of scenes, each written as the lines of its table."""
    path = folder / "dataset.toml"
    path.write_text("\n".join(f"[[scene]]\n{entry}" for entry in entries), encoding="utf-8")
    return path


def entry(image="ortho.tif", labels="roofs.gpkg", **more) -> str:
    return "\n".join(f"{key} = {value!r}" for key, value in {"image": image, "labels": labels, **more}.items())


@pytest.fixture
def town(tmp_path) -> Path:
    write_image(tmp_path / "ortho.tif")
    write_labels(tmp_path / "roofs.gpkg")
    second, outlines = village(seed=1)
    write_image(tmp_path / "south.tif", second)
    write_labels(tmp_path / "south.gpkg", outlines)
    return tmp_path


def test_a_good_dataset(town):
    path = toml(town, entry(split="train"), entry("south.tif", "south.gpkg", split="val"))
    findings = doctor_scene(path)
    assert levels(findings) == {"ok"}
    assert {finding.topic for finding in findings} == {
        *(f"{name}: {topic}" for name in ("ortho", "south") for topic in ("size", "GSD", "classes", "label offset")),
        "chips",
    }
    share = sum(outline.area for outline in OUTLINES) / SIDE_PX**2
    said = about(findings, "ortho: classes").text
    assert float(re.findall(r"building ([\d.]+)%", said)[0]) == pytest.approx(100 * share, abs=0.5)
    assert "100% of the scene" in said


def test_offsets_of_a_dataset_are_found_scene_by_scene(town):
    write_labels(town / "off.gpkg", right_m=2.4)
    findings = doctor_scene(toml(town, entry(labels="off.gpkg", split="val"), entry("south.tif", "south.gpkg")))
    assert about(findings, "ortho: label offset").level == "warning"
    assert "-2." in about(findings, "ortho: label offset").text
    assert about(findings, "south: label offset").level == "ok"


def test_chips_are_counted(town):
    """Labels in the upper left window alone: of four windows of 256 px one holds some."""
    write_labels(town / "few.gpkg", [shapely.box(20, 20, 60, 60)])
    findings = doctor_scene(
        toml(town, entry(labels="few.gpkg", split="train"), entry("south.tif", "south.gpkg", split="val"))
    )
    found = about(findings, "chips")
    assert found.level == "ok"
    assert "of 4 training windows of 256 px at 0.3 m, 3 hold background alone and 0 are mostly unknown" in found.text
    assert "4 validate" in found.text


def test_a_dataset_that_does_not_validate(town):
    assert about(doctor_scene(toml(town, entry(split="train"))), "chips").level == "warning"
    assert about(doctor_scene(toml(town, entry(split="val"))), "chips").level == "error"


def test_one_scene_on_both_sides_is_leakage(town):
    write_labels(town / "all.gpkg", [shapely.box(0, 0, SIDE_PX, SIDE_PX)])
    write_labels(town / "left.gpkg", [shapely.box(0, 0, 200, SIDE_PX)])
    write_labels(town / "right.gpkg", [shapely.box(200, 0, SIDE_PX, SIDE_PX)])

    def leaks(*entries: str) -> list[str]:
        return [f.text for f in doctor_scene(toml(town, *entries)) if f.topic == "leakage"]

    train, val = entry(split="train", aoi="all.gpkg"), entry("./ortho.tif", split="val", aoi="left.gpkg")
    (text,) = leaks(train, val)
    (share,) = re.findall(r"([\d.]+)% of the scene is known to both train and val", text)
    assert float(share) == pytest.approx(50, abs=4)  # whole cells
    assert leaks(entry(split="train", aoi="right.gpkg"), val) == []
    assert leaks(train, train, entry("south.tif", "south.gpkg", split="val")) == []
    (text,) = leaks(entry(split="random"))
    assert "split at random" in text


def test_a_broken_entry_does_not_hide_the_others(town):
    write_labels(town / "far.gpkg", right_m=5000)
    findings = doctor_scene(
        toml(
            town,
            entry("none.tif"),
            entry(labels="far.gpkg", split="train"),
            entry(split="train"),
            entry("south.tif", "south.gpkg", split="val"),
        )
    )
    assert [f.topic for f in findings if f.level == "error"] == ["none: scene", "ortho: labels"]
    assert about(findings, "south: label offset").level == "ok"
    assert about(findings, "chips").level == "ok"


def test_a_dataset_of_nothing_but_broken_entries(town):
    findings = doctor_scene(toml(town, entry("none.tif")))
    assert [(finding.level, finding.topic) for finding in findings] == [("error", "none: scene")]


def test_what_was_mended_is_told_once(town):
    write_labels(town / "broken.gpkg", [*OUTLINES, BOW_TIE])
    broken = entry(labels="broken.gpkg")
    findings = doctor_scene(toml(town, f'{broken}\nsplit = "train"', f'{broken}\nsplit = "val"'))
    assert [finding.topic for finding in findings if "mended" in finding.text] == ["ortho: labels"]


def test_a_meant_negative_is_no_warning(town):
    gpd.GeoDataFrame(geometry=gpd.GeoSeries([], crs=UTM)).to_file(town / "empty.gpkg")
    labels = '[[scene.labels]]\npath = "empty.gpkg"\nnegative_if_empty = {}'
    findings = doctor_scene(toml(town, entry(), f'image = "south.tif"\n{labels.format("true")}'))
    assert about(findings, "south: classes").level == "ok"
    assert about(findings, "south: classes").text.startswith("background 100.0%, building 0.0%")
    findings = doctor_scene(toml(town, entry(), f'image = "south.tif"\n{labels.format("false")}'))
    assert about(findings, "south: labels").level == "error"


def test_scenes_of_several_kinds(town):
    write_image(town / "deep.tif", IMAGE.astype("uint16"))
    write_image(town / "coarse.tif", transform=WORLD * Affine.scale(2))
    findings = doctor_scene(toml(town, entry(split="train"), entry("deep.tif", split="val"), entry("coarse.tif")))
    assert about(findings, "bands").level == "error"
    assert about(findings, "resolution") == Finding(
        "note", "resolution", "scenes differ, 0.3 … 0.6 m a pixel: train with a recipe that sets chips.gsd_m"
    )
    assert "256 px at 0.3 … 0.6 m" in about(findings, "chips").text


def test_a_model_is_held_against_every_scene(town, model):
    write_image(town / "deep.tif", IMAGE.astype("uint16"))
    findings = doctor_scene(toml(town, entry(split="train"), entry("deep.tif", split="val")), model=model)
    assert "ortho: model" not in {finding.topic for finding in findings}
    assert about(findings, "deep: model").level == "error"


@pytest.mark.parametrize(
    "more", [{"labels": "a.gpkg"}, {"aoi": "a.gpkg"}, {"nodata": 0}, {"ground_gsd_m": 1.0}], ids=str
)
def test_a_dataset_speaks_for_itself(town, more):
    with pytest.raises(SettingsError, match=f"Received {next(iter(more))} beside the dataset"):
        doctor_scene(toml(town, entry()), **more)


def test_a_dataset_that_cannot_be_read(tmp_path):
    with pytest.raises(SettingsError, match="does not exist"):
        doctor_scene(tmp_path / "dataset.toml")
