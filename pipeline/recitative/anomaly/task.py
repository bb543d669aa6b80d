"""The forecasting task: how surprising every frame is after those before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from recitative.anomaly.network import Forecaster
from recitative.nn.ragged import valid_mask
from recitative.train.audio import AudioBatch, AudioDataset, AudioTask


class ForecastTask(AudioTask[AudioBatch]):
    """The loss, which also chooses models, is in nats per frame and dimension."""

    def __init__(
        self,
        forecaster: Forecaster,
        dataset: AudioDataset[AudioBatch],
        dev: Sequence[AudioBatch],
        device: torch.device,
    ) -> None:
        super().__init__(forecaster.network, dataset, device)
        self.forecaster, self.dev = forecaster, dev

    def loss(self, batch: AudioBatch) -> tuple[Tensor, int]:
        surprise = self.forecaster.surprise(self.to_device(batch.features))
        return torch.where(valid_mask(surprise), surprise.data[..., 0], 0.0).sum(), int(batch.features.lengths.sum())

    def evaluate(self) -> Mapping[str, float]:
        nats, frames = 0.0, 0
        for batch in self.dev:
            loss, count = self.loss(batch)
            nats, frames = nats + float(loss), frames + count
        return {"dev_loss": nats / frames, "score": nats / frames}
