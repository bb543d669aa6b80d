"""The HTML page of generated music: players, piano rolls, MIDI files, and statistics beside those of a corpus."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from recitative.music.copies import Copy
from recitative.music.counterpoint import CHORDS, OTHER, Share
from recitative.music.picture import Given, piano_roll
from recitative.music.piece import Piece
from recitative.music.statistics import Statistics, distances
from recitative.report.charts import bar_chart
from recitative.report.figure import Figure
from recitative.report.page import DASH, data_uri, render

COMPARED_BARS = 4  # in a row of the piano roll, where two share the width of the page
MAX_INTERVAL = 12  # semitones; wider melodic intervals are counted with these
MAX_LENGTHS = 12
_PITCH_CLASSES = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")
_CHORDS = dict(zip((*CHORDS, OTHER), ("maj", "min", "dim", "aug", "7", "maj7", "min7", "ø7", "o7", OTHER), strict=True))


@dataclass(frozen=True)
class Exhibit:
    """One piece on the page, and the one shown on its right for comparison.

    midi: the file that can be downloaded. sound: a wav, ogg or mp3 file (``synth.mp3_bytes``), or empty. note: a text
    under the heading. given: as for ``picture.piano_roll``.
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
    """Statistics of generated pieces and of a corpus. copies: the longest one in each generated piece, by heading."""

    generated: Statistics
    corpus: Statistics
    corpus_name: str = "corpus"
    copies: Sequence[tuple[str, Copy]] = ()


def music_page(
    items: Sequence[Exhibit], *, title: str, description: str = "", comparison: Comparison | None = None
) -> str:
    """The page: statistics first, then each piece."""
    groups = [[one for one in (item, item.beside) if one] for item in items]
    return render(
        "music.html.j2",
        title=title,
        description=description,
        pieces=[[_piece(one, COMPARED_BARS if len(group) > 1 else None) for one in group] for group in groups],
        **(_compared(comparison) if comparison else {"tiles": []}),
    )


def _piece(item: Exhibit, bars_per_system: int | None) -> dict[str, Any]:
    piece = item.piece
    name = re.sub(r"[^A-Za-z0-9]+", "-", item.heading).strip("-").lower() or "piece"
    roll = piano_roll(piece, given=item.given, quarters_per_bar=item.quarters_per_bar, bars_per_system=bars_per_system)
    return {
        "heading": item.heading,
        "facts": f"{piece.seconds:.0f} s · {len(piece.notes)} notes · {piece.quarters_per_minute:g} quarters a minute",
        "note": item.note,
        "sound": data_uri(_mime_type(item.sound), item.sound) if item.sound else "",
        "file_name": f"{name}.mid",
        "midi": data_uri("audio/midi", item.midi),
        "roll": roll,
    }


def _mime_type(sound: bytes) -> str:
    """By the first bytes; a sound that is neither wav nor ogg is MP3, which begins with a tag or a frame."""
    if sound.startswith(b"RIFF"):
        return "audio/wav"
    return "audio/ogg" if sound.startswith(b"OggS") else "audio/mpeg"


_SHARES: tuple[tuple[str, Callable[[Statistics], Share]], ...] = (
    ("parallel fifths, per 100 changes of chord", lambda of: of.fifths),
    ("parallel octaves, per 100 changes of chord", lambda of: of.octaves),
    ("voices crossed, % of steps", lambda of: of.crossings),
    ("triads, % of chords", lambda of: of.triads),
    ("sevenths, % of chords", lambda of: of.sevenths),
)


def _compared(comparison: Comparison) -> dict[str, Any]:
    generated, corpus, corpus_name = comparison.generated, comparison.corpus, comparison.corpus_name
    both = (generated, corpus)
    rows = [
        ("pieces", [str(of.pieces) for of in both]),
        ("quarters per piece", [f"{float(of.quarters) / max(1, of.pieces):.1f}" for of in both]),
        ("notes per quarter", [f"{of.notes / max(1.0, float(of.quarters)):.2f}" for of in both]),
        *((name, [_number(100 * share(of).rate) for of in both]) for name, share in _SHARES),
        *(
            (f"range of voice {voice + 1}, MIDI", [_range(of, voice) for of in both])
            for voice in range(len(generated.ranges))
        ),
    ]
    return {
        "tiles": _tiles(comparison),
        "corpus_name": corpus_name,
        "statistics": rows,
        "copies": [(name, _copied(copy)) for name, copy in sorted(comparison.copies, key=lambda item: -item[1].length)],
        "charts": charts(generated, corpus, ("generated", corpus_name)),
    }


def _copied(copy: Copy) -> tuple[int | str, ...]:
    if not copy.length:
        return 0, DASH, DASH, DASH
    return copy.length, copy.name, copy.start, f"{copy.transposition:+d}"


def _tiles(comparison: Comparison) -> list[tuple[str, str, str]]:
    """(value, name, detail)."""
    apart = distances(comparison.generated, comparison.corpus)
    detail = f"total variation distance from {comparison.corpus_name}"
    values = (
        ("pitch classes", apart.pitch_classes),
        ("melodic intervals", apart.intervals),
        ("note lengths", apart.note_lengths),
        ("chords", apart.sonorities),
    )
    tiles = [
        (str(comparison.generated.pieces), "pieces", f"{float(comparison.generated.quarters):g} quarters"),
        *((_number(value), name, detail) for name, value in values),
    ]
    if comparison.copies:
        longest = max(copy.length for _, copy in comparison.copies)
        tiles.append((f"{longest} steps", "longest copy", f"in any piece of {comparison.corpus_name}"))
    return tiles


def charts(first: Statistics, second: Statistics, names: tuple[str, str]) -> list[tuple[str, Figure]]:
    """Captions and figures of the histograms, as shares, since the corpora differ in size."""
    intervals = [Counter[int](), Counter[int]()]
    for counts, one in zip(intervals, (first, second), strict=True):
        for interval, count in one.all_intervals.items():
            counts[max(-MAX_INTERVAL, min(MAX_INTERVAL, interval))] += count
    span = range(-MAX_INTERVAL, MAX_INTERVAL + 1)
    signed = ["0" if n == 0 else f"{n:+d}".replace("-", "\N{MINUS SIGN}") if n % 2 == 0 else "" for n in span]
    both = first.note_lengths + second.note_lengths
    lengths = sorted(length for length, _ in both.most_common(MAX_LENGTHS))
    by_length = [[*(one.note_lengths[n] for n in lengths), _rest(one.note_lengths, lengths)] for one in (first, second)]
    length_names = [*(f"{float(n):.3g}" for n in lengths), OTHER]
    if not any(counts[-1] for counts in by_length):
        length_names, by_length = length_names[:-1], [counts[:-1] for counts in by_length]
    pitches = [[one.pitch_classes[n] for n in range(12)] for one in (first, second)]
    chords = [[one.sonorities[name] for name in _CHORDS] for one in (first, second)]
    steps = [[counts[n] for n in span] for counts in intervals]
    return [
        ("Pitch classes, by duration", _histogram(_PITCH_CLASSES, pitches, names, "pitch class")),
        ("Melodic intervals", _histogram(signed, steps, names, "semitones")),
        ("Note lengths", _histogram(length_names, by_length, names, "quarters")),
        ("Chords, by duration", _histogram(list(_CHORDS.values()), chords, names, "chord")),
    ]


def _rest(counts: Counter[Fraction], shown: Sequence[Fraction]) -> int:
    return counts.total() - sum(counts[n] for n in shown)


def _histogram(labels: Sequence[str], counts: Sequence[Sequence[int]], names: tuple[str, str], unit: str) -> Figure:
    shares = [(name, [n / (sum(of) or 1) for n in of]) for name, of in zip(names, counts, strict=True)]
    return bar_chart(labels, shares, f"Histogram: {unit}", unit)


def _range(of: Statistics, voice: int) -> str:
    low, high = of.ranges[voice] if voice < len(of.ranges) else (1, 0)
    return f"{low}{DASH}{high}" if low <= high else DASH


def _number(value: float) -> str:
    return DASH if math.isnan(value) else f"{value:.2f}"
