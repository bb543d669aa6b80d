"""Training tasks of music: predict the next frame, hidden notes, or the next event."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from recitative.model.torch_stage import TorchStage
from recitative.music.data import PieceStreams, Puzzle, Puzzles, Segment, event_streams, hidden_places, puzzle_of
from recitative.music.frames import Context, FrameCode, MaskedCode, Wishes
from recitative.music.likelihood import BATCH, Likelihood, event_likelihood, padded
from recitative.music.network import EventsModel, MusicModel, MusicNetwork, new_events_model, new_music_model
from recitative.music.piece import Piece
from recitative.music.pieces import Frames, read_event_pieces, read_pieces
from recitative.music.settings import EventsSettings, MusicData, MusicSettings, PieceSettings
from recitative.nn.ragged import detach
from recitative.stage import Ids, Padded, State
from recitative.train.run import TrainingRun
from recitative.train.stateful import StreamingNetwork, StreamTask, TextStreams
from recitative.train.task import Task


class MusicTask(Task):
    """Truncated back-propagation through pieces side by side.

    Models are chosen by the likelihood of the dev pieces, of which they are told nothing.
    """

    model: MusicModel
    network: StreamingNetwork
    score_unit = "nats per token"

    def __init__(self, model: MusicModel, streams: PieceStreams, dev: Sequence[Frames], device: torch.device) -> None:
        self.model = model
        self.network = StreamingNetwork(model.network, model.network.initial_state(streams.rows))
        self.streams = streams
        self.dev = dev
        self.device = device

    def num_batches(self, epoch: int) -> int:
        return self.streams.num_segments(epoch)

    def batches(self, epoch: int, start: int) -> Iterator[Segment]:
        return self.streams.segments(epoch, start)

    def loss(self, batch: Segment) -> tuple[Tensor, int]:
        if batch.first:
            self.network.forget()
        context = self._partly_written(batch) if self._how.scheduled_sampling else batch.context
        scores = self._scores(batch, context)
        self.network.carry(detach(scores.state))
        losses = scores.losses
        return losses.sum(), losses.numel()

    @property
    def _how(self) -> PieceSettings:
        return self.model.settings.pieces

    def _scores(self, batch: Segment, context: Context) -> Scores:
        code = self.model.settings.frames.code
        return score_frames(self.model.network, code, batch.frames, context, batch.lengths, self.network.carried)

    @torch.no_grad()
    def _partly_written(self, batch: Segment) -> Context:
        """What was before each frame, had the model written some of the frames (Bengio et al. 2015).

        They are drawn all at once, each given the frames before it as they are (Mihaylova & Martins 2019).
        """
        code, before = self.model.settings.frames.code, batch.context
        scores = self._scores(batch, before)
        probabilities = torch.softmax(scores.values, dim=-1).flatten(0, 1)
        drawn = torch.multinomial(probabilities, 1).view(scores.targets.shape).cpu().numpy()
        frames = batch.frames.copy()
        own = torch.rand(len(drawn)).numpy() < self._how.scheduled_sampling
        in_order = np.where(own[:, None], drawn, scores.targets.cpu().numpy())
        frames[scores.inside] = in_order[:, np.argsort(code.order)]
        return code.contexts(frames, batch.before, Wishes(before.left, before.key[:, 0]))

    def evaluate(self) -> Mapping[str, float]:
        found = likelihood(self.model, self.dev)
        scores = {"dev_nats_per_frame": found.per_frame, "dev_nats_per_token": found.per_token}
        return scores | {"score": found.per_token}


@dataclass(frozen=True)
class Scores:
    """Of every decision in the M frames that are in a piece, in their order: values (M, V, K), -inf for what may not
    be; targets (M, V); inside (N, T) says which frames these are; state after frame T, of use where a piece goes on."""

    values: Tensor
    targets: Tensor
    inside: npt.NDArray[np.bool_]
    state: State

    @property
    def losses(self) -> Tensor:
        """-ln P of what was decided, (M, V)."""
        return F.cross_entropy(self.values.transpose(1, 2), self.targets, reduction="none")


def score_frames(
    network: MusicNetwork, code: FrameCode, frames: Ids, context: Context, lengths: Ids, state: State
) -> Scores:
    """Of the frames (N, T, V), given what was before each and the state of the core; lengths: (N,)."""
    device = next(network.parameters()).device
    inside = np.arange(frames.shape[1]) < lengths[:, None]
    ids = _tensor(code.context_ids(context), device)
    x = Padded(ids, torch.full((len(ids),), ids.shape[1], device=device))  # rows of one length are read much faster
    h, state = network.context.step(x, state, last=False)
    numbers = range(len(code.order))
    choices, beside = zip(*(code.choice_ids(frames, context, number) for number in numbers), strict=True)
    allowed = [code.allowed(frames, number)[inside] for number in numbers]
    values = network.scores(
        h.data[_tensor(inside, device)][:, None].expand(-1, len(numbers), -1),  # (M, V, H)
        _tensor(np.stack([entry[inside] for entry in choices], axis=1), device),
        _tensor(np.stack([entry[inside] for entry in beside], axis=1), device),
    )
    values = values.masked_fill(~_tensor(np.stack(allowed, axis=1), device), -torch.inf)
    return Scores(values, _tensor(frames[inside][:, list(code.order)], device), inside, state)


def likelihood(model: MusicModel, pieces: Sequence[Frames]) -> Likelihood:
    """Of pieces of which the model is told nothing, but the tonic where ``pieces.key`` says that all have the same."""
    code = model.settings.frames.code
    nats = 0.0
    ordered = sorted(pieces, key=lambda piece: len(piece.tokens))
    for start in range(0, len(ordered), BATCH):
        nats += _nats(model, code, ordered[start : start + BATCH])
    frames = sum(len(piece.tokens) for piece in pieces)
    return Likelihood(nats, frames, frames * code.voices)


@torch.no_grad()
def _nats(model: MusicModel, code: FrameCode, pieces: Sequence[Frames]) -> float:
    x = padded([piece.tokens for piece in pieces], code.silence)
    key = np.full(len(pieces), 1 + model.settings.pieces.key, np.int64)  # 0 where it is not told
    wishes = Wishes(np.zeros(x.data.shape[:2], np.int64), key)
    context = code.contexts(x.data, code.nothing_read(len(pieces)), wishes)
    state = model.network.initial_state(len(pieces))
    scores = score_frames(model.network, code, x.data, context, x.lengths, state)
    return float(scores.losses.sum(dtype=torch.float64))


def _tensor(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


DEV_SEED = 2**31  # of the masks that dev pieces are scored with, the same in every run


class FillingTask(Task):
    """Models are chosen by the nats for a hidden pitch of the dev pieces."""

    score_unit = "nats per hidden note"

    def __init__(self, model: MusicModel, puzzles: Puzzles, dev: Sequence[Frames], device: torch.device) -> None:
        self.model, self.network, self.puzzles, self.device = model, model.network, puzzles, device
        self.dev = dev_puzzles(model, dev)

    def num_batches(self, epoch: int) -> int:
        return self.puzzles.num_batches

    def batches(self, epoch: int, start: int) -> Iterator[Puzzle]:
        return self.puzzles.batches(epoch, start)

    def loss(self, batch: Puzzle) -> tuple[Tensor, int]:
        losses = hidden_losses(self.model, batch)
        return losses.sum(), losses.numel()

    def evaluate(self) -> Mapping[str, float]:
        losses = torch.cat([hidden_losses(self.model, puzzle) for puzzle in self.dev])
        found = float(losses.mean(dtype=torch.float64))
        return {"dev_nats_per_hidden": found, "score": found}


def dev_puzzles(model: MusicModel, pieces: Sequence[Frames]) -> list[Puzzle]:
    """Every piece once, whole, with places hidden that depend on its number alone."""
    code = model.settings.frames.code
    puzzles = []
    for number, piece in enumerate(pieces):
        hidden = hidden_places(np.random.default_rng([DEV_SEED, number]), *piece.tokens.shape)
        puzzles.append(puzzle_of(code, [(piece.tokens, hidden, 0)], (piece.name,)))
    return puzzles


def hidden_losses(model: MusicModel, puzzle: Puzzle) -> Tensor:
    """-ln P of each hidden pitch given all that are not, (number of them,)."""
    code, device = MaskedCode(model.settings.frames.code), next(model.network.parameters()).device
    seen = np.where(puzzle.hidden, code.code.hidden, puzzle.frames)
    ids = torch.from_numpy(code.context_ids(seen, puzzle.key)).to(device)
    network = model.network
    lengths = torch.from_numpy(puzzle.lengths).to(device)
    h, _ = network.context.step(Padded(ids, lengths), network.initial_state(puzzle.rows), last=True)
    losses = []
    for voice in range(code.code.voices):
        row, step = np.nonzero(puzzle.hidden[..., voice])
        choice, beside = (torch.from_numpy(entry[row, step]).to(device) for entry in code.choice_ids(seen, voice))
        scores = network.scores(
            h.data[torch.from_numpy(row).to(device), torch.from_numpy(step).to(device)], choice, beside
        )
        target = torch.from_numpy(puzzle.frames[row, step, voice]).to(device)
        losses.append(F.cross_entropy(scores, target, reduction="none"))
    return torch.cat(losses)


class EventsTask(StreamTask):
    """Models are chosen by the nats for a token of the dev pieces, each of which starts from nothing."""

    score_unit = "nats per token"

    def __init__(self, model: EventsModel, streams: TextStreams, dev: Sequence[Piece], device: torch.device) -> None:
        """``dev``: as ``fitted`` leaves them."""
        super().__init__(model.network, streams, device)
        self.model, self.dev = model, dev

    def evaluate(self) -> Mapping[str, float]:
        found = event_likelihood(TorchStage(self.model.network), self.model.vocabulary, self.dev)
        scores = {"dev_nats_per_token": found.per_token, "dev_nats_per_note": found.per_note}
        return scores | {"score": found.per_token}


def prepare(
    settings: MusicSettings | EventsSettings, data: MusicData, run: TrainingRun
) -> MusicTask | FillingTask | EventsTask:
    """Create the task of a run; see ``train.run``. Raises DataError for data that cannot be used."""
    if isinstance(settings, EventsSettings):
        return _prepare_events(settings, data, run)
    skip = run.warn_of_left_out if data.skip_bad else None
    train, dev = (read_pieces(path, settings, skip) for path in (data.train, data.dev))
    run.start(settings)
    model = new_music_model(settings)
    if model.fills:
        return FillingTask(model, Puzzles(train, settings), dev, run.device)
    return MusicTask(model, PieceStreams(train, settings), dev, run.device)


def _prepare_events(settings: EventsSettings, data: MusicData, run: TrainingRun) -> EventsTask:
    skip = run.warn_of_left_out if data.skip_bad else None
    train, dev = (read_event_pieces(path, settings.events, skip) for path in (data.train, data.dev))
    run.start(settings)
    if train.cut:
        longest = settings.events.longest_length
        run.warn(f"{data.train}: {train.cut} of {train.notes} notes are longer than {longest} steps and end there")
    model = new_events_model(settings)
    return EventsTask(model, event_streams(train.pieces, settings), dev.pieces, run.device)
