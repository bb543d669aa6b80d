"""An ONNX graph under construction, and the operations on ragged batches that stages are made of.

Names of values are strings, as in ONNX. A ragged batch is ``Ragged(data, lengths)``: data (N, T, C) float32, lengths
(N,) int64, and what lies beyond a row's length is finite but else undefined; see ``recitative.nn.ragged`` for the same
operations in PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from recitative.model.file import sealed
from recitative.stage import Array

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
    """The content of a model file: the model with its checksum, see ``model.file``."""
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
        """The same array is stored once. With a name, under which ``model.export.file`` finds it again, it is stored
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
