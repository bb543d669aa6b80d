"""Networks of music: a recurrent core with a head that scores the pitches of a voice, or a language model of events.

And the ONNX graphs of the first: one reads frames, the other scores a decision and runs once for each voice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from torch import Tensor, nn

from recitative.lm.task import build_language_model
from recitative.model.export import Written, write_network
from recitative.model.graph import FLOAT, CellWriter, Graph
from recitative.model.graph_stages import Writer
from recitative.model.kind import ModelKind
from recitative.music.events import EventVocabulary
from recitative.music.frames import FrameCode, MaskedCode
from recitative.music.kind import EVENTS, MUSIC
from recitative.music.settings import EventsSettings, MusicSettings
from recitative.nn.heads import EmbeddedFeatures, PitchHead
from recitative.nn.recurrent import RecurrentStack
from recitative.nn.stages import Chain, Dropout
from recitative.stage import Padded, State


class MusicNetwork(nn.Module):
    """``context`` reads frames as a stage, ids (N, T, F) -> (N, T, H); ``choice`` scores the pitches of a voice.

    The features are those of ``FrameCode`` with a forward core, and of ``MaskedCode`` with a bidirectional one.
    """

    def __init__(self, settings: MusicSettings) -> None:
        super().__init__()
        code, model = settings.frames.code, settings.model
        reads: FrameCode | MaskedCode = code if model.recurrent.direction == "forward" else MaskedCode(code)
        core = RecurrentStack(model.width, model.recurrent)
        self.context = Chain(
            {
                "features": EmbeddedFeatures(sum(reads.context_sizes), model.width, model.feature_dropout),
                "input_dropout": Dropout(model.width, model.dropout),
                "core": core,
                "output_dropout": Dropout(core.output_width, model.dropout),
            }
        )
        self.choice = PitchHead(
            core.output_width,
            model.choice_width,
            sum(reads.choice_sizes),
            code.pitches,
            reads.related,
            model.dropout,
            model.feature_dropout,
        )

    def initial_state(self, n: int) -> State:
        """The state of ``context``."""
        return self.context.initial_state(n)

    @property
    def stride(self) -> int:
        return self.context.stride

    @property
    def lookahead(self) -> int | None:
        return self.context.lookahead

    def output_lengths(self, lengths: Tensor) -> Tensor:
        return self.context.output_lengths(lengths)

    def step(self, x: Padded[Tensor], state: State, *, last: bool) -> tuple[Padded[Tensor], State]:
        """A step of ``context``."""
        return self.context.step(x, state, last=last)

    def scores(self, h: Tensor, ids: Tensor, related: Tensor) -> Tensor:
        """See ``PitchHead``."""
        scores: Tensor = self.choice(h, ids, related)
        return scores


@dataclass(frozen=True)
class MusicModel:
    """A network of frames with its settings."""

    kind: ClassVar[ModelKind] = MUSIC
    settings: MusicSettings
    network: MusicNetwork

    @property
    def fills(self) -> bool:
        """Whether the model fills in missing notes; otherwise it continues music."""
        return self.settings.model.recurrent.direction == "bidirectional"


def new_music_model(settings: MusicSettings) -> MusicModel:
    """A model with random weights (from torch's generator)."""
    return MusicModel(settings, MusicNetwork(settings))


@dataclass(frozen=True)
class EventsModel:
    """A network of events with its settings."""

    kind: ClassVar[ModelKind] = EVENTS
    settings: EventsSettings
    network: Chain

    @property
    def vocabulary(self) -> EventVocabulary:
        return self.settings.events.vocabulary


def new_events_model(settings: EventsSettings) -> EventsModel:
    """A model with random weights (from torch's generator)."""
    return EventsModel(settings, build_language_model(settings.model, len(settings.events.vocabulary)))


# ONNX graphs


def write_music(model: MusicModel) -> Written:
    """Graph: ids (N, T, F) int64, lengths (N,) int64, state.* -> hidden (N, T, H), new_state.*; without state if it is
    bidirectional. Graph 'choice': hidden (M, H), ids (M, G), beside (M, R) int64 -> scores (M, outputs).
    """
    written = write_network(model.network.context, MUSIC.graphs(model.settings, {})[""])
    return replace(written, graphs={"choice": _choice_graph(model.network.choice)})


def _choice_graph(head: PitchHead) -> Graph:
    g = Graph()
    cells = CellWriter(g, ranges=None)
    writer = Writer(g, cells, last="")
    hidden = g.input("hidden", "float32", ("M", head.from_core.in_features))
    ids, related = g.input("ids", "int64", ("M", "G")), g.input("beside", "int64", ("M", "R"))
    r = _gelu(g, g.op("Add", cells.linear("", head.from_core, hidden), writer.embedding_sum(head.choices, ids)))
    inner = g.op("Add", r, _gelu(g, cells.linear("", head.inner, r)))
    shape = g.ints(0, -1, 2 * head.pitches - 1)  # (M, R (2 K - 1)) -> (M, R, 2 K - 1)
    by_interval = g.op("Reshape", cells.linear("", head.between, inner), shape)
    known = g.op("Less", related, g.integer(head.pitches))
    lowest = g.op("Sub", g.integer(head.pitches - 1), g.op("Where", known, related, g.integer(0)))
    index = g.op("Add", g.op("Unsqueeze", lowest, g.ints(2)), g.constant(np.arange(head.pitches)))  # (M, R, K)
    gathered = g.op("GatherElements", by_interval, index, axis=2)
    weight = g.op("Unsqueeze", g.op("Cast", known, to=FLOAT), g.ints(2))
    intervals = g.op("ReduceSum", g.op("Mul", gathered, weight), g.ints(1), keepdims=0)
    padded = g.op("Pad", intervals, g.ints(0, 0, 0, 1))
    scores = g.op("Add", cells.linear("", head.alone, inner), padded)
    g.output("scores", scores, "float32", ("M", head.pitches + 1))
    return g


def _gelu(g: Graph, x: str) -> str:
    """x (1 + erf(x / sqrt 2)) / 2 (Hendrycks & Gimpel 2016)."""
    erf = g.op("Erf", g.op("Mul", x, g.real(float(np.sqrt(0.5)))))
    return g.op("Mul", g.op("Mul", x, g.real(0.5)), g.op("Add", erf, g.real(1.0)))
