"""The task of spectrograms: foretell each mel frame from those before it and from what is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from recitative.sound.spectrogram_network import SpectrogramModel
from recitative.sound.spectrograms import Spectrogram, SpectrogramBatch, SpectrogramBatches, batch_of
from recitative.stage import Padded
from recitative.train.task import Task

DEV_ROWS = 32


class SpectrogramTask(Task):
    """Teacher forcing on whole recordings.

    Models are chosen by the nats per dimension of the frames of the dev recordings.
    """

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
    """-ln p a dimension of the normalised frames, and how many frames there are."""
    nats, count = 0.0, 0
    for start in range(0, len(spectrograms), DEV_ROWS):
        losses = frame_losses(model, batch_of(spectrograms[start : start + DEV_ROWS]))
        nats, count = nats + float(losses.sum(dtype=torch.float64)), count + losses.numel()
    return nats / count, count


def frame_losses(model: SpectrogramModel, batch: SpectrogramBatch) -> Tensor:
    """Nats per dimension of every frame, (M,)."""
    device = next(model.network.parameters()).device
    lengths = torch.from_numpy(batch.lengths).to(device)
    frames, told = (torch.from_numpy(array).to(device) for array in (batch.frames, batch.told))
    surprise = model.network.surprise(Padded(frames, lengths), told)
    return surprise[torch.arange(surprise.shape[1], device=device) < lengths[:, None]]
