"""The network of deepspeech.pytorch in plain PyTorch, for comparison.

It follows Sean Naren's deepspeech.pytorch 3.0 with default settings, which is Deep Speech 2 (Amodei et al. 2015):
log magnitudes of 161 bins (20 ms Hamming windows every 10 ms, normalized per utterance), two convolutions of 32
channels (41 x 11 with strides 2 and 2, 21 x 11 with strides 2 and 1) with batch normalization, five bidirectional
LSTM layers over packed sequences with summed directions, batch normalization between layers, a linear layer, CTC;
AdamW, gradient norm clipped to 400. A batch is a fixed number of utterances of similar length; batches come in
random order; the worker processes compute features.

Two changes make it faster: padding is masked by one operation instead of a loop over rows, and there are no PyTorch
Lightning hooks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from bench_material import FlopCount, Material, Turn, timed_steps
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.data import DataLoader, Dataset

Array = npt.NDArray[np.float32]

WINDOW_S, HOP_S = 0.02, 0.01
CHANNELS = 32
LAYERS = 5
MAX_NORM = 400.0


@dataclass(frozen=True)
class PeerBatch:
    """spectra (N, 1, F, T), the longest first; labels of all rows joined (sum of L,)."""

    spectra: Tensor
    lengths: Tensor
    labels: Tensor
    label_lengths: Tensor
    audio_s: float

    @property
    def padding(self) -> float:
        return 1 - float(self.lengths.sum()) / (len(self.lengths) * self.spectra.shape[3])


class DeepSpeechTraining:
    """Trains for one epoch per turn; see ``bench_material.Contestant``."""

    def __init__(
        self, material: Material, hidden: int, *, batch_s: float, workers: int, bf16: bool, device: torch.device
    ) -> None:
        self.name = "deepspeech.pytorch"
        self.material = material
        self.workers = workers
        self.bf16 = bf16
        self.device = device
        self.epoch = 0
        torch.manual_seed(0)
        bins = round(material.sample_rate * WINDOW_S) // 2 + 1
        self.network = DeepSpeech(bins, hidden, len(material.tokens)).to(device).train()
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1.5e-4, weight_decay=1e-5)
        order = np.argsort(material.seconds, kind="stable").tolist()
        rows = material.rows(batch_s)
        self.bins = [order[start : start + rows] for start in range(0, len(order), rows)]

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.network.parameters())

    def train(self) -> Turn:
        with FlopCount() as count:
            steps = timed_steps(self._batches(), self._step, lambda batch: (batch.audio_s, batch.padding))
        return Turn.of(steps, count.flops)

    def _batches(self) -> Iterator[PeerBatch]:
        self.epoch += 1
        shuffled = np.random.default_rng(self.epoch).permutation(len(self.bins))
        loader = DataLoader(
            Spectra(self.material),
            batch_sampler=[self.bins[i] for i in shuffled],
            num_workers=self.workers,
            collate_fn=collate,
        )
        yield from loader

    def _step(self, batch: PeerBatch) -> None:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            logits, lengths = self.network(batch.spectra.to(self.device), batch.lengths)
        log_probs = logits.float().log_softmax(-1).transpose(0, 1)  # (N, T, V) -> (T, N, V)
        labels = batch.labels.to(self.device)
        loss = F.ctc_loss(log_probs, labels, lengths, batch.label_lengths, reduction="sum", zero_infinity=True)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), MAX_NORM)
        self.optimizer.step()
        loss.item()  # the original shows the loss of every step


class DeepSpeech(nn.Module):
    """(N, 1, F, T) with lengths (N,), the longest first -> logits (N, T', V), T' = half of T, and their lengths."""

    def __init__(self, bins: int, hidden: int, tokens: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            [
                nn.Conv2d(1, CHANNELS, (41, 11), stride=(2, 2), padding=(20, 5)),
                nn.BatchNorm2d(CHANNELS),
                nn.Hardtanh(0, 20, inplace=True),
                nn.Conv2d(CHANNELS, CHANNELS, (21, 11), stride=(2, 1), padding=(10, 5)),
                nn.BatchNorm2d(CHANNELS),
                nn.Hardtanh(0, 20, inplace=True),
            ]
        )
        width = CHANNELS * (((bins - 1) // 2) // 2 + 1)
        self.norms = nn.ModuleList([nn.Identity(), *(nn.BatchNorm1d(hidden) for _ in range(LAYERS - 1))])
        self.lstms = nn.ModuleList(
            nn.LSTM(width if layer == 0 else hidden, hidden, bidirectional=True) for layer in range(LAYERS)
        )
        self.last_norm = nn.BatchNorm1d(hidden)
        self.linear = nn.Linear(hidden, tokens, bias=False)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        lengths = (lengths - 1) // 2 + 1
        for module in self.convolutions:
            x = module(x)
            padding = torch.arange(x.shape[3]) >= lengths[:, None]
            x = x.masked_fill(padding[:, None, None, :].to(x.device), 0)
        x = x.flatten(1, 2).permute(2, 0, 1).contiguous()  # (N, C, F, T) -> (T, N, C F)
        for norm, lstm in zip(self.norms, self.lstms, strict=True):
            x = _framewise(norm, x)
            y, _ = pad_packed_sequence(lstm(pack_padded_sequence(x, lengths))[0])
            x = y.view(*y.shape[:2], 2, -1).sum(2)
        return self.linear(_framewise(self.last_norm, x)).transpose(0, 1), lengths


def _framewise(module: nn.Module, x: Tensor) -> Tensor:
    """Apply a layer to all frames of all rows as one batch."""
    y: Tensor = module(x.flatten(0, 1))
    return y.view(*x.shape[:2], -1)


class Spectra(Dataset[tuple[Tensor, list[int], float]]):
    """Dataset of (spectrum (F, T), labels, seconds)."""

    def __init__(self, material: Material) -> None:
        self.material = material

    def __len__(self) -> int:
        return len(self.material.utterances)

    def __getitem__(self, number: int) -> tuple[Tensor, list[int], float]:
        spectrum = spectrogram(self.material.samples(number), self.material.sample_rate)
        return torch.from_numpy(spectrum), self.material.labels(number), self.material.seconds[number]


def spectrogram(samples: Array, sample_rate: int) -> Array:
    """(S,) -> (F, T): log(1 + magnitude) of frames centered on every hop, normalized to mean 0 and deviation 1."""
    window, hop = round(sample_rate * WINDOW_S), round(sample_rate * HOP_S)
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(samples, window // 2), window)[::hop]
    hamming = np.hamming(window + 1)[:-1].astype(np.float32)
    spectrum = np.log1p(np.abs(np.fft.rfft(frames * hamming))).T
    return np.ascontiguousarray((spectrum - spectrum.mean()) / spectrum.std(), np.float32)


def collate(rows: Sequence[tuple[Tensor, list[int], float]]) -> PeerBatch:
    rows = sorted(rows, key=lambda row: row[0].shape[1], reverse=True)
    spectra = torch.zeros(len(rows), 1, *rows[0][0].shape)
    for place, (spectrum, _, _) in zip(spectra, rows, strict=True):
        place[0, :, : spectrum.shape[1]] = spectrum
    return PeerBatch(
        spectra,
        torch.tensor([spectrum.shape[1] for spectrum, _, _ in rows]),
        torch.tensor([label for _, labels, _ in rows for label in labels]),
        torch.tensor([len(labels) for _, labels, _ in rows]),
        sum(seconds for _, _, seconds in rows),
    )
