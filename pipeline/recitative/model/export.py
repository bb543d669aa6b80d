"""A model of any kind as one ONNX file, in float32 or in the smallest form that is accurate enough, and the way back;
and streaming recognizers as models of sherpa-onnx, through its loader of WeNet's CTC models, the nearest to ours.

sherpa-onnx's loader (2.0: online-wenet-ctc-model.cc) passes a chunk of features and two caches of fixed size, zero at
the start. Our whole state is packed into ``conv_cache``, as the difference from its initial values; the attention's
inputs are not used. Chunks do not overlap: the network keeps the frames that it still needs. It decodes greedily:
models of phones give phones, since it knows no lexicon here. Its mel filters end at 7600 Hz, which this loader cannot
change; ours end there with features.high_freq_hz=7600, else at half of the sample rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from recitative.atomic import recover_folder, write_bytes, write_text
from recitative.errors import DataError, UsageError
from recitative.model.folder import Model, load_model, with_present_names
from recitative.model.graph import (
    FLOAT,
    OPERATORS,
    SENTINELS,
    SMOOTHING,
    CellWriter,
    Graph,
    Inputs,
    InputStatistics,
    Ragged,
    file_content,
    quantize_rows,
)
from recitative.model.graph_stages import Writer
from recitative.model.kind import RECOGNIZER_NAME, InitialState, ModelKind, ModelMetadata, Signature, imported
from recitative.model.onnx_stage import open_model, read_content
from recitative.nn.recurrent import RecurrentStack
from recitative.nn.stages import CausalConv, Chain, Normalize, PlaneNorm, RowConv
from recitative.score.wer import ErrorCounts
from recitative.stage import Array, Padded, run_whole

MIN_QUANTIZED = 2048  # smaller constants stay in float32


@dataclass(frozen=True)
class Written:
    """The graphs of a model and the description of its network; see ``model.kind.ModelMetadata``."""

    graph: Graph
    state: dict[str, InitialState]
    weights: str = "float32"
    stride: int = 1
    lookahead: int | None = 0
    piece_frames: int = 0
    graphs: Mapping[str, Graph] = field(default_factory=dict)


def build_file(model: Model, *, notes: str = "", int8: bool = False, **options: Any) -> onnx.ModelProto:
    """The content of the file. options: those of the kind's writer, such as ``inputs``.

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


def write_step(model: Model, *, inputs: Inputs | None = None, smoothing: float = SMOOTHING) -> Written:
    """The graph of a model whose network is a chain of stages; see ``write_network``."""
    kind = model.kind
    signature = kind.graphs(model.settings, kind.values_of(model))[""]
    return write_network(cast(Chain, model.network), signature, inputs, smoothing)


def write_network(
    network: Chain, signature: Signature, inputs: Inputs | None = None, smoothing: float = SMOOTHING
) -> Written:
    """The ``step`` of a network: data (N, T, ...), lengths (N,) int64, state.* -> data (N, T', C) float32, new_state.*

    signature: the names and types of data; with 'last' () bool if the network holds back frames, and then with the
    lengths of its output. T may be any number from 1 on, and a length 0. The arithmetic is int8 if the statistics of
    all inputs are given; see ``measure_inputs``, and ``model.graph`` for ``smoothing``.
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
    writer = Writer(graph, CellWriter(graph, inputs, smoothing), last)
    y = writer.write("", network, x)
    name, (dtype, shape) = next(iter(signature.outputs.items()))
    frames = "T_out" if last else "T"
    width = cast(int, list(network.stages.values())[-1].output_width) if shape[2] is None else shape[2]
    graph.output(name, y.data, dtype, ("N", frames, width))
    if last:
        graph.output(f"{name}_lengths", y.lengths, "int64", ("N",))
    weights = "float32" if inputs is None else "int8"
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


# The weights of an exported file, put back into a network. A file in int8 gives back the numbers that it computes with,
# so that training can go on from a model that ships, and exporting it again loses no more than the first export did.

Constants = Mapping[str, Array]  # of a graph, by name


def open_for_training(path: Path, kind: ModelKind) -> Any:
    """The model in a folder or an exported file, as training can go on from it.

    kind: recognizers or classifiers. An exported file has no attention decoder. The model is in evaluation mode.
    Raises DataError for another kind, a damaged file, or one exported by release 0.1.
    """
    recover_folder(path)
    if path.is_dir():
        return load_model(path, kind)
    content = read_content(path, str(path), "model file")
    _, metadata = open_model(content, [kind])
    settings = metadata.settings
    if kind.name == RECOGNIZER_NAME:
        model_settings = settings.model.model_copy(update={"attention": type(settings.model.attention)()})
        settings = settings.model_copy(update={"model": model_settings})
    model = kind.new(settings, metadata.extras)
    graph = onnx.load_model_from_string(content).graph
    constants = with_present_names({tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer})
    network = getattr(model, kind.weights)
    try:
        read_weights(network, constants)
    except (KeyError, ValueError):
        remedy = "give the folder it was exported from, or make one with 'recitative export'"
        raise DataError(str(path), "holds no weights that can be trained", "a file of this version", remedy) from None
    network.eval()
    return model


@torch.no_grad()
def read_weights(network: Chain, constants: Constants) -> None:
    """Set all weights of a network that ``export.network.write_step`` can write, in place.

    Raises KeyError if constants are missing, as in files of before they had names, and ValueError if the shapes differ.
    """
    for path, module in network.named_modules():
        name = path.removeprefix("stages.")
        match module:
            case nn.Linear():
                weight = _linear(name, constants)
                _copy(module.weight, weight)
                _copy(module.bias, constants[f"{name}.bias"] - _at_center(name, weight, constants))
            case nn.LayerNorm():
                _copy(module.weight, constants[f"{name}.weight"])
                _copy(module.bias, constants[f"{name}.bias"])
            case Normalize():
                _copy(module.mean, constants[f"{name}.mean"])
                _copy(module.inverse_stddev, constants[f"{name}.inverse_stddev"])
            case CausalConv():
                _copy(module.conv.weight, constants[f"{name}.conv.weight"])
                _copy(module.conv.bias, constants[f"{name}.conv.bias"])
            case PlaneNorm():  # the written kernel includes it
                module.variance.fill_(1.0 - module.eps)
            case RowConv():
                _copy(module.weight, constants[f"{name}.weight"].reshape(module.weight.shape))
            case _ if name.endswith("_cell.rnn"):
                _read_cell(name.removesuffix(".rnn"), module, constants)


def _linear(name: str, constants: Constants) -> Array:
    """(R, C)."""
    if f"{name}.levels" not in constants:
        return constants[f"{name}.weight"].T
    scales = constants[f"{name}.scales"] / constants[f"{name}.input_scale"]
    weight: Array = constants[f"{name}.levels"].T * scales[:, None] * constants[f"{name}.smoothing"]
    return weight


def _at_center(name: str, weight: Array, constants: Constants) -> Array:
    """What the bias of an int8 layer holds of the centers of its inputs, (..., R) for weights (..., R, C). Older files
    have no centers."""
    if f"{name}.center" not in constants:
        return np.zeros(weight.shape[:-1], np.float32)
    held: Array = weight @ (constants[f"{name}.center"] / constants[f"{name}.smoothing"])
    return held


def _read_cell(name: str, rnn: Any, constants: Constants) -> None:
    kind = {"RNN_TANH": "rnn_tanh", "RNN_RELU": "rnn_relu"}.get(rnn.mode, rnn.mode.lower())
    order = np.argsort(OPERATORS[kind][2])  # from ONNX's order of gates to PyTorch's
    gates, hidden = len(order), rnn.hidden_size
    if f"{name}.input_levels" in constants:
        inputs = _int8_gates(f"{name}.input", gates, constants)[:, :hidden, : rnn.input_size]
        inputs = inputs * constants[f"{name}.smoothing"]
        recurrent = _int8_gates(f"{name}.recurrent", gates, constants)[:, :hidden, :hidden]
        bias = constants[f"{name}.bias"].reshape(2, gates, hidden + len(SENTINELS))[..., :hidden].copy()
        bias[0] -= _at_center(name, inputs, constants)
    else:
        inputs, recurrent = (
            constants[f"{name}.{part}"].reshape(gates, hidden, width)
            for part, width in (("input", rnn.input_size), ("recurrent", hidden))
        )
        bias = constants[f"{name}.bias"].reshape(2, gates, hidden)
    values: dict[str, Any] = {
        "weight_ih_l0": inputs,
        "weight_hh_l0": recurrent,
        "bias_ih_l0": bias[0],
        "bias_hh_l0": bias[1],
    }
    for parameter, value in values.items():
        _copy(rnn.get_parameter(parameter), value[order].reshape(gates * hidden, *value.shape[2:]))


def _int8_gates(name: str, gates: int, constants: Constants) -> Array:
    """(G, H + 2, C + 2), of a cell with sentinels."""
    weight: Array = constants[f"{name}_levels"][0].T * constants[f"{name}_scales"][0][:, None]
    gated: Array = weight.reshape(gates, -1, weight.shape[-1])
    return gated


def _copy(target: Tensor | None, value: Array) -> None:
    assert target is not None, "the layer was made with a bias"
    if target.shape != value.shape:
        raise ValueError(f"{value.shape} where the network has {tuple(target.shape)}")
    target.copy_(torch.from_numpy(np.array(value, dtype=np.float32)))


Weights = Literal["auto", "int8", "float32"]
Advance = Callable[[int, int], None]

MAX_WER_INCREASE = 0.002  # absolute, of the error rate: 0.2 %
SMOOTHINGS = (SMOOTHING, 0.85, 0.5)  # tried in this order until one is accurate enough


@dataclass(frozen=True)
class Exported:
    """The form that was written, and the errors of both forms on the development set."""

    weights: Literal["int8", "float32"]
    size: int  # bytes
    float32_size: int
    float32_errors: ErrorCounts | None
    int8_errors: ErrorCounts | None


class QuantizationCheck(Protocol):
    """A model and a development set: the inputs of the model's layers, and the errors of an exported file.

    rate: the name of the error rate in messages
    """

    rate: str

    def __init__(self, model: Any, dev: Path) -> None: ...

    def inputs(self) -> Inputs: ...

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
    inputs = check.inputs()
    float32_errors = check.errors(plain, lambda done, total: advance(done, 2 * total))
    best: tuple[ErrorCounts, bytes] | None = None
    for smoothing in SMOOTHINGS:
        tried = file_content(build_file(model, notes=notes, inputs=inputs, smoothing=smoothing))
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


def measure_inputs(network: Chain, batches: Iterable[Padded[Tensor]]) -> dict[str, InputStatistics]:
    """What every linear layer and every cell gets over batches of features, by the name of the layer in the graph."""
    found: dict[str, InputStatistics] = {}

    def record(name: str) -> Any:
        def hook(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
            x = inputs[0].data if isinstance(inputs[0], nn.utils.rnn.PackedSequence) else inputs[0]
            if x.numel():
                statistics = InputStatistics.of(x.flatten(0, -2).float().cpu().numpy())
                found[name] = found[name] + statistics if name in found else statistics

        return hook

    hooks = []
    for path, module in network.named_modules():
        if isinstance(module, nn.Linear) or path.endswith("_cell.rnn"):
            name = path.removeprefix("stages.").removesuffix(".rnn")
            hooks.append(module.register_forward_pre_hook(record(name)))
    try:
        with torch.inference_mode():
            for x in batches:
                for row, length in enumerate(x.lengths.tolist()):  # alone: padding is no input
                    run_whole(network, Padded(x.data[row : row + 1, :length], x.lengths[row : row + 1]))
    finally:
        for hook in hooks:
            hook.remove()
    return found


FILES = ("model.onnx", "tokens.txt")
SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # what sherpa-onnx prints as a space


def export_sherpa(content: bytes, metadata: ModelMetadata, folder: Path) -> None:
    """Write ``model.onnx`` and ``tokens.txt``. content: of an exported recognizer

    Raises DataError for a model that does not stream, or with other features than fbank.
    """
    if metadata.lookahead is None:
        allowed = "one whose core is forward"
        raise DataError(metadata.where, "does not stream", allowed, "train one with model.recurrent.direction=forward")
    if (features := metadata.settings.features).kind != "fbank" or features.delta_order:
        raise DataError(metadata.where, f"has {features.kind} features or deltas", "fbank", "train one with fbank")
    tokens = metadata.extras["tokens"].symbols
    written = _wrapped(onnx.load_from_string(content), metadata, len(tokens)).SerializeToString()
    write_bytes(folder / FILES[0], written)
    names = ["<blk>", *(SPACE if token == " " else token for token in tokens[1:])]
    write_text(folder / FILES[1], "".join(f"{name} {number}\n" for number, name in enumerate(names)))


def _wrapped(model: onnx.ModelProto, metadata: ModelMetadata, vocabulary: int) -> onnx.ModelProto:
    constants = list(model.graph.initializer)

    def constant(name: str, value: object) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    start = {name: initial.array(1).reshape(1, -1).astype(np.float32) for name, initial in metadata.state.items()}
    total, node = sum(values.size for values in start.values()), helper.make_node
    before = [
        node("Identity", ["chunk"], ["features"]),
        node("Shape", ["chunk"], ["sherpa.shape"]),
        node("Gather", ["sherpa.shape", constant("sherpa.time", np.array([1]))], ["lengths"]),
        node("Reshape", ["conv_cache", constant("sherpa.row", np.array([1, total]))], ["sherpa.state"]),
        node("Split", ["sherpa.state", constant("sherpa.sizes", np.array([values.size for values in start.values()]))],
             [f"sherpa.{name}.change" for name in start], axis=1),
    ]  # fmt: skip
    after = []
    for name, values in start.items():
        initial = metadata.state[name]
        first, shape = constant(f"sherpa.{name}.first", values), np.array([1, *initial.shape], np.int64)
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(initial.dtype))
        before += [
            node("Add", [f"sherpa.{name}.change", first], [f"sherpa.{name}.flat"]),
            node("Reshape", [f"sherpa.{name}.flat", constant(f"sherpa.{name}.shape", shape)], [f"sherpa.{name}"]),
            node("Cast", [f"sherpa.{name}"], [f"state.{name}"], to=kind),
        ]
        after += [
            node("Cast", [f"new_state.{name}"], [f"sherpa.{name}.new"], to=TensorProto.FLOAT),
            node("Reshape", [f"sherpa.{name}.new", constant(f"sherpa.{name}.all", np.array([1, values.size]))],
                 [f"sherpa.{name}.row"]),
            node("Sub", [f"sherpa.{name}.row", first], [f"sherpa.{name}.changed"]),
        ]  # fmt: skip
    constant("last", np.array(False))
    limits = [constant("sherpa.zero", np.array([0])), "log_probs_lengths", constant("sherpa.axis", np.array([1]))]
    after += [
        node("Slice", ["log_probs", *limits], ["probs"]),  # the rows after the lengths mean nothing
        node("Concat", [f"sherpa.{name}.changed" for name in start], ["sherpa.changed"], axis=1),
        node("Reshape", ["sherpa.changed", constant("sherpa.cache", np.array([1, 1, total, 1]))], ["new_conv_cache"]),
        node("Identity", ["attn_cache"], ["new_attn_cache"]),
    ]
    nodes = [*before, *model.graph.node, *after]
    graph = _declared(nodes, constants, metadata.settings.features.dim, total, vocabulary)
    made = helper.make_model(
        graph, opset_imports=model.opset_import, ir_version=model.ir_version, functions=model.functions
    )
    helper.set_model_props(made, {
        "model_type": "wenet_ctc", "head": "1", "num_blocks": "1", "output_size": str(total),
        "cnn_module_kernel": "2", "right_context": str(metadata.stride - 1),
        "subsampling_factor": str(metadata.stride), "vocab_size": str(vocabulary),
    })  # fmt: skip
    return made


def _declared(
    nodes: Sequence[onnx.NodeProto], constants: Sequence[TensorProto], channels: int, state: int, vocabulary: int
) -> onnx.GraphProto:
    """The graph with the inputs and outputs that sherpa-onnx's loader passes. state: numbers in ``conv_cache``"""
    value = helper.make_tensor_value_info
    return helper.make_graph(
        nodes,
        "recitative",
        [
            value("chunk", TensorProto.FLOAT, [1, "T", channels]),
            value("offset", TensorProto.INT64, [1]),
            value("required_cache_size", TensorProto.INT64, [1]),
            value("attn_cache", TensorProto.FLOAT, ["blocks", "heads", "cache", "width"]),
            value("conv_cache", TensorProto.FLOAT, [1, 1, state, 1]),
            value("attn_mask", TensorProto.BOOL, [1, 1, "M"]),
        ],
        [
            value("probs", TensorProto.FLOAT, [1, "T_out", vocabulary]),
            value("new_attn_cache", TensorProto.FLOAT, ["blocks", "heads", "cache", "width"]),
            value("new_conv_cache", TensorProto.FLOAT, [1, 1, state, 1]),
        ],
        constants,
    )
