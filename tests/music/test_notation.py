"""Scores as MusicXML and ABC: another program reads the notes that were written."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recitative.music.midi import midi_bytes, parse_midi
from recitative.music.notation import abc_text, musicxml_bytes, notated, score_of, spelled
from recitative.music.piece import Notation, Note, Piece, fifths_of, tonic_name, tonic_of, velocities

music21 = pytest.importorskip("music21", reason="music21 reads the scores that were written")

# Tied over barlines, an accidental within a bar, a triplet, a chord, a rest, and a voice that begins later.
SONG = Piece.of(
    [
        Note(0, 67, 36), Note(36, 66, 24), Note(60, 67, 24), Note(84, 65, 12), Note(96, 66, 4), Note(100, 67, 4),
        Note(104, 69, 4), Note(120, 71, 24), Note(0, 43, 144, 1), Note(0, 50, 72, 1), Note(48, 59, 96, 2),
    ],
    12, 92.0, 'A "song" & more',
)  # fmt: skip
SONG = notated(
    Piece(SONG.notes, 144, 12, 92.0, SONG.name, Notation((3, 4), 1, False, ("soprano", "bass", "tenor"))),
)

SINGLE = Piece(tuple(note for note in SONG.notes if note.pitch != 50), 144, 12, 92.0, SONG.name, SONG.notation)


def notes_of(score) -> set[tuple[float, float, int, int]]:
    """(start and length in quarters, pitch, part), with tied notes as one."""
    found = set()
    for number, part in enumerate(score.parts):
        for element in part.stripTies().flatten().notes:
            for pitch in element.pitches:
                found.add((float(element.offset), float(element.quarterLength), pitch.midi, number))
    return found


def written(piece: Piece) -> set[tuple[float, float, int, int]]:
    places = {voice: number for number, voice in enumerate(sorted({note.voice for note in piece.notes}))}
    quarter = piece.steps_per_quarter
    return {(note.start / quarter, note.length / quarter, note.pitch, places[note.voice]) for note in piece.notes}


def rounded(notes) -> set[tuple[float, ...]]:
    return {tuple(round(value, 4) for value in note) for note in notes}


@pytest.mark.parametrize(("form", "write"), [("musicxml", musicxml_bytes), ("abc", abc_text)])
def test_another_program_reads_the_same_notes_key_meter_and_parts(form, write):
    score = music21.converter.parse(write(SINGLE), format=form)
    assert rounded(notes_of(score)) == rounded(written(SINGLE))
    for part in score.parts:
        flat = part.flatten()
        assert [signature.ratioString for signature in flat.getElementsByClass("TimeSignature")] == ["3/4"]
        assert [signature.sharps for signature in flat.getElementsByClass("KeySignature")] == [1]
    tempi = {mark.number for mark in score.flatten().getElementsByClass("MetronomeMark")}
    assert tempi == {92}
    if form == "musicxml":
        assert [part.partName for part in score.parts] == ["soprano", "bass", "tenor"]
        clefs = [part.flatten().getElementsByClass("Clef").first().name for part in score.parts]
        assert clefs == ["treble", "bass", "treble8vb"]
        assert all(len(part.getElementsByClass("Measure")) == 4 for part in score.parts)


def test_another_program_reads_the_dynamics():
    score = music21.converter.parse(musicxml_bytes(SINGLE, velocity=62), format="musicxml")
    ours = dict(zip(SINGLE.notes, velocities(SINGLE, 62), strict=True))
    assert len(set(ours.values())) > 3
    for voice, part in enumerate(score.parts):
        assert [mark.value for mark in part.flatten().getElementsByClass("Dynamic")] == ["mp"]
        read = [note.volume.velocity for note in part.stripTies().flatten().notes]
        written = [level for note, level in sorted(ours.items()) if note.voice == voice]
        assert read == pytest.approx(written, abs=1)


def test_a_chord_of_which_one_note_goes_on_is_tied():
    (_, bass, _) = score_of(SONG).parts
    assert [[chord.pitches for chord in bar] for bar in bass.bars] == [[(43, 50)], [(43, 50)], [(43,)], [(43,)]]
    assert [sorted(chord.tied) for bar in bass.bars for chord in bar] == [[43, 50], [43], [43], []]


@settings(deadline=None)
@given(st.integers(0, 127), st.integers(-7, 7))
def test_a_spelled_pitch_is_the_pitch_and_notes_of_the_scale_need_no_accidental(pitch, fifths):
    letter, alter, octave = spelled(pitch, fifths)
    assert 12 * (octave + 1) + {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}[letter] + alter == pitch
    if (pitch - tonic_of(fifths, False)) % 12 in (0, 2, 4, 5, 7, 9, 11):
        signed = {tonic_name(place) for place in range(fifths - 1, fifths + 6)}
        assert letter + "#" * alter + "b" * -alter in signed


def test_signatures_have_their_tonics():
    assert [tonic_name(fifths_of(tonic, False)) for tonic in (0, 7, 2, 5, 10, 6)] == ["C", "G", "D", "F", "Bb", "Gb"]
    assert [fifths_of(tonic, True) for tonic in (9, 4, 2, 0)] == [0, 1, -1, -3]
    for fifths in range(-6, 6):
        for minor in (False, True):
            assert fifths_of(tonic_of(fifths, minor), minor) == fifths


@given(
    st.sampled_from([(4, 4), (3, 4), (6, 8), (12, 8), (5, 16), (1, 32)]), st.integers(-7, 7), st.booleans(),
    st.sampled_from([(), ("soprano", "alto"), ("Flute", "Viola d'amore")]),
)  # fmt: skip
@settings(deadline=None)
def test_meter_key_and_names_come_back_from_midi(meter, fifths, minor, parts):
    notation = Notation(meter, fifths, minor, parts)
    piece = Piece((Note(0, 60, 4, 1), Note(0, 72, 4, 0)), 4, 4, 100.0, "x", notation)
    assert parse_midi(midi_bytes(piece), "x").notation == notation
