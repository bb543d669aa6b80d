"""Models of sound in training: networks, their ONNX graphs, recordings as batches, and the tasks to predict each sample
or each mel frame.

All recordings are kept in memory: a byte for each sample, and the frames of the conditioning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recitative.audio.files import Samples, read_audio
from recitative.config import RecordingsData
from recitative.data.directory import DataDirectory
from recitative.data.tables import Utterance
from recitative.errors import DataError, Problem, raise_all
from recitative.features.frontend import FeatureExtractor
from recitative.model.export import Written
from recitative.model.graph import INT64, CellWriter, Graph, Ragged
from recitative.model.graph_stages import Writer
from recitative.model.kind import ModelKind
from recitative.nn.heads import INITIAL_RAW, MixtureDensity, SampleHead
from recitative.nn.ragged import zero_padding
from recitative.nn.recurrent import RecurrentStack
from recitative.nn.stages import Chain, Normalize, Project
from recitative.sound.conditioning import (
    LEVELS,
    MIDDLE,
    Labels,
    SpectrogramSettings,
    WaveSettings,
    companded,
    label_conditions,
    levels_of,
    mel_conditions,
    mel_frames,
    places_of,
    width_of,
)
from recitative.sound.generator import SOUND, SPECTROGRAM
from recitative.stage import Array, Padded, State
from recitative.train.run import TrainingRun
from recitative.train.task import Batch, Task

LEAST_DEVIATION = 1e-2  # a constant channel is not amplified
DEV_ROWS = 32  # spectrograms

T = TypeVar("T")
OnProgress = Callable[[int, int], object]


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


# Recordings


def labels_of(utterances: Sequence[Utterance]) -> Labels:
    """All texts and speakers, sorted."""
    texts = sorted({utterance.text or "" for utterance in utterances})
    return Labels(tuple(texts), tuple(sorted({utterance.speaker for utterance in utterances})))


def mean_seconds(labels: Labels, utterances: Sequence[Utterance], seconds: Sequence[float]) -> tuple[float, ...]:
    """The mean duration of the recordings of each text."""
    found: dict[str, list[float]] = {text: [] for text in labels.texts}
    for utterance, length in zip(utterances, seconds, strict=True):
        if (text := utterance.text or "") in found:
            found[text].append(length)
    return tuple(float(np.mean(lengths)) for lengths in found.values())


def _read_each(
    utterances: Sequence[Utterance],
    sample_rate: int,
    convert: Callable[[Utterance, Samples], T],
    on_progress: OnProgress | None,
) -> list[T]:
    """Convert the samples (S,) in [-1, 1] of each recording.

    Raises DataError that lists all recordings that cannot be used.
    """
    found: list[T] = []
    problems: list[Problem] = []
    for number, utterance in enumerate(utterances):
        try:
            samples, rate = read_audio(utterance.recording_path, start_s=utterance.start_s, end_s=utterance.end_s)
            if rate != sample_rate:
                allowed, remedy = f"{sample_rate} Hz (features.sample_rate)", "convert it, or change the setting"
                raise DataError(str(utterance.recording_path), f"{rate} Hz", allowed, remedy)
            found.append(convert(utterance, samples))
        except DataError as error:
            problems += [Problem(f"utterance '{utterance.utt_id}': {p.where}", p.found, p.allowed, p.remedy)
                         for p in error.problems]  # fmt: skip
        if on_progress:
            on_progress(number + 1, len(utterances))
    raise_all(problems)
    return found


def prepare(
    settings: WaveSettings | SpectrogramSettings, data: RecordingsData, run: TrainingRun
) -> WaveTask | SpectrogramTask:
    """Create the task of a run; see ``train.run``. Raises DataError for data that cannot be used."""
    train, dev = (DataDirectory.read(path).utterances for path in (data.train, data.dev))
    if isinstance(settings, SpectrogramSettings):
        labels = labels_of(train)
        with run.console.progress("reading") as show:
            spectrograms = read_spectrograms(train, settings, labels, show)
        labels = replace(labels, seconds=mean_seconds(labels, train, [one.seconds for one in spectrograms]))
        dev_spectrograms = read_spectrograms(dev, settings, labels)
        run.start(settings)
        model = new_spectrogram_model(settings, labels)
        frames = np.concatenate([one.frames for one in spectrograms]).astype(np.float64)
        _set_statistics(model.network.normalize, frames.mean(axis=0), frames.std(axis=0))
        return SpectrogramTask(model, spectrograms, dev_spectrograms, run.device)
    labels = labels_of(train) if settings.sound.condition == "labels" else Labels()
    with run.console.progress("reading") as show:
        recordings = read_recordings(train, settings, labels, show)
    rate = settings.features.sample_rate
    labels = replace(labels, seconds=mean_seconds(labels, train, [len(one.codes) / rate for one in recordings]))
    dev_recordings = read_recordings(dev, settings, labels)
    run.start(settings)
    wave_model = new_wave_model(settings, labels)
    if wave_model.network.encoder is not None and settings.sound.condition == "mel":
        count = sum(len(recording.frames) for recording in recordings)
        mean = sum(one.frames.sum(axis=0, dtype=np.float64) for one in recordings) / count
        squares = sum(np.square(one.frames, dtype=np.float64).sum(axis=0) for one in recordings) / count
        stage = wave_model.network.encoder.stages["normalize"]
        assert isinstance(stage, Normalize)
        _set_statistics(stage, np.asarray(mean), np.sqrt(np.maximum(squares - mean**2, 0.0)))
    return WaveTask(wave_model, recordings, dev_recordings, run.device)


def _set_statistics(stage: Normalize, mean: Array, deviation: Array) -> None:
    stage.mean.copy_(torch.from_numpy(mean))
    stage.inverse_stddev.copy_(torch.from_numpy(1 / np.maximum(deviation, LEAST_DEVIATION)))


def _mean(losses: Iterable[Tensor]) -> tuple[float, int]:
    """The mean of all elements, and their number."""
    total, count = 0.0, 0
    for one in losses:
        total, count = total + float(one.sum(dtype=torch.float64)), count + one.numel()
    return total / count, count


# Samples


@dataclass(frozen=True)
class Recording:
    """codes: (S,) levels; frames: (T, C) conditioning, C = 0 for none."""

    name: str
    codes: npt.NDArray[np.uint8]
    frames: Array


@dataclass(frozen=True)
class SoundBatch(Batch):
    """N segments of at most J steps of the core.

    codes: (N, history + J step) levels, the history first, padded with silence; frames: (N, T, C) conditioning;
    places: (N, J) position of each step among the frames; lengths: (N,) steps.
    """

    codes: npt.NDArray[np.int64]
    frames: Array
    frame_lengths: npt.NDArray[np.int64]
    places: npt.NDArray[np.float32]
    lengths: npt.NDArray[np.int64]
    names: tuple[str, ...]
    seconds: float
    padded_s: float
    longest_s: float


def read_recordings(
    utterances: Sequence[Utterance], settings: WaveSettings, labels: Labels, on_progress: OnProgress | None = None
) -> list[Recording]:
    """Raises DataError that lists all recordings that cannot be used."""

    def convert(utterance: Utterance, samples: Samples) -> Recording:
        match settings.sound.condition:
            case "none":
                frames = np.zeros((1, 0), np.float32)
            case "mel":
                frames = mel_conditions(samples, settings)
            case "labels":
                text = utterance.text or ""
                frames = label_conditions(text, utterance.speaker, len(samples), settings.features, labels)
        return Recording(utterance.utt_id, levels_of(samples, frames, settings), frames)

    return _read_each(utterances, settings.features.sample_rate, convert, on_progress)


def sound_batch(parts: Sequence[tuple[Recording, int, int]], settings: WaveSettings) -> SoundBatch:
    """A batch of segments (recording, first step, steps)."""
    step, history = settings.sound.step, settings.sound.history
    lengths = np.array([steps for _, _, steps in parts])
    codes = np.full((len(parts), history + int(lengths.max()) * step), MIDDLE, np.int64)
    places = np.zeros((len(parts), int(lengths.max())), np.float32)
    frames = []
    for row, (recording, first, steps) in enumerate(parts):
        begin, end = first * step - history, (first + steps) * step
        codes_here = recording.codes[max(0, begin) : end]
        codes[row, history + steps * step - len(codes_here) : history + steps * step] = codes_here
        where, count = places_of(np.arange(first, first + steps), settings), len(recording.frames)
        low = int(np.clip(np.floor(where.min()), 0, count - 1))
        high = int(np.clip(np.floor(where.max()) + 2, low + 1, count))
        frames.append(recording.frames[low:high])
        places[row, :steps] = where - low
    seconds = step / settings.features.sample_rate * lengths
    return SoundBatch(
        codes, _padded(frames), np.array([len(piece) for piece in frames]), places, lengths,
        tuple(recording.name for recording, _, _ in parts),
        float(seconds.sum()), float(seconds.max() * len(parts)), float(seconds.max()),
    )  # fmt: skip


def _padded(arrays: Sequence[Array]) -> Array:
    """(T, C) each -> (N, longest T, C), padded with zeros."""
    padded = np.zeros((len(arrays), max(map(len, arrays)), arrays[0].shape[1]), np.float32)
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
    return padded


class WaveTask(Task):
    """Teacher forcing on segments. Each starts with the history from its recording and an initial recurrent state.

    In each epoch every recording is cut into segments at a random position, from (seed, epoch, recording). Samples that
    do not fill a step of the core are left out.
    The best epoch is that with the lowest NLL per sample of the dev recordings, which are cut the same in every epoch.
    """

    model: WaveModel
    score_unit = "nats per sample"

    def __init__(
        self, model: WaveModel, recordings: Sequence[Recording], dev: Sequence[Recording], device: torch.device
    ) -> None:
        self.model, self.network, self.device = model, model.network, device
        self.dev = dev_batches(model, dev, model.settings.segments.dev_s)
        self._recordings = recordings

    def num_batches(self, epoch: int) -> int:
        return len(self._plan(epoch))

    def batches(self, epoch: int, start: int) -> Iterator[SoundBatch]:
        for chosen in self._plan(epoch)[start:]:
            parts = [(self._recordings[i], first, steps) for i, first, steps in chosen]
            yield sound_batch(parts, self.model.settings)

    def _plan(self, epoch: int) -> list[list[tuple[int, int, int]]]:
        """(recording, first step, steps) of the segments of each batch.

        Recordings that fit into a segment are not cut. Segments of similar length form a batch.
        """
        settings = self.model.settings
        rng = np.random.default_rng([settings.train.seed, epoch])
        longest, rows = settings.segment_steps, settings.segments.rows
        plan = []
        for number, recording in enumerate(self._recordings):
            steps = len(recording.codes) // settings.sound.step
            first = int(rng.integers(1, longest + 1)) if steps > longest else steps
            cuts = [0, *range(first, steps, longest), steps]
            plan += [(number, a, b - a) for a, b in pairwise(cuts) if b > a]
        lengths = np.array([steps for _, _, steps in plan])
        order = np.argsort(lengths * rng.uniform(0.9, 1.1, len(plan)), kind="stable")
        groups = [[plan[i] for i in order[start : start + rows]] for start in range(0, len(plan), rows)]
        return [groups[i] for i in rng.permutation(len(groups))]

    def loss(self, batch: SoundBatch) -> tuple[Tensor, int]:
        losses = sample_losses(self.model, batch, noise=self.model.settings.segments.noise)
        return losses.sum(), losses.numel()

    def evaluate(self) -> Mapping[str, float]:
        nats, _ = _mean(sample_losses(self.model, batch) for batch in self.dev)
        return {"dev_nats_per_sample": nats, "score": nats}


@torch.no_grad()
def nats_per_sample(model: WaveModel, recordings: Sequence[Recording]) -> tuple[float, int]:
    """NLL per sample, and the number of samples. Every segment starts from the initial state, as in training."""
    return _mean(sample_losses(model, batch) for batch in dev_batches(model, recordings, max_s=float("inf")))


def dev_batches(model: WaveModel, recordings: Sequence[Recording], max_s: float) -> list[SoundBatch]:
    """The first ``max_s`` seconds of the recordings, cut into segments."""
    settings = model.settings
    step, longest = settings.sound.step, settings.segment_steps
    left = max_s * settings.features.sample_rate / step
    parts = []
    for recording in recordings:
        steps = len(recording.codes) // step
        for first in range(0, steps, longest):
            if left > 0:
                parts.append((recording, first, min(longest, steps - first)))
                left -= longest
    rows = settings.segments.rows
    return [sound_batch(parts[start : start + rows], settings) for start in range(0, len(parts), rows)]


def sample_losses(model: WaveModel, batch: SoundBatch, noise: float = 0.0) -> Tensor:
    """-ln P of each sample of the segments. noise: deviation of the noise on the input, in levels, from torch's
    generator."""
    device, network = next(model.network.parameters()).device, model.network
    history, step = network.head.history, network.head.step
    codes = torch.from_numpy(batch.codes).to(device)
    lengths = torch.from_numpy(batch.lengths).to(device)
    inputs = codes
    if noise:
        added = torch.round(noise * torch.randn(codes.shape, device=device)).long()
        inputs = (codes + added).clamp(0, LEVELS - 1)
    values = torch.from_numpy(companded()).to(device)[inputs[:, :-1]]
    scores = network.scores(
        encode_at_steps(network, batch, device), inputs[:, history - 1 : -1], values, lengths,
        network.initial_state(batch.rows),
    )  # fmt: skip
    inside = torch.arange(scores.shape[1], device=device) < step * lengths[:, None]
    return F.cross_entropy(scores[inside].float(), codes[:, history:][inside], reduction="none")


def encode_at_steps(network: WaveNetwork, batch: SoundBatch, device: torch.device) -> Tensor | None:
    """The encoder's output, interpolated at the steps of the core: (N, J, W); None without an encoder."""
    if network.encoder is None:
        return None
    frames = Padded(torch.from_numpy(batch.frames).to(device), torch.from_numpy(batch.frame_lengths).to(device))
    y, _ = network.encoder.step(frames, network.encoder.initial_state(batch.rows), last=True)
    places = torch.from_numpy(batch.places).to(device)
    last = (y.lengths - 1)[:, None]
    inside = torch.minimum(places.clamp(min=0.0), last.to(places.dtype))
    left = inside.floor().long()
    share = (inside - left)[..., None]
    right = torch.minimum(left + 1, last)
    before, after = (y.data.gather(1, at[..., None].expand(-1, -1, y.data.shape[-1])) for at in (left, right))
    return (1 - share) * before + share * after


# Mel frames


@dataclass(frozen=True)
class Spectrogram:
    """frames: (T, C) log-mel; conditioning: (T, W); seconds: duration of the recording."""

    name: str
    frames: Array
    conditioning: Array
    seconds: float


@dataclass(frozen=True)
class SpectrogramBatch(Batch):
    """frames: (N, T, C), conditioning: (N, T, W), both padded with zeros; lengths: (N,)."""

    frames: Array
    conditioning: Array
    lengths: npt.NDArray[np.int64]
    names: tuple[str, ...]
    seconds: float
    padded_s: float
    longest_s: float


def read_spectrograms(
    utterances: Sequence[Utterance],
    settings: SpectrogramSettings,
    labels: Labels,
    on_progress: OnProgress | None = None,
) -> list[Spectrogram]:
    """Raises DataError that lists all recordings that cannot be used."""
    features, extractor = settings.features, FeatureExtractor(settings.features)

    def convert(utterance: Utterance, samples: Samples) -> Spectrogram:
        frames = mel_frames(samples, extractor, str(utterance.recording_path))
        conditioning = label_conditions(utterance.text or "", utterance.speaker, len(samples), features, labels)
        return Spectrogram(utterance.utt_id, frames, conditioning[: len(frames)], len(samples) / features.sample_rate)

    return _read_each(utterances, features.sample_rate, convert, on_progress)


def spectrogram_batch(parts: Sequence[Spectrogram]) -> SpectrogramBatch:
    """A batch of whole recordings."""
    seconds = [part.seconds for part in parts]
    return SpectrogramBatch(
        _padded([part.frames for part in parts]), _padded([part.conditioning for part in parts]),
        np.array([len(part.frames) for part in parts]), tuple(part.name for part in parts),
        sum(seconds), max(seconds) * len(parts), max(seconds),
    )  # fmt: skip


class SpectrogramTask(Task):
    """Teacher forcing on whole recordings. Each epoch has every recording once; those of similar length form a batch.

    The best epoch is that with the lowest NLL per dimension of the frames of the dev recordings.
    """

    model: SpectrogramModel
    score_unit = "nats per dimension"

    def __init__(
        self, model: SpectrogramModel, recordings: Sequence[Spectrogram], dev: Sequence[Spectrogram],
        device: torch.device,
    ) -> None:  # fmt: skip
        self.model, self.network, self.dev, self.device = model, model.network, dev, device
        self._recordings = recordings

    def num_batches(self, epoch: int) -> int:
        return -(-len(self._recordings) // self.model.settings.rows)

    def batches(self, epoch: int, start: int) -> Iterator[SpectrogramBatch]:
        rng = np.random.default_rng([self.model.settings.train.seed, epoch])
        lengths = np.array([len(one.frames) for one in self._recordings])
        order = np.argsort(lengths * rng.uniform(0.9, 1.1, len(lengths)), kind="stable")
        rows = self.model.settings.rows
        groups = [order[first : first + rows] for first in range(0, len(order), rows)]
        for number in rng.permutation(len(groups))[start:]:
            yield spectrogram_batch([self._recordings[i] for i in groups[number]])

    def loss(self, batch: SpectrogramBatch) -> tuple[Tensor, int]:
        return frame_losses(self.model, batch).sum(), int(batch.lengths.sum())

    def evaluate(self) -> Mapping[str, float]:
        nats, _ = nats_per_dimension(self.model, self.dev)
        return {"dev_nats_per_dimension": nats, "score": nats}


@torch.no_grad()
def nats_per_dimension(model: SpectrogramModel, spectrograms: Sequence[Spectrogram]) -> tuple[float, int]:
    """NLL per dimension of the normalized frames, and the number of frames."""
    groups = (spectrograms[start : start + DEV_ROWS] for start in range(0, len(spectrograms), DEV_ROWS))
    return _mean(frame_losses(model, spectrogram_batch(group)) for group in groups)


def frame_losses(model: SpectrogramModel, batch: SpectrogramBatch) -> Tensor:
    """NLL per dimension of each frame, (M,)."""
    device = next(model.network.parameters()).device
    lengths = torch.from_numpy(batch.lengths).to(device)
    frames, conditioning = (torch.from_numpy(array).to(device) for array in (batch.frames, batch.conditioning))
    nll = model.network.nll(Padded(frames, lengths), conditioning)
    return nll[torch.arange(nll.shape[1], device=device) < lengths[:, None]]
