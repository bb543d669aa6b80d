"""The task of sound: predict the level of each sample from those before it and from what is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from recitative.audio.mulaw import LEVELS
from recitative.config import RecordingsData
from recitative.data.directory import DataDirectory
from recitative.nn.normalize import Normalize
from recitative.sound.conditioning import Labels
from recitative.sound.network import WaveModel, WaveNetwork, new_wave_model
from recitative.sound.reading import OnProgress, labels_of, usual_seconds
from recitative.sound.recordings import (
    Recording,
    SoundBatch,
    SoundSegments,
    batch_of,
    read_recordings,
    values_of,
)
from recitative.sound.settings import WaveSettings
from recitative.stage import Padded
from recitative.train.run import TrainingRun
from recitative.train.task import Task

LEAST_DEVIATION = 1e-2  # a channel that says nothing is not blown up


class WaveTask(Task):
    """Teacher forcing on segments, each of which begins with the history that it
    has in its recording and with an empty memory.

    Models are chosen by the nats a sample of the dev recordings, the same segments in every epoch.
    """

    score_unit = "nats per sample"

    def __init__(
        self, model: WaveModel, segments: SoundSegments, dev: Sequence[Recording], device: torch.device
    ) -> None:
        self.model, self.network, self.segments, self.device = model, model.network, segments, device
        self.dev = dev_batches(model, dev, model.settings.segments.dev_s)

    def num_batches(self, epoch: int) -> int:
        return self.segments.num_batches(epoch)

    def batches(self, epoch: int, start: int) -> Iterator[SoundBatch]:
        return self.segments.batches(epoch, start)

    def loss(self, batch: SoundBatch) -> tuple[Tensor, int]:
        losses = sample_losses(self.model, batch, noise=self.model.settings.segments.noise)
        return losses.sum(), losses.numel()

    def evaluate(self) -> Mapping[str, float]:
        nats, count = 0.0, 0
        for batch in self.dev:
            losses = sample_losses(self.model, batch)
            nats, count = nats + float(losses.sum(dtype=torch.float64)), count + losses.numel()
        return {"dev_nats_per_sample": nats / count, "score": nats / count}


def prepare(settings: WaveSettings, data: RecordingsData, run: TrainingRun) -> WaveTask:
    """The task of a run; see ``train.run``. Raises what reading the data does."""
    utterances = DataDirectory.read(data.train).utterances
    labels = labels_of(utterances) if settings.sound.condition == "labels" else Labels()
    with run.console.progress("reading") as show:
        train = read_recordings(utterances, settings, labels, show)
    rate = settings.features.sample_rate
    labels = replace(labels, seconds=usual_seconds(labels, utterances, [len(one.codes) / rate for one in train]))
    dev = read_recordings(DataDirectory.read(data.dev).utterances, settings, labels)
    run.start(settings)
    model = new_wave_model(settings, labels)
    _normalise(model, train)
    return WaveTask(model, SoundSegments(train, settings), dev, run.device)


def read_directory(path: Path, model: WaveModel, on_progress: OnProgress | None = None) -> list[Recording]:
    """The recordings of a data directory as a model takes them; raises what ``read_recordings`` does."""
    return read_recordings(DataDirectory.read(path).utterances, model.settings, model.labels, on_progress)


def _normalise(model: WaveModel, recordings: Sequence[Recording]) -> None:
    """Mel frames by their mean and deviation; labels stay as they are."""
    if model.network.encoder is None or model.settings.sound.condition != "mel":
        return
    stage = model.network.encoder.stages["normalise"]
    assert isinstance(stage, Normalize)
    count = sum(len(recording.frames) for recording in recordings)
    mean = sum(recording.frames.sum(axis=0, dtype=np.float64) for recording in recordings) / count
    squares = sum(np.square(recording.frames, dtype=np.float64).sum(axis=0) for recording in recordings) / count
    deviation = np.sqrt(np.maximum(squares - mean**2, 0.0))
    stage.mean.copy_(torch.from_numpy(np.asarray(mean)))
    stage.inverse_stddev.copy_(torch.from_numpy(1 / np.maximum(deviation, LEAST_DEVIATION)))


@torch.no_grad()
def nats_per_sample(model: WaveModel, recordings: Sequence[Recording]) -> tuple[float, int]:
    """-ln P a sample, and how many there are; every segment begins with an empty memory, as in training."""
    nats, count = 0.0, 0
    for batch in dev_batches(model, recordings, most_s=float("inf")):
        losses = sample_losses(model, batch)
        nats, count = nats + float(losses.sum(dtype=torch.float64)), count + losses.numel()
    return nats / count, count


def dev_batches(model: WaveModel, recordings: Sequence[Recording], most_s: float) -> list[SoundBatch]:
    """``most_s`` seconds from the beginnings of recordings, cut into segments."""
    settings = model.settings
    step, most = settings.sound.step, settings.segment_steps
    left = most_s * settings.features.sample_rate / step
    parts = []
    for recording in recordings:
        steps = len(recording.codes) // step
        for first in range(0, steps, most):
            if left > 0:
                parts.append((recording, first, min(most, steps - first)))
                left -= most
    rows = settings.segments.rows
    return [batch_of(parts[start : start + rows], settings) for start in range(0, len(parts), rows)]


def sample_losses(model: WaveModel, batch: SoundBatch, noise: float = 0.0) -> Tensor:
    """-ln P of each sample in a segment. noise: levels by which what is read is wrong, from torch's generator."""
    device, network = next(model.network.parameters()).device, model.network
    history, step = network.head.history, network.head.step
    codes = torch.from_numpy(batch.codes).to(device)
    lengths = torch.from_numpy(batch.lengths).to(device)
    seen = codes
    if noise:
        wrong = torch.round(noise * torch.randn(codes.shape, device=device)).long()
        seen = (codes + wrong).clamp(0, LEVELS - 1)
    values = torch.from_numpy(values_of(np.arange(LEVELS))).to(device)[seen[:, :-1]]
    scores = network.scores(
        told_at_steps(network, batch, device), seen[:, history - 1 : -1], values, lengths,
        network.initial_state(batch.rows),
    )  # fmt: skip
    inside = torch.arange(scores.shape[1], device=device) < step * lengths[:, None]
    return F.cross_entropy(scores[inside].float(), codes[:, history:][inside], reduction="none")


def told_at_steps(network: WaveNetwork, batch: SoundBatch, device: torch.device) -> Tensor | None:
    """(N, J, W) what the encoder says of the frames, moved to the steps of the core; none without an encoder."""
    if network.encoder is None:
        return None
    frames = Padded(torch.from_numpy(batch.frames).to(device), torch.from_numpy(batch.frame_lengths).to(device))
    said, _ = network.encoder.step(frames, network.encoder.initial_state(batch.rows), last=True)
    places = torch.from_numpy(batch.places).to(device)
    last = (said.lengths - 1)[:, None]
    inside = torch.minimum(places.clamp(min=0.0), last.to(places.dtype))
    left = inside.floor().long()
    share = (inside - left)[..., None]
    right = torch.minimum(left + 1, last)
    index = (left[..., None].expand(-1, -1, said.data.shape[-1]), right[..., None].expand(-1, -1, said.data.shape[-1]))
    before, after = (said.data.gather(1, at) for at in index)
    return (1 - share) * before + share * after
