"""Train a forecaster from data directories of usual recordings, and learn from some of them what is unusual."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from recitative.anomaly.data import cut, load_scored_set, training_set
from recitative.anomaly.detector import Watcher
from recitative.anomaly.network import Forecaster, new_forecaster
from recitative.anomaly.settings import ForecasterSettings
from recitative.anomaly.task import ForecastTask
from recitative.anomaly.threshold import Threshold
from recitative.data.directory import DataDirectory
from recitative.data.tables import Utterance
from recitative.errors import DataError
from recitative.features.cmvn import CmvnStats, accumulate
from recitative.features.extraction import audio_duration_s, read_utterance
from recitative.features.frontend import FeatureExtractor
from recitative.lock import writes
from recitative.model.folder import save_model
from recitative.model.torch_stage import TorchStage
from recitative.stage import Array, Padded
from recitative.train.checkpoint import Progress
from recitative.train.distributed import lone_device
from recitative.train.experiment import claim, load_best
from recitative.train.log import Console
from recitative.train.loop import fit

BLOCK_S = 10.0  # a long recording is judged in pieces of this length


@dataclass(frozen=True)
class TrainedForecaster:
    """What came of a run: the model of its best epoch, in ``folder``."""

    folder: Path
    progress: Progress
    threshold: Threshold


@writes("folder")
def train_forecaster(
    settings: ForecasterSettings, train: Path, dev: Path, folder: Path, *, quiet: bool = False
) -> TrainedForecaster:
    """Train into ``folder``, or go on where a run with the same settings stopped; write ``folder/model``.

    Raises UsageError if the folder holds a run with other settings, and what reading and the loop raise.
    """
    refusal = "forecaster train: one worker trains a forecaster"
    device = lone_device(settings.train, refusal, loaders=settings.train.workers)
    utterances, dev_utterances = DataDirectory.read(train).utterances, DataDirectory.read(dev).utterances
    digest = claim(folder, settings)
    torch.manual_seed(settings.train.seed)
    forecaster = new_forecaster(settings)
    dev_batches = load_scored_set(dev_utterances, settings, dev)
    _require_a_window(dev_utterances, settings, dev)
    stats = _statistics(utterances, settings, train)
    forecaster.normalise(stats)
    task = ForecastTask(forecaster, training_set(utterances, settings, stats.mean, train), dev_batches, device)
    progress = fit(task, settings.train, folder, device=device, console=Console(quiet=quiet), digest=digest)
    load_best(forecaster.network, folder, progress)
    threshold = learn_threshold(forecaster, dev_utterances, settings.watch.false_alarms, dev)
    save_model(replace(forecaster, threshold=threshold), folder / "model")
    return TrainedForecaster(folder / "model", progress, threshold)


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


def _statistics(utterances: Sequence[Utterance], settings: ForecasterSettings, where: Path) -> CmvnStats:
    """Of all recordings, piece by piece."""
    extractor = FeatureExtractor(settings.features)
    segments, _ = cut(utterances, settings, where)
    return accumulate((extractor.compute(read_utterance(segment)) for segment in segments), settings.features.dim)
