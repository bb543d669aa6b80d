#!/usr/bin/env python3
"""Benchmarks of features, training, streaming and decoding, compared with other toolkits in the same run.

Each figure is the median of several runs. Recitative and its peer take turns, so that other load slows both. A ratio
above 1 means that Recitative is faster. Without a command: features, train, runtime, decoding, music and shards.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torchaudio
import typer
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "pipeline"))

from bench_models import Runs, bench_music
from bench_runtime import bench_decoding, bench_long, bench_runtime
from bench_serve import bench_serve
from bench_shards import bench_shards
from bench_soak import bench_soak
from bench_train import bench_profile, bench_train

from recitative.cli.options import expand_options
from recitative.cli.start import run, unwrap_help
from recitative.config import FeatureSettings
from recitative.features.augment import (
    VocalTractWarp,
    add_noise,
    change_speed,
    limit_to_telephone_band,
    reverberate,
)
from recitative.features.frontend import FeatureExtractor

FEATURES_S = 20
Works = tuple[Callable[[], object], Callable[[], object]]  # ours, and a peer's


def bench_features(runs: Runs = 3) -> None:
    """Measure fbank features of 80 bins and augmentation at 16 kHz on one core, compared with torchaudio."""
    extractor = FeatureExtractor(FeatureSettings())
    samples = np.random.default_rng(0).standard_normal(16000 * FEATURES_S).astype(np.float32) * 0.1
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rows: dict[str, Works] = {"fbank 80": (lambda: extractor.compute(samples), lambda: torchaudio_fbank(samples))}
    for name, works in (rows | augmentations(samples, extractor.compute(samples))).items():
        ours, peer = medians(runs, *works)
        seconds = len(samples) / 16000
        speed, ratio = f"{seconds / ours:7.0f} x real time ", f"{peer / ours:5.2f} of torchaudio ({seconds / peer:.0f})"
        print(f"features  {name + ', 16 kHz, one core':40} {speed} {ratio}", flush=True)
    torch.set_num_threads(threads)


def augmentations(samples: np.ndarray, frames: np.ndarray) -> dict[str, Works]:
    """Ours, and the operator of torchaudio. The telephone band is one of frames (T, 80) here, of samples there."""
    rng = np.random.default_rng(1)
    impulse = (rng.standard_normal(8000) * np.exp(-np.arange(8000) / 1500)).astype(np.float32)
    noise = rng.standard_normal(len(samples)).astype(np.float32)
    sound, response, other = map(torch.from_numpy, (samples, impulse, noise))
    hz = VocalTractWarp(FeatureSettings()).hz
    functional = torchaudio.functional
    return {
        "room response": (lambda: reverberate(samples, impulse), lambda: functional.fftconvolve(sound, response)),
        "noise": (
            lambda: add_noise(samples, noise, snr_db=10.0),
            lambda: functional.add_noise(sound, other, torch.tensor(10.0)),
        ),
        "speed": (lambda: change_speed(samples, 0.9, 16000), lambda: functional.speed(sound, 16000, 0.9)),
        "telephone band": (
            lambda: limit_to_telephone_band(frames, hz, -10.0, rng),
            lambda: functional.lowpass_biquad(functional.highpass_biquad(sound, 16000, 300.0), 16000, 3400.0),
        ),
    }


def torchaudio_fbank(samples: np.ndarray) -> Tensor:
    scaled = torch.from_numpy(samples)[None] * 32768
    return torchaudio.compliance.kaldi.fbank(scaled, num_mel_bins=80, dither=0.0, sample_frequency=16000)


def medians(runs: int, ours: Callable[[], object], peer: Callable[[], object]) -> tuple[float, float]:
    """Median seconds of each. Runs alternate; the first of each is a warm-up."""
    seconds: dict[Callable[[], object], list[float]] = {ours: [], peer: []}
    for number in range(runs + 1):
        for work, taken in seconds.items():
            started = time.perf_counter()
            work()
            if number:
                taken.append(time.perf_counter() - started)
    return statistics.median(seconds[ours]), statistics.median(seconds[peer])


PARTS: dict[str, Callable[..., None]] = {
    "features": bench_features,
    "train": bench_train,
    "runtime": bench_runtime,
    "decoding": bench_decoding,
    "music": bench_music,
    "shards": bench_shards,
}
LONGER: dict[str, Callable[..., None]] = {
    "profile": bench_profile,
    "long": bench_long,
    "serve": bench_serve,
    "soak": bench_soak,
}
app = typer.Typer(help=__doc__, add_completion=False, pretty_exceptions_enable=False)
for name, part in (PARTS | LONGER).items():
    app.command(name)(expand_options(part))


@app.callback(invoke_without_command=True)
def bench(context: typer.Context) -> None:
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > 0.5 * cores:
        warning = f"note: the machine is busy (load {load:.1f} on {cores} cores): the measured speeds will be too low"
        print(warning, file=sys.stderr)
    for part in PARTS.values() if context.invoked_subcommand is None else ():
        expand_options(part)()


unwrap_help(app)

if __name__ == "__main__":
    run(app)
