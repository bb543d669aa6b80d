"""Training of an anomaly model on normal recordings: segments, the loss of predicting each frame, and the threshold.

A recording that is longer than ``segment_s`` is cut into pieces of that length, each of which begins with an empty
state.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recitative.anomaly.detector import AnomalyDetector
from recitative.anomaly.evaluation import require_usable
from recitative.anomaly.kind import AnomalySettings, Threshold
from recitative.anomaly.network import AnomalyModel, new_anomaly_model
from recitative.config import RecordingsData
from recitative.data.directory import DataDirectory
from recitative.data.tables import Utterance
from recitative.errors import DataError
from recitative.features.extraction import audio_duration_s, read_utterance
from recitative.model.folder import TorchStage
from recitative.nn.ragged import valid_mask
from recitative.stage import Array
from recitative.train.audio import AudioBatch, AudioDataset, AudioTask, evaluation_batches, statistics_of
from recitative.train.checkpoint import Progress
from recitative.train.run import TrainingRun


def training_set(
    utterances: Sequence[Utterance], settings: AnomalySettings, mean: Array, where: Path
) -> AudioDataset[AudioBatch]:
    """The segments of recordings. mean (C,): what SpecAugment masks with. Raises DataError as ``require_usable``."""
    segments, seconds = cut(utterances, settings, where, speed=max(settings.augment.speeds))
    return AudioDataset(segments, seconds, settings, mean)


def load_scored_set(utterances: Sequence[Utterance], settings: AnomalySettings, where: Path) -> list[AudioBatch]:
    """Batches of unmodified segments, for evaluation. Raises DataError as ``require_usable``."""
    segments, seconds = cut(utterances, settings, where)
    return [batch for _, batch in evaluation_batches(segments, seconds, settings)]


def cut(
    utterances: Sequence[Utterance], settings: AnomalySettings, where: Path, *, speed: float = 1.0
) -> tuple[list[Utterance], Array]:
    """All recordings in equal pieces of at most ``segment_s``, and the duration of each piece in seconds.

    speed: the fastest at which they are played. Raises DataError as ``require_usable``.
    """
    pieces: list[Utterance] = []
    seconds: list[float] = []
    durations = require_usable(utterances, settings, where, speed=speed)
    for utterance, duration_s in zip(utterances, durations.tolist(), strict=True):
        count = math.ceil(duration_s / settings.segment_s)
        seconds += [duration_s / count] * count
        for number in range(count) if count > 1 else ():
            start_s = utterance.start_s + duration_s * number / count
            end_s = utterance.start_s + duration_s * (number + 1) / count
            pieces.append(replace(utterance, utt_id=f"{utterance.utt_id}-{number + 1}", start_s=start_s, end_s=end_s))
        if count == 1:
            pieces.append(utterance)
    return pieces, np.array(seconds)


class AnomalyTask(AudioTask[AudioBatch]):
    """The loss, which also selects models, is the NLL in nats per frame and dimension.

    The threshold is set on the dev recordings at the end.
    """

    model: AnomalyModel
    score_unit = "nats per frame and dimension"

    def __init__(
        self,
        model: AnomalyModel,
        dataset: AudioDataset[AudioBatch],
        dev: Sequence[AudioBatch],
        device: torch.device,
        normal: Sequence[Utterance] = (),
        where: Path = Path(),
    ) -> None:
        """normal: the dev recordings; where: their data directory, for errors."""
        super().__init__(model.network, dataset, device)
        self.model = model
        self.dev, self.normal, self.where = dev, normal, where

    def loss(self, batch: AudioBatch) -> tuple[Tensor, int]:
        nll = self.model.nll(self.to_device(batch.features))
        return torch.where(valid_mask(nll), nll.data[..., 0], 0.0).sum(), int(batch.features.lengths.sum())

    def evaluate(self) -> Mapping[str, float]:
        nll, frames = 0.0, 0
        for batch in self.dev:
            loss, count = self.loss(batch)
            nll, frames = nll + float(loss), frames + count
        return {"dev_loss": nll / frames, "score": nll / frames}

    def finished_model(self) -> AnomalyModel:
        false_alarms = self.model.settings.watch.false_alarms
        threshold = learn_threshold(self.model, self.normal, false_alarms, self.where)
        self.model = replace(self.model, threshold=threshold)
        return self.model

    def result(self, progress: Progress) -> str:
        return f"{super().result(progress)}; {self.model.threshold}"


def prepare(settings: AnomalySettings, data: RecordingsData, run: TrainingRun) -> AnomalyTask:
    """The task of a run; see ``train.run``. Raises what reading the data does."""
    train, dev = DataDirectory.read(data.train).utterances, DataDirectory.read(data.dev).utterances
    run.start(settings)
    model = new_anomaly_model(settings)
    dev_batches = load_scored_set(dev, settings, data.dev)
    _require_a_window(dev, settings, data.dev)
    stats = statistics_of(cut(train, settings, data.train)[0], settings.features)
    model.normalise(stats)
    dataset = training_set(train, settings, stats.mean, data.train)
    return AnomalyTask(model, dataset, dev_batches, run.device, dev, data.dev)


def learn_threshold(model: AnomalyModel, normal: Sequence[Utterance], false_alarms: float, where: Path) -> Threshold:
    """Set the threshold on normal recordings that the model was not trained on.

    Raises DataError if none of them is as long as a window, and for one of another sample rate.
    """
    _require_a_window(normal, model.settings, where)
    detector = AnomalyDetector(TorchStage(model.network), model.settings)
    return Threshold.learn([detector.scores(read_utterance(utterance)) for utterance in normal], false_alarms)


def _require_a_window(utterances: Sequence[Utterance], settings: AnomalySettings, where: Path) -> None:
    longest_s = max(audio_duration_s(utterance, settings.features.sample_rate) for utterance in utterances)
    if round(longest_s * settings.features.sample_rate) < settings.watch_samples:
        found = f"the longest recording lasts {longest_s:.4g} s"
        allowed = f"{settings.watch_samples / settings.features.sample_rate:.4g} s, one window (watch.window_s)"
        raise DataError(str(where), found, allowed, "give longer recordings, or set a shorter window")
