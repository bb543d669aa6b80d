"""Train a model of mel frames from data directories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from recitative.data.directory import DataDirectory
from recitative.lm.books import OnProgress
from recitative.lock import writes
from recitative.model.folder import save_model
from recitative.sound.labelled import labels_of, usual_seconds
from recitative.sound.spectrogram_network import SpectrogramModel, new_spectrogram_model
from recitative.sound.spectrogram_settings import SpectrogramSettings
from recitative.sound.spectrogram_task import SpectrogramTask
from recitative.sound.spectrograms import Spectrogram, SpectrogramBatches, read_spectrograms
from recitative.train.checkpoint import Progress
from recitative.train.distributed import lone_device
from recitative.train.experiment import claim, load_best
from recitative.train.log import Console
from recitative.train.loop import fit

LEAST_DEVIATION = 1e-2  # a channel that says nothing is not blown up


@dataclass(frozen=True)
class TrainedSpectrogramModel:
    """What came of a run: the model of its best epoch, in ``folder``."""

    folder: Path
    progress: Progress


@writes("folder")
def train_spectrogram_model(
    settings: SpectrogramSettings,
    train: Path,
    dev: Path,
    folder: Path,
    *,
    quiet: bool = False,
    on_progress: OnProgress | None = None,
) -> TrainedSpectrogramModel:
    """Train into ``folder``, or go on where a run with the same settings stopped; write ``folder/model``.

    Raises UsageError if the folder holds a run with other settings, and what reading and the loop raise.
    """
    device = lone_device(settings.train, "sound train: one worker trains a model of sound")
    utterances = DataDirectory.read(train).utterances
    labels = labels_of(utterances)
    spectrograms = read_spectrograms(utterances, settings, labels, on_progress)
    labels = replace(labels, seconds=usual_seconds(labels, utterances, [one.seconds for one in spectrograms]))
    dev_spectrograms = read_spectrograms(DataDirectory.read(dev).utterances, settings, labels)
    digest = claim(folder, settings)
    torch.manual_seed(settings.train.seed)
    model = new_spectrogram_model(settings, labels)
    _normalise(model, spectrograms)
    task = SpectrogramTask(model, SpectrogramBatches(spectrograms, settings), dev_spectrograms, device)
    progress = fit(task, settings.train, folder, device=device, console=Console(quiet=quiet), digest=digest)
    load_best(model.network, folder, progress)
    save_model(model, folder / "model")
    return TrainedSpectrogramModel(folder / "model", progress)


def read_directory(path: Path, model: SpectrogramModel, on_progress: OnProgress | None = None) -> list[Spectrogram]:
    """The recordings of a data directory as a model takes them; raises what ``read_spectrograms`` does."""
    return read_spectrograms(DataDirectory.read(path).utterances, model.settings, model.labels, on_progress)


def _normalise(model: SpectrogramModel, spectrograms: Sequence[Spectrogram]) -> None:
    """Frames by their mean and deviation."""
    every = np.concatenate([one.frames for one in spectrograms]).astype(np.float64)
    model.network.normalise.mean.copy_(torch.from_numpy(every.mean(axis=0)))
    deviation = np.maximum(every.std(axis=0), LEAST_DEVIATION)
    model.network.normalise.inverse_stddev.copy_(torch.from_numpy(1 / deviation))
