"""What the training benchmarks share: real audio with letters as tokens, and the measurements of a turn of training."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils.rnn import PackedSequence

from recitative.audio.files import Samples
from recitative.data.directory import DataDirectory, Utterance
from recitative.errors import DataError, UsageError
from recitative.features.extraction import audio_duration_s, read_utterance
from recitative.text.tokens import TokenTable

DIGITS = Path(__file__).resolve().parent.parent / "recipes" / "digits"
SEED = 1


@dataclass(frozen=True)
class Material:
    """Utterances for all toolkits.

    seconds: duration of each utterance, from the header
    decoded: samples of each, or None to read them from the files when needed
    """

    utterances: tuple[Utterance, ...]
    seconds: tuple[float, ...]
    sample_rate: int
    tokens: TokenTable
    decoded: tuple[Samples, ...] | None

    def samples(self, number: int) -> Samples:
        """(S,) float32 in [-1, 1]."""
        return self.decoded[number] if self.decoded else read_utterance(self.utterances[number])

    def labels(self, number: int) -> list[int]:
        """Labels in 1..V-1; 0 is the blank."""
        return self.tokens.encode(self.utterances[number].text or "")

    @property
    def audio_s(self) -> float:
        return sum(self.seconds)

    def rows(self, batch_s: float) -> int:
        """The number of utterances in a batch of about ``batch_s`` seconds, for toolkits with batches of fixed size."""
        return max(1, round(batch_s * len(self.seconds) / self.audio_s))


def draw(data: Path, minutes: float, sample_rate: int, *, cache: bool) -> Material:
    """Select random utterances with a fixed seed, up to ``minutes`` in total.

    data: a Kaldi data directory or a folder of shards. Raises DataError for another sample rate or missing text.
    """
    pool = DataDirectory.read(data).utterances
    chosen: list[Utterance] = []
    seconds: list[float] = []
    for number in np.random.default_rng(SEED).permutation(len(pool)):
        if sum(seconds) >= 60 * minutes:
            break
        chosen.append(_with_text(pool[int(number)], data))
        seconds.append(audio_duration_s(chosen[-1], sample_rate))
    decoded = tuple(read_utterance(utterance) for utterance in chosen) if cache else None
    tokens = TokenTable.from_texts(utterance.text or "" for utterance in chosen)
    return Material(tuple(chosen), tuple(seconds), sample_rate, tokens, decoded)


def _with_text(utterance: Utterance, data: Path) -> Utterance:
    if not utterance.text:
        raise DataError(f"{data}: utterance '{utterance.utt_id}'", "has no text", "a transcript", "add it")
    return utterance


@contextmanager
def data_or_digits(data: Path | None) -> Iterator[Path]:
    """``data``, or a temporary training set of the digits recipe."""
    if data:
        yield data
        return
    with TemporaryDirectory() as folder:
        prepare = [sys.executable, str(DIGITS / "local" / "prepare.py")]
        library = {"PYTHONPATH": str(DIGITS.parents[1] / "pipeline")}
        command = [*prepare, "--corpus", str(DIGITS / "corpus"), "--output", folder]
        subprocess.run(command, check=True, capture_output=True, env=library)
        yield Path(folder) / "train"


B = TypeVar("B")

PRODUCT_SIZE = 2048
FORWARD_AND_BACKWARD = 3  # the gradient of a product is two products of the same size


@dataclass(frozen=True)
class Step:
    """audio_s: seconds of audio without padding; seconds: since the end of the previous step, of which ``wait_s`` for
    data; padding: share of the batch's frames that are padding."""

    audio_s: float
    seconds: float
    wait_s: float
    padding: float


@dataclass(frozen=True)
class Turn:
    """Sums over some steps. flops: of matrix products and convolutions, forward and backward."""

    steps: int
    audio_s: float
    seconds: float
    wait_s: float
    padding: float
    flops_per_audio_s: float

    @classmethod
    def of(cls, steps: Sequence[Step], flops: float) -> Turn:
        """Sum the steps, without the first, in which the worker processes start. ``flops`` are those of all steps.

        Raises UsageError if no step is left.
        """
        counted = steps[1:]
        if not counted:
            raise UsageError("bench: all audio fits into one batch; use more --minutes or a smaller --batch-s")
        audio_s = sum(step.audio_s for step in counted)
        computed_s = sum(step.audio_s / (1 - step.padding) for step in counted)
        return cls(
            steps=len(counted),
            audio_s=audio_s,
            seconds=sum(step.seconds for step in counted),
            wait_s=sum(step.wait_s for step in counted),
            padding=1 - audio_s / computed_s,
            flops_per_audio_s=flops / sum(step.audio_s for step in steps),
        )

    @property
    def speed(self) -> float:
        """Hours of audio per hour."""
        return self.audio_s / self.seconds

    @property
    def waiting(self) -> float:
        """Share of the time spent waiting for data."""
        return self.wait_s / self.seconds


class Contestant(Protocol):
    """A network that trains on the material for one epoch per turn."""

    @property
    def name(self) -> str: ...

    @property
    def parameters(self) -> int: ...

    def train(self) -> Turn: ...


def timed_steps(
    batches: Iterable[B], step: Callable[[B], None], facts: Callable[[B], tuple[float, float]]
) -> list[Step]:
    """Train on all batches. ``facts`` returns the seconds of audio and the share of padding of a batch."""
    steps: list[Step] = []
    source = iter(batches)
    while True:
        started = time.perf_counter()
        batch = next(source, None)
        if batch is None:
            return steps
        got = time.perf_counter()
        step(batch)
        done = time.perf_counter()
        audio_s, padding = facts(batch)
        steps.append(Step(audio_s, done - started, got - started, padding))


class FlopCount:
    """Context manager that counts the operations of modules in training mode: 2 m n k for each product.

    Every layer here uses each weight once per output position (recurrent layers: per frame), so a forward pass has
    2 * positions * weights operations, with padding. Other layers (activations, normalization, loss, features) do not
    count.
    """

    def __init__(self) -> None:
        self.flops = 0

    def __enter__(self) -> FlopCount:
        self._handle = register_module_forward_hook(self._count)
        return self

    def __exit__(self, *error: object) -> None:
        self._handle.remove()

    def _count(self, module: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        positions = _positions(module, arguments, output) if module.training else 0
        if positions:
            weights = sum(p.numel() for p in module.parameters(recurse=False) if p.dim() >= 2)
            self.flops += FORWARD_AND_BACKWARD * 2 * positions * weights


def _positions(module: nn.Module, arguments: tuple[Any, ...], output: Any) -> int:
    match module:
        case nn.Linear():
            return int(output.numel() // module.out_features)
        case nn.Conv1d() | nn.Conv2d():
            return int(output.numel() // module.out_channels)
        case nn.RNNBase():
            x: Tensor | PackedSequence = arguments[0]
            return len(x.data) if isinstance(x, PackedSequence) else x.shape[0] * x.shape[1]
    return 0


def product_rate(device: torch.device) -> float:
    """FLOP per second of a large float32 matrix product, with the faster of PyTorch's libraries.

    On a CPU these are MKL (``mm``), limited to AVX2 on processors that are not Intel's, and oneDNN, which also computes
    LSTMs and is twice as fast there.
    """
    a, b = (torch.randn(PRODUCT_SIZE, PRODUCT_SIZE, device=device) for _ in range(2))
    ways: list[Callable[[], Tensor]] = [lambda: a @ b]
    if device.type == "cpu" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        ways.append(lambda: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], ""))
    return max(2 * PRODUCT_SIZE**3 / _median_seconds(way, device) for way in ways)


def _median_seconds(work: Callable[[], Tensor], device: torch.device) -> float:
    seconds: list[float] = []
    for _ in range(4):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])  # the first is a warm-up


def hidden_for(parameters: Callable[[int], int], wanted: float) -> int:
    """Find the hidden size whose network is closest to ``wanted`` parameters, by bisection.

    Raises UsageError if none comes within 3 %.
    """
    low, high = 1, 1
    while parameters(high) < wanted:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if parameters(middle) < wanted else (low, middle)
    best = min((low, high), key=lambda hidden: abs(parameters(hidden) - wanted))
    if abs(parameters(best) - wanted) > 0.03 * wanted:
        raise UsageError(
            f"--parameters {wanted:g}: the nearest network has {parameters(best)}; use a value close to it"
        )
    return best
