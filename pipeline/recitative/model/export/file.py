"""A model of any kind as one ONNX file: the graphs that its kind's writer makes, and its metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
from onnx import helper, numpy_helper

from recitative.atomic import write_bytes
from recitative.errors import UsageError
from recitative.model.export.cells import CellWriter, quantize_rows
from recitative.model.export.graph import FLOAT, Graph, Ragged, file_content
from recitative.model.export.stages import Writer
from recitative.model.file import InitialState, ModelMetadata
from recitative.model.folder import Model
from recitative.model.kind import Signature, imported
from recitative.nn.recurrent import RecurrentStack
from recitative.nn.stages import Chain
from recitative.nn.window import RowConv
from recitative.stage import Array

Ranges = Mapping[str, Array]  # the largest |input| (C,) of every linear layer and every cell, by name

MIN_QUANTIZED = 2048  # smaller constants stay in float32


@dataclass(frozen=True)
class Written:
    """The graphs of a model and the description of its network; see ``model.file.ModelMetadata``."""

    graph: Graph
    state: dict[str, InitialState]
    weights: str = "float32"
    stride: int = 1
    lookahead: int | None = 0
    piece_frames: int = 0
    graphs: Mapping[str, Graph] = field(default_factory=dict)


def build_file(model: Model, *, notes: str = "", int8: bool = False, **options: Any) -> onnx.ModelProto:
    """The content of the file. options: those of the kind's writer, such as ``ranges``.

    int8: store weights as int8 with a scale for each row, a quarter of the size; the arithmetic stays float32. For
          kinds with ``int8='weights'``.
    """
    kind = model.kind
    written: Written = imported(kind.writer)(model, **options)
    graphs = {name: graph.model({}) for name, graph in written.graphs.items()}
    metadata = ModelMetadata(
        kind=kind,
        settings=model.settings,
        state=written.state,
        parameters=sum(parameter.numel() for parameter in model.network.parameters()),
        texts=kind.texts_of(model),
        stride=written.stride,
        lookahead=written.lookahead,
        piece_frames=written.piece_frames,
        weights="int8" if int8 else written.weights,
        notes=notes,
        graphs={name: (_in_int8(made) if int8 else made).SerializeToString() for name, made in graphs.items()},
    )
    made = written.graph.model(metadata.to_entries())
    return _in_int8(made) if int8 else made


def export_model(model: Model, output: Path, *, notes: str = "", **options: Any) -> int:
    """Write the file; atomic. Returns its size in bytes."""
    content = file_content(build_file(model, notes=notes, **options))
    write_bytes(output, content)
    return len(content)


def write_step(model: Model, *, ranges: Ranges | None = None, smoothing: float = 0.5) -> Written:
    """The graph of a model whose network is a chain of stages; see ``write_network``."""
    kind = model.kind
    signature = kind.graphs(model.settings, kind.values_of(model))[""]
    return write_network(cast(Chain, model.network), signature, ranges, smoothing)


def write_network(
    network: Chain, signature: Signature, ranges: Ranges | None = None, smoothing: float = 0.5
) -> Written:
    """The ``step`` of a network: data (N, T, ...), lengths (N,) int64, state.* -> data (N, T', C) float32, new_state.*

    signature: the names and types of data; with 'last' () bool if the network holds back frames, and then with the
    lengths of its output. T may be any number from 1 on, and a length 0. The arithmetic is int8 if the ranges of all
    inputs are given; see ``quantization.measure_ranges``, and ``cells`` for ``smoothing``.
    """
    piece_frames = _piece_frames(network)
    if piece_frames and any(isinstance(module, RowConv) for module in network.modules()):
        # The core is flushed in several calls of the graph, and the look-ahead would be flushed in each of them.
        raise UsageError(
            "a latency-controlled core followed by a look-ahead convolution cannot be exported; "
            "set model.lookahead_frames=0 and give the core more model.recurrent.right_context"
        )
    graph = Graph()
    name, (dtype, shape) = next(iter(signature.inputs.items()))
    data = graph.input(name, dtype, ("N", "T", *("F" if size is None else size for size in shape[2:])))
    x = Ragged(data, graph.input("lengths", "int64", ("N",)))
    last = graph.input("last", "bool", ()) if "last" in signature.inputs else ""
    writer = Writer(graph, CellWriter(graph, ranges, smoothing), last)
    y = writer.write("", network, x)
    name, (dtype, shape) = next(iter(signature.outputs.items()))
    frames = "T_out" if last else "T"
    width = cast(int, list(network.stages.values())[-1].output_width) if shape[2] is None else shape[2]
    graph.output(name, y.data, dtype, ("N", frames, width))
    if last:
        graph.output(f"{name}_lengths", y.lengths, "int64", ("N",))
    weights = "float32" if ranges is None else "int8"
    return Written(graph, writer.initial, weights, network.stride, network.lookahead, piece_frames)


def _piece_frames(network: Chain) -> int:
    """Feature frames of a latency-controlled core's chunk; 0 for other cores."""
    stride = 1
    for stage in network.stages.values():
        if isinstance(stage, RecurrentStack) and stage.settings.direction == "latency_controlled":
            return int(stage.settings.chunk * stride)
        stride *= cast(int, stage.stride)
    return 0


def _in_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store large constants as levels and scales, which ONNX Runtime multiplies when it opens the file."""
    graph = model.graph
    kept, before = [], []
    for tensor in graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype != np.float32 or value.size < MIN_QUANTIZED or value.ndim < 2:
            kept.append(tensor)
            continue
        levels, scales = quantize_rows(value.reshape(-1, value.shape[-1]))
        kept += [
            numpy_helper.from_array(levels.reshape(value.shape), f"{tensor.name}_levels"),
            numpy_helper.from_array(scales.reshape(*value.shape[:-1], 1), f"{tensor.name}_scales"),
        ]
        before += [
            helper.make_node("Cast", [f"{tensor.name}_levels"], [f"{tensor.name}_float"], to=FLOAT),
            helper.make_node("Mul", [f"{tensor.name}_float", f"{tensor.name}_scales"], [tensor.name]),
        ]
    nodes = [*before, *graph.node]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return model
