"""The recognition task: CTC training of a recogniser, scored on a dev set by greedy decoding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from recitative.ctc.greedy import GreedyDecoder
from recitative.ctc.loss import ctc_loss
from recitative.models.folder import Recogniser
from recitative.recognition.batches import Batch, TrainingSet, iterate
from recitative.recognition.dev_set import DevSet
from recitative.score.wer import ErrorCounts, characters, score
from recitative.stage import Padded


class RecognitionTask:
    """See ``recitative.train.task.Task``. Models are chosen by dev WER, ties by dev CER."""

    def __init__(
        self, recogniser: Recogniser, training_set: TrainingSet, dev_set: DevSet, device: torch.device
    ) -> None:
        self.recogniser = recogniser
        self.training_set = training_set
        self.dev_set = dev_set
        self.device = device
        self._plan_of: tuple[int, int] = (-1, 0)  # (epoch, batches), to plan an epoch once

    @property
    def network(self) -> nn.Module:
        return self.recogniser.network

    def num_batches(self, epoch: int) -> int:
        if self._plan_of[0] != epoch:
            self._plan_of = (epoch, len(self.training_set.plan(epoch)))
        return self._plan_of[1]

    def batches(self, epoch: int, start: int) -> Iterator[Batch]:
        return iterate(self.training_set, epoch, start, self.training_set.settings.train.workers)

    def loss(self, batch: Batch) -> tuple[Tensor, int]:
        return ctc_loss(self._log_probs(batch.features), _to(batch.labels, self.device), batch.names)

    def evaluate(self) -> Mapping[str, float]:
        return dev_scores(self.recogniser, self.dev_set, self.device)

    def _log_probs(self, features: Padded[Tensor]) -> Padded[Tensor]:
        return _log_probs(self.recogniser, _to(features, self.device))


def dev_scores(recogniser: Recogniser, dev_set: DevSet, device: torch.device) -> dict[str, float]:
    """Loss per label, WER and CER of greedy decoding, and ``score``, by which models are chosen."""
    hyps: dict[str, str] = {}
    loss_sum, count = 0.0, 0
    for batch in dev_set.batches:
        log_probs = _log_probs(recogniser, _to(batch.features, device))
        batch_loss, labels = ctc_loss(log_probs, _to(batch.labels, device), batch.names)
        loss_sum, count = loss_sum + float(batch_loss), count + labels
        hyps |= zip(batch.names, _greedy_texts(log_probs, recogniser), strict=True)
    wer, cer = error_rates(dev_set.texts, hyps)
    return {
        "dev_loss": loss_sum / max(count, 1),
        "dev_wer": wer.rate,
        "dev_cer": cer.rate,
        "score": wer.rate + 1e-3 * cer.rate,
    }


def _log_probs(recogniser: Recogniser, features: Padded[Tensor]) -> Padded[Tensor]:
    network = recogniser.network
    return network.step(features, network.initial_state(len(features.lengths)), last=True)[0]


def _greedy_texts(log_probs: Padded[Tensor], recogniser: Recogniser) -> list[str]:
    decoder, n = GreedyDecoder(), len(log_probs.lengths)
    arrays = Padded(log_probs.data.float().cpu().numpy(), log_probs.lengths.cpu().numpy())
    labels, _ = decoder.step(arrays, decoder.initial_state(n), last=True)
    rows = (row[:length] for row, length in zip(labels.data, labels.lengths, strict=True))
    return [recogniser.tokens.decode(row[row > 0].tolist()) for row in rows]


def error_rates(refs: Mapping[str, str], hyps: Mapping[str, str]) -> tuple[ErrorCounts, ErrorCounts]:
    """Words and characters."""
    return score(refs, hyps).total, score(refs, hyps, symbols=characters).total


def _to(x: Padded[Tensor], device: torch.device) -> Padded[Tensor]:
    return Padded(x.data.to(device, non_blocking=True), x.lengths.to(device, non_blocking=True))
