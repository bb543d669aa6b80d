"""Figures as SVG or PNG, drawn with matplotlib: one palette, light and dark, equal bytes for equal data.

A figure is a ``matplotlib.figure.Figure`` in units of which an SVG has one per pixel and a PNG two pixels each. In a
browser an SVG follows the reader's light or dark mode: ``dark_css`` replaces each color of the light palette. Other
programs show the light one, as does a PNG.
"""

from __future__ import annotations

import base64
import io
import math
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from recitative.atomic import replacing, write_text
from recitative.errors import UsageError

Figure = Any  # matplotlib.figure.Figure; matplotlib is imported only where something is drawn
Axes = Any

# Name -> light and dark. The series are Okabe and Ito's colors, which color-blind readers can tell apart.
PALETTE: dict[str, tuple[str, str]] = {
    "back": ("#f6f6f4", "#15171a"),
    "card": ("#ffffff", "#1e2125"),
    "ink": ("#1d2025", "#e6e7ea"),
    "muted": ("#656c76", "#979da7"),
    "rule": ("#e2e3e6", "#32363c"),
    "strong-rule": ("#b4b9c1", "#59606a"),
    "stripe": ("#f2f3f5", "#262a2f"),
    "series-1": ("#0072b2", "#5aa9f0"),
    "series-2": ("#d55e00", "#ff8a3d"),
    "series-3": ("#009e73", "#2fcf9f"),
    "series-4": ("#b3589a", "#e59bcb"),
    "series-5": ("#56b4e9", "#9ad4f7"),
    "series-6": ("#8a6d00", "#d9bb3c"),
    "wrong": ("#d1293d", "#ff6b7a"),
    "sub": ("#9a4607", "#ffc978"),
    "sub-back": ("#fdecc8", "#4a3511"),
    "del": ("#c01c34", "#ff97a3"),
    "del-back": ("#fbdde0", "#4d1c24"),
    "ins": ("#1d4fd8", "#a4c2ff"),
    "ins-back": ("#dce7fd", "#1b2f5c"),
}
LIGHT = {name: light for name, (light, _) in PALETTE.items()}
WHITE, BLACK = "#fefefe", "#010101"  # on pictures, in both modes

DASHES = (0, (5, 4))
_DPI = 72  # so that a unit of a figure is a point, which matplotlib makes a unit of the SVG
_TOOLTIP = "tooltip:"
_STYLE = {
    "axes.axisbelow": True, "axes.edgecolor": LIGHT["strong-rule"], "axes.facecolor": "none", "axes.grid": True,
    "axes.grid.axis": "y", "axes.labelcolor": LIGHT["muted"], "axes.labelsize": 11, "axes.spines.left": False,
    "axes.spines.right": False, "axes.spines.top": False, "axes.titlecolor": LIGHT["ink"],
    "axes.titlelocation": "left", "axes.titlesize": 13, "axes.titleweight": "bold", "figure.dpi": _DPI,
    "figure.facecolor": LIGHT["card"], "font.size": 11, "grid.color": LIGHT["rule"], "legend.fontsize": 11,
    "legend.frameon": False, "legend.labelcolor": LIGHT["muted"], "lines.linewidth": 1.8,
    "path.simplify": False, "svg.fonttype": "none", "svg.hashsalt": "recitative", "text.color": LIGHT["muted"],
    "text.parse_math": False, "xtick.color": LIGHT["strong-rule"], "xtick.labelcolor": LIGHT["muted"],
    "xtick.labelsize": 11, "ytick.color": LIGHT["muted"], "ytick.labelsize": 11, "ytick.major.size": 0,
    "ytick.minor.size": 0, "ytick.minor.width": 0,
}  # fmt: skip


@dataclass(frozen=True)
class Playable:
    """A figure over which a line moves while the sound of its ``<article>`` plays; a click plays from there.

    systems: of each row of the figure the first and last second, then left, top, width and height in its units.
    """

    figure: Figure
    systems: Sequence[tuple[float, float, float, float, float, float]]


@contextmanager
def style() -> Iterator[None]:
    """A context, or decorator, in which figures are drawn in the palette, whatever matplotlibrc says."""
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # an SVG's text is drawn in the reader's fonts
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def new_figure(width: float, height: float, description: str, layout: Any = "constrained") -> Figure:
    """An empty figure; ``description`` is what a screen reader says of it."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / _DPI, height / _DPI), layout=layout, label=description)


def canvas(width: float, height: float, description: str) -> tuple[Figure, Axes]:
    """A figure and axes that cover it: x to the right, y downwards, in units of the figure."""
    figure = new_figure(width, height, description, layout=None)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    return figure, axes


def figure_size(figure: Figure) -> tuple[float, float]:
    """Width and height in its units."""
    width, height = figure.get_size_inches() * _DPI
    return float(width), float(height)


def add_tooltip(artist: Any, text: str) -> None:
    """Text that a browser shows while the pointer is on a part of an SVG."""
    artist.set_gid(_TOOLTIP + text)


def draw_lines(axes: Axes, lines: Iterable[tuple[float, float, float, float]], color: str) -> None:
    """Thin lines from (x, y) to (x, y), as one path."""
    points = [(x, y) for x0, y0, x1, y1 in lines for x, y in ((x0, y0), (x1, y1), (math.nan, math.nan))]
    axes.plot(*zip(*points, strict=True), color=LIGHT[color], linewidth=1, zorder=0.9)


def draw_box(axes: Axes, x: float, y: float, width: float, height: float, color: str, alpha: float = 1) -> Any:
    """A rectangle without an outline, from (x, y) to (x + width, y + height)."""
    xs, ys = (x, x + width, x + width, x), (y, y, y + height, y + height)
    return axes.fill(xs, ys, facecolor=(LIGHT[color], alpha), linewidth=0)[0]


def check_suffix(path: Path) -> None:
    """Raises UsageError for a file that is neither SVG nor PNG."""
    if path.suffix.lower() not in (".svg", ".png"):
        raise UsageError(f"{path}: cannot write a figure as '{path.suffix}'; .svg or .png; choose one of them")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a ``.svg`` or ``.png``; atomic. Raises UsageError for another suffix."""
    check_suffix(path)
    if path.suffix.lower() == ".svg":
        write_text(path, to_svg(figure, standalone=True) + "\n")
        return
    with replacing(path) as partial:
        _render(figure, partial, format="png", dpi=2 * _DPI, metadata={"Software": None})


def to_svg(figure: Figure, *, standalone: bool = False) -> str:
    """One ``<svg>`` element: for a page, whose style sheet has ``dark_css``, or with that inside for a file."""
    buffer = io.BytesIO()
    for artist in (artist for axes in figure.axes if not axes.axison for artist in axes.get_children()):
        artist.set_clip_on(False)  # a canvas: the figure's edge cuts it
    _render(figure, buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    root = ElementTree.fromstring(buffer.getvalue())
    root.remove(root[0])  # the style sheet: * {stroke-linejoin: round; stroke-linecap: butt}
    _simplify(root)
    _, _, width, height = root.attrib["viewBox"].split()
    root.attrib = {
        "xmlns": "http://www.w3.org/2000/svg", "width": width, "height": height, "viewBox": root.attrib["viewBox"],
        "role": "img", "aria-label": _printable(figure.get_label()), "font-family": "system-ui, sans-serif",
        "stroke-linejoin": "round",
    }  # fmt: skip
    if standalone:
        css = ElementTree.Element("style")
        css.text = dark_css()
        root.insert(0, css)
    return ElementTree.tostring(root, encoding="unicode")


@style()
def _render(figure: Figure, file: Path | io.BytesIO, **options: Any) -> None:
    from matplotlib.text import Text

    for artist in figure.findobj():
        if artist.get_gid():
            artist.set_gid(_printable(artist.get_gid()))
        if isinstance(artist, Text):
            artist.set_text(_printable(artist.get_text()))
    figure.savefig(file, **options)


def _printable(text: str) -> str:
    """With replacement characters for those that neither XML nor a font has, such as bytes that are not UTF-8."""
    return re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\N{REPLACEMENT CHARACTER}", text)


def dark_css() -> str:
    """The style sheet with which figures follow a reader's dark mode."""
    rules = "".join(f'[{part}="{light}"]{{{part}:{dark}}}' for light, dark in PALETTE.values() for part in _PAINTED)
    return f"@media (prefers-color-scheme:dark){{{rules}}}"


_PAINTED = ("fill", "stroke")


def _simplify(element: ElementTree.Element) -> None:
    """The same picture in a third of the bytes: no namespaces, needless groups, ids and digits; tooltips as <title>."""
    for place, child in reversed(list(enumerate(element))):
        _simplify(child)
        if child.tag == "g" and not child.attrib:
            if (title := child.find("title")) is not None and len(child) == 2:  # of one shape: inside it
                child.remove(title)
                child[0].insert(0, title)
            if child.find("title") is None:
                element[place : place + 1] = list(child)
    element.tag = element.tag.rpartition("}")[2]
    element.text = (element.text or "").strip() or None
    element.tail = None
    attributes = {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
    attributes |= dict(re.findall(r"([\w-]+): *([^;]+)", attributes.pop("style", "")))
    if element.tag in ("g", "image"):
        identity = attributes.pop("id", "")
        if identity.startswith(_TOOLTIP):
            title = ElementTree.Element("title")
            title.text = identity.removeprefix(_TOOLTIP)
            element.insert(0, title)
    if element.tag == "image":
        attributes |= {"href": _with_palette(attributes["href"]), "preserveAspectRatio": "none"}
        del attributes["image-rendering"]
    for name, value in list(attributes.items()):
        if name == "font-family" or (name, value) == ("text-anchor", "start") or value.startswith("rotate(-0 "):
            del attributes[name]
        elif name in _ROUNDED:
            attributes[name] = re.sub(r"-?\d+\.\d+", _two_digits, " ".join(value.split()))
    element.attrib = attributes


_ROUNDED = frozenset({"d", "x", "y", "width", "height", "opacity", "fill-opacity"})


def _two_digits(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def _with_palette(uri: str) -> str:
    """An RGBA picture as one with a palette, a third of its size; as it is where it has more than 256 colors."""
    from PIL import Image

    prefix, data = uri.split(",", 1)
    picture = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")
    if not (colors := picture.getcolors(256)):
        return uri
    buffer = io.BytesIO()
    picture.quantize(len(colors), dither=Image.Dither.NONE).save(buffer, format="PNG", optimize=True)
    return f"{prefix},{base64.b64encode(buffer.getvalue()).decode()}"
