"""Examine every recording of a data directory, in parallel."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from recitative.audio.files import OVERSHOOT_S, ROUNDING_S, AudioInfo, inspect, read_audio
from recitative.audio.samples import (
    CLIPPED_PROBLEM,
    CLIPPED_WARNING,
    SILENCE,
    Quality,
    dbfs,
    measure,
)
from recitative.data.tables import Fault
from recitative.errors import DataError

OnProgress = Callable[[int, int], None]
"""Called with (done, total)."""


@dataclass(frozen=True)
class UtteranceSpan:
    """The part of a recording that is one utterance."""

    utt_id: str
    start_s: float = 0.0
    end_s: float | None = None  # None: to the end
    is_segment: bool = False  # False: the whole recording is the utterance


@dataclass(frozen=True)
class RecordingSpans:
    recording_id: str
    path: str
    spans: tuple[UtteranceSpan, ...]


@dataclass(frozen=True)
class Finding:
    """One fault of a recording, or of one utterance in it."""

    fault: Fault
    utt_id: str = ""  # empty: of the whole recording
    serious: bool = True  # False: a warning
    unreadable: bool = False  # the utterance cannot be used at all


@dataclass(frozen=True)
class Examination:
    recording: RecordingSpans
    sample_rate: int  # Hz; 0: the recording could not be opened
    num_samples: dict[str, int]  # of each utterance within the recording
    findings: tuple[Finding, ...]


def examine_all(
    recordings: Sequence[RecordingSpans], sample_rate: int, on_progress: OnProgress | None = None
) -> Iterator[Examination]:
    """Examine recordings in order. Threads suffice: decoding and NumPy release the interpreter's lock."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        examinations = pool.map(lambda recording: examine(recording, sample_rate), recordings)
        for done, examination in enumerate(examinations, start=1):
            if on_progress:
                on_progress(done, len(recordings))
            yield examination


def examine(recording: RecordingSpans, sample_rate: int) -> Examination:
    """Open a recording, decode its utterances, and collect their faults."""
    try:
        info = inspect(recording.path)
    except DataError as error:
        return Examination(recording, 0, {}, (Finding(_fault(error), unreadable=True),))
    findings = _format_findings(recording.path, info, sample_rate)
    num_samples: dict[str, int] = {}
    for span in recording.spans:
        found, length = _examine_span(recording, span, info)
        findings += found
        if length:
            num_samples[span.utt_id] = length
    return Examination(recording, info.sample_rate, num_samples, tuple(findings))


def _format_findings(path: str, info: AudioInfo, sample_rate: int) -> list[Finding]:
    findings: list[Finding] = []
    if info.sample_rate != sample_rate:
        remedy = f"resample it, or set features.sample_rate={info.sample_rate} if all recordings have that rate"
        allowed = f"{sample_rate} Hz (features.sample_rate)"
        findings.append(Finding(Fault(f"has {info.sample_rate} Hz", allowed, remedy)))
    if info.channels != 1:
        remedy = f"mix it down, for example 'sox {path} -c 1 mono.wav'"
        findings.append(Finding(Fault(f"has {info.channels} channels", "one", remedy)))
    return findings


def _examine_span(recording: RecordingSpans, span: UtteranceSpan, info: AudioInfo) -> tuple[list[Finding], int]:
    stop_s = info.duration_s if span.end_s is None else span.end_s
    utt_id = span.utt_id if span.is_segment else ""
    if stop_s > info.duration_s + OVERSHOOT_S:
        found = f"ends at {stop_s:g} s, beyond the end of its recording"
        fault = Fault(found, f"at most {info.duration_s:.3f} s", "correct the segment")
        return [Finding(fault, span.utt_id)], 0
    findings: list[Finding] = []
    if stop_s > info.duration_s + ROUNDING_S:
        fault = Fault(f"ends at {stop_s:g} s; it is cut at the end of its recording, {info.duration_s:.3f} s")
        findings = [Finding(fault, span.utt_id, serious=False)]
    length = round(min(stop_s, info.duration_s) * info.sample_rate) - round(span.start_s * info.sample_rate)
    if info.channels != 1:
        return findings, length
    try:
        samples, _ = read_audio(recording.path, start_s=span.start_s, end_s=span.end_s)
    except DataError as error:
        return [*findings, Finding(_fault(error), utt_id, unreadable=True)], 0
    return findings + [Finding(fault, utt_id, serious) for fault, serious in _level_faults(measure(samples))], length


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
