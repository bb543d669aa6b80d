"""Classifiers of recordings and streams: samples to a label and its probability. NumPy only.

The label of a recording is that of the network's last frame. Every earlier frame has the label that the recording would
have if it ended there, so a stream has a label at any moment.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import numpy as np
from pydantic import Field, model_validator

from recitative.audio.files import AudioInput, OnWarning, SampleInput, StreamResampler, open_audio, open_blocks
from recitative.config import (
    AugmentSettings,
    BestEpochTrainSettings,
    FeatureSettings,
    FrontEndSettings,
    RecurrentSettings,
    Section,
    TrainingData,
)
from recitative.errors import DataError, UsageError
from recitative.features.augment import change_speed
from recitative.model.kind import Endpoint, Extra, ModelKind, ModelMetadata, feature_graph
from recitative.model.onnx_stage import open_file
from recitative.model.stream import NetworkInput, NetworkStream, SampleNetwork, Work
from recitative.reading import parsed_json
from recitative.stage import Array, Stage

if TYPE_CHECKING:
    from recitative.audio.files import AudioInput


LIVE_EVERY_S = 0.5  # interval of the labels of a server's live stream


class MixupSettings(Section):
    """Mix-up of pairs of recordings and their labels (Zhang et al. 2018, "mixup")."""

    alpha: float = Field(0.0, ge=0)  # shares are distributed as Beta(alpha, alpha); 0 = off


class ClassifierCoreSettings(RecurrentSettings):
    """The recurrent core; streams need a forward or latency-controlled one."""

    direction: Literal["forward", "bidirectional", "latency_controlled"] = "forward"
    layers: int = Field(2, ge=1)
    hidden: int = Field(128, ge=1)  # per direction


class ClassifierNetworkSettings(Section):
    cmvn: Literal["global", "utterance", "running"] = (
        "global"  # utterance, running: mean normalization after the global one
    )
    front_end: FrontEndSettings = FrontEndSettings()
    recurrent: ClassifierCoreSettings = ClassifierCoreSettings()
    pooling: Literal["last", "mean", "attention", "recent"] = "attention"  # over the frames so far; see ``nn.stages``
    pooling_frames: int = Field(0, ge=0)  # core frames averaged by 'recent'; 0 for the others
    dropout: float = Field(0.0, ge=0, lt=1)  # of the core's output

    @model_validator(mode="after")
    def _pools_what_it_says(self) -> ClassifierNetworkSettings:
        if self.pooling == "recent" and self.pooling_frames < 2:
            raise ValueError(f"pooling_frames={self.pooling_frames} must be 2 or more with pooling=recent")
        if self.pooling != "recent" and self.pooling_frames:
            raise ValueError(f"pooling_frames={self.pooling_frames} needs pooling=recent, not {self.pooling}")
        if self.front_end.outputs_per_step > 1:
            raise ValueError(f"front_end.outputs_per_step={self.front_end.outputs_per_step} is for recognizers; use 1")
        return self


class ClassifierSettings(Section):
    """Settings of a classifier."""

    kind: Literal["classifier"] = "classifier"  # identifies the kind of model
    features: FeatureSettings = FeatureSettings()
    augment: AugmentSettings = AugmentSettings()
    mixup: MixupSettings = MixupSettings()
    crop_s: float = Field(0.0, ge=0)  # train on random crops of this length; 0 = whole recordings
    left_context_s: float = Field(0.0, ge=0)  # precede each recording with up to this much of others, as in a stream
    labels: tuple[str, ...] = ()  # empty: the labels of the training set
    class_weights: Literal["none", "balanced"] = "none"  # balanced: all classes have equal total weight
    model: ClassifierNetworkSettings = ClassifierNetworkSettings()
    train: BestEpochTrainSettings = BestEpochTrainSettings()

    @model_validator(mode="after")
    def _consistent(self) -> ClassifierSettings:
        self.augment.require_fit(self.features)
        if self.left_context_s and (self.crop_s or self.mixup.alpha):
            raise ValueError(
                f"left_context_s={self.left_context_s:g} needs crop_s=0 and mixup.alpha=0: the label is for the end"
            )
        if len(set(self.labels)) < len(self.labels):
            raise ValueError(f"labels={list(self.labels)} must be distinct")
        return self


class ClassifierData(TrainingData):
    train: Path  # a data directory; an utterance's whole text is its label
    dev: Path | None = None  # a data directory that chooses the best epoch; without it the last one is kept
    cmvn: Path | None = None  # statistics from 'recitative cmvn'; null: computed at the start


def describe(metadata: ModelMetadata) -> dict[str, str]:
    features, network = metadata.settings.features, metadata.settings.model
    labels = metadata.extras["labels"]
    return {
        "kind": f"classifier, {network.pooling} over time",
        "input": f"{features.sample_rate} Hz, {features.num_mel_bins} {features.kind} channels",
        "labels": f"{len(labels)}: {', '.join(labels)}",
        "streams": "no" if metadata.lookahead is None else "yes",
    }


def _about(classifier: Classifier) -> dict[str, Any]:
    about = {
        "sample_rate": classifier.sample_rate,
        "latency_ms": classifier.latency_ms,
        "labels": list(classifier.labels),
    }
    return {"streams": classifier.lookahead is not None} | about


def _answer(classifier: Classifier, audio: AudioInput, _check: Callable[[], None]) -> dict[str, Any]:
    label = classifier.classify_file(audio)
    times = {"start": label.start_s, "end": round(label.end_s, 3)}
    labels = [{"label": one.label, "probability": one.probability} for one in label.predictions]
    return {"labels": [{**times, **one, "score": one["probability"]} for one in labels]}  # score: its former name


def _labels_text(labels: tuple[str, ...]) -> str:
    return json.dumps(labels, ensure_ascii=False, indent=1) + "\n"


def _parse_labels(text: str, where: str) -> tuple[str, ...]:
    """A list of two or more names, in the order of the outputs."""
    labels, wanted = parsed_json(text, where, "a list of two or more names"), "a list of two or more names"
    if not (isinstance(labels, list) and len(labels) > 1 and all(isinstance(label, str) for label in labels)):
        raise DataError(where, "holds no labels", wanted, f"make one with '{CLASSIFIER.train}'")
    return tuple(labels)


CLASSIFIER = ModelKind(
    name="classifier",
    settings=ClassifierSettings,
    data=ClassifierData,
    build="recitative.classification.task:new_classifier",
    task="recitative.classification.task:prepare",
    runner="recitative.classification.classifier:Classifier",
    graphs=lambda settings, extras: feature_graph(settings.features.dim, len(extras["labels"])),
    describe=describe,
    extras={"labels": Extra("labels.json", _labels_text, _parse_labels)},
    int8="recitative.classification.task:ClassifierCheck",
    endpoint=Endpoint(
        "/v1/audio/classifications",
        _about,
        _answer,
        stream=lambda classifier, *, rules: classifier.stream(LIVE_EVERY_S),
    ),
)


BLOCK_S = 10.0  # recordings are read in blocks of at most this length, so that memory stays small
MAX_DURATION_S = 3600.0  # of a recording that gets one label; a longer one is more likely a mistake


@dataclass(frozen=True)
class Prediction:
    """A label and its probability, 0..1."""

    label: str
    probability: float


@dataclass(frozen=True)
class Label:
    """The classification of the first ``end_s`` seconds: all labels with their probabilities, most probable first."""

    end_s: float
    predictions: tuple[Prediction, ...]

    @property
    def start_s(self) -> float:
        """Always 0: the label is that of all audio so far."""
        return 0.0

    @property
    def label(self) -> str:
        """The most probable label."""
        return self.predictions[0].label

    @property
    def probability(self) -> float:
        """The probability of the most probable label, 0..1."""
        return self.predictions[0].probability

    def to_dict(self, top: int | None = None) -> dict[str, Any]:
        """type, start, end (s), and the ``top`` most probable labels (None: all) with label and probability."""
        labels = [{"label": one.label, "probability": one.probability} for one in self.predictions[:top]]
        return {"type": "label", "start": self.start_s, "end": round(self.end_s, 3), "labels": labels}


class Classifier(SampleNetwork):
    """Stage: samples (N, S) -> log probabilities (N, T, K) of the labels. Stateless: each stream holds its own state.

    Threads may share it; a stream belongs to one at a time.
    """

    def __init__(self, network: Stage[Array], settings: ClassifierSettings, labels: tuple[str, ...]) -> None:
        """network: features (N, T, C) -> log probabilities (N, T', K), a stage on NumPy arrays."""
        super().__init__(network, settings.features)
        self.settings = settings
        self.labels = labels
        self.min_samples = settings.model.front_end.least_samples(settings.features)  # of one frame of the network
        self.speeds = tuple(sorted({1.0, *settings.augment.speeds}))  # normal speed, and those of the training
        forward = settings.model.recurrent.direction == "forward" and settings.features.delta_order == 0
        self.has_tail = self.lookahead is None or not forward
        """Whether the end of a recording makes the network produce more frames."""

    def ranked(self, log_probs: Array) -> tuple[Prediction, ...]:
        """(K,) -> all labels, most probable first."""
        probabilities = _probabilities(log_probs)
        order = np.argsort(-probabilities, kind="stable").tolist()
        return tuple(Prediction(self.labels[n], p) for n, p in zip(order, probabilities[order].tolist(), strict=True))

    def last_log_probs(self, rows: Sequence[Array]) -> Array:
        """Whole recordings (S,) at the model's rate, each long enough for a frame -> (N, K)."""
        return np.stack([frames[-1] for frames in self.log_probs(rows)])

    def mean_log_probs(self, rows: Sequence[Array]) -> Array:
        """Like ``last_log_probs``, of the mean probabilities at all ``speeds`` at which a recording has a frame."""
        by_row: list[list[Array]] = [[] for _ in rows]
        for speed in self.speeds:
            played = [change_speed(row, speed, self.sample_rate) for row in rows]
            if numbers := [number for number, row in enumerate(played) if len(row) >= self.min_samples]:
                log_probs = self.last_log_probs([played[number] for number in numbers])
                for number, one in zip(numbers, log_probs, strict=True):
                    by_row[number].append(one)
        return np.stack([_mean(of_row) for of_row in by_row])

    def stream(self, every_s: float | None = None) -> ClassifierStream:
        """A new stream of ``Label``: after each ``every_s`` seconds, None = after each ``accept``; and at the end.

        Raises UsageError if the model needs the whole recording at once.
        """
        if self.lookahead is None:
            raise UsageError(
                "this classifier has no running label: it needs the whole recording; use one with a 'forward' or "
                "'latency_controlled' core and model.cmvn 'global' or 'running'"
            )
        return ClassifierStream(self, every_s)

    def classify_file(
        self,
        audio: AudioInput,
        sample_rate: int | None = None,
        *,
        all_speeds: bool = False,
        longest_s: float = MAX_DURATION_S,
        partial: bool = False,
        on_warning: OnWarning = lambda found: None,
    ) -> Label:
        """The label of one recording of any rate and number of channels.

        audio: a path, an open binary file, bytes of a file, or samples (S,) at ``sample_rate`` Hz (default: the
        model's own)
        all_speeds: average the probabilities over all ``speeds`` at which the recording has a frame
        partial, on_warning: as those of ``open_blocks``

        Raises DataError for one that is bad, too short for a frame of the network, or longer than ``longest_s``.
        """
        streams = {speed: ClassifierStream(self) for speed in (self.speeds if all_speeds else (1.0,))}
        where = str(audio) if isinstance(audio, str | Path) else "the audio"
        with open_audio(audio, sample_rate or self.sample_rate, BLOCK_S, None, partial, on_warning) as opened:
            rate, total, blocks = opened
            duration_s = total / rate
            if duration_s > longest_s:
                found, allowed = f"lasts {duration_s:.0f} s", f"at most {longest_s:.0f} s for one label"
                raise DataError(where, found, allowed, "cut it, or follow its running label with --every SECONDS")
            for block in blocks:
                for speed, stream in streams.items():
                    stream.advance(block, round(speed * rate))
        own = streams.pop(1.0).log_probs()
        if own is None:
            self._refuse_short(where, duration_s)
        others = [log_probs for stream in streams.values() if (log_probs := stream.log_probs()) is not None]
        return Label(duration_s, self.ranked(_mean([own, *others])))

    def stream_file(
        self, path: str | Path, every_s: float, *, partial: bool = False, on_warning: OnWarning = lambda found: None
    ) -> Iterator[Label]:
        """The label after each ``every_s`` seconds of a recording of any length, once there is a frame, and at its end.

        Raises UsageError as ``stream``, DataError as ``classify_file`` but for long recordings.
        """
        block_s = min(every_s, BLOCK_S)
        with open_blocks(path, block_s, partial=partial, on_warning=on_warning) as (info, blocks):
            yield from self.stream_blocks(blocks, info.sample_rate, every_s, where=str(path))

    def stream_blocks(
        self, blocks: Iterable[Array], sample_rate: int, every_s: float, *, where: str = ""
    ) -> Iterator[Label]:
        """The label after each ``every_s`` seconds of blocks (S,) of any length, once there is a frame, and at the end.

        It comes with the block in which the seconds end. ``where`` names the recording in the DataError for one too
        short for a frame; without it there is no error. Raises UsageError as ``stream``.
        """
        stream = self.stream(every_s)
        for block in blocks:
            yield from stream.accept(block, sample_rate)
        duration_s, has_label = stream.duration_s, stream.log_probs() is not None
        yield from stream.finish()
        if where and not has_label:
            self._refuse_short(where, duration_s)

    def _refuse_short(self, where: str, duration_s: float) -> NoReturn:
        allowed = f"at least {self.min_samples / self.sample_rate:.4g} s, one frame of the network"
        raise DataError(where, f"lasts {duration_s:.4g} s", allowed, "give a longer recording")


class ClassifierStream(NetworkStream[Label]):
    """One stream of audio, whose events are labels. Made by ``Classifier.stream``; memory does not grow.

    The label after some samples equals that of a recording that ends there, however the samples are cut.
    """

    network: Classifier

    def __init__(self, classifier: Classifier, every_s: float | None = None) -> None:
        """every_s: see ``Classifier.stream``."""
        self._every_s = every_s
        super().__init__(classifier)

    def _begin(self) -> None:
        super()._begin()
        self._resampler: StreamResampler | None = None
        self._state = self.network.initial_state(1)
        self._held: list[Array] = []  # all samples, for a model that needs the whole recording
        self._last: Array | None = None  # (K,) log probabilities of the last frame
        self._labeled_samples = 0  # number of samples at the last label

    def _take(self, samples: Array) -> Work[None]:
        taken = self._num_samples - len(samples)
        every = max(1, round(self._every_s * self._rate)) if self._every_s else 0
        while every and len(samples) >= every - taken % every:
            piece, samples = np.split(samples, [every - taken % every])
            yield from self._advance(piece)
            taken += len(piece)
            yield from self._label(taken)
        if len(samples):
            yield from self._advance(samples)
        if not every:
            yield from self._label(self._num_samples)

    def _take_end(self) -> Work[None]:
        """The label of the whole stream, unless it was the last event."""
        if self._num_samples > self._labeled_samples:
            yield from self._label(self._num_samples)

    def _label(self, num_samples: int) -> Work[None]:
        """Add the label of all samples so far, if there is a frame."""
        log_probs = yield from self._log_probs()
        if log_probs is not None:
            self._labeled_samples = num_samples
            self._events.append(Label(num_samples / self._rate, self.network.ranked(log_probs)))

    def advance(self, samples: SampleInput, sample_rate: int) -> None:
        """Like ``accept``, but without computing a label."""
        checked = self._check(samples, sample_rate)
        self._count(checked, sample_rate)
        self._run(self._advance(checked))

    def log_probs(self) -> Array | None:
        """(K,) of all samples so far, None before there is a frame; the stream can continue."""
        return self._run(self._log_probs())

    def _advance(self, samples: Array) -> Work[None]:
        self._resampler = self._resampler or StreamResampler(self._rate, self.network.sample_rate)
        samples = self._resampler.accept(samples)
        if self.network.lookahead is None:
            self._held.append(samples)
            return
        y, self._state = yield NetworkInput(samples, self._state, False)
        self._last = _last_frame(y, self._last)

    def _log_probs(self) -> Work[Array | None]:
        ending = self._resampler.ending() if self._resampler else np.zeros(0, np.float32)
        if not (self.network.has_tail or len(ending)):
            return self._last
        y, _ = yield NetworkInput(np.concatenate([*self._held, ending]), self._state, True)
        return _last_frame(y, self._last)


def _probabilities(log_probs: Array) -> Array:
    return np.exp(np.asarray(log_probs, np.float64))


def _mean(log_probs: Sequence[Array]) -> Array:
    """(K,) each -> (K,) log of their mean probabilities; a single one is returned as it is."""
    if len(log_probs) == 1:
        return log_probs[0]
    mean: Array = np.log(np.mean([_probabilities(one) for one in log_probs], axis=0))
    return mean


def _last_frame(y: Array, before: Array | None) -> Array | None:
    """(K,) of (T, K), or ``before`` if there is no new frame."""
    return np.array(y[-1]) if len(y) else before


def load_classifier(model: str | Path | bytes, *, threads: int = 1) -> Classifier:
    """Open a classifier's exported file. Raises DataError for any other file."""
    classifier: Classifier = open_file(Path(model) if isinstance(model, str) else model, CLASSIFIER, threads=threads)
    return classifier
