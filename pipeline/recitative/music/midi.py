"""Standard MIDI files as pieces, and back.

One track a voice, the first of them named 'voice 1'; a track before them holds the tempo and the piece's name, and its
end is the piece's. So a piece comes back as it was written, notes, length, tempo and name, and the same piece makes the
same bytes. Files of others may have their notes anywhere: each track, or each channel of one, is a voice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import mido

from recitative.atomic import write_bytes
from recitative.errors import DataError
from recitative.music.midi_events import REMEDY, Event, read_events
from recitative.music.piece import Note, Piece
from recitative.reading import LARGEST_SETTINGS, read_bytes

SUFFIXES = (".mid", ".midi")
DRUMS = 9  # the channel that musicians call 10
QUARTERS_PER_MINUTE = 120.0  # where a file says nothing: the standard's default
LONGEST_QUARTERS = 100_000  # more is a broken file: it would be 14 hours at 120 quarters a minute

_TICKS_PER_QUARTER = 480
_MICROSECONDS_PER_MINUTE = 60e6
_SLOWEST = 0xFFFFFF  # microseconds a quarter: what three bytes hold
_VELOCITY = 80
_CHANNELS = tuple(channel for channel in range(16) if channel != DRUMS)
_OUR_TRACK = re.compile(r"voice (\d{1,4})")


_Written = tuple[int, "mido.Message | mido.MetaMessage"]  # ticks from the start


@dataclass(frozen=True)
class _Sound:
    """A note in ticks, as a file has it."""

    start: int
    end: int
    pitch: int


def read_midi(path: str | Path, steps_per_quarter: int = 4) -> Piece:
    """A file on a grid: starts and ends go to the nearest step (halves up), a note keeps at least one.

    Voices are the tracks with notes, or the channels of one track, from the highest mean pitch to the lowest; tracks
    named as ``write_midi`` names them keep their numbers. The first tempo is that of the whole; drums are left out.
    Raises DataError for what cannot be read, is no MIDI file, or has no notes.
    """
    return parse_midi(read_bytes(path, "a MIDI file", limit=LARGEST_SETTINGS), str(path), steps_per_quarter)


def parse_midi(content: bytes, where: str, steps_per_quarter: int = 4) -> Piece:
    """The bytes of a file; see ``read_midi``. ``where``: what messages call it, and the name of a piece without one."""
    events, ticks_per_quarter = read_events(content, where)
    voices = _voices(events)
    if not voices:
        raise DataError(where, "has no notes (drums are not counted)", "at least one", "leave it out")
    last_tick = max(time for track in events for time, _ in track)
    if last_tick > LONGEST_QUARTERS * ticks_per_quarter:
        found = f"lasts {last_tick // ticks_per_quarter} quarter notes"
        raise DataError(where, found, f"at most {LONGEST_QUARTERS}", REMEDY)

    def step(tick: int) -> int:
        return (2 * tick * steps_per_quarter + ticks_per_quarter) // (2 * ticks_per_quarter)

    notes = {_on_grid(step(s.start), step(s.end), s.pitch, voice) for voice, sounds in voices.items() for s in sounds}
    tempo = _tempo(events, where)
    piece = Piece.of(_longest(notes), steps_per_quarter, tempo, _track_name(events[0]) or Path(where).stem)
    return replace(piece, length=max(piece.length, step(last_tick)))


def write_midi(piece: Piece, path: str | Path, *, program: int = 0) -> None:
    """Write a file; atomic. program: General MIDI's instrument, 0..127. Raises ValueError as ``midi_bytes`` does."""
    write_bytes(path, midi_bytes(piece, program=program))


def midi_bytes(piece: Piece, *, program: int = 0) -> bytes:
    """The bytes of a file of type 1, the same for the same piece.

    MIDI has one note of a pitch at a time in a voice: where one begins before another of its pitch has ended, that one
    ends there. Raises ValueError for a tempo below 3.58 quarters a minute and for more than 32767 steps a quarter,
    which the format cannot hold.
    """
    ticks_per_step = max(1, _TICKS_PER_QUARTER // piece.steps_per_quarter)
    ticks_per_quarter = ticks_per_step * piece.steps_per_quarter
    microseconds = round(_MICROSECONDS_PER_MINUTE / piece.quarters_per_minute)
    if ticks_per_quarter > 0x7FFF or not 0 < microseconds <= _SLOWEST:
        found = f"{piece.steps_per_quarter} steps a quarter at {piece.quarters_per_minute} quarters a minute"
        raise ValueError(f"{piece.name}: {found} cannot be written as MIDI")
    file = mido.MidiFile(type=1, ticks_per_beat=ticks_per_quarter, charset="utf-8")
    start = [_named(piece.name), (0, mido.MetaMessage("set_tempo", tempo=microseconds))]
    file.tracks.append(_track(start, piece.length * ticks_per_step))
    for voice in sorted({note.voice for note in piece.notes}):
        notes = [note for note in piece.notes if note.voice == voice]
        file.tracks.append(_voice_track(voice, notes, ticks_per_step, program))
    stream = BytesIO()
    file.save(file=stream)
    return stream.getvalue()


def _voices(tracks: Sequence[Sequence[Event]]) -> dict[int, list[_Sound]]:
    """The notes of each voice that has some, by its number."""
    parts = [part for track in tracks for part in _channels(track)]
    named = [_OUR_TRACK.fullmatch(name) for name, _ in parts]
    numbers = [int(match[1]) - 1 for match in named if match]
    if len(numbers) == len(parts) == len(set(numbers)) and min(numbers, default=0) >= 0:
        return {number: sounds for number, (_, sounds) in zip(numbers, parts, strict=True)}
    from_the_top = sorted((sounds for _, sounds in parts), key=_mean_pitch, reverse=True)
    return dict(enumerate(from_the_top))


def _channels(track: Sequence[Event]) -> list[tuple[str, list[_Sound]]]:
    """The track's name and the notes of each channel that has some."""
    used = sorted({message.channel for _, message in track if message.type == "note_on"} - {DRUMS})
    parts = [(_track_name(track), list(_sounds(track, channel))) for channel in used]
    return [(name, sounds) for name, sounds in parts if sounds]


def _sounds(track: Sequence[Event], channel: int) -> Iterator[_Sound]:
    """A note lasts until it is ended or begins again, and at most to the end of its track."""
    sounding: dict[int, int] = {}  # pitch -> start
    time = 0
    for time, message in track:
        if message.type not in ("note_on", "note_off") or message.channel != channel:
            continue
        if message.note in sounding:
            yield _Sound(sounding.pop(message.note), time, message.note)
        if message.type == "note_on" and message.velocity > 0:
            sounding[message.note] = time
    for pitch, start in sounding.items():
        yield _Sound(start, time, pitch)


def _mean_pitch(sounds: Sequence[_Sound]) -> float:
    return sum(sound.pitch for sound in sounds) / len(sounds)


def _on_grid(start: int, end: int, pitch: int, voice: int) -> Note:
    return Note(start, pitch, max(1, end - start), voice)


def _longest(notes: Iterable[Note]) -> Iterable[Note]:
    """Where rounding has made several notes of a voice and pitch begin together, the longest."""
    return {(note.start, note.pitch, note.voice): note for note in sorted(notes)}.values()


def _tempo(tracks: Sequence[Sequence[Event]], where: str) -> float:
    """Quarters a minute: of the numbers that a file's microseconds stand for, the one with the fewest decimals."""
    changes = [(time, message.tempo) for track in tracks for time, message in track if message.type == "set_tempo"]
    if not changes:
        return QUARTERS_PER_MINUTE
    _, microseconds = min(changes, key=lambda change: change[0])
    if microseconds <= 0:
        raise DataError(where, "has a tempo of 0 microseconds a quarter note", "more than 0", REMEDY)
    exact = _MICROSECONDS_PER_MINUTE / microseconds
    rounded = (round(exact, decimals) for decimals in range(7))
    return next((q for q in rounded if q and round(_MICROSECONDS_PER_MINUTE / q) == microseconds), exact)


def _track_name(track: Sequence[Event]) -> str:
    """Files say nothing of their encoding, and are read as Latin-1; ours, and most that differ, are UTF-8."""
    name = next((message.name for _, message in track if message.type == "track_name"), "")
    try:
        return name.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return name


def _voice_track(voice: int, notes: Sequence[Note], ticks_per_step: int, program: int) -> mido.MidiTrack:
    channel = _CHANNELS[voice % len(_CHANNELS)]
    begin = [_named(f"voice {voice + 1}"), (0, mido.Message("program_change", channel=channel, program=program))]
    # Ends stand before beginnings of the same time, so that a repeated note is struck again.
    changes = sorted(change for note in _not_overlapping(notes) for change in _changes(note))
    events = [(step * ticks_per_step, _message(channel, on, pitch)) for step, on, pitch in changes]
    return _track([*begin, *events], changes[-1][0] * ticks_per_step)


def _changes(note: Note) -> tuple[tuple[int, bool, int], tuple[int, bool, int]]:
    return (note.start, True, note.pitch), (note.end, False, note.pitch)


def _not_overlapping(notes: Iterable[Note]) -> list[Note]:
    """Each ends where the next of its pitch begins, at the latest."""
    kept: list[Note] = []
    following: dict[int, int] = {}  # pitch -> start of the next one
    for note in sorted(_longest(notes), reverse=True):
        end = min(note.end, following.get(note.pitch, note.end))
        kept.append(replace(note, length=end - note.start))
        following[note.pitch] = note.start
    return kept


def _message(channel: int, on: bool, pitch: int) -> mido.Message:
    kind, velocity = ("note_on", _VELOCITY) if on else ("note_off", 0)
    return mido.Message(kind, channel=channel, note=pitch, velocity=velocity)


def _named(name: str) -> _Written:
    return 0, mido.MetaMessage("track_name", name=name)


def _track(events: Iterable[_Written], end: int) -> mido.MidiTrack:
    track, before = mido.MidiTrack(), 0
    for time, message in [*events, (end, mido.MetaMessage("end_of_track"))]:
        track.append(message.copy(time=time - before))
        before = time
    return track
