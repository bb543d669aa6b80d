"""Composition of pieces by a trained model: versions of a request, their ranking and checks, and a server's answers."""

from __future__ import annotations

import secrets
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recitative.errors import DataError, UsageError
from recitative.lm.recurrent import Sampling
from recitative.music.composer import (
    EventScorer,
    MusicScorer,
    OnProgress,
    Scorer,
    cross_entropy,
    fit_to_events,
    likelihood_of,
    read_contexts,
)
from recitative.music.frames import Event, Kind, MaskedCode
from recitative.music.generation import (
    Span,
    TokenGrid,
    continue_events,
    continue_music,
    fill_music,
    place_cadence,
)
from recitative.music.midi import midi_bytes, parse_midi
from recitative.music.notation import notated
from recitative.music.piece import (
    HIGHEST,
    SILENT,
    VOICES,
    Note,
    Piece,
    from_grid,
    tied,
    to_grid,
)
from recitative.music.settings import (
    MAX_REQUESTED_BARS,
    QUARTERS_PER_MINUTE,
    TICKS_PER_STEP,
    Constraints,
    EditOptions,
    EventConstraints,
    EventSettings,
    FrameSettings,
    GenerationRequest,
    MusicRequest,
    blank,
    blank_events,
    on_grid,
    parse_key,
    request_of,
    require_key,
    to_complete,
    to_rewrite,
    voice_ranges,
)
from recitative.music.statistics import FIFTH, OCTAVE, Share, parallels
from recitative.stage import Ids, Mask

TOP_P = 0.98
FILLING_TEMPERATURE = 0.7  # default of models that fill in: repeated sampling accumulates unlikely notes
GIBBS_STEPS = 100


def numbered(name: str, count: int) -> list[str]:
    """Names of ``count`` versions of a piece."""
    return [f"{name}-{number + 1}" if count > 1 else name for number in range(count)]


def _in_ticks(piece: Piece) -> list[Note]:
    """The notes of a piece on the model's grid, in ticks."""
    return [replace(n, start=n.start * TICKS_PER_STEP, length=n.length * TICKS_PER_STEP) for n in piece.notes]


# Models of frames


def compose(
    scorer: Scorer,
    request: GenerationRequest,
    constraints: Constraints,
    sampling: Sampling,
    *,
    count: int,
    seed: int,
    gibbs_steps: int = GIBBS_STEPS,
    on_progress: OnProgress | None = None,
) -> list[Piece]:
    """Generate ``count`` versions of a piece, named after it. gibbs_steps: of a model that fills in.

    Equal arguments give equal notes. Raises UsageError if the constraints leave no pitch for a voice, DataError if
    given notes do not fit the cadence.
    """
    frames, code = scorer.frames, scorer.frames.code
    cadence = place_cadence(request, constraints, frames) if constraints.cadence else None
    tokens = np.where(request.free, code.hidden, code.tokens(request.context))
    allowed = np.stack([_allowed(frames, constraints, voice) for voice in range(code.voices)])
    key = np.full(count, constraints.key.tonic + 1 if constraints.key else 0, np.int64)
    grid = TokenGrid(np.repeat(tokens[None], count, axis=0), allowed, key, cadence)
    if scorer.fills:
        generated = fill_music(scorer, grid, sampling, seed, gibbs_steps, on_progress)
    else:
        generated = continue_music(scorer, grid, sampling, seed, on_progress)
    keys = cadence.keys(code, generated) if cadence else [constraints.key] * count
    parts = VOICES if frames.voices == len(VOICES) and not frames.sets else ()
    pieces = []
    for row, name, row_key in zip(generated, numbered(request.given.name, count), keys, strict=True):
        pitches = np.where(request.free, code.midi(row), SILENT)
        new = _in_ticks(from_grid(tied(pitches), frames.steps_per_quarter))
        piece = replace(request.given, notes=tuple(sorted([*request.given.notes, *new])), name=name)
        pieces.append(notated(piece, row_key, parts))
    return pieces


def harmonize(
    scorer: Scorer,
    melody: Piece | Iterable[tuple[int | None, float]],
    *,
    voice: int = 0,
    constraints: Constraints = Constraints(),
    seed: int = 1,
    gibbs_steps: int = GIBBS_STEPS,
) -> Piece:
    """A melody, which is ``voice``, with the other voices of a model that fills in; see ``MusicScorer.harmonize``."""
    frames = scorer.frames
    ticks = frames.steps_per_quarter * TICKS_PER_STEP
    if not 0 <= voice < frames.voices:
        raise UsageError(f"voice {voice}: the model has voices 0 to {frames.voices - 1}")
    if isinstance(melody, Piece):
        if (count := len({note.voice for note in melody.notes})) > 1:
            raise UsageError(f"{melody.name}: has {count} voices; give a piece of one, the melody")
        piece = melody.at_resolution(ticks)
    else:
        notes, now = [], 0.0
        for pitch, quarters in melody:
            if not quarters > 0 or (pitch is not None and pitch not in range(HIGHEST + 1)):
                allowed = f"a pitch from 0 to {HIGHEST} or None, and a length above 0 in quarter notes"
                raise UsageError(f"note ({pitch}, {quarters}) of the melody: must be {allowed}")
            start, end = round(now * ticks), round((now + quarters) * ticks)
            if pitch is not None and end > start:
                notes.append(Note(start, int(pitch), end - start))
            now += quarters
        piece = replace(Piece.of(notes, ticks, 100.0, "melody"), length=round(now * ticks))
    piece = replace(piece, notes=tuple(sorted(replace(note, voice=voice) for note in piece.notes)))
    request = to_rewrite(piece, frames, [other for other in range(frames.voices) if other != voice])
    sampling = Sampling(FILLING_TEMPERATURE, TOP_P)
    return compose(scorer, request, constraints, sampling, count=1, seed=seed, gibbs_steps=gibbs_steps)[0]


def _allowed(settings: FrameSettings, constraints: Constraints, voice: int) -> Mask:
    """(outputs,): the tokens of a voice."""
    low, high = voice_ranges(settings)[voice]
    midi = np.arange(settings.lowest, settings.highest + 1)
    allowed = (midi >= low) & (midi <= high)
    if constraints.key:
        allowed &= np.isin(midi % 12, list(constraints.key.pitch_classes))
    if not allowed.any():
        raise UsageError(f"voice {voice + 1}: no pitch from {low} to {high} belongs to the key")
    return np.append(allowed, constraints.rests or settings.sets)


# Models of events


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
        notes, length = tuple(sorted([*given.notes, *_in_ticks(new)])), max(given.length, whole.length * TICKS_PER_STEP)
        pieces.append(notated(replace(given, notes=notes, length=length, name=name), constraints.key))
    return pieces


def allowed_tokens(settings: EventSettings, constraints: EventConstraints) -> Mask:
    """The tokens of each voice, (voices, V), in addition to the grammar.

    A voice without allowed notes is never entered. Raises UsageError if no voice has notes.
    """
    events = settings.vocabulary.events
    notes = np.array([event.value if event.kind is Kind.NOTE else -1 for event in events])
    allowed: Mask = np.ones((settings.voices, len(events)), bool)
    for voice, (low, high) in enumerate(voice_ranges(settings)):
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


# Ranking: the cost of a version is its NLL in nats, plus NATS_PER_ERROR for each error of voice leading.

NATS_PER_ERROR = 3.0  # as much as a note that is 20 times less likely
WIDEST_SPACING = 12  # semitones between neighboring voices above the bass (Aldwell and Schachter)


@dataclass(frozen=True)
class RuleErrors:
    """Counts. crossings and spacing: changes of chord with crossed voices, and with upper voices more than an octave
    apart; out_of_range: notes"""

    fifths: int
    octaves: int
    crossings: int
    spacing: int
    out_of_range: int

    @property
    def total(self) -> int:
        return self.fifths + self.octaves + self.crossings + self.spacing + self.out_of_range

    def __str__(self) -> str:
        counts = (
            (self.fifths, "parallel fifth", "s"), (self.octaves, "parallel octave", "s"),
            (self.crossings, "crossing", "s"), (self.spacing, "wide spacing", "s"),
            (self.out_of_range, "note", "s out of range"),
        )  # fmt: skip
        named = [f"{count} {name}{end if count > 1 else end[1:]}" for count, name, end in counts if count]
        return ", ".join(named) or "no rule errors"


@dataclass(frozen=True)
class Candidate:
    """nats: NLL of ``count`` units, tokens or notes; errors: None for music without voices"""

    piece: Piece
    nats: float
    count: int
    errors: RuleErrors | None = None
    unit: str = "token"

    @property
    def cost(self) -> float:
        return self.nats + NATS_PER_ERROR * (self.errors.total if self.errors else 0)

    def __str__(self) -> str:
        likelihood = f"{self.nats / max(1, self.count):.3f} nats per {self.unit}"
        return f"{likelihood}, {self.errors}" if self.errors else likelihood


def rank(scorer: Scorer, request: GenerationRequest, pieces: Sequence[Piece]) -> list[Candidate]:
    """The best piece first. pieces: of ``compose`` with this request

    The NLL of a model that continues is that of all tokens, each given those before it. That of a model that fills in
    is the NLL of the generated notes, each voice given all others, where a note has the mean of its steps.
    """
    frames, candidates = scorer.frames, []
    for piece in pieces:
        tokens = frames.code.tokens(on_grid(piece, frames))
        errors = None if frames.sets else rule_errors(piece, frames)
        if scorer.fills:
            nats, count = _masked_nats(scorer, tokens, request.free)
            candidates.append(Candidate(piece, nats, count, errors, "note"))
        else:
            found = likelihood_of(scorer, [tokens], scorer.settings.pieces.key)
            candidates.append(Candidate(piece, found.nats, found.tokens, errors))
    return sorted(candidates, key=lambda candidate: candidate.cost)


def _masked_nats(scorer: Scorer, tokens: Ids, generated: Mask) -> tuple[float, int]:
    """(the NLL of the generated notes of tokens (T, V), each voice given the others, and their number)."""
    code = MaskedCode(scorer.frames.code)
    nats, count = 0.0, 0
    for voice in np.flatnonzero(generated.any(axis=0)):
        free = generated[:, voice]
        hidden = tokens[None].copy()
        hidden[0, free, voice] = code.code.hidden
        h = read_contexts(scorer, code.context_ids(hidden, np.zeros(1, np.int64)))
        choice, related = code.choice_ids(hidden, int(voice))
        scores = scorer.scores(h[0, free], choice[0, free], related[0, free])
        pitches = tokens[:, voice]
        notes = int((free & np.append(True, pitches[1:] != pitches[:-1])).sum())
        nats += cross_entropy(scores, pitches[free]) * notes / int(free.sum())
        count += notes
    return nats, count


def rule_errors(piece: Piece, frames: FrameSettings) -> RuleErrors:
    """The errors of a piece with voices, on the model's grid."""
    pitches = to_grid(piece.at_resolution(frames.steps_per_quarter), max(piece.voices, frames.voices)).pitches
    changes = np.append(True, (pitches[1:] != pitches[:-1]).any(axis=1))[: len(pitches)]
    high, low = (chords.astype(int) for chords in (pitches[changes, :-1], pitches[changes, 1:]))
    both = (high != SILENT) & (low != SILENT)
    crossed, apart = both & (low > high), both & (high - low > WIDEST_SPACING)
    ranges = voice_ranges(frames)
    outside = (not _in_range(note, ranges) for note in piece.notes if note.voice < len(ranges))
    return RuleErrors(
        parallels(pitches, FIFTH).count, parallels(pitches, OCTAVE).count, int(crossed.any(axis=1).sum()),
        int(apart[:, :-1].any(axis=1).sum()), sum(outside),
    )  # fmt: skip


def _in_range(note: Note, ranges: Sequence[tuple[int, int]]) -> bool:
    return note.voice < len(ranges) and ranges[note.voice][0] <= note.pitch <= ranges[note.voice][1]


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
    required = Counter((note.start, note.length, note.pitch) for note in given)
    missing, new = required.copy(), []
    for note in piece.notes:
        if missing[note.start, note.length, note.pitch]:
            missing[note.start, note.length, note.pitch] -= 1
        else:
            new.append(note)
    inside = sum(_in_range(note, ranges) for note in new)
    return ConstraintCheck(Share(required.total() - missing.total(), required.total()), Share(inside, len(new)))


# Requests to a server

LARGEST_SEED = 2**32


def suits(scorer: MusicScorer | EventScorer, request: MusicRequest) -> bool:
    """Whether a model has the mode of a request."""
    return _fills(scorer) == (request.mode != "continue")


def _fills(scorer: MusicScorer | EventScorer) -> bool:
    return isinstance(scorer, MusicScorer) and scorer.fills


def answer(
    scorer: MusicScorer | EventScorer, request: MusicRequest, on_progress: OnProgress | None = None
) -> dict[str, Any]:
    """The seed, the tempo, the notes in seconds, and the piece as MIDI. Equal requests with a seed give equal answers.

    Raises DataError for MIDI that cannot be read or used, UsageError for a request that the model cannot serve.
    """
    if not suits(scorer, request):
        does = "fills in notes: its modes are 'harmonize' and 'fill'" if _fills(scorer) else "only continues music"
        raise UsageError(f"mode '{request.mode}': this model {does}")
    seed = secrets.randbelow(LARGEST_SEED) if request.seed is None else request.seed
    sampling = Sampling(request.temperature or (FILLING_TEMPERATURE if _fills(scorer) else 1.0), request.top_p)
    key = parse_key(request.key, "key")
    if isinstance(scorer, EventScorer):
        events = scorer.events
        if request.notes:
            raise UsageError("notes: a model of events cannot keep notes ahead; use a model of voices")
        if request.ending != "free":
            raise UsageError(f"ending '{request.ending}': a model of events ends freely; use a model of voices")
        given = _given_piece(request, events.steps_per_quarter)
        context = given or blank_events(events, "piece", request.tempo or QUARTERS_PER_MINUTE)
        _require_bars(request.bars + context.length / TICKS_PER_STEP / events.bar)
        span = Span(request.bars * events.bar, events.bar if given else 0)
        (piece,) = compose_events(
            scorer, context, EventConstraints(key), span, sampling, count=1, seed=seed, on_progress=on_progress
        )
    else:
        constraints = Constraints(key, request.rests, cadence=request.ending == "cadence")
        (piece,) = compose(
            scorer, _generation_request(request, scorer.frames), constraints, sampling, count=1, seed=seed,
            on_progress=on_progress,
        )  # fmt: skip
    notes = [
        {"start": round(note.start * piece.step_s, 4), "end": round(note.end * piece.step_s, 4), "pitch": note.pitch,
         "voice": note.voice}
        for note in piece.notes
    ]  # fmt: skip
    midi = b64encode(midi_bytes(piece)).decode()
    return {"seed": seed, "tempo": piece.quarters_per_minute, "notes": notes, "midi": midi}


def _generation_request(request: MusicRequest, frames: FrameSettings) -> GenerationRequest:
    piece = _given_piece(request, frames.steps_per_quarter)
    harmonized = request.voice if request.mode == "harmonize" else ""
    rewritten = request.voices if request.mode == "fill" else ""
    bars = request.bars if request.mode == "continue" else None
    edit = EditOptions(harmonized, rewritten, request.fill_bars, bars, bars_name="fill_bars")
    if request.mode == "harmonize" and piece is None:
        raise UsageError("mode 'harmonize': needs 'midi' with the voice that is harmonized")
    if request.mode == "harmonize" and piece and (count := len({note.voice for note in piece.notes})) > 1:
        raise DataError("midi", f"has {count} voices", "only the voice to harmonize", "leave the others out")
    if piece is None:
        made = blank(frames, request.bars * frames.bar, "piece", request.tempo or QUARTERS_PER_MINUTE)
    elif request.mode == "fill" and not request.voices:
        made = to_complete(piece, frames)
    else:
        made = request_of(piece, edit, frames)
    _require_bars(len(made.free) / frames.bar)
    return _with_required_notes(made, request, frames)


def _given_piece(request: MusicRequest, steps_per_quarter: int) -> Piece | None:
    """The piece of the request, in ticks."""
    if not request.midi:
        return None
    try:
        content = b64decode(request.midi, validate=True)
    except ValueError:
        raise DataError("midi", "is not base64", "the bytes of a MIDI file in base64", "") from None
    piece = replace(parse_midi(content, "midi", steps_per_quarter * TICKS_PER_STEP), name="piece")
    require_key(piece, parse_key(request.key, "key"), request.key, "key")
    return replace(piece, quarters_per_minute=request.tempo or piece.quarters_per_minute)


def _with_required_notes(made: GenerationRequest, request: MusicRequest, frames: FrameSettings) -> GenerationRequest:
    """Add the notes that the new part must have. Raises DataError for notes out of place."""
    tick_s, length = made.given.step_s, len(made.free) * TICKS_PER_STEP
    required = []
    for note in request.notes:
        start, end = round(note.start / tick_s), round(note.end / tick_s)
        required.append(Note(start, note.pitch, max(1, end - start), note.voice))
    if not required:
        return made
    if outside := [note for note in required if note.end > length or note.voice >= frames.voices]:
        found = f"a note of voice {outside[0].voice} that ends at {outside[0].end * tick_s:.2f} s"
        allowed = f"voices 0 to {frames.voices - 1}, and {length * tick_s:.2f} s"
        raise DataError("notes", found, allowed, "leave it out, or ask for more bars")
    context = on_grid(replace(made.given, notes=tuple(sorted(required)), length=length), frames)
    new = context != SILENT
    if (new & ~made.free).any():
        raise DataError("notes", "one stands where notes are given already", "only where new notes are written", "")
    given = replace(made.given, notes=tuple(sorted([*made.given.notes, *required])))
    return GenerationRequest(given, made.free & ~new, np.where(new, context, made.context))


def _require_bars(bars: float) -> None:
    """Raises UsageError for a piece that is too long for a server."""
    if bars > MAX_REQUESTED_BARS:
        raise UsageError(
            f"a piece of {bars:.0f} bars: at most {MAX_REQUESTED_BARS}; give a shorter one, or less 'bars'"
        )
