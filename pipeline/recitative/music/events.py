"""A piece as a sequence of tokens, for a language model of music, and back.

    piece  = [ moment ] { shifts moment } [ shifts ] END
    moment = [ chord ] { voice chord }               what begins at one time: at least one chord
    chord  = note length { note length }             what begins in one voice
    shifts = shift { shift }

At the beginning, and after each shift, the voice is the first; ``voice:v`` goes on to a later one. Within a voice notes
rise. A gap longer than the longest shift is several shifts, all but the last of which are the longest. The last shifts
lead to the end of the piece, which is no earlier than the end of any note. So a piece has one sequence, and a sequence
that keeps these rules one piece; ``EventVocabulary.legal`` says of each token whether the rules allow it next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import cached_property
from itertools import groupby

import numpy as np

from recitative.music.piece import HIGHEST, LOWEST, Note, Piece
from recitative.stage import Mask
from recitative.text.tokens import BLANK
from recitative.text.vocabulary import END


class Kind(Enum):
    """Of a token."""

    END = auto()
    SHIFT = auto()
    VOICE = auto()
    NOTE = auto()
    LENGTH = auto()


@dataclass(frozen=True)
class Event:
    """value: steps of a shift or a length, number of a voice from 0, MIDI pitch of a note."""

    kind: Kind
    value: int = 0

    def __str__(self) -> str:
        return f"{self.kind.name.lower()}:{self.value}"


@dataclass(frozen=True)
class GrammarState:
    """What decides which tokens may follow; the default: at the beginning.

    last: the token before; voice, pitch: of the last note since the last shift, pitch -1 if the voice has none yet;
    sounding: steps until the last note that has begun ends.
    """

    last: Event = Event(Kind.END)
    voice: int = 0
    pitch: int = -1
    sounding: int = 0

    def after(self, event: Event) -> GrammarState:
        """The state after a token that is legal here."""
        match event.kind:
            case Kind.END:
                return GrammarState()
            case Kind.SHIFT:
                return GrammarState(event, sounding=max(0, self.sounding - event.value))
            case Kind.VOICE:
                return replace(self, last=event, voice=event.value, pitch=-1)
            case Kind.NOTE:
                return replace(self, last=event, pitch=event.value)
            case Kind.LENGTH:
                return replace(self, last=event, sounding=max(self.sounding, event.value))


@dataclass(frozen=True)
class EventVocabulary:
    """The tokens of pieces within limits; id 0 ends a piece, and is what a piece begins after.

    Notes have pitches lowest..highest, at most ``longest_length`` steps, and voices 0..voices-1.
    """

    steps_per_quarter: int
    longest_length: int
    longest_shift: int
    voices: int = 1
    lowest: int = LOWEST
    highest: int = HIGHEST

    @classmethod
    def of_pieces(cls, pieces: Iterable[Piece], longest_shift: int) -> EventVocabulary:
        """The smallest that holds these. Raises ValueError if they have no notes, or differ in steps per quarter."""
        given = list(pieces)
        notes = [note for piece in given for note in piece.notes]
        resolutions = sorted({piece.steps_per_quarter for piece in given})
        if not notes or len(resolutions) != 1:
            raise ValueError(f"{len(notes)} notes at {resolutions} steps per quarter: some notes at one are needed")
        pitches = [note.pitch for note in notes]
        longest = max(note.length for note in notes)
        voices = max(note.voice for note in notes) + 1
        return cls(resolutions[0], longest, longest_shift, voices, min(pitches), max(pitches))

    @classmethod
    def from_symbols(cls, symbols: Sequence[str], steps_per_quarter: int) -> EventVocabulary:
        """The vocabulary with these ``symbols``. Raises ValueError if they are not of one."""
        numbers: dict[str, list[int]] = {"shift": [0], "voice": [0], "note": [], "length": [0]}
        for symbol in symbols[1:]:
            kind, _, value = symbol.partition(":")
            if kind not in numbers or not value.isascii() or not value.isdigit():
                raise ValueError(f"'{symbol}' is no token of music, such as 'note:60'")
            numbers[kind].append(int(value))
        largest = {kind: max(values, default=0) for kind, values in numbers.items()}
        limits = largest["length"], largest["shift"], largest["voice"] + 1
        vocabulary = cls(steps_per_quarter, *limits, min(numbers["note"], default=0), largest["note"])
        if vocabulary.symbols != tuple(symbols):
            raise ValueError(f"{len(symbols)} symbols with gaps, or in another order; those of a whole vocabulary")
        return vocabulary

    def __post_init__(self) -> None:
        smallest = min(self.steps_per_quarter, self.longest_length, self.longest_shift, self.voices)
        if smallest < 1 or not LOWEST <= self.lowest <= self.highest <= HIGHEST:
            raise ValueError(f"{self}: numbers of at least 1, and pitches within {LOWEST} to {HIGHEST}")

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """By id."""
        return (
            Event(Kind.END),
            *(Event(Kind.SHIFT, steps) for steps in range(1, self.longest_shift + 1)),
            *(Event(Kind.VOICE, voice) for voice in range(1, self.voices)),
            *(Event(Kind.NOTE, pitch) for pitch in range(self.lowest, self.highest + 1)),
            *(Event(Kind.LENGTH, steps) for steps in range(1, self.longest_length + 1)),
        )

    @cached_property
    def ids(self) -> dict[Event, int]:
        return {event: number for number, event in enumerate(self.events)}

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """For a ``text.tokens.TokenTable``: 'shift:4', 'voice:1', 'note:60', 'length:4' behind its first symbol."""
        return (BLANK, *(str(event) for event in self.events[1:]))

    def __len__(self) -> int:
        return len(self.events)

    def encode(self, piece: Piece) -> list[int]:
        """The ids of a piece without its END; tempo and name are not told.

        Raises ValueError that names the piece, for notes beyond the limits or two of a pitch that begin together in a
        voice, and for another number of steps per quarter.
        """
        self._require_within(piece)
        return [self.ids[event] for event in self._written(piece)]

    def decode(self, ids: Iterable[int], *, quarters_per_minute: float = 100.0, name: str = "") -> Piece:
        """The piece of a whole sequence without its END. Raises ValueError for a token that the rules forbid."""
        notes: list[Note] = []
        state, time = GrammarState(), 0
        for place, number in enumerate(ids):
            if not 0 < number < len(self) or not self.legal(state)[number]:
                raise ValueError(f"{name}: token {place + 1}, {self._name(number)}, may not stand behind {state.last}")
            event = self.events[number]
            if event.kind is Kind.LENGTH:
                notes.append(Note(time, state.pitch, event.value, state.voice))
            time += event.value if event.kind is Kind.SHIFT else 0
            state = state.after(event)
        if not self.legal(state)[END]:
            raise ValueError(f"{name}: it may not end behind {state.last}, while notes are sounding or begin")
        return Piece(tuple(sorted(notes)), time, self.steps_per_quarter, quarters_per_minute, name)

    def legal(self, state: GrammarState) -> Mask:
        """(V,): which tokens may follow. At least one may, whatever the state."""
        mask = np.zeros(len(self), bool)
        match state.last.kind:
            case Kind.NOTE:
                mask[self._range(Kind.LENGTH, 1, self.longest_length)] = True
            case Kind.VOICE:
                mask[self._range(Kind.NOTE, self.lowest, self.highest)] = True
            case _:
                mask[END] = state.sounding == 0
                mask[self._range(Kind.SHIFT, 1, self.longest_shift)] = self._may_shift(state)
                mask[self._range(Kind.VOICE, state.voice + 1, self.voices - 1)] = True
                mask[self._range(Kind.NOTE, max(self.lowest, state.pitch + 1), self.highest)] = True
        return mask

    def finished(self, ids: Sequence[int]) -> list[int]:
        """A whole sequence, without END, of one that was cut off anywhere: its last notes sound to their ends.

        A voice or a note without a length is taken back. ``ids`` are legal, one after the other.
        """
        events = [self.events[number] for number in ids]
        passed = 0
        while events and events[-1].kind is not Kind.LENGTH:
            last = events.pop()
            passed += last.value if last.kind is Kind.SHIFT else 0
        state = GrammarState()
        for event in events:
            state = state.after(event)
        return [self.ids[event] for event in [*events, *self._shifts(max(state.sounding, passed))]]

    def _may_shift(self, state: GrammarState) -> bool:
        """A shift that is not the longest is the last in a row."""
        return state.last.kind is not Kind.SHIFT or state.last.value == self.longest_shift

    def _range(self, kind: Kind, first: int, last: int) -> slice:
        """The ids of the values first..last of a kind; none if first > last."""
        return slice(0, 0) if first > last else slice(self.ids[Event(kind, first)], self.ids[Event(kind, last)] + 1)

    def _name(self, number: int) -> str:
        return f"'{self.symbols[number]}'" if 0 <= number < len(self) else f"{number}, which is none"

    def _written(self, piece: Piece) -> Iterator[Event]:
        time = 0
        ordered = sorted(piece.notes, key=lambda note: (note.start, note.voice, note.pitch))
        for (start, voice), notes in groupby(ordered, key=lambda note: (note.start, note.voice)):
            yield from self._shifts(start - time)
            time = start
            if voice > 0:
                yield Event(Kind.VOICE, voice)
            for note in notes:
                yield from (Event(Kind.NOTE, note.pitch), Event(Kind.LENGTH, note.length))
        yield from self._shifts(piece.length - time)

    def _shifts(self, steps: int) -> list[Event]:
        whole, rest = divmod(steps, self.longest_shift)
        return [Event(Kind.SHIFT, self.longest_shift)] * whole + [Event(Kind.SHIFT, rest)] * (rest > 0)

    def _require_within(self, piece: Piece) -> None:
        if piece.steps_per_quarter != self.steps_per_quarter:
            found = f"{piece.steps_per_quarter} steps per quarter; {self.steps_per_quarter}"
            raise ValueError(f"{piece.name}: {found}; change it with at_resolution")
        if piece.length < max((note.end for note in piece.notes), default=0):
            raise ValueError(f"{piece.name}: a note ends after the piece")
        seen: set[tuple[int, int, int]] = set()
        for note in piece.notes:
            self._require_note_within(piece.name, note)
            if (place := (note.start, note.voice, note.pitch)) in seen:
                raise ValueError(f"{piece.name}: {note} begins together with another of its pitch and voice")
            seen.add(place)

    def _require_note_within(self, name: str, note: Note) -> None:
        pitch = self.lowest <= note.pitch <= self.highest
        length = 1 <= note.length <= self.longest_length
        if not (pitch and length and 0 <= note.voice < self.voices and note.start >= 0):
            limits = f"pitches {self.lowest} to {self.highest}, {self.longest_length} steps, {self.voices} voices"
            raise ValueError(f"{name}: {note} is beyond the vocabulary: {limits}")
