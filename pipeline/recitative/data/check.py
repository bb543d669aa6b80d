"""Find everything that is wrong with a data directory, before hours of training, and repair what is safe.

Repaired, as by Kaldi's fix_data_dir.sh: order, CRLF, byte-order mark, empty lines and surrounding blanks, missing last
newline, repeated lines, spk2utt. Dropped and reported: utterances that are not in every table, those whose audio cannot
be read, and on request all with a problem. Nothing is guessed: contradicting lines, missing tables and ids without
speaker are left to the user.
"""

from __future__ import annotations

import os
import re
import shutil
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from recitative.audio.files import (
    CLIPPED_PROBLEM,
    CLIPPED_WARNING,
    OVERSHOOT_S,
    ROUNDING_S,
    SILENCE,
    AudioInfo,
    Quality,
    dbfs,
    inspect,
    measure,
    read_audio,
)
from recitative.config import FeatureSettings, FrontEndSettings
from recitative.data.directory import REQUIRED, Tables, consistency_problems, fault_problem, invert, scan_directory
from recitative.data.tables import (
    TABLES,
    Fault,
    TableRow,
    column_fault,
    order_problems,
    parse_segment,
    scan_table,
    table_text,
    words_of,
    write_tables,
)
from recitative.errors import DataError, Problem, counted, raise_all
from recitative.text.tokens import Spelling, required_frames

OnProgress = Callable[[int, int], None]
"""Called with (done, total)."""


@dataclass(frozen=True)
class CorpusStatistics:
    """Durations are in seconds and cover the utterances whose audio could be measured."""

    utterances: int
    speakers: int
    recordings: int
    measured: int  # utterances with a duration
    total_s: float
    shortest_s: float
    median_s: float
    longest_s: float
    words: int
    distinct_words: int
    characters: Mapping[str, int]  # character -> how often

    @classmethod
    def of(
        cls, speakers: Sequence[str], recordings: int, durations_s: Sequence[float], texts: Sequence[str]
    ) -> CorpusStatistics:
        """``speakers`` and ``texts``: one per utterance."""
        ordered = sorted(durations_s) or [0.0]
        words = Counter(word for text in texts for word in text.split())
        characters = Counter(character for text in texts for character in text)
        return cls(
            utterances=len(speakers),
            speakers=len(set(speakers)),
            recordings=recordings,
            measured=len(durations_s),
            total_s=sum(ordered),
            shortest_s=ordered[0],
            median_s=median(ordered),
            longest_s=ordered[-1],
            words=words.total(),
            distinct_words=len(words),
            characters=dict(sorted(characters.items())),
        )

    def rows(self) -> list[tuple[str, str]]:
        """Name and value of each line of a printed table."""
        alphabet = "".join("␣" if character == " " else character for character in self.characters)
        durations = f"{self.shortest_s:.2f} / {self.median_s:.2f} / {self.longest_s:.2f} s"
        unmeasured = self.utterances - self.measured
        return [
            ("utterances", str(self.utterances)),
            ("speakers", str(self.speakers)),
            ("recordings", str(self.recordings)),
            ("audio", f"{self.total_s / 3600:.2f} h" + (f" (not measured: {unmeasured})" if unmeasured else "")),
            ("durations, min / median / max", durations),
            ("words, distinct", f"{self.words}, {self.distinct_words}"),
            ("characters, distinct", f"{sum(self.characters.values())}, {len(self.characters)}: {alphabet}"),
        ]


@dataclass(frozen=True)
class CheckReport:
    problems: tuple[Problem, ...]  # the directory cannot be used until they are corrected
    warnings: tuple[Problem, ...]
    statistics: CorpusStatistics
    unreadable: dict[str, str]  # utt_id -> why its audio cannot be used
    unusable: dict[str, str]  # the same for every utterance with a problem of audio or text


def check_directory(
    path: str | Path,
    features: FeatureSettings,
    front_end: FrontEndSettings,
    spelling: Spelling | None = None,
    *,
    require_text: bool = True,
    on_progress: OnProgress | None = None,
) -> CheckReport:
    """Check the tables, every recording, and every transcript against its audio.

    ``features`` and ``front_end`` determine the expected sample rate and the number of frames for CTC; ``spelling`` the
    known symbols (None: each character is a label). Raises DataError only if there is no such folder.
    """
    path = Path(path)
    tables, problems = scan_directory(path)
    remedies = {"spk2utt": f"run 'recitative check --fix {path}', which makes it from utt2spk"}
    if require_text:
        remedies["text"] = "add the transcripts, or say --no-text if there are none by design"
    for name in sorted(remedies.keys() - tables.keys()):
        problems.append(Problem(f"{path}/{name}", "does not exist", "one line per entry", remedies[name]))
    problems += consistency_problems(path, tables)
    of_utterances = _text_problems(path, tables, spelling)
    warnings = _warnings(path, tables)
    examinations: list[_Examination] = []
    recordings = _recordings(tables)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # threads suffice: decoding and NumPy release the lock
        for examination in pool.map(lambda recording: _examine(recording, features.sample_rate), recordings):
            examinations.append(examination)
            for finding in examination.findings:
                problem = _problem_of(path, tables, examination.recording, finding)
                (problems if finding.serious else warnings).append(problem)
            if on_progress:
                on_progress(len(examinations), len(recordings))
    of_utterances += _too_short(path, tables, examinations, features, front_end, spelling)
    problems += [problem for _, problem in of_utterances]
    unusable = _of_findings(examinations, lambda finding: finding.serious or finding.unreadable)
    unusable |= {utt_id: problem.found for utt_id, problem in of_utterances}
    statistics = CorpusStatistics.of(
        [row.value for row in tables.get("utt2spk", {}).values()],
        len(tables.get("wav.scp", {})),
        [count / one.sample_rate for one in examinations for count in one.num_samples.values()],
        [words_of(row.value) for row in tables.get("text", {}).values()],
    )
    unreadable = _of_findings(examinations, lambda finding: finding.unreadable)
    return CheckReport(tuple(problems), tuple(warnings), statistics, unreadable, unusable)


OfUtterance = tuple[str, Problem]  # utt_id, what is wrong with it


def _text_problems(path: Path, tables: Tables, spelling: Spelling | None) -> list[OfUtterance]:
    problems: list[OfUtterance] = []
    for row in tables.get("text", {}).values():
        if not row.value:
            fault = Fault("has an empty text", "at least one word", "add its words, or remove the utterance")
            problems.append((row.key, fault_problem(path, "text", row, fault)))
        unknown = spelling.unknown(words_of(row.value)) if spelling else []
        if spelling and unknown:
            found = f"has {', '.join(map(repr, unknown))}, not in the {spelling.source}"
            remedy = f"normalize the text, or make the {spelling.source} again with 'recitative {spelling.verb}'"
            fault = Fault(found, f"its {spelling.holds}s only", remedy)
            problems.append((row.key, fault_problem(path, "text", row, fault)))
    return problems


def _warnings(path: Path, tables: Tables) -> list[Problem]:
    warnings: list[Problem] = []
    if len({row.value for row in tables.get("utt2spk", {}).values()}) == 1:
        remedy = "name the speakers, or make each utterance its own speaker, if they are many"
        warnings.append(Problem(f"{path}/utt2spk", "has only one speaker", "", remedy))
    first: dict[str, TableRow] = {}
    for row in tables.get("wav.scp", {}).values():
        other = first.setdefault(row.value, row)
        if other is not row:
            fault = Fault(f"is the same file as '{other.key}'", "", "remove one of them, unless it is meant")
            warnings.append(fault_problem(path, "wav.scp", row, fault))
    return warnings + _form_warnings(path, tables.get("text", {}))


APOSTROPHES = "'\u2019\u2018\u02bc\u00b4`"


def _form_warnings(path: Path, text: Mapping[str, TableRow]) -> list[Problem]:
    """Letters in two Unicode forms: two tokens instead of one, and words that look equal and are scored as wrong."""
    forms: dict[str, dict[str, TableRow]] = {"letters with accents": {}, "apostrophes": {}}
    for row in text.values():
        if row.value.isascii() and "'" not in row.value and "`" not in row.value:
            continue
        for form in {_unicode_form(word) for word in row.value.split()} - {""}:
            forms["letters with accents"].setdefault(form, row)
        for sign in APOSTROPHES:
            if re.search(rf"\w{sign}\w", row.value):
                forms["apostrophes"].setdefault(f"{sign} (U+{ord(sign):04X})", row)
    remedy = "write one of them throughout; 'data import' does"
    return [
        Problem(f"{path}/text", f"has {what} in {len(first)} forms: {_lines_of(first)}", "one form", remedy)
        for what, first in forms.items()
        if len(first) > 1
    ]


def _unicode_form(word: str) -> str:
    """'NFC' (composed), 'NFD' (decomposed) or 'a mixture'; '' if all forms are equal."""
    if word.isascii() or unicodedata.normalize("NFC", word) == unicodedata.normalize("NFD", word):
        return ""
    return next((form for form in ("NFC", "NFD") if unicodedata.is_normalized(form, word)), "a mixture")


def _lines_of(first: Mapping[str, TableRow]) -> str:
    return ", ".join(f"{form} in line {row.line}" if row.line else form for form, row in sorted(first.items()))


def _recordings(tables: Tables) -> list[_Recording]:
    """Every recording with a path, and its well-formed segments, or itself as the only utterance."""
    spans: dict[str, list[_Span]] = defaultdict(list)
    for row in tables.get("segments", {}).values():
        if not column_fault("segments", row.value):
            segment = parse_segment(row.value)
            spans[segment.recording].append(_Span(row.key, segment.start_s, segment.end_s, True))
    return [
        _Recording(row.key, row.value, tuple(spans[row.key]) if "segments" in tables else (_Span(row.key),))
        for row in tables.get("wav.scp", {}).values()
        if not column_fault("wav.scp", row.value)
    ]


def _problem_of(path: Path, tables: Tables, recording: _Recording, finding: _Finding) -> Problem:
    fault = finding.fault
    table, key = ("segments", finding.utt_id) if finding.utt_id else ("wav.scp", recording.recording_id)
    placed = Fault(f"({recording.path}) {fault.found}", fault.allowed, fault.remedy)
    return fault_problem(path, table, tables[table][key], placed)


def _too_short(
    path: Path,
    tables: Tables,
    examinations: Iterable[_Examination],
    features: FeatureSettings,
    front_end: FrontEndSettings,
    spelling: Spelling | None,
) -> list[OfUtterance]:
    """Utterances with too few frames for their labels: CTC gives them probability 0."""
    text = tables.get("text", {})
    problems: list[OfUtterance] = []
    for examination in examinations:
        if examination.sample_rate != features.sample_rate:
            continue  # already a problem; its frames would be miscounted
        for utt_id, num_samples in examination.num_samples.items():
            frames = front_end.num_output_frames(features.num_frames(num_samples))
            words = words_of(text[utt_id].value) if utt_id in text else ""
            labels = spelling.split(words) if spelling else list(words)
            required = required_frames(labels)
            if frames < max(1, required):
                table = next(name for name in ("text", "segments", "wav.scp") if utt_id in tables.get(name, {}))
                given = f"{num_samples / features.sample_rate:.3f} s give {counted(frames, 'frame')}"
                wanted = f"{counted(len(labels), 'label')} and {counted(required - len(labels), 'repeat')}"
                found = f"is too short: {given} for {wanted}"
                remedy = "correct the text or the segment, or remove the utterance"
                fault = Fault(found, f"at least {counted(max(1, required), 'frame')}", remedy)
                problems.append((utt_id, fault_problem(path, table, tables[table][utt_id], fault)))
    return problems


def _of_findings(examinations: Iterable[_Examination], chosen: Callable[[_Finding], bool]) -> dict[str, str]:
    """utt_id -> fault, for the utterances of the chosen findings."""
    return {
        utt_id: f"{examination.recording.path} {finding.fault.found}"
        for examination in examinations
        for finding in examination.findings
        if chosen(finding)
        for utt_id in ([finding.utt_id] if finding.utt_id else [span.utt_id for span in examination.recording.spans])
    }


# Every recording, in parallel.


@dataclass(frozen=True)
class _Span:
    """The part of a recording that is one utterance."""

    utt_id: str
    start_s: float = 0.0
    end_s: float | None = None  # None: to the end
    is_segment: bool = False  # False: the whole recording is the utterance


@dataclass(frozen=True)
class _Recording:
    recording_id: str
    path: str
    spans: tuple[_Span, ...]


@dataclass(frozen=True)
class _Finding:
    """One fault of a recording, or of one utterance in it."""

    fault: Fault
    utt_id: str = ""  # empty: of the whole recording
    serious: bool = True  # False: a warning
    unreadable: bool = False  # the utterance cannot be used at all


@dataclass(frozen=True)
class _Examination:
    recording: _Recording
    sample_rate: int  # Hz; 0: the recording could not be opened
    num_samples: dict[str, int]  # of each utterance within the recording
    findings: tuple[_Finding, ...]


def _examine(recording: _Recording, sample_rate: int) -> _Examination:
    """Open a recording, decode its utterances, and collect their faults."""
    try:
        info = inspect(recording.path)
    except DataError as error:
        return _Examination(recording, 0, {}, (_Finding(_fault(error), unreadable=True),))
    findings: list[_Finding] = []
    if info.sample_rate != sample_rate:
        remedy = f"resample it, or set features.sample_rate={info.sample_rate} if all recordings have that rate"
        allowed = f"{sample_rate} Hz (features.sample_rate)"
        findings.append(_Finding(Fault(f"has {info.sample_rate} Hz", allowed, remedy)))
    if info.channels != 1:
        remedy = f"mix it down, for example 'sox {recording.path} -c 1 mono.wav'"
        findings.append(_Finding(Fault(f"has {info.channels} channels", "one", remedy)))
    num_samples: dict[str, int] = {}
    for span in recording.spans:
        found, length = _examine_span(recording, span, info)
        findings += found
        if length:
            num_samples[span.utt_id] = length
    return _Examination(recording, info.sample_rate, num_samples, tuple(findings))


def _examine_span(recording: _Recording, span: _Span, info: AudioInfo) -> tuple[list[_Finding], int]:
    stop_s = info.duration_s if span.end_s is None else span.end_s
    utt_id = span.utt_id if span.is_segment else ""
    if stop_s > info.duration_s + OVERSHOOT_S:
        found = f"ends at {stop_s:g} s, beyond the end of its recording"
        fault = Fault(found, f"at most {info.duration_s:.3f} s", "correct the segment")
        return [_Finding(fault, span.utt_id)], 0
    findings: list[_Finding] = []
    if stop_s > info.duration_s + ROUNDING_S:
        fault = Fault(f"ends at {stop_s:g} s; it is cut at the end of its recording, {info.duration_s:.3f} s")
        findings = [_Finding(fault, span.utt_id, serious=False)]
    length = round(min(stop_s, info.duration_s) * info.sample_rate) - round(span.start_s * info.sample_rate)
    if info.channels != 1:
        return findings, length
    try:
        samples, _ = read_audio(recording.path, start_s=span.start_s, end_s=span.end_s)
    except DataError as error:
        return [*findings, _Finding(_fault(error), utt_id, unreadable=True)], 0
    return findings + [_Finding(fault, utt_id, serious) for fault, serious in _level_faults(measure(samples))], length


def _level_faults(quality: Quality) -> Iterator[tuple[Fault, bool]]:
    """Each fault and whether it is serious."""
    if quality.clipped >= CLIPPED_WARNING:
        found = f"is clipped: {quality.clipped:.1%} of its samples lie in flat runs at full scale"
        remedy = "record it again at a lower level, or remove it"
        yield Fault(found, f"less than {CLIPPED_PROBLEM:.0%}", remedy), quality.clipped >= CLIPPED_PROBLEM
    elif quality.swing < SILENCE:
        found = f"is silent: its peak is {dbfs(quality.swing)}"
        yield Fault(found, f"at least {dbfs(SILENCE)}", "record it again, or remove it"), True


def _fault(error: DataError) -> Fault:
    problem = error.problems[0]
    return Fault(problem.found, problem.allowed, problem.remedy)


DROP_LIMIT = 0.05
"""Share of utterances that may be dropped without ``force``; more indicates a systematic fault."""


@dataclass(frozen=True)
class Fix:
    """The repairs; ``actions`` is empty if no file was changed."""

    actions: tuple[str, ...]  # one line each, including dropped utterances
    dropped: dict[str, str]  # utt_id -> why
    backup: Path | None  # the folder of the original tables


def fix_directory(path: str | Path, unreadable: Mapping[str, str], *, force: bool = False) -> Fix:
    """Repair the tables of ``path``; ``unreadable`` (utt_id -> reason) is that of a ``CheckReport``, or ``unusable``.

    Raises DataError, with the directory unchanged, for what cannot be repaired safely and, unless ``force``, if more
    than DROP_LIMIT of the utterances would be dropped.
    """
    path = Path(path)
    rows, mended = _read(path)
    tables = {name: {row.key: row.value for row in found} for name, found in rows.items()}
    dropped = _to_drop(tables, unreadable)
    total = len(tables["utt2spk"].keys() | dropped.keys())
    if dropped and (len(dropped) == total or (len(dropped) > DROP_LIMIT * total and not force)):
        utt_id, why = next(iter(dropped.items()))
        first = f"the first is '{utt_id}': {why}"
        if len(dropped) == total:
            raise DataError(str(path), f"all {counted(total, 'utterance')} would be dropped", "", first)
        found, remedy = f"{len(dropped)} of {total} utterances would be dropped, {first}", "repair them, or use --force"
        raise DataError(str(path), found, f"at most {DROP_LIMIT:.0%}", f"{remedy} to drop them all")
    fixed, removed = _filtered(tables, dropped)
    changed = [name for name in TABLES if _is_changed(path / name, fixed.get(name))]
    if not changed:
        return Fix((), {}, None)
    backup = _back_up(path)
    write_tables(path, fixed)
    actions = [
        *(f"dropped utterance '{utt_id}': {why}" for utt_id, why in dropped.items()),
        *(f"removed {name}: it does not cover every {TABLES[name]}" for name in removed),
        *(
            f"removed {TABLES[name]} '{key}' from {name}: no utterance uses it"
            for name in tables
            if name in fixed
            for key in tables[name]
            if key not in fixed[name] and key not in dropped
        ),
        *(
            f"wrote {name}: {counted(len(fixed[name]), 'line')}{mended.get(name, '')}"
            for name in changed
            if name in fixed
        ),
    ]
    return Fix(tuple(actions), dropped, backup)


def _read(path: Path) -> tuple[dict[str, list[TableRow]], dict[str, str]]:
    """The readable rows of the tables, and the faults that writing them again repairs.

    Raises DataError for other faults.
    """
    if not path.is_dir():
        raise DataError(str(path), "is not a folder", "a data directory", "correct the path or run the prepare stage")
    rows: dict[str, list[TableRow]] = {}
    mended: dict[str, str] = {}
    problems: list[Problem] = []
    for name in TABLES:
        if name in REQUIRED or (path / name).exists():
            rows[name], found = scan_table(path / name)
            problems += found if name in REQUIRED and not rows[name] else []
            problems += _contradictions(path, name, rows[name])
            found += order_problems(path / name, rows[name])
            if found:
                more = f", and {len(found) - 1} more" if len(found) > 1 else ""
                mended[name] = f" ({Path(found[0].where).name} {found[0].found}{more})"
    rows.pop("spk2utt", None)
    raise_all(problems)
    return rows, mended


def _contradictions(path: Path, name: str, rows: list[TableRow]) -> list[Problem]:
    if name == "spk2utt":
        return []  # derived from utt2spk
    first: dict[str, TableRow] = {}
    problems: list[Problem] = []
    for row in rows:
        if first.setdefault(row.key, row).value != row.value:
            found = f"contradicts line {first[row.key].line}"
            remedy = "remove one of the two lines: --fix cannot know which is correct"
            problems.append(fault_problem(path, name, row, Fault(found, "one line per key", remedy)))
    return problems


def _to_drop(tables: Mapping[str, Mapping[str, str]], unreadable: Mapping[str, str]) -> dict[str, str]:
    """utt_id -> reason: unreadable audio, a table that lacks it, a recording without a path."""
    audio = "segments" if "segments" in tables else "wav.scp"
    needed = [name for name in ("utt2spk", audio, "text", "feats.scp") if name in tables]
    dropped: dict[str, str] = {}
    for utt_id in sorted(set().union(*(tables[name] for name in needed))):
        absent = [name for name in needed if utt_id not in tables[name]]
        if absent:
            dropped[utt_id] = f"not in {', '.join(absent)}"
        elif utt_id in unreadable:
            dropped[utt_id] = unreadable[utt_id]
        elif audio == "segments" and (why := _segment_fault(tables, utt_id)):
            dropped[utt_id] = why
    return dropped


def _segment_fault(tables: Mapping[str, Mapping[str, str]], utt_id: str) -> str:
    value = tables["segments"][utt_id]
    if column_fault("segments", value):
        return ""  # not safe to repair; the next check reports it
    recording = parse_segment(value).recording
    return "" if recording in tables["wav.scp"] else f"recording '{recording}' is not in wav.scp"


def _filtered(
    tables: Mapping[str, Mapping[str, str]], dropped: Mapping[str, str]
) -> tuple[dict[str, dict[str, str]], list[str]]:
    """The tables without the dropped utterances, and the names of optional tables that are no longer complete."""
    utt2spk = {utt_id: speaker for utt_id, speaker in tables["utt2spk"].items() if utt_id not in dropped}
    recordings = set(utt2spk)
    if "segments" in tables:
        recordings = {tables["segments"][utt_id].split(" ")[0] for utt_id in utt2spk}
    expected = {"utterance": set(utt2spk), "speaker": set(utt2spk.values()), "recording": recordings}
    fixed = {
        name: {key: value for key, value in table.items() if key in expected[TABLES[name]]}
        for name, table in tables.items()
    }
    removed = [name for name in fixed if name not in REQUIRED and fixed[name].keys() != expected[TABLES[name]]]
    kept = {name: table for name, table in fixed.items() if name not in removed}
    return kept | {"spk2utt": invert(utt2spk)}, removed


def _is_changed(file: Path, entries: Mapping[str, str] | None) -> bool:
    if entries is None:
        return file.exists()
    return not file.exists() or file.read_bytes() != table_text(entries).encode("utf-8")


def _back_up(path: Path) -> Path:
    """Copy the tables to the first unused of .backup, .backup.1, ...; earlier backups are never overwritten."""
    number = 0
    while (backup := path / (f".backup.{number}" if number else ".backup")).exists():
        number += 1
    backup.mkdir()
    for name in TABLES:
        if (path / name).exists():
            shutil.copy2(path / name, backup / name)
    return backup
