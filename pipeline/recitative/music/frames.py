"""What models of music read: frames as features, or a sequence of events.

Frames are a grid of voices as small integers, each an index into a table of embeddings. A frame is one step of a grid:
a pitch, or silence, for each voice. A continuing model predicts the next frame voice by voice. For each voice of frame
t it has two groups of features:

    context   frames before t: the last pitches and how long they have lasted, the melodic intervals that led to them,
              the intervals between voices, the position in the bar, and look-back features
    choices   the voices of frame t that are already decided, relative to the voice that is next

Pitches are encoded as intervals: from the last pitches, between voices, and from a reference pitch, the lowest note of
the first chord, which is usually the tonic. A model that is trained in one key thus applies to all keys. All features
are functions of the notes, so likelihoods are exact. With ``sets`` the voices of a frame are its distinct pitches from
the highest to the lowest: a set of notes, such as a column of a piano roll.

``MaskedCode`` has the features of a model that fills in notes, which reads the frames before and after.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import cached_property
from itertools import groupby

import numpy as np
import numpy.typing as npt

from recitative.errors import counted
from recitative.music.piece import HIGHEST, LOWEST, SILENT, Note, Piece, Pitches
from recitative.stage import Ids, Mask
from recitative.text.tokens import BLANK, END

WIDEST = 13  # semitones; wider intervals are clipped
INTERVALS = 2 * WIDEST + 2  # the last entry is an interval with silence
UNKNOWN = INTERVALS  # an interval with a hidden pitch
HELD = (*range(17), 24, 32)  # buckets of durations in steps
FAR = 64  # steps to the end; larger distances are clipped
KEYS = 13  # unknown, or one of twelve tonics
TONICS = 25  # unknown, the tonic above the reference pitch, or the tonic itself while there is no reference
MATCHES = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32)  # buckets of match lengths
AGREEMENTS = 3  # of the decided voices with a copy candidate: none is decided yet, all agree, some differ

NO_MATCH = -1

Small = npt.NDArray[np.int16]


@dataclass(frozen=True)
class LookBack:
    """Look-back features: the frames that followed earlier occurrences of the last notes.

    Music repeats itself at distances that a recurrent network does not remember. The frame after the longest match is
    the candidate for a copy (as the look-back of Waite 2016, at a distance that follows from the notes).

    past: (N, P, V), the last P frames; matches: (N, E, P), for each of E groups of voices, the length of the match that
    ends before a frame of the past and at the last frame, in moves of these voices; NO_MATCH if it is not even one
    frame
    """

    past: Small
    matches: Small

    @classmethod
    def empty(cls, rows: int, voices: int, groups: int) -> LookBack:
        return cls(np.zeros((rows, 0, voices), np.int16), np.zeros((rows, groups, 0), np.int16))

    def after(self, frame: Ids, groups: Sequence[Sequence[int]], reach: int) -> LookBack:
        """Append a frame (N, V). Only the last ``reach`` frames are kept."""
        new = frame.astype(np.int16)
        rows, count, _ = self.past.shape
        matches = np.full((rows, len(groups), count + 1), NO_MATCH, np.int16)
        if count:
            equal, moved = self.past == new[:, None], self.past[:, -1] != new
            for number, group in enumerate(groups):
                longer = self.matches[:, number] + moved[:, list(group)].any(-1)[:, None]
                begun = np.where(self.matches[:, number] == NO_MATCH, 0, longer)
                matches[:, number, 1:] = np.where(equal[..., list(group)].all(-1), begun, NO_MATCH)
        past = np.concatenate([self.past, new[:, None]], axis=1)
        return LookBack(past[:, -reach:], matches[..., -reach:])

    def candidates(self, nothing: int) -> tuple[Ids, Ids]:
        """The copy candidate of each group (N, E, V), the latest of equals, and the length of its match in moves (N,
        E).

        Without a match of at least one move they are ``nothing`` and 0.
        """
        rows, groups, count = self.matches.shape
        voices = self.past.shape[-1]
        if not count:
            return np.full((rows, groups, voices), nothing, np.int64), np.zeros((rows, groups), np.int64)
        place = count - 1 - np.argmax(self.matches[..., ::-1], axis=-1)  # (N, E)
        most = np.take_along_axis(self.matches, place[..., None], axis=-1)[..., 0].clip(0).astype(np.int64)
        found = self.past[np.arange(rows)[:, None], place].astype(np.int64)
        return np.where(most[..., None] > 0, found, nothing), most


@dataclass(frozen=True)
class History:
    """The state after some frames.

    last: (N, V), the tokens of the last frame; before: (N, V), the previous token of each voice; held: (N, V), steps
    since the last tokens began; position: (N,), number of frames; reference: (N,), the reference pitch or ``start``
    """

    last: Ids
    before: Ids
    held: Ids
    position: Ids
    reference: Ids
    look_back: LookBack


@dataclass(frozen=True)
class Conditioning:
    """Known properties of a piece. left: (N, T), steps to the end, 1 in the last frame, 0 for unknown;
    key: (N,), 1 + the pitch class of the tonic, 0 for unknown."""

    left: Ids
    key: Ids

    @classmethod
    def of_key(cls, tonic: int, rows: int, steps: int) -> Conditioning:
        """An unknown end, and one tonic for all rows, -1 for unknown."""
        return cls(np.zeros((rows, steps), np.int64), np.full(rows, 1 + tonic, np.int64))


@dataclass(frozen=True)
class Context:
    """The history before each of T frames, with a time axis after N, and the conditioning (N, T).

    candidates: (N, T, E, V), the copy candidate of each group of voices; matches: (N, T, E), buckets of match lengths
    """

    last: Ids
    before: Ids
    held: Ids
    position: Ids
    reference: Ids
    left: Ids
    key: Ids
    candidates: Ids
    matches: Ids


@dataclass(frozen=True)
class FrameCode:
    """The frames of a model, as tokens and as features.

    voices: columns of a frame; lowest, highest: MIDI pitches; bar: steps of a bar; order: in which the voices are
    decided; sets: a frame is a set of pitches; look_back: past frames searched for a match, 0: none
    """

    voices: int
    lowest: int
    highest: int
    bar: int
    order: tuple[int, ...]
    sets: bool = False
    look_back: int = 0

    # Tokens of one voice: pitches from 0, silence, the start before the first frame, and hidden.

    @property
    def pitches(self) -> int:
        return self.highest - self.lowest + 1

    @property
    def silence(self) -> int:
        return self.pitches

    @property
    def start(self) -> int:
        return self.pitches + 1

    @property
    def hidden(self) -> int:
        """A token that is missing or masked."""
        return self.pitches + 2

    @property
    def outputs(self) -> int:
        """Tokens that can be generated: the pitches and silence."""
        return self.pitches + 1

    def tokens(self, pitches: Pitches) -> Ids:
        """MIDI numbers or SILENT, any shape -> tokens. Raises ValueError for a pitch out of the range."""
        out = (pitches != SILENT) & ((pitches < self.lowest) | (pitches > self.highest))
        if out.any():
            raise ValueError(f"pitch {pitches[out][0]} is not from {self.lowest} to {self.highest}")
        return np.where(pitches == SILENT, self.silence, pitches.astype(np.int64) - self.lowest)

    def midi(self, tokens: Ids) -> Pitches:
        """Tokens -> MIDI numbers or SILENT."""
        return np.where(tokens == self.silence, SILENT, tokens + self.lowest).astype(np.int16)

    @property
    def related(self) -> int:
        """Number of pitches to which a decided pitch is related by an interval; see ``choice_ids``."""
        return 1 + self.voices + len(self.groups)

    @cached_property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Groups of voices that are matched by look-back: all, and the one that is decided first."""
        together, leading = tuple(range(self.voices)), (self.order[0],)
        return ((together, leading) if self.voices > 1 else (together,)) if self.look_back else ()

    # History and context

    def initial_history(self, rows: int) -> History:
        start = np.full((rows, self.voices), self.start, np.int64)
        look_back = LookBack.empty(rows, self.voices, len(self.groups))
        return History(start, start, np.zeros_like(start), np.zeros(rows, np.int64), start[:, 0], look_back)

    def read(self, history: History, frames: Ids) -> History:
        """The history after one more frame (N, V) of tokens."""
        same = frames == history.last
        lowest = np.where(frames < self.silence, frames, self.start).min(-1)
        return History(
            frames,
            np.where(same, history.before, history.last),
            np.where(same, history.held + 1, 1),
            history.position + 1,
            np.where(history.reference == self.start, lowest, history.reference),
            history.look_back.after(frames, self.groups, self.look_back) if self.look_back else history.look_back,
        )

    def contexts(self, frames: Ids, history: History, conditioning: Conditioning) -> Context:
        """The contexts before each of the frames (N, T, V) that follow a history."""
        columns = []
        for step in range(frames.shape[1]):
            history = self.read(history, frames[:, step - 1]) if step else history
            candidates, matches = history.look_back.candidates(self.hidden)
            columns.append(
                (history.last, history.before, history.held, history.position, history.reference, candidates, matches)
            )
        *known, candidates, matches = (np.stack(column, axis=1) for column in zip(*columns, strict=True))
        last, before, held, position, reference = known
        key = np.broadcast_to(conditioning.key[:, None], position.shape)
        buckets = _bucket(matches, MATCHES)
        return Context(last, before, held, position, reference, conditioning.left, key, candidates, buckets)

    # Indices into one table of embeddings, in which each feature has its own range

    @cached_property
    def context_sizes(self) -> tuple[int, ...]:
        v = self.voices
        return (
            *[self._degrees] * v,
            *[len(HELD)] * v,
            *[INTERVALS] * v,
            *[INTERVALS] * (v * (v - 1) // 2),
            self.bar,
            FAR + 1,
            TONICS,
            *[len(MATCHES)] * len(self.groups),
            *[INTERVALS] * (v * len(self.groups)),
        )

    def context_ids(self, context: Context) -> Ids:
        """The features of contexts, (N, T, F)."""
        last, shape = context.last, context.position.shape
        upper, lower = np.triu_indices(self.voices, 1)
        features = [
            self._degree(last, context.reference[..., None]),
            _bucket(context.held),
            self._interval(last, context.before),
            self._interval(last[..., upper], last[..., lower]),
            (context.position % self.bar)[..., None],
            np.minimum(context.left, FAR)[..., None],
            self._tonic(context)[..., None],
            context.matches,
            self._interval(context.candidates, last[..., None, :]).reshape(*shape, -1),
        ]
        return np.concatenate(features, axis=-1) + offsets(self.context_sizes)

    @cached_property
    def choice_sizes(self) -> tuple[int, ...]:
        v = self.voices
        later = [v - 1 - slot for slot in range(v - 1)]  # decisions after the one in this slot
        return (
            v,
            self._degrees * v,
            len(HELD) * v,
            INTERVALS * v,
            *[self._degrees * count + 1 for count in later],
            *[INTERVALS * count + 1 for count in (*later, *later)],
            self.bar * v,
            TONICS * v,
            *[len(MATCHES) * AGREEMENTS * v] * len(self.groups),
            *[INTERVALS * v] * len(self.groups),
        )

    def choice_ids(self, frames: Ids, context: Context, number: int) -> tuple[Ids, Ids]:
        """The features (N, T, G) of decision ``number`` in each frame (N, T, V), and the related pitches (N, T, R).

        Only the voices that are already decided are read from the frames. The related pitches, as tokens, are the
        reference, the voice's last pitch, the other voices' pitches (of this frame where decided, else the last), and
        the copy candidates' pitches.
        """
        voice, decided = self.order[number], self.order[:number]
        own, candidate = context.last[..., voice, None], context.candidates[..., voice]  # (N, T, 1), (N, T, E)
        reference, first = context.reference[..., None], list(self.order[:-1])
        now = frames[..., first]  # (N, T, V - 1)
        agrees = (frames[..., None, list(decided)] == context.candidates[..., list(decided)]).all(-1)  # (N, T, E)
        agreement = np.where(number == 0, 0, np.where(agrees, 1, 2))
        features = [
            np.full(own.shape, number),
            self._degree(own, reference) + self._degrees * number,
            _bucket(context.held[..., voice, None]) + len(HELD) * number,
            self._interval(own, context.before[..., voice, None]) + INTERVALS * number,
            self._placed(self._degree(now, reference), self._degrees, number),
            self._placed(self._interval(now, own), INTERVALS, number),
            self._placed(self._interval(now, context.last[..., first]), INTERVALS, number),
            (context.position % self.bar + self.bar * number)[..., None],
            (self._tonic(context) + TONICS * number)[..., None],
            context.matches + len(MATCHES) * (agreement + AGREEMENTS * number),
            self._interval(candidate, own) + INTERVALS * number,
        ]
        others = [other for other in range(self.voices) if other != voice]
        known = np.where(np.isin(others, decided), frames[..., others], context.last[..., others])
        related = np.concatenate([reference, own, known, candidate], axis=-1)
        return np.concatenate(features, axis=-1) + offsets(self.choice_sizes), related

    def _placed(self, values: Ids, size: int, number: int) -> Ids:
        """Features of the other voices (N, T, V - 1) for decision ``number``, with a range of indices for each number
        of decisions since that voice; voices that are not yet decided have one index of their own."""
        slots = np.arange(self.voices - 1)
        places = number - 1 - slots
        return np.where(places >= 0, values + size * places, size * (self.voices - 1 - slots))

    def allowed(self, frames: Ids, number: int) -> npt.NDArray[np.bool_]:
        """(N, T, outputs): the tokens allowed in a decision. In a set each note is lower than the last."""
        shape = (*frames.shape[:-1], self.outputs)
        if not self.sets or number == 0:
            return np.ones(shape, bool)
        above = frames[..., self.order[number - 1], None]
        tokens = np.arange(self.outputs)
        rests = tokens == self.silence
        return np.asarray(np.where(above == self.silence, rests, (tokens < above) | rests))

    @property
    def _degrees(self) -> int:
        """Intervals from the reference to any pitch, and one entry for silence."""
        return 2 * self.pitches

    def _degree(self, a: Ids, reference: Ids) -> Ids:
        known = (a < self.silence) & (reference < self.silence)
        return np.where(known, a - reference + self.pitches - 1, self._degrees - 1)

    def _tonic(self, context: Context) -> Ids:
        above = 1 + (context.key - 1 - context.reference - self.lowest) % 12
        known = np.where(context.reference < self.silence, above, KEYS - 1 + context.key)
        return np.where(context.key == 0, 0, known)

    def _interval(self, a: Ids, b: Ids) -> Ids:
        clipped = np.minimum(np.maximum(a - b, -WIDEST), WIDEST) + WIDEST  # np.clip takes longer than everything else
        return np.where((a < self.silence) & (b < self.silence), clipped, INTERVALS - 1)


def as_sets(pitches: Pitches, voices: int) -> Pitches:
    """(T, V) -> (T, voices): the distinct pitches of each frame, from the highest to the lowest, then SILENT.

    Raises ValueError for a frame with more pitches.
    """
    rows = [sorted({int(p) for p in frame if p != SILENT}, reverse=True) for frame in pitches]
    most = max(map(len, rows), default=0)
    if most > voices:
        raise ValueError(f"a frame has {counted(most, 'note')}, more than {voices}")
    return np.array([row + [SILENT] * (voices - len(row)) for row in rows], np.int16).reshape(len(rows), voices)


def _bucket(values: Ids, limits: tuple[int, ...] = HELD) -> Ids:
    """The number of the largest limit that each value reaches."""
    return np.searchsorted(np.array(limits), values, side="right") - 1


def offsets(sizes: tuple[int, ...]) -> Ids:
    """The first index of each feature."""
    return np.cumsum([0, *sizes[:-1]])


@dataclass(frozen=True)
class MaskedCode:
    """The features of a model that fills in notes: a grid of tokens (N, T, V), in which missing notes are ``hidden``.

    Each voice of a frame is decided alone, given all that is not hidden, as in an orderless NADE (Uria et al. 2014;
    Coconet, Huang et al. 2017). Gibbs sampling makes the voices consistent.
    """

    code: FrameCode

    @property
    def related(self) -> int:
        """Number of pitches to which a decided pitch is related by an interval; see ``choice_ids``."""
        return self.code.voices + 1

    @cached_property
    def context_sizes(self) -> tuple[int, ...]:
        v = self.code.voices
        return (*[self.code.hidden + 1] * v, *[INTERVALS + 1] * (v * (v - 1) // 2 + v), self.code.bar, KEYS)

    def context_ids(self, frames: Ids, key: Ids) -> Ids:
        """The features (N, T, F) of frames (N, T, V). key: (N,), 1 + the pitch class of the tonic, 0 for unknown."""
        v = self.code.voices
        before, _ = self._neighbors(frames)
        position = np.broadcast_to(np.arange(frames.shape[1]) % self.code.bar, frames.shape[:2])
        features = [
            *np.moveaxis(frames, -1, 0),
            *(self._interval(frames[..., i], frames[..., j]) for i in range(v) for j in range(i + 1, v)),
            *np.moveaxis(self._interval(frames, before), -1, 0),
            position,
            np.broadcast_to(key[:, None], frames.shape[:2]),
        ]
        return np.stack(features, axis=-1) + offsets(self.context_sizes)

    @cached_property
    def choice_sizes(self) -> tuple[int, ...]:
        v, width = self.code.voices, self.code.hidden + 1
        return (v, width * v, width * v, *[width * v * v] * v, *[(INTERVALS + 1) * v * v] * v, self.code.bar * v)

    def choice_ids(self, frames: Ids, voice: int) -> tuple[Ids, Ids]:
        """The features (N, T, G) of one voice in each frame, and the pitches related to it (N, T, V + 1), as tokens.

        These are the voice's previous and next pitch and those of the other voices. Its own pitch is not read.
        """
        v, width = self.code.voices, self.code.hidden + 1
        before, after = (neighbor[..., voice] for neighbor in self._neighbors(frames))
        others = [other for other in range(v) if other != voice]
        hidden = np.full(before.shape, self.code.hidden)
        now = [hidden if other == voice else frames[..., other] for other in range(v)]
        places = [voice * v + other for other in range(v)]
        position = np.broadcast_to(np.arange(frames.shape[1]) % self.code.bar, before.shape)
        features = [
            np.full(before.shape, voice),
            before + width * voice,
            after + width * voice,
            *(pitch + width * place for pitch, place in zip(now, places, strict=True)),
            *(self._interval(p, before) + (INTERVALS + 1) * place for p, place in zip(now, places, strict=True)),
            position + self.code.bar * voice,
        ]
        related = np.stack([before, after, *(frames[..., other] for other in others)], axis=-1)
        return np.stack(features, axis=-1) + offsets(self.choice_sizes), related

    def _neighbors(self, frames: Ids) -> tuple[Ids, Ids]:
        """The previous and the next frame; ``start`` beyond the ends."""
        edge = np.full_like(frames[:, :1], self.code.start)
        return np.concatenate([edge, frames[:, :-1]], axis=1), np.concatenate([frames[:, 1:], edge], axis=1)

    def _interval(self, a: Ids, b: Ids) -> Ids:
        unknown = (a == self.code.hidden) | (b == self.code.hidden)
        silent = (a >= self.code.silence) | (b >= self.code.silence)
        clipped = np.clip(a - b, -WIDEST, WIDEST) + WIDEST
        return np.where(unknown, UNKNOWN, np.where(silent, INTERVALS - 1, clipped))


# Encoding of a piece as a sequence of tokens, for a language model of music, and decoding.
#
#     piece  = [ moment ] { shifts moment } [ shifts ] END
#     moment = [ chord ] { voice chord }               all notes that start at one time: at least one chord
#     chord  = note length { note length }             in one voice
#     shifts = shift { shift }
#
# At the beginning and after each shift the voice is the first; ``voice:v`` changes to a later one. Pitches rise within
# a voice. A gap longer than the longest shift is several shifts, all of which but the last are the longest. The last
# shifts lead to the end of the piece, which is not before the end of any note. So each piece has exactly one sequence,
# and each sequence by this grammar exactly one piece. ``EventVocabulary.legal`` gives the tokens that the grammar
# allows next.


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
        ``composer.fit_to_events``.
        """
        if piece.steps_per_quarter != self.steps_per_quarter:
            found = f"{counted(piece.steps_per_quarter, 'step')} per quarter; {self.steps_per_quarter}"
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
                    limits = f"pitches {self.lowest} to {self.highest}, {counted(self.longest_length, 'step')}"
                    limits = f"{limits}, {counted(self.voices, 'voice')}"
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
