"""Generating music as events with a trained model. NumPy only.

The network may be PyTorch's (``model.torch_stage``) or ONNX Runtime's (``model.onnx_stage``). Given notes stay, and
events that the rules forbid are never drawn. Each token is drawn given all tokens before it, for many pieces at once.
Every row has its own random numbers, from (seed, row): a piece does not depend on how many are generated with it.

Given notes keep the times of their file, to a fraction of the model's steps. The model reads them on its grid, and its
notes are added to them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recitative.errors import DataError, Problem, UsageError
from recitative.lm.sampling import Sampling, distribution, drawn
from recitative.music.composer import OnProgress
from recitative.music.composition import FINER, Key
from recitative.music.event_settings import EventSettings, EventsSettings
from recitative.music.events import Event, EventVocabulary, GrammarState, Kind
from recitative.music.folder import read_folder
from recitative.music.piece import HIGHEST, LOWEST, Note, Piece
from recitative.stage import Array, Mask, Padded, Stage, State
from recitative.text.vocabulary import END


@dataclass(frozen=True)
class EventPieces:
    """What is in a folder, ``fitted``. cut: notes that were longer than the longest, of all ``notes`` there are."""

    pieces: Sequence[Piece]
    notes: int
    cut: int


def read_event_pieces(
    folder: Path, settings: EventSettings, skip: Callable[[Problem], object] | None = None
) -> EventPieces:
    """Every piece in a folder. Raises DataError that lists the files which hold none that these settings can read.

    skip: is told these problems instead, as long as one piece is left.
    """
    pieces, errors = read_folder(folder, settings.steps_per_quarter)
    found: list[Piece] = []
    problems = [problem for error in errors for problem in error.problems]
    for piece in pieces:
        try:
            found.append(fitted(piece, settings))
        except DataError as error:
            problems.extend(error.problems)
    if problems and (not skip or not found):
        raise DataError.collect(problems)
    if skip:
        for problem in problems:
            skip(problem)
    return EventPieces(found, sum(len(p.notes) for p in pieces), sum(_too_long(p, settings) for p in pieces))


def fitted(piece: Piece, settings: EventSettings) -> Piece:
    """On the model's grid, with its voices, and no note longer than its longest.

    Of several notes of a voice and pitch that begin together there, the longest stays.
    Raises DataError for a pitch that the model does not know.
    """
    moved = piece.at_resolution(settings.steps_per_quarter)
    for note in moved.notes:
        if not settings.lowest <= note.pitch <= settings.highest:
            allowed = f"pitches from {settings.lowest} to {settings.highest}"
            raise DataError(
                piece.name, f"has pitch {note.pitch}", allowed, "leave it out, or change the settings events"
            )
    by_place: dict[tuple[int, int, int], Note] = {}
    for note in moved.notes:
        voice = min(note.voice, settings.voices - 1)
        heard = replace(note, voice=voice, length=min(note.length, settings.longest_length))
        place = heard.start, heard.pitch, voice
        by_place[place] = max(heard, by_place.get(place, heard))  # equal but for their lengths
    return replace(moved, notes=tuple(sorted(by_place.values())))


def _too_long(piece: Piece, settings: EventSettings) -> int:
    """How many notes ``fitted`` makes shorter."""
    longest = settings.longest_length
    return sum(note.length > longest for note in piece.at_resolution(settings.steps_per_quarter).notes)


@dataclass(frozen=True)
class EventScorer:
    """A model of events: its network as a stage, token ids (N, T) -> ln P of the next token (N, T, V)."""

    network: Stage[Array]
    settings: EventsSettings

    @property
    def events(self) -> EventSettings:
        """Those of the settings."""
        return self.settings.events


@dataclass(frozen=True)
class EventLimits:
    """What may be written. key: only notes of its scale; lowest, highest: MIDI pitches, beside each voice's range."""

    key: Key | None = None
    lowest: int = LOWEST
    highest: int = HIGHEST


@dataclass(frozen=True)
class Span:
    """In steps of the model beyond what is given. A piece may end from ``shortest`` on, with a new note at least; no
    note begins at ``longest`` or later, and those that have begun sound to their ends."""

    longest: int
    shortest: int = 0


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
    heard = _heard(given, settings)
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


class _Writer:
    """One piece in the making: its tokens, where it stands, and its random numbers."""

    def __init__(self, settings: EventSettings, heard: Piece, span: Span, rng: np.random.Generator) -> None:
        self._vocabulary = settings.vocabulary
        self._span = span
        self._rng = rng
        self.tokens = self._vocabulary.encode(heard)
        self._state = GrammarState()
        for token in self.tokens:
            self._state = self._state.after(self._vocabulary.events[token])
        self._has_notes = False  # behind what was heard
        self.written = 0  # steps behind it
        self.ended = span.longest <= 0

    @property
    def left(self) -> int:
        """Steps in which notes may still begin."""
        return max(0, self._span.longest - self.written)

    def legal(self, may: Mask) -> Mask:
        """(V,): of the tokens that the rules and the limits allow, those that keep to the span; at least one."""
        mask: Mask = self._vocabulary.legal(self._state) & may[self._state.voice]
        mask[END] &= self._has_notes and self.written >= self._span.shortest
        for steps in range(self.left + self._has_notes, self._vocabulary.longest_shift + 1):
            mask[self._vocabulary.ids[Event(Kind.SHIFT, steps)]] = False
        return mask

    def draw(self, probabilities: npt.NDArray[np.float64]) -> int:
        """A token, which is added; (V,)."""
        token = drawn(probabilities, self._rng.random())
        if token != END:
            self._add(token)
        self.ended = token == END or not self.left
        return token

    def _add(self, token: int) -> None:
        event = self._vocabulary.events[token]
        self.tokens.append(token)
        self._state = self._state.after(event)
        self._has_notes |= event.kind is Kind.NOTE
        self.written += event.value if event.kind is Kind.SHIFT else 0


def _write(
    network: Stage[Array], writers: Sequence[_Writer], may: Mask, sampling: Sampling, on_progress: OnProgress | None
) -> None:
    """Until each has ended; those that have leave the batch."""
    total = sum(writer.left for writer in writers)
    rows = [writer for writer in writers if not writer.ended]
    log_probs, state = _read(network, writers[0].tokens, len(rows))
    while rows:
        probabilities = distribution(log_probs, np.stack([writer.legal(may) for writer in rows]), sampling)
        drawn = np.array([writer.draw(row) for writer, row in zip(rows, probabilities, strict=True)])
        going = np.flatnonzero([not writer.ended for writer in rows])
        rows = [rows[i] for i in going]
        if rows:
            x = Padded(drawn[going, None], np.ones(len(going), np.int64))
            y, state = network.step(x, {name: value[going] for name, value in state.items()}, last=False)
            log_probs = y.data[:, 0]
        if on_progress:
            on_progress(total - sum(writer.left for writer in rows), total)


def _read(network: Stage[Array], tokens: Sequence[int], rows: int) -> tuple[Array, State]:
    """ln P of what follows END and the given tokens, and the state, for each of the rows."""
    read = np.array([[END, *tokens]], np.int64)
    y, state = network.step(Padded(read, np.array([read.shape[1]])), network.initial_state(1), last=False)
    return np.repeat(y.data[:, -1], rows, axis=0), {name: np.repeat(v, rows, axis=0) for name, v in state.items()}


def _heard(given: Piece, settings: EventSettings) -> Piece:
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
