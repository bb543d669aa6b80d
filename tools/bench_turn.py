"""What one turn of training measures, the same way for every recogniser: speed, waiting, padding, arithmetic."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils.rnn import PackedSequence

from recitative.errors import UsageError

B = TypeVar("B")

PRODUCT_SIZE = 2048
FORWARD_AND_BACKWARD = 3  # the gradient of a product is two products of the same size


@dataclass(frozen=True)
class Step:
    """audio_s: without padding; seconds: from the end of the step before, ``wait_s`` of them for data;
    padding: share of the batch's frames that are padding."""

    audio_s: float
    seconds: float
    wait_s: float
    padding: float


@dataclass(frozen=True)
class Turn:
    """Some steps together. flops: of the matrix products and convolutions, forward and backward."""

    steps: int
    audio_s: float
    seconds: float
    wait_s: float
    padding: float
    flops_per_audio_s: float

    @classmethod
    def of(cls, steps: Sequence[Step], flops: float) -> Turn:
        """Without the first step, in which the worker processes start. ``flops`` are those of all steps.

        Raises UsageError if no step is left.
        """
        counted = steps[1:]
        if not counted:
            raise UsageError("bench: all audio fits into one batch; take more --minutes or a smaller --batch-s")
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
        """Share of the time."""
        return self.wait_s / self.seconds


class Contestant(Protocol):
    """A recogniser that trains on the material for one epoch whenever it is its turn."""

    @property
    def name(self) -> str: ...

    @property
    def parameters(self) -> int: ...

    def train(self) -> Turn: ...


def timed_steps(
    batches: Iterable[B], step: Callable[[B], None], facts: Callable[[B], tuple[float, float]]
) -> list[Step]:
    """Train on all batches. ``facts`` of a batch: its seconds of audio, and its share of padding."""
    steps: list[Step] = []
    source = iter(batches)
    while True:
        begun = time.perf_counter()
        batch = next(source, None)
        if batch is None:
            return steps
        got = time.perf_counter()
        step(batch)
        done = time.perf_counter()
        audio_s, padding = facts(batch)
        steps.append(Step(audio_s, done - begun, got - begun, padding))


class FlopCount:
    """Counts, while entered, what modules in training mode compute: 2 m n k for each product, forward and backward.

    Every layer here multiplies each of its weights once for each position of its output, a recurrent one for each
    frame, so a forward pass is 2 * positions * weights; padding that is computed counts. What is not a layer of the
    kinds below (activations, normalisation, the loss, features) is not counted.
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
    """FLOP per second of a large float32 matrix product, by PyTorch's faster way.

    On a CPU it has two libraries: MKL behind ``mm``, which keeps to AVX2 on processors that are not Intel's, and
    oneDNN, which computes the LSTM of unpacked rows and is twice as fast there.
    """
    a, b = (torch.randn(PRODUCT_SIZE, PRODUCT_SIZE, device=device) for _ in range(2))
    ways: list[Callable[[], Tensor]] = [lambda: a @ b]
    if device.type == "cpu" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        ways.append(lambda: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], ""))
    return max(2 * PRODUCT_SIZE**3 / _median_seconds(way, device) for way in ways)


def _median_seconds(work: Callable[[], Tensor], device: torch.device) -> float:
    seconds: list[float] = []
    for _ in range(4):
        begun = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds[1:])  # the first one warms up


def hidden_for(parameters: Callable[[int], int], wanted: float) -> int:
    """The hidden size whose network comes closest to ``wanted`` parameters, by bisection.

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
        raise UsageError(f"--parameters {wanted:g}: the nearest network has {parameters(best)}; choose near that")
    return best
