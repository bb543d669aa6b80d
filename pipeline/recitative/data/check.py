"""Finding everything that is wrong with a data directory at once, before hours of training are spent on it."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from recitative.config import FeatureSettings, FrontEndSettings
from recitative.data.columns import Fault, column_fault, parse_segment, words_of
from recitative.data.consistency import Tables, consistency_problems, fault_problem, scan_directory
from recitative.data.frames import num_frames, num_output_frames
from recitative.data.recordings import Examination, Finding, OnProgress, Recording, Span, examine_all
from recitative.data.statistics import Statistics
from recitative.data.tables import Row
from recitative.errors import Problem
from recitative.text.lexicon import Spelling
from recitative.text.tokens import required_frames


@dataclass(frozen=True)
class Report:
    problems: tuple[Problem, ...]  # a directory with one of these cannot be used as it is
    warnings: tuple[Problem, ...]  # worth a look
    statistics: Statistics
    unreadable: dict[str, str]  # utt_id -> why its audio cannot be used
    unusable: dict[str, str]  # the same for every utterance with a problem of its audio or its text


def check_directory(
    path: str | Path,
    features: FeatureSettings,
    front_end: FrontEndSettings,
    spelling: Spelling | None = None,
    *,
    require_text: bool = True,
    on_progress: OnProgress | None = None,
) -> Report:
    """Check the tables, every recording, and every transcript against its audio.

    ``features`` and ``front_end`` say which sample rate is right and how many frames CTC gets; ``spelling``, if given,
    which symbols there are, else each character is a label. Raises DataError only if there is no such folder.
    """
    path = Path(path)
    tables, problems = scan_directory(path)
    problems += _missing_tables(path, tables, require_text)
    problems += consistency_problems(path, tables)
    of_utterances = _text_problems(path, tables, spelling)
    warnings = _warnings(path, tables)
    examinations = list(examine_all(_recordings(tables), features.sample_rate, on_progress))
    for examination in examinations:
        serious, slight = _recording_problems(path, tables, examination)
        problems += serious
        warnings += slight
    of_utterances += _too_short(path, tables, examinations, features, front_end, spelling)
    problems += [problem for _, problem in of_utterances]
    unusable = _faulty(examinations) | {utt_id: problem.found for utt_id, problem in of_utterances}
    statistics = _statistics(tables, examinations)
    return Report(tuple(problems), tuple(warnings), statistics, _unreadable(examinations), unusable)


def _missing_tables(path: Path, tables: Tables, require_text: bool) -> list[Problem]:
    remedies = {"spk2utt": f"run 'recitative check --fix {path}', which makes it from utt2spk"}
    if require_text:
        remedies["text"] = "add the transcripts, or say --no-text if there are none by design"
    missing = remedies.keys() - tables.keys()
    return [
        Problem(f"{path}/{name}", "does not exist", "one line per entry", remedies[name]) for name in sorted(missing)
    ]


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
            remedy = f"normalise the text, or make the {spelling.source} again with 'recitative {spelling.verb}'"
            fault = Fault(found, f"its {spelling.holds}s only", remedy)
            problems.append((row.key, fault_problem(path, "text", row, fault)))
    return problems


def _warnings(path: Path, tables: Tables) -> list[Problem]:
    warnings: list[Problem] = []
    if len({row.value for row in tables.get("utt2spk", {}).values()}) == 1:
        remedy = "name the speakers, or make each utterance its own speaker, if they are many"
        warnings.append(Problem(f"{path}/utt2spk", "has only one speaker", "", remedy))
    first: dict[str, Row] = {}
    for row in tables.get("wav.scp", {}).values():
        other = first.setdefault(row.value, row)
        if other is not row:
            fault = Fault(f"is the same file as '{other.key}'", "", "remove one of them, unless it is meant")
            warnings.append(fault_problem(path, "wav.scp", row, fault))
    return warnings + _form_warnings(path, tables.get("text", {}))


APOSTROPHES = "'\u2019\u2018\u02bc\u00b4`"


def _form_warnings(path: Path, text: Mapping[str, Row]) -> list[Problem]:
    """The same letter written in two ways: as many tokens, and words that score as wrong though they look the same."""
    forms: dict[str, dict[str, Row]] = {"letters with accents": {}, "apostrophes": {}}
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
    """NFC (one sign for an accented letter), NFD (letter and accent), a mixture of both; '' where all are the same."""
    if word.isascii() or unicodedata.normalize("NFC", word) == unicodedata.normalize("NFD", word):
        return ""
    return next((form for form in ("NFC", "NFD") if unicodedata.is_normalized(form, word)), "a mixture")


def _lines_of(first: Mapping[str, Row]) -> str:
    return ", ".join(f"{form} in line {row.line}" if row.line else form for form, row in sorted(first.items()))


def _recordings(tables: Tables) -> list[Recording]:
    """Every recording that has a path, with its well-formed segments, or itself as the one utterance."""
    spans: dict[str, list[Span]] = defaultdict(list)
    for row in tables.get("segments", {}).values():
        if not column_fault("segments", row.value):
            segment = parse_segment(row.value)
            spans[segment.recording].append(Span(row.key, segment.start_s, segment.end_s, True))
    return [
        Recording(row.key, row.value, tuple(spans[row.key]) if "segments" in tables else (Span(row.key),))
        for row in tables.get("wav.scp", {}).values()
        if not column_fault("wav.scp", row.value)
    ]


def _recording_problems(path: Path, tables: Tables, examination: Examination) -> tuple[list[Problem], list[Problem]]:
    """The serious and the slight faults of one recording."""
    serious: list[Problem] = []
    slight: list[Problem] = []
    for finding in examination.findings:
        fault, recording = finding.fault, examination.recording
        table, key = ("segments", finding.utt_id) if finding.utt_id else ("wav.scp", recording.recording_id)
        placed = Fault(f"({recording.path}) {fault.found}", fault.allowed, fault.remedy)
        problem = fault_problem(path, table, tables[table][key], placed)
        (serious if finding.serious else slight).append(problem)
    return serious, slight


def _too_short(
    path: Path,
    tables: Tables,
    examinations: Iterable[Examination],
    features: FeatureSettings,
    front_end: FrontEndSettings,
    spelling: Spelling | None,
) -> list[OfUtterance]:
    """Utterances whose labels cannot be emitted in their frames, so that CTC gives them probability zero."""
    text = tables.get("text", {})
    problems: list[OfUtterance] = []
    for examination in examinations:
        if examination.sample_rate != features.sample_rate:
            continue  # a problem already; its frames would be counted wrongly
        for utt_id, num_samples in examination.num_samples.items():
            frames = num_output_frames(num_frames(num_samples, features), front_end)
            words = words_of(text[utt_id].value) if utt_id in text else ""
            labels = spelling.split(words) if spelling else list(words)
            if frames < max(1, required_frames(labels)):
                duration_s = num_samples / features.sample_rate
                problems.append((utt_id, _too_short_problem(path, tables, utt_id, labels, duration_s, frames)))
    return problems


def _too_short_problem(
    path: Path, tables: Tables, utt_id: str, labels: list[str], duration_s: float, frames: int
) -> Problem:
    table = next(name for name in ("text", "segments", "wav.scp") if utt_id in tables.get(name, {}))
    repeats = required_frames(labels) - len(labels)
    found = f"is too short: {duration_s:.3f} s give {frames} frames for {len(labels)} labels and {repeats} repeats"
    allowed = f"at least {max(1, len(labels) + repeats)} frames"
    remedy = "correct the text or the segment, or remove the utterance"
    return fault_problem(path, table, tables[table][utt_id], Fault(found, allowed, remedy))


def _statistics(tables: Tables, examinations: Iterable[Examination]) -> Statistics:
    durations_s = [
        num_samples / examination.sample_rate
        for examination in examinations
        for num_samples in examination.num_samples.values()
    ]
    return Statistics.of(
        [row.value for row in tables.get("utt2spk", {}).values()],
        len(tables.get("wav.scp", {})),
        durations_s,
        [words_of(row.value) for row in tables.get("text", {}).values()],
    )


def _unreadable(examinations: Iterable[Examination]) -> dict[str, str]:
    return _of_findings(examinations, lambda finding: finding.unreadable)


def _faulty(examinations: Iterable[Examination]) -> dict[str, str]:
    return _of_findings(examinations, lambda finding: finding.serious or finding.unreadable)


def _of_findings(examinations: Iterable[Examination], chosen: Callable[[Finding], bool]) -> dict[str, str]:
    """utt_id -> the fault, of the utterances that a finding is about."""
    return {
        utt_id: f"{examination.recording.path} {finding.fault.found}"
        for examination in examinations
        for finding in examination.findings
        if chosen(finding)
        for utt_id in ([finding.utt_id] if finding.utt_id else [span.utt_id for span in examination.recording.spans])
    }
