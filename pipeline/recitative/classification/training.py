"""Train a classifier from data directories."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from recitative.classification.data import ClassificationDataset, load_scored_set
from recitative.classification.labels import names_of
from recitative.classification.network import Classifier, new_classifier
from recitative.classification.settings import ClassifierSettings
from recitative.classification.task import ClassificationTask
from recitative.data.directory import DataDirectory
from recitative.errors import DataError, UsageError
from recitative.features.cmvn import CmvnStats, accumulate
from recitative.features.extraction import audio_durations_s, read_utterance
from recitative.features.frontend import FeatureExtractor
from recitative.lock import writes
from recitative.model.folder import save_model
from recitative.nn.normalize import Normalize
from recitative.train.checkpoint import Progress
from recitative.train.distributed import lone_device
from recitative.train.experiment import claim, load_best
from recitative.train.log import Console
from recitative.train.loop import fit


@dataclass(frozen=True)
class TrainedClassifier:
    """What came of a run: the model of its best epoch, in ``folder``."""

    folder: Path
    progress: Progress


@writes("folder")
def train_classifier(
    settings: ClassifierSettings,
    train: Path,
    dev: Path | None,
    folder: Path,
    *,
    cmvn: Path | None = None,
    quiet: bool = False,
) -> TrainedClassifier:
    """Train into ``folder``, or go on where a run with the same settings stopped; write ``folder/model``.

    dev: what chooses the epoch; without it the last one is kept, and nothing is held out of training.
    cmvn: a file of statistics; otherwise those of the training set are worked out at the start.

    Raises UsageError if the folder holds a run with other settings or labels, or patience has no dev set to wait for,
    and what reading and the loop raise.
    """
    if dev is None and settings.train.patience:
        raise UsageError(f"train.patience={settings.train.patience}: waits for better scores on a dev set; give one")
    refusal = "classifier train: one worker trains a classifier"
    device = lone_device(settings.train, refusal, loaders=settings.train.workers)
    data, dev_data = DataDirectory.read(train), None if dev is None else DataDirectory.read(dev)
    settings = settings.model_copy(update={"labels": names_of(data.utterances, settings.labels, train)})
    digest = claim(folder, settings)
    torch.manual_seed(settings.train.seed)
    classifier = new_classifier(settings, settings.labels)
    dev_batches = load_scored_set(dev_data, classifier, dev) if dev and dev_data else []
    stats = _statistics(data, settings, cmvn)
    _normalise(classifier, stats)
    dataset = ClassificationDataset(data, settings, stats.mean, train)
    task = ClassificationTask(classifier, dataset, dev_batches, device)
    progress = fit(task, settings.train, folder, device=device, console=Console(quiet=quiet), digest=digest)
    load_best(classifier.network, folder, progress)
    save_model(classifier, folder / "model")
    return TrainedClassifier(folder / "model", progress)


def _statistics(data: DataDirectory, settings: ClassifierSettings, path: Path | None) -> CmvnStats:
    """Raises DataError for statistics of other features, or recordings of another sample rate."""
    dim = settings.features.dim
    if path is None:
        audio_durations_s(data.utterances, settings.features.sample_rate)
        extractor = FeatureExtractor(settings.features)
        return accumulate((extractor.compute(read_utterance(utterance)) for utterance in data.utterances), dim)
    stats = CmvnStats.read(path)
    if stats.dim != dim:
        allowed = f"{dim}, as the features of these settings"
        raise DataError(str(path), f"holds {stats.dim} channels", allowed, "run 'recitative cmvn' again")
    return stats


def _normalise(classifier: Classifier, stats: CmvnStats) -> None:
    normalise = classifier.network.stages["normalise"]
    assert isinstance(normalise, Normalize)
    normalise.mean.copy_(torch.from_numpy(stats.mean))
    normalise.inverse_stddev.copy_(torch.from_numpy(stats.inverse_stddev))
