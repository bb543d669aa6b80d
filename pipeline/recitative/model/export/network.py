"""The ``step`` of a network of features as a graph, in float32 or int8, and the ranges that int8 must span."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from recitative.errors import UsageError
from recitative.model.export.cells import CellWriter
from recitative.model.export.graph import Graph, Ragged
from recitative.model.export.stages import Writer
from recitative.model.file import InitialState
from recitative.nn.recurrent import RecurrentStack
from recitative.nn.stages import Chain
from recitative.nn.window import RowConv
from recitative.stage import Array, Padded

Ranges = Mapping[str, Array]


@dataclass(frozen=True)
class Written:
    """A graph, further ones by name, and what the metadata say of its network; see ``model.file.ModelMetadata``."""

    graph: Graph
    state: dict[str, InitialState]
    weights: str = "float32"
    stride: int = 1
    lookahead: int | None = 0
    piece_frames: int = 0
    graphs: Mapping[str, bytes] = field(default_factory=dict)


def write_step(
    network: Chain, feature_dim: int, outputs: int, ranges: Ranges | None = None, smoothing: float = 0.5
) -> Written:
    """int8 if the ranges of all inputs are given; see ``measure_ranges``, and ``model.export.cells`` for ``smoothing``.

    Graph: features (N, T, feature_dim) float32, lengths (N,) int64, last () bool, state.* -> log_probs
    (N, T', outputs), log_probs_lengths (N,), new_state.*. T may be any number from 1 on, and a length 0.
    """
    _require_one_flush(network)
    graph = Graph()
    features = graph.input("features", "float32", ("N", "T", feature_dim))
    x = Ragged(features, graph.input("lengths", "int64", ("N",)))
    writer = Writer(graph, CellWriter(graph, ranges, smoothing), graph.input("last", "bool", ()))
    y = writer.write("", network, x)
    graph.output("log_probs", y.data, "float32", ("N", "T_out", outputs))
    graph.output("log_probs_lengths", y.lengths, "int64", ("N",))
    weights = "float32" if ranges is None else "int8"
    return Written(graph, writer.initial, weights, network.stride, network.lookahead, _piece_frames(network))


def measure_ranges(network: Chain, batches: Iterable[Padded[Tensor]]) -> dict[str, Array]:
    """The largest |input| (C,) of every cell and linear layer over batches of features: what int8 must span."""
    ranges: dict[str, Array] = {}
    hooks = [
        module.register_forward_pre_hook(_record(name, ranges)) for name, module in _quantized_modules(network).items()
    ]
    try:
        with torch.inference_mode():
            for x in batches:
                network.step(x, network.initial_state(len(x.lengths)), last=True)
    finally:
        for hook in hooks:
            hook.remove()
    return ranges


def _quantized_modules(network: nn.Module) -> dict[str, nn.Module]:
    """Every linear layer and every cell by the name under which the graph looks up its range."""
    named = {name.removeprefix("stages."): module for name, module in network.named_modules()}
    linear = {name: module for name, module in named.items() if isinstance(module, nn.Linear)}
    cells = {name.removesuffix(".rnn"): module for name, module in named.items() if name.endswith("_cell.rnn")}
    return linear | cells


def _record(name: str, ranges: dict[str, Array]) -> Any:
    def hook(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        x = inputs[0].data if isinstance(inputs[0], nn.utils.rnn.PackedSequence) else inputs[0]
        if x.numel():
            largest = x.abs().flatten(0, -2).amax(0).float().cpu().numpy()
            ranges[name] = np.maximum(ranges.get(name, 0.0), largest)

    return hook


def _piece_frames(network: Chain) -> int:
    """Feature frames of a latency-controlled core's chunk; 0 = the core is another."""
    stride = 1
    for stage in network.stages.values():
        if isinstance(stage, RecurrentStack) and stage.settings.direction == "latency_controlled":
            return int(stage.settings.chunk * stride)
        stride *= cast(int, stage.stride)
    return 0


def _require_one_flush(network: Chain) -> None:
    """A latency-controlled core flushes in several calls of the graph; a look-ahead behind it would in each."""
    if _piece_frames(network) and any(isinstance(module, RowConv) for module in network.modules()):
        raise UsageError(
            "a latency-controlled core followed by a look-ahead convolution cannot be exported; "
            "set model.lookahead_frames=0 and give the core more model.recurrent.right_context"
        )
