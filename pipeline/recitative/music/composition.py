"""Composing a piece: what is given, what is free, the generated notes, and a check that the constraints were kept.

Given notes keep the times of their file, to a 48th of a quarter note, whatever the grid of the model. The model reads
them on its grid, and its notes are added to them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from recitative.errors import DataError, UsageError
from recitative.lm.sampling import Sampling
from recitative.music.composer import (
    EventScorer,
    OnProgress,
    Scorer,
    Sheet,
    Span,
    _write,
    _Writer,
    continue_music,
    fill_music,
)
from recitative.music.events import Event, EventVocabulary, Kind
from recitative.music.frames import FrameCode, as_sets
from recitative.music.piece import HIGHEST, LOWEST, SILENT, Grid, Note, Piece, from_grid, tied, to_grid
from recitative.music.pieces import fitted
from recitative.music.settings import EventSettings, FrameSettings
from recitative.music.statistics import Share
from recitative.stage import Ids, Mask


@dataclass(frozen=True)
class Kept:
    """given: notes that were given, of them those that are there with start, length and pitch, whoever has them.

    new: all other notes of the piece, of them those within the range of their voice.
    """

    given: Share
    new: Share

    def __add__(self, other: Kept) -> Kept:
        return Kept(self.given + other.given, self.new + other.new)


def kept(piece: Piece, given: Iterable[Note], ranges: Sequence[tuple[int, int]]) -> Kept:
    """Of one piece; ``given`` notes have its steps. ranges: lowest and highest pitch of each voice, MIDI; a voice
    beyond them has none, so nothing of it is within."""
    wanted = Counter(_sound(note) for note in given)
    missing, new = wanted.copy(), []
    for note in piece.notes:
        if missing[_sound(note)]:
            missing[_sound(note)] -= 1
        else:
            new.append(note)
    inside = sum(_within(note, ranges) for note in new)
    return Kept(Share(wanted.total() - missing.total(), wanted.total()), Share(inside, len(new)))


def _sound(note: Note) -> tuple[int, int, int]:
    return note.start, note.length, note.pitch


def _within(note: Note, ranges: Sequence[tuple[int, int]]) -> bool:
    low, high = ranges[note.voice] if note.voice < len(ranges) else (1, 0)
    return low <= note.pitch <= high


FINER = 12  # steps of a written piece for one of the model's grid
MOST_BARS = 1000
MAJOR_SCALE = (0, 2, 4, 5, 7, 9, 11)
MINOR_SCALE = (0, 2, 3, 5, 7, 8, 9, 10, 11)  # natural, harmonic and melodic


@dataclass(frozen=True)
class Key:
    """tonic: pitch class, 0 is C"""

    tonic: int
    minor: bool = False

    @property
    def pitch_classes(self) -> frozenset[int]:
        return frozenset((self.tonic + step) % 12 for step in (MINOR_SCALE if self.minor else MAJOR_SCALE))


@dataclass(frozen=True)
class Limits:
    """What may be written where nothing is given. key: only notes of its scale; rests: voices may fall silent."""

    key: Key | None = None
    rests: bool = False


@dataclass(frozen=True)
class Draft:
    """A piece of which something is missing. given: notes on the fine grid; free: (T, V), true where it is missing;
    heard: (T, V) pitches of the rest on the model's grid."""

    given: Piece
    free: npt.NDArray[np.bool_]
    heard: npt.NDArray[np.int16]

    @property
    def name(self) -> str:
        return self.given.name


def blank(settings: FrameSettings, steps: int, name: str, quarters_per_minute: float) -> Draft:
    """Nothing is given."""
    shape = (steps, settings.voices)
    length = steps * FINER
    given = Piece((), length, settings.steps_per_quarter * FINER, quarters_per_minute, name)
    return Draft(given, np.ones(shape, bool), np.full(shape, SILENT, np.int16))


def to_continue(piece: Piece, settings: FrameSettings, steps: int) -> Draft:
    """A piece (on the fine grid), and ``steps`` more. Raises DataError for notes that the model does not know."""
    heard = _heard(piece, settings)
    _require_known(piece, heard, settings)
    free = np.zeros((len(heard) + steps, settings.voices), bool)
    free[len(heard) :] = True
    silent = np.full((steps, settings.voices), SILENT, np.int16)
    longer = replace(piece, length=len(free) * FINER)
    return Draft(longer, free, np.concatenate([heard, silent]))


def to_rewrite(piece: Piece, settings: FrameSettings, voices: Sequence[int], first: int = 0, last: int = -1) -> Draft:
    """A piece whose ``voices`` are written anew in the steps from ``first`` to before ``last``, -1: to the end.

    Notes that begin elsewhere are kept whole, also where they reach into these steps.
    Raises UsageError for steps and voices that there are not, DataError for notes that the model does not know.
    """
    if settings.sets or not all(0 <= voice < settings.voices for voice in voices):
        has = "sets of notes and no voices" if settings.sets else f"voices 1 to {settings.voices}"
        named = ", ".join(str(voice + 1) for voice in voices)
        raise UsageError(f"{piece.name}: voices {named} cannot be written anew; the model has {has}")
    steps = -(-piece.length // FINER)
    if not steps:
        raise DataError(piece.name, "has no notes", "a piece to rewrite", "leave it out")
    last = steps if last < 0 else last
    if not 0 <= first < last <= steps:
        raise UsageError(f"{piece.name}: has no steps {first} to {last}; it has {steps}")
    dropped = {n for n in piece.notes if n.voice in voices and first * FINER <= n.start < last * FINER}
    kept = replace(piece, notes=tuple(n for n in piece.notes if n not in dropped), length=steps * FINER)
    heard = _heard(kept, settings)
    _require_known(kept, heard, settings)
    free = np.zeros(heard.shape, bool)
    free[first:last, list(voices)] = True
    return Draft(kept, free & (heard == SILENT), heard)


def compose(
    scorer: Scorer,
    draft: Draft,
    limits: Limits,
    sampling: Sampling,
    *,
    count: int,
    seed: int,
    sweeps: int = 100,
    on_progress: OnProgress | None = None,
) -> list[Piece]:
    """``count`` versions of a draft, named after it. sweeps: steps of drawing, of a model that fills.

    The same draft, seed and numbers give the same notes. Raises UsageError if the limits leave a voice nothing.
    """
    sheet = sheet_of(draft, scorer.frames, limits, count)
    if scorer.fills:
        tokens = fill_music(scorer, sheet, sampling, seed, sweeps, on_progress)
    else:
        tokens = continue_music(scorer, sheet, sampling, seed, on_progress)
    names = [f"{draft.name}-{number + 1}" if count > 1 else draft.name for number in range(count)]
    return [written(draft, scorer.frames, row, name) for row, name in zip(tokens, names, strict=True)]


def sheet_of(draft: Draft, settings: FrameSettings, limits: Limits, count: int) -> Sheet:
    """What the writer needs, for ``count`` versions. Raises UsageError if the limits leave a voice nothing."""
    code = settings.code
    tokens = np.where(draft.free, code.hidden, code.tokens(draft.heard))
    allowed = np.stack([_allowed(code, settings, limits, voice) for voice in range(code.voices)])
    key = np.full(count, limits.key.tonic + 1 if limits.key else 0, np.int64)
    return Sheet(np.repeat(tokens[None], count, axis=0), allowed, key)


def written(draft: Draft, settings: FrameSettings, tokens: Ids, name: str) -> Piece:
    """The given notes, and those that stand where it was free in (T, V) tokens."""
    pitches = np.where(draft.free, settings.code.midi(tokens), SILENT)
    grid = tied(pitches)
    new = from_grid(Grid(grid.pitches, grid.onsets), settings.steps_per_quarter * FINER).notes
    scaled = [replace(note, start=note.start * FINER, length=note.length * FINER) for note in new]
    return replace(draft.given, notes=tuple(sorted([*draft.given.notes, *scaled])), name=name)


def given_notes(draft: Draft) -> frozenset[Note]:
    """For pictures."""
    return frozenset(draft.given.notes)


def _heard(piece: Piece, settings: FrameSettings) -> npt.NDArray[np.int16]:
    """(T, V) on the model's grid; a step has what sounds at its beginning, or else what begins in it.

    Raises ValueError for a piece that is not on the fine grid, DataError for one with too many voices.
    """
    if piece.steps_per_quarter != settings.steps_per_quarter * FINER:
        raise ValueError(f"{piece.name}: {piece.steps_per_quarter} steps a quarter, not the fine grid's")
    if piece.voices > settings.voices and not settings.sets:
        allowed = f"at most {settings.voices}"
        raise DataError(piece.name, f"has {piece.voices} voices", allowed, "leave some out")
    voices = max(piece.voices, settings.voices)
    fine = to_grid(replace(piece, length=-(-piece.length // FINER) * FINER), voices).pitches
    by_step = fine.reshape(-1, FINER, voices)
    first_sounding = np.argmax(by_step != SILENT, axis=1)  # (T, V), 0 where all is silent
    heard = np.take_along_axis(by_step, first_sounding[:, None], axis=1)[:, 0]
    return _sets(piece.name, heard, settings.voices) if settings.sets else heard


def _sets(name: str, heard: npt.NDArray[np.int16], most: int) -> npt.NDArray[np.int16]:
    try:
        return as_sets(heard, most)
    except ValueError as error:
        raise DataError(name, str(error), f"at most {most} notes at a time", "leave some out") from None


def _require_known(piece: Piece, heard: npt.NDArray[np.int16], settings: FrameSettings) -> None:
    sounding = heard[heard != SILENT]
    outside = sounding[(sounding < settings.lowest) | (sounding > settings.highest)]
    if len(outside):
        allowed = f"pitches from {settings.lowest} to {settings.highest}"
        raise DataError(piece.name, f"has pitch {outside[0]}", allowed, "transpose it, or leave that voice out")
    if len(heard) > MOST_BARS * settings.bar:
        raise DataError(piece.name, f"has {len(heard) // settings.bar} bars", f"at most {MOST_BARS}", "cut it")


def _allowed(code: FrameCode, settings: FrameSettings, limits: Limits, voice: int) -> npt.NDArray[np.bool_]:
    """(outputs,) what a voice may have."""
    low, high = settings.ranges[voice] if settings.ranges else (code.lowest, code.highest)
    midi = np.arange(code.lowest, code.highest + 1)
    may = (midi >= low) & (midi <= high)
    if limits.key:
        may &= np.isin(midi % 12, list(limits.key.pitch_classes))
    if not may.any():
        raise UsageError(f"voice {voice + 1} may have no pitch: its range {low} to {high} has none of the key")
    return np.append(may, limits.rests or settings.sets)


@dataclass(frozen=True)
class EventLimits:
    """What may be written. key: only notes of its scale; lowest, highest: MIDI pitches, beside each voice's range."""

    key: Key | None = None
    lowest: int = LOWEST
    highest: int = HIGHEST


def nothing_given(settings: EventSettings, name: str, quarters_per_minute: float) -> Piece:
    """A piece of no notes, on the grid of ``given`` ones."""
    return Piece((), 0, settings.steps_per_quarter * FINER, quarters_per_minute, name)


def compose_events(
    scorer: EventScorer,
    given: Piece,
    limits: EventLimits,
    span: Span,
    sampling: Sampling,
    *,
    count: int,
    seed: int,
    on_progress: OnProgress | None = None,
) -> list[Piece]:
    """``count`` continuations of a piece (FINER times the model's steps per quarter), named after it.

    The same arguments give the same notes. Raises DataError for a given note that the model does not know, UsageError
    if the limits leave no voice a note.
    """
    settings = scorer.events
    heard = _event_context(given, settings)
    may = allowed_tokens(settings, limits)
    writers = [_Writer(settings, heard, span, np.random.default_rng([seed, row])) for row in range(count)]
    _write(scorer.network, writers, may, sampling, on_progress)
    names = [f"{given.name}-{number + 1}" if count > 1 else given.name for number in range(count)]
    parts = [_behind(heard, settings.vocabulary, writer.tokens) for writer in writers]
    return [_joined(given, part, name) for part, name in zip(parts, names, strict=True)]


def allowed_tokens(settings: EventSettings, limits: EventLimits) -> Mask:
    """(voices, V): which tokens may be drawn in each voice, whatever the rules say.

    A voice that the limits leave no note is never entered. Raises UsageError if there is no other.
    """
    events = settings.vocabulary.events
    notes = np.array([event.value if event.kind is Kind.NOTE else -1 for event in events])
    ranges = settings.ranges or ((settings.lowest, settings.highest),) * settings.voices
    may: Mask = np.ones((settings.voices, len(events)), bool)
    for voice, (low, high) in enumerate(ranges):
        inside = (notes >= max(low, limits.lowest)) & (notes <= min(high, limits.highest))
        if limits.key:
            inside &= np.isin(notes % 12, list(limits.key.pitch_classes))
        may[voice, notes >= 0] = inside[notes >= 0]
    has_notes = np.asarray(may[:, notes >= 0].any(axis=1))
    if not has_notes.any():
        raise UsageError("no voice may have a note: its range, the key and the pitches that are asked for share none")
    for voice in range(1, settings.voices):
        may[:, settings.vocabulary.ids[Event(Kind.VOICE, voice)]] = has_notes[voice]
    return may


def _event_context(given: Piece, settings: EventSettings) -> Piece:
    """What the model reads. It is no shorter than the given piece: what is written begins behind it."""
    heard = fitted(given, settings)
    return replace(heard, length=max(heard.length, -(-given.length // FINER)))


def _behind(heard: Piece, vocabulary: EventVocabulary, tokens: Sequence[int]) -> Piece:
    """What was written behind what was heard; its last notes sound to their ends."""
    whole = vocabulary.decode(vocabulary.finished(tokens))
    return replace(whole, notes=tuple(note for note in whole.notes if note.start >= heard.length))


def _joined(given: Piece, new: Piece, name: str) -> Piece:
    finer = [replace(note, start=note.start * FINER, length=note.length * FINER) for note in new.notes]
    length = max(given.length, new.length * FINER)
    return replace(given, notes=tuple(sorted([*given.notes, *finer])), length=length, name=name)
