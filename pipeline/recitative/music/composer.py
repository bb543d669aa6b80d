"""Generation by a trained model of music, as token grids of frames or as sequences of events. NumPy only.

The network runs on PyTorch (``model.torch_stage``) or on ONNX Runtime (``model.onnx_stage``). Given notes are kept, and
forbidden ones are never sampled.

    continue   frame by frame, voice by voice, each given all that was sampled before
    fill       all missing notes at once, given the notes that are there; then a decreasing part of them again, given
               the others: blocked Gibbs sampling with annealed blocks (Yao et al. 2014, as in Coconet, Huang et al.
               2017)
    events     token by token, given all tokens before it

Each row has its own random numbers, from (seed, row), so a piece does not depend on the number of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from recitative import pretrained
from recitative.errors import UsageError
from recitative.lm.sampling import Sampling, categorical, distribution
from recitative.music.cadence import Cadence
from recitative.music.events import Event, GrammarState, Kind
from recitative.music.frames import Conditioning, MaskedCode
from recitative.music.piece import Piece
from recitative.music.settings import EventSettings, EventsSettings, FrameSettings, MusicSettings
from recitative.stage import Array, Ids, Mask, Padded, Stage, State
from recitative.text.vocabulary import END

OnProgress = Callable[[int, int], None]  # steps done, steps in all

MAX_RESAMPLED, MIN_RESAMPLED = 0.9, 0.1  # share of the missing notes that a Gibbs step samples, first and last
BLOCKS = (1, 4, 8)  # frames that are sampled together, in turn: a single note is held in place by its neighbors
ANNEALED = 0.7  # share of the Gibbs steps after which blocks are single notes: frames of a block are independent


class MusicNetwork(Stage[Array], Protocol):
    """A stage with further graphs."""

    def call(self, graph: str, feeds: Mapping[str, Array], /) -> Array: ...


class Scorer(Protocol):
    """A music model's network: a stage that reads contexts, and the scores of a decision."""

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

    def scores(self, hidden: Array, ids: Ids, beside: Ids) -> Array:
        """(M, H), (M, G), (M, R) -> (M, outputs) before the softmax."""
        ...


class MusicScorer:
    """``Scorer``: the network of a music model, run by PyTorch or ONNX Runtime."""

    def __init__(self, network: MusicNetwork, settings: MusicSettings) -> None:
        self.context = network
        self.settings = settings
        self.frames = settings.frames
        self.fills = settings.model.recurrent.direction == "bidirectional"

    def scores(self, hidden: Array, ids: Ids, beside: Ids) -> Array:
        return self.context.call("choice", {"hidden": np.ascontiguousarray(hidden), "ids": ids, "beside": beside})

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
        its number, 0 is the highest; cadence: end with V-I. A model that continues has the pretrained one that fills in
        write the voices. Raises UsageError if that one has other voices, DataError for notes that it does not know.
        """
        from recitative.music.composition import Constraints, harmonize

        return harmonize(self._filling(), melody, voice=voice, constraints=Constraints(cadence=cadence), seed=seed)

    def _filling(self) -> MusicScorer:
        if self.fills:
            return self
        from recitative.model.onnx_stage import OnnxStage
        from recitative.music.kind import MUSIC

        stage = OnnxStage(pretrained.find(pretrained.FILLING), MUSIC)
        filling = MusicScorer(stage, stage.metadata.settings)
        if filling.frames != self.frames:
            raise UsageError("this model only continues music; load one that fills in notes to harmonize")
        return filling


# Frames


@dataclass(frozen=True)
class TokenGrid:
    """What to generate. tokens: (N, T, V), ``code.hidden`` where a note is to be generated; allowed: (V, outputs), the
    tokens of each voice; key: (N,), as in ``Conditioning``; cadence: the end of the pieces."""

    tokens: Ids
    allowed: Mask
    key: Ids
    cadence: Cadence | None = None


def continue_music(
    scorer: Scorer, grid: TokenGrid, sampling: Sampling, seed: int, on_progress: OnProgress | None = None
) -> Ids:
    """Generate the hidden tokens of a grid from left to right -> (N, T, V)."""
    code, tokens = scorer.frames.code, grid.tokens.copy()
    rows, steps, _ = tokens.shape
    sample = _Sampler(sampling, seed, rows)
    history, state = code.initial_history(rows), scorer.context.initial_state(rows)
    ones = np.ones(rows, np.int64)
    cadence = grid.cadence
    for step in range(steps):
        if cadence and step == cadence.dominant:
            keys = cadence.keys(code, tokens)
        now = tokens[:, step : step + 1]
        left = np.full((rows, 1), steps - step, np.int64)
        context = code.contexts(now, history, Conditioning(left, grid.key))
        h, state = scorer.context.step(Padded(code.context_ids(context), ones), state, last=False)
        for number, voice in enumerate(code.order):
            free = np.flatnonzero(now[:, 0, voice] == code.hidden)
            if len(free):
                ids, beside = code.choice_ids(now, context, number)
                scores = scorer.scores(h.data[free, 0], ids[free, 0], beside[free, 0])
                allowed = grid.allowed[voice] & code.allowed(now, number)[free, 0]
                if cadence and step > cadence.tonic:  # the last chord is held
                    allowed = allowed & (np.arange(code.outputs) == tokens[free, step - 1, voice, None])
                elif cadence and step >= cadence.dominant:
                    within = zip(free, allowed, strict=True)
                    allowed = np.stack([
                        cadence.allowed(code, keys[row], step, now[row, 0], voice, possible) for row, possible in within
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
    lengths = np.full(len(tokens), tokens.shape[1], np.int64)
    sample = _Sampler(sampling, seed, len(tokens))
    for number in range(steps):
        done = min(1.0, number / (ANNEALED * steps))
        share = MAX_RESAMPLED - (MAX_RESAMPLED - MIN_RESAMPLED) * done
        block = BLOCKS[number % len(BLOCKS)] if done < 1 else 1
        resampled = missing if number == 0 else missing & sample.blocks(share, missing.shape, block)
        tokens = np.where(resampled, hidden, tokens)
        ids = Padded(code.context_ids(tokens, grid.key), lengths)
        h, _ = scorer.context.step(ids, scorer.context.initial_state(len(tokens)), last=True)
        filled = tokens.copy()
        for voice in range(code.code.voices):
            row, step = np.nonzero(resampled[..., voice])
            if len(row):
                choice, beside = code.choice_ids(tokens, voice)
                scores = scorer.scores(h.data[row, step], choice[row, step], beside[row, step])
                filled[row, step, voice] = sample(scores, np.broadcast_to(grid.allowed[voice], scores.shape), row)
        tokens = filled
        if on_progress:
            on_progress(number + 1, steps)
    return _closed(scorer, grid, tokens, sample) if grid.cadence else tokens


def _closed(scorer: Scorer, grid: TokenGrid, tokens: Ids, sample: _Sampler) -> Ids:
    """Sample the chords of the cadence, voice by voice, each given all other notes. A note lasts as long as its
    chord."""
    code, cadence = scorer.frames.code, grid.cadence
    assert cadence
    masked, keys = MaskedCode(code), cadence.keys(code, tokens)
    missing = grid.tokens[0] == code.hidden
    lengths = np.full(len(tokens), tokens.shape[1], np.int64)
    spans = (slice(cadence.dominant, cadence.tonic), slice(cadence.tonic, None))
    free = [[voice for voice in code.order if missing[span, voice].all()] for span in spans]
    tokens = tokens.copy()
    for span, voices in zip(spans, free, strict=True):
        tokens[:, span, voices] = code.hidden
    for span, voices in zip(spans, free, strict=True):
        for voice in voices:
            ids = Padded(masked.context_ids(tokens, grid.key), lengths)
            h, _ = scorer.context.step(ids, scorer.context.initial_state(len(tokens)), last=True)
            choice, beside = masked.choice_ids(tokens, voice)
            part = [array[:, span].reshape(-1, array.shape[-1]) for array in (h.data, choice, beside)]
            scores = scorer.scores(*part).reshape(len(tokens), -1, code.outputs).mean(axis=1)
            frame = tokens[:, span.start]
            allowed = np.stack([
                cadence.allowed(code, key, span.start, row, voice, grid.allowed[voice])
                for key, row in zip(keys, frame, strict=True)
            ])  # fmt: skip
            tokens[:, span, voice] = sample(scores, allowed, np.arange(len(tokens)))[:, None]
    return tokens


class _Sampler:
    """Samples tokens, each with the random numbers of its row."""

    def __init__(self, sampling: Sampling, seed: int, rows: int) -> None:
        self._sampling = sampling
        self._rngs = [np.random.default_rng([seed, row]) for row in range(rows)]

    def blocks(self, share: float, shape: Sequence[int], length: int) -> Mask:
        """``random_blocks`` of each row, (N, T, V)."""
        return np.stack([random_blocks(rng, share, shape[1], shape[2], length) for rng in self._rngs])

    def __call__(self, scores: Array, allowed: Mask, rows: Ids) -> Ids:
        """A token for each of the scores (M, outputs). rows: (M,), whose random numbers are used, in order."""
        numbers = np.array([self._rngs[row].random() for row in rows])
        return categorical(distribution(scores, allowed, self._sampling), numbers)


def random_blocks(rng: np.random.Generator, share: float, steps: int, voices: int, length: int) -> Mask:
    """A mask (T, V) of blocks of ``length`` frames of a voice, each true with probability ``share``.

    The first block may be shorter.
    """
    first = int(rng.integers(length))
    coins = rng.random((-(-(steps + first) // length), voices)) < share
    blocks: Mask = np.repeat(coins, length, axis=0)[first : first + steps]
    return blocks


# Ensembles


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

    def scores(self, hidden: Array, ids: Ids, beside: Ids) -> Array:
        """(M, H), (M, G), (M, R) -> (M, outputs): the logarithm of the mean probability."""
        parts = zip(self._scorers, np.split(hidden, self.context.ends, axis=-1), strict=True)
        each = [_log_softmax(scorer.scores(part, ids, beside)) for scorer, part in parts]
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
            own = {name.partition(".")[2]: a for name, a in state.items() if name.partition(".")[0] == str(i)}
            y, new = stage.step(x, own, last=last)
            outputs.append(y.data)
            after |= {f"{i}.{name}": a for name, a in new.items()}
        return Padded(np.concatenate(outputs, axis=-1), x.lengths), after


def _log_softmax(scores: Array) -> Array:
    wide = scores.astype(np.float64)
    return np.asarray(wide - np.logaddexp.reduce(wide, axis=-1, keepdims=True))


# Events


@dataclass(frozen=True)
class EventScorer:
    """A model of events. network: token ids (N, T) -> ln P of the next token (N, T, V)"""

    network: Stage[Array]
    settings: EventsSettings

    @property
    def events(self) -> EventSettings:
        return self.settings.events


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
