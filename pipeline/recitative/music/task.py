"""The task of continuing music: predict each voice of the next frame. Teacher forcing, or scheduled sampling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from recitative.music.corpus_likelihood import Scores, likelihood, score_frames
from recitative.music.filling import FillingTask, Puzzles
from recitative.music.frames import Context, Wishes
from recitative.music.network import MusicModel, new_music_model
from recitative.music.pieces import Frames, PieceStreams, Segment, read_pieces
from recitative.music.settings import MusicData, MusicSettings, PieceSettings
from recitative.nn.ragged import detach
from recitative.train.run import TrainingRun
from recitative.train.stateful import StreamingNetwork
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


def prepare(settings: MusicSettings, data: MusicData, run: TrainingRun) -> MusicTask | FillingTask:
    """The task of a run; see ``train.run``. Raises what reading the data does."""
    skip = run.warn_of_left_out if data.skip_bad else None
    train, dev = (read_pieces(path, settings, skip) for path in (data.train, data.dev))
    run.start(settings)
    model = new_music_model(settings)
    if model.fills:
        return FillingTask(model, Puzzles(train, settings), dev, run.device)
    return MusicTask(model, PieceStreams(train, settings), dev, run.device)
