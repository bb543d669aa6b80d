"""How a transcript is written: plain text, JSON, subtitles, and the tables of Kaldi and NIST."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from recitative.asr.transcript import Transcript
from recitative.atomic import json_text
from recitative.text.words import Word

CUE_S = 6.0  # a subtitle lasts at most this long,
CUE_CHARACTERS = 84  # holds two lines of 42 characters (BBC, Netflix),
CUE_PAUSE_S = 0.8  # and ends where the speaker pauses


@dataclass(frozen=True)
class Format:
    """``write(file, transcript)`` for each recording, with ``head``, ``between`` and ``tail`` around them.

    A recording with an output file of its own is written by ``alone`` if that differs; head and tail stay. ``by_id``:
    the first column is an id (``model.names``), which is given for ``file``.
    """

    suffix: str
    write: Callable[[str, Transcript], str]
    alone: Callable[[str, Transcript], str] | None = None
    head: str = ""
    between: str = ""
    tail: str = ""
    by_id: bool = False

    def file_content(self, file: str, transcript: Transcript) -> str:
        """What stands in the output file of one recording."""
        if self.alone:
            return self.alone(file, transcript)
        return self.head + self.write(file, transcript) + self.tail


def text(file: str, transcript: Transcript) -> str:
    """``file<tab>text``"""
    return f"{file}\t{transcript.text}\n"


def plain(_file: str, transcript: Transcript) -> str:
    """The text alone, for an output file of its own."""
    return f"{transcript.text}\n"


def kaldi(utt_id: str, transcript: Transcript) -> str:
    """``utt_id text``, as decoding scripts write it."""
    return f"{utt_id} {transcript.text}".rstrip() + "\n"


def as_object(file: str, transcript: Transcript) -> dict[str, Any]:
    """The entries of ``Transcript.to_dict``, with the file behind the model."""
    entries = transcript.to_dict()
    return {"schema": entries.pop("schema"), "model": entries.pop("model"), "file": file} | entries


def jsonl(file: str, transcript: Transcript) -> str:
    """One object on one line."""
    return json_text(as_object(file, transcript)) + "\n"


def pretty_json(file: str, transcript: Transcript) -> str:
    """One object, indented, without a line end: it may stand in a list."""
    return json_text(as_object(file, transcript), indent=2)


def json_file(file: str, transcript: Transcript) -> str:
    """One object as a file of its own."""
    return pretty_json(file, transcript) + "\n"


def ctm(utt_id: str, transcript: Transcript) -> str:
    """NIST's time-marked words: id, channel, start, duration, word, confidence."""
    return "".join(
        f"{utt_id} 1 {word.start_s:.2f} {word.end_s - word.start_s:.2f} {word.word} {word.confidence:.2f}\n"
        for word in transcript.words
    )


def tsv(file: str, transcript: Transcript) -> str:
    """One word a line: file, start and end in seconds, word, confidence."""
    return "".join(
        f"{file}\t{word.start_s:.3f}\t{word.end_s:.3f}\t{word.word}\t{word.confidence:.3f}\n"
        for word in transcript.words
    )


def srt(_file: str, transcript: Transcript) -> str:
    """SubRip: numbered cues, times with a comma."""
    return "\n".join(
        f"{number}\n{_clock(cue[0].start_s, ',')} --> {_clock(cue[-1].end_s, ',')}\n{_lines(cue)}\n"
        for number, cue in enumerate(cues(transcript.words), start=1)
    )


def vtt(_file: str, transcript: Transcript) -> str:
    """WebVTT's cues; the head stands before the first."""
    return "\n".join(
        f"{_clock(cue[0].start_s, '.')} --> {_clock(cue[-1].end_s, '.')}\n{_lines(cue)}\n"
        for cue in cues(transcript.words)
    )


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


def cues(words: Iterable[Word]) -> list[list[Word]]:
    """Words in subtitles: a new one at a pause, after CUE_S, or when two lines are full."""
    found: list[list[Word]] = []
    for word in words:
        if not found or _is_full(found[-1], word):
            found.append([])
        found[-1].append(word)
    return found


def _is_full(cue: list[Word], word: Word) -> bool:
    characters = sum(len(w.word) + 1 for w in cue) + len(word.word)
    pause_s = word.start_s - cue[-1].end_s
    return pause_s >= CUE_PAUSE_S or word.end_s - cue[0].start_s > CUE_S or characters > CUE_CHARACTERS


def _lines(cue: list[Word]) -> str:
    """One line, or two of about the same length."""
    words = [word.word for word in cue]
    whole = " ".join(words)
    if len(whole) <= CUE_CHARACTERS // 2:
        return whole
    breaks = [(" ".join(words[:n]), " ".join(words[n:])) for n in range(1, len(words))]
    return "\n".join(min(breaks, key=lambda pair: max(map(len, pair)))) if breaks else whole


def _clock(seconds: float, comma: str) -> str:
    milliseconds = round(1000 * seconds)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{milliseconds // 1000:02d}{comma}{milliseconds % 1000:03d}"
