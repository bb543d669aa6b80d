"""Live speech to text: utterance after utterance from a stream of blocks, with latency and real-time factor.

An utterance ends by rules on silence and length, after Kaldi's ``online-endpoint.h``, with the defaults of sherpa-onnx:

    after speech    ``silence_s`` of silence          (Kaldi's rules 2 to 4 in one)
    without speech  ``empty_silence_s``               (rule 1)
    at most         ``longest_s``                     (rule 5)

Silence is where the recognizer writes nothing. At the end of an utterance its last words are flushed and the state
starts anew, as for a new recording. Blocks are cut to one length first, so transcripts do not depend on the source's
block size.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from recitative.asr.recognizer import Recognizer, Stream, Transcript
from recitative.audio.microphone import Block
from recitative.errors import UsageError
from recitative.stage import Array


@dataclass(frozen=True)
class EndpointRules:
    """In seconds. Raises UsageError for a rule that isn't positive."""

    silence_s: float = 1.2
    empty_silence_s: float = 2.4
    longest_s: float = 20.0

    def __post_init__(self) -> None:
        for name in ("silence_s", "empty_silence_s", "longest_s"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name}={getattr(self, name)}: must be more than 0 seconds")

    def ends(self, *, decided_s: float, silence_s: float, said_something: bool) -> bool:
        """Of an utterance so far: the audio decided, the silence at its end, and whether a word came before."""
        wanted = self.silence_s if said_something else self.empty_silence_s
        return silence_s >= wanted or decided_s >= self.longest_s


@dataclass(frozen=True)
class Heard:
    """What is known after a block."""

    transcript: Transcript  # of the utterance, its times from the start of the stream
    final: bool


@dataclass
class Cost:
    """Of all blocks so far."""

    audio_s: float = 0.0
    compute_s: float = 0.0
    delays_s: list[float] = field(default_factory=list)  # from a block's arrival to its text

    @property
    def real_time_factor(self) -> float:
        return self.compute_s / self.audio_s if self.audio_s else 0.0

    def delay_ms(self, percentile: float) -> float:
        return float(np.percentile(self.delays_s, percentile)) * 1000 if self.delays_s else 0.0


def cut_alike(blocks: Iterable[Block], size: int) -> Iterator[Block]:
    """The same audio in blocks of ``size`` samples, the last one shorter, whoever delivers it."""
    rest = np.zeros(0, np.float32)
    for block in blocks:
        rest = np.concatenate([rest, block.samples])
        while len(rest) >= size:
            piece, rest = rest[:size], rest[size:]
            yield Block(piece, block.heard_at)
    if len(rest):
        yield Block(rest, time.monotonic())


class Listener:
    """Iterate ``listen``; after an interrupt in mid-iteration ``flush`` gives the words not yet final."""

    def __init__(self, recognizer: Recognizer, sample_rate: int, rules: EndpointRules, *, block_s: float) -> None:
        """Raises UsageError if the model needs whole recordings."""
        self.cost = Cost()
        self._stream: Stream = recognizer.stream()
        self._rules = rules
        self._sample_rate = sample_rate
        self._size = max(1, round(block_s * sample_rate))
        self._begin = 0  # of the utterance, in samples from the start
        self._done = 0  # samples given to the recognizer

    def listen(self, blocks: Iterable[Block]) -> Iterator[Heard]:
        """One result a block, and the final one of each utterance in which something was said."""
        for block in cut_alike(blocks, self._size):
            yield from self._hear(block.samples, block.heard_at)
        yield from self.flush()

    def flush(self) -> Iterator[Heard]:
        """The utterance ends here, whatever the rules say."""
        started = time.perf_counter()
        transcript = self._placed(self._stream.finish())
        self.cost.compute_s += time.perf_counter() - started
        self._begin = self._done
        if transcript.words or transcript.broken:
            yield Heard(transcript, final=True)

    def _hear(self, piece: Array, heard_at: float) -> Iterator[Heard]:
        started = time.perf_counter()
        self._stream.accept(piece, self._sample_rate)
        partial = self._stream.partial()
        self._done += len(piece)
        self.cost.compute_s += time.perf_counter() - started
        self.cost.audio_s += len(piece) / self._sample_rate
        self.cost.delays_s.append(time.monotonic() - heard_at)
        decided_s = self._stream.decided_s
        spoken_until_s = partial.words[-1].end_s if partial.words else 0.0
        silence_s = decided_s - spoken_until_s
        if self._rules.ends(decided_s=decided_s, silence_s=silence_s, said_something=bool(partial.words)):
            yield from self.flush()
        else:
            yield Heard(self._placed(partial), final=False)

    def _placed(self, transcript: Transcript) -> Transcript:
        begin_s = self._begin / self._sample_rate
        words = tuple(word.later(begin_s) for word in transcript.words)
        return Transcript(words, transcript.duration_s, tuple(s.later(begin_s) for s in transcript.segments))
