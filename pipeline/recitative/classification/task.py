"""The classification task: weighted cross entropy of what the network says of whole recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from recitative.classification.data import ClassificationDataset, LabeledBatch, load_scored_set
from recitative.classification.labels import class_weights, names_of
from recitative.classification.network import Classifier, new_classifier
from recitative.classification.settings import ClassifierData, ClassifierSettings
from recitative.data.directory import DataDirectory
from recitative.errors import UsageError
from recitative.features.cmvn import CmvnStats
from recitative.features.extraction import audio_durations_s
from recitative.score.classification import Confusions
from recitative.train.audio import AudioTask, set_normalization, statistics_of
from recitative.train.checkpoint import Progress
from recitative.train.run import TrainingRun


class ClassificationTask(AudioTask[LabeledBatch]):
    """Models are chosen by the accuracy on the dev set, ties by the loss; without a dev set the last one is kept.

    The loss is divided by the number of recordings, not by the sum of their weights, whose mean over the training set
    is 1: so every recording counts the same in whatever batch it is.
    """

    def __init__(
        self,
        classifier: Classifier,
        dataset: ClassificationDataset,
        dev: Sequence[LabeledBatch],
        device: torch.device,
    ) -> None:
        super().__init__(classifier.network, dataset, device)
        self.model = self.classifier = classifier
        self.dev = dev
        balanced = classifier.settings.class_weights == "balanced"
        weights = class_weights(dataset.labels, len(classifier.labels), balanced=balanced)
        self._weights = torch.from_numpy(weights).to(device)

    def loss(self, batch: LabeledBatch) -> tuple[Tensor, int]:
        log_probs = self.classifier.log_probs(self.to_device(batch.features))
        labels, others, shares = (x.to(self.device) for x in (batch.labels, batch.others, batch.shares))
        own = F.nll_loss(log_probs, labels, self._weights, reduction="none")
        other = F.nll_loss(log_probs, others, self._weights, reduction="none")
        return (shares * own + (1 - shares) * other).sum(), batch.rows

    def evaluate(self) -> Mapping[str, float]:
        if not self.dev:
            return {}
        confusions, loss = self._score()
        errors, total = confusions.total - confusions.correct, confusions.total
        return {
            "dev_loss": loss,
            "dev_accuracy": confusions.accuracy,
            "dev_uar": confusions.unweighted_average_recall,
            "score": errors / total + loss / (1 + loss) / (2 * total),  # the loss decides less than half an error
        }

    def result(self, progress: Progress) -> str:
        return super().result(progress) if self.dev else "the last is kept"

    def _score(self) -> tuple[Confusions, float]:
        """The likeliest labels of the dev recordings against the true ones, and the mean of -ln P of the true ones."""
        pairs: list[tuple[int, int]] = []
        nats = 0.0
        for batch in self.dev:
            log_probs = self.classifier.log_probs(self.to_device(batch.features)).cpu()
            nats += float(F.nll_loss(log_probs.double(), batch.labels, reduction="sum"))
            pairs += zip(batch.labels.tolist(), log_probs.argmax(dim=1).tolist(), strict=True)
        return Confusions.of(self.classifier.labels, pairs), nats / len(pairs)


def prepare(settings: ClassifierSettings, data: ClassifierData, run: TrainingRun) -> ClassificationTask:
    """The task of a run; see ``train.run``.

    Raises UsageError if patience has no dev set to wait for, and what reading the data does.
    """
    if data.dev is None and settings.train.patience:
        raise UsageError(f"train.patience={settings.train.patience}: waits for better scores on a dev set; give one")
    train, dev = DataDirectory.read(data.train), DataDirectory.read(data.dev) if data.dev else None
    settings = settings.model_copy(update={"labels": names_of(train.utterances, settings.labels, data.train)})
    run.start(settings)
    classifier = new_classifier(settings, settings.labels)
    dev_batches = load_scored_set(dev, classifier, data.dev) if dev and data.dev else []
    if data.cmvn:
        stats = CmvnStats.read(data.cmvn)
    else:
        audio_durations_s(train.utterances, settings.features.sample_rate)
        stats = statistics_of(train.utterances, settings.features)
    set_normalization(classifier.network, stats, str(data.cmvn))
    dataset = ClassificationDataset(train, settings, stats.mean, data.train)
    return ClassificationTask(classifier, dataset, dev_batches, run.device)
