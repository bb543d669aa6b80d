"""Keywords in recordings and in streams, without PyTorch, by a recognizer or by a classifier of keywords.

spotter = Spotter.load("an4-streaming", "enter, rubout:0.9")
spotter.spot("recording.flac")            # detections: keyword, start_s, end_s, confidence
stream = spotter.stream()
stream.accept(samples, 48000)             # detections as they become certain
stream.finish()
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recitative import pretrained
from recitative.asr.recognizer import Recognizer
from recitative.asr.recognizer_kind import RECOGNIZER
from recitative.asr.stream import DecodedStream
from recitative.asr.transcriber import Transcriber, load_transcriber
from recitative.asr.transcript import Segment
from recitative.audio.inputs import AudioInput
from recitative.classification.kind import CLASSIFIER
from recitative.classification.labeller import Labeller, load_classifier
from recitative.errors import UsageError
from recitative.keywords.label_spotter import spot_labels
from recitative.keywords.spotter import parse_keywords, spot_with
from recitative.kinds import kind_of
from recitative.text.words import Word


@dataclass(frozen=True)
class Spotted:
    """A keyword that was said, with times in seconds from the start of the recording; confidence: 0..1."""

    keyword: str
    start_s: float
    end_s: float
    confidence: float

    @classmethod
    def of(cls, word: Word) -> Spotted:
        """From a word of a recognizer that looks for keywords."""
        return cls(word.word, word.start_s, word.end_s, word.confidence)

    def to_dict(self) -> dict[str, Any]:
        """type, keyword, start, end (s), confidence."""
        times = {"start": self.start_s, "end": self.end_s}
        return {"type": "spotted", "keyword": self.keyword, **times, "confidence": self.confidence}


class Spotter:
    """A model that looks for keywords. Threads may share it; a stream belongs to one at a time."""

    def __init__(self, recognizer: Recognizer) -> None:
        """recognizer: of what ``keywords.spotter.spot_with`` or ``keywords.label_spotter.spot_labels`` made."""
        self.recognizer = recognizer

    @classmethod
    def load(
        cls, model: str | Path, keywords: str, thresholds: Mapping[str, float] | None = None, *, threads: int = 1
    ) -> Spotter:
        """A file made by ``recitative export``, or a pretrained model by name. Raises DataError, UsageError.

        keywords: separated by commas, each with a threshold of its own if need be: "yes, stop:0.8".
        """
        path, name = pretrained.find(model), pretrained.name_of(model)
        if kind_of(path, [RECOGNIZER, CLASSIFIER]) is CLASSIFIER:
            return cls.of(load_classifier(path, threads=threads), keywords, thresholds, name=name)
        return cls.of(Recognizer(load_transcriber(path, threads=threads)), keywords, thresholds, name=name)

    @classmethod
    def of(cls, model: Any, keywords: str, thresholds: Mapping[str, float] | None = None, *, name: str = "") -> Spotter:
        """A loaded recognizer or classifier. Raises what ``load`` raises."""
        phrases = parse_keywords(keywords)
        if isinstance(model, Labeller):
            return cls(Recognizer(spot_labels(model, phrases, thresholds)[0], name))
        if not (isinstance(model, Recognizer) and isinstance(model.network, Transcriber)):
            raise UsageError("keywords are found by recognizers and by classifiers; use one of these")
        return cls(Recognizer(spot_with(model.network, phrases, thresholds), name))

    def spot(self, audio: AudioInput, sample_rate: int | None = None) -> tuple[Spotted, ...]:
        """The detections in a whole recording, in any form that ``Recognizer.transcribe`` takes."""
        return tuple(map(Spotted.of, self.recognizer.transcribe(audio, sample_rate).words))

    def stream(self) -> KeywordStream:
        """Raises UsageError if the model needs whole recordings."""
        self.recognizer.require_streaming()
        return KeywordStream(self.recognizer.network)


def can_spot(model: Any) -> bool:
    """Whether ``Spotter.of`` takes a model."""
    if isinstance(model, Labeller):
        return model.settings.model.pooling == "recent" and model.lookahead is not None
    return isinstance(model, Recognizer)


class KeywordStream(DecodedStream[Spotted]):
    """One stream of audio, whose events are detections, each once, as they become certain. Memory does not grow."""

    def _segment_ended(self, segment: Segment) -> None:
        self._events += map(Spotted.of, segment.words)

    def _news(self, *, ended: bool) -> list[Spotted]:
        decoder = self.network.decoder
        certain = [word.later(self._start_s) for word in decoder.partial(self._decoded).words]
        self._decoded = decoder.forget(self._decoded)
        return [*super()._news(ended=ended), *map(Spotted.of, certain)]
