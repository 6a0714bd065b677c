"""How QGIS draws a layer: styles in its own words, QML, and the place of one inside a GeoPackage."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal, NamedTuple
from xml.etree import ElementTree

StyleKind = Literal["footprints", "changes"]

STYLES = "layer_styles"
"""Name of the table in which QGIS keeps the styles of a GeoPackage's layers."""

_DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
_UNSURE_SCORE = 0.7  # a mean score; below it outlines are dashed, so that they are looked at
_CASING = (0, 0, 0, 170)  # dark, under the bright line: one of both shows on any ground
_FIXED_TIME = "1970-01-01T00:00:00.000Z"  # a rerun gives the same bytes
_TABLE = f"""
CREATE TABLE "{STYLES}" (
  "id" INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, "f_table_catalog" TEXT(256), "f_table_schema" TEXT(256),
  "f_table_name" TEXT(256), "f_geometry_column" TEXT(256), "styleName" TEXT(30), "styleQML" TEXT, "styleSLD" TEXT,
  "useAsDefault" BOOLEAN, "description" TEXT, "owner" TEXT(30), "ui" TEXT(30),
  "update_time" DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now'))
)"""


class _Look(NamedTuple):
    """One entry of a legend: its label, its colour, how much of the fill covers the image, its pen."""

    label: str
    rgb: tuple[int, int, int]
    fill_alpha: int = 50
    pen: Literal["solid", "dash"] = "solid"


_FOOTPRINTS = {
    f'"score" < {_UNSURE_SCORE}': _Look(f"unsure, score below {_UNSURE_SCORE}", (255, 214, 0), 25, "dash"),
    "ELSE": _Look("footprint", (255, 214, 0)),  # tables without a score are all of this kind
}
_CHANGES = {  # colours that the colour-blind tell apart, too
    "added": _Look("added", (0, 200, 140), 90),
    "removed": _Look("removed", (230, 80, 0), 90),
    "altered": _Look("altered", (240, 228, 66), 70),
    "unchanged": _Look("unchanged", (220, 220, 220), 20),
}


def qgis_style(kind: StyleKind) -> str:
    """Return a style for QGIS 3.22 and later that can be read over imagery.

    Args:
        kind: ``footprints``: bright outlines on a translucent fill, dashed where the column ``score`` is below 0.7.
            ``changes``: a colour for each value of the column ``change``: added, removed, altered, unchanged.

    Returns:
        QML, as :func:`eaves.exchange.vectors.write_vectors` takes it.

    Example:
        >>> qgis_style("changes").count("<category ")
        4
    """
    root = ElementTree.Element("qgis", version="3.22.0", styleCategories="Symbology")
    if kind == "footprints":
        renderer = _element(root, "renderer-v2", type="RuleRenderer", symbollevels="0", forceraster="0")
        rules = _element(renderer, "rules", key="rules")
        for number, (condition, look) in enumerate(_FOOTPRINTS.items()):
            told = {"filter": condition, "label": look.label, "symbol": str(number), "key": f"rule {number}"}
            _element(rules, "rule", **told)
        looks = list(_FOOTPRINTS.values())
    else:
        told = {"type": "categorizedSymbol", "attr": "change", "symbollevels": "0", "forceraster": "0"}
        renderer = _element(root, "renderer-v2", **told)
        categories = _element(renderer, "categories")
        for number, (value, look) in enumerate(_CHANGES.items()):
            told = {"value": value, "type": "string", "symbol": str(number), "label": look.label, "render": "true"}
            _element(categories, "category", **told)
        looks = list(_CHANGES.values())
    _add_symbols(renderer, looks)
    _element(root, "layerGeometryType").text = "2"
    ElementTree.indent(root, " ")
    return _DOCTYPE + ElementTree.tostring(root, encoding="unicode") + "\n"


def add_style(path: Path, layer: str, style: str) -> None:
    """Put a style where QGIS finds it: inside a GeoPackage, beside any other file.

    Args:
        path: A new file.
        layer: Its layer.
        style: QML.
    """
    if path.suffix.lower() == ".gpkg":
        _store_style(path, layer, style)
    else:
        path.with_suffix(".qml").write_text(style, encoding="utf-8")


def _store_style(path: Path, layer: str, style: str) -> None:
    """Lay out and register the table of styles as QGIS itself does it."""
    with closing(sqlite3.connect(path)) as connection, connection:
        found = connection.execute("SELECT column_name FROM gpkg_geometry_columns WHERE table_name = ?", (layer,))
        (column,) = found.fetchone()
        connection.execute(_TABLE)
        connection.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier, description, last_change, srs_id) "
            "VALUES (?, 'attributes', ?, '', ?, 0)",
            (STYLES, STYLES, _FIXED_TIME),
        )
        row = {
            "f_table_catalog": "",
            "f_table_schema": "",
            "f_table_name": layer,
            "f_geometry_column": column,
            "styleName": layer[:30],
            "styleQML": style,
            "styleSLD": "",
            "useAsDefault": True,
            "description": "by eaves",
            "owner": "",
            "ui": None,
            "update_time": _FIXED_TIME,
        }
        names, marks = ", ".join(f'"{name}"' for name in row), ", ".join("?" * len(row))
        connection.execute(f"INSERT INTO {STYLES} ({names}) VALUES ({marks})", tuple(row.values()))


def _add_symbols(renderer: ElementTree.Element, looks: Sequence[_Look]) -> None:
    symbols = _element(renderer, "symbols")
    for number, look in enumerate(looks):
        told = {"type": "fill", "name": str(number), "alpha": "1", "clip_to_extent": "1", "force_rhr": "0"}
        symbol = _element(symbols, "symbol", **told)
        _add_fill(symbol, {"style": "no", "outline_color": _CASING, "outline_width": 0.8, "outline_style": "solid"})
        bright = {"color": (*look.rgb, look.fill_alpha), "style": "solid"}
        pen = {"outline_color": (*look.rgb, 255), "outline_width": 0.4, "outline_style": look.pen}
        _add_fill(symbol, bright | pen)


def _add_fill(symbol: ElementTree.Element, properties: Mapping[str, object]) -> None:
    layer = _element(symbol, "layer", **{"class": "SimpleFill", "enabled": "1", "locked": "0", "pass": "0"})
    options = _element(layer, "Option", type="Map")
    for name, value in (dict(properties) | {"joinstyle": "miter", "outline_width_unit": "MM"}).items():
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        _element(options, "Option", type="QString", name=name, value=text)


def _element(parent: ElementTree.Element, tag: str, **attributes: str) -> ElementTree.Element:
    return ElementTree.SubElement(parent, tag, attributes)
