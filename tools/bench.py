#!/usr/bin/env python3
"""Speed of features, of training and of streaming, each beside peers that are measured in the same run.

features: seconds of audio per second on one core, 80-bin fbank at 16 kHz, against torchaudio.compliance.kaldi.fbank
training: seconds of audio per second, forward, CTC, backward, clipping and AdamW on fixed synthetic batches, against a
          bare torch.nn.LSTM of the same size that is fed packed sequences. Reading, augmentation and features are not
          in it: worker processes do them meanwhile.
runtime:  streaming without PyTorch; see tools/bench_runtime.py
decoding: beam search with a language model, and streaming with it; see tools/bench_decoding.py
long:     a recording of three hours; not part of all

Each number is the median of several runs; ours and the peer's take turns, so that a busy machine slows both. A ratio
above 1 means that ours is faster.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torchaudio
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "pipeline"))

from bench_decoding import bench_decoding  # noqa: E402
from bench_runtime import bench_long, bench_runtime  # noqa: E402

from recitative.config import FeatureSettings, ModelSettings, Settings, load_settings  # noqa: E402
from recitative.ctc.loss import ctc_loss  # noqa: E402
from recitative.errors import RecitativeError, UsageError  # noqa: E402
from recitative.features.frontend import FeatureExtractor  # noqa: E402
from recitative.models.recogniser import build_recogniser  # noqa: E402
from recitative.stage import Padded  # noqa: E402

CONFS = ("recipes/an4/conf/blstm.yaml", "recipes/an4/conf/lstm.yaml")
NUM_TOKENS = 30
FEATURES_S = 20
UTTERANCE_S = (3.0, 5.0)  # one batch for each: the longest utterance in it
LABELS_PER_SECOND = 8.0


@dataclass(frozen=True)
class Batch:
    features: Padded[Tensor]
    labels: Padded[Tensor]
    names: tuple[str, ...]
    seconds: float


Network = Callable[[Padded[Tensor]], Padded[Tensor]]


def main() -> int:
    arguments = parse_arguments()
    warn_if_busy()
    try:
        if arguments.part in ("all", "features"):
            bench_features(arguments.runs)
        if arguments.part in ("all", "training"):
            for conf in arguments.conf:
                bench_training(conf, arguments.runs, torch.device(arguments.device))
        if arguments.part in ("all", "runtime"):
            bench_runtime(arguments.runs)
        if arguments.part in ("all", "decoding"):
            bench_decoding(arguments.runs, arguments.peers, arguments.model, arguments.data, arguments.text)
        if arguments.part == "long":
            bench_long(arguments.hours)
    except RecitativeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("all", "features", "training", "runtime", "decoding", "long")
    parser.add_argument("part", nargs="?", choices=parts, default="all")
    parser.add_argument("--runs", type=positive, default=3, help="runs that each median is taken of (default 3)")
    parser.add_argument("--hours", type=float, default=3.0, help="length of the long recording (default 3)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to train (default cpu)")
    parser.add_argument("--conf", type=Path, nargs="+", default=[ROOT / conf for conf in CONFS], help="settings files")
    parser.add_argument("--peers", default="", help="decoding: a Python with pyctcdecode, kenlm, flashlight-text")
    parser.add_argument("--model", type=Path, help="decoding: a model folder whose tokens are letters")
    parser.add_argument("--data", type=Path, help="decoding: the data directory for --model")
    parser.add_argument("--text", type=Path, help="decoding: the data directory whose text makes the language model")
    return parser.parse_args()


def positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' must be a whole number from 1")
    return int(text)


def warn_if_busy() -> None:
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > 0.5 * cores:
        print(f"note: this machine is busy (load {load:.1f} on {cores} cores): the speeds are too low", file=sys.stderr)


def bench_features(runs: int) -> None:
    extractor = FeatureExtractor(FeatureSettings())
    samples = np.random.default_rng(0).standard_normal(16000 * FEATURES_S).astype(np.float32) * 0.1
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    ours, peer = medians(runs, lambda: extractor.compute(samples), lambda: torchaudio_fbank(samples))
    torch.set_num_threads(threads)
    seconds = len(samples) / 16000
    report("features", "fbank 80, 16 kHz, one core", seconds / ours, "x real time", seconds / peer, "torchaudio")


def torchaudio_fbank(samples: np.ndarray) -> Tensor:
    scaled = torch.from_numpy(samples)[None] * 32768
    return torchaudio.compliance.kaldi.fbank(scaled, num_mel_bins=80, dither=0.0, sample_frequency=16000)


def bench_training(conf: Path, runs: int, device: torch.device) -> None:
    settings = load_settings(conf)
    batches = [synthetic_batch(settings, longest_s, device) for longest_s in UTTERANCE_S]
    torch.manual_seed(settings.train.seed)
    network = build_recogniser(settings.model, settings.features.dim, NUM_TOKENS).to(device)
    packed = PackedLstm(settings.model, settings.features.dim).to(device)
    ours = Trainer(network, lambda x: network.step(x, network.initial_state(len(x.lengths)), last=True)[0], settings)
    peer = Trainer(packed, packed, settings)
    our_s, peer_s = medians(runs, lambda: ours.train(batches), lambda: peer.train(batches))
    seconds = sum(batch.seconds for batch in batches)
    millions = sum(p.numel() for p in network.parameters()) / 1e6
    where = f"{torch.get_num_threads()} threads" if device.type == "cpu" else torch.cuda.get_device_name(device)
    name = f"{conf.parent.parent.name}/{conf.stem}, {millions:.1f} M, {where}"
    report("training", name, seconds / our_s, "audio s/s", seconds / peer_s, "packed nn.LSTM")


def synthetic_batch(settings: Settings, longest_s: float, device: torch.device) -> Batch:
    """As many utterances of 85 to 100 % of the longest as fit into ``train.batch_s``; the same ones every time."""
    rng = np.random.default_rng(round(1000 * longest_s))
    durations = longest_s * rng.uniform(0.85, 1.0, max(1, int(settings.train.batch_s / longest_s)))
    durations[0] = longest_s
    frames = torch.tensor(durations * 1000 / settings.features.frame_shift_ms).long()
    counts = torch.tensor(durations * LABELS_PER_SECOND).long()
    features = rng.standard_normal((len(durations), int(frames.max()), settings.features.dim)).astype(np.float32)
    labels = rng.integers(1, NUM_TOKENS, (len(durations), int(counts.max())))
    return Batch(
        Padded(torch.from_numpy(features).to(device), frames.to(device)),
        Padded(torch.from_numpy(labels).to(device), counts.to(device)),
        tuple(f"utterance{i}" for i in range(len(durations))),
        float(durations.sum()),
    )


class Trainer:
    """The steps of the training loop, without its bookkeeping; ours and the peer's differ in the network only."""

    def __init__(self, module: nn.Module, network: Network, settings: Settings) -> None:
        self.module = module.train()
        self.network = network
        self.clip_norm = settings.train.clip_norm
        self.optimiser = torch.optim.AdamW(module.parameters(), lr=1e-4)

    def train(self, batches: list[Batch]) -> None:
        for batch in batches:
            self.optimiser.zero_grad(set_to_none=True)
            loss, count = ctc_loss(self.network(batch.features), batch.labels, batch.names)
            (loss / count).backward()
            nn.utils.clip_grad_norm_(self.module.parameters(), self.clip_norm)
            self.optimiser.step()
        if batches[0].features.data.is_cuda:
            torch.cuda.synchronize()


class PackedLstm(nn.Module):
    """The peer: stacked frames -> torch.nn.LSTM over a packed sequence -> linear -> log softmax."""

    def __init__(self, settings: ModelSettings, feature_dim: int) -> None:
        super().__init__()
        core, front_end = settings.recurrent, settings.front_end
        if core.cell != "lstm" or front_end.kind != "stack":
            raise UsageError("bench: the peer is an LSTM on stacked frames; choose such a --conf")
        self.window, self.stride = front_end.window, front_end.stride
        stacked = feature_dim * self.window
        self.project = (
            nn.Sequential(nn.Linear(stacked, front_end.width), nn.ReLU()) if front_end.width else nn.Identity()
        )
        self.lstm = nn.LSTM(
            front_end.width or stacked,
            core.hidden,
            core.layers,
            batch_first=True,
            bidirectional=core.direction == "bidirectional",
            dropout=core.dropout,
        )
        self.head = nn.Linear(core.hidden * (2 if self.lstm.bidirectional else 1), NUM_TOKENS)

    def forward(self, x: Padded[Tensor]) -> Padded[Tensor]:
        stacked = x.data.unfold(1, self.window, self.stride).flatten(2)  # (N, T', C * window)
        lengths = (x.lengths - self.window) // self.stride + 1
        packed = pack_padded_sequence(self.project(stacked), lengths.cpu(), batch_first=True, enforce_sorted=False)
        y, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return Padded(self.head(y).log_softmax(-1), lengths)


def medians(runs: int, ours: Callable[[], object], peer: Callable[[], object]) -> tuple[float, float]:
    """Median seconds of each, taking turns, after one run of each that isn't counted."""
    seconds: dict[Callable[[], object], list[float]] = {ours: [], peer: []}
    for run in range(runs + 1):
        for work, taken in seconds.items():
            started = time.perf_counter()
            work()
            if run:
                taken.append(time.perf_counter() - started)
    return statistics.median(seconds[ours]), statistics.median(seconds[peer])


def report(part: str, what: str, ours: float, unit: str, peer: float, peer_name: str) -> None:
    print(f"{part:9} {what:40} {ours:7.0f} {unit:12} {ours / peer:5.2f} of {peer_name} ({peer:.0f})", flush=True)


if __name__ == "__main__":
    sys.exit(main())
