"""Recordings to labels: a network of samples with the names of its outputs, whole recordings and streams. NumPy only.

The label of a recording is what the last frame says; every earlier frame says what it would be if the recording ended
there, and so a stream has a label at any moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from recitative.audio.files import OnWarning, open_blocks
from recitative.audio.inputs import AudioInput, open_audio
from recitative.audio.resample import StreamResampler
from recitative.audio.samples import SampleInput
from recitative.classification.kind import CLASSIFIER
from recitative.classification.settings import ClassifierSettings
from recitative.data.frames import least_samples
from recitative.errors import DataError, UsageError
from recitative.features.augment import change_speed
from recitative.model.onnx_stage import open_file
from recitative.model.samples import SampleNetwork
from recitative.model.stream import NetworkInput, NetworkStream, Work
from recitative.stage import Array, Stage

BLOCK_S = 10.0  # recordings are heard in pieces of at most this length, so that memory stays small
LONGEST_S = 3600.0  # of a recording that is to have one label; a longer one is more likely a mistake


@dataclass(frozen=True)
class Guess:
    """A label and how probable the model finds it."""

    label: str
    probability: float


@dataclass(frozen=True)
class Label:
    """What a recording is called after ``end_s`` seconds: all labels with their probabilities, likeliest first."""

    end_s: float
    guesses: tuple[Guess, ...]

    @property
    def start_s(self) -> float:
        """Always 0: the label is of all that was heard."""
        return 0.0

    @property
    def label(self) -> str:
        """The likeliest."""
        return self.guesses[0].label

    @property
    def probability(self) -> float:
        """Of the likeliest label, 0..1."""
        return self.guesses[0].probability

    def to_dict(self, top: int | None = None) -> dict[str, Any]:
        """type, start, end (s), and the ``top`` likeliest labels (None: all) with label and probability."""
        labels = [{"label": guess.label, "probability": guess.probability} for guess in self.guesses[:top]]
        return {"type": "label", "start": self.start_s, "end": round(self.end_s, 3), "labels": labels}


class Labeller(SampleNetwork):
    """Stage: samples (N, S) -> log probabilities (N, T, K) of the labels. It keeps nothing of what it heard.

    Threads may share it; a stream belongs to one at a time.
    """

    def __init__(self, network: Stage[Array], settings: ClassifierSettings, labels: tuple[str, ...]) -> None:
        """network: features (N, T, C) -> log probabilities (N, T', K), a stage on NumPy arrays."""
        super().__init__(network, settings.features)
        self.settings = settings
        self.labels = labels
        self.least_samples = least_samples(settings.features, settings.model.front_end)  # of what has a label
        self.speeds = tuple(sorted({1.0, *settings.augment.speeds}))  # its own, and those of the training
        core = settings.model.recurrent.direction
        self.holds_back = self.lookahead is None or core != "forward" or settings.features.delta_order > 0
        """Whether the end of a recording makes the network say more than it has said."""

    def ranked(self, log_probs: Array) -> tuple[Guess, ...]:
        """(K,) -> all labels, likeliest first."""
        pairs = zip(self.labels, _probabilities(log_probs).tolist(), strict=True)
        return tuple(sorted((Guess(label, p) for label, p in pairs), key=lambda guess: -guess.probability))

    def last_log_probs(self, rows: Sequence[Array]) -> Array:
        """Whole recordings (S,) at the model's rate, each long enough for a frame -> (N, K)."""
        return np.stack([frames[-1] for frames in self.log_probs(rows)])

    def mean_log_probs(self, rows: Sequence[Array]) -> Array:
        """The same of each recording's mean probabilities at all ``speeds``, but those at which it has no frame."""
        said: list[list[Array]] = [[] for _ in rows]
        for speed in self.speeds:
            heard = [change_speed(row, speed, self.sample_rate) for row in rows]
            enough = [number for number, row in enumerate(heard) if len(row) >= self.least_samples]
            if enough:
                log_probs = self.last_log_probs([heard[number] for number in enough])
                for number, one in zip(enough, log_probs, strict=True):
                    said[number].append(one)
        return np.stack([_mean(of_row) for of_row in said])

    def stream(self, every_s: float | None = None) -> LabelStream:
        """A new stream of ``Label``: after each ``every_s`` seconds, None = after each ``accept``; and at the end.

        Raises UsageError if the model needs the whole recording at once.
        """
        if self.lookahead is None:
            raise UsageError(
                "this classifier has no running label: it needs the whole recording; use one with a 'forward' or "
                "'latency_controlled' core and model.cmvn 'global' or 'running'"
            )
        return LabelStream(self, every_s)

    def label_file(
        self,
        audio: AudioInput,
        sample_rate: int | None = None,
        *,
        all_speeds: bool = False,
        longest_s: float = LONGEST_S,
        partial: bool = False,
        on_warning: OnWarning = lambda found: None,
    ) -> Label:
        """What one recording of any rate and number of channels is called at its end.

        audio: a path, an open binary file, bytes of a file, or samples (S,) at ``sample_rate`` Hz (default: the
        model's own)
        all_speeds: by its mean probabilities at all ``speeds``, but those at which it has no frame
        partial, on_warning: as those of ``open_blocks``

        Raises DataError for one that is bad, too short for a frame of the network, or longer than ``longest_s``.
        """
        streams = {speed: LabelStream(self) for speed in (self.speeds if all_speeds else (1.0,))}
        where = str(audio) if isinstance(audio, str | Path) else "the audio"
        rate = sample_rate or self.sample_rate
        with open_audio(audio, rate, BLOCK_S, None, partial, on_warning) as (rate, total, blocks):
            _require_at_most(where, total / rate, longest_s)
            for block in blocks:
                for speed, stream in streams.items():
                    stream.hear(block, round(speed * rate))
        own = streams.pop(1.0).log_probs()
        if own is None:
            _refuse_short(self, where, total / rate)
        others = [log_probs for stream in streams.values() if (log_probs := stream.log_probs()) is not None]
        return Label(total / rate, self.ranked(_mean([own, *others])))

    def follow_file(
        self,
        path: str | Path,
        every_s: float,
        *,
        partial: bool = False,
        on_warning: OnWarning = lambda found: None,
    ) -> Iterator[Label]:
        """What it is called after each so many seconds, once there is a frame, and at its end; of any length.

        Raises UsageError as ``stream``, DataError as ``label_file`` but for long recordings.
        """
        block_s = min(every_s, BLOCK_S)
        with open_blocks(path, block_s, partial=partial, on_warning=on_warning) as (info, blocks):
            yield from self.follow(blocks, info.sample_rate, every_s, where=str(path))

    def follow(self, blocks: Iterable[Array], sample_rate: int, every_s: float, *, where: str = "") -> Iterator[Label]:
        """What blocks (S,) of any length are called after each so many seconds, once there is a frame, and at the end.

        It is said as soon as the block is there in which the seconds end. ``where`` is what a recording is called in
        the DataError for one too short for a frame; without it there is none. Raises UsageError as ``stream``.
        """
        stream = self.stream(every_s)
        for block in blocks:
            yield from stream.accept(block, sample_rate)
        duration_s, has_label = stream.duration_s, stream.has_label
        yield from stream.finish()
        if where and not has_label:
            _refuse_short(self, where, duration_s)


class LabelStream(NetworkStream[Label]):
    """A recording as it comes. Made by ``Labeller.stream``; memory does not grow with what it hears.

    Whatever it is called after some samples, a recording that ends there is called too, however the samples are cut.
    """

    network: Labeller

    def __init__(self, labeller: Labeller, every_s: float | None = None) -> None:
        """every_s: see ``Labeller.stream``."""
        self._every_s = every_s
        super().__init__(labeller)

    def _begin(self) -> None:
        super()._begin()
        self._resampler: StreamResampler | None = None
        self._told_at = 0  # samples heard at the last label
        self._state = self.network.initial_state(1)
        self._held: list[Array] = []  # of a recording that the model must hear whole
        self._said: Array | None = None  # (K,) what the last frame said

    def _take(self, samples: Array) -> Work[None]:
        heard = self._num_samples - len(samples)
        every = max(1, round(self._every_s * self._rate)) if self._every_s else 0
        while every and len(samples) >= every - heard % every:
            piece, samples = np.split(samples, [every - heard % every])
            yield from self._advance(piece)
            heard += len(piece)
            yield from self._label(heard)
        if len(samples):
            yield from self._advance(samples)
        if not every:
            yield from self._label(self._num_samples)

    def _take_end(self) -> Work[None]:
        """The label of the whole, unless it was the last event."""
        if self._num_samples > self._told_at:
            yield from self._label(self._num_samples)

    def _label(self, heard: int) -> Work[None]:
        """None before there is a frame."""
        log_probs = yield from self._log_probs()
        if log_probs is not None:
            self._told_at = heard
            self._events.append(Label(heard / self._rate, self.network.ranked(log_probs)))

    def hear(self, samples: SampleInput, sample_rate: int) -> None:
        """As ``accept``, without a label: nothing is worked out that only ``guesses`` needs."""
        heard = self._check(samples, sample_rate)
        self._count(heard, sample_rate)
        self._run(self._advance(heard))

    def guesses(self) -> tuple[Guess, ...]:
        """All labels for what has been heard, likeliest first; none before there is a frame."""
        log_probs = self.log_probs()
        return () if log_probs is None else self.network.ranked(log_probs)

    @property
    def has_label(self) -> bool:
        """Whether enough was heard for a frame of the network."""
        return self.log_probs() is not None

    def log_probs(self) -> Array | None:
        """(K,) of what has been heard, None before there is a frame; the stream can still go on."""
        return self._run(self._log_probs())

    def _advance(self, samples: Array) -> Work[None]:
        self._resampler = self._resampler or StreamResampler(self._rate, self.network.sample_rate)
        samples = self._resampler.accept(samples)
        if self.network.lookahead is None:
            self._held.append(samples)
            return
        y, self._state = yield NetworkInput(samples, self._state, False)
        self._said = _last_frame(y, self._said)

    def _log_probs(self) -> Work[Array | None]:
        ending = self._resampler.ending() if self._resampler else np.zeros(0, np.float32)
        if not (self.network.holds_back or len(ending)):
            return self._said
        y, _ = yield NetworkInput(np.concatenate([*self._held, ending]), self._state, True)
        return _last_frame(y, self._said)


def _probabilities(log_probs: Array) -> Array:
    return np.exp(np.asarray(log_probs, np.float64))


def _mean(said: Sequence[Array]) -> Array:
    """(K,) each -> (K,) of their mean probabilities; one alone stays as it is."""
    if len(said) == 1:
        return said[0]
    mean: Array = np.log(np.mean([_probabilities(one) for one in said], axis=0))
    return mean


def _last_frame(y: Array, before: Array | None) -> Array | None:
    """(K,) of (T, K), or ``before`` where nothing new was said."""
    return np.array(y[-1]) if len(y) else before


def _require_at_most(where: str, duration_s: float, longest_s: float) -> None:
    if duration_s > longest_s:
        found, allowed = f"lasts {duration_s:.0f} s", f"at most {longest_s:.0f} s for one label"
        raise DataError(where, found, allowed, "cut it, or follow its running label with --every SECONDS")


def _refuse_short(labeller: Labeller, where: str, duration_s: float) -> NoReturn:
    least_s = labeller.least_samples / labeller.sample_rate
    allowed = f"at least {least_s:.4g} s, one frame of the network"
    raise DataError(where, f"lasts {duration_s:.4g} s", allowed, "give a longer recording")


def load_classifier(model: str | Path | bytes, *, threads: int = 1) -> Labeller:
    """The whole chain from samples to labels around a classifier's file. Raises DataError for another."""
    labeller: Labeller = open_file(Path(model) if isinstance(model, str) else model, CLASSIFIER, threads=threads)
    return labeller
