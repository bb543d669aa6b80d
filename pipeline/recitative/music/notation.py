"""Scores of pieces as MusicXML and in ABC notation: bars, ties, spelled notes, clefs, key and meter.

A voice is written as chords and rests that fill its bars. Notes that cross a barline, or that have no single note
value, are tied. Pitches are spelled by the key signature, from three fifths below its major key to eight above, which
has the sharps of the minor key and the common chromatic notes. In MusicXML each note has its loudness, for playback,
and each part a mark for the mean.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from recitative.music.piece import (
    VELOCITY,
    Note,
    Piece,
    fifths_of,
    key_of,
    signature_name,
    spelled,
    to_grid,
    velocities,
)

_DIVISIONS = (4, 8, 12, 24)  # of a quarter note: sixteenths, and the first that fits exactly
_VALUES = {
    "whole": Fraction(4), "half": Fraction(2), "quarter": Fraction(1), "eighth": Fraction(1, 2),
    "16th": Fraction(1, 4), "32nd": Fraction(1, 8), "64th": Fraction(1, 16),
}  # fmt: skip
_DOTTED, _TRIPLET = Fraction(3, 2), Fraction(2, 3)
_MARKS = {"ppp": 16, "pp": 33, "p": 49, "mp": 64, "mf": 80, "f": 96, "ff": 112, "fff": 126}  # MIDI velocities
_FORTE = 90  # the MIDI velocity that is 100 % in MusicXML
_BARS_PER_LINE = 4  # of ABC
_MIDDLE_C = 60


@dataclass(frozen=True)
class Chord:
    """Notes that sound together in a bar, or a rest. length: divisions; tied: of ``pitches``, to the next chord;
    continued: of ``pitches``, from the last one; velocities: MIDI, of each of ``pitches``"""

    length: int
    pitches: tuple[int, ...]
    tied: frozenset[int] = frozenset()
    continued: frozenset[int] = frozenset()
    velocities: tuple[int, ...] = ()


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


def score_of(piece: Piece, velocity: int = VELOCITY) -> Score:
    """The score of a piece with at least one note. velocity: mean of the dynamics

    Notes that are on no grid of 24 to a quarter are rounded to it.
    """
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
    loudness = dict(zip(piece.notes, velocities(piece, velocity), strict=True))
    parts = []
    for voice in sorted({note.voice for note in piece.notes}):
        notes = {note: loudness[note] for note in piece.notes if note.voice == voice}
        name = notation.part(voice) or f"voice {voice + 1}"
        high = sum(note.pitch for note in notes) / len(notes) >= _MIDDLE_C - 1
        clef = "treble-8" if name.lower() == "tenor" else "treble" if high else "bass"
        parts.append(Part(name, clef, list(_bars(notes, piece.length, int(bar * divisions), divisions))))
    tempo = piece.quarters_per_minute
    return Score(piece.name, parts, divisions, notation.meter or (4, 4), fifths, minor, tempo)


def _bars(notes: Mapping[Note, int], length: int, bar: int, divisions: int) -> Iterator[Bar]:
    """Bars of chords and rests. notes: with their velocities

    Spans between changes are cut into note values, the largest first; a rest of a whole bar is not cut.
    """
    values = _note_values(divisions)
    count = max(1, -(-max(length, max(note.end for note in notes)) // bar))
    changes = {time for note in notes for time in (note.start, note.end)}
    for begin in range(0, count * bar, bar):
        end = begin + bar
        times = sorted({begin, end, *(time for time in changes if begin < time < end)})
        chords: Bar = []
        for first, stop in itertools.pairwise(times):
            sounding = [note for note in notes if note.start <= first < note.end]
            loudness = {note.pitch: notes[note] for note in sorted(sounding, key=lambda note: note.pitch)}
            pitches, levels = tuple(loudness), tuple(loudness.values())
            start = first
            while start < stop:
                whole_rest = not sounding and stop - first == bar
                last = stop if whole_rest else start + max(n for n in values if n <= stop - start)
                tied = frozenset(note.pitch for note in sounding if note.end > last)
                continued = frozenset(note.pitch for note in sounding if note.start < start)
                chords.append(Chord(last - start, pitches, tied, continued, levels))
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


# MusicXML (W3C, version 4.0)

_DOCTYPE = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE score-partwise PUBLIC '
    '"-//Recordare//DTD MusicXML 4.0 Partwise//EN" "http://www.musicxml.org/dtds/partwise.dtd">\n'
)
_CLEFS = {"treble": ("G", 2, 0), "treble-8": ("G", 2, -1), "bass": ("F", 4, 0)}  # sign, line, octaves


def musicxml_bytes(piece: Piece, *, program: int | Sequence[int] = 0, velocity: int = VELOCITY) -> bytes:
    """The piece as a MusicXML file.

    program: General MIDI instrument, 0..127, of all voices or of each; velocity: MIDI, 1..127, mean of the dynamics
    """
    score = score_of(piece, velocity)
    programs = [program] if isinstance(program, int) else program
    listed, parts = [], []
    for number, part in enumerate(score.parts):
        name, instrument = _legal(part.name), f"P{number + 1}-I1"
        channel = _element("midi-channel", number % 9 + 1)
        midi_program = _element("midi-program", programs[min(number, len(programs) - 1)] + 1)
        listed.append(
            _element(
                "score-part", _element("part-name", name),
                _element("score-instrument", _element("instrument-name", name), id=instrument),
                _element("midi-instrument", channel, midi_program, id=instrument), id=f"P{number + 1}",
            )
        )  # fmt: skip
        mark = min(_MARKS, key=lambda name: abs(_MARKS[name] - velocity))
        loud = _direction(
            _element("dynamics", _element(mark)), _element("sound", dynamics=_loudness(velocity)), "below"
        )
        measures = []
        for place, bar in enumerate(part.bars):
            start = [*_first_measure(score, part.clef, tempo=number == 0), loud] if place == 0 else []
            notes = [note for chord in bar for note in _notes(chord, score, whole=len(bar) == 1)]
            final = _element("barline", _element("bar-style", "light-heavy"), location="right")
            end = [final] if place == len(part.bars) - 1 else []
            measures.append(_element("measure", *start, *notes, *end, number=str(place + 1)))
        parts.append(_element("part", *measures, id=f"P{number + 1}"))
    encoding = _element("encoding", _element("software", "Recitative"))
    work = _element("work", _element("work-title", _legal(score.title)))
    identification = _element("identification", encoding)
    root = _element("score-partwise", work, identification, _element("part-list", *listed), *parts, version="4.0")
    ElementTree.indent(root)
    return (_DOCTYPE + ElementTree.tostring(root, encoding="unicode") + "\n").encode()


def _element(tag: str, *content: Element | str | int, **attributes: str) -> Element:
    """An element with child elements, or with a text."""
    element = Element(tag, attributes)
    for child in content:
        if isinstance(child, Element):
            element.append(child)
        else:
            element.text = str(child) or None
    return element


def _legal(text: str) -> str:
    """Without the control characters that XML does not allow."""
    return "".join(character for character in text if character.isprintable())


def _first_measure(score: Score, clef: str, *, tempo: bool) -> list[Element]:
    """Key, meter and clef, and the tempo, which only the first part has."""
    sign, line, octaves = _CLEFS[clef]
    change = [_element("clef-octave-change", octaves)] if octaves else []
    attributes = _element(
        "attributes", _element("divisions", score.divisions),
        _element("key", _element("fifths", score.fifths), _element("mode", "minor" if score.minor else "major")),
        _element("time", _element("beats", score.meter[0]), _element("beat-type", score.meter[1])),
        _element("clef", _element("sign", sign), _element("line", line), *change),
    )  # fmt: skip
    if not tempo:
        return [attributes]
    speed = f"{score.quarters_per_minute:g}"
    metronome = _element("metronome", _element("beat-unit", "quarter"), _element("per-minute", speed))
    return [attributes, _direction(metronome, _element("sound", tempo=speed), "above")]


def _direction(shown: Element, sound: Element, placement: str) -> Element:
    return _element("direction", _element("direction-type", shown), sound, placement=placement)


def _loudness(velocity: int) -> str:
    """In percent."""
    return f"{100 * velocity / _FORTE:.1f}"


def _notes(chord: Chord, score: Score, *, whole: bool) -> Iterator[Element]:
    """The notes of a chord, or a rest. whole: it fills the bar"""
    name, dotted, triplet = _note_values(score.divisions).get(chord.length, ("", False, False))

    def value() -> list[Element]:
        ratio = [_element("time-modification", _element("actual-notes", 3), _element("normal-notes", 2))]
        return [_element("type", name), *([_element("dot")] if dotted else []), *(ratio if triplet else [])]

    if not chord.pitches:
        rest = _element("rest", measure="yes") if whole else _element("rest")
        duration = _element("duration", chord.length)
        yield _element("note", rest, duration, _element("voice", "1"), *([] if whole else value()))
    for number, (pitch, velocity) in enumerate(zip(chord.pitches, chord.velocities, strict=True)):
        letter, alter, octave = spelled(pitch, score.fifths)
        sharps = [_element("alter", alter)] if alter else []
        ties = [kind for kind, tied in (("stop", chord.continued), ("start", chord.tied)) if pitch in tied]
        notations = [_element("notations", *(_element("tied", type=kind) for kind in ties))] if ties else []
        yield _element(
            "note", *([_element("chord")] if number else []),
            _element("pitch", _element("step", letter), *sharps, _element("octave", octave)),
            _element("duration", chord.length), *(_element("tie", type=kind) for kind in ties),
            _element("voice", "1"), *value(), *notations, dynamics=_loudness(velocity),
        )  # fmt: skip


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
