"""Training tasks of music: predict the next frame, masked notes, or the next event."""

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
from recitative.music.composer import BATCH, Likelihood, event_likelihood, pad_pieces
from recitative.music.data import (
    MaskedBatch,
    MaskedBatches,
    PieceStreams,
    Segment,
    event_streams,
    masked_batch,
    random_mask,
)
from recitative.music.frames import Conditioning, Context, FrameCode, MaskedCode
from recitative.music.network import EventsModel, MusicModel, MusicNetwork, new_events_model, new_music_model
from recitative.music.piece import Piece
from recitative.music.pieces import Frames, read_event_pieces, read_pieces
from recitative.music.settings import EventsSettings, MusicData, MusicSettings
from recitative.nn.ragged import detach
from recitative.stage import Ids, Mask, Padded, State
from recitative.train.run import TrainingRun
from recitative.train.stateful import StreamingNetwork, StreamTask, TextStreams
from recitative.train.task import Task

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
        return FillingTask(model, MaskedBatches(train, settings), dev, run.device)
    return MusicTask(model, PieceStreams(train, settings), dev, run.device)


def _tensor(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


# Continuing music in frames


class MusicTask(Task):
    """Truncated BPTT with teacher forcing, or scheduled sampling.

    The best epoch is that with the lowest NLL of the dev pieces, without conditioning.
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
        sampled = self.model.settings.pieces.scheduled_sampling
        scores = self._scores(batch, self._sampled_context(batch, sampled) if sampled else batch.context)
        self.network.carry(detach(scores.state))
        losses = scores.losses
        return losses.sum(), losses.numel()

    def _scores(self, batch: Segment, context: Context) -> Scores:
        code = self.model.settings.frames.code
        return score_frames(self.model.network, code, batch.frames, context, batch.lengths, self.network.carried)

    @torch.no_grad()
    def _sampled_context(self, batch: Segment, share: float) -> Context:
        """The contexts if the model had generated a share of the frames (Bengio et al. 2015).

        They are sampled all at once, each given the true frames before it (Mihaylova & Martins 2019).
        """
        code, true = self.model.settings.frames.code, batch.context
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
    choices, beside = zip(*(code.choice_ids(frames, context, number) for number in numbers), strict=True)
    allowed = [code.allowed(frames, number)[inside] for number in numbers]
    values = network.scores(
        h.data[_tensor(inside, device)][:, None].expand(-1, len(numbers), -1),  # (M, V, H)
        _tensor(np.stack([entry[inside] for entry in choices], axis=1), device),
        _tensor(np.stack([entry[inside] for entry in beside], axis=1), device),
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


class FillingTask(Task):
    """The best epoch is that with the lowest NLL of masked notes of the dev pieces."""

    score_unit = "nats per hidden note"

    def __init__(self, model: MusicModel, batches: MaskedBatches, dev: Sequence[Frames], device: torch.device) -> None:
        self.model, self.network, self.device = model, model.network, device
        self._batches = batches
        self.dev = dev_batches(model, dev)

    def num_batches(self, epoch: int) -> int:
        return self._batches.num_batches

    def batches(self, epoch: int, start: int) -> Iterator[MaskedBatch]:
        return self._batches.batches(epoch, start)

    def loss(self, batch: MaskedBatch) -> tuple[Tensor, int]:
        losses = masked_losses(self.model, batch)
        return losses.sum(), losses.numel()

    def evaluate(self) -> Mapping[str, float]:
        losses = torch.cat([masked_losses(self.model, batch) for batch in self.dev])
        found = float(losses.mean(dtype=torch.float64))
        return {"dev_nats_per_hidden": found, "score": found}


def dev_batches(model: MusicModel, pieces: Sequence[Frames]) -> list[MaskedBatch]:
    """One batch for each whole piece, with a mask that depends on its number alone."""
    code = model.settings.frames.code
    batches = []
    for number, piece in enumerate(pieces):
        hidden = random_mask(np.random.default_rng([DEV_SEED, number]), *piece.tokens.shape)
        batches.append(masked_batch(code, [(piece.tokens, hidden, 0)], (piece.name,)))
    return batches


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
        choice, beside = (_tensor(entry[row, step], device) for entry in code.choice_ids(visible, voice))
        scores = network.scores(h.data[_tensor(row, device), _tensor(step, device)], choice, beside)
        target = _tensor(batch.frames[row, step, voice], device)
        losses.append(F.cross_entropy(scores, target, reduction="none"))
    return torch.cat(losses)


# Events


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
