"""Trained models of music, run by PyTorch or ONNX Runtime: the scores of their decisions, and the likelihood of pieces;
and folders of MIDI and ABC files as pieces in the form that the models read.

A ``Scorer`` is a model of frames, one network or an ensemble; an ``EventScorer`` is a model of events. NumPy only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from recitative import pretrained
from recitative.errors import DataError, Problem, UsageError, counted
from recitative.music.abc import read_abc
from recitative.music.frames import Conditioning, EventVocabulary, MaskedCode, as_sets
from recitative.music.midi import MIDI_SUFFIXES, read_midi
from recitative.music.piece import Note, Piece, key_of, to_grid
from recitative.music.settings import EventSettings, EventsSettings, FrameSettings, MusicSettings
from recitative.stage import Array, Ids, Padded, Stage, State, run_whole
from recitative.text.tokens import END

ABC_SUFFIX = ".abc"
SUFFIXES = (*MIDI_SUFFIXES, ABC_SUFFIX)
SCORE_SUFFIXES = (".musicxml", ".mxl", ".xml", ".mscz", ".mscx", ".sib", ".mei")  # of notation programs

T = TypeVar("T")
OnProblem = Callable[[Problem], object]

# Folders of pieces


def read_folder(folder: str | Path, steps_per_quarter: int = 4) -> tuple[list[Piece], list[DataError]]:
    """All MIDI and ABC files at any depth, sorted by path, and an error for each file or tune that cannot be read.

    Raises DataError if there is no such file.
    """
    paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        found = "contains no music" if Path(folder).is_dir() else "is not a folder"
        if Path(folder).is_dir():
            os.listdir(folder)  # raises PermissionError, which glob hides
        raise DataError(str(folder), found, f"files {', '.join(SUFFIXES)}", "correct the path")
    results = [read_file(path, steps_per_quarter) for path in paths]
    return [piece for pieces, _ in results for piece in pieces], [error for _, errors in results for error in errors]


def read_file(path: Path, steps_per_quarter: int = 4) -> tuple[list[Piece], list[DataError]]:
    """The piece of a MIDI file, or the tunes of an ABC file, and an error for each that cannot be read."""
    if path.suffix.lower() == ABC_SUFFIX:
        tunes, errors = read_abc(path)
        return [tune.at_resolution(steps_per_quarter) for tune in tunes], errors
    if path.suffix.lower() in SCORE_SUFFIXES and path.is_file():
        remedy = "export it as MIDI; in MuseScore: File, Export, MIDI"
        return [], [DataError(str(path), "is the score of a notation program", f"files {', '.join(SUFFIXES)}", remedy)]
    try:
        return [read_midi(path, steps_per_quarter)], []
    except DataError as error:
        return [], [error]


def _read_each(
    folder: Path, steps_per_quarter: int, convert: Callable[[Piece], T], on_problem: OnProblem | None
) -> list[T]:
    """Convert all pieces in a folder. Raises DataError that lists all problems.

    on_problem: gets the problems instead, unless no piece is left.
    """
    pieces, errors = read_folder(folder, steps_per_quarter)
    found: list[T] = []
    problems = [problem for error in errors for problem in error.problems]
    for piece in pieces:
        try:
            found.append(convert(piece))
        except DataError as error:
            problems.extend(error.problems)
    if problems and (not on_problem or not found):
        raise DataError.collect(problems)
    if on_problem:
        for problem in problems:
            on_problem(problem)
    return found


# Pieces as frames


@dataclass(frozen=True)
class Frames:
    """A piece as tokens (T, V), and the pitch class of its tonic."""

    name: str
    tokens: Ids
    tonic: int


def read_pieces(folder: Path, settings: MusicSettings, on_problem: OnProblem | None = None) -> list[Frames]:
    """All pieces in a folder. Raises DataError that lists all that cannot be read or converted.

    on_problem: gets the problems instead, unless no piece is left.
    """
    return _read_each(folder, settings.frames.steps_per_quarter, lambda piece: frames_of(piece, settings), on_problem)


def frames_of(piece: Piece, settings: MusicSettings) -> Frames:
    """Raises DataError for a piece with too many voices or pitches out of range."""
    code = settings.frames.code
    piece = piece.at_resolution(settings.frames.steps_per_quarter)
    try:
        pitches = to_grid(piece, max(piece.voices, 1) if code.sets else code.voices).pitches
        pitches = as_sets(pitches, code.voices) if code.sets else pitches
        tokens = code.tokens(pitches)
    except ValueError as error:
        text = str(error).removeprefix(f"{piece.name}: ")
        allowed = f"{counted(code.voices, 'voice')} from {code.lowest} to {code.highest}"
        raise DataError(piece.name, text, allowed, "leave it out, or change the settings frames") from None
    tonic = settings.pieces.key if settings.pieces.key >= 0 else key_of(pitches)[0]
    return Frames(piece.name, tokens, tonic)


# Pieces as events


@dataclass(frozen=True)
class EventPieces:
    """Pieces on the model's grid; see ``fit_to_events``. cut: how many of the ``notes`` were shortened."""

    pieces: Sequence[Piece]
    notes: int
    cut: int


def read_event_pieces(folder: Path, settings: EventSettings, on_problem: OnProblem | None = None) -> EventPieces:
    """All pieces in a folder. Raises DataError that lists all that cannot be read or converted.

    on_problem: gets the problems instead, unless no piece is left.
    """
    lengths: list[int] = []

    def convert(piece: Piece) -> Piece:
        lengths.extend(note.length for note in piece.at_resolution(settings.steps_per_quarter).notes)
        return fit_to_events(piece, settings)

    pieces = _read_each(folder, settings.steps_per_quarter, convert, on_problem)
    return EventPieces(pieces, len(lengths), sum(length > settings.longest_length for length in lengths))


def fit_to_events(piece: Piece, settings: EventSettings) -> Piece:
    """Move a piece to the model's grid and voices, and shorten notes to the maximum duration.

    Of several notes of one voice and pitch that then start together, the longest is kept.
    Raises DataError for a pitch out of range.
    """
    moved = piece.at_resolution(settings.steps_per_quarter)
    by_place: dict[tuple[int, int, int], Note] = {}
    for note in moved.notes:
        if not settings.lowest <= note.pitch <= settings.highest:
            allowed = f"pitches from {settings.lowest} to {settings.highest}"
            raise DataError(
                piece.name, f"has pitch {note.pitch}", allowed, "leave it out, or change the settings events"
            )
        voice = min(note.voice, settings.voices - 1)
        shortened = replace(note, voice=voice, length=min(note.length, settings.longest_length))
        place = shortened.start, shortened.pitch, voice
        by_place[place] = max(shortened, by_place.get(place, shortened))  # they differ only in length
    return replace(moved, notes=tuple(sorted(by_place.values())))


# Models


OnProgress = Callable[[int, int], None]  # steps done, steps in all


class MusicNetwork(Stage[Array], Protocol):
    """A stage with further graphs."""

    def call(self, graph: str, feeds: Mapping[str, Array], /) -> Array: ...


class Scorer(Protocol):
    """A model of frames: a stage that reads contexts, and the scores of a decision."""

    @property
    def settings(self) -> MusicSettings: ...

    @property
    def frames(self) -> FrameSettings: ...

    @property
    def fills(self) -> bool:
        """Whether the model fills in missing notes; otherwise it continues music."""
        ...

    @property
    def context(self) -> Stage[Array]:
        """ids (N, T, F) -> (N, T, H)"""
        ...

    def scores(self, hidden: Array, ids: Ids, related: Ids) -> Array:
        """(M, H), (M, G), (M, R) -> (M, outputs) before the softmax."""
        ...


class MusicScorer:
    """``Scorer``: a single network."""

    def __init__(self, network: MusicNetwork, settings: MusicSettings) -> None:
        self.context = network
        self.settings = settings
        self.frames = settings.frames
        self.fills = settings.model.recurrent.direction == "bidirectional"

    def scores(self, hidden: Array, ids: Ids, related: Ids) -> Array:
        return self.context.call("choice", {"hidden": np.ascontiguousarray(hidden), "ids": ids, "beside": related})

    def harmonize(
        self,
        melody: Piece | Iterable[tuple[int | None, float]],
        *,
        voice: int = 0,
        cadence: bool = False,
        seed: int = 1,
    ) -> Piece:
        """The melody with the other voices.

        melody: a piece of one voice, or pairs of a MIDI pitch, None for a rest, and a length in quarter notes; voice:
        its number, 0 is the highest; cadence: end with V-I. If this model only continues music, the pretrained model
        that fills in notes is used. Raises UsageError if that one has other voices, for a piece of several voices and
        for pairs that are no notes, DataError for notes out of range.
        """
        from recitative.music.composition import harmonize
        from recitative.music.settings import Constraints

        scorer = self
        if not self.fills:
            from recitative.model.onnx_stage import OnnxStage
            from recitative.music.settings import MUSIC

            stage = OnnxStage(pretrained.find(pretrained.FILLING), MUSIC)
            scorer = MusicScorer(stage, stage.metadata.settings)
            if scorer.frames != self.frames:
                raise UsageError("this model only continues music; load one that fills in notes to harmonize")
        return harmonize(scorer, melody, voice=voice, constraints=Constraints(cadence=cadence), seed=seed)


class Ensemble:
    """``Scorer``: the mean of the probabilities of several models (Hansen & Salamon 1990)."""

    def __init__(self, scorers: Sequence[Scorer]) -> None:
        """Raises UsageError for models with different frames, or that do not all continue or all fill in."""
        first = scorers[0]
        inputs = [(one.frames, one.settings.pieces.key, one.fills) for one in scorers]
        if any(one != inputs[0] for one in inputs):
            raise UsageError("models of an ensemble must have equal 'frames' and 'pieces.key', and equal 'direction'")
        self._scorers = tuple(scorers)
        self.settings, self.frames, self.fills = first.settings, first.frames, first.fills
        code = MaskedCode(first.frames.code) if first.fills else first.frames.code
        self.context = _Parallel([scorer.context for scorer in scorers], len(code.context_sizes))

    def scores(self, hidden: Array, ids: Ids, related: Ids) -> Array:
        """(M, H), (M, G), (M, R) -> (M, outputs): the logarithm of the mean probability."""
        each = []
        for scorer, part in zip(self._scorers, np.split(hidden, self.context.ends, axis=-1), strict=True):
            scores = scorer.scores(part, ids, related).astype(np.float64)
            each.append(scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True))
        return np.asarray(np.logaddexp.reduce(each) - np.log(len(each)))


class _Parallel:
    """Stages with the same input, (N, T, F) -> (N, T, sum of H). ends: of the output of each stage but the last."""

    stride = 1

    def __init__(self, stages: Sequence[Stage[Array]], features: int) -> None:
        self._stages = tuple(stages)
        self.lookahead = stages[0].lookahead
        one = Padded(np.zeros((1, 1, features), np.int64), np.ones(1, np.int64))
        widths = [stage.step(one, stage.initial_state(1), last=True)[0].data.shape[-1] for stage in stages]
        self.ends = np.cumsum(widths)[:-1].tolist()

    def output_lengths(self, lengths: Array) -> Array:
        return lengths

    def initial_state(self, n: int) -> State:
        return {f"{i}.{name}": a for i, stage in enumerate(self._stages) for name, a in stage.initial_state(n).items()}

    def step(self, x: Padded[Array], state: State, *, last: bool) -> tuple[Padded[Array], State]:
        outputs: list[Array] = []
        after: State = {}
        for i, stage in enumerate(self._stages):
            prefix = f"{i}."
            own = {name.removeprefix(prefix): a for name, a in state.items() if name.startswith(prefix)}
            y, new = stage.step(x, own, last=last)
            outputs.append(y.data)
            after |= {prefix + name: a for name, a in new.items()}
        return Padded(np.concatenate(outputs, axis=-1), x.lengths), after


@dataclass(frozen=True)
class EventScorer:
    """A model of events. network: token ids (N, T) -> ln P of the next token (N, T, V)"""

    network: Stage[Array]
    settings: EventsSettings

    @property
    def events(self) -> EventSettings:
        return self.settings.events


def read_contexts(scorer: Scorer, ids: Ids, lengths: Ids | None = None) -> Array:
    """The output (N, T, H) of the core for whole pieces (N, T, F). lengths: (N,) frames, default T."""
    lengths = np.full(len(ids), ids.shape[1], np.int64) if lengths is None else lengths
    h = run_whole(scorer.context, Padded(ids, lengths))
    return h.data


# Likelihood

BATCH = 16  # pieces that are scored together
SEGMENT = 512  # tokens of events in a call, each of which gives V numbers


@dataclass(frozen=True)
class Likelihood:
    """The NLL of all pieces together, in nats.

    Boulanger-Lewandowski et al. 2012 report it per frame; TonicNet (Peracha 2020) and Music Transformer (Huang et al.
    2018) per token, where a frame has one token for each voice.
    """

    nats: float
    frames: int
    tokens: int

    @property
    def per_frame(self) -> float:
        return self.nats / self.frames

    @property
    def per_token(self) -> float:
        return self.nats / self.tokens


def likelihood_of(
    scorer: Scorer, pieces: Sequence[Ids], key: int = -1, on_progress: OnProgress | None = None
) -> Likelihood:
    """Score pieces as tokens (T, V), each note given those before it. key: the tonic of all, 0 is C; -1: unknown."""
    code = scorer.frames.code
    ordered = sorted((piece for piece in pieces if len(piece)), key=len)
    nats = 0.0
    for start in range(0, len(ordered), BATCH):
        if on_progress:
            on_progress(start, len(ordered))
        x = pad_pieces(ordered[start : start + BATCH], code.silence)
        conditioning = Conditioning.of_key(key, *x.data.shape[:2])
        context = code.contexts(x.data, code.initial_history(len(x.data)), conditioning)
        hidden = read_contexts(scorer, code.context_ids(context), x.lengths)
        inside = np.arange(x.data.shape[1]) < x.lengths[:, None]
        batch = 0.0
        for number, voice in enumerate(code.order):
            choice, related = code.choice_ids(x.data, context, number)
            scores = scorer.scores(hidden[inside], choice[inside], related[inside])
            scores = np.where(code.allowed(x.data, number)[inside], scores, -np.inf)
            batch += cross_entropy(scores, x.data[inside][:, voice])
        nats += batch
    frames = sum(map(len, ordered))
    return Likelihood(nats, frames, frames * scorer.frames.voices)


def pad_pieces(pieces: Sequence[Ids], filler: int) -> Padded[Ids]:
    """A batch of pieces, (N, T, V), padded with the token ``filler``."""
    lengths = np.array([len(piece) for piece in pieces])
    frames = np.full((len(pieces), lengths.max(), pieces[0].shape[1]), filler, np.int64)
    for row, piece in enumerate(pieces):
        frames[row, : len(piece)] = piece
    return Padded(frames, lengths)


def cross_entropy(scores: Array, targets: Ids) -> float:
    """The sum of -ln P of the targets (M,) by scores (M, K)."""
    wide = scores.astype(np.float64)
    top = wide.max(axis=-1, keepdims=True)
    norm = top[:, 0] + np.log(np.exp(wide - top).sum(axis=-1))
    return float((norm - wide[np.arange(len(wide)), targets]).sum())


@dataclass(frozen=True)
class EventLikelihood:
    """The NLL of all pieces together, in nats. tokens: including the end of each piece."""

    nats: float
    tokens: int
    notes: int

    @property
    def per_token(self) -> float:
        return self.nats / self.tokens

    @property
    def per_note(self) -> float:
        """The NLL of all tokens by the number of notes, which does not depend on the encoding."""
        return self.nats / self.notes


def event_likelihood(network: Stage[Array], vocabulary: EventVocabulary, pieces: Sequence[Piece]) -> EventLikelihood:
    """Score pieces (see ``fit_to_events``), each from the initial state. Illegal tokens are not masked.

    network: token ids (N, T) -> ln P of the next token (N, T, V)
    """
    ordered = sorted((vocabulary.encode(piece) for piece in pieces), key=len)
    total = 0.0
    for start in range(0, len(ordered), BATCH):
        rows = ordered[start : start + BATCH]
        lengths = np.array([len(row) + 1 for row in rows], np.int64)
        tokens = np.full((len(rows), int(lengths.max()) + 1), END, np.int64)  # END, the row, END
        for target, row in zip(tokens, rows, strict=True):
            target[1 : len(row) + 1] = row
        state, nats = network.initial_state(len(rows)), 0.0
        for first in range(0, int(lengths.max()), SEGMENT):
            left = (lengths - first).clip(0, SEGMENT)
            inputs, targets = tokens[:, :-1][:, first : first + SEGMENT], tokens[:, 1:][:, first : first + SEGMENT]
            y, state = network.step(Padded(inputs, left), state, last=False)
            log_probs = np.take_along_axis(y.data, targets[..., None], axis=-1)[..., 0]  # (N, T, V) -> (N, T)
            nats -= float(np.where(np.arange(inputs.shape[1]) < left[:, None], log_probs, 0.0).sum(dtype=np.float64))
        total += nats
    notes = sum(len(piece.notes) for piece in pieces)
    return EventLikelihood(total, sum(len(row) + 1 for row in ordered), notes)
