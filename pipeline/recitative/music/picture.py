"""The picture of a piece: a piano roll as SVG, or as PNG through matplotlib.

Colours are Okabe and Ito's, which the colour-blind can tell apart, with lighter shades of them on dark pages.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from recitative.atomic import replacing, write_text
from recitative.errors import UsageError
from recitative.music.piece import Note, Piece
from recitative.music.roll import BLACK_KEYS, LEFT, OCTAVE, ROW, Box, Roll, System, pitch_name

Given = Collection[Note] | Callable[[Note], bool] | None
"""Which notes were given, by someone else than the generator: a set of them, a predicate, or not told."""

LIGHT = ("#0072b2", "#d55e00", "#009e73", "#b3589a", "#56b4e9", "#8a6d00")  # of the voices; a seventh has the first's
DARK = ("#5aa9f0", "#ff8a3d", "#2fcf9f", "#e59bcb", "#9ad4f7", "#d9bb3c")
_GREY = "#69707a"
# Named under .piano-roll, for a page has more CSS; no variables, for programs other than browsers don't know them.
_STYLE = (
    ".piano-roll .back{fill:#fff}.piano-roll .row{fill:#f2f3f5}"
    ".piano-roll text{fill:#555b64;font:10px system-ui,sans-serif}"
    ".piano-roll .title{fill:#1d2025;font-size:14px;font-weight:600}"
    ".piano-roll .quarter{stroke:#e6e8eb;fill:none}.piano-roll .bar{stroke:#b4b9c1;fill:none}"
    ".piano-roll .octave{stroke:#c9cdd4;fill:none}.piano-roll .plain{fill:#69707a;stroke:#69707a}"
    ".piano-roll .given{fill-opacity:.15;stroke-width:1.2}"
    ".piano-roll .playhead{stroke:#d1293d;stroke-width:2;visibility:hidden}"
)
_DARK_STYLE = (
    ".piano-roll .back{fill:#1e2125}.piano-roll .row{fill:#262a2f}.piano-roll text{fill:#a9afb9}"
    ".piano-roll .title{fill:#e6e7ea}.piano-roll .quarter{stroke:#2f343a}.piano-roll .bar{stroke:#59606a}"
    ".piano-roll .octave{stroke:#434951}.piano-roll .plain{fill:#979da7;stroke:#979da7}"
)
_SWATCH = 11.0
_TITLE_HEIGHT = 20.0
_DPI = 100


def piano_roll_svg(
    piece: Piece, *, title: str = "", given: Given = None, quarters_per_bar: int = 4, bars_per_system: int | None = None
) -> str:
    """One ``<svg>`` that scales and needs nothing else; for a file, or for a page.

    A note is a ``<rect class="note">`` with what it is as its ``<title>``; one that runs over the end of a system is
    two. Given notes are outlined, others filled. ``data-`` attributes of the systems hold their times in seconds.
    """
    roll = Roll.of(piece, quarters_per_bar, bars_per_system)
    top = 0 if title else _TITLE_HEIGHT  # no empty line where it would be
    height = f"{roll.height - top:g}"
    is_given = predicate(given)
    parts = [
        _style(piece.voices),
        f'<rect class="back" width="{roll.width:g}" height="{roll.height:g}" rx="6"/>',
        f'<text class="title" x="{LEFT:g}" y="18">{escape(title)}</text>' if title else "",
        *map(_legend_entry, _keys(piece, given is not None)),
        *(_system(roll, system) for system in roll.systems),
        *(_note(box, piece, given=is_given(box.note)) for box in roll.boxes()),
        f'<path class="playhead" d="M0 0v{roll.system_height:g}"/>',
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="piano-roll" viewBox="0 {top:g} {roll.width:g} {height}" '
        f'width="{roll.width:g}" height="{height}" role="img" aria-label="{escape(_said(piece, title))}">'
        f"{''.join(parts)}</svg>\n"
    )


def write_picture(
    piece: Piece, path: str | Path, *, title: str = "", given: Given = None, quarters_per_bar: int = 4
) -> None:
    """Write a ``.svg`` or ``.png``; atomic. Raises UsageError for another suffix, or a PNG without matplotlib."""
    suffix = Path(path).suffix.lower()
    if suffix == ".svg":
        write_text(path, piano_roll_svg(piece, title=title, given=given, quarters_per_bar=quarters_per_bar))
    elif suffix == ".png":
        _write_png(Roll.of(piece, quarters_per_bar), Path(path), title, given)
    else:
        raise UsageError(f"{path}: a picture cannot be '{suffix}'; .svg or .png; choose one of them")


def predicate(given: Given) -> Callable[[Note], bool]:
    """Whether a note was given."""
    if callable(given):
        return given
    notes = frozenset(given or ())
    return lambda note: note in notes


def _said(piece: Piece, title: str) -> str:
    """What a screen reader says of the picture."""
    name = title or piece.name or "a piece"
    return f"Piano roll of {name}: {len(piece.notes)} notes in {piece.voices} voices, {piece.seconds:.0f} seconds"


def _style(voices: int) -> str:
    light = "".join(_voice_style(voice, LIGHT) for voice in range(voices))
    dark = "".join(_voice_style(voice, DARK) for voice in range(voices))
    return f"<style>{_STYLE}{light}@media (prefers-color-scheme:dark){{{_DARK_STYLE}{dark}}}</style>"


def _voice_style(voice: int, colours: tuple[str, ...]) -> str:
    colour = colours[voice % len(colours)]
    return f".piano-roll .v{voice}{{fill:{colour};stroke:{colour}}}"


@dataclass(frozen=True)
class _Key:
    """One entry of the legend, at ``x``; of no voice: what a filled and an outlined note mean."""

    x: float
    name: str
    voice: int | None
    given: bool = False


def _keys(piece: Piece, tells_given: bool) -> Iterator[_Key]:
    x = LEFT
    entries: list[tuple[str, int | None, bool]] = []
    if piece.voices > 1:
        entries += [(f"voice {voice + 1}", voice, False) for voice in range(piece.voices)]
    if tells_given:
        entries += [("generated", None, False), ("given", None, True)]
    for name, voice, given in entries:
        yield _Key(x, name, voice, given)
        x += _SWATCH + 16 + 5.6 * len(name)


def _legend_entry(key: _Key) -> str:
    style = f"{'plain' if key.voice is None else f'v{key.voice}'}{' given' if key.given else ''}"
    return (
        f'<rect class="swatch {style}" x="{key.x:g}" y="27.5" width="{_SWATCH:g}" height="7" rx="1.5"/>'
        f'<text x="{key.x + _SWATCH + 4:g}" y="34.5">{key.name}</text>'
    )


def _system(roll: Roll, system: System) -> str:
    step_s = roll.piece.step_s
    lines = [*_rows(roll, system), _quarters(roll, system), *_octaves(roll, system), *_bars(roll, system)]
    return (
        f'<g class="system" data-from="{system.first * step_s:.4f}" data-to="{system.stop * step_s:.4f}" '
        f'data-x="{LEFT:g}" data-y="{system.y:g}" data-width="{roll.x(system, system.stop) - LEFT:g}">'
        f"{''.join(lines)}</g>"
    )


def _rows(roll: Roll, system: System) -> Iterator[str]:
    """The black keys, one path for all."""
    width = roll.x(system, system.stop) - LEFT
    black = [pitch for pitch in range(roll.low, roll.high + 1) if pitch % OCTAVE in BLACK_KEYS]
    d = "".join(f"M{LEFT:g} {roll.y(system, pitch):g}h{width:g}v{ROW:g}h{-width:g}z" for pitch in black)
    yield f'<path class="row" d="{d}"/>'


def _quarters(roll: Roll, system: System) -> str:
    steps = range(system.first, system.stop, roll.piece.steps_per_quarter)
    d = "".join(f"M{roll.x(system, step):.2f} {system.y:g}v{roll.system_height:g}" for step in steps)
    return f'<path class="quarter" d="{d}"/>'


def _octaves(roll: Roll, system: System) -> Iterator[str]:
    """A line under each C, and its name."""
    for pitch in roll.octaves():
        y = roll.y(system, pitch) + ROW
        yield f'<path class="octave" d="M{LEFT:g} {y:g}H{roll.x(system, system.stop):.2f}"/>'
        yield f'<text x="{LEFT - 5:g}" y="{y + 1:g}" text-anchor="end">{pitch_name(pitch)}</text>'


def _bars(roll: Roll, system: System) -> Iterator[str]:
    for step in range(system.first, system.stop + 1, roll.steps_per_bar):
        x = roll.x(system, step)
        yield f'<path class="bar" d="M{x:.2f} {system.y - 4:g}v{roll.system_height + 4:g}"/>'
        if step < system.stop:
            yield f'<text x="{x + 3:.2f}" y="{system.y - 4:g}">{step // roll.steps_per_bar + 1}</text>'


def _note(box: Box, piece: Piece, *, given: bool) -> str:
    note = box.note
    quarters = note.length / piece.steps_per_quarter
    style = f"note v{note.voice}{' given' if given else ''}"
    said = f"{pitch_name(note.pitch)}, {quarters:.3g} quarters, {note.start * piece.step_s:.2f} s"
    return (
        f'<rect class="{style}" stroke-width="0" x="{box.x:.2f}" y="{box.y:g}" width="{box.width - _gap(box):.2f}" '
        f'height="{box.height:g}" rx="1.2"><title>{said}</title></rect>'
    )


def _write_png(roll: Roll, path: Path, title: str, given: Given) -> None:
    """The same boxes and lines at twice the size."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError(f"{path}: a PNG needs matplotlib; pip install matplotlib, or choose .svg") from None
    figure = Figure(figsize=(2 * roll.width / _DPI, 2 * roll.height / _DPI), dpi=_DPI)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, roll.width), ylim=(roll.height, 0))
    axes.set_axis_off()
    axes.text(LEFT, 18, title, size=20)
    _draw_lines(axes, roll)
    for key in _keys(roll.piece, given is not None):
        _draw_box(axes, (key.x, 27.5, _SWATCH, 7.0), key.voice, key.given)
        axes.text(key.x + _SWATCH + 4, 34.5, key.name, size=13, color=_GREY)
    is_given = predicate(given)
    for box in roll.boxes():
        _draw_box(axes, (box.x, box.y, box.width - _gap(box), box.height), box.note.voice, is_given(box.note))
    with replacing(path) as partial:
        figure.savefig(partial, format="png")


def _draw_box(axes: Any, place: tuple[float, float, float, float], voice: int | None, given: bool) -> None:
    from matplotlib.patches import Rectangle

    x, y, width, height = place
    colour = _GREY if voice is None else LIGHT[voice % len(LIGHT)]
    face = (colour, 0.15) if given else colour
    axes.add_patch(Rectangle((x, y), width, height, facecolor=face, edgecolor=colour, linewidth=1))


def _draw_lines(axes: Any, roll: Roll) -> None:
    for system in roll.systems:
        bottom, end = system.y + roll.system_height, roll.x(system, system.stop)
        for step in range(system.first, system.stop + 1, roll.piece.steps_per_quarter):
            colour = "#b4b9c1" if step % roll.steps_per_bar == 0 else "#e6e8eb"
            axes.plot([roll.x(system, step)] * 2, [system.y, bottom], color=colour, linewidth=1, zorder=0)
        for step in range(system.first, system.stop, roll.steps_per_bar):
            number = str(step // roll.steps_per_bar + 1)
            axes.text(roll.x(system, step) + 3, system.y - 4, number, size=13, color=_GREY)
        for pitch in roll.octaves():
            y = roll.y(system, pitch) + ROW
            axes.plot([LEFT, end], [y, y], color="#c9cdd4", linewidth=1, zorder=0)
            axes.text(LEFT - 5, y, pitch_name(pitch), ha="right", va="center", size=13, color=_GREY)


def _gap(box: Box) -> float:
    """A note is drawn a hair narrower than it lasts, so that notes that are repeated are seen to be."""
    return min(1.2, box.width / 4)
