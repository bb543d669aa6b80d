"""The events of a standard MIDI file that a piece is made of: notes, tempi, names and ends of tracks.

Everything else is skipped by its length, whatever is in it, and so is what follows the last track; a file in a RIFF
wrapper (RMID) is unwrapped. Fewer tracks than the header counts are taken as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

from recitative.errors import DataError

REMEDY = "leave it out, or export it again"

_END_OF_TRACK, _TRACK_NAME, _SET_TEMPO = 0x2F, 0x03, 0x51
_SYSTEM_LENGTHS = {0xF1: 1, 0xF2: 2, 0xF3: 1}  # data bytes; no other message of the system has some


@dataclass(frozen=True)
class Message:
    """type: note_on, note_off, set_tempo, track_name or other; of the rest what belongs to it."""

    type: str
    channel: int = 0
    note: int = 0
    velocity: int = 0
    tempo: int = 0  # microseconds a quarter
    name: str = ""  # Latin-1, as the standard has it


Event = tuple[int, Message]
"""Ticks from the start, and what happens then."""


def read_events(content: bytes, where: str) -> tuple[list[list[Event]], int]:
    """(the events of each track, ticks per quarter). Raises DataError for what is no MIDI file, or ends in a track."""
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
    """Reads one track, which lies in ``content`` from ``position`` to ``end`` or ends with its own event before."""

    def __init__(self, content: bytes, position: int, end: int, where: str) -> None:
        self._content, self._position, self._end, self._where = content, position, end, where

    def read(self) -> list[Event]:
        events: list[Event] = []
        time, running = 0, 0
        while self._position < self._end:
            time += self._number()
            status = self._byte()
            if status < 0x80:  # the status of the message before goes on
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
    return Message("other")


def _broken(where: str, found: str) -> DataError:
    return DataError(where, f"is broken ({found})", "a whole MIDI file", REMEDY)
