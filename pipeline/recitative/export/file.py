"""A trained model of any kind as one ONNX file: the graphs that its kind's writer makes, and its metadata."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import onnx
from torch import nn

from recitative.anomaly.kind import FORECASTER
from recitative.anomaly.network import Forecast, Forecaster
from recitative.asr.g2p_kind import G2P
from recitative.asr.g2p_task import write_g2p
from recitative.asr.network import RecognizerModel
from recitative.asr.recognizer_kind import RECOGNIZER
from recitative.atomic import write_bytes
from recitative.classification.kind import CLASSIFIER
from recitative.classification.network import ClassifierModel
from recitative.lm.export import write_network
from recitative.lm.kind import LANGUAGE_MODEL
from recitative.lm.network import LanguageModelNetwork
from recitative.model.export.cells import CellWriter
from recitative.model.export.graph import Graph, Ragged, file_content
from recitative.model.export.network import Ranges, Written, write_step
from recitative.model.export.stages import Writer
from recitative.model.file import ModelMetadata
from recitative.model.folder import Model, load_model
from recitative.model.kind import AnyKind, kind_of_folder
from recitative.music.kind import EVENTS, MUSIC
from recitative.music.network import EventsModel, in_int8, write_music
from recitative.nn.heads import INITIAL_RAW, MixtureDensity
from recitative.nn.stages import Chain
from recitative.punctuation.kind import PUNCTUATION
from recitative.punctuation.punctuator import FEATURES, LABELS
from recitative.punctuation.task import PunctuationModel
from recitative.sound.kind import SOUND, SPECTROGRAM
from recitative.sound.network import write_spectrogram, write_wave


def _write_recognizer(recognizer: RecognizerModel, *, ranges: Ranges | None = None, smoothing: float = 0.5) -> Written:
    return write_step(recognizer.network, recognizer.settings.features.dim, len(recognizer.tokens), ranges, smoothing)


def _write_classifier(classifier: ClassifierModel, *, ranges: Ranges | None = None, smoothing: float = 0.5) -> Written:
    features = classifier.settings.features
    return write_step(classifier.network, features.dim, len(classifier.labels), ranges, smoothing)


def _write_events(model: EventsModel, *, int8: bool = False) -> Written:
    return replace(write_network(model.network, len(model.vocabulary)), weights="int8" if int8 else "float32")


def _write_language_model(model: LanguageModelNetwork) -> Written:
    return write_network(model.network, len(model.vocabulary))


def _write_punctuation(model: PunctuationModel, *, int8: bool = False) -> Written:
    """Graph: tokens (N, T, FEATURES) int64, lengths (N,), last (), state.* -> log_probs (N, T', LABELS) and lengths."""
    graph = Graph()
    x = Ragged(graph.input("tokens", "int64", ("N", "T", FEATURES)), graph.input("lengths", "int64", ("N",)))
    writer = Writer(graph, CellWriter(graph, ranges=None), graph.input("last", "bool", ()))
    y = writer.write("", model.network, x)
    graph.output("log_probs", y.data, "float32", ("N", "T_out", len(LABELS)))
    graph.output("log_probs_lengths", y.lengths, "int64", ("N",))
    return Written(graph, writer.initial, "int8" if int8 else "float32", lookahead=model.network.lookahead)


def _write_forecaster(forecaster: Forecaster) -> Written:
    """In float32: features (N, T, C), lengths (N,) int64, state.* -> surprise (N, T, 1), new_state.*. T is any number
    from 1 on; a length may be 0.
    """
    graph = Graph()
    dim = forecaster.settings.features.dim
    x = Ragged(graph.input("features", "float32", ("N", "T", dim)), graph.input("lengths", "int64", ("N",)))
    writer = Writer(graph, CellWriter(graph, ranges=None), last="")  # nothing is held back, so nothing is flushed
    stages = dict(forecaster.network.stages.items())
    forecast = stages.pop("forecast")
    assert isinstance(forecast, Forecast)
    seen = writer.write("", Chain(stages), x)
    h = writer.write("forecast", forecast.past, seen)
    graph.output("surprise", _surprise(graph, writer.cells, forecast, h.data, seen.data), "float32", ("N", "T", 1))
    return Written(graph, writer.initial)


def _surprise(g: Graph, cells: CellWriter, forecast: Forecast, h: str, x: str) -> str:
    """(N, T, H) and (N, T, C) -> (N, T, 1)."""
    density, channels = forecast.density, forecast.density.channels
    log_weights, means, deviations = _gaussians(g, cells, density, h)
    distance = g.op("Div", g.op("Sub", g.op("Unsqueeze", x, g.ints(2)), means), deviations)  # (N, T, K, C)
    half_squares = g.op("Mul", g.op("Mul", distance, distance), g.real(0.5))
    parts = g.op("ReduceSum", g.op("Add", half_squares, g.op("Log", deviations)), g.ints(3), keepdims=0)
    log_p = g.op("ReduceLogSumExp", g.op("Sub", log_weights, parts), g.ints(2), keepdims=1)
    constant = 0.5 * math.log(2 * math.pi) - float(forecast.unit)
    return g.op("Sub", g.real(constant), g.op("Div", log_p, g.real(channels)))


def _gaussians(g: Graph, cells: CellWriter, density: MixtureDensity, h: str) -> tuple[str, str, str]:
    """(N, T, K), and twice (N, T, K, C): see ``nn.heads``."""
    said = cells.linear("", density.linear, h)
    weights, means, raw = g.ops("Split", said, g.ints(*density.sizes), outputs=3, axis=2)
    shape = g.ints(0, 0, density.components, density.channels)
    spread = g.op("Softplus", g.op("Add", raw, g.real(INITIAL_RAW)))
    deviations = g.op("Add", spread, g.real(density.least_deviation))
    return g.op("LogSoftmax", weights, axis=-1), g.op("Reshape", means, shape), g.op("Reshape", deviations, shape)


WRITERS: Mapping[str, Callable[..., Written]] = {
    CLASSIFIER.name: _write_classifier,
    EVENTS.name: _write_events,
    FORECASTER.name: _write_forecaster,
    G2P.name: write_g2p,
    LANGUAGE_MODEL.name: _write_language_model,
    MUSIC.name: write_music,
    PUNCTUATION.name: _write_punctuation,
    RECOGNIZER.name: _write_recognizer,
    SOUND.name: write_wave,
    SPECTROGRAM.name: write_spectrogram,
}


class _WithNetwork(Model, Protocol):
    @property
    def network(self) -> nn.Module: ...


def build_file(model: _WithNetwork, *, notes: str = "", **options: Any) -> onnx.ModelProto:
    """The file's content; ``options`` are those of the kind's writer.

    int8: of a model of music, letters to sounds, or punctuation, weights are stored as int8 with a scale a row; the
    arithmetic stays float32.
    """
    written = WRITERS[model.kind.name](model, **options)
    metadata = ModelMetadata(
        kind=model.kind,
        settings=model.settings,
        state=written.state,
        parameters=sum(parameter.numel() for parameter in model.network.parameters()),
        texts=model.kind.texts_of(model),
        stride=written.stride,
        lookahead=written.lookahead,
        piece_frames=written.piece_frames,
        weights=written.weights,
        notes=notes,
        graphs=written.graphs,
    )
    made = written.graph.model(metadata.to_entries())
    return in_int8(made) if options.get("int8") else made


def export_model(model: _WithNetwork, output: Path, *, notes: str = "", **options: Any) -> int:
    """Write the file; atomic. Returns its size in bytes."""
    content = file_content(build_file(model, notes=notes, **options))
    write_bytes(output, content)
    return len(content)


def export_folder(folder: Path, kinds: Sequence[AnyKind], output: Path, *, notes: str = "", **options: Any) -> int:
    """The same of a model folder of one of these kinds. Raises DataError for another."""
    return export_model(load_model(folder, kind_of_folder(folder, kinds)), output, notes=notes, **options)
