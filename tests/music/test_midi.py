"""Standard MIDI files: what is written comes back, and nothing that is read makes the reader fall."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO
from pathlib import Path

import mido
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recitative.errors import DataError
from recitative.music.composer import read_folder
from recitative.music.midi import midi_bytes, parse_midi, read_midi, write_midi
from recitative.music.piece import Note, Piece

CHORD = Piece((Note(0, 48, 8, 1), Note(0, 60, 4, 0), Note(4, 60, 4, 0)), 12, 4, 96.0, "two voices")


@st.composite
def _pieces(draw: st.DrawFn) -> Piece:
    """No two notes of a pitch sound together in a voice: MIDI has no way to say so."""
    notes: list[Note] = []
    free: dict[tuple[int, int], int] = {}
    for _ in range(draw(st.integers(1, 12))):
        place = draw(st.integers(0, 17)), draw(st.integers(0, 127))
        start = free.get(place, 0) + draw(st.integers(0, 9))
        notes.append(Note(start, place[1], draw(st.integers(1, 40)), place[0]))
        free[place] = notes[-1].end
    length = max(note.end for note in notes) + draw(st.integers(0, 50))
    tempo = draw(st.integers(4, 400) | st.integers(40, 4000).map(lambda tenths: tenths / 10))
    name = draw(st.text(min_size=1, max_size=9))
    return Piece(tuple(sorted(notes)), length, draw(st.sampled_from((1, 4, 7, 12, 24))), float(tempo), name)


@given(_pieces())
@settings(deadline=None)
def test_a_piece_comes_back_as_it_was_written(piece: Piece) -> None:
    content = midi_bytes(piece)
    assert parse_midi(content, "x.mid", piece.steps_per_quarter) == piece
    assert midi_bytes(piece) == content


def test_a_file_is_a_file(tmp_path: Path) -> None:
    write_midi(CHORD, tmp_path / "new" / "a.mid", program=19)
    assert read_midi(tmp_path / "new" / "a.mid") == CHORD
    programs = [
        m.program for track in mido.MidiFile(tmp_path / "new" / "a.mid").tracks for m in track if "prog" in m.type
    ]
    assert programs == [19, 19]


def test_a_repeated_note_is_ended_before_it_begins_again() -> None:
    track = mido.MidiFile(file=BytesIO(midi_bytes(CHORD))).tracks[1]
    assert [m.type for m in track if m.type.startswith("note")] == ["note_on", "note_off", "note_on", "note_off"]


def test_a_piece_without_a_name_gets_that_of_the_file(tmp_path: Path) -> None:
    write_midi(Piece((Note(0, 60, 4),), 4), tmp_path / "prelude.mid")
    assert read_midi(tmp_path / "prelude.mid").name == "prelude"


def test_a_note_that_begins_within_another_of_its_pitch_ends_that_one() -> None:
    piece = Piece((Note(0, 60, 8), Note(2, 60, 2)), 8)
    back = parse_midi(midi_bytes(piece), "x")
    assert back.notes == (Note(0, 60, 2), Note(2, 60, 2))


@pytest.mark.parametrize(("tempo", "steps"), [(3.0, 4), (1e9, 4), (100.0, 40000)])
def test_what_the_format_cannot_hold_is_refused(tempo: float, steps: int) -> None:
    with pytest.raises(ValueError, match=r"song: .* cannot be written as MIDI"):
        midi_bytes(Piece((Note(0, 60, 4),), 4, steps, tempo, "song"))


def _file(*tracks: list[mido.Message], kind: int = 1, ticks: int = 100) -> bytes:
    file = mido.MidiFile(type=kind, ticks_per_beat=ticks)
    file.tracks += [mido.MidiTrack(track) for track in tracks]
    stream = BytesIO()
    file.save(file=stream)
    return stream.getvalue()


def _note(pitch: int, channel: int, ticks: int, after: int = 0) -> list[mido.Message]:
    on = mido.Message("note_on", note=pitch, channel=channel, velocity=64, time=after)
    return [on, mido.Message("note_on", note=pitch, channel=channel, velocity=0, time=ticks)]


def test_tracks_with_notes_are_voices_from_the_top() -> None:
    content = _file([], _note(40, 0, 100), _note(70, 0, 100), _note(55, 0, 100))
    assert [(n.pitch, n.voice) for n in parse_midi(content, "x").notes] == [(40, 2), (55, 1), (70, 0)]


def test_channels_of_one_track_are_voices_too_and_drums_are_left_out() -> None:
    content = _file(_note(40, 3, 100) + _note(70, 1, 100) + _note(36, 9, 100), kind=0)
    assert [(n.pitch, n.voice) for n in parse_midi(content, "x").notes] == [(40, 1), (70, 0)]


def test_starts_and_ends_go_to_the_nearest_step_and_a_note_keeps_one() -> None:
    content = _file(_note(60, 0, 30, after=12) + _note(62, 0, 2, after=9), ticks=100)  # 12..42, 51..53
    assert parse_midi(content, "x").notes == (Note(0, 60, 2), Note(2, 62, 1))


def test_a_note_that_is_never_ended_lasts_to_the_end_of_its_track() -> None:
    on = mido.Message("note_on", note=60, velocity=64)
    assert parse_midi(_file([on, mido.MetaMessage("text", text="", time=200)]), "x").notes == (Note(0, 60, 8),)


def test_the_first_tempo_is_that_of_the_piece() -> None:
    tempi = [mido.MetaMessage("set_tempo", tempo=tempo, time=time) for tempo, time in ((666667, 0), (500000, 50))]
    assert parse_midi(_file(tempi, _note(60, 0, 100)), "x").quarters_per_minute == 90.0
    assert parse_midi(_file(_note(60, 0, 100)), "x").quarters_per_minute == 120.0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"a\.mid: is empty; a MIDI file; leave it out, or export it again"),
        (b"RIFFxxxx", r"begins with b'RIFF'"),
        (b"MThd", "is broken"),
        (_file([]), "has no notes"),
        (_file(_note(36, 9, 100)), "has no notes"),
        (_file(_note(60, 0, 100), kind=2), "of type 2; type 0 or 1"),
        (_file(_note(60, 0, 100), ticks=-6200), "no ticks per quarter note"),
        (_file(_note(60, 0, 200_000_000), ticks=1), "lasts 200000000 quarter notes; at most"),
        (_file([mido.MetaMessage("set_tempo", tempo=0)], _note(60, 0, 9)), "a tempo of 0"),
    ],
)
def test_a_bad_file_is_named_with_its_fault(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.mid").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_midi(tmp_path / "a.mid")


FIELD_CASES = Path(__file__).resolve().parents[1] / "field_cases"
MESSAGES = {
    "a track less than the header counts": (b"\0\1\0\1\x01\xe0", b"\0\1\0\x09\x01\xe0"),
    "a longer header": (b"MThd\0\0\0\6\0\1\0\1\x01\xe0", b"MThd\0\0\0\x08\0\1\0\1\x01\xe0ab"),
}
UNUSED = {
    "an empty text": b"\0\xff\1\0",
    "a sequence number of nothing": b"\0\xff\0\0",
    "a key of thirty sharps": b"\0\xff\x59\2\x1e\7",
    "a meter of one byte": b"\0\xff\x58\1\4",
    "an offset of two bytes": b"\0\xff\x54\2\1\2",
    "an unknown event": b"\0\xff\x6a\3abc",
    "a tempo of two bytes": b"\0\xff\x51\2\1\2",
    "a port of no bytes": b"\0\xff\x21\0",
    "a system message": b"\0\xf0\3\x7e\x7f\xf7",
    "a song position": b"\0\xf2\1\2",
    "a clock": b"\0\xf8",
    "a pitch bend": b"\0\xe0\0\x40",
    "a pressure": b"\0\xd0\x40",
}


def test_slightly_odd_files_are_the_same_pieces() -> None:
    paths = sorted(FIELD_CASES.glob("20_*.mid"))
    sound = FIELD_CASES / "20_ok.mid"
    assert len(paths) == 8
    for path in paths:
        assert read_midi(path).notes == read_midi(sound).notes, path.name
    content = sound.read_bytes()
    for name, (old, new) in MESSAGES.items():
        assert old in content
        assert parse_midi(content.replace(old, new), "x").notes == read_midi(sound).notes, name
    place, size = 22, len(content) - 22
    for name, event in UNUSED.items():
        longer = content[: place - 4] + (size + len(event)).to_bytes(4, "big") + event + content[place:]
        assert parse_midi(longer, "x").notes == read_midi(sound).notes, name
    assert parse_midi(content + b"\0" * 30 + b"left over", "x").notes == read_midi(sound).notes


def test_a_file_that_ends_in_a_track_is_broken_and_not_half_a_piece() -> None:
    content = (FIELD_CASES / "20_ok.mid").read_bytes()
    for end in (40, len(content) - 60):
        with pytest.raises(DataError, match=r"x: is broken \(it ends in a track\); a whole MIDI file"):
            parse_midi(content[:end], "x")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.mid: does not exist; a MIDI file"):
        read_midi(tmp_path / "none.mid")


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=6), st.integers(0, 10_000))
@settings(deadline=None)
def test_flipped_bytes_and_cuts_give_a_piece_or_one_clear_error(flips: list[tuple[int, int]], cut: int) -> None:
    content = bytearray(midi_bytes(CHORD))
    for place, value in flips:
        content[place % len(content)] = value
    _must_be_a_piece_or_an_error(bytes(content[: len(content) - cut % 40]))


def _must_be_a_piece_or_an_error(content: bytes) -> None:
    """Any exception but DataError goes on to the test."""
    with suppress(DataError):
        piece = parse_midi(content, "x.mid")
        assert all(note.length > 0 and note.end <= piece.length for note in piece.notes)


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_garbage_behind_a_header_gives_a_piece_or_one_clear_error(garbage: bytes) -> None:
    header = b"MThd\0\0\0\6\0\1\0\1\0\x60MTrk" + len(garbage).to_bytes(4, "big")
    _must_be_a_piece_or_an_error(header + garbage)


def test_a_folder_is_read_to_any_depth_and_bad_files_do_not_stop_it(tmp_path: Path) -> None:
    write_midi(CHORD, tmp_path / "b" / "1.mid")
    write_midi(CHORD, tmp_path / "a.MIDI")
    (tmp_path / "bad.mid").write_bytes(b"none")
    (tmp_path / "c.abc").write_text("X:1\nT:tune\nL:1/4\nK:C\nC\n\nX:2\nK:C\n&\n")
    pieces, errors = read_folder(tmp_path)
    assert [piece.name for piece in pieces] == ["two voices", "two voices", "tune"]
    assert {piece.steps_per_quarter for piece in pieces} == {4}
    assert [error.problems[0].where for error in errors] == [str(tmp_path / "bad.mid"), f"{tmp_path / 'c.abc'}:9"]


@pytest.mark.parametrize(("name", "message"), [(".", "contains no music; files"), ("gone", "is not a folder")])
def test_a_folder_without_music_is_an_error(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_folder(tmp_path / name)
