"""Models of music in training: networks, batches of pieces, and the tasks to predict the next frame, masked notes, or
the next event.

A network is a recurrent core with a head that scores the pitches of a voice, or a language model of events. Frames have
two ONNX graphs: one reads frames, the other scores a decision and runs once for each voice. All random choices of
batches depend on (seed, epoch, piece) alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recitative.lm.task import build_language_model
from recitative.model.export import Written, write_network
from recitative.model.folder import TorchStage
from recitative.model.graph import FLOAT, CellWriter, Graph
from recitative.model.graph_stages import Writer
from recitative.model.kind import ModelKind
from recitative.music.composer import (
    BATCH,
    Frames,
    Likelihood,
    event_likelihood,
    pad_pieces,
    read_event_pieces,
    read_pieces,
)
from recitative.music.frames import Conditioning, Context, Event, EventVocabulary, FrameCode, History, Kind, MaskedCode
from recitative.music.generation import BLOCKS, random_blocks
from recitative.music.piece import Piece
from recitative.music.settings import EVENTS, MUSIC, EventsSettings, MusicData, MusicSettings
from recitative.nn.heads import EmbeddedFeatures, PitchHead
from recitative.nn.ragged import detach
from recitative.nn.recurrent import RecurrentStack
from recitative.nn.stages import Chain, Dropout
from recitative.stage import Ids, Mask, Padded, State
from recitative.train.run import TrainingRun
from recitative.train.task import Batch, StreamingNetwork, StreamTask, Task, TextStreams


class MusicNetwork(nn.Module):
    """``context`` reads frames as a stage, ids (N, T, F) -> (N, T, H); ``choice`` scores the pitches of a voice.

    The features are those of ``FrameCode`` with a forward core, and of ``MaskedCode`` with a bidirectional one.
    """

    def __init__(self, settings: MusicSettings) -> None:
        super().__init__()
        code, model = settings.frames.code, settings.model
        reads: FrameCode | MaskedCode = code if model.recurrent.direction == "forward" else MaskedCode(code)
        core = RecurrentStack(model.width, model.recurrent)
        self.context = Chain(
            {
                "features": EmbeddedFeatures(sum(reads.context_sizes), model.width, model.feature_dropout),
                "input_dropout": Dropout(model.width, model.dropout),
                "core": core,
                "output_dropout": Dropout(core.output_width, model.dropout),
            }
        )
        self.choice = PitchHead(
            core.output_width,
            model.choice_width,
            sum(reads.choice_sizes),
            code.pitches,
            reads.related,
            model.dropout,
            model.feature_dropout,
        )

    def initial_state(self, n: int) -> State:
        """The state of ``context``."""
        return self.context.initial_state(n)

    @property
    def stride(self) -> int:
        return self.context.stride

    @property
    def lookahead(self) -> int | None:
        return self.context.lookahead

    def output_lengths(self, lengths: Tensor) -> Tensor:
        return self.context.output_lengths(lengths)

    def step(self, x: Padded[Tensor], state: State, *, last: bool) -> tuple[Padded[Tensor], State]:
        """A step of ``context``."""
        return self.context.step(x, state, last=last)

    def scores(self, h: Tensor, ids: Tensor, related: Tensor) -> Tensor:
        """See ``PitchHead``."""
        scores: Tensor = self.choice(h, ids, related)
        return scores


@dataclass(frozen=True)
class MusicModel:
    """A network of frames with its settings."""

    kind: ClassVar[ModelKind] = MUSIC
    settings: MusicSettings
    network: MusicNetwork

    @property
    def fills(self) -> bool:
        """Whether the model fills in missing notes; otherwise it continues music."""
        return self.settings.model.recurrent.direction == "bidirectional"


def new_music_model(settings: MusicSettings) -> MusicModel:
    """A model with random weights (from torch's generator)."""
    return MusicModel(settings, MusicNetwork(settings))


@dataclass(frozen=True)
class EventsModel:
    """A network of events with its settings."""

    kind: ClassVar[ModelKind] = EVENTS
    settings: EventsSettings
    network: Chain

    @property
    def vocabulary(self) -> EventVocabulary:
        return self.settings.events.vocabulary


def new_events_model(settings: EventsSettings) -> EventsModel:
    """A model with random weights (from torch's generator)."""
    return EventsModel(settings, build_language_model(settings.model, len(settings.events.vocabulary)))


# ONNX graphs


def write_music(model: MusicModel) -> Written:
    """Graph: ids (N, T, F) int64, lengths (N,) int64, state.* -> hidden (N, T, H), new_state.*; without state if it is
    bidirectional. Graph 'choice': hidden (M, H), ids (M, G), beside (M, R) int64 -> scores (M, outputs).
    """
    written = write_network(model.network.context, MUSIC.graphs(model.settings, {})[""])
    return replace(written, graphs={"choice": _choice_graph(model.network.choice)})


def _choice_graph(head: PitchHead) -> Graph:
    g = Graph()
    cells = CellWriter(g, inputs=None)
    writer = Writer(g, cells, last="")
    hidden = g.input("hidden", "float32", ("M", head.from_core.in_features))
    ids, related = g.input("ids", "int64", ("M", "G")), g.input("beside", "int64", ("M", "R"))
    r = _gelu(g, g.op("Add", cells.linear("", head.from_core, hidden), writer.embedding_sum(head.choices, ids)))
    inner = g.op("Add", r, _gelu(g, cells.linear("", head.inner, r)))
    shape = g.ints(0, -1, 2 * head.pitches - 1)  # (M, R (2 K - 1)) -> (M, R, 2 K - 1)
    by_interval = g.op("Reshape", cells.linear("", head.between, inner), shape)
    known = g.op("Less", related, g.integer(head.pitches))
    lowest = g.op("Sub", g.integer(head.pitches - 1), g.op("Where", known, related, g.integer(0)))
    index = g.op("Add", g.op("Unsqueeze", lowest, g.ints(2)), g.constant(np.arange(head.pitches)))  # (M, R, K)
    gathered = g.op("GatherElements", by_interval, index, axis=2)
    weight = g.op("Unsqueeze", g.op("Cast", known, to=FLOAT), g.ints(2))
    intervals = g.op("ReduceSum", g.op("Mul", gathered, weight), g.ints(1), keepdims=0)
    padded = g.op("Pad", intervals, g.ints(0, 0, 0, 1))
    scores = g.op("Add", cells.linear("", head.alone, inner), padded)
    g.output("scores", scores, "float32", ("M", head.pitches + 1))
    return g


def _gelu(g: Graph, x: str) -> str:
    """x (1 + erf(x / sqrt 2)) / 2 (Hendrycks & Gimpel 2016)."""
    erf = g.op("Erf", g.op("Mul", x, g.real(float(np.sqrt(0.5)))))
    return g.op("Mul", g.op("Mul", x, g.real(0.5)), g.op("Add", erf, g.real(1.0)))


DEV_SEED = 2**31  # of the masks of dev pieces, equal in all runs


def prepare(
    settings: MusicSettings | EventsSettings, data: MusicData, run: TrainingRun
) -> MusicTask | FillingTask | EventsTask:
    """Create the task of a run; see ``train.run``. Raises DataError for data that cannot be used."""
    on_problem = run.warn_of_left_out if data.skip_bad else None
    if isinstance(settings, EventsSettings):
        events, dev_events = (read_event_pieces(path, settings.events, on_problem) for path in (data.train, data.dev))
        run.start(settings)
        if events.cut:
            longest = settings.events.longest_length
            run.warn(
                f"{data.train}: {events.cut} of {events.notes} notes are longer than {longest} steps and end there"
            )
        streams = event_streams(events.pieces, settings)
        return EventsTask(new_events_model(settings), streams, dev_events.pieces, run.device)
    train, dev = (read_pieces(path, settings, on_problem) for path in (data.train, data.dev))
    run.start(settings)
    model = new_music_model(settings)
    if model.fills:
        return FillingTask(model, train, dev, run.device)
    return MusicTask(model, train, dev, run.device)


def transpose(rng: np.random.Generator, piece: Frames, code: FrameCode, semitones: int) -> tuple[Ids, int]:
    """The tokens and the tonic of a piece after a random transposition by up to ``semitones``, within the range."""
    notes = piece.tokens[piece.tokens < code.silence]
    if not len(notes):
        return piece.tokens, piece.tonic
    low, high = max(-semitones, -int(notes.min())), min(semitones, code.pitches - 1 - int(notes.max()))
    shift = int(rng.integers(low, high + 1))
    return np.where(piece.tokens < code.silence, piece.tokens + shift, piece.tokens), (piece.tonic + shift) % 12


# Continuing music in frames


@dataclass(frozen=True)
class Segment(Batch):
    """Segments of pieces. frames: (N, T, V) tokens; before: the history before the first frame; context: before each
    frame; lengths: (N,) frames; first: whether the pieces begin here."""

    frames: Ids
    before: History
    context: Context
    lengths: Ids
    first: bool
    names: tuple[str, ...]

    def split(self, parts: int) -> list[Segment]:
        """Not split: the rows share one recurrent state."""
        return [self]


class MusicTask(Task):
    """Truncated BPTT with teacher forcing, or scheduled sampling.

    In each epoch every piece is transposed and conditioned anew. Pieces of similar length form a group, which is read
    in segments of ``bptt`` frames that carry the recurrent state.
    The best epoch is that with the lowest NLL of the dev pieces, without conditioning.
    """

    model: MusicModel
    network: StreamingNetwork
    score_unit = "nats per token"

    def __init__(
        self, model: MusicModel, pieces: Sequence[Frames], dev: Sequence[Frames], device: torch.device
    ) -> None:
        self._pieces = [piece for piece in pieces if len(piece.tokens)]
        self._settings, self._code = model.settings, model.settings.frames.code
        self.rows = min(model.settings.pieces.rows, len(self._pieces))
        self.model = model
        self.network = StreamingNetwork(model.network, model.network.initial_state(self.rows))
        self.dev = dev
        self.device = device

    def num_batches(self, epoch: int) -> int:
        return sum(self._segments_of(group) for group in self._groups(epoch))

    def batches(self, epoch: int, start: int) -> Iterator[Segment]:
        for group in self._groups(epoch):
            if start >= (count := self._segments_of(group)):
                start -= count
                continue
            yield from self._cut(group, epoch, start)
            start = 0

    def _groups(self, epoch: int) -> list[list[int]]:
        """Indices of pieces of similar length, in random order."""
        rng = np.random.default_rng([self._settings.train.seed, epoch])
        lengths = np.array([len(piece.tokens) for piece in self._pieces])
        order = np.argsort(lengths * rng.uniform(0.8, 1.25, len(lengths)), kind="stable")
        groups = [order[i : i + self.rows].tolist() for i in range(0, len(order), self.rows)]
        return [groups[i] for i in rng.permutation(len(groups))]

    def _segments_of(self, group: Sequence[int]) -> int:
        return -(-max(len(self._pieces[i].tokens) for i in group) // self._settings.pieces.bptt)

    def _cut(self, group: Sequence[int], epoch: int, start: int) -> Iterator[Segment]:
        tokens, conditions = zip(*(self._example(i, epoch) for i in group), strict=True)
        lengths = np.array([len(piece) for piece in tokens] + [0] * (self.rows - len(group)))
        frames = np.full((self.rows, lengths.max(), self._code.voices), self._code.silence, np.int64)
        left = np.zeros(frames.shape[:2], np.int64)
        key = np.zeros(self.rows, np.int64)
        for row, (piece, condition) in enumerate(zip(tokens, conditions, strict=True)):
            frames[row, : len(piece)] = piece
            left[row, : len(piece)], key[row] = condition.left[0], condition.key[0]
        names = tuple(self._pieces[i].name for i in group)
        bptt, count = self._settings.pieces.bptt, self._segments_of(group)
        history = self._code.initial_history(self.rows)
        for number in range(count):
            span = slice(number * bptt, (number + 1) * bptt)
            part = frames[:, span]
            if number >= start:
                context = self._code.contexts(part, history, Conditioning(left[:, span], key))
                remaining = (lengths - number * bptt).clip(0, bptt)
                yield Segment(part, history, context, remaining, number == 0, names)
            for step in range(part.shape[1] if number + 1 < count else 0):
                history = self._code.read(history, part[:, step])

    def _example(self, number: int, epoch: int) -> tuple[Ids, Conditioning]:
        """A transposed piece, and its conditioning."""
        piece, how = self._pieces[number], self._settings.pieces
        rng = np.random.default_rng([self._settings.train.seed, epoch, number])
        tokens, tonic = transpose(rng, piece, self._code, how.transpose)
        steps = np.arange(len(tokens), 0, -1)[None]
        left = steps if rng.random() < how.tell_end else np.zeros_like(steps)
        key = 1 + tonic if rng.random() < how.tell_key else 0
        return tokens, Conditioning(left, np.array([key]))

    def loss(self, batch: Segment) -> tuple[Tensor, int]:
        if batch.first:
            self.network.forget()
        sampled = self.model.settings.pieces.scheduled_sampling
        scores = self._scores(batch, self._sampled_context(batch, sampled) if sampled else batch.context)
        self.network.carry(detach(scores.state))
        losses = scores.losses
        return losses.sum(), losses.numel()

    def _scores(self, batch: Segment, context: Context) -> Scores:
        network, state = self.model.network, self.network.carried
        return score_frames(network, self._code, batch.frames, context, batch.lengths, state)

    @torch.no_grad()
    def _sampled_context(self, batch: Segment, share: float) -> Context:
        """The contexts if the model had generated a share of the frames (Bengio et al. 2015).

        They are sampled all at once, each given the true frames before it (Mihaylova & Martins 2019).
        """
        code, true = self._code, batch.context
        scores = self._scores(batch, true)
        probabilities = torch.softmax(scores.values, dim=-1).flatten(0, 1)
        sampled = torch.multinomial(probabilities, 1).view(scores.targets.shape).cpu().numpy()
        replaced = torch.rand(len(sampled)).numpy() < share
        in_order = np.where(replaced[:, None], sampled, scores.targets.cpu().numpy())
        frames = batch.frames.copy()
        frames[scores.inside] = in_order[:, np.argsort(code.order)]
        return code.contexts(frames, batch.before, Conditioning(true.left, true.key[:, 0]))

    def evaluate(self) -> Mapping[str, float]:
        found = likelihood(self.model, self.dev)
        scores = {"dev_nats_per_frame": found.per_frame, "dev_nats_per_token": found.per_token}
        return scores | {"score": found.per_token}


@dataclass(frozen=True)
class Scores:
    """The scores of all decisions in the M frames that belong to a piece.

    values: (M, V, K), -inf for tokens that are not allowed; targets: (M, V); inside: (N, T), which frames these are;
    state: after frame T
    """

    values: Tensor
    targets: Tensor
    inside: Mask
    state: State

    @property
    def losses(self) -> Tensor:
        """-ln P of the targets, (M, V)."""
        return F.cross_entropy(self.values.transpose(1, 2), self.targets, reduction="none")


def _tensor(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


def score_frames(
    network: MusicNetwork, code: FrameCode, frames: Ids, context: Context, lengths: Ids, state: State
) -> Scores:
    """Score the frames (N, T, V), given the context of each and the state of the core. lengths: (N,)"""
    device = next(network.parameters()).device
    inside = np.arange(frames.shape[1]) < lengths[:, None]
    ids = _tensor(code.context_ids(context), device)
    x = Padded(ids, torch.full((len(ids),), ids.shape[1], device=device))  # equal lengths are read much faster
    h, state = network.context.step(x, state, last=False)
    numbers = range(len(code.order))
    choices, related = zip(*(code.choice_ids(frames, context, number) for number in numbers), strict=True)
    allowed = [code.allowed(frames, number)[inside] for number in numbers]
    values = network.scores(
        h.data[_tensor(inside, device)][:, None].expand(-1, len(numbers), -1),  # (M, V, H)
        _tensor(np.stack([entry[inside] for entry in choices], axis=1), device),
        _tensor(np.stack([entry[inside] for entry in related], axis=1), device),
    )
    values = values.masked_fill(~_tensor(np.stack(allowed, axis=1), device), -torch.inf)
    return Scores(values, _tensor(frames[inside][:, list(code.order)], device), inside, state)


@torch.no_grad()
def likelihood(model: MusicModel, pieces: Sequence[Frames]) -> Likelihood:
    """The likelihood of pieces without conditioning, except for the tonic if ``pieces.key`` sets one for all."""
    code, key = model.settings.frames.code, model.settings.pieces.key
    nats = 0.0
    ordered = sorted(pieces, key=lambda piece: len(piece.tokens))
    for start in range(0, len(ordered), BATCH):
        x = pad_pieces([piece.tokens for piece in ordered[start : start + BATCH]], code.silence)
        rows = len(x.data)
        context = code.contexts(x.data, code.initial_history(rows), Conditioning.of_key(key, *x.data.shape[:2]))
        state = model.network.initial_state(rows)
        scores = score_frames(model.network, code, x.data, context, x.lengths, state)
        nats += float(scores.losses.sum(dtype=torch.float64))
    frames = sum(len(piece.tokens) for piece in pieces)
    return Likelihood(nats, frames, frames * code.voices)


# Filling in notes


@dataclass(frozen=True)
class MaskedBatch(Batch):
    """Parts of pieces. frames: (N, T, V) tokens; hidden: (N, T, V), what is to be predicted; lengths: (N,) frames; key:
    (N,), as in ``Conditioning``."""

    frames: Ids
    hidden: Mask
    lengths: Ids
    key: Ids
    names: tuple[str, ...]


def masked_batch(code: FrameCode, parts: Sequence[tuple[Ids, Mask, int]], names: tuple[str, ...]) -> MaskedBatch:
    """A batch of parts (tokens, mask, key) of unequal lengths."""
    lengths = np.array([len(tokens) for tokens, _, _ in parts])
    frames = np.full((len(parts), lengths.max(), code.voices), code.silence, np.int64)
    hidden = np.zeros(frames.shape, bool)
    for row, (tokens, mask, _) in enumerate(parts):
        frames[row, : len(tokens)], hidden[row, : len(tokens)] = tokens, mask
    return MaskedBatch(frames, hidden, lengths, np.array([key for _, _, key in parts]), names)


def random_mask(rng: np.random.Generator, steps: int, voices: int) -> Mask:
    """(T, V) with at least one True: random blocks, or some blocks and either whole voices or a range of frames."""
    share = rng.uniform(0.05, 1.0)
    hidden = random_blocks(rng, share, steps, voices, int(rng.choice(BLOCKS)))
    kind = rng.integers(4)
    if kind == 0:
        hidden &= rng.random(hidden.shape) < 0.2
        hidden[:, rng.permutation(voices)[: rng.integers(1, voices + 1)]] = True
    elif kind == 1:
        hidden &= rng.random(hidden.shape) < 0.2
        first, last = np.sort(rng.integers(0, steps + 1, 2))
        hidden[first:last] = True
    if not hidden.any():
        hidden[rng.integers(steps), rng.integers(voices)] = True
    return hidden


class FillingTask(Task):
    """Each epoch has every piece once, transposed: at most ``bptt`` frames from the start of a bar.

    The best epoch is that with the lowest NLL of masked notes of the dev pieces.
    """

    model: MusicModel
    score_unit = "nats per hidden note"

    def __init__(
        self, model: MusicModel, pieces: Sequence[Frames], dev: Sequence[Frames], device: torch.device
    ) -> None:
        self.model, self.network, self.device = model, model.network, device
        self._pieces = [piece for piece in pieces if len(piece.tokens)]
        self._settings, self._code = model.settings, model.settings.frames.code
        self.dev = []  # one batch for each whole piece, with a mask that depends on its number alone
        for number, piece in enumerate(dev):
            hidden = random_mask(np.random.default_rng([DEV_SEED, number]), *piece.tokens.shape)
            self.dev.append(masked_batch(self._code, [(piece.tokens, hidden, 0)], (piece.name,)))

    def num_batches(self, epoch: int) -> int:
        return -(-len(self._pieces) // self._settings.pieces.rows)

    def batches(self, epoch: int, start: int) -> Iterator[MaskedBatch]:
        rows = self._settings.pieces.rows
        order = np.random.default_rng([self._settings.train.seed, epoch]).permutation(len(self._pieces)).tolist()
        for number in range(start, self.num_batches(epoch)):
            numbers = order[number * rows : (number + 1) * rows]
            parts = [self._example(i, epoch) for i in numbers]
            yield masked_batch(self._code, parts, tuple(self._pieces[i].name for i in numbers))

    def _example(self, number: int, epoch: int) -> tuple[Ids, Mask, int]:
        """A part of a piece, its mask, and its key."""
        how, rng = self._settings.pieces, np.random.default_rng([self._settings.train.seed, epoch, number])
        tokens, tonic = transpose(rng, self._pieces[number], self._code, how.transpose)
        bars = max(0, -(-(len(tokens) - how.bptt) // self._code.bar))
        first = int(rng.integers(bars + 1)) * self._code.bar
        part = tokens[first : first + how.bptt]
        return part, random_mask(rng, *part.shape), 1 + tonic if rng.random() < how.tell_key else 0

    def loss(self, batch: MaskedBatch) -> tuple[Tensor, int]:
        losses = masked_losses(self.model, batch)
        return losses.sum(), losses.numel()

    def evaluate(self) -> Mapping[str, float]:
        losses = torch.cat([masked_losses(self.model, batch) for batch in self.dev])
        found = float(losses.mean(dtype=torch.float64))
        return {"dev_nats_per_hidden": found, "score": found}


def masked_losses(model: MusicModel, batch: MaskedBatch) -> Tensor:
    """-ln P of each masked note given all others, one after another, (number of them,)."""
    code, network = MaskedCode(model.settings.frames.code), model.network
    device = next(network.parameters()).device
    visible = np.where(batch.hidden, code.code.hidden, batch.frames)
    ids, lengths = _tensor(code.context_ids(visible, batch.key), device), _tensor(batch.lengths, device)
    h, _ = network.context.step(Padded(ids, lengths), network.initial_state(batch.rows), last=True)
    losses = []
    for voice in range(code.code.voices):
        row, step = np.nonzero(batch.hidden[..., voice])
        choice, related = (_tensor(entry[row, step], device) for entry in code.choice_ids(visible, voice))
        scores = network.scores(h.data[_tensor(row, device), _tensor(step, device)], choice, related)
        target = _tensor(batch.frames[row, step, voice], device)
        losses.append(F.cross_entropy(scores, target, reduction="none"))
    return torch.cat(losses)


# Events


class TransposedEvents:
    """Pieces as tokens, each with a random transposition in every epoch.

    All transpositions by up to ``semitones`` that keep the notes within the vocabulary have equal probability.
    """

    def __init__(self, pieces: Sequence[Piece], vocabulary: EventVocabulary, semitones: int, seed: int) -> None:
        self.tokens: list[Ids] = [np.array(vocabulary.encode(piece), np.int64) for piece in pieces]
        self._seed = seed
        self._shifts = []
        for piece in pieces:
            pitches = [note.pitch for note in piece.notes] or [vocabulary.lowest]
            low, high = vocabulary.lowest - min(pitches), vocabulary.highest - max(pitches)
            self._shifts.append((max(-semitones, low), min(semitones, high)))
        self._first_note = vocabulary.ids[Event(Kind.NOTE, vocabulary.lowest)]
        self._last_note = vocabulary.ids[Event(Kind.NOTE, vocabulary.highest)]

    def __call__(self, epoch: int, number: int) -> Ids:
        """The tokens of a piece in an epoch."""
        low, high = self._shifts[number]
        shift = int(np.random.default_rng([self._seed, epoch, number]).integers(low, high + 1))
        tokens = self.tokens[number]
        return np.where((tokens >= self._first_note) & (tokens <= self._last_note), tokens + shift, tokens)


def event_streams(pieces: Sequence[Piece], settings: EventsSettings) -> TextStreams:
    """The segments of all epochs of pieces; see ``fit_to_events``."""
    how, seed = settings.pieces, settings.train.seed
    events = TransposedEvents(pieces, settings.events.vocabulary, how.transpose, seed)
    return TextStreams(events.tokens, streams=how.streams, bptt=how.bptt, seed=seed, variant=events)


class EventsTask(StreamTask):
    """The best epoch is that with the lowest NLL per token of the dev pieces, each from the initial state."""

    score_unit = "nats per token"

    def __init__(self, model: EventsModel, streams: TextStreams, dev: Sequence[Piece], device: torch.device) -> None:
        """dev: see ``fit_to_events``"""
        super().__init__(model.network, streams, device)
        self.model, self.dev = model, dev

    def evaluate(self) -> Mapping[str, float]:
        found = event_likelihood(TorchStage(self.model.network), self.model.vocabulary, self.dev)
        scores = {"dev_nats_per_token": found.per_token, "dev_nats_per_note": found.per_note}
        return scores | {"score": found.per_token}
