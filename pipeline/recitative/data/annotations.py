"""Transcripts with times in the files of other programs: Praat, ELAN, Audacity, and NIST's sclite; and data directories
in the forms of these and of others.

TextGrid   Praat: tiers of intervals that cover the whole recording ("TextGrid file formats" in its manual)
eaf        ELAN: tiers of annotations with times in milliseconds (EAF Annotation Format 3.0)
labels     Audacity: 'start<tab>end<tab>text' lines, in seconds
stm        sclite: 'file channel speaker start end <label> text' lines
trn        sclite: 'text (id)' lines; sclite takes the part of the id before the first '-' or '_' as the speaker

A tier is one line of a transcript, such as one speaker or the words of all.

The other forms of a data directory:

lhotse       recordings.jsonl.gz, supervisions.jsonl.gz and cuts.jsonl.gz
nemo         manifest.json: an object a line
audiofolder  metadata.csv and audio/: for ``load_dataset("audiofolder", data_dir=...)`` of Hugging Face's datasets
parquet      data.parquet, recordings included, for the same library; needs pyarrow
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

from recitative.atomic import write_bytes, write_text
from recitative.audio.files import AudioInfo, inspect
from recitative.audio.recording import AudioSlice
from recitative.data.directory import DataDirectory, Utterance
from recitative.data.shards import encode_utterance
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
    """One segment of channel 1, the one that our CTM files name. A text that begins with '<unk>' gets a label before
    it, since sclite would take that for one."""
    text = f"<o> {text}" if text.startswith("<") else text
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


# Data directories in the forms of other programs

Form = Literal["lhotse", "nemo", "audiofolder", "parquet", "stm", "trn", "textgrid", "eaf", "audacity"]

Advance = Callable[[int, int], None]


def export_directory(data: DataDirectory, output: Path, form: Form, advance: Advance = lambda done, total: None) -> int:
    """Write a data directory to the folder ``output``; returns the number of files.

    ``advance(done, total)`` counts utterances. Raises DataError for utterances without a transcript, recordings in
    shards where the form has paths, and recordings that cannot be opened.
    """
    silent = [u.utt_id for u in data.utterances if not u.text]
    if silent:
        remedy = "leave them out with 'recitative data subset', or transcribe them"
        raise DataError.collect([Problem(f"utterance '{one}'", "has no transcript", "one", remedy) for one in silent])
    files = 0
    for name, content in _WRITERS[form](_shown(data.utterances, advance)):
        files += 1
        if isinstance(content, str):
            write_text(output / name, content)
        elif isinstance(content, bytes):
            write_bytes(output / name, content)
        else:
            from recitative.data.manifests import write_parquet

            write_parquet(output / name, content)
    return files


Files = Iterator[tuple[str, str | bytes | Iterator[Mapping[str, Any]]]]
"""Names and contents; rows are written as Parquet."""


def _shown(utterances: Sequence[Utterance], advance: Advance) -> Iterator[Utterance]:
    for done, utterance in enumerate(utterances, start=1):
        yield utterance
        advance(done, len(utterances))


def _recording_id(utterance: Utterance) -> str:
    return utterance.recording_id or utterance.utt_id


def _file_name(name: str) -> str:
    """An id as the name of a file."""
    return quote(name, safe="").replace("%20", " ") if "/" in name or name.startswith(".") else name


class _Recordings:
    """Opens each recording once. Raises DataError for those in shards, which have no path."""

    def __init__(self) -> None:
        self._known: dict[str, AudioInfo] = {}

    def info(self, utterance: Utterance) -> AudioInfo:
        path = utterance.recording_path
        if path not in self._known:
            if AudioSlice.parse(path):
                found, remedy = "is in a shard", "use --format audiofolder or parquet, which copy recordings"
                raise DataError(f"utterance '{utterance.utt_id}'", found, "recordings as files", remedy)
            self._known[path] = inspect(path)
        return self._known[path]

    def times(self, utterance: Utterance) -> tuple[float, float]:
        """Start and end in seconds."""
        end_s = utterance.end_s if utterance.end_s is not None else self.info(utterance).duration_s
        return utterance.start_s, end_s


# lhotse, NeMo, and Hugging Face's datasets


def _lhotse(utterances: Iterable[Utterance]) -> Files:
    recordings, opened = dict[str, dict[str, Any]](), _Recordings()
    supervisions: list[dict[str, Any]] = []
    cuts: list[dict[str, Any]] = []
    for u in utterances:
        info, name, (start_s, end_s) = opened.info(u), _recording_id(u), opened.times(u)
        source = {
            "type": "file",
            "channels": list(range(info.channels)),
            "source": str(Path(u.recording_path).resolve()),
        }
        recordings[name] = {
            "id": name, "sources": [source], "sampling_rate": info.sample_rate, "num_samples": info.num_samples,
            "duration": info.duration_s, "channel_ids": source["channels"],
        }  # fmt: skip
        length_s = round(end_s - start_s, 6)
        spoken = {"duration": length_s, "channel": 0, "text": u.text, "speaker": u.speaker}
        supervisions.append({"id": u.utt_id, "recording_id": name, "start": start_s} | spoken)
        inside = {"id": u.utt_id, "recording_id": name, "start": 0.0} | spoken
        cuts.append(
            {"id": u.utt_id, "start": start_s, "duration": length_s, "channel": 0, "supervisions": [inside],
             "recording": recordings[name], "type": "MonoCut"}
        )  # fmt: skip
    for kind, rows in (("recordings", recordings.values()), ("supervisions", supervisions), ("cuts", cuts)):
        yield f"{kind}.jsonl.gz", gzip.compress(_json_lines(rows).encode(), mtime=0)


def _nemo(utterances: Iterable[Utterance]) -> Files:
    opened, rows = _Recordings(), []
    for u in utterances:
        start_s, end_s = opened.times(u)
        path = str(Path(u.recording_path).resolve())
        row = {"audio_filepath": path, "duration": round(end_s - start_s, 6), "text": u.text, "speaker": u.speaker}
        rows.append(row | ({"offset": start_s} if u.is_segment else {}))
    yield "manifest.json", _json_lines(rows)


def _json_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _audiofolder(utterances: Iterable[Utterance]) -> Files:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["file_name", "text", "speaker", "utt_id"])
    for u in utterances:
        content, suffix, _ = encode_utterance(u, "keep")
        name = f"audio/{_file_name(u.utt_id)}.{suffix}"
        writer.writerow([name, u.text, u.speaker, u.utt_id])
        yield name, content
    yield "metadata.csv", table.getvalue()


def _parquet(utterances: Iterable[Utterance]) -> Files:
    def rows() -> Iterator[Mapping[str, Any]]:
        for u in utterances:
            content, suffix, _ = encode_utterance(u, "keep")
            audio = {"bytes": content, "path": f"{_file_name(u.utt_id)}.{suffix}"}
            yield {"id": u.utt_id, "speaker": u.speaker, "text": u.text, "audio": audio}

    yield "data.parquet", rows()


# sclite, Praat, ELAN, Audacity


def _stm(utterances: Iterable[Utterance]) -> Files:
    opened = _Recordings()
    rows = [(_recording_id(u), u.speaker, *opened.times(u), u.text or "") for u in utterances]
    yield "ref.stm", "".join(stm_line(*row) for row in sorted(rows, key=lambda row: (row[0], row[2])))


def _trn(utterances: Iterable[Utterance]) -> Files:
    yield "ref.trn", "".join(trn_line(u.utt_id, u.text or "") for u in utterances)


def _annotations(
    suffix: str, content: Callable[[Sequence[Tier], Utterance, float], str]
) -> Callable[[Iterable[Utterance]], Files]:
    def write(utterances: Iterable[Utterance]) -> Files:
        opened = _Recordings()
        grouped: dict[str, list[Utterance]] = defaultdict(list)
        for u in utterances:
            opened.info(u)
            grouped[_recording_id(u)].append(u)
        for name, group in grouped.items():
            spans: dict[str, list[TimedText]] = defaultdict(list)
            for u in sorted(group, key=opened.times):
                spans[u.speaker].append((*opened.times(u), u.text or ""))
            for speaker, found in spans.items():
                for before, after in pairwise(found):
                    if after[0] < before[1]:
                        where = f"recording '{name}', speaker '{speaker}'"
                        overlap = f"has two utterances at {after[0]:.3f} s"
                        raise DataError(where, overlap, "one after the other", "correct their times")
            tiers = [Tier(speaker, tuple(found), speaker) for speaker, found in sorted(spans.items())]
            yield f"{_file_name(name)}.{suffix}", content(tiers, group[0], opened.info(group[0]).duration_s)

    return write


def _labels(tiers: Sequence[Tier], utterance: Utterance, duration_s: float) -> str:
    return labels(sorted(span for tier in tiers for span in tier.spans))


_WRITERS: Mapping[Form, Callable[[Iterable[Utterance]], Files]] = {
    "lhotse": _lhotse,
    "nemo": _nemo,
    "audiofolder": _audiofolder,
    "parquet": _parquet,
    "stm": _stm,
    "trn": _trn,
    "textgrid": _annotations("TextGrid", lambda tiers, u, duration_s: textgrid(tiers, duration_s)),
    "eaf": _annotations("eaf", lambda tiers, u, duration_s: eaf(tiers, str(Path(u.recording_path).resolve()))),
    "audacity": _annotations("txt", _labels),
}
