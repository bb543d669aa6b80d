"""Sampling of notes from a trained model of music, under constraints. NumPy only. Given notes are kept.

    continue   frame by frame, voice by voice, each given all that was sampled before
    fill       all missing notes at once, given the notes that are there; then a decreasing part of them again, given
               the others: blocked Gibbs sampling with annealed blocks (Yao et al. 2014, as in Coconet, Huang et al.
               2017)
    events     token by token, given all tokens before it

Each row has its own random numbers, from (seed, row), so a piece does not depend on the number of rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from recitative.errors import DataError, UsageError
from recitative.lm.recurrent import Sampling, categorical, distribution
from recitative.music.composer import EventScorer, OnProgress, Scorer, read_contexts
from recitative.music.frames import Conditioning, Event, FrameCode, GrammarState, Kind, MaskedCode
from recitative.music.piece import SILENT, Key, Piece, Pitches, key_name, key_of, likeliest_keys, tonic_of
from recitative.music.settings import MIN_CADENCE_VOICES, Constraints, EventSettings, FrameSettings, GenerationRequest
from recitative.stage import Array, Ids, Mask, Padded
from recitative.text.tokens import END

MAX_RESAMPLED, MIN_RESAMPLED = 0.9, 0.1  # share of the missing notes that a Gibbs step samples, first and last
BLOCKS = (1, 4, 8)  # frames that are sampled together, in turn: a single note is held in place by its neighbors
ANNEALED = 0.7  # share of the Gibbs steps after which blocks are single notes: frames of a block are independent

# An authentic cadence as the end of a piece: V or V7, then I, both in root position. The first chord lasts up to a
# quarter note, the second to the end.

_ROOT, _THIRD, _FIFTH, _SEVENTH = 7, 11, 2, 5  # of the dominant, in semitones above the tonic
_LIKELY_KEYS = 4  # of a melody


@dataclass(frozen=True)
class ChordRule:
    """Pitch classes: of the lowest voice, of all voices, those that must sound, and those that are not doubled."""

    bass: int
    notes: frozenset[int]
    needed: frozenset[int]
    single: frozenset[int] = frozenset()


def chord_rules(key: tuple[int, bool]) -> tuple[ChordRule, ChordRule]:
    """The dominant and the tonic of a key."""
    tonic, minor = key

    def above(*steps: int) -> frozenset[int]:
        return frozenset((tonic + step) % 12 for step in steps)

    third = 3 if minor else 4
    dominant = ChordRule(
        (tonic + _ROOT) % 12, above(_ROOT, _THIRD, _FIFTH, _SEVENTH), above(_ROOT, _THIRD), above(_THIRD, _SEVENTH)
    )
    return dominant, ChordRule(tonic, above(0, third, 7), above(0, third))


@dataclass(frozen=True)
class Cadence:
    """dominant, tonic: the steps at which the chords begin; key: None: estimated from the notes of each piece"""

    dominant: int
    tonic: int
    key: Key | None = None

    def keys(self, code: FrameCode, tokens: Ids) -> list[Key]:
        """The key of each piece (N, T, V), from its notes before the cadence."""
        return [self.key or key_of(code.midi(row[: self.dominant])) for row in tokens]

    def allowed(self, code: FrameCode, key: Key, step: int, frame: Ids, voice: int, possible: Mask) -> Mask:
        """(outputs,): the tokens of a voice in a step. frame: (V,), ``hidden`` where nothing is decided.

        A voice gets the notes of the chord, the lowest one its root, and never a note after which the remaining voices
        could not complete the chord. The leading note is not doubled. Voices do not cross if another note is possible.
        possible: (outputs,), the tokens that other constraints leave; if none of them fits, all notes of the chord.
        """
        rule = chord_rules(key)[step >= self.tonic]
        midi = np.arange(code.lowest, code.highest + 1)
        decided = {v: int(p) for v, p in enumerate(code.midi(frame)) if frame[v] < code.silence}
        classes = {pitch % 12 for pitch in decided.values()}
        left = int((frame == code.hidden).sum()) - 1  # voices that are decided later
        if voice == code.voices - 1:
            fits = midi % 12 == rule.bass
        else:
            bass_left = frame[-1] == code.hidden  # the bass will have the root
            missing = rule.needed - classes - ({rule.bass} if bass_left else set())
            good = rule.notes - (rule.single & classes)
            fits = np.isin(midi % 12, [c for c in good if len(missing - {c}) <= left - bass_left])
        above = min((pitch for v, pitch in decided.items() if v < voice), default=code.highest)
        below = max((pitch for v, pitch in decided.items() if v > voice), default=code.lowest)
        allowed = np.append(fits, False) & possible
        in_order = allowed & np.append((midi >= below) & (midi <= above), False)
        if in_order.any():
            return np.asarray(in_order)
        return np.asarray(allowed if allowed.any() else np.append(np.isin(midi % 12, list(rule.notes)), False))

    def fits(self, pitches: Pitches, key: Key) -> bool:
        """Whether given notes (T, V), SILENT where there is none, belong to the two chords."""
        for rule, part in zip(
            chord_rules(key), (pitches[self.dominant : self.tonic], pitches[self.tonic :]), strict=True
        ):
            bass = part[:, -1][part[:, -1] != SILENT] % 12
            if not np.isin(part[part != SILENT] % 12, list(rule.notes)).all() or (bass != rule.bass).any():
                return False
        return True


def place_cadence(request: GenerationRequest, constraints: Constraints, settings: FrameSettings) -> Cadence:
    """The place of the cadence: at the last given notes, otherwise in the last bar. Its key is that of the constraints,
    of the key signature, or of the given notes.

    Raises UsageError for a model of fewer than three voices, DataError for given notes that do not fit.
    """
    name, steps, notation = request.given.name, len(request.free), request.given.notation
    if not settings.has_cadences:
        raise UsageError(f"a cadence requires a model of at least {MIN_CADENCE_VOICES} voices")
    if not request.free[-1].any():
        raise UsageError(f"{name}: the end of the piece is given, so no cadence can be written there")
    given: Pitches = np.where(request.free, SILENT, request.context)
    last = max(np.flatnonzero((given != SILENT).any(axis=1)), default=-1)
    quarter, bar = settings.steps_per_quarter, round(notation.bar_quarters * settings.steps_per_quarter)
    if last >= max(0, steps - bar):  # a given voice has the last notes
        changes = np.flatnonzero((given[1 : last + 1] != given[:last]).any(axis=1)) + 1
        tonic = int(changes[-1]) if len(changes) else 0
        dominant = max([tonic - quarter, *changes[-2:-1].tolist()])
    else:
        tonic = steps - max(1, min(bar, steps) // 2)
        dominant = tonic - quarter
    if dominant < 0:
        raise DataError(
            name, "is too short for a cadence", "at least two notes", "lengthen it, or leave the cadence out"
        )
    cadence = Cadence(dominant, tonic, constraints.key)
    if last < tonic:
        return cadence
    if constraints.key:
        keys = [constraints.key]
    elif notation.fifths:  # a signature without sharps may only mean that none was written
        keys = [Key(tonic_of(notation.fifths, minor), minor) for minor in (notation.minor, not notation.minor)]
    else:
        keys = likeliest_keys(given)[:_LIKELY_KEYS]
    for key in keys:
        if cadence.fits(given, key):
            return replace(cadence, key=key)
    raise DataError(
        name, f"its last two notes fit no cadence V-I in {key_name(*keys[0])}", "notes of the two chords",
        "name another key, or leave the cadence out",
    )  # fmt: skip


# Frames


@dataclass(frozen=True)
class TokenGrid:
    """Notes to generate. tokens: (N, T, V), ``code.hidden`` where a note is to be generated; allowed: (V, outputs), the
    tokens of each voice; key: (N,), as in ``Conditioning``; cadence: the end of the pieces."""

    tokens: Ids
    allowed: Mask
    key: Ids
    cadence: Cadence | None = None


class _Sampler:
    """Samples tokens, each with the random numbers of its row."""

    def __init__(self, sampling: Sampling, seed: int, rows: int) -> None:
        self._sampling = sampling
        self.rngs = [np.random.default_rng([seed, row]) for row in range(rows)]

    def __call__(self, scores: Array, allowed: Mask, rows: Ids) -> Ids:
        """A token for each of the scores (M, outputs). rows: (M,), whose random numbers are used, in order."""
        numbers = np.array([self.rngs[row].random() for row in rows])
        return categorical(distribution(scores, allowed, self._sampling), numbers)


def continue_music(
    scorer: Scorer, grid: TokenGrid, sampling: Sampling, seed: int, on_progress: OnProgress | None = None
) -> Ids:
    """Generate the hidden tokens of a grid from left to right -> (N, T, V)."""
    code, tokens, cadence = scorer.frames.code, grid.tokens.copy(), grid.cadence
    rows, steps, _ = tokens.shape
    sample = _Sampler(sampling, seed, rows)
    history, state = code.initial_history(rows), scorer.context.initial_state(rows)
    for step in range(steps):
        if cadence and step == cadence.dominant:
            keys = cadence.keys(code, tokens)
        now = tokens[:, step : step + 1]
        left = np.full((rows, 1), steps - step, np.int64)
        context = code.contexts(now, history, Conditioning(left, grid.key))
        x = Padded(code.context_ids(context), np.ones(rows, np.int64))
        h, state = scorer.context.step(x, state, last=False)
        for number, voice in enumerate(code.order):
            free = np.flatnonzero(now[:, 0, voice] == code.hidden)
            if not len(free):
                continue
            ids, related = code.choice_ids(now, context, number)
            scores = scorer.scores(h.data[free, 0], ids[free, 0], related[free, 0])
            allowed = grid.allowed[voice] & code.allowed(now, number)[free, 0]
            if cadence and step > cadence.tonic:  # the last chord is held
                allowed = allowed & (np.arange(code.outputs) == tokens[free, step - 1, voice, None])
            elif cadence and step >= cadence.dominant:
                allowed = np.stack([
                    cadence.allowed(code, keys[row], step, now[row, 0], voice, possible)
                    for row, possible in zip(free, allowed, strict=True)
                ])  # fmt: skip
            now[free, 0, voice] = sample(scores, allowed, free)
        history = code.read(history, now[:, 0])
        if on_progress:
            on_progress(step + 1, steps)
    return tokens


def fill_music(
    scorer: Scorer, grid: TokenGrid, sampling: Sampling, seed: int, steps: int, on_progress: OnProgress | None = None
) -> Ids:
    """Generate the hidden tokens of a grid in ``steps`` Gibbs steps -> (N, T, V)."""
    code, tokens = MaskedCode(scorer.frames.code), grid.tokens.copy()
    hidden = code.code.hidden
    missing = tokens == hidden
    sample = _Sampler(sampling, seed, len(tokens))
    for number in range(steps):
        done = min(1.0, number / (ANNEALED * steps))
        share = MAX_RESAMPLED - (MAX_RESAMPLED - MIN_RESAMPLED) * done
        length = BLOCKS[number % len(BLOCKS)] if done < 1 else 1
        resampled = missing
        if number:
            _, frames, voices = tokens.shape
            blocks = [random_blocks(rng, share, frames, voices, length) for rng in sample.rngs]
            resampled = missing & np.stack(blocks)
        tokens = np.where(resampled, hidden, tokens)
        h = read_contexts(scorer, code.context_ids(tokens, grid.key))
        filled = tokens.copy()
        for voice in range(code.code.voices):
            row, step = np.nonzero(resampled[..., voice])
            if len(row):
                choice, related = code.choice_ids(tokens, voice)
                scores = scorer.scores(h[row, step], choice[row, step], related[row, step])
                filled[row, step, voice] = sample(scores, np.broadcast_to(grid.allowed[voice], scores.shape), row)
        tokens = filled
        if on_progress:
            on_progress(number + 1, steps)
    return _fill_cadence(scorer, grid, grid.cadence, tokens, sample) if grid.cadence else tokens


def _fill_cadence(scorer: Scorer, grid: TokenGrid, cadence: Cadence, tokens: Ids, sample: _Sampler) -> Ids:
    """Sample the chords of the cadence, voice by voice, each given all other notes. A note lasts as long as its
    chord."""
    code = scorer.frames.code
    masked, keys = MaskedCode(code), cadence.keys(code, tokens)
    missing = grid.tokens[0] == code.hidden
    spans = (slice(cadence.dominant, cadence.tonic), slice(cadence.tonic, None))
    free = [[voice for voice in code.order if missing[span, voice].all()] for span in spans]
    tokens = tokens.copy()
    for span, voices in zip(spans, free, strict=True):
        tokens[:, span, voices] = code.hidden
    for span, voices in zip(spans, free, strict=True):
        for voice in voices:
            h = read_contexts(scorer, masked.context_ids(tokens, grid.key))
            choice, related = masked.choice_ids(tokens, voice)
            part = [array[:, span].reshape(-1, array.shape[-1]) for array in (h, choice, related)]
            scores = scorer.scores(*part).reshape(len(tokens), -1, code.outputs).mean(axis=1)
            allowed = np.stack([
                cadence.allowed(code, key, span.start, frame, voice, grid.allowed[voice])
                for key, frame in zip(keys, tokens[:, span.start], strict=True)
            ])  # fmt: skip
            tokens[:, span, voice] = sample(scores, allowed, np.arange(len(tokens)))[:, None]
    return tokens


def random_blocks(rng: np.random.Generator, share: float, steps: int, voices: int, length: int) -> Mask:
    """A mask (T, V) of blocks of ``length`` frames of a voice, each true with probability ``share``.

    The first block may be shorter.
    """
    first = int(rng.integers(length))
    coins = rng.random((-(-(steps + first) // length), voices)) < share
    blocks: Mask = np.repeat(coins, length, axis=0)[first : first + steps]
    return blocks


# Events


@dataclass(frozen=True)
class Span:
    """Steps after the given notes. A piece may end from ``shortest`` on, after at least one new note. No note starts at
    ``longest`` or later; sounding notes are held to their ends."""

    longest: int
    shortest: int = 0


def continue_events(
    scorer: EventScorer,
    context: Piece,
    span: Span,
    allowed: Mask,
    sampling: Sampling,
    *,
    count: int,
    seed: int,
    on_progress: OnProgress | None = None,
) -> list[list[int]]:
    """``count`` continuations of a piece on the model's grid, as tokens without END that begin with those of the piece.

    allowed: (voices, V), the tokens that may be sampled in each voice, in addition to the grammar
    """
    network, settings = scorer.network, scorer.events
    rows = [_EventRow(settings, context, span, np.random.default_rng([seed, row])) for row in range(count)]
    total = sum(row.left for row in rows)
    running = [row for row in rows if not row.ended]
    tokens = np.array([[END, *rows[0].tokens]], np.int64)
    y, state = network.step(Padded(tokens, np.array([tokens.shape[1]])), network.initial_state(1), last=False)
    log_probs = np.repeat(y.data[:, -1], len(running), axis=0)
    state = {name: np.repeat(value, len(running), axis=0) for name, value in state.items()}
    while running:
        legal = np.stack([row.legal(allowed) for row in running])
        probabilities = distribution(log_probs, legal, sampling)
        sampled = np.array([row.sample(p) for row, p in zip(running, probabilities, strict=True)])
        going = np.flatnonzero([not row.ended for row in running])
        running = [running[i] for i in going]
        if running:
            x = Padded(sampled[going, None], np.ones(len(going), np.int64))
            y, state = network.step(x, {name: value[going] for name, value in state.items()}, last=False)
            log_probs = y.data[:, 0]
        if on_progress:
            on_progress(total - sum(row.left for row in running), total)
    return [row.tokens for row in rows]


class _EventRow:
    """One piece that is being generated: its tokens, the state of the grammar, and its random numbers."""

    def __init__(self, settings: EventSettings, context: Piece, span: Span, rng: np.random.Generator) -> None:
        self._vocabulary = settings.vocabulary
        self._span = span
        self._rng = rng
        self.tokens = self._vocabulary.encode(context)
        self._state = GrammarState()
        for token in self.tokens:
            self._state = self._state.after(self._vocabulary.events[token])
        self._has_notes = False  # after the context
        self._steps = 0  # after the context
        self.ended = span.longest <= 0

    @property
    def left(self) -> int:
        """Steps in which notes may still start."""
        return max(0, self._span.longest - self._steps)

    def legal(self, allowed: Mask) -> Mask:
        """(V,): the tokens that grammar, constraints and span allow; at least one."""
        mask: Mask = self._vocabulary.legal(self._state) & allowed[self._state.voice]
        mask[END] &= self._has_notes and self._steps >= self._span.shortest
        for steps in range(self.left + self._has_notes, self._vocabulary.longest_shift + 1):
            mask[self._vocabulary.ids[Event(Kind.SHIFT, steps)]] = False
        return mask

    def sample(self, probabilities: Array) -> int:
        """Sample a token from (V,) and append it, unless it is END."""
        token = int(categorical(probabilities, np.array(self._rng.random())))
        if token != END:
            event = self._vocabulary.events[token]
            self.tokens.append(token)
            self._state = self._state.after(event)
            self._has_notes |= event.kind is Kind.NOTE
            self._steps += event.value if event.kind is Kind.SHIFT else 0
        self.ended = token == END or not self.left
        return token
