#!/usr/bin/env python3
"""Benchmarks of features, training, streaming and decoding, compared with other toolkits in the same run.

features: fbank of 80 bins at 16 kHz on one core, compared with torchaudio.compliance.kaldi.fbank
train:    training on real audio, compared with networks of deepspeech.pytorch and SpeechBrain with as many parameters;
          see tools/bench_train.py
profile:  where the time of a training step goes; not part of all; see tools/bench_train.py
runtime:  streaming without PyTorch; see tools/bench_runtime.py
decoding: beam search with a language model, on recordings and streams; see tools/bench_runtime.py
music:    generation of music without PyTorch; see tools/bench_models.py
serve:    live streams at once, their latency and memory; not part of all; see tools/bench_serve.py
soak:     the server under clients of every kind, good and bad; not part of all; see tools/bench_soak.py
shards:   opening the index of a large corpus, planning an epoch; see tools/bench_shards.py
long:     a recording of three hours; not part of all

Each figure is the median of several runs. Recitative and its peer take turns, so that other load slows both. A ratio
above 1 means that Recitative is faster.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torchaudio
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "pipeline"))

from bench_models import bench_music  # noqa: E402
from bench_runtime import bench_decoding, bench_long, bench_runtime  # noqa: E402
from bench_serve import ServeOptions, bench_serve  # noqa: E402
from bench_shards import bench_shards  # noqa: E402
from bench_soak import bench_soak  # noqa: E402
from bench_train import TrainOptions, arithmetics, bench_profile, bench_train  # noqa: E402

from recitative.config import FeatureSettings  # noqa: E402
from recitative.errors import RecitativeError  # noqa: E402
from recitative.features.frontend import FeatureExtractor  # noqa: E402
from recitative.pretrained import STREAMING  # noqa: E402

CONF = "recipes/an4/conf/blstm.yaml"
FEATURES_S = 20


def main() -> int:
    arguments = parse_arguments()
    warn_if_busy()
    try:
        if arguments.part in ("all", "features"):
            bench_features(arguments.runs)
        if arguments.part in ("all", "train"):
            bench_train(train_options(arguments))
        if arguments.part in ("all", "runtime"):
            bench_runtime(arguments.runs)
        if arguments.part in ("all", "decoding"):
            bench_decoding(arguments.runs, arguments.peers, arguments.model, arguments.data, arguments.text)
        if arguments.part in ("all", "music"):
            bench_music(arguments.runs, arguments.model if arguments.part == "music" else None)
        if arguments.part in ("all", "shards"):
            bench_shards(arguments.utterances)
        if arguments.part == "profile":
            bench_profile(train_options(arguments), arguments.steps)
        if arguments.part == "long":
            bench_long(arguments.hours)
        if arguments.part == "serve":
            bench_serve(serve_options(arguments, minutes=10.0, streams=200))
        if arguments.part == "soak":
            return 0 if bench_soak(serve_options(arguments, minutes=5.0, streams=20)) else 1
    except RecitativeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("all", "features", "train", "profile", "runtime", "decoding", "music", "shards", "long", "serve", "soak")
    parser.add_argument("part", nargs="?", choices=parts, default="all")
    parser.add_argument("--runs", type=positive, default=3, help="number of runs for each median (default 3)")
    parser.add_argument("--hours", type=float, default=3.0, help="length of the long recording (default 3)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="device for training (default cpu)")
    parser.add_argument(
        "--minutes",
        type=amount,
        help="train: minutes of audio to select from --data (default 5); serve: about how long it may take (default "
        "10); soak: how long it takes (default 5)",
    )
    add_training_options(parser)
    add_serving_options(parser)
    parser.add_argument(
        "--utterances", type=positive, default=1_000_000, help="shards: size of the index (default 1000000)"
    )
    parser.add_argument(
        "--peers", default="", help="decoding: path of a Python with pyctcdecode, kenlm, flashlight-text"
    )
    parser.add_argument(
        "--model",
        type=Path,
        help="decoding: a model folder whose tokens are letters; music: an exported file; serve, soak: any recognizer"
        f" that streams (default {STREAMING})",
    )
    parser.add_argument(
        "--data",
        type=Path,
        help="decoding: the data directory for --model; train, profile: data directory or shards to train on; "
        "serve, soak: a folder of recordings or a data directory (default: the digits recipe's)",
    )
    parser.add_argument(
        "--text", type=Path, help="decoding: data directory whose transcripts are the language model text"
    )
    return parser.parse_args()


def add_training_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("train, profile")
    group.add_argument(
        "--conf", type=Path, nargs="+", default=[ROOT / CONF], help="settings files, one network for each"
    )
    group.add_argument(
        "--parameters", type=float, default=6e6, help="parameters of each network, within 3 %% (default 6e6)"
    )
    group.add_argument("--batch-s", type=float, default=30.0, help="seconds of audio in a batch (default 30)")
    group.add_argument("--threads", type=positive, default=2, help="threads of each training process (default 2)")
    group.add_argument("--workers", type=int, default=1, help="loader processes of each toolkit (default 1)")
    group.add_argument("--no-cache", action="store_true", help="do not cache decoded audio")
    group.add_argument("--steps", type=positive, default=8, help="profile: number of steps (default 8)")
    arithmetics = ("float32", "bf16", "both")
    group.add_argument("--arithmetic", choices=arithmetics, help="default: both if the device supports bfloat16")


def add_serving_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("serve, soak")
    group.add_argument(
        "--streams", type=positive, help="serve: the most streams to try (default 200); soak: clients (default 20)"
    )
    group.add_argument("--seconds", type=amount, default=15.0, help="of speech in each stream (default 15)")
    group.add_argument("--alone", action="store_true", help="serve: without pocketsphinx and faster-whisper")


def serve_options(arguments: argparse.Namespace, *, minutes: float, streams: int) -> ServeOptions:
    """Of the command line, with defaults for what is not given."""
    return ServeOptions(
        model=str(arguments.model or STREAMING),
        data=arguments.data,
        minutes=arguments.minutes or minutes,
        seconds=arguments.seconds,
        streams=arguments.streams or streams,
        peers=not arguments.alone,
    )


def train_options(arguments: argparse.Namespace) -> TrainOptions:
    device = torch.device(arguments.device)
    chosen = {"float32": (False,), "bf16": (True,), "both": (False, True), None: arithmetics(device)}
    return TrainOptions(
        confs=tuple(arguments.conf),
        data=arguments.data,
        minutes=arguments.minutes or 5.0,
        runs=arguments.runs,
        parameters=arguments.parameters,
        threads=arguments.threads,
        workers=arguments.workers,
        batch_s=arguments.batch_s,
        cache=not arguments.no_cache,
        bf16=chosen[arguments.arithmetic],
        device=device,
    )


def positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' must be a whole number from 1")
    return int(text)


def amount(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' must be a number above 0")
    return value


def warn_if_busy() -> None:
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > 0.5 * cores:
        print(
            f"note: the machine is busy (load {load:.1f} on {cores} cores): the measured speeds will be too low",
            file=sys.stderr,
        )


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


def medians(runs: int, ours: Callable[[], object], peer: Callable[[], object]) -> tuple[float, float]:
    """Median seconds of each. Runs alternate; the first of each is a warm-up."""
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
