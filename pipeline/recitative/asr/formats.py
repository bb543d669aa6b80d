"""How a transcript is written: plain text, JSON, subtitles, and the tables of Kaldi and NIST."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from recitative.asr.subtitles import Style, Subtitles
from recitative.asr.transcript import Final, Segment, Transcript
from recitative.atomic import json_text
from recitative.text.words import Word


class Writer(Protocol):
    """The text of one recording, made segment by segment."""

    def add(self, segment: Segment | Final) -> str:
        """What the next segment adds."""

    def end(self, transcript: Transcript) -> str:
        """What follows the last one. transcript: of all segments."""


@dataclass(frozen=True)
class Format:
    """``start(file)`` gives the writer of a recording; ``head``, ``between`` and ``tail`` stand around several.

    ``alone`` starts a recording with an output file of its own, if that differs; the file then has no head and tail.
    ``by_id``: the first column is an id (``model.names``), which is given for ``file``.
    """

    suffix: str
    start: Callable[[str], Writer]
    alone: Callable[[str], Writer] | None = None
    head: str = ""
    between: str = ""
    tail: str = ""
    by_id: bool = False

    def write(self, file: str, transcript: Transcript) -> str:
        """A recording among others."""
        return _written(self.start(file), transcript)

    def file_content(self, file: str, transcript: Transcript) -> str:
        """The output file of one recording."""
        if self.alone:
            return _written(self.alone(file), transcript)
        return self.head + self.write(file, transcript) + self.tail


def _written(writer: Writer, transcript: Transcript) -> str:
    return "".join(map(writer.add, transcript.segments)) + writer.end(transcript)


class _Line:
    """All text on one line."""

    def __init__(self, start: str) -> None:
        self._start, self._begun = start, False

    def add(self, segment: Segment | Final) -> str:
        if not segment.words:
            return ""
        before = " " if self._begun else self._start
        self._begun = True
        return before + segment.text

    def end(self, transcript: Transcript) -> str:
        return "\n" if self._begun else self._start.rstrip(" ") + "\n"


class _Table:
    """A line for each word."""

    def __init__(self, line: Callable[[Word], str]) -> None:
        self._line = line

    def add(self, segment: Segment | Final) -> str:
        return "".join(map(self._line, segment.words))

    def end(self, transcript: Transcript) -> str:
        return ""


class _Cues:
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

    def end(self, transcript: Transcript) -> str:
        return ""


class _Whole:
    """What cannot be written before the last segment."""

    def __init__(self, write: Callable[[Transcript], str]) -> None:
        self._write = write

    def add(self, segment: Segment | Final) -> str:
        return ""

    def end(self, transcript: Transcript) -> str:
        return self._write(transcript)


def text(file: str) -> Writer:
    """``file<tab>text``"""
    return _Line(f"{file}\t")


def plain(_file: str) -> Writer:
    """The text alone, for an output file of its own."""
    return _Line("")


def kaldi(utt_id: str) -> Writer:
    """``utt_id text``, as decoding scripts write it."""
    return _Line(f"{utt_id} ")


def as_object(file: str, transcript: Transcript) -> dict[str, Any]:
    """The entries of ``Transcript.to_dict``, with the file behind the model."""
    entries = transcript.to_dict()
    return {"schema": entries.pop("schema"), "model": entries.pop("model"), "file": file} | entries


def jsonl(file: str) -> Writer:
    """One object on one line."""
    return _Whole(lambda transcript: json_text(as_object(file, transcript)) + "\n")


def pretty_json(file: str) -> Writer:
    """One object, indented, without a line end: it may stand in a list."""
    return _Whole(lambda transcript: json_text(as_object(file, transcript), indent=2))


def json_file(file: str) -> Writer:
    """One object as a file of its own."""
    return _Whole(lambda transcript: json_text(as_object(file, transcript), indent=2) + "\n")


def ctm(utt_id: str) -> Writer:
    """NIST's time-marked words: id, channel, start, duration, word, confidence."""
    return _Table(lambda w: f"{utt_id} 1 {w.start_s:.2f} {w.end_s - w.start_s:.2f} {w.word} {w.confidence:.2f}\n")


def tsv(file: str) -> Writer:
    """One word a line: file, start and end in seconds, word, confidence."""
    return _Table(lambda w: f"{file}\t{w.start_s:.3f}\t{w.end_s:.3f}\t{w.word}\t{w.confidence:.3f}\n")


def srt(_file: str) -> Writer:
    """SubRip: numbered cues, times with a comma."""
    return _Cues("srt")


def vtt(_file: str) -> Writer:
    """WebVTT's cues; the head stands before the first."""
    return _Cues("vtt")


FORMATS = {
    "text": Format("txt", text, alone=plain),
    "json": Format("json", pretty_json, alone=json_file, head="[\n", between=",\n", tail="\n]\n"),
    "jsonl": Format("jsonl", jsonl),
    "srt": Format("srt", srt),
    "vtt": Format("vtt", vtt, head="WEBVTT\n\n"),
    "ctm": Format("ctm", ctm, by_id=True),
    "tsv": Format("tsv", tsv, head="file\tstart\tend\tword\tconfidence\n"),
    "kaldi": Format("text", kaldi, by_id=True),
}
