"""int8: input ranges on a development set, and export of the smallest form that is accurate enough."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from recitative.atomic import write_bytes
from recitative.errors import DataError, UsageError
from recitative.model.export.file import Ranges, build_file
from recitative.model.export.graph import file_content
from recitative.model.folder import Model
from recitative.model.kind import imported
from recitative.nn.stages import Chain
from recitative.score.wer import ErrorCounts
from recitative.stage import Array, Padded, run_whole

Weights = Literal["auto", "int8", "float32"]
Advance = Callable[[int, int], None]

MAX_WER_INCREASE = 0.002  # absolute, of the error rate: 0.2 %
SMOOTHINGS = (0.5, 0.7, 0.8, 0.3)  # tried in this order until one is accurate enough


@dataclass(frozen=True)
class Exported:
    """The form that was written, and the errors of both forms on the development set."""

    weights: Literal["int8", "float32"]
    size: int  # bytes
    float32_size: int
    float32_errors: ErrorCounts | None
    int8_errors: ErrorCounts | None


class QuantizationCheck(Protocol):
    """A model and a development set: the input ranges of int8, and the errors of an exported file.

    rate: the name of the error rate in messages
    """

    rate: str

    def __init__(self, model: Any, dev: Path) -> None: ...

    def ranges(self) -> Ranges: ...

    def errors(self, content: bytes, advance: Advance) -> ErrorCounts: ...


def export_checked(
    model: Model,
    output: Path,
    *,
    dev: Path | None,
    weights: Weights = "auto",
    notes: str = "",
    advance: Advance = lambda done, total: None,
) -> Exported:
    """Write a model file in int8 if that increases the error rate on ``dev`` by at most 0.2 %, else in float32; atomic.

    model: of a kind whose ``int8`` is a check, such as a recognizer; ``advance(done, total)`` counts recordings decoded
    Raises UsageError for int8 without a development set, DataError if weights='int8' increases the error rate by more.
    """
    plain = file_content(build_file(model, notes=notes))
    if weights == "float32":
        write_bytes(output, plain)
        return Exported("float32", len(plain), len(plain), None, None)
    if dev is None:
        raise UsageError("int8 needs a development set to be measured on: give --dev, or --weights float32")
    check: QuantizationCheck = imported(model.kind.int8)(model, dev)
    ranges = check.ranges()
    float32_errors = check.errors(plain, lambda done, total: advance(done, 2 * total))
    best: tuple[ErrorCounts, bytes] | None = None
    for smoothing in SMOOTHINGS:
        tried = file_content(build_file(model, notes=notes, ranges=ranges, smoothing=smoothing))
        errors = check.errors(tried, lambda done, total: advance(total + done, 2 * total))
        if best is None or errors.rate < best[0].rate:
            best = errors, tried
        if best[0].rate - float32_errors.rate <= MAX_WER_INCREASE:
            break
    assert best is not None, "SMOOTHINGS is not empty"
    int8_errors, small = best
    cost = int8_errors.rate - float32_errors.rate
    if weights == "int8" and cost > MAX_WER_INCREASE:
        found = f"int8 costs {100 * cost:.2f} % of {check.rate} on {dev}"
        remedy = "use --weights float32, or more data in --dev"
        raise DataError(str(output), found, f"at most {100 * MAX_WER_INCREASE:g} %", remedy)
    written: Literal["int8", "float32"] = "int8" if cost <= MAX_WER_INCREASE else "float32"
    content = small if written == "int8" else plain
    write_bytes(output, content)
    return Exported(written, len(content), len(plain), float32_errors, int8_errors)


def measure_ranges(network: Chain, batches: Iterable[Padded[Tensor]]) -> dict[str, Array]:
    """The largest |input| (C,) of every linear layer and every cell over batches of features, by the name of the layer
    in the graph."""
    ranges: dict[str, Array] = {}

    def record(name: str) -> Any:
        def hook(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
            x = inputs[0].data if isinstance(inputs[0], nn.utils.rnn.PackedSequence) else inputs[0]
            if x.numel():
                largest = x.abs().flatten(0, -2).amax(0).float().cpu().numpy()
                ranges[name] = np.maximum(ranges.get(name, 0.0), largest)

        return hook

    hooks = []
    for path, module in network.named_modules():
        if isinstance(module, nn.Linear) or path.endswith("_cell.rnn"):
            name = path.removeprefix("stages.").removesuffix(".rnn")
            hooks.append(module.register_forward_pre_hook(record(name)))
    try:
        with torch.inference_mode():
            for x in batches:
                run_whole(network, x)
    finally:
        for hook in hooks:
            hook.remove()
    return ranges
