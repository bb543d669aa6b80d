"""The largest batch that fits into memory, measured on training steps with noise, for utterances of several lengths.

The memory of a step is linear in its rows (activations, gradients of activations, CTC's lattice), plus a constant
(weights, their gradients, AdamW's two moments). Two measurements give the line, the line gives the number of rows, and
a third measurement confirms it.
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
SHRINK = 0.9  # of the rows, if a measurement disproves the line; half of them, if memory ran out
TRIES = 8


@dataclass(frozen=True)
class Shape:
    """A step of training on ``rows`` utterances of ``seconds`` with ``labels`` labels each."""

    rows: int
    seconds: float
    labels: int


@dataclass(frozen=True)
class Bucket:
    """longest_s: maximum length of its utterances; rows: maximum batch size; peak: bytes of such a batch"""

    longest_s: float
    rows: int
    peak: int

    @property
    def most_s(self) -> float:
        return self.rows * self.longest_s


Measure = Callable[[Shape], int | None]
"""The peak memory of a step in bytes; None: out of memory."""


def tune_buckets(seconds: Array, labels_per_s: float, budget: int, measure: Measure) -> Iterator[Bucket]:
    """The largest safe batch for each bucket of lengths, from the shortest bucket to the longest.

    seconds (N,): of each utterance as it is played; budget: bytes. Raises RunError if one utterance is too much.
    """
    bounds = sorted({float(np.ceil(10 * np.quantile(seconds, q, method="lower")) / 10) for q in QUANTILES})
    for longest_s in bounds:
        yield _largest(longest_s, max(1, round(labels_per_s * longest_s)), budget, measure)


def _largest(longest_s: float, labels: int, budget: int, measure: Measure) -> Bucket:
    rows = first = max(1, round(FIRST_S / longest_s))
    small, large = (measure(Shape(n * first, longest_s, labels)) for n in (1, 2))
    if small is not None and large is not None:
        per_row = max(1.0, (large - small) / first)
        constant = small - per_row * first
        rows = max(1, int((budget - constant) / per_row))
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
    for line in _lines("/proc/self/status"):
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    raise RunError("tune-batch: this system does not tell how much memory a process took; it needs Linux or a GPU")


def in_a_process_of_its_own(work: Callable[[Shape], int | None]) -> Measure:
    """Run each measurement in a new process, so that memory freed by one does not count for the next."""

    def measure(shape: Shape) -> int | None:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            try:
                return pool.submit(work, shape).result()
            except BrokenProcessPool:  # killed: there was no more memory
                return None

    return measure


def available_bytes(device: torch.device) -> int:
    """Free memory of the GPU, or of the machine within the limit of its container."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            free = 1024 * int(line.split()[1])
    # Without a limit the first file says "max"; outside containers there are no such files.
    limit, used = ("".join(_lines(f"/sys/fs/cgroup/memory.{name}")) for name in ("max", "current"))
    return min(free, int(limit) - int(used)) if limit.isdigit() and used.isdigit() else free


def _train_twice(settings: Settings, tokens: TokenTable, device: torch.device, shape: Shape) -> None:
    """Two steps of training; the second one has the optimizer's moments."""
    recognizer = new_recognizer(settings, tokens)
    recognizer.core.recompute = settings.train.recompute
    network = recognizer.trained.to(device).train()
    optimizer = new_optimizer(network, settings.train)
    frames = round(1000 * shape.seconds / settings.features.frame_shift_ms)
    features = torch.randn(shape.rows, frames, settings.features.dim, device=device)
    lengths = torch.full((shape.rows,), frames, device=device)
    labels = torch.randint(1, len(tokens), (shape.rows, shape.labels), device=device)
    counts = torch.full((shape.rows,), shape.labels, device=device)
    for _ in range(2):
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=settings.train.bf16 and has_bf16(device)):
            log_probs = recognizer.log_probs(recognizer.encode(Padded(features, lengths)))
            loss, _ = ctc_loss(log_probs, Padded(labels, counts), [str(row) for row in range(shape.rows)])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="ascii").splitlines()
    except OSError:
        return []
