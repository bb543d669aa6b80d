"""Scores of pieces as MusicXML and in ABC notation: bars, ties, spelled notes, clefs, key and meter.

A voice is written as chords and rests that fill its bars. Notes that cross a barline, or that have no single note
value, are tied. Pitches are spelled by the key signature, from three fifths below its major key to eight above, which
has the sharps of the minor key and the common chromatic notes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from recitative.music.piece import LETTERS, Note, Piece, fifths_of, key_of, signature_name, to_grid

_NATURALS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_DIVISIONS = (4, 8, 12, 24)  # of a quarter note: sixteenths, and the first that fits exactly
_VALUES = {
    "whole": Fraction(4), "half": Fraction(2), "quarter": Fraction(1), "eighth": Fraction(1, 2),
    "16th": Fraction(1, 4), "32nd": Fraction(1, 8), "64th": Fraction(1, 16),
}  # fmt: skip
_DOTTED, _TRIPLET = Fraction(3, 2), Fraction(2, 3)
_BARS_PER_LINE = 4  # of ABC
_MIDDLE_C = 60


@dataclass(frozen=True)
class Chord:
    """Notes that sound together in a bar, or a rest. length: divisions; tied: of ``pitches``, to the next chord;
    continued: of ``pitches``, from the last one"""

    length: int
    pitches: tuple[int, ...]
    tied: frozenset[int] = frozenset()
    continued: frozenset[int] = frozenset()


Bar = list[Chord]


@dataclass(frozen=True)
class Part:
    """A voice as bars of equal length. clef: treble, treble-8 (sounds an octave lower) or bass"""

    name: str
    clef: str
    bars: list[Bar]


@dataclass(frozen=True)
class Score:
    """divisions: of a quarter note; fifths: of the key signature"""

    title: str
    parts: list[Part]
    divisions: int
    meter: tuple[int, int]
    fifths: int
    minor: bool
    quarters_per_minute: float


def score_of(piece: Piece) -> Score:
    """The score of a piece with at least one note. Notes that are on no grid of 24 to a quarter are rounded to it."""
    notation = piece.notation
    bar = Fraction(notation.bar_quarters)
    times = {time for note in piece.notes for time in (note.start, note.end)}
    fits = [bar, *(Fraction(time, piece.steps_per_quarter) for time in times)]
    divisions = next((n for n in _DIVISIONS if all((time * n).denominator == 1 for time in fits)), _DIVISIONS[-1])
    piece = piece.at_resolution(divisions)
    fifths, minor = notation.fifths, notation.minor
    if fifths is None:
        tonic, minor = key_of(to_grid(piece, piece.voices).pitches)
        fifths = fifths_of(tonic, minor)
    parts = []
    for voice in sorted({note.voice for note in piece.notes}):
        notes = [note for note in piece.notes if note.voice == voice]
        name = notation.part(voice) or f"voice {voice + 1}"
        high = sum(note.pitch for note in notes) / len(notes) >= _MIDDLE_C - 1
        clef = "treble-8" if name.lower() == "tenor" else "treble" if high else "bass"
        parts.append(Part(name, clef, list(_bars(notes, piece.length, int(bar * divisions), divisions))))
    tempo = piece.quarters_per_minute
    return Score(piece.name, parts, divisions, notation.meter or (4, 4), fifths, minor, tempo)


def _bars(notes: Sequence[Note], length: int, bar: int, divisions: int) -> Iterator[Bar]:
    """Bars of chords and rests. Spans between changes are cut into note values, the largest first; a rest of a whole
    bar is not cut."""
    values = _note_values(divisions)
    count = max(1, -(-max(length, max(note.end for note in notes)) // bar))
    changes = {time for note in notes for time in (note.start, note.end)}
    for begin in range(0, count * bar, bar):
        end = begin + bar
        times = sorted({begin, end, *(time for time in changes if begin < time < end)})
        chords: Bar = []
        for first, stop in itertools.pairwise(times):
            sounding = [note for note in notes if note.start <= first < note.end]
            pitches = tuple(sorted({note.pitch for note in sounding}))
            start = first
            while start < stop:
                whole_rest = not sounding and stop - first == bar
                last = stop if whole_rest else start + max(n for n in values if n <= stop - start)
                tied = frozenset(note.pitch for note in sounding if note.end > last)
                continued = frozenset(note.pitch for note in sounding if note.start < start)
                chords.append(Chord(last - start, pitches, tied, continued))
                start = last
        yield chords


def _note_values(divisions: int) -> dict[int, tuple[str, bool, bool]]:
    """Lengths in divisions -> (name, dotted, triplet)."""
    found: dict[int, tuple[str, bool, bool]] = {}
    for factor, dotted, triplet in ((Fraction(1), False, False), (_DOTTED, True, False), (_TRIPLET, False, True)):
        for name, quarters in _VALUES.items():
            length = quarters * factor * divisions
            if length.denominator == 1:
                found.setdefault(int(length), (name, dotted, triplet))
    return found


def spelled(pitch: int, fifths: int) -> tuple[str, int, int]:
    """A MIDI pitch in a key signature -> (letter, semitones of its accidental, octave; middle C is in octave 4)."""
    place = next(n for n in range(fifths - 3, fifths + 9) if (7 * n - pitch) % 12 == 0)
    alter, letter = divmod(place + 1, 7)
    name = LETTERS[letter]
    return name, alter, (pitch - alter - _NATURALS[name]) // 12 - 1


# MusicXML (W3C, version 4.0)

_DOCTYPE = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE score-partwise PUBLIC '
    '"-//Recordare//DTD MusicXML 4.0 Partwise//EN" "http://www.musicxml.org/dtds/partwise.dtd">\n'
)
_CLEFS = {"treble": ("G", 2, 0), "treble-8": ("G", 2, -1), "bass": ("F", 4, 0)}  # sign, line, octaves


def musicxml_bytes(piece: Piece, *, program: int | Sequence[int] = 0) -> bytes:
    """The piece as a MusicXML file. program: General MIDI instrument, 0..127, of all voices or of each."""
    score = score_of(piece)
    programs = [program] if isinstance(program, int) else program
    root = Element("score-partwise", version="4.0")
    _add(_add(root, "work"), "work-title", _legal(score.title))
    _add(_add(_add(root, "identification"), "encoding"), "software", "Recitative")
    listed = _add(root, "part-list")
    for number, part in enumerate(score.parts):
        one = _add(listed, "score-part", id=f"P{number + 1}")
        _add(one, "part-name", _legal(part.name))
        _add(_add(one, "score-instrument", id=f"P{number + 1}-I1"), "instrument-name", _legal(part.name))
        played = _add(one, "midi-instrument", id=f"P{number + 1}-I1")
        _add(played, "midi-channel", str(number % 9 + 1))
        _add(played, "midi-program", str(programs[min(number, len(programs) - 1)] + 1))
    for number, part in enumerate(score.parts):
        one = _add(root, "part", id=f"P{number + 1}")
        for place, bar in enumerate(part.bars):
            measure = _add(one, "measure", number=str(place + 1))
            if place == 0:
                _attributes(measure, score, part.clef, tempo=number == 0)
            for chord in bar:
                _notes(measure, chord, score, whole=len(bar) == 1)
            if place == len(part.bars) - 1:
                _add(_add(measure, "barline", location="right"), "bar-style", "light-heavy")
    ElementTree.indent(root)
    return (_DOCTYPE + ElementTree.tostring(root, encoding="unicode") + "\n").encode()


def _add(parent: Element, tag: str, text: str = "", **attributes: str) -> Element:
    element = SubElement(parent, tag, attributes)
    element.text = text or None
    return element


def _legal(text: str) -> str:
    """Without the control characters that XML does not allow."""
    return "".join(character for character in text if character.isprintable())


def _attributes(measure: Element, score: Score, clef: str, *, tempo: bool) -> None:
    attributes = _add(measure, "attributes")
    _add(attributes, "divisions", str(score.divisions))
    key = _add(attributes, "key")
    _add(key, "fifths", str(score.fifths))
    _add(key, "mode", "minor" if score.minor else "major")
    time = _add(attributes, "time")
    _add(time, "beats", str(score.meter[0]))
    _add(time, "beat-type", str(score.meter[1]))
    sign, line, octaves = _CLEFS[clef]
    one = _add(attributes, "clef")
    _add(one, "sign", sign)
    _add(one, "line", str(line))
    if octaves:
        _add(one, "clef-octave-change", str(octaves))
    if tempo:
        direction = _add(measure, "direction", placement="above")
        metronome = _add(_add(direction, "direction-type"), "metronome")
        _add(metronome, "beat-unit", "quarter")
        _add(metronome, "per-minute", f"{score.quarters_per_minute:g}")
        _add(direction, "sound", tempo=f"{score.quarters_per_minute:g}")


def _notes(measure: Element, chord: Chord, score: Score, *, whole: bool) -> None:
    """whole: the chord fills the bar"""
    if not chord.pitches:
        note = _add(measure, "note")
        rest = _add(note, "rest")
        if whole:
            rest.set("measure", "yes")
        _add(note, "duration", str(chord.length))
        _add(note, "voice", "1")
        if not whole:
            _value(note, chord.length, score.divisions)
    for number, pitch in enumerate(chord.pitches):
        note = _add(measure, "note")
        if number:
            _add(note, "chord")
        letter, alter, octave = spelled(pitch, score.fifths)
        place = _add(note, "pitch")
        _add(place, "step", letter)
        if alter:
            _add(place, "alter", str(alter))
        _add(place, "octave", str(octave))
        _add(note, "duration", str(chord.length))
        ties = [kind for kind, tied in (("stop", chord.continued), ("start", chord.tied)) if pitch in tied]
        for kind in ties:
            _add(note, "tie", type=kind)
        _add(note, "voice", "1")
        _value(note, chord.length, score.divisions)
        if ties:
            notations = _add(note, "notations")
            for kind in ties:
                _add(notations, "tied", type=kind)


def _value(note: Element, length: int, divisions: int) -> None:
    name, dotted, triplet = _note_values(divisions)[length]
    _add(note, "type", name)
    if dotted:
        _add(note, "dot")
    if triplet:
        ratio = _add(note, "time-modification")
        _add(ratio, "actual-notes", "3")
        _add(ratio, "normal-notes", "2")


# ABC notation (standard 2.1)

_SIGNS = {-2: "__", -1: "_", 0: "=", 1: "^", 2: "^^"}


def abc_text(piece: Piece) -> str:
    """The piece as a tune in ABC notation, with one voice (V:) for each part."""
    score = score_of(piece)
    lines = [
        "X:1", f"T:{_one_line(score.title)}", f"M:{score.meter[0]}/{score.meter[1]}", f"L:1/{4 * score.divisions}",
        f"Q:1/4={score.quarters_per_minute:g}", f"K:{signature_name(score.fifths, score.minor)}",
    ]  # fmt: skip
    for number, part in enumerate(score.parts):
        clef = "bass" if part.clef == "treble-8" else part.clef  # treble-8 transposes in some programs only
        name = _one_line(part.name).replace('"', "'")
        lines.append(f'V:{number + 1} name="{name}" clef={clef}')
        bars = [_abc_bar(bar, score.fifths) for bar in part.bars]
        rows = [bars[first : first + _BARS_PER_LINE] for first in range(0, len(bars), _BARS_PER_LINE)]
        lines += [" | ".join(row) + " |" for row in rows]
        lines[-1] += "]"
    return "\n".join(lines) + "\n"


def _one_line(text: str) -> str:
    return " ".join(_legal(text.replace("%", "")).split())


def _abc_bar(bar: Bar, fifths: int) -> str:
    """Accidentals are repeated in other octaves, since programs differ on whether they hold there."""
    signature = {
        letter: alter for letter, alter, _ in (spelled(7 * n % 12, fifths) for n in range(fifths - 1, fifths + 6))
    }
    altered: set[str] = set()
    written = []
    for chord in bar:
        notes = []
        for pitch in chord.pitches:
            letter, alter, octave = spelled(pitch, fifths)
            sign = "" if alter == signature[letter] and letter not in altered else _SIGNS[alter]
            if sign:
                altered.add(letter)
            name = letter.lower() + "'" * (octave - 5) if octave >= 5 else letter + "," * (4 - octave)
            notes.append(f"{sign}{name}{chord.length}{'-' if pitch in chord.tied else ''}")
        written.append(f"[{''.join(notes)}]" if len(notes) > 1 else notes[0] if notes else f"z{chord.length}")
    return " ".join(written)


def notated(piece: Piece, key: tuple[int, bool] | None = None, parts: tuple[str, ...] = ()) -> Piece:
    """The piece with a meter (4/4), key signature and names of its parts where it has none.

    key: (pitch class of the tonic, whether it is minor); None: estimated from the notes
    """
    known = piece.notation
    fifths, minor = known.fifths, known.minor
    if fifths is None and piece.notes:
        tonic, minor = key or key_of(to_grid(piece, piece.voices).pitches)
        fifths = fifths_of(tonic, minor)
    count = max(len(parts), len(known.parts))
    named = tuple(known.part(voice) or (parts[voice] if voice < len(parts) else "") for voice in range(count))
    return replace(piece, notation=replace(known, meter=known.meter or (4, 4), fifths=fifths, minor=minor, parts=named))
