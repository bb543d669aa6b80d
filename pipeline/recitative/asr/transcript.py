"""What a recognizer says: events of a stream, segments and the transcript of a recording. Times are in seconds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from recitative.asr.decoders import Alternative
from recitative.model.stream import document
from recitative.text.words import Word


@dataclass(frozen=True)
class Segment:
    """A part of a recording between pauses, decoded as one.

    words:        with times from the start of the recording
    alternatives: the best first, as many as were asked for; of a greedy decoder none
    whole:        False if it ends within a word, or fits no sentence of the grammar: its last words are missing
    """

    start_s: float
    end_s: float
    words: tuple[Word, ...]
    alternatives: tuple[Alternative, ...] = ()
    whole: bool = True

    @property
    def text(self) -> str:
        return text_of(self.words)

    @property
    def is_silent(self) -> bool:
        """Whether nothing was heard in it that could be written."""
        return self.whole and not self.words and not any(one.text for one in self.alternatives)

    def to_dict(self) -> dict[str, Any]:
        """start, end (s), text, whole; nbest with text, score and posterior where several were asked for."""
        entries = {"start": self.start_s, "end": self.end_s, "text": self.text, "whole": self.whole}
        nbest = [{"text": a.text, "score": a.score, "posterior": a.posterior} for a in self.alternatives]
        return entries | ({"nbest": nbest} if len(nbest) > 1 else {})


@dataclass(frozen=True)
class Partial:
    """What an utterance says so far. It comes when its text, or the stable part of it, has changed.

    utterance:   its number in the stream, from 1; the next ``Final`` has the same
    end_s:       of the audio that is decided
    num_stable: the first words that no later audio can change, as all hypotheses of the decoder have them; their times
                 may still move by a frame or two
    """

    utterance: int
    start_s: float
    end_s: float
    words: tuple[Word, ...]
    num_stable: int

    @property
    def text(self) -> str:
        return text_of(self.words)

    @property
    def stable(self) -> str:
        """The part of the text that no later audio can change."""
        return text_of(self.words[: self.num_stable])

    def to_dict(self) -> dict[str, Any]:
        """type, utterance, start, end (s), text, stable, words with word, start, end and confidence (0..1)."""
        entries = {"type": "partial", "utterance": self.utterance, "start": self.start_s, "end": self.end_s}
        return entries | {"text": self.text, "stable": self.stable, "words": [word.to_dict() for word in self.words]}


@dataclass(frozen=True)
class Final:
    """A whole utterance: nothing of it changes any more. In silence there is none.

    segments: those it was decoded in; one, unless the stream has rules for the end of an utterance
    """

    utterance: int  # its number in the stream, from 1
    segments: tuple[Segment, ...]

    @property
    def start_s(self) -> float:
        return self.segments[0].start_s

    @property
    def end_s(self) -> float:
        return self.segments[-1].end_s

    @property
    def words(self) -> tuple[Word, ...]:
        return tuple(word for segment in self.segments for word in segment.words)

    @property
    def text(self) -> str:
        return text_of(self.words)

    def to_dict(self) -> dict[str, Any]:
        """type, utterance, start, end (s), text, words, segments."""
        entries = {"type": "final", "utterance": self.utterance, "start": self.start_s, "end": self.end_s}
        return entries | {
            "text": self.text,
            "words": [word.to_dict() for word in self.words],
            "segments": [segment.to_dict() for segment in self.segments],
        }


@dataclass(frozen=True)
class Transcript:
    """All that was said in a recording.

    duration_s: of its audio
    warnings:   what is odd about it
    model:      the name of the recognizer
    """

    segments: tuple[Segment, ...]
    duration_s: float
    warnings: tuple[str, ...] = ()
    model: str = ""

    @classmethod
    def of(cls, events: Iterable[Partial | Final], duration_s: float | None = None, model: str = "") -> Transcript:
        """What the events of a stream say together. duration_s: None = up to the end of the last utterance."""
        segments = tuple(segment for event in events if isinstance(event, Final) for segment in event.segments)
        end_s = segments[-1].end_s if segments else 0.0
        return cls(segments, end_s if duration_s is None else duration_s, model=model)

    @property
    def words(self) -> tuple[Word, ...]:
        return tuple(word for segment in self.segments for word in segment.words)

    @property
    def text(self) -> str:
        return text_of(self.words)

    @property
    def broken(self) -> tuple[Segment, ...]:
        """Segments that end within a word, or fit no sentence of the grammar: their last words are missing."""
        return tuple(segment for segment in self.segments if not segment.whole)

    def to_dict(self) -> dict[str, Any]:
        """schema, model, duration (s), text, words with word, start, end (s) and confidence (0..1), segments."""
        entries = {
            "duration": round(self.duration_s, 3),
            "text": self.text,
            "words": [word.to_dict() for word in self.words],
            "segments": [segment.to_dict() for segment in self.segments],
        }
        return document(self.model, entries)


def text_of(words: Iterable[Word]) -> str:
    return " ".join(word.word for word in words)
