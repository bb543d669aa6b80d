"""A stream of audio through a network and its decoder, segment by segment, and the utterances in it.

The audio is cut at its pauses where it goes on for more than four seconds, see ``audio.vad``, so that neither memory
nor the network's own memory of the past grow with its length. The pieces in which the samples come change neither the
segments nor their words.

Without rules an utterance is a segment, and the utterances of a stream are those of the whole recording. With
``EndpointRules`` it ends by silence and length, after Kaldi's ``online-endpoint.h``, with the defaults of sherpa-onnx:

    after speech    ``silence_s`` of silence          (Kaldi's rules 2 to 4 in one)
    without speech  ``empty_silence_s``               (rule 1)
    at most         ``longest_s``                     (rule 5)

Silence is where the recognizer writes nothing. At the end of an utterance its last words are flushed and the state
starts anew, as for a new recording.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr

from recitative.asr.readable import ReadableText, TextForm
from recitative.asr.transcriber import DecodedNetwork
from recitative.asr.transcript import Final, Partial, Segment
from recitative.audio.vad import SegmentCutter, SegmentPiece
from recitative.errors import UsageError
from recitative.model.stream import E, NetworkInput, NetworkStream, Work
from recitative.stage import Array
from recitative.text.words import Word


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
        """Of an utterance so far: the audio decided, the silence at its end, and whether a word came before."""
        wanted = self.silence_s if said_something else self.empty_silence_s
        return silence_s >= wanted or decided_s >= self.longest_s


class DecodedStream(NetworkStream[E]):
    """The part that all streams through a decoder share: from samples to segments."""

    network: DecodedNetwork
    _decoded: Any  # the decoder's state

    @property
    def decided_s(self) -> float:
        """Seconds of audio, from the stream's start, that are decoded."""
        return self._start_s + self.network.decoder.num_frames(self._decoded) * self.network.frame_s

    @abstractmethod
    def _segment_ended(self, segment: Segment) -> None: ...

    def _begin(self) -> None:
        super()._begin()
        self._cutter: SegmentCutter | None = None
        self._offset = 0  # where the cutter began, in samples from the start of the stream
        self._start_s = 0.0  # of the segment
        self._begin_segment()

    def _begin_segment(self) -> None:
        self._state = self.network.initial_state(1)
        self._decoded = self.network.decoder.start()
        self._resampler: soxr.ResampleStream | None = None
        self._held: list[Array] = []  # of a segment that the model must hear whole

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
        """The piece at the model's rate; of a segment that must be heard whole nothing before its end, then all."""
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
        spoken, end_s = self.network.decoder.finish(self._decoded), self.decided_s
        words = tuple(word.later(self._start_s) for word in spoken.words)
        times = round(self._start_s, 3), round(end_s, 3)
        self._start_s = end_s  # until the next piece tells
        self._begin_segment()
        self._segment_ended(Segment(*times, words, spoken.alternatives, spoken.whole))


class Stream(DecodedStream[Partial | Final]):
    """One speaker's audio as it comes. Made by ``Recognizer.stream``. It keeps the running utterance only."""

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
        self._segments: list[Segment] = []  # of the utterance that have ended
        self._shown = ("", 0)  # the last partial result
        self._rest = np.zeros(0, np.float32)  # less than a step of the rules
        self._rewriter = ReadableText() if self._text == "readable" else None
        self._known: tuple[Any, tuple[float, int], tuple[tuple[Word, ...], int]] | None = None  # see ``_words``

    def _take(self, samples: Array) -> Work[None]:
        if not self._rules:
            yield from super()._take(samples)
            return
        self._rest = np.concatenate([self._rest, samples])
        size = max(1, round(self._rules.step_s * self._rate))
        while len(self._rest) >= size:
            step, self._rest = self._rest[:size], self._rest[size:]
            yield from super()._take(step)
            if self._is_endpoint(self._rules):
                yield from self._end_cutter()

    def _take_end(self) -> Work[None]:
        if len(self._rest):
            rest, self._rest = self._rest, self._rest[:0]
            yield from super()._take(rest)
        yield from super()._take_end()
        self._end_utterance()

    def _end_cutter(self) -> Work[None]:
        """The rest of an utterance that the rules end; the next begins with a detector that has heard nothing."""
        cutter = self._running_cutter()
        yield from self._decode(cutter.finish())
        self._offset += cutter.end
        self._start_s, self._cutter = self._offset / self._rate, None
        self._end_utterance()

    def _is_endpoint(self, rules: EndpointRules) -> bool:
        words, begin_s = self._words()[0], self._offset / self._rate
        silence_s = self.decided_s - (words[-1].end_s if words else begin_s)
        return rules.ends(decided_s=self.decided_s - begin_s, silence_s=silence_s, said_something=bool(words))

    def _segment_ended(self, segment: Segment) -> None:
        self._segments.append(segment)
        if not self._rules:
            self._end_utterance()

    def _end_utterance(self) -> None:
        if not all(segment.is_silent for segment in self._segments):
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
        """Of the utterance so far, and how many of them are stable."""
        place = self._start_s, len(self._segments)
        if self._known is None or self._known[0] is not self._decoded or self._known[1] != place:
            before = [word for segment in self._segments for word in segment.words]
            spoken = self.network.decoder.partial(self._decoded)
            words = (word.later(self._start_s) for word in spoken.words)
            self._known = self._decoded, place, ((*before, *words), len(before) + spoken.stable)
        return self._known[2]
