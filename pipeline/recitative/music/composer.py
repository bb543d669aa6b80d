"""Writing music with a trained model: what is given stays, what is forbidden never comes, the rest is drawn.

NumPy only: the network may be PyTorch's (``model.torch_stage``) or ONNX Runtime's (``model.onnx_stage``).

    continue   frame after frame, voice after voice, each drawn given all that was written before it
    fill       every missing note at once, given all that is there; then some of them again, given the others, fewer and
               fewer: blocked Gibbs sampling with annealed blocks (Yao et al. 2014, as in Coconet, Huang et al. 2017)

Every row has its own random numbers, from (seed, row): a piece does not depend on how many are written beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from recitative.errors import UsageError
from recitative.lm.sampling import Sampling, distribution, drawn
from recitative.music.events import Event, GrammarState, Kind
from recitative.music.frames import MaskedCode, Wishes
from recitative.music.piece import Piece
from recitative.music.settings import EventSettings, EventsSettings, FrameSettings, MusicSettings
from recitative.stage import Array, Ids, Mask, Padded, Stage, State
from recitative.text.vocabulary import END

OnProgress = Callable[[int, int], None]  # done, of how many
MOST_HIDDEN, LEAST_HIDDEN = 0.9, 0.1  # share of the missing notes that a step of filling draws again, first and last
BLOCKS = (1, 4, 8)  # frames that are drawn again together, in turn: a note alone is held in place by its neighbors
ANNEALED = 0.7  # share of the steps after which notes are drawn alone: frames of a block do not know of each other


class NetworkOfParts(Stage[Array], Protocol):
    """A stage, and the further graphs of its model by name."""

    def call(self, graph: str, feeds: Mapping[str, Array], /) -> Array: ...


class Scorer(Protocol):
    """A music model's network: a stage that reads contexts, and the scores of one decision in many places."""

    @property
    def settings(self) -> MusicSettings:
        """Of its training."""
        ...

    @property
    def frames(self) -> FrameSettings: ...

    @property
    def fills(self) -> bool:
        """Whether it fills in what is missing; else it continues what is there."""
        ...

    @property
    def context(self) -> Stage[Array]:
        """ids (N, T, F) -> (N, T, H)"""
        ...

    def scores(self, hidden: Array, ids: Ids, beside: Ids) -> Array:
        """(M, H), (M, G), (M, R) -> (M, outputs) before any softmax."""
        ...


class MusicScorer:
    """``Scorer``: the network of a music model, run by PyTorch or ONNX Runtime."""

    def __init__(self, network: NetworkOfParts, settings: MusicSettings) -> None:
        self.context = network
        self.settings = settings
        self.frames = settings.frames
        self.fills = settings.model.recurrent.direction == "bidirectional"

    def scores(self, hidden: Array, ids: Ids, beside: Ids) -> Array:
        """(M, H), (M, G), (M, R) -> (M, outputs)."""
        return self.context.call("choice", {"hidden": np.ascontiguousarray(hidden), "ids": ids, "beside": beside})


@dataclass(frozen=True)
class Sheet:
    """What is to be written: tokens (N, T, V) with ``code.hidden`` where it is free, what each voice may have where it
    is free (V, outputs), and the tonics (N,) as ``music.frames.Wishes``."""

    tokens: Ids
    allowed: npt.NDArray[np.bool_]
    key: Ids


def continue_music(
    scorer: Scorer, sheet: Sheet, sampling: Sampling, seed: int, on_progress: OnProgress | None = None
) -> Ids:
    """(N, T, V) tokens: the sheet with everything written, from left to right."""
    code, tokens = scorer.frames.code, sheet.tokens.copy()
    rows, steps, _ = tokens.shape
    draw = _Draw(sampling, seed, rows)
    history, state = code.nothing_read(rows), scorer.context.initial_state(rows)
    ones = np.ones(rows, np.int64)
    for step in range(steps):
        now = tokens[:, step : step + 1]
        left = np.full((rows, 1), steps - step, np.int64)
        context = code.contexts(now, history, Wishes(left, sheet.key))
        h, state = scorer.context.step(Padded(code.context_ids(context), ones), state, last=False)
        for number, voice in enumerate(code.order):
            free = np.flatnonzero(now[:, 0, voice] == code.hidden)
            if len(free):
                ids, beside = code.choice_ids(now, context, number)
                scores = scorer.scores(h.data[free, 0], ids[free, 0], beside[free, 0])
                may = sheet.allowed[voice] & code.allowed(now, number)[free, 0]
                now[free, 0, voice] = draw(scores, may, free)
        history = code.read(history, now[:, 0])
        if on_progress:
            on_progress(step + 1, steps)
    return tokens


def fill_music(
    scorer: Scorer, sheet: Sheet, sampling: Sampling, seed: int, steps: int, on_progress: OnProgress | None = None
) -> Ids:
    """(N, T, V) tokens: the sheet with everything written, after ``steps`` of drawing."""
    code, tokens = MaskedCode(scorer.frames.code), sheet.tokens.copy()
    hidden = code.code.hidden
    missing = tokens == hidden
    draw = _Draw(sampling, seed, len(tokens))
    for number in range(steps):
        done = min(1.0, number / (ANNEALED * steps))
        share, block = (
            MOST_HIDDEN - (MOST_HIDDEN - LEAST_HIDDEN) * done,
            BLOCKS[number % len(BLOCKS)] if done < 1 else 1,
        )
        again = missing if number == 0 else missing & draw.blocks(share, missing.shape, block)
        tokens = np.where(again, hidden, tokens)
        lengths = np.full(len(tokens), tokens.shape[1], np.int64)
        h, _ = scorer.context.step(
            Padded(code.context_ids(tokens, sheet.key), lengths), scorer.context.initial_state(len(tokens)), last=True
        )
        written = tokens.copy()
        for voice in range(code.code.voices):
            row, step = np.nonzero(again[..., voice])
            if len(row):
                ids, beside = code.choice_ids(tokens, voice)
                scores = scorer.scores(h.data[row, step], ids[row, step], beside[row, step])
                may = np.broadcast_to(sheet.allowed[voice], scores.shape)
                written[row, step, voice] = draw(scores, may, row)
        tokens = written
        if on_progress:
            on_progress(number + 1, steps)
    return tokens


class _Draw:
    """Draws tokens, each with the random numbers of its row."""

    def __init__(self, sampling: Sampling, seed: int, rows: int) -> None:
        self._sampling = sampling
        self._rngs = [np.random.default_rng([seed, row]) for row in range(rows)]

    def blocks(self, share: float, shape: Sequence[int], length: int) -> npt.NDArray[np.bool_]:
        """(N, T, V) true with a probability, alike in every ``length`` frames of a voice."""
        return np.stack([hidden_blocks(rng, share, shape[1], shape[2], length) for rng in self._rngs])

    def __call__(self, scores: Array, may: npt.NDArray[np.bool_], rows: Ids) -> Ids:
        """A token for each of (M, outputs), of those it may be; ``rows`` (M,) says whose random numbers, in order."""
        probabilities = distribution(scores, may, self._sampling)
        numbers = np.array([self._rngs[row].random() for row in rows])
        below = np.cumsum(probabilities, axis=-1)
        drawn = np.minimum(numbers * below[:, -1], np.nextafter(below[:, -1], 0.0))  # a product may round up to the sum
        chosen = (below <= drawn[:, None]).sum(-1)
        return np.asarray(chosen, np.int64)


def hidden_blocks(
    rng: np.random.Generator, share: float, steps: int, voices: int, length: int
) -> npt.NDArray[np.bool_]:
    """(T, V) true with a probability, alike in every ``length`` frames of a voice; the first block may be shorter."""
    first = int(rng.integers(length))
    coins = rng.random((-(-(steps + first) // length), voices)) < share
    hidden: npt.NDArray[np.bool_] = np.repeat(coins, length, axis=0)[first : first + steps]
    return hidden


# Several models that write as one: a note is as probable as they find it on average.
#
# Each learned the same few pieces by heart in its own way; what they agree on is music (Hansen & Salamon 1990).


class Mixture:
    """``models.composer.Scorer``"""

    def __init__(self, scorers: Sequence[Scorer]) -> None:
        """Raises UsageError for models with other frames, or of which some continue music and others fill it in."""
        first, *others = scorers
        if any(_hears(other) != _hears(first) for other in others):
            raise UsageError(
                "models that write together must have the same 'frames' and 'pieces.key', and all continue or fill in"
            )
        self._scorers = tuple(scorers)
        self.settings, self.fills = first.settings, first.fills
        reads = MaskedCode(first.frames.code) if first.fills else first.frames.code
        self.context = _SideBySide([scorer.context for scorer in scorers], len(reads.context_sizes))

    @property
    def frames(self) -> FrameSettings:
        return self.settings.frames

    def scores(self, hidden: Array, ids: Ids, beside: Ids) -> Array:
        """(M, H), (M, G), (M, R) -> (M, outputs): the logarithm of the mean probability."""
        parts = zip(self._scorers, np.split(hidden, self.context.ends, axis=-1), strict=True)
        each = [_log_softmax(scorer.scores(part, ids, beside)) for scorer, part in parts]
        return np.asarray(np.logaddexp.reduce(each) - np.log(len(each)))


def _hears(scorer: Scorer) -> tuple[FrameSettings, int, bool]:
    return scorer.frames, scorer.settings.pieces.key, scorer.fills


class _SideBySide:
    """Stages that read the same, (N, T, F) -> (N, T, sum of H); ``ends``: where the part of each but the last ends."""

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
        found: list[Array] = []
        after: State = {}
        for i, stage in enumerate(self._stages):
            own = {name.partition(".")[2]: a for name, a in state.items() if name.partition(".")[0] == str(i)}
            y, new = stage.step(x, own, last=last)
            found.append(y.data)
            after |= {f"{i}.{name}": a for name, a in new.items()}
        return Padded(np.concatenate(found, axis=-1), x.lengths), after


def _log_softmax(scores: Array) -> Array:
    wide = scores.astype(np.float64)
    return np.asarray(wide - np.logaddexp.reduce(wide, axis=-1, keepdims=True))


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
class Span:
    """In steps of the model beyond what is given. A piece may end from ``shortest`` on, with a new note at least; no
    note begins at ``longest`` or later, and those that have begun sound to their ends."""

    longest: int
    shortest: int = 0


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
