"""ONNX graphs under construction: operations on the ragged batches that stages are made of, recurrent cells and linear
layers, in float32 or in int8 that does not depend on its surroundings.

Names of values are strings, as in ONNX. A ragged batch is ``Ragged(data, lengths)``: data (N, T, C) float32, lengths
(N,) int64, and what lies beyond a row's length is finite but else undefined; see ``recitative.nn.ragged`` for the same
operations in PyTorch.

Dynamic quantization takes its scale from the largest value in the whole input: another chunk size, or another stream in
the batch, and every number changes. Here all scales are constants, so that int8 keeps the contract bit for bit:

- A linear layer quantizes its input with the range measured on a development set and multiplies integers, whose sums
  are exact in any order. Its input has 16 bits, as two inputs of 8 bits in one product: the first and the last layer of
  a recognizer need them, and are a small part of it.
- ONNX Runtime's ``DynamicQuantizeLSTM`` is fast but picks its scales anew from its input and, at every frame, from all
  hidden units of all rows. It is made constant by two sentinels: two input channels that are always the ends of the
  range, and two hidden units that are always 1 and -1 (input gate shut, forget and output gates open, cell state large
  and preserved). No other unit sees them: their weights are zero. ONNX Runtime's tanh is not quite at most 1: see
  ``model.onnx_stage`` for the state with which a stream begins.

Layers in int8 compute x W^T + b with few levels for x and W, and little error in the product:

- Channels with a wide range hand some of it to the weights that meet them: x W^T = (x / s) (W s)^T (Xiao et al. 2022,
  SmoothQuant). With s = sqrt(std(x) / |W|) of each channel the error of rounded weights is smallest, with s = the range
  of x that of rounded inputs; ``smoothing`` is between both.
- Each channel is centered: its levels lie between the least and the greatest input measured, and a little beyond, since
  n frames do not show the extremes: 1 + 4 / sqrt(n) times the range. Centers are whole levels, so that 0, the most
  frequent input behind a ReLU, stays exact.
- The entries of a row of weights are rounded one column after another, and the columns that are left make up for each
  error as well as they can, given the covariance of the inputs (Frantar et al. 2022, GPTQ). With C channels and n
  frames the covariances are taken as C / (C + n) smaller: few frames show some that others do not have.
- The bias takes what is left on the mean input.

Weights have 7 bits: on processors without VNNI, 8 bits can overflow the 16-bit sums of pairs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from recitative.model.kind import InitialState, sealed
from recitative.stage import Array

WEIGHT_LEVELS = 63  # -63..63
INPUT_LEVELS = 127  # -127..127
BLOCK = 64  # columns whose errors are handed to the others at once
LEAST = 1e-3  # of the largest: what a channel that hardly varied on the development set is taken to vary


@dataclass(frozen=True)
class InputStatistics:
    """The inputs x of a layer on a development set: their number, least and greatest (C,), the sums of x (C,) and of
    x x^T (C, C) in float64."""

    frames: int
    lowest: Array
    highest: Array
    sums: Array
    products: Array

    @classmethod
    def of(cls, x: Array) -> InputStatistics:
        """x: (T, C) float32, T at least 1."""
        return cls(len(x), x.min(axis=0), x.max(axis=0), x.sum(axis=0, dtype=np.float64), (x.T @ x).astype(np.float64))

    def __add__(self, other: InputStatistics) -> InputStatistics:
        lowest, highest = np.minimum(self.lowest, other.lowest), np.maximum(self.highest, other.highest)
        sums, products = self.sums + other.sums, self.products + other.products
        return InputStatistics(self.frames + other.frames, lowest, highest, sums, products)

    def covariance(self) -> Array:
        """(C, C) float64; those of different channels are smaller than measured, see above."""
        mean, channels = self.sums / self.frames, len(self.sums)
        found: Array = self.products / self.frames - np.outer(mean, mean)
        variance = np.maximum(found.diagonal(), 0.0)
        found *= self.frames / (channels + self.frames)
        np.fill_diagonal(found, variance)
        return found


Inputs = Mapping[str, InputStatistics]  # of every linear layer and every cell, by name


@dataclass(frozen=True)
class QuantizedLayer:
    """x W^T is nearly (x * factors - center) @ (levels * scales[:, None])^T + bias.

    factors, center: (C,)
    levels, scales, bias: (R, C) int8, (R,), (R,)
    """

    factors: Array
    center: Array
    levels: Array
    scales: Array
    bias: Array


def quantize_layer(
    weight: Array, inputs: InputStatistics, smoothing: float, input_levels: int = INPUT_LEVELS
) -> QuantizedLayer:
    """weight: (R, C); smoothing: from 0, best for the weights, to 1, best for inputs in 8 bits

    input_levels: the inputs measured are between minus this and this
    """
    covariance, mean = inputs.covariance(), inputs.sums / inputs.frames
    half_range = _at_least((inputs.highest - inputs.lowest) / 2 * (1 + 4 / np.sqrt(inputs.frames)))
    deviation, length = _at_least(np.sqrt(covariance.diagonal())), _at_least(np.linalg.norm(weight, axis=0))
    level = half_range**smoothing * np.sqrt(deviation / length) ** (1 - smoothing)
    level = (level * (half_range / level).max() / (input_levels - 0.5)).astype(np.float32)  # half: centers are rounded
    center = np.round((inputs.highest + inputs.lowest) / 2 / level).astype(np.float32)
    levels, scales = quantize_rows(weight * level, covariance / np.outer(level, level))
    rounded = levels * scales[:, None]
    bias = (weight * level) @ center + (weight * level - rounded) @ (mean / level - center)
    return QuantizedLayer(1 / level, center, levels, scales, bias.astype(np.float32))


def _at_least(values: Array) -> Array:
    floored: Array = np.maximum(values, max(LEAST * float(values.max()), 1e-6))
    return floored


def quantize_rows(weight: Array, covariance: Array | None = None) -> tuple[Array, Array]:
    """(R, C) -> levels (R, C) int8 and scales (R,) float32 with weight = levels * scales[:, None], nearly.

    covariance: (C, C) of the inputs that the weights meet; without it each weight is rounded to the nearest
    """
    largest = np.abs(weight).max(axis=1)
    scales = np.where(largest > 0, largest / WEIGHT_LEVELS, 1.0).astype(np.float32)
    exact = (weight / scales[:, None]).astype(np.float32)
    levels = _nearest(exact) if covariance is None else _compensated(exact, covariance)
    return levels.astype(np.int8), scales


def _nearest(exact: Array) -> Array:
    nearest: Array = np.clip(np.round(exact), -WEIGHT_LEVELS, WEIGHT_LEVELS)
    return nearest


def _compensated(exact: Array, covariance: Array) -> Array:
    """Channels of high variance first: then many are left that make up for their errors."""
    order = np.argsort(-covariance.diagonal(), kind="stable")
    shares = _shares(covariance[np.ix_(order, order)])
    left, levels = np.array(exact[:, order], order="F"), np.empty_like(exact)
    for start in range(0, len(order), BLOCK):
        end = min(start + BLOCK, len(order))
        errors = np.empty((len(left), end - start), np.float32)
        for column in range(start, end):
            rounded = _nearest(left[:, column])
            error = left[:, column] - rounded
            left[:, column + 1 : end] -= np.outer(error, shares[column, column + 1 : end])
            errors[:, column - start], levels[:, order[column]] = error, rounded
        left[:, end:] -= errors @ shares[start:end, end:]
    return levels


def _shares(covariance: Array) -> Array:
    """(C, C) float32, upper triangular: the share of a column's error that each later column takes.

    They are the rows of the Cholesky factor of the inverse covariance, over their diagonal.
    """
    deviation = np.sqrt(np.maximum(covariance.diagonal(), 0.0).astype(np.float64))
    bound = np.outer(deviation, deviation)  # exceeded by rounding where inputs hardly vary
    variances, axes = np.linalg.eigh(np.clip(covariance, -bound, bound))
    # Of few frames some are 0, and by rounding below it.
    variances = np.maximum(variances, max(1e-6 * variances.mean(), 1e-9 * variances.max(), 1e-30))
    factor = np.linalg.cholesky((axes / variances) @ axes.T).T
    shares: Array = factor / factor.diagonal()[:, None]
    return shares.astype(np.float32)


# Graphs


OPSET = 18
IR_VERSION = 10  # read by every ONNX Runtime since 1.18
CONTRIB = "com.microsoft"  # ONNX Runtime's own operators: DynamicQuantizeLSTM

TO_END = 2**63 - 1  # of a Slice
FLOAT, DOUBLE, INT32, INT64 = (
    int(kind) for kind in (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT32, TensorProto.INT64)
)  # what Cast takes

_TYPES = {
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "int64": TensorProto.INT64,
    "bool": TensorProto.BOOL,
}


def file_content(model: onnx.ModelProto) -> bytes:
    """The content of a model file: the model with its checksum, see ``model.kind``."""
    return sealed(model.SerializeToString())


@dataclass(frozen=True)
class Ragged:
    data: str  # (N, T, C)
    lengths: str  # (N,)


class Graph:
    """Nodes in the order in which they are added; each ``op`` returns the name of its output."""

    def __init__(self, prefix: str = "") -> None:
        """``prefix`` of all names made here: those of a body must be unlike those around it."""
        self._prefix = prefix
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._shared: dict[tuple[str, bytes, tuple[int, ...]], str] = {}

    def input(self, name: str, dtype: str, shape: tuple[int | str, ...]) -> str:
        self._inputs.append(helper.make_tensor_value_info(name, _TYPES[dtype], shape))
        return name

    def output(self, name: str, value: str, dtype: str, shape: tuple[int | str, ...]) -> None:
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, _TYPES[dtype], shape))

    def constant(self, array: Array, name: str = "") -> str:
        """The same array is stored once. With a name, under which ``model.export`` finds it again, it is stored
        under that, whatever else is equal to it."""
        if name:
            self._constants[name] = numpy_helper.from_array(np.array(array, order="C"), name)
            return name
        key = (str(array.dtype), array.tobytes(), array.shape)
        if key not in self._shared:
            name = f"{self._prefix}c{len(self._constants)}"
            self._constants[name] = numpy_helper.from_array(np.array(array, order="C"), name)
            self._shared[key] = name
        return self._shared[key]

    def ints(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def integer(self, value: int) -> str:
        return self.constant(np.array(value, np.int64))

    def real(self, value: float) -> str:
        return self.constant(np.array(value, np.float32))

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        return self.ops(kind, *inputs, outputs=1, domain=domain, **attributes)[0]

    def ops(self, kind: str, *inputs: str, outputs: int, domain: str = "", **attributes: Any) -> list[str]:
        names = [f"{self._prefix}v{len(self._nodes)}_{i}" for i in range(outputs)]
        self._nodes.append(helper.make_node(kind, list(inputs), names, domain=domain, **attributes))
        return names

    def body(self) -> onnx.GraphProto:
        """The graph as a protocol buffer, also for the body of an operator such as Scan."""
        return helper.make_graph(self._nodes, "recitative", self._inputs, self._outputs, list(self._constants.values()))

    def model(self, metadata: dict[str, str]) -> onnx.ModelProto:
        """The finished, checked model."""
        graph = self.body()
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="recitative")
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model)
        return model

    # Arithmetic on shapes and lengths

    def size(self, x: str, axis: int) -> str:
        """The length of an axis, a scalar."""
        return self.op("Squeeze", self.op("Shape", x, start=axis, end=axis + 1), self.ints(0))

    def arange(self, size: str) -> str:
        return self.op("Range", self.integer(0), size, self.integer(1))

    def windows(self, lengths: str, window: int, stride: int) -> str:
        """floor((length - window) / stride) + 1, at least 0; for a scalar or (N,)."""
        room = self.op("Max", self.op("Sub", lengths, self.integer(window - stride)), self.integer(0))
        return self.op("Div", room, self.integer(stride))

    # Ragged batches

    def mask(self, lengths: str, size: str) -> str:
        """(N, T, 1) True where a frame lies within its row."""
        inside = self.op("Less", self.arange(size), self.op("Unsqueeze", lengths, self.ints(1)))
        return self.op("Unsqueeze", inside, self.ints(2))

    def zero_padding(self, x: Ragged) -> str:
        return self.op("Where", self.mask(x.lengths, self.size(x.data, 1)), x.data, self.real(0.0))

    def gather(self, data: str, index: str) -> str:
        """data[n, index[n, t]] for (N, T, C) data; an index from -T to -1 counts from the end."""
        return self.op("GatherND", data, self.op("Unsqueeze", index, self.ints(2)), batch_dims=1)

    def join(self, a: Ragged, b: Ragged) -> Ragged:
        """Each row of ``a`` followed at once by the same row of ``b``; T is the sum of both.

        Frames of ``b`` are counted from the end of both: so no index leaves the data, and none has to be held inside.
        """
        both = self.op("Concat", a.data, b.data, axis=1)
        position = self.arange(self.size(both, 1))  # (T,)
        end = self.op("Unsqueeze", a.lengths, self.ints(1))  # (N, 1)
        in_b = self.op("Sub", position, self.op("Add", end, self.op("Shape", b.data, start=1, end=2)))
        index = self.op("Where", self.op("Less", position, end), position, in_b)
        return Ragged(self.gather(both, index), self.op("Add", a.lengths, b.lengths))

    def cut(self, x: Ragged, start: str, lengths: str, size: int) -> Ragged:
        """Each row's frames [start, start + lengths), both (N,); T is ``size``, at least the longest, at most x's T.

        Counted from the end, as in ``join``: a start is at most T, so that what would lie beyond is found at the front.
        """
        from_end = self.op("Sub", self.op("Unsqueeze", start, self.ints(1)), self.op("Shape", x.data, start=1, end=2))
        index = self.op("Add", from_end, self.ints(*range(size)))  # (N, size)
        return Ragged(self.gather(x.data, index), lengths)


SMOOTHING = 0.7  # of cells
SENTINELS = np.array([1.0, -1.0], np.float32)
SENTINEL_CELL = 30.0  # tanh(30) is 1 in float32
SATURATED = 40.0  # sigmoid(40) is 1 in float32

# Of each cell: ONNX's operator, its attributes, and the way from PyTorch's order of gates to ONNX's. The GRU is cuDNN's
# variant, as PyTorch's is.
OPERATORS: dict[str, tuple[str, dict[str, Any], list[int]]] = {
    "lstm": ("LSTM", {}, [0, 3, 1, 2]),
    "gru": ("GRU", {"linear_before_reset": 1}, [1, 0, 2]),
    "rnn_tanh": ("RNN", {"activations": ["Tanh"]}, [0]),
    "rnn_relu": ("RNN", {"activations": ["Relu"]}, [0]),
}


class CellWriter:
    """Writes linear layers and the cells of ``recitative.nn.recurrent``.

    In int8 where the statistics of their ``inputs`` are given; of the cells, ONNX Runtime has an int8 form of the LSTM
    only, the others stay in float32.
    """

    def __init__(self, graph: Graph, inputs: Inputs | None, smoothing: float = SMOOTHING) -> None:
        """``smoothing`` of cells, from 0 to 1: see ``quantize_layer``. Inputs in 16 bits need none."""
        self.graph = graph
        self.smoothing = smoothing
        self.inputs = inputs

    def initial_state(self, kind: str, hidden: int) -> tuple[InitialState, ...]:
        """The initial h, and c for an LSTM."""
        if self._is_int8(kind):
            h, c = (tuple(float(v) for v in SENTINELS * large) for large in (1.0, SENTINEL_CELL))
            return InitialState((hidden + len(SENTINELS),), tail=h), InitialState((hidden + len(SENTINELS),), tail=c)
        return (InitialState((hidden,)),) * (2 if kind == "lstm" else 1)

    def linear(self, name: str, linear: nn.Linear, x: str) -> str:
        """x W^T + b on the last axis."""
        g = self.graph
        weight, bias = (value.detach().float().numpy() for value in (linear.weight, linear.bias))
        if self.inputs is None:
            names = (f"{name}.weight", f"{name}.bias") if name else ("", "")  # a graph may have several without a name
            product = g.op("MatMul", x, g.constant(weight.T, names[0]))
            return g.op("Add", product, g.constant(bias, names[1]))
        x, layer = self._quantize(name, x, weight, 0.0, INPUT_LEVELS // 2)  # of 16 bits, one is for unusual inputs
        step, zero = g.constant(np.array(1, np.float32), f"{name}.input_scale"), g.constant(np.array(128, np.uint8))
        high = g.op("QuantizeLinear", x, step, zero)
        rest = g.op("Sub", x, g.op("DequantizeLinear", high, step, zero))
        low = g.op("QuantizeLinear", rest, g.real(1 / 256), zero)
        sums = g.op(
            "MatMulInteger",
            g.op("Concat", high, low, axis=0),
            g.constant(layer.levels.T, f"{name}.levels"),
            zero,
            g.constant(np.array(0, np.int8)),
        )
        of_high, of_low = g.ops("Split", g.op("Cast", sums, to=FLOAT), outputs=2, axis=0, num_outputs=2)
        both = g.op("Add", of_high, g.op("Mul", of_low, g.real(1 / 256)))
        scaled = g.op("Mul", both, g.constant(layer.scales, f"{name}.scales"))
        return g.op("Add", scaled, g.constant(bias + layer.bias, f"{name}.bias"))

    def run(
        self, name: str, kind: str, layer: Any, x: Ragged, state: Sequence[str], carry: str | None
    ) -> tuple[str, tuple[str, ...]]:
        """The cell, or both, of a layer: (N, T, C) -> (N, T, H or 2 H), and the forward state after ``carry``.

        ``state`` is empty where each input is a stream of its own; then so is the new state.
        """
        forward_name = f"{name}.forward_cell"
        y, *new_state = self._cell(forward_name, kind, layer.forward_cell.rnn, x, state, "forward")
        if carry is not None:
            part = Ragged(x.data, carry)
            _, *new_state = self._cell(forward_name, kind, layer.forward_cell.rnn, part, state, "forward")
        if layer.backward_cell is not None:
            backward = self._cell(f"{name}.backward_cell", kind, layer.backward_cell.rnn, x, (), "reverse")[0]
            y = self.graph.op("Concat", y, backward, axis=2)
        return y, tuple(new_state) if state else ()

    def _cell(self, name: str, kind: str, rnn: Any, x: Ragged, state: Sequence[str], direction: str) -> list[str]:
        """One cell in one direction: y (N, T, H) and its state (N, H) after x.lengths frames, as it was after none."""
        g = self.graph
        before = state or [self._expand(initial, x.data) for initial in self.initial_state(kind, rnn.hidden_size)]
        lengths = g.op("Cast", x.lengths, to=INT32)
        starts = [g.op("Unsqueeze", entry, g.ints(0)) for entry in before]
        if self._is_int8(kind):
            y, *after = self._int8_lstm(name, rnn, x.data, lengths, starts, direction)
        else:
            y, *after = self._float_rnn(name, kind, rnn, x.data, lengths, starts, direction)
        y = g.op("Transpose", g.op("Squeeze", y, g.ints(1)), perm=[1, 0, 2])  # (T, 1, N, H) -> (N, T, H)
        if self._is_int8(kind):
            y = g.op("Slice", y, g.ints(0), g.ints(rnn.hidden_size), g.ints(2))
        heard = g.op("Unsqueeze", g.op("Greater", x.lengths, g.integer(0)), g.ints(1))
        squeezed = [g.op("Squeeze", entry, g.ints(0)) for entry in after]
        return [y, *(g.op("Where", heard, new, old) for new, old in zip(squeezed, before, strict=True))]

    def _float_rnn(
        self, name: str, kind: str, rnn: Any, x: str, lengths: str, starts: list[str], direction: str
    ) -> list[str]:
        g = self.graph
        operator, attributes, order = OPERATORS[kind]
        inputs, recurrent, bias = _weights(rnn, order)
        named = {f"{name}.input": inputs, f"{name}.recurrent": recurrent}
        return g.ops(
            operator,
            g.op("Transpose", x, perm=[1, 0, 2]),
            *(g.constant(value.reshape(1, -1, value.shape[-1]), entry) for entry, value in named.items()),
            g.constant(bias[None], f"{name}.bias"),
            lengths,
            *starts,
            outputs=1 + len(starts),
            hidden_size=rnn.hidden_size,
            direction=direction,
            **attributes,
        )

    def _int8_lstm(self, name: str, rnn: Any, x: str, lengths: str, starts: list[str], direction: str) -> list[str]:
        g = self.graph
        extra, hidden = len(SENTINELS), rnn.hidden_size
        inputs, recurrent, bias = _weights(rnn, OPERATORS["lstm"][2])  # (4, H, C), (4, H, H), (8 H)
        x, layer = self._quantize(name, x, inputs.reshape(4 * hidden, -1), self.smoothing, INPUT_LEVELS)
        bias[: 4 * hidden] += layer.bias
        of_hidden = quantize_rows(recurrent.reshape(4 * hidden, -1))  # no outliers: the nearest is good enough
        weights = {
            f"{name}.input": _with_sentinels(layer.levels, layer.scales),
            f"{name}.recurrent": _with_sentinels(*of_hidden),
        }
        gates = np.pad(bias.reshape(2, 4, hidden), ((0, 0), (0, 0), (0, extra)))
        gates[0, :, hidden:] = np.array([-SATURATED, SATURATED, SATURATED, 0.0])[:, None]  # i o f c
        greatest = g.constant((SENTINELS * np.float32(INPUT_LEVELS + 0.5))[None, None])  # 255 levels: a step of 1
        ends = g.op("Expand", greatest, self._rows_and_frames(x))
        clipped = g.op("Clip", x, g.real(-INPUT_LEVELS), g.real(INPUT_LEVELS))
        return g.ops(
            "DynamicQuantizeLSTM",
            g.op("Transpose", g.op("Concat", clipped, ends, axis=2), perm=[1, 0, 2]),
            *(g.constant(levels.T[None], f"{entry}_levels") for entry, (levels, _) in weights.items()),
            g.constant(gates.reshape(1, -1), f"{name}.bias"),
            lengths,
            *starts,
            "",
            *(
                constant
                for entry, (_, scales) in weights.items()
                for constant in (
                    g.constant(scales[None], f"{entry}_scales"),
                    g.constant(np.zeros((1, len(scales)), np.int8)),
                )
            ),
            outputs=3,
            domain=CONTRIB,
            hidden_size=hidden + extra,
            direction=direction,
        )

    def _quantize(
        self, name: str, x: str, weight: Array, smoothing: float, input_levels: int
    ) -> tuple[str, QuantizedLayer]:
        """The inputs in levels, and the layer that they meet. weight: (R, C)"""
        assert self.inputs is not None
        g, layer = self.graph, quantize_layer(weight, self.inputs[name], smoothing, input_levels)
        scaled = g.op("Mul", x, g.constant(layer.factors, f"{name}.smoothing"))
        return g.op("Sub", scaled, g.constant(layer.center, f"{name}.center")), layer

    def _is_int8(self, kind: str) -> bool:
        return self.inputs is not None and kind == "lstm"

    def _expand(self, initial: InitialState, x: str) -> str:
        g = self.graph
        rows = g.op("Shape", x, start=0, end=1)
        return g.op("Expand", g.constant(initial.array(1)), g.op("Concat", rows, g.ints(*initial.shape), axis=0))

    def _rows_and_frames(self, x: str) -> str:
        g = self.graph
        return g.op("Concat", g.op("Shape", x, start=0, end=2), g.ints(1), axis=0)


def _with_sentinels(levels: Array, scales: Array) -> tuple[Array, Array]:
    """(4 H, C), (4 H,) -> (4 (H + 2), C + 2), (4 (H + 2),): weights of zero from and to the sentinels."""
    ends = (0, len(SENTINELS))
    wide = np.pad(levels.reshape(4, -1, levels.shape[-1]), ((0, 0), ends, ends))
    return wide.reshape(-1, wide.shape[-1]), np.pad(scales.reshape(4, -1), ((0, 0), ends), constant_values=1.0).ravel()


def _weights(rnn: Any, order: list[int]) -> tuple[Array, Array, Array]:
    """Input weights (G, H, C), recurrent weights (G, H, H), biases of both (2 G H), gates in the given order."""

    def gates(name: str) -> Array:
        value = rnn.get_parameter(name).detach().float().numpy()
        by_gate: Array = value.reshape(len(order), rnn.hidden_size, *value.shape[1:])[order]
        return by_gate

    bias = np.concatenate([gates("bias_ih_l0").ravel(), gates("bias_hh_l0").ravel()])
    return gates("weight_ih_l0"), gates("weight_hh_l0"), bias
