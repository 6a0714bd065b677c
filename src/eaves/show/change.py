"""What changed between two years, as pictures and as one page that opens in any browser."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np
import shapely
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.path import Path as Outline

from eaves.exchange.atomic import whole_file

COLORS = {
    "added": "#00a87a",
    "removed": "#e65000",
    "altered": "#e0b400",
    "unchanged": "#b4b4b4",
}  # of the style, darker
_MARK_PX = 7  # smaller buildings get a dot
_GAP_PX = 6
_TOGETHER = 1000  # polygons in one path; the painter has a limit
_BAR_SHARE = 0.25  # of the width, at most
_STYLE = """
body { font: 15px/1.45 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; color: #222; margin: 2em auto;
  max-width: 1040px; padding: 0 1.5em; }
h1 { font-size: 1.5em; margin: 0 0 .2em; } h2 { font-size: 1.1em; margin: 1.6em 0 .5em; }
p { margin: .3em 0; } .lead { font-size: 1.1em; } .quiet { color: #666; font-size: .9em; }
table { border-collapse: collapse; width: 100%; } th, td { padding: .28em .7em; border-bottom: 1px solid #ddd; }
th { text-align: left; font-weight: 600; white-space: nowrap; } td.n, th.n { text-align: right; white-space: nowrap; }
td { overflow-wrap: anywhere; } .key { display: inline-block; width: .8em; height: .8em; margin-right: .5em; }
img { max-width: 100%; } .map { border: 1px solid #ccc; display: block; max-height: 700px; margin: auto; }
.close { display: grid; grid-template-columns: repeat(auto-fill, minmax(310px, 1fr)); gap: 1em; }
.close.pairs { grid-template-columns: repeat(auto-fill, minmax(420px, 1fr)); }
.close figure { margin: 0; } .close img { border: 1px solid #ccc; display: block; width: 100%; }
figcaption { font-size: .9em; margin-top: .2em; }
@media print { body { margin: 0; font-size: 12px; } h2 { break-after: avoid; } tr, figure { break-inside: avoid; } }
"""


class Picture(NamedTuple):
    """Ground to draw on.

    Attributes:
        image: ``(3, row, col)`` uint8; none is white paper.
        size: Height and width, in pixels.
        m_per_px: For a scale bar; none draws none.
    """

    image: np.ndarray | None
    size: tuple[int, int]
    m_per_px: float | None = None


def change_map(
    picture: Picture, shapes: Sequence[np.ndarray], *, marks: Sequence[tuple[float, float]] = (), width_px: int = 1200
) -> bytes:
    """Draw every building in the colour of its change.

    Args:
        picture: The ground.
        shapes: Polygons in pixels of the picture, one array for each of ``COLORS``, in that order.
        marks: Places to number from 1 on, as x and y in pixels of the picture.
        width_px: Longer side of the result.

    Returns:
        A picture: JPEG over an image, else PNG.
    """
    figure, axes, scale = _paper(picture, width_px)
    names = list(COLORS)
    for name in ("unchanged", "altered", "removed", "added"):  # later ones over earlier
        parts = shapes[names.index(name)]
        _fill(axes, parts, COLORS[name], 0.3 if name == "unchanged" else 0.75, 0.5 if name == "unchanged" else 1.2)
        small = [part.centroid for part in parts if name != "unchanged" and np.sqrt(part.area) * scale < _MARK_PX]
        axes.scatter([at.x for at in small], [at.y for at in small], s=14, color=COLORS[name], linewidths=0, zorder=3)
    for number, (x, y) in enumerate(marks, 1):
        axes.annotate(
            str(number),
            (x, y),
            (14, 14),
            textcoords="offset points",
            fontsize=14,
            fontweight="bold",
            bbox={"boxstyle": "circle,pad=0.2", "facecolor": "white", "edgecolor": "#333", "linewidth": 0.8},
            arrowprops={"arrowstyle": "-", "color": "#333", "linewidth": 0.8},
            zorder=5,
        )
    _scale_bar(axes, picture, scale)
    return _bytes(figure, picture.image is not None)


class Panel(NamedTuple):
    """One view of a change.

    Attributes:
        picture: The ground.
        title: Above it.
        old: Outlines before, in pixels of the picture; so for the following.
        new: Outlines after.
        others: Buildings around.
    """

    picture: Picture
    title: str
    old: np.ndarray
    new: np.ndarray
    others: np.ndarray


def close_up(panels: Sequence[Panel], *, height_px: int = 360) -> bytes:
    """Draw one change closely, in views side by side.

    Args:
        panels: The views: one, or one of each year.
        height_px: Of the result.

    Returns:
        As :func:`change_map`.
    """
    widths = [height_px * panel.picture.size[1] / panel.picture.size[0] for panel in panels]
    whole = sum(widths) + _GAP_PX * (len(panels) - 1)
    figure = Figure(figsize=(whole / 100, height_px / 100), dpi=100)
    for index, (panel, width) in enumerate(zip(panels, widths, strict=True)):
        left = (sum(widths[:index]) + _GAP_PX * index) / whole
        axes = figure.add_axes((left, 0, width / whole, 1))
        _ground(axes, panel.picture)
        plain = panel.picture.image is None
        _fill(axes, panel.others, COLORS["unchanged"], 0.5 if plain else 0.0, 1.0)
        for shapes, name in ((panel.old, "removed"), (panel.new, "added")):
            _fill(axes, shapes, COLORS[name], 0.25 if plain else 0.1, 2.4)
        if panel.title:
            corner = {"xycoords": "axes fraction", "xytext": (6, -6), "textcoords": "offset points", "va": "top"}
            axes.annotate(panel.title, (0, 1), fontsize=13, bbox=_LABEL, **corner)
        if index == 0:
            _scale_bar(axes, panel.picture, height_px / panel.picture.size[0])
    return _bytes(figure, panels[0].picture.image is not None)


class Row(NamedTuple):
    """One line of a table: its cells, and what colour stands before it; none draws none."""

    cells: tuple[str, ...]
    color: str | None = None


class ChangePage(NamedTuple):
    """What the page says; all of it is text, and escaped.

    Attributes:
        title: Of the page.
        lead: The main sentences.
        classes: One row a class: its name, buildings, areas.
        class_heads: Heads of these columns.
        overview: The map.
        close_ups: Caption and picture of the largest changes.
        pairs: These are views of both years, side by side.
        largest: One row a change, the largest first.
        largest_heads: Heads of these columns.
        notes: What else has to be known.
        origin: Inputs and settings, as name and value.
    """

    title: str
    lead: Sequence[str]
    classes: Sequence[Row]
    class_heads: Sequence[str]
    overview: bytes
    close_ups: Sequence[tuple[str, bytes]]
    pairs: bool
    largest: Sequence[Row]
    largest_heads: Sequence[str]
    notes: Sequence[str]
    origin: Sequence[tuple[str, str]]


def write_change_page(page: ChangePage, path: str | Path) -> None:
    """Write the page: one HTML file with its pictures inside, without scripts, that needs nothing from elsewhere.

    Raises:
        OutputError: ``path`` cannot be written.
    """
    body = [f"<h1>{escape(page.title)}</h1>", *(f'<p class="lead">{escape(text)}</p>' for text in page.lead)]
    body += ["<h2>Buildings</h2>", _table(page.class_heads, page.classes, text=1)]
    body += ["<h2>Where</h2>", f'<img class="map" alt="map of the changes" src="{_inline(page.overview)}">', _legend()]
    if page.largest:
        body.append("<h2>The largest changes</h2>")
        keys = f"{_key(COLORS['removed'])}outline before &nbsp; {_key(COLORS['added'])}outline after"
        body.append(f'<p class="quiet">{keys}</p>')
        body.append(f'<div class="close{" pairs" * page.pairs}">')
        for caption, picture in page.close_ups:
            drawn = f'<img alt="{escape(caption)}" src="{_inline(picture)}">'
            body.append(f"<figure>{drawn}<figcaption>{escape(caption)}</figcaption></figure>")
        body += ["</div>", "<p></p>", _table(page.largest_heads, page.largest, text=2)]
    if page.notes:
        body += ["<h2>To know</h2>", "<ul>", *(f"<li>{escape(note)}</li>" for note in page.notes), "</ul>"]
    body += ["<h2>Made from</h2>", _table((), [Row(pair) for pair in page.origin], text=2)]
    head = f'<meta charset="utf-8"><title>{escape(page.title)}</title><style>{_STYLE}</style>'
    text = f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>\n' + "\n".join(body) + "\n</body></html>\n"
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _table(heads: Sequence[str], rows: Sequence[Row], text: int) -> str:
    """The first columns are text, the others numbers."""

    def line(cells: Sequence[str], tag: str, key: str = "") -> str:
        parts = []
        for index, cell in enumerate(cells):
            side = "" if index < text else ' class="n"'
            parts.append(f"<{tag}{side}>{key if index == 0 else ''}{escape(cell)}</{tag}>")
        return f"<tr>{''.join(parts)}</tr>"

    lines = [line(heads, "th")] if heads else []
    lines += [line(row.cells, "td", _key(row.color) if row.color else "") for row in rows]
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def _legend() -> str:
    return '<p class="quiet">' + " &nbsp; ".join(f"{_key(color)}{name}" for name, color in COLORS.items()) + "</p>"


def _key(color: str) -> str:
    return f'<span class="key" style="background:{color}"></span>'


def _inline(picture: bytes) -> str:
    kind = "png" if picture.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


# --- drawing ----------------------------------------------------------------------------------------------------------

_LABEL = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}


def _paper(picture: Picture, longest_px: float) -> tuple[Figure, Axes, float]:
    height, width = picture.size
    scale = longest_px / max(height, width)
    figure = Figure(figsize=(max(1, width * scale) / 100, max(1, height * scale) / 100), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    _ground(axes, picture)
    return figure, axes, scale


def _ground(axes: Axes, picture: Picture) -> None:
    height, width = picture.size
    if picture.image is not None:
        axes.imshow(np.moveaxis(picture.image, 0, -1), extent=(0, width, height, 0), interpolation="antialiased")
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()


def _fill(axes: Axes, polygons: np.ndarray, color: str, alpha: float, line: float) -> None:
    parts = shapely.orient_polygons(shapely.get_parts(np.asarray(polygons, dtype=object)))
    parts = parts[shapely.get_type_id(parts) == shapely.GeometryType.POLYGON]
    paths = [_outlines(parts[start : start + _TOGETHER]) for start in range(0, len(parts), _TOGETHER)]
    axes.add_collection(PathCollection(paths, facecolors=color, edgecolors="none", alpha=alpha))
    axes.add_collection(PathCollection(paths, facecolors="none", edgecolors=color, linewidths=line))


def _outlines(polygons: np.ndarray) -> Outline:
    """All of them as one path: a path of its own for each of 100 000 buildings takes half a minute."""
    xy, ring = shapely.get_coordinates(shapely.get_rings(polygons), return_index=True)
    codes = np.full(len(xy), Outline.LINETO, dtype=Outline.code_type)
    codes[np.diff(ring, prepend=-1) > 0] = Outline.MOVETO
    codes[np.diff(ring, append=-1) != 0] = Outline.CLOSEPOLY
    return Outline(xy, codes)


def _scale_bar(axes: Axes, picture: Picture, scale: float) -> None:
    if picture.m_per_px is None:
        return
    height, width = picture.size
    room = _BAR_SHARE * width * picture.m_per_px
    step = 10 ** np.floor(np.log10(room))
    length = step * max(times for times in (1, 2, 5) if times * step <= room)
    long = length / picture.m_per_px
    left, low, thick = 12 / scale, height - 12 / scale, 5 / scale
    axes.add_patch(Rectangle((left, low - thick), long, thick, facecolor="#222", edgecolor="white", zorder=4))
    said = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    axes.text(left + long + 10 / scale, low - thick / 2, said, va="center", fontsize=12, bbox=_LABEL, zorder=4)


def _bytes(figure: Figure, photo: bool) -> bytes:
    """As few bytes as fit: photographs as JPEG, drawings as PNG."""
    FigureCanvasAgg(figure)
    held = io.BytesIO()
    if photo:
        figure.savefig(held, dpi=100, format="jpeg", pil_kwargs={"quality": 85})
    else:
        figure.savefig(held, dpi=100, format="png")
    return held.getvalue()
