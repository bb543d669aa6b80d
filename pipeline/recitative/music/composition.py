"""Composition of pieces: what is given, the constraints, the generated notes, and a check of the constraints.

Given notes keep the times of their file, to TICKS_PER_STEP of a step of the model's grid. The model reads them on its
grid, and its notes are added to them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from recitative.errors import DataError, UsageError
from recitative.lm.sampling import Sampling
from recitative.music.cadence import MIN_VOICES, Cadence, TonalKey, fits
from recitative.music.composer import (
    EventScorer,
    OnProgress,
    Scorer,
    Span,
    TokenGrid,
    continue_events,
    continue_music,
    fill_music,
)
from recitative.music.events import Event, Kind
from recitative.music.frames import as_sets
from recitative.music.notation import notated
from recitative.music.piece import (
    HIGHEST,
    LOWEST,
    SILENT,
    VOICES,
    Note,
    Piece,
    Pitches,
    from_grid,
    key_name,
    likeliest_keys,
    tied,
    to_grid,
    tonic_of,
)
from recitative.music.pieces import fit_to_events
from recitative.music.settings import EventSettings, FrameSettings
from recitative.music.statistics import Share
from recitative.stage import Ids, Mask

TICKS_PER_STEP = 12
TOP_P = 0.98
FILLING_TEMPERATURE = 0.7  # default of models that fill in: repeated sampling accumulates unlikely notes
MAX_BARS = 1000
_LIKELY_KEYS = 4  # of a melody, for its cadence

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


def numbered(name: str, count: int) -> list[str]:
    """Names of ``count`` versions of a piece."""
    return [f"{name}-{number + 1}" if count > 1 else name for number in range(count)]


def in_ticks(piece: Piece) -> list[Note]:
    """The notes of a piece on the model's grid, in ticks."""
    return [replace(n, start=n.start * TICKS_PER_STEP, length=n.length * TICKS_PER_STEP) for n in piece.notes]


# Frames


@dataclass(frozen=True)
class Constraints:
    """Constraints on new notes. key: only notes of its scale; rests: voices may be silent; cadence: the piece ends with
    an authentic cadence."""

    key: Key | None = None
    rests: bool = False
    cadence: bool = False


@dataclass(frozen=True)
class GenerationRequest:
    """given: notes that are kept, in ticks; free: (T, V), true where notes are generated; context: (T, V), the pitches
    of the given notes on the model's grid."""

    given: Piece
    free: Mask
    context: Pitches


def blank(settings: FrameSettings, steps: int, name: str, quarters_per_minute: float) -> GenerationRequest:
    """A new piece."""
    shape = (steps, settings.voices)
    given = Piece((), steps * TICKS_PER_STEP, settings.steps_per_quarter * TICKS_PER_STEP, quarters_per_minute, name)
    return GenerationRequest(given, np.ones(shape, bool), np.full(shape, SILENT, np.int16))


def to_continue(piece: Piece, settings: FrameSettings, steps: int) -> GenerationRequest:
    """Continue a piece (in ticks) by ``steps``. Raises DataError for notes that the model does not know."""
    context = _given_on_grid(piece, settings)
    free = np.zeros((len(context) + steps, settings.voices), bool)
    free[len(context) :] = True
    silent = np.full((steps, settings.voices), SILENT, np.int16)
    longer = replace(piece, length=len(free) * TICKS_PER_STEP)
    return GenerationRequest(longer, free, np.concatenate([context, silent]))


def to_rewrite(
    piece: Piece, settings: FrameSettings, voices: Sequence[int], first: int = 0, last: int = -1
) -> GenerationRequest:
    """Regenerate ``voices`` of a piece (in ticks), from step ``first`` to before ``last``; -1: to the end.

    Notes that start outside of these steps are kept, also where they reach into them.
    Raises UsageError for steps and voices that do not exist, DataError for notes that the model does not know.
    """
    if settings.sets or not all(0 <= voice < settings.voices for voice in voices):
        has = "sets of notes without voices" if settings.sets else f"voices 1 to {settings.voices}"
        named = ", ".join(str(voice + 1) for voice in voices)
        raise UsageError(f"{piece.name}: voices {named} cannot be rewritten; the model has {has}")
    steps = -(-piece.length // TICKS_PER_STEP)
    if not steps:
        raise DataError(piece.name, "has no notes", "a piece to rewrite", "leave it out")
    last = steps if last < 0 else last
    if not 0 <= first < last <= steps:
        raise UsageError(f"{piece.name}: has no steps {first} to {last}; it has {steps}")
    begins = range(first * TICKS_PER_STEP, last * TICKS_PER_STEP)
    kept = tuple(note for note in piece.notes if note.voice not in voices or note.start not in begins)
    given = replace(piece, notes=kept, length=steps * TICKS_PER_STEP)
    context = _given_on_grid(given, settings)
    free = np.zeros(context.shape, bool)
    free[first:last, list(voices)] = True
    return GenerationRequest(given, free & (context == SILENT), context)


def compose(
    scorer: Scorer,
    request: GenerationRequest,
    constraints: Constraints,
    sampling: Sampling,
    *,
    count: int,
    seed: int,
    gibbs_steps: int = 100,
    on_progress: OnProgress | None = None,
) -> list[Piece]:
    """Generate ``count`` versions of a piece, named after it. gibbs_steps: of a model that fills in.

    Equal arguments give equal notes. Raises UsageError if the constraints leave no pitch for a voice, DataError if
    given notes do not fit the cadence.
    """
    code = scorer.frames.code
    cadence = _cadence(request, constraints, scorer.frames) if constraints.cadence else None
    tokens = np.where(request.free, code.hidden, code.tokens(request.context))
    allowed = np.stack([_allowed(scorer.frames, constraints, voice) for voice in range(code.voices)])
    key = np.full(count, constraints.key.tonic + 1 if constraints.key else 0, np.int64)
    grid = TokenGrid(np.repeat(tokens[None], count, axis=0), allowed, key, cadence)
    if scorer.fills:
        generated = fill_music(scorer, grid, sampling, seed, gibbs_steps, on_progress)
    else:
        generated = continue_music(scorer, grid, sampling, seed, on_progress)
    names = numbered(request.given.name, count)
    keys = cadence.keys(code, generated) if cadence else [_tonal(constraints.key)] * count
    return [
        _with_generated(request, scorer.frames, row, name, key)
        for row, name, key in zip(generated, names, keys, strict=True)
    ]


def harmonize(
    scorer: Scorer,
    melody: Piece | Iterable[tuple[int | None, float]],
    *,
    voice: int = 0,
    constraints: Constraints = Constraints(),
    seed: int = 1,
    gibbs_steps: int = 100,
) -> Piece:
    """A melody, which is ``voice``, with the other voices of a model that fills in; see ``MusicScorer.harmonize``."""
    frames = scorer.frames
    ticks = frames.steps_per_quarter * TICKS_PER_STEP
    piece = melody if isinstance(melody, Piece) else _of_pairs(melody, ticks)
    notes = tuple(sorted(replace(note, voice=voice) for note in piece.at_resolution(ticks).notes))
    others = [other for other in range(frames.voices) if other != voice]
    request = to_rewrite(replace(piece.at_resolution(ticks), notes=notes), frames, others)
    sampling = Sampling(FILLING_TEMPERATURE, TOP_P)
    (found,) = compose(scorer, request, constraints, sampling, count=1, seed=seed, gibbs_steps=gibbs_steps)
    return found


def _of_pairs(melody: Iterable[tuple[int | None, float]], ticks: int) -> Piece:
    notes, now = [], 0.0
    for pitch, quarters in melody:
        start, end = round(now * ticks), round((now + quarters) * ticks)
        if pitch is not None and end > start:
            notes.append(Note(start, pitch, end - start))
        now += quarters
    return replace(Piece.of(notes, ticks, 100.0, "melody"), length=round(now * ticks))


def _tonal(key: Key | None) -> TonalKey | None:
    return (key.tonic, key.minor) if key else None


def _with_generated(
    request: GenerationRequest, settings: FrameSettings, tokens: Ids, name: str, key: TonalKey | None
) -> Piece:
    """The given notes, and the generated ones of (T, V) tokens. key: of the signature, None: estimated."""
    pitches = np.where(request.free, settings.code.midi(tokens), SILENT)
    new = in_ticks(from_grid(tied(pitches), settings.steps_per_quarter))
    piece = replace(request.given, notes=tuple(sorted([*request.given.notes, *new])), name=name)
    return notated(piece, key, VOICES if settings.voices == len(VOICES) and not settings.sets else ())


def _cadence(request: GenerationRequest, constraints: Constraints, settings: FrameSettings) -> Cadence:
    """Where the cadence is: at the last given notes, otherwise in the last bar. Its key is that of the constraints, of
    the key signature, or of the given notes.

    Raises UsageError for a model of fewer than three voices, DataError for given notes that have no place in it.
    """
    name, steps = request.given.name, len(request.free)
    if settings.sets or settings.voices < MIN_VOICES:
        raise UsageError(f"a cadence requires a model of at least {MIN_VOICES} voices")
    if not request.free[-1].any():
        raise UsageError(f"{name}: the end of the piece is given, so no cadence can be written there")
    given = np.where(request.free, SILENT, request.context)
    last = max(np.flatnonzero((given != SILENT).any(axis=1)), default=-1)
    quarter, bar = settings.steps_per_quarter, round(request.given.notation.bar_quarters * settings.steps_per_quarter)
    if last >= steps - bar:  # a given voice has the last notes
        changes = np.flatnonzero((given[1 : last + 1] != given[:last]).any(axis=1)) + 1
        tonic = int(changes[-1]) if len(changes) else 0
        dominant = max([tonic - quarter, *changes[-2:-1].tolist()])
    else:
        tonic = steps - max(1, bar // 2)
        dominant = tonic - quarter
    if dominant < 0:
        raise DataError(
            name, "is too short for a cadence", "at least two notes", "lengthen it, or leave the cadence out"
        )
    keys = _cadence_keys(request, constraints, given) if last >= tonic else []
    cadence = Cadence(dominant, tonic)
    if not keys:
        return replace(cadence, key=_tonal(constraints.key))
    fitting = [key for key in keys if fits(given, cadence, key)]
    if not fitting:
        raise DataError(
            name, f"its last two notes fit no cadence V-I in {key_name(*keys[0])}", "notes of the two chords",
            "name another key, or leave the cadence out",
        )  # fmt: skip
    return replace(cadence, key=fitting[0])


def _cadence_keys(request: GenerationRequest, constraints: Constraints, given: Pitches) -> list[TonalKey]:
    """Keys in which given last notes may have a cadence, the likeliest first."""
    notation = request.given.notation
    if constraints.key:
        return [(constraints.key.tonic, constraints.key.minor)]
    if notation.fifths:  # a signature without sharps may only mean that none was written
        return [(tonic_of(notation.fifths, minor), minor) for minor in (notation.minor, not notation.minor)]
    return likeliest_keys(given)[:_LIKELY_KEYS]


def on_grid(piece: Piece, settings: FrameSettings) -> Pitches:
    """(T, V) on the model's grid: in each step the pitch that sounds at its start, otherwise the first that starts in
    it.

    Raises ValueError for a piece that is not in ticks, DataError for one that does not fit the model.
    """
    if piece.steps_per_quarter != settings.steps_per_quarter * TICKS_PER_STEP:
        raise ValueError(f"{piece.name}: {piece.steps_per_quarter} steps per quarter, not in ticks")
    if piece.voices > settings.voices and not settings.sets:
        allowed = f"at most {settings.voices}"
        raise DataError(piece.name, f"has {piece.voices} voices", allowed, "leave some out")
    voices = max(piece.voices, settings.voices)
    whole = replace(piece, length=-(-piece.length // TICKS_PER_STEP) * TICKS_PER_STEP)
    by_step = to_grid(whole, voices).pitches.reshape(-1, TICKS_PER_STEP, voices)
    first_sounding = np.argmax(by_step != SILENT, axis=1)  # (T, V), 0 where all is silent
    pitches: Pitches = np.take_along_axis(by_step, first_sounding[:, None], axis=1)[:, 0]
    if settings.sets:
        try:
            pitches = as_sets(pitches, settings.voices)
        except ValueError as error:
            allowed = f"at most {settings.voices} notes at a time"
            raise DataError(piece.name, str(error), allowed, "leave some out") from None
    sounding = pitches[pitches != SILENT]
    outside = sounding[(sounding < settings.lowest) | (sounding > settings.highest)]
    if len(outside):
        allowed = f"pitches from {settings.lowest} to {settings.highest}"
        raise DataError(piece.name, f"has pitch {outside[0]}", allowed, "transpose it, or leave that voice out")
    return pitches


def _given_on_grid(piece: Piece, settings: FrameSettings) -> Pitches:
    """The same. Raises DataError also for a piece that is too long."""
    pitches = on_grid(piece, settings)
    if len(pitches) > MAX_BARS * settings.bar:
        raise DataError(piece.name, f"has {len(pitches) // settings.bar} bars", f"at most {MAX_BARS}", "shorten it")
    return pitches


def _allowed(settings: FrameSettings, constraints: Constraints, voice: int) -> Mask:
    """(outputs,): the tokens of a voice."""
    low, high = settings.ranges[voice] if settings.ranges else (settings.lowest, settings.highest)
    midi = np.arange(settings.lowest, settings.highest + 1)
    allowed = (midi >= low) & (midi <= high)
    if constraints.key:
        allowed &= np.isin(midi % 12, list(constraints.key.pitch_classes))
    if not allowed.any():
        raise UsageError(f"voice {voice + 1}: no pitch from {low} to {high} belongs to the key")
    return np.append(allowed, constraints.rests or settings.sets)


# Events


@dataclass(frozen=True)
class EventConstraints:
    """Constraints on new notes. key: only notes of its scale; lowest, highest: MIDI pitches, in addition to the range
    of each voice."""

    key: Key | None = None
    lowest: int = LOWEST
    highest: int = HIGHEST


def blank_events(settings: EventSettings, name: str, quarters_per_minute: float) -> Piece:
    """A piece without notes, in ticks."""
    return Piece((), 0, settings.steps_per_quarter * TICKS_PER_STEP, quarters_per_minute, name)


def compose_events(
    scorer: EventScorer,
    given: Piece,
    constraints: EventConstraints,
    span: Span,
    sampling: Sampling,
    *,
    count: int,
    seed: int,
    on_progress: OnProgress | None = None,
) -> list[Piece]:
    """Generate ``count`` continuations of a piece (in ticks), named after it.

    Equal arguments give equal notes. Raises DataError for a given note that the model does not know, UsageError if the
    constraints leave no pitch for any voice.
    """
    settings, vocabulary = scorer.events, scorer.events.vocabulary
    fitted = fit_to_events(given, settings)
    context = replace(fitted, length=max(fitted.length, -(-given.length // TICKS_PER_STEP)))
    allowed = allowed_tokens(settings, constraints)
    rows = continue_events(
        scorer, context, span, allowed, sampling, count=count, seed=seed, on_progress=on_progress
    )  # fmt: skip
    pieces = []
    for tokens, name in zip(rows, numbered(given.name, count), strict=True):
        whole = vocabulary.decode(vocabulary.finished(tokens))
        new = replace(whole, notes=tuple(note for note in whole.notes if note.start >= context.length))
        notes, length = tuple(sorted([*given.notes, *in_ticks(new)])), max(given.length, whole.length * TICKS_PER_STEP)
        pieces.append(notated(replace(given, notes=notes, length=length, name=name), _tonal(constraints.key)))
    return pieces


def allowed_tokens(settings: EventSettings, constraints: EventConstraints) -> Mask:
    """The tokens of each voice, (voices, V), in addition to the grammar.

    A voice without allowed notes is never entered. Raises UsageError if no voice has notes.
    """
    events = settings.vocabulary.events
    notes = np.array([event.value if event.kind is Kind.NOTE else -1 for event in events])
    ranges = settings.ranges or ((settings.lowest, settings.highest),) * settings.voices
    allowed: Mask = np.ones((settings.voices, len(events)), bool)
    for voice, (low, high) in enumerate(ranges):
        inside = (notes >= max(low, constraints.lowest)) & (notes <= min(high, constraints.highest))
        if constraints.key:
            inside &= np.isin(notes % 12, list(constraints.key.pitch_classes))
        allowed[voice, notes >= 0] = inside[notes >= 0]
    has_notes = np.asarray(allowed[:, notes >= 0].any(axis=1))
    if not has_notes.any():
        raise UsageError("no voice has a note in its range, the key and the requested pitches")
    for voice in range(1, settings.voices):
        allowed[:, settings.vocabulary.ids[Event(Kind.VOICE, voice)]] = has_notes[voice]
    return allowed


# Check of the constraints


@dataclass(frozen=True)
class ConstraintCheck:
    """given: share of the given notes that are in the piece, with equal start, length and pitch, in any voice; new:
    share of all other notes that are within the range of their voice."""

    given: Share
    new: Share

    def __add__(self, other: ConstraintCheck) -> ConstraintCheck:
        return ConstraintCheck(self.given + other.given, self.new + other.new)


def check_constraints(piece: Piece, given: Iterable[Note], ranges: Sequence[tuple[int, int]]) -> ConstraintCheck:
    """Check a piece. given: notes in its steps; ranges: lowest and highest MIDI pitch of each voice. Voices without a
    range are out of range."""
    wanted = Counter((note.start, note.length, note.pitch) for note in given)
    missing, new = wanted.copy(), []
    for note in piece.notes:
        if missing[note.start, note.length, note.pitch]:
            missing[note.start, note.length, note.pitch] -= 1
        else:
            new.append(note)
    inside = sum(
        note.voice < len(ranges) and ranges[note.voice][0] <= note.pitch <= ranges[note.voice][1] for note in new
    )
    return ConstraintCheck(Share(wanted.total() - missing.total(), wanted.total()), Share(inside, len(new)))
