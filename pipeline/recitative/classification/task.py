"""The classification task: weighted cross entropy of what the network says of whole recordings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from recitative.classification.examples import Batch, TrainingSet
from recitative.classification.labels import class_weights
from recitative.models.classifier import Classifier
from recitative.nn.chain import Chain
from recitative.score.classes import Confusions
from recitative.stage import Padded
from recitative.train.plan import Share
from recitative.train.stream import BatchStream


class ClassificationTask:
    """See ``recitative.train.task.Task``. Models are chosen by the accuracy on the dev set, ties by the loss; without a
    dev set it is the last one.

    The loss is divided by the number of recordings, not by the sum of their weights, whose mean over the training set
    is 1: so every recording counts the same in whatever batch it is.
    """

    def __init__(
        self, classifier: Classifier, training_set: TrainingSet, dev: Sequence[Batch], device: torch.device
    ) -> None:
        self.classifier = classifier
        self.training_set = training_set
        self.dev = dev
        self.device = device
        balanced = classifier.settings.class_weights == "balanced"
        weights = class_weights(training_set.labels, len(classifier.labels), balanced=balanced)
        self._weights = torch.from_numpy(weights).to(device)
        self._stream = BatchStream(training_set, Share())

    @property
    def network(self) -> Chain:
        return self.classifier.network

    def num_batches(self, epoch: int) -> int:
        return len(self.training_set.plan(epoch).batches)

    def batches(self, epoch: int, start: int) -> Iterator[Batch]:
        return self._stream.from_place(epoch, start)

    def split(self, batch: Batch, parts: int) -> list[Batch]:
        return batch.split(parts)

    def loss(self, batch: Batch) -> tuple[Tensor, int]:
        log_probs = self.classifier.log_probs(_to(batch.features, self.device))
        labels, others, shares = (x.to(self.device) for x in (batch.labels, batch.others, batch.shares))
        own = F.nll_loss(log_probs, labels, self._weights, reduction="none")
        other = F.nll_loss(log_probs, others, self._weights, reduction="none")
        return (shares * own + (1 - shares) * other).sum(), batch.rows

    def evaluate(self) -> Mapping[str, float]:
        if not self.dev:
            return {}
        confusions, loss = score_batches(self.classifier, self.dev, self.device)
        errors, total = confusions.total - confusions.correct, confusions.total
        return {
            "dev_loss": loss,
            "dev_accuracy": confusions.accuracy,
            "dev_uar": confusions.unweighted_average_recall,
            "score": errors / total + loss / (1 + loss) / (2 * total),  # the loss decides less than half an error
        }


@torch.no_grad()
def score_batches(classifier: Classifier, batches: Sequence[Batch], device: torch.device) -> tuple[Confusions, float]:
    """What the likeliest labels of recordings are right about, and the mean of -ln P of the true ones."""
    pairs: list[tuple[int, int]] = []
    nats = 0.0
    for batch in batches:
        log_probs = classifier.log_probs(_to(batch.features, device)).cpu()
        nats += float(F.nll_loss(log_probs.double(), batch.labels, reduction="sum"))
        pairs += zip(batch.labels.tolist(), log_probs.argmax(dim=1).tolist(), strict=True)
    return Confusions.of(classifier.labels, pairs), nats / len(pairs)


def _to(x: Padded[Tensor], device: torch.device) -> Padded[Tensor]:
    return Padded(x.data.to(device, non_blocking=True), x.lengths.to(device, non_blocking=True))
