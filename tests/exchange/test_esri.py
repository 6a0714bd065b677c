from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.errors import LabelError
from eaves.exchange.esri import EsriTally, map_lines, parse_esri

CLASSES = ("ground", "building", "road")


@given(st.integers(1, 5), st.integers(0, 1000))
def test_bands_are_summed_up_as_if_seen_at_once(count, seed):
    rng = np.random.default_rng(seed)
    tally = EsriTally("RCNN_Masks", CLASSES, 0.5)
    seen = []
    for _ in range(count):
        image, valid = rng.integers(0, 60_000, (2, 8, 8)).astype("uint16"), rng.random((8, 8)) < 0.7
        tally.add(image, valid, [[], []])
        seen.append(image[:, valid])
    pixels = np.concatenate(seen, axis=1).astype(float)
    for band, told, state in zip(
        pixels, tally.definition()["AllTilesStats"], tally.statistics()["BandStatsState"], strict=True
    ):
        assert (told["Min"], told["Max"]) == (band.min(), band.max())
        assert told["Mean"] == pytest.approx(band.mean())
        assert told["StdDev"] == pytest.approx(band.std())
        assert (state["M1"], state["Num"]) == (told["Mean"], band.size)
        assert (state["M2"] / state["Num"]) ** 0.5 == pytest.approx(told["StdDev"])  # as arcgis.learn reads it


def test_features_are_counted():
    tally = EsriTally("RCNN_Masks", CLASSES, 0.5)
    image, valid = np.zeros((3, 4, 6), np.uint8), np.ones((4, 6), bool)
    for sizes in ([[8, 4], []], [[2], [12]], [[], []]):
        tally.add(image, valid, sizes)
    told = json.loads(json.dumps(tally.statistics()))
    assert (told["NumTiles"], told["NumBands"], told["TileSizeX"], told["TileSizeY"]) == (3, 3, 6, 4)
    assert (told["MetaDataMode"], told["OutputFeatures"], told["MinCellSize"]["x"]) == ("RCNN_Masks", True, 0.5)
    features = told["FeatureStats"]
    assert (features["NumFeaturesPerClass"], features["NumImagesPerClass"]) == ([3, 1], [2, 1])
    assert (features["NumImagesTotal"], features["NumFeaturesTotal"]) == (3, 4)
    assert features["NumFeaturesPerImage"] == {"Min": 0, "Max": 2, "Mean": 4 / 3, "Sum": 4, "Count": 3}
    areas = features["FeatureAreaPerClass"][0]
    assert (areas["Min"], areas["Max"], areas["Sum"]) == (0.5, 2.0, 3.5)
    assert "features per image = [min = 0, mean = 1.33, max = 2]" in tally.text()


def test_pixels_are_counted():
    tally = EsriTally("Classified_Tiles", CLASSES, None)
    image, valid = np.zeros((4, 4, 6), np.uint8), np.ones((4, 6), bool)
    for sizes in ([[8], [0]], [[2], [12]]):
        tally.add(image, valid, sizes)
    told = json.loads(json.dumps(tally.statistics()))
    pixels = told["ClassPixelStats"]
    assert (pixels["NumPixelsPerClass"], pixels["NumImagesPerClass"]) == ([10, 12], [2, 1])
    assert pixels["NumClassesPerImage"] == {"Min": 1, "Max": 2, "Mean": 1.5, "Sum": 3, "Count": 2}
    assert pixels["PixelsPerClass"][1] == {"Min": 0, "Max": 12, "Mean": 6, "Sum": 12, "Count": 2}
    assert tally.definition()["InputRastersProps"]["BandNames"] == ["Band_1", "Band_2", "Band_3", "Band_4"]
    assert tally.text().splitlines()[0] == "images = 2 *4*4*6"


def test_the_map_has_a_line_for_each_label():
    assert map_lines("000000003.tif", []) == "images\\000000003.tif\n"
    assert map_lines("000000003.tif", ["a\\000000003.tif", "b\\000000003.tif"]) == (
        "images\\000000003.tif  labels\\a\\000000003.tif\nimages\\000000003.tif  labels\\b\\000000003.tif\n"
    )


def test_what_was_told_is_read():
    tally = EsriTally("RCNN_Masks", CLASSES, 0.5)
    tally.add(np.zeros((3, 4, 6), np.uint8), np.zeros((4, 6), bool), [[], []])  # nothing valid: nothing infinite
    definition, statistics = json.dumps(tally.definition()), json.dumps(tally.statistics())
    for told in (parse_esri(definition, statistics, "folder"), parse_esri(definition, None, "folder")):
        assert told.kind == "RCNN_Masks"
        assert told.classes == {1: "building", 2: "road"}


def test_definitions_of_arcgis_pro():
    old = '{"Classes": [{"Value": 1, "Name": "1"}, {"Value": 2, "Name": ""}]}'
    stats = '{"MetaDataMode": "Classified_Tiles", "Classes": [{"ClassValue": 1, "ClassName": "1"}]}'
    assert parse_esri(old, stats, "folder").classes == {1: "1", 2: "2"}
    older = '{"MetaDataMode": "RCNN_Masks", "Classes": [{"ClassValue": 4, "ClassName": "roof"}]}'
    assert parse_esri(older, None, "folder").classes == {4: "roof"}
    with pytest.raises(LabelError, match="None"):
        parse_esri(old, None, "folder")
