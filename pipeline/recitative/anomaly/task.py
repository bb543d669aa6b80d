"""Anomaly models in training: the network, its loss of predicting each frame of normal recordings, and the threshold.

The network normalizes features and gives the NLL of each frame given those before it. In its ONNX graph the state is an
input and an output. A recording that is longer than ``segment_s`` is cut into pieces of that length, each of which
begins with an empty state.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from recitative.anomaly.detector import (
    FORECASTER,
    AnomalyDetector,
    AnomalyNetworkSettings,
    AnomalySettings,
    Threshold,
    require_usable,
)
from recitative.config import RecordingsData
from recitative.data.directory import DataDirectory
from recitative.data.tables import Utterance
from recitative.errors import DataError
from recitative.features.extraction import CmvnStats, audio_duration_s, read_utterance
from recitative.model.export import Written
from recitative.model.folder import TorchStage
from recitative.model.graph import CellWriter, Graph, Ragged
from recitative.model.graph_stages import Writer
from recitative.model.kind import ModelKind
from recitative.nn.heads import INITIAL_RAW, MixtureDensity
from recitative.nn.ragged import valid_mask, zero_padding
from recitative.nn.recurrent import RecurrentStack
from recitative.nn.stages import Chain, Delay, Dropout, Normalize, Project, normalization_stages
from recitative.stage import Array, Padded, State, run_whole
from recitative.train.audio import AudioBatch, AudioDataset, AudioTask, evaluation_batches, statistics_of
from recitative.train.checkpoint import Progress
from recitative.train.run import TrainingRun


class Forecast(nn.Module):
    """The negative log-likelihood (NLL) of each normalized frame, (N, T, C) -> (N, T, 1):

        -ln p(x[t] | x[0] ... x[t - horizon]) / C - unit        in nats per dimension

    with ``unit`` the mean of ln (1 / deviation) over the channels, so that it is the NLL of the features before their
    normalization. Output t reads x[t] only to compare it with the prediction.

    State: that of ``past``, a chain of the delay that hides the present, and the core.
    """

    stride = 1
    lookahead = 0
    unit: Tensor

    def __init__(self, channels: int, settings: AnomalyNetworkSettings) -> None:
        super().__init__()
        self.input_width, self.output_width = channels, 1
        past: dict[str, nn.Module] = {"delay": Delay(channels, settings.horizon)}
        if settings.width:
            past["project"] = Project(channels, settings.width)
        core = RecurrentStack(settings.width or channels, settings.recurrent)
        past["core"] = core
        if settings.dropout:
            past["dropout"] = Dropout(core.output_width, settings.dropout)
        self.past = Chain(past)
        self.density = MixtureDensity(core.output_width, channels, settings.components, settings.least_deviation)
        self.register_buffer("unit", torch.zeros(()))

    def output_lengths(self, lengths: Tensor) -> Tensor:
        return lengths

    def initial_state(self, n: int) -> State:
        return self.past.initial_state(n)

    def step(self, x: Padded[Tensor], state: State, *, last: bool) -> tuple[Padded[Tensor], State]:
        frames = Padded(zero_padding(x), x.lengths)  # a gradient at a padded frame would be 0 * NaN
        h, new_state = self.past.step(frames, state, last=last)
        nats = self.density(h.data).nll(frames.data) - self.unit
        return Padded(nats[..., None], x.lengths), new_state


@dataclass(frozen=True)
class AnomalyModel:
    """A network with its settings and the threshold of its anomaly score."""

    kind: ClassVar[ModelKind] = FORECASTER
    settings: AnomalySettings
    network: Chain
    threshold: Threshold | None = None

    def nll(self, features: Padded[Tensor]) -> Padded[Tensor]:
        """Whole inputs (N, T, C) -> (N, T, 1) nats per dimension."""
        return run_whole(self.network, features)

    def normalize(self, stats: CmvnStats) -> None:
        """Set the statistics of the normalization."""
        normalize, forecast = self.network.stages["normalize"], self.network.stages["forecast"]
        assert isinstance(normalize, Normalize)
        assert isinstance(forecast, Forecast)
        normalize.mean.copy_(torch.from_numpy(stats.mean))
        normalize.inverse_stddev.copy_(torch.from_numpy(stats.inverse_stddev))
        forecast.unit.copy_(normalize.inverse_stddev.log().mean())


def build_network(settings: AnomalyNetworkSettings, feature_dim: int) -> Chain:
    """The network as one stage: features (N, T, feature_dim) -> NLL (N, T, 1)."""
    stages = normalization_stages(settings.cmvn, feature_dim)
    stages["forecast"] = Forecast(feature_dim, settings)
    return Chain(stages)


def new_anomaly_model(settings: AnomalySettings, threshold: Threshold | None = None) -> AnomalyModel:
    """An anomaly model with random weights (from torch's generator)."""
    return AnomalyModel(settings, build_network(settings.model, settings.features.dim), threshold)


# The ONNX graph


def write_forecaster(forecaster: AnomalyModel) -> Written:
    """In float32: features (N, T, C), lengths (N,) int64, state.* -> surprise (N, T, 1), new_state.*. T is any number
    from 1 on; a length may be 0.
    """
    graph = Graph()
    dim = forecaster.settings.features.dim
    x = Ragged(graph.input("features", "float32", ("N", "T", dim)), graph.input("lengths", "int64", ("N",)))
    writer = Writer(graph, CellWriter(graph, inputs=None), last="")  # nothing is held back, so nothing is flushed
    stages = dict(forecaster.network.stages.items())
    forecast = stages.pop("forecast")
    assert isinstance(forecast, Forecast)
    seen = writer.write("", Chain(stages), x)
    h = writer.write("forecast", forecast.past, seen)
    graph.output("surprise", _surprise(graph, writer.cells, forecast, h.data, seen.data), "float32", ("N", "T", 1))
    return Written(graph, writer.initial)


def _surprise(g: Graph, cells: CellWriter, forecast: Forecast, h: str, x: str) -> str:
    """(N, T, H) and (N, T, C) -> (N, T, 1)."""
    density, channels = forecast.density, forecast.density.channels
    log_weights, means, deviations = _gaussians(g, cells, density, h)
    distance = g.op("Div", g.op("Sub", g.op("Unsqueeze", x, g.ints(2)), means), deviations)  # (N, T, K, C)
    half_squares = g.op("Mul", g.op("Mul", distance, distance), g.real(0.5))
    parts = g.op("ReduceSum", g.op("Add", half_squares, g.op("Log", deviations)), g.ints(3), keepdims=0)
    log_p = g.op("ReduceLogSumExp", g.op("Sub", log_weights, parts), g.ints(2), keepdims=1)
    constant = 0.5 * math.log(2 * math.pi) - float(forecast.unit)
    return g.op("Sub", g.real(constant), g.op("Div", log_p, g.real(channels)))


def _gaussians(g: Graph, cells: CellWriter, density: MixtureDensity, h: str) -> tuple[str, str, str]:
    """(N, T, K), and twice (N, T, K, C): see ``nn.heads``."""
    said = cells.linear("", density.linear, h)
    weights, means, raw = g.ops("Split", said, g.ints(*density.sizes), outputs=3, axis=2)
    shape = g.ints(0, 0, density.components, density.channels)
    spread = g.op("Softplus", g.op("Add", raw, g.real(INITIAL_RAW)))
    deviations = g.op("Add", spread, g.real(density.least_deviation))
    return g.op("LogSoftmax", weights, axis=-1), g.op("Reshape", means, shape), g.op("Reshape", deviations, shape)


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
        false_alarms = self.model.settings.detection.false_alarms
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
    model.normalize(stats)
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
    if round(longest_s * settings.features.sample_rate) < settings.scored_samples:
        found = f"the longest recording lasts {longest_s:.4g} s"
        allowed = f"{settings.scored_samples / settings.features.sample_rate:.4g} s, one window (detection.window_s)"
        raise DataError(str(where), found, allowed, "give longer recordings, or set a shorter window")
