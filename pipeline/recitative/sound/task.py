"""Training tasks of sound: predict each sample, or each mel frame, from those before it and the conditioning."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from recitative.audio.mulaw import LEVELS, companded
from recitative.config import RecordingsData
from recitative.data.directory import DataDirectory
from recitative.nn.normalize import Normalize
from recitative.sound.conditioning import Labels
from recitative.sound.data import (
    Recording,
    SoundBatch,
    SoundSegments,
    Spectrogram,
    SpectrogramBatch,
    SpectrogramBatches,
    labels_of,
    mean_seconds,
    read_recordings,
    read_spectrograms,
    sound_batch,
    spectrogram_batch,
)
from recitative.sound.network import SpectrogramModel, WaveModel, WaveNetwork, new_spectrogram_model, new_wave_model
from recitative.sound.settings import SpectrogramSettings, WaveSettings
from recitative.stage import Padded
from recitative.train.run import TrainingRun
from recitative.train.task import Task

LEAST_DEVIATION = 1e-2  # a constant channel is not amplified
DEV_ROWS = 32  # spectrograms


def prepare(
    settings: WaveSettings | SpectrogramSettings, data: RecordingsData, run: TrainingRun
) -> WaveTask | SpectrogramTask:
    """Create the task of a run; see ``train.run``. Raises DataError for data that cannot be used."""
    train, dev = (DataDirectory.read(path).utterances for path in (data.train, data.dev))
    if isinstance(settings, SpectrogramSettings):
        labels = labels_of(train)
        with run.console.progress("reading") as show:
            spectrograms = read_spectrograms(train, settings, labels, show)
        labels = replace(labels, seconds=mean_seconds(labels, train, [one.seconds for one in spectrograms]))
        dev_spectrograms = read_spectrograms(dev, settings, labels)
        run.start(settings)
        model = new_spectrogram_model(settings, labels)
        _normalize_frames(model, spectrograms)
        return SpectrogramTask(model, SpectrogramBatches(spectrograms, settings), dev_spectrograms, run.device)
    labels = labels_of(train) if settings.sound.condition == "labels" else Labels()
    with run.console.progress("reading") as show:
        recordings = read_recordings(train, settings, labels, show)
    rate = settings.features.sample_rate
    labels = replace(labels, seconds=mean_seconds(labels, train, [len(one.codes) / rate for one in recordings]))
    dev_recordings = read_recordings(dev, settings, labels)
    run.start(settings)
    wave_model = new_wave_model(settings, labels)
    _normalize_conditioning(wave_model, recordings)
    return WaveTask(wave_model, SoundSegments(recordings, settings), dev_recordings, run.device)


def _mean(losses: Iterable[Tensor]) -> tuple[float, int]:
    """The mean of all elements, and their number."""
    total, count = 0.0, 0
    for one in losses:
        total, count = total + float(one.sum(dtype=torch.float64)), count + one.numel()
    return total / count, count


# Samples


class WaveTask(Task):
    """Teacher forcing on segments. Each starts with the history from its recording and an initial recurrent state.

    The best epoch is that with the lowest NLL per sample of the dev recordings, which are cut the same in every epoch.
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
        nats, _ = _mean(sample_losses(self.model, batch) for batch in self.dev)
        return {"dev_nats_per_sample": nats, "score": nats}


@torch.no_grad()
def nats_per_sample(model: WaveModel, recordings: Sequence[Recording]) -> tuple[float, int]:
    """NLL per sample, and the number of samples. Every segment starts from the initial state, as in training."""
    return _mean(sample_losses(model, batch) for batch in dev_batches(model, recordings, max_s=float("inf")))


def dev_batches(model: WaveModel, recordings: Sequence[Recording], max_s: float) -> list[SoundBatch]:
    """The first ``max_s`` seconds of the recordings, cut into segments."""
    settings = model.settings
    step, longest = settings.sound.step, settings.segment_steps
    left = max_s * settings.features.sample_rate / step
    parts = []
    for recording in recordings:
        steps = len(recording.codes) // step
        for first in range(0, steps, longest):
            if left > 0:
                parts.append((recording, first, min(longest, steps - first)))
                left -= longest
    rows = settings.segments.rows
    return [sound_batch(parts[start : start + rows], settings) for start in range(0, len(parts), rows)]


def sample_losses(model: WaveModel, batch: SoundBatch, noise: float = 0.0) -> Tensor:
    """-ln P of each sample of the segments. noise: deviation of the noise on the input, in levels, from torch's
    generator."""
    device, network = next(model.network.parameters()).device, model.network
    history, step = network.head.history, network.head.step
    codes = torch.from_numpy(batch.codes).to(device)
    lengths = torch.from_numpy(batch.lengths).to(device)
    inputs = codes
    if noise:
        added = torch.round(noise * torch.randn(codes.shape, device=device)).long()
        inputs = (codes + added).clamp(0, LEVELS - 1)
    values = torch.from_numpy(companded()).to(device)[inputs[:, :-1]]
    scores = network.scores(
        encode_at_steps(network, batch, device), inputs[:, history - 1 : -1], values, lengths,
        network.initial_state(batch.rows),
    )  # fmt: skip
    inside = torch.arange(scores.shape[1], device=device) < step * lengths[:, None]
    return F.cross_entropy(scores[inside].float(), codes[:, history:][inside], reduction="none")


def encode_at_steps(network: WaveNetwork, batch: SoundBatch, device: torch.device) -> Tensor | None:
    """The encoder's output, interpolated at the steps of the core: (N, J, W); None without an encoder."""
    if network.encoder is None:
        return None
    frames = Padded(torch.from_numpy(batch.frames).to(device), torch.from_numpy(batch.frame_lengths).to(device))
    y, _ = network.encoder.step(frames, network.encoder.initial_state(batch.rows), last=True)
    places = torch.from_numpy(batch.places).to(device)
    last = (y.lengths - 1)[:, None]
    inside = torch.minimum(places.clamp(min=0.0), last.to(places.dtype))
    left = inside.floor().long()
    share = (inside - left)[..., None]
    right = torch.minimum(left + 1, last)
    before, after = (y.data.gather(1, at[..., None].expand(-1, -1, y.data.shape[-1])) for at in (left, right))
    return (1 - share) * before + share * after


def _normalize_conditioning(model: WaveModel, recordings: Sequence[Recording]) -> None:
    """Set mean and deviation of mel frames. Labels are not normalized."""
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


# Mel frames


class SpectrogramTask(Task):
    """Teacher forcing on whole recordings.

    The best epoch is that with the lowest NLL per dimension of the frames of the dev recordings.
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


@torch.no_grad()
def nats_per_dimension(model: SpectrogramModel, spectrograms: Sequence[Spectrogram]) -> tuple[float, int]:
    """NLL per dimension of the normalized frames, and the number of frames."""
    groups = (spectrograms[start : start + DEV_ROWS] for start in range(0, len(spectrograms), DEV_ROWS))
    return _mean(frame_losses(model, spectrogram_batch(group)) for group in groups)


def frame_losses(model: SpectrogramModel, batch: SpectrogramBatch) -> Tensor:
    """NLL per dimension of each frame, (M,)."""
    device = next(model.network.parameters()).device
    lengths = torch.from_numpy(batch.lengths).to(device)
    frames, conditioning = (torch.from_numpy(array).to(device) for array in (batch.frames, batch.conditioning))
    nll = model.network.nll(Padded(frames, lengths), conditioning)
    return nll[torch.arange(nll.shape[1], device=device) < lengths[:, None]]


def _normalize_frames(model: SpectrogramModel, spectrograms: Sequence[Spectrogram]) -> None:
    """Set mean and deviation of the frames."""
    every = np.concatenate([one.frames for one in spectrograms]).astype(np.float64)
    model.network.normalise.mean.copy_(torch.from_numpy(every.mean(axis=0)))
    deviation = np.maximum(every.std(axis=0), LEAST_DEVIATION)
    model.network.normalise.inverse_stddev.copy_(torch.from_numpy(1 / deviation))
