"""The HTML page of music: players, piano rolls, MIDI files, and statistics compared with those of a corpus.

A piano roll has time to the right and pitch upwards; a long piece is split into systems of bars as in a score.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from recitative.errors import counted
from recitative.music.melody import HOP, HOP_S, SAMPLE_RATE, Melody
from recitative.music.piece import HIGHEST, LOWEST, Note, Piece, key_name, tonic_of
from recitative.music.statistics import CHORDS, NO_RANGE, OTHER, Copy, Statistics, distances
from recitative.report.charts import bar_chart, draw_levels
from recitative.report.figure import (
    DASHES,
    LIGHT,
    WHITE,
    Axes,
    Figure,
    Playable,
    add_tooltip,
    canvas,
    draw_box,
    draw_lines,
    new_figure,
    style,
    to_svg,
)
from recitative.report.page import DASH, data_uri, render

VOICE_COLORS = tuple(f"series-{n}" for n in range(1, 7))  # of the palette, repeated after the sixth voice
_SWATCH = 11.0
LEFT, RIGHT = 38.0, 12.0  # margins of a system; the left one has the names of pitches
HEAD, ABOVE, BELOW = 24.0, 15.0, 12.0  # legend; bar numbers above a system; space below it
WIDTH = 960.0  # of a full system
MAX_QUARTER_WIDTH = 36.0
MIN_WIDTH = 420.0  # for the legend
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
    """The layout of a figure: x from the left, y from the top. low, high: the lowest and highest pitch with a row"""

    piece: Piece
    steps_per_bar: int
    systems: tuple[System, ...]
    step_width: float
    low: int
    high: int

    @classmethod
    def of(cls, piece: Piece, quarters_per_bar: int = 4) -> Roll:
        """Systems of 8 bars, or of 16 for more than 64 bars. Raises ValueError for less than a quarter per bar.

        The rows are those of the notes and of a whole tone on both sides, at least an octave.
        """
        if quarters_per_bar < 1:
            raise ValueError(f"{quarters_per_bar} quarters per bar; at least 1")
        pitches = [note.pitch for note in piece.notes] or [60]
        low, high = min(pitches) - 2, max(pitches) + 2
        missing = max(0, OCTAVE - (high - low + 1))
        low, high = max(LOWEST, low - missing // 2), min(HIGHEST, high + (missing + 1) // 2)
        bar = quarters_per_bar * piece.steps_per_quarter
        bars = max(1, math.ceil(piece.length / bar))
        per_system = min(bars, 8 if bars <= 64 else 16)
        apart = ABOVE + (high - low + 1) * ROW + BELOW
        systems = tuple(
            System(first * bar, min(first + per_system, bars) * bar, HEAD + ABOVE + n * apart)
            for n, first in enumerate(range(0, bars, per_system))
        )
        widest = MAX_QUARTER_WIDTH / piece.steps_per_quarter
        step_width = min(widest, (WIDTH - LEFT - RIGHT) / (per_system * bar))
        return cls(piece, bar, systems, step_width, low, high)

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


@style()
def piano_roll(piece: Piece, *, given: Collection[Note] | None = None, quarters_per_bar: int = 4) -> Playable:
    """The figure and the times of its systems. Given notes are outlined, others filled; None: unknown.

    Raises ValueError for less than a quarter per bar.
    """
    roll = Roll.of(piece, quarters_per_bar)
    size = f"{len(piece.notes)} notes in {piece.voices} voices, {piece.seconds:.0f} seconds"
    figure, axes = canvas(roll.width, roll.height, f"Piano roll of {piece.name or 'a piece'}: {size}")
    _draw_legend(axes, piece, given is not None)
    systems = []
    for system in roll.systems:
        _draw_system(axes, roll, system)
        start_s, end_s = (round(step * piece.step_s, 4) for step in (system.first, system.stop))
        width = roll.x(system, system.stop) - LEFT
        systems.append((start_s, end_s, LEFT, system.y, width, roll.system_height))
    outlined = frozenset(given or ())
    for box in roll.boxes():
        note, width = box.note, box.width - min(1.2, box.width / 4)  # leaves a gap between repeated notes
        drawn = _draw_note(axes, (box.x, box.y, width, ROW), note.voice, note in outlined)
        quarters = note.length / piece.steps_per_quarter
        add_tooltip(
            drawn,
            f"{pitch_name(note.pitch)}, {counted(f'{quarters:.3g}', 'quarter')}, {note.start * piece.step_s:.2f} s",
        )
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
        names = [piece.notation.part(voice) or f"voice {voice + 1}" for voice in range(piece.voices)]
        entries += [(name, voice, False) for voice, name in enumerate(names)]
    if shows_given:
        entries += [("generated", None, False), ("given", None, True)]
    x = LEFT
    for name, voice, given in entries:
        _draw_note(axes, (x, 7.5, _SWATCH, 7), voice, given)
        axes.text(x + _SWATCH + 4, 14.5, name, size=10)
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


TEMPI = np.geomspace(30, 240, 91)  # quarters per minute, the rows of a tempogram
TEMPOGRAM_S, ONSET_S = 8.0, 0.15  # over which its onsets are compared; width of an onset
MOST_FRAMES = 6000  # of a figure; a frame lasts 10 ms up to a minute


@lru_cache(maxsize=32)
def _melody_svg(found: Melody) -> str:
    """Drawn once, though each draft has it, and live the page of each further phrase."""
    return to_svg(melody_figure(found))


@style()
def melody_figure(found: Melody) -> Figure:
    """How the notes were heard: pitch and notes, chroma, and the tempogram with the tempo that was taken, over time.

    Chroma (Ellis 2007) and tempogram (Grosche, Mueller & Kurth 2010) are librosa's.
    """
    import librosa

    seconds, frames = len(found.samples) / SAMPLE_RATE, len(found.track.pitch)
    each = math.ceil(frames / MOST_FRAMES)  # frames in one of the figure
    frame_s = each * HOP_S
    figure = new_figure(WIDTH, 460, f"Melody of {found.piece.name or 'a recording'}: {found}")
    pitch, chroma, tempo = figure.subplots(3, sharex=True, height_ratios=(3, 2, 2))
    for note in found.notes:
        drawn = draw_box(pitch, note.start_s, note.pitch - 0.5, note.end_s - note.start_s, 1, "series-1")
        name = f"{pitch_name(note.pitch)}, {note.cents:+.0f} cents"
        add_tooltip(drawn, f"{name}, {note.start_s:.2f} to {note.end_s:.2f} s")
    track = found.track.pitch[::each] - found.tuning_cents / 100
    pitch.plot((np.arange(len(track)) + 0.5) * frame_s, track, color=LIGHT["series-2"], linewidth=1)
    pitches = sorted({note.pitch for note in found.notes})
    low, high = pitches[0], pitches[-1]
    named = pitches if high - low <= 16 else range(low + -low % OCTAVE, high + 1, OCTAVE)
    pitch.set(title="Notes, and the pitch without the tuning", ylim=(low - 2, high + 2), xlim=(0, seconds))
    pitch.set_yticks(named, [pitch_name(one) for one in named], size=9)

    tuning = (found.tuning_cents / 100 + 0.5) % 1 - 0.5
    levels = librosa.feature.chroma_stft(
        y=found.samples, sr=SAMPLE_RATE, hop_length=each * HOP, n_fft=4096, norm=None, tuning=tuning
    )
    chroma.set(title="Chroma", ylim=(0, 12))
    chroma.set_yticks(np.arange(12) + 0.5, PITCH_CLASSES, size=8)
    begins = np.bincount([int(note.start_s / frame_s) for note in found.notes], minlength=len(track))
    onset = np.hanning(max(3, round(ONSET_S / frame_s)))
    pad = len(onset)
    similar = librosa.feature.tempogram(  # of the notes, since legato has few onsets in the spectrum
        onset_envelope=np.convolve(np.pad(begins, pad), onset, mode="same"), win_length=round(TEMPOGRAM_S / frame_s)
    )[:, pad:-pad]
    lags = 60 / TEMPI / frame_s
    by_tempo = np.stack([np.interp(lags, np.arange(len(column)), column) for column in similar.T], axis=1)
    marks, taken = (30, 60, 120, 240), found.piece.quarters_per_minute
    tempo.set(title="Tempogram", xlabel="time (s)", ylabel="quarters per minute", ylim=(0, len(TEMPI) - 1))
    tempo.set_yticks(_row_of_tempo(marks), [str(mark) for mark in marks])
    line = tempo.axhline(_row_of_tempo(taken), color=WHITE, linestyle=DASHES, linewidth=1)
    add_tooltip(line, f"{taken:g} quarters per minute")
    for axes, rows in ((chroma, levels), (tempo, by_tempo)):
        axes.grid(visible=False)
        shades = np.sqrt(np.maximum(rows[::-1], 0) / max(1e-9, rows.max()))  # so that small ones can be seen
        draw_levels(axes, np.round(255 * shades).astype(np.uint8), (0, len(rows.T) * frame_s, *axes.get_ylim()))
    return figure


def _row_of_tempo(tempo: Any) -> Any:
    return np.log(np.asarray(tempo) / TEMPI[0]) / np.log(TEMPI[1] / TEMPI[0])


MAX_INTERVAL = 12  # semitones; wider melodic intervals are clipped
MAX_LENGTHS = 12
_CHORDS = dict(zip((*CHORDS, OTHER), ("maj", "min", "dim", "aug", "7", "maj7", "min7", "ø7", "o7", OTHER), strict=True))


@dataclass(frozen=True)
class Exhibit:
    """One piece on the page.

    midi: the file to download; sound: a wav, ogg or mp3 file, or empty; note: text under the heading; given: see
    ``piano_roll``; heard: the recording of the given notes
    """

    heading: str
    piece: Piece
    midi: bytes
    sound: bytes = b""
    note: str = ""
    given: Collection[Note] | None = None
    quarters_per_bar: int = 4
    heard: Melody | None = None


@dataclass(frozen=True)
class Comparison:
    """Statistics of generated pieces and of a corpus. copies: (name, longest copy) of each generated piece"""

    generated: Statistics
    corpus: Statistics
    corpus_name: str = "corpus"
    copies: Sequence[tuple[str, Copy]] = ()


def music_page(items: Sequence[Exhibit], *, title: str, about: str = "", comparison: Comparison | None = None) -> str:
    """The page with statistics and all pieces. about: text under the title"""
    compared = _compared(comparison) if comparison else {"tiles": []}
    return render("music.html.j2", title=title, about=about, pieces=[_piece(item) for item in items], **compared)


def _piece(item: Exhibit) -> dict[str, Any]:
    piece = item.piece
    name = re.sub(r"[^A-Za-z0-9]+", "-", item.heading).strip("-").lower() or "piece"
    facts = [
        f"{piece.seconds:.0f} s",
        counted(len(piece.notes), "note"),
        f"{piece.quarters_per_minute:g} quarters a minute",
    ]
    if (fifths := piece.notation.fifths) is not None:
        facts.append(key_name(tonic_of(fifths, piece.notation.minor), piece.notation.minor))
    kinds = {b"RIFF": "audio/wav", b"OggS": "audio/ogg"}
    return {
        "heading": item.heading,
        "facts": " · ".join(facts),
        "note": item.note,
        "sound": data_uri(kinds.get(item.sound[:4], "audio/mpeg"), item.sound) if item.sound else "",
        "recording": data_uri("audio/mpeg", item.heard.recording) if item.heard else "",
        "melody": _melody_svg(item.heard) if item.heard else "",
        "file_name": f"{name}.mid",
        "midi": data_uri("audio/midi", item.midi),
        "roll": piano_roll(piece, given=item.given, quarters_per_bar=item.quarters_per_bar),
    }


def _compared(comparison: Comparison) -> dict[str, Any]:
    """The entries of the template: tiles of (value, name, detail), the rows of two tables, and charts."""
    generated, corpus, corpus_name = comparison.generated, comparison.corpus, comparison.corpus_name
    both = (generated, corpus)
    shares = (
        ("parallel fifths, per 100 changes of chord", [of.fifths for of in both]),
        ("parallel octaves, per 100 changes of chord", [of.octaves for of in both]),
        ("voices crossed, % of steps", [of.crossings for of in both]),
        ("triads, % of chords", [of.triads for of in both]),
        ("sevenths, % of chords", [of.sevenths for of in both]),
    )
    rows = [
        ("pieces", [str(of.pieces) for of in both]),
        ("quarters per piece", [f"{float(of.quarters) / max(1, of.pieces):.1f}" for of in both]),
        ("notes per quarter", [f"{of.notes / max(1.0, float(of.quarters)):.2f}" for of in both]),
        *((name, [_number(100 * share.rate) for share in pair]) for name, pair in shares),
    ]
    for voice in range(len(generated.ranges)):
        ranges = [of.ranges[voice] if voice < len(of.ranges) else NO_RANGE for of in both]
        texts = [f"{low}{DASH}{high}" if low <= high else DASH for low, high in ranges]
        rows.append((f"range of voice {voice + 1}, MIDI", texts))
    apart = distances(generated, corpus)
    distance = f"total variation distance from {corpus_name}"
    tiles = [
        (str(generated.pieces), "pieces", counted(f"{float(generated.quarters):g}", "quarter")),
        (_number(apart.pitch_classes), "pitch classes", distance),
        (_number(apart.intervals), "melodic intervals", distance),
        (_number(apart.note_lengths), "note lengths", distance),
        (_number(apart.sonorities), "chords", distance),
    ]
    copies: list[tuple[str, tuple[int | str, ...]]] = []
    for name, copy in sorted(comparison.copies, key=lambda item: -item[1].length):
        place = (copy.name, copy.start, f"{copy.transposition:+d}") if copy.length else (DASH, DASH, DASH)
        copies.append((name, (copy.length, *place)))
    if copies:
        tiles.append((counted(copies[0][1][0], "step"), "longest copy", f"in any piece of {corpus_name}"))
    figures = charts(generated, corpus, ("generated", corpus_name))
    return {"tiles": tiles, "corpus_name": corpus_name, "statistics": rows, "copies": copies, "charts": figures}


def _number(value: float) -> str:
    return DASH if math.isnan(value) else f"{value:.2f}"


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
    by_length = [[one.note_lengths[n] for n in lengths] for one in (first, second)]
    length_names = [f"{float(n):.3g}" for n in lengths]
    rest = [one.note_lengths.total() - sum(counts) for one, counts in zip((first, second), by_length, strict=True)]
    if any(rest):
        length_names.append(OTHER)
        by_length = [[*counts, others] for counts, others in zip(by_length, rest, strict=True)]
    pitches = [[one.pitch_classes[n] for n in range(12)] for one in (first, second)]
    chords = [[one.sonorities[name] for name in _CHORDS] for one in (first, second)]
    steps = [[counts[n] for n in span] for counts in intervals]
    histograms = (
        ("Pitch classes, by duration", PITCH_CLASSES, pitches, "pitch class"),
        ("Melodic intervals", signed, steps, "semitones"),
        ("Note lengths", length_names, by_length, "quarters"),
        ("Chords, by duration", list(_CHORDS.values()), chords, "chord"),
    )
    figures = []
    for caption, labels, counts_of, unit in histograms:
        shares = [(name, [n / (sum(of) or 1) for n in of]) for name, of in zip(names, counts_of, strict=True)]
        figures.append((caption, bar_chart(labels, shares, f"Histogram: {unit}", unit)))
    return figures
