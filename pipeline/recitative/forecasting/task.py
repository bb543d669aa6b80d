"""The forecasting task: how surprising every frame is after those before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from recitative.forecasting.segments import Batch, TrainingSet
from recitative.models.forecaster import Forecaster
from recitative.nn.chain import Chain
from recitative.nn.ragged import valid_mask
from recitative.stage import Padded
from recitative.train.plan import Share
from recitative.train.stream import BatchStream


class ForecastTask:
    """See ``recitative.train.task.Task``. The loss, which also chooses models, is in nats per frame and dimension."""

    def __init__(
        self, forecaster: Forecaster, training_set: TrainingSet, dev: Sequence[Batch], device: torch.device
    ) -> None:
        self.forecaster = forecaster
        self.training_set = training_set
        self.dev = dev
        self.device = device
        self._stream = BatchStream(training_set, Share())

    @property
    def network(self) -> Chain:
        return self.forecaster.network

    def num_batches(self, epoch: int) -> int:
        return len(self.training_set.plan(epoch).batches)

    def batches(self, epoch: int, start: int) -> Iterator[Batch]:
        return self._stream.from_place(epoch, start)

    def split(self, batch: Batch, parts: int) -> list[Batch]:
        return batch.split(parts)

    def loss(self, batch: Batch) -> tuple[Tensor, int]:
        x = batch.features
        features = Padded(x.data.to(self.device, non_blocking=True), x.lengths.to(self.device, non_blocking=True))
        surprise = self.forecaster.surprise(features)
        return torch.where(valid_mask(surprise), surprise.data[..., 0], 0.0).sum(), int(x.lengths.sum())

    def evaluate(self) -> Mapping[str, float]:
        nats, frames = 0.0, 0
        for batch in self.dev:
            loss, count = self.loss(batch)
            nats, frames = nats + float(loss), frames + count
        return {"dev_loss": nats / frames, "score": nats / frames}
