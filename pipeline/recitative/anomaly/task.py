"""The forecasting task: how surprising every frame is after those before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recitative.anomaly.data import cut, load_scored_set, training_set
from recitative.anomaly.detector import Watcher
from recitative.anomaly.network import Forecaster, new_forecaster
from recitative.anomaly.settings import ForecasterSettings
from recitative.anomaly.threshold import Threshold
from recitative.config import RecordingsData
from recitative.data.directory import DataDirectory
from recitative.data.tables import Utterance
from recitative.errors import DataError
from recitative.features.extraction import audio_duration_s, read_utterance
from recitative.model.torch_stage import TorchStage
from recitative.nn.ragged import valid_mask
from recitative.stage import Array, Padded
from recitative.train.audio import AudioBatch, AudioDataset, AudioTask, statistics_of
from recitative.train.checkpoint import Progress
from recitative.train.run import TrainingRun

BLOCK_S = 10.0  # a long recording is judged in pieces of this length


class ForecastTask(AudioTask[AudioBatch]):
    """The loss, which also chooses models, is in nats per frame and dimension.

    The threshold is learned from the dev recordings at the end.
    """

    model: Forecaster
    score_unit = "nats per frame and dimension"

    def __init__(
        self,
        forecaster: Forecaster,
        dataset: AudioDataset[AudioBatch],
        dev: Sequence[AudioBatch],
        device: torch.device,
        usual: Sequence[Utterance] = (),
        where: Path = Path(),
    ) -> None:
        """usual: the dev recordings, and ``where`` they are from, for errors."""
        super().__init__(forecaster.network, dataset, device)
        self.model = self.forecaster = forecaster
        self.dev, self.usual, self.where = dev, usual, where

    def loss(self, batch: AudioBatch) -> tuple[Tensor, int]:
        surprise = self.forecaster.surprise(self.to_device(batch.features))
        return torch.where(valid_mask(surprise), surprise.data[..., 0], 0.0).sum(), int(batch.features.lengths.sum())

    def evaluate(self) -> Mapping[str, float]:
        nats, frames = 0.0, 0
        for batch in self.dev:
            loss, count = self.loss(batch)
            nats, frames = nats + float(loss), frames + count
        return {"dev_loss": nats / frames, "score": nats / frames}

    def finished_model(self) -> Forecaster:
        false_alarms = self.forecaster.settings.watch.false_alarms
        self.model = replace(
            self.forecaster, threshold=learn_threshold(self.forecaster, self.usual, false_alarms, self.where)
        )
        return self.model

    def result(self, progress: Progress) -> str:
        return f"{super().result(progress)}; {self.model.threshold}"


def prepare(settings: ForecasterSettings, data: RecordingsData, run: TrainingRun) -> ForecastTask:
    """The task of a run; see ``train.run``. Raises what reading the data does."""
    train, dev = DataDirectory.read(data.train).utterances, DataDirectory.read(data.dev).utterances
    run.start(settings)
    forecaster = new_forecaster(settings)
    dev_batches = load_scored_set(dev, settings, data.dev)
    _require_a_window(dev, settings, data.dev)
    stats = statistics_of(cut(train, settings, data.train)[0], settings.features)
    forecaster.normalise(stats)
    dataset = training_set(train, settings, stats.mean, data.train)
    return ForecastTask(forecaster, dataset, dev_batches, run.device, dev, data.dev)


def learn_threshold(forecaster: Forecaster, usual: Sequence[Utterance], false_alarms: float, where: Path) -> Threshold:
    """From usual recordings that the forecaster was not trained on.

    Raises DataError if none of them is as long as a window, and for one of another sample rate.
    """
    settings = forecaster.settings
    _require_a_window(usual, settings, where)
    watcher = Watcher(TorchStage(forecaster.network), settings)
    rows = [strangeness(watcher, read_utterance(utterance)) for utterance in usual]
    return Threshold.learn(rows, false_alarms)


def strangeness(watcher: Watcher, samples: Array) -> Array:
    """Of one recording (S,), at the model's rate -> (T,)."""
    state, found = watcher.initial_state(1), []
    for piece, last in _blocks(samples, round(BLOCK_S * watcher.sample_rate)):
        y, state = watcher.step(Padded(piece[None], np.array([len(piece)])), state, last=last)
        found.append(y.data[0, :, 0])
    return np.concatenate(found)


def _blocks(samples: Array, size: int) -> Iterator[tuple[Array, bool]]:
    for start in range(0, max(len(samples), 1), size):
        yield samples[start : start + size], start + size >= len(samples)


def _require_a_window(utterances: Sequence[Utterance], settings: ForecasterSettings, where: Path) -> None:
    longest_s = max(audio_duration_s(utterance, settings.features.sample_rate) for utterance in utterances)
    if round(longest_s * settings.features.sample_rate) < settings.watch_samples:
        found = f"the longest recording lasts {longest_s:.4g} s"
        allowed = f"{settings.watch_samples / settings.features.sample_rate:.4g} s, one window (watch.window_s)"
        raise DataError(str(where), found, allowed, "give longer recordings, or set a shorter window")
