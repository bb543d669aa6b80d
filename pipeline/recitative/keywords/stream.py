"""Keywords in recordings and in streams, without PyTorch, by a recognizer or by a classifier of keywords.

spotter = Spotter.load("an4-streaming", "enter, rubout:0.9")
spotter.spot("recording.flac")            # hits: word, start_s, end_s, confidence
stream = spotter.stream()
stream.accept(samples, 48000)             # hits as they become certain
stream.finish()
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from recitative import pretrained
from recitative.asr.listen import Cost, cut_alike
from recitative.asr.recognizer import Recognizer
from recitative.asr.recognizer_kind import RECOGNIZER
from recitative.asr.transcriber import load_transcriber
from recitative.audio.microphone import Block
from recitative.classification.kind import CLASSIFIER
from recitative.classification.labeller import load_classifier
from recitative.keywords.label_spotter import spot_labels
from recitative.keywords.spotter import parse_keywords, spot_with
from recitative.kinds import kind_of
from recitative.stage import Array
from recitative.text.words import Word


class Spotter:
    """A model that looks for keywords."""

    def __init__(self, recognizer: Recognizer) -> None:
        """recognizer: of what ``models.spotter.spot_with`` or ``models.label_spotter.spot_labels`` made."""
        self.recognizer = recognizer

    @classmethod
    def load(
        cls, model: str | Path, keywords: str, thresholds: Mapping[str, float] | None = None, *, threads: int = 1
    ) -> Spotter:
        """A file made by ``recitative export``, or a pretrained model by name. Raises DataError, UsageError.

        keywords: with commas between, each with its own threshold if it likes: "yes, stop:0.8".
        """
        path, phrases = pretrained.find(model), parse_keywords(keywords)
        if kind_of(path, [RECOGNIZER, CLASSIFIER]) is CLASSIFIER:
            return cls(Recognizer(spot_labels(load_classifier(path, threads=threads), phrases, thresholds)[0]))
        return cls(Recognizer(spot_with(load_transcriber(path, threads=threads), phrases, thresholds)))

    def spot(self, audio: str | Path | Array, sample_rate: int | None = None) -> tuple[Word, ...]:
        """The hits of a whole recording: a path, or samples as ``Recognizer.transcribe`` takes them."""
        return self.recognizer.transcribe(audio, sample_rate).words

    def stream(self) -> HitStream:
        """Raises UsageError if the model needs whole recordings."""
        return HitStream(self.recognizer)


class HitStream:
    """One stream of audio; its memory doesn't grow with it."""

    def __init__(self, recognizer: Recognizer) -> None:
        self._stream = recognizer.stream()

    def accept(self, samples: Array, sample_rate: int) -> tuple[Word, ...]:
        """The next samples (S,), as ``Stream.accept`` takes them: hits that became certain, times from the start."""
        self._stream.accept(samples, sample_rate)
        hits = self._stream.partial().words
        self._stream.forget_settled()
        return hits

    def finish(self) -> tuple[Word, ...]:
        """Hits that waited for more; the stream is new then."""
        return self._stream.finish().words


class KeywordListener:
    """Hits of live audio; what it costs is in ``cost``."""

    def __init__(self, recognizer: Recognizer, sample_rate: int, *, block_s: float) -> None:
        """Raises UsageError if the model needs whole recordings."""
        self.cost = Cost()
        self._stream = HitStream(recognizer)
        self._sample_rate = sample_rate
        self._size = max(1, round(block_s * sample_rate))

    def listen(self, blocks: Iterable[Block]) -> Iterator[Word]:
        """After an interrupt in mid-iteration ``flush`` gives the rest."""
        for block in cut_alike(blocks, self._size):
            yield from self._timed(partial(self._stream.accept, block.samples, self._sample_rate))
            self.cost.audio_s += len(block.samples) / self._sample_rate
            self.cost.delays_s.append(time.monotonic() - block.heard_at)
        yield from self.flush()

    def flush(self) -> Iterator[Word]:
        """The stream ends here."""
        yield from self._timed(self._stream.finish)

    def _timed(self, hear: Callable[[], tuple[Word, ...]]) -> tuple[Word, ...]:
        started = time.perf_counter()
        hits = hear()
        self.cost.compute_s += time.perf_counter() - started
        return hits
