"""From samples to log probabilities and words: whole recordings at once, or a stream, segment by segment. NumPy only.

A stream is cut at pauses where speech goes on for more than four seconds (``audio.vad``), so that neither memory nor
the network's context grow with its length. Segments and words do not depend on how the samples are chunked.

Without endpoint rules an utterance is a segment, and a stream has the same utterances as the whole recording. With
``EndpointRules`` an utterance ends by silence and length, after Kaldi's ``online-endpoint.h``, with the defaults of
sherpa-onnx:

    after speech    ``silence_s`` of silence          (Kaldi's rules 2 to 4 in one)
    without speech  ``empty_silence_s``               (rule 1)
    at most         ``longest_s``                     (rule 5)

Silence is where the recognizer writes nothing. At the end of an utterance its last words are flushed, and decoding
starts with a new state, as for a new recording.
"""

from __future__ import annotations

import copy
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Generic

import numpy as np
import soxr
from pydantic import BaseModel

from recitative.asr.decoding import NO_OPTIONS, Decoder, DecodingOptions, DecodingResult, TimedTable, new_decoder
from recitative.asr.kind import NO_LANGUAGE, RECOGNIZER, Language, language_of
from recitative.asr.transcript import Final, Partial, ReadableText, Segment, TextForm
from recitative.audio.live import Block
from recitative.audio.vad import SegmentCutter, SegmentPiece, SegmentRules
from recitative.config import Settings
from recitative.errors import UsageError
from recitative.features.frontend import pad_rows
from recitative.model.onnx_stage import OnnxStage
from recitative.model.stream import AudioStream, E, NetworkInput, NetworkStream, SampleNetwork, Work
from recitative.stage import Array, Padded, Stage
from recitative.text.tokens import TokenTable, Word


class DecodedNetwork(SampleNetwork):
    """A network of samples with a decoder, as ``asr.recognizer`` runs it.

    settings: of the model; segments: where a stream may be cut; each segment is decoded from a new state
    """

    settings: BaseModel
    decoder: Decoder
    segments: SegmentRules = SegmentRules()


class Transcriber(DecodedNetwork):
    """Stage: samples (N, S) float32 in [-1, 1] -> log probabilities (N, T, V) float32; see ``SampleNetwork``."""

    settings: Settings

    def __init__(
        self,
        network: Stage[Array],
        settings: Settings,
        tokens: TokenTable,
        language: Language = NO_LANGUAGE,
        options: DecodingOptions = NO_OPTIONS,
    ) -> None:
        """network: features (N, T, C) -> log probabilities (N, T', V), a stage on NumPy arrays."""
        super().__init__(network, settings.features)
        self.settings = settings
        self.tokens = tokens
        self.language = language
        self.timed = TimedTable(tokens, self.frame_s)
        self.options = options

    @cached_property
    def decoder(self) -> Decoder:  # type: ignore[override]  # built when it is first needed
        """The decoder for the settings, language and options. Raises what ``asr.decoding.new_decoder`` raises."""
        return new_decoder(self.settings.decode, self.timed, self.language, self.options)

    def with_options(self, options: DecodingOptions) -> Transcriber:
        """The same model with other decoding options."""
        return Transcriber(self.network, self.settings, self.tokens, self.language, options)

    def with_decoder(self, decoder: Decoder) -> Transcriber:
        """The same model with another decoder, such as one for keywords."""
        other = copy.copy(self)
        other.decoder = decoder
        return other

    def transcribe(self, rows: Sequence[Array], *, chunk_samples: int | None = None) -> list[DecodingResult]:
        """Decode several recordings (S,) together: whole, or in chunks as in a stream."""
        x = pad_rows(rows)
        step = chunk_samples or x.data.shape[1]
        state = self.initial_state(len(rows))
        decoded = [self.decoder.start() for _ in rows]
        for start in range(0, max(x.data.shape[1], 1), step):
            piece = Padded(x.data[:, start : start + step], np.clip(x.lengths - start, 0, step))
            y, state = self.step(piece, state, last=start + step >= x.data.shape[1])
            decoded = [
                self.decoder.step(log_probs[:length], row)
                for row, log_probs, length in zip(decoded, y.data, y.lengths, strict=True)
            ]
        return [self.decoder.finish(row) for row in decoded]


def load_transcriber(model: Path | bytes, *, threads: int = 1, options: DecodingOptions | None = None) -> Transcriber:
    """A recognizer's exported file, or its content, with all steps from samples to words. Raises DataError."""
    stage = OnnxStage(model, RECOGNIZER, threads=threads)
    extras = stage.metadata.extras
    language = language_of(extras)
    return Transcriber(stage, stage.metadata.settings, extras["tokens"], language, options or NO_OPTIONS)


@dataclass(frozen=True)
class EndpointRules:
    """In seconds. Raises UsageError for a rule that isn't positive.

    step_s: audio is processed in steps of this length, and the rules are applied after each, so that utterances do not
            depend on the pieces in which the audio comes
    """

    silence_s: float = 1.2
    empty_silence_s: float = 2.4
    longest_s: float = 20.0
    step_s: float = 0.16

    def __post_init__(self) -> None:
        for name in ("silence_s", "empty_silence_s", "longest_s", "step_s"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name}={getattr(self, name)}: must be more than 0 seconds")

    def ends(self, *, decided_s: float, silence_s: float, said_something: bool) -> bool:
        """Whether an utterance ends here.

        decided_s: its decoded audio; silence_s: the silence at its end; said_something: whether it has a word
        """
        limit_s = self.silence_s if said_something else self.empty_silence_s
        return silence_s >= limit_s or decided_s >= self.longest_s


class DecodedStream(NetworkStream[E]):
    """A stream through a network and its decoder, from samples to segments."""

    network: DecodedNetwork
    _decoded: Any  # the decoder's state

    @property
    def decided_s(self) -> float:
        """Seconds of decoded audio, from the stream's start."""
        return self._start_s + self.network.decoder.num_frames(self._decoded) * self.network.frame_s

    @abstractmethod
    def _segment_ended(self, segment: Segment) -> None: ...

    def _begin(self) -> None:
        super()._begin()
        self._cutter: SegmentCutter | None = None
        self._offset = 0  # where the cutter began, in samples from the start of the stream
        self._start_s = 0.0  # start of the segment
        self._begin_segment()

    def _begin_segment(self) -> None:
        self._state = self.network.initial_state(1)
        self._decoded = self.network.decoder.start()
        self._resampler: soxr.ResampleStream | None = None
        self._held: list[Array] = []  # the segment so far, if the model needs the whole

    def _take(self, samples: Array) -> Work[None]:
        for piece in self._running_cutter().accept(samples):
            yield from self._decode(piece)

    def _take_end(self) -> Work[None]:
        yield from self._decode(self._running_cutter().finish())

    def _decode(self, piece: SegmentPiece) -> Work[None]:
        samples = self._resampled(piece)
        if piece.last or self.network.latency_ms is not None:
            log_probs, self._state = yield NetworkInput(samples, self._state, piece.last)
            self._decoded = self.network.decoder.step(log_probs, self._decoded)
        if piece.last:
            self._end_segment()

    def _running_cutter(self) -> SegmentCutter:
        self._rate = self._rate or self.network.sample_rate
        self._cutter = self._cutter or SegmentCutter(self._rate, self.network.segments)
        return self._cutter

    def _resampled(self, piece: SegmentPiece) -> Array:
        """The piece at the model's rate. If the model needs whole segments: nothing before the end, then all of it."""
        self._start_s = (self._offset + piece.start) / self._rate
        rate = self.network.sample_rate
        if self._rate != rate and self._resampler is None:
            self._resampler = soxr.ResampleStream(self._rate, rate, 1, dtype="float32", quality="VHQ")
        samples = piece.samples
        if self._resampler:
            samples = self._resampler.resample_chunk(samples, last=piece.last)
        if self.network.latency_ms is not None:
            return samples
        self._held.append(samples)
        return np.concatenate(self._held) if piece.last else samples[:0]

    def _end_segment(self) -> None:
        result, end_s = self.network.decoder.finish(self._decoded), self.decided_s
        words = tuple(word.later(self._start_s) for word in result.words)
        times = round(self._start_s, 3), round(end_s, 3)
        self._start_s = end_s  # the next piece sets it exactly
        self._begin_segment()
        self._segment_ended(Segment(*times, words, result.alternatives, result.whole))


class Stream(DecodedStream[Partial | Final]):
    """A live stream of one speaker, made by ``Recognizer.stream``. It keeps the current utterance only."""

    def __init__(
        self,
        network: DecodedNetwork,
        rules: EndpointRules | None = None,
        *,
        partial: bool = True,
        text: TextForm = "raw",
    ) -> None:
        self._rules = rules
        self._gives_partial = partial
        self._text = text
        super().__init__(network)

    def _begin(self) -> None:
        super()._begin()
        self._utterance = 1
        self._segments: list[Segment] = []  # the finished segments of the utterance
        self._shown = ("", 0)  # the last partial result
        self._rest = np.zeros(0, np.float32)  # samples of less than a step of the rules
        self._rewriter = ReadableText() if self._text == "readable" else None
        self._cached: tuple[Any, tuple[float, int], tuple[tuple[Word, ...], int]] | None = None  # see ``_words``

    def _take(self, samples: Array) -> Work[None]:
        if not self._rules:
            yield from super()._take(samples)
            return
        self._rest = np.concatenate([self._rest, samples])
        size = max(1, round(self._rules.step_s * self._rate))
        while len(self._rest) >= size:
            step, self._rest = self._rest[:size], self._rest[size:]
            yield from super()._take(step)
            words, begin_s = self._words()[0], self._offset / self._rate
            silence_s = self.decided_s - (words[-1].end_s if words else begin_s)
            decided_s = self.decided_s - begin_s
            if self._rules.ends(decided_s=decided_s, silence_s=silence_s, said_something=bool(words)):
                yield from self._end_cutter()
        self._rest = self._rest.copy()  # a view would keep all

    def _take_end(self) -> Work[None]:
        if len(self._rest):
            rest, self._rest = self._rest, self._rest[:0]
            yield from super()._take(rest)
        yield from super()._take_end()
        self._end_utterance()

    def _end_cutter(self) -> Work[None]:
        """End an utterance by the rules. The next one begins with a new voice activity detector."""
        cutter = self._running_cutter()
        yield from self._decode(cutter.finish())
        self._offset += cutter.end
        self._start_s, self._cutter = self._offset / self._rate, None
        self._end_utterance()

    def _segment_ended(self, segment: Segment) -> None:
        if self._segments or not segment.is_silent:  # an utterance begins with its first word
            self._segments.append(segment)
        if not self._rules:
            self._end_utterance()

    def _end_utterance(self) -> None:
        if self._segments:
            final = Final(self._utterance, tuple(self._segments))
            self._events.append(self._rewriter.final(final) if self._rewriter else final)
            self._utterance += 1
            self._shown = ("", 0)
        self._segments = []

    def _news(self, *, ended: bool) -> list[Partial | Final]:
        events = super()._news(ended=ended)
        if self._gives_partial and not ended:
            words, stable = self._words()
            start_s = self._segments[0].start_s if self._segments else self._start_s
            partial = Partial(self._utterance, round(start_s, 3), round(self.decided_s, 3), words, stable)
            partial = self._rewriter.partial(partial) if self._rewriter else partial
            if (partial.text, partial.num_stable) != self._shown:
                events.append(partial)
                self._shown = (partial.text, partial.num_stable)
        return events

    def _words(self) -> tuple[tuple[Word, ...], int]:
        """The words of the utterance so far, and how many of them are stable."""
        place = self._start_s, len(self._segments)
        if self._cached is None or self._cached[0] is not self._decoded or self._cached[1] != place:
            before = [word for segment in self._segments for word in segment.words]
            result = self.network.decoder.partial(self._decoded)
            words = (word.later(self._start_s) for word in result.words)
            self._cached = self._decoded, place, ((*before, *words), len(before) + result.stable)
        return self._cached[2]


@dataclass
class Cost:
    """Computing time and delays of all blocks so far."""

    audio_s: float = 0.0
    compute_s: float = 0.0
    delays_s: list[float] = field(default_factory=list)  # from a block's arrival to its events

    @property
    def real_time_factor(self) -> float:
        return self.compute_s / self.audio_s if self.audio_s else 0.0

    def delay_ms(self, percentile: float) -> float:
        return float(np.percentile(self.delays_s, percentile)) * 1000 if self.delays_s else 0.0


class Listener(Generic[E]):
    """Live audio into a stream, block by block, with its cost.

    Iterate ``listen``; after an interrupt in mid-iteration ``flush`` gives the remaining events.
    """

    def __init__(self, stream: AudioStream[E], sample_rate: int) -> None:
        self.cost = Cost()
        self._stream = stream
        self._sample_rate = sample_rate

    def listen(self, blocks: Iterable[Block]) -> Iterator[E]:
        """The events of all blocks, to their end."""
        for block in blocks:
            events = self._timed(partial(self._stream.accept, block.samples, self._sample_rate))
            self.cost.audio_s += len(block.samples) / self._sample_rate
            self.cost.delays_s.append(time.monotonic() - block.heard_at)
            yield from events
        yield from self.flush()

    def flush(self) -> Iterator[E]:
        """End the stream; its last events."""
        yield from self._timed(self._stream.finish)

    def _timed(self, work: Callable[[], list[E]]) -> list[E]:
        started = time.perf_counter()
        events = work()
        self.cost.compute_s += time.perf_counter() - started
        return events
