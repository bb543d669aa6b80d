"""Reading and writing of standard MIDI files; and the sound of a piece.

Reading uses notes, tempi, meters, key signatures, track names and ends of tracks. Other events and data after the last
track are skipped. Files in a RIFF wrapper (RMID) are unwrapped, and files with fewer tracks than in the header are
accepted.

Written files have one track for each voice, named after its part or 'voice 1', after a track with tempo, meter, key
signature, name and length of the piece. So a piece is read as it was written, and equal pieces give equal bytes. In
other files each track with notes, or each channel of a single one, is a voice.
"""

from __future__ import annotations

import importlib.util
import io
import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import mido
import numpy as np
import numpy.typing as npt
import soundfile

from recitative.atomic import write_bytes
from recitative.errors import DataError, UsageError, counted
from recitative.music.piece import VELOCITY, VOICES, Notation, Note, Piece, signature_name, velocities
from recitative.reading import LARGEST_SETTINGS, read_bytes

REMEDY = "leave it out, or export it again"

_END_OF_TRACK, _TRACK_NAME, _SET_TEMPO, _TIME_SIGNATURE, _KEY_SIGNATURE = 0x2F, 0x03, 0x51, 0x58, 0x59
_SYSTEM_LENGTHS = {0xF1: 1, 0xF2: 2, 0xF3: 1}  # data bytes of system messages; others have none


@dataclass(frozen=True)
class Message:
    """type: note_on, note_off, set_tempo, track_name, time_signature, key_signature or other"""

    type: str
    channel: int = 0
    note: int = 0
    velocity: int = 0
    tempo: int = 0  # microseconds per quarter
    name: str = ""  # decoded as Latin-1
    numbers: tuple[int, int] = (0, 0)  # beats and note value of a meter, or sharps and 1 for minor of a key


Event = tuple[int, Message]
"""Ticks from the start, and a message."""


def read_events(content: bytes, where: str) -> tuple[list[list[Event]], int]:
    """(the events of each track, ticks per quarter). Raises DataError for other and for truncated files."""
    if not content:
        raise DataError(where, "is empty", "a MIDI file", REMEDY)
    if content[:4] == b"RIFF" and content[8:12] == b"RMID":
        content = content[max(0, content.find(b"MThd")) :]
    if content[:4] != b"MThd":
        raise DataError(where, f"begins with {content[:4]!r}", "a MIDI file, which begins with b'MThd'", REMEDY)
    if len(content) < 14:
        raise _broken(where, "it ends in its header")
    kind, count, ticks_per_quarter = (int.from_bytes(content[i : i + 2], "big") for i in (8, 10, 12))
    if kind not in (0, 1):
        raise DataError(where, f"is a MIDI file of type {kind}", "type 0 or 1", REMEDY)
    if not 0 < ticks_per_quarter < 0x8000:
        raise DataError(where, "has no ticks per quarter note", "time in quarter notes, not in frames of film", REMEDY)
    return _tracks(content, count, where), ticks_per_quarter


def _tracks(content: bytes, count: int, where: str) -> list[list[Event]]:
    tracks: list[list[Event]] = []
    position = 8 + int.from_bytes(content[4:8], "big")
    while position + 8 <= len(content):
        name, size = content[position : position + 4], int.from_bytes(content[position + 4 : position + 8], "big")
        position += 8
        if name == b"MTrk":
            tracks.append(_Track(content, position, position + size, where).read())
        elif position + size > len(content) and len(tracks) < count:
            raise _broken(where, f"what follows track {len(tracks)} of {count} is no track")
        position += size
    return tracks


class _Track:
    """Reads one track from ``position`` to ``end``, or to its end-of-track event."""

    def __init__(self, content: bytes, position: int, end: int, where: str) -> None:
        self._content, self._position, self._end, self._where = content, position, end, where

    def read(self) -> list[Event]:
        events: list[Event] = []
        time, running = 0, 0
        while self._position < self._end:
            time += self._number()
            status = self._byte()
            if status < 0x80:  # running status
                self._position -= 1
                status = running
            if 0x80 <= status < 0xF0:
                running = status
                events.append((time, self._of_channel(status)))
            elif status == 0xFF:
                kind = self._byte()
                events.append((time, _meta(kind, self._bytes(self._number()))))
                if kind == _END_OF_TRACK:
                    break
            elif status >= 0xF0:
                self._bytes(self._number() if status in (0xF0, 0xF7) else _SYSTEM_LENGTHS.get(status, 0))
            else:
                raise _broken(self._where, "a track begins with no message")
        return events

    def _of_channel(self, status: int) -> Message:
        kind, channel = status & 0xF0, status & 0x0F
        data = self._bytes(1 if kind in (0xC0, 0xD0) else 2)
        if kind not in (0x80, 0x90):
            return Message("other")
        note, velocity = (min(value, 127) for value in data)
        return Message("note_on" if kind == 0x90 else "note_off", channel, note, velocity)

    def _number(self) -> int:
        value = 0
        for _ in range(4):
            byte = self._byte()
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value
        raise _broken(self._where, "a number of more than four bytes")

    def _byte(self) -> int:
        return self._bytes(1)[0]

    def _bytes(self, count: int) -> bytes:
        found = self._content[self._position : self._position + count]
        if len(found) < count:
            raise _broken(self._where, "it ends in a track")
        self._position += count
        return found


def _meta(kind: int, data: bytes) -> Message:
    if kind == _SET_TEMPO and len(data) == 3:
        return Message("set_tempo", tempo=int.from_bytes(data, "big"))
    if kind == _TRACK_NAME:
        return Message("track_name", name=data.decode("latin-1"))
    if kind == _TIME_SIGNATURE and len(data) >= 2 and data[0] and data[1] <= 5:
        return Message("time_signature", numbers=(data[0], 2 ** data[1]))
    if kind == _KEY_SIGNATURE and len(data) == 2 and data[1] <= 1:
        fifths = int.from_bytes(data[:1], signed=True)
        return Message("key_signature" if abs(fifths) <= 7 else "other", numbers=(fifths, data[1]))
    return Message("other")


def _broken(where: str, found: str) -> DataError:
    return DataError(where, f"is broken ({found})", "a whole MIDI file", REMEDY)


# Pieces

MIDI_SUFFIXES = (".mid", ".midi")
DRUMS = 9  # channel 10, counted from 1
INSTRUMENTS = {
    "piano": 0, "harpsichord": 6, "organ": 19, "guitar": 24, "violin": 40, "viola": 41, "cello": 42, "bass": 43,
    "harp": 46, "strings": 48, "choir": 52, "trumpet": 56, "trombone": 57, "tuba": 58, "horn": 60, "brass": 61,
    "saxophone": 65, "oboe": 68, "bassoon": 70, "clarinet": 71, "flute": 73, "recorder": 74,
}  # fmt: skip
"""Some programs of General MIDI, from 0."""

QUARTERS_PER_MINUTE = 120.0  # the standard's default
LONGEST_QUARTERS = 100_000  # 14 hours at 120 quarters per minute; more is a broken file

_TICKS_PER_QUARTER = 480
_MICROSECONDS_PER_MINUTE = 60e6
_SLOWEST = 0xFFFFFF  # microseconds per quarter, in three bytes
_CHANNELS = tuple(channel for channel in range(16) if channel != DRUMS)
_OUR_TRACK = re.compile(r"voice (\d{1,4})")


_Span = tuple[int, int, int]  # a note of a file: start and end in ticks, and pitch
_Part = tuple[str, list[_Span]]  # with a name
_Timed = tuple[int, "mido.Message | mido.MetaMessage"]  # ticks from the start


def read_midi(path: str | Path, steps_per_quarter: int = 4) -> Piece:
    """Read a file on a grid. Starts and ends are rounded to the nearest step (halves up); notes keep at least one step.

    Voices are the tracks with notes, or the channels of a single track, by descending mean pitch; tracks named soprano,
    alto, tenor and bass, and those of ``write_midi``, keep their numbers. The first tempo, meter and key signature are
    used for the whole piece. Drums are left out.
    Raises DataError for files that cannot be read, are not MIDI, or have no notes.
    """
    return parse_midi(read_bytes(path, "a MIDI file", limit=LARGEST_SETTINGS), str(path), steps_per_quarter)


def parse_midi(content: bytes, where: str, steps_per_quarter: int = 4) -> Piece:
    """Parse the bytes of a file; see ``read_midi``. where: for messages, and the name of a piece without one"""
    events, ticks_per_quarter = read_events(content, where)
    parts = _voices(events)
    if not parts:
        raise DataError(where, "has no notes (drums are not counted)", "at least one", "leave it out")
    last_tick = max(time for track in events for time, _ in track)
    if last_tick > LONGEST_QUARTERS * ticks_per_quarter:
        found = f"lasts {last_tick // ticks_per_quarter} quarter notes"
        raise DataError(where, found, f"at most {LONGEST_QUARTERS}", REMEDY)

    def step(tick: int) -> int:
        return (2 * tick * steps_per_quarter + ticks_per_quarter) // (2 * ticks_per_quarter)

    notes = {
        Note(step(start), pitch, max(1, step(end) - step(start)), voice)
        for voice, (_, spans) in parts.items()
        for start, end, pitch in spans
    }
    tempo = _tempo(events, where)
    piece = Piece.of(_longest(notes), steps_per_quarter, tempo, _track_name(events[0]) or Path(where).stem)
    names = {voice: name for voice, (name, _) in parts.items()}
    return replace(piece, length=max(piece.length, step(last_tick)), notation=_notation(events, names))


def write_midi(piece: Piece, path: str | Path, *, program: int | Sequence[int] = 0, velocity: int = VELOCITY) -> None:
    """Write a file; atomic. Raises ValueError; see ``midi_bytes``."""
    write_bytes(path, midi_bytes(piece, program=program, velocity=velocity))


def midi_bytes(piece: Piece, *, program: int | Sequence[int] = 0, velocity: int = VELOCITY) -> bytes:
    """The bytes of a file of type 1. Equal pieces give equal bytes.

    program: General MIDI instrument, 0..127, of all voices or of each; further voices get the last. velocity: 1..127,
    mean of the dynamics (see ``dynamics.velocities``).

    MIDI has one note of each pitch at a time in a voice: a note ends where the next one of its pitch starts. Raises
    ValueError for a tempo below 3.58 quarters per minute and for more than 32767 steps per quarter.
    """
    ticks_per_step = max(1, _TICKS_PER_QUARTER // piece.steps_per_quarter)
    ticks_per_quarter = ticks_per_step * piece.steps_per_quarter
    microseconds = round(_MICROSECONDS_PER_MINUTE / piece.quarters_per_minute)
    if ticks_per_quarter > 0x7FFF or not 0 < microseconds <= _SLOWEST:
        found = f"{counted(piece.steps_per_quarter, 'step')} a quarter at {piece.quarters_per_minute} quarters a minute"
        raise ValueError(f"{piece.name}: {found} cannot be written as MIDI")
    file = mido.MidiFile(type=1, ticks_per_beat=ticks_per_quarter, charset="utf-8")
    notation = piece.notation
    start = [mido.MetaMessage("track_name", name=piece.name), mido.MetaMessage("set_tempo", tempo=microseconds)]
    if notation.meter:
        beats, value = notation.meter
        start.append(mido.MetaMessage("time_signature", numerator=beats, denominator=value))
    if notation.fifths is not None:
        start.append(mido.MetaMessage("key_signature", key=signature_name(notation.fifths, notation.minor)))
    file.tracks.append(_track(start, [], piece.length * ticks_per_step))
    programs = [program] if isinstance(program, int) else program
    loudness = dict(zip(piece.notes, velocities(piece, velocity), strict=True))
    for voice in sorted({note.voice for note in piece.notes}):
        channel = _CHANNELS[voice % len(_CHANNELS)]
        start = [
            mido.MetaMessage("track_name", name=notation.part(voice) or f"voice {voice + 1}"),
            mido.Message("program_change", channel=channel, program=programs[min(voice, len(programs) - 1)]),
        ]
        notes = {note: value for note, value in loudness.items() if note.voice == voice}
        events = _note_events(notes, channel, ticks_per_step)
        file.tracks.append(_track(start, events, events[-1][0]))
    stream = BytesIO()
    file.save(file=stream)
    return stream.getvalue()


def _note_events(notes: Mapping[Note, int], channel: int, ticks_per_step: int) -> list[_Timed]:
    """The messages of a voice. notes: with their velocities. A note ends where the next of its pitch begins, at the
    latest."""
    changes: list[tuple[int, bool, int]] = []
    following: dict[int, int] = {}  # pitch -> start of the next one
    for note in sorted(_longest(notes), reverse=True):
        end = min(note.end, following.get(note.pitch, note.end))
        changes += [(note.start, True, note.pitch), (end, False, note.pitch)]
        following[note.pitch] = note.start
    velocity = {(note.start, note.pitch): value for note, value in notes.items()}
    events: list[_Timed] = []
    for step, on, pitch in sorted(changes):  # ends before beginnings at the same time
        value = velocity[step, pitch] if on else 0
        kind = "note_on" if on else "note_off"
        events.append((step * ticks_per_step, mido.Message(kind, channel=channel, note=pitch, velocity=value)))
    return events


def _track(start: Sequence[Any], events: Sequence[_Timed], end: int) -> mido.MidiTrack:
    """Messages at the start, events, and the end of the track, with times relative to the previous message."""
    track, before = mido.MidiTrack(), 0
    for time, message in [*((0, one) for one in start), *events, (end, mido.MetaMessage("end_of_track"))]:
        track.append(message.copy(time=time - before))
        before = time
    return track


def _notation(tracks: Sequence[Sequence[Event]], names: dict[int, str]) -> Notation:
    """The first meter and key signature, and the names of the voices; names of 'voice 1' and the like, and equal ones,
    are left out."""

    def first(kind: str) -> tuple[int, int] | None:
        found = ((time, message.numbers) for track in tracks for time, message in track if message.type == kind)
        return min(found, key=lambda one: one[0], default=(0, None))[1]

    key = first("key_signature")
    named = {voice: "" if _OUR_TRACK.fullmatch(name) else name for voice, name in names.items()}
    parts = tuple(named.get(voice, "") for voice in range(max(named) + 1))
    own = [name for name in parts if name]
    if len(set(own)) < len(own) or not own:
        parts = ()
    return Notation(first("time_signature"), key[0] if key else None, bool(key and key[1]), parts)


def _voices(tracks: Sequence[Sequence[Event]]) -> dict[int, _Part]:
    """The name and notes of each voice that has some, by its number."""
    parts: list[_Part] = []
    for track in tracks:
        for channel in sorted({message.channel for _, message in track if message.type == "note_on"} - {DRUMS}):
            if spans := list(_spans(track, channel)):
                parts.append((_track_name(track), spans))
    numbers = [number for name, _ in parts if (number := _voice_number(name)) is not None]
    if len(numbers) == len(parts) == len(set(numbers)) and min(numbers, default=0) >= 0:
        return dict(zip(numbers, parts, strict=True))

    def mean_pitch(part: _Part) -> float:
        return sum(pitch for _, _, pitch in part[1]) / len(part[1])

    return dict(enumerate(sorted(parts, key=mean_pitch, reverse=True)))


def _voice_number(name: str) -> int | None:
    """The number of a voice in the name of its track."""
    if match := _OUR_TRACK.fullmatch(name):
        return int(match[1]) - 1
    return VOICES.index(name.strip().lower()) if name.strip().lower() in VOICES else None


def _spans(track: Sequence[Event], channel: int) -> Iterator[_Span]:
    """A note lasts until it is ended or begins again, and at most to the end of its track."""
    sounding: dict[int, int] = {}  # pitch -> start
    time = 0
    for time, message in track:
        if message.type not in ("note_on", "note_off") or message.channel != channel:
            continue
        if message.note in sounding:
            yield sounding.pop(message.note), time, message.note
        if message.type == "note_on" and message.velocity > 0:
            sounding[message.note] = time
    for pitch, start in sounding.items():
        yield start, time, pitch


def _longest(notes: Iterable[Note]) -> Iterable[Note]:
    """The longest of the notes of a voice and pitch that begin together, after rounding."""
    return {(note.start, note.pitch, note.voice): note for note in sorted(notes)}.values()


def _tempo(tracks: Sequence[Sequence[Event]], where: str) -> float:
    """Quarters per minute: the number with the fewest decimals that gives the microseconds of the file."""
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
    """MIDI does not define an encoding: a name is UTF-8 if it can be, as in our files, otherwise Latin-1."""
    name = next((message.name for _, message in track if message.type == "track_name"), "")
    try:
        return name.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return name


# Sound: with a soundfont (sf2, sf3) and TinySoundFont, or by a small additive synthesizer, whose notes are sums of
# harmonics, the higher of which decay faster, as on a struck string. Notes start and end at exact samples.
#
# TinySoundFont's wheel requires PyAudio, which has to be compiled and is not needed to compute samples. It is therefore
# not a dependency; users who want it install it with ``pip install --no-deps tinysoundfont``.


ENVIRONMENT = "RECITATIVE_SOUNDFONT"
FOLDERS = (Path("/usr/share/sounds/sf2"), Path("/usr/share/sounds/sf3"), Path("/usr/share/soundfonts"))
SOUNDFONT_SUFFIXES = frozenset({".sf2", ".sf3"})
TAIL_S = 1.0  # after the last step, for the decay of the last notes
_LOUDER = 10  # added to velocities for a soundfont
_PAN = 10  # controller number

Stereo = npt.NDArray[np.float32]
"""(S, 2): left, right."""


def find_soundfont() -> Path | None:
    """The soundfont in RECITATIVE_SOUNDFONT, otherwise the first in the usual folders or in pretty_midi; None without
    one, or without TinySoundFont, which plays it.

    Raises UsageError if the variable does not name a file.
    """
    named = os.environ.get(ENVIRONMENT)
    if named:
        if not Path(named).is_file():
            raise UsageError(f"{ENVIRONMENT}: '{named}' is not a file; an sf2 or sf3 file; correct it or unset it")
        return Path(named)
    if not importlib.util.find_spec("tinysoundfont"):
        return None
    spec = importlib.util.find_spec("pretty_midi")
    folders = [*FOLDERS, *([Path(spec.origin).parent] if spec and spec.origin else [])]
    found = (
        path for folder in folders for path in sorted(folder.glob("*")) if path.suffix.lower() in SOUNDFONT_SUFFIXES
    )
    return next(found, None)


def play(piece: Piece, soundfont: Path, sample_rate: int, program: int | Sequence[int]) -> Stereo:
    """Samples (S, 2) of the piece and TAIL_S, not limited. Each voice has one MIDI channel and one program.

    Raises UsageError if TinySoundFont is not installed or the soundfont lacks the program (0..127), DataError for a
    file that is not a soundfont.
    """
    synth = _open_synth(piece, soundfont, sample_rate, program)
    per_step = piece.step_s * sample_rate
    events = []  # (sample, whether the note starts, pitch, voice, velocity): ends come first at the same time
    for note, velocity in zip(piece.notes, velocities(piece, VELOCITY + _LOUDER), strict=True):
        events.append((round(note.start * per_step), True, note.pitch, note.voice, velocity))
        events.append((round(note.end * per_step), False, note.pitch, note.voice, 0))
    parts, now = [], 0

    def generate(until: int) -> None:
        parts.append(np.frombuffer(synth.generate(until - now), np.float32).reshape(-1, 2))

    for sample, starts, pitch, voice, velocity in sorted(events):
        generate(sample)
        now = sample
        channel = _CHANNELS[voice % len(_CHANNELS)]
        if starts:
            synth.noteon(channel, pitch, velocity)
        else:
            synth.noteoff(channel, pitch)
    generate(round((piece.seconds + TAIL_S) * sample_rate))
    samples = np.concatenate(parts)
    fade = round(TAIL_S / 2 * sample_rate)
    samples[len(samples) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)[:, None]
    return samples


def place(voice: int, voices: int) -> float:
    """The position of a voice, from -1 for left to 1 for right; 0 for a single voice."""
    return 2 * voice / (voices - 1) - 1 if voices > 1 else 0.0


def _open_synth(piece: Piece, soundfont: Path, sample_rate: int, program: int | Sequence[int]) -> Any:
    """A synthesizer with program and panning on the channel of each voice."""
    synth, number = load_soundfont(soundfont, sample_rate)
    programs = [program] if isinstance(program, int) else program
    for voice in range(piece.voices):
        channel, chosen = _CHANNELS[voice % len(_CHANNELS)], programs[min(voice, len(programs) - 1)]
        try:
            synth.program_select(channel, number, 0, chosen)
        except RuntimeError:
            raise UsageError(f"{soundfont}: has no program {chosen}; 0 to 127; choose one that it has") from None
        synth.control_change(channel, _PAN, round(64 + 40 * place(voice, piece.voices)))
    return synth


def load_soundfont(soundfont: Path, sample_rate: int) -> tuple[Any, int]:
    """A synthesizer with a soundfont, and the number of the soundfont in it. Raises what ``play`` raises."""
    try:
        import tinysoundfont
    except ImportError:
        raise UsageError(
            "soundfont: TinySoundFont is not installed; it plays sf2 and sf3 files; "
            "'pip install --no-deps tinysoundfont', or leave the soundfont out"
        ) from None
    synth = tinysoundfont.Synth(samplerate=sample_rate)
    try:
        number = synth.sfload(str(soundfont))
    except Exception as error:  # the binding raises any error of its C code
        found = f"is not a soundfont ({error})" if soundfont.is_file() else "does not exist"
        raise DataError(str(soundfont), found, "an sf2 or sf3 file", "give another one") from None
    return synth, number


# Additive synthesis

SAMPLE_RATE = 44100  # Hz
PEAK = 0.9  # maximum
LEVEL = 0.25  # of one note
HARMONICS = (1.0, 0.42, 0.28, 0.15, 0.09, 0.05, 0.03)  # amplitudes of the fundamental and its multiples
DECAY = 0.9  # 1/s, of the fundamental of middle C
ATTACK_S = 0.006
RELEASE_S = 0.045  # within the note
WIDTH = 0.7  # of the panning; 1: outer voices are on one side only
_MIDDLE_C = 60
_AUDIBLE = 0.45  # of the sample rate; higher harmonics are left out


def render(
    piece: Piece,
    *,
    sample_rate: int = SAMPLE_RATE,
    soundfont: Path | None = None,
    program: int | Sequence[int] = 0,
) -> Stereo:
    """Samples (S, 2) of at most PEAK. S is the duration of the piece, with a soundfont plus TAIL_S.

    sample_rate: Hz. soundfont: an sf2 or sf3 file. program: with a soundfont, General MIDI instrument, 0..127, of all
    voices or of each.
    Raises UsageError and DataError; see ``play``.
    """
    played = _synthesize(piece, sample_rate) if soundfont is None else play(piece, soundfont, sample_rate, program)
    loudest = float(np.max(np.abs(played), initial=0.0))
    return played * np.float32(PEAK / loudest) if loudest > PEAK else played


def mp3_bytes(samples: Stereo, sample_rate: int = SAMPLE_RATE) -> bytes:
    """Encode (S, 2) as MP3 at about 70 kbit/s. sample_rate: one of MPEG, such as 44100 Hz"""
    buffer = io.BytesIO()
    soundfile.write(
        buffer, samples, sample_rate, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.7,
        bitrate_mode="VARIABLE",
    )  # fmt: skip
    return buffer.getvalue()


def frequency(pitch: int) -> float:
    """Frequency of a MIDI pitch in Hz, in equal temperament: 440 * 2^((pitch - 69) / 12)."""
    return float(440.0 * 2.0 ** ((pitch - 69) / 12))


def tone(pitch: int, num_samples: int, sample_rate: int) -> npt.NDArray[np.float32]:
    """(S,) samples of a tone that is held.

    sum over n of HARMONICS[n - 1] exp(-(1 + n) d t / 2) sin(2 pi n f t), which is exp(-d t / 2) times the imaginary
    part of a polynomial in z = exp((2 pi i f - d / 2) t): one exponential instead of a sine for each harmonic.
    """
    time_s = np.arange(num_samples) / sample_rate
    hertz = frequency(pitch)
    decay = DECAY * 2.0 ** ((pitch - _MIDDLE_C) / 24)  # higher tones decay faster
    z = np.exp((2j * np.pi * hertz - decay / 2) * time_s)
    total = np.zeros(num_samples, np.complex128)
    for amplitude in reversed(HARMONICS[: int(_AUDIBLE * sample_rate / hertz)]):  # Horner's scheme
        total = (total + amplitude) * z
    sound = np.abs(z) * total.imag
    attack = _rise(round(ATTACK_S * sample_rate))[:num_samples]
    sound[: len(attack)] *= attack
    return np.asarray(LEVEL * sound, np.float32)


def _synthesize(piece: Piece, sample_rate: int) -> Stereo:
    """The highest voice is on the left, with constant power. Notes of one pitch are cut from one long tone."""
    mix = np.zeros((round(piece.seconds * sample_rate), 2), np.float32)
    gains = {note: value / VELOCITY for note, value in zip(piece.notes, velocities(piece), strict=True)}
    angles = [np.pi / 4 * (1 + WIDTH * place(voice, piece.voices)) for voice in range(piece.voices)]
    panning = [np.array([np.cos(angle), np.sin(angle)], np.float32) for angle in angles]
    by_pitch = sorted(piece.notes, key=lambda note: (note.pitch, note))
    for pitch, notes in itertools.groupby(by_pitch, key=lambda note: note.pitch):
        spans = [
            (note, round(note.start * piece.step_s * sample_rate), round(note.end * piece.step_s * sample_rate))
            for note in notes
        ]
        long = tone(pitch, max(end - first for _, first, end in spans), sample_rate)
        for note, first, end in spans:
            sound = long[: end - first].copy()
            fall = _rise(min(round(RELEASE_S * sample_rate), len(sound) // 4))[::-1]  # at most a quarter of the note
            sound[len(sound) - len(fall) :] *= fall
            mix[first:end] += sound[:, None] * (gains[note] * panning[note.voice])
    return mix


def _rise(num_samples: int) -> npt.NDArray[np.float32]:
    """A raised cosine from 0 to 1, which avoids clicks."""
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.arange(num_samples) / max(1, num_samples)), np.float32)
