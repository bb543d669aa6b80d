"""Where the time of our training goes: preparing batches, stage by stage, and the operators of a step.

Preparation: milliseconds per second of audio on one core, as a loader process spends them. Operators: PyTorch's
profiler over some steps of ``recitative train`` on real batches, prepared by the loader processes; an operator's own
time, without that of those it calls. What remains of a step is Python, waiting for data and the log.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np
import torch
from bench_material import Material, data_or_digits, draw
from bench_train import TrainOptions, named, settings_of, with_bf16, write_inputs
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.profiler import ProfilerActivity, profile, schedule

from recitative.config import Settings, load_settings
from recitative.features.augment import Augmenter, spec_augment
from recitative.features.frontend import FeatureExtractor
from recitative.features.utterances import read_utterance
from recitative.features.vtlp import VocalTractWarp
from recitative.nn.ragged import pad_features
from recitative.recognition.training import TrainingPaths, train_recogniser

T = TypeVar("T")

SKIPPED_STEPS = 2
OPERATORS = 14


def bench_profile(options: TrainOptions, steps: int) -> None:
    """Print both tables for the first settings file, the second one in each arithmetic."""
    conf = options.confs[0]
    with data_or_digits(options.data) as data, TemporaryDirectory() as folder:
        material = draw(data, options.minutes, load_settings(conf).features.sample_rate, cache=options.cache)
        settings = settings_of(conf, material, options)
        print_preparation(material, settings, options.batch_s)
        paths = write_inputs(material, settings, Path(folder) / "inputs")
        for bf16 in options.bf16:
            run = Path(folder) / f"run-{bf16}"
            print_operators(named(conf.stem, bf16), with_bf16(settings, bf16), paths, run, steps)


def print_preparation(material: Material, settings: Settings, batch_s: float) -> None:
    torch.set_num_threads(1)
    seconds = prepare(material, settings, batch_s)
    total = sum(seconds.values())
    print(f"profile   preparation, one core: {1000 * total / material.audio_s:.2f} ms a second of audio")
    for stage, spent in seconds.items():
        print(f"profile     {stage:34} {1000 * spent / material.audio_s:8.3f} ms {spent / total:6.1%}", flush=True)


def prepare(material: Material, settings: Settings, batch_s: float) -> dict[str, float]:
    """What the loader does to every utterance, augmentation as in the settings: stage -> seconds."""
    rng = np.random.default_rng(0)
    augment, masks, width = settings.augment, settings.augment.spec_augment, settings.features.dim
    augmenter = Augmenter(augment, settings.features.sample_rate)
    extractor = FeatureExtractor(settings.features)
    warp = VocalTractWarp(settings.features) if augment.vtlp != (1.0, 1.0) else None
    clock = Clock()
    rows = []
    for utterance in material.utterances:
        samples = clock.time("decode", lambda utterance=utterance: read_utterance(utterance))
        speed = float(rng.choice(augment.speeds))
        samples = clock.time("speed, noise, volume", lambda x=samples, s=speed: augmenter.perturb(x, s, rng))
        features = clock.time("features", lambda x=samples: extractor.compute(x))
        if warp:
            factor = rng.uniform(*augment.vtlp)
            features = clock.time("vocal tract length", lambda x=features, f=factor: warp.warp(x, f))
        rows.append(clock.time("SpecAugment", lambda x=features: spec_augment(x, masks, rng, 0.0)))
    size = material.rows(batch_s)
    for start in range(0, len(rows), size):
        clock.time("padding", lambda start=start: pad_features(rows[start : start + size], width))
    return clock.seconds


class Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def time(self, stage: str, work: Callable[[], T]) -> T:
        begun = time.perf_counter()
        result = work()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - begun
        return result


def print_operators(name: str, settings: Settings, paths: TrainingPaths, folder: Path, steps: int) -> None:
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (settings.train.device == "cuda")
    plan = schedule(wait=SKIPPED_STEPS - 1, warmup=1, active=steps, repeat=1)
    ends: list[float] = []
    with profile(activities=activities, schedule=plan) as profiler, after_each_step(lambda: mark(profiler, ends)):
        train_recogniser(settings, paths, folder, quiet=True)
    counted = ends[SKIPPED_STEPS - 1 : SKIPPED_STEPS + steps]
    step_ms = 1000 * (counted[-1] - counted[0]) / (len(counted) - 1)
    print(f"profile   {name}, {settings.train.threads} threads: a step takes {step_ms:.1f} ms under the profiler")
    for operator, calls, own_ms in operators(profiler, len(counted) - 1):
        print(f"profile     {operator:34} {own_ms:8.2f} ms {own_ms / step_ms:6.1%} {calls:8.0f} calls", flush=True)


def operators(profiler: profile, steps: int) -> Sequence[tuple[str, float, float]]:
    """(name, calls a step, milliseconds of its own a step), the dearest first."""
    events = sorted(profiler.key_averages(), key=lambda event: -_own_us(event))
    rows = [(event.key[:34], event.count / steps, _own_us(event) / 1000 / steps) for event in events]
    return [row for row in rows if not row[0].startswith("ProfilerStep")][:OPERATORS]


def _own_us(event: object) -> float:
    return float(getattr(event, "self_cpu_time_total", 0.0)) + float(getattr(event, "self_device_time_total", 0.0))


def mark(profiler: profile, ends: list[float]) -> None:
    ends.append(time.perf_counter())
    profiler.step()


@contextmanager
def after_each_step(work: Callable[[], None]) -> Iterator[None]:
    """Call after every optimiser's step in this process."""
    hook = register_optimizer_step_post_hook(lambda optimiser, arguments, named_arguments: work())
    try:
        yield
    finally:
        hook.remove()
