"""Networks of sound: audio sample by sample, and mel frames from labels. And their ONNX graphs.

``WaveNetwork`` consists of an encoder of the conditioning, the recurrent core, and the head that scores each sample.
``SpectrogramNetwork`` reads the labels and the previous frame, and gives the density of the next frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recitative.model.export import Written
from recitative.model.graph import INT64, CellWriter, Graph, Ragged
from recitative.model.graph_stages import Writer
from recitative.model.kind import ModelKind
from recitative.nn.heads import INITIAL_RAW, MixtureDensity, SampleHead
from recitative.nn.ragged import zero_padding
from recitative.nn.recurrent import RecurrentStack
from recitative.nn.stages import Chain, Normalize, Project
from recitative.sound.conditioning import LEVELS, Labels, SpectrogramSettings, WaveSettings, companded, width_of
from recitative.sound.generator import SOUND, SPECTROGRAM
from recitative.stage import Padded, State


class WaveNetwork(nn.Module):
    """``encoder`` reads the conditioning, (N, T, C) -> (N, T, W), if there is one; then ``core`` and ``head``."""

    def __init__(self, settings: WaveSettings, labels: Labels) -> None:
        super().__init__()
        width, model, sound = width_of(settings, labels), settings.model, settings.sound
        self.encoder: Chain | None = None
        if width:
            self.encoder = Chain(
                {
                    "normalize": Normalize(width),
                    "first": Project(width, model.condition_width),
                    "second": Project(model.condition_width, model.condition_width),
                }
            )
        self.core = RecurrentStack((model.condition_width if width else 0) + sound.history, model.recurrent)
        self.head = SampleHead(self.core.output_width, model.width, sound.step, sound.history, LEVELS)

    def initial_state(self, n: int) -> State:
        """The state of the core."""
        return self.core.initial_state(n)

    def scores(self, encoded: Tensor | None, levels: Tensor, values: Tensor, lengths: Tensor, state: State) -> Tensor:
        """Teacher forcing over J steps of the core -> (N, J step, levels) before the softmax.

        encoded: (N, J, W) the encoder's output at the steps; levels: (N, J step) the level before each sample;
        values: (N, history - 1 + J step) the samples before, see ``SampleHead``; lengths: (N,) steps in each row
        """
        step, history = self.head.step, self.head.history
        past = values.unfold(1, history, step)  # (N, J, history): before each step's first sample
        x = past if encoded is None else torch.cat([encoded, past], dim=-1)
        h, _ = self.core.step(Padded(x, lengths), state, last=True)  # the state at the end of unequal rows would cost
        scores: Tensor = self.head(h.data, levels, values)
        return scores


@dataclass(frozen=True)
class WaveModel:
    """A network with its labels."""

    kind: ClassVar[ModelKind] = SOUND
    settings: WaveSettings
    labels: Labels
    network: WaveNetwork


def new_wave_model(settings: WaveSettings, labels: Labels) -> WaveModel:
    """A model with random weights (from torch's generator)."""
    return WaveModel(settings, labels, WaveNetwork(settings, labels))


class SpectrogramNetwork(nn.Module):
    """The first frame follows the mean of all frames."""

    def __init__(self, settings: SpectrogramSettings, labels: Labels) -> None:
        super().__init__()
        channels, model = settings.features.dim, settings.model
        self.past_dropout = model.past_dropout
        self.normalize = Normalize(channels)
        self.past = Project(channels, model.width)
        self.conditioning = Project(labels.width(), model.width)
        self.core = RecurrentStack(2 * model.width, model.recurrent)
        self.density = MixtureDensity(self.core.output_width, channels, model.components, model.least_deviation)

    def nll(self, frames: Padded[Tensor], conditioning: Tensor) -> Tensor:
        """Teacher forcing: log-mel frames (N, T, C) and conditioning (N, T, W) -> (N, T), the NLL of each normalized
        frame in nats per dimension. Values beyond a row's length are undefined."""
        n = len(frames.lengths)
        normal, _ = self.normalize.step(frames, self.normalize.initial_state(n), last=True)
        now = zero_padding(normal)
        before = F.dropout(F.pad(now[:, :-1], (0, 0, 1, 0)), self.past_dropout, self.training)
        x = torch.cat([self.past(before), self.conditioning(conditioning)], dim=-1)
        h, _ = self.core.step(Padded(x, frames.lengths), self.core.initial_state(n), last=True)
        nll: Tensor = self.density(h.data).nll(now)
        return nll


@dataclass(frozen=True)
class SpectrogramModel:
    """A network with its labels."""

    kind: ClassVar[ModelKind] = SPECTROGRAM
    settings: SpectrogramSettings
    labels: Labels
    network: SpectrogramNetwork


def new_spectrogram_model(settings: SpectrogramSettings, labels: Labels) -> SpectrogramModel:
    """A model with random weights (from torch's generator)."""
    return SpectrogramModel(settings, labels, SpectrogramNetwork(settings, labels))


# ONNX graphs


def write_wave(model: WaveModel) -> Written:
    """A model of samples, in float32. The samples of a step are generated inside the graph, from random numbers that
    are an input: one call for each sample would cost more than its arithmetic.

    Graph: told (N, W) the encoder's output at this step, if there is an encoder; past (N, history) companded values of
    the last samples; last (N,) int64 the last level; given (N, step) int64 fixed levels, -1: generate; uniforms
    (N, step) in [0, 1); cooling () 1 / temperature; lengths (N,) of ones; state.*
    -> levels (N, step) int64, new_state.*.
    Graph 'encoder': frames (N, T, C), lengths (N,) -> said (N, T, W).
    """
    network, sound = model.network, model.settings.sound
    graph = Graph()
    writer = Writer(graph, CellWriter(graph, inputs=None), last="")
    past = graph.input("past", "float32", ("N", sound.history))
    inputs = past
    if network.encoder is not None:
        conditioning = graph.input("told", "float32", ("N", model.settings.model.condition_width))
        inputs = graph.op("Concat", conditioning, past, axis=1)
    x = Ragged(graph.op("Unsqueeze", inputs, graph.ints(1)), graph.input("lengths", "int64", ("N",)))
    h = graph.op("Squeeze", writer.write("core", network.core, x).data, graph.ints(1))  # (N, H)
    levels = _write_samples(graph, writer.cells, network.head, h, past)
    graph.output("levels", levels, "int64", ("N", sound.step))
    if network.encoder is None:
        return Written(graph, writer.initial)
    encoder = Graph()
    frames = Ragged(encoder.input("frames", "float32", ("N", "T", "C")), encoder.input("lengths", "int64", ("N",)))
    y = Writer(encoder, CellWriter(encoder, inputs=None), last="").write("", network.encoder, frames)
    encoder.output("said", y.data, "float32", ("N", "T", "W"))
    return Written(graph, writer.initial, graphs={"encoder": encoder})


def _write_samples(g: Graph, cells: CellWriter, head: SampleHead, h: str, past: str) -> str:
    """(N, step) levels."""
    step = head.step
    last = g.input("last", "int64", ("N",))
    given = g.ops("Split", g.input("given", "int64", ("N", step)), outputs=step, axis=1, num_outputs=step)
    uniforms = g.ops("Split", g.input("uniforms", "float32", ("N", step)), outputs=step, axis=1, num_outputs=step)
    cooling = g.input("cooling", "float32", ())
    from_core = g.ops("Split", cells.linear("", head.from_core, h), outputs=step, axis=1, num_outputs=step)  # (N, W)
    from_samples = g.constant(head.from_samples.weight.detach().float().numpy().T)
    from_level = g.constant(head.from_level.detach().float().numpy())
    values = g.constant(companded())
    levels = []
    for number in range(step):
        from_past = g.op("Add", g.op("MatMul", past, from_samples), g.op("Gather", from_level, last))
        r = g.op("Relu", g.op("Add", from_core[number], from_past))
        scores = cells.linear("", head.scores, g.op("Relu", cells.linear("", head.inner, r)))
        probabilities = g.op("Softmax", g.op("Mul", scores, cooling), axis=1)
        below = g.op("Less", g.op("CumSum", probabilities, g.integer(1)), uniforms[number])
        level = g.op("ReduceSum", g.op("Cast", below, to=INT64), g.ints(1), keepdims=1)  # (N, 1)
        level = g.op("Min", level, g.integer(LEVELS - 1))  # the sum of all may fall short of 1 by rounding
        level = g.op("Where", g.op("Less", given[number], g.integer(0)), level, given[number])
        levels.append(level)
        last = g.op("Squeeze", level, g.ints(1))
        past = g.op("Concat", g.op("Slice", past, g.ints(1), g.ints(head.history), g.ints(1)),
                    g.op("Gather", values, level), axis=1)  # fmt: skip
    return g.op("Concat", *levels, axis=1)


def write_spectrogram(model: SpectrogramModel) -> Written:
    """A model of mel frames, in float32.

    Graph: past (N, C) the last normalized frame; told (N, W) conditioning; uniforms (N, 1) in [0, 1), which select a
    Gaussian; normals (N, C) and heat (), the temperature; lengths (N,) of ones; state.*
    -> normal (N, C) the next past, frame (N, C) log-mel, new_state.*
    """
    network, channels = model.network, model.settings.features.dim
    graph = Graph()
    writer = Writer(graph, CellWriter(graph, inputs=None), last="")
    parts = []
    for name, width, project in (
        ("past", channels, network.past),
        ("told", model.labels.width(), network.conditioning),
    ):
        value = graph.input(name, "float32", ("N", width))
        parts.append(graph.op("Relu", writer.cells.linear("", project.linear, value)))
    x = graph.op("Unsqueeze", graph.op("Concat", *parts, axis=1), graph.ints(1))
    y = writer.write("core", network.core, Ragged(x, graph.input("lengths", "int64", ("N",))))
    normal = _write_frame(graph, writer.cells, network.density, graph.op("Squeeze", y.data, graph.ints(1)))
    statistics = (network.normalize.mean, network.normalize.inverse_stddev)
    mean, scale = (graph.constant(value.detach().cpu().float().numpy()) for value in statistics)
    graph.output("normal", normal, "float32", ("N", channels))
    graph.output("frame", graph.op("Add", graph.op("Div", normal, scale), mean), "float32", ("N", channels))
    return Written(graph, writer.initial)


def _write_frame(g: Graph, cells: CellWriter, density: MixtureDensity, h: str) -> str:
    """(N, H) -> a normalized frame (N, C)."""
    k, channels = density.components, density.channels
    weights, means, raw = g.ops(
        "Split", cells.linear("", density.linear, h), g.ints(k, k * channels, k * channels), outputs=3, axis=1
    )
    below = g.op("CumSum", g.op("Softmax", weights, axis=1), g.integer(1))
    passed = g.op("Less", below, g.input("uniforms", "float32", ("N", 1)))
    chosen = g.op("ReduceSum", g.op("Cast", passed, to=INT64), g.ints(1), keepdims=0)  # (N,)
    chosen = g.op("Min", chosen, g.integer(k - 1))  # the sum of all may fall short of 1 by rounding
    index = g.op("Unsqueeze", chosen, g.ints(1, 2))  # (N, 1, 1)
    index = g.op("Expand", index, g.ints(1, 1, channels))
    mean, wide = (
        g.op("Squeeze", g.op("GatherElements", g.op("Reshape", v, g.ints(0, k, channels)), index, axis=1), g.ints(1))
        for v in (means, raw)
    )
    deviation = g.op("Add", g.op("Softplus", g.op("Add", wide, g.real(INITIAL_RAW))), g.real(density.least_deviation))
    away = g.op("Mul", g.input("normals", "float32", ("N", channels)), g.input("heat", "float32", ()))
    return g.op("Add", mean, g.op("Mul", deviation, away))
