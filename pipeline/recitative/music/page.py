"""A page of generated music to listen to, look at and take along: one HTML file that needs nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources

from recitative.music.copies import Copy
from recitative.music.counterpoint import Share
from recitative.music.page_chart import charts
from recitative.music.picture import Given, piano_roll_svg
from recitative.music.piece import Piece
from recitative.music.statistics import Statistics, distances
from recitative.page.document import data_uri, document, tile

BARS_OF_A_PAIR = 4  # in a row of the piano roll, where two pictures share the width of the page


@dataclass(frozen=True)
class Exhibit:
    """One piece on the page, and what it is to be compared with.

    midi: a file's bytes, offered for download. sound: of a wav, ogg or mp3 file (``synth.mp3_bytes``), or none.
    note: what else is to be said. given: as for ``piano_roll_svg``.
    """

    heading: str
    piece: Piece
    midi: bytes
    sound: bytes = b""
    note: str = ""
    given: Given = None
    quarters_per_bar: int = 4
    beside: Exhibit | None = None


@dataclass(frozen=True)
class Comparison:
    """Statistics of what was generated and of a corpus; copies: the longest of each generated piece, by its heading."""

    generated: Statistics
    corpus: Statistics
    corpus_name: str = "corpus"
    copies: Sequence[tuple[str, Copy]] = ()


def music_page(
    items: Sequence[Exhibit], *, title: str, description: str = "", comparison: Comparison | None = None
) -> str:
    """The whole document: what is in numbers first, then each exhibit, with the one beside it on its right."""
    about = f'<p class="muted">{escape(description)}</p>' if description else ""
    body = f"<h1>{escape(title)}</h1>{about}{_compared(comparison) if comparison else ''}{_exhibits(items)}"
    return document(title, body, _resource("page.css"), _resource("page.js"))


def _exhibits(items: Sequence[Exhibit]) -> str:
    rows = []
    for item in items:
        bars = BARS_OF_A_PAIR if item.beside else None
        cards = [_card(one, bars) for one in (item, item.beside) if one]
        rows.append(f'<div class="{"pair" if item.beside else "alone"}">{"".join(cards)}</div>')
    return f"<h2>Pieces</h2>{''.join(rows)}" if rows else ""


def _card(item: Exhibit, bars_per_system: int | None) -> str:
    piece = item.piece
    facts = f"{piece.seconds:.0f} s · {len(piece.notes)} notes · {piece.quarters_per_minute:g} quarters a minute"
    note = f"<p>{escape(item.note)}</p>" if item.note else ""
    picture = piano_roll_svg(
        piece, given=item.given, quarters_per_bar=item.quarters_per_bar, bars_per_system=bars_per_system
    )
    heading = escape(item.heading)
    return (
        f'<article class="card"><h3>{heading} <span class="muted">{facts}</span></h3>{note}'
        f'<div class="player">{_audio(item)}{_download(item)}</div>'
        f'<div class="scroll" tabindex="0" role="group" aria-label="Piano roll of {heading}">{picture}</div></article>'
    )


def _audio(item: Exhibit) -> str:
    if not item.sound:
        return ""
    uri = data_uri(_kind_of_sound(item.sound), item.sound)
    return f'<audio controls preload="metadata" aria-label="{escape(item.heading)}" src="{uri}"></audio>'


def _download(item: Exhibit) -> str:
    name = re.sub(r"[^A-Za-z0-9]+", "-", item.heading).strip("-").lower() or "piece"
    uri = data_uri("audio/midi", item.midi)
    return f'<a class="button" download="{name}.mid" href="{uri}" aria-label="MIDI of {escape(item.heading)}">MIDI</a>'


def _kind_of_sound(sound: bytes) -> str:
    """By the first bytes; what is neither wav nor ogg is MP3, which begins with a tag or a frame."""
    if sound.startswith(b"RIFF"):
        return "audio/wav"
    return "audio/ogg" if sound.startswith(b"OggS") else "audio/mpeg"


def _compared(comparison: Comparison) -> str:
    names = ("generated", comparison.corpus_name)
    figures = charts(comparison.generated, comparison.corpus, names)
    return (
        f"{_tiles(comparison)}<h2>In numbers</h2>"
        f'<div class="grid-2"><div class="card">{_table(comparison)}</div>{_copies(comparison)}</div>'
        f'<div class="charts">{figures}</div>'
    )


def _tiles(comparison: Comparison) -> str:
    apart = distances(comparison.generated, comparison.corpus)
    beside = f"total variation from {comparison.corpus_name}"
    tiles = [
        tile(str(comparison.generated.pieces), "pieces", f"{float(comparison.generated.quarters):g} quarters"),
        *(
            tile(_number(value), name, beside)
            for name, value in (
                ("pitch classes", apart.pitch_classes),
                ("melodic intervals", apart.intervals),
                ("note lengths", apart.note_lengths),
                ("chords", apart.sonorities),
            )
        ),
    ]
    if comparison.copies:
        longest = max(copy.length for _, copy in comparison.copies)
        tiles.append(tile(f"{longest} steps", "longest copy", f"in any piece of {comparison.corpus_name}"))
    return f'<div class="tiles">{"".join(tiles)}</div>'


_ROWS: tuple[tuple[str, Callable[[Statistics], Share]], ...] = (
    ("parallel fifths, per 100 changes of chord", lambda of: of.fifths),
    ("parallel octaves, per 100 changes of chord", lambda of: of.octaves),
    ("voices crossed, % of steps", lambda of: of.crossings),
    ("triads, % of chords", lambda of: of.triads),
    ("sevenths, % of chords", lambda of: of.sevenths),
)


def _table(comparison: Comparison) -> str:
    both = (comparison.generated, comparison.corpus)
    rows = [
        _row("pieces", [str(of.pieces) for of in both]),
        _row("quarters a piece", [f"{float(of.quarters) / max(1, of.pieces):.1f}" for of in both]),
        _row("notes a quarter", [f"{of.notes / max(1.0, float(of.quarters)):.2f}" for of in both]),
        *(_row(name, [_number(100 * share(of).rate) for of in both]) for name, share in _ROWS),
        *(
            _row(f"range of voice {voice + 1}, MIDI", [_range(of, voice) for of in both])
            for voice in range(len(comparison.generated.ranges))
        ),
    ]
    head = _row("", ["generated", escape(comparison.corpus_name)], "th")
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table></div>'


def _row(name: str, values: Sequence[str], cell: str = "td") -> str:
    cells = "".join(f'<{cell} class="n">{value}</{cell}>' for value in values)
    return f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>'


def _copies(comparison: Comparison) -> str:
    """Each piece's longest, the longest first."""
    if not comparison.copies:
        return ""
    ordered = sorted(comparison.copies, key=lambda item: -item[1].length)
    rows = "".join(_row(heading, _copied(copy)) for heading, copy in ordered)
    head = _row("piece", ["steps", "in", "at step", "semitones"], "th")
    return (
        '<div class="card"><h3>Longest copies <span class="muted">all voices, note for note, in any key</span></h3>'
        f'<div class="scroll tall" tabindex="0" role="group" aria-label="Longest copies"><table><thead>{head}</thead>'
        f"<tbody>{rows}</tbody></table></div></div>"
    )


def _copied(copy: Copy) -> list[str]:
    if not copy.length:
        return ["0", "&ndash;", "&ndash;", "&ndash;"]
    return [str(copy.length), escape(copy.name), str(copy.start), f"{copy.transposition:+d}"]


def _range(of: Statistics, voice: int) -> str:
    low, high = of.ranges[voice] if voice < len(of.ranges) else (1, 0)
    return f"{low}&ndash;{high}" if low <= high else "&ndash;"


def _number(value: float) -> str:
    return f"{value:.2f}" if value == value else "&ndash;"  # NaN isn't itself


def _resource(name: str) -> str:
    return (resources.files("recitative.music") / name).read_text(encoding="utf-8")
