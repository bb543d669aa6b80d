#!/usr/bin/env python3
"""Real-time factor of an exported model on one thread.

    python3 tools/bench_models.py exp/small/model.onnx --results exp/results.jsonl --model small --set noise

A classifier processes a minute of noise, in blocks of 10 s as from a file, and in chunks of --piece-ms with a result
after each; features are included. A music model generates pieces of --bars bars, at 100 quarter notes a minute. A
sound model generates --seconds of audio.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "pipeline"))

from recitative import pretrained  # noqa: E402
from recitative.classification.classifier import CLASSIFIER, Classifier, load_classifier  # noqa: E402
from recitative.cli.options import Record, expand_options  # noqa: E402
from recitative.cli.start import run  # noqa: E402
from recitative.kinds import kind_of  # noqa: E402
from recitative.lm.recurrent import Sampling  # noqa: E402
from recitative.model.onnx_stage import open_file  # noqa: E402
from recitative.music.composer import Scorer  # noqa: E402
from recitative.music.composition import compose  # noqa: E402
from recitative.music.settings import (  # noqa: E402
    MUSIC,
    Constraints,
    blank,
)
from recitative.score.results import Measurement  # noqa: E402
from recitative.sound.conditioning import width_of  # noqa: E402
from recitative.sound.generator import SOUND, SoundGenerator  # noqa: E402

QUARTERS_PER_MINUTE = 100.0
FILE_PIECE_S = 10.0  # length of blocks in which files are read
BARS, MANY_PIECES = 16, 16


Runs = Annotated[int, typer.Option(min=1, help="Number of runs for each median.")]


@expand_options
def measure(
    file: Annotated[Path, typer.Argument(help="Exported model, or the name of a pretrained one.")],
    record: Record,
    runs: Runs = 5,
    seconds: Annotated[
        float | None, typer.Option(help="Seconds of audio in a run. Default: classifier 60, sound model 2.")
    ] = None,
    piece_ms: Annotated[int, typer.Option(help="Classifier: length of the chunks.")] = 160,
    bars: Annotated[int, typer.Option(min=1, help="Music: length of each piece.")] = BARS,
    count: Annotated[int, typer.Option(help="Music: batch size.")] = 1,
    gibbs_steps: Annotated[
        int, typer.Option("--gibbs-steps", "--sweeps", help="Music: Gibbs steps of a model that fills in.")
    ] = 100,
) -> None:
    path = pretrained.find(file)
    kind = kind_of(path, (CLASSIFIER, MUSIC, SOUND))
    if kind is MUSIC:
        scorer = open_file(path, MUSIC)
        found = music_speed(scorer, bars=bars, pieces=count, runs=runs, gibbs_steps=gibbs_steps)
        counts = f"{found.seconds:.3f} s / {found.music_s:.1f} s"
        record.write([Measurement("real-time factor", found.real_time_factor, counts)], scorer.settings, found.seconds)
        per_second = f"{found.pieces_per_second:.2f} pieces a second"
        print(f"real-time factor {found.real_time_factor:.4f} [ {counts} ], {per_second} of {bars} bars")
    elif kind is SOUND:
        factors = sound_factors(open_file(path, SOUND), seconds or 2.0, runs)
        print(f"{path}: real-time factor {_median(factors, 3)} on one thread ({_listed(factors, 3)})")
    else:
        classifier, seconds = load_classifier(path, threads=1), seconds or 60.0
        for what, piece_s in (("of a file", FILE_PIECE_S), (f"in pieces of {piece_ms} ms", piece_ms / 1000)):
            factors = classifier_factors(classifier, seconds, piece_s, runs)
            print(f"{path}: real-time factor {_median(factors, 5)} {what}, one thread ({_listed(factors, 5)})")
            rounded = round(statistics.median(factors), 6)
            counts = f"{seconds:g} s, median of {runs}"
            record.write([Measurement(f"real-time factor {what}", rounded, counts)], classifier.settings)


def _median(factors: list[float], digits: int) -> str:
    return f"{statistics.median(factors):.{digits}f}"


def _listed(factors: list[float], digits: int) -> str:
    return ", ".join(f"{factor:.{digits}f}" for factor in factors)


def classifier_factors(classifier: Classifier, seconds: float, piece_s: float, runs: int) -> list[float]:
    """Real-time factor of each run, after a short warm-up."""
    rate = classifier.sample_rate
    samples = (0.1 * np.random.default_rng(0).standard_normal(round(seconds * rate))).astype(np.float32)
    size = max(1, round(piece_s * rate))
    factors = []
    for length in (size, *[len(samples)] * runs):
        stream, started = classifier.stream(), time.perf_counter()
        for start in range(0, length, size):
            stream.accept(samples[start : min(start + size, length)], rate)
        factors.append((time.perf_counter() - started) / (length / rate))
    return factors[1:]


def sound_factors(generator: SoundGenerator, seconds: float, runs: int) -> list[float]:
    """Real-time factor of each run, after a short warm-up."""
    settings = generator.metadata.settings
    width = width_of(settings, generator.labels)
    steps = round(seconds * generator.sample_rate / settings.features.hop_samples) + 1
    frames = [np.zeros((steps, width), np.float32)] if width else []
    factors = []
    for length in (0.1, *[seconds] * runs):
        started = time.perf_counter()
        for _ in generator.generate(round(length * generator.sample_rate), frames=frames):
            pass
        factors.append((time.perf_counter() - started) / length)
    return factors[1:]


@dataclass(frozen=True)
class MusicSpeed:
    """seconds: median time of a run that generates ``pieces``; music_s: their total duration."""

    seconds: float
    pieces: int
    music_s: float

    @property
    def real_time_factor(self) -> float:
        return self.seconds / self.music_s

    @property
    def pieces_per_second(self) -> float:
        return self.pieces / self.seconds


def music_speed(scorer: Scorer, *, bars: int, pieces: int, runs: int, gibbs_steps: int = 100) -> MusicSpeed:
    """Measure the generation of new pieces, after a warm-up run."""
    request = blank(scorer.frames, bars * scorer.frames.bar, "piece", QUARTERS_PER_MINUTE)
    taken = []
    for number in range(runs + 1):
        started = time.perf_counter()
        made = compose(scorer, request, Constraints(), Sampling(), count=pieces, seed=number, gibbs_steps=gibbs_steps)
        taken.append(time.perf_counter() - started)
    return MusicSpeed(statistics.median(taken[1:]), pieces, sum(piece.seconds for piece in made))


def bench_music(
    runs: Runs = 3,
    model: Annotated[
        Path | None, typer.Option(help="Exported model. Default: those of the chorales recipe with random weights.")
    ] = None,
) -> None:
    """Measure the generation of music without PyTorch, a piece alone and many side by side."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if model:
        scorers = {model.name: open_file(model, MUSIC)}
    else:
        scorers = {f"{name}.yaml": random_music_model(name) for name in ("chorales", "fill")}
    for name, scorer in scorers.items():
        for pieces in (1, MANY_PIECES):
            found = music_speed(scorer, bars=BARS, pieces=pieces, runs=runs)
            what = f"{name}, {pieces} piece{'s' if pieces > 1 else ''} of {BARS} bars"
            factor = f"real-time factor {found.real_time_factor:.4f} ({1 / found.real_time_factor:.0f} x real time)"
            print(f"music     {what:40} {found.pieces_per_second:7.2f} pieces per second, {factor}", flush=True)


def random_music_model(name: str) -> Scorer:
    import torch

    from recitative.config import load_tree
    from recitative.model.export import build_file
    from recitative.music.settings import MusicSettings
    from recitative.music.task import new_music_model

    torch.manual_seed(1)
    made = new_music_model(load_tree(MusicSettings, ROOT / "recipes" / "chorales" / "conf" / f"{name}.yaml"))
    made.network.eval()
    return open_file(build_file(made, int8=True).SerializeToString(), MUSIC)


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.command(help=__doc__)(measure)

if __name__ == "__main__":
    run(app)
