"""Speech to text without PyTorch: whole recordings, or any number of streams.

    recognizer = Recognizer.load("model.onnx")
    recognizer.transcribe("recording.flac").text

    stream = recognizer.stream()
    stream.accept(samples, 48000)      # as they come, in pieces of any length
    stream.partial().text              # what has been said so far
    stream.finish().text               # with the end of the stream; then it is new again

A stream says what ``transcribe`` says of the same samples, however they are cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from recitative import pretrained
from recitative.asr.decoders import Spoken, Wishes
from recitative.asr.transcriber import DecodedNetwork, load_transcriber
from recitative.audio.files import open_blocks
from recitative.audio.samples import as_float, require_rate
from recitative.audio.vad import SegmentCutter, SegmentPiece
from recitative.errors import UsageError
from recitative.model.samples import pad_samples
from recitative.stage import Array, State
from recitative.text.words import Word

Progress = Callable[[float, float], None]

BLOCK_S = 10.0  # a streaming model hears a whole recording in pieces of this length, so that memory stays small


@dataclass(frozen=True)
class Segment:
    """A part of a recording between pauses, decoded as one; its alternatives stand in ``spoken``."""

    start_s: float
    end_s: float
    spoken: Spoken  # times are from the segment's start

    def later(self, seconds: float) -> Segment:
        """The same in a recording that begins so much earlier."""
        return replace(self, start_s=round(self.start_s + seconds, 3), end_s=round(self.end_s + seconds, 3))


@dataclass(frozen=True)
class Transcript:
    words: tuple[Word, ...]
    duration_s: float  # of the audio so far
    segments: tuple[Segment, ...] = ()  # those that have ended
    warnings: tuple[str, ...] = ()  # what is odd about the recording

    @property
    def text(self) -> str:
        return " ".join(word.word for word in self.words)

    @property
    def broken(self) -> tuple[Segment, ...]:
        """Segments that end within a word, or fit no sentence of the grammar: their last words are missing."""
        return tuple(segment for segment in self.segments if not segment.spoken.whole)


class Recognizer:
    """A model file, ready to hear. It keeps nothing of what it heard: streams do."""

    def __init__(self, network: DecodedNetwork) -> None:
        """network: a transcriber, or one that looks for keywords. Raises what building its decoder raises."""
        self._network = network
        network.decoder.start()  # an error now, not in the middle

    @classmethod
    def load(cls, model: str | Path, *, threads: int = 1, wishes: Wishes | None = None) -> Recognizer:
        """A file made by ``recitative export``, or a pretrained model by name. Raises DataError for anything else.

        wishes: hot words, a grammar, another language model: see ``asr.decoders``.
        """
        return cls(load_transcriber(pretrained.find(model), threads=threads, wishes=wishes))

    @property
    def network(self) -> DecodedNetwork:
        return self._network

    @property
    def sample_rate(self) -> int:
        """In Hz; other rates are resampled to it."""
        return self._network.sample_rate

    @property
    def latency_ms(self) -> float | None:
        """Audio that must follow a sound before it is decided; None = the whole recording."""
        return self._network.latency_ms

    def transcribe(
        self,
        audio: str | Path | Array,
        sample_rate: int | None = None,
        *,
        block_s: float = BLOCK_S,
        channel: int | None = None,
        partial: bool = False,
        progress: Progress = lambda heard_s, total_s: None,
    ) -> Transcript:
        """A recording: a path, or samples (S,) with their rate in Hz (default: the model's own).

        Samples are float in [-1, 1] or int16. They are heard ``block_s`` seconds at a time, on which the transcript
        does not depend; ``progress(heard_s, total_s)`` is called after each. Of a path only: ``channel`` is the one
        that is heard, from 0 (None: their average), and ``partial`` hears what there is of a damaged file. Raises
        DataError for audio that cannot be read, is not finite or far too large, and UsageError for samples of another
        shape or type.
        """
        if isinstance(audio, str | Path):
            odd: list[str] = []
            with open_blocks(audio, block_s, channel, partial=partial, on_warning=odd.append) as (info, blocks):
                transcript = self._transcribe(blocks, info.sample_rate, info.num_samples, progress)
            if info.sample_rate < self.sample_rate:
                found = (
                    f"has {info.sample_rate} Hz; the model knows speech of {self.sample_rate} Hz: expect more errors"
                )
                odd.append(found)
            return replace(transcript, warnings=tuple(odd))
        rate = sample_rate or self.sample_rate
        require_rate(rate)
        samples = as_float(audio)
        return self._transcribe(_cut(samples, rate, block_s), rate, len(samples), progress)

    def _transcribe(self, blocks: Iterable[Array], sample_rate: int, total: int, progress: Progress) -> Transcript:
        stream, heard = Stream(self), 0
        for block in blocks:
            stream.accept(block, sample_rate)
            heard += len(block)
            progress(heard / sample_rate, total / sample_rate)
        return stream.finish()

    def stream(self) -> Stream:
        """A new stream. Raises UsageError if the model needs the whole recording at once."""
        if self.latency_ms is None:
            raise UsageError("a bidirectional model cannot stream: it needs the whole recording; use a streaming model")
        return Stream(self)

    def accept(self, pieces: Sequence[tuple[Stream, Array]], sample_rate: int) -> None:
        """The next piece of many streams at once: the network runs one time for all of them."""
        if len({id(stream) for stream, _ in pieces}) < len(pieces):
            raise UsageError("a stream stands twice in one call; join its pieces")
        checked = [stream._check(samples, sample_rate) for stream, samples in pieces]  # all, before any goes on
        self._hear(
            {stream: stream._cut(samples, sample_rate) for (stream, _), samples in zip(pieces, checked, strict=True)}
        )

    def _hear(self, pieces: dict[Stream, list[SegmentPiece]]) -> None:
        """Piece after piece of every stream, those that end their segments and those that don't in a call each."""
        for turn in range(max(map(len, pieces.values()), default=0)):
            now = {stream: row[turn] for stream, row in pieces.items() if turn < len(row)}
            for last in (False, True):
                some = {stream: piece for stream, piece in now.items() if piece.last is last}
                rows = {stream: stream._take(piece) for stream, piece in some.items()}
                if rows and (last or self.latency_ms is not None):
                    self._step(rows, last=last)

    def _step(self, rows: dict[Stream, Array], *, last: bool) -> None:
        states = [stream._state for stream in rows]
        y, new_state = self._network.step(pad_samples(list(rows.values())), _join(states), last=last)
        for i, (stream, state) in enumerate(zip(rows, _split(new_state, len(rows)), strict=True)):
            stream._heard = self._network.decoder.step(y.data[i, : y.lengths[i]], stream._heard)
            stream._state = state
            if last:
                stream._end_segment()


class Stream:
    """One speaker's audio as it comes. Made by ``Recognizer.stream``.

    A recognizer's is cut at its pauses where it goes on for more than four seconds, see ``audio.vad``, so that
    neither memory nor the network's own memory of the past grow with its length.
    """

    _heard: Any  # the decoder's state

    def __init__(self, recognizer: Recognizer) -> None:
        self._recognizer = recognizer
        self.reset()

    def reset(self) -> None:
        """Forget everything heard."""
        self._rate = 0
        self._cutter: SegmentCutter | None = None
        self._num_samples = 0
        self._words: list[Word] = []  # of the segments that have ended
        self._segments: list[Segment] = []
        self._begin_segment()

    def accept(self, samples: Array, sample_rate: int) -> None:
        """The next samples (S,), float in [-1, 1] or int16, at one rate in Hz from the stream's start to its end.

        Raises DataError for NaN or infinite samples, UsageError for a changed rate or samples of another shape or type;
        the stream is then as it was.
        """
        self._recognizer.accept([(self, samples)], sample_rate)

    @property
    def decided_s(self) -> float:
        """Seconds of audio, from the stream's start, for which the text is settled."""
        network = self._recognizer._network
        return self._start_s + network.decoder.num_frames(self._heard) * network.frame_s

    def partial(self) -> Transcript:
        """What has been decided so far; later samples may lengthen its last word."""
        duration_s = self._num_samples / self._rate if self._rate else 0.0
        spoken = self._recognizer._network.decoder.partial(self._heard)
        words = (word.later(self._start_s) for word in spoken.words)
        return Transcript((*self._words, *words), duration_s, tuple(self._segments))

    def finish(self) -> Transcript:
        """The whole transcript, with what was held back for want of future; the stream is new then."""
        self._cut(np.zeros(0, np.float32), self._rate or self._recognizer.sample_rate)
        assert self._cutter is not None
        self._recognizer._hear({self: [self._cutter.finish()]})
        transcript = self.partial()
        self.reset()
        return transcript

    def forget_settled(self) -> None:
        """Drop the words of segments that have ended, and of the running one those that can't change any more, so that
        memory stays constant."""
        self._words, self._segments = [], []
        self._heard = self._recognizer._network.decoder.forget(self._heard)

    def _begin_segment(self) -> None:
        self._state = self._recognizer._network.initial_state(1)
        self._heard = self._recognizer._network.decoder.start()
        self._resampler: soxr.ResampleStream | None = None
        self._held: list[Array] = []  # of a segment that the model must hear whole
        self._start_s = 0.0

    def _end_segment(self) -> None:
        network = self._recognizer._network
        spoken = network.decoder.finish(self._heard)
        self._words += [word.later(self._start_s) for word in spoken.words]
        if network.decoder.num_frames(self._heard):
            end_s = self._start_s + network.decoder.num_frames(self._heard) * network.frame_s
            self._segments.append(Segment(round(self._start_s, 3), round(end_s, 3), spoken))
        self._begin_segment()

    def _check(self, samples: Array, sample_rate: int) -> Array:
        samples = as_float(samples)
        require_rate(sample_rate, self._rate)
        return samples

    def _cut(self, samples: Array, sample_rate: int) -> list[SegmentPiece]:
        self._rate = sample_rate
        self._cutter = self._cutter or SegmentCutter(sample_rate, self._recognizer._network.segments)
        self._num_samples += len(samples)
        return self._cutter.accept(samples)

    def _take(self, piece: SegmentPiece) -> Array:
        """The piece at the model's rate; of a segment that must be heard whole nothing before its end, then all."""
        self._start_s = piece.start / self._rate
        rate = self._recognizer.sample_rate
        if self._rate != rate and self._resampler is None:
            self._resampler = soxr.ResampleStream(self._rate, rate, 1, dtype="float32", quality="VHQ")
        samples = piece.samples
        if self._resampler:
            samples = self._resampler.resample_chunk(samples, last=piece.last)
        if self._recognizer.latency_ms is not None:
            return samples
        self._held.append(samples)
        return np.concatenate(self._held) if piece.last else samples[:0]


def _join(states: Sequence[State]) -> State:
    if len(states) == 1:
        return states[0]
    return {key: np.concatenate([state[key] for state in states]) for key in states[0]}


def _split(state: State, n: int) -> list[State]:
    if n == 1:
        return [state]
    return [{key: value[i : i + 1] for key, value in state.items()} for i in range(n)]


def _cut(samples: Array, sample_rate: int, block_s: float) -> Iterator[Array]:
    size = max(1, round(block_s * sample_rate))
    return (samples[start : start + size] for start in range(0, len(samples), size))
