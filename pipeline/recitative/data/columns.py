"""What the columns after the key may hold, table by table (kaldi/egs/wsj/s5/utils/validate_data_dir.sh)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

UNUSUAL_BLANK = re.compile(r"[^\S ]")  # tabs and line breaks, but also the no-break space and its Unicode kin
RESERVED_WORDS = ("<s>", "</s>", "#0")  # language models and decoding graphs use them; Kaldi refuses them in text


@dataclass(frozen=True)
class Fault:
    """A problem that does not yet know where it is."""

    found: str
    allowed: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Segment:
    recording: str
    start_s: float
    end_s: float | None  # None: to the end of the recording, which Kaldi writes as -1


TO_THE_END = -1.0  # of a recording, as the end of a segment (kaldi/src/featbin/extract-segments.cc)
_SEGMENT_COLUMNS = "'utterance recording start_s end_s'"
_NUMBER_RANGES: Mapping[str, tuple[float, float, str]] = {
    "utt2dur": (0.0, math.inf, "one positive number of seconds"),
    "reco2dur": (0.0, math.inf, "one positive number of seconds"),
    "utt2num_frames": (0.0, math.inf, "one positive whole number"),
    "utt2warp": (0.5, 1.5, "one number between 0.5 and 1.5"),
    "spk2warp": (0.5, 1.5, "one number between 0.5 and 1.5"),
}


def column_fault(table: str, value: str) -> Fault | None:
    """What is wrong with the columns after the key, if anything."""
    blank = UNUSUAL_BLANK.search(value)
    if blank:
        return Fault(f"has the blank U+{ord(blank[0]):04X}", "single spaces between words", "replace it by a space")
    if "\0" in value:
        return Fault("has a zero byte", "text", "restore the file from its source")
    if table == "text":  # an empty transcript is a matter of 'recitative check', not of form
        return _reserved_word(value)
    if not value:
        return Fault("has no value", "at least two columns", "complete the line")
    if table == "wav.scp":
        return _path_fault(value)
    if table == "segments":
        return _segment_fault(value)
    if table in _NUMBER_RANGES:
        return _number_fault(table, value)
    if table == "spk2gender" and value not in ("m", "f"):
        return Fault(f"'{value}'", "m or f", "correct the line")
    if table == "reco2file_and_channel" and value.split()[1:] not in (["A"], ["B"], ["1"]):
        return Fault(f"'{_shorten(value)}'", "'recording file channel' with channel A or B", "correct the line")
    if table in ("utt2spk", "utt2lang", "utt2uniq") and " " in value:
        return Fault(f"{value.count(' ') + 2} columns", "two", "correct the line: ids have no blanks")
    return None


def parse_segment(value: str) -> Segment:
    """'recording start_s end_s' as it passed ``column_fault``."""
    recording, start_s, end_s = value.split()
    return Segment(recording, float(start_s), None if float(end_s) == TO_THE_END else float(end_s))


def segment_value(recording: str, start_s: float, end_s: float | None) -> str:
    """What ``parse_segment`` reads."""
    return f"{recording} {start_s:.10g} {TO_THE_END if end_s is None else end_s:.10g}"


def words_of(value: str) -> str:
    """A transcript as Kaldi's tools see it: words separated by one space."""
    return " ".join(word for word in value.split(" ") if word)


def _reserved_word(value: str) -> Fault | None:
    for word in RESERVED_WORDS:
        if word in value:
            return Fault(f"has '{word}'", "words only, no sentence marks", "remove it")
    return None


def _path_fault(value: str) -> Fault | None:
    if value.endswith("|") or value.startswith("|"):
        return Fault(
            f"is a command ('{_shorten(value)}')",
            "the path of a file: commands are not run",
            "run it once and name the file it makes",
        )
    if value.startswith("~"):
        return Fault(f"'{_shorten(value)}' starts with '~'", "a path that needs no shell", "write the path out")
    return None


def _segment_fault(value: str) -> Fault | None:
    columns = value.split()
    if len(columns) != 3:
        return Fault(f"{len(columns) + 1} columns", _SEGMENT_COLUMNS, "correct the line")
    start_s, end_s = _number(columns[1]), _number(columns[2])
    if start_s is None or end_s is None:
        return Fault(f"'{columns[1]} {columns[2]}' are not two numbers", _SEGMENT_COLUMNS, "correct the line")
    if not 0 <= start_s < (math.inf if end_s == TO_THE_END else end_s):
        allowed = "0 <= start < end, in seconds; an end of -1 is that of the recording"
        return Fault(f"start {columns[1]} and end {columns[2]}", allowed, "correct the line")
    return None


def _number_fault(table: str, value: str) -> Fault | None:
    low, high, allowed = _NUMBER_RANGES[table]
    number = _number(value)
    whole = table != "utt2num_frames" or (number is not None and number == int(number))
    if number is None or not low < number < high or not whole:
        return Fault(f"'{_shorten(value)}'", allowed, "correct the line, or remove the table")
    return None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _shorten(value: str) -> str:
    return value if len(value) <= 60 else f"{value[:57]}..."
