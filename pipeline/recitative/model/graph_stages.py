"""Each stage of a network as ONNX operations: the same ``step``, with the state as inputs and outputs.

Where PyTorch sizes a batch by its longest row, a graph sizes it by what the shapes allow at the most, so pending frames
have a fixed width: W - 1 for a window of W. Everything else is the arithmetic of ``recitative.nn``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import numpy as np
from torch import Tensor, nn

from recitative.errors import UsageError
from recitative.model.graph import DOUBLE, FLOAT, INT64, TO_END, CellWriter, Graph, Ragged
from recitative.model.kind import InitialState
from recitative.nn.heads import EmbeddedFeatures, Embedding, EmbeddingSum, TiedLogProbs
from recitative.nn.recurrent import RecurrentStack
from recitative.nn.stages import (
    NO_SCORE,
    RUNNING_PRIOR,
    UTTERANCE_PRIOR,
    AttentionPooling,
    CausalConv,
    Chain,
    Delay,
    Dropout,
    FrameStack,
    LastFrame,
    LogProbs,
    MeanPooling,
    Normalize,
    Project,
    RecentMean,
    RowConv,
    RunningMean,
    UtteranceMean,
)
from recitative.stage import Array


class Writer:
    """Writes stages into a graph and collects their states."""

    def __init__(self, graph: Graph, cells: CellWriter, last: str) -> None:
        """``last`` is the name of the boolean scalar that flushes."""
        self.graph = graph
        self.cells = cells
        self.last = last
        self.initial: dict[str, InitialState] = {}

    def write(self, name: str, stage: nn.Module, x: Ragged) -> Ragged:
        """Add a stage under a name for its state and weights; returns what comes out of it."""
        if type(stage) not in _WRITERS:
            raise UsageError(f"{type(stage).__name__} has no ONNX form; export knows the models' own stages only")
        return _WRITERS[type(stage)](self, name, stage, x)

    # State

    def _state(self, name: str, initial: InitialState) -> str:
        self.initial[name] = initial
        return self.graph.input(f"state.{name}", initial.dtype, ("N", *initial.shape))

    def _new_state(self, name: str, value: str) -> None:
        initial = self.initial[name]
        self.graph.output(f"new_state.{name}", value, initial.dtype, ("N", *initial.shape))

    def _pending(self, name: str, frames: int, channels: int, filled: int = 0) -> Ragged:
        """Frames held back by a stage, at most ``frames``; a new stream begins with ``filled`` of zeros."""
        data = self._state(f"{name}.pending", InitialState((frames, channels)))
        lengths = self._state(f"{name}.pending_lengths", InitialState((), float(filled), dtype="int64"))
        return Ragged(data, lengths)

    def _advance(self, name: str, x: Ragged, channels: int, window: int, stride: int, filled: int) -> tuple[str, str]:
        """All frames (N, P + T, C), and the number of complete windows (N,); the rest stays pending."""
        g = self.graph
        heard = g.join(self._pending(name, window - 1, channels, filled), x)
        ready = g.windows(heard.lengths, window, stride)
        used = g.op("Mul", ready, g.integer(stride))
        rest = g.cut(heard, used, g.op("Sub", heard.lengths, used), window - 1)
        self._new_state(f"{name}.pending", rest.data)
        self._new_state(f"{name}.pending_lengths", rest.lengths)
        return heard.data, ready

    def _after(self, name: str, x: Ragged, frames: int, channels: int) -> str:
        """x after the last ``frames`` heard before it, at first zeros: (N, frames + T, C), where rows need no join."""
        g = self.graph
        heard = g.op("Concat", self._state(name, InitialState((frames, channels))), x.data, axis=1)
        rest = g.cut(Ragged(heard, x.lengths), x.lengths, x.lengths, frames)  # row n ends at frames + lengths[n]
        self._new_state(name, rest.data)
        return heard

    # Stages

    def _chain(self, name: str, stage: Chain, x: Ragged) -> Ragged:
        for part, inner in stage.parts():
            x = self.write(f"{name}.{part}" if name else part, inner, x)
        return x

    def _unchanged(self, name: str, stage: nn.Module, x: Ragged) -> Ragged:
        return x

    def _project(self, name: str, stage: Project, x: Ragged) -> Ragged:
        return Ragged(self.graph.op("Relu", self.cells.linear(f"{name}.linear", stage.linear, x.data)), x.lengths)

    def _log_probs(self, name: str, stage: LogProbs, x: Ragged) -> Ragged:
        g = self.graph
        logits, lengths = self.cells.linear(f"{name}.linear", stage.linear, x.data), x.lengths
        if stage.outputs_per_step > 1:
            logits = g.op("Reshape", logits, g.ints(0, -1, stage.output_width))  # 0: as many rows
            lengths = g.op("Mul", lengths, g.integer(stage.outputs_per_step))
        return Ragged(g.op("LogSoftmax", logits, axis=-1), lengths)

    def _normalize(self, name: str, stage: Normalize, x: Ragged) -> Ragged:
        g = self.graph
        # The int8 LSTM takes its range from all of its input, where one NaN would be too many.
        data = x.data if self.cells.inputs is None else g.zero_padding(x)
        centered = g.op("Sub", data, g.constant(_array(stage.mean), f"{name}.mean"))
        inverse_stddev = g.constant(_array(stage.inverse_stddev), f"{name}.inverse_stddev")
        return Ragged(g.op("Mul", centered, inverse_stddev), x.lengths)

    def _utterance_mean(self, name: str, stage: UtteranceMean, x: Ragged) -> Ragged:
        g = self.graph
        data, wide = self._wide(x)
        sums = g.op("ReduceSum", wide, g.ints(1), keepdims=1)
        count = g.op("Unsqueeze", g.op("Cast", x.lengths, to=DOUBLE), g.ints(1, 2))  # (N, 1, 1)
        return Ragged(self._less_mean(data, sums, count, UTTERANCE_PRIOR), x.lengths)

    def _running_mean(self, name: str, stage: RunningMean, x: Ragged) -> Ragged:
        data, sums, counts = self._sums_so_far(name, stage.input_width, x)
        return Ragged(self._less_mean(data, sums, counts, RUNNING_PRIOR), x.lengths)

    def _mean_pooling(self, name: str, stage: MeanPooling, x: Ragged) -> Ragged:
        g = self.graph
        _, sums, counts = self._sums_so_far(name, stage.input_width, x)
        return Ragged(g.op("Cast", g.op("Div", sums, counts), to=FLOAT), x.lengths)

    def _attention_pooling(self, name: str, stage: AttentionPooling, x: Ragged) -> Ragged:
        """The formula of ``recitative.nn.stages``, frame by frame: see ``running_softmax``."""
        g = self.graph
        data, wide = self._wide(x)
        scores = g.op("Cast", self.cells.linear(f"{name}.score", stage.score, data), to=DOUBLE)  # (N, T, 1)
        before = (
            self._state(f"{name}.peak", InitialState((), NO_SCORE, dtype="float64")),
            self._state(f"{name}.weight", InitialState((), dtype="float64")),
            self._state(f"{name}.sum", InitialState((stage.input_width,), dtype="float64")),
        )
        y, after = running_softmax(g, scores, wide, g.mask(x.lengths, g.size(data, 1)), before)
        for entry, value in zip(("peak", "weight", "sum"), after, strict=True):
            self._new_state(f"{name}.{entry}", value)
        return Ragged(g.op("Cast", y, to=FLOAT), x.lengths)

    def _recent_mean(self, name: str, stage: RecentMean, x: Ragged) -> Ragged:
        """The frames of each mean are added from the oldest to the newest, as in ``recitative.nn.stages``."""
        g = self.graph
        most = g.integer(stage.frames)
        count = self._state(f"{name}.count", InitialState((), dtype="int64"))
        heard = self._after(f"{name}.before", x, stage.frames - 1, stage.input_width)
        wide = g.op("Cast", heard, to=DOUBLE)
        ends = [*range(1 - stage.frames, 0), TO_END]  # frames behind each window, counted from the last
        windows = [g.op("Slice", wide, g.ints(age), g.ints(end), g.ints(1)) for age, end in enumerate(ends)]
        position = g.op("Add", g.arange(g.size(x.data, 1)), g.integer(1))
        counts = g.op("Min", g.op("Add", g.op("Unsqueeze", count, g.ints(1)), position), most)  # (N, T)
        divisor = g.op("Unsqueeze", g.op("Cast", counts, to=DOUBLE), g.ints(2))
        self._new_state(f"{name}.count", g.op("Min", g.op("Add", count, x.lengths), most))
        return Ragged(g.op("Cast", g.op("Div", g.op("Sum", *windows), divisor), to=FLOAT), x.lengths)

    def _sums_so_far(self, name: str, width: int, x: Ragged) -> tuple[str, str, str]:
        """Frames (N, T, C) with padding zero; up to each their sums (N, T, C) in float64, and counts (N, T, 1).

        The sum of the past is the first item of the cumulated sum: all is added one after another, in the same order
        and to the same bits however x is cut. The padding adds zeros, so the last sum is that of the row.
        """
        g = self.graph
        count = self._state(f"{name}.count", InitialState((), dtype="float64"))
        before = self._state(f"{name}.sum", InitialState((width,), dtype="float64"))
        data, wide = self._wide(x)
        sums = g.op("CumSum", g.op("Concat", g.op("Unsqueeze", before, g.ints(1)), wide, axis=1), g.integer(1))
        frames = g.op("Cast", g.op("Add", g.arange(g.size(data, 1)), g.integer(1)), to=DOUBLE)
        counts = g.op("Add", g.op("Unsqueeze", count, g.ints(1, 2)), g.op("Unsqueeze", frames, g.ints(1)))
        self._new_state(f"{name}.count", g.op("Add", count, g.op("Cast", x.lengths, to=DOUBLE)))
        self._new_state(f"{name}.sum", g.op("Gather", sums, g.integer(-1), axis=1))
        return data, g.op("Slice", sums, g.ints(1), g.op("Shape", sums, start=1, end=2), g.ints(1)), counts

    def _wide(self, x: Ragged) -> tuple[str, str]:
        data = self.graph.zero_padding(x)
        return data, self.graph.op("Cast", data, to=DOUBLE)

    def _less_mean(self, data: str, sums: str, count: str, prior: int) -> str:
        """The law of ``recitative.nn.stages``."""
        g = self.graph
        mean = g.op("Div", sums, g.op("Add", count, g.constant(np.array(prior, np.float64))))
        return g.op("Sub", data, g.op("Cast", mean, to=FLOAT))

    def _frame_stack(self, name: str, stage: FrameStack, x: Ragged) -> Ragged:
        g = self.graph
        if stage.window == 1:
            return x
        heard, ready = self._advance(name, x, stage.input_width, stage.window, stage.stride, 0)
        # At least one: recurrent operators take no empty sequences; rows say themselves how long they are.
        most = g.op("Max", g.windows(g.size(heard, 1), stage.window, stage.stride), g.integer(1))
        starts = g.op("Unsqueeze", g.op("Mul", g.arange(most), g.integer(stage.stride)), g.ints(1))
        index = g.op("Reshape", g.op("Add", starts, g.constant(np.arange(stage.window))), g.ints(-1))
        inside = g.op("Min", index, g.op("Sub", g.size(heard, 1), g.integer(1)))
        frames = g.op("Gather", heard, inside, axis=1)  # (N, T' * window, C)
        shape = g.op("Concat", g.ints(0), g.op("Reshape", most, g.ints(1)), g.ints(stage.output_width), axis=0)
        return Ragged(g.op("Reshape", frames, shape), ready)

    def _causal_conv(self, name: str, stage: CausalConv, x: Ragged) -> Ragged:
        g = self.graph
        if stage.stride == 1:
            heard, ready = self._after(f"{name}.pending", x, stage.window - 1, stage.input_width), x.lengths
        else:
            heard, ready = self._advance(name, x, stage.input_width, stage.window, stage.stride, stage.window - 1)
        if stage.planes == 1:  # (N, T, planes C) -> (N, planes, T, C)
            planes = g.op("Unsqueeze", heard, g.ints(1))
        else:
            split = g.op("Reshape", heard, g.ints(0, 0, stage.planes, stage.channels))
            planes = g.op("Transpose", split, perm=[0, 2, 1, 3])
        assert stage.conv.bias is not None, "the layer was made with a bias"
        weight, bias = stage.conv.weight, stage.conv.bias
        if stage.norm is not None:  # a factor and a term of the kernel and the bias
            scale, shift = stage.norm.scale_and_shift()
            weight, bias = weight * scale[:, None, None, None], bias * scale + shift
        weights = g.constant(_array(weight), f"{name}.conv.weight"), g.constant(_array(bias), f"{name}.conv.bias")
        out = g.op("Relu", g.op("Conv", planes, *weights, strides=[stage.stride, 2], pads=[0, 1, 0, 1]))
        out = g.op("Transpose", out, perm=[0, 2, 1, 3])  # (N, T', planes', C')
        return Ragged(g.op("Reshape", out, g.ints(0, 0, stage.output_width)), ready)

    def _row_conv(self, name: str, stage: RowConv, x: Ragged) -> Ragged:
        g = self.graph
        if stage.context == 0:
            weight = g.constant(_array(stage.weight)[:, 0], f"{name}.weight")
            return Ragged(g.op("Mul", x.data, weight), x.lengths)
        shape = g.op("Concat", g.op("Shape", x.data, start=0, end=1), g.ints(stage.context, stage.input_width), axis=0)
        silence = g.op("Expand", g.real(0.0), shape)
        flushed = g.op("Mul", g.op("Cast", self.last, to=INT64), g.integer(stage.context))
        longer = Ragged(
            g.op("Concat", g.zero_padding(x), silence, axis=1), g.op("Add", x.lengths, flushed)
        )  # the padding is zero too, so that the silence follows at once in every row
        heard, ready = self._advance(name, longer, stage.input_width, stage.context + 1, 1, 0)
        kernel = g.constant(_array(stage.weight)[:, None], f"{name}.weight")  # (C, 1, context + 1)
        across = g.op("Transpose", heard, perm=[0, 2, 1])  # (N, C, T)
        y = g.op("Conv", across, kernel, group=stage.input_width)
        return Ragged(g.op("Transpose", y, perm=[0, 2, 1]), ready)

    def _delay(self, name: str, stage: Delay, x: Ragged) -> Ragged:
        g = self.graph
        heard = self._after(f"{name}.before", x, stage.frames, stage.input_width)
        return Ragged(g.op("Slice", heard, g.ints(0), g.op("Shape", x.data, start=1, end=2), g.ints(1)), x.lengths)

    def embedding_sum(self, table: EmbeddingSum, ids: str) -> str:
        """(..., F) -> (..., width); what lies beyond a row's length must be entries of the table as well."""
        vectors = self.graph.op("Gather", self.graph.constant(_array(table.weight)), ids, axis=0)
        return self.graph.op("ReduceSum", vectors, self.graph.ints(-2), keepdims=0)

    def _embedding(self, name: str, stage: Embedding, x: Ragged) -> Ragged:
        """Token ids (N, T) int64 -> (N, T, C); whatever lies beyond a row's length reads as token 0."""
        g = self.graph
        inside = g.op("Squeeze", g.mask(x.lengths, g.size(x.data, 1)), g.ints(2))
        table = g.constant(_array(stage.weight))
        return Ragged(g.op("Gather", table, g.op("Where", inside, x.data, g.integer(0))), x.lengths)

    def _embedded_features(self, name: str, stage: EmbeddedFeatures, x: Ragged) -> Ragged:
        return Ragged(self.embedding_sum(stage.table, x.data), x.lengths)

    def _tied_log_probs(self, name: str, stage: TiedLogProbs, x: Ragged) -> Ragged:
        """The table is stored once: it is turned when the model is opened."""
        g, data = self.graph, x.data
        if isinstance(stage.project, nn.Linear):
            data = self.cells.linear(f"{name}.project", stage.project, data)
        table = g.op("Transpose", g.constant(_array(stage.weight)), perm=[1, 0])
        logits = g.op("Add", g.op("MatMul", data, table), g.constant(_array(stage.bias)))
        return Ragged(g.op("LogSoftmax", logits, axis=-1), x.lengths)

    def _recurrent(self, name: str, stage: RecurrentStack, x: Ragged) -> Ragged:
        if stage.settings.direction == "latency_controlled":
            return self._in_blocks(name, stage, x)
        return self._through_layers(name, stage, x, None)

    def _through_layers(self, name: str, stage: RecurrentStack, x: Ragged, carry: str | None) -> Ragged:
        """All layers; their forward states advance over ``carry`` (N,) frames, None = all of x."""
        g = self.graph
        for i, layer in enumerate(cast("Iterable[Any]", stage.layers)):
            prefix = f"{name}.layers.{i}"
            state: list[str] = []
            if stage.settings.direction != "bidirectional":
                initial = self.cells.initial_state(stage.settings.cell, stage.settings.hidden)
                names = [f"{name}.layer{i}.{part}" for part in "hc"[: len(initial)]]
                state = [self._state(entry, value) for entry, value in zip(names, initial, strict=True)]
            y, new_state = self.cells.run(prefix, stage.settings.cell, layer, x, state, carry)
            for entry, value in zip([f"{name}.layer{i}.{part}" for part in "hc"], new_state, strict=False):
                self._new_state(entry, value)
            if isinstance(layer.project, nn.Linear):
                y = self.cells.linear(f"{prefix}.project", layer.project, y)
            if isinstance(layer.norm, nn.LayerNorm):
                gain = g.constant(_array(layer.norm.weight), f"{prefix}.norm.weight")
                bias = g.constant(_array(layer.norm.bias), f"{prefix}.norm.bias")
                y = g.op("LayerNormalization", y, gain, bias, axis=-1, epsilon=layer.norm.eps)
            x = Ragged(g.op("Add", x.data, y) if layer.residual else y, x.lengths)
        return x

    def _in_blocks(self, name: str, stage: RecurrentStack, x: Ragged) -> Ragged:
        """At most one block a call: whoever steps the graph feeds at most ``chunk`` frames and, to flush, goes on
        with none until nothing is pending."""
        g = self.graph
        chunk, block = stage.settings.chunk, stage.settings.chunk + stage.settings.right_context
        heard = g.join(self._pending(name, block - 1, stage.input_width), x)
        needed = g.op("Where", self.last, g.integer(1), g.integer(block))
        ready = g.op("Not", g.op("Less", heard.lengths, needed))
        taken = g.op("Where", ready, g.op("Min", heard.lengths, g.integer(block)), g.integer(0))
        decided = g.op("Min", taken, g.integer(chunk))
        start = g.op("Sub", taken, taken)
        out = self._through_layers(name, stage, g.cut(heard, start, taken, block), decided)
        rest = g.cut(heard, decided, g.op("Sub", heard.lengths, decided), block - 1)
        self._new_state(f"{name}.pending", rest.data)
        self._new_state(f"{name}.pending_lengths", rest.lengths)
        return Ragged(out.data, decided)


_WRITERS: dict[type[nn.Module], Callable[[Writer, str, Any, Ragged], Ragged]] = {
    Chain: Writer._chain,
    Normalize: Writer._normalize,
    UtteranceMean: Writer._utterance_mean,
    RunningMean: Writer._running_mean,
    Dropout: Writer._unchanged,
    LastFrame: Writer._unchanged,
    MeanPooling: Writer._mean_pooling,
    AttentionPooling: Writer._attention_pooling,
    RecentMean: Writer._recent_mean,
    FrameStack: Writer._frame_stack,
    CausalConv: Writer._causal_conv,
    RowConv: Writer._row_conv,
    Delay: Writer._delay,
    Project: Writer._project,
    LogProbs: Writer._log_probs,
    Embedding: Writer._embedding,
    EmbeddedFeatures: Writer._embedded_features,
    TiedLogProbs: Writer._tied_log_probs,
    RecurrentStack: Writer._recurrent,
}


Sums = tuple[str, str, str]  # peak (N,), weight (N,), sum (N, C)


def running_softmax(g: Graph, scores: str, x: str, inside: str, before: Sums) -> tuple[str, Sums]:
    """The running softmax of attention pooling, frame by frame in float64 (Milakov & Gimelshein 2018).

    With the greatest score so far m, and u = (1, x), so that the weight and the sum of a row are one vector:

        m[t] = max(m[t - 1], a[t])        S[t] = exp(m[t - 1] - m[t]) S[t - 1] + exp(a[t] - m[t]) u[t]

    scores a (N, T, 1), frames x (N, T, C) with padding zero, inside (N, T, 1) bool -> (N, T, C), and the sums after.
    Scan (6 us per frame) always adds in the same order: the bits do not depend on chunks, and no scores are too far
    apart. A padded frame has no score and is (0, 0): it changes neither the peak nor the sums.
    """
    peak, weight, total = before
    start = g.op("Concat", g.op("Unsqueeze", weight, g.ints(1)), total, axis=1)  # (N, 1 + C)
    heard = g.op("Where", inside, scores, g.constant(np.array(NO_SCORE, np.float64)))
    frames = g.op("Concat", g.op("Cast", inside, to=DOUBLE), x, axis=2)  # (N, T, 1 + C)
    last_peak, last, sums = g.ops(
        "Scan", g.op("Unsqueeze", peak, g.ints(1)), start, heard, frames,
        outputs=3, body=_one_frame().body(), num_scan_inputs=2, scan_input_axes=[1, 1], scan_output_axes=[1],
    )  # fmt: skip
    weights, totals = _parts(g, sums, axis=2)
    one = g.constant(np.array(1.0, np.float64))
    y = g.op("Div", totals, g.op("Max", weights, one))  # below 1 only in rows without frames
    weight, total = _parts(g, last, axis=1)
    return y, (g.op("Squeeze", last_peak, g.ints(1)), g.op("Squeeze", weight, g.ints(1)), total)


def _one_frame() -> Graph:
    """The body of Scan: m (N, 1), S (N, 1 + C), a (N, 1), u (N, 1 + C) -> m, S, and S again as its output."""
    g = Graph("frame_")
    m, s = g.input("frame_m", "float64", ("N", 1)), g.input("frame_s", "float64", ("N", "U"))
    a, u = g.input("frame_a", "float64", ("N", 1)), g.input("frame_u", "float64", ("N", "U"))
    peak = g.op("Max", m, a)
    old, new = (g.op("Exp", g.op("Sub", score, peak)) for score in (m, a))
    total = g.op("Add", g.op("Mul", old, s), g.op("Mul", new, u))
    g.output("frame_peak", peak, "float64", ("N", 1))
    for name in ("frame_total", "frame_kept"):
        g.output(name, total, "float64", ("N", "U"))
    return g


def _parts(g: Graph, sums: str, axis: int) -> tuple[str, str]:
    """(..., 1 + C) -> the weight (..., 1) and the sum (..., C)."""
    weight = g.op("Slice", sums, g.ints(0), g.ints(1), g.ints(axis))
    return weight, g.op("Slice", sums, g.ints(1), g.ints(TO_END), g.ints(axis))


def _array(value: Tensor) -> Array:
    return value.detach().cpu().float().numpy()
