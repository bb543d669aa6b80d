"""Transcripts with times in the files of other programs: Praat, ELAN, Audacity, and NIST's sclite.

TextGrid   Praat: tiers of intervals that cover the whole recording ("TextGrid file formats" in its manual)
eaf        ELAN: tiers of annotations with times in milliseconds (EAF Annotation Format 3.0)
labels     Audacity: 'start<tab>end<tab>text' lines, in seconds
stm        sclite: 'file channel speaker start end <label> text' lines
trn        sclite: 'text (id)' lines; sclite takes the part of the id before the first '-' or '_' as the speaker

A tier is one line of a transcript, such as one speaker or the words of all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

from recitative.errors import DataError, Problem
from recitative.reading import LARGEST_SETTINGS, decoded, read_bytes, read_text, shown

TimedText = tuple[float, float, str]  # start and end in seconds, text


@dataclass(frozen=True)
class Tier:
    """spans: in the order of their times, without empty texts; speaker: if the file names one."""

    name: str
    spans: tuple[TimedText, ...]
    speaker: str = ""


# Praat


def textgrid(tiers: Sequence[Tier], end_s: float) -> str:
    """A TextGrid in the long format, from 0 to ``end_s`` seconds. Intervals without text fill the gaps."""
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end_s}"]
    lines += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for number, tier in enumerate(tiers, start=1):
        lines += _interval_tier(number, tier, end_s)
    return "".join(f"{line}\n" for line in lines)


def _interval_tier(number: int, tier: Tier, end_s: float) -> Iterator[str]:
    intervals: list[TimedText] = []
    reached_s = 0.0
    for start_s, stop_s, text in tier.spans:
        if start_s > reached_s:
            intervals.append((reached_s, start_s, ""))
        intervals.append((start_s, stop_s, text))
        reached_s = stop_s
    if reached_s < end_s:
        intervals.append((reached_s, end_s, ""))
    yield f"    item [{number}]:"
    yield '        class = "IntervalTier"'
    yield f"        name = {_quoted(tier.name)}"
    yield "        xmin = 0"
    yield f"        xmax = {end_s}"
    yield f"        intervals: size = {len(intervals)}"
    for count, (from_s, to_s, text) in enumerate(intervals, start=1):
        yield f"        intervals [{count}]:"
        yield f"            xmin = {from_s}"
        yield f"            xmax = {to_s}"
        yield f"            text = {_quoted(text)}"


def _quoted(text: str) -> str:
    """A quotation mark within a text is doubled."""
    return '"' + text.replace('"', '""') + '"'


# Praat reads quoted texts, numbers and flags that stand alone, and skips all else: so both of its formats are one.
_PRAAT = re.compile(r'"(?P<text>(?:[^"]|"")*)"|(?<!\S)(?P<number>-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)(?!\S)|(?m:![^\n]*$)')


def read_textgrid(path: Path) -> list[Tier]:
    """The interval tiers of a TextGrid, long or short. Raises DataError for other files."""
    content = decoded(read_bytes(path, "a TextGrid", limit=LARGEST_SETTINGS), shown(path))
    found = [one for one in _PRAAT.finditer(content) if one.lastgroup]
    values = iter(
        [one["text"].replace('""', '"') if one.lastgroup == "text" else float(one["number"]) for one in found]
    )

    def take(kind: type[Any]) -> Any:
        value = next(values)
        if not isinstance(value, kind):
            raise ValueError(value)
        return value

    tiers = []
    try:
        if [take(str), take(str)] != ["ooTextFile", "TextGrid"]:
            raise ValueError
        _, _, size = take(float), take(float), take(float)
        for _ in range(int(size)):
            kind, name, _, _, count = take(str), take(str), take(float), take(float), take(float)
            if kind == "IntervalTier":
                spans = [(take(float), take(float), take(str)) for _ in range(int(count))]
                tiers.append(Tier(name, _with_text(spans)))
            elif kind == "TextTier":  # points, which last no time
                for _ in range(int(count)):
                    take(float), take(str)
            else:
                raise ValueError(kind)
    except (StopIteration, ValueError, OverflowError):
        allowed = "a TextGrid as Praat saves it as a text file"
        raise DataError(shown(path), "is not a whole TextGrid", allowed, "save it again") from None
    return tiers


def _with_text(spans: Sequence[TimedText]) -> tuple[TimedText, ...]:
    cleaned = ((start_s, end_s, " ".join(text.split())) for start_s, end_s, text in spans)
    return tuple(sorted(one for one in cleaned if one[2]))


# ELAN


def eaf(tiers: Sequence[Tier], recording: str) -> str:
    """An ELAN document. recording: path of the audio file"""
    slots: list[int] = []
    lines: list[str] = []
    count = 0
    for tier in tiers:
        participant = f" PARTICIPANT={quoteattr(tier.speaker)}" if tier.speaker else ""
        lines.append(f'  <TIER LINGUISTIC_TYPE_REF="utterance" TIER_ID={quoteattr(tier.name)}{participant}>')
        for start_s, end_s, text in tier.spans:
            count += 1
            slots += [round(1000 * start_s), round(1000 * end_s)]
            at = f'TIME_SLOT_REF1="ts{len(slots) - 1}" TIME_SLOT_REF2="ts{len(slots)}"'
            value = f"<ANNOTATION_VALUE>{escape(text)}</ANNOTATION_VALUE>"
            inside = f'<ALIGNABLE_ANNOTATION ANNOTATION_ID="a{count}" {at}>{value}</ALIGNABLE_ANNOTATION>'
            lines.append(f"    <ANNOTATION>{inside}</ANNOTATION>")
        lines.append("  </TIER>")
    media = f'<MEDIA_DESCRIPTOR MEDIA_URL={quoteattr(_url(recording))} MIME_TYPE="audio/x-wav"/>'
    times = [f'    <TIME_SLOT TIME_SLOT_ID="ts{n}" TIME_VALUE="{ms}"/>' for n, ms in enumerate(slots, start=1)]
    whole = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<ANNOTATION_DOCUMENT AUTHOR="" DATE="1970-01-01T00:00:00+00:00" FORMAT="3.0" VERSION="3.0"',
        '    xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"',
        '    xsi:noNamespaceSchemaLocation="http://www.mpi.nl/tools/elan/EAFv3.0.xsd">',
        f'  <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">{media}</HEADER>',
        *["  <TIME_ORDER>", *times, "  </TIME_ORDER>"],
        *lines,
        '  <LINGUISTIC_TYPE GRAPHIC_REFERENCES="false" LINGUISTIC_TYPE_ID="utterance" TIME_ALIGNABLE="true"/>',
        "</ANNOTATION_DOCUMENT>",
    ]
    return "".join(f"{line}\n" for line in whole)


def _url(recording: str) -> str:
    path = Path(recording)
    return path.as_uri() if path.is_absolute() else path.as_posix()


def read_eaf(path: Path) -> list[Tier]:
    """The tiers of an ELAN document that have times of their own. Raises DataError for other files."""
    content = read_bytes(path, "an ELAN document", limit=LARGEST_SETTINGS)
    try:
        if b"<!DOCTYPE" in content:  # entities could make a small file large
            raise ValueError
        root = ElementTree.fromstring(content)
        order = root.findall("TIME_ORDER/TIME_SLOT")
        slots = {
            one.attrib["TIME_SLOT_ID"]: int(one.attrib["TIME_VALUE"]) for one in order if "TIME_VALUE" in one.attrib
        }
        if root.tag != "ANNOTATION_DOCUMENT":
            raise ValueError
        tiers = []
        for tier in root.findall("TIER"):
            spans = []
            for one in tier.findall("ANNOTATION/ALIGNABLE_ANNOTATION"):
                ends = slots.get(one.attrib["TIME_SLOT_REF1"]), slots.get(one.attrib["TIME_SLOT_REF2"])
                if ends[0] is None or ends[1] is None:  # ELAN leaves out times within a parent's
                    continue
                spans.append((ends[0] / 1000, ends[1] / 1000, one.findtext("ANNOTATION_VALUE") or ""))
            if spans and "PARENT_REF" not in tier.attrib:
                tiers.append(Tier(tier.attrib["TIER_ID"], _with_text(spans), tier.attrib.get("PARTICIPANT", "")))
    except (ElementTree.ParseError, ValueError, KeyError, LookupError, RecursionError):
        raise DataError(shown(path), "is not an ELAN document", "a file that ELAN saved", "save it again") from None
    return tiers


# Audacity


def labels(spans: Sequence[TimedText]) -> str:
    """Lines of an Audacity label track."""
    return "".join(f"{start_s:.6f}\t{end_s:.6f}\t{text}\n" for start_s, end_s, text in spans)


_LABEL = re.compile(r"\s*(\d+(?:[.,]\d+)?)\t(\d+(?:[.,]\d+)?)(?:\t(.*))?")


def is_labels(text: str) -> bool:
    """Whether a text is a label track of Audacity: each line begins with two times. Not for an empty one."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("\\")]
    return bool(lines) and all(map(_LABEL.fullmatch, lines))


def read_labels(text: str) -> list[Tier]:
    """The one tier of a label track; lines that begin with '\\\\' have frequencies and are skipped."""
    found = [match for line in text.splitlines() if (match := _LABEL.fullmatch(line))]
    spans = [(float(one[1].replace(",", ".")), float(one[2].replace(",", ".")), one[3] or "") for one in found]
    return [Tier("labels", _with_text(spans))]


# NIST's sclite


@dataclass(frozen=True)
class StmLine:
    where: str  # file:line
    recording: str
    channel: str
    speaker: str
    start_s: float
    end_s: float
    text: str


def stm_line(recording: str, speaker: str, start_s: float, end_s: float, text: str) -> str:
    """One segment of channel 1, the one that our CTM files name."""
    return f"{recording} 1 {speaker} {start_s:.3f} {end_s:.3f} {text}".rstrip() + "\n"


NOT_SCORED = "ignore_time_segment_in_scoring"
GAP = "inter_segment_gap"  # the speaker of stretches between segments


def read_stm(path: Path) -> tuple[list[StmLine], list[Problem], int]:
    """The segments of an STM file, the lines that are none, and the number of segments that are not to be scored."""
    segments: list[StmLine] = []
    problems: list[Problem] = []
    left_out = 0
    for number, line in enumerate(read_text(path, "segments with their times", "correct it").split("\n"), start=1):
        fields = line.split(maxsplit=5)
        if not fields or line.startswith(";;"):
            continue
        where = f"{path}:{number}"
        try:
            recording, channel, speaker, start, end, *rest = fields
            start_s, end_s = float(start), float(end)
            if not 0 <= start_s <= end_s < inf:
                raise ValueError
        except ValueError:
            problems.append(Problem(where, f"'{shown(line, 60)}' is no segment", STM_COLUMNS, "correct it"))
            continue
        text = re.sub(r"^<[^>]*>\s*", "", rest[0].strip() if rest else "")
        if NOT_SCORED in text.lower() or speaker == GAP or not text:
            left_out += 1
            continue
        segments.append(StmLine(where, recording, channel, speaker, start_s, end_s, text))
    return segments, problems, left_out


STM_COLUMNS = "file channel speaker start end text"


def trn_line(utt_id: str, text: str) -> str:
    return f"{text} ({utt_id})".lstrip() + "\n"


def read_trn(path: Path) -> tuple[dict[str, tuple[str, str]], list[Problem]]:
    """id -> (file:line, text), and the lines that are none."""
    found: dict[str, tuple[str, str]] = {}
    problems: list[Problem] = []
    for number, line in enumerate(read_text(path, "a text and its id a line", "correct it").split("\n"), start=1):
        if not line.strip() or line.startswith(";;"):
            continue
        match = re.fullmatch(r"(.*)\(([^()]+)\)\s*", line)
        where = f"{path}:{number}"
        if not match:
            problems.append(Problem(where, f"'{shown(line, 60)}' has no id", "text (id)", "complete it"))
        elif match[2].strip() in found:
            first = found[match[2].strip()][0]
            problems.append(
                Problem(where, f"has the id '{match[2].strip()}' again, first in {first}", "unique ids", "")
            )
        else:
            found[match[2].strip()] = where, " ".join(match[1].split())
    return found, problems


# Files of tiers beside recordings

READERS: Mapping[str, Callable[[Path], list[Tier]]] = {".textgrid": read_textgrid, ".eaf": read_eaf}
"""By the suffix in lower case; label tracks of Audacity are .txt, as transcripts are (``is_labels``)."""
ALL_TIERS = "all"


def chosen_tiers(tiers: Sequence[Tier], names: Sequence[str], where: str) -> list[Tier]:
    """The tiers to read. names: as the user gives them, or ``ALL_TIERS``; none: the only one, or those of speakers.

    Raises DataError if a name is unknown, or several tiers could be meant.
    """
    known = ", ".join(tier.name for tier in tiers)
    if list(names) == [ALL_TIERS]:
        return list(tiers)
    if names:
        if not any(tier.name in names for tier in tiers):
            raise DataError(where, f"has the tiers {known or '(none)'}", f"one of {', '.join(names)}", "correct --tier")
        return [tier for tier in tiers if tier.name in names]
    if len(tiers) > 1 and not all(tier.speaker for tier in tiers):
        remedy = (
            f"choose with --tier '{tiers[0].name}', which may be repeated; --tier {ALL_TIERS} takes all as speakers"
        )
        raise DataError(where, f"has several tiers ({known})", "one, or a participant for each", remedy)
    return list(tiers)
