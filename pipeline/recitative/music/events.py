"""Encoding of a piece as a sequence of tokens, for a language model of music, and decoding.

    piece  = [ moment ] { shifts moment } [ shifts ] END
    moment = [ chord ] { voice chord }               all notes that start at one time: at least one chord
    chord  = note length { note length }             in one voice
    shifts = shift { shift }

At the beginning and after each shift the voice is the first; ``voice:v`` changes to a later one. Pitches rise within a
voice. A gap longer than the longest shift is several shifts, all of which but the last are the longest. The last shifts
lead to the end of the piece, which is not before the end of any note. So each piece has exactly one sequence, and each
sequence by this grammar exactly one piece. ``EventVocabulary.legal`` gives the tokens that the grammar allows next.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import cached_property
from itertools import groupby

import numpy as np

from recitative.music.piece import HIGHEST, LOWEST, Note, Piece
from recitative.stage import Mask
from recitative.text.tokens import BLANK, END


class Kind(Enum):
    """The kind of a token."""

    END = auto()
    SHIFT = auto()
    VOICE = auto()
    NOTE = auto()
    LENGTH = auto()


@dataclass(frozen=True)
class Event:
    """value: steps of a shift or a length, voice from 0, or MIDI pitch of a note"""

    kind: Kind
    value: int = 0

    def __str__(self) -> str:
        return f"{self.kind.name.lower()}:{self.value}"


@dataclass(frozen=True)
class GrammarState:
    """The state of the grammar. The default is that at the beginning.

    last: token; voice, pitch: of the last note since the last shift, pitch -1 for none; sounding: steps until all notes
    have ended
    """

    last: Event = Event(Kind.END)
    voice: int = 0
    pitch: int = -1
    sounding: int = 0

    def after(self, event: Event) -> GrammarState:
        """The state after a legal token."""
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
    """The tokens of pieces. Id 0 ends a piece, and precedes its first token.

    Notes have pitches lowest..highest, at most ``longest_length`` steps, and voices 0..voices-1.
    """

    steps_per_quarter: int
    longest_length: int
    longest_shift: int
    voices: int = 1
    lowest: int = LOWEST
    highest: int = HIGHEST

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
        """By id: BLANK, 'shift:4', 'voice:1', 'note:60', 'length:4', ..."""
        return (BLANK, *(str(event) for event in self.events[1:]))

    def __len__(self) -> int:
        return len(self.events)

    def encode(self, piece: Piece) -> list[int]:
        """The ids of a piece without END. Tempo and name are not encoded.

        Raises ValueError for another number of steps per quarter, and for notes that the vocabulary does not have; see
        ``pieces.fit_to_events``.
        """
        if piece.steps_per_quarter != self.steps_per_quarter:
            found = f"{piece.steps_per_quarter} steps per quarter; {self.steps_per_quarter}"
            raise ValueError(f"{piece.name}: {found}; change it with at_resolution")
        if piece.length < max((note.end for note in piece.notes), default=0):
            raise ValueError(f"{piece.name}: a note ends after the piece")
        events: list[Event] = []
        time = 0
        ordered = sorted(piece.notes, key=lambda note: (note.start, note.voice, note.pitch))
        for (start, voice), together in groupby(ordered, key=lambda note: (note.start, note.voice)):
            events += self._shifts(start - time)
            time = start
            events += [Event(Kind.VOICE, voice)] * (voice > 0)
            pitch = -1
            for note in together:
                if note.pitch == pitch:
                    raise ValueError(f"{piece.name}: {note} begins together with another of its pitch and voice")
                pitch = note.pitch
                events += [Event(Kind.NOTE, note.pitch), Event(Kind.LENGTH, note.length)]
                if time < 0 or any(event not in self.ids for event in events[-3:]):
                    limits = f"pitches {self.lowest} to {self.highest}, {self.longest_length} steps"
                    limits = f"{limits}, {self.voices} voices"
                    raise ValueError(f"{piece.name}: {note} is beyond the vocabulary: {limits}")
        events += self._shifts(piece.length - time)
        return [self.ids[event] for event in events]

    def decode(self, ids: Iterable[int]) -> Piece:
        """The piece of a whole sequence without END. Raises ValueError for a token that is not legal."""
        notes: list[Note] = []
        state, time = GrammarState(), 0
        for place, number in enumerate(ids):
            if not 0 < number < len(self) or not self.legal(state)[number]:
                name = self.symbols[number] if 0 <= number < len(self) else number
                raise ValueError(f"token {place + 1}, '{name}', is not allowed after {state.last}")
            event = self.events[number]
            if event.kind is Kind.LENGTH:
                notes.append(Note(time, state.pitch, event.value, state.voice))
            time += event.value if event.kind is Kind.SHIFT else 0
            state = state.after(event)
        if not self.legal(state)[END]:
            raise ValueError(f"the piece cannot end after {state.last}, while notes are sounding or begin")
        return Piece(tuple(sorted(notes)), time, self.steps_per_quarter)

    def legal(self, state: GrammarState) -> Mask:
        """(V,): the tokens that may follow; at least one."""
        mask = np.zeros(len(self), bool)
        match state.last.kind:
            case Kind.NOTE:
                mask[self._range(Kind.LENGTH, 1, self.longest_length)] = True
            case Kind.VOICE:
                mask[self._range(Kind.NOTE, self.lowest, self.highest)] = True
            case last:
                mask[END] = state.sounding == 0
                if last is not Kind.SHIFT or state.last.value == self.longest_shift:  # only these precede a shift
                    mask[self._range(Kind.SHIFT, 1, self.longest_shift)] = True
                mask[self._range(Kind.VOICE, state.voice + 1, self.voices - 1)] = True
                mask[self._range(Kind.NOTE, max(self.lowest, state.pitch + 1), self.highest)] = True
        return mask

    def finished(self, ids: Sequence[int]) -> list[int]:
        """Complete a legal sequence that was cut off, without END: sounding notes are held to their ends.

        A voice without a note and a note without a length are removed.
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

    def _range(self, kind: Kind, first: int, last: int) -> slice:
        """The ids of the values first..last of a kind; none if first > last."""
        return slice(0, 0) if first > last else slice(self.ids[Event(kind, first)], self.ids[Event(kind, last)] + 1)

    def _shifts(self, steps: int) -> list[Event]:
        whole, rest = divmod(steps, self.longest_shift)
        return [Event(Kind.SHIFT, self.longest_shift)] * whole + [Event(Kind.SHIFT, rest)] * (rest > 0)
