"""Results of recognition: segments, events of a stream, transcripts, readable text, and the forms of output.

Times are in seconds. Readable text has punctuation, capitals, and figures for numbers. A sentence may continue in the
next segment: its words so far are read again, and the next segment begins with a capital only if the sentence has
ended. In a partial result only words are rewritten that no later word can change.

Forms are plain text, JSON, the tables of Kaldi and NIST, subtitles, and live captions. Subtitles keep the limits of the
BBC's and Netflix's guidelines. Within a segment, dynamic programming finds the best cuts: as few cues as
possible, ended by pauses rather than within a phrase, and none too short to read. A segment ends a cue, since it ends
at a pause, so cues are written as soon as their segment is known.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from html import escape
from typing import Any, Literal

from recitative import pretrained
from recitative.asr.decoding import Alternative
from recitative.atomic import json_text
from recitative.data.annotations import Tier, eaf, labels, stm_line, textgrid
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


LINE_CHARACTERS = 42  # maximum length of a line; a cue has one or two lines
SHORTEST_S, LONGEST_S = 1.0, 7.0  # limits of a cue's duration
PAUSE_S = 0.8  # a pause that always ends a cue
PHRASE_S = 0.3  # a pause that usually ends a phrase: the best place for a cut


class Writer:
    """The text of one recording, made segment by segment; nothing by itself."""

    def add(self, segment: Segment | Final) -> str:
        """The text of the next segment."""
        return ""

    def end(self, transcript: Transcript) -> str:
        """The text after the last segment. transcript: of all segments."""
        return ""


@dataclass(frozen=True)
class Format:
    """``start(file)`` gives the writer of a recording; ``head``, ``between`` and ``tail`` stand around several.

    ``alone`` starts a recording with an output file of its own, if that differs; the file then has no head and tail.
    ``by_id``: the first column is an id (``cli.options``), which is given for ``file``. ``single``: the text of several
    recordings is no file of that form, so each needs a file of its own.
    """

    suffix: str
    start: Callable[[str], Writer]
    alone: Callable[[str], Writer] | None = None
    head: str = ""
    between: str = ""
    tail: str = ""
    by_id: bool = False
    single: bool = False

    def write(self, file: str, transcript: Transcript) -> str:
        """The text of a recording among others."""
        return _written(self.start(file), transcript)

    def file_content(self, file: str, transcript: Transcript) -> str:
        """The output file of one recording."""
        if self.alone:
            return _written(self.alone(file), transcript)
        return self.head + self.write(file, transcript) + self.tail


def _written(writer: Writer, transcript: Transcript) -> str:
    return "".join(map(writer.add, transcript.segments)) + writer.end(transcript)


class _Line(Writer):
    """All text on one line."""

    def __init__(self, start: str = "", end: str = "") -> None:
        self._start, self._end, self._begun = start, end, False

    def add(self, segment: Segment | Final) -> str:
        if not segment.words:
            return ""
        before = " " if self._begun else self._start
        self._begun = True
        return before + segment.text

    def end(self, transcript: Transcript) -> str:
        return self._end + "\n" if self._begun else (self._start.rstrip(" ") + self._end).lstrip(" ") + "\n"


class _Table(Writer):
    """A line for each word."""

    def __init__(self, line: Callable[[Word], str]) -> None:
        self._line = line

    def add(self, segment: Segment | Final) -> str:
        return "".join(map(self._line, segment.words))


class _Segments(Writer):
    """A line for each segment with words."""

    def __init__(self, line: Callable[[Segment], str]) -> None:
        self._line = line

    def add(self, segment: Segment | Final) -> str:
        segments = segment.segments if isinstance(segment, Final) else (segment,)
        return "".join(self._line(one) for one in segments if one.words)


class _Tiers(Writer):
    """A tier of segments and one of words, written after the last segment."""

    def __init__(self, content: Callable[[Sequence[Tier], float], str]) -> None:
        self._content = content

    def end(self, transcript: Transcript) -> str:
        segments = tuple((one.start_s, one.end_s, one.text) for one in transcript.segments if one.words)
        words = tuple((w.start_s, w.end_s, w.word) for one in transcript.segments for w in one.words)
        end_s = max([transcript.duration_s, *(stop_s for _, stop_s, _ in (*segments, *words))])
        return self._content([Tier("segments", segments), Tier("words", words)], end_s)


class _Json(Writer):
    """One object, written after the last segment."""

    def __init__(self, file: str, indent: int | None = None, end: str = "") -> None:
        self._file, self._indent, self._end = file, indent, end

    def end(self, transcript: Transcript) -> str:
        return json_text(as_object(self._file, transcript), indent=self._indent) + self._end


def as_object(file: str, transcript: Transcript) -> dict[str, Any]:
    """The entries of ``Transcript.to_dict``, with the file after the model."""
    entries = transcript.to_dict()
    return {"schema": entries.pop("schema"), "model": entries.pop("model"), "file": file} | entries


# Subtitles.

Style = Literal["srt", "vtt"]


class _Cues(Writer):
    """SubRip, numbered, or WebVTT without its head."""

    def __init__(self, style: Style) -> None:
        self._style, self._subtitles, self._count = style, Subtitles(), 0

    def add(self, segment: Segment | Final) -> str:
        text = ""
        for cue in self._subtitles.add(segment.words):
            text += "\n" if self._count else ""
            self._count += 1
            text += (f"{self._count}\n" if self._style == "srt" else "") + cue.text(self._style)
        return text


@dataclass(frozen=True)
class Cue:
    """One subtitle: one or two lines, and when they are shown, in seconds."""

    start_s: float
    end_s: float
    lines: tuple[str, ...]

    def text(self, style: Style) -> str:
        """Times and lines, as in SubRip without the number, or as in WebVTT."""
        text = "\n".join(self.lines) + "\n"
        comma, text = (",", text) if style == "srt" else (".", escape(text, quote=False))
        return f"{_clock(self.start_s, comma)} --> {_clock(self.end_s, comma)}\n{text}"


class Subtitles:
    """Cues of a recording or a stream, segment by segment; none overlap.

    Where speech is too fast for cues of ``SHORTEST_S``, the next cue waits for the end of the last.
    """

    def __init__(self) -> None:
        self._end_s = 0.0

    def add(self, words: Sequence[Word]) -> list[Cue]:
        """The cues of the next segment."""
        cues = []
        for row in _cut([piece for word in words for piece in _pieces(word)]):
            start_s = round(max(row[0].start_s, self._end_s), 3)
            self._end_s = round(min(max(row[-1].end_s, start_s + SHORTEST_S), start_s + LONGEST_S), 3)
            _, lines = min(_breaks(row), key=lambda found: found[0])
            cues.append(Cue(start_s, self._end_s, lines))
        return cues


class RollingCaptions:
    """The last lines of live captions. A line does not change but at its end, unless its words do."""

    def __init__(self, num_lines: int = 2) -> None:
        self._num_lines = num_lines
        self._before: list[str] = []  # lines of the utterances that have ended

    def add(self, event: Partial | Final) -> str:
        """The lines after an event, each with a line end. An utterance begins a line."""
        own = textwrap.wrap(event.text, LINE_CHARACTERS, break_on_hyphens=False)
        lines = [*self._before, *own][-self._num_lines :]
        if isinstance(event, Final):
            self._before = lines
        return "".join(f"{line}\n" for line in lines)


def _pieces(word: Word) -> Iterator[Word]:
    """The word, or, if it does not fit a line, pieces that share its time."""
    count = -(-len(word.word) // LINE_CHARACTERS)
    each_s = (word.end_s - word.start_s) / count if count else 0.0
    for number in range(count):
        start = number * LINE_CHARACTERS
        times = word.start_s + number * each_s, word.start_s + (number + 1) * each_s
        yield replace(word, word=word.word[start : start + LINE_CHARACTERS], start_s=times[0], end_s=times[1])


def _cut(words: Sequence[Word]) -> list[Sequence[Word]]:
    """The words of each cue, with the lowest sum of ``_cost``."""
    best: list[tuple[float, int]] = [(0.0, 0)]  # of the words before each: the cost, and where the last cue begins
    for end in range(1, len(words) + 1):
        options = []
        for start in range(end - 1, -1, -1):
            if end - start > 1 and not _fits(words[start:end]):
                break
            options.append((best[start][0] + _cost(words, start, end), start))
        best.append(min(options))
    rows: list[Sequence[Word]] = []
    end = len(words)
    while end:
        start = best[end][1]
        rows.insert(0, words[start:end])
        end = start
    return rows


def _fits(words: Sequence[Word]) -> bool:
    """Whether several words can be one cue; if not, no longer row can."""
    long = words[-1].end_s - words[0].start_s > LONGEST_S
    return not long and words[1].start_s - words[0].end_s < PAUSE_S and bool(_breaks(words))


def _cost(words: Sequence[Word], start: int, end: int) -> float:
    """The cost of a cue of words[start:end]: 1, plus penalties for a cut within a phrase, for too short a time, and, to
    share the words evenly, for a long time."""
    is_last = end == len(words)
    pause_s = PHRASE_S if is_last else words[end].start_s - words[end - 1].end_s
    shown_s = (words[end - 1].end_s if is_last else words[end].start_s) - words[start].start_s
    cost = 1 + max(0.0, 1 - pause_s / PHRASE_S)
    return cost + 2 * max(0.0, 1 - shown_s / SHORTEST_S) + 0.2 * (shown_s / LONGEST_S) ** 2


def _breaks(words: Sequence[Word]) -> list[tuple[float, tuple[str, ...]]]:
    """All ways to write words in at most two lines, with a cost in characters; one line if it is enough.

    Two lines of about the same length cost least, broken at a pause.
    """
    texts = [word.word for word in words]
    if len(whole := " ".join(texts)) <= LINE_CHARACTERS:
        return [(0.0, (whole,))]
    found: list[tuple[float, tuple[str, ...]]] = []
    for place in range(1, len(texts)):
        lines = " ".join(texts[:place]), " ".join(texts[place:])
        longest = max(map(len, lines))
        if longest <= LINE_CHARACTERS:
            pause_s = min(max(0.0, words[place].start_s - words[place - 1].end_s), PHRASE_S)
            found.append((longest - LINE_CHARACTERS / 4 * pause_s / PHRASE_S, lines))
    return found


def _clock(seconds: float, comma: str) -> str:
    milliseconds = round(1000 * seconds)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{milliseconds // 1000:02d}{comma}{milliseconds % 1000:03d}"


# "text" is ``file<tab>text``, in a file of its own the text alone; "kaldi" is ``utt_id text``; "ctm" NIST's time-marked
# words: id, channel, start, duration, word, confidence; "stm" and "trn" are for its sclite. An object of "json" has no
# line end: it may stand in a list.
FORMATS = {
    "text": Format("txt", lambda file: _Line(f"{file}\t"), alone=lambda _: _Line()),
    "json": Format(
        "json",
        lambda file: _Json(file, indent=2),
        alone=lambda file: _Json(file, indent=2, end="\n"),
        head="[\n",
        between=",\n",
        tail="\n]\n",
    ),
    "jsonl": Format("jsonl", lambda file: _Json(file, end="\n")),
    "srt": Format("srt", lambda _: _Cues("srt"), single=True),
    "vtt": Format("vtt", lambda _: _Cues("vtt"), head="WEBVTT\n\n", single=True),
    "ctm": Format(
        "ctm",
        lambda utt_id: _Table(
            lambda w: f"{utt_id} 1 {w.start_s:.2f} {w.end_s - w.start_s:.2f} {w.word} {w.confidence:.2f}\n"
        ),
        by_id=True,
    ),
    "tsv": Format(
        "tsv",
        lambda file: _Table(lambda w: f"{file}\t{w.start_s:.3f}\t{w.end_s:.3f}\t{w.word}\t{w.confidence:.3f}\n"),
        head="file\tstart\tend\tword\tconfidence\n",
    ),
    "kaldi": Format("text", lambda utt_id: _Line(f"{utt_id} "), by_id=True),
    "stm": Format(
        "stm",
        lambda utt_id: _Segments(lambda one: stm_line(utt_id, utt_id, one.start_s, one.end_s, one.text)),
        by_id=True,
    ),
    "trn": Format("trn", lambda utt_id: _Line(end=f" ({utt_id})"), by_id=True),
    "audacity": Format(
        "txt", lambda _: _Segments(lambda one: labels([(one.start_s, one.end_s, one.text)])), single=True
    ),
    "textgrid": Format("TextGrid", lambda _: _Tiers(textgrid), single=True),
    "eaf": Format("eaf", lambda file: _Tiers(lambda tiers, _: eaf(tiers, os.path.abspath(file))), single=True),
}
