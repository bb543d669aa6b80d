"""Benchmark of training on real audio: Recitative and its peers, alternating, on the same utterances.

Recitative runs ``recitative train`` and reads its log, so logging and random numbers are included. The peers are
deepspeech.pytorch's network (bench_train_peers.py) and SpeechBrain's CRDNN (bench_train_speechbrain.py), each with
its own batches, features, loss, optimizer and step. All have the same number of parameters, threads, loader
processes and seconds per batch, letters as tokens, and decoded audio in memory (or not). None uses augmentation,
except the row "augmented", which has that of the settings file.

A turn is an epoch without its first step. hours/h: hours of audio per hour. waiting: share of the time spent waiting
for batches. padding: share of frames that are padding. GFLOP/s of audio: operations of the forward and backward pass
for a second of audio, with padding. of rate: operations per second, relative to a large float32 matrix product with
the same threads; bfloat16 can exceed 1.

profile: the stages of preparing a batch, in milliseconds per second of audio in a loader process on one core; and
the operators of a training step, by their self time in PyTorch's profiler over some steps of ``recitative train`` on
real batches. The rest of a step is Python, waiting for data, and logging.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal, TypeVar

import numpy as np
import torch
import typer
from bench_material import Contestant, FlopCount, Material, Step, Turn, data_or_digits, draw, hidden_for, product_rate
from bench_models import Runs
from bench_train_peers import WINDOW_S, DeepSpeech, DeepSpeechTraining
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.profiler import ProfilerActivity, profile, schedule

from recitative.asr.kind import RECOGNIZER
from recitative.asr.network import build_recognizer
from recitative.config import AugmentSettings, RecognizerData, Settings, load_settings
from recitative.data.directory import DataDirectory
from recitative.features.augment import Augmenter, VocalTractWarp, spec_augment
from recitative.features.extraction import accumulate, read_utterance
from recitative.features.frontend import FeatureExtractor
from recitative.nn.ragged import pad_features
from recitative.score.results import describe_machine
from recitative.terminal import progress_bar
from recitative.train.distributed import has_bf16
from recitative.train.run import train_model

CONF = Path(__file__).resolve().parent.parent / "recipes/an4/conf/blstm.yaml"
NAME_WIDTH = 34


@dataclass(frozen=True)
class TrainOptions:
    """Options of the benchmarks of training."""

    conf: Annotated[
        list[Path] | None, typer.Option(help="Settings file; repeat it for several networks. Default: AN4's.")
    ] = None
    data: Annotated[
        Path | None, typer.Option(help="Data directory or shards to train on. Default: the digits recipe's.")
    ] = None
    minutes: Annotated[float, typer.Option(min=0.001, help="Minutes of audio to select from the data.")] = 5.0
    parameters: Annotated[float, typer.Option(help="Parameters of each network, within 3 %.")] = 6e6
    batch_s: Annotated[float, typer.Option(help="Seconds of audio in a batch.")] = 30.0
    threads: Annotated[int, typer.Option(min=1, help="Threads of each training process.")] = 2
    workers: Annotated[int, typer.Option(min=0, help="Loader processes of each toolkit.")] = 1
    cache: Annotated[bool, typer.Option("--cache/--no-cache", help="Keep decoded audio in memory.")] = True
    arithmetic: Annotated[
        Literal["float32", "bf16", "both"] | None, typer.Option(help="Default: both if the device supports bfloat16.")
    ] = None
    device_name: Annotated[Literal["cpu", "cuda"], typer.Option("--device", help="Device for training.")] = "cpu"

    @property
    def confs(self) -> tuple[Path, ...]:
        return tuple(self.conf or (CONF,))

    @property
    def device(self) -> torch.device:
        return torch.device(self.device_name)

    @property
    def bf16(self) -> tuple[bool, ...]:
        """(False, True) runs everything twice."""
        default = "both" if has_bf16(self.device) else "float32"
        return {"float32": (False,), "bf16": (True,), "both": (False, True)}[self.arithmetic or default]


def bench_train(options: TrainOptions, runs: Runs = 3) -> None:
    """Train on real audio, compared with networks of deepspeech.pytorch and SpeechBrain with as many parameters."""
    torch.set_num_threads(options.threads)
    sample_rate = load_settings(options.confs[0]).features.sample_rate
    with ExitStack() as stack, progress_bar("audio") as show:
        data = stack.enter_context(data_or_digits(options.data))
        folder = Path(stack.enter_context(TemporaryDirectory()))
        material = draw(data, options.minutes, sample_rate, cache=options.cache)
        contestants = [*ours(material, folder, options), *peers(material, options)]
        print_conditions(material, options)
        turns: dict[str, list[Turn]] = {contestant.name: [] for contestant in contestants}
        rates: list[float] = []
        total = (runs + 1) * len(contestants)
        for done in range(total):
            run, contestant = done // len(contestants), contestants[done % len(contestants)]
            show(done, total, contestant.name)
            torch.set_num_threads(options.threads)
            turn = contestant.train()
            if run:  # the first turn of each is a warm-up
                turns[contestant.name].append(turn)
                rates.append(product_rate(options.device))
    print_table(contestants, turns, statistics.median(rates))


def ours(material: Material, folder: Path, options: TrainOptions) -> list[Contestant]:
    """Runs of each settings file: without augmentation in each arithmetic, and with it in the fastest."""
    found: list[Contestant] = []
    for conf in options.confs:
        settings = settings_of(conf, material, options)
        plain = settings.model_copy(update={"augment": AugmentSettings()})
        paths = write_inputs(material, settings, folder / f"{len(found)}")
        for bf16 in options.bf16:
            found.append(OurTraining(named(f"recitative {conf.stem}", bf16), with_bf16(plain, bf16), paths))
        if settings.augment != plain.augment:
            name = named(f"recitative {conf.stem}, augmented", options.bf16[-1])
            found.append(OurTraining(name, with_bf16(settings, options.bf16[-1]), paths))
    return found


def peers(material: Material, options: TrainOptions) -> list[Contestant]:
    found: list[Contestant] = []
    for make in [deepspeech, *speechbrain_if_there()]:
        for bf16 in options.bf16:
            contestant = make(material, options, bf16)
            contestant.name = named(contestant.name, bf16)
            found.append(contestant)
    return found


def deepspeech(material: Material, options: TrainOptions, bf16: bool) -> DeepSpeechTraining:
    def parameters(hidden: int) -> int:
        with torch.device("meta"):
            return count(DeepSpeech(round(material.sample_rate * WINDOW_S) // 2 + 1, hidden, len(material.tokens)))

    hidden = hidden_for(parameters, options.parameters)
    return DeepSpeechTraining(
        material, hidden, batch_s=options.batch_s, workers=options.workers, bf16=bf16, device=options.device
    )


def speechbrain_if_there() -> list[Callable[[Material, TrainOptions, bool], Contestant]]:
    try:
        from bench_train_speechbrain import CrdnnTraining, crdnn
    except ImportError as error:
        print(f"note: SpeechBrain is skipped ({error}); install it with: pip install '.[bench]'", file=sys.stderr)
        return []

    def make(material: Material, options: TrainOptions, bf16: bool) -> Contestant:
        parts = partial(crdnn, tokens=len(material.tokens))
        hidden = hidden_for(lambda hidden: sum(map(count, parts(hidden).values())), options.parameters)
        return CrdnnTraining(
            material, hidden, batch_s=options.batch_s, workers=options.workers, bf16=bf16, device=options.device
        )

    return [make]


class OurTraining:
    """``recitative train`` for one epoch; see ``bench_material.Contestant``."""

    def __init__(self, name: str, settings: Settings, paths: RecognizerData) -> None:
        self.name = name
        self.settings = settings
        self.paths = paths
        self.parameters = 0

    def train(self) -> Turn:
        with TemporaryDirectory() as name:
            folder = Path(name)
            with FlopCount() as flops:
                train_model(RECOGNIZER, self.settings, self.paths, folder, quiet=True)
            self.parameters = json.loads((folder / "environment.json").read_text())["parameters"]
            return Turn.of(read_steps(folder / "train.jsonl"), flops.flops)


def read_steps(log: Path) -> list[Step]:
    """Read the steps of a run from its log, in which ``seconds`` count from its start."""
    steps: list[Step] = []
    before = 0.0
    for line in map(json.loads, log.read_text(encoding="utf-8").splitlines()):
        if line["event"] == "step":
            steps.append(Step(line["audio_s"], line["seconds"] - before, line["wait_s"], line["padding"]))
            before = line["seconds"]
    return steps


def settings_of(conf: Path, material: Material, options: TrainOptions) -> Settings:
    """One epoch with the settings file, with the hidden size for the given number of parameters."""
    base = load_settings(conf)

    def parameters(hidden: int) -> int:
        core = base.model.recurrent.model_copy(update={"hidden": hidden})
        model = base.model.model_copy(update={"recurrent": core})
        with torch.device("meta"):
            return count(build_recognizer(model, base.features.dim, len(material.tokens)))

    overrides = {
        "model.recurrent.hidden": hidden_for(parameters, options.parameters),
        "model.attention.weight": 0,  # CTC only, as the peers
        "train.epochs": 1,
        "train.restarts": "[]",
        "train.batch_s": options.batch_s,
        "train.threads": options.threads,
        "train.workers": options.workers,
        "train.device": options.device.type,
        "train.cache_mb": 1e6 if options.cache else 0,
        "train.checkpoint_every_steps": 1_000_000,
    }
    return load_settings(conf, [f"{key}={value}" for key, value in overrides.items()])


def with_bf16(settings: Settings, bf16: bool) -> Settings:
    return settings.model_copy(update={"train": settings.train.model_copy(update={"bf16": bf16})})


def write_inputs(material: Material, settings: Settings, folder: Path) -> RecognizerData:
    """Write the inputs of a run. Its dev set is one utterance."""
    data = DataDirectory(()).with_utterances(material.utterances)
    paths = RecognizerData(
        train=folder / "train", dev=folder / "dev", tokens=folder / "tokens.txt", cmvn=folder / "cmvn"
    )
    data.write(paths.train)
    data.with_utterances(data.utterances[:1]).write(paths.dev)
    material.tokens.write(paths.tokens)
    extractor = FeatureExtractor(settings.features)
    numbers = range(min(len(material.utterances), 100))
    stats = accumulate((extractor.compute(material.samples(number)) for number in numbers), settings.features.dim)
    assert paths.cmvn
    stats.write(paths.cmvn)
    return paths


def named(name: str, bf16: bool) -> str:
    return f"{name}, bf16" if bf16 else name


def count(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def print_conditions(material: Material, options: TrainOptions) -> None:
    lengths = np.array(material.seconds)
    machine = f"{describe_machine()}, {options.device.type}, {options.threads} threads"
    utterances = f"{len(lengths)} utterances of {lengths.min():.1f} to {lengths.max():.1f} s"
    decoded = "before" if options.cache else "each time"
    print(f"train     {machine}, {options.workers} loader processes, torch {torch.__version__}")
    amount = f"{material.audio_s / 60:.1f} minutes: {utterances}, decoded {decoded}"
    print(f"train     {amount}; {options.batch_s:g} s in a batch", flush=True)


def print_table(contestants: Sequence[Contestant], turns: dict[str, list[Turn]], rate: float) -> None:
    print(f"train     a float32 matrix product: {rate / 1e9:.0f} GFLOP/s")
    header = f"{'':{NAME_WIDTH}} parameters hours/h  waiting padding steps/s  GFLOP/s of audio  of rate"
    print(f"train     {header}")
    for contestant in contestants:
        print(f"train     {row(contestant, turns[contestant.name], rate)}")


def row(contestant: Contestant, turns: Sequence[Turn], rate: float) -> str:
    def median(value: Callable[[Turn], float]) -> float:
        return statistics.median(map(value, turns))

    speed = median(lambda turn: turn.speed)
    flops = median(lambda turn: turn.flops_per_audio_s)
    return (
        f"{contestant.name:{NAME_WIDTH}} {contestant.parameters / 1e6:8.2f} M {speed:7.1f} "
        f"{median(lambda turn: turn.waiting):8.1%} {median(lambda turn: turn.padding):7.1%} "
        f"{median(lambda turn: turn.steps / turn.seconds):7.2f} {flops / 1e9:17.1f} {speed * flops / rate:8.1%}"
    )


T = TypeVar("T")

SKIPPED_STEPS = 2
OPERATORS = 14


def bench_profile(
    options: TrainOptions, steps: Annotated[int, typer.Option(min=1, help="Number of steps.")] = 8
) -> None:
    """Show where the time of a training step goes, for the first settings file."""
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
    print(f"profile   preparation, one core: {1000 * total / material.audio_s:.2f} ms per second of audio")
    for stage, spent in seconds.items():
        print(f"profile     {stage:34} {1000 * spent / material.audio_s:8.3f} ms {spent / total:6.1%}", flush=True)


def prepare(material: Material, settings: Settings, batch_s: float) -> dict[str, float]:
    """Seconds of each stage of the loader, with the augmentation of the settings."""
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
        started = time.perf_counter()
        result = work()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started
        return result


def print_operators(name: str, settings: Settings, paths: RecognizerData, folder: Path, steps: int) -> None:
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (settings.train.device == "cuda")
    plan = schedule(wait=SKIPPED_STEPS - 1, warmup=1, active=steps, repeat=1)
    ends: list[float] = []
    with profile(activities=activities, schedule=plan) as profiler, after_each_step(lambda: mark(profiler, ends)):
        train_model(RECOGNIZER, settings, paths, folder, quiet=True)
    counted = ends[SKIPPED_STEPS - 1 : SKIPPED_STEPS + steps]
    step_ms = 1000 * (counted[-1] - counted[0]) / (len(counted) - 1)
    print(f"profile   {name}, {settings.train.threads} threads: a step takes {step_ms:.1f} ms under the profiler")
    for operator, calls, own_ms in operators(profiler, len(counted) - 1):
        print(f"profile     {operator:34} {own_ms:8.2f} ms {own_ms / step_ms:6.1%} {calls:8.0f} calls", flush=True)


def operators(profiler: profile, steps: int) -> Sequence[tuple[str, float, float]]:
    """(name, calls per step, self time in ms per step), the slowest first."""
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
    """Call a function after every optimizer step in this process."""
    hook = register_optimizer_step_post_hook(lambda optimizer, arguments, named_arguments: work())
    try:
        yield
    finally:
        hook.remove()
