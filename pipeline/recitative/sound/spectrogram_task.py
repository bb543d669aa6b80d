"""The task of spectrograms: foretell each mel frame from those before it and from what is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recitative.config import RecordingsData
from recitative.data.directory import DataDirectory
from recitative.sound.network import SpectrogramModel, new_spectrogram_model
from recitative.sound.reading import OnProgress, labels_of, usual_seconds
from recitative.sound.settings import SpectrogramSettings
from recitative.sound.spectrograms import (
    Spectrogram,
    SpectrogramBatch,
    SpectrogramBatches,
    batch_of,
    read_spectrograms,
)
from recitative.stage import Padded
from recitative.train.run import TrainingRun
from recitative.train.task import Task

DEV_ROWS = 32
LEAST_DEVIATION = 1e-2  # a channel that says nothing is not blown up


class SpectrogramTask(Task):
    """Teacher forcing on whole recordings.

    Models are chosen by the nats per dimension of the frames of the dev recordings.
    """

    score_unit = "nats per dimension"

    def __init__(
        self, model: SpectrogramModel, batches: SpectrogramBatches, dev: Sequence[Spectrogram], device: torch.device
    ) -> None:
        self.model, self.network, self.dev, self.device = model, model.network, dev, device
        self._batches = batches

    def num_batches(self, epoch: int) -> int:
        return self._batches.num_batches(epoch)

    def batches(self, epoch: int, start: int) -> Iterator[SpectrogramBatch]:
        return self._batches.batches(epoch, start)

    def loss(self, batch: SpectrogramBatch) -> tuple[Tensor, int]:
        return frame_losses(self.model, batch).sum(), int(batch.lengths.sum())

    def evaluate(self) -> Mapping[str, float]:
        nats, _ = nats_per_dimension(self.model, self.dev)
        return {"dev_nats_per_dimension": nats, "score": nats}


def prepare(settings: SpectrogramSettings, data: RecordingsData, run: TrainingRun) -> SpectrogramTask:
    """The task of a run; see ``train.run``. Raises what reading the data does."""
    utterances = DataDirectory.read(data.train).utterances
    labels = labels_of(utterances)
    with run.console.progress("reading") as show:
        train = read_spectrograms(utterances, settings, labels, show)
    labels = replace(labels, seconds=usual_seconds(labels, utterances, [one.seconds for one in train]))
    dev = read_spectrograms(DataDirectory.read(data.dev).utterances, settings, labels)
    run.start(settings)
    model = new_spectrogram_model(settings, labels)
    _normalise(model, train)
    return SpectrogramTask(model, SpectrogramBatches(train, settings), dev, run.device)


def read_directory(path: Path, model: SpectrogramModel, on_progress: OnProgress | None = None) -> list[Spectrogram]:
    """The recordings of a data directory as a model takes them; raises what ``read_spectrograms`` does."""
    return read_spectrograms(DataDirectory.read(path).utterances, model.settings, model.labels, on_progress)


def _normalise(model: SpectrogramModel, spectrograms: Sequence[Spectrogram]) -> None:
    """Frames by their mean and deviation."""
    every = np.concatenate([one.frames for one in spectrograms]).astype(np.float64)
    model.network.normalise.mean.copy_(torch.from_numpy(every.mean(axis=0)))
    deviation = np.maximum(every.std(axis=0), LEAST_DEVIATION)
    model.network.normalise.inverse_stddev.copy_(torch.from_numpy(1 / deviation))


@torch.no_grad()
def nats_per_dimension(model: SpectrogramModel, spectrograms: Sequence[Spectrogram]) -> tuple[float, int]:
    """-ln p a dimension of the normalized frames, and how many frames there are."""
    nats, count = 0.0, 0
    for start in range(0, len(spectrograms), DEV_ROWS):
        losses = frame_losses(model, batch_of(spectrograms[start : start + DEV_ROWS]))
        nats, count = nats + float(losses.sum(dtype=torch.float64)), count + losses.numel()
    return nats / count, count


def frame_losses(model: SpectrogramModel, batch: SpectrogramBatch) -> Tensor:
    """Nats per dimension of every frame, (M,)."""
    device = next(model.network.parameters()).device
    lengths = torch.from_numpy(batch.lengths).to(device)
    frames, told = (torch.from_numpy(array).to(device) for array in (batch.frames, batch.told))
    surprise = model.network.surprise(Padded(frames, lengths), told)
    return surprise[torch.arange(surprise.shape[1], device=device) < lengths[:, None]]
