"""What a model of frames hears: a grid of voices as small integers, each an entry of a table of vectors.

A frame is one step of a grid: a pitch, or silence, for each voice. A model reads frames and predicts the next one voice
after the other, so what it may know of frame t is of two kinds:

    context   frames before t: the last pitches, how long they have lasted, the steps by which the voices came to them,
              the intervals between them, the place in the bar, what came when it went like this before
    choices   the voices of frame t that were decided before, and what they mean for the voice that is next

Pitches are told as intervals: from the last ones, from one voice to the other, and from the anchor, the lowest note of
the first chord, which is most often the tonic. So what is learned in one key holds in all. Everything here is a
function of the notes, so likelihoods stay exact. With ``sets`` the voices of a frame are its distinct pitches from the
highest to the lowest: a set of sounding notes, such as a row of a piano roll.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from recitative.music.piece import SILENT, Pitches
from recitative.stage import Ids

WIDEST = 13  # semitones told apart in an interval; what is wider counts as this
INTERVALS = 2 * WIDEST + 2  # and one entry for an interval with silence
HELD = (*range(17), 24, 32)  # steps; a duration counts as the largest that it reaches
FAR = 64  # steps to the end that are told apart
KEYS = 13  # not known, and the twelve tonics
TONICS = 25  # not known, the twelve above the anchor, and the twelve themselves while there is no anchor
ALIKE = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32)  # moves that lead to an echo; a number counts as the largest it reaches
AGREE = 3  # whether a frame is its echo: nothing is decided yet, as far as decided, not
Small = npt.NDArray[np.int16]
NEVER = -1  # what led to a frame ended otherwise than what was read last


@dataclass(frozen=True)
class Recall:
    """Of N rows that have read P frames: the frames (N, P, V); and for each of E groups of voices, how many times these
    voices moved in the frames before that one and in the last ones alike, (N, E, P), NEVER where the last differ."""

    past: Small
    alike: Small

    @classmethod
    def empty(cls, rows: int, voices: int, groups: int) -> Recall:
        return cls(np.zeros((rows, 0, voices), np.int16), np.zeros((rows, groups, 0), np.int16))

    def after(self, frame: Ids, groups: Sequence[Sequence[int]], reach: int) -> Recall:
        """With one more frame (N, V), of which the newest ``reach`` are kept."""
        new = frame.astype(np.int16)
        rows, count, _ = self.past.shape
        alike = np.full((rows, len(groups), count + 1), NEVER, np.int16)
        if count:
            equal, moved = self.past == new[:, None], self.past[:, -1] != new
            for number, group in enumerate(groups):
                longer = self.alike[:, number] + moved[:, list(group)].any(-1)[:, None]
                begun = np.where(self.alike[:, number] == NEVER, 0, longer)
                alike[:, number, 1:] = np.where(equal[..., list(group)].all(-1), begun, NEVER)
        past = np.concatenate([self.past, new[:, None]], axis=1)
        return Recall(past[:, -reach:], alike[..., -reach:])

    def echoes(self, nothing: int) -> tuple[Ids, Ids]:
        """For each group the frame that is the echo (N, E, V), the latest of several, and how many moves led to it
        alike (N, E); ``nothing`` and 0 where not even one did."""
        rows, groups, count = self.alike.shape
        voices = self.past.shape[-1]
        if not count:
            return np.full((rows, groups, voices), nothing, np.int64), np.zeros((rows, groups), np.int64)
        place = count - 1 - np.argmax(self.alike[..., ::-1], axis=-1)  # (N, E)
        most = np.take_along_axis(self.alike, place[..., None], axis=-1)[..., 0].clip(0).astype(np.int64)
        found = self.past[np.arange(rows)[:, None], place].astype(np.int64)
        return np.where(most[..., None] > 0, found, nothing), most


@dataclass(frozen=True)
class History:
    """What a row has read: pitches as tokens (N, V) of the last frame, those that the voices had before them, steps
    that the last ones have lasted (N, V), frames read (N,), the anchor (N,) or ``start``, and what may come again."""

    last: Ids
    before: Ids
    held: Ids
    position: Ids
    anchor: Ids
    recall: Recall


@dataclass(frozen=True)
class Wishes:
    """What may be told to the model about its piece, 0 where it is not: steps to the end (N, T), 1 in the last frame;
    the tonic (N,), 1 + its pitch class."""

    left: Ids
    key: Ids


@dataclass(frozen=True)
class Context:
    """``History`` before each of T frames, with a time axis behind N, and the wishes with the same axes (N, T); echoes
    (N, T, E, V), for each group of voices the frame that came when it went like this before, and how many moves were
    ``alike`` (N, T, E)."""

    last: Ids
    before: Ids
    held: Ids
    position: Ids
    anchor: Ids
    left: Ids
    key: Ids
    echoes: Ids
    alike: Ids


@dataclass(frozen=True)
class FrameCode:
    """Which frames there are.

    voices: columns of a frame; lowest, highest: MIDI pitches; bar: steps after which the place in the bar recurs;
    order: the voices as they are decided; sets: see above, decided from the highest to the lowest; recall: newest
    frames in which a continuing model looks for what it has heard before, 0: none
    """

    voices: int
    lowest: int
    highest: int
    bar: int
    order: tuple[int, ...]
    sets: bool = False
    recall: int = 0

    # Tokens of one voice: pitches from 0, silence, and what stands before the first frame.

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
        """Not decided, or not to be seen."""
        return self.pitches + 2

    @property
    def outputs(self) -> int:
        """Tokens that a voice may have: the pitches and silence."""
        return self.pitches + 1

    def tokens(self, pitches: Pitches) -> Ids:
        """MIDI numbers or SILENT, any shape -> tokens. Raises ValueError for a pitch out of the range."""
        out = (pitches != SILENT) & ((pitches < self.lowest) | (pitches > self.highest))
        if out.any():
            raise ValueError(f"pitch {pitches[out][0]} is not from {self.lowest} to {self.highest}")
        return np.where(pitches == SILENT, self.silence, pitches.astype(np.int64) - self.lowest)

    def midi(self, tokens: Ids) -> Pitches:
        """The other way round."""
        return np.where(tokens == self.silence, SILENT, tokens + self.lowest).astype(np.int16)

    @property
    def beside(self) -> int:
        """Pitches beside which a voice is heard when it is decided."""
        return 1 + self.voices + len(self.groups)

    @cached_property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Voices whose moves are looked for in what was heard: all together, and the leading one alone."""
        together, leading = tuple(range(self.voices)), (self.order[0],)
        return ((together, leading) if self.voices > 1 else (together,)) if self.recall else ()

    # History and context

    def nothing_read(self, rows: int) -> History:
        start = np.full((rows, self.voices), self.start, np.int64)
        recall = Recall.empty(rows, self.voices, len(self.groups))
        return History(start, start, np.zeros_like(start), np.zeros(rows, np.int64), start[:, 0], recall)

    def read(self, history: History, frames: Ids) -> History:
        """After one more frame (N, V) of tokens."""
        same = frames == history.last
        held, before = np.where(same, history.held + 1, 1), np.where(same, history.before, history.last)
        anchor = np.where(history.anchor == self.start, self._lowest(frames), history.anchor)
        return History(frames, before, held, history.position + 1, anchor, self._remember(history.recall, frames))

    def _lowest(self, frames: Ids) -> Ids:
        """(..., V) -> (...), the lowest pitch that sounds, or ``start``."""
        return np.asarray(np.where(frames < self.silence, frames, self.start).min(-1))

    def _remember(self, recall: Recall, frame: Ids) -> Recall:
        return recall.after(frame, self.groups, self.recall) if self.recall else recall

    def contexts(self, frames: Ids, history: History, wishes: Wishes) -> Context:
        """Before each of the frames (N, T, V), from a history on."""
        steps = frames.shape[1]
        last = np.concatenate([history.last[:, None], frames[:, :-1]], axis=1)  # (N, T, V)
        begun = _beginnings(last)
        held = np.arange(steps)[None, :, None] - begun + np.where(begun == 0, history.held[:, None], 1)
        earlier = np.take_along_axis(last, np.maximum(begun - 1, 0), axis=1)
        before = np.where(begun == 0, history.before[:, None], earlier)
        position = history.position[:, None] + np.arange(steps)
        key = np.broadcast_to(wishes.key[:, None], position.shape)
        lowest = np.concatenate([history.anchor[:, None], self._lowest(frames[:, :-1])], axis=1)
        first = np.minimum.accumulate(np.where(lowest == self.start, steps, np.arange(steps)), axis=1)
        anchor = np.take_along_axis(np.pad(lowest, ((0, 0), (0, 1)), constant_values=self.start), first, axis=1)
        echoes, alike = self._echoes(frames, history.recall)
        return Context(last, before, held, position, anchor, wishes.left, key, echoes, alike)

    def _echoes(self, frames: Ids, recall: Recall) -> tuple[Ids, Ids]:
        """What ``Context`` says of them."""
        found = []
        for step in range(frames.shape[1]):
            recall = self._remember(recall, frames[:, step - 1]) if step else recall
            found.append(recall.echoes(self.hidden))
        echoes, alike = zip(*found, strict=True)
        return np.stack(echoes, axis=1), np.searchsorted(np.array(ALIKE), np.stack(alike, axis=1), side="right") - 1

    # Entries of the tables: every feature has its own range of numbers

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
            *[len(ALIKE)] * len(self.groups),
            *[INTERVALS] * (v * len(self.groups)),
        )

    def context_ids(self, context: Context) -> Ids:
        """(N, T, F): where each feature of a context stands in one table."""
        last, shape = context.last, context.position.shape
        upper, lower = np.triu_indices(self.voices, 1)
        features = [
            self._degree(last, context.anchor[..., None]),
            _bucket(context.held),
            self._interval(last, context.before),
            self._interval(last[..., upper], last[..., lower]),
            (context.position % self.bar)[..., None],
            np.minimum(context.left, FAR)[..., None],
            self._tonic(context)[..., None],
            context.alike,
            self._interval(context.echoes, last[..., None, :]).reshape(*shape, -1),
        ]
        return np.concatenate(features, axis=-1) + offsets(self.context_sizes)

    @cached_property
    def choice_sizes(self) -> tuple[int, ...]:
        v = self.voices
        later = [v - 1 - slot for slot in range(v - 1)]  # decisions that know the voice decided at this place
        return (
            v,
            self._degrees * v,
            len(HELD) * v,
            INTERVALS * v,
            *[self._degrees * count + 1 for count in later],
            *[INTERVALS * count + 1 for count in (*later, *later)],
            self.bar * v,
            TONICS * v,
            *[len(ALIKE) * AGREE * v] * len(self.groups),
            *[INTERVALS * v] * len(self.groups),
        )

    def choice_ids(self, frames: Ids, context: Context, number: int) -> tuple[Ids, Ids]:
        """For the decision ``number`` of each frame (N, T, V), of which only the voices decided before are looked at.

        Returns features (N, T, F), and the pitches (N, T, R) beside which the decided one will be heard, as tokens: the
        anchor, the voice's own last one, those of the other voices, of this frame where decided, else of the last, and
        those of the echoes.
        """
        voice, decided = self.order[number], self.order[:number]
        own, echo = context.last[..., voice, None], context.echoes[..., voice]  # (N, T, 1), (N, T, E)
        anchor, first = context.anchor[..., None], list(self.order[:-1])
        now = frames[..., first]  # (N, T, V - 1)
        features = [
            np.full(own.shape, number),
            self._degree(own, anchor) + self._degrees * number,
            _bucket(context.held[..., voice, None]) + len(HELD) * number,
            self._interval(own, context.before[..., voice, None]) + INTERVALS * number,
            self._placed(self._degree(now, anchor), self._degrees, number),
            self._placed(self._interval(now, own), INTERVALS, number),
            self._placed(self._interval(now, context.last[..., first]), INTERVALS, number),
            (context.position % self.bar + self.bar * number)[..., None],
            (self._tonic(context) + TONICS * number)[..., None],
            self._trust(frames, context, number),
            self._interval(echo, own) + INTERVALS * number,
        ]
        others = [other for other in range(self.voices) if other != voice]
        known = np.where(np.isin(others, decided), frames[..., others], context.last[..., others])
        beside = np.concatenate([anchor, own, known, echo], axis=-1)
        return np.concatenate(features, axis=-1) + offsets(self.choice_sizes), beside

    def _trust(self, frames: Ids, context: Context, number: int) -> Ids:
        """(N, T, E): how long it has gone like this before, and whether the voices that were decided still do."""
        decided = list(self.order[:number])
        same = (frames[..., None, decided] == context.echoes[..., decided]).all(-1)
        still = np.where(number == 0, 0, np.where(same, 1, 2))
        return np.asarray(context.alike + len(ALIKE) * (still + AGREE * number))

    def _placed(self, values: Ids, size: int, number: int) -> Ids:
        """What is known of the voices in their order (N, T, V - 1), for the decision ``number``: each entry says how
        long ago the voice was decided; before that it says nothing."""
        slots = np.arange(self.voices - 1)
        places = number - 1 - slots
        return np.where(places >= 0, values + size * places, size * (self.voices - 1 - slots))

    def allowed(self, frames: Ids, number: int) -> npt.NDArray[np.bool_]:
        """(N, T, outputs): what the decision may be. In sets each note is lower than the one before."""
        shape = (*frames.shape[:-1], self.outputs)
        if not self.sets or number == 0:
            return np.ones(shape, bool)
        above = frames[..., self.order[number - 1], None]
        tokens = np.arange(self.outputs)
        rests = tokens == self.silence
        return np.asarray(np.where(above == self.silence, rests, (tokens < above) | rests))

    @property
    def _degrees(self) -> int:
        """Intervals from an anchor to any pitch, and one entry for none."""
        return 2 * self.pitches

    def _degree(self, a: Ids, anchor: Ids) -> Ids:
        known = (a < self.silence) & (anchor < self.silence)
        return np.where(known, a - anchor + self.pitches - 1, self._degrees - 1)

    def _tonic(self, context: Context) -> Ids:
        above = 1 + (context.key - 1 - context.anchor - self.lowest) % 12
        told = np.where(context.anchor < self.silence, above, KEYS - 1 + context.key)
        return np.where(context.key == 0, 0, told)

    def _interval(self, a: Ids, b: Ids) -> Ids:
        clipped = np.minimum(np.maximum(a - b, -WIDEST), WIDEST) + WIDEST  # np.clip takes longer than all the rest
        return np.where((a < self.silence) & (b < self.silence), clipped, INTERVALS - 1)


def as_sets(pitches: Pitches, voices: int) -> Pitches:
    """(T, V) -> (T, voices): each frame's distinct pitches from the highest on, then SILENT.

    Raises ValueError for a frame with more of them.
    """
    rows = [sorted({int(p) for p in frame if p != SILENT}, reverse=True) for frame in pitches]
    most = max(map(len, rows), default=0)
    if most > voices:
        raise ValueError(f"a frame has {most} notes, more than {voices}")
    return np.array([row + [SILENT] * (voices - len(row)) for row in rows], np.int16).reshape(len(rows), voices)


def _beginnings(last: Ids) -> Ids:
    """(N, T, V) at which step each pitch of ``last`` began; 0 for that of the first frame, wherever it began."""
    steps = np.arange(last.shape[1])[None, :, None]
    changed = np.concatenate([np.zeros_like(last[:, :1], bool), last[:, 1:] != last[:, :-1]], axis=1)
    return np.maximum.accumulate(np.where(changed, steps, 0), axis=1)


def _bucket(steps: Ids) -> Ids:
    return np.searchsorted(np.array(HELD), steps, side="right") - 1


def offsets(sizes: tuple[int, ...]) -> Ids:
    """Where each feature's entries begin in one table."""
    return np.cumsum([0, *sizes[:-1]])


UNKNOWN = INTERVALS  # an interval with a hidden pitch


@dataclass(frozen=True)
class MaskedCode:
    """The features of a grid of tokens (N, T, V) with holes."""

    code: FrameCode

    @property
    def beside(self) -> int:
        """Pitches beside which a voice is heard when it is decided."""
        return self.code.voices + 1

    @cached_property
    def context_sizes(self) -> tuple[int, ...]:
        v = self.code.voices
        return (*[self.code.hidden + 1] * v, *[INTERVALS + 1] * (v * (v - 1) // 2 + v), self.code.bar, KEYS)

    def context_ids(self, frames: Ids, key: Ids) -> Ids:
        """(N, T, V), tonics (N,), 0 where not told -> (N, T, F)."""
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
        """For one voice of each frame: features (N, T, G), and the pitches beside it (N, T, V + 1), as tokens: its own
        before and after, then those of the other voices. The voice's own pitch is not looked at."""
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
        beside = np.stack([before, after, *(frames[..., other] for other in others)], axis=-1)
        return np.stack(features, axis=-1) + offsets(self.choice_sizes), beside

    def _neighbors(self, frames: Ids) -> tuple[Ids, Ids]:
        """Each voice one frame earlier and one later; ``start`` beyond the ends."""
        edge = np.full_like(frames[:, :1], self.code.start)
        return np.concatenate([edge, frames[:, :-1]], axis=1), np.concatenate([frames[:, 1:], edge], axis=1)

    def _interval(self, a: Ids, b: Ids) -> Ids:
        unknown = (a == self.code.hidden) | (b == self.code.hidden)
        silent = (a >= self.code.silence) | (b >= self.code.silence)
        clipped = np.clip(a - b, -WIDEST, WIDEST) + WIDEST
        return np.where(unknown, UNKNOWN, np.where(silent, INTERVALS - 1, clipped))
