"""How much fits into memory: measured on steps of training with noise, for utterances of several lengths.

The memory of a step grows with its rows as a straight line (activations, gradients of activations, CTC's lattice) from
what is there anyway (weights, their gradients, AdamW's two moments). Two measurements give the line, it gives the most
rows, and a third measurement, of just these, has to confirm it.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from recitative.asr.network import new_recognizer
from recitative.config import Settings
from recitative.errors import RunError
from recitative.nn.ctc_loss import ctc_loss
from recitative.stage import Array, Padded
from recitative.text.tokens import TokenTable
from recitative.train.distributed import has_bf16
from recitative.train.loop import ran_out_of_memory
from recitative.train.optimizer import new_optimizer

FIRST_S = 60.0  # seconds of audio in the first measurement; the second has twice as many
QUANTILES = (0.5, 0.9, 1.0)  # of the utterances' lengths: where one bucket ends
SHRINK = 0.9  # when a measurement disproves the line; half, if there wasn't so much at all
TRIES = 8


@dataclass(frozen=True)
class Shape:
    """A step of training on ``rows`` utterances of ``seconds`` with ``labels`` labels each."""

    rows: int
    seconds: float
    labels: int


@dataclass(frozen=True)
class Bucket:
    """longest_s: of the utterances in it; rows: the most of them at once; peak: bytes that these took."""

    longest_s: float
    rows: int
    peak: int

    @property
    def most_s(self) -> float:
        return self.rows * self.longest_s


Measure = Callable[[Shape], int | None]
"""The bytes that a step takes at most; None: more than there are."""


def tune_buckets(seconds: Array, labels_per_s: float, budget: int, measure: Measure) -> Iterator[Bucket]:
    """The largest safe batch for each bucket of lengths, from the shortest bucket to the longest.

    seconds (N,): of each utterance as it is played; budget: bytes. Raises RunError if one utterance is too much.
    """
    bounds = sorted({float(np.ceil(10 * np.quantile(seconds, q, method="lower")) / 10) for q in QUANTILES})
    for longest_s in bounds:
        labels = max(1, round(labels_per_s * longest_s))
        yield _largest(longest_s, labels, budget, measure)


def _largest(longest_s: float, labels: int, budget: int, measure: Measure) -> Bucket:
    rows = _by_the_line(longest_s, labels, budget, measure)
    for _ in range(TRIES):
        peak = measure(Shape(rows, longest_s, labels))
        if peak is not None and peak <= budget:
            return Bucket(longest_s, rows, peak)
        if rows == 1:
            break
        rows = max(1, rows // 2 if peak is None else int(SHRINK * rows))
    raise RunError(
        f"an utterance of {longest_s:g} s does not fit into {budget / 1e9:.2f} GB; set train.recompute=true, lower "
        "train.max_duration_s, or make the model smaller"
    )


def _by_the_line(longest_s: float, labels: int, budget: int, measure: Measure) -> int:
    first = max(1, round(FIRST_S / longest_s))
    small, large = (measure(Shape(n * first, longest_s, labels)) for n in (1, 2))
    if small is None or large is None:
        return first
    per_row = max(1.0, (large - small) / first)
    base = small - per_row * first
    return max(1, int((budget - base) / per_row))


def measure_step(settings: Settings, tokens: Sequence[str], device: str, shape: Shape) -> int | None:
    """The peak of two steps of training on noise: on a GPU its memory, on a CPU that of this process."""
    target = torch.device(device)
    try:
        _train_twice(settings, TokenTable(tuple(tokens)), target, shape)
    except RuntimeError as error:
        if not ran_out_of_memory(error):
            raise
        return None
    if target.type == "cuda":
        return int(torch.cuda.max_memory_reserved(target))
    return _peak_of_this_process()


def in_a_process_of_its_own(work: Callable[[Shape], int | None]) -> Measure:
    """Each measurement in a new process: what one has freed must not look like what the next one needs."""

    def measure(shape: Shape) -> int | None:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            try:
                return pool.submit(work, shape).result()
            except BrokenProcessPool:  # killed: there was no more memory
                return None

    return measure


def available_bytes(device: torch.device) -> int:
    """Of a GPU's memory, or the machine's: what is free now, within the limit of a container."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            free = 1024 * int(line.split()[1])
    limit, used = (_number(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
    return min(free, limit - used) if limit is not None and used is not None else free


def _train_twice(settings: Settings, tokens: TokenTable, device: torch.device, shape: Shape) -> None:
    """The second step has the optimiser's moments."""
    recognizer = new_recognizer(settings, tokens)
    recognizer.core.recompute = settings.train.recompute
    network = recognizer.trained.to(device).train()
    optimiser = new_optimizer(network, settings.train)
    frames = round(1000 * shape.seconds / settings.features.frame_shift_ms)
    features = torch.randn(shape.rows, frames, settings.features.dim, device=device)
    lengths = torch.full((shape.rows,), frames, device=device)
    labels = torch.randint(1, len(tokens), (shape.rows, shape.labels), device=device)
    counts = torch.full((shape.rows,), shape.labels, device=device)
    for _ in range(2):
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.train.bf16 and has_bf16(device)):
            log_probs = recognizer.log_probs(recognizer.encode(Padded(features, lengths)))
            loss, _ = ctc_loss(log_probs, Padded(labels, counts), [str(row) for row in range(shape.rows)])
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()


def _peak_of_this_process() -> int:
    for line in _lines("/proc/self/status"):
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    raise RunError("tune-batch: this system does not tell how much memory a process took; it needs Linux or a GPU")


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="ascii").splitlines()
    except OSError:
        return []


def _number(path: str) -> int | None:
    """None without such a file, and for the word 'max': no limit."""
    lines = _lines(path)
    return int(lines[0]) if lines and lines[0].isdigit() else None
