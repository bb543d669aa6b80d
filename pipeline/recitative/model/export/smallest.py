"""The smallest form of a model that is good enough: int8 is written only if a development set says that it costs next
to nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import onnx

from recitative.atomic import write_bytes
from recitative.errors import DataError, UsageError
from recitative.model.export.graph import file_content
from recitative.model.export.network import Ranges
from recitative.score.wer import ErrorCounts

Weights = Literal["auto", "int8", "float32"]
Advance = Callable[[int, int], None]

LARGEST_COST = 0.002  # of the error rate, absolute: 0.2 %
SMOOTHINGS = (0.5, 0.7, 0.8, 0.3)  # tried in this order until one costs no more


@dataclass(frozen=True)
class Exported:
    """What was written, and the errors on the development set of each form that was tried."""

    weights: Literal["int8", "float32"]
    size: int  # bytes
    float32_size: int
    float32_errors: ErrorCounts | None
    int8_errors: ErrorCounts | None


class Build(Protocol):
    """Makes a file: float32 without ranges, else int8; see ``export.network.write_step``."""

    def __call__(self, *, ranges: Ranges | None = None, smoothing: float = 0.5) -> onnx.ModelProto: ...


class Trial(Protocol):
    """The development set: what int8 must span there, and how often a file is wrong about it."""

    @property
    def where(self) -> Path: ...

    def ranges(self) -> Ranges: ...

    def errors(self, content: bytes, advance: Advance) -> ErrorCounts: ...


def require_dev(dev: Path | None) -> Path:
    """Raises UsageError if there is none."""
    if dev is None:
        raise UsageError("int8 needs a development set to be measured on: give --dev, or --weights float32")
    return dev


def write_float32(output: Path, build: Build) -> Exported:
    """Atomic."""
    plain = file_content(build())
    write_bytes(output, plain)
    return Exported("float32", len(plain), len(plain), None, None)


def write_smallest(
    output: Path, build: Build, trial: Trial, weights: Literal["auto", "int8"], rate: str, advance: Advance
) -> Exported:
    """Write int8 if it costs at most 0.2 % of the error rate, else float32; atomic.

    rate: what the rate is called; ``advance(done, total)`` counts recordings heard. Raises DataError if int8 is
    demanded and costs more.
    """
    plain, ranges = file_content(build()), trial.ranges()
    float32_errors = trial.errors(plain, lambda done, total: advance(done, 2 * total))
    best: tuple[ErrorCounts, bytes] | None = None
    for smoothing in SMOOTHINGS:
        tried = file_content(build(ranges=ranges, smoothing=smoothing))
        errors = trial.errors(tried, lambda done, total: advance(total + done, 2 * total))
        if best is None or errors.rate < best[0].rate:
            best = errors, tried
        if best[0].rate - float32_errors.rate <= LARGEST_COST:
            break
    assert best is not None, "there is a first smoothing"
    int8_errors, small = best
    cost = int8_errors.rate - float32_errors.rate
    if weights == "int8" and cost > LARGEST_COST:
        found, allowed = (
            f"int8 costs {100 * cost:.2f} % of {rate} on {trial.where}",
            f"at most {100 * LARGEST_COST:g} %",
        )
        raise DataError(str(output), found, allowed, "use --weights float32, or more data in --dev")
    content = small if cost <= LARGEST_COST else plain
    write_bytes(output, content)
    kind: Literal["int8", "float32"] = "int8" if cost <= LARGEST_COST else "float32"
    return Exported(kind, len(content), len(plain), float32_errors, int8_errors)
