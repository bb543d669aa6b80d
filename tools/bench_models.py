#!/usr/bin/env python3
"""Real-time factor of an exported model on one thread.

    python3 tools/bench_models.py exp/small/model.onnx --results exp/results.jsonl --model small --set noise

A classifier processes a minute of noise, in blocks of 10 s as from a file, and in chunks of --piece-ms with a result
after each; features are included. A music model generates pieces of --bars bars, at 100 quarter notes a minute. A
sound model generates --seconds of audio.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "pipeline"))

from recitative import pretrained  # noqa: E402
from recitative.classification.classifier import Classifier, load_classifier  # noqa: E402
from recitative.classification.kind import CLASSIFIER  # noqa: E402
from recitative.cli.options import Record  # noqa: E402
from recitative.errors import RecitativeError  # noqa: E402
from recitative.kinds import kind_of  # noqa: E402
from recitative.lm.recurrent import Sampling  # noqa: E402
from recitative.model.onnx_stage import open_file  # noqa: E402
from recitative.music.composer import Scorer  # noqa: E402
from recitative.music.composition import compose  # noqa: E402
from recitative.music.kind import MUSIC  # noqa: E402
from recitative.music.request import Constraints, blank  # noqa: E402
from recitative.score.results import Measurement  # noqa: E402
from recitative.sound.conditioning import width_of  # noqa: E402
from recitative.sound.generator import SoundGenerator  # noqa: E402
from recitative.sound.kind import SOUND  # noqa: E402

QUARTERS_PER_MINUTE = 100.0
FILE_PIECE_S = 10.0  # length of blocks in which files are read
BARS, MANY_PIECES = 16, 16


def main(arguments: list[str] | None = None) -> int:
    try:
        measure(parse_arguments(arguments))
    except RecitativeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="exported model, or the name of a pretrained one")
    parser.add_argument("--runs", type=int, default=5, help="number of runs for the median (default 5)")
    parser.add_argument(
        "--seconds", type=float, help="seconds of audio in a run (default: classifier 60, sound model 2)"
    )
    parser.add_argument("--piece-ms", type=int, default=160, help="classifier: length of the chunks (default 160)")
    parser.add_argument("--bars", type=int, default=BARS, help="music: length of each piece (default 16)")
    parser.add_argument("--count", type=int, default=1, help="music: batch size (default 1)")
    parser.add_argument(
        "--gibbs-steps",
        "--sweeps",
        type=int,
        default=100,
        help="music: Gibbs steps of a model that fills in (default 100)",
    )
    parser.add_argument("--results", type=Path, help="JSON Lines file of results; requires --model and --set")
    parser.add_argument("--results-md", type=Path, help="Markdown table of --results")
    parser.add_argument("--model", default="", help="name of the model in the results")
    parser.add_argument("--set", default="", help="name of the data in the results")
    parser.add_argument("--decoding", default="-", help="name of the measurement in the results")
    parser.add_argument("--command", default="-", help="command to record in the results")
    return parser.parse_args(arguments)


def measure(a: argparse.Namespace) -> None:
    record = Record(a.results, a.results_md, a.model, a.set, a.decoding, a.command)
    path = pretrained.find(a.file)
    kind = kind_of(path, (CLASSIFIER, MUSIC, SOUND))
    if kind is MUSIC:
        scorer = open_file(path, MUSIC)
        found = music_speed(scorer, bars=a.bars, pieces=a.count, runs=a.runs, gibbs_steps=a.gibbs_steps)
        counts = f"{found.seconds:.3f} s / {found.music_s:.1f} s"
        record.write([Measurement("real-time factor", found.real_time_factor, counts)], scorer.settings, found.seconds)
        per_second = f"{found.pieces_per_second:.2f} pieces a second"
        print(f"real-time factor {found.real_time_factor:.4f} [ {counts} ], {per_second} of {a.bars} bars")
    elif kind is SOUND:
        factors = sound_factors(open_file(path, SOUND), a.seconds or 2.0, a.runs)
        print(f"{path}: real-time factor {_median(factors, 3)} on one thread ({_listed(factors, 3)})")
    else:
        classifier, seconds = load_classifier(path, threads=1), a.seconds or 60.0
        for what, piece_s in (("of a file", FILE_PIECE_S), (f"in pieces of {a.piece_ms} ms", a.piece_ms / 1000)):
            factors = classifier_factors(classifier, seconds, piece_s, a.runs)
            print(f"{path}: real-time factor {_median(factors, 5)} {what}, one thread ({_listed(factors, 5)})")
            rounded = round(statistics.median(factors), 6)
            counts = f"{seconds:g} s, median of {a.runs}"
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
    for run in range(runs + 1):
        started = time.perf_counter()
        made = compose(scorer, request, Constraints(), Sampling(), count=pieces, seed=run, gibbs_steps=gibbs_steps)
        taken.append(time.perf_counter() - started)
    return MusicSpeed(statistics.median(taken[1:]), pieces, sum(piece.seconds for piece in made))


def bench_music(runs: int, model: Path | None) -> None:
    """Print the speed of a music model, a piece alone and many side by side.

    model: an exported file; without it the two networks of the chorales recipe in int8, with random weights.
    """
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
    from recitative.model.export.file import build_file
    from recitative.music.network import new_music_model
    from recitative.music.settings import MusicSettings

    torch.manual_seed(1)
    made = new_music_model(load_tree(MusicSettings, ROOT / "recipes" / "chorales" / "conf" / f"{name}.yaml"))
    made.network.eval()
    return open_file(build_file(made, int8=True).SerializeToString(), MUSIC)


if __name__ == "__main__":
    sys.exit(main())
