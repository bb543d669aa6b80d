"""Results of recognition: segments, events of a stream, the transcript of a recording, and readable text.

Times are in seconds. Readable text has punctuation, capitals, and figures for numbers. A sentence may continue in the
next segment: its words so far are read again, and the next segment begins with a capital only if the sentence has
ended. In a partial result only words are rewritten that no later word can change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from recitative import pretrained
from recitative.asr.decoding import Alternative
from recitative.model.stream import document
from recitative.punctuation.punctuator import LOWER, SENTENCE_ENDS, LabeledWord, Punctuator
from recitative.text.normalize import NUMBER_WORDS, TITLES, find_figures, num_settled
from recitative.text.tokens import Word


class _Spoken:
    """Base of results that consist of segments."""

    segments: tuple[Segment, ...]

    @property
    def words(self) -> tuple[Word, ...]:
        return tuple(word for segment in self.segments for word in segment.words)

    @property
    def text(self) -> str:
        return text_of(self.words)

    def _content(self) -> dict[str, Any]:
        return {
            "text": self.text,
            "words": [word.to_dict() for word in self.words],
            "segments": [segment.to_dict() for segment in self.segments],
        }


@dataclass(frozen=True)
class Segment:
    """A part of a recording between pauses, decoded as one.

    words:        with times from the start of the recording
    alternatives: n-best list, the best first; empty after greedy search
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
        """Whether it has no words, not even in its alternatives."""
        return self.whole and not self.words and not any(one.text for one in self.alternatives)

    def to_dict(self) -> dict[str, Any]:
        """start, end (s), text, whole; with several alternatives nbest with text, score and posterior."""
        entries = {"start": self.start_s, "end": self.end_s, "text": self.text, "whole": self.whole}
        nbest = [{"text": a.text, "score": a.score, "posterior": a.posterior} for a in self.alternatives]
        return entries | ({"nbest": nbest} if len(nbest) > 1 else {})


@dataclass(frozen=True)
class Partial:
    """The current utterance so far; an event when its text, or the stable part of it, has changed.

    utterance:  its number in the stream, from 1; the next ``Final`` has the same
    end_s:      end of the decoded audio
    num_stable: how many of the first words no later audio can change, since all hypotheses share them; their times may
                still move by a frame or two
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
class Final(_Spoken):
    """A finished utterance, which no longer changes. Silence gives none.

    segments: one, unless the stream has endpoint rules
    """

    utterance: int  # its number in the stream, from 1
    segments: tuple[Segment, ...]

    @property
    def start_s(self) -> float:
        return self.segments[0].start_s

    @property
    def end_s(self) -> float:
        return self.segments[-1].end_s

    def to_dict(self) -> dict[str, Any]:
        """type, utterance, start, end (s), text, words, segments."""
        entries = {"type": "final", "utterance": self.utterance, "start": self.start_s, "end": self.end_s}
        return entries | self._content()


@dataclass(frozen=True)
class Transcript(_Spoken):
    """The result of a whole recording.

    duration_s: length of the audio
    warnings:   problems of the recording, such as a low sample rate
    model:      the name of the recognizer
    """

    segments: tuple[Segment, ...]
    duration_s: float
    warnings: tuple[str, ...] = ()
    model: str = ""

    @classmethod
    def of(cls, events: Iterable[Partial | Final], duration_s: float | None = None, model: str = "") -> Transcript:
        """The transcript of a stream's events. duration_s: None = up to the end of the last utterance."""
        segments = tuple(segment for event in events if isinstance(event, Final) for segment in event.segments)
        end_s = segments[-1].end_s if segments else 0.0
        return cls(segments, end_s if duration_s is None else duration_s, model=model)

    @property
    def broken(self) -> tuple[Segment, ...]:
        """Segments that end within a word, or fit no sentence of the grammar: their last words are missing."""
        return tuple(segment for segment in self.segments if not segment.whole)

    def to_dict(self) -> dict[str, Any]:
        """schema, model, duration (s), text, words with word, start, end (s) and confidence (0..1), segments."""
        return document(self.model, {"duration": round(self.duration_s, 3)}, self._content())


def text_of(words: Iterable[Word]) -> str:
    return " ".join(word.word for word in words)


TextForm = Literal["raw", "readable"]
LONGEST_CONTEXT = 100  # words of a sentence that are read again


@cache
def load_punctuator() -> Punctuator:
    """The English punctuation model that comes with the package."""
    from recitative.model.onnx_stage import open_file
    from recitative.punctuation.punctuator import PUNCTUATION

    punctuator: Punctuator = open_file(pretrained.find(pretrained.PUNCTUATION), PUNCTUATION)
    return punctuator


class ReadableText:
    """Rewrites the results of one recording or stream, in their order."""

    def __init__(self, punctuator: Punctuator | None = None) -> None:
        """punctuator: None = that of ``load_punctuator``."""
        self._punctuator = punctuator or load_punctuator()
        self._sentence: list[str] = []  # the words so far of a sentence that has not ended
        self._read: list[str] = []  # the words of the last call of the model,
        self._labels: list[LabeledWord] = []  # and its result

    def final(self, event: Final) -> Final:
        segments = []
        for segment in event.segments:
            written, self._sentence = self._write(segment.words, len(segment.words))
            segments.append(replace(segment, words=tuple(written)))
        return replace(event, segments=tuple(segments))

    def partial(self, event: Partial) -> Partial:
        """Words that are not yet settled stay raw, and are not stable."""
        stable = event.words[: event.num_stable]
        decided = [word.word for word in stable[: max(0, len(stable) - self._punctuator.lookahead)]]
        settled = num_settled(decided)
        written, _ = self._write(stable, settled)
        return replace(event, words=(*written, *event.words[settled:]), num_stable=len(written))

    def _write(self, words: Sequence[Word], first: int) -> tuple[list[Word], list[str]]:
        """The ``first`` of these words rewritten, and the words of the last sentence if it has not ended."""
        before = len(self._sentence)
        raw = [*self._sentence, *(word.word for word in words)]
        if raw != self._read:  # most partial results have no further stable word
            self._read, self._labels = raw, self._punctuator.restore(raw)
        labels = self._labels[before:]
        # Numbers are not names, though books have some, such as Zero.
        labels = [label._replace(case=LOWER) if label.word in NUMBER_WORDS else label for label in labels]
        if before and labels:  # the words before were written without the end of a sentence
            labels[0] = labels[0]._replace(begins=False)
        ended = max((before + at for at, label in enumerate(labels, 1) if label.mark in SENTENCE_ENDS), default=0)
        written = [replace(word, word=label.text) for word, label in zip(words, labels, strict=True)][:first]
        for start, end, text in reversed(find_figures(raw[before : before + first])):
            mark = "" if text in TITLES.values() else labels[end - 1].mark
            text = text if text.endswith((",", mark or ",")) else text + mark
            confidence = min(word.confidence for word in words[start:end])
            written[start:end] = [Word(text, words[start].start_s, words[end - 1].end_s, confidence)]
        return written, raw[ended:][-LONGEST_CONTEXT:]
