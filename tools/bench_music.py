"""Speed of writing music without PyTorch: pieces a second, and seconds of writing for a second of music, one thread.

Networks of the chorales recipe, stored in int8; random weights, since the arithmetic is the same. One that continues
and one that fills in, with a hundred times of drawing, each a piece alone and many side by side.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch

from recitative.config import load_tree
from recitative.export.file import build_file
from recitative.models.music import new_music_model
from recitative.models.music_settings import MusicSettings
from recitative.models.music_speed import measure_speed
from recitative.runtime.music import OnnxMusic

CONF = Path(__file__).resolve().parent.parent / "recipes" / "chorales" / "conf"
BARS = 16
MANY = 16


def bench_music(runs: int, model: Path | None) -> None:
    """Print the lines of this part. model: an exported file to measure instead."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if model:
        _report(model.name, OnnxMusic(model), runs)
        return
    for name in ("chorales", "fill"):
        _report(f"{name}.yaml", random_model(CONF / f"{name}.yaml"), runs)


def random_model(conf: Path) -> OnnxMusic:
    """Of these settings, exported in int8."""
    torch.manual_seed(1)
    made = new_music_model(load_tree(MusicSettings, conf))
    made.network.eval()
    return OnnxMusic(build_file(made, int8=True).SerializeToString())


def _report(name: str, scorer: OnnxMusic, runs: int) -> None:
    for pieces in (1, MANY):
        found = measure_speed(scorer, bars=BARS, pieces=pieces, runs=runs)
        what = f"{name}, {pieces} piece{'s' if pieces > 1 else ''} of {BARS} bars"
        factor = f"real-time factor {found.real_time_factor:.4f} ({1 / found.real_time_factor:.0f} x real time)"
        print(f"music     {what:40} {found.pieces_per_second:7.2f} pieces a second, {factor}", flush=True)
