"""Recordings to labels: a network of samples with the names of its outputs, whole recordings and streams. NumPy only.

The label of a recording is what the last frame says; every earlier frame says what it would be if the recording ended
there, and so a stream has a label at any moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from recitative.audio.files import AudioInfo, OnWarning, open_blocks
from recitative.audio.resample import StreamResampler
from recitative.audio.samples import as_float, require_rate
from recitative.classification.kind import CLASSIFIER
from recitative.classification.settings import ClassifierSettings
from recitative.data.frames import least_samples
from recitative.errors import DataError, UsageError
from recitative.features.augment import change_speed
from recitative.model.onnx_stage import open_file
from recitative.model.samples import SampleNetwork, pad_samples
from recitative.stage import Array, Padded, Stage

BLOCK_S = 10.0  # recordings are heard in pieces of at most this length, so that memory stays small
LONGEST_S = 3600.0  # of a recording that is to have one label; a longer one is more likely a mistake


@dataclass(frozen=True)
class Guess:
    """A label and how probable the model finds it."""

    label: str
    probability: float


@dataclass(frozen=True)
class Running:
    """What a recording is called after so many seconds: all labels, likeliest first."""

    heard_s: float
    guesses: tuple[Guess, ...]


class Labeller(SampleNetwork):
    """Stage: samples (N, S) -> log probabilities (N, T, K) of the labels. It keeps nothing of what it heard."""

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

    def likeliest(self, log_probs: Array) -> Guess:
        """(K,) -> the first of ``ranked``."""
        probabilities = _probabilities(log_probs)
        best = int(probabilities.argmax())
        return Guess(self.labels[best], float(probabilities[best]))

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

    def stream(self) -> LabelStream:
        """A new stream. Raises UsageError if the model needs the whole recording at once."""
        if self.lookahead is None:
            raise UsageError(
                "this classifier has no running label: it needs the whole recording; use one with a 'forward' or "
                "'latency_controlled' core and model.cmvn 'global' or 'running'"
            )
        return LabelStream(self)

    def label_file(
        self,
        path: str | Path,
        *,
        all_speeds: bool = False,
        longest_s: float = LONGEST_S,
        partial: bool = False,
        on_warning: OnWarning = lambda found: None,
    ) -> Running:
        """What one recording of any rate and number of channels is called at its end.

        all_speeds: by its mean probabilities at all ``speeds``, but those at which it has no frame
        partial, on_warning: as those of ``open_blocks``

        Raises DataError for one that is bad, too short for a frame of the network, or longer than ``longest_s``.
        """
        streams = {speed: LabelStream(self) for speed in (self.speeds if all_speeds else (1.0,))}
        with open_blocks(path, BLOCK_S, partial=partial, on_warning=on_warning) as (info, blocks):
            _require_at_most(path, info, longest_s)
            for block in blocks:
                for speed, stream in streams.items():
                    stream.hear(block, round(speed * info.sample_rate))
        own = streams.pop(1.0).log_probs()
        if own is None:
            _refuse_short(self, path, info.duration_s)
        others = [log_probs for stream in streams.values() if (log_probs := stream.log_probs()) is not None]
        return Running(info.duration_s, self.ranked(_mean([own, *others])))

    def follow_file(
        self,
        path: str | Path,
        every_s: float,
        *,
        partial: bool = False,
        on_warning: OnWarning = lambda found: None,
    ) -> Iterator[Running]:
        """What it is called after each so many seconds, once there is a frame, and at its end; of any length.

        Raises UsageError as ``stream``, DataError as ``label_file`` but for long recordings.
        """
        block_s = min(every_s, BLOCK_S)
        with open_blocks(path, block_s, partial=partial, on_warning=on_warning) as (info, blocks):
            yield from self.follow(blocks, info.sample_rate, every_s, where=str(path))

    def follow(
        self, blocks: Iterable[Array], sample_rate: int, every_s: float, *, where: str = ""
    ) -> Iterator[Running]:
        """What blocks (S,) of any length are called after each so many seconds, once there is a frame, and at the end.

        It is said as soon as the block is there in which the seconds end. ``where`` is what a recording is called in
        the DataError for one too short for a frame; without it there is none. Raises UsageError as ``stream``.
        """
        stream, heard, said_at = self.stream(), 0, 0
        every = max(1, round(every_s * sample_rate))
        for block in blocks:
            while len(block):
                piece, block = np.split(block, [every - heard % every])
                stream.hear(piece, sample_rate)
                heard += len(piece)
                if heard % every == 0 and (guesses := stream.guesses()):
                    said_at = heard
                    yield Running(heard / sample_rate, guesses)
        if heard > said_at and (guesses := stream.guesses()):
            said_at = heard
            yield Running(heard / sample_rate, guesses)
        if where and not said_at:
            _refuse_short(self, where, heard / sample_rate)


class LabelStream:
    """A recording as it comes. Made by ``Labeller.stream``; memory does not grow with what it hears.

    Whatever it is called after some samples, a recording that ends there is called too, however the samples are cut.
    """

    def __init__(self, labeller: Labeller) -> None:
        self._labeller = labeller
        self.reset()

    def reset(self) -> None:
        """Forget everything heard."""
        self._rate = 0
        self._resampler: StreamResampler | None = None
        self._state = self._labeller.initial_state(1)
        self._held: list[Array] = []  # of a recording that the model must hear whole
        self._said: Array | None = None  # (K,) what the last frame said

    def accept(self, samples: Array, sample_rate: int) -> Guess | None:
        """The next samples (S,), float in [-1, 1] or int16, at one rate in Hz from the stream's start to its end.

        Returns the running label, None before there is a frame. Raises DataError for NaN or infinite samples,
        UsageError for a changed rate or samples of another shape or type; the stream is then as it was.
        """
        self.hear(samples, sample_rate)
        log_probs = self.log_probs()
        return None if log_probs is None else self._labeller.likeliest(log_probs)

    def hear(self, samples: Array, sample_rate: int) -> None:
        """The same without a label: nothing is worked out that only ``guesses`` needs."""
        samples = as_float(samples)
        require_rate(sample_rate, self._rate)
        self._rate = sample_rate
        self._resampler = self._resampler or StreamResampler(sample_rate, self._labeller.sample_rate)
        self._take(self._resampler.accept(samples))

    def guesses(self) -> tuple[Guess, ...]:
        """All labels for what has been heard, likeliest first; none before there is a frame."""
        log_probs = self.log_probs()
        return () if log_probs is None else self._labeller.ranked(log_probs)

    def finish(self) -> tuple[Guess, ...]:
        """The same, at the end of the stream; it is new then."""
        guesses = self.guesses()
        self.reset()
        return guesses

    def _take(self, samples: Array) -> None:
        if self._labeller.lookahead is None:
            self._held.append(samples)
            return
        y, self._state = self._labeller.step(pad_samples([samples]), self._state, last=False)
        self._said = _last_frame(y, self._said)

    def log_probs(self) -> Array | None:
        """(K,) of what has been heard, None before there is a frame; the stream can still go on."""
        ending = self._resampler.ending() if self._resampler else np.zeros(0, np.float32)
        if not (self._labeller.holds_back or len(ending)):
            return self._said
        rest = np.concatenate([*self._held, ending])
        y, _ = self._labeller.step(pad_samples([rest]), self._state, last=True)
        return _last_frame(y, self._said)


def _probabilities(log_probs: Array) -> Array:
    return np.exp(np.asarray(log_probs, np.float64))


def _mean(said: Sequence[Array]) -> Array:
    """(K,) each -> (K,) of their mean probabilities; one alone stays as it is."""
    if len(said) == 1:
        return said[0]
    mean: Array = np.log(np.mean([_probabilities(one) for one in said], axis=0))
    return mean


def _last_frame(y: Padded[Array], before: Array | None) -> Array | None:
    """(K,) of the only row, or ``before`` where nothing new was said."""
    frames = int(y.lengths[0])
    return np.array(y.data[0, frames - 1]) if frames else before


def _require_at_most(path: str | Path, info: AudioInfo, longest_s: float) -> None:
    if info.duration_s > longest_s:
        found, allowed = f"lasts {info.duration_s:.0f} s", f"at most {longest_s:.0f} s for one label"
        raise DataError(str(path), found, allowed, "cut it, or follow its running label with --every SECONDS")


def _refuse_short(labeller: Labeller, where: str | Path, duration_s: float) -> NoReturn:
    least_s = labeller.least_samples / labeller.sample_rate
    allowed = f"at least {least_s:.4g} s, one frame of the network"
    raise DataError(str(where), f"lasts {duration_s:.4g} s", allowed, "give a longer recording")


def load_classifier(model: str | Path | bytes, *, threads: int = 1) -> Labeller:
    """The whole chain from samples to labels around a classifier's file. Raises DataError for another."""
    labeller: Labeller = open_file(Path(model) if isinstance(model, str) else model, CLASSIFIER, threads=threads)
    return labeller
