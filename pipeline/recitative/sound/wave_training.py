"""Train a model of sound from data directories."""

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
from recitative.nn.normalize import Normalize
from recitative.sound.conditioning import Labels
from recitative.sound.labelled import labels_of, usual_seconds
from recitative.sound.recordings import Recording, SoundSegments, read_recordings
from recitative.sound.wave_network import WaveModel, new_wave_model
from recitative.sound.wave_settings import WaveSettings
from recitative.sound.wave_task import WaveTask
from recitative.train.checkpoint import Progress
from recitative.train.distributed import lone_device
from recitative.train.experiment import claim, load_best
from recitative.train.log import Console
from recitative.train.loop import fit

LEAST_DEVIATION = 1e-2  # a channel that says nothing is not blown up


@dataclass(frozen=True)
class TrainedWaveModel:
    """What came of a run: the model of its best epoch, in ``folder``."""

    folder: Path
    progress: Progress


@writes("folder")
def train_wave_model(
    settings: WaveSettings,
    train: Path,
    dev: Path,
    folder: Path,
    *,
    quiet: bool = False,
    on_progress: OnProgress | None = None,
) -> TrainedWaveModel:
    """Train into ``folder``, or go on where a run with the same settings stopped; write ``folder/model``.

    Raises UsageError if the folder holds a run with other settings, and what reading and the loop raise.
    """
    device = lone_device(settings.train, "sound train: one worker trains a model of sound")
    utterances = DataDirectory.read(train).utterances
    labels = labels_of(utterances) if settings.sound.condition == "labels" else Labels()
    recordings = read_recordings(utterances, settings, labels, on_progress)
    rate = settings.features.sample_rate
    labels = replace(labels, seconds=usual_seconds(labels, utterances, [len(r.codes) / rate for r in recordings]))
    dev_recordings = read_recordings(DataDirectory.read(dev).utterances, settings, labels)
    digest = claim(folder, settings)
    torch.manual_seed(settings.train.seed)
    model = new_wave_model(settings, labels)
    _normalise(model, recordings)
    task = WaveTask(model, SoundSegments(recordings, settings), dev_recordings, device)
    progress = fit(task, settings.train, folder, device=device, console=Console(quiet=quiet), digest=digest)
    load_best(model.network, folder, progress)
    save_model(model, folder / "model")
    return TrainedWaveModel(folder / "model", progress)


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
