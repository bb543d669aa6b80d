"""The HTML page of music: players, piano rolls, MIDI files, and statistics compared with those of a corpus.

A piano roll has time to the right and pitch upwards; a long piece is split into systems of bars as in a score. Its
coordinates are those of the figure: x from the left, y from the top.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from recitative.music.piece import HIGHEST, LOWEST, Note, Piece
from recitative.music.statistics import CHORDS, OTHER, Copy, Share, Statistics, distances
from recitative.report.charts import bar_chart
from recitative.report.figure import LIGHT, Axes, Figure, Playable, add_tooltip, canvas, draw_box, draw_lines, style
from recitative.report.page import DASH, data_uri, render

Given = Collection[Note] | Callable[[Note], bool] | None
"""The given notes: a collection, a predicate, or unknown."""
VOICE_COLORS = tuple(f"series-{n}" for n in range(1, 7))  # of the palette, repeated after the sixth voice
_SWATCH = 11.0
TITLE_HEIGHT = 20.0
LEFT, RIGHT = 38.0, 12.0  # margins of a system; the left one has the names of pitches
HEAD, ABOVE, BELOW = 44.0, 15.0, 12.0  # title and legend; bar numbers above a system; space below it
WIDTH = 960.0  # of a full system
MAX_QUARTER_WIDTH = 36.0
MIN_WIDTH = 420.0  # for title and legend
ROW = 5.0  # height of a semitone
BLACK_KEYS = frozenset({1, 3, 6, 8, 10})
OCTAVE = 12
PITCH_CLASSES = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")


@dataclass(frozen=True)
class Box:
    """A note, or its part in one system."""

    note: Note
    x: float
    y: float
    width: float


@dataclass(frozen=True)
class System:
    """A row of bars, from step ``first`` to before ``stop``, with its top edge at ``y``."""

    first: int
    stop: int
    y: float


@dataclass(frozen=True)
class Roll:
    """The layout of a figure. low, high: the lowest and highest pitch with a row"""

    piece: Piece
    quarters_per_bar: int
    systems: tuple[System, ...]
    step_width: float
    low: int
    high: int

    @classmethod
    def of(cls, piece: Piece, quarters_per_bar: int = 4, bars_per_system: int | None = None) -> Roll:
        """bars_per_system: default 8, or 16 for more than 64 bars. Raises ValueError for less than a quarter per
        bar."""
        if quarters_per_bar < 1:
            raise ValueError(f"{quarters_per_bar} quarters per bar; at least 1")
        bar = quarters_per_bar * piece.steps_per_quarter
        bars = max(1, math.ceil(piece.length / bar))
        per_system = min(bars, bars_per_system or (8 if bars <= 64 else 16))
        low, high = _pitch_range(piece)
        apart = ABOVE + (high - low + 1) * ROW + BELOW
        systems = tuple(
            System(first * bar, min(first + per_system, bars) * bar, HEAD + ABOVE + n * apart)
            for n, first in enumerate(range(0, bars, per_system))
        )
        widest = MAX_QUARTER_WIDTH / piece.steps_per_quarter
        step_width = min(widest, (WIDTH - LEFT - RIGHT) / (per_system * bar))
        return cls(piece, quarters_per_bar, systems, step_width, low, high)

    @property
    def width(self) -> float:
        longest = max(system.stop - system.first for system in self.systems)
        return max(MIN_WIDTH, LEFT + longest * self.step_width + RIGHT)

    @property
    def height(self) -> float:
        return self.systems[-1].y + self.system_height + BELOW

    @property
    def system_height(self) -> float:
        return (self.high - self.low + 1) * ROW

    @property
    def steps_per_bar(self) -> int:
        return self.quarters_per_bar * self.piece.steps_per_quarter

    def x(self, system: System, step: int) -> float:
        return LEFT + (step - system.first) * self.step_width

    def y(self, system: System, pitch: int) -> float:
        """The upper edge of a pitch's row."""
        return system.y + (self.high - pitch) * ROW

    def octaves(self) -> range:
        """All Cs with a row."""
        return range(self.low + -self.low % OCTAVE, self.high + 1, OCTAVE)

    def boxes(self) -> Iterator[Box]:
        """One for each note and each of its systems, in the order of the notes."""
        for note in self.piece.notes:
            for system in self.systems:
                start, stop = max(note.start, system.first), min(note.end, system.stop)
                if start < stop:
                    width = (stop - start) * self.step_width
                    yield Box(note, self.x(system, start), self.y(system, note.pitch), width)


def pitch_name(pitch: int) -> str:
    """C4 for 60."""
    return f"{PITCH_CLASSES[pitch % OCTAVE]}{pitch // OCTAVE - 1}"


def _pitch_range(piece: Piece) -> tuple[int, int]:
    """The pitches with a row: a whole tone more than the notes on both sides, and at least an octave."""
    pitches = [note.pitch for note in piece.notes] or [60]
    low, high = min(pitches) - 2, max(pitches) + 2
    missing = max(0, OCTAVE - (high - low + 1))
    low, high = low - missing // 2, high + (missing + 1) // 2
    return max(LOWEST, low), min(HIGHEST, high)


@style()
def piano_roll(
    piece: Piece, *, title: str = "", given: Given = None, quarters_per_bar: int = 4, bars_per_system: int | None = None
) -> Playable:
    """The figure and the times of its systems. Given notes are outlined, others filled.

    Raises ValueError for less than a quarter per bar.
    """
    roll = Roll.of(piece, quarters_per_bar, bars_per_system)
    top = 0 if title else TITLE_HEIGHT  # no empty line without a title
    name = title or piece.name or "a piece"
    size = f"{len(piece.notes)} notes in {piece.voices} voices, {piece.seconds:.0f} seconds"
    figure, axes = canvas(roll.width, roll.height - top, f"Piano roll of {name}: {size}")
    axes.set_ylim(roll.height, top)
    axes.text(LEFT, 18, title, size=14, weight="bold", color=LIGHT["ink"])
    _draw_legend(axes, piece, given is not None)
    systems = []
    for system in roll.systems:
        _draw_system(axes, roll, system)
        start_s, end_s = (round(step * piece.step_s, 4) for step in (system.first, system.stop))
        width = roll.x(system, system.stop) - LEFT
        systems.append((start_s, end_s, LEFT, system.y - top, width, roll.system_height))
    is_given = given if callable(given) else frozenset(given or ()).__contains__
    for box in roll.boxes():
        note, width = box.note, box.width - min(1.2, box.width / 4)  # leaves a gap between repeated notes
        drawn = _draw_note(axes, (box.x, box.y, width, ROW), note.voice, is_given(note))
        quarters = note.length / piece.steps_per_quarter
        add_tooltip(drawn, f"{pitch_name(note.pitch)}, {quarters:.3g} quarters, {note.start * piece.step_s:.2f} s")
    return Playable(figure, systems)


def _draw_note(axes: Axes, box: tuple[float, float, float, float], voice: int | None, given: bool) -> Any:
    color = "muted" if voice is None else VOICE_COLORS[voice % len(VOICE_COLORS)]
    drawn = draw_box(axes, *box, color, 0.15 if given else 1)
    if given:
        drawn.set(edgecolor=LIGHT[color], linewidth=1.2)
    return drawn


def _draw_legend(axes: Axes, piece: Piece, shows_given: bool) -> None:
    entries: list[tuple[str, int | None, bool]] = []
    if piece.voices > 1:
        entries += [(f"voice {voice + 1}", voice, False) for voice in range(piece.voices)]
    if shows_given:
        entries += [("generated", None, False), ("given", None, True)]
    x = LEFT
    for name, voice, given in entries:
        _draw_note(axes, (x, 27.5, _SWATCH, 7), voice, given)
        axes.text(x + _SWATCH + 4, 34.5, name, size=10)
        x += _SWATCH + 18 + 5.8 * len(name)


def _draw_system(axes: Axes, roll: Roll, system: System) -> None:
    """Draw stripes for black keys, lines for quarters, bars and Cs, the numbers of bars and the names of Cs."""
    end, foot, piece = roll.x(system, system.stop), system.y + roll.system_height, roll.piece
    for pitch in range(roll.low, roll.high + 1):
        if pitch % OCTAVE in BLACK_KEYS:
            draw_box(axes, LEFT, roll.y(system, pitch), end - LEFT, ROW, "stripe").set_zorder(0.5)
    quarters = [roll.x(system, step) for step in range(system.first, system.stop, piece.steps_per_quarter)]
    draw_lines(axes, [(x, system.y, x, foot) for x in quarters], "rule")
    draw_lines(
        axes, [(LEFT, roll.y(system, c) + ROW, end, roll.y(system, c) + ROW) for c in roll.octaves()], "strong-rule"
    )
    bars = range(system.first, system.stop + 1, roll.steps_per_bar)
    draw_lines(axes, [(roll.x(system, step), system.y - 4, roll.x(system, step), foot) for step in bars], "strong-rule")
    for step in bars[:-1]:
        axes.text(roll.x(system, step) + 3, system.y - 4, str(step // roll.steps_per_bar + 1), size=10)
    for pitch in roll.octaves():
        axes.text(LEFT - 5, roll.y(system, pitch) + ROW, pitch_name(pitch), size=10, ha="right", va="center_baseline")


COMPARED_BARS = 4  # of a system, if two piano rolls are side by side
MAX_INTERVAL = 12  # semitones; wider melodic intervals are clipped
MAX_LENGTHS = 12
_CHORDS = dict(zip((*CHORDS, OTHER), ("maj", "min", "dim", "aug", "7", "maj7", "min7", "ø7", "o7", OTHER), strict=True))


@dataclass(frozen=True)
class Exhibit:
    """One piece on the page.

    midi: the file to download; sound: a wav, ogg or mp3 file, or empty; note: text under the heading; given: see
    ``piano_roll``; beside: a piece shown on the right for comparison
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
    """Statistics of generated pieces and of a corpus. copies: (name, longest copy) of each generated piece"""

    generated: Statistics
    corpus: Statistics
    corpus_name: str = "corpus"
    copies: Sequence[tuple[str, Copy]] = ()


def music_page(
    items: Sequence[Exhibit], *, title: str, description: str = "", comparison: Comparison | None = None
) -> str:
    """The page with statistics and all pieces."""
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
    """Detected from the first bytes; other sounds than wav and ogg are MP3."""
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
    """Captions and figures of the histograms, as shares."""
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
        ("Pitch classes, by duration", _histogram(PITCH_CLASSES, pitches, names, "pitch class")),
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
